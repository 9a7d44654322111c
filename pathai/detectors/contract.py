"""What is to be known of a foreign network: how it wants its pixels, and what its output means.

It stands in a JSON file beside the weights (``blobs.json`` beside ``blobs.onnx``), or in the
metadata of an ONNX file under the key ``pathai``. ``docs/detectors.md`` shows each kind.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pathai.detectors.base import CountError
from pathai.errors import PathaiError

REMEDY = "docs/detectors.md shows what the file must say"
Share = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
Three = tuple[float, float, float]


class Maps(BaseModel):
    """Which channel of the output holds what; the outputs of a network are counted in a row."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    center: int = Field(0, ge=0, description="high at centers of nuclei, 0 to 1")
    foreground: int | None = Field(None, ge=0, description="0 to 1; without it, the center map")
    distance: int | None = Field(None, ge=0, description="to the border, any unit; is flooded")
    classes: tuple[int, ...] = Field((), description="one channel of support for each class")


class Contract(BaseModel):
    """The facts of a foreign network."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    output: Literal["labels", "maps", "stars"] = Field(
        "labels", description="a label map; maps to split; or star-convex polygons at each px"
    )
    mpp: float = Field(gt=0, le=5, description="µm/px that it was trained at")
    mpp_max: float | None = Field(None, gt=0, description="coarsest µm/px; 1.25 times mpp")
    halo_um: float = Field(40.0, gt=0, description="nothing farther away changes a nucleus")
    step_px: int = Field(8, ge=1, description="blocks start at multiples of it: the total stride")
    layout: Literal["nchw", "nhwc"] = Field("nchw", description="axes of input and output")
    scale: float = Field(1 / 255, gt=0, description="input is (rgb * scale - mean) / std")
    mean: Three = (0.0, 0.0, 0.0)
    std: Three = (1.0, 1.0, 1.0)
    percentiles: tuple[Percent, Percent] | None = Field(
        None, description="instead: these percentiles of the slide become 0 and 1"
    )
    per_channel: bool = Field(True, description="percentiles of each channel, or of all together")
    classes: tuple[str, ...] = Field(("nucleus",), min_length=1, max_length=255)
    maps: Maps = Maps()
    grid: int = Field(1, ge=1, description="stars: px of the image per px of the output")
    threshold: Share = Field(0.5, description="least value of a center, or of a star")
    foreground: Share = Field(0.5, description="maps: least value of a px inside of a nucleus")
    overlap: Share = Field(0.3, description="stars: the weaker one of two goes above it")
    apart_um: float = Field(3.0, gt=0, description="maps: no two centers nearer than this")
    reach_um: float = Field(12.0, gt=0, description="maps: no nucleus reaches farther")
    area_um2: float = Field(4.0, ge=0, description="smaller nuclei are left out")
    stains: tuple[str, ...] = Field((), description="of the sheet; empty: any that is known")
    licence: str = ""
    source: str = Field("", description="where the weights are from")
    error: CountError | None = Field(None, description="measured error of its counts")

    @model_validator(mode="after")
    def _together(self) -> "Contract":
        if self.percentiles and self.percentiles[0] >= self.percentiles[1]:
            raise ValueError("percentiles: the first must be the smaller one")
        if 0 in self.std:
            raise ValueError("std: a 0 divides")
        wanted = len(self.classes) if len(self.classes) > 1 else 0
        if self.output == "maps" and len(self.maps.classes) not in (wanted, len(self.classes)):
            raise ValueError(f"maps.classes: {wanted} channels are wanted, one for each class")
        if self.output == "stars" and wanted:
            raise ValueError("classes: stars have one class")
        return self

    @property
    def mpp_range(self) -> tuple[float, float]:
        """µm/px of slides that are accepted; finer ones are reduced first."""
        return (0.05, self.mpp_max or 1.25 * self.mpp)


def beside(file: Path) -> Path:
    """Where the contract of a file of weights stands; of a folder, in it."""
    return file / "pathai.json" if file.is_dir() else file.with_suffix(".json")


def read_contract(file: Path, stated: str = "", **known: Any) -> Contract:
    """Contract of a file of weights.

    Parameters
    ----------
    file : Path
        The weights; the JSON file beside them is read if it is there.
    stated : str
        JSON that the weights themselves carry; used where there is no file.
    **known
        What the kind of network says by itself; the JSON may say otherwise.

    Raises
    ------
    PathaiError
        E183 if nothing says at which µm/px the network works, E182 naming the key that is wrong.
    """
    path = beside(file)
    text = path.read_text("utf-8", errors="replace") if path.is_file() else stated
    where = path.name if path.is_file() else f"metadata of {file.name}"
    if not text and "mpp" not in known:
        raise PathaiError("E183", f"{path.name} is missing beside {file.name}", REMEDY)
    try:
        said = Contract.model_validate_json(text) if text and not known else None
        if said is None:
            partial = _Partial.model_validate_json(text or "{}").model_dump(exclude_unset=True)
            said = Contract.model_validate({**known, **partial})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        raise PathaiError(
            "E182", f"{where}: {key}: {first['msg']}".replace(": :", ":"), REMEDY
        ) from None
    return said


class _Partial(BaseModel):
    """Any keys: they are validated together with what is known."""

    model_config = ConfigDict(extra="allow")
