"""``cells/<detector>.summary.json``: every figure of a slide's nuclei, with its denominator.

It lies beside the group of nuclei, under the same manifest, so that both are of one run.
"""

import csv
import json
from io import StringIO
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from pathai.errors import PathaiError
from pathai.store.manifest import canonical
from pathai.store.records import Interval, Record
from pathai.units import Box


class CountErrorAttrs(Record):
    """How a detector's count relates to the truth; as `pathai.quantities.error.CountError`."""

    log_ratio: float
    log_sd: float
    densest_per_mm2: float
    fields: int
    source: str
    per_nucleus: float = 0.0


class ShareErrorAttrs(Record):
    """How a positive share relates to the truth; as `pathai.quantities.error.ShareError`."""

    log_odds: float
    log_odds_sd: float
    per_nucleus: float
    fields: int
    source: str


class ClassErrorAttrs(Record):
    """How classes are confused; as `pathai.quantities.shares.ClassError`."""

    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...] = Field(description="rows true, columns given")
    source: str = ""
    design_effect: float = 1.0


class ClassFigure(Record):
    """Nuclei of one class in a region."""

    name: str
    count: Interval = Field(description="value as given; the band is of the class model's error")
    share: Interval = Field(description="of all nuclei of the region, 0 to 1; by the same band")


class Ratio(Record):
    """A share of nuclei, 0 to 1, with numerator and denominator."""

    numerator: int
    denominator: int
    analyzed: Interval = Field(description="of the true share in the analyzed tissue")
    kind: Interval = Field(description="of the share in tissue of this kind: with scatter")


class Region(Record):
    """Nuclei of the slide, of a piece of tissue, or of a drawn region."""

    name: str
    kind: Literal["slide", "piece", "region"]
    tissue_mm2: float = Field(description="analyzed tissue in it: the denominator of densities")
    box: Box = Field(description="level-0 px")
    count: Interval
    density_per_mm2: Interval | None = Field(description="none on no tissue")
    classes: tuple[ClassFigure, ...]
    positive: Ratio | None = Field(None, description="DAB-positive of all; immunostains only")


class Crowded(Record):
    """Tissue where nuclei lie denser than counts were checked for."""

    densest_per_mm2: float | None = Field(description="checked up to; none where nobody checked")
    nuclei: int = 0
    share: float = Field(0.0, description="of all nuclei")
    area_mm2: float = 0.0
    boxes: tuple[Box, ...] = Field((), description="level-0 px, most nuclei first, at most 20")


class HotSpot(Record):
    """The circle of a fixed area with the most nuclei of one kind."""

    counted: str = Field(description="nuclei, or the class that was counted")
    area_mm2: float
    x_px0: float
    y_px0: float
    radius_um: float
    box: Box = Field(description="around the circle, level-0 px")
    tissue_mm2: float = Field(description="analyzed tissue inside the circle")
    count: Interval
    nuclei: int = Field(description="all nuclei inside the circle")
    positive: Ratio | None = None


class Bins(Record):
    """Nuclei by DAB intensity, and what follows from it."""

    cutoffs_od: tuple[float, float, float] = Field(description="from which 1+, 2+ and 3+")
    counts: tuple[int, int, int, int] = Field(description="0, 1+, 2+, 3+")
    h_score: Interval = Field(description="0 to 300")
    proportion_score: int = Field(ge=0, le=5)
    intensity_score: int = Field(ge=0, le=3)

    @property
    def allred(self) -> int:
        """Total Allred score: 0, or 2 to 8."""
        return self.proportion_score + self.intensity_score


class Spacing(Record):
    """How nuclei lie to each other."""

    nuclei: int = Field(description="whose nearest neighbor lies nearer than the tissue's edge")
    nearest_um: tuple[float, float, float] = Field(description="quartiles of the distance")
    clark_evans: float = Field(description="mean over that of chance; below 1 clustered")
    radii_um: tuple[float, ...]
    ripley_l_um: tuple[float, ...] = Field(description="L(r) - r; 0 by chance")
    chance_um: tuple[float, ...] = Field(description="half-width of 95 % of random patterns")


