"""One finite vector per tissue tile, in the grid's order."""

import resource
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from folder_cases import make_folder

from pathai.config import FeaturesConfig
from pathai.encoders.morphology import Morphology
from pathai.errors import PathaiError
from pathai.features import as_float16, run
from pathai.progress import Pace
from pathai.store.commit import Commit, Key, run_stage
from pathai.store.folders import SlideFolder, slug
from pathai.store.groups import read_features
from pathai.store.manifest import Manifest
from pathai.store.records import Features
from pathai.store.shard import shard_path
from pathai.testing.looks import TEST_LOOKS
from pathai.testing.picture import synthetic_field
from pathai.units import Mpp
from pathai.verify import verify

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
    try:
        run(folder, FeaturesConfig.model_validate(section), out, encoder)  # type: ignore[arg-type]
    except PathaiError:
        out.abandon()
        raise
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


class Counting(Means):
    """Ends the job in the middle of a slide, as Ctrl-C does."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__("counting")
        self.stop_at, self.seen = stop_at, 0

    def encode(self, tiles: np.ndarray) -> np.ndarray:
        if self.stop_at is not None and self.seen >= self.stop_at:
            raise KeyboardInterrupt
        self.seen += len(tiles)
        return super().encode(tiles) / np.float32(7)


def step(
    folder: SlideFolder, encoder: Means, base: Path, config: str = "c", workers: int = 1
) -> Manifest:
    """The features stage as the chain runs it, but into a folder of its own."""
    name = f"{encoder.name}.zarr"

    def work(out: Commit) -> None:
        run(folder, FeaturesConfig(batch=8), out, encoder, workers=workers)

    return run_stage(base / encoder.name, "S1", Key("features", 1, config, (name,)), {}, work)


def files(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.mark.parametrize("stop_at", [0, 8, 40, 64])
def test_an_ended_job_goes_on_inside_the_slide(
    painted: tuple[SlideFolder, np.ndarray], tmp_path: Path, stop_at: int
) -> None:
    folder, _ = painted
    step(folder, Counting(), tmp_path / "golden")
    first, second = Counting(stop_at), Counting()
    with pytest.raises(KeyboardInterrupt):
        step(folder, first, tmp_path / "r")
    assert set(files(tmp_path / "r")) <= {"counting.zarr.rows.part"}
    step(folder, second, tmp_path / "r")
    assert files(tmp_path / "r") == files(tmp_path / "golden")
    assert second.seen == 72 - max(first.seen - 8, 0)  # the last batch was not yet fetched


def test_rows_made_otherwise_are_not_gone_on_with(
    painted: tuple[SlideFolder, np.ndarray], tmp_path: Path
) -> None:
    for change in ("config", "digest"):
        base, second = tmp_path / change, Counting()
        with pytest.raises(KeyboardInterrupt):
            step(painted[0], Counting(40), base)
        if change == "digest":
            second.digest = "1" * 64
        step(painted[0], second, base, config="other" if change == "config" else "c")
        assert second.seen == 72


def test_a_slide_that_fails_leaves_no_rows(
    painted: tuple[SlideFolder, np.ndarray], tmp_path: Path
) -> None:
    broken = Means("counting", broken=np.nan)
    with pytest.raises(KeyboardInterrupt):
        step(painted[0], Counting(16), tmp_path)
    made = step(painted[0], broken, tmp_path)
    assert (made.status, made.problems[0].code) == ("failed", "E180")
    assert set(files(tmp_path)) == {"counting.manifest.json"}


def test_left_rows_are_a_fault_to_verify(
    painted: tuple[SlideFolder, np.ndarray], tmp_path: Path
) -> None:
    step(painted[0], Counting(), tmp_path)
    assert not [f for f in verify(tmp_path).faults if "left over" in str(f)]
    (tmp_path / "counting.zarr.rows.part").write_bytes(b"x")
    (fault,) = [f for f in verify(tmp_path).faults if "left over" in str(f)]
    assert "counting.zarr.rows.part" in str(fault)


def test_workers_change_no_byte(painted: tuple[SlideFolder, np.ndarray], tmp_path: Path) -> None:
    step(painted[0], Counting(), tmp_path / "1")
    step(painted[0], Counting(), tmp_path / "2", workers=2)
    assert files(tmp_path / "1") == files(tmp_path / "2")


def test_rounding_is_measured(painted: tuple[SlideFolder, np.ndarray], tmp_path: Path) -> None:
    """float16 keeps 11 bits: no value is off by more than 2^-11 of itself."""
    folder, colors = painted
    step(folder, Counting(), tmp_path)
    attrs = read_features(tmp_path / "counting.zarr").attrs
    exact = (colors[:, 1:].astype(np.float32) / np.float32(7)).reshape(-1)
    half = exact.astype(np.float16).astype(np.float32)
    assert attrs.rounding == pytest.approx(np.abs(exact - half).max(), abs=1e-6)
    assert attrs.largest == pytest.approx(exact.max())
    assert 0 < attrs.rounding < attrs.largest * 2**-11
    assert (attrs.precision, attrs.device) == ("fp32", "cpu")


class Odd(Means):
    """Breaks a promise in the second batch."""

    def __init__(self, answer: object, names: tuple[str, ...] = ()) -> None:
        super().__init__("odd")
        self.answer, self.calls, self.names = answer, 0, names

    def encode(self, tiles: np.ndarray) -> np.ndarray:
        self.calls += 1
        good = super().encode(tiles)
        return good if self.calls == 1 else self.answer(good)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda v: v[:, :2], r"made \[8, 2\] for 8 tiles, not \[8, 3\]"),
        (lambda v: v[:-1], r"made \[7, 3\] for 8 tiles"),
        (lambda v: v[0], r"made \[3\] for 8 tiles"),
        (lambda v: v * [[0], [0], [1], [1], [1], [1], [1], [1]], "every feature is zero"),
    ],
)
def test_an_encoder_that_breaks_its_promise_stops_the_slide(
    painted: tuple[SlideFolder, np.ndarray], answer: object, said: str
) -> None:
    with pytest.raises(PathaiError, match=rf"E180: tile at x 576, y 0.*{said}"):
        features_of(painted[0], Odd(answer), batch=8)


def test_named_features_may_all_be_zero(painted: tuple[SlideFolder, np.ndarray]) -> None:
    """What they measure may be absent, as nuclei are on glass."""
    found = features_of(painted[0], Odd(lambda v: v * 0, ("a", "b", "c")), batch=8)
    assert (found.x[:8] > 0).all()
    assert (found.x[8:] == 0).all()


class Tight(Means):
    """Has memory for a few tiles only."""

    def __init__(self, fits: int) -> None:
        super().__init__("tight")
        self.fits, self.calls = fits, []

    def encode(self, tiles: np.ndarray) -> np.ndarray:
        self.calls.append(len(tiles))
        if len(tiles) > self.fits:
            raise MemoryError
        return super().encode(tiles)


def test_out_of_memory_halves_the_batch(
    painted: tuple[SlideFolder, np.ndarray], tmp_path: Path
) -> None:
    encoder = Tight(5)
    found = features_of(painted[0], encoder, batch=32)
    wanted = features_of(painted[0], Means(), batch=32)
    assert np.array_equal(found.x, wanted.x)
    assert encoder.calls == [32, 16, 8, *[4] * 18]
    (problem,) = step(painted[0], Tight(0), tmp_path).problems
    assert problem.code == "E170"
    assert problem.message == "S1: tile at x 64, y 0: not even one tile fits"


def test_a_damaged_chunk_ends_the_slide_and_the_thread(
    painted: tuple[SlideFolder, np.ndarray], tmp_path: Path
) -> None:
    copied = SlideFolder(tmp_path / painted[0].slide_id)
    shutil.copytree(painted[0].path, copied.path)
    shard = shard_path(copied.tiles / "0", 0, 0)
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(PathaiError, match="E164"):
        features_of(copied, Means(), batch=8)
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_pace_tells_speed_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr("pathai.progress.time.monotonic", lambda: now)
    pace = Pace("S1", 1000, before=200)
    for done in (210, 220):
        now += 2
        pace.note(done)
    now += 6
    pace.note(300)
    pace.note(310)
    assert capsys.readouterr().err.splitlines() == [
        "S1: goes on after 200 of 1000 tiles",
        "S1: 300 of 1000 tiles, 10 tiles/s, 0:01:10 left",
    ]


def test_a_full_disk_is_e161_and_leaves_nothing(
    painted: tuple[SlideFolder, np.ndarray], tmp_path: Path
) -> None:
    """A limit on the size of a file stands for the disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))
    try:
        with pytest.raises(PathaiError, match="E161"):
            step(painted[0], Counting(), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(tmp_path) == {}
    assert step(painted[0], Counting(), tmp_path).status == "ok"
