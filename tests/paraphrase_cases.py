"""Honest paraphrases of findings, and a case that holds findings of every kind and status."""

from pathlib import Path

import yaml
from finding_cases import full_case

from pathai.drafters.base import Line
from pathai.finding import (
    CaseFindings,
    Category,
    Evidence,
    Finding,
    Method,
    PredictedNumber,
    Prediction,
    Quantity,
    Specimen,
    Sum,
    registry,
)

BY_HAND = Method(name="entry", version="1", kind="manual")
RULE = Method(name="rule", version="1", kind="rule")
COUNT = Method(name="classical", version="1", kind="count")
MIL = Method(name="model", version="1", kind="mil")
LENGTH = Method(name="outline", version="1", kind="geometry")


def entered(number, key, value, *, slide="P1", stain="H&E", **more):
    """A finding that a person entered."""
    more = {"status": "observed", "method": BY_HAND, **more}
    place = (Evidence(slide_id=slide),)
    return Finding(id=f"F{number}", key=key, stain=stain, value=value, evidence=place, **more)


def reader_case() -> CaseFindings:
    """Two specimens: a left prostate core read by a person, a right breast core with stains."""
    findings = [
        entered(1, "gleason.primary", Category(code="p3")),
        entered(2, "gleason.secondary", Category(code="p4")),
        entered(3, "gleason.score", Sum(parts=(3, 4)), method=RULE, parents=("F1", "F2")),
        entered(4, "gleason.grade_group", Category(code="gg2"), method=RULE, parents=("F3",)),
        entered(5, "prostate.perineural", Category(code="not_identified")),
        entered(6, "prostate.cribriform", Category(code="present")),
        entered(7, "core.a.length_mm", Quantity(value=14.2, unit="mm")),
        entered(8, "core.a.tumor_mm", Quantity(value=3.1, unit="mm")),
        entered(
            9, "prostate.extraprostatic", None, status="not_assessed", note="controls_not_seen"
        ),
        entered(10, "her2.score", Category(code="2plus"), slide="B2", stain="HER2"),
        entered(
            11,
            "er.positive_percent",
            Quantity(value=62.5, unit="%", numerator=1250, denominator=2000),
            slide="B3",
            stain="ER",
            status="measured",
            method=COUNT,
        ),
        entered(12, "breast.lvi", Category(code="present"), slide="B1"),
        entered(13, "breast.dcis", Category(code="not_identified"), slide="B1"),
        entered(
            14,
            "msi.probability",
            Prediction(label="msi-h", probability=0.83, set=("msi-h",), alpha=0.1),
            slide="B1",
            status="predicted",
            method=MIL,
        ),
        entered(
            15,
            "ploidy.predicted_number",
            PredictedNumber(value=12.3, low=8, high=20, alpha=0.1, unit="%", decimals=1),
            slide="B1",
            status="predicted",
            method=MIL,
        ),
        entered(16, "tissue.area_mm2", Quantity(value=84.56, unit="mm2"), slide="B1",
                status="measured", method=LENGTH),
    ]  # fmt: skip
    specimens = (
        Specimen(specimen_id="L", laterality="left", site="prostate apex", slides=("P1",)),
        Specimen(specimen_id="R", laterality="right", site="breast", slides=("B1", "B2", "B3")),
    )
    case = CaseFindings(case_id="C9", specimens=specimens, findings=tuple(findings))
    return case.sealed()


CASES = (full_case(), reader_case())


def line_for(finding: Finding, language: str = "en") -> Line:
    """The plan's line of a finding."""
    row = registry().find(finding.key)
    return Line(
        statement="S1",
        finding=finding.id,
        key=finding.key,
        name=row.name,
        unit=registry().units[row.unit],
        status=finding.status,
        language=language,
    )


def patterns(part: str) -> dict[str, list[str]]:
    """Hand-written patterns of a part of the file, by status."""
    data = yaml.safe_load((Path(__file__).parent / "paraphrases.yaml").read_text("utf-8"))
    return data[part]


def filled_in(pattern: str, finding: Finding) -> str:
    """A pattern with the slots of a finding."""
    slots = {"T": f"{{T:{finding.key}}}", "F": f"{{{finding.id}}}", "P": "{T:predicted}"}
    words = pattern.replace("'", " '")
    pieces = []
    for word in words.split(" "):
        core = word.strip(".,:;()")
        pieces.append(word.replace(core, slots[core]) if core in slots else word)
    return " ".join(pieces).replace(" '", "'")


def paraphrases(part: str) -> list[tuple[str, Line, CaseFindings]]:
    """Every pattern with every finding of its status: text, line, case."""
    said = patterns(part)
    return [
        (filled_in(pattern, finding), line_for(finding), case)
        for case in CASES
        for finding in case.findings
        if not finding.derived  # its own tests say what may be said of it
        for pattern in said.get(finding.status, ())
    ]
