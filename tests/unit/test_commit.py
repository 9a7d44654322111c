"""The promises of manifests and commits: nothing half-written, nothing stale, nothing lost."""

import re
import subprocess
import sys
from errno import ENOSPC
from pathlib import Path

import pytest

from pathai.errors import PathaiError
from pathai.store import commit
from pathai.store.commit import Commit, Key, Skipped, fail, manifest_path, run_stage
from pathai.store.manifest import read_manifest, storage_error, write_atomic


def key(config="c", version=1, **source) -> Key:
    return Key("stage", version, config, ("a.txt", "b"), source)


def write_both(out: Commit) -> None:
    out.part("a.txt").write_bytes(b"alpha")
    folder = out.part("b")
    folder.mkdir()
    (folder / "x").write_bytes(b"beta")


def forbidden(out: Commit) -> None:
    raise AssertionError("was run again")


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_commit_lists_every_file_and_is_not_redone(tmp_path):
    first = run_stage(tmp_path / "r", "S1", key(), {}, write_both)
    assert set(first.files) == {"a.txt", "b/x"}
    assert names(tmp_path) == {"a.txt", "b/x", "r.manifest.json"}
    assert run_stage(tmp_path / "r", "S1", key(), {}, forbidden) == first


@pytest.mark.parametrize("changed", [key("other"), key(version=2), key(size=3)])
def test_anything_that_decides_the_result_redoes_it(tmp_path, changed):
    run_stage(tmp_path / "r", "S1", key(), {}, write_both)
    with pytest.raises(AssertionError, match="run again"):
        run_stage(tmp_path / "r", "S1", changed, {}, forbidden)


def test_a_deleted_file_redoes_it(tmp_path):
    run_stage(tmp_path / "r", "S1", key(), {}, write_both)
    (tmp_path / "b" / "x").unlink()
    run_stage(tmp_path / "r", "S1", key(), {}, write_both)
    assert (tmp_path / "b" / "x").read_bytes() == b"beta"


def test_child_is_redone_when_its_parent_changed_and_only_then(tmp_path):
    run_stage(tmp_path / "p", "S1", key(), {}, write_both)
    parents = {"p": tmp_path / "p"}
    child = Key("child", 1, "c", ("c.txt",))
    run_stage(tmp_path / "c", "S1", child, parents, lambda o: _touch(o.part("c.txt")))
    run_stage(tmp_path / "c", "S1", child, parents, forbidden)
    run_stage(tmp_path / "p", "S1", key("new"), {}, write_both)
    with pytest.raises(AssertionError, match="run again"):
        run_stage(tmp_path / "c", "S1", child, parents, forbidden)


def _touch(path: Path) -> None:
    path.write_bytes(b"")


def test_failure_leaves_a_failed_manifest_and_no_output_and_is_passed_on(tmp_path):
    run_stage(tmp_path / "r", "S1", key(), {}, write_both)

    def break_off(out: Commit) -> None:
        write_both(out)
        raise PathaiError("E110", "the file ends early")

    made = run_stage(tmp_path / "r", "S1", key("new"), {}, break_off)
    assert (made.status, made.problems[0].code) == ("failed", "E110")
    assert names(tmp_path) == {"r.manifest.json"}
    child = Key("child", 1, "c", ("c.txt",))
    passed = run_stage(tmp_path / "c", "S1", child, {"p": tmp_path / "r"}, forbidden)
    assert passed.status == "failed"
    assert passed.problems == made.problems


def test_skipped_is_not_failed(tmp_path):
    def skip(out: Commit) -> None:
        raise Skipped("E145", "no tissue")

    assert run_stage(tmp_path / "r", "S1", key(), {}, skip).status == "skipped"


def test_degraded_is_recorded_and_inherited(tmp_path):
    def degrade(out: Commit) -> None:
        write_both(out)
        out.degrade("E113", "3 tiles unreadable")

    assert run_stage(tmp_path / "p", "S1", key(), {}, degrade).status == "degraded"
    child = Key("child", 1, "c", ("c.txt",))
    work = lambda out: _touch(out.part("c.txt"))  # noqa: E731
    made = run_stage(tmp_path / "c", "S1", child, {"p": tmp_path / "p"}, work)
    assert (made.status, made.problems[0].code) == ("degraded", "E113")


def test_parent_that_was_never_made_names_the_remedy(tmp_path):
    with pytest.raises(PathaiError, match="E164"):
        run_stage(tmp_path / "c", "S1", key(), {"p": tmp_path / "p"}, forbidden)


def test_output_that_was_not_declared_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not among"):
        Commit(tmp_path / "r", ("a.txt",)).part("other.txt")


def test_kill_9_between_rename_and_manifest_is_redone(tmp_path):
    code = f"""
import os
from pathlib import Path
from pathai.store import commit
from pathai.store.commit import Key, run_stage
commit.write_manifest = lambda *a: os.kill(os.getpid(), 9)
run_stage(Path({str(tmp_path)!r}) / "r", "S1", Key("stage", 1, "c", ("a.txt", "b")), {{}},
          lambda out: out.part("a.txt").write_bytes(b"half"))
"""
    killed = subprocess.run([sys.executable, "-c", code])
    assert killed.returncode == -9
    assert names(tmp_path) == {"a.txt"}
    with pytest.raises(PathaiError, match="E164"):
        read_manifest(manifest_path(tmp_path / "r"))
    run_stage(tmp_path / "r", "S1", key(), {}, write_both)
    assert (tmp_path / "a.txt").read_bytes() == b"alpha"


