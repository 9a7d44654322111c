"""From a slide file to its tissue map and pixels, with all that can be wrong."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from pathai import tiling
from pathai.config import TileConfig
from pathai.store.commit import Key, run_stage
from pathai.store.folders import SlideFolder, write_slide_info
from pathai.store.manifest import Manifest
from pathai.store.records import TISSUE, SlideInfo
from pathai.units import Box

SECTION = TileConfig(min_tissue_mm2=0.01)
WIDTH, HEIGHT = 1500, 1200


def picture() -> np.ndarray:
    """Glass with a disk of tissue that covers 0.0982 mm² at 0.5 µm/px (radius 353.6 px)."""
    rng = np.random.default_rng(0)
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    image = np.clip(rng.normal(242, 2, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
    disk = (rows - 600) ** 2 + (columns - 700) ** 2 <= 353.6**2
    image[disk] = np.clip(rng.normal((190, 120, 170), 20, (int(disk.sum()), 3)), 0, 254)
    return image


def svs(path: Path, image: np.ndarray) -> Path:
    text = f"Aperio Image Library v1\r\n{WIDTH}x{HEIGHT} (256x256)|AppMag = 20|MPP = 0.5"
    options = {"photometric": "rgb", "metadata": None, "description": text}
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(image, tile=(256, 256), compression="zlib", **options)
        tiff.write(image[::8, ::8].copy(), **options)
        small = image.reshape(HEIGHT // 4, 4, WIDTH // 4, 4, 3).mean(axis=(1, 3)).astype(np.uint8)
        tiff.write(small, tile=(256, 256), compression="zlib", **options)
    return path


def stage(
    root: Path,
    path: Path,
    section: TileConfig = SECTION,
    *,
    width: int = WIDTH,
    height: int = HEIGHT,
) -> tuple[SlideFolder, Manifest]:
    folder = SlideFolder(root / "slides" / "s1")
    info = SlideInfo(
        slide_id="s1", sha256="0" * 64, width=width, height=height, mpp_x=0.5, mpp_y=0.5,
        mpp_source="file", reader="openslide", level_downsamples=(1.0, 4.0), stain="H&E",
    )  # fmt: skip
    folder.path.mkdir(parents=True, exist_ok=True)
    write_slide_info(folder.slide_json, info)
    key = Key("tile", 1, section.digest(), ("tiles.zarr", "tissue.zarr"))

    def work(out: object) -> None:
        tiling.run(folder, section, out, path=path)  # type: ignore[arg-type]

    return folder, run_stage(folder.path / "tile", "s1", key, {}, work)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return picture()


@pytest.fixture
def good(tmp_path: Path, image: np.ndarray) -> Path:
    return svs(tmp_path / "secret-name.svs", image)


def test_tissue_is_found_and_its_pixels_are_exact(
    tmp_path: Path, good: Path, image: np.ndarray
) -> None:
    folder, manifest = stage(tmp_path, good)
    assert manifest.status == "ok", manifest.problems
    tissue = folder.read_tissue()
    assert tissue.area_mm2(TISSUE) == pytest.approx(0.0982, rel=0.11)
    found = folder.open_tiles().read(Box(400, 300, 600, 600))
    assert np.array_equal(found, image[300:900, 400:1000])
    folder.open_tiles().check()
    for written in folder.path.rglob("*"):
        if written.is_file() and written.suffix == ".json":
            assert "secret-name" not in written.read_text()
            assert str(tmp_path) not in written.read_text()


def test_same_slide_same_bytes(tmp_path: Path, good: Path) -> None:
    first, one = stage(tmp_path / "a", good)
    second, two = stage(tmp_path / "b", good)
    assert one.files == two.files
    assert one.digest == two.digest
    assert first.path != second.path


def test_no_tissue_is_skipped(tmp_path: Path, image: np.ndarray) -> None:
    blank = np.broadcast_to(image[:1, :], image.shape).copy()
    folder, manifest = stage(tmp_path, svs(tmp_path / "blank.svs", blank))
    assert manifest.status == "skipped"
    assert manifest.problems[0].code == "E145"
    assert "0.000 mm²" in manifest.problems[0].message
    assert not folder.tiles.exists()
    assert not list(folder.path.glob("*.part"))


def test_less_tissue_than_wanted_is_skipped(tmp_path: Path, good: Path) -> None:
    _, manifest = stage(tmp_path, good, TileConfig(min_tissue_mm2=0.5))
    assert manifest.status == "skipped"
    assert "0.5 wanted" in manifest.problems[0].message


def test_dark_background_is_skipped(tmp_path: Path) -> None:
    dark = np.random.default_rng(0).integers(0, 20, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    _, manifest = stage(tmp_path, svs(tmp_path / "dark.svs", dark))
    assert (manifest.status, manifest.problems[0].code) == ("skipped", "E146")


def spoil(path: Path, tiles: list[int], page: int = 0) -> None:
    with tifffile.TiffFile(path) as tiff:
        places = [tiff.pages[page].dataoffsets[i] for i in tiles]
    with path.open("r+b") as file:
        for place in places:
            file.seek(place)
            file.write(b"\xff" * 64)


def test_one_bad_tile_degrades_and_is_marked(tmp_path: Path, good: Path, image: np.ndarray) -> None:
    spoil(good, [2 * 6 + 2])  # x 512, y 512: inside the tissue
    folder, manifest = stage(tmp_path, good, TileConfig(min_tissue_mm2=0.01, max_bad_fraction=0.5))
    assert manifest.status == "degraded"
    assert manifest.problems[0].code == "E121"
    assert "tissue is unreadable" in manifest.problems[0].message
    tiles = folder.open_tiles()
    lost = np.zeros((HEIGHT, WIDTH), bool)
    for x, y, width, height in tiles.levels[0].info.unreadable:
        lost[y : y + height, x : x + width] = True
    assert lost[512:768, 512:768].all()
    assert lost.sum() == 256 * 256
    assert (tiles.read(Box(512, 512, 256, 256)) == 255).all()
    assert np.array_equal(tiles.read(Box(768, 512, 256, 256)), image[512:768, 768:1024])


def test_one_bad_tile_of_glass_is_no_matter(tmp_path: Path, good: Path) -> None:
    spoil(good, [5])  # the upper right corner
    _, manifest = stage(tmp_path, good)
    assert manifest.status == "ok"


def test_too_many_bad_tiles_fail(tmp_path: Path, good: Path) -> None:
    spoil(good, [2 * 6 + 2])
    folder, manifest = stage(tmp_path, good)
    assert (manifest.status, manifest.problems[0].code) == ("failed", "E113")
    assert not folder.tiles.exists()


def test_all_bad_tiles_fail_soon(tmp_path: Path, good: Path) -> None:
    spoil(good, list(range(30)))
    _, manifest = stage(tmp_path, good)
    assert (manifest.status, manifest.problems[0].code) == ("failed", "E113")


def test_nothing_readable_at_all_is_not_skipped(tmp_path: Path, good: Path) -> None:
    spoil(good, list(range(30)))
    spoil(good, list(range(4)), page=2)
    _, manifest = stage(tmp_path, good)
    assert (manifest.status, manifest.problems[0].code) == ("failed", "E113")


def test_another_file_than_ingest_saw(tmp_path: Path, good: Path) -> None:
    _, manifest = stage(tmp_path, good, width=999)
    assert (manifest.status, manifest.problems[0].code) == ("failed", "E163")


def test_file_gone_since_ingest(tmp_path: Path) -> None:
    _, manifest = stage(tmp_path, tmp_path / "gone.svs")
    assert (manifest.status, manifest.problems[0].code) == ("failed", "E102")


def test_file_changed_meanwhile(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = tiling.require_tissue

    def touch(*args: object, **options: object) -> object:
        with good.open("ab") as file:
            file.write(b"more")
        return plain(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(tiling, "require_tissue", touch)
    _, manifest = stage(tmp_path, good)
    assert (manifest.status, manifest.problems[0].code) == ("failed", "E163")


def test_a_crashing_decoder_fails_the_slide_alone(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Crashing(tiling._Source):
        def read(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
            self.guard.call("ctypes:string_at", 0, seconds=30)
            raise AssertionError

    monkeypatch.setattr(tiling, "_Source", Crashing)
    _, manifest = stage(tmp_path / "a", good)
    assert (manifest.status, manifest.problems[0].code) == ("failed", "E172")
    monkeypatch.undo()
    _, manifest = stage(tmp_path / "b", good)
    assert manifest.status == "ok"


def test_a_hanging_decoder_fails_in_time(tmp_path: Path, good: Path) -> None:
    _, manifest = stage(tmp_path, good, TileConfig(seconds=1e-6))
    assert (manifest.status, manifest.problems[0].code) == ("failed", "E171")


def test_torch_and_skimage_stay_away() -> None:
    import subprocess
    import sys

    code = (
        "import sys, pathai.ingest, pathai.tiling, pathai.readers, pathai.store.pyramid_writer, "
        "pathai.feed; heavy = ('torch', 'skimage', 'dask', 'sklearn'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.real
def test_a_real_slide_is_stored_exactly(test_data: Path, tmp_path: Path) -> None:
    import openslide

    path = test_data / "slides" / "CMU-1-Small-Region.svs"
    folder, manifest = stage(tmp_path, path, TileConfig(), width=2220, height=2967)
    assert manifest.status == "ok", manifest.problems
    pyramid = folder.open_tiles()
    with openslide.OpenSlide(str(path)) as slide:
        whole = np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
    count = 0
    for row, column in pyramid.levels[0].stored():
        box = pyramid.levels[0].chunk_box(row, column)
        x, y, width, height = (int(v) for v in (box.x, box.y, box.width, box.height))
        assert np.array_equal(pyramid.read(box), whole[y : y + height, x : x + width])
        count += 1
    assert count == pyramid.levels[0].info.chunks
    assert pyramid.levels[0].info.made == "copied"
    assert 0.5 < folder.read_tissue().area_mm2(TISSUE) < 0.8
    assert pyramid.levels[0].lost == []
