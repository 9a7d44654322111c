"""A cohort of synthetic slides with a sheet, for the demo and for evaluation."""

from __future__ import annotations

import csv
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pathai.testing.aperio import SCANNERS
from pathai.testing.looks import TEST_LOOKS, TRAIN_LOOKS, vary
from pathai.testing.noise import stream
from pathai.testing.picture import write_slide
from pathai.testing.truth import ARTEFACTS, HE, KI67, Recipe

COLUMNS = [
    "slide_id",
    "path",
    "case_id",
    "patient_id",
    "specimen_id",
    "block_id",
    "laterality",
    "stain",
    "site",
    "mpp",
    "split",
    "tumor",
    "n_nuclei",
]
LOOKS = {"train": TRAIN_LOOKS, "test": TEST_LOOKS}
MAX_PX = 4_000_000


@dataclass(frozen=True)
class Patient:
    """One patient of the plan, before any pixel is drawn."""

    split: str
    tumor: bool
    site: str
    slides: int


@dataclass(frozen=True)
class Job:
    """One slide to draw: its row of the sheet and its recipe."""

    folder: Path
    row: dict[str, str]
    recipe: Recipe


def plan_patients(slides: int, patients: int) -> list[Patient]:
    """Divide patients over split, label and site as evenly as their number allows.

    Second slides go where a split and label has the fewest slides, so that slides are balanced too.
    """
    if not 4 <= patients <= slides:
        raise ValueError("a cohort needs at least 4 patients and no more patients than slides")
    plan = [
        Patient(("train", "test")[i % 2], (i // 2) % 2 == 1, ("A", "B")[(i // 4) % 2], 1)
        for i in range(patients)
    ]
    for _ in range(slides - patients):
        totals = {(p.split, p.tumor): 0 for p in plan}
        for p in plan:
            totals[p.split, p.tumor] += p.slides
        most = min(
            range(patients), key=lambda i: (totals[plan[i].split, plan[i].tumor], plan[i].slides, i)
        )
        plan[most] = replace(plan[most], slides=plan[most].slides + 1)
    return plan


def plan_jobs(
    out: Path,
    slides: int,
    patients: int,
    seed: int,
    size_px: Sequence[int],
    artefact_share: float,
    ki67: bool,
) -> list[Job]:
    """Return one job per slide, in the order of the sheet."""
    rng = stream(seed, "cohort")
    plan = plan_patients(slides, patients)
    order = rng.permutation(patients)
    digits = max(2, len(str(slides)))
    jobs: list[Job] = []
    for number, index in enumerate(order.tolist(), start=1):
        patient, name = plan[index], f"{number:0{digits}d}"
        side = str(rng.choice(["left", "right"]))
        for block in range(patient.slides):
            width = int(rng.integers(size_px[0], size_px[1] + 1))
            height = min(int(rng.integers(size_px[0], size_px[1] + 1)), MAX_PX // width)
            stain = KI67 if ki67 and block else HE
            spoiled = rng.uniform() < artefact_share
            artefact = str(rng.choice(ARTEFACTS))
            # even seeds are the training side's, odd ones the test side's: no tissue is on both
            slide_seed = 2 * (seed * 100_003 + len(jobs)) + (patient.split == "test")
            look = vary(LOOKS[patient.split][patient.site], stream(slide_seed, "look"))
            recipe = Recipe(
                seed=slide_seed,
                width=width,
                height=height,
                stain=stain,
                tumor=patient.tumor,
                look=look,
                artefacts=(artefact,) if spoiled else (),
            )
            slide_id = f"S{len(jobs) + 1:0{digits}d}"
            row = {
                "slide_id": slide_id,
                "path": f"slides/{slide_id}.svs",
                "case_id": f"C{name}",
                "patient_id": f"P{name}",
                "specimen_id": f"SP{name}",
                "block_id": f"A{block + 1}",
                "laterality": side,
                "stain": stain,
                "site": patient.site,
                "mpp": "",
                "split": patient.split,
                "tumor": "yes" if patient.tumor else "no",
            }
            jobs.append(Job(out, row, recipe))
    return jobs


def run_job(job: Job) -> int:
    """Write one slide and its truth; return the number of nuclei."""
    slide = job.folder / job.row["path"]
    truth = write_slide(slide, job.recipe, scanner=SCANNERS[job.row["site"]])
    truth.save(job.folder / "truth" / f"{job.row['slide_id']}.npz")
    return len(truth)


def make_cohort(
    out: Path,
    *,
    slides: int = 12,
    patients: int | None = None,
    seed: int = 1,
    size_px: Sequence[int] = (1800, 2048),
    workers: int = 2,
    artefact_share: float = 0.25,
    ki67: bool = False,
) -> Path:
    """Write `out/slides/*.svs`, `out/truth/*.npz` and the sheet `out/slides.tsv`.

    Split, label and site are balanced and independent; a patient's slides share the split and the
    label. Slides of the test split come from seeds and looks (stain vectors, textures) that no
    training slide of any cohort has.

    Parameters
    ----------
    out : Path
        Folder, made when missing.
    slides : int
        Number of slides.
    patients : int, optional
        Number of patients; five for every six slides when left out.
    seed : int
        Same seed, same bytes, whatever the number of workers.
    size_px : (int, int)
        Smallest and largest side of a slide; no slide has more than 4 megapixels.
    workers : int
        Processes. They are spawned: with more than one, a script must guard its start with
        ``__name__``.
    artefact_share : float
        Share of slides with one artefact, drawn without knowledge of the label.
    ki67 : bool
        True: the further slides of a patient are Ki-67 instead of H&E.

    Returns
    -------
    Path
        The sheet.
    """
    patients = max(4, round(slides * 5 / 6)) if patients is None else patients
    jobs = plan_jobs(out, slides, patients, seed, size_px, artefact_share, ki67)
    for name in ("slides", "truth"):
        (out / name).mkdir(parents=True, exist_ok=True)
    if workers > 1:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context) as pool:
            counts = list(pool.map(run_job, jobs))
    else:
        counts = [run_job(job) for job in jobs]
    sheet = out / "slides.tsv"
    with sheet.open("w", encoding="utf-8", newline="") as stream_out:
        writer = csv.DictWriter(stream_out, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        for job, count in zip(jobs, counts, strict=True):
            writer.writerow({**job.row, "n_nuclei": str(count)})
    return sheet
