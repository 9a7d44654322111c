"""Cancer cells are counted from slide counts alone: on drawn features, and in full on slides."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from mil_cases import about, row
from mil_cases import features as blank

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("counting")


def drawn(counting: ModuleType, patients: int, seed: int) -> Any:
    """Tiles whose features tell, noisily, their cancer and other nuclei and their stain."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(3, 12))
    rows, store, truth = [], {}, {}
    for p in range(patients):
        n = int(rng.integers(20, 60))
        with_cancer = (rng.uniform(size=n) < rng.uniform(0, 0.6)) & (p % 6 > 0)
        cancer = rng.poisson(np.where(with_cancer, rng.uniform(20, 60, n), 0))
        other = rng.poisson(rng.uniform(10, 80, n))
        stain = np.full(n, rng.normal(0, 10))
        told = np.stack([cancer, other, stain], axis=1) @ mix
        one = blank(rng, 0, n)
        one.x[:] = told + rng.normal(0, 8, told.shape)
        name = f"s{p:03d}"
        total = {"n_cancer": str(cancer.sum()), "n_nuclei": str((cancer + other).sum())}
        rows.append(row(p, name, f"p{p:03d}", **total))
        store[name], truth[name] = one, cancer.astype(float)
    return counting.Given(rows, lambda task, name: store[name], about, lambda name, _: truth[name])


def test_counts_of_tiles_and_slides_are_learned_from_slide_counts(
    counting: ModuleType, tmp_path: Path
) -> None:
    given, task = drawn(counting, 48, 5), counting.count_task("morphology")
    quick = {"folds": 3, "inner_folds": 0, "members": 1, "hidden": 32, "epochs": 40}
    section = counting.SECTION.model_copy(update=quick)
    found = counting.judged(given, task, section, tmp_path)
    counting.prove(found)
    assert found["intervals"]["coverage"]["value"] >= 0.75
    assert found["tiles"]["mean_on_tiles_without_cancer"] < 5
    found["tiles"]["pearson"]["value"] = 0.89
    with pytest.raises(SystemExit, match="not proven"):
        counting.prove(found)


def test_shares_that_do_not_follow_the_cells_are_no_proof(
    counting: ModuleType, tmp_path: Path
) -> None:
    """The tiles' truth is not used but to judge: shuffled, nothing of the proof is left."""
    given, task = drawn(counting, 24, 6), counting.count_task("morphology")
    quick = {"folds": 2, "inner_folds": 0, "members": 1, "hidden": 8, "epochs": 20}
    section = counting.SECTION.model_copy(update=quick)
    counts = counting.tile_counts(given, task, section, tmp_path)
    rng = np.random.default_rng(0)
    true = {name: given.cancer(name, given.features(task, name)) for name in counts}
    other = {name: rng.permutation(tiles) for name, tiles in true.items()}
    assert counting.on_tiles(counts, true)["median_within_slide_pearson"] > 0.5
    assert abs(counting.on_tiles(counts, other)["median_within_slide_pearson"]) < 0.3


@pytest.mark.slow
@pytest.mark.timeout(1500)  # some minutes on an idle processor
def test_cancer_cells_of_40_patients_are_counted_on_slides(
    counting: ModuleType, tmp_path: Path
) -> None:
    """Through the files: ingest, tiles, features. Of `morphology` 40 patients are few: near 10 %.

    Nothing is chosen on inner folds: on the development cohort, 16 patients chose too few epochs.
    """
    written, learned = map(counting.count_task, counting.ENCODERS)
    section = counting.SECTION.model_copy(update={"inner_folds": 0, "members": 1})
    found = counting.benchmark(tmp_path, 40, 7041, [written, learned], section)
    assert found["cohort"]["cancer_nuclei_in_tiles"] > 0.99
    counting.prove(found["tasks"][learned.name])
    counting.prove(found["tasks"][written.name], largest_error=0.12)
