"""A lab's own classified cells become a model, with what it is worth."""

import csv
import gzip
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from docs_pages import blocks
from folder_cases import make_folder
from scipy.spatial import cKDTree

from pathai.cell_classes import CLASSES, load_model, model_file
from pathai.cells import run
from pathai.cli import main
from pathai.config import CellsConfig
from pathai.errors import PathaiError
from pathai.store.commit import Commit
from pathai.store.folders import SlideFolder, cells_files
from pathai.testing.looks import TRAIN_LOOKS
from pathai.testing.picture import synthetic_field
from pathai.testing.synthetic import Recipe, write_slide
from pathai.train_classes import Wanted, described, train_classes
from pathai.train_classes.tables import class_of, read
from pathai.units import Mpp

HALF = Mpp(0.5, 0.5)
TRUE = ("epithelial", "tumor", "lymphocyte", "stromal")


def cells_of(folder: SlideFolder, classifier: str = "") -> None:
    out = Commit(folder.base("cells", "classical"), cells_files("classical"))
    run(folder, CellsConfig(detector="classical", classifier=classifier), out)
    out.finish()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slides with cells, and files of classified cells beside them, by the pictures' truth."""
    root = tmp_path_factory.mktemp("lab")
    (root / "checked").mkdir()
    for number, look in enumerate(TRAIN_LOOKS.values()):
        name = f"S0{number + 1}"
        image, truth = synthetic_field(20 + number, look, width=420, height=400)
        folder = make_folder(root / "results" / "slides" / name, image, HALF)
        cells_of(folder, "shipped")
        words = [TRUE[k] for k in truth.class_]
        write_csv(root / "checked" / f"{name}.csv", truth.xy_px0, words)
    return root


def write_csv(path: Path, xy: np.ndarray, words: list[str]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("x_px0", "y_px0", "class"))
        writer.writerows((f"{x:.2f}", f"{y:.2f}", w) for (x, y), w in zip(xy, words, strict=True))


def feature(geometry: dict, word: str = "", kind: str = "detection", **more: object) -> dict:
    about = {"objectType": kind, **({"classification": {"name": word}} if word else {}), **more}
    return {"type": "Feature", "geometry": geometry, "properties": about}


def square(x: float, y: float, half: float = 5) -> dict:
    ring = [[x - half, y - half], [x + half, y - half], [x + half, y + half], [x - half, y + half]]
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}


# --- what people hand over -------------------------------------------------------------------


def test_words_of_people() -> None:
    assert class_of("Immune cells") == CLASSES.index("lymphocyte")
    assert class_of(" Tumor ") == CLASSES.index("tumor")
    assert class_of("nucleus") is None


def test_a_table_is_read_and_other_words_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "S01.csv"
    write_csv(path, np.array([[1, 2], [3, 4], [5, 6]]), ["Stroma", "nucleus", "tumor"])
    found = read(path)
    assert found.slide_id == "S01"
    assert found.xy_px0.tolist() == [[1, 2], [5, 6]]
    assert [CLASSES[k] for k in found.class_] == ["stromal", "tumor"]
    assert found.left_out == 1


