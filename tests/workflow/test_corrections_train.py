"""Corrections come out as training data that the trainers read, and mean what the reader meant."""

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from corrected_cases import CASE, DETECTOR, edit, make_run, nuclei
from skimage.io import imread
from typer.testing import CliRunner

from pathai.cli import app
from pathai.corrected.logs import read_corrections
from pathai.corrected.training import NO_NUCLEUS, export_training
from pathai.edits import CellEdit
from pathai.errors import PathaiError
from pathai.quantities.regions import REVIEWED
from pathai.report.life import open_case
from pathai.review import Case, ReviewSession
from pathai.train_classes.tables import read
from pathai.train_detector.fields import labeled
from pathai.train_detector.targets import UNKNOWN

RING = ((120, 90), (520, 90), (520, 540), (120, 540))
SHAPE = shapely.Polygon(RING)
NEW = ((300.0, 300.0), (316.0, 300.0), (316.0, 316.0), (300.0, 316.0))


def call(*words):
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == 0, f"{done.output}\n{done.exception}"
    return done


@pytest.fixture(scope="module")
def corrected(tmp_path_factory):
    """A run with a completely reviewed region: three rejected, two named, one added."""
    plan = make_run(tmp_path_factory.mktemp("run"))
    found = nuclei(plan, "S1")
    inside = np.flatnonzero(shapely.contains_xy(SHAPE.buffer(-15), *found.xy_px0.astype(float).T))
    rows = {"": inside[[2, 9, 30]], "tumor": inside[[12, 40]], "lymphocyte": inside[[20]]}
    session = ReviewSession(plan.reviews, "dr-a", [Case(CASE)], blind=False)
    session.open(CASE)
    for after, some in rows.items():
        places = tuple(map(tuple, found.xy_px0[some].tolist()))
        store = edit(plan, "S1", 0, "").store
        given = CellEdit("S1", DETECTOR, store, tuple(some.tolist()), places, after)
        session.correct_cells(given)
    session.add_cell("S1", DETECTOR, NEW, "tumor")
    session.set_region("S1", "", "Reviewed", [RING])
    session.close()
    return plan, rows


