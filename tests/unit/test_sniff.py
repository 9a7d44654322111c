"""Every bad file is named for what it is, before a decoder sees it."""

import gzip
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

from pathai.config import IngestConfig
from pathai.errors import PathaiError
from pathai.readers import open_slide
from pathai.readers.sniff import sniff

LIMITS = IngestConfig()


def refuse(path: Path, code: str, *words: str, limits: IngestConfig = LIMITS) -> PathaiError:
    """The file is refused with this code; message and remedy hold the words, but no path."""
    with pytest.raises(PathaiError) as caught:
        open_slide(path, limits)
    error = caught.value
    assert error.code == code, str(error)
    assert "\n" not in str(error)
    assert error.remedy
    assert path.name not in str(error)
    assert str(path.parent) not in str(error)
    for word in words:
        assert word in str(error), str(error)
    return error


def write_tiff(path: Path, shape: tuple[int, ...] = (600, 700, 3), **options: object) -> Path:
    """A tiled RGB TIFF of noise (so that it does not compress to nothing)."""
    dtype = options.pop("dtype", np.uint8)
    image = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    settings = {"tile": (256, 256), "photometric": "rgb", "compression": "zlib", **options}
    tifffile.imwrite(path, image, metadata=None, **settings)
    return path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write_tiff(tmp_path / "good.tif")


def test_a_good_file_passes(good: Path) -> None:
    assert sniff(good, LIMITS) == "tiff"


def test_missing(tmp_path: Path) -> None:
    refuse(tmp_path / "nothing-there.svs", "E102", "does not exist", "path of the sheet")


def test_nul_in_the_path() -> None:
    with pytest.raises(PathaiError) as caught:
        open_slide(Path("a\0b"))
    assert caught.value.code == "E102"


def test_folder(tmp_path: Path) -> None:
    folder = tmp_path / "some-folder.svs"
    folder.mkdir()
    refuse(folder, "E103", "folder", "slide file")
    (folder / "a.dcm").write_bytes(b"x")
    refuse(folder, "E103", "one .dcm file")


def test_zero_bytes(tmp_path: Path) -> None:
    path = tmp_path / "empty-file.svs"
    path.touch()
    refuse(path, "E101", "0 bytes", "copy the slide again")


def test_fifo_is_not_waited_for(tmp_path: Path) -> None:
    import os

    path = tmp_path / "pipe-name.svs"
    os.mkfifo(path)
    refuse(path, "E104", "pipe")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello, this is text\n" * 50, ("text")),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", ("LFS", "git lfs pull")),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), ("PNG",)),
        (b"\xff\xd8\xff\xe0" + bytes(100), ("JPEG picture",)),
        (bytes(range(1, 200)), ("first bytes 01 02 03",)),
    ],
)
def test_other_files_renamed(tmp_path: Path, content: bytes, words: tuple[str, ...]) -> None:
    path = tmp_path / "renamed-thing.svs"
    path.write_bytes(content)
    refuse(path, "E104", *words)


def test_archives_renamed(tmp_path: Path) -> None:
    path = tmp_path / "zipped-slide.svs"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("slide.svs", b"II*\0" * 100)
    refuse(path, "E104", "ZIP", "unpack")
    path = tmp_path / "gzipped-slide.svs"
    path.write_bytes(gzip.compress(b"II*\0" * 100))
    refuse(path, "E104", "gzip", "unpack")


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.99, 0.9999])
@pytest.mark.parametrize("big", [False, True])
def test_truncated(good: Path, tmp_path: Path, share: float, big: bool) -> None:
    if big:
        good = write_tiff(tmp_path / "big.tif", bigtiff=True)
    data = good.read_bytes()
    path = tmp_path / "cut-short.svs"
    path.write_bytes(data[: max(int(len(data) * share), 5)])
    error = refuse(path, "E110", "copy the slide again")
    assert str(path.stat().st_size) in error.message or "ends before" in error.message


@pytest.mark.real
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated_real_svs(test_data: Path, tmp_path: Path, share: float) -> None:
    data = (test_data / "slides" / "CMU-1-Small-Region.svs").read_bytes()
    path = tmp_path / "cut-short.svs"
    path.write_bytes(data[: int(len(data) * share)])
    refuse(path, "E110", "copy the slide again")


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("random_bytes.svs", "E104", ("not a slide",)),
        ("CMU-1-Saved-1_16.mrxs", "E135", ("MIRAX data folder", "missing")),
        ("lfs_pointer.ndpi", "E104", ("LFS pointer", "git lfs pull")),
        ("zero_size.tif", "E117", ("2 x 0",)),
    ],
)
def test_broken_files(test_data: Path, name: str, code: str, words: tuple[str, ...]) -> None:
    refuse(test_data / "broken" / name, code, *words)


def test_vsi_header_alone(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "scan-of-someone.vsi", (212, 620, 3))
    refuse(path, "E135", "header", "missing", "OME-TIFF")
    (tmp_path / "_scan-of-someone_").mkdir()
    refuse(path, "E104", "OME-TIFF")


