"""What was found in a case, as typed, frozen values: the only source of a report's numbers.

A finding has a key of the registry (`pathai.finding_registry`), a value with its unit, a status,
the method that produced it and the place on the slide. Absence is a status, never a value.
"""

import json
from decimal import Decimal
from hashlib import sha256
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    model_validator,
)

from pathai.errors import PathaiError
from pathai.finding_registry import (
    KEY,
    PREDICTED,
    Key,
    Keys,
    MethodKind,
    Status,
    plain,
    registry,
)
from pathai.finding_values import (
    Category,
    Frozen,
    ModelAnswer,
    PredictedNumber,
    Prediction,
    Quantity,
    Sum,
)
from pathai.units import Box, Polygons

__all__ = [
    "CaseFindings",
    "Category",
    "Context",
    "Contradiction",
    "Entry",
    "Evidence",
    "Finding",
    "Frozen",
    "Key",
    "Keys",
    "Method",
    "ModelAnswer",
    "PredictedNumber",
    "Prediction",
    "Quantity",
    "Specimen",
    "Status",
    "Suggestion",
    "Sum",
    "canonical",
    "load_findings",
    "plain",
    "registry",
]

SCHEMA_VERSION = 1
FINDING_ID = r"^F[1-9][0-9]{0,3}$"
FEW_NUCLEI = 500
"""Nuclei below which a positive fraction must be called uncertain.

References
----------
Nielsen TO et al. Assessment of Ki67 in breast cancer: updated recommendations from the
International Ki67 in Breast Cancer Working Group. JNCI 2021;113:808-819.
"""
VALUELESS = ("not_assessed", "failed")


class Evidence(Frozen):
    """Where on which slide, in level-0 pixels; neither boxes nor polygons means the whole slide.

    ``polygons`` are the outline of a drawn or mapped region, in few points: each is its outer ring
    and then its holes, as the coordinates of a GeoJSON MultiPolygon without closing points.
    """

    slide_id: str
    boxes: tuple[Box, ...] = ()
    polygons: Polygons = ()


class Method(Frozen):
    """What produced the value; ``digest`` covers its configuration or its weights."""

    name: str
    version: str
    digest: str = ""
    kind: MethodKind


class Entry(Frozen):
    """Who entered or corrected a value: the reader's name as asserted, and the logged event."""

    reader: str
    event: str
    time: str
    before: str = ""
    """What stood there, as it was printed; empty where nothing did."""


