"""What a run will take: a range around a guess, the truth where it is known."""

import json
from pathlib import Path

import numpy as np
import pytest
from remote_cases import config, http_server
from typer.testing import CliRunner

from pathai.chain import slide_steps
from pathai.cli import app
from pathai.estimate import Estimate, estimate, show
from pathai.plan import Plan
from pathai.rates import (
    FEWEST_SECONDS,
    Range,
    Rates,
    Starting,
    exactly,
    over,
    own_rates,
    shipped_rates,
)
from pathai.testing.synthetic import Recipe, write_slide

SIZES = {"S1": (1500, 1300), "S2": (1900, 1200), "S3": (1300, 1700)}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("slides")
    found = {}
    for i, (slide_id, (width, height)) in enumerate(SIZES.items()):
        found[slide_id] = folder / f"CANARY-{slide_id}.svs"
        write_slide(found[slide_id], Recipe(seed=40 + i, width=width, height=height))
    return found


def plan_of(root: Path, slides: dict[str, Path], more: str = "") -> Plan:
    return Plan(config(root, {i: str(p) for i, p in slides.items()}, more=more))


def run(plan: Plan, *stages: str, only: str = "") -> None:
    for stage in stages:
        for row in plan.sheet.rows:
            if row.slide_id == (only or row.slide_id):
                for step in slide_steps(plan, stage, row.slide_id):
                    assert step.run().status == "ok"


def tiles(found: Estimate) -> Range:
    return found.total("tiles", "morphology")


@pytest.mark.parametrize(
    "more",
    ["", "tile: {copy_tiles: false}\n", "features: {min_tissue: 0.75, stride: 0.5}\n"],
    ids=["copied", "decoded", "overlapping"],
)
def test_a_guess_holds_the_truth_and_the_truth_is_true(
    tmp_path: Path, drawn: dict[str, Path], more: str
) -> None:
    plan = plan_of(tmp_path, drawn, more)
    before = estimate(plan, cores=2)
    assert [s.copied for s in before.slides] == ["copy_tiles" not in more] * 3
    assert not plan.results.path.exists()  # nothing is written
    assert [s.known for s in before.slides] == ["opened"] * 3
    assert [(s.width, s.height) for s in before.slides] == list(SIZES.values())
    run(plan, "ingest", "tile", "features")
    after = estimate(plan, cores=2)
    assert [s.known for s in after.slides] == ["tiled"] * 3
    true = [plan.results.slide(i).read_features("morphology").x.shape[0] for i in SIZES]
    assert [s.tiles["morphology"] for s in after.slides] == [exactly(n) for n in true]
    stored = sum(
        f.stat().st_size
        for i in SIZES
        for f in (plan.results.slide(i).path / "tiles.zarr").rglob("*")
        if f.is_file()
    )
    assert after.total("store_gb").value * 1e9 == pytest.approx(stored, rel=0.02)
    for name in ("tissue_mm2", "store_gb", "features_gb"):
        guess, truth = before.total(name), after.total(name).value
        assert guess.low < truth < guess.high * 1.2
        assert 1 / 1.7 < guess.value / truth < 1.7
    assert tiles(before).low < sum(true) < tiles(before).high * 1.2
    assert 1 / 1.7 < tiles(before).value / sum(true) < 1.7


def test_a_slide_too_coarse_for_an_encoder_has_no_tiles(
    tmp_path: Path, drawn: dict[str, Path]
) -> None:
    path = config(tmp_path, {"S1": str(drawn["S1"])})
    sheet = path.with_name("slides.tsv")
    sheet.write_text(sheet.read_text().replace("0.5", "1.5"))
    plan = Plan(path)
    assert tiles(estimate(plan)) == exactly(0)
    run(plan, "ingest", "tile")
    assert tiles(estimate(plan)) == exactly(0)


def test_slides_that_were_tiled_narrow_the_others(tmp_path: Path, drawn: dict[str, Path]) -> None:
    plan = plan_of(tmp_path, drawn)
    wide = estimate(plan)
    run(plan, "ingest", "tile", only="S1")
    run(plan, "ingest", only="S2")
    found = estimate(plan)
    assert [s.known for s in found.slides] == ["tiled", "ingested", "opened"]
    for before, after in zip(wide.slides[1:], found.slides[1:], strict=True):
        span = [s.tissue_mm2.high - s.tissue_mm2.low for s in (before, after)]
        assert span[1] < span[0] / 2
    first = found.slides[0]
    area = SIZES["S1"][0] * SIZES["S1"][1] * 0.25e-6
    share = found.slides[2].tissue_mm2.value / (SIZES["S3"][0] * SIZES["S3"][1] * 0.25e-6)
    assert share == pytest.approx(first.tissue_mm2.value / area)


