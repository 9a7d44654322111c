import json
from decimal import Decimal

import pytest
from finding_cases import full_case
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pathai.errors import PathaiError
from pathai.finding import (
    Evidence,
    Finding,
    Keys,
    Method,
    Prediction,
    Quantity,
    canonical,
    load_findings,
    registry,
)

COUNT = Method(name="classical", version="1", kind="count")
MODEL = Method(name="tumor", version="1", kind="mil")
HERE = (Evidence(slide_id="S1"),)


def percent(n=420, d=1000, **changes):
    value = Quantity(value=100 * n / d, unit="%", numerator=n, denominator=d)
    fields = {
        "id": "F1",
        "key": "cells.positive_percent",
        "stain": "H-DAB",
        "status": "measured",
        "value": value,
        "method": COUNT,
        "evidence": HERE,
    }
    return Finding(**{**fields, **changes})


def predicted(**changes):
    value = Prediction(label="yes", probability=0.9, set=("yes",), alpha=0.1)
    fields = {
        "id": "F1",
        "key": "tumor.probability",
        "stain": "H&E",
        "status": "predicted",
        "value": value,
        "method": MODEL,
        "evidence": HERE,
    }
    return Finding(**{**fields, **changes})


def quantity(value, unit, **more):
    return Quantity(value=value, unit=unit, **more)


def test_the_plain_cases_are_accepted():
    assert percent().value.value == 42
    assert predicted().value.probability == Decimal("0.9")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: percent(value=None), "needs a value"),
        (lambda: percent(status="not_assessed", note="not_run"), "has no value"),
        (lambda: percent(status="not_assessed", value=None), "needs a note"),
        (lambda: percent(status="predicted"), "cannot be predicted"),
        (lambda: percent(stain="H&E"), "has no value on stain"),
        (lambda: percent(stain=""), "has no value on stain"),
        (lambda: percent(method=MODEL), "cannot come from"),
        (lambda: percent(key="er.percent"), "no finding key"),
        (lambda: percent(id="7"), "id"),
        (lambda: percent(evidence=()), "evidence"),
        (lambda: percent(flags=("great",)), "unknown flag"),
        (lambda: percent(note="because"), "unknown note"),
        (lambda: percent(value=quantity(42, "1", numerator=42, denominator=100)), "is in '%'"),
        (lambda: percent(value=quantity(42, "%")), "numerator and denominator"),
        (lambda: percent(value=quantity(43, "%", numerator=42, denominator=100)), "100 n/d"),
        (lambda: percent(value=quantity(101, "%", numerator=1, denominator=1)), "above 100"),
        (lambda: percent(value=quantity(-1, "%", numerator=0, denominator=1)), "below 0"),
        (lambda: percent(value=predicted().value), "not a prediction"),
        (lambda: predicted(value=percent().value), "not a quantity"),
        (lambda: predicted(method=COUNT), "cannot come from"),
        (lambda: predicted(status="measured"), "cannot be measured"),
        (lambda: predicted(status="indeterminate", note="abstained"), "withheld"),
        (lambda: predicted(flags=("out_of_distribution",)), "disagree"),
        (lambda: Prediction(label="yes"), "label and probability"),
        (lambda: Prediction(label="yes", probability=0.9, abstained=True), "neither"),
        (lambda: quantity(1, "1", low=0, high=2), "low, high and level"),
        (lambda: quantity(3, "1", low=0, high=2, level=0.95), "does not hold"),
        (lambda: quantity(1, "1", numerator=2, denominator=1), "share"),
        (lambda: quantity(float("nan"), "1"), "finite"),
        (lambda: quantity(float("inf"), "1"), "finite"),
    ],
)
def test_what_contradicts_itself_is_refused(make, why):
    with pytest.raises(ValidationError, match=why):
        make()


def test_findings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        percent().status = "failed"


def test_no_registry_can_share_a_key_between_a_model_and_a_count():
    data = registry().model_dump()
    row = dict(data["keys"]["cells.positive_percent"])
    for key, change in {
        "er.probability": {},
        "er.percent": {"type": "prediction"},
        "pr.percent": {"methods": ["count", "mil"]},
    }.items():
        with pytest.raises(ValidationError, match="predict"):
            Keys.model_validate({**data, "keys": {**data["keys"], key: {**row, **change}}})


