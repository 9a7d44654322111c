"""The summary for a patient: signed reports alone, plain words, the findings' own numbers."""

import re
from typing import NamedTuple

import pytest
from paraphrase_cases import entered, reader_case

from pathai.drafters.base import Engine
from pathai.errors import PathaiError
from pathai.finding import CaseFindings, Category, Quantity, Specimen, Sum, registry
from pathai.report.patient import _book, patient_page, patient_summary
from pathai.report.readability import reading_grade, syllables
from pathai.report.records import Draft, Section, Statement, Verification

# Counted by hand from how the words are spoken.
SPOKEN = {
    1: """a all are at but cells clear core did ducts each from full grade group grown guess how
       look looked made marks means mend milk more nerve not one page past piece pieces place read
       says score share signed small some still stained tell there these this three tissues'
       two types was what which words you your test tests binds kind thin edge gives asked stage""",
    2: """about also along answer around been's blood-cell cancer doctor details growth's into
       later lesson little number report sample signal slides'-on model table tissue tumor value
       vessel vessels without nothing hormone inside protein measured counted started needed places
       sentence taken simple chances pages boxes causes nucleus'""",
    3: """computer negative positive another following hospital medicine diagnose area idea radio
       microscope prostate-gland benefit syllables""",
    4: "information necessary operation biology ordinary",
    5: "laboratory-made examination-room university",
}  # fmt: skip
HAND = {w: n for n, words in SPOKEN.items() for w in words.split() if w.isalpha()}


class State(NamedTuple):
    name: str = "signed"
    digest: str = ""


def told(case, **changes):
    """One sentence of the machine for each finding."""
    return tuple(
        Statement(
            id=f"S{number}", finding=finding.id, text="", rendered="", source="template",
            verdict="pass", **changes,
        )
        for number, finding in enumerate(case.findings, start=1)
    )  # fmt: skip


def draft_of(case, **changes):
    fields = {
        "case_id": case.case_id,
        "findings_digest": case.sha256(),
        "template": "generic",
        "engine": Engine(name="template"),
        "sections": (Section(id="s", title="", statements=told(case)),),
        "verification": Verification(statements=0, accepted=0, fallback=0),
        "digest": "d" * 64,
        **changes,
    }
    return Draft(**fields)


def case_of(*findings):
    slides = tuple(dict.fromkeys(f.evidence[0].slide_id for f in findings))
    specimen = Specimen(specimen_id="A", laterality="left", site="prostate", slides=slides)
    return CaseFindings(case_id="C1", specimens=(specimen,), findings=findings).sealed()


def summary(case, **changes):
    return patient_summary(draft_of(case, **changes), case, State())


def test_syllables_of_words_counted_by_hand():
    wrong = {word: (syllables(word), n) for word, n in HAND.items() if syllables(word) != n}
    assert len(HAND) > 120
    assert len(wrong) <= 0.05 * len(HAND), wrong
    counted, true = sum(map(syllables, HAND)), sum(HAND.values())
    assert abs(counted - true) <= 0.02 * true


def test_the_reading_grade_is_the_formula():
    # 6 words, 2 sentences, 6 syllables; then 5 words, 1 sentence, 13 syllables.
    assert reading_grade("The cat sat. The dog ran.") == pytest.approx(0.39 * 3 + 11.8 - 15.59)
    hard = "Necessary operation: university computer information"
    grade = 0.39 * 5 / 2 + 11.8 * (4 + 4 + 5 + 3 + 4) / 5 - 15.59
    assert reading_grade(hard + ".") == pytest.approx(grade)
    assert reading_grade("") == 0


def test_what_the_signer_took_out_or_told_otherwise_is_not_summed_up():
    case = reader_case()
    whole = summary(case)
    gone = re.findall(r"\[(F[0-9]+)\]", whole)[0]
    for change in ("deleted", "told otherwise"):
        said = [s for s in told(case) if s.finding != gone]
        if change == "told otherwise":
            own = {"source": "human", "verdict": "flag", "flags": ("missing_slot",)}
            (machine,) = [s for s in told(case) if s.finding == gone]
            said.append(machine.model_copy(update=own))
        sections = (Section(id="s", title="", statements=tuple(said)),)
        short = summary(case, sections=sections)
        assert f"[{gone}]" in whole
        assert gone not in short


