"""What follows from entries is never said to have been entered, in no language and no style."""

import json

import pytest
from entry_cases import entered, prostate_case

from pathai import rules
from pathai.config import ReportConfig
from pathai.language import catalog
from pathai.layouts import load_layout
from pathai.report import check, documents
from pathai.report.draft import draft
from pathai.report.fhir import fhir
from pathai.report.plan import plan
from pathai.report_evaluation.oracle import judge_draft, judge_raw, judge_sentence
from pathai.report_evaluation.paraphrases import paraphrases
from pathai.report_evaluation.reading import book

CASE = entered(
    prostate_case(model="x"),
    ("gleason.primary", "p3"),
    ("gleason.secondary", "p4"),
    ("cells.count", 4000, "HE"),
)
DERIVED = ("gleason.score", "gleason.grade_group", "cells.density_per_mm2")
FOLLOWS = {"en": "follows from what was entered", "fr": "découle", "es": "se deduce"}


def found(key):
    return next(f for f in CASE.findings if f.key == key)


def line_of(key):
    return next(x for part in plan(CASE) for x in part.lines if x.key == key)


@pytest.mark.parametrize("template", ["generic", "prostate_core"])
@pytest.mark.parametrize("language", ["en", "fr", "es"])
def test_it_says_that_it_follows_from_what_was_entered(language, template):
    case = rules.apply(CASE, load_layout(template).requires)
    made = draft(case, ReportConfig(language=language, template=template))
    said = {s.finding: s for s in made.statements()}
    for key in DERIVED:
        one = said[found(key).id]
        assert FOLLOWS[language] in " ".join(one.notes)
        for claim in ("was entered as", "saisi", "introduc"):
            assert claim not in one.rendered
    given = said[found("gleason.primary").id]
    assert FOLLOWS[language] not in " ".join(given.notes)
    assert check.check_draft(made, case) == []
    if language == "en":
        texts = given.rendered, said[found("gleason.score").id].rendered
        sentences = ("The most common Gleason pattern was entered as pattern 3.",
                     "The Gleason score is 3 + 4 = 7.")  # fmt: skip
        items = ("Most common Gleason pattern: pattern 3.", "Gleason score: 3 + 4 = 7.")
        assert texts == (sentences if template == "generic" else items)
        dump = made.model_dump(mode="json")
        assert judge_draft(dump, case.model_dump(mode="json")) == []


def test_documents_say_so():
    made = draft(CASE, ReportConfig())
    page = documents.html(made, CASE, documents.DRAFT, ())
    assert catalog("en").status("derived") in page
    resources = [e["resource"] for e in fhir(made, CASE)["entry"]]
    (score,) = [
        r for r in resources
        if r["resourceType"] == "Observation" and "gleason.score" in json.dumps(r["code"])
    ]  # fmt: skip
    assert "(rule" in score["method"]["text"]
    assert "performer" not in score
    assert any(FOLLOWS["en"] in note["text"] for note in score["note"])


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("The {T} is {F}.", True),
        ("The {T} was calculated as {F}.", True),
        ("The derived {T} is {F}.", True),
        ("By rule, the {T} is {F}.", True),
        ("The {T} was entered as {F}.", False),
        ("The {T} was entered by a person as {F}.", False),
        ("The {T} was measured as {F}.", False),
        ("The {T} was counted as {F}.", False),
        ("The reader gave the {T} as {F}.", False),
    ],
)
@pytest.mark.parametrize("key", DERIVED)
def test_nobody_may_say_that_it_was_entered_or_measured(key, text, passes):
    finding = found(key)
    text = text.replace("{T}", f"{{T:{key}}}").replace("{F}", f"{{{finding.id}}}")
    problems = check.check_text(text, line_of(key), CASE)
    assert [p.code for p in problems] == ([] if passes else ["status"])
    mine = check.check_statement(text, line_of(key), CASE, human=True)
    assert bool(mine) == (not passes)


def test_the_oracle_knows_it_by_itself():
    case = CASE.model_dump(mode="json")
    score = next(f for f in case["findings"] if f["key"] == "gleason.score")
    wrong = "The Gleason score was entered as 3 + 4 = 7."
    assert judge_sentence(wrong, score, case, book("en")) == ["status"]
    assert judge_sentence(wrong.replace("was entered as", "is"), score, case, book("en")) == []
    raw = "The {T:gleason.score} was entered as {" + score["id"] + "}."
    assert judge_raw(raw, score, case)
    for text in paraphrases(score):
        assert "entered" not in text
        assert check.check_text(text, line_of("gleason.score"), CASE) == [], text