@pytest.fixture(scope="module")
def folder(corrected, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "corrected"
    done = call("corrections", corrected[0].root, "-o", out)
    assert "pictures with" in done.output
    return out


def test_pictures_hold_what_the_reader_saw_and_nothing_else_is_known(corrected, folder):
    plan, rows = corrected
    found = nuclei(plan, "S1").xy_px0.astype(float)
    pixels = plan.results.slide("S1").open_tiles().levels[0]
    seen = 0
    for field in labeled(folder):
        number = int(field.name.rsplit("-", 1)[1])
        assert field.name == f"S1-{number:03d}"
        assert field.mpp == pytest.approx(0.5)
        height, width = field.labels.shape
        assert np.array_equal(field.rgb, pixels.read_px(120, 90, width, height))
        xy = field.xy + np.array([120, 90])
        seen += len(xy)
        near = np.hypot(*(xy[:, None] - (308.0, 308.0)).T).min()
        assert near < 1.5  # the added one is there
        own = field.labels[308 - 90, 308 - 120]
        assert (field.labels == own).sum() == pytest.approx(256, rel=0.2)
        for row in rows[""]:
            at = (found[row] - (120, 90)).astype(int)
            assert np.hypot(*(xy - found[row]).T).min() > 1.5
            assert field.labels[at[1], at[0]] == 0  # known to be no nucleus
        for word in ("tumor", "lymphocyte"):
            for row in rows[word]:
                assert np.hypot(*(xy - found[row]).T).min() < 1.5
    kept = shapely.contains_xy(SHAPE, *found.T).sum() - len(rows[""]) + 1
    assert seen == kept


def test_outside_of_what_was_reviewed_nothing_is_known(corrected, tmp_path):
    plan, _ = corrected
    session = ReviewSession(plan.reviews, "dr-b", [Case(CASE)], blind=False)
    session.open(CASE)
    triangle = ((100, 100), (500, 100), (100, 500))
    session.set_region("S1", "", "screened", [triangle])
    session.set_region("S1", "", "exclude", [((100, 100), (180, 100), (180, 180), (100, 180))])
    session.close()
    given = {CASE: read_corrections(plan.reviews, CASE, "dr-b")}
    export_training(plan, given, tmp_path / "out")
    (field,) = labeled(tmp_path / "out")
    y, x = np.indices(field.labels.shape) + 0.5
    known = shapely.contains_xy(shapely.Polygon(triangle).buffer(-1), x + 100, y + 100)
    excluded = (x < 79) & (y < 79)
    outside = ~shapely.contains_xy(shapely.Polygon(triangle).buffer(1), x + 100, y + 100)
    free = field.labels <= 0
    assert (field.labels[outside & free] == UNKNOWN).all()
    assert (field.labels[excluded & free] == UNKNOWN).all()
    assert (field.labels[known & ~(x < 81) & ~(y < 81)] == 0).mean() > 0.3
    assert shapely.contains_xy(shapely.Polygon(triangle), *(field.xy + 100).T).all()
    (plan.reviews / CASE / "dr-b.jsonl").unlink()


def test_classes_are_the_readers_words(corrected, folder):
    plan, rows = corrected
    text = (folder / "cells" / "S1.csv").read_text()
    words = [line.split(",")[2] for line in text.splitlines()[1:]]
    assert sorted(words) == ["lymphocyte", *[NO_NUCLEUS] * 3, "tumor", "tumor"]
    given = read(folder / "cells" / "S1.csv")
    assert given.left_out == 0  # every word means a class
    xy = nuclei(plan, "S1").xy_px0[np.sort(np.concatenate(list(rows.values())))]
    assert np.abs(given.xy_px0 - xy).max() < 0.06
    assert not (folder / "cells" / "S2.csv").exists()


def test_it_says_what_it_was_made_from_and_names_no_person_and_no_path(corrected, folder):
    about = json.loads((folder / "corrections.json").read_text())
    one = about["slides"]["S1"]
    assert one["store"] == corrected[0].results.slide("S1").cells_digest(DETECTOR)
    assert one["events"] == list(read_corrections(corrected[0].reviews, CASE).events)
    assert one["reviewed_mm2"] == pytest.approx(0.2 * 0.225)
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        assert str(folder.parent).encode() not in data
        for word in (b"dr-a", b"svs", b"tEXt", b"iTXt"):
            assert word not in data, path
    assert {p.name for p in folder.iterdir()} == {
        *("images", "labels", "cells", "images.csv", "gt_points.csv", "corrections.json")
    }
    assert imread(folder / "labels" / "S1-001.png").dtype == np.uint16


def test_what_comes_back_from_qupath_trains_like_what_was_done_in_the_window(
    corrected, folder, tmp_path
):
    """To another reader's log by way of a file: the same pictures, labels, classes and training."""
    plan, rows = corrected
    slide = plan.results.slide("S1").path
    (plan.reviews / CASE / "dr-b.jsonl").unlink(missing_ok=True)
    file, table = tmp_path / "S1.geojson", tmp_path / "S1.parquet"
    call("export", slide, "--format", "geojson", "--reader", "dr-a", "-o", file)
    done = call("import-review", plan.root, file, "--reader", "dr-b", "--json")
    assert json.loads(done.stdout)["events"] == 5
    out = tmp_path / "again"
    call("corrections", plan.root, "-o", out, "--reader", "dr-b")
    names = sorted(p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(out) for p in out.rglob("*") if p.is_file())
    for name in names:
        same = (folder / name).read_bytes() == (out / name).read_bytes()
        assert same == (name.name != "corrections.json"), name  # which names the logged events
    call("export", slide, "--format", "geoparquet", "--reader", "dr-b", "-o", table)
    check_table(plan, rows, pq.read_table(table))
    (plan.reviews / CASE / "dr-b.jsonl").unlink()


def check_table(plan, rows, table):
    """Corrected nuclei as GeoParquet 1.1: numbers of rows, outlines, classes that count."""
    geo = json.loads(table.schema.metadata[b"geo"])
    column = geo["columns"]["geometry"]
    assert (geo["version"], column["encoding"], column["crs"]) == ("1.1.0", "WKB", None)
    stored = nuclei(plan, "S1")
    kept = [i for i in range(len(stored.xy_px0)) if i not in rows[""]]
    assert sorted(table["cell_id"].to_pylist()) == [*kept, len(stored.xy_px0)]
    shapes = dict(zip(table["cell_id"].to_pylist(), table["geometry"].to_pylist(), strict=True))
    assert shapely.from_wkb(shapes[len(stored.xy_px0)]).equals(shapely.Polygon(NEW))
    assert column["bbox"] == list(shapely.total_bounds(shapely.from_wkb(list(shapes.values()))))
    about = json.loads(table.schema.metadata[b"pathai"])
    assert re.fullmatch("[0-9a-f]{64}", about["corrections"])


def test_a_file_from_qupath_is_taken_back(corrected, tmp_path):
    plan, _ = corrected
    slide = plan.results.slide("S1").path
    file, log = tmp_path / "S1.geojson", plan.reviews / CASE / "dr-c.jsonl"
    call("export", slide, "--format", "geojson", "--reader", "dr-a", "-o", file)
    words = ["import-review", plan.root, file, "--reader", "dr-c"]
    call(*words)
    given = read_corrections(plan.reviews, CASE, "dr-c")
    first, again = read_corrections(plan.reviews, CASE, "dr-a").of("S1"), given.of("S1")
    assert (first.edits, first.regions) == (again.edits, again.regions)
    assert [one.outline_px0 for one in again.added] == [NEW]
    assert "5 actions taken back" in call(*words, "--withdraw").output
    assert not read_corrections(plan.reviews, CASE, "dr-c")
    done = CliRunner().invoke(app, [str(w) for w in (*words, "--withdraw")])
    assert isinstance(done.exception, PathaiError)
    log.unlink()


def test_the_detector_learns_from_it(corrected, folder, tmp_path):
    """From what came by a file; two fields are needed, so another reviewed region joins it."""
    plan, _ = corrected
    file = tmp_path / "S1.geojson"
    call(
        "export",
        plan.results.slide("S1").path,
        "--format",
        "geojson",
        "--reader",
        "dr-a",
        "-o",
        file,
    )
    call("import-review", plan.root, file, "--reader", "dr-b")
    session = ReviewSession(plan.reviews, "dr-b", [Case(CASE)], blind=False)
    session.open(CASE)
    session.set_region("S2", "", "reviewed", [((50, 50), (400, 50), (400, 300), (50, 300))])
    session.close()
    call("corrections", plan.root, "-o", tmp_path / "two", "--reader", "dr-b", "--json")
    words = ["--fields", "2", "--steps", "2", "--judging", "0"]
    done = call("train-detector", "--corrections", tmp_path / "two", *words, "-o", tmp_path / "net")
    assert "nuclei-small@net" in done.output
    card = json.loads((tmp_path / "net" / "card.json").read_text())
    inside = shapely.contains_xy(SHAPE, *nuclei(plan, "S1").xy_px0.astype(float).T).sum()
    other = shapely.contains_xy(
        shapely.box(50, 50, 400, 300), *nuclei(plan, "S2").xy_px0.astype(float).T
    ).sum()
    assert card["labeled"] == {"two": {"pictures": 2, "nuclei": int(inside) - 3 + 1 + int(other)}}
    (plan.reviews / CASE / "dr-b.jsonl").unlink()


def test_the_class_model_reads_the_same_folder(corrected, folder, tmp_path):
    """Three words and one slide are too few to learn from, and it says so of these classes."""
    words = ["train-detector", "--classes", "--corrections"]
    results = corrected[0].results.path
    done = CliRunner().invoke(
        app,
        [*words, str(folder), "--results", str(results), "--detector", DETECTOR, "-o",
         str(tmp_path / "m.safetensors")],
    )  # fmt: skip
    assert done.exit_code != 0
    error = done.exception
    assert isinstance(error, PathaiError)
    assert error.code == "E184"
    assert re.search(r"2 tumor.*1 lymphocyte.*3 other", error.message)


def test_nothing_reviewed_is_nothing_to_learn_from(corrected, tmp_path):
    with pytest.raises(PathaiError) as error:
        export_training(corrected[0], {}, tmp_path / "none")
    assert error.value.code == "E184"
    assert REVIEWED[0] in error.value.remedy
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "there").mkdir()
    with pytest.raises(PathaiError) as error:
        export_training(corrected[0], {}, tmp_path / "there")
    assert error.value.code == "E193"


def test_the_report_counts_what_the_log_says(corrected, monkeypatch):
    plan, rows = corrected
    monkeypatch.chdir(plan.root)
    life = open_case(plan.reviews, CASE, results=plan.results.path)
    before = _count(life)
    done = call("report", "correct", CASE, "--reader", "dr-a", "--json")
    told = json.loads(done.stdout)
    assert told["by_hand"] == len(rows[""]) + 1
    assert told["notes"] == []
    assert _count(life) == before - 3 + 1
    assert life.audit().faults == ()
    call("report", "correct", CASE, "--reader", "dr-a", "--withdraw")
    assert _count(life) == before
    done = CliRunner().invoke(app, ["report", "correct", CASE, "--reader", "dr-z"])
    assert done.exception.code == "E193"


def _count(life):
    found = (f for f in life.findings().findings if f.key == "cells.count")
    return int(next(f for f in found if f.evidence[0].slide_id == "S1").value.value)