def test_only_what_is_left_takes_hours(tmp_path: Path, drawn: dict[str, Path]) -> None:
    plan = plan_of(tmp_path, drawn)
    before = estimate(plan)
    assert all(before.total("core_hours", s).value > 0 for s in ("ingest", "tile", "features"))
    run(plan, "ingest", "tile")
    after = estimate(plan)
    assert after.total("core_hours", "ingest") == after.total("core_hours", "tile") == exactly(0)
    assert after.total("core_hours", "features").value > 0
    rate = shipped_rates().features_s_per_tile["morphology"]
    each = shipped_rates().starting.slide_s.get("features", 0.0)
    hours = (tiles(after).value * rate.value + len(SIZES) * each) / 3600
    assert after.total("core_hours", "features").value == pytest.approx(hours)


STARTING = Starting(
    slide_s={"tile": 2.0, "features": 3.0, "cells": 4.0},
    job_s={"ingest": 10.0, "tile": 20.0, "report": 30.0},
    snakemake_job_s=0.5,
    run_s=7.0,
    case_s=11.0,
    page_s=0.25,
    fresh_slides=24,
    error=-0.08,
    error_before_tiling=0.31,
)


@pytest.fixture
def known_rates(monkeypatch: pytest.MonkeyPatch) -> Rates:
    """Rates whose every term is known."""
    rates = shipped_rates().model_copy(update={"starting": STARTING})
    monkeypatch.setattr("pathai.estimate.shipped_rates", lambda: rates)
    return rates


def test_starting_jobs_and_reports_are_part_of_it(
    tmp_path: Path, drawn: dict[str, Path], known_rates: Rates, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = plan_of(tmp_path, drawn, more="run: {slides_per_job: 2}\n")
    found = estimate(plan)
    jobs = sum(len(names) for names in plan.receipts().values())
    assert found.jobs == jobs
    cases = len(plan.sheet.cases())
    expected = {
        "report": 11.0 * cases,
        "cohort": 0.25 * len(SIZES),
        "starting": 0.5 * jobs + 7.0 + 2 * 10.0 + 2 * 20.0 + 30.0 * len(plan.case_batches),
    }
    hours = {name: 3600 * hours.value for name, hours in found.shared_core_hours.items()}
    assert hours == pytest.approx(expected)
    totals = found.as_json()["totals"]
    assert totals["core_hours starting"]["value"] == pytest.approx(expected["starting"] / 3600)
    assert show(found, as_json=False) == 0
    text = capsys.readouterr().err
    assert "error     -8% on a fresh run of 24 slides, +31% before its tissue was known" in text
    assert f"core hours left for {jobs} jobs" in text


def test_a_share_of_each_slide_is_beside_its_area(
    tmp_path: Path, drawn: dict[str, Path], known_rates: Rates
) -> None:
    plan = plan_of(tmp_path, drawn)
    for slide in estimate(plan).slides:
        work = known_rates.copied_s_per_mpx.value * slide.tissue_mpx.value
        assert 3600 * slide.core_hours["tile"].value == pytest.approx(2.0 + work)


def test_nothing_is_left_of_a_finished_run(
    tmp_path: Path, drawn: dict[str, Path], known_rates: Rates
) -> None:
    plan = plan_of(tmp_path, drawn)
    run(plan, "ingest", "tile", "features")
    for stage, names in plan.receipts().items():
        for name in names:
            plan.receipt(stage, name).parent.mkdir(parents=True, exist_ok=True)
            plan.receipt(stage, name).touch()
    found = estimate(plan)  # cells were never made: they, and what waits for them, are left
    assert {stage for slide in found.slides for stage in slide.core_hours} == {"cells"}
    waiting = ("cells", "predict", "report", "cohort", "slide", "train")
    assert found.jobs == sum(len(names) for s, names in plan.receipts().items() if s in waiting)


def test_a_slide_without_tissue_is_no_failure(tmp_path: Path) -> None:
    blank = tmp_path / "blank.svs"
    write_slide(blank, Recipe(seed=1, width=260, height=240))
    plan = plan_of(tmp_path / "run", {"S1": blank})
    (ingest,) = slide_steps(plan, "ingest", "S1")
    assert ingest.run().status == "ok"
    (tile,) = slide_steps(plan, "tile", "S1")
    assert tile.run().status == "skipped"
    found = estimate(plan)
    assert [s.known for s in found.slides] == ["empty"]
    assert show(found, as_json=False) == 0


def test_a_detector_without_a_rate_is_named(
    tmp_path: Path, drawn: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(tmp_path, drawn, "cells: {detector: classical}\n")
    assert estimate(plan).unmeasured == ()
    rates = shipped_rates().model_copy(update={"cells_s_per_mm2": {}})
    monkeypatch.setattr("pathai.estimate.shipped_rates", lambda: rates)
    assert estimate(plan).unmeasured == ("classical",)


def test_the_runs_own_timings_come_first(tmp_path: Path, drawn: dict[str, Path]) -> None:
    plan = plan_of(tmp_path, drawn, more="run: {slides_per_job: 1}\n")
    run(plan, "ingest", "tile")
    batch = next(iter(plan.slide_batches))
    known = estimate(plan)
    count = known.slides[0].tiles["morphology"].value
    note = plan.state / "usage" / f"features-{batch}.json"
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"cpu_s": 7200.0, "wall_s": 1.0, "stage": "features"}))
    found = estimate(plan)
    assert found.rates["features"] == "this run"
    assert found.rates["cells"] == "pathai's own measurement"
    expected = [7200 / count * s.tiles["morphology"].value / 3600 for s in found.slides]
    assert [s.core_hours["features"].value for s in found.slides] == pytest.approx(expected)
    note.write_text(json.dumps({"cpu_s": FEWEST_SECONDS / 2}))
    assert estimate(plan).rates["features"] == "pathai's own measurement"


