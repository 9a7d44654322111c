"""The cohort page says what the results say, and a hostile sheet cannot make it say more."""

import csv
import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from tiny_run import CONFIG, HOSTILE, SLIDES, TRAINED, finish, write_tiny_run

from pathai.cohort.evaluate import evaluate
from pathai.cohort.gather import slide_rows
from pathai.cohort.tables import failures_tsv
from pathai.cohort.view import html as html_of
from pathai.plan import Plan
from pathai.store.manifest import read_manifest
from pathai.verify import verify


class Page(HTMLParser):
    """Elements with attributes, and the text of the table's rows by id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.rows: dict[str, str] = {}
        self._row = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = {k: v or "" for k, v in attrs}
        self.tags.append((tag, found))
        if tag == "tr":
            self._row = found.get("id", "")

    def handle_data(self, data):
        self.rows[self._row] = self.rows.get(self._row, "") + data


@pytest.fixture(scope="session")
def folder(tiny_results):
    return tiny_results / "results" / "cohort"


@pytest.fixture(scope="session")
def html(folder):
    return (folder / "index.html").read_text()


@pytest.fixture(scope="session")
def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def remake(root, config=CONFIG):
    (root / "config.yaml").write_text(config)
    finish(Plan(root / "config.yaml"), f"again {config}")
    return json.loads((root / "results" / "cohort" / "metrics.json").read_text())


# --- what it says ----------------------------------------------------------------------------


def test_every_slide_has_its_status(folder, metrics):
    fates = {"failed": "failed", "skipped": "skipped", "degraded": "degraded"}
    rows = {row["slide_id"]: row for row in table(folder / "slides.tsv")}
    expected = {slide[0]: fates.get(slide[6], "ok") for slide in SLIDES}
    assert {i: r["status"] for i, r in rows.items()} == expected
    assert metrics["slides"] == {"ok": 9, "degraded": 1, "skipped": 1, "failed": 1}


def test_failures_are_listed_once_where_they_arose(folder):
    rows = table(folder / "failures.tsv")
    assert [(r["slide_id"], r["stage"], r["status"], r["code"]) for r in rows] == [
        ("E4", "tile", "degraded", "E162"),
        ("F1", "ingest", "failed", "E110"),
        ("N1", "tile", "skipped", "E145"),
    ]
    assert all(r["message"] and r["remedy"] for r in rows)


def test_the_header_of_failures_is_always_there():
    assert failures_tsv([]) == "slide_id\tstage\tstatus\tcode\tmessage\tremedy\n"


def test_numbers_are_those_of_the_store(tiny_results, folder, html):
    plan = Plan(tiny_results / "config.yaml")
    page = Page(html)
    for row in table(folder / "slides.tsv"):
        shown = page.rows[f"slide-{row['slide_id']}"]
        slide = plan.results.slide(row["slide_id"])
        if row["status"] in ("failed", "skipped"):
            assert row["nuclei"] == row["tissue_mm2"] == row["tumor_label"] == ""
            continue
        cells, answer = slide.read_cells_attrs("classical"), slide.read_prediction("tumor").attrs
        assert float(row["nuclei"]) == cells.count.value
        assert float(row["nuclei_per_mm2"]) == pytest.approx(cells.density_per_mm2.value, rel=1e-6)
        assert float(row["tissue_mm2"]) == pytest.approx(slide.read_tissue().area_mm2(1))
        assert f"{cells.count.value:,.0f}" in shown
        assert (row["tumor_label"], row["tumor_reason"]) == (answer.label, answer.reason)
    assert "OUT OF DISTRIBUTION" in page.rows["slide-E5"]
    assert "no or yes" in page.rows["slide-E6"]
    assert "pen 5%" in page.rows["slide-E2"]
    assert "mpp from sheet" in page.rows["slide-E2"]


def test_thumbnails_and_links(html, folder):
    tags = Page(html).tags
    pictures = [a["src"] for t, a in tags if t == "img"]
    assert len(pictures) == 10
    assert all(p.startswith("data:image/jpeg;base64,") for p in pictures)
    links = {a["href"] for t, a in tags if t == "a" and not a["href"].startswith("#")}
    assert "../cases/C-PE/draft.html" in links
    assert all((folder / link).resolve().is_file() for link in links)


# --- evaluation ------------------------------------------------------------------------------


def test_auc_is_that_of_held_out_answered_patients(metrics):
    """By hand: PE (no, 0.22), PF (yes, 0.75), PG (yes, mean of 0.78 and 0.81)."""
    found = metrics["tasks"]["tumor"]
    assert (found["n_patients"], found["n_slides"], found["n_positive_patients"]) == (3, 4, 2)
    assert found["model"]["auroc"]["value"] == 1.0
    assert found["model"]["auroc"]["low"] < 0.5
    assert found["left_out"] == {
        "failed or skipped": 2,
        "no answer: out of distribution": 1,
        "no label": 1,
    }
    assert found["constant"]["auroc"]["value"] == 0.5


def test_the_area_baseline_takes_its_direction_from_training(tiny_results):
    """Training: positive slides are smaller. Test: they are larger, so the baseline must fail."""
    plan = Plan(tiny_results / "config.yaml")
    rows = []
    for row in slide_rows(plan):
        large = (row.row.labels["tumor"] == "yes") != (row.row.slide_id in TRAINED)
        areas = {"tissue": 2.0 if large else 1.0} if row.areas_mm2 else {}
        rows.append(replace(row, areas_mm2=areas))
    area = evaluate(plan, rows)["tasks"]["tumor"]["tissue_area"]
    assert area["larger_is_positive"] is False
    assert area["auroc_training"] == 0.0
    assert area["auroc"]["value"] == 0.0


def test_count_errors_are_those_of_the_held_out_slides(metrics):
    truth = {s[0]: float(s[4]) for s in SLIDES}
    scored = [s[0] for s in SLIDES if s[0][0] == "E"]
    t = np.array([truth[i] for i in scored])
    found = np.round(t * 1.1)
    counts = metrics["counts"]
    relative = (found - t) / t
    assert counts["model"]["mape"]["value"] == pytest.approx(np.abs(relative).mean(), abs=1e-6)
    assert counts["model"]["signed"]["value"] == pytest.approx(relative.mean(), abs=1e-6)
    mean = np.mean([truth[i] for i in TRAINED])
    assert counts["constant"]["count"] == mean
    expected = np.abs((mean - t) / t).mean()
    assert counts["constant"]["mape"]["value"] == pytest.approx(expected, abs=1e-6)
    assert (counts["n_slides"], counts["n_training_slides"]) == (6, 4)


def test_training_patients_are_never_scored(tiny_copy):
    """Everything is chosen for scoring: what the model was trained on is left out all the same."""
    root = tiny_copy()
    sheet = (root / "slides.tsv").read_text()
    (root / "slides.tsv").write_text(sheet.replace("\tC-PE\tPE\t", "\tC-PE\tPA\t"))
    everything = remake(root, CONFIG.replace("split: test", "stain: H&E"))["tasks"]["tumor"]
    assert everything["left_out"]["the model was trained on the patient"] == 5
    metrics = remake(root)
    found = metrics["tasks"]["tumor"]
    assert found["left_out"]["the model was trained on the patient"] == 1
    assert found["evaluated"] is False  # the one negative patient is gone
    assert "only one class" in found["reason"]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("train: {tasks: [tumor.yaml]}\n", "names no slides to score"),
        (CONFIG.replace("split: test", "split: none"), "no slide of the sheet is chosen"),
    ],
)
def test_not_evaluated_is_said(tiny_copy, config, reason):
    root = tiny_copy()
    metrics = remake(root, config)
    assert reason in metrics["tasks"]["tumor"]["reason"]
    page = (root / "results" / "cohort" / "index.html").read_text()
    assert page.count(">not evaluated</span>") == 2
    assert "AUC for" not in page


def test_a_damaged_model_is_not_evaluated(tiny_copy):
    root = tiny_copy()
    (root / "models" / "tumor" / "model.safetensors").write_bytes(b"x")
    assert "E182" in remake(root)["tasks"]["tumor"]["reason"]


def test_counts_that_do_no_better_than_a_baseline_are_called_so(tiny_results):
    """Three times too many nuclei: the page must say that the counts are of no use here."""
    plan = Plan(tiny_results / "config.yaml")
    rows = []
    for row in slide_rows(plan):
        cells = row.cells
        if cells is not None:
            count = cells.count.model_copy(update={"value": 3 * cells.count.value})
            cells = cells.model_copy(update={"count": count})
        rows.append(replace(row, cells=cells))
    page = html_of(plan, rows, [], {**evaluate(plan, rows), "slides": {}})
    assert "these slides do not show that counting adds anything" in page
    assert "too many" in page


# --- robust, safe, deterministic -------------------------------------------------------------


def test_hostile_text_is_inert(html, metrics):
    assert HOSTILE in json.dumps(metrics) or "alert(1)" in html
    page = Page(html)
    assert [t for t, _ in page.tags].count("script") == 1  # the page's own, allowed by its hash
    assert "<script>alert" not in html
    assert "alert(1)" in page.rows["slide-E5"]  # shown as text
    assert "alert(1)" in page.rows["slide-E6"]
    for tag, attrs in page.tags:
        assert not any(name.startswith("on") or name == "style" for name in attrs), (tag, attrs)
        assert not attrs.get("src", "data:").startswith(("x", "http"))


def test_no_path_no_clock_and_the_same_bytes(tiny_results, tmp_path_factory, html):
    other = tmp_path_factory.mktemp("elsewhere") / "deep"
    finish(write_tiny_run(other))
    for name in ("index.html", "slides.tsv", "failures.tsv", "metrics.json"):
        data = (other / "results" / "cohort" / name).read_bytes()
        assert data == (tiny_results / "results" / "cohort" / name).read_bytes()
        assert str(other).encode() not in data
        assert b".svs" not in data


def test_missing_and_damaged_results_are_listed_not_fatal(tiny_copy):
    root = tiny_copy()
    slides = root / "results" / "slides"
    shutil.rmtree(slides / "E1")
    (slides / "E2" / "tissue.zarr" / "zarr.json").write_text("{")
    (slides / "E3" / "cells" / "classical.zarr" / "zarr.json").unlink()
    (slides / "T1" / "tiles.zarr" / "zarr.json").unlink()
    remake(root)
    rows = {r["slide_id"]: r for r in table(root / "results" / "cohort" / "slides.tsv")}
    assert {rows[i]["status"] for i in ("E1", "E2", "E3")} == {"failed"}
    assert rows["T1"]["status"] == "ok"  # without its picture
    failed = table(root / "results" / "cohort" / "failures.tsv")
    stages = {r["stage"] for r in failed if r["slide_id"] == "E1"}
    assert stages == {"ingest", "tile", "features", "cells", "predict"}


def test_formulas_and_tabs_do_not_reach_a_spreadsheet(tiny_copy):
    root = tiny_copy()
    sheet = (root / "slides.tsv").read_text()
    (root / "slides.tsv").write_text(sheet.replace("\tcolon\t", "\t=cmd()\t"))
    remake(root)
    assert {r["site"] for r in table(root / "results" / "cohort" / "slides.tsv")} == {"'=cmd()"}


def test_cost_is_a_record_outside_of_the_digest(tiny_copy):
    root = tiny_copy()
    usage = root / ".pathai" / "usage"
    usage.mkdir(parents=True)
    for name, cpu, peak in (("a", 1.5, 100.0), ("b", 2.0, 300.0)):
        job = {"stage": "tile", "cpu_s": cpu, "wall_s": 1.0, "peak_mib": peak}
        (usage / f"tile-{name}.json").write_text(json.dumps(job))
    (usage / "cut.json").write_text("{")
    remake(root)
    cohort = root / "results" / "cohort"
    record = json.loads((cohort / "run.json").read_text())
    assert record["stages"]["tile"] == {
        "jobs": 2, "cpu_s": 3.5, "wall_s": 2.0, "peak_mib": 300.0,
    }  # fmt: skip
    manifest = read_manifest(cohort / "cohort.manifest.json")
    assert set(manifest.records) == {"run.json"}
    assert "run.json" not in manifest.files
    assert verify(root / "results").ok


# --- in a browser ----------------------------------------------------------------------------


def opened(path, tmp_path):
    """The page's DOM after its scripts ran in headless Chromium."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("chromium is missing")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    options += ["--disable-component-update", "--disable-sync", "--no-first-run", "--dump-dom"]
    command = [browser, *options, f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.mark.browser
def test_the_policy_lets_the_page_run_its_own_script(folder, html, tmp_path):
    assert 'id="filters" hidden' in html  # without script: the whole table, no dead controls
    shown = opened(folder / "index.html", tmp_path)
    assert 'id="filters" hidden' not in shown
    assert "12 slides</span>" in shown


@pytest.mark.browser
def test_sort_and_filter(html, tmp_path):
    # A copy without the policy, driven by a script of the test.
    drive = """<script>
      document.querySelectorAll("#table th button")[3].click();
      document.querySelectorAll("#table th button")[3].click();
      document.getElementById("status").value = "ok";
      document.getElementById("find").value = "held E";
      document.getElementById("find").dispatchEvent(new Event("input"));
    </script>"""
    copy = tmp_path / "copy.html"
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    copy.write_text(free.replace("</body>", f"{drive}</body>"))
    shown = opened(copy, tmp_path)
    rows = re.findall(r'<tr id="slide-(\w+)"[^>]*?( hidden="")?>', shown)
    order = [name for name, _ in rows]
    nuclei = {s[0]: round(1.1 * float(s[4])) for s in SLIDES if s[6] not in ("failed", "skipped")}
    measured = [nuclei[name] for name in order if name in nuclei]
    assert measured == sorted(measured, reverse=True)
    assert set(order[-2:]) == {"F1", "N1"}  # nothing measured comes last, whichever way
    assert {name for name, hidden in rows if not hidden} == {"E1", "E2", "E3", "E5", "E6"}
    assert "5 of 12 slides" in shown
