"""A journal gives back exactly the rows that were written whole, whatever happens to its file."""

from pathlib import Path

import numpy as np
import pytest

from pathai.store.groups import Streamed, write_features, write_streamed_features
from pathai.store.journal import MAGIC, RowJournal
from pathai.store.records import Features, FeaturesAttrs

KEY, DIM, BATCH, BATCHES = "a" * 64, 3, 4, 5


def batch(number: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    rng = np.random.default_rng(number)
    x = rng.normal(size=(BATCH, DIM)).astype(np.float16)
    return x, rng.random(BATCH).astype(np.float16), 0.1 * number, 10.0 - number


def filled(path: Path) -> Path:
    with RowJournal(path, KEY, DIM) as journal:
        for number in range(BATCHES):
            journal.append(*batch(number))
    return path


def same_as_batches(journal: RowJournal, count: int) -> None:
    wanted = [batch(number) for number in range(count)]
    x = np.concatenate([np.empty((0, DIM), np.float16), *(b[0] for b in wanted)])
    for size in (1, 3, 100):
        pieces = [piece.copy() for piece in journal.rows(size)]
        assert all(len(piece) == size for piece in pieces[:-1])
        assert np.array_equal(np.concatenate([x[:0], *pieces]), x)
    assert np.array_equal(journal.valid, np.concatenate([x[:0, 0], *(b[1] for b in wanted)]))
    assert journal.count == count * BATCH
    assert journal.error == max((b[2] for b in wanted), default=0)
    assert journal.largest == max((b[3] for b in wanted), default=0)


def test_cut_off_at_any_byte_it_keeps_the_whole_batches(tmp_path: Path) -> None:
    whole = filled(tmp_path / "whole").read_bytes()
    head = len(MAGIC) + len(KEY) + 1
    record = (len(whole) - head) // BATCHES
    for end in range(len(whole) + 1):
        path = tmp_path / "cut"
        path.write_bytes(whole[:end])
        with RowJournal(path, KEY, DIM) as journal:
            kept = max(end - head, 0) // record
            same_as_batches(journal, kept)
            for number in range(kept, BATCHES):
                journal.append(*batch(number))
            same_as_batches(journal, BATCHES)
        assert path.read_bytes() == whole


def test_a_changed_byte_ends_what_is_trusted(tmp_path: Path) -> None:
    whole = filled(tmp_path / "whole").read_bytes()
    head = len(MAGIC) + len(KEY) + 1
    record = (len(whole) - head) // BATCHES
    for at in range(len(whole)):
        path = tmp_path / "changed"
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with RowJournal(path, KEY, DIM) as journal:
            same_as_batches(journal, max(at - head, 0) // record)


def test_rows_of_something_else_are_dropped(tmp_path: Path) -> None:
    path = filled(tmp_path / "j")
    with RowJournal(path, "b" * 64, DIM) as journal:
        same_as_batches(journal, 0)
    assert path.stat().st_size == len(MAGIC) + 65


@pytest.mark.parametrize("count", [0, 1, 20])
def test_streamed_features_are_the_same_files(tmp_path: Path, count: int) -> None:
    """Long rows, so that a chunk holds a few of them only."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(count, 2**18)).astype(np.float16)
    others = {
        "xy_px0": rng.integers(0, 99, (count, 2)).astype(np.int32),
        "size_px0": np.array([256, 256], np.float32),
        "valid": rng.random(count).astype(np.float16),
        "tissue": rng.random(count).astype(np.float16),
    }
    attrs = FeaturesAttrs(
        encoder="e", encoder_digest="d", grid_digest="g", tile_px=256, mpp=0.5, stride_px=256
    )
    write_features(tmp_path / "a.zarr", Features(x=x, **others, attrs=attrs))

    def pieces(size: int):
        for start in range(0, count, size):
            yield x[start : start + size]

    write_streamed_features(tmp_path / "b.zarr", Streamed(x.shape, x.dtype, pieces), others, attrs)
    files = [
        {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        for root in (tmp_path / "a.zarr", tmp_path / "b.zarr")
    ]
    assert files[0] == files[1]
    assert sum("x/c/" in str(p) for p in files[0]) == -(-count // 8)
