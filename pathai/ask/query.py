"""A question as data: read only, and printed back to the one who asked."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pathai.finding import Frozen
from pathai.finding_values import Number

Sign = Literal["<", "<=", ">", ">=", "=", "!="]
Known = Literal["predicted", "measured", "observed", "not_detected", "indeterminate", "failed"]
Part = Literal["case", "stain", "site", "laterality"]
_SIGNS = {
    "<": "is below",
    "<=": "is at most",
    ">": "is above",
    ">=": "is at least",
    "=": "is",
    "!=": "is other than",
}


class Compare(Frozen):
    """A number of a key against a number; of a code, the number in it (``gg3`` is 3)."""

    kind: Literal["compare"] = "compare"
    key: str
    sign: Sign
    value: Number
    unit: str = ""

    def text(self) -> str:
        """In words."""
        number = f"{_plain(self.value)}{_unit(self.unit)}"
        return f"{_numbered(self.key)} {_SIGNS[self.sign]} {number}"


class Between(Frozen):
    """A number from low to high, both included."""

    kind: Literal["between"] = "between"
    key: str
    low: Number
    high: Number
    unit: str = ""

    @model_validator(mode="after")
    def _rises(self) -> "Between":
        if self.low > self.high:
            raise ValueError("the first number is above the second")
        return self

    def text(self) -> str:
        """In words."""
        return (
            f"{_numbered(self.key)} is {_plain(self.low)} to {_plain(self.high)}{_unit(self.unit)}"
        )


class Says(Frozen):
    """A code or a model's label; any of several."""

    kind: Literal["says"] = "says"
    key: str
    codes: tuple[str, ...] = Field(min_length=1)

    def text(self) -> str:
        """In words."""
        return f"{self.key} is {' or '.join(repr(code) for code in self.codes)}"


class Stands(Frozen):
    """A status, ``valued`` for any value, or ``unvalued`` for none."""

    kind: Literal["stands"] = "stands"
    key: str
    status: Known | Literal["valued", "unvalued"]

    def text(self) -> str:
        """In words."""
        said = {"valued": "has a value", "unvalued": "was not assessed"}
        return f"{self.key} {said.get(self.status, 'is ' + self.status.replace('_', ' '))}"


class From(Frozen):
    """Where a case comes from."""

    kind: Literal["from"] = "from"
    part: Part
    names: tuple[str, ...] = Field(min_length=1)

    def text(self) -> str:
        """In words."""
        return f"{self.part} is {' or '.join(self.names)}"


class All(Frozen):
    """Each of several conditions."""

    kind: Literal["and"] = "and"
    parts: "tuple[Condition, ...]" = Field(min_length=2)

    def text(self) -> str:
        """In words."""
        return "(" + " and ".join(part.text() for part in self.parts) + ")"


class Any(Frozen):
    """At least one of several conditions."""

    kind: Literal["or"] = "or"
    parts: "tuple[Condition, ...]" = Field(min_length=2)

    def text(self) -> str:
        """In words."""
        return "(" + " or ".join(part.text() for part in self.parts) + ")"


class Not(Frozen):
    """The opposite of a condition; what is unknown stays unknown."""

    kind: Literal["not"] = "not"
    part: "Condition"

    def text(self) -> str:
        """In words."""
        return f"not {self.part.text()}"


Condition = Annotated[
    Compare | Between | Says | Stands | From | All | Any | Not, Field(discriminator="kind")
]


class Query(Frozen):
    """What is asked: cases of which a condition holds, listed or counted."""

    want: Literal["list", "count"] = "list"
    by: Part = "case"
    where: Condition | None = None

    def text(self) -> str:
        """The query in words, as it is shown with the answer."""
        head = "count cases" if self.want == "count" else "list cases"
        groups = "" if self.by == "case" else f" by {self.by}"
        return f"{head}{groups}" + (f" where {self.where.text()}" if self.where else "")

    def keys(self) -> tuple[str, ...]:
        """Keys that it asks about, in order."""
        return tuple(dict.fromkeys(_keys(self.where))) if self.where else ()


def _keys(condition: Condition) -> list[str]:
    if isinstance(condition, All | Any):
        return [key for part in condition.parts for key in _keys(part)]
    if isinstance(condition, Not):
        return _keys(condition.part)
    return [] if isinstance(condition, From) else [condition.key]


def _numbered(key: str) -> str:
    """What the number of a key is of: a prediction's is that of its label, whichever that is."""
    return f"the probability of the answer given to {key}" if key.endswith(".probability") else key


def _plain(number: Decimal) -> str:
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _unit(unit: str) -> str:
    return f" {unit}" if unit and unit != "1" and not unit.startswith("{") else ""


for _record in (All, Any, Not, Query):
    _record.model_rebuild()
