"""Nuclei per tile beside brute force, and what tiles without overlap add up to."""

from dataclasses import replace

import numpy as np
import pytest
from mil_cases import ATTRS
from tiny_run import _cells

from pathai.grid import grid
from pathai.store.records import TISSUE, Cells, Features, SlideInfo, TissueMap
from pathai.tile_tables import counts, with_tables
from pathai.units import Mpp

WIDTH, HEIGHT = 2311, 1777


def slide(mpp_x: float, mpp_y: float) -> SlideInfo:
    return SlideInfo(
        slide_id="S",
        sha256="0" * 64,
        width=WIDTH,
        height=HEIGHT,
        mpp_x=mpp_x,
        mpp_y=mpp_y,
        mpp_source="file",
        reader="test",
        level_downsamples=(1.0,),
        stain="H&E",
    )


def features(mpp_x: float, mpp_y: float, stride_px: int = 256, least: float = 0.0) -> Features:
    """Tiles of the grid that the features stage lays; with ``least``, not all of the slide."""
    shape = (-(-HEIGHT // 16), -(-WIDTH // 16))
    y, x = np.mgrid[: shape[0], : shape[1]]
    tissue = (np.hypot(y - shape[0] / 2, x - shape[1] / 2) < shape[0] / 2) if least else y >= 0
    found = TissueMap(tissue.astype(np.uint8) * TISSUE, 16.0, Mpp(mpp_x * 16, mpp_y * 16))
    tiles = grid(found, slide(mpp_x, mpp_y), 256, 0.5, least, stride_px=stride_px, tolerance=1)
    n = len(tiles)
    return Features(
        np.zeros((n, 3), np.float16),
        tiles.xy_px0,
        tiles.size_px0,
        np.ones(n, np.float16),
        tiles.tissue,
        ATTRS.model_copy(update={"stride_px": stride_px}),
    )


def nuclei(tiles: Features, n: int = 1500) -> Cells:
    """Anywhere on the slide, many of them on corners and edges of tiles."""
    rng = np.random.default_rng(3)
    xy = rng.uniform(0, (WIDTH, HEIGHT), (n, 2))
    some = rng.integers(0, len(tiles.x), n)
    ends = tiles.xy_px0[some] + rng.integers(0, 2, (n, 2)) * tiles.size_px0
    xy = np.where(rng.uniform(size=(n, 2)) < 0.4, ends, xy)
    xy = np.clip(xy, 0, np.nextafter(np.float32([WIDTH, HEIGHT]), 0)).astype(np.float32)
    made = _cells(rng, 10, 1.0)
    return replace(made, xy_px0=xy, class_=rng.integers(0, 2, n).astype(np.uint8))


@pytest.mark.parametrize("stride_px", [256, 128, 64])
def test_counts_are_those_of_brute_force(stride_px: int) -> None:
    tiles = features(0.5, 0.5, stride_px, least=0.3)
    cells = nuclei(tiles)
    found = counts(tiles, cells)
    for (left, top), row in zip(tiles.xy_px0.tolist(), found, strict=True):
        for kind in (0, 1):
            own = [
                1
                for (x, y), k in zip(cells.xy_px0.tolist(), cells.class_.tolist(), strict=True)
                if k == kind and left <= x < left + 256 and top <= y < top + 256
            ]
            assert row[kind] == len(own)


@pytest.mark.parametrize("mpp", [(0.5, 0.5), (0.2527, 0.2527), (0.4991, 0.5013), (0.2325, 0.23)])
def test_tiles_without_overlap_add_up_to_the_slide(mpp: tuple[float, float]) -> None:
    """Also where a tile's edge is no whole number of pixels."""
    tiles = features(*mpp)
    cells = nuclei(tiles)
    assert np.array_equal(counts(tiles, cells).sum(axis=0), np.bincount(cells.class_))


def test_half_overlapping_tiles_count_each_nucleus_four_times() -> None:
    tiles = features(0.2527, 0.2527, 128)
    cells = nuclei(tiles)
    away = (cells.xy_px0 >= tiles.size_px0).all(axis=1)
    away &= (cells.xy_px0 < np.array([WIDTH, HEIGHT]) - tiles.size_px0).all(axis=1)
    inner = replace(cells, xy_px0=cells.xy_px0[away], class_=cells.class_[away])
    assert np.array_equal(counts(tiles, inner).sum(axis=0), 4 * np.bincount(inner.class_))


def test_no_tile_and_no_nucleus() -> None:
    tiles = features(0.5, 0.5)
    cells = nuclei(tiles)
    none = replace(cells, xy_px0=cells.xy_px0[:0], class_=cells.class_[:0])
    assert not counts(tiles, none).any()
    nowhere = replace(tiles, x=tiles.x[:0], xy_px0=tiles.xy_px0[:0])
    assert counts(nowhere, cells).shape == (0, 2)


def test_tables_stand_beside_the_features() -> None:
    tiles = features(0.5, 0.5)
    cells = nuclei(tiles)

    class Folder:
        def read_cells(self, name: str) -> Cells:
            assert name == "classical"
            return cells

    found = with_tables(Folder(), tiles, ["classical"])  # type: ignore[arg-type]
    assert found.x.dtype == np.float16
    assert found.x.shape == (len(tiles.x), 3 + 2)
    assert np.array_equal(found.x[:, 3:], counts(tiles, cells))
    assert with_tables(Folder(), tiles, []) is tiles  # type: ignore[arg-type]
