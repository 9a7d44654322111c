"""Values of findings: a measured number, a code, and what a model says; see `pathai.finding`."""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator


def _decimal(value: Any) -> Decimal:
    """Exact decimal of at most 15 significant digits, so that JSON numbers round-trip."""
    number = Decimal(repr(value)) if isinstance(value, float) else Decimal(str(value))
    if not number.is_finite():
        raise ValueError("a value must be finite")
    if not number:
        return Decimal(0)
    return Decimal(repr(float(f"{number:.14e}")))


Number = Annotated[
    Decimal, BeforeValidator(_decimal), PlainSerializer(float, return_type=float, when_used="json")
]


class Frozen(BaseModel):
    """Base of every record here: immutable, unknown fields refused."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")


def _holds(low: Decimal | None, value: Decimal, high: Decimal | None) -> bool:
    """Whether a value lies between ends of which any may be open."""
    return (low is None or low <= value) and (high is None or value <= high)


class Quantity(Frozen):
    """A number with its UCUM unit; a ratio carries its numerator and denominator."""

    type: Literal["quantity"] = "quantity"
    value: Number
    unit: str
    numerator: int | None = Field(None, ge=0)
    denominator: int | None = Field(None, ge=0)
    low: Number | None = None
    high: Number | None = None
    level: Number | None = Field(None, gt=0, lt=1)

    @model_validator(mode="after")
    def _consistent(self) -> "Quantity":
        if (self.low is None) != (self.high is None) or (self.low is None) != (self.level is None):
            raise ValueError("an interval needs low, high and level")
        if not _holds(self.low, self.value, self.high):
            raise ValueError("the interval does not hold the value")
        if (self.numerator is None) != (self.denominator is None):
            raise ValueError("a ratio needs numerator and denominator")
        n, d = self.numerator, self.denominator
        if n is not None and d is not None and (d == 0 or n > d):
            raise ValueError("numerator and denominator do not make a share")
        return self


class Category(Frozen):
    """One code of the closed list of its key; its words are those of the language printed in."""

    type: Literal["category"] = "category"
    code: str = Field(pattern=r"^[a-z0-9_]+$")


class Sum(Frozen):
    """Scores that are read together and added, such as Gleason 3 + 4 = 7; printed as that sum."""

    type: Literal["sum"] = "sum"
    parts: tuple[Annotated[int, Field(ge=0, le=99)], ...] = Field(min_length=2)

    @property
    def total(self) -> int:
        """The sum of the parts."""
        return sum(self.parts)


class ModelAnswer(Frozen):
    """What every answer of a model carries; never a measurement."""

    question: str = ""
    alpha: Number | None = Field(None, gt=0, lt=1)
    ood_percentile: Number | None = Field(None, ge=0, le=100)
    out_of_distribution: bool = False
    abstained: bool = False


class Prediction(ModelAnswer):
    """A calibrated answer with its conformal set.

    ``label`` and ``probability`` are empty when the model abstained.
    """

    type: Literal["prediction"] = "prediction"
    label: str = ""
    probability: Number | None = Field(None, ge=0, le=1)
    set: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _answered(self) -> "Prediction":
        if self.abstained == bool(self.label) or self.abstained == (self.probability is not None):
            raise ValueError("an answer has label and probability, an abstention neither")
        return self


class PredictedNumber(ModelAnswer):
    """A predicted number with its conformal interval, of which an end may be open.

    ``value`` is empty when the model abstained; ``unit`` is the task's own word; ``decimals`` are
    those that are printed.
    """

    type: Literal["predicted_number"] = "predicted_number"
    value: Number | None = None
    low: Number | None = None
    high: Number | None = None
    unit: str = ""
    decimals: int = Field(0, ge=0, le=6)

    @model_validator(mode="after")
    def _answered(self) -> "PredictedNumber":
        value, low, high = self.value, self.low, self.high
        if self.abstained == (value is not None):
            raise ValueError("an answer has a value, an abstention none")
        if (low is not None or high is not None) and (value is None or self.alpha is None):
            raise ValueError("an interval needs a value and its coverage")
        if value is not None and not _holds(low, value, high):
            raise ValueError("the interval does not hold the value")
        return self
