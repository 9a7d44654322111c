"""Findings of a slide's nuclei: which figure of the summary stands under which key.

A fraction is of all nuclei unless it says that it is of those in the tumor region. What a marker or
a detector cannot give is there as a line that says why, so that nobody takes it for negative.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from pathai import stats
from pathai.case import SlideInput
from pathai.finding import FEW_NUCLEI, Method, Quantity, registry
from pathai.finding_draft import Draft, degraded, missing, tissue_boxes, word_of
from pathai.quantities.markers import marker, on_membrane
from pathai.store.cells_summary import Bins, CellsSummary, Ratio, Region, Tumor
from pathai.store.records import CellsAttrs, Interval
from pathai.units import Box, Polygons

Boxes = tuple[Box, ...]
Flags = tuple[str, ...]
AREAS = {1.0: "1mm2", 0.25: "025mm2"}
CROWDED_SHARE = 0.01
"""Share of nuclei past the checked density from which the slide is flagged."""
LOW_POSITIVE = (1, 10)
"""ER in percent that the guideline wants a comment on; to the upper end also control status.

References
----------
Allison KH et al. Estrogen and progesterone receptor testing in breast cancer: ASCO/CAP guideline
update. Arch Pathol Lab Med 2020;144:545-563.
"""
USABLE_KI67 = (5, 30)
"""Ki-67 in percent between which the working group holds it for not usable (Nielsen 2021)."""


@dataclass(frozen=True)
class _Slide:
    """What the lines of one slide share."""

    given: SlideInput
    cells: CellsAttrs
    method: Method
    flags: Flags
    boxes: Boxes

    @property
    def area(self) -> Method:
        """The method of areas and lengths."""
        return self.method.model_copy(update={"kind": "geometry"})

    def plain(
        self, key: str, number: float, unit: str, by: Method | None = None, flags: Flags = (),
        boxes: Boxes | None = None,
    ) -> Draft:  # fmt: skip
        """A number without an interval."""
        value = Quantity(value=number, unit=unit)
        at = self.boxes if boxes is None else boxes
        return Draft(key, "measured", by or self.method, value, (*self.flags, *flags), boxes=at)

    def held(
        self, key: str, unit: str, found: Interval, flags: Flags = (), boxes: Boxes | None = None
    ) -> Draft:
        """A number with its interval."""
        numbers = found.model_dump(include={"value", "low", "high", "level"})
        value = Quantity(unit=unit, **numbers)
        at = self.boxes if boxes is None else boxes
        kinds = (*self.flags, *self.interval, *flags)
        return Draft(key, "measured", self.method, value, kinds, boxes=at)

    @property
    def interval(self) -> Flags:
        """What the intervals of counts hold."""
        summary = self.given.summary
        return ("counting_interval",) if not (summary and summary.error) else ("checked_interval",)

    def absent(self, key: str, note: str, flags: Flags = ()) -> Draft:
        """A line that says why there is no value."""
        return Draft(key, "not_assessed", self.method, note=note, flags=flags)


def cell_drafts(slide: SlideInput) -> list[Draft]:
    """Every line about nuclei of one slide, those that a reader seeks first."""
    stage, cells = slide.cells_stage, slide.cells
    method = Method(name=slide.detector or "none", version=stage.version or "1", kind="count")
    dab = registry().family(slide.stain) == "ihc"
    if cells is None or not stage.usable:
        keys = ["cells.count", "cells.density_per_mm2"] + [positive_key(slide.stain)] * dab
        return [missing(key, stage, slide, method) for key in keys]
    excluded = ("excluded_area",) if cells.excluded_mm2 > 0 else ()
    one = _Slide(
        slide,
        cells,
        method.model_copy(update={"digest": cells.detector_digest}),
        (*degraded(stage), *excluded),
        tissue_boxes(slide),
    )
    drafts = list(_stained(one)) if dab else []
    drafts += [*_counted(one, dab=dab), *_areas(one)]
    if slide.by_hand:
        hand = Method(name="reader", version="1", kind="manual")
        drafts.append(one.plain("cells.corrected_by_hand", slide.by_hand, "{nuclei}", hand))
    if slide.summary is not None:
        drafts += [*_crowded(one, slide.summary), *_drawn(one)]
        drafts += [_at(line, slide.tumor_polygons) for line in _tumor(one)]
        drafts += [*_hot_spots(one, slide.summary, dab=dab), *_spacing(one, slide.summary)]
        drafts += _cores(one, slide.summary)
    return drafts


def positive_key(stain: str) -> str:
    """Key of the positive fraction on a stain."""
    name = marker(stain)
    return f"{name}.positive_percent" if name in ("ki67", "er", "pr") else "cells.positive_percent"


# --- counts and areas ------------------------------------------------------------------------


def _counted(one: _Slide, *, dab: bool) -> Iterator[Draft]:
    cells, summary = one.cells, one.given.summary
    yield one.held("cells.count", "{nuclei}", cells.count)
    key, parents = "cells.density_per_mm2", ("cells.count", "cells.analyzed_area_mm2")
    if cells.analyzed_mm2 <= 0:
        yield Draft(key, "indeterminate", one.method, note="no_area", parents=parents)
    else:
        yield one.held(key, "1/mm2", cells.density_per_mm2)._replace(parents=parents)
    bands = {c.name: c for c in summary.slide.classes} if summary else {}
    checked = summary is not None and summary.class_error is not None
    for label, number in zip(cells.classes, cells.class_counts, strict=True):
        by_stain = label in ("negative", "positive")
        # Positive and negative mean something on an immunostain alone, and on nuclei alone.
        if len(cells.classes) < 2 or (by_stain and (not dab or on_membrane(one.given.stain))):
            continue
        key = f"cells.count.{word_of(label)}"
        if by_stain:
            yield one.plain(key, number, "{nuclei}")
        elif checked and label in bands:
            line = one.held(key, "{nuclei}", bands[label].count, ("experimental",))
            yield _class_flags(line)
        else:
            yield one.plain(key, number, "{nuclei}", flags=("experimental", "classes_unchecked"))


def _class_flags(line: Draft) -> Draft:
    """A class's band is of confusion alone, whatever the interval of the total holds."""
    kept = tuple(f for f in line.flags if f not in ("counting_interval", "checked_interval"))
    return line._replace(flags=(*kept, "class_interval"))


