"""Memory, time and GPUs that a job asks a scheduler for: functions of pixels and attempt.

A slide that was ingested tells its pixels; of another the size of its file is a hint; else it is
taken for a large one. Times come from the rates of `pathai estimate`, with a wide margin: they are
limits, not forecasts. A job that was killed for memory or time asks for more the next time.
"""

from functools import cache
from math import ceil
from typing import NamedTuple

from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.rates import Rates, shipped_rates
from pathai.source import Remote

MPX_UNKNOWN = 5_000.0
"""Level-0 pixels of a slide of which nothing is known, in millions: 80,000 x 60,000."""
BYTES_PER_PX = 0.2
"""Of a slide in JPEG with its background: turns the size of a file into pixels."""
MM2_PER_MPX = 0.0625
"""At 0.25 µm/px, where the resolution is not known."""
MARGIN = 2.0
"""Slower disks and processors than those on which the rates were measured."""
START_MIN = 10
"""For starting up, waiting for a disk, and everything that no rate knows of."""
MOST_MIN = 7 * 24 * 60
MOST_MB = 512_000
TILE_MM2 = (256 * 0.5e-3) ** 2
"""Area of a common tile: 256 px at 0.5 µm/px."""
S_PER_TILE_UNKNOWN = 0.5
"""Of an encoder without a rate: a large network without a GPU."""
S_PER_MM2_UNKNOWN = 20.0
"""Of a detector without a rate, likewise."""
NO_NETWORK = ("morphology", "classical")
"""Encoder and detector that use no GPU."""


class Memory(NamedTuple):
    """Memory of a stage: of the program and its batches, and what grows with the largest slide."""

    base_mb: int
    mb_per_gpx: int


MEMORY = {
    "ingest": Memory(2000, 0),
    "tile": Memory(2500, 50),
    "features": Memory(6000, 150),
    "cells": Memory(4000, 400),
    "slide": Memory(8000, 50),
    "train": Memory(16000, 0),
    "predict": Memory(4000, 100),
    "report": Memory(3000, 100),
    "cohort": Memory(4000, 0),
}
"""Readers stream, so that little grows with a slide: tissue maps, tables of tiles, nuclei."""
MINUTES = {"slide": 5.0, "train": 720.0, "predict": 2.0, "report": 5.0, "cohort": 60.0}
"""Of stages without a rate, per slide, case, task or page."""


class Demand(NamedTuple):
    """What one job asks for."""

    mem_mb: int
    runtime: int
    """Minutes."""
    gpu: int


@cache
def demand(plan: Plan, stage: str, name: str, attempt: int = 1) -> Demand:
    """What the job of a stage and batch asks for.

    Parameters
    ----------
    plan : Plan
        The run.
    stage : str
        One of `Plan.receipts`.
    name : str
        Batch of slides or cases, task, or ``cohort``.
    attempt : int
        1 for the first; each further one asks for twice the memory and time of the one before.

    Returns
    -------
    Demand
        Positive ``mem_mb`` and ``runtime``; ``gpu`` 0 or 1.
    """
    slides = _slides(plan, stage, name)
    sizes = [_mpx(plan, slide) for slide in slides]
    memory = MEMORY[stage]
    workers = plan.config.cells.workers if stage == "cells" else 1
    largest = max(sizes, default=0.0) / 1000
    mem_mb = memory.base_mb * (1 + 0.5 * (workers - 1)) + memory.mb_per_gpx * largest
    if stage in MINUTES:
        count = len(_subjects(plan, stage, name))
        minutes = START_MIN + MINUTES[stage] * count
    else:
        seconds = sum(_seconds(plan, stage, s, m) for s, m in zip(slides, sizes, strict=True))
        minutes = START_MIN + MARGIN * seconds / 60
    more = 2 ** (attempt - 1)
    return Demand(
        mem_mb=min(ceil(mem_mb * more / 100) * 100, MOST_MB),
        runtime=min(ceil(minutes * more), MOST_MIN),
        gpu=int(_uses_gpu(plan, stage)),
    )


def _subjects(plan: Plan, stage: str, name: str) -> tuple[str, ...]:
    if stage == "report":
        return plan.case_batches.get(name, (name,))
    return plan.slide_batches.get(name, (name,))


def _slides(plan: Plan, stage: str, name: str) -> list[str]:
    """Slides whose pixels a job works on."""
    if stage == "report":
        members = plan.case_batches.get(name, ())
        return [slide_id for case in members for slide_id in _cases(plan)[case]]
    return list(plan.slide_batches.get(name, ()))


@cache
def _cases(plan: Plan) -> dict[str, list[str]]:
    """Slides of each case: asked for by every job, so read once."""
    return {case: [row.slide_id for row in rows] for case, rows in plan.sheet.cases().items()}


@cache
def _mpx(plan: Plan, slide_id: str) -> float:
    """Level-0 pixels, in millions; a server is not asked while jobs are planned."""
    where = plan.place(slide_id)
    try:
        info = plan.results.slide(slide_id).read_slide()
        return info.width * info.height / 1e6
    except PathaiError:  # not ingested yet
        pass
    if isinstance(where, Remote) or where.suffix.lower() == ".mrxs" or where.is_dir():
        return MPX_UNKNOWN
    try:
        return where.stat().st_size / BYTES_PER_PX / 1e6
    except OSError:
        return MPX_UNKNOWN


@cache
def _rates() -> Rates:
    return shipped_rates()


def _seconds(plan: Plan, stage: str, slide_id: str, mpx: float) -> float:
    """Core seconds of a stage with a rate, at the high end."""
    rates = _rates()
    share = rates.tissue_share.high
    mm2 = mpx * MM2_PER_MPX * share
    if stage == "ingest":
        gigabytes = mpx * BYTES_PER_PX / 1e3
        return rates.ingest_s.high + rates.ingest_s_per_gb.high * max(gigabytes, 1.0)
    if stage == "tile":
        return rates.decoded_s_per_mpx.high * mpx * share
    if stage == "cells":
        known = rates.cells_s_per_mm2.get(plan.config.cells.detector)
        return (known.high if known else S_PER_MM2_UNKNOWN) * mm2
    section = plan.config.features
    tiles = mm2 / TILE_MM2 * rates.kept_tiles(section.min_tissue).high / section.stride**2
    each = [rates.features_s_per_tile.get(name) for name in section.encoders]
    return tiles * sum(rate.high if rate else S_PER_TILE_UNKNOWN for rate in each)


def _uses_gpu(plan: Plan, stage: str) -> bool:
    """Whether a stage runs a network; profiles without GPUs set ``gpu`` to 0."""
    config = plan.config
    if stage == "features":
        return any(name not in NO_NETWORK for name in config.features.encoders)
    if stage == "cells":
        return config.cells.detector not in NO_NETWORK
    if stage == "report":
        return config.report.drafter == "local"
    return stage == "slide" or (stage == "train" and config.train.device == "cuda")
