"""Where a copy goes, what is printed, and what the proof catches."""

import hashlib
import json

import pytest
from deid_cases import (
    CANARY,
    attempt,
)
from typer.testing import CliRunner

from pathai.cli import app
from pathai.deid import deid
from pathai.errors import PathaiError
from pathai.testing.aperio import CANARIES

# --- where the copy goes -----------------------------------------------------------------------


def test_a_copy_replaces_nothing_unasked(svs, tmp_path):
    out = tmp_path / "x.svs"
    out.write_text("mine")
    with pytest.raises(PathaiError) as error:
        deid(svs, out)
    assert error.value.code == "E193"
    assert out.read_text() == "mine"
    deid(svs, out, overwrite=True)
    assert out.stat().st_size > 1000


def test_the_slide_itself_is_never_the_target(raw, tmp_path):
    slide = tmp_path / "in.svs"
    raw().write(slide)
    before = slide.read_bytes()
    (tmp_path / "link").symlink_to(slide)
    (tmp_path / "hard").hardlink_to(slide)
    for out in (slide, tmp_path / "link", tmp_path / "hard"):
        with pytest.raises(PathaiError) as error:
            deid(slide, out, overwrite=True)
        assert error.value.code == "E193"
    assert slide.read_bytes() == before


def test_a_folder_with_other_things_is_never_replaced(svs, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("x")
    with pytest.raises(PathaiError) as error:
        deid(svs, tmp_path / "home", overwrite=True)
    assert error.value.code == "E193"
    assert (tmp_path / "home" / "thesis.txt").exists()


def test_a_refused_slide_leaves_nothing(raw, tmp_path):
    slide = raw()
    slide.images[3].blocks[-1] += CANARY
    slide.write(tmp_path / "in.svs")
    with pytest.raises(PathaiError):
        deid(tmp_path / "in.svs", tmp_path / "sub" / "out.svs")
    assert list((tmp_path / "sub").iterdir()) == []


def test_the_same_slide_gives_the_same_bytes(svs, tmp_path):
    a, b = (deid(svs, tmp_path / name).files[0]["sha256"] for name in "ab")
    assert a == b


def test_the_proof_finds_what_the_writer_forgets(svs, tmp_path, monkeypatch):
    """Each fault put into the writer must be caught by the proof, which shares no code with it."""
    from pathai.deid import aperio, tiff, tiff_out

    def said(error):
        assert isinstance(error, PathaiError)
        assert "proof failed" in str(error), error

    text, block = aperio.level_text, tiff_out.TiffOut.block
    faults = {
        "description": (aperio, "level_text", lambda *a: text(*a)[:-1] + b"|User = x\0"),
        "tag": (tiff, "kept_tags", lambda *a: {**kept(*a), 305: (2, b"writer\0")}),
        "gap": (tiff_out.TiffOut, "block", lambda s, d: (block(s, d), s._put(b"stray"))[0]),
        "tile": (tiff_out.TiffOut, "block", lambda s, d: block(s, d[:-3] + b"\0" + d[-2:])),
    }
    kept = tiff.kept_tags
    for name, (place, attribute, fault) in faults.items():
        with monkeypatch.context() as patch:
            patch.setattr(place, attribute, fault)
            said(attempt(svs, tmp_path / name))


def test_the_command_prints_kinds_and_counts_never_values(raw, tmp_path):
    slide = raw()
    slide.images[0].tags[315] = (2, CANARY + b"\0")
    slide.write(tmp_path / "in.svs")
    out = tmp_path / "out.svs"
    done = CliRunner().invoke(app, ["deid", str(tmp_path / "in.svs"), "-o", str(out), "--json"])
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["format"] == "aperio"
    assert found["removed"]["artist"] == 1
    assert found["removed"]["label image"] == 1
    assert found["files"][0]["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert "removed: label image (1)" in done.stderr
    assert [c for c in (*CANARIES, CANARY.decode()) if c in done.stdout + done.stderr] == []
