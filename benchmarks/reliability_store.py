"""Damaged stores: every fault is named by verify, and no reader gives what was not written."""

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from reliability_run import Cohort

from pathai.errors import PathaiError
from pathai.store.folders import SlideFolder
from pathai.store.manifest import SUFFIX
from pathai.units import Box
from pathai.verify import verify

ENCODER, DETECTOR, MODEL = "tiny.py:Tiny", "classical", "tumor"
Arrays = dict[str, bytes]
Damage = Callable[["Stores", random.Random], "tuple[dict[Path, bytes | None], Path]"]


class Stores:
    """Two slides' folders: the one that is damaged, and one whose files stray into it."""

    def __init__(self, cohort: Cohort, folder: Path) -> None:
        folder.mkdir(parents=True)
        for name in ("S0", "S1"):
            shutil.copytree(cohort.golden / "results" / "slides" / name, folder / name)
        self.root, self.other = folder / "S0", folder / "S1"
        self.slide = SlideFolder(self.root)
        self.files = sorted(p for p in self.root.rglob("*") if p.is_file())
        self.chunks = [p for p in self.files if "c" in p.relative_to(self.root).parts]
        self.whole = {part: read() for part, read in self.readers.items()}

    @property
    def readers(self) -> dict[str, Callable[[], Arrays]]:
        """What reads each part of the folder, by the beginning of its files' names."""
        return {
            "slide.json": self._facts,
            "tiles.zarr": self._tiles,
            "tissue.zarr": self._tissue,
            "features": self._features,
            "cells": self._cells,
            "predictions": self._prediction,
        }

    def _facts(self) -> Arrays:
        return {"facts": self.slide.read_slide().model_dump_json().encode()}

    def _tiles(self) -> Arrays:
        pyramid = self.slide.open_tiles()
        whole = Box(0, 0, pyramid.size.width, pyramid.size.height)
        found = {f"level {k}": pyramid.read(whole, k).tobytes() for k in range(len(pyramid.levels))}
        lost = [box for level in pyramid.levels for box in level.lost]
        return {**found, "mpp": repr(pyramid.mpp).encode(), "lost": repr(lost).encode()}

    def _tissue(self) -> Arrays:
        tissue = self.slide.read_tissue()
        about = repr((tissue.downsample, tissue.mpp, self.slide.read_qc()))
        return {"classes": tissue.classes.tobytes(), "about": about.encode()}

    def _features(self) -> Arrays:
        return _arrays(self.slide.read_features(ENCODER))

    def _cells(self) -> Arrays:
        summary = self.slide.read_cells_summary(DETECTOR)
        told = summary.model_dump_json().encode() if summary else b""
        return {**_arrays(self.slide.read_cells(DETECTOR)), "summary": told}

    def _prediction(self) -> Arrays:
        return _arrays(self.slide.read_prediction(MODEL))


def _arrays(found: Any) -> Arrays:
    made = {}
    for name, value in vars(found).items():
        parts = value if isinstance(value, tuple) else (value,)
        for i, part in enumerate(parts):
            array = isinstance(part, np.ndarray)
            made[f"{name} {i}"] = part.tobytes() if array else part.model_dump_json().encode()
    return made


def _bit(stores: Stores, draw: random.Random) -> tuple[dict[Path, bytes | None], Path]:
    path = draw.choice(stores.files)
    raw = bytearray(path.read_bytes())
    raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
    return {path: bytes(raw)}, path


def _noise(stores: Stores, draw: random.Random) -> tuple[dict[Path, bytes | None], Path]:
    path = draw.choice(stores.files)
    raw = bytearray(path.read_bytes())
    at, size = draw.randrange(len(raw)), draw.randrange(1, 512)
    noise = draw.randbytes(len(raw[at : at + size]))
    if noise == raw[at : at + size]:
        noise = bytes(b ^ 1 for b in noise)
    raw[at : at + size] = noise
    return {path: bytes(raw)}, path


def _cut(stores: Stores, draw: random.Random) -> tuple[dict[Path, bytes | None], Path]:
    path = draw.choice(stores.files)
    raw = path.read_bytes()
    return {path: raw[: draw.randrange(1, len(raw))]}, path


def _empty(stores: Stores, draw: random.Random) -> tuple[dict[Path, bytes | None], Path]:
    path = draw.choice(stores.files)
    return {path: b""}, path


