"""One finite vector per tissue tile, in the grid's order."""

from pathlib import Path

import numpy as np
import pytest
from folder_cases import make_folder

from pathai.config import FeaturesConfig
from pathai.encoders.morphology import Morphology
from pathai.errors import PathaiError
from pathai.features import as_float16, run
from pathai.store.commit import Commit
from pathai.store.folders import SlideFolder, slug
from pathai.store.records import Features
from pathai.testing.looks import TEST_LOOKS
from pathai.testing.picture import synthetic_field
from pathai.units import Mpp

HALF = Mpp(0.5, 0.5)


class Means:
    """Mean color of a tile, and a stray value where a tile is told to break."""

    tile_px, mpp, dim, digest = 64, 0.5, 3, "0" * 64
    names = ("red", "green", "blue")

    def __init__(self, name: str = "means", broken: float | None = None) -> None:
        self.name = name
        self.broken = broken
        self.largest = 0

    def encode(self, tiles: np.ndarray) -> np.ndarray:
        self.largest = max(self.largest, len(tiles))
        out = tiles.mean(axis=(1, 2), dtype=np.float32)
        if self.broken is not None:
            out[:, 1] = np.where(out[:, 0] < 100, self.broken, out[:, 1])
        return out


def features_of(folder: SlideFolder, encoder: object, **section: object) -> Features:
    name = encoder.name  # type: ignore[attr-defined]
    out = Commit(folder.base("features", name), (f"{slug(name)}.zarr",))
    run(folder, FeaturesConfig.model_validate(section), out, encoder)  # type: ignore[arg-type]
    out.finish()
    return folder.read_features(name)


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> tuple[SlideFolder, np.ndarray]:
    """Squares of 64 px, each of one color; the left column is background."""
    rng = np.random.default_rng(2)
    colors = rng.integers(100, 255, (8, 10, 3), dtype=np.uint8)
    colors[3, 4, 0] = 90
    image = np.repeat(np.repeat(colors, 64, axis=0), 64, axis=1)
    classes = np.ones((32, 40), np.uint8)
    classes[:, :4] = 0
    return make_folder(tmp_path_factory.mktemp("f") / "s", image, HALF, classes), colors


@pytest.mark.parametrize("batch", [1, 7, 500])
def test_rows_are_the_tiles(painted: tuple[SlideFolder, np.ndarray], batch: int) -> None:
    folder, colors = painted
    encoder = Means()
    found = features_of(folder, encoder, batch=batch)
    assert found.xy_px0.tolist() == [[64 * c, 64 * r] for r in range(8) for c in range(1, 10)]
    assert np.allclose(found.x, colors[:, 1:].reshape(-1, 3), atol=0.1)
    assert encoder.largest <= batch
    assert (found.valid == 1).all()
    assert (found.tissue == 1).all()
    assert found.attrs.names == ("red", "green", "blue")
    assert (found.attrs.encoder, found.attrs.tile_px, found.attrs.mpp) == ("means", 64, 0.5)


def test_any_name_finds_its_place(painted: tuple[SlideFolder, np.ndarray]) -> None:
    found = features_of(painted[0], Means("some/file.py:Means"))
    assert found.attrs.encoder == "some/file.py:Means"


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_what_is_not_finite_names_its_tile(
    painted: tuple[SlideFolder, np.ndarray], value: float
) -> None:
    with pytest.raises(PathaiError, match=r"E180: tile at x 256, y 192: feature green is"):
        features_of(painted[0], Means(broken=value))


def test_nameless_features_are_numbered() -> None:
    with pytest.raises(PathaiError, match="tile at x 5, y 6: feature number 2 is nan"):
        as_float16(np.array([[0, 1, np.nan]], np.float32), np.array([[5, 6]], np.int32), ())


def test_no_tissue_gives_no_rows(tmp_path: Path) -> None:
    image = np.full((300, 300, 3), 240, np.uint8)
    folder = make_folder(tmp_path / "s", image, HALF, np.zeros((19, 19), np.uint8))
    found = features_of(folder, Means())
    assert found.x.shape == (0, 3)
    assert found.xy_px0.shape == (0, 2)


def test_grid_is_the_encoders_own(tmp_path: Path) -> None:
    image, _ = synthetic_field(1, width=1100, height=1100, mpp=0.25)
    folder = make_folder(tmp_path / "s", image, Mpp(0.25, 0.25))
    found = features_of(folder, Morphology(), batch=2)
    assert found.size_px0.tolist() == [512, 512]
    assert len(found.x) == 4  # tiles that are mostly outside of the slide are left out
    assert np.isfinite(found.x.astype(np.float32)).all()
    count = found.x[:, found.attrs.names.index("nuclei_per_mm2")].astype(float)
    assert (count > 300).all()


def test_colors_are_changed_before_the_encoder_sees_them(tmp_path: Path) -> None:
    """And it is recorded: a model that was trained without refuses these features."""
    image, _ = synthetic_field(3, next(iter(TEST_LOOKS.values())), width=640, height=512)
    folder = make_folder(tmp_path / "s", image, HALF, np.ones((32, 40), np.uint8))
    plain = features_of(folder, Means())
    same = features_of(folder, Means(), color={"icc": True})  # the slide has no profile
    made = features_of(folder, Means(), color={"normalize": "reinhard"})
    assert np.array_equal(same.x, plain.x)
    assert plain.attrs.color.normalize == ""
    assert made.attrs.color.normalize == "reinhard"
    assert made.attrs.encoder_digest != plain.attrs.encoder_digest == "0" * 64
    assert np.abs(made.x.astype(float) - plain.x.astype(float)).max() > 5
    assert made.attrs.grid_digest == plain.attrs.grid_digest
