"""What a foreign detector returns is proven before it is used."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import shapely

from pathai.detectors.base import Detections, checked, taken
from pathai.errors import PathaiError

SIZE = (100, 80)
SQUARE = np.array([(-3, -3), (3, -3), (3, 3), (-3, 3)], np.float32)


def sound(count: int = 4) -> Detections:
    centers = np.array([(20 + 12 * i, 30) for i in range(count)], np.float32).reshape(-1, 2)
    return Detections(
        centers=centers,
        anchors=centers.copy(),
        score=np.linspace(0.4, 1, count, dtype=np.float32),
        class_=(np.arange(count) % 2).astype(np.uint8),
        prob=np.tile(np.float32([0.25, 0.75]), (count, 1)),
        dab_od=np.zeros(count, np.float32),
        outline=(centers[:, None] + SQUARE).reshape(-1, 2),
        outline_start=np.arange(count + 1, dtype=np.int64) * 4,
    )


def prove(found: Detections) -> tuple[Detections, np.ndarray]:
    proven = checked(found, "mine", 2, SIZE, 40.0)
    return proven.detections, proven.mended


def with_outlines(outlines: list[Any]) -> Detections:
    start = np.concatenate([[0], np.cumsum([len(o) for o in outlines])]).astype(np.int64)
    points = [np.asarray(o, np.float32).reshape(-1, 2) for o in outlines]
    return replace(sound(len(outlines)), outline=np.concatenate(points), outline_start=start)


def test_what_is_sound_stays_as_it_is() -> None:
    for count in (4, 0):
        given = sound(count)
        found, mended = prove(given)
        assert not mended.any()
        for name in vars(given):
            assert np.array_equal(getattr(found, name), getattr(given, name)), name


def test_types_are_brought_to_the_promised_ones() -> None:
    given = sound()
    foreign = {name: value.astype(np.float64) for name, value in vars(given).items()}
    foreign["class_"] = given.class_.astype(np.int64)
    foreign["outline_start"] = given.outline_start.astype(np.int32)
    found, _ = prove(Detections(**foreign))
    for name in vars(given):
        assert getattr(found, name).dtype == getattr(given, name).dtype, name
        assert np.array_equal(getattr(found, name), getattr(given, name)), name


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"score": np.ones(3, np.float32)}, "3 rows of score for 4 nuclei"),
        ({"score": np.float32([1, 1, np.nan, 1])}, "score is not finite"),
        ({"score": np.float32([1, 1, 1.5, 1])}, "score lies outside of 0 to 1"),
        ({"score": np.array(["a"] * 4)}, "score is <U1, not float32"),
        ({"centers": np.full((4, 2), np.inf, np.float32)}, "centers is not finite"),
        ({"centers": np.full((4, 2), 90, np.float32)}, "centers lie outside of the image"),
        ({"anchors": np.full((4, 2), -1, np.float32)}, "anchors lie outside of the image"),
        ({"anchors": np.zeros((4, 3), np.float32)}, "anchors has 3 columns, not 2"),
        ({"class_": np.full(4, 2, np.uint8)}, "class 2 of 2"),
        ({"class_": np.full(4, -1, np.int64)}, "class_ does not fit uint8"),
        ({"class_": np.zeros(4, np.float32)}, "class_ is float32, not uint8"),
        ({"prob": np.ones((4, 3), np.float32) / 3}, "prob has 3 columns, not 2"),
        ({"prob": np.ones((4, 2), np.float32)}, "prob does not sum to 1"),
        ({"prob": np.ones(4, np.float32)}, "prob has 1 axes"),
        ({"dab_od": np.full(4, np.nan, np.float32)}, "dab_od is not finite"),
        ({"outline_start": np.int64([0, 4, 8, 12])}, "outline_start does not fit"),
        ({"outline_start": np.int64([0, 4, 8, 12, 17])}, "outline_start does not fit"),
        ({"outline_start": np.int64([0, 8, 4, 12, 16])}, "outline_start falls"),
    ],
)
def test_what_cannot_be_mended_names_the_detector(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(PathaiError, match=f"E186: detector mine: {said}"):
        prove(replace(sound(), **fields))


def test_an_outline_that_is_none_costs_the_outline_not_the_nucleus() -> None:
    centers = sound(7).centers
    around = [center + SQUARE for center in centers]
    around[1] = around[1][:0]
    around[2] = around[2][:2]
    around[3] = np.where(np.arange(4)[:, None] == 2, np.nan, around[3])
    around[4] = around[4] + [0, 45]  # of another nucleus
    around[5] = centers[5] + [(0, 0), (2, 2), (4, 4)]  # flat
    found, mended = prove(with_outlines(around))
    assert mended.tolist() == [False, True, True, True, True, True, False]
    assert np.diff(found.outline_start).tolist() == [4, 0, 0, 0, 0, 0, 4]
    assert np.array_equal(found.outline[:4], around[0])
    assert np.array_equal(found.outline[4:], around[6])
    assert np.array_equal(found.centers, centers)


def test_an_outline_that_crosses_itself_keeps_its_largest_part() -> None:
    centers = sound(2).centers
    bow = centers[0] + np.float32([(-2, -2), (4, 4), (4, -4), (-2, 2)])  # halves of 4 and 16 px²
    found, mended = prove(with_outlines([bow, centers[1] + SQUARE]))
    assert mended.tolist() == [True, False]
    shape = shapely.Polygon(found.outline[: found.outline_start[1]])
    assert shape.is_valid
    assert shape.area == pytest.approx(16)
    assert np.array_equal(found.outline[found.outline_start[1] :], centers[1] + SQUARE)


def test_taken_rows_keep_their_outlines() -> None:
    given = with_outlines([SQUARE + c for c in sound(3).centers] + [SQUARE[:0]])
    found = taken(given, np.array([3, 2, 0]))
    assert np.diff(found.outline_start).tolist() == [0, 4, 4]
    assert np.array_equal(found.outline[:4], given.outline[8:12])
    assert np.array_equal(found.centers, given.centers[[3, 2, 0]])