@pytest.mark.parametrize("packed", [False, True])
def test_qupath_objects_within_what_was_checked(tmp_path: Path, packed: bool) -> None:
    inside, outside = square(20, 30), square(90, 90)
    body = {
        "type": "FeatureCollection",
        "features": [
            feature(square(25, 25, 20), "Checked", "annotation"),
            feature(inside, "Tumor"),
            feature(outside, "Tumor"),
            feature({"type": "MultiPoint", "coordinates": [[10, 12], [14, 16]]}, "Stroma",
                    "annotation"),
            feature(square(50, 50, 40), "tissue", "annotation", name="tissue"),
            {**feature(square(15, 40), "Immune cells", "cell"), "nucleusGeometry": square(16, 38)},
        ],
    }  # fmt: skip
    text = json.dumps(body).encode()
    path = tmp_path / ("S01.geojson.gz" if packed else "S01.geojson")
    path.write_bytes(gzip.compress(text) if packed else text)
    found = read(path)
    assert found.slide_id == "S01"
    assert found.xy_px0.tolist() == [[20, 30], [10, 12], [14, 16], [16, 38]]
    assert [CLASSES[k] for k in found.class_] == ["tumor", "stromal", "stromal", "lymphocyte"]
    assert found.left_out == 1


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("S01.csv", b"x,y,class\n1,2,tumor\n"),
        ("S01.csv", b"x_px0,y_px0,class\n1,nan,tumor\n"),
        ("S01.csv", b"\xff\xfe\x00"),
        ("S01.geojson", b"{"),
        ("S01.geojson", b'{"features": [{"properties": {}}]}'),
        ("S01.geojson.gz", b"not packed"),
    ],
)
def test_damaged_tables_are_named(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(PathaiError, match=r"S01.*cell-classes.md|E162.*S01"):
        read(tmp_path / name)


# --- training --------------------------------------------------------------------------------


def test_classified_cells_are_those_that_are_stored(results: Path) -> None:
    folder = SlideFolder(results / "results" / "slides" / "S01")
    given = read(results / "checked" / "S01.csv")
    found = described(folder, "classical", given, "P1")
    stored = folder.read_cells("classical").xy_px0
    gap, _ = cKDTree(stored).query(given.xy_px0)
    assert len(found.class_) <= (gap <= 6).sum()
    assert len(found.class_) > 0.8 * (gap <= 6).sum()
    assert set(found.group) == {"P1"}


def test_a_labs_model_beats_the_commonest_class_and_says_so(results: Path, tmp_path: Path) -> None:
    out = tmp_path / "lab.safetensors"
    wanted = Wanted(results / "checked", results / "results", out)
    report = train_classes(wanted)
    figures = report.held.figures()
    assert figures["accuracy"]["value"] > figures["accuracy_of_the_commonest_class"] + 0.05
    model = load_model(out)
    assert model.digest == report.model.digest
    assert model.experimental  # two slides are not enough to rely on it
    assert (model.confusion == report.held.confusion).all()
    assert "S01" not in json.dumps(model.card)
    assert any("other" in line and "no error band" in line for line in report.lines())
    with pytest.raises(PathaiError, match="E193"):
        train_classes(wanted)


def test_what_does_not_allow_training_is_said(results: Path, tmp_path: Path) -> None:
    def wanted(**patients: str) -> Wanted:
        return Wanted(tmp_path, results / "results", tmp_path / "m.safetensors", patients=patients)

    with pytest.raises(PathaiError, match=r"E184.*no classified cells"):
        train_classes(wanted())
    for name in ("S01", "S02"):
        (tmp_path / f"{name}.csv").write_bytes((results / "checked" / f"{name}.csv").read_bytes())
    with pytest.raises(PathaiError, match=r"E184.*one slide or patient"):
        train_classes(wanted(S01="P1", S02="P1"))
    for name in ("S01", "S02"):
        write_csv(tmp_path / f"{name}.csv", np.array([[-900.0, -900.0]]), ["tumor"])
    with pytest.raises(PathaiError, match=r"E184.*stored nucleus"):
        train_classes(wanted())
    xy = SlideFolder(results / "results" / "slides" / "S01").read_cells("classical").xy_px0[:9]
    write_csv(tmp_path / "S01.csv", xy, ["tumor"] * 9)
    with pytest.raises(PathaiError, match=r"E184.*two classes"):
        train_classes(wanted())
    assert not (tmp_path / "m.safetensors").exists()


def test_immunostains_are_refused(tmp_path: Path) -> None:
    image, truth = synthetic_field(5, width=200, height=200, stain="Ki-67")
    folder = make_folder(tmp_path / "results" / "slides" / "S01", image, HALF, stain="Ki-67")
    cells_of(folder, "shipped")
    stored = folder.read_cells("classical").attrs
    assert stored.classes == ("negative", "positive")  # as without a model
    assert stored.classifier is None
    write_csv(tmp_path / "S01.csv", truth.xy_px0, ["tumor"] * len(truth.xy_px0))
    with pytest.raises(PathaiError, match="E142"):
        described(folder, "classical", read(tmp_path / "S01.csv"), "P1")


# --- in the stage and on the page ------------------------------------------------------------


def test_stored_cells_carry_classes_measures_and_the_confusion(results: Path) -> None:
    cells = SlideFolder(results / "results" / "slides" / "S01").read_cells("classical")
    model = load_model(model_file("shipped"))
    assert cells.attrs.classes == CLASSES
    assert sum(cells.attrs.class_counts) == len(cells.xy_px0)
    assert cells.attrs.classifier is not None
    assert cells.attrs.classifier.digest == model.digest
    assert cells.attrs.classifier.confusion == tuple(map(tuple, model.confusion.tolist()))
    assert cells.measures.shape == (len(cells.xy_px0), len(cells.attrs.measures))
    area = cells.measures[:, cells.attrs.measures.index("area_um2")]
    start = cells.outline_start
    ring = cells.outline_px0[start[0] : start[1]].astype(float) * 0.5
    x, y = (ring - ring.mean(0)).T
    shoelace = abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2
    assert area[0] == pytest.approx(shoelace, rel=0.01)


def test_blocks_change_no_measure(tmp_path: Path) -> None:
    image, _ = synthetic_field(20, width=700, height=600)
    folder = make_folder(tmp_path / "s1", image, HALF)
    tables = []
    for block_px in (256, 4096):
        out = Commit(folder.base("cells", "classical"), cells_files("classical"))
        run(folder, CellsConfig(detector="classical", block_px=block_px, classifier="shipped"), out)
        out.finish()
        tables.append(folder.read_cells("classical"))
    assert (tables[0].measures == tables[1].measures).all()
    assert (tables[0].prob == tables[1].prob).all()


def typed(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """One command, as a person types it."""
    monkeypatch.setattr("sys.argv", list(words))
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code, words


@pytest.mark.slow
def test_commands_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    truths = {}
    for number, name in enumerate(("S01", "S02")):
        recipe = Recipe(seed=4 + number, width=700, height=640)
        truths[name] = write_slide(tmp_path / f"{name}.svs", recipe)
        typed(monkeypatch, "pathai", "ingest", f"{name}.svs", "-o", f"results/slides/{name}")
        typed(monkeypatch, "pathai", "tile", f"results/slides/{name}", "--slide", f"{name}.svs")
    lines = [
        line
        for block in blocks("docs/cell-classes.md")
        if block.language == "sh"
        for line in block.text.splitlines()
    ]
    assert len(lines) == 5
    for line in lines:
        words = shlex.split(line)
        if words[1] == "train-detector":  # here a person corrects column class
            for name, truth in truths.items():
                assert (tmp_path / "checked" / f"{name}.csv").is_file()
                classes = [TRUE[k] for k in truth.class_]
                write_csv(tmp_path / "checked" / f"{name}.csv", truth.xy_px0, classes)
        typed(monkeypatch, *words)
    folder = SlideFolder(tmp_path / "results" / "slides" / "S01")
    told = folder.read_cells("nuclei-small").attrs.classifier
    assert told is not None
    assert told.digest == load_model(tmp_path / "lab.safetensors").digest