def test_every_word_of_the_registry_is_used_rightly():
    book = registry()
    assert set(book.once_per_slide) <= set(book.notes) | set(book.flags)
    assert not set(book.notes) & set(book.flags)
    vocabularies = {row.vocabulary for row in book.keys.values()} - {""}
    assert vocabularies == set(book.vocabularies)


@pytest.mark.parametrize(
    ("key", "value", "printed"),
    [
        ("er.positive_percent", "0", "0"),
        ("er.positive_percent", "0.9", "0.9"),
        ("er.positive_percent", "0.996", "0.996"),
        ("er.positive_percent", "1", "1"),
        ("er.positive_percent", "10", "10"),
        ("er.positive_percent", "10.1", "10.1"),
        ("er.positive_percent", "42.4", "42"),
        ("ki67.positive_percent", "5.1", "5.1"),
        ("ki67.positive_percent", "29.96", "29.96"),
        ("ki67.positive_percent", "29.4", "29"),
        ("cells.positive_percent", "0.9", "1"),
    ],
)
def test_rounding_moves_no_value_across_a_cut(key, value, printed):
    assert str(registry().find(key).rounded(Decimal(value))) == printed


@pytest.mark.parametrize(
    ("key", "stain", "may"),
    [
        ("er.status", "ER", True),
        ("er.status", "PR", False),
        ("er.status", "H&E", False),
        ("gleason.score", "H&E", True),
        ("gleason.score", "", True),
        ("gleason.score", "ER", False),
        ("her2.ish", "H&E", True),
        ("her2.score", "H&E", False),
        ("er.probability", "H&E", True),
    ],
)
def test_a_key_says_on_which_stains_it_may_stand(key, stain, may):
    assert registry().stained(key, stain) == may


@pytest.mark.parametrize(
    ("stain", "family"),
    [("H&E", "he"), ("h & e", "he"), ("KI67", "ihc"), ("Ki-67", "ihc"), ("er", "ihc"), ("PAS", "")],
)
def test_stain_families(stain, family):
    assert registry().family(stain) == family


def test_keys_with_a_name():
    assert registry().find("msi_h.probability").name == "msi h status"
    assert registry().find("cells.count.positive").unit == "{nuclei}"
    for wrong in ("a.b.probability", ".probability", "cells.count.", "*.probability"):
        with pytest.raises(PathaiError, match="E200"):
            registry().find(wrong)


def test_a_case_survives_its_file():
    case = full_case()
    again = load_findings(canonical(case))
    assert again == case
    assert again.sha256() == case.digest


def test_a_changed_byte_in_the_file_is_found():
    text = canonical(full_case())
    for old, new in (("420", "421"), ('"measured"', '"observed"'), ("C1", "C2"), ('"F2"', '"F99"')):
        assert old in text
        with pytest.raises(PathaiError, match="E200"):
            load_findings(text.replace(old, new, 1))


def test_a_file_without_digest_is_refused():
    data = json.loads(canonical(full_case()))
    del data["digest"]
    with pytest.raises(PathaiError, match="no digest"):
        load_findings(json.dumps(data))


def test_a_case_is_whole():
    case = full_case()
    first = case.findings[0]
    for changes, why in (
        ({"findings": (*case.findings, first)}, "twice"),
        ({"findings": (first.model_copy(update={"parents": ("F77",)}),)}, "parent"),
        ({"specimens": ()}, "outside the case"),
    ):
        data = {**case.model_dump(), **changes, "digest": ""}
        data["findings"] = [f if isinstance(f, dict) else f.model_dump() for f in data["findings"]]
        with pytest.raises(ValidationError, match=why):
            type(case).model_validate(data)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_numbers_survive_json(value):
    first = Quantity(value=value, unit="1")
    again = Quantity.model_validate_json(first.model_dump_json())
    assert again == first
    assert float(first.value) == pytest.approx(value, rel=1e-14)


def test_stains_that_the_detector_takes_as_dab_are_immunostains_here():
    from pathai.stain import IMMUNOSTAINS

    assert {registry().family(name) for name in (*IMMUNOSTAINS, "H-DAB")} == {"ihc"}


def test_notes_and_flags_are_sentences():
    book = registry()
    for text in [*book.notes.values(), *book.flags.values()]:
        assert text[0].isupper()
        assert text.endswith(".")
