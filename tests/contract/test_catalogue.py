"""Rows 1 to 50 of the fault catalogue: each ends as it must, named, with a remedy.

Every row goes through ingest and, where that accepts the slide, through tile, in the child
process and with the messages of a real run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import fault_cases as make
import numpy as np
import pytest
from fault_cases import Faulty

from pathai import chain, verbs
from pathai.config import Config
from pathai.errors import CODES
from pathai.store.commit import manifest_path
from pathai.store.folders import SlideFolder
from pathai.store.manifest import Manifest, read_manifest

PX = make.PX
SMALL = {"tile": {"min_tissue_mm2": 0.005}}
LENIENT = {"tile": {"max_bad_fraction": 0.6}}
COPY_AGAIN = "copy the slide again"
IN_SHEET = "column mpp of the sheet"


@dataclass(frozen=True)
class Row:
    """A fault and its outcome: status and code of the stage that ends it, words that must stand."""

    name: str
    maker: Callable[[Path, bytes], Path | Faulty]
    status: str
    code: str = ""
    words: tuple[str, ...] = ()
    remedy: str = ""


def flipped(content: bytes) -> bytes:
    raw = bytearray(content)
    raw[len(raw) // 3] ^= 8
    return bytes(raw)


def rgb(folder: Path, dtype: type, channels: int, photometric: str, **options: object) -> Path:
    shape = (300, 400, channels) if channels > 1 else (300, 400)
    if channels > 1:
        options["planarconfig"] = "contig"
    return make.small_tiff(folder, np.zeros(shape, dtype), photometric=photometric, **options)


ROWS = [
    Row("01-empty", lambda f, g: make.put(f, b""), "failed", "E101", ("0 bytes",), COPY_AGAIN),
    Row("02-missing", lambda f, g: f / "fault.svs", "failed", "E102", ("does not exist",)),
    Row("03-folder", lambda f, g: _folder(f), "failed", "E103", ("folder",), "slide file"),
    Row("03-dicom-folder", lambda f, g: _folder(f, "a.dcm"), "failed", "E103", (), "one .dcm file"),
    Row("04-text", lambda f, g: make.put(f, b"see the shared drive\n" * 40), "failed", "E104",
        ("text",)),
    Row("04-other-bytes", lambda f, g: make.put(f, b"\1\2\3\4" * 40), "failed", "E104",
        ("first bytes 01 02 03 04",)),
    Row("05-zip", make.zipped, "failed", "E104", ("ZIP",), "unpack"),
    Row("05-gzip", make.gzipped, "failed", "E104", ("gzip",), "unpack"),
    *(Row(f"06-cut-at-{share}-percent", lambda f, g, s=share: make.put(f, g[: len(g) * s // 100]),
          "failed", "E110", (), COPY_AGAIN) for share in (10, 50, 90, 99)),
    Row("07-growing", make.growing, "failed", "E111", ("changed",), "wait until the copy"),
    Row("08-flipped-bit-known-file",
        lambda f, g: Faulty(make.put(f, flipped(g)), sha256=sha256(g).hexdigest()),
        "failed", "E112", ("SHA-256",), "copy it again"),
    Row("09-bad-tile-in-tissue", lambda f, g: Faulty(
        make.spoiled(f, g, [make.TISSUE_TILE], 0x11), config=LENIENT), "degraded", "E121",
        ("%",)),
    Row("09-bad-tile-beyond-the-limit",
        lambda f, g: make.spoiled(f, g, [make.TISSUE_TILE], 0x11), "failed", "E113", ("%",)),
    Row("10-bad-tile-on-glass", lambda f, g: make.spoiled(f, g, [make.GLASS_TILE], 0x11), "ok"),
    Row("11-lost-block", lambda f, g: Faulty(
        make.spoiled(f, g, [make.TISSUE_TILE], 0), config=LENIENT), "degraded", "E121"),
    Row("12-tile-without-bytes", lambda f, g: Faulty(
        make.patched(f, g, 325, 0, make.TISSUE_TILE), config=LENIENT), "degraded", "E121"),
    Row("13-all-tiles-bad", lambda f, g: make.spoiled(f, g, list(range(16)), 0x11),
        "failed", "E113", (), "again"),
    Row("14-tile-past-the-end", lambda f, g: make.patched(f, g, 324, 0x7FFFFFFF, 5), "failed",
        "E110", ("2147",), COPY_AGAIN),
    Row("15-loop", make.looped, "failed", "E114", ("twice",)),
    Row("16-100000-directories", lambda f, g: make.directories(f, 100_000), "failed", "E115",
        ("1000",)),
    Row("17-tile-bomb", lambda f, g: make.bomb(f), "failed", "E116", ("768 MiB",), "max_tile_mib"),
    Row("17-byte-count", lambda f, g: make.patched(f, g, 325, 0xFFFF0000, 2), "failed", "E116",
        ("4294901760",)),
    Row("18-huge-dimensions", lambda f, g: make.patched(
        f, make.patched(f, g, 256, 2**31).read_bytes(), 257, 2**31), "failed", "E116",
        ("2147483648 x 2147483648",), "max_pixels"),
    Row("19-zero-width", lambda f, g: make.patched(f, g, 256, 0), "failed", "E117", ("0 x 960",)),
    Row("20-one-strip", lambda f, g: make.small_tiff(
        f, np.zeros((5000, 5000, 3), np.uint8), photometric="rgb", tile=None, rowsperstrip=5000,
        compression="zlib"), "failed", "E118", ("without tiles",), "tiffsave --tile"),
    Row("21-unknown-compression", lambda f, g: make.compressed(f, 32_909), "failed", "E119",
        ("32909", "PixarLog"), "JPEG"),
    Row("23-jpeg-xr", lambda f, g: make.compressed(f, 22_610), "failed", "E119", ("JPEG XR",)),
    Row("24-beyond-4-gb", lambda f, g: make.far(f), "ok"),
    Row("26-one-level", lambda f, g: make.painted(f, make.picture()), "ok"),
    Row("27-odd-levels", lambda f, g: make.odd_levels(f), "ok"),
    Row("28-unordered-levels", lambda f, g: make.unordered(f), "ok"),
    Row("29-no-mpp", lambda f, g: make.scaled(f, "NONE", 20_000), "failed", "E130",
        ("does not record",), IN_SHEET),
    *(Row(f"30-mpp-{text}", lambda f, g, t=text: make.with_mpp(f, t), "failed", "E131", (),
          IN_SHEET) for text in ("0.0", "-0.5", "nan", "inf", "²0")),
    Row("30-decimal-comma", lambda f, g: make.with_mpp(f, "0,4990"), "ok"),
    Row("31-uneven-mpp", lambda f, g: make.ome(f), "ok"),
    Row("31-stretched", lambda f, g: make.scaled(f, "CENTIMETER", 20_000, 10_000), "failed",
        "E132", ("along x",), "mpp in the sheet"),
    Row("32-objective-does-not-fit", lambda f, g: Faulty(make.with_mpp(f, "0.2500"), config=SMALL),
        "ok"),
    Row("33-72-dpi", lambda f, g: make.scaled(f, "INCH", 72), "failed", "E131",
        ("72 dpi",), IN_SHEET),
    Row("33-100-times", lambda f, g: make.with_mpp(f, "0.00499"), "failed", "E131",
        ("100 times", "0.499"), IN_SHEET),
    Row("34-inch", lambda f, g: make.scaled(f, "INCH", 50_800), "ok"),
    Row("34-centimeter", lambda f, g: make.scaled(f, "CENTIMETER", 20_000), "ok"),
    Row("35-sheet-disagrees", lambda f, g: Faulty(make.put(f, g), mpp=0.25), "failed", "E133",
        ("0.25", "0.5"), "mpp_override"),
    Row("35-sheet-overrides", lambda f, g: Faulty(
        make.put(f, g), mpp=0.25, config={**SMALL, "ingest": {"mpp_override": True}}), "ok"),
    Row("36-scanned-part", lambda f, g: make.leica(f, (20,)), "ok"),
    Row("37-dissimilar-regions", lambda f, g: make.leica(f, (20, 10)), "failed", "E134",
        ("objective 20", "objective 10"), "export each region"),
    Row("38-mirax-without-folder", lambda f, g: make.mirax(f, ""), "failed", "E135",
        ("folder",), "beside the index"),
    Row("38-mirax-without-data", lambda f, g: make.mirax(f, "Data0000.dat"), "failed", "E135",
        ("Data0000.dat",)),
    Row("39-dicom-part-missing", lambda f, g: make.dicom(f, "part"), "failed", "E136",
        ("2 of 2",), "every instance"),
    Row("39-dicom-no-full-resolution", lambda f, g: make.dicom(f, "full resolution"), "failed",
        "E136", ("full-resolution",)),
    Row("39-dicom-mixed", lambda f, g: make.dicom(f, "mixed"), "failed", "E136", ("several",)),
    Row("40-dicom-label", lambda f, g: make.dicom(f, "label"), "failed", "E137", ("label",)),
    Row("40-label-alone", lambda f, g: make.label_alone(f), "failed", "E137", ("label",),
        "holds the scan"),
    Row("41-no-tissue", lambda f, g: make.painted(f, make.picture(0.0)), "skipped", "E145",
        ("0.000 mm²",), "min_tissue_mm2"),
    Row("42-one-tile-of-tissue", lambda f, g: Faulty(
        make.one_tile(f), config=SMALL), "ok"),
    Row("43-tissue-to-every-edge",
        lambda f, g: make.painted(f, make.picture(1.0)[:931, :917]), "ok"),
    Row("44-all-white", lambda f, g: make.painted(f, np.full((PX, PX, 3), 255, np.uint8)),
        "skipped", "E145"),
    Row("44-all-black", lambda f, g: make.painted(f, np.zeros((PX, PX, 3), np.uint8)),
        "skipped", "E14"),
    Row("44-pen", lambda f, g: make.pen(f), "skipped", "E145", ("of pen",)),
    Row("45-16-bit", lambda f, g: rgb(f, np.uint16, 3, "rgb"), "failed", "E140", ("16 bits",),
        "8-bit RGB"),
    Row("45-float", lambda f, g: rgb(f, np.float32, 3, "rgb"), "failed", "E140", ("32 bits",)),
    Row("46-gray", lambda f, g: rgb(f, np.uint8, 1, "minisblack"), "failed", "E141",
        ("1 channels",)),
    Row("46-seven-channels", lambda f, g: rgb(f, np.uint8, 7, "minisblack"), "failed", "E141",
        ("7 channels",)),
    Row("46-unknown-fourth-channel",
        lambda f, g: rgb(f, np.uint8, 4, "rgb", extrasamples=["unspecified"]), "failed", "E141",
        ("fourth",)),
    Row("47-cmyk", lambda f, g: rgb(f, np.uint8, 4, "separated"), "failed", "E141",
        ("color model 5",)),
    Row("49-color-profile", lambda f, g: make.colored(f), "ok"),
]  # fmt: skip


def _folder(folder: Path, name: str = "") -> Path:
    path = folder / "fault.svs"
    path.mkdir()
    if name:
        (path / name).write_bytes(b"x")
    return path


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make.good(tmp_path_factory.mktemp("good") / "good.svs")


def through(folder: SlideFolder, fault: Faulty) -> Manifest:
    """Ingest and, where it accepts the slide, tile, as the single verbs do them."""
    config = Config.model_validate(fault.config)
    with fault.during():
        asked = (fault.path, fault.mpp, fault.stain, fault.sha256)
        verbs.steps([chain.ingest_step(config, folder, *asked)])
    made = read_manifest(manifest_path(folder.base("ingest")))
    if made.status != "ok":
        return made
    verbs.steps([chain.tile_step(config, folder, fault.path)])
    return read_manifest(manifest_path(folder.base("tile")))


def test_every_row_about_slides_has_a_case() -> None:
    """Some stand below; 51 and on are not about slides."""
    numbers = {int(row.name[:2]) for row in ROWS} | {22, 25, 48, 50}
    assert numbers == set(range(1, 51))
    assert len({row.name for row in ROWS}) == len(ROWS)


def _case(row: Row) -> object:
    far = row.name.startswith("24")  # 4 GB take their time to hash
    return pytest.param(row, id=f"row-{row.name}", marks=[pytest.mark.slow] if far else [])


@pytest.mark.parametrize("row", [_case(row) for row in ROWS])
def test_row(row: Row, good: bytes, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    made = row.maker(tmp_path, good)
    fault = made if isinstance(made, Faulty) else Faulty(made)
    folder = SlideFolder(tmp_path / "results" / "SLIDE-7")
    manifest = through(folder, fault)
    said = capsys.readouterr().err
    assert manifest.status == row.status, said
    assert "Traceback" not in said
    assert not [p for p in folder.path.rglob("*") if p.name.endswith(".part")]
    if row.status == "ok":
        assert manifest.problems == ()
        assert folder.tiles.exists()
        return
    problem = manifest.problems[0]
    assert problem.code.startswith(row.code), said
    assert problem.code in CODES
    assert problem.message.startswith("SLIDE-7: ")
    assert problem.remedy
    assert row.remedy in problem.remedy
    for word in row.words:
        assert word in problem.message
    stored = manifest_path(folder.base(manifest.stage)).read_text()
    assert str(tmp_path) not in stored
    assert fault.path.name not in stored
    assert str(fault.path) in said  # on the terminal alone
    assert f"{problem.code}: SLIDE-7" in said
    assert folder.tiles.exists() == (row.status == "degraded")


def ingested(tmp_path: Path, fault: Faulty) -> SlideFolder:
    folder = SlideFolder(tmp_path / "results" / "SLIDE-7")
    manifest = through(folder, fault)
    assert manifest.status in ("ok", "degraded"), manifest.problems
    return folder


def test_row_08_without_a_known_checksum_is_recorded(good: bytes, tmp_path: Path) -> None:
    """An honest limit: nobody can know, so the hash is written down for the next time."""
    fault = Faulty(make.put(tmp_path, flipped(good)), config=LENIENT)
    folder = ingested(tmp_path, fault)
    assert folder.read_slide().sha256 == sha256(flipped(good)).hexdigest()


NOTES = {
    "30": (lambda f: Faulty(make.with_mpp(f, "0,4990")), "decimal comma"),
    "31": (lambda f: Faulty(make.ome(f)), "resampled per axis"),
    "32": (lambda f: Faulty(make.with_mpp(f, "0.2500"), config=SMALL), "objective of 20"),
    "35": (lambda f: Faulty(make.with_mpp(f, "0.5000"), mpp=0.25,
                            config={**SMALL, "ingest": {"mpp_override": True}}),
           "the sheet's is used"),
    "36": (lambda f: Faulty(make.leica(f, (20,))), "scanned part: x 1000 y 1200, 768 x 512 px"),
}  # fmt: skip


@pytest.mark.parametrize("number", NOTES)
def test_what_is_accepted_with_a_note(number: str, tmp_path: Path) -> None:
    maker, words = NOTES[number]
    notes = ingested(tmp_path, maker(tmp_path)).read_slide().notes
    assert any(words in note for note in notes), notes


@pytest.mark.real
def test_row_22_jpeg_2000(test_data: Path, tmp_path: Path) -> None:
    """Compression 33003 or 33005: read by openslide alone."""
    path = test_data / "slides/TCGA-CR-7395-01A-01-TS1.svs"
    folder = ingested(tmp_path, Faulty(path, mpp=0.5))
    assert folder.read_slide().reader == "openslide"


@pytest.mark.slow
@pytest.mark.real
def test_row_25_hamamatsu_beyond_4_gb(
    test_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """Accepted and then skipped for its dark background, as the small one is: never wrong."""
    path = tmp_path / "grown.ndpi"
    path.write_bytes((test_data / "slides/test3-TRITC 2 (560).ndpi").read_bytes())
    with path.open("r+b") as file:
        file.truncate(2**32 + 2**20)
    manifest = through(SlideFolder(tmp_path / "results" / "SLIDE-7"), Faulty(path))
    assert (manifest.status, manifest.problems[0].code) == ("skipped", "E146")


def test_row_48_what_is_transparent_is_no_tissue(tmp_path: Path) -> None:
    from pathai.store.records import TISSUE

    folder = ingested(tmp_path, Faulty(make.clear_area(tmp_path)))
    box = folder.read_tissue()
    share = box.area_mm2(TISSUE) / (PX * 0.5 / 1000) ** 2
    assert share == pytest.approx(0.75, abs=0.03)


def test_row_49_the_profile_is_recorded_not_applied(tmp_path: Path) -> None:
    profile = ingested(tmp_path, Faulty(make.colored(tmp_path))).read_slide().icc
    assert profile is not None
    assert profile.named == "sRGB"
    assert len(profile.sha256) == 64


def test_row_50_a_stain_that_fits_no_detector(good: bytes, tmp_path: Path) -> None:
    """The stain is declared in the sheet; what does not know it gives no answer."""
    config, path = Config(), make.put(tmp_path, good)
    folder = ingested(tmp_path, Faulty(path, stain="PAS"))
    manifest = chain.cells_step(config, folder).run()
    assert manifest.problems[0].code == "E142"
    assert "SLIDE-7" in manifest.problems[0].message


@pytest.mark.real
def test_row_55_two_rows_that_name_files_of_one_series(test_data: Path, tmp_path: Path) -> None:
    from pathai.cohort.gather import slide_rows
    from pathai.plan import Plan

    files = sorted((test_data / "slides/dicom-cmu-jpeg").glob("*.dcm"))
    rows = "".join(f"S{i}\t{file}\tC{i}\tP{i}\n" for i, file in enumerate(files[:2]))
    (tmp_path / "slides.tsv").write_text(f"slide_id\tpath\tcase_id\tpatient_id\n{rows}")
    (tmp_path / "config.yaml").write_text("{}\n")
    plan = Plan(tmp_path / "config.yaml")
    for name in ("S0", "S1"):
        (step,) = chain.slide_steps(plan, "ingest", name)
        assert step.run().status == "ok"
    for row in slide_rows(plan):
        assert "E153" in {outcome.problem.code for outcome in row.outcomes}
