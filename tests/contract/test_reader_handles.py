"""Handles: one per process, fresh after an error; no library's exception gets out."""

import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from slide_cases import coordinates, write_aperio

from pathai.errors import PathaiError
from pathai.readers import READERS, reopen
from pathai.units import Box

FORKED = """
import os, sys
from pathlib import Path
import numpy as np
from pathai.readers import reopen
from pathai.units import Box

slide = reopen(Path(sys.argv[1]), sys.argv[2])
truth = np.load(sys.argv[3])
assert np.array_equal(slide.read_level(Box(0, 0, 960, 720))[0], truth)  # an open handle to share
children = []
for number in range(4):
    child = os.fork()
    if child == 0:
        bad = 0
        for k in range(40):
            x, y = (k * 53 + number * 17) % 700, (k * 31) % 500
            pixels = slide.read_level(Box(x, y, 240, 200))[0]
            bad += not np.array_equal(pixels, truth[y : y + 200, x : x + 240])
        os._exit(bad)
    children.append(child)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
assert np.array_equal(slide.read_level(Box(0, 0, 960, 720))[0], truth)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("reader", READERS.names())
def test_four_forked_children_read_right(tmp_path: Path, reader: str) -> None:
    """A shared file offset looks like corruption: 39 of 40 reads failed so (tiffslide#18)."""
    image = np.random.default_rng(7).integers(0, 255, (720, 960, 3), dtype=np.uint8)
    path = write_aperio(tmp_path / "forked.svs", [image])
    np.save(tmp_path / "truth.npy", image)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKED, path, reader, tmp_path / "truth.npy"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[0, 0, 0, 0]"


@pytest.mark.parametrize("reader", READERS.names())
def test_another_process_s_handle_is_left_alone(tmp_path: Path, reader: str) -> None:
    path = write_aperio(tmp_path / "forked.svs", [coordinates(300, 400)])
    slide = reopen(path, reader)
    before = slide._handle  # type: ignore[attr-defined]
    slide._pid = os.getpid() + 1  # type: ignore[attr-defined]
    assert np.array_equal(
        slide.read_level(Box(5, 6, 300, 200))[0], coordinates(300, 400)[6:206, 5:305]
    )
    assert slide._handle is not before  # type: ignore[attr-defined]
    if reader == "tiled-tiff":
        assert not before.filehandle.closed
    else:
        before.read_region((0, 0), 0, (4, 4))  # still open
    before.close()
    slide.close()


@pytest.mark.parametrize("reader", READERS.names())
def test_a_broken_tile_fails_alone(tmp_path: Path, reader: str) -> None:
    """After an error the slide is read on; openslide handles must be reopened for that."""
    image = np.random.default_rng(3).integers(0, 255, (1031, 1287, 3), dtype=np.uint8)
    path = write_aperio(tmp_path / "broken.svs", [image])
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages[0].dataoffsets[7]
    with path.open("r+b") as file:
        file.seek(place)
        file.write(b"\xff" * 64)
    slide = reopen(path, reader)
    for _ in range(2):
        with pytest.raises(PathaiError) as caught:
            slide.read_level(Box(300, 300, 50, 50))
        assert caught.value.code == "E162"
        assert "level 0, x 300 y 300" in caught.value.message
        assert path.stem not in str(caught.value)
        assert str(tmp_path) not in str(caught.value)
        pixels, valid = slide.read_level(Box(0, 0, 240, 240))
        assert valid.all()
        assert np.array_equal(pixels, image[:240, :240])
    slide.close()


RAISED = [IndexError("x"), ValueError("x"), KeyError("x"), TypeError("x"), NotImplementedError(),
          RuntimeError("x"), ZeroDivisionError(), OSError(5, "x"), EOFError(), AttributeError("x"),
          AssertionError(), UnicodeDecodeError("ascii", b"x", 0, 1, "x"), struct.error("x"),
          OverflowError(), RecursionError(), tifffile.TiffFileError("x")]  # fmt: skip


@pytest.mark.parametrize("error", RAISED, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("reader", READERS.names())
def test_every_exception_of_a_library_becomes_one_of_ours(
    tmp_path: Path, reader: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_aperio(tmp_path / "raising.svs", [coordinates(300, 400)])
    slide = reopen(path, reader)

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(type(slide), "_region", fail)
        with pytest.raises(PathaiError) as caught:
            slide.read_level(Box(0, 0, 10, 10))
    assert caught.value.code == "E162"
    assert type(error).__name__ in caught.value.message
    assert np.array_equal(slide.read_level(Box(0, 0, 10, 10))[0], coordinates(10, 10))
    slide.close()


@pytest.mark.parametrize("reader", READERS.names())
def test_want_of_memory_has_its_own_code(
    tmp_path: Path, reader: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide = reopen(write_aperio(tmp_path / "large.svs", [coordinates(300, 400)]), reader)

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(type(slide), "_region", fail)
    with pytest.raises(PathaiError, match="out of memory") as caught:
        slide.read_level(Box(0, 0, 10, 10))
    assert caught.value.code == "E170"


def test_an_openslide_with_known_holes_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4.0.0 writes past its memory on crafted files (CVE-2026-48977)."""
    import openslide

    path = write_aperio(tmp_path / "good.svs", [coordinates(300, 400)])
    monkeypatch.setattr(openslide, "__library_version__", "4.0.0")
    with pytest.raises(PathaiError, match=r"older than 4\.0\.1") as caught:
        reopen(path, "openslide")
    assert caught.value.code == "E194"
    assert "openslide-bin" in caught.value.remedy


def test_what_stands_in_a_library_s_message_does_not_get_out(tmp_path: Path) -> None:
    from pathai.readers.base import safe_text

    path = tmp_path / "DOE-JANE.svs"
    text = f"cannot open {path}: header=b'DOE^' at /srv/DOE/x.dat (DOE-JANE.svs)\n\x1b[31m"
    assert safe_text(text, path) == "cannot open the slide: header= at (the slide) [31m"
