"""Slides on a server: the same bytes as on a disk, or an error that says why; nothing leaks."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from remote_cases import S3_ENVIRONMENT, Shelf, config, fresh, http_server

from pathai import source
from pathai.batch import complain, describe
from pathai.chain import slide_steps
from pathai.config import Config, IngestConfig, load_config
from pathai.errors import PathaiError
from pathai.guard import shared
from pathai.plan import Plan
from pathai.run import check_everything
from pathai.sheet import load_sheet
from pathai.source import Remote, identity, place, stamp
from pathai.store.manifest import Manifest
from pathai.testing.synthetic import Recipe, write_slide

SECRETS = ("CANARY", "127.0.0.1", "slides-bucket")


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("slide") / "s.svs"
    write_slide(path, Recipe(seed=4, width=1500, height=1100))
    return path.read_bytes()


@pytest.fixture
def web() -> Iterator[Shelf]:
    with http_server() as shelf:
        yield shelf


def told(call: object, *arguments: object) -> PathaiError:
    with pytest.raises(PathaiError) as caught:
        call(*arguments)  # type: ignore[operator]
    for secret in SECRETS:
        assert secret not in str(caught.value)
    return caught.value


def child(name: str, *arguments: object) -> object:
    """Run in a child, as the pipeline does."""
    return shared(8192).call(f"pathai.{name}", *arguments, seconds=60)


def run(plan: Plan, slide_id: str = "S1") -> list[Manifest]:
    made = []
    for stage in ("ingest", "tile"):
        made += [step.run() for step in slide_steps(plan, stage, slide_id)]
    return made


# --- where a slide lies ----------------------------------------------------------------------


def test_paths_stay_paths_and_addresses_need_leave(tmp_path: Path) -> None:
    assert place("a/b.svs", tmp_path, ()) == tmp_path / "a" / "b.svs"
    url = "https://slides.example.org/a.svs?signature=CANARY"
    assert place(url, tmp_path, ()) == Remote(url, allowed=False)
    assert place(url, tmp_path, ("https://slides.example.org",)) == Remote(url, allowed=True)
    for other in ("http://slides.example.org", "https://example.org", "s3://slides.example.org"):
        assert place(url, tmp_path, (other,)) == Remote(url, allowed=False)
    port = "https://slides.example.org:8443/a.svs"
    assert place(port, tmp_path, ("https://slides.example.org",)) == Remote(port, allowed=False)


def test_no_secret_is_shown() -> None:
    remote = Remote("https://slides.example.org/a.svs?signature=CANARY", allowed=True)
    assert "CANARY" not in f"{remote} {remote!r}"
    assert str(remote) == "https://slides.example.org/a.svs"
    assert remote.suffix == ".svs"


@pytest.mark.parametrize(
    "url",
    [
        "https://user:CANARY@example.org/a.svs",
        "ftp://example.org/a.svs",
        "file:///a.svs",
        "s3://bucket/",
        "s3://bucket:99/a.svs",
        "https://example.org/a.svs#CANARY",
        "https://[CANARY/a.svs",
        "https:///a.svs",
    ],
)
def test_other_addresses_are_refused_in_the_sheet(tmp_path: Path, url: str) -> None:
    path = config(tmp_path, {"S1": url}).with_name("slides.tsv")
    error = told(load_sheet, path)
    assert error.code == "E154"
    assert "row 2, column path" in error.message


@pytest.mark.parametrize("entry", ["https://u:CANARY@h", "https://h/x", "h", "ftp://h", "*"])
def test_only_servers_can_be_allowed(tmp_path: Path, entry: str) -> None:
    path = config(tmp_path, {"S1": "a.svs"}, remote=f'"{entry}"')
    error = told(load_config, path)
    assert (error.code, "ingest.remote" in error.message) == ("E190", True)


def test_by_default_no_server_is_spoken_to(
    tmp_path: Path, web: Shelf, slide: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.objects["/a.svs"] = slide
    assert Config().ingest.remote == ()
    plan = Plan(config(tmp_path, {"S1": f"{web.url}/a.svs?key=CANARY"}))
    made = run(plan)
    assert [m.status for m in made] == ["failed", "failed"]
    assert made[0].problems[0].code == "E106"
    assert "ingest.remote" in made[0].problems[0].remedy
    assert (web.served, web.ranges) == (0, 0)
    assert identity(plan.place("S1")) == {}
    assert told(stamp, plan.place("S1")).code == "E106"


def test_leave_is_no_reason_to_read_a_slide_again(tmp_path: Path) -> None:
    (tmp_path / "a.svs").write_bytes(b"x")
    keys = []
    for remote in ("", "s3://bucket"):
        plan = Plan(config(tmp_path, {"S1": "a.svs"}, remote=remote))
        keys.append(slide_steps(plan, "ingest", "S1")[0].key)
    assert keys[0] == keys[1]


def test_a_run_does_not_begin_with_a_server_that_is_not_named(tmp_path: Path) -> None:
    plan = Plan(config(tmp_path, {"S1": "https://slides.example.org/a.svs?key=CANARY"}))
    error = told(check_everything, plan)
    assert (error.code, "row 2" in error.message) == ("E106", True)
    assert complain(error) == 2


def test_errors_of_network_libraries_become_ours_without_their_texts() -> None:
    from botocore import exceptions as boto

    cases = [
        (TimeoutError("CANARY"), "E162", "in time"),
        (boto.ReadTimeoutError(endpoint_url="CANARY"), "E162", "in time"),
        (boto.EndpointConnectionError(endpoint_url="CANARY"), "E162", "could not be read"),
        (boto.NoCredentialsError(), "E105", "refuses"),
        (boto.ProfileNotFound(profile="CANARY"), "E162", "ProfileNotFound"),
        (ConnectionResetError("CANARY"), "E162", "ConnectionResetError"),
        (ValueError("CANARY"), "E162", "ValueError"),
    ]
    for raised, code, text in cases:

        def fail(raised: Exception = raised) -> None:
            with source.spoken():
                raise raised

        error = told(fail)
        assert (error.code, text in error.message) == (code, True), error


# --- HTTP ------------------------------------------------------------------------------------


def same_as_local(tmp_path: Path, data: bytes, url: str, allowed: str, suffix: str) -> None:
    """Both stages make of the object what they make of the file."""
    local = tmp_path / f"local{suffix}"
    local.write_bytes(data)
    rows = {"S1": local.name, "S2": url}
    plan = Plan(config(tmp_path, rows, remote=allowed))
    disk, net = run(plan, "S1"), run(plan, "S2")
    assert [m.status for m in (*disk, *net)] == ["ok"] * 4, [describe(m) for m in (*disk, *net)]
    assert {n: f.sha256 for n, f in disk[1].files.items()} == {
        n: f.sha256 for n, f in net[1].files.items()
    }
    facts = [plan.results.slide(i).read_slide() for i in rows]
    assert facts[0].sha256 == facts[1].sha256 == hashlib.sha256(data).hexdigest()
    own = {"slide_id", "reader", "reader_reason", "phi", "associated"}
    assert facts[0].model_dump(exclude=own) == facts[1].model_dump(exclude=own)
    assert all(step.manifest() for i in rows for step in slide_steps(plan, "ingest", i))
    for written in plan.results.path.rglob("*"):
        if written.is_file():
            content = written.read_bytes()
            assert not [s for s in SECRETS if s.encode() in content], written.name


def test_a_slide_from_http_is_the_slide_on_the_disk(
    tmp_path: Path, web: Shelf, slide: bytes
) -> None:
    web.objects["/deep/a.svs"] = slide
    same_as_local(tmp_path, slide, f"{web.url}/deep/a.svs?key=CANARY", web.url, ".svs")


@pytest.mark.real
@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "OS-1-detail_HE.ome.tif"])
def test_real_slides_from_http(tmp_path: Path, web: Shelf, test_data: Path, name: str) -> None:
    data = (test_data / "slides" / name).read_bytes()
    web.objects[f"/{name}"] = data
    suffix = "".join(Path(name).suffixes[-2:]) if "ome" in name else ".svs"
    same_as_local(tmp_path, data, f"{web.url}/{name}", web.url, suffix)


def test_looking_at_a_slide_does_not_fetch_it(web: Shelf, slide: bytes) -> None:
    web.objects["/a.svs"] = slide + bytes(64 * 2**20)
    kind = child("readers.sniff:sniff", Remote(f"{web.url}/a.svs", allowed=True), IngestConfig())
    assert kind == "tiff"
    assert web.served < 6 * 2**20


FAULTS = {
    "404": ("E102", "no such object"),
    "410": ("E102", "no such object"),
    "401": ("E105", "refuses"),
    "403": ("E105", "refuses"),
    "500": ("E162", "status 500"),
    "302": ("E162", "elsewhere"),
    "whole": ("E162", "no parts"),
    "cut": ("E162", "could not be read"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_server_can_do_wrong(web: Shelf, slide: bytes, fault: str) -> None:
    web.objects.update({"/a.svs": slide, "/other.svs": slide})
    web.fault = fault
    code, text = FAULTS[fault]
    remote = Remote(f"{web.url}/a.svs?key=CANARY", allowed=True)
    error = told(child, "ingest:fingerprint", remote)
    assert (error.code, text in error.message) == (code, True), error
    assert error.remedy


def test_a_server_that_is_away_is_asked_once(web: Shelf) -> None:
    gone = [Remote(f"http://127.0.0.1:9/{i}.svs", allowed=True) for i in range(3)]
    assert told(stamp, gone[0]).code == "E162"
    assert [identity(remote) for remote in gone] == [{}, {}, {}]
    assert source._known.cache_info().misses == 3
    assert source._silent == {"http://127.0.0.1:9"}


def test_a_silent_server_is_not_waited_for_forever(
    web: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.fault = "slow"
    monkeypatch.setattr(source, "LOOK_SECONDS", 2.0)
    assert told(stamp, Remote(f"{web.url}/a.svs", allowed=True)).code == "E171"


def test_a_truncated_object_is_named(tmp_path: Path, web: Shelf, slide: bytes) -> None:
    web.objects["/a.svs"] = slide[: len(slide) * 2 // 3]
    plan = Plan(config(tmp_path, {"S1": f"{web.url}/a.svs"}, remote=web.url))
    assert run(plan)[0].problems[0].code == "E110"
    web.objects["/a.svs"] = b""
    fresh()
    assert run(plan)[0].problems[0].code == "E101"
    web.objects["/a.svs"] = b"CANARY-PATIENT\n" * 99
    fresh()
    assert run(plan)[0].problems[0].code == "E104"


def test_formats_of_several_files_are_not_read_from_a_server(web: Shelf) -> None:
    web.objects["/a.mrxs"] = b"\xff\xd8\xff" + bytes(2000)
    web.objects["/a.tif"] = bytes(128) + b"DICM" + bytes(2000)
    limits = IngestConfig()
    for name, code in (("a.mrxs", "E107"), ("a.tif", "E104")):
        remote = Remote(f"{web.url}/{name}", allowed=True)
        assert told(child, "readers.sniff:sniff", remote, limits).code == code


def test_an_object_replaced_while_it_is_read(tmp_path: Path, web: Shelf, slide: bytes) -> None:
    web.objects["/a.svs"] = slide
    plan = Plan(config(tmp_path, {"S1": f"{web.url}/a.svs"}, remote=web.url))
    (ingest,) = slide_steps(plan, "ingest", "S1")
    assert ingest.run().status == "ok"
    fresh()
    other = bytearray(slide)
    other[len(other) // 2] ^= 1
    web.replacement, web.ranges, web.replace_after = bytes(other), 0, 1
    (tile,) = slide_steps(plan, "tile", "S1")
    assert tile.run().problems[0].code == "E163"
    fresh()
    (again,) = slide_steps(plan, "ingest", "S1")
    assert again.manifest() is None  # noticed by the version, the size being the same


def test_a_server_that_goes_away_keeps_results(tmp_path: Path, web: Shelf, slide: bytes) -> None:
    web.objects["/a.svs"] = slide
    plan = Plan(config(tmp_path, {"S1": f"{web.url}/a.svs"}, remote=web.url))
    made = run(plan)
    web.fault = "500"
    fresh()
    assert [step.manifest() for step in slide_steps(plan, "ingest", "S1")] == [made[0]]


# --- S3 (moto, an emulator) ------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3() -> Iterator[object]:
    """A client of an emulated S3 on loopback, which children find in their environment."""
    boto3 = pytest.importorskip("boto3")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    before = dict(os.environ)
    os.environ.update(S3_ENVIRONMENT | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"})
    fresh()
    client = boto3.client("s3")
    client.create_bucket(Bucket="slides-bucket")
    yield client
    client.close()
    server.stop()
    os.environ.clear()
    os.environ.update(before)
    fresh()


def test_a_slide_from_s3_is_the_slide_on_the_disk(tmp_path: Path, s3: object, slide: bytes) -> None:
    s3.put_object(Bucket="slides-bucket", Key="deep/CANARY.svs", Body=slide)  # type: ignore[attr-defined]
    url = "s3://slides-bucket/deep/CANARY.svs"
    same_as_local(tmp_path, slide, url, "s3://slides-bucket", ".svs")


@pytest.mark.real
@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "OS-1-detail_HE.ome.tif"])
def test_real_slides_from_s3(tmp_path: Path, s3: object, test_data: Path, name: str) -> None:
    data = (test_data / "slides" / name).read_bytes()
    s3.put_object(Bucket="slides-bucket", Key=name, Body=data)  # type: ignore[attr-defined]
    suffix = "".join(Path(name).suffixes[-2:]) if "ome" in name else ".svs"
    same_as_local(tmp_path, data, f"s3://slides-bucket/{name}", "s3://slides-bucket", suffix)


def test_what_is_not_in_s3(s3: object) -> None:
    for url in ("s3://slides-bucket/none.svs", "s3://no-such-bucket/none.svs"):
        assert told(stamp, Remote(url, allowed=True)).code == "E102"


def test_s3_without_credentials(s3: object, monkeypatch: pytest.MonkeyPatch, slide: bytes) -> None:
    s3.put_object(Bucket="slides-bucket", Key="a.svs", Body=slide)  # type: ignore[attr-defined]
    remote = Remote("s3://slides-bucket/a.svs", allowed=True)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    fresh()
    error = told(stamp, remote)
    assert (error.code, "environment" in error.remedy) == ("E105", True)
    monkeypatch.setenv("FSSPEC_S3_ANON", "true")
    fresh()
    assert told(stamp, remote).code == "E105"  # the bucket is private
    s3.put_object_acl(Bucket="slides-bucket", Key="a.svs", ACL="public-read")  # type: ignore[attr-defined]
    fresh()
    assert stamp(remote)["size"] == len(slide)
    monkeypatch.undo()
    fresh()


def test_an_object_of_s3_replaced_while_it_is_read(s3: object, slide: bytes) -> None:
    from pathai.guard import Guard

    body = slide + bytes(8 * 2**20)
    s3.put_object(Bucket="slides-bucket", Key="b.svs", Body=body)  # type: ignore[attr-defined]
    remote = Remote("s3://slides-bucket/b.svs", allowed=True)
    with Guard() as guard:
        first = guard.call("remote_cases:read_part", remote, 0, seconds=60)
        assert first == body[:100]
        before = stamp(remote)
        s3.put_object(Bucket="slides-bucket", Key="b.svs", Body=body[::-1])  # type: ignore[attr-defined]
        assert stamp(remote) != before
        last = len(body) - 100
        with pytest.raises(PathaiError, match="E163"):
            guard.call("remote_cases:read_part", remote, last, seconds=60)