class Core(Record):
    """A core of tissue, measured along its axis."""

    length_mm: float
    width_mm: float = Field(description="tissue area over length")
    box: Box = Field(description="level-0 px")
    tumor_mm: float | None = Field(None, description="axis with tumor; none: no tumor region")
    span_mm: float | None = Field(None, description="first to last tumor, with what lies between")


class Tumor(Record):
    """Nuclei in the tumor region of a slide."""

    source: Literal["drawn", "model"]
    model: str = Field("", description="whose map it is")
    region: Region
    area_share: float = Field(description="of the analyzed tissue, 0 to 1")
    cellularity: Ratio | None = Field(None, description="tumor nuclei of all nuclei in the region")
    lymphocytes_per_mm2: Interval | None = None
    lymphocyte_area: float | None = Field(
        None, description="share of the region within 15 µm of a lymphocyte, 0 to 1"
    )
    bins: Bins | None = None
    cores: tuple[Core, ...] = ()


class CellsSummary(Record):
    """Every figure of a slide's nuclei."""

    schema_version: Literal[1] = 1
    detector: str
    detector_digest: str
    stain: str
    family: Literal["he", "ihc", ""]
    error: CountErrorAttrs | None = Field(description="none: intervals hold sampling alone")
    share_error: ShareErrorAttrs | None = Field(None, description="none: scatter alone")
    class_error: ClassErrorAttrs | None = Field(None, description="none: nothing is claimed")
    regions: tuple[Region, ...] = Field(description="slide first, then pieces, then drawn ones")
    crowded: Crowded
    hot_spots: tuple[HotSpot, ...] = ()
    bins: Bins | None = None
    spacing: Spacing | None = None
    cores: tuple[Core, ...] = ()

    @property
    def slide(self) -> Region:
        """The slide as a whole."""
        return self.regions[0]


def write_summary(path: Path, summary: CellsSummary) -> None:
    """Write ``<detector>.summary.json``."""
    path.write_bytes(canonical(summary.model_dump(mode="json")))


def write_regions(path: Path, summary: CellsSummary) -> None:
    """Write ``<detector>.regions.csv``: counts by region and class, as a table."""
    path.write_text(_table(summary), "utf-8")


def read_summary(path: Path) -> CellsSummary | None:
    """Read what `write_summary` wrote; None where there is none (of an earlier version).

    Raises
    ------
    PathaiError
        E164 if it is damaged.
    """
    try:
        data = json.loads(path.read_bytes())
        return CellsSummary.model_validate(data)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError) as error:
        message = f"{path.name}: {str(error).splitlines()[0]}"
        raise PathaiError("E164", message, "run pathai cells") from None


def _table(summary: CellsSummary) -> str:
    """One row per region and class; densities per mm² of the region's tissue."""
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("region", "kind", "tissue_mm2", "class", "count", "count_low", "count_high",
                     "per_mm2", "per_mm2_low", "per_mm2_high", "share", "share_low",
                     "share_high"))  # fmt: skip
    for region in summary.regions:
        area = region.tissue_mm2
        total = (region.count, region.density_per_mm2, None)
        rows = [("all", *total)] + [(c.name, c.count, _per(c.count, area), c.share)
                                    for c in region.classes]  # fmt: skip
        for name, *intervals in rows:
            cells = [_cell(v) for i in intervals for v in _three(i)]
            writer.writerow((region.name, region.kind, _cell(area), name, *cells))
    return file.getvalue()


def _per(count: Interval, area_mm2: float) -> Interval | None:
    if area_mm2 <= 0:
        return None
    ends = {name: getattr(count, name) / area_mm2 for name in ("value", "low", "high")}
    return count.model_copy(update=ends)


def _three(interval: Interval | None) -> tuple[float | None, ...]:
    return (interval.value, interval.low, interval.high) if interval else (None, None, None)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
