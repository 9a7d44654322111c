"""Verify finds every fault and names the file; it finds none where there is none."""

import json
import random
import shutil
from pathlib import Path

import pytest

from pathai.errors import PathaiError
from pathai.store.manifest import SUFFIX, Manifest, read_manifest, write_manifest
from pathai.verify import verify

FAULTS = 320
KINDS = ("bit", "truncate", "delete", "swap", "extra", "part", "append", "empty")


def files(root: Path) -> list[Path]:
    return sorted(p for p in root.rglob("*") if p.is_file())


def named(root: Path) -> set[str]:
    return {fault.file for fault in verify(root).faults}


def test_a_whole_run_is_whole(tiny_results):
    for folder in ("results", "models", "results/slides/E1", "results/cases", "results/cohort"):
        report = verify(tiny_results / folder)
        present = files(tiny_results / folder)
        assert report.ok, report.faults
        assert report.files == len(present)
        assert report.bytes == sum(p.stat().st_size for p in present)


def test_every_random_fault_is_found_and_named(tiny_results, tmp_path):
    """One fault at a time, put right again, in any file below the results."""
    root = tmp_path / "results"
    away = shutil.ignore_patterns("T?", "E[2346]", "C-P[A-DFGI]")
    shutil.copytree(tiny_results / "results", root, ignore=away)
    rng = random.Random(20)
    present = files(root)
    missed = []
    for number in range(FAULTS):
        kind = KINDS[number % len(KINDS)]
        path = rng.choice(present)
        undo, expected = damage(kind, path, present, rng)
        faults = verify(root).faults
        found = {fault.file for fault in faults}
        wanted = {p.relative_to(root).as_posix() for p in expected}
        if not wanted <= found:
            missed.append((kind, wanted, found))
        undo()
    assert not missed
    assert verify(root).ok


def damage(kind, path, present, rng):
    data = path.read_bytes()

    def restore():
        path.write_bytes(data)

    if kind == "bit" and data:
        place = rng.randrange(len(data))
        changed = bytearray(data)
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        return restore, {path}
    if kind == "truncate" and data:
        path.write_bytes(data[: rng.randrange(len(data))])
        return restore, {path}
    if kind == "empty" and data:
        path.write_bytes(b"")
        return restore, {path}
    if kind == "append":
        path.write_bytes(data + b"\n")
        return restore, {path}
    if kind == "delete":
        path.unlink()
        return restore, orphans(path) if path.name.endswith(SUFFIX) else {path}
    if kind == "swap":
        chunks = [p for p in present if "/c/" in p.as_posix() and p.read_bytes()]
        one = rng.choice(chunks)
        content = one.read_bytes()
        other = rng.choice([p for p in chunks if p.read_bytes() != content])
        swapped = other.read_bytes()
        one.write_bytes(swapped)
        other.write_bytes(content)

        def back():
            one.write_bytes(content)
            other.write_bytes(swapped)

        return back, {one, other}
    extra = path.with_name(f"{path.name}.part" if kind == "part" else f"other-{path.name}")
    extra.write_bytes(b"x")
    return extra.unlink, {extra}


def orphans(manifest: Path) -> set[Path]:
    """What points at a manifest that is gone: its files, or the name itself as a parent."""
    base = manifest.name.removesuffix(SUFFIX)
    if base in ("ingest", "tile", "findings"):
        return {manifest}
    if base == "draft":
        return set(manifest.parent.glob("draft.html"))
    if base == "cohort":
        return set(manifest.parent.glob("*.tsv"))
    return {p for p in manifest.parent.rglob("*") if p.is_file() and f"{base}.zarr" in p.parts}


def test_any_byte_of_any_manifest(tiny_copy):
    root = tiny_copy() / "results" / "slides" / "E1"
    path = root / f"tile{SUFFIX}"
    data = path.read_bytes()
    for place in range(0, len(data), 29):
        changed = bytearray(data)
        changed[place] ^= 0x20
        path.write_bytes(changed)
        assert named(root) >= {path.name}
        assert not any(f"{kind}{SUFFIX}" in named(root) for kind in ("ingest", "cells/classical"))


