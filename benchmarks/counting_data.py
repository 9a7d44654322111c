"""A synthetic cohort for counting: real slide files, the real chain, every nucleus known.

Imported by ``counting.py`` and by the tests. Each patient has one slide in H&E with the look of one
of four laboratories, every look varied from slide to slide. Every sixth patient has no cancer. No
slide has pen, folds or bubbles: what they cover cannot be counted by anyone.
"""

import csv
import json
from pathlib import Path

import numpy as np

from pathai.batch import run_steps
from pathai.chain import slide_steps
from pathai.plan import Plan
from pathai.store.commit import remove
from pathai.store.records import Features
from pathai.testing.aperio import SCANNERS
from pathai.testing.looks import TEST_LOOKS, TRAIN_LOOKS, vary
from pathai.testing.noise import stream
from pathai.testing.picture import write_slide
from pathai.testing.truth import TUMOR, Recipe, Truth

SIDE_PX = (1500, 2300)
"""Smallest and largest side of a slide at 0.5 µm/px."""
WITHOUT_CANCER = 6
"""One of so many patients has none."""
LABS = tuple(
    (f"{part}-{scanner}", look, scanner)
    for part, looks in (("train", TRAIN_LOOKS), ("test", TEST_LOOKS))
    for scanner, look in looks.items()
)
"""Site, look and scanner of each laboratory."""
DETECTOR = "classical"
MIN_TISSUE = 0.02
"""Tiles at the edge of the tissue hold cells, too."""


def recipe(number: int, seed: int) -> tuple[Recipe, str, str]:
    """Recipe of a patient's slide, its site and its scanner."""
    rng = stream(seed, f"counting {number}")
    site, look, scanner = LABS[int(rng.integers(len(LABS)))]
    width, height = (int(side) for side in rng.integers(SIDE_PX[0], SIDE_PX[1] + 1, 2))
    tumor = number % WITHOUT_CANCER > 0
    own = int(rng.integers(2**31))
    drawn = Recipe(own, width, height, tumor=tumor, look=vary(look, stream(own, "look")))
    return drawn, site, scanner


def draw(root: Path, patients: int, seed: int) -> Path:
    """Slides, truths and the sheet; what was drawn before is left. Returns the sheet.

    Columns: ``n_cancer`` counts every cancer nucleus on the slide, in tiles or not; ``n_nuclei``
    every nucleus. The first patients of a larger cohort are those of a smaller one.
    """
    rows = []
    for number in range(patients):
        slide_id = f"S{number:03d}"
        slide, known = root / "slides" / f"{slide_id}.svs", root / "truth" / f"{slide_id}.npz"
        drawn, site, scanner = recipe(number, seed)
        if not known.exists():
            for path in (slide, known):
                path.parent.mkdir(parents=True, exist_ok=True)
                remove(path)
            write_slide(slide, drawn, scanner=SCANNERS[scanner]).save(known)
        truth = Truth.load(known)
        rows.append(
            {
                "slide_id": slide_id,
                "path": f"slides/{slide.name}",
                "case_id": f"C{number:03d}",
                "patient_id": f"P{number:03d}",
                "stain": drawn.stain,
                "site": site,
                "n_cancer": int((truth.class_ == TUMOR).sum()),
                "n_nuclei": len(truth),
            }
        )
    sheet = root / "slides.tsv"
    with sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return sheet


def analyze(root: Path, encoders: tuple[str, ...], *, cells: bool = True) -> Plan:
    """Ingest, tile, features and cells of every slide; finished stages are left."""
    config = {"features": {"encoders": list(encoders), "min_tissue": MIN_TISSUE}}
    (root / "config.yaml").write_text(json.dumps(config) + "\n", "utf-8")
    plan = Plan(root / "config.yaml")
    for row in plan.sheet.rows:
        for stage in ("ingest", "tile", "features", *(("cells",) if cells else ())):
            steps = [s for s in slide_steps(plan, stage, row.slide_id) if s.manifest() is None]
            bad = [m for m in run_steps(None, steps) if m.status != "ok"]
            if bad:
                raise SystemExit(f"{row.slide_id}: {stage} {bad[0].status}")
    return plan


def cancer_per_tile(features: Features, truth: Truth) -> np.ndarray:
    """Cancer nuclei float64[N] with their center in each tile, by looking at each tile alone."""
    xy = truth.xy_px0[truth.class_ == TUMOR]
    inside = [
        ((xy >= corner) & (xy < corner + features.size_px0)).all(axis=1).sum()
        for corner in features.xy_px0
    ]
    return np.array(inside, float)