class Finding(Frozen):
    """One statement of fact about a case, as data."""

    id: str = Field(pattern=FINDING_ID)
    key: str = Field(pattern=KEY)
    specimen_id: str = ""
    laterality: Literal["", "left", "right", "midline"] = ""
    stain: str = ""
    status: Status
    value: (
        Annotated[
            Quantity | Category | Sum | Prediction | PredictedNumber, Field(discriminator="type")
        ]
        | None
    ) = None
    method: Method
    evidence: tuple[Evidence, ...] = Field(min_length=1)
    flags: tuple[str, ...] = ()
    note: str = ""
    code: str = Field("", pattern=r"^(E[0-9]{3})?$")
    parents: tuple[str, ...] = ()
    entry: Entry | None = None

    @property
    def derived(self) -> bool:
        """Whether it follows by rule from what a person entered; nobody entered it itself."""
        return self.status == "observed" and self.method.kind == "rule"

    @property
    def phrased(self) -> Status:
        """The status by whose pattern a sentence says it: nobody entered what follows by rule."""
        return "measured" if self.derived else self.status

    @model_validator(mode="after")
    def _allowed(self) -> "Finding":
        book = registry()
        try:
            row = book.find(self.key)
        except PathaiError as error:
            raise ValueError(error.message) from None
        self._check_status(row)
        if self.method.kind not in row.methods:
            raise ValueError(f"{self.key} cannot come from a method of kind {self.method.kind}")
        if self.value is not None and not book.stained(self.key, self.stain):
            raise ValueError(f"{self.key} has no value on stain {self.stain!r}")
        if unknown := sorted(set(self.flags) - set(book.flags)):
            raise ValueError(f"unknown flag {unknown[0]}")
        if self.note and self.note not in book.notes:
            raise ValueError(f"unknown note {self.note}")
        if isinstance(self.value, Quantity):
            _check_quantity(self.value, row, self.key, entered=self.status == "observed")
            self._check_rules(self.value)
        if isinstance(self.value, Category) and self.value.code not in row.values:
            raise ValueError(f"{self.key} is one of {', '.join(row.values)}")
        if isinstance(self.value, Sum):
            _check_sum(self.value, row, self.key)
        foreign = isinstance(self.value, ModelAnswer) and self.value.out_of_distribution
        if foreign != ("out_of_distribution" in self.flags):
            raise ValueError("flag out_of_distribution and the prediction disagree")
        return self

    def _check_rules(self, value: Quantity) -> None:
        """What the rules of a marker ask to be said beside a fraction that was counted."""
        if self.status != "measured" or value.denominator is None:
            return
        fraction = self.key.endswith(("positive_percent", "hotspot_percent"))
        if fraction and value.denominator < FEW_NUCLEI and "few_nuclei" not in self.flags:
            raise ValueError(f"{self.key} of {value.denominator} nuclei needs flag few_nuclei")
        low = self.key == "er.positive_percent" and 1 <= value.value <= 10
        if low and "er_low_positive" not in self.flags:
            raise ValueError("er.positive_percent of 1 to 10 % needs flag er_low_positive")

    def _check_status(self, row: Key) -> None:
        if self.status not in row.statuses:
            raise ValueError(f"{self.key} cannot be {self.status}")
        if self.status in VALUELESS and self.value is not None:
            raise ValueError(f"{self.status} has no value")
        if self.status in ("measured", "observed", "predicted") and self.value is None:
            raise ValueError(f"{self.status} needs a value")
        if self.value is not None and self.value.type != row.type:
            raise ValueError(f"{self.key} holds a {row.type}, not a {self.value.type}")
        if self.status in (*VALUELESS, "indeterminate") and not self.note:
            raise ValueError(f"{self.status} needs a note that says why")
        abstained = isinstance(self.value, ModelAnswer) and self.value.abstained
        if abstained != (self.status == "indeterminate" and row.type in PREDICTED):
            raise ValueError("an answer that the model withheld, and only it, is indeterminate")


def _check_sum(value: Sum, row: Key, key: str) -> None:
    if len(value.parts) != row.parts:
        raise ValueError(f"{key} has {row.parts} parts")
    if not all(row.part_minimum <= part <= row.part_maximum for part in value.parts):
        raise ValueError(f"parts of {key} are from {row.part_minimum} to {row.part_maximum}")


def _check_quantity(quantity: Quantity, row: Key, key: str, *, entered: bool) -> None:
    if quantity.unit != row.unit:
        raise ValueError(f"{key} is in {row.unit!r}, not {quantity.unit!r}")
    for number in (quantity.value, quantity.low, quantity.high):
        if number is None:
            continue
        if row.minimum is not None and number < row.minimum:
            raise ValueError(f"{key} is below {row.minimum}")
        if row.maximum is not None and number > row.maximum:
            raise ValueError(f"{key} is above {row.maximum}")
    # A person may enter a share that was estimated by eye, of nothing that was counted.
    if row.ratio != (quantity.numerator is not None) and not (entered and row.ratio):
        raise ValueError(f"{key}: numerator and denominator belong to ratios, and only to them")
    if quantity.numerator is not None and quantity.denominator is not None:
        share = Decimal(100 * quantity.numerator) / Decimal(quantity.denominator)
        # Half a unit of the last printed place: more would print a value that its own
        # numerator and denominator contradict.
        if abs(share - quantity.value) > Decimal("0.5").scaleb(-row.decimals):
            raise ValueError(f"{key} is not 100 n/d")


