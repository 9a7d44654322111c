import re
from pathlib import Path

import pytest
from finding_cases import FAILED, cells, full_case, slide
from hypothesis import given, settings
from hypothesis import strategies as st
from layout_cases import cases

from pathai import rules
from pathai.case import PredictionInput
from pathai.chain import draft_step, findings_step
from pathai.config import ReportConfig
from pathai.drafters.template import TemplateDrafter
from pathai.errors import PathaiError
from pathai.finding import (
    VALUELESS,
    CaseFindings,
    Category,
    Evidence,
    Finding,
    Method,
    Specimen,
    Sum,
    canonical,
    registry,
)
from pathai.findings import findings_of_case
from pathai.language import LANGUAGES, catalog
from pathai.layouts import chosen, load_layout, names
from pathai.plan import Plan
from pathai.report import check, render
from pathai.report.draft import draft
from pathai.report.plan import NAMED, plan
from pathai.sheet import SheetRow

LAYOUTS = [load_layout(name) for name in names()]
ways = st.tuples(st.sampled_from(LAYOUTS), st.sampled_from(LANGUAGES))
OWN = """
name: own_prostate
title: {en: The laboratory's own form}
sections:
  - id: summary
    title: {en: Summary, fr: Résumé}
    keys: [gleason.grade_group, gleason.score, diagnosis.*]
  - id: measurements
    title: measurements
    per: slide
asks: [gleason.primary, gleason.secondary]
requires: [gleason.primary]
sentences:
  cells.count:
    en: "Here the {{ term }} amounts to {{ value }}."
"""


def own(tmp_path, text=OWN):
    path = tmp_path / "own.yaml"
    path.write_text(text, "utf-8")
    return path


def section_of(name, language):
    return ReportConfig(template=name, language=language)


# --- every finding once ----------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(cases(), ways)
def test_every_finding_stands_once_in_every_layout(case, way):
    planned = plan(case, *way)
    lines = [line for section in planned for line in section.lines]
    assert sorted(x.finding for x in lines) == sorted(f.id for f in case.findings)
    assert [x.statement for x in lines] == [f"S{i + 1}" for i in range(len(lines))]
    assert len({section.id for section in planned}) == len(planned)
    assert all(section.lines for section in planned)


@settings(deadline=None, max_examples=40)
@given(cases(), ways)
def test_a_section_never_mixes_places_or_values_that_only_a_slide_tells_apart(case, way):
    homes = {s.specimen_id: set(s.slides) for s in case.specimens}
    for section in plan(case, *way):
        found = [case.finding(line.finding) for line in section.lines]
        slides = [{e.slide_id for e in f.evidence} for f in found]
        if section.slide_id:
            assert all(on == {section.slide_id} for on in slides)
        elif section.specimen_id:
            assert all(on <= homes[section.specimen_id] for on in slides)
        single = [f.key for f, on in zip(found, slides, strict=True)
                  if len(on) == 1 and f.status not in VALUELESS]  # fmt: skip
        assert len(set(single)) == len(single)


@settings(deadline=None, max_examples=40)
@given(cases(), ways)
def test_what_has_no_value_stands_last_and_is_gathered_once(case, way):
    for section in plan(case, *way):
        found = [case.finding(line.finding) for line in section.lines]
        missing = [f.status in VALUELESS for f in found]
        assert missing == sorted(missing)
        gathered = [fid for group in section.gathered for fid in group.findings]
        assert len(set(gathered)) == len(gathered)
        assert all(case.finding(fid).status in VALUELESS for fid in gathered)
        left = {f.id for f in found if f.status in VALUELESS} - set(gathered)
        keys = [f.key for f in found]
        for fid in left:  # alone in its kind, and nobody has to ask of which slide
            assert section.slide_id or keys.count(case.finding(fid).key) == 1


