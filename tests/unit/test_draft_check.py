"""The check of a whole draft: what stands beside findings, and findings beside one another."""

from itertools import pairwise

import pytest
from finding_cases import full_case
from paraphrase_cases import entered, line_for, reader_case

from pathai import rules
from pathai.config import ReportConfig
from pathai.errors import PathaiError
from pathai.finding import CaseFindings, Category, Context, Contradiction, Quantity, Specimen, Sum
from pathai.report import check
from pathai.report.check.cross import grade_group
from pathai.report.draft import draft
from pathai.report.records import Fixed

CASE = rules.apply(reader_case())
MADE = draft(CASE, ReportConfig())


def codes(made, case=CASE):
    return [p.code for p in check.check_draft(made, case)]


def with_fixed(made, fixed):
    return resealed(made, fixed=tuple(fixed))


def resealed(made, **changes):
    """A draft whose digest was set anew by whoever touched it."""
    new = made.model_copy(update=changes)
    return new.model_copy(update={"digest": check.digest_of(new)})


def case_of(*findings, **more):
    slides = tuple(dict.fromkeys(f.evidence[0].slide_id for f in findings))
    specimen = Specimen(specimen_id="A", slides=slides)
    return CaseFindings(case_id="C1", specimens=(specimen,), findings=findings, **more).sealed()


@pytest.mark.parametrize("language", ["en", "fr", "es"])
@pytest.mark.parametrize("case", [CASE, full_case()], ids=["reader", "measured"])
def test_a_draft_passes_in_every_language(case, language):
    made = draft(case, ReportConfig(language=language))
    assert made.verification.fallback == 0
    assert codes(made, case) == []


def test_a_draft_in_one_language_does_not_pass_for_another():
    for language in ("fr", "es"):
        made = draft(CASE, ReportConfig(language=language))
        assert codes(resealed(made, language="en"))


def test_the_case_of_these_tests_has_suggestions():
    assert {"her2_reflex", "msi_confirm"} <= {s.rule for s in CASE.suggestions}
    assert [f.id for f in MADE.fixed if f.kind == "suggestion"]


def test_suggestions_are_those_of_the_table_alone():
    for i, sentence in enumerate(MADE.fixed):
        rest = [*MADE.fixed[:i], *MADE.fixed[i + 1 :]]
        if sentence.kind == "reference":
            continue
        assert sentence.kind in codes(with_fixed(MADE, rest))
        assert sentence.kind in codes(with_fixed(MADE, [*MADE.fixed, sentence]))
        for changes in (
            {"text": sentence.text + " Now."},
            {"id": "invented"},
            {"source": ""},
            {"findings": ("F1",)},
            {"kind": "contradiction" if sentence.kind == "suggestion" else "suggestion"},
        ):
            wrong = sentence.model_copy(update=changes)
            assert codes(with_fixed(MADE, [*rest, wrong])), changes
    advice = Fixed(kind="suggestion", id="invented", text="Treat.", findings=("F1",), source="x")
    assert codes(with_fixed(MADE, [*MADE.fixed, advice])) == ["suggestion"]


def test_a_finding_never_stands_without_what_its_guideline_asks():
    """Even if the findings themselves name no suggestion, the draft may not lack it."""
    for key in ("her2.score", "msi.probability"):
        finding = next(f for f in CASE.findings if f.key == key)
        bare = case_of(finding.model_copy(update={"parents": ()}))
        with pytest.raises(PathaiError, match=r"E203.*stands without"):
            draft(bare, ReportConfig())
        assert draft(rules.apply(bare), ReportConfig()).fixed
    low = Quantity(value=5, unit="%", numerator=100, denominator=2000)
    er = entered(1, "er.positive_percent", low, stain="ER")
    with pytest.raises(PathaiError, match=r"E203.*er_low_positive"):
        draft(case_of(er), ReportConfig())
    assert draft(rules.apply(case_of(er)), ReportConfig()).verification.fallback == 0


@pytest.mark.parametrize("language", ["en", "fr", "es"])
def test_what_a_guideline_asks_is_known_in_every_language(language):
    low = Quantity(value=5, unit="%", numerator=100, denominator=2000)
    her2 = entered(2, "her2.score", Category(code="2plus"), slide="P2", stain="HER2")
    case = rules.apply(case_of(entered(1, "er.positive_percent", low, stain="ER"), her2))
    assert codes(draft(case, ReportConfig(language=language)), case) == []