def _check_cores(findings: tuple[Finding, ...]) -> None:
    """Tumor is no longer than first to last tumor, and that no longer than the core.

    What a person entered is flagged by a rule instead: a reader must see both values.
    """
    lengths: dict[tuple[str, str], dict[str, Decimal]] = {}
    for finding in findings:
        parts = finding.key.split(".")
        if finding.status != "measured" or not isinstance(finding.value, Quantity):
            continue
        if parts[0] == "core" and parts[-1].endswith("_mm"):
            core = lengths.setdefault((finding.evidence[0].slide_id, parts[1]), {})
            core[parts[-1]] = finding.value.value
    for (slide_id, name), of in lengths.items():
        order = [of[n] for n in ("tumor_mm", "tumor_span_mm", "length_mm") if n in of]
        if any(a > b + Decimal("1e-6") for a, b in pairwise(order)):
            raise ValueError(f"core {name} of {slide_id} is shorter than its tumor")


class Specimen(Frozen):
    """What was submitted, and the slides made of it."""

    specimen_id: str
    laterality: Literal["", "left", "right", "midline"] = ""
    site: str = ""
    slides: tuple[str, ...]


class Context(Frozen):
    """One structured item of ``clinical.yaml``; ``id`` is what a statement may cite."""

    id: str = Field(pattern=r"^C[1-9][0-9]?$")
    key: str
    value: str
    unit: str = ""


class Contradiction(Frozen):
    """Findings that cannot all be true, by a rule of ``pathai.rules``."""

    rule: str
    findings: tuple[str, ...] = Field(min_length=1)
    error: bool = True
    """Whether signing must wait; False for what a reader should merely look at."""


class Suggestion(Frozen):
    """A follow-up that a rule's table suggests; its words and source are in that table."""

    rule: str
    findings: tuple[str, ...] = Field(min_length=1)


class CaseFindings(Frozen):
    """All findings of a case; ``digest`` is the SHA-256 of everything else.

    ``revision`` 0 is what the stages found. A person's entries make the next one, which names the
    digest of its ``parent`` and the logged ``events`` that it holds.
    """

    schema_version: Literal[1] = 1
    case_id: str
    revision: int = Field(0, ge=0)
    parent: str = ""
    events: tuple[str, ...] = ()
    specimens: tuple[Specimen, ...]
    findings: tuple[Finding, ...]
    context: tuple[Context, ...] = ()
    contradictions: tuple[Contradiction, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()
    digest: str = ""

    @model_validator(mode="after")
    def _whole(self) -> "CaseFindings":
        ids = [f.id for f in self.findings]
        if len(set(ids)) != len(ids):
            raise ValueError("a finding id is used twice")
        slides = {s for specimen in self.specimens for s in specimen.slides}
        seen: set[tuple[str, tuple[str, ...]]] = set()
        for finding in self.findings:
            place = tuple(e.slide_id for e in finding.evidence)
            if not set(place) <= slides:
                raise ValueError(f"{finding.id} stands on a slide outside the case")
            if not set(finding.parents) <= set(ids) - {finding.id}:
                raise ValueError(f"{finding.id} names a parent that does not exist")
            if (finding.key, place) in seen:
                raise ValueError(f"{finding.key} is given twice for the same slides")
            seen.add((finding.key, place))
        _check_cores(self.findings)
        if self.digest and self.digest != self.sha256():
            raise ValueError("the digest does not match the findings")
        return self

    def sha256(self) -> str:
        """Digest of everything but ``digest`` itself."""
        return sha256(canonical(self, exclude={"digest"}).encode()).hexdigest()

    def sealed(self) -> "CaseFindings":
        """A copy that carries its digest."""
        return self.model_copy(update={"digest": self.sha256()})

    def finding(self, finding_id: str) -> Finding | None:
        """The finding with this id, if there is one."""
        return next((f for f in self.findings if f.id == finding_id), None)


def canonical(record: BaseModel, exclude: set[str] | None = None) -> str:
    """One text per value: sorted keys, no spaces, UTF-8 as it is."""
    data = record.model_dump(mode="json", exclude=exclude)
    return json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def load_findings(text: str) -> CaseFindings:
    """Read and check a ``findings.json``.

    Raises
    ------
    PathaiError
        E200 naming the field that is wrong, or that the digest does not match.
    """
    try:
        case = CaseFindings.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "findings"
        raise PathaiError("E200", f"findings.json: {where}: {first['msg']}") from None
    if not case.digest:
        raise PathaiError("E200", "findings.json: it carries no digest")
    return case
