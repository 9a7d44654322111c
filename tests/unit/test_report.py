import json
import re
from base64 import b64encode
from decimal import Decimal
from hashlib import sha256
from html.parser import HTMLParser

import pytest
from finding_cases import OK, answer, cells, foreign, full_case, region_case, slide
from hypothesis import given, settings
from hypothesis import strategies as st

from pathai.case import PredictionInput, StageState
from pathai.config import ReportConfig
from pathai.drafters.base import MIN_LETTERS, Engine, Phrasing
from pathai.errors import PathaiError
from pathai.finding import canonical
from pathai.findings import findings_of_case
from pathai.report import check, documents
from pathai.report.draft import draft, run
from pathai.report.plan import plan
from pathai.report_evaluation.oracle import judge_draft
from pathai.store.commit import Commit
from pathai.store.folders import DRAFT_FILES, CaseFolder

CASE = full_case()
TEMPLATE = ReportConfig()


class Says:
    """A drafter that says what it is told, by finding key; the template's words otherwise."""

    engine = Engine(name="liar", model="liar")

    def __init__(self, said):
        self.said = said

    def phrase(self, lines):
        return Phrasing(texts=tuple(self.said(line) for line in lines))


def line_of(key, case=CASE, status=None):
    lines = [x for section in plan(case) for x in section.lines]
    return next(x for x in lines if x.key == key and status in (None, x.status))


COUNT = line_of("cells.count")
FRACTION = line_of("ki67.positive_percent")
ANSWER = line_of("tumor.probability", status="predicted")
ABSENT = line_of("cells.count", status="failed")
OTHER = line_of("tissue.area_mm2")


def test_the_plan_holds_every_finding_once():
    lines = [line for section in plan(CASE) for line in section.lines]
    assert sorted(x.finding for x in lines) == sorted(f.id for f in CASE.findings)
    assert [x.statement for x in lines] == [f"S{i + 1}" for i in range(len(lines))]


def test_a_plan_tells_a_drafter_no_value_and_no_slide():
    for section in plan(CASE):
        for line in section.lines:
            assert set(line.model_dump()) == {
                "statement", "finding", "key", "name", "unit", "status", "language", "cites"
            }  # fmt: skip
            assert not re.search(r"S1|S2|S3|C1|4321|0\.9287", line.name + line.unit + line.key)


# --- the template ----------------------------------------------------------------------------


def numbers(text):
    return [Decimal(x.replace(",", "")) for x in re.findall(r"(?<![\w.-])\d[\d,]*(?:\.\d+)?", text)]


areas = st.floats(0.01, 900)
slides = st.builds(
    lambda stain, counts, area, tissue, chance, kept, strange, state: slide(
        "S1",
        stain=stain,
        cells=cells(("negative", "positive"), counts, area),
        cells_stage=state,
        tissue_mm2=tissue,
        predictions=(
            PredictionInput(
                model="tumor",
                stage=OK,
                answer=foreign()
                if strange
                else answer(prob=(round(1 - chance, 6), round(chance, 6)), set=kept),
            ),
        ),
    ),
    st.sampled_from(["H&E", "Ki-67", "H-DAB", "PAS"]),
    st.tuples(st.integers(0, 10**7), st.integers(0, 10**7)),
    areas,
    areas,
    st.floats(0.5, 1),
    st.sampled_from([("yes",), ("no", "yes"), ()]),
    st.booleans(),
    st.sampled_from([OK, StageState(state="degraded"), StageState(state="failed", code="E164")]),
)


@settings(deadline=None)
@given(slides)
def test_every_number_in_a_template_draft_is_the_findings_number(given_slide):
    """Judged without the verifier: numbers are recomputed here from the stages' own values."""
    case = findings_of_case("C1", [given_slide])
    made = draft(case, TEMPLATE)
    assert made.verification.fallback == 0
    said = {key_of(case, s.finding): s.rendered for s in made.statements()}
    usable = given_slide.cells_stage.usable
    counts = given_slide.cells.class_counts
    if usable:
        printed, level, low, high = numbers(said["cells.count"])
        assert (printed, level) == (sum(counts), 95)
        assert low <= printed <= high
        if given_slide.stain in ("Ki-67", "H-DAB"):
            assert numbers(said["cells.count.positive"]) == [counts[1]]
        density = numbers(said["cells.density_per_mm2"])
        true = given_slide.cells.density_per_mm2
        for printed, exact in zip(density, (true.value, 95, true.low, true.high), strict=True):
            assert abs(float(printed) - exact) <= 0.5 + 1e-6
    else:
        assert said["cells.count"].endswith("was not obtained (failed, E164).")
    assert abs(float(numbers(said["tissue.area_mm2"])[0]) - given_slide.tissue_mm2) <= 0.005 + 1e-9
    if usable and given_slide.stain == "Ki-67" and sum(counts):
        value, level, low, high, n, d = numbers(said["ki67.positive_percent"].replace("Ki-67", ""))
        assert (n, d, level) == (counts[1], sum(counts), 95)
        assert abs(float(value) - 100 * counts[1] / sum(counts)) <= 0.5 + 1e-9
        assert low <= value <= high