def _areas(one: _Slide) -> Iterator[Draft]:
    cells = one.cells
    yield one.plain("cells.analyzed_area_mm2", cells.analyzed_mm2, "mm2", one.area)
    yield one.plain("cells.excluded_area_mm2", cells.excluded_mm2, "mm2", one.area)


def _crowded(one: _Slide, summary: CellsSummary) -> Iterator[Draft]:
    key, seen = "cells.crowded_percent", summary.crowded
    total = int(summary.slide.count.value)
    if seen.densest_per_mm2 is None:
        yield one.absent(key, "density_unchecked")
        return
    if total == 0:
        yield Draft(key, "indeterminate", one.method, note="no_nuclei")
        return
    flags = ("crowded",) if seen.share >= CROWDED_SHARE else ()
    value = Quantity(value=100 * seen.nuclei / total, unit="%", numerator=seen.nuclei,
                     denominator=total)  # fmt: skip
    yield Draft(key, "measured", one.method, value, (*one.flags, *flags), boxes=seen.boxes)


# --- immunostains ----------------------------------------------------------------------------


def _stained(one: _Slide) -> Iterator[Draft]:
    stain, summary = one.given.stain, one.given.summary
    name, key = marker(stain), positive_key(stain)
    if on_membrane(stain):
        yield one.absent(key, "membrane_marker")
        if name in ("her2", "pdl1"):
            yield one.absent("her2.score" if name == "her2" else "pdl1.tps", "membrane_marker")
        yield one.absent("ihc.controls", "controls_not_seen")
        return
    yield _positive(one, key)
    if summary is not None and summary.bins is not None and summary.slide.count.value > 0:
        yield from _bins(one, summary.bins, name)
    if name == "ki67" and summary is not None:
        yield _hot_spot_index(one, summary)
    yield one.absent("ihc.controls", "controls_not_seen")


def _positive(one: _Slide, key: str) -> Draft:
    """Share of DAB-positive nuclei of all nuclei."""
    cells, summary = one.cells, one.given.summary
    if "positive" not in cells.classes:
        return one.absent(key, "no_classes")
    total = sum(cells.class_counts)
    positive = cells.class_counts[cells.classes.index("positive")]
    if total == 0:
        return Draft(key, "indeterminate", one.method, note="no_nuclei")
    given = summary.slide.positive if summary else None
    if given is not None and (given.numerator, given.denominator) == (positive, total):
        checked = "checked_interval" if summary and summary.share_error else "counting_interval"
        line = _ratio(one, key, given, (checked, "all_nuclei"))
    else:
        wilson = stats.wilson(positive, total)
        share = Interval(value=positive / total, low=min(wilson.low, positive / total),
                         high=max(wilson.high, positive / total))  # fmt: skip
        simple = Ratio(numerator=positive, denominator=total, analyzed=share, kind=share)
        line = _ratio(one, key, simple, ("counting_interval", "all_nuclei"))
    return line._replace(parents=("cells.count",))


