"""Values of findings as fields of a FHIR observation; numbers as they are printed."""

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from pathai.finding import (
    Category,
    Finding,
    Key,
    PredictedNumber,
    Prediction,
    Quantity,
    Sum,
    registry,
)
from pathai.report.documents.printable import printable
from pathai.report.render import value_text

UCUM = "http://unitsofmeasure.org"
ABSENT = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
REASONS = {"not_assessed": "not-performed", "failed": "error", "indeterminate": "unknown"}

Fields = dict[str, Any]


def value_fields(finding: Finding, language: str = "en") -> Fields:
    """``value[x]`` with its components, or why there is none."""
    row, value = registry().find(finding.key), finding.value
    if finding.status in REASONS:
        reason = {"system": ABSENT, "code": REASONS[finding.status]}
        return {"dataAbsentReason": {"coding": [reason], "text": finding.status.replace("_", " ")}}
    if isinstance(value, Quantity):
        return _quantity_fields(value, row)
    if isinstance(value, Category):
        coding = {"system": f"urn:pathai:value:{finding.key}", "code": value.code}
        return {"valueCodeableConcept": {"coding": [coding], "text": value_text(finding, language)}}
    if isinstance(value, Sum):
        parts = [_component("part", {"valueInteger": part}) for part in value.parts]
        return {"valueInteger": value.total, "component": parts}
    if isinstance(value, Prediction):
        return _prediction_fields(value, row)
    if isinstance(value, PredictedNumber):
        return _predicted_number_fields(value)
    return {"valueCodeableConcept": {"text": finding.status.replace("_", " ")}}


def _number(value: Decimal, decimals: int) -> int | float:
    rounded = value.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN)
    return int(rounded) if decimals == 0 else float(rounded)


def _measured(value: Decimal, decimals: int, unit: str) -> Fields:
    shown = registry().units.get(unit, unit)
    made = {"value": _number(value, decimals), "system": UCUM, "code": unit}
    return {**made, "unit": shown} if shown else made


def _component(text: str, value: Fields) -> Fields:
    return {"code": {"text": text}, **value}


def _percent(share: Decimal) -> str:
    return f"{(100 * share).normalize():f}%"


def _quantity_fields(value: Quantity, row: Key) -> Fields:
    components = []
    if value.low is not None and value.high is not None and value.level is not None:
        ends = {end: _measured(number, row.places(number), value.unit)
                for end, number in (("low", value.low), ("high", value.high))}  # fmt: skip
        components.append(_component(f"{_percent(value.level)} interval", {"valueRange": ends}))
    if value.numerator is not None and value.denominator is not None:
        ratio = {
            "numerator": {"value": value.numerator},
            "denominator": {"value": value.denominator},
        }
        components.append(_component("numerator and denominator", {"valueRatio": ratio}))
    made: Fields = {"valueQuantity": _measured(value.value, row.places(value.value), value.unit)}
    return {**made, "component": components} if components else made


def _prediction_fields(answer: Prediction, row: Key) -> Fields:
    components = []
    if answer.probability is not None:
        step = Decimal(1).scaleb(-row.decimals)
        chance = min(max(answer.probability, step), 1 - step)  # rounding never makes certainty
        quantity = _measured(chance, row.decimals, "1")
        if chance != answer.probability:
            quantity["comparator"] = "<" if answer.probability < step else ">"
        components.append(_component("probability", {"valueQuantity": quantity}))
    if answer.alpha is not None:
        members = " or ".join(answer.set) or "empty"
        text = f"prediction set at {_percent(1 - answer.alpha)} coverage"
        components.append(_component(text, {"valueString": printable(members)}))
    return {"valueCodeableConcept": {"text": printable(answer.label)}, "component": components}


def _predicted_number_fields(answer: PredictedNumber) -> Fields:
    if answer.value is None:
        return {}

    def measured(number: Decimal) -> Fields:
        made: Fields = {"value": _number(number, answer.decimals)}
        if answer.unit == "%":
            return {**made, "unit": "%", "system": UCUM, "code": "%"}
        return {**made, "unit": printable(answer.unit)} if answer.unit else made

    made: Fields = {"valueQuantity": measured(answer.value)}
    ends = {end: measured(number) for end, number in (("low", answer.low), ("high", answer.high))
            if number is not None}  # fmt: skip
    if ends and answer.alpha is not None:
        text = f"{_percent(1 - answer.alpha)} interval"
        made["component"] = [_component(text, {"valueRange": ends})]
    return made