def key_of(case, finding_id):
    return case.finding(finding_id).key


@settings(deadline=None)
@given(slides)
def test_a_rerun_gives_the_same_bytes(given_slide):
    case = findings_of_case("C1", [given_slide])
    one, two = draft(case, TEMPLATE), draft(case, TEMPLATE)
    assert canonical(one) == canonical(two)
    assert documents.html(one, case) == documents.html(two, case)


def test_a_probability_never_becomes_certainty():
    for chance, printed in ((0.999999, "above 0.99"), (1.0, "above 0.99"), (0.97, "0.97")):
        asked = (PredictionInput(model="tumor", stage=OK, answer=answer(prob=(0.0, chance))),)
        case = findings_of_case("C1", [slide("S1", predictions=asked)])
        assert printed in next(
            s.rendered for s in draft(case, TEMPLATE).statements() if s.finding == "F2"
        )


def test_a_foreign_slide_is_named_plainly_and_shows_no_probability():
    made = draft(CASE, TEMPLATE)
    section = next(s for s in made.sections if s.slide_id == "S2")
    said = next(s for s in section.statements if key_of(CASE, s.finding) == "tumor.probability")
    assert said.rendered == "The tumor status remains indeterminate."
    assert any(note.startswith("OUT OF DISTRIBUTION") for note in said.notes)
    for document in (documents.markdown(made, CASE), documents.html(made, CASE)):
        assert "OUT OF DISTRIBUTION" in document
        assert not re.search(r"0\.6[67]|0\.33|66\.8|33\.2", document)  # the raw output stays out


def test_what_was_not_assessed_is_printed_as_such():
    unasked = (PredictionInput(model="msi"),)
    case = findings_of_case("C1", [slide("S1", predictions=unasked)])
    assert "The msi status was not assessed." in documents.markdown(draft(case, TEMPLATE), case)


# --- lies ------------------------------------------------------------------------------------

T, F = f"{{T:{COUNT.key}}}", f"{{{COUNT.finding}}}"
PT, PF = f"{{T:{ANSWER.key}}}", f"{{{ANSWER.finding}}}"
AT, AF = f"{{T:{ABSENT.key}}}", f"{{{ABSENT.finding}}}"
LIES = {
    "digit": [(COUNT, f"The {T} is {F} or 12."), (COUNT, f"The {T} is 4321.")],
    "digit of another script": [(COUNT, f"The {T} is {F}٣."), (COUNT, f"The {T} is {F} ½.")],
    "fullwidth": [(COUNT, f"The {T} is １２ {F}.")],
    "number word": [(COUNT, f"The {T} is twice {F}."), (COUNT, f"Half of the {T} is {F}.")],
    "unknown id": [(COUNT, f"The {T} is {{F999}}."), (COUNT, f"The {T} is {{F0}}.")],
    "other finding": [(COUNT, f"The {T} is {{{OTHER.finding}}}.")],
    "two findings": [(COUNT, f"The {T} is {F} and {{{OTHER.finding}}}.")],
    "value left out": [(COUNT, f"The {T} is found.")],
    "value twice": [(COUNT, f"The {T} is {F} as {F}.")],
    "other subject": [(COUNT, f"The {{T:{OTHER.key}}} is {F}.")],
    "no subject": [(COUNT, f"The value is {F}.")],
    "negation": [(COUNT, f"The {T} is not {F}."), (COUNT, f"No {T} was found: {F}.")],
    "comparison": [(COUNT, f"The {T} is above {F}."), (COUNT, f"The {T} is at least {F}.")],
    "prediction without hedge": [(ANSWER, f"The {PT} is {PF}.")],
    "measurement hedged": [(COUNT, f"{{T:predicted}} for {T}: {F}.")],
    "clinical term": [
        (COUNT, f"The {T} is {F} with metastasis."),
        (ANSWER, f"{{T:predicted}} for {PT}: {PF}, margins free."),
    ],
    "grade": [(COUNT, f"The {T} is {F}, high grade.")],
    "advice": [(COUNT, f"The {T} is {F}; treat the patient.")],
    "invented word": [(COUNT, f"The {T} is {F} in Doctor Smith.")],
    "status": [(ABSENT, f"The {AT} was measured as {AF}.")],
    "markup": [(COUNT, f"The {T} is {F}<script>alert()</script>.")],
    "template code": [(COUNT, f"The {T} is {F}{{{{ config }}}}.")],
    "hidden characters": [(COUNT, f"The {T} is \u202e{F}."), (COUNT, f"The\u200b {T} is {F}.")],
    "line break": [(COUNT, f"The {T} is {F}.\nThe result is given.")],
    "second sentence": [(COUNT, f"The {T} is {F}. The finding is present.")],
    "homoglyph": [(COUNT, f"Тhe {T} is {F}.")],
    "unit": [(COUNT, f"The {T} is {F} percent.")],
    "too long": [(COUNT, f"The {T} is {F}" + " and the result is given here" * 9 + ".")],
    "nonsense": [(COUNT, ": "), (COUNT, ""), (COUNT, f"the the {T} {F}")],
}