def test_only_a_signed_report_of_these_findings_is_summed_up():
    case = reader_case()
    made = draft_of(case)
    for state in (State("draft"), State("in_review"), State("signed", "e" * 64)):
        with pytest.raises(PathaiError, match="E206"):
            patient_summary(made, case, state)
        with pytest.raises(PathaiError, match="E206"):
            patient_page(made, case, state)
    for changes in ({"findings_digest": "0" * 64}, {"case_id": "C2"}, {"language": "fr"}):
        with pytest.raises(PathaiError, match="E206"):
            summary(case, **changes)
    for state in (State("signed", "d" * 64), State("amended")):
        assert "ask your doctor" in patient_summary(made, case, state)


def test_a_summary_says_what_was_found_in_plain_words():
    text = summary(reader_case())
    assert "The Gleason score is 3 + 4 = 7." in text
    assert "The Grade Group is 2." in text
    assert "No cancer cells were seen along a nerve." in text
    assert "Cancer cells were seen in small blood or lymph vessels." in text
    assert "The ER count is 62%." in text
    assert "1,250" not in text
    left, right = text.index("Sample L, left"), text.index("Sample R, right")
    assert left < text.index("Gleason score") < right < text.index("ER count")
    missing = text.index("What was not looked at")
    assert missing < text.index("Growth past the prostate. [F9]")
    assert "83" not in text  # a model's guess stays out
    assert "A guess is not a test result" in text


VALUES = {
    "quantity": [0, 1, 42, 100],
    "sum": [(3, 3), (3, 4), (4, 3), (5, 5)],
}


def every_plain_finding():
    """Each key with each value that has a plain sentence."""
    book = _book()
    for key, words in book.findings.items():
        row = registry().find(key)
        stains = {"er": "ER", "pr": "PR", "her2": "HER2", "ki67": "Ki-67", "mmr": "MLH1"}
        stain = stains.get(key.split(".")[0], "H&E")
        if row.type == "category":
            assert set(words.codes) == set(registry().find(key).values), key
            values = [Category(code=code) for code in words.codes]
        elif row.type == "sum":
            values = [Sum(parts=parts) for parts in VALUES["sum"]]
        else:
            low = int(row.minimum or 0)
            values = [Quantity(value=max(v, low), unit=row.unit) for v in VALUES["quantity"]]
        for value in values:
            yield entered(1, key, value, stain=stain)


def prose(text):
    """The sentences of a summary without headings, ids and the digest."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")][:-1]
    return " ".join(re.sub(r"\[F[^\]]*\]", "", line).removeprefix("- ") for line in lines)


def test_every_plain_sentence_is_easy_and_tells_no_outlook_or_care():
    seen = set()
    for finding in every_plain_finding():
        text = summary(case_of(finding))
        assert reading_grade(prose(text)) <= 8
        assert not re.search(r"prognos|surviv|treat|therap|surg|chemo|cure|risk|recommend", text)
        assert finding.id in text
        seen.add(finding.key)
    assert seen == set(_book().findings)


def test_a_long_summary_stays_easy():
    cases = {f.key: f for f in every_plain_finding()}
    findings = [f.model_copy(update={"id": f"F{i + 1}"}) for i, f in enumerate(cases.values())]
    text = summary(case_of(*findings))
    assert reading_grade(prose(text)) <= 8
    assert text.count("[F") == len(findings)


def test_a_wrong_word_list_is_refused(monkeypatch):
    """A sentence with another number, or with outlook or care, is never printed."""
    book = _book()
    case = case_of(entered(1, "gleason.grade_group", Category(code="gg2")))
    for wrong in ("The Grade Group is 3.", "The Grade Group is 2. The risk is low.",
                  "The Grade Group is 2. Surgery is a choice."):  # fmt: skip
        words = book.findings["gleason.grade_group"]
        changed = words.model_copy(update={"codes": {**words.codes, "gg2": wrong}})
        other = book.model_copy(
            update={"findings": {**book.findings, "gleason.grade_group": changed}}
        )
        monkeypatch.setattr("pathai.report.patient._book", lambda other=other: other)
        with pytest.raises(PathaiError, match="E203"):
            summary(case)


def test_the_page_holds_the_same_sentences_and_loads_nothing():
    case = reader_case()
    page = patient_page(draft_of(case), case, State())
    for line in prose(summary(case)).split(". "):
        assert line.strip(". ") in page.replace("&#x27;", "'")
    assert "default-src 'none'" in page
    assert not re.search(r"<script|src=|href=|@import", page)
