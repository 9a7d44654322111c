"""Rows of the fault catalogue that belong to no stage: sheet, disk, locks, clock, versions."""

import errno
import json
import os
import shutil
import subprocess
import time
import unicodedata
from collections import namedtuple
from math import ceil
from pathlib import Path

import fault_cases as make
import numpy as np
import pytest

from pathai import chain, cli, verbs
from pathai.config import Config
from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.run import owned, raise_machine_error, run
from pathai.sheet import load_sheet
from pathai.store.commit import Key, manifest_path, run_stage
from pathai.store.folders import SlideFolder
from pathai.store.groups import write_features
from pathai.store.manifest import list_files, read_manifest
from pathai.store.records import Features, FeaturesAttrs
from pathai.store.tile_copy import SHARD_PX

HEADER = "slide_id\tpath\tcase_id\tpatient_id\n"
LENIENT = Config.model_validate({"tile": {"min_tissue_mm2": 0.005}})


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make.good(tmp_path_factory.mktemp("good") / "good.svs")


def refused(act, *arguments) -> PathaiError:
    with pytest.raises(PathaiError) as caught:
        act(*arguments)
    assert caught.value.remedy
    return caught.value


def through(folder: SlideFolder, file: Path) -> None:
    """Ingest and tile."""
    asked = (file, None, "H&E", "")
    code = verbs.steps([chain.ingest_step(LENIENT, folder, *asked)])
    code = code or verbs.steps([chain.tile_step(LENIENT, folder, file)])
    assert code == 0


PATHS = {
    "spaces": "a slide  of two.svs",
    "quotes": 'it\'s "quoted".svs',
    "shell": "$(touch PWNED);touch PWNED.svs",
    "dash": "-rf.svs",
    "emoji": "🔬.svs",
    "NFC": unicodedata.normalize("NFC", "Größe é.svs"),
    "NFD": unicodedata.normalize("NFD", "Größe é.svs"),
    "200": "x" * 196 + ".svs",
}


@pytest.mark.parametrize("name", PATHS)
def test_row_51_a_path_is_only_a_path(name, good, tmp_path):
    """Rules know ids alone; the library that opens the file gets its name as it is."""
    file = make.put(tmp_path, good, PATHS[name])
    folder = SlideFolder(tmp_path / "results" / "SLIDE-7")
    through(folder, file)
    assert not list(tmp_path.rglob("PWNED"))
    stem = file.stem.encode()
    assert not [p for p in folder.path.rglob("*") if p.is_file() and stem in p.read_bytes()]


@pytest.mark.parametrize(
    ("name", "code"),
    [("a\x00b", "E150"), ("a\x07b", "E150"), ("a\x7fb", "E150"), ('"a\nb"', "E151")],
)
def test_row_52_control_characters_in_an_id(name, code, tmp_path):
    """A line end ends the row: what stands before it is no id, quoted or not."""
    sheet = tmp_path / "slides.tsv"
    sheet.write_text(f"{HEADER}{name}\ts.svs\tC\tP\n", "utf-8")
    error = refused(load_sheet, sheet)
    assert error.code == code
    assert "row 2" in error.message
    assert {p.name for p in tmp_path.iterdir()} == {"slides.tsv"}


def test_row_56_semicolons_and_more_columns(tmp_path):
    sheet = tmp_path / "slides.tsv"
    sheet.write_text(HEADER.replace("\t", ";") + "S1;a.svs;C;P\n")
    error = refused(load_sheet, sheet)
    assert error.code == "E154"
    assert "tabs" in str(error)
    sheet.write_text(HEADER.strip() + "\tgrade\nS1\ta.svs\tC\tP\tlow\n")
    assert load_sheet(sheet)["S1"].labels == {"grade": "low"}


