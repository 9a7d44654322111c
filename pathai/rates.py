"""What a slide costs: figures measured by ``benchmarks/rates.py``, or by the run itself.

A range is what was seen from one slide to the next. It is no confidence interval.
"""

import json
from importlib.resources import files
from typing import Any

import numpy as np
from pydantic import Field

from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.store.records import Record

FEWEST_SECONDS = 5.0
"""Work below this is mostly starting up, and says nothing of a rate."""


class Range(Record):
    """A value between the lowest and the highest that were seen."""

    low: float
    value: float
    high: float

    def __add__(self, other: "Range") -> "Range":
        """Sum, as if all were low or high together: slides of a cohort resemble each other."""
        return Range(
            low=self.low + other.low, value=self.value + other.value, high=self.high + other.high
        )

    def __mul__(self, other: "Range | float") -> "Range":
        """Product, as if both were low or high together."""
        o = other if isinstance(other, Range) else exactly(other)
        return Range(low=self.low * o.low, value=self.value * o.value, high=self.high * o.high)


def exactly(value: float) -> Range:
    """A value that is known."""
    return Range(low=value, value=value, high=value)


NOTHING = exactly(0.0)


def over(amounts: list[float], units: list[float]) -> Range:
    """Amount per unit over several slides: all together, and the lowest and highest of one."""
    each = [a / u for a, u in zip(amounts, units, strict=True)]
    value = sum(amounts) / sum(units)
    return Range(low=min(each), value=value, high=max(each))


class Starting(Record):
    """What a run costs beside its work, and how well the whole model foretells a run.

    Processor seconds, fitted by ``benchmarks/scale.py``.
    """

    slide_s: dict[str, float] = Field({}, description="per slide, by stage")
    job_s: dict[str, float] = Field({}, description="per job, by stage: Python and libraries")
    snakemake_job_s: float = Field(0.0, description="Snakemake's own, per job")
    run_s: float = Field(0.0, description="Snakemake's own, once")
    case_s: float = Field(0.0, description="findings and draft of a case")
    page_s: float = Field(0.0, description="cohort page, per slide")
    fresh_slides: int = Field(0, description="slides of the run on which the model was tried")
    error: float | None = Field(None, description="on it, of all seconds, tissue being known")
    error_before_tiling: float | None = Field(None, description="likewise, tissue being guessed")


class Rates(Record):
    """What slides of one kind cost on one machine; seconds are of one processor core."""

    measured_on: dict[str, Any] = Field(description="the machine, without names")
    slides: str = Field(description="what the figures are from")
    tissue_share: Range = Field(description="of a slide's area")
    tiles_per_area: dict[str, Range] = Field(
        description="tiles kept per tile's area of tissue, by features.min_tissue"
    )
    copied_bytes_per_byte: Range = Field(
        description="of tiles.zarr, per byte of the slide's level-0 tiles and share of tissue"
    )
    decoded_bytes_per_px: Range = Field(description="of tiles.zarr, per level-0 px of tissue")
    ingest_s: Range = Field(description="per slide, without reading its bytes")
    ingest_s_per_gb: Range
    copied_s_per_mpx: Range = Field(description="of tile, per million level-0 px of tissue")
    decoded_s_per_mpx: Range = Field(description="likewise, where tiles are decoded")
    features_s_per_tile: dict[str, Range] = Field(description="by encoder")
    cells_s_per_mm2: dict[str, Range] = Field(description="by detector")
    starting: Starting = Starting()

    def kept_tiles(self, min_tissue: float) -> Range:
        """Tiles per tile's area of tissue at a share, between the measured shares."""
        shares = sorted(self.tiles_per_area, key=float)
        at = [float(s) for s in shares]
        values = [self.tiles_per_area[s] for s in shares]
        low, value, high = (
            float(np.interp(min_tissue, at, [getattr(v, name) for v in values]))
            for name in ("low", "value", "high")
        )
        return Range(low=low, value=value, high=high)


def shipped_rates() -> Rates:
    """The figures that come with pathai."""
    return Rates.model_validate(json.loads((files("pathai") / "rates.json").read_text()))


def own_rates(plan: Plan, units: dict[str, dict[str, float]]) -> dict[str, Range]:
    """Core seconds per unit as this run's own finished batches had them.

    Parameters
    ----------
    plan : Plan
        The run.
    units : dict
        Stage to the units of each slide whose units are known: GB, Mpx, tiles, mm².

    Returns
    -------
    dict
        Stage to range, for stages with a batch of at least ``FEWEST_SECONDS`` whose slides are
        all known.
    """
    found: dict[str, Range] = {}
    for stage, known in units.items():
        amounts, work = [], []
        for name, members in plan.slide_batches.items():
            seconds = _used(plan, stage, name)
            total = sum(known.get(i, 0.0) for i in members)
            if seconds >= FEWEST_SECONDS and total > 0 and all(i in known for i in members):
                amounts.append(seconds)
                work.append(total)
        if amounts:
            found[stage] = over(amounts, work)
    return found


def _used(plan: Plan, stage: str, batch: str) -> float:
    """Core seconds of a finished batch, 0 if unknown."""
    note = plan.state / "usage" / f"{stage}-{batch}.json"
    try:
        return float(json.loads(note.read_bytes())["cpu_s"])
    except FileNotFoundError:
        return 0.0
    except (OSError, ValueError, KeyError, TypeError):
        raise PathaiError("E164", f"{note.name} in .pathai/usage is damaged", "remove it") from None