def _ratio(
    one: _Slide, key: str, found: Ratio, flags: Iterable[str], boxes: Boxes | None = None
) -> Draft:
    """A fraction with its interval of tissue of this kind, and what its size asks for."""
    n, d = found.numerator, found.denominator
    value = Quantity(
        value=100 * n / d,
        unit="%",
        numerator=n,
        denominator=d,
        low=min(100 * found.kind.low, 100 * n / d),
        high=max(100 * found.kind.high, 100 * n / d),
        level=found.kind.level,
    )
    more = (*flags, *share_flags(key, n, d))
    at = one.boxes if boxes is None else boxes
    return Draft(key, "measured", one.method, value, (*one.flags, *more), boxes=at)


def share_flags(key: str, part: int, total: int) -> Flags:
    """What the rules of a marker ask to be said beside a fraction."""
    percent, head = 100 * part / total, key.split(".")[0]
    flags: Flags = ()
    if key.endswith(("positive_percent", "hotspot_percent")):
        flags += ("few_nuclei",) if total < FEW_NUCLEI else ()
        flags += ("not_ki67_score",) if head in ("cells", "in_tumor") else ()
    if head == "er" and LOW_POSITIVE[0] <= percent <= LOW_POSITIVE[1]:
        flags += ("er_low_positive",)
    if head == "er" and percent <= LOW_POSITIVE[1]:
        flags += ("controls_needed",)
    if head == "ki67" and USABLE_KI67[0] < percent < USABLE_KI67[1]:
        flags += ("ki67_between",)
    return flags


def _bins(one: _Slide, found: Bins, name: str) -> Iterator[Draft]:
    total = sum(found.counts)
    for label, count in zip(("weak", "moderate", "strong"), found.counts[1:], strict=True):
        value = Quantity(value=100 * count / total, unit="%", numerator=count, denominator=total)
        flags = (*one.flags, "all_nuclei", "own_cutoffs")
        key = f"ihc.intensity_percent.{label}"
        yield Draft(key, "measured", one.method, value, flags, boxes=one.boxes)
    if name in ("er", "pr"):
        flags = ("all_nuclei", "own_cutoffs")
        line = one.held(f"{name}.h_score", "1", found.h_score, flags)
        kept = tuple(f for f in line.flags if f != "checked_interval")
        yield line._replace(flags=tuple(dict.fromkeys((*kept, "counting_interval"))))
        yield one.plain(f"{name}.allred", found.allred, "1", flags=flags)


def _hot_spot_index(one: _Slide, summary: CellsSummary) -> Draft:
    """Ki-67 in the circle of 1 mm² with the most positive nuclei."""
    key = "ki67.hotspot_percent"
    spots = [s for s in summary.hot_spots if s.counted == "positive" and s.area_mm2 == 1.0]
    if not spots or spots[0].positive is None:
        return Draft(key, "indeterminate", one.method, note="no_positive")
    flags = ("all_nuclei", "hotspot_chosen", "counting_interval")
    return _ratio(one, key, spots[0].positive, flags, (spots[0].box,))


# --- places ----------------------------------------------------------------------------------


def _tumor(one: _Slide) -> Iterator[Draft]:
    found = one.given.tumor
    if found is None or found.region.tissue_mm2 <= 0:
        note = one.given.tumor_note if found is None else "no_tumor_region"
        yield one.absent("in_tumor.count", note)
        yield one.absent("in_tumor.cellularity_percent", note)
        return
    region, flags = found.region, (f"{found.source}_region",)
    boxes = (region.box,)
    yield one.plain("in_tumor.area_mm2", region.tissue_mm2, "mm2", one.area, flags, boxes)
    yield one.held("in_tumor.count", "{nuclei}", region.count, flags, boxes)
    if region.density_per_mm2 is not None:
        yield one.held("in_tumor.density_per_mm2", "1/mm2", region.density_per_mm2, flags, boxes)
    yield _cellularity(one, found, flags, boxes)
    if found.lymphocytes_per_mm2 is not None:
        line = one.held("in_tumor.lymphocytes_per_mm2", "1/mm2", found.lymphocytes_per_mm2,
                        (*flags, "experimental"), boxes)  # fmt: skip
        yield _class_flags(line)
    if found.lymphocyte_area is not None:
        yield one.plain("in_tumor.lymphocyte_area_percent", 100 * found.lymphocyte_area, "%",
                        one.area, (*flags, "experimental"), boxes)  # fmt: skip
    dab = registry().family(one.given.stain) == "ihc" and not on_membrane(one.given.stain)
    if region.positive is not None and dab:
        yield _ratio(one, "in_tumor.positive_percent", region.positive,
                     (*flags, *one.interval), boxes)  # fmt: skip


