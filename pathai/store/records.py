"""What the store holds: one typed record per stage.

Row *i* of ``Features`` and of a prediction's attention is the same tile; positions are level-0
pixels, x before y.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pathai.units import Box, Mpp

TISSUE_NAMES = (
    *("background", "tissue", "pen", "dark", "unreadable"),
    *("edge", "blur", "fold", "bubble"),
)
"""Classes of the tissue map, by value; tissue is what can be used."""

BACKGROUND, TISSUE, PEN, DARK, UNREADABLE, EDGE, BLUR, FOLD, BUBBLE = range(len(TISSUE_NAMES))

ARTEFACTS = (PEN, DARK, EDGE, BLUR, FOLD, BUBBLE)
"""Classes that hide tissue or are none."""
STORED = (TISSUE, UNREADABLE, BLUR, FOLD, BUBBLE)
"""Classes whose pixels are stored: spoiled tissue is not analyzed, but a person may look at it.

Ink is not: what is written on a slide may name a patient.
"""


class Record(BaseModel):
    """A frozen record; unknown keys are errors."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")


class IccProfile(Record):
    """A color profile that a file carries: recorded, not applied."""

    sha256: str
    bytes: int = Field(gt=0)
    kind: str = Field(description="device class and color space of its header")
    named: str = Field("", description="well-known name in its description, or empty")


class SlideInfo(Record):
    """``slide.json``: what is known of a slide. No path, no text of the scanner.

    ``associated`` and ``phi`` name kinds (label, macro, tag names), never their content.
    """

    slide_id: str
    sha256: str = Field(description="of the file; of a slide of several files, of their digests")
    quick_id: str = Field("", description="of sizes, starts and ends of the slide's files")
    files: int = Field(1, ge=1, description="files that the slide is made of")
    width: int = Field(gt=0, description="level 0, px")
    height: int = Field(gt=0, description="level 0, px")
    mpp_x: float
    mpp_y: float
    mpp_source: Literal["file", "sheet"]
    objective: float | None = None
    vendor: str = ""
    reader: str
    reader_reason: str = ""
    level_downsamples: tuple[float, ...]
    stain: str
    icc: IccProfile | None = None
    associated: tuple[str, ...] = ()
    phi: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def mpp(self) -> Mpp:
        """µm per pixel of level 0."""
        return Mpp(self.mpp_x, self.mpp_y)


@dataclass(frozen=True)
class TissueMap:
    """Class of every map pixel.

    Parameters
    ----------
    classes : uint8[h, w]
        Index into ``TISSUE_NAMES``.
    downsample : float
        Level-0 pixels per map pixel, the same along x and y.
    mpp : Mpp
        µm per *map* pixel.
    edge : (float, float)
        Share of the last column and of the last row that lies on the slide.
    """

    classes: NDArray[np.uint8]
    downsample: float
    mpp: Mpp
    edge: tuple[float, float] = (1.0, 1.0)

    @cached_property
    def stored(self) -> NDArray[np.bool_]:
        """Where the map's class is one of `STORED`, bool[h, w]."""
        wanted = np.zeros(256, bool)
        wanted[list(STORED)] = True
        found: NDArray[np.bool_] = wanted[self.classes]
        return found

    def area_mm2(self, value: int) -> float:
        """Area of one class in mm², without what lies beyond the slide's edge."""
        found = self.classes == value
        columns = found.sum(axis=0).astype(np.float64)
        columns -= found[-1:].sum(axis=0) * (1 - self.edge[1])
        columns[-1:] *= self.edge[0]
        return float(columns.sum()) * self.mpp.x * self.mpp.y / 1e6

    def box(self, value: int) -> Box | None:
        """Box around one class in level-0 px; None where the class is absent."""
        rows, columns = (np.flatnonzero((self.classes == value).any(axis=a)) for a in (1, 0))
        if not len(rows):
            return None
        d = self.downsample
        x, y = float(columns[0]) * d, float(rows[0]) * d
        return Box(x, y, (float(columns[-1]) + 1) * d - x, (float(rows[-1]) + 1) * d - y)


class ColorAttrs(Record):
    """What was done to the colors of the tiles; empty where nothing was."""

    icc: str = Field("", description="SHA-256 of the profile by which colors came to sRGB")
    normalize: str = Field("", description="method of stain normalization")
    digest: str = Field("", description="SHA-256 over the method's parameters")
    parameters: dict[str, tuple[float, ...]] = Field({}, description="measured on the slide")


