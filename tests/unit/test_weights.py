"""Where weights come from, and the proof that they are the ones meant."""

import json
import os
import stat
from pathlib import Path

import pytest
from hub_cases import BODIES, CARD, COMMITS, changed, sha

from pathai.encoders import weights as module
from pathai.encoders.cards import CARDS
from pathai.encoders.setup import Setup
from pathai.encoders.weights import LOCK, Weights, find, locate, read_record, recorded
from pathai.errors import PathaiError
from pathai.weights import check
from pathai.weights import fetch as fetch_all


def no_read(monkeypatch):
    def refuse(path):
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(module, "hash_file", refuse)


def test_a_truncated_file_is_not_recorded_as_the_one_that_is_meant(own):
    """Else the whole file would be refused when it comes."""
    file = own / "tiny" / CARD.file
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(PathaiError, match=r"E182.*tiny\.safetensors.*its header says"):
        locate(CARD, Setup(own))
    assert not (own / "tiny" / LOCK).exists()
    file.write_bytes(whole)
    assert locate(CARD, Setup(own)).sha256 == sha(whole)


# --- the lock ---------------------------------------------------------------------------------


def test_a_file_is_hashed_once_and_then_known_by_size_and_time(own, monkeypatch):
    first = locate(CARD, Setup(own))
    assert first == Weights(own / "tiny" / CARD.file, sha(BODIES[0]))
    assert json.loads((own / "tiny" / LOCK).read_text())["revision"] is None
    module._sha256.cache_clear()
    no_read(monkeypatch)
    assert locate(CARD, Setup(own)) == first
    found = find(CARD, own)
    assert (found.place, recorded(CARD, found, own)) == ("folder", sha(BODIES[0]))


def test_the_same_bytes_at_another_time_are_the_same_weights(own):
    locate(CARD, Setup(own))
    os.utime(own / "tiny" / CARD.file, ns=(5, 5))
    assert recorded(CARD, find(CARD, own), own) == ""
    assert locate(CARD, Setup(own)).sha256 == sha(BODIES[0])
    assert read_record(CARD, own).mtime_ns == 5


def test_other_bytes_than_those_of_the_lock_are_refused(own):
    locate(CARD, Setup(own))
    (own / "tiny" / CARD.file).write_bytes(BODIES[1])
    os.utime(own / "tiny" / CARD.file, ns=(5, 5))
    with pytest.raises(PathaiError) as caught:
        locate(CARD, Setup(own))
    text = str(caught.value)
    for said in ("E182", "tiny", CARD.file, sha(BODIES[1])[:12], sha(BODIES[0])[:12], LOCK):
        assert said in text
    (own / "tiny" / LOCK).unlink()  # what the remedy says
    assert locate(CARD, Setup(own)).sha256 == sha(BODIES[1])


def test_other_bytes_than_those_of_the_card_are_refused(own):
    with pytest.raises(PathaiError, match=f"E182.*the card says {sha(BODIES[1])[:12]}"):
        locate(changed(sha256=sha(BODIES[1])), Setup(own))
    assert locate(changed(sha256=sha(BODIES[0])), Setup(own)).sha256 == sha(BODIES[0])


def test_a_damaged_lock_is_no_proof(own):
    locate(CARD, Setup(own))
    (own / "tiny" / LOCK).write_text('{"sha256": "f"')
    with pytest.raises(PathaiError, match=r"E182.*weights\.lock\.json.*remove it"):
        locate(CARD, Setup(own))


def test_a_folder_that_cannot_be_written_serves(own, monkeypatch):
    def refuse(card, weights, record):
        raise PathaiError("E160", "read-only")

    monkeypatch.setattr(module, "write_record", refuse)
    assert locate(CARD, Setup(own)).sha256 == sha(BODIES[0])
    assert not (own / "tiny" / LOCK).exists()
    no_read(monkeypatch)  # still once per process only
    assert locate(CARD, Setup(own)).sha256 == sha(BODIES[0])


def test_a_file_that_changes_while_it_is_read_is_refused(own, monkeypatch):
    true = module.hash_file

    def slow(path):
        found = true(path)
        path.write_bytes(BODIES[1])
        os.utime(path, ns=(7, 7))
        return found

    module._sha256.cache_clear()
    monkeypatch.setattr(module, "hash_file", slow)
    with pytest.raises(PathaiError, match="E163"):
        locate(CARD, Setup(own))
    assert not (own / "tiny" / LOCK).exists()


