"""What jobs ask a scheduler for: more for more pixels, more when it was not enough."""

import os
import subprocess
import sys

import pytest

from pathai import resources
from pathai.plan import Plan
from pathai.resources import demand
from pathai.store.folders import ResultsFolder, SlideFolder

HEAD = "slide_id\tpath\tcase_id\tpatient_id\n"


def plan(folder, config="schema_version: 1\n", sizes=(10,)):
    """A run whose slides are files of so many megabytes."""
    folder.mkdir()
    (folder / "config.yaml").write_text(config)
    rows = [f"S{i}\tS{i}.svs\tC{i}\tP{i}\n" for i in range(len(sizes))]
    (folder / "slides.tsv").write_text(HEAD + "".join(rows))
    for i, megabytes in enumerate(sizes):
        if megabytes:
            with (folder / f"S{i}.svs").open("wb") as file:
                file.truncate(int(megabytes * 1e6))  # sparse
    return Plan(folder / "config.yaml")


def batch(made, stage):
    return made.receipts()[stage][0]


def every(made):
    return [(stage, name) for stage, names in made.receipts().items() for name in names]


def test_every_job_of_a_run_gets_positive_numbers(tmp_path):
    task = "train: {tasks: []}\nslide: {encoders: ['mean:morphology']}\n"
    made = plan(tmp_path / "run", task, (10, 2000, 0))
    assert {stage for stage, _ in every(made)} >= {"ingest", "tile", "slide", "report", "cohort"}
    for stage, name in every(made):
        found = demand(made, stage, name)
        assert found.mem_mb >= 500, stage
        assert found.runtime >= resources.START_MIN, stage
        assert found.gpu in (0, 1), stage


@pytest.mark.parametrize("stage", ["tile", "features", "cells", "predict"])
def test_more_pixels_ask_for_more(tmp_path, stage):
    small, large = plan(tmp_path / "a", sizes=(20,)), plan(tmp_path / "b", sizes=(4000,))
    little, much = (demand(p, stage, batch(p, stage)) for p in (small, large))
    assert much.mem_mb > little.mem_mb
    assert much.runtime > little.runtime or stage == "predict"


def test_a_further_attempt_asks_for_twice_as_much_within_bounds(tmp_path):
    made = plan(tmp_path / "run", sizes=(1000,))
    for stage, name in every(made):
        one, two = demand(made, stage, name, 1), demand(made, stage, name, 2)
        assert 1.9 <= two.mem_mb / one.mem_mb <= 2.1, stage
        assert 1.8 <= two.runtime / one.runtime <= 2.1, stage
        far = demand(made, stage, name, 30)
        assert far.mem_mb == resources.MOST_MB
        assert far.runtime == resources.MOST_MIN


def test_more_slides_take_longer_but_not_more_memory(tmp_path):
    one = plan(tmp_path / "a", sizes=(500,))
    many = plan(tmp_path / "b", sizes=(500,) * 8)
    for stage in ("tile", "features", "cells"):
        alone, together = (demand(p, stage, batch(p, stage)) for p in (one, many))
        assert together.mem_mb == alone.mem_mb
        assert together.runtime > 3 * alone.runtime or alone.runtime < 15


def test_an_ingested_slide_tells_its_own_pixels(tmp_path, monkeypatch):
    made = plan(tmp_path / "run", sizes=(4000,))
    guessed = demand(made, "cells", batch(made, "cells"))

    class Info:
        width, height = 1000, 1000

    monkeypatch.setattr(SlideFolder, "read_slide", lambda self: Info())
    made = Plan(made.config_path)  # a later run: one run asks once
    known = demand(made, "cells", batch(made, "cells"))
    assert known.mem_mb < guessed.mem_mb
    assert known.runtime < guessed.runtime


def test_a_slide_that_nothing_is_known_of_is_taken_for_a_large_one(tmp_path):
    made = plan(tmp_path / "run", sizes=(0,))
    small = plan(tmp_path / "small", sizes=(5,))
    unknown, known = (demand(p, "tile", batch(p, "tile")) for p in (made, small))
    assert unknown.mem_mb > known.mem_mb
    assert ResultsFolder(made.root / "results").slide_ids() == ()


@pytest.mark.parametrize(
    ("config", "gpus"),
    [
        ("features: {encoders: [morphology]}\ncells: {detector: classical}\n", set()),
        ("features: {encoders: [tissue-small]}\ncells: {detector: classical}\n", {"features"}),
        ("cells: {detector: nuclei-small}\n", {"cells"}),
        ("features: {encoders: [morphology, tissue-small]}\n", {"features", "cells"}),
        ("slide: {encoders: ['mean:morphology']}\ncells: {detector: classical}\n", {"slide"}),
    ],
)
def test_only_stages_with_a_network_ask_for_a_gpu(tmp_path, config, gpus):
    made = plan(tmp_path / "run", config)
    assert {stage for stage, name in every(made) if demand(made, stage, name).gpu} == gpus


def test_workers_of_a_job_share_most_of_its_memory(tmp_path):
    one = plan(tmp_path / "a", "cells: {workers: 1}\n")
    four = plan(tmp_path / "b", "cells: {workers: 4}\n")
    alone, shared = (demand(p, "cells", batch(p, "cells")).mem_mb for p in (one, four))
    assert alone < shared < 4 * alone


def test_planning_loads_no_torch_and_no_zarr():
    code = (
        "import sys, pathai.resources, pathai.plan; "
        "assert not {'torch', 'zarr', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))