class Qc(Record):
    """How good a slide is, measured where its tissue is found; stored with the tissue map.

    Areas are in mm². An artefact counts where it covers tissue; ``edge_mm2``, ``pen_mm2`` and
    ``bubble_mm2`` of the map also cover glass, so they have a figure of their own here.
    """

    tissue_mm2: float = Field(ge=0, description="tissue that can be used")
    found_mm2: float = Field(ge=0, description="tissue with what artefacts cover of it")
    artefact_mm2: dict[str, float] = Field(
        description="of the tissue found, by artefact: pen, edge, blur, fold, bubble"
    )
    focus_um: float | None = Field(
        description="median softness of edges in the tissue, standard deviation in µm"
    )
    white: tuple[float, float, float] = Field(
        description="light through bare glass: red, green, blue, 0 to 255"
    )
    stains: dict[str, tuple[float, float, float]] = Field(
        description="optical density of red, green, blue along each stain, length 1"
    )
    stains_estimated: bool = Field(description="false: the usual vectors, none could be estimated")

    def share(self, artefact: str) -> float:
        """Share of the tissue found that an artefact covers, 0 to 1."""
        return self.artefact_mm2[artefact] / self.found_mm2 if self.found_mm2 else 0.0

    @property
    def usable(self) -> float:
        """Share of the tissue found that can be used, 0 to 1."""
        return self.tissue_mm2 / self.found_mm2 if self.found_mm2 else 0.0


class FeaturesAttrs(Record):
    """Attributes of ``features/<encoder>.zarr``."""

    encoder: str
    encoder_digest: str
    grid_digest: str
    tile_px: int
    mpp: float
    stride_px: int
    names: tuple[str, ...] = ()
    color: ColorAttrs = ColorAttrs()
    precision: str = Field("fp32", description="in which a network computed: fp32, bf16 or fp16")
    device: str = Field("cpu", description="kind of device: cpu or cuda")
    rounding: float = Field(0.0, ge=0, description="largest error of storing values as float16")
    largest: float = Field(0.0, ge=0, description="largest value, to compare the rounding with")


@dataclass(frozen=True)
class Features:
    """One vector per tile.

    Parameters
    ----------
    x : float16[N, D]
        Finite; ``N`` may be 0.
    xy_px0 : int32[N, 2]
        Top-left corner (x, y).
    size_px0 : float32[2]
        Width and height of a tile.
    valid : float16[N]
        Share of readable pixels inside the slide.
    tissue : float16[N]
        Share of tissue.
    """

    x: NDArray[np.float16]
    xy_px0: NDArray[np.int32]
    size_px0: NDArray[np.float32]
    valid: NDArray[np.float16]
    tissue: NDArray[np.float16]
    attrs: FeaturesAttrs

    @property
    def places(self) -> NDArray[np.int64]:
        """Row and column of each tile in the slide's grid, int64[N, 2]."""
        step = self.size_px0 * (self.attrs.stride_px / self.attrs.tile_px)
        return np.rint(self.xy_px0[:, ::-1] / step[::-1]).astype(np.int64)


class Interval(Record):
    """A value with its interval."""

    value: float
    low: float
    high: float
    level: float = 0.95
    covers: str = Field("", description="which uncertainty the interval covers")


class CellClassifier(Record):
    """The model that gave nuclei their classes."""

    name: str
    digest: str
    experimental: bool = Field(description="its classes are shown but not reported")
    confusion: tuple[tuple[int, ...], ...] = Field(
        description="nuclei of held-back slides by true class (rows) and class given (columns)"
    )
    design_effect: float = Field(
        1.0, ge=1, description="so many of these nuclei tell as much as one independent one"
    )


class CellsAttrs(Record):
    """Attributes of ``cells/<detector>.zarr``."""

    detector: str
    detector_digest: str
    classes: tuple[str, ...]
    analyzed_mm2: float = Field(description="tissue in which nuclei were counted")
    excluded_mm2: float = Field(description="artefacts and other tissue that was left out")
    count: Interval
    density_per_mm2: Interval
    class_counts: tuple[int, ...]
    raster_downsample0: float = Field(description="level-0 px per pixel of raster/0")
    measures: tuple[str, ...] = Field((), description="names of the columns of measures")
    classifier: CellClassifier | None = Field(
        None, description="what gave the classes, unless it was the detector"
    )
    unreadable_mm2: float = Field(
        0.0, ge=0, description="tissue whose pixels could not be read, part of excluded_mm2"
    )
    implausible_mm2: float = Field(
        0.0,
        ge=0,
        description="tissue with more nuclei than there can be, part of excluded_mm2; they are "
        "not counted",
    )
    implausible: int = Field(0, ge=0, description="such nuclei")
    mended: int = Field(
        0, ge=0, description="outlines that crossed themselves, or were none and left out"
    )
    dropped: dict[str, int] = Field(
        {}, description="objects of an imported file that are not among the cells, by reason"
    )


