"""The journal of nuclei gives back exactly the blocks that were written whole."""

from pathlib import Path

import numpy as np
import pytest

from pathai.store.cell_rows import CellBlock, CellJournal

KEY, CLASSES, MEASURES = "b" * 64, 3, 2
SIZES = (4, 0, 1, 7)
ROWS = ("centers", "anchors", "score", "class_", "prob", "dab_od", "vertices", "squares", "boxes")


def block(number: int) -> CellBlock:
    rng = np.random.default_rng(number)
    count = SIZES[number]
    vertices = rng.integers(0, 6, count).astype(np.int32)  # some nuclei have no outline
    return CellBlock(
        centers=rng.random((count, 2), np.float32),
        anchors=rng.random((count, 2), np.float32),
        score=rng.random(count).astype(np.float16),
        class_=rng.integers(0, CLASSES, count).astype(np.uint8),
        prob=rng.random((count, CLASSES)).astype(np.float16),
        dab_od=rng.random(count).astype(np.float16),
        vertices=vertices,
        squares=rng.integers(0, 9, (number % 2, 3)).astype(np.int32),
        boxes=rng.random((number, 4)),
        measures=rng.random((count, MEASURES), np.float32),
        outline=rng.random((int(vertices.sum()), 2), np.float32),
        mended=number,
    )


def opened(path: Path, key: str = KEY) -> CellJournal:
    return CellJournal(path, key, CLASSES, MEASURES)


def filled(path: Path) -> bytes:
    with opened(path) as journal:
        for number in range(len(SIZES)):
            journal.append(block(number))
    return path.read_bytes()


def same_as_blocks(journal: CellJournal, count: int) -> None:
    wanted = [block(number) for number in range(count)]
    assert (journal.blocks, journal.cells) == (count, sum(SIZES[:count]))
    assert journal.mended == sum(range(count))
    for name in ROWS:
        whole = np.concatenate([getattr(block(0), name)[:0], *(getattr(b, name) for b in wanted)])
        assert np.array_equal(journal.column(name), whole), name
        assert journal.column(name).dtype == whole.dtype
    order = np.random.default_rng(9).permutation(journal.cells)
    measures = np.concatenate([block(1).measures, *(b.measures for b in wanted)])
    assert np.array_equal(journal.measures(order), measures[order])
    start = np.concatenate([[0], np.cumsum(journal.column("vertices").astype(np.int64))])
    points = np.concatenate([block(1).outline, *(b.outline for b in wanted)])
    parts = [points[start[i] : start[i + 1]] for i in order]
    assert np.array_equal(journal.outlines(order, start), np.concatenate([points[:0], *parts]))


def test_cut_off_at_any_byte_it_keeps_the_whole_blocks(tmp_path: Path) -> None:
    whole = filled(tmp_path / "whole")
    ends = []
    for count in range(len(SIZES) + 1):
        with opened(tmp_path / f"first{count}") as journal:
            for number in range(count):
                journal.append(block(number))
        ends.append((tmp_path / f"first{count}").stat().st_size)
    assert ends[-1] == len(whole)
    for end in range(len(whole) + 1):
        path = tmp_path / "cut"
        path.write_bytes(whole[:end])
        with opened(path) as journal:
            kept = max(sum(e <= end for e in ends) - 1, 0)
            assert journal.blocks == kept
            if end % 41 == 0 or end in ends:
                same_as_blocks(journal, kept)
                for number in range(kept, len(SIZES)):
                    journal.append(block(number))
                same_as_blocks(journal, len(SIZES))
                assert path.read_bytes() == whole


def test_a_changed_byte_ends_what_is_trusted(tmp_path: Path) -> None:
    whole = filled(tmp_path / "whole")
    for place in range(0, len(whole), 7):
        path = tmp_path / "changed"
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with opened(path) as journal:
            assert journal.blocks < len(SIZES)
            same_as_blocks(journal, journal.blocks)


@pytest.mark.parametrize("other", ["key", "classes", "measures"])
def test_blocks_of_something_else_are_dropped(tmp_path: Path, other: str) -> None:
    filled(tmp_path / "j")
    key, classes, measures = ("c" * 64 if other == "key" else KEY), CLASSES, MEASURES
    journal = CellJournal(
        tmp_path / "j", key, classes + (other == "classes"), measures + (other == "measures")
    )
    with journal:
        assert (journal.blocks, journal.cells) == (0, 0)
