"""``pathai estimate``: tiles, gigabytes and hours of a run before it starts.

No pixel is decoded. A slide that was tiled gives true numbers; one that was ingested gives its
size; another is opened in a child process for its size and µm per pixel, as ingest will do. How
much of it is tissue is then a guess, and the range says how wide. Hours are those of a model
that ``benchmarks/scale.py`` fits: work by its units, a share per slide, and the start of each job.
"""

import contextlib
import os
from typing import TYPE_CHECKING

from pydantic import Field

from pathai.batch import print_json, say
from pathai.chain import slide_steps
from pathai.config import FeaturesConfig
from pathai.errors import PathaiError
from pathai.glance import Known, Shape, shapes
from pathai.plan import SLIDE_STAGES, Plan
from pathai.rates import NOTHING, Range, Rates, exactly, over, own_rates, shipped_rates
from pathai.source import identity
from pathai.store.commit import manifest_path
from pathai.store.manifest import Manifest, read_manifest
from pathai.store.records import TISSUE, Record, SlideInfo, TissueMap

if TYPE_CHECKING:
    from pathai.encoders import Facts

SPARSER = 4.0
"""Whole slides can hold this much less tissue than those that were measured: the low end."""


class SlideEstimate(Record):
    """What is expected of one slide."""

    slide_id: str
    known: Known = Field(description="what the figures rest on")
    problem: str = Field("", description="why it gives no tiles")
    width: int = 0
    height: int = 0
    file_gb: float = 0.0
    tissue_mm2: Range = NOTHING
    tissue_mpx: Range = Field(NOTHING, description="million level-0 px of tissue")
    tiles: dict[str, Range] = Field({}, description="by encoder")
    copied: bool = Field(False, description="whether tiles are copied, not decoded")
    store_gb: Range = Field(NOTHING, description="tiles.zarr")
    features_gb: Range = NOTHING
    core_hours: dict[str, Range] = Field({}, description="left to do, by stage")

    def has_left(self, stage: str) -> bool:
        """Whether a stage has something to do; any stage after the slides' own waits for all."""
        return stage in self.core_hours if stage in SLIDE_STAGES else bool(self.core_hours)


class Estimate(Record):
    """What is expected of a run."""

    slides: tuple[SlideEstimate, ...]
    cores: int
    rates: dict[str, str] = Field(description="where each stage's rate is from")
    unmeasured: tuple[str, ...] = Field(
        (), description="encoders and detectors without a rate, not in the hours"
    )
    jobs: int = Field(0, description="jobs left")
    shared_core_hours: dict[str, Range] = Field(
        {}, description="left to do beside the slides: reports, the page, starting jobs"
    )
    fresh_slides: int = Field(0, description="slides of the run on which the model was tried")
    error: float | None = Field(None, description="of all seconds there, tissue being known")
    error_before_tiling: float | None = Field(None, description="likewise, tissue being guessed")

    def total(self, name: str, key: str = "") -> Range:
        """Sum over slides of a field, or of one key of it."""
        found = [getattr(s, name) for s in self.slides]
        return sum((f.get(key, NOTHING) if key else f for f in found), NOTHING)

    def as_json(self) -> dict[str, object]:
        """Everything, with the totals."""
        stages = {s: self.total("core_hours", s) for s in SLIDE_STAGES}
        encoders = sorted({name for s in self.slides for name in s.tiles})
        totals = {
            "tissue_mm2": self.total("tissue_mm2"),
            "store_gb": self.total("store_gb"),
            "features_gb": self.total("features_gb"),
            **{f"tiles {name}": self.total("tiles", name) for name in encoders},
            **{f"core_hours {stage}": hours for stage, hours in stages.items()},
            **{f"core_hours {name}": hours for name, hours in self.shared_core_hours.items()},
        }
        dumped = {name: value.model_dump(mode="json") for name, value in totals.items()}
        return {**self.model_dump(mode="json"), "totals": dumped}


