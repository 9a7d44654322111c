"""Weights from the hub: what it gives, refuses, breaks off or forges."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from hub_cases import BODIES, CARD, COMMITS, changed, point_at, sha

from pathai.encoders.hub import fetch
from pathai.encoders.setup import Setup
from pathai.encoders.weights import LOCK, Weights, find, locate, read_record
from pathai.errors import PathaiError


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
