"""Cells written and read in pieces are those that were written and read whole."""

from pathlib import Path

import numpy as np
import pytest
import zarr
from skimage.draw import polygon

from pathai.cells.raster import fill, strips
from pathai.errors import PathaiError
from pathai.store import cell_store
from pathai.store.cell_store import (
    CellsFile,
    halved,
    raster_sizes,
    write_raster,
    write_streamed_cells,
)
from pathai.store.groups import Streamed, read_cells, write_cells
from pathai.store.records import Cells, CellsAttrs, Interval


def some_cells(count: int, rng: np.random.Generator) -> Cells:
    length = rng.integers(0, 9, count)
    start = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    attrs = CellsAttrs(
        detector="d", detector_digest="0", classes=("a", "b"), analyzed_mm2=1, excluded_mm2=0,
        count=Interval(value=count, low=0, high=1), density_per_mm2=Interval(value=1, low=0, high=1),
        class_counts=(count, 0), raster_downsample0=4, measures=("x", "y", "z"),
    )  # fmt: skip
    return Cells(
        xy_px0=rng.random((count, 2), np.float32),
        score=rng.random(count).astype(np.float16),
        class_=rng.integers(0, 2, count).astype(np.uint8),
        prob=rng.random((count, 2)).astype(np.float16),
        dab_od=rng.random(count).astype(np.float16),
        measures=rng.random((count, 3), np.float32),
        outline_px0=rng.random((int(start[-1]), 2), np.float32),
        outline_start=start,
        raster=(rng.integers(0, 3, (70, 90)).astype(np.uint8),),
        attrs=attrs,
    )


ROWS = ("xy_px0", "score", "class_", "prob", "dab_od", "measures")


@pytest.mark.parametrize("size", [1, 7, 100])
def test_parts_are_the_whole(tmp_path: Path, size: int) -> None:
    cells = some_cells(30, np.random.default_rng(1))
    write_cells(tmp_path / "c.zarr", cells)
    file = CellsFile(tmp_path / "c.zarr")
    assert (len(file), file.attrs) == (30, cells.attrs)
    first_rows, parts = zip(*file.parts(size), strict=True)
    assert list(first_rows) == list(range(0, 30, size))
    for name in (*ROWS, "outline_px0"):
        whole = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(whole, getattr(cells, name)), name
    lengths = np.concatenate([np.diff(part.outline_start) for part in parts])
    assert np.array_equal(lengths, np.diff(cells.outline_start))
    assert all(part.outline_start[0] == 0 for part in parts)


def test_streamed_is_what_is_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_store, "STRIP", 16)
    cells = some_cells(40, np.random.default_rng(2))
    whole = {name: getattr(cells, name) for name in (*ROWS, "outline_px0", "outline_start")}

    def pieces(rows: int):
        for first in range(0, len(cells.outline_px0), rows):
            yield cells.outline_px0[first : first + rows]

    whole["outline_px0"] = Streamed(cells.outline_px0.shape, np.dtype(np.float32), pieces)
    raster = cells.raster[0]
    strips = (raster[first : first + 13] for first in range(0, 70, 13))
    write_streamed_cells(tmp_path / "s.zarr", whole, cells.attrs, raster.shape, strips)
    found = read_cells(tmp_path / "s.zarr")
    assert found.attrs == cells.attrs
    for name in (*ROWS, "outline_px0", "outline_start"):
        assert np.array_equal(getattr(found, name), getattr(cells, name)), name
    assert np.array_equal(found.raster[0], raster)


def test_what_is_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PathaiError, match=r"E164.*run pathai cells"):
        CellsFile(tmp_path / "none.zarr")
    write_cells(tmp_path / "c.zarr", some_cells(5, np.random.default_rng(3)))
    group = zarr.open_group(tmp_path / "c.zarr")
    del group["score"]
    with pytest.raises(PathaiError, match=r"E164.*score"):
        CellsFile(tmp_path / "c.zarr")
    group.create_array("score", data=np.zeros(4, np.float16))
    with pytest.raises(PathaiError, match=r"E164.*rows do not match"):
        CellsFile(tmp_path / "c.zarr")


@pytest.mark.parametrize("shape", [(700, 2049), (1, 1), (512, 512), (513, 3), (1025, 640)])
@pytest.mark.parametrize("rows", [1000, 37])
def test_raster_in_strips_is_the_raster_halved(
    tmp_path: Path, shape: tuple[int, int], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell_store, "STRIP", 64)
    rng = np.random.default_rng(4)
    raster = (rng.integers(1, 250, shape) * (rng.random(shape) < 0.05)).astype(np.uint8)
    group = zarr.create_group(tmp_path / "r.zarr")
    write_raster(group, shape, (raster[y : y + rows] for y in range(0, shape[0], rows)))
    sizes = raster_sizes(shape)
    assert max(sizes[-1]) <= 512
    assert all(max(size) > 512 for size in sizes[:-1])
    for number, size in enumerate(sizes):
        assert np.array_equal(group[f"raster/{number}"][...], raster)
        assert raster.shape == size
        raster = halved(raster)


def polygons(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Star-shaped and self-crossing outlines of any number of points, some beyond the edge."""
    length = rng.integers(0, 12, count)
    start = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    middle = rng.uniform(0, 60, (count, 2))
    points = np.repeat(middle, length, axis=0) + rng.normal(0, 4, (int(start[-1]), 2))
    return middle, points, start


def test_fill_draws_what_skimage_draws() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        _, points, start = polygons(rng, 12)
        value = rng.integers(1, 9, 12).astype(np.uint8)
        wanted = np.zeros((50, 61), np.uint8)
        for i, (first, stop) in enumerate(zip(start[:-1], start[1:], strict=True)):
            place = points[first:stop] - 0.5  # skimage counts from pixel centers
            at = polygon(place[:, 1], place[:, 0], wanted.shape) if stop - first > 2 else ([], [])
            wanted[at] = np.maximum(wanted[at], value[i])
        drawn = np.zeros_like(wanted)
        fill(drawn, 0, points, start, value)
        assert np.array_equal(drawn, wanted)


@pytest.mark.parametrize("rows", [8, 11, 64])
def test_strips_are_the_raster_cut(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    middle, points, start = polygons(rng, 60)
    order = np.argsort(middle[:, 1])
    length = np.diff(start)[order]
    points = np.concatenate([points[start[i] : start[i + 1]] for i in order])
    start = np.concatenate([[0], np.cumsum(length)]).astype(np.int64)
    xy = (middle[order] * 4).astype(np.float32)
    value = rng.integers(1, 9, 60).astype(np.uint8)

    def outlines(first: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        return points[start[first] : start[stop]] * 4, start[first : stop + 1] - start[first]

    def drawn(strip: int, at_once: int) -> np.ndarray:
        monkeypatch.setattr("pathai.cells.raster.STRIP", strip)
        monkeypatch.setattr("pathai.cells.raster.AT_ONCE", at_once)
        return np.concatenate(list(strips(xy, value, outlines, 100.0, (62, 61), 4.0)))

    whole = drawn(1000, 1000)
    assert np.array_equal(drawn(rows, 7), whole)
    column, row = np.floor(xy / 4).astype(int).T
    assert (whole[row, column] >= value).all()