def estimate(plan: Plan, cores: int | None = None) -> Estimate:
    """Estimate a run.

    Parameters
    ----------
    plan : Plan
        The run.
    cores : int, optional
        Processor cores that will work; default all of this machine.

    Returns
    -------
    Estimate

    Raises
    ------
    PathaiError
        E190 or E154 for configuration and sheet, E182, E183, E191 for an encoder.
    """
    from pathai.encoders import facts_of

    rates = shipped_rates()
    with contextlib.chdir(plan.root):
        encoders = [facts_of(name) for name in plan.config.features.encoders]
    slides = _fill(_expected(plan, rates, encoders))
    own = own_rates(plan, _units(slides))
    with contextlib.chdir(plan.root):  # names of encoder files are relative to it
        timed = tuple(_timed(plan, slide, rates, own) for slide in slides)
    jobs, beside = _beside(plan, timed, rates, own)
    said = {s: "this run" if s in own else "pathai's own measurement" for s in SLIDE_STAGES}
    return Estimate(
        slides=timed,
        cores=cores or os.cpu_count() or 1,
        rates=said,
        unmeasured=_unmeasured(plan, encoders, rates, own),
        jobs=jobs,
        shared_core_hours=beside,
        fresh_slides=rates.starting.fresh_slides,
        error=rates.starting.error,
        error_before_tiling=rates.starting.error_before_tiling,
    )


def _unmeasured(
    plan: Plan, encoders: "list[Facts]", rates: Rates, own: dict[str, Range]
) -> tuple[str, ...]:
    missing = [e.name for e in encoders if e.name not in rates.features_s_per_tile]
    detector = plan.config.cells.detector
    found = [] if "features" in own else missing
    return (*found, *((detector,) * (detector not in rates.cells_s_per_mm2 and "cells" not in own)))


# --- what is expected of it ------------------------------------------------------------------


def _expected(plan: Plan, rates: Rates, encoders: "list[Facts]") -> list[SlideEstimate]:
    """Every slide; those that were tiled tell how much tissue the others have."""
    seen = shapes(plan)
    slides = {i: _start(plan, i, shape) for i, shape in seen.items()}
    tiled = [i for i, shape in seen.items() if shape.known == "tiled"]
    for i in tiled:
        slides[i] = _counted(plan, slides[i], encoders, seen[i].px_mm2)
    share = rates.tissue_share * Range(low=1 / SPARSER, value=1, high=1)
    if tiled:
        share = over([slides[i].tissue_mm2.value for i in tiled], [seen[i].mm2 for i in tiled])
    for i, shape in seen.items():
        if shape.known in ("ingested", "opened"):
            slides[i] = _guessed(plan, slides[i], rates, encoders, share, shape)
    return list(slides.values())


def _start(plan: Plan, slide_id: str, shape: Shape) -> SlideEstimate:
    return SlideEstimate(
        slide_id=slide_id,
        known=shape.known,
        problem=shape.problem,
        width=shape.size.width if shape.size else 0,
        height=shape.size.height if shape.size else 0,
        file_gb=identity(plan.place(slide_id)).get("size", 0) / 1e9,
    )


def _guessed(
    plan: Plan,
    start: SlideEstimate,
    rates: Rates,
    encoders: "list[Facts]",
    share: Range,
    shape: Shape,
) -> SlideEstimate:
    """A slide whose area of tissue is a guess."""
    section, mm2 = plan.config.features, share * shape.mm2
    mpx = mm2 * (1e-6 / shape.px_mm2)
    kept = rates.kept_tiles(section.min_tissue) * (1 / section.stride**2)
    tiles = {
        e.name: mm2 * kept * (1e6 / (e.tile_px * e.mpp) ** 2)
        if shape.fine_enough(e.mpp, section.mpp_tolerance)
        else NOTHING
        for e in encoders
    }
    copied = shape.packed_bytes > 0
    store = (
        rates.copied_bytes_per_byte * share * (shape.packed_bytes / 1e9)
        if copied
        else rates.decoded_bytes_per_px * mpx * 1e-3
    )
    return start.model_copy(
        update={
            "copied": copied,
            "tissue_mm2": mm2,
            "tissue_mpx": mpx,
            "tiles": tiles,
            "store_gb": store,
            "features_gb": _features_gb(tiles, encoders),
        }
    )


def _counted(
    plan: Plan, start: SlideEstimate, encoders: "list[Facts]", px_mm2: float
) -> SlideEstimate:
    """The true numbers of a slide that was tiled."""
    folder = plan.results.slide(start.slide_id)
    tissue, info = folder.read_tissue(), folder.read_slide()
    tiles = {e.name: exactly(_count(tissue, info, e, plan.config.features)) for e in encoders}
    mm2 = tissue.area_mm2(TISSUE)
    return start.model_copy(
        update={
            "tissue_mm2": exactly(mm2),
            "tissue_mpx": exactly(mm2 / px_mm2 / 1e6),
            "tiles": tiles,
            "store_gb": exactly(_bytes(read_manifest(manifest_path(folder.base("tile")))) / 1e9),
            "features_gb": _features_gb(tiles, encoders),
        }
    )