CONFLICTS = {
    "sum of the patterns": [
        ("gleason.primary", Category(code="p4")), ("gleason.score", Sum(parts=(3, 4)))],
    "grade group": [
        ("gleason.score", Sum(parts=(3, 4))), ("gleason.grade_group", Category(code="gg3"))],
    "Nottingham parts": [
        ("nottingham.nuclear", Category(code="s1")), ("nottingham.score", Sum(parts=(3, 2, 1)))],
    "Nottingham grade": [
        ("nottingham.score", Sum(parts=(3, 2, 1))), ("nottingham.grade", Category(code="g3"))],
    "receptor": [
        ("er.positive_percent", Quantity(value=80, unit="%", numerator=80, denominator=100)),
        ("er.status", Category(code="negative"))],
    "band": [
        ("ki67.positive_percent", Quantity(value=5, unit="%", numerator=5, denominator=100)),
        ("ki67.band", Category(code="high"))],
    "cores": [
        ("prostate.cores", Quantity(value=6, unit="{cores}")),
        ("prostate.cores_positive", Quantity(value=7, unit="{cores}"))],
    "diagnosis and grade": [
        ("diagnosis.category", Category(code="benign")), ("nottingham.grade", Category(code="g1"))],
    "diagnosis and invasion": [
        ("diagnosis.category", Category(code="insufficient")),
        ("prostate.perineural", Category(code="present"))],
    "diagnosis and cores": [
        ("diagnosis.category", Category(code="benign")),
        ("prostate.cores_positive", Quantity(value=3, unit="{cores}"))],
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(CONFLICTS))
def test_a_contradiction_that_the_case_does_not_name_is_found(kind):
    stains = {"er": "ER", "ki67": "Ki-67"}
    findings = [
        entered(i, key, value, stain=stains.get(key.split(".")[0], "H&E"))
        for i, (key, value) in enumerate(CONFLICTS[kind], start=1)
    ]
    with pytest.raises(PathaiError, match=r"E203.*contradict"):
        draft(case_of(*findings), ReportConfig())
    named = Contradiction(rule="gleason_score", findings=("F1", "F2"))
    made = draft(case_of(*findings, contradictions=(named,)), ReportConfig())
    assert [f.id for f in made.fixed if f.kind != "reference"] == ["gleason_score"]


def test_grade_groups_of_all_scores():
    """ISUP 2014: every pair of patterns three to five."""
    groups = {(3, 3): 1, (3, 4): 2, (4, 3): 3, (4, 4): 4, (3, 5): 4, (5, 3): 4}
    groups |= {(4, 5): 5, (5, 4): 5, (5, 5): 5}
    assert {pair: grade_group(pair) for pair in groups} == groups


# --- clinical context and citations ------------------------------------------------------------

PSA = Context(id="C1", key="psa_ng_ml", value="6.4", unit="ng/mL")


def test_an_item_of_the_context_stands_as_it_was_given():
    case = CASE.model_copy(update={"context": (PSA,), "digest": ""}).sealed()
    made = draft(case, ReportConfig())
    rest = [f for f in made.fixed if f.kind != "context"]
    assert [f.text for f in made.fixed if f.kind == "context"] == ["PSA beforehand: 6.4 ng/mL"]

    def said(text, name="C1"):
        return codes(with_fixed(made, [*rest, Fixed(kind="context", id=name, text=text)]), case)

    assert said("PSA: 6.4 ng/mL") == []
    for wrong in ("PSA: 6.5 ng/mL", "PSA: 6.4", "PSA: not 6.4 ng/mL", "PSA 6.4 ng/mL",
                  "PSA: 6.4 ng/mL, up from 3.", "PSA: 6.4 ng/mL, treatment advised.",
                  "PSA left: 6.4 ng/mL", "PSA, up from 3: 6.4 ng/mL",
                  "PSA" + " and so on" * 20 + ": 6.4 ng/mL"):  # fmt: skip
        assert said(wrong) == ["context"], wrong
    assert said("PSA: 6.4 ng/mL", "C2") == ["context"]


def test_a_statement_cites_only_what_its_line_allows():
    finding = next(f for f in CASE.findings if f.key == "gleason.score")
    line = line_for(finding).model_copy(update={"cites": ("gleason",)})
    text = f"The {{T:{finding.key}}} is {{{finding.id}}} {{K:gleason}}."
    assert check.check_statement(text, line, CASE) == []
    for wrong in (text.replace("K:gleason", "K:other"), text.replace("}.", "} {K:gleason}.")):
        assert [p.code for p in check.check_statement(wrong, line, CASE)] == ["citation"]
    assert check.check_statement(text, line_for(finding), CASE)