def _gone(stores: Stores, draw: random.Random) -> tuple[dict[Path, bytes | None], Path]:
    path = draw.choice([p for p in stores.files if not p.name.endswith(SUFFIX)])
    return {path: None}, path


def _swapped(stores: Stores, draw: random.Random) -> tuple[dict[Path, bytes | None], Path]:
    """Two chunks of one store, or the same chunk of two slides."""
    one = draw.choice(stores.chunks)
    raw = one.read_bytes()
    store = next(p for p in one.parents if p.suffix == ".zarr")
    near = [p for p in stores.chunks if p.is_relative_to(store) and p.read_bytes() != raw]
    twin = stores.other / one.relative_to(stores.root)
    if near and draw.random() < 0.5:
        other = draw.choice(near)
        return {one: other.read_bytes(), other: raw}, one
    if twin.exists() and twin.read_bytes() != raw:
        return {one: twin.read_bytes()}, one
    return _bit(stores, draw)


def _foreign(stores: Stores, draw: random.Random) -> tuple[dict[Path, bytes | None], Path]:
    """The description of another array, group or slide."""
    described = [p for p in stores.files if p.name == "zarr.json"]
    path = draw.choice(described)
    strangers = [*described, *stores.other.rglob("zarr.json")]
    others = [p.read_bytes() for p in strangers if p.read_bytes() != path.read_bytes()]
    return {path: draw.choice(others)}, path


def _part(stores: Stores, draw: random.Random) -> tuple[dict[Path, bytes | None], Path]:
    path = draw.choice(stores.files)
    left = path.with_name(f"{path.name}.part")
    return {left: path.read_bytes()[: draw.randrange(100)]}, left


KINDS: dict[str, Damage] = {
    "one bit": _bit,
    "bytes": _noise,
    "cut off": _cut,
    "emptied": _empty,
    "deleted": _gone,
    "chunks swapped": _swapped,
    "foreign zarr.json": _foreign,
    "left-over part": _part,
}


@contextmanager
def _damaged(change: dict[Path, bytes | None]) -> Iterator[None]:
    """Write (or remove, where None) files, and put everything back."""
    before = {p: p.read_bytes() if p.exists() else None for p in change}
    try:
        for path, data in change.items():
            _put(path, data)
        yield
    finally:
        for path, data in before.items():
            _put(path, data)


def _put(path: Path, data: bytes | None) -> None:
    if data is None:
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(data)


def fault(stores: Stores, number: int, seed: int) -> dict[str, Any]:
    """One fault: whether verify names the file, and what the readers of its part give."""
    draw = random.Random(f"{seed} {number}")
    kind = list(KINDS)[number % len(KINDS)]
    change, path = KINDS[kind](stores, draw)
    name = path.relative_to(stores.root).as_posix()
    with _damaged(change):
        named = name in {f.file for f in verify(stores.root).faults}
        read = _read(stores, name)
    found = {"fault": number, "kind": kind, "file": name, "named": named, "read": read}
    return {**found, "ok": named and read != "wrong"}


def _read(stores: Stores, name: str) -> str:
    """Read what the file belongs to: refused, the same as before, or wrong."""
    part = next((p for p in stores.readers if name.startswith(p)), "")
    wanted = {"tile.manifest.json": "tiles.zarr", "ingest.manifest.json": "slide.json"}
    part = part or wanted.get(name.removesuffix(".part"), "")
    if not part:
        return "same"
    try:
        found = stores.readers[part]()
    except PathaiError:
        return "refused"
    return "same" if found == stores.whole[part] else "wrong"


def summary(faults: list[dict[str, Any]], asked: int) -> dict[str, Any]:
    """What the faults came to."""
    return {
        "faults": len(faults),
        "asked": asked,
        "named_by_verify": sum(one["named"] for one in faults),
        "read_as_something_else": sum(one["read"] == "wrong" for one in faults),
        "readers": dict(sorted(Counter(one["read"] for one in faults).items())),
        "by_kind": {
            kind: {
                "faults": sum(one["kind"] == kind for one in faults),
                "named": sum(one["named"] for one in faults if one["kind"] == kind),
                "refused_by_readers": sum(
                    one["read"] == "refused" for one in faults if one["kind"] == kind
                ),
            }
            for kind in KINDS
        },
        "failed": [one for one in faults if not one["ok"]],
    }
