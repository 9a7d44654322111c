"""Where weights come from, and the proof that they are the ones meant."""

import json
import os
import shutil
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from hub_cases import COMMITS, Hub, hub_server, point_at

from pathai.encoders import weights as module
from pathai.encoders.cards import CARDS, Card
from pathai.encoders.hub import fetch
from pathai.encoders.setup import Setup
from pathai.encoders.weights import LOCK, Weights, find, locate, read_record, recorded
from pathai.errors import PathaiError
from pathai.weights import check
from pathai.weights import fetch as fetch_all

BODIES = (b"older " * 5000, b"newer " * 5000)
CARD = CARDS["uni"].model_copy(
    update={"name": "tiny", "repo": "Lab/tiny", "file": "tiny.safetensors", "gated": False}
    | {"revision": None, "sha256": None}
)


def sha(data: bytes) -> str:
    return sha256(data).hexdigest()


def changed(**update: object) -> Card:
    return CARD.model_copy(update=update)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that has the card's file at two commits; nothing of this machine's own cache."""
    with hub_server(Hub(files={"Lab/tiny/tiny.safetensors": BODIES})) as found:
        point_at(monkeypatch, found.url, tmp_path / "home")
        monkeypatch.setattr(time, "sleep", lambda seconds: None)
        yield found


@pytest.fixture
def own(tmp_path, hub):
    """A folder of weights with a file that was put there by hand."""
    folder = tmp_path / "weights"
    (folder / "tiny").mkdir(parents=True)
    (folder / "tiny" / CARD.file).write_bytes(BODIES[0])
    return folder


def no_read(monkeypatch):
    def refuse(path):
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(module, "hash_file", refuse)


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


# --- the hub ----------------------------------------------------------------------------------


def test_fetching_pins_the_newest_commit(tmp_path, hub):
    weights = tmp_path / "weights"
    made = fetch(CARD, weights)
    assert made == Weights(weights / "tiny" / CARD.file, sha(BODIES[1]))
    assert not made.path.is_symlink()
    record = read_record(CARD, weights)
    assert (record.revision, record.repo, record.sha256) == (COMMITS[1], "Lab/tiny", made.sha256)
    left = {path.name for path in (weights / "tiny").iterdir()}
    assert left == {CARD.file, LOCK, ".fetch.lock"}
    asked = len(hub.asked)
    assert fetch(CARD, weights) == made
    assert len(hub.asked) == asked  # what is pinned and here needs no hub
    assert locate(CARD, Setup(weights)) == made


def test_a_revision_is_taken_from_the_call_the_card_the_lock(tmp_path, hub):
    weights = tmp_path / "weights"
    assert fetch(CARD, weights, COMMITS[0]).sha256 == sha(BODIES[0])
    (weights / "tiny" / CARD.file).unlink()
    assert fetch(CARD, weights).sha256 == sha(BODIES[0])  # the lock's
    assert fetch(changed(revision=COMMITS[1]), weights).sha256 == sha(BODIES[1])
    assert fetch(CARD, weights, "main").sha256 == sha(BODIES[1])
    assert read_record(CARD, weights).revision == COMMITS[1]


def test_a_file_that_was_put_there_and_is_the_hubs_own_is_not_fetched_again(own, hub):
    fetch(CARD, own, COMMITS[0])
    assert [method for method, *_ in hub.asked] == ["HEAD"]
    assert read_record(CARD, own).revision == COMMITS[0]


def test_nothing_but_the_request_is_sent(tmp_path, hub):
    fetch(CARD, tmp_path / "weights")
    for _, path, headers in hub.asked:
        assert path.startswith("/Lab/tiny/resolve/")
        assert "torch/" not in headers["user-agent"]
        assert "agent/" not in headers["user-agent"]
        assert "authorization" not in headers


def test_gated_weights_need_a_login_that_is_never_shown(tmp_path, hub, monkeypatch, capfd):
    hub.gated = True
    wanted = r"E183.*tiny.*ask for access at https://huggingface\.co/Lab/tiny, then hf auth login"
    for token in ("", "hf_wrong_secret"):
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(PathaiError, match=wanted) as caught:
            fetch(changed(gated=True), tmp_path / "weights")
        assert "secret" not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "let-me-in")
    fetch(changed(gated=True), tmp_path / "weights")
    assert "let-me-in" not in "".join(capfd.readouterr())
    assert "let-me-in" not in (tmp_path / "weights" / "tiny" / LOCK).read_text()


@pytest.mark.parametrize(
    ("card", "revision", "said"),
    [
        (changed(repo="Lab/gone"), "", r"has no Lab/gone.*see https://huggingface.co/Lab/gone"),
        (changed(file="gone.bin"), "", r"has no file gone\.bin"),
        (CARD, "c" * 40, "has no revision ccc"),
    ],
)
def test_what_the_hub_has_not_is_named(tmp_path, hub, card, revision, said):
    with pytest.raises(PathaiError, match=f"E183.*tiny.*{said}"):
        fetch(card, tmp_path / "weights", revision)


def test_a_hub_that_is_down_or_away(tmp_path, hub, monkeypatch):
    hub.status = 503
    with pytest.raises(PathaiError, match=r"E183.*answered 503"):
        fetch(CARD, tmp_path / "weights")
    point_at(monkeypatch, "http://127.0.0.1:9", tmp_path / "home")
    with pytest.raises(PathaiError, match=r"E183.*cannot be reached.*where network is"):
        fetch(CARD, tmp_path / "weights")


def test_an_interrupted_download_goes_on_where_it_stopped(tmp_path, hub, monkeypatch):
    weights = tmp_path / "weights"
    hub.cut = [10_000] + [0] * 5
    with pytest.raises(PathaiError, match=r"E183.*cannot be reached.*it goes on"):
        fetch(CARD, weights)
    (part,) = (weights / "tiny").glob("*.part")
    assert part.read_bytes() == BODIES[1][:10_000]
    assert find(CARD, weights) is None
    hub.asked.clear()
    assert fetch(CARD, weights).sha256 == sha(BODIES[1])
    assert [h.get("range") for method, _, h in hub.asked if method == "GET"] == ["bytes=10000-"]
    assert not list((weights / "tiny").glob("*.part"))


def test_a_drop_within_a_download_is_mended_by_itself(tmp_path, hub):
    hub.cut = [10_000, 3_000]
    assert fetch(CARD, tmp_path / "weights").sha256 == sha(BODIES[1])


def test_large_files_lie_elsewhere_and_the_login_stays_at_the_hub(tmp_path, hub, monkeypatch):
    hub.elsewhere = hub.gated = True
    hub.cut = [10_000] + [0] * 5
    monkeypatch.setenv("HF_TOKEN", "let-me-in")
    with pytest.raises(PathaiError, match="E183"):
        fetch(CARD, tmp_path / "weights")
    assert fetch(CARD, tmp_path / "weights").sha256 == sha(BODIES[1])
    moved = [headers for _, path, headers in hub.asked if path.startswith("/moved/")]
    assert moved[-1]["range"] == "bytes=10000-"
    assert not [headers for headers in moved if "authorization" in headers]


def test_two_that_fetch_the_same_wait_for_one_another(tmp_path, hub):
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda _: fetch(CARD, tmp_path / "weights"), range(2)))
    assert made[0] == made[1]
    assert [method for method, *_ in hub.asked].count("GET") == 1


def test_fetching_mends_a_damaged_file(tmp_path, hub):
    weights = tmp_path / "weights"
    file = fetch(CARD, weights, COMMITS[0]).path
    before = file.stat()
    file.write_bytes(BODIES[0][:-1] + b"!")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert fetch(CARD, weights) == Weights(file, sha(BODIES[0]))
    assert file.read_bytes() == BODIES[0]


def test_the_rest_of_another_version_is_not_used(tmp_path, hub):
    weights = tmp_path / "weights"
    hub.cut = [10_000] + [0] * 5
    with pytest.raises(PathaiError):
        fetch(CARD, weights)
    assert fetch(CARD, weights, COMMITS[0]).sha256 == sha(BODIES[0])
    assert not list((weights / "tiny").glob("*.part"))


def test_bytes_that_are_not_those_of_the_hubs_mark_are_refused(tmp_path, hub):
    hub.lies = b"x" * len(BODIES[1])
    with pytest.raises(PathaiError, match=r"E182.*the hub says"):
        fetch(CARD, tmp_path / "weights")
    assert {p.name for p in (tmp_path / "weights" / "tiny").iterdir()} == {".fetch.lock"}


def test_another_file_at_the_same_revision_is_refused_and_the_old_one_stays(tmp_path, hub):
    weights = tmp_path / "weights"
    fetch(CARD, weights, COMMITS[0])
    kept = (weights / "tiny" / LOCK).read_bytes()
    hub.files["Lab/tiny/tiny.safetensors"] = (b"forged " * 4000, BODIES[1])
    (weights / "tiny" / CARD.file).rename(tmp_path / "aside")
    with pytest.raises(PathaiError, match=r"E182.*the lock of the same revision says"):
        fetch(CARD, weights)
    assert (weights / "tiny" / LOCK).read_bytes() == kept
    assert find(CARD, weights) is None


def test_a_commit_is_the_one_that_was_asked_for(tmp_path, hub):
    hub.commit = "c" * 40
    with pytest.raises(PathaiError, match=r"E182.*asked for aaaaaaaaaaaa.*gives cccccccccccc"):
        fetch(CARD, tmp_path / "weights", COMMITS[0])


def test_bytes_that_are_not_the_cards_are_refused(tmp_path, hub):
    with pytest.raises(PathaiError, match=r"E182.*the card says"):
        fetch(changed(sha256=sha(BODIES[0])), tmp_path / "weights")


def test_a_full_disk_is_named_before_the_download(tmp_path, hub, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    with pytest.raises(PathaiError, match=r"E161.*tiny.*are free"):
        fetch(CARD, tmp_path / "weights")
    assert [method for method, *_ in hub.asked] == ["HEAD"]


def test_a_disk_that_fills_while_it_is_written_is_named(tmp_path, hub, monkeypatch):
    def full(*args, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    with pytest.raises(PathaiError, match=r"E161.*tiny.*No space left"):
        fetch(CARD, tmp_path / "weights")


def test_a_run_fetches_only_where_the_configuration_says_so(tmp_path, hub, monkeypatch):
    with pytest.raises(PathaiError, match="E183"):
        locate(CARD, Setup(tmp_path / "weights"))
    assert hub.asked == []
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PathaiError, match=r"E183.*HF_HUB_OFFLINE"):
        locate(CARD, Setup(tmp_path / "weights", network=True))
    assert hub.asked == []
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert locate(CARD, Setup(tmp_path / "weights", network=True)).sha256 == sha(BODIES[1])


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