def _cellularity(one: _Slide, found: Tumor, flags: Flags, boxes: Boxes) -> Draft:
    key = "in_tumor.cellularity_percent"
    if found.cellularity is None:
        empty = found.region.count.value == 0
        return one.absent(key, "no_nuclei" if empty else "no_tumor_class")
    line = _ratio(one, key, found.cellularity, (*flags, "experimental", "class_interval"), boxes)
    summary = one.given.summary
    if (summary is None or summary.class_error is None) and isinstance(line.value, Quantity):
        bare = line.value.model_copy(update={"low": None, "high": None, "level": None})
        kept = tuple(f for f in line.flags if f != "class_interval")
        line = line._replace(value=bare, flags=(*kept, "classes_unchecked"))
    return line


def _at(line: Draft, polygons: Polygons) -> Draft:
    """A line with the outline of its region, where it has a value."""
    return line if line.value is None else line._replace(polygons=polygons)


def _drawn(one: _Slide) -> Iterator[Draft]:
    taken = set[str]()
    outlines = one.given.drawn_polygons or ((),) * len(one.given.drawn)
    for number, (region, place) in enumerate(zip(one.given.drawn, outlines, strict=True), start=1):
        word = word_of(region.name)[:40] or "region"
        word = f"{word}_{number}" if word in taken else word
        taken.add(word)
        yield from (_at(line, place) for line in _one_region(one, f"region.{word}", region))


def _one_region(one: _Slide, head: str, region: Region) -> Iterator[Draft]:
    boxes, flags = (region.box,), ("drawn_region",)
    yield one.plain(f"{head}.area_mm2", region.tissue_mm2, "mm2", one.area, flags, boxes)
    yield one.held(f"{head}.count", "{nuclei}", region.count, flags, boxes)
    if region.density_per_mm2 is not None:
        yield one.held(f"{head}.density_per_mm2", "1/mm2", region.density_per_mm2, flags, boxes)


def _hot_spots(one: _Slide, summary: CellsSummary, *, dab: bool) -> Iterator[Draft]:
    for spot in summary.hot_spots:
        by_stain = spot.counted == "positive"
        if by_stain and (not dab or on_membrane(one.given.stain)):
            continue
        flags: Flags = ("hotspot_chosen",)
        flags += ("experimental",) if spot.counted not in ("nuclei", "positive") else ()
        key = f"hotspot_{AREAS[spot.area_mm2]}.{word_of(spot.counted)}"
        yield one.held(key, "{nuclei}", spot.count, flags, (spot.box,))


def _spacing(one: _Slide, summary: CellsSummary) -> Iterator[Draft]:
    found = summary.spacing
    if found is not None:
        yield one.plain("spatial.nearest_um", found.nearest_um[1], "um", one.area)
        yield one.plain("spatial.clark_evans", found.clark_evans, "1", one.area)


def _cores(one: _Slide, summary: CellsSummary) -> list[Draft]:
    tumor, drafts = one.given.tumor, list[Draft]()
    source: Literal["drawn", "model"] | None = tumor.source if tumor else None
    for number, core in enumerate(tumor.cores if tumor else summary.cores, start=1):
        head, boxes = f"core.{number}", (core.box,)
        drafts.append(one.plain(f"{head}.length_mm", core.length_mm, "mm", one.area, (), boxes))
        if core.tumor_mm is None or core.span_mm is None or source is None:
            line = one.absent(f"{head}.tumor_mm", one.given.tumor_note)
            drafts.append(line._replace(method=one.area))
            continue
        flags = (f"{source}_region",)
        for name, length in (("tumor", core.tumor_mm), ("tumor_span", core.span_mm)):
            length = min(length, core.length_mm)
            share = 100 * length / core.length_mm
            drafts.append(one.plain(f"{head}.{name}_mm", length, "mm", one.area, flags, boxes))
            drafts.append(one.plain(f"{head}.{name}_percent", share, "%", one.area, flags, boxes))
    return drafts