def test_a_manifest_without_files_is_missed_when_its_children_are_there(tiny_copy):
    root = tiny_copy() / "results"
    (root / "slides" / "F1" / f"ingest{SUFFIX}").unlink()
    assert f"slides/F1/ingest{SUFFIX}" in named(root)
    assert f"ingest{SUFFIX}" in named(root / "slides" / "F1")


def test_results_of_another_slide_are_named(tiny_copy):
    """Cells of E2 in the folder of E1: every byte is right, the parent is not."""
    root = tiny_copy() / "results"
    cells = root / "slides" / "E1" / "cells"
    shutil.rmtree(cells)
    shutil.copytree(root / "slides" / "E2" / "cells", cells)
    assert f"slides/E1/cells/classical{SUFFIX}" in named(root)


def test_parents_are_compared(tiny_copy):
    root = tiny_copy() / "results"
    path = root / "slides" / "E1" / f"tile{SUFFIX}"
    manifest = read_manifest(path)
    write_manifest(path, manifest.model_copy(update={"config_digest": "another"}))
    found = {fault.file: fault for fault in verify(root).faults}
    stale = {f"slides/E1/{name}{SUFFIX}" for name in ("features/morphology", "cells/classical")}
    assert set(found) == stale | {f"cases/C-PE/findings{SUFFIX}"}
    assert all(fault.code == "E166" for fault in found.values())


def test_two_owners_of_one_file_and_files_elsewhere(tiny_copy):
    root = tiny_copy() / "results" / "slides" / "E1"
    manifest = read_manifest(root / f"ingest{SUFFIX}")
    write_manifest(root / f"again{SUFFIX}", manifest)
    assert any("so does" in f.problem for f in verify(root).faults)
    record = manifest.files["slide.json"]
    outside = Manifest.model_validate(
        {**manifest.model_dump(), "files": {"../../../../etc/passwd": record}, "records": {}}
    )
    write_manifest(root / f"again{SUFFIX}", outside)
    assert any("lies elsewhere" in f.problem for f in verify(root).faults)


def test_a_link_is_no_result(tiny_copy):
    root = tiny_copy() / "results"
    path = root / "slides" / "E1" / "slide.json"
    target = root.parent / "moved.json"
    path.rename(target)
    path.symlink_to(target)
    assert named(root) == {"slides/E1/slide.json"}
    (root / "slides" / "other").symlink_to(root / "slides" / "E1")
    assert "slides/other" in named(root)


def test_bundle_from_elsewhere_is_checked_by_its_sums(tiny_copy):
    bundle = tiny_copy() / "models" / "tumor"
    assert verify(bundle).ok
    (bundle / "model.safetensors").write_bytes(b"changed")
    assert named(bundle) == {"model.safetensors"}
    (bundle / "model.pkl").write_bytes(b"stranger")
    assert named(bundle) == {"model.safetensors", "model.pkl"}


def test_another_schema_version_is_said(tiny_copy):
    from hashlib import sha256

    from pathai.store.manifest import canonical

    root = tiny_copy() / "results" / "cohort"
    path = root / f"cohort{SUFFIX}"
    body = json.loads(path.read_bytes())
    body.pop("sha256")
    body["schema_version"] = 99
    path.write_bytes(canonical({**body, "sha256": sha256(canonical(body)).hexdigest()}))
    assert "E165" in {fault.code for fault in verify(root).faults}


def test_wrong_path_is_an_error_not_a_pass(tmp_path):
    with pytest.raises(PathaiError, match="E193"):
        verify(tmp_path / "absent")
    with pytest.raises(PathaiError, match="E193"):
        verify(tmp_path)


def test_report_is_json(tiny_results):
    report = verify(tiny_results / "models").as_json()
    assert json.loads(json.dumps(report)) == {**report, "faults": []}