def test_any_changed_byte_of_a_manifest_is_found(tmp_path):
    run_stage(tmp_path / "r", "S1", key(), {}, write_both)
    path = manifest_path(tmp_path / "r")
    raw = path.read_bytes()
    for at in range(len(raw)):
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with pytest.raises(PathaiError, match=r"E16[45]"):
            read_manifest(path)


def test_digest_ignores_the_version_of_pathai_and_the_records(tmp_path):
    def with_record(out: Commit) -> None:
        write_both(out)

    made = run_stage(tmp_path / "r", "S1", key(), {}, with_record)
    assert made.model_copy(update={"pathai_version": "9"}).digest == made.digest
    assert made.model_copy(update={"status": "degraded"}).digest != made.digest


def test_killed_job_is_recorded_as_failed_and_stays_current(tmp_path):
    run_stage(tmp_path / "p", "S1", key(), {}, write_both)
    child = Key("child", 1, "c", ("c.txt",))
    parents = {"p": tmp_path / "p"}
    fail(tmp_path / "c", "S1", child, parents, PathaiError("E173", "killed"))
    made = run_stage(tmp_path / "c", "S1", child, parents, forbidden)
    assert (made.status, made.problems[0].code) == ("failed", "E173")


def test_folder_that_cannot_be_written_is_e160(tmp_path):
    (tmp_path / "x").write_bytes(b"a file where a folder is needed")
    with pytest.raises(PathaiError, match="E160"):
        write_atomic(tmp_path / "x" / "y", b"")


def test_full_disk_is_e161_and_leaves_nothing_under_a_final_name(tmp_path):
    code = f"""
import resource, signal
from pathlib import Path
from pathai.store.commit import Key, run_stage
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    run_stage(Path({str(tmp_path)!r}) / "r", "S1", Key("stage", 1, "c", ("a.txt",)), {{}},
              lambda out: out.part("a.txt").write_bytes(bytes(100_000)))
except Exception as error:
    print(error)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert printed.startswith("E161"), printed
    assert re.search(r"at least \d+ KiB needed, [\d.]+ [GMK]iB free", printed)
    assert names(tmp_path) == set()


def test_a_disk_that_is_full_before_the_manifest_leaves_no_output(tmp_path, monkeypatch):
    def refuse(path, manifest):
        raise storage_error(OSError(ENOSPC, "No space left on device"))

    monkeypatch.setattr(commit, "write_manifest", refuse)
    with pytest.raises(PathaiError, match="E161"):
        run_stage(tmp_path / "r", "S1", key(), {}, write_both)
    assert names(tmp_path) == set()


def test_a_file_that_finds_no_room_says_how_much_it_needs_and_is_not_left(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(PathaiError, match=r"E161.*at least 3 KiB needed, .* free"):
        write_atomic(tmp_path / "x.json", bytes(3000))
    assert names(tmp_path) == set()


def test_a_journal_outlives_a_kill_and_nothing_else(tmp_path):
    """It is there for the next attempt; what ends the attempt takes it away."""
    journal = tmp_path / "a.txt.rows.part"

    def begin(out: Commit) -> None:
        out.journal("a.txt").write_bytes(b"rows")
        out.part("a.txt").write_bytes(b"half")
        raise KeyboardInterrupt

    def go_on(out: Commit) -> None:
        assert out.journal("a.txt").read_bytes() == b"rows"
        assert not (tmp_path / "a.txt.part").exists()
        out.part("a.txt").write_bytes(b"whole")

    def break_off(out: Commit) -> None:
        raise PathaiError("E180", "not finite")

    def begun() -> None:
        with pytest.raises(KeyboardInterrupt):
            run_stage(tmp_path / "r", "S1", key(), {}, begin)
        assert journal.exists()

    begun()
    assert run_stage(tmp_path / "r", "S1", key(), {}, go_on).status == "ok"
    assert names(tmp_path) == {"a.txt", "r.manifest.json"}
    manifest_path(tmp_path / "r").unlink()
    begun()
    assert run_stage(tmp_path / "r", "S1", key(), {}, break_off).status == "failed"
    assert names(tmp_path) == {"r.manifest.json"}
    manifest_path(tmp_path / "r").unlink()
    begun()
    fail(tmp_path / "r", "S1", key(), {}, PathaiError("E173", "killed"))
    assert names(tmp_path) == {"r.manifest.json"}


def test_a_journal_is_of_one_key_and_its_parents(tmp_path):
    seen = set()

    def note(out: Commit) -> None:
        seen.add(out.made_from)
        out.part("c.txt").write_bytes(b"")

    run_stage(tmp_path / "p", "S1", key(), {}, write_both)
    for config, parents in (("c", {}), ("d", {}), ("d", {"p": tmp_path / "p"})):
        run_stage(tmp_path / "c", "S1", Key("child", 1, config, ("c.txt",)), parents, note)
    assert len(seen) == 3
    assert all(len(digest) == 64 for digest in seen)