def test_row_58_nothing_is_written_beside_a_slide(good, tmp_path):
    slides = tmp_path / "slides"
    slides.mkdir()
    file = make.put(slides, good)
    before = [(p.name, p.stat().st_mtime_ns) for p in (slides, file)]
    slides.chmod(0o555)
    try:
        through(SlideFolder(tmp_path / "results" / "SLIDE-7"), file)
    finally:
        slides.chmod(0o755)
    assert [(p.name, p.stat().st_mtime_ns) for p in (slides, file)] == before
    assert list(slides.iterdir()) == [file]


def test_row_59_a_folder_that_cannot_be_written_stops_the_run_at_once(good, tmp_path, monkeypatch):
    """Root may write anywhere, so the system's answer is what is tested, not a mode."""
    make.put(tmp_path, good, "S1.svs")
    (tmp_path / "slides.tsv").write_text(f"{HEADER}S1\tS1.svs\tC\tP\n")
    (tmp_path / "config.yaml").write_text("{}\n")
    real = Path.open

    def read_only(self, mode="r", *rest, **named):
        if ".pathai" in self.parts and set(mode) & set("wax+"):
            raise OSError(errno.EROFS, "Read-only file system")
        return real(self, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", read_only)
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("work was begun"))
    error = refused(run, Plan(tmp_path / "config.yaml"))
    assert error.code == "E160"
    assert "Read-only" in error.message


@pytest.mark.parametrize("file", [None, "/nowhere/.pathai/lock"])
def test_row_60_a_disk_that_is_full_where_no_result_is_written(file, monkeypatch, capsys):
    """A lock, a log or a mark finds no room first."""

    def full():
        raise OSError(errno.ENOSPC, "No space left on device", file)

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("pathai: E161: ")
    assert "/nowhere" not in said


def test_row_60_a_workflow_engine_without_room_is_a_full_disk(tmp_path, monkeypatch):
    """Snakemake says something else, and the job's own note found no room either."""
    (tmp_path / "config.yaml").write_text("{}\n")
    plan = Plan(tmp_path / "config.yaml")
    plan.state.mkdir(parents=True)
    raise_machine_error(plan)  # with room it is not the disk
    for module in ("pathai.run", "pathai.store.manifest"):
        usage = namedtuple("usage", "total used free")(2**22, 2**22 - 9000, 9000)
        monkeypatch.setattr(f"{module}.disk_usage", lambda path, usage=usage: usage)
    error = refused(raise_machine_error, plan)
    assert error.code == "E161"
    assert "at least 1.0 MiB needed, 9 KiB free" in error.message


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_rows_61_to_63_a_disk_that_refuses(number, tmp_path):
    """No inodes and no room are one error to a program; a quota is told apart by its words."""

    def write(out):
        out.part("a.txt").write_bytes(bytes(10_000))
        raise OSError(number, os.strerror(number))

    key = Key("stage", 1, "c", ("a.txt",))
    error = refused(run_stage, tmp_path / "r", "S1", key, {}, write)
    assert error.code == "E161"
    assert os.strerror(number) in error.message
    assert " needed, " in error.message
    assert " free" in error.message
    assert list(tmp_path.iterdir()) == []


def test_row_61_files_of_a_slide_are_few(good, tmp_path):
    """Shards of 100,000 x 80,000 px in levels of 1, 4, 16, 64, and all that is beside them."""
    folder = SlideFolder(tmp_path / "results" / "SLIDE-7")
    through(folder, make.put(tmp_path, good))
    files = [p for p in folder.path.rglob("*") if p.is_file()]
    shards = [p for p in files if "tiles.zarr" in p.parts and "c" in p.parts]
    beside = len(files) - len(shards)
    large = sum(ceil(100_000 / SHARD_PX / d) * ceil(80_000 / SHARD_PX / d) for d in (1, 4, 16, 64))
    assert shards
    assert large + beside <= 170, "features, nuclei and answers have some 30 files more"