def test_timings_count_only_where_every_slide_of_a_batch_is_known(
    tmp_path: Path, drawn: dict[str, Path]
) -> None:
    plan = plan_of(tmp_path, drawn)
    (batch,) = plan.slide_batches
    note = plan.state / "usage" / f"tile-{batch}.json"
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"cpu_s": 60.0}))
    units = {"S1": 1.0, "S2": 2.0, "S3": 3.0}
    assert own_rates(plan, {"tile": units}) == {"tile": exactly(10.0)}
    del units["S3"]
    assert own_rates(plan, {"tile": units}) == {}


def test_what_cannot_be_read_is_said_before_the_run(
    tmp_path: Path, drawn: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "CANARY-broken.svs"
    broken.write_bytes(b"\0" * 5000)
    slides = {**drawn, "S4": broken, "S5": tmp_path / "CANARY-none.svs"}
    found = estimate(plan_of(tmp_path / "run", slides))
    assert [s.known for s in found.slides[3:]] == ["unreadable"] * 2
    assert [s.problem[:4] for s in found.slides[3:]] == ["E104", "E102"]
    assert show(found, as_json=False) == 1
    text = capsys.readouterr().err
    assert "CANARY" not in text
    assert "5: 3 opened, 2 unreadable" in text
    whole = estimate(plan_of(tmp_path / "whole", drawn))
    assert tiles(found) == tiles(whole)


def test_slides_that_time_does_not_reach_are_like_the_others(
    tmp_path: Path, drawn: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(tmp_path, drawn)
    run(plan, "ingest", "tile", only="S1")
    monkeypatch.setattr("pathai.glance.ALL_SECONDS", 0.0)
    found = estimate(plan)
    assert [s.known for s in found.slides] == ["tiled", "guessed", "guessed"]
    assert found.slides[1].tiles == found.slides[0].tiles


def test_a_slide_on_a_server(tmp_path: Path, drawn: dict[str, Path]) -> None:
    with http_server() as web:
        web.objects["/a.svs"] = drawn["S1"].read_bytes() + bytes(16 * 2**20)
        plan = Plan(config(tmp_path, {"S1": f"{web.url}/a.svs"}, remote=web.url))
        (slide,) = estimate(plan).slides
        assert (slide.known, slide.width, slide.height) == ("opened", *SIZES["S1"])
        assert slide.file_gb == len(web.objects["/a.svs"]) / 1e9
        assert web.served < 8 * 2**20


def test_the_verb(tmp_path: Path, drawn: dict[str, Path]) -> None:
    plan = plan_of(tmp_path, drawn)
    call = ["estimate", "--config", str(plan.config_path), "--cores", "4"]
    told = CliRunner().invoke(app, [*call, "--json"])
    assert told.exit_code == 0
    data = json.loads(told.stdout)
    assert data["cores"] == 4
    total = data["totals"]["tiles morphology"]
    assert total["low"] < total["value"] < total["high"]
    assert len(data["slides"]) == 3
    said = CliRunner().invoke(app, call)
    assert said.exit_code == 0
    for word in ("tissue", "tiles", "GB of pixels", "core hours left", "on 4 cores"):
        assert word in said.stderr


def test_ranges() -> None:
    one, two = Range(low=1, value=2, high=4), Range(low=0.5, value=1, high=3)
    assert one + two == Range(low=1.5, value=3, high=7)
    assert one * two == Range(low=0.5, value=2, high=12)
    assert one * 2 == Range(low=2, value=4, high=8)
    assert over([10, 90], [1, 3]) == Range(low=10, value=25, high=30)


def test_shipped_rates_are_sane() -> None:
    rates = shipped_rates()
    kept = [rates.kept_tiles(share).value for share in np.linspace(0, 1, 21)]
    assert kept == sorted(kept, reverse=True)
    assert rates.kept_tiles(0.5).value == pytest.approx(1, abs=0.15)
    for found in (rates.tissue_share, rates.decoded_bytes_per_px, rates.copied_s_per_mpx):
        assert 0 < found.low <= found.value <= found.high
    assert rates.tissue_share.high <= 1
