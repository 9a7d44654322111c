"""What ingest records, what it refuses, and that nothing of the file's text gets out."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from pathai import ingest
from pathai.config import IngestConfig
from pathai.errors import PathaiError
from pathai.ingest import choose_mpp, fingerprint, inspect
from pathai.store.commit import Key, run_stage
from pathai.store.folders import SlideFolder
from pathai.store.manifest import Manifest
from pathai.units import Mpp

SECRETS = ("CANARY-PATIENT", "CANARY-BARCODE", "canary-file", "CANARYUSER")
KEY = Key("ingest", 1, "0", ("slide.json",))


def svs(path: Path, mpp: str = "0.4990", power: str = "20") -> Path:
    text = (
        f"Aperio Image Library v1\r\n600x500 (256x256)|AppMag = {power}|MPP = {mpp}|"
        f"Filename = {SECRETS[2]}|User = {SECRETS[3]}|Title = {SECRETS[0]}|Barcode = {SECRETS[1]}"
    )
    image = np.full((500, 600, 3), 240, np.uint8)
    with tifffile.TiffWriter(path) as tiff:
        options = {"photometric": "rgb", "metadata": None}
        tiff.write(image, description=text.encode("latin-1"), tile=(256, 256),
                   compression="zlib", **options)  # fmt: skip
        tiff.write(image[::4, ::4].copy(), **options)
        for kind, number in (("label", 1), ("macro", 9)):
            text = f"Aperio\n{kind} 80x90"
            part = image[:90, :80].copy()
            tiff.write(part, description=text, subfiletype=number, **options)
    return path


def stage(folder: SlideFolder, path: Path, **sheet: object) -> Manifest:
    def work(out: object) -> None:
        ingest.run(folder, IngestConfig(), out, path=path, **sheet)  # type: ignore[arg-type]

    return run_stage(folder.path / "ingest", folder.slide_id, KEY, {}, work)


def test_facts_without_any_text_of_the_file(tmp_path: Path) -> None:
    path = svs(tmp_path / "canary-file.svs")
    folder = SlideFolder(tmp_path / "results" / "slide-1")
    manifest = stage(folder, path, stain="Ki-67")
    assert manifest.status == "ok"
    info = folder.read_slide()
    assert (info.width, info.height, info.mpp_x, info.mpp_y) == (600, 500, 0.499, 0.499)
    assert (info.mpp_source, info.objective, info.stain) == ("file", 20.0, "Ki-67")
    assert (info.reader, info.vendor) == ("openslide", "aperio")
    assert set(info.associated) >= {"label", "macro"}
    assert {"label image", "macro image", "operator", "file name", "barcode"} <= set(info.phi)
    import hashlib

    assert info.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    for written in folder.path.rglob("*"):
        if written.is_file():
            content = written.read_bytes().decode("utf-8", "replace").lower()
            for secret in (*SECRETS, str(tmp_path)):
                assert secret.lower() not in content, written.name


def test_a_bad_file_fails_as_a_slide_and_is_not_named(tmp_path: Path) -> None:
    path = tmp_path / "canary-file.svs"
    path.write_text("CANARY-PATIENT\n" * 20)
    folder = SlideFolder(tmp_path / "results" / "slide-1")
    manifest = stage(folder, path)
    assert manifest.status == "failed"
    (problem,) = manifest.problems
    assert problem.code == "E104"
    assert problem.message.startswith("slide-1: ")
    assert problem.remedy
    assert not folder.slide_json.exists()
    text = (folder.path / "ingest.manifest.json").read_text()
    assert all(secret not in text for secret in SECRETS)


def test_one_bad_slide_does_not_stop_the_next(tmp_path: Path) -> None:
    bad = tmp_path / "empty.svs"
    bad.touch()
    good = svs(tmp_path / "good.svs")
    for i, path in enumerate([bad, good, bad, good]):
        manifest = stage(SlideFolder(tmp_path / "results" / f"s{i}"), path)
        assert manifest.status == ("failed" if path == bad else "ok")


@pytest.mark.parametrize(
    ("recorded", "words"),
    [
        (Mpp(352.8, 352.8), "72 dpi"),
        (Mpp(264.58, 264.58), "96 dpi"),
        (Mpp(0.00499, 0.00499), "100 times it is 0.499"),
        (Mpp(49.9, 49.9), "plausible is 0.05 to 5"),
        (Mpp(0.0, 0.0), "plausible"),
        (Mpp(-0.5, -0.5), "plausible"),
        (Mpp(float("nan"), 0.5), "no number"),
        (Mpp(float("inf"), float("inf")), "plausible"),
    ],
)
def test_implausible_mpp_is_refused(recorded: Mpp, words: str) -> None:
    with pytest.raises(PathaiError, match=words) as caught:
        choose_mpp(recorded, None, override=False, notes=[])
    assert caught.value.code == "E131"
    assert "column mpp of the sheet" in caught.value.remedy
    notes: list[str] = []
    assert choose_mpp(recorded, 0.5, override=False, notes=notes) == (Mpp(0.5, 0.5), "sheet")
    assert "implausible" in notes[0]


def test_missing_mpp_names_the_column() -> None:
    with pytest.raises(PathaiError, match=r"E130.*column mpp of the sheet"):
        choose_mpp(None, None, override=False, notes=[])
    assert choose_mpp(None, 0.25, override=False, notes=[]) == (Mpp(0.25, 0.25), "sheet")


def test_sheet_and_file_must_agree_unless_told() -> None:
    recorded = Mpp(0.25, 0.25)
    notes: list[str] = []
    assert choose_mpp(recorded, 0.26, override=False, notes=notes)[1] == "sheet"
    assert notes == []
    with pytest.raises(PathaiError, match=r"E133.*0.5.*0.25"):
        choose_mpp(recorded, 0.5, override=False, notes=[])
    assert choose_mpp(recorded, 0.5, override=True, notes=notes) == (Mpp(0.5, 0.5), "sheet")
    assert "the sheet's is used" in notes[0]
    with pytest.raises(PathaiError, match=r"E131.*the sheet's mpp 50"):
        choose_mpp(recorded, 50.0, override=True, notes=[])


def test_uneven_mpp_is_noted_and_stretched_refused() -> None:
    notes: list[str] = []
    assert choose_mpp(Mpp(0.50, 0.52), None, override=False, notes=notes)[0] == Mpp(0.50, 0.52)
    assert "resampled per axis" in notes[0]
    with pytest.raises(PathaiError, match="E132"):
        choose_mpp(Mpp(0.5, 1.27), None, override=False, notes=[])


@pytest.mark.parametrize("text", ["²0", "abc", "0.0", "nan", "1e999"])
def test_garbled_mpp_in_the_file_is_never_read_as_a_number(tmp_path: Path, text: str) -> None:
    path = svs(tmp_path / "garbled.svs", mpp=text)
    with pytest.raises(PathaiError) as caught:
        inspect(path, IngestConfig(), "s", None, "H&E")
    assert caught.value.code in ("E130", "E131")


def test_a_decimal_comma_is_noted(tmp_path: Path) -> None:
    info = inspect(svs(tmp_path / "comma.svs", mpp="0,4990"), IngestConfig(), "s", None, "H&E")
    assert info.mpp_x == 0.499
    assert info.notes == ("mpp is written with a decimal comma",)


def test_objective_that_does_not_fit_is_noted(tmp_path: Path) -> None:
    path = svs(tmp_path / "odd.svs", mpp="0.2500", power="20")
    info = inspect(path, IngestConfig(), "s", None, "H&E")
    assert any("objective of 20" in note for note in info.notes)
    assert inspect(svs(path), IngestConfig(), "s", None, "H&E").notes == ()


def test_a_growing_file_is_told_apart_from_a_replaced_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "growing.bin"
    path.write_bytes(b"x" * 1000)
    plain = ingest.file_digest

    def grow(file: object, name: str) -> object:
        digest = plain(file, name)  # type: ignore[arg-type]
        with path.open("ab") as more:
            more.write(b"y")
        return digest

    def replace(file: object, name: str) -> object:
        digest = plain(file, name)  # type: ignore[arg-type]
        other = tmp_path / "other"
        other.write_bytes(b"x" * 1000)
        os.replace(other, path)
        return digest

    monkeypatch.setattr(ingest, "file_digest", grow)
    with pytest.raises(PathaiError, match="E111"):
        fingerprint(path)
    monkeypatch.setattr(ingest, "file_digest", replace)
    with pytest.raises(PathaiError, match="E163"):
        fingerprint(path)
    monkeypatch.setattr(ingest, "file_digest", plain)
    assert len(fingerprint(path)) == 64


EXPECTED = {
    "CMU-1-Small-Region.svs": "openslide",
    "OS-1-detail_HE.ome.tif": "tiffslide",
    "OS-2-ndpi_Ki67.ome.tif": "tiffslide",
    "xyc/XYC-half-mpp.tiff": "tiffslide",
    "test3-TRITC 2 (560).ndpi": "openslide",
    "TCGA-CR-7395-01A-01-TS1.svs": "E130",
    "CMU-1-Small-Region.jpeg.tiff": "E131",
    "CMU-1-Small-Region.jp2.tiff": "E131",
    "CMU-1-Small-Region.webp.tiff": "E131",
    "camelyon_overview_jpeg.dcm": "E136",
    "camelyon_overview_jpeg2000.dcm": "E136",
    "li_yb10kx5k.zstd.tiff": "E131",
    "li_grey10kx5k.tif": "E141",
    "li_small_la.tiff": "E141",
    "xyc/XYC_zlib.ome.tiff": "E130",
    "xyc/XYC.png": "E104",
}


@pytest.mark.real
@pytest.mark.parametrize("name", EXPECTED)
def test_every_real_slide_opens_or_says_why(test_data: Path, name: str) -> None:
    path = test_data / "slides" / name
    if EXPECTED[name].startswith("E"):
        with pytest.raises(PathaiError) as caught:
            inspect(path, IngestConfig(), "s", None, "H&E")
        assert caught.value.code == EXPECTED[name]
        assert caught.value.remedy
    else:
        info = inspect(path, IngestConfig(), "s", None, "H&E")
        assert info.reader == EXPECTED[name]
        assert info.mpp.plausible
        assert path.stem.split(".")[0] not in info.model_dump_json()


@pytest.mark.real
def test_a_dicom_slide_of_four_files_opens_from_each(test_data: Path) -> None:
    files = sorted((test_data / "slides" / "dicom-cmu-jpeg").glob("*.dcm"))
    assert len(files) == 4
    infos = [inspect(path, IngestConfig(), "s", None, "H&E") for path in files]
    assert len({(i.width, i.height, i.mpp_x) for i in infos}) == 1
    assert len({i.sha256 for i in infos}) == len({i.quick_id for i in infos}) == 1
    assert {i.files for i in infos} == {4}
    profile = infos[0].icc
    assert profile is not None
    assert (profile.bytes, profile.kind, profile.named) == (588, "display RGB", "sRGB")


def test_a_known_checksum_is_held_against_the_file(tmp_path: Path) -> None:
    """Before a decoder sees it; one flipped bit is another file."""
    import hashlib

    path = svs(tmp_path / "known.svs")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert inspect(path, IngestConfig(), "s", None, "H&E", digest.upper()).sha256 == digest
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(raw)
    with pytest.raises(PathaiError, match=f"E112.*{digest[:12]}") as caught:
        inspect(path, IngestConfig(), "s", None, "H&E", digest)
    assert "copy it again" in caught.value.remedy


def test_the_sheet_s_checksum_reaches_ingest(tmp_path: Path) -> None:
    from pathai import chain
    from pathai.config import Config
    from pathai.sheet import load_sheet

    path = svs(tmp_path / "known.svs")
    row = "a\tknown.svs\tc\tp\t" + "0" * 64
    (tmp_path / "slides.tsv").write_text(f"slide_id\tpath\tcase_id\tpatient_id\tsha256\n{row}\n")
    (found,) = load_sheet(tmp_path / "slides.tsv").rows
    folder = SlideFolder(tmp_path / "results" / "a")
    step = chain.ingest_step(Config(), folder, path, None, "H&E", found.sha256)
    assert step.run().problems[0].code == "E112"
    (tmp_path / "slides.tsv").write_text(
        f"slide_id\tpath\tcase_id\tpatient_id\tsha256\n{row[:-1]}\n"
    )
    with pytest.raises(PathaiError, match=r"E154.*row 2.*sha256"):
        load_sheet(tmp_path / "slides.tsv")


def test_a_slide_of_several_files_is_known_by_all_of_them(tmp_path: Path) -> None:
    from slide_cases import coordinates, write_mirax

    path = write_mirax(tmp_path / "a.mrxs", coordinates(512, 512), 4, 4)
    before = inspect(path, IngestConfig(), "s", None, "H&E")
    assert before.files == 4
    assert "one slide of 4 files" in before.notes
    data = tmp_path / "a" / "Data0000.dat"
    raw = bytearray(data.read_bytes())
    raw[-10] ^= 1
    data.write_bytes(raw)
    after = inspect(path, IngestConfig(), "s", None, "H&E")
    assert before.sha256 != after.sha256
    assert before.quick_id != after.quick_id
    data.unlink()
    with pytest.raises(PathaiError, match=r"E135.*Data0000.dat"):
        inspect(path, IngestConfig(), "s", None, "H&E")