def test_references_are_the_corpus_own_or_say_where_a_passage_stands():
    own = next(f for f in MADE.fixed if f.kind == "reference")
    rest = [f for f in MADE.fixed if f is not own]
    assert codes(with_fixed(MADE, rest)) == ["citation"]
    for changes in ({"text": own.text + " Now."}, {"source": "10.1/x"}, {"findings": ("F99",)}):
        wrong = own.model_copy(update=changes)
        assert codes(with_fixed(MADE, [*rest, wrong])) == ["citation"], changes
    passage = Fixed(kind="reference", id="lab-1", text="sop.md, 3-9", source="sop.md")
    assert codes(with_fixed(MADE, [*MADE.fixed, passage])) == []
    assert codes(with_fixed(MADE, [*MADE.fixed, passage, passage])) == ["citation"]
    for changes in ({"source": ""}, {"text": "Gleason."}, {"source": "other.md"}):
        wrong = passage.model_copy(update=changes)
        assert codes(with_fixed(MADE, [*MADE.fixed, wrong])) == ["citation"], changes


def test_a_draft_that_was_touched_does_not_bear_its_digest():
    assert codes(MADE) == []
    for changes in ({"engine_flags": ("llm_slow",)}, {"digest": "0" * 64}, {"digest": ""}):
        assert codes(MADE.model_copy(update=changes)) == ["origin"]
    counts = MADE.verification.model_copy(update={"fallback": 3})
    assert codes(resealed(MADE, verification=counts)) == ["origin"]


# --- stored statements -------------------------------------------------------------------------


def changed(made, key, case=CASE, **changes):
    finding = next(f for f in case.findings if f.key == key)
    sections = []
    for section in made.sections:
        said = [
            s.model_copy(update=changes) if s.finding == finding.id else s
            for s in section.statements
        ]
        sections.append(section.model_copy(update={"statements": tuple(said)}))
    return resealed(made, sections=tuple(sections))


def test_a_persons_sentence_stands_with_its_flag_and_not_without():
    finding = next(f for f in CASE.findings if f.key == "prostate.cribriform")
    text = f"Sadly the {{T:{finding.key}}} is {{{finding.id}}}, with metastasis."
    shown = text.replace(f"{{{finding.id}}}", "present")
    shown = shown.replace(f"{{T:{finding.key}}}", "cribriform glands")
    mine = {"text": text, "rendered": shown, "source": "human"}
    assert codes(changed(MADE, finding.key, **mine)) == ["clinical_term"]
    flagged = {**mine, "verdict": "flag", "flags": ("clinical_term",)}
    assert codes(changed(MADE, finding.key, **flagged)) == []
    assert codes(changed(MADE, finding.key, **{**flagged, "source": "llm"}))
    for altered in (
        {"rendered": shown.replace("present", "absent")},
        {"flags": ("digit",)},
        {"text": text.replace(finding.id, "F999"), "flags": ("unknown_id",)},
    ):
        assert codes(changed(MADE, finding.key, **{**flagged, **altered})), altered


def test_a_draft_of_another_revision_is_found():
    assert "origin" in codes(resealed(MADE, revision=1))
    later = CASE.model_copy(update={"revision": 1, "parent": CASE.digest, "digest": ""}).sealed()
    assert "origin" in codes(MADE, later)


def test_values_that_changed_places_are_found():
    """Two printed sentences swapped, or a sentence moved to another finding."""
    said = [s for s in MADE.statements() if "{" in s.text]
    for one, other in pairwise(said):
        if one.rendered != other.rendered:
            key = CASE.finding(one.finding).key
            assert codes(changed(MADE, key, rendered=other.rendered))
            assert codes(changed(MADE, key, text=other.text, rendered=other.rendered))
            assert codes(changed(MADE, key, finding=other.finding))


@pytest.mark.parametrize(
    "change",
    [
        {"title": "Right prostate"},
        {"notes": ("A note.",)},
        {"slide_id": "B9", "id": "x"},
        {"statements": ()},
    ],
)
def test_a_changed_section_is_found(change):
    section = MADE.sections[0].model_copy(update=change)
    wrong = resealed(MADE, sections=(section, *MADE.sections[1:]))
    assert codes(wrong)


def test_a_required_finding_is_not_left_out():
    layout = MADE.layout.model_copy(update={"requires": ("mmr.status",)})
    assert "required" in codes(resealed(MADE, layout=layout))