@pytest.mark.parametrize("kind", sorted(LIES))
def test_a_lie_is_replaced_by_the_template_and_flagged(kind):
    honest = {s.id: s for s in draft(CASE, TEMPLATE).statements()}
    for line, lie in LIES[kind]:
        assert check.check_text(lie, line, CASE), lie
        made = draft(CASE, TEMPLATE, Says(lambda x, at=line, lie=lie: lie if x == at else None))
        said = next(s for s in made.statements() if s.id == line.statement)
        assert said.rendered == honest[line.statement].rendered
        assert said.verdict == "fallback"
        assert said.flags
        assert said.source == "template"
        if lie:
            assert said.refused == sha256(lie.encode()).hexdigest()
        for document in (
            canonical(made),
            documents.html(made, CASE),
            documents.markdown(made, CASE),
        ):
            assert len(lie) < MIN_LETTERS or lie not in document


@pytest.mark.parametrize(
    "text",
    [
        "{T} in this record: {F}.",
        "For the {T} the measured value is {F}.",
        "The {T} was determined as {F}.",
        "Here the {T} amounts to {F}.",
    ],
)
def test_an_honest_paraphrase_passes(text):
    text = text.replace("{T}", T).replace("{F}", F)
    assert check.check_text(text, COUNT, CASE) == []
    made = draft(CASE, TEMPLATE, Says(lambda x: text if x == COUNT else None))
    said = next(s for s in made.statements() if s.id == COUNT.statement)
    assert (said.verdict, said.source, said.text) == ("pass", "llm", text)
    assert "4,321" in said.rendered


def test_a_drafter_with_too_few_or_too_many_texts_changes_nothing():
    honest = [s.rendered for s in draft(CASE, TEMPLATE).statements()]

    class Short(Says):
        def phrase(self, lines):
            return Phrasing(texts=(None,))

    class Long(Says):
        def phrase(self, lines):
            return Phrasing(texts=(None,) * (len(lines) + 5))

    for kind in (Short, Long):
        made = draft(CASE, TEMPLATE, kind(None))
        assert [s.rendered for s in made.statements()] == honest
        assert made.verification.problems == {"no_text": len(honest)}


@settings(deadline=None)
@given(st.text(max_size=80))
def test_no_text_is_accepted_without_its_finding(text):
    if F not in text:
        assert check.check_text(text, COUNT, CASE)


def test_every_template_sentence_passes_the_verifier():
    assert check.check_draft(draft(CASE, TEMPLATE), CASE) == []


# --- a stored draft --------------------------------------------------------------------------


def changed(made, section, statement, **changes):
    said = list(made.sections[section].statements)
    said[statement] = said[statement].model_copy(update=changes)
    sections = list(made.sections)
    sections[section] = sections[section].model_copy(update={"statements": tuple(said)})
    return made.model_copy(update={"sections": tuple(sections)})