@settings(deadline=None, max_examples=40)
@given(cases(), ways)
def test_each_missing_values_reason_is_printed(case, way):
    layout, language = way
    words, once = catalog(language), registry().once_per_slide
    of_slides = set()
    case = rules.apply(case, layout.requires)
    for section in draft(case, section_of(layout.name, language)).sections:
        of_slides |= {(section.slide_id, note) for note in section.notes}
        for statement in section.statements:
            finding = case.finding(statement.finding)
            if finding.note:
                sentence = words.typeset(words.note(finding.note))
                brief = [b for b in section.briefs if finding.id in b.findings]
                beside = brief[0].notes if brief else statement.notes
                above = finding.note in once and (section.slide_id, sentence) in of_slides
                assert sentence in (*beside, *section.notes) or above
                assert not (sentence in beside and above)


# --- the whole draft -------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(cases(), ways)
def test_every_layout_and_language_passes_the_verifier_and_reruns_to_the_same_bytes(case, way):
    layout, language = way
    case = rules.apply(case, layout.requires)
    made = draft(case, section_of(layout.name, language))
    assert made.verification.fallback == 0
    assert made.language == language
    assert check.check_draft(made, case) == []
    assert canonical(made) == canonical(draft(case, section_of(layout.name, language)))


@settings(deadline=None, max_examples=40)
@given(cases(), ways)
def test_no_template_sentence_holds_a_digit(case, way):
    layout, language = way
    lines = [line for section in plan(case, layout, language) for line in section.lines]
    for text in TemplateDrafter(section_of(layout.name, language)).phrase(lines).texts:
        bare = re.sub(r"\{[^{}]*\}", "", text)
        assert not any(c.isnumeric() for c in bare)


def test_a_draft_says_its_own_order_so_that_it_is_checked_without_the_file(tmp_path):
    path = own(tmp_path)
    case = rules.apply(full_case(), load_layout(str(path)).requires)
    made = draft(case, ReportConfig(template=str(path)))
    path.unlink()
    assert made.template == "own_prostate"
    assert str(tmp_path) not in canonical(made)
    assert check.check_draft(made, case) == []


def test_a_changed_brief_is_found():
    case = full_case()
    made = draft(case, ReportConfig())
    at = next(i for i, s in enumerate(made.sections) if s.briefs)
    first = made.sections[at].briefs[0].model_copy(update={"text": "Everything is well."})
    for briefs in ((first, *made.sections[at].briefs[1:]), ()):
        section = made.sections[at].model_copy(update={"briefs": briefs})
        parts = (*made.sections[:at], section, *made.sections[at + 1 :])
        bad = made.model_copy(update={"sections": parts})
        bad = bad.model_copy(update={"digest": check.digest_of(bad)})
        assert [p.code for p in check.check_draft(bad, case)] == ["required"]


# --- how it reads ----------------------------------------------------------------------------


def test_a_failed_slide_is_one_short_line():
    asked = (PredictionInput(model="tumor", stage=FAILED),)
    broken = {"tissue_stage": FAILED, "tissue_mm2": None, "cells_stage": FAILED, "cells": None}
    case = findings_of_case("C1", [slide("S3", stain="Ki-67", predictions=asked, **broken)])
    section = next(s for s in draft(case, ReportConfig()).sections if s.slide_id == "S3")
    failed = [s for s in section.statements if case.finding(s.finding).status == "failed"]
    assert len(section.statements) > NAMED
    assert section.shown() == ()
    texts = [b.text for b in section.briefs]
    assert f"Not obtained (failed, E110): all {len(failed)} items of this section." in texts
    assert section.notes == (registry().notes["slide_failed"],)


def test_a_breast_case_of_two_specimens_reads_diagnosis_first_and_markers_together():
    dab = cells(("negative", "positive"), (580, 420))
    slides = [
        slide(
            f"{part}{i}", stain=stain, specimen_id=part, cells=dab if i else cells(("n",), (900,))
        )
        for part in "AB"
        for i, stain in enumerate(("H&E", "ER", "PR", "Ki-67"))
    ]
    case = findings_of_case("C1", slides)
    titles = [render.title_text(s) for s in plan(case, load_layout("breast_core"))]
    assert "Immunohistochemistry · Specimen A" in titles
    first = [t for t in titles if "Specimen" in t]
    assert titles[: len(first)] == first  # what a reader came for stands before the slides
    assert [t.split(" · ")[1] for t in first] == sorted(t.split(" · ")[1] for t in first)
    ihc = next(s for s in plan(case, load_layout("breast_core"))
               if render.title_text(s) == "Immunohistochemistry · Specimen A")  # fmt: skip
    values = [x.key for x in ihc.lines if x.status == "measured" and x.key.endswith("e_percent")]
    assert values == ["er.positive_percent", "pr.positive_percent", "ki67.positive_percent"]


