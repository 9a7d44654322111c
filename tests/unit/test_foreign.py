"""An encoder of a person's own file: whatever is wrong with it becomes one line."""

from pathlib import Path

import numpy as np
import pytest

from pathai.encoders import check_name, check_ready, load_encoder
from pathai.errors import PathaiError

GOOD = """
import numpy as np
class Own:
    tile_px, mpp, dim, names, digest = 32, 1.0, 3, ("r", "g", "b"), "f" * 64
    def encode(self, tiles):
        return tiles.mean(axis=(1, 2), dtype=np.float32)
"""


def written(folder: Path, text: str) -> str:
    (folder / "own.py").write_text(text)
    return f"{folder / 'own.py'}:Own"


def test_a_good_one_is_taken_as_it_is(tmp_path: Path) -> None:
    name = written(tmp_path, GOOD)
    check_ready(name)
    encoder = load_encoder(name)
    assert (encoder.name, encoder.tile_px, encoder.mpp, encoder.dim) == (name, 32, 1.0, 3)
    tiles = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), np.uint8)
    assert np.allclose(encoder.encode(tiles), tiles.mean(axis=(1, 2)))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("import numpy", "import not_there", "ModuleNotFoundError"),
        ("class Own:", "class Own", "SyntaxError"),
        ("class Own:", "class Own:\n    def __init__(self, x): pass", "TypeError"),
        ("class Own:", "class Own:\n    def __init__(self): raise SystemExit(3)", "SystemExit: 3"),
        ("class Own:", "class Other:", "no class 'Own'"),
        (" = 32,", " = '32',", "tile_px is '32'"),
        ("1.0", "-1", "mpp is -1"),
        ("1.0, 3", "1.0, 4", "3 names for 4 features"),
        ('"f" * 64', '"abc"', "digest"),
        ("def encode", "def code", "lacks encode"),
    ],
)
def test_what_is_no_encoder_is_refused_before_a_slide(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in GOOD
    with pytest.raises(PathaiError, match=rf"E191.*own\.py.*{said}"):
        check_ready(written(tmp_path, GOOD.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ValueError('two\\nlines')", "raised ValueError: two"),
        ("raise SystemExit(3)", "raised SystemExit: 3"),
        ("return tiles.mean(axis=(1, 2)) + 1j", "complex128, not real"),
        ("return ['a'] * len(tiles)", "not real"),
    ],
)
def test_what_it_raises_is_told_with_the_tile(tmp_path: Path, body: str, said: str) -> None:
    text = GOOD.replace("return tiles.mean(axis=(1, 2), dtype=np.float32)", body)
    with pytest.raises(PathaiError, match=rf"E180.*own\.py:Own.*{said}"):
        load_encoder(written(tmp_path, text)).encode(np.zeros((2, 32, 32, 3), np.uint8))


def test_running_out_of_memory_is_left_to_who_halves_batches(tmp_path: Path) -> None:
    text = GOOD.replace("return tiles.mean(axis=(1, 2), dtype=np.float32)", "raise MemoryError")
    with pytest.raises(MemoryError):
        load_encoder(written(tmp_path, text)).encode(np.zeros((2, 32, 32, 3), np.uint8))


@pytest.mark.parametrize("name", ["morphology@x.safetensors", "tissue-small@x", "uni@"])
def test_a_file_where_none_belongs_is_refused(name: str) -> None:
    with pytest.raises(PathaiError, match="E191"):
        check_name(name)


def test_timm_is_checked_before_a_slide(tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")
    for name, code in (
        ("timm:resnet18", "E183"),
        ("timm:resnet18@gone.safetensors", "E183"),
        (f"timm:no_such_net@{cut}", "E191"),
        (f"timm:resnet18@{cut}", "E182"),
    ):
        with pytest.raises(PathaiError, match=code):
            check_ready(name)