def test_row_65_the_lock_of_a_run_needs_no_flock(tmp_path, monkeypatch):
    import fcntl

    def absent(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", absent)
    monkeypatch.setattr(fcntl, "lockf", absent)
    (tmp_path / "config.yaml").write_text("{}\n")
    plan = Plan(tmp_path / "config.yaml")
    with (
        owned(plan),
        pytest.raises(PathaiError, match=rf"E175.*process {os.getpid()}"),
        owned(plan),
    ):
        pytest.fail("two owners")
    with owned(plan):
        pass


def test_row_68_two_workers_on_one_slide(good, tmp_path):
    file = make.put(tmp_path, good, "S1.svs")
    (tmp_path / "slides.tsv").write_text(f"{HEADER}S1\tS1.svs\tC\tP\n")
    (tmp_path / "config.yaml").write_text("{}\n")
    folder = SlideFolder(tmp_path / "results" / "slides" / "S1")
    steps = [chain.ingest_step(Config(), folder, file, None, "H&E", "")]
    with owned(Plan(tmp_path / "config.yaml")):
        assert refused(verbs.steps, steps).code == "E175"
        assert not folder.path.exists()
    assert verbs.steps(steps) == 0


def test_row_75_a_whole_chunk_in_the_place_of_another(tmp_path):
    """Its checksum is right and its length the same: only the manifest knows that it is not it."""
    folder = SlideFolder(tmp_path / "S1")
    lengths: dict[int, bytes] = {}
    chunk = folder.features("e") / "x" / "c" / "0" / "0"
    for seed in range(200):
        made = _write_features(folder, seed)
        raw = chunk.read_bytes()
        twin = lengths.setdefault(len(raw), raw)
        if twin != raw:
            break
    assert made.status == "ok"
    assert folder.read_features("e").x.shape == (64, 8)
    chunk.write_bytes(twin)
    assert len(twin) == len(raw)
    error = refused(folder.read_features, "e")
    assert error.code == "E164"
    assert "e.zarr/x/c/0/0" in error.message


def _write_features(folder, seed):
    rows, columns = 64, 8
    x = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float16)
    attrs = FeaturesAttrs(
        encoder="e", encoder_digest="e", grid_digest="g", tile_px=64, stride_px=64, mpp=0.5
    )
    ones, size = np.ones(rows, np.float16), np.array([64, 64], np.float32)
    features = Features(x, np.zeros((rows, 2), np.int32), size, ones, ones, attrs)
    key = Key("features", 1, str(seed), ("e.zarr",))
    base = folder.base("features", "e")
    return run_stage(base, "S1", key, {}, lambda out: write_features(out.part("e.zarr"), features))


def test_row_83_a_clock_that_jumps_changes_no_byte(good, tmp_path, monkeypatch):
    file = make.put(tmp_path, good)
    one, other = (SlideFolder(tmp_path / name / "SLIDE-7") for name in ("one", "other"))
    through(one, file)
    now = iter(range(2_000_000_000, 0, -86_400))  # a day back at every look
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    monkeypatch.setenv("TZ", "Pacific/Chatham")
    time.tzset()
    through(other, file)
    assert list_files(one.path, [one.path]) == list_files(other.path, [other.path])


@pytest.mark.parametrize("what", ["tiles", "manifest"])
def test_row_84_stores_of_another_version_are_refused(what, good, tmp_path):
    folder = SlideFolder(tmp_path / "results" / "SLIDE-7")
    through(folder, make.put(tmp_path, good))
    manifest = manifest_path(folder.base("tile"))
    if what == "tiles":  # what an earlier pathai wrote has a manifest that fits it
        manifest.unlink()
        described = folder.tiles / "zarr.json"
        body = json.loads(described.read_text())
        attrs = body["attributes"].get("pathai", body["attributes"])
        attrs["schema"] -= 1
        described.write_text(json.dumps(body))
        error = refused(folder.open_tiles)
    else:
        from hashlib import sha256

        from pathai.store.manifest import canonical

        body = json.loads(manifest.read_bytes())
        del body["sha256"]
        body["schema_version"] = 0
        seal = sha256(canonical(body)).hexdigest()
        manifest.write_bytes(canonical({**body, "sha256": seal}))
        error = refused(read_manifest, manifest)
    assert error.code == "E165"
    assert "again" in error.remedy
    shutil.rmtree(folder.path)