def test_a_note_of_a_slide_is_said_once():
    case = rules.apply(full_case(), load_layout("breast_core").requires)
    made = draft(case, ReportConfig(template="breast_core"))
    sentence = registry().notes["slide_failed"]
    said = [n for s in made.sections if s.slide_id == "S3" for n in s.notes]
    assert said.count(sentence) <= 1


# --- files -----------------------------------------------------------------------------------


def test_a_laboratorys_own_file_orders_and_words_the_draft(tmp_path):
    case = rules.apply(full_case(), load_layout(str(own(tmp_path))).requires)
    made = draft(case, ReportConfig(template=str(own(tmp_path))))
    said = [s.rendered for s in made.statements()]
    assert any(
        t.startswith("Here the number of nuclei in the analyzed tissue amounts to") for t in said
    )
    assert made.verification.fallback == 0


@pytest.mark.parametrize("bad", [
    "The {{ term }} is {{ value }}, high grade.", "The {{ term }} is 12.",
    "{{ value }} of {{ term }}!",
])  # fmt: skip
def test_an_own_wording_that_does_not_stand_is_replaced_and_flagged(tmp_path, bad):
    text = OWN.replace("Here the {{ term }} amounts to {{ value }}.", bad)
    case = rules.apply(full_case(), load_layout(str(own(tmp_path, text))).requires)
    made = draft(case, ReportConfig(template=str(own(tmp_path, text))))
    assert made.verification.fallback == 2  # two slides have a count
    assert all(bad.split(" }}")[-1] not in s.rendered for s in made.statements() if s.flags)
    assert check.check_draft(made, case) == []


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("name: own_prostate", "name: Own Prostate", "name"),
        ("id: measurements", "id: rest", "the last section must be measurements"),
        ("gleason.grade_group", "gleason.grade_grupo", "gleason.grade_grupo"),
        ("requires: [gleason.primary]", "requires: [gleason.prim]", "gleason.prim"),
        ("asks: [gleason.primary,", "asks: [cells.density_per_mm2,", "cannot enter"),
        ("title: measurements", "title: nonsense", "no title 'nonsense'"),
        ("per: slide", "per: block", "sections"),
        ("per: slide", "per: slide\n    color: red", "color"),
        ("id: summary", "id: measurements", "twice"),
        ("{{ value }}.", "{{ value }.", "sentence"),
        ("{{ value }}.", "{{ patient }}.", "patient"),
        ("{{ value }}.", "{{ ''.__class__.__mro__ }}.", "unsafe"),
        ("sections:", "sections: [", "YAML"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path, old, new, named):
    with pytest.raises(PathaiError, match="E209") as caught:
        draft(full_case(), ReportConfig(template=str(own(tmp_path, OWN.replace(old, new, 1)))))
    assert named in str(caught.value)
    assert "\n" not in caught.value.message


def test_a_file_that_is_not_there_and_a_name_that_is_unknown_say_so(tmp_path):
    with pytest.raises(PathaiError, match="E209"):
        load_layout(tmp_path / "none.yaml")
    with pytest.raises(PathaiError, match="E191"):
        load_layout("prostata")


def test_shipped_layouts_ask_for_what_a_person_enters_and_require_what_they_show():
    for layout in LAYOUTS:
        assert set(layout.title) == set(LANGUAGES)
        for key in {*layout.asks, *layout.requires}:
            assert layout.section(key).id != "measurements"
            assert layout.section(key).rank(key) is not None


def test_no_shipped_layout_leaves_a_key_to_chance():
    """Every row of the registry is named, so that a new key gets a place on purpose."""
    for layout in LAYOUTS:
        left = [k for k in registry().keys if layout.section(k).rank(k) is None]
        if layout.name == "generic":
            assert left == []
        for key in left:
            assert key.split(".")[0] in (
                "gleason", "prostate", "nottingham", "mitoses", "breast", "stroma", "mmr", "er",
                "pr", "her2", "ki67", "pdl1", "core", "ihc"
            )  # fmt: skip