def test_a_changed_draft_is_found():
    made = draft(CASE, TEMPLATE)
    strange = next(i for i, s in enumerate(made.sections) if s.slide_id == "S2")
    fraction = next(
        i for i, s in enumerate(made.sections[strange].statements) if s.finding == FRACTION.finding
    )
    printed = made.sections[strange].statements[fraction].rendered
    short = made.sections[1].model_copy(update={"statements": made.sections[1].statements[1:]})
    for what, bad in {
        "number": changed(made, strange, fraction, rendered=printed.replace("42%", "24%")),
        "unit": changed(made, strange, fraction, rendered=printed.replace("42%", "42 mm²")),
        "finding": changed(made, strange, fraction, finding="F1"),
        "note": changed(made, strange, fraction, notes=()),
        "text": changed(made, strange, fraction, text="The result is given."),
        "statement": made.model_copy(update={"sections": (made.sections[0], short)}),
        "section": made.model_copy(update={"sections": made.sections[1:]}),
        "watermark": made.model_copy(update={"watermark": "final"}),
        "case": made.model_copy(update={"case_id": "C9"}),
        "origin": made.model_copy(update={"findings_digest": "0" * 64}),
    }.items():
        assert check.check_draft(bad, CASE), what
        with pytest.raises(PathaiError, match="E203"):
            check.require(bad, CASE)


# --- documents -------------------------------------------------------------------------------


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.ids, self.links, self.style, self._in = [], "", [], [], "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in = tag
        self.ids += [v for k, v in attrs if k == "id"]
        self.links += [v for k, v in attrs if k in ("href", "src")]

    def handle_data(self, data):
        if self._in == "style":
            self.style += data
        else:
            self.text += data

    def handle_endtag(self, tag):
        self._in = ""