def test_mirax_parts(tmp_path: Path) -> None:
    path = tmp_path / "case-name.mrxs"
    path.write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    folder = tmp_path / "case-name"
    folder.mkdir()
    refuse(path, "E135", "Slidedat.ini")
    ini = folder / "Slidedat.ini"
    ini.write_text("[HIERARCHICAL]\nINDEXFILE = Index.dat\n[DATAFILE]\nFILE_0 = Data0000.dat\n")
    refuse(path, "E135", "Index.dat")
    (folder / "Index.dat").write_bytes(b"x")
    refuse(path, "E135", "Data0000.dat")
    ini.write_text("[DATAFILE]\nFILE_0 = JANE-DOE.dat\n")
    assert "JANE" not in str(refuse(path, "E135", "a file that"))
    ini.write_text("[DATAFILE]\nFILE_0 = ../../etc/passwd\n")
    refuse(path, "E104", "outside of its folder")


def patch_tag(path: Path, tag: int, value: int, page: int = 0) -> None:
    """Overwrite the inline value of a tag, or the first element of its array."""
    with tifffile.TiffFile(path) as tiff:
        found = tiff.pages[page].tags[tag]
        place, kind = found.valueoffset, found.dtype
    code = {3: "<H", 4: "<I", 16: "<Q"}[int(kind)]
    with path.open("r+b") as file:
        file.seek(place)
        file.write(struct.pack(code, value))


def test_zero_width(good: Path) -> None:
    patch_tag(good, 256, 0)
    refuse(good, "E117", "0 x 600")


def test_zero_tile(good: Path) -> None:
    patch_tag(good, 322, 0)
    refuse(good, "E117", "tiles")


def test_huge_byte_count(good: Path) -> None:
    patch_tag(good, 325, 0xFFFF0000)
    refuse(good, "E116", "4294901760 bytes")


def test_tile_offset_past_the_end(good: Path) -> None:
    patch_tag(good, 324, 0x7FFFFFFF)
    refuse(good, "E110")


def test_tile_bomb(good: Path) -> None:
    patch_tag(good, 322, 16384)
    patch_tag(good, 323, 16384)
    refuse(good, "E116", "768 MiB", "max_tile_mib")


def test_declared_size_beyond_the_limit(good: Path) -> None:
    patch_tag(good, 256, 60_000)
    refuse(good, "E116", "60000 x 600", limits=IngestConfig(max_pixels=10**7))


def test_directory_loop(good: Path) -> None:
    with tifffile.TiffFile(good) as tiff:
        page = tiff.pages[0]
        start, count = page.offset, len(page.tags)
    with good.open("r+b") as file:
        file.seek(start + 2 + 12 * count)
        file.write(struct.pack("<I", start))
    refuse(good, "E114", "twice")


def test_too_many_directories(tmp_path: Path) -> None:
    path = tmp_path / "many-pages.tif"
    with tifffile.TiffWriter(path) as tiff:
        for _ in range(30):
            tiff.write(np.zeros((16, 16, 3), np.uint8), photometric="rgb", metadata=None)
    refuse(path, "E115", "20", limits=IngestConfig(max_directories=20))


def test_too_many_tags(good: Path) -> None:
    with tifffile.TiffFile(good) as tiff:
        start = tiff.pages[0].offset
    with good.open("r+b") as file:
        file.seek(start)
        file.write(struct.pack("<H", 60_000))
    refuse(good, "E115", "60000 tags")


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        ({"dtype": np.uint16}, "E140", ("16 bits",)),
        ({"shape": (600, 700), "photometric": "minisblack"}, "E141", ("1 channels",)),
        (
            {"shape": (600, 700, 7), "photometric": "minisblack", "planarconfig": "contig"},
            "E141",
            ("7 channels", "many"),
        ),
        ({"shape": (600, 700, 4), "photometric": "separated"}, "E141", ("color model 5",)),
        ({"compression": "lzma"}, "E119", ("34925", "LZMA", "convert")),
    ],
)
def test_pictures_of_another_kind(
    tmp_path: Path, options: dict[str, object], code: str, words: tuple[str, ...]
) -> None:
    refuse(write_tiff(tmp_path / "other-kind.tif", **options), code, *words)


def test_one_large_strip(tmp_path: Path) -> None:
    path = tmp_path / "one-strip.tif"
    image = np.zeros((5000, 5000, 3), np.uint8)
    tifffile.imwrite(path, image, photometric="rgb", rowsperstrip=5000, metadata=None)
    refuse(path, "E118", "without tiles", "convert")


def test_no_permission(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(good))

    monkeypatch.setattr(Path, "open", forbid)  # root may read everything
    refuse(good, "E105", "allow this user")


@pytest.mark.parametrize(
    "name", ["a b.tif", "-x.tif", "$(id).tif", "ä;'\".tif", "n" * 200 + ".tif"]
)
def test_odd_file_names_open(good: Path, name: str) -> None:
    odd = good.rename(good.parent / name)
    slide = open_slide(odd)
    assert (slide.facts.size.width, slide.facts.size.height) == (700, 600)
    slide.close()


def test_every_flipped_tag_byte_is_refused_or_opens(good: Path, tmp_path: Path) -> None:
    """No byte of the directory makes the walk hang, crash or raise anything but our error."""
    data = good.read_bytes()
    with tifffile.TiffFile(good) as tiff:
        start, count = tiff.pages[0].offset, len(tiff.pages[0].tags)
    path = tmp_path / "flipped.tif"
    rng = np.random.default_rng(3)
    seen = set()
    for position in [*range(8), *range(start, start + 2 + 12 * count + 4)]:
        broken = bytearray(data)
        broken[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        try:
            sniff(path, LIMITS)
        except PathaiError as error:
            seen.add(error.code)
    assert seen <= {"E104", "E110", "E114", "E115", "E116", "E117", "E118", "E119", "E140", "E141"}
    assert len(seen) > 4