def _count(tissue: TissueMap, info: SlideInfo, encoder: "Facts", section: FeaturesConfig) -> int:
    """Tiles as the stage features lays them; none where the slide is too coarse."""
    from pathai.features import tiles_of

    try:
        return len(tiles_of(tissue, info, section, encoder))
    except PathaiError as error:
        if error.code != "E143":
            raise
        return 0


def _bytes(manifest: Manifest) -> int:
    return sum(file.size for file in manifest.files.values())


def _features_gb(tiles: dict[str, Range], encoders: "list[Facts]") -> Range:
    """A float16 vector per tile, and its place and shares."""
    return sum((tiles[e.name] * ((2 * e.dim + 12) / 1e9) for e in encoders), NOTHING)


def _fill(slides: list[SlideEstimate]) -> list[SlideEstimate]:
    """Slides that time did not allow to open, as a mean of the others, from least to most."""
    seen = [s for s in slides if s.known not in ("guessed", "unreadable")]
    return [_like(s, seen) if s.known == "guessed" and seen else s for s in slides]


def _like(slide: SlideEstimate, seen: list[SlideEstimate]) -> SlideEstimate:
    def spread(values: list[Range]) -> Range:
        mean = sum(v.value for v in values) / len(values)
        return Range(low=min(v.low for v in values), value=mean, high=max(v.high for v in values))

    fields = ("tissue_mm2", "tissue_mpx", "store_gb", "features_gb")
    same = {name: spread([getattr(s, name) for s in seen]) for name in fields}
    tiles = {name: spread([s.tiles[name] for s in seen]) for name in seen[0].tiles}
    return slide.model_copy(update={**same, "tiles": tiles})


# --- hours -----------------------------------------------------------------------------------


def _units(slides: list[SlideEstimate]) -> dict[str, dict[str, float]]:
    """What each stage's work is counted in, for slides whose numbers are true."""
    tiled = [s for s in slides if s.known == "tiled"]
    return {
        "ingest": {s.slide_id: s.file_gb for s in tiled},
        "tile": {s.slide_id: s.tissue_mpx.value for s in tiled},
        "features": {s.slide_id: sum(t.value for t in s.tiles.values()) for s in tiled},
        "cells": {s.slide_id: s.tissue_mm2.value for s in tiled},
    }


def _timed(plan: Plan, slide: SlideEstimate, rates: Rates, own: dict[str, Range]) -> SlideEstimate:
    if slide.known in ("unreadable", "empty"):
        return slide
    detector, each = plan.config.cells.detector, rates.starting.slide_s
    tile = rates.copied_s_per_mpx if slide.copied else rates.decoded_s_per_mpx
    cells = rates.cells_s_per_mm2.get(detector, NOTHING)
    costs = {  # a run's own rate was measured with everything in it
        "ingest": own["ingest"] * slide.file_gb
        if "ingest" in own
        else rates.ingest_s + rates.ingest_s_per_gb * slide.file_gb,
        "tile": own["tile"] * slide.tissue_mpx
        if "tile" in own
        else exactly(each.get("tile", 0.0)) + tile * slide.tissue_mpx,
        "cells": own["cells"] * slide.tissue_mm2
        if "cells" in own
        else exactly(each.get("cells", 0.0)) + cells * slide.tissue_mm2,
    }
    left = {stage: cost for stage, cost in costs.items() if _is_left(plan, stage, slide.slide_id)}
    for step, (name, tiles) in zip(
        slide_steps(plan, "features", slide.slide_id), slide.tiles.items(), strict=True
    ):
        rate = own.get("features", rates.features_s_per_tile.get(name))
        if rate is not None and step.manifest() is None:
            once = 0.0 if "features" in own else each.get("features", 0.0)
            left["features"] = left.get("features", NOTHING) + exactly(once) + rate * tiles
    return slide.model_copy(update={"core_hours": {s: v * (1 / 3600) for s, v in left.items()}})


def _is_left(plan: Plan, stage: str, slide_id: str) -> bool:
    return any(step.manifest() is None for step in slide_steps(plan, stage, slide_id))