def row(**labels):
    return SheetRow(row=2, slide_id="S", path="x", case_id="C", patient_id="P", labels=labels)


def test_a_column_of_the_sheet_chooses_the_layout():
    by = {"organ": {"prostate": "prostate_core", "mine": "forms/own.yaml"}}
    section = ReportConfig(template_by=by)
    root = Path("/lab")
    assert chosen(section, [row(organ="prostate")], root).template == "prostate_core"
    assert chosen(section, [row(organ="mine")], root).template == "/lab/forms/own.yaml"
    assert chosen(section, [row(organ="skin")], root).template == "generic"
    with pytest.raises(PathaiError, match="E190"):
        chosen(section, [row(tissue="prostate")], root)
    both = [row(organ="prostate"), row(organ="mine")]
    assert chosen(section, both, root).template == "generic"


def test_a_run_drafts_each_case_in_its_own_layout_and_again_when_the_file_changes(tmp_path):
    form = own(tmp_path)
    rows = ("slide_id path case_id patient_id organ", "A a C1 P1 prostate", "B b C2 P2 mine")
    sheet = "".join(row.replace(" ", "\t") + "\n" for row in rows)
    (tmp_path / "slides.tsv").write_text(sheet, "utf-8")
    (tmp_path / "config.yaml").write_text(
        "schema_version: 1\nreport:\n  template_by:\n"
        "    organ: {prostate: prostate_core, mine: own.yaml}\n",
        "utf-8",
    )

    def keys(step):
        made = Plan(tmp_path / "config.yaml")
        return [step(made, made.results.case(name)).key.config_digest for name in ("C1", "C2")]

    drafts, findings = keys(draft_step), keys(findings_step)
    assert len({*drafts, *findings}) == 4
    form.write_text(OWN.replace("Summary", "In short"), "utf-8")
    assert [a == b for a, b in zip(drafts, keys(draft_step), strict=True)] == [True, False]
    assert keys(findings_step) == findings
    form.write_text(OWN.replace("requires: [", "requires: [gleason.secondary, "), "utf-8")
    assert [a == b for a, b in zip(findings, keys(findings_step), strict=True)] == [True, False]


def test_the_documented_layout_orders_and_words_a_draft(tmp_path):
    text = Path(__file__).parents[2].joinpath("docs", "report.md").read_text("utf-8")
    block = next(b for b in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "sections:" in b)
    case = rules.apply(graded(), load_layout(str(own(tmp_path, block))).requires)
    made = draft(case, ReportConfig(template=str(own(tmp_path, block)), language="fr"))
    assert made.sections[0].title == "Résumé"
    assert made.sections[0].statements[0].rendered == "Score de Gleason\u00a0: 3 + 4 = 7."
    english = draft(case, ReportConfig(template=str(own(tmp_path, block))))
    assert english.sections[0].statements[0].rendered == "The Gleason score is 3 + 4 = 7."


def graded():
    """One slide with a Gleason score."""
    fields = {"stain": "H&E", "evidence": (Evidence(slide_id="S1"),), "status": "observed"}
    score = Finding(
        id="F1", key="gleason.score", value=Sum(parts=(3, 4)),
        method=Method(name="entry", version="1", kind="manual"), **fields,
    )  # fmt: skip
    specimens = (Specimen(specimen_id="", slides=("S1",)),)
    return CaseFindings(case_id="C1", specimens=specimens, findings=(score,)).sealed()


def test_printed_words_of_scores_and_categories():
    score = graded().findings[0]
    fields = score.model_dump(exclude={"key", "value"})
    group = Finding(**fields, key="gleason.grade_group", value=Category(code="gg2"))
    assert render.value_text(score) == "3 + 4 = 7"
    assert [render.value_text(group, code) for code in LANGUAGES] == [
        "Grade Group 2", "groupe de grade 2", "grupo de grado 2"
    ]  # fmt: skip