def test_the_lock_can_be_read_by_the_group(own):
    old = os.umask(0o022)
    try:
        locate(CARD, Setup(own))
    finally:
        os.umask(old)
    assert stat.S_IMODE((own / "tiny" / LOCK).stat().st_mode) == 0o644


def test_weights_that_are_nowhere_say_how_to_get_them(tmp_path, hub):
    with pytest.raises(PathaiError) as caught:
        locate(CARD, Setup(tmp_path / "weights"))
    assert "E183: encoder tiny has no weights here" in str(caught.value)
    assert "run pathai weights fetch tiny, or put tiny.safetensors into weights/tiny" in str(
        caught.value
    )
    assert str(tmp_path) not in str(caught.value)
    assert hub.asked == []
    gated = changed(gated=True)
    with pytest.raises(PathaiError, match=r"ask for access at https://huggingface\.co/Lab/tiny"):
        locate(gated, Setup(tmp_path / "weights"))
    elsewhere = changed(repo="https://example.org/lab/package")
    with pytest.raises(PathaiError, match=r"get them from https://example\.org"):
        locate(elsewhere, Setup(tmp_path / "weights"))


def test_the_cache_of_the_hub_is_a_place(tmp_path, hub):
    commit = COMMITS[0]
    repo = tmp_path / "home" / "hub" / "models--Lab--tiny"
    (repo / "blobs").mkdir(parents=True)
    (repo / "blobs" / "x").write_bytes(BODIES[0])
    (repo / "snapshots" / commit).mkdir(parents=True)
    (repo / "snapshots" / commit / CARD.file).symlink_to(repo / "blobs" / "x")
    weights = tmp_path / "weights"
    with pytest.raises(PathaiError, match="E183"):  # at which revision, nobody has said
        locate(CARD, Setup(weights))
    assert locate(changed(revision=commit), Setup(weights)).sha256 == sha(BODIES[0])
    assert read_record(CARD, weights).revision == commit
    assert locate(CARD, Setup(weights)).sha256 == sha(BODIES[0])  # the lock says it now
    with pytest.raises(PathaiError, match="E183"):
        locate(changed(revision=COMMITS[1]), Setup(weights))


# --- the verbs --------------------------------------------------------------------------------


@pytest.fixture
def cards(monkeypatch):
    found = {"tiny": CARD, "other": changed(name="other", repo="Lab/gone")}
    monkeypatch.setattr(CARDS, "_cards", found)
    return found


def test_one_that_fails_does_not_stop_the_others(tmp_path, hub, cards, capsys):
    failed = fetch_all(["other", "tiny"], Setup(tmp_path / "weights"))
    assert list(failed) == ["other"]
    said = capsys.readouterr().err
    assert COMMITS[1][:12] in said
    assert "now pinned in the lock" in said
    assert sha(BODIES[1])[:12] in said


def test_an_unknown_name_is_refused_before_anything_is_fetched(tmp_path, hub, cards):
    with pytest.raises(PathaiError, match=r"E191.*tinny.*try tiny"):
        fetch_all(["tiny", "tinny"], Setup(tmp_path / "weights"))
    assert hub.asked == []


def test_a_forbidden_licence_is_not_fetched(tmp_path, hub, cards):
    failed = fetch_all(["tiny"], Setup(tmp_path / "weights", licence="commercial"))
    assert failed["tiny"].code == "E185"
    assert hub.asked == []


def test_a_check_reads_every_byte_whatever_the_lock_says(own, cards):
    locate(CARD, Setup(own))
    file = own / "tiny" / CARD.file
    before = file.stat()
    file.write_bytes(BODIES[0][:-1] + b"!")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert locate(CARD, Setup(own)).sha256 == sha(BODIES[0])  # the quick look sees nothing
    (row,) = check([], Setup(own))
    assert (row.name, row.state) == ("tiny", "damaged")
    assert sha(BODIES[0])[:12] in row.problem


def test_a_check_tells_missing_from_damaged(own, cards):
    states = {row.name: (row.state, row.problem) for row in check(["tiny", "other"], Setup(own))}
    assert states["other"][0] == "missing"
    assert states["tiny"][0] == "damaged"
    assert "E182: tiny.safetensors" in states["tiny"][1]
    assert check([], Setup(Path("nowhere"))) == []