def _beside(
    plan: Plan, slides: tuple[SlideEstimate, ...], rates: Rates, own: dict[str, Range]
) -> tuple[int, dict[str, Range]]:
    """Jobs that are left, and core hours of what is no slide's: reports, the page, starts."""
    open_ = {slide.slide_id: slide for slide in slides}
    cases, cost = plan.sheet.cases(), rates.starting

    def is_left(stage: str, name: str) -> bool:
        members = plan.slide_batches.get(name, ())
        if stage == "report":
            rows = (row for case in plan.case_batches[name] for row in cases[case])
            members = tuple(row.slide_id for row in rows)
        if stage in ("train", "cohort"):
            members = tuple(open_)
        done = plan.receipt(stage, name).exists()
        return not done or any(open_[i].has_left(stage) for i in members)

    left = {s: [n for n in names if is_left(s, n)] for s, names in plan.receipts().items()}
    jobs = sum(map(len, left.values()))
    starting = jobs * cost.snakemake_job_s + (cost.run_s if jobs else 0.0)
    starting += sum(cost.job_s.get(s, 0.0) * len(n) for s, n in left.items() if s not in own)
    reports = cost.case_s * sum(len(plan.case_batches[name]) for name in left["report"])
    page = cost.page_s * len(slides) if left["cohort"] else 0.0
    seconds = {"report": reports, "cohort": page, "starting": starting}
    return jobs, {name: exactly(value / 3600) for name, value in seconds.items()}


# --- shown -----------------------------------------------------------------------------------


def show(found: Estimate, *, as_json: bool) -> int:
    """Print an estimate; 1 if a slide cannot be read."""
    bad = [s for s in found.slides if s.known == "unreadable"]
    if as_json:
        print_json(found.as_json())
        return int(bool(bad))
    for slide in found.slides:
        say(_line(slide))
    count = {k: sum(s.known == k for s in found.slides) for k in Known.__args__}  # type: ignore[attr-defined]
    say(f"slides    {len(found.slides)}: " + ", ".join(f"{n} {k}" for k, n in count.items() if n))
    say(f"tissue    {_shown(found.total('tissue_mm2'))} mm²")
    for name in sorted({name for s in found.slides for name in s.tiles}):
        say(f"tiles     {_shown(found.total('tiles', name))} for {name}")
    say(f"disk      {_shown(found.total('store_gb'))} GB of pixels, "
        f"{_shown(found.total('features_gb'))} GB of features")  # fmt: skip
    whole = NOTHING
    for stage in SLIDE_STAGES:
        hours = found.total("core_hours", stage)
        whole += hours
        say(f"{stage:<9} {_shown(hours)} core hours left (rate: {found.rates[stage]})")
    for name, hours in found.shared_core_hours.items():
        whole += hours
        of = f" for {found.jobs:,} jobs" if name == "starting" else ""
        say(f"{name:<9} {_shown(hours)} core hours left{of}")
    say(f"hours     {_shown(whole * (1 / found.cores))} on {found.cores} cores, without training")
    if found.error is not None and found.error_before_tiling is not None:
        say(f"error     {found.error:+.0%} on a fresh run of {found.fresh_slides} slides, "
            f"{found.error_before_tiling:+.0%} before its tissue was known")  # fmt: skip
    if found.unmeasured:
        say(f"no rate   {', '.join(found.unmeasured)}: run one batch, then estimate again")
    return int(bool(bad))


def _line(slide: SlideEstimate) -> str:
    head = f"{slide.slide_id}  {slide.known}"
    if slide.known == "unreadable":
        return f"{head}  {slide.problem}"
    size = f"{slide.width} x {slide.height} px, " if slide.width else ""
    tiles = ", ".join(f"{_shown(t)} tiles for {n}" for n, t in slide.tiles.items())
    return f"{head}  {size}{_shown(slide.tissue_mm2)} mm² of tissue, {tiles}"


def _shown(found: Range) -> str:
    """Two digits and the range; what is exactly known stands alone."""
    if found.low == found.high:
        return _digits(found.value, 4)
    return f"{_digits(found.value)} ({_digits(found.low)} to {_digits(found.high)})"


def _digits(value: float, digits: int = 2) -> str:
    if 0 < value < 0.01:
        return "<0.01"
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 10 ** (digits - 1) else f"{rounded:g}"