@dataclass(frozen=True)
class Cells:
    """Nuclei, sorted by y, then x.

    Parameters
    ----------
    xy_px0 : float32[M, 2]
        Centers (x, y).
    score : float16[M]
        Chance that a nucleus is there, as its detector says.
    class_ : uint8[M]
        Index into ``attrs.classes``.
    prob : float16[M, C]
        Probability of each class.
    dab_od : float16[M]
        Mean nuclear DAB optical density (0 on H&E).
    measures : float32[M, F]
        What was measured on each nucleus; ``attrs.measures`` names the columns, with units.
    outline_px0 : float32[K, 2]
        Vertices (x, y) of all outlines, one after the other.
    outline_start : int64[M + 1]
        Outline ``i`` is ``outline_px0[outline_start[i]:outline_start[i + 1]]``.
    raster : tuple of uint8[h, w]
        Class + 1 of the nucleus at each pixel, 0 for none; each level half the one before.
    """

    xy_px0: NDArray[np.float32]
    score: NDArray[np.float16]
    class_: NDArray[np.uint8]
    prob: NDArray[np.float16]
    dab_od: NDArray[np.float16]
    measures: NDArray[np.float32]
    outline_px0: NDArray[np.float32]
    outline_start: NDArray[np.int64]
    raster: tuple[NDArray[np.uint8], ...]
    attrs: CellsAttrs


Probability = Annotated[float, Field(ge=0, le=1)]


class Answer(Record):
    """What a model says about one slide and one question."""

    name: str = ""
    question: str
    kind: str = "binary"
    classes: tuple[str, ...] = ()
    label: str = Field(
        "", description="class with the largest probability; empty when abstained, or no classes"
    )
    prob: tuple[Probability, ...] = Field(
        (), description="of each class, calibrated; survival: of living past the horizon; when "
        "abstained the raw output, no answer; empty without a tile"
    )  # fmt: skip
    set: tuple[str, ...] = Field((), description="conformal set; empty when abstained")
    value: float | None = Field(None, description="number; survival: median time")
    low: float | None = Field(None, description="of the conformal interval; none: not bounded")
    high: float | None = None
    risk: float | None = Field(None, description="survival: larger means earlier")
    unit_of_value: str = ""
    horizon: float = Field(0, description="survival: time that prob is about")


class PredictionAttrs(Answer):
    """The answers of one model for one slide; the main one, then those in ``also``."""

    task: str
    also: tuple[Answer, ...] = ()
    alpha: float
    ood_percentile: float
    out_of_distribution: bool
    abstained: bool
    reason: str = ""
    top_tiles: tuple[int, ...] = Field((), description="rows with the most attention, most first")
    encoder: str
    grid_digest: str
    model_digest: str

    @property
    def answers(self) -> tuple[Answer, ...]:
        """Every answer, the main one first."""
        return (self, *self.also)


@dataclass(frozen=True)
class Prediction:
    """Answer and attention.

    Parameters
    ----------
    attention : float32[N]
        Weight of each tile, sum 1; row *i* as in ``Features``. Of a count by the additive head
        it is the tile's share: times the value it is the tile's own count.
    """

    attention: NDArray[np.float32]
    attrs: PredictionAttrs


class SlideVectorAttrs(Record):
    """Attributes of ``slide/<encoder>.zarr``."""

    encoder: str
    encoder_digest: str = Field(description="SHA-256 of what decides the vector beside the tiles")
    tile_encoder: str
    tile_encoder_digest: str
    grid_digest: str
    tile_px: int
    mpp: float
    tiles: int = Field(gt=0, description="tiles with a readable pixel: those that were used")
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class SlideVector:
    """One vector for a slide.

    Parameters
    ----------
    vector : float32[D]
        Finite.
    """

    vector: NDArray[np.float32]
    attrs: SlideVectorAttrs


class ZeroShotAttrs(Record):
    """Scores of a slide for classes that are described by words; not calibrated."""

    prompts: str = Field(description="name of the prompt set")
    prompts_digest: str
    classes: tuple[str, ...]
    slide_score: tuple[float, ...] = Field(description="per class; empty without a tile")
    share: tuple[Probability, ...] = Field(
        description="of tiles whose best class this is; empty without a tile"
    )
    top_tiles: int = Field(description="tiles that slide_score is the mean of; 0: all")
    temperature: float = Field(gt=0, description="that softmax was taken at")
    encoder: str
    text_digest: str = Field(description="SHA-256 of what decides the words' vectors")
    tile_encoder_digest: str
    grid_digest: str
    calibrated: Literal[False] = False


@dataclass(frozen=True)
class ZeroShot:
    """How well each tile fits each class.

    Parameters
    ----------
    score : float16[N, C]
        Cosine of tile and class, -1 to 1; row *i* as in ``Features``.
    softmax : float16[N, C]
        Of the scores, over the classes; no probability.
    """

    score: NDArray[np.float16]
    softmax: NDArray[np.float16]
    attrs: ZeroShotAttrs
