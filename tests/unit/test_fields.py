"""The walk of the tissue: nothing is missed, whatever the tissue looks like."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pathai.errors import PathaiError
from pathai.fields import Seen, first_unseen, nearest, walk
from pathai.store.records import BLUR, TISSUE, TissueMap
from pathai.units import Box, Mpp

STEP = 16.0


def tissue_map(classes) -> TissueMap:
    return TissueMap(np.asarray(classes, np.uint8), STEP, Mpp(4.0, 4.0))


shapes = st.tuples(st.integers(1, 24), st.integers(1, 24))
maps = arrays(np.uint8, shapes, elements=st.sampled_from([0, 0, TISSUE, BLUR]))
sizes = st.floats(8.0, 90.0)


@given(maps, sizes, sizes, st.floats(0, 0.9))
def test_every_pixel_of_analyzed_tissue_lies_wholly_in_a_field(classes, width, height, overlap):
    tissue = tissue_map(classes)
    found = walk(tissue, width, height, overlap)
    held = np.zeros(classes.shape, bool)
    y, x = np.indices(classes.shape) * STEP
    for field in found:
        box = field.box
        assert box.width * 0.25 == pytest.approx(width)
        assert box.height * 0.25 == pytest.approx(height)
        own = (x >= box.x - 1e-3) & (x + STEP <= box.right + 1e-3)
        own &= (y >= box.y - 1e-3) & (y + STEP <= box.bottom + 1e-3)
        assert (own & (classes == TISSUE)).any(), "a field without tissue wastes a look"
        held |= own
    assert held[classes == TISSUE].all()


@given(maps, sizes, sizes, st.floats(0, 0.5))
def test_who_walks_to_the_end_has_seen_all_and_resumes_where_it_stopped(
    classes, width, height, overlap
):
    tissue = tissue_map(classes)
    found = walk(tissue, width, height, overlap)
    seen, share = Seen(tissue), 0.0
    for k, field in enumerate(found):
        at = first_unseen(found, Seen(tissue, [f.box for f in found[:k]]))
        # None: every middle was seen already, although a pixel at an edge was not seen whole.
        assert at is None or at >= k, "what was seen is not shown again before the rest"
        seen.add(field.box)
        assert seen.share >= share
        share = seen.share
    assert seen.share == 1.0
    assert first_unseen(found, seen) is None


def test_the_walk_is_a_serpentine_with_the_overlap_that_was_asked():
    classes = np.full((30, 50), TISSUE)
    found = walk(tissue_map(classes), 40.0, 40.0, 0.2)  # 10 x 10 pixels of the map
    by_band: dict[float, list[float]] = {}
    for field in found:
        by_band.setdefault(field.box.y, []).append(field.box.x)
    assert list(by_band) == sorted(by_band)
    for k, xs in enumerate(by_band.values()):
        assert xs == sorted(xs, reverse=bool(k % 2))
        assert np.abs(np.diff(xs)).max() <= 0.8 * 10 * STEP + 1e-6
    assert np.diff(list(by_band)).max() <= 0.8 * 10 * STEP + 1e-6
    assert len(found) == 4 * 6  # the fewest that cover 30 x 50 with a step of 8
    steps = [(abs(a.box.x - b.box.x), abs(a.box.y - b.box.y)) for a, b in itertools.pairwise(found)]
    assert all(min(step) == pytest.approx(0) for step in steps), "no jump, no diagonal"


def test_pieces_are_walked_one_after_the_other_and_a_hole_is_skipped():
    classes = np.zeros((20, 100), np.uint8)
    classes[2:18, 2:12] = TISSUE
    classes[2:18, 60:96] = TISSUE
    classes[2:18, 66:90] = 0  # two arms
    classes[16:18, 60:96] = TISSUE
    found = walk(tissue_map(classes), 24.0, 24.0)
    pieces = [field.piece for field in found]
    assert pieces == sorted(pieces)
    assert set(pieces) == {1, 2}
    hole = Box(68 * STEP, 4 * STEP, 20 * STEP, 4 * STEP)
    inside = [
        f for f in found
        if f.box.x >= hole.x and f.box.right <= hole.right and f.box.y < hole.bottom
    ]  # fmt: skip
    assert not inside


def test_small_pieces_near_each_other_share_a_field():
    classes = np.zeros((20, 20), np.uint8)
    classes[8, 8] = classes[8, 11] = classes[11, 9] = TISSUE
    found = walk(tissue_map(classes), 40.0, 40.0)
    assert len(found) == 1


def test_a_field_too_small_for_the_map_is_refused():
    with pytest.raises(PathaiError, match="lower magnification"):
        walk(tissue_map([[TISSUE]]), 6.0, 40.0)
    with pytest.raises(PathaiError, match="E193"):
        walk(tissue_map([[TISSUE]]), 40.0, 40.0, 1.0)


def test_no_tissue_is_a_walk_of_no_fields_and_nothing_left_to_see():
    tissue = tissue_map(np.zeros((3, 3)))
    assert walk(tissue, 40, 40) == ()
    assert Seen(tissue).share == 1.0
    assert nearest((), Box(0, 0, 1, 1)) is None


def test_seen_counts_only_tissue_whose_middle_was_in_view():
    classes = np.zeros((4, 4), np.uint8)
    classes[1:3, 1:3] = TISSUE
    seen = Seen(tissue_map(classes))
    assert seen.add(Box(0, 0, 1.4 * STEP, 4 * STEP)) == 0
    assert seen.add(Box(0, 0, 1.6 * STEP, 4 * STEP)) == 2
    assert seen.add(Box(0, 0, 1.6 * STEP, 4 * STEP)) == 0
    assert seen.share == 0.5
    assert seen.holds(Box(0, 0, 2 * STEP, 4 * STEP))
    assert not seen.holds(Box(0, 0, 3 * STEP, 4 * STEP))


def test_the_field_in_view_is_the_nearest_one():
    found = walk(tissue_map(np.full((30, 50), TISSUE)), 40.0, 40.0)
    for k, field in enumerate(found):
        moved = Box(field.box.x + 3, field.box.y - 3, field.box.width, field.box.height)
        assert nearest(found, moved) == k