def test_the_page_loads_nothing_and_allows_its_own_style_alone():
    made = draft(CASE, TEMPLATE)
    page = Page(documents.html(made, CASE))
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))
    digest = b64encode(sha256(page.style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert not {"script", "iframe", "link", "img"} & {tag for tag, _ in page.tags}
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert not re.search(r"url\(|@import|https?:", page.style)


def test_documents_hold_the_same_sentences_and_the_watermark():
    made = draft(CASE, TEMPLATE)
    text = " ".join(Page(documents.html(made, CASE)).text.split())
    plain = documents.markdown(made, CASE).replace("\\", "")
    for section in made.sections:
        for document in (text, plain):
            assert all(line.text in document for line in section.briefs)
            for said in section.shown():
                assert said.rendered in document
                assert all(note in document for note in said.notes)
    for document in (text, plain):
        assert document.count(made.watermark) == 2


def test_hostile_names_are_shown_as_text():
    bad = "<img src=x onerror=alert(1)>"
    named = answer(classes=("no", bad), label=bad, set=(bad,), question=f"{bad}|`x`")
    asked = (PredictionInput(model="tumor", stage=OK, answer=named),)
    case = findings_of_case("C1", [slide("S1", stain=bad, site="[a](http://x)", predictions=asked)])
    made = draft(case, TEMPLATE)
    page, plain = documents.html(made, case), documents.markdown(made, case)
    assert "<img" not in page
    assert "&lt;img" in page
    assert "<img" not in plain.replace("\\<", "")
    assert "[a](" not in plain.replace("\\[", "").replace("\\]", "")


@pytest.mark.parametrize(
    ("language", "name"),
    [("en", "“ki 67 is 90”"), ("fr", "«\u00a0ki 67 is 90\u00a0»"), ("es", "“ki 67 is 90”")],
)
def test_the_name_of_a_drawn_region_is_quoted_and_claims_nothing(language, name):
    case = region_case("Ki-67 is 90 %")
    made = draft(case, ReportConfig(language=language))
    said = [s.rendered for s in made.statements() if "ki 67" in s.rendered]
    assert len(said) == 3
    assert all(name in text for text in said)
    assert check.check_draft(made, case) == []
    if language == "en":
        assert judge_draft(made.model_dump(mode="json"), case.model_dump(mode="json")) == []


def test_run_writes_every_document_and_again_the_same(tmp_path):
    folder = CaseFolder(tmp_path / "cases" / "C1")
    folder.path.mkdir(parents=True)
    folder.findings.write_text(canonical(CASE), "utf-8")
    out = Commit(folder.base("draft"), DRAFT_FILES)
    run(folder, TEMPLATE, out)
    out.finish()
    stored = json.loads(folder.draft("json").read_text("utf-8"))
    assert stored == draft(CASE, TEMPLATE).model_dump(mode="json")
    assert stored["status"] == "draft"
    assert folder.draft("html").read_text("utf-8").startswith("<!doctype html>")
    files = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    assert set(files) - {"findings.json"} == set(DRAFT_FILES) - {"sr.dcm"}  # no slide is DICOM
    run(folder, TEMPLATE, out)
    out.finish()
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == files


def test_findings_that_were_touched_are_not_drafted(tmp_path):
    folder = CaseFolder(tmp_path / "C1")
    folder.path.mkdir()
    folder.findings.write_text(canonical(CASE).replace("4321", "4322"), "utf-8")
    with pytest.raises(PathaiError, match="E200"):
        run(folder, TEMPLATE, Commit(folder.base("draft"), ("draft.json",)))


def test_an_unknown_template_names_what_to_do():
    with pytest.raises(PathaiError, match="E191"):
        draft(CASE, ReportConfig(template="../secret"))


# --- predicted numbers -----------------------------------------------------------------------


def with_number(**changes):
    """A case with one slide on which a model predicts a number."""
    fields = {"kind": "count", "classes": (), "label": "", "prob": (), "set": (), **changes}
    given_answer = PredictionInput(model="cancer-cells", stage=OK, answer=answer(**fields))
    return findings_of_case("C1", [slide("S1", predictions=(given_answer,))])


def sentence(case, key="cancer_cells.predicted_number"):
    made = draft(case, TEMPLATE)
    assert made.verification.fallback == 0
    return next(s.rendered for s in made.statements() if key_of(case, s.finding) == key)


@pytest.mark.parametrize(
    ("changes", "printed"),
    [
        ({"value": 1240.4, "low": 830, "high": 1900, "unit_of_value": "cells"},
         "1,240 cells (90% interval 830 to 1,900)"),
        ({"value": 1240.4, "unit_of_value": "cells"}, "1,240 cells (no interval)"),
        ({"value": 1240.4, "high": 1900}, "1,240 (90% interval up to 1,900)"),
        ({"value": 0.4, "low": 0, "unit_of_value": "per 10 fields"},
         "0 per 10 fields (90% interval from 0)"),
        ({"kind": "ratio", "value": 0.1234, "low": 0.05, "high": 0.3},
         "12.3% (90% interval 5.0 to 30.0)"),
        ({"kind": "regression", "value": -1.234, "low": -3, "high": -0.001},
         "−1.23 (90% interval −3.00 to 0.00)"),
    ],
)  # fmt: skip
def test_a_predicted_number_is_printed_with_interval_unit_and_coverage(changes, printed):
    assert sentence(with_number(**changes)) == f"Model prediction for cancer cells: {printed}."


def test_survival_is_printed_as_a_chance_without_a_set():
    alive = {"kind": "survival", "prob": (0.68,), "risk": 1.0, "horizon": 60}
    case = with_number(**alive, unit_of_value="months")
    said = sentence(case, "cancer_cells.probability")
    assert said.endswith(": “no event within 60 months” with probability 0.68.")


def test_a_withheld_number_is_printed_as_indeterminate():
    case = with_number(abstained=True, unit_of_value="cells")
    assert sentence(case) == "The cancer cells remains indeterminate."


finite = st.floats(-1e9, 1e9, allow_nan=False)


@settings(deadline=None)
@given(finite, st.floats(0, 1e6), st.floats(0, 1e6), st.sampled_from(["count", "regression"]))
def test_a_sentence_with_any_other_number_is_refused(value, below, above, kind):
    """The check reads numbers back with their sign; a swapped or changed one never passes."""
    value = abs(value) if kind == "count" else value
    ends = {"low": max(value - below, 0) if kind == "count" else value - below}
    case = with_number(kind=kind, value=value, high=value + above, **ends)
    finding = next(f for f in case.findings if f.key == "cancer_cells.predicted_number")
    told = sentence(case)
    assert check.check_numbers(told, finding) == []
    for changed in (
        told.replace("90%", "95%"),
        told.replace(" to ", " to 7 to "),
        told.replace(": ", ": −") if ": −" not in told else told.replace(": −", ": "),
    ):
        zero = not any(c in "123456789" for c in changed.split(": ")[1].split(" (")[0])
        harmless = zero and changed.replace(": −", ": ") == told  # a zero has no sign
        assert harmless or check.check_numbers(changed, finding)
