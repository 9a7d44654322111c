"""Reading ahead changes nothing but the time, and ends with its caller."""

import threading
import time
from collections.abc import Generator
from itertools import islice

import numpy as np
import pytest

from pathai.errors import PathaiError
from pathai.prefetch import ROOMS, Batch, prefetched


class Source:
    """Batches of two tiles, all in the same memory, as a feed gives them."""

    def __init__(self, count: int, error: BaseException | None = None) -> None:
        self.count, self.error = count, error
        self.read, self.closed_by = 0, ""

    def __iter__(self) -> Generator[Batch]:
        pixels = np.empty((2, 4, 4, 3), np.uint8)
        try:
            for number in range(self.count):
                pixels[...] = number
                self.read += 1
                yield (
                    pixels[: 2 - (number == self.count - 1)],
                    np.full(2 - (number == self.count - 1), number, np.float16),
                )
            if self.error is not None:
                raise self.error
        finally:
            self.closed_by = threading.current_thread().name


def rooms() -> list[np.ndarray]:
    return [np.empty((2, 4, 4, 3), np.uint8) for _ in range(ROOMS)]


def readers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_batches_arrive_in_order_and_stay_valid_for_one_more() -> None:
    before = np.zeros(0)
    numbers = []
    for pixels, valid in prefetched(iter(Source(40)), rooms()):
        number = len(numbers)
        assert (pixels == number).all()
        assert (valid == number).all()
        time.sleep(0.001)
        assert (before == max(number - 1, 0)).all()
        before = pixels
        numbers.append(len(pixels))
    assert numbers == [2] * 39 + [1]
    assert not readers()


def test_it_reads_ahead_but_not_far() -> None:
    source = Source(40)
    ready = prefetched(iter(source), rooms())
    next(ready)
    deadline = time.monotonic() + 10
    while source.read < ROOMS and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.01)
    assert source.read == ROOMS
    ready.close()
    assert source.closed_by
    assert not readers()


@pytest.mark.parametrize(
    "error", [PathaiError("E164", "a chunk is damaged"), OSError(5, "lost"), KeyboardInterrupt()]
)
def test_errors_of_the_source_are_the_callers(error: BaseException) -> None:
    source = Source(7, error)
    ready = prefetched(iter(source), rooms())
    assert [int(valid[0]) for _, valid in islice(ready, 7)] == list(range(7))
    with pytest.raises(type(error)):
        next(ready)
    assert source.closed_by
    assert not readers()


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt(), GeneratorExit()])
def test_errors_of_the_caller_end_the_thread(error: BaseException) -> None:
    source = Source(10**9)
    ready = prefetched(iter(source), rooms())
    next(ready)
    with pytest.raises(type(error)):
        ready.throw(error)
    assert source.closed_by
    assert not readers()


def test_nothing_to_read() -> None:
    assert list(prefetched(iter(Source(0)), rooms())) == []
    assert not readers()
