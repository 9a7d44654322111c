"""Corrected findings in a report's trail: a new base, under entries, words and signature."""

import pytest
from corrected_cases import CASE, corrections, edit, make_run, nuclei, recount

from pathai.corrected import made_case
from pathai.errors import PathaiError
from pathai.finding import load_findings
from pathai.plan import Plan
from pathai.report.life import open_case
from pathai.report.life.case import Entered
from pathai.report.life.state import replay

READER = "dr-a"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run, and findings after rejected nuclei on its first slide."""
    plan = make_run(tmp_path_factory.mktemp("run"))
    given = corrections("S1", edits=tuple(edit(plan, "S1", row, "") for row in range(5)))
    return plan, made_case(plan, CASE, given)


@pytest.fixture
def life(made, tmp_path):
    return open_case(tmp_path / "reviews", CASE, results=made[0].results.path)


def value(case, key, slide_id="S1"):
    found = (f for f in case.findings if f.key == key and f.evidence[0].slide_id == slide_id)
    return next(found).value


def printed(life, key, slide_id="S1"):
    now = life.revision()
    ids = [f.id for f in now.case.findings
           if f.key == key and f.evidence[0].slide_id == slide_id]  # fmt: skip
    return next(s for s in now.draft.statements() if s.finding in ids)


def test_the_draft_stands_on_corrected_findings(life, made):
    before = printed(life, "cells.count").rendered
    case = life.correct(READER, made[1].case, ("e" * 64,), {"by_hand": 5, "notes": []})
    assert case == made[1].case == life.findings()
    after = printed(life, "cells.count").rendered
    assert before != after
    count = value(life.pipeline(), "cells.count").value
    assert f"{count - 5:.0f}" in after
    event = next(e for e in life.events() if e.kind == "corrected")
    assert (event.reader, event.findings) == (READER, case.digest)
    assert event.before == {"findings": life.pipeline().digest}
    assert event.facts["events"] == ["e" * 64]
    assert event.facts["by_hand"] == 5
    assert life.audit().faults == ()
    assert not life.stale()


def test_correcting_twice_alike_writes_nothing(life, made):
    life.correct(READER, made[1].case)
    events = len(life.events())
    assert life.correct(READER, made[1].case) == made[1].case
    assert len(life.events()) == events


def test_entries_stand_on_top_and_stay_when_a_correction_is_taken_back(life, made):
    life.enter(READER, [Entered("cells.count", 400, "S1")])
    case = life.correct(READER, made[1].case)
    assert value(case, "cells.count").value == 400
    assert value(case, "spatial.clark_evans") == value(made[1].case, "spatial.clark_evans")
    assert case.parent == life.progress.corrected.stored.digest
    back = life.correct(READER, life.pipeline())
    assert value(back, "cells.count").value == 400
    assert value(back, "spatial.clark_evans") == value(life.pipeline(), "spatial.clark_evans")
    life.withdraw(READER, "cells.count", "S1")
    assert life.findings() == life.pipeline()
    again = life.correct(READER, made[1].case)
    assert again.findings == made[1].case.findings
    assert again.revision > case.revision  # a number tells one revision
    assert life.audit().faults == ()


def test_words_on_what_did_not_change_stay(life):
    plan = Plan(life.results.parent / "config.yaml")
    said = printed(life, "tissue.area_mm2", "S2") if _says(life, "tissue.area_mm2") else None
    said = said or life.revision().draft.statements()[0]
    life.edit(READER, said.id, f"{said.text} Seen.")
    given = corrections("S1", edits=(edit(plan, "S1", 7, ""),))
    life.correct(READER, made_case(plan, CASE, given).case)
    now = next(s for s in life.revision().draft.statements() if s.finding == said.finding)
    assert now.text.endswith("Seen.")


def _says(life, key):
    now = life.revision()
    ids = {f.id for f in now.case.findings if f.key == key}
    return any(s.finding in ids for s in now.draft.statements())


def test_a_signature_binds_the_corrected_findings(life, made):
    life.correct(READER, made[1].case)
    for item in life.items():
        life.acknowledge(READER, item.id, "seen on the slide")
    life.submit(READER)
    signed = life.sign(READER, "pathologist")
    assert signed.findings_digest == made[1].case.digest
    assert life.signed_findings(signed) == made[1].case
    assert life.audit().faults == ()
    with pytest.raises(PathaiError) as error:
        life.correct(READER, life.pipeline())
    assert error.value.code == "E206"
    file = life.folder / signed.findings_file
    file.chmod(0o644)
    file.write_text(file.read_text().replace('"by', '"By', 1) + " ")
    assert any("was altered" in fault for fault in life.audit().faults)


def test_findings_made_anew_leave_the_correction_open(tmp_path):
    plan = make_run(tmp_path / "run")
    life = open_case(tmp_path / "reviews", CASE, results=plan.results.path)
    gone = edit(plan, "S1", 5, "")
    old = made_case(plan, CASE, corrections("S1", edits=(gone,))).case
    life.correct(READER, old)
    sheet = tmp_path / "run" / "slides.tsv"
    sheet.write_text(sheet.read_text().replace("\tA\n", "\tbreast\n"))
    again = Plan(tmp_path / "run" / "config.yaml")
    recount(again)
    assert life.stale()
    with pytest.raises(PathaiError) as error:
        life.correct(READER, old)
    assert error.value.code == "E166"
    life.draft(reader=READER)
    assert life.findings() == life.pipeline()  # nothing corrected pretends to be in it
    open_ = [item for item in life.items() if item.id.startswith("correction:")]
    assert len(open_) == 1
    assert "pathai report correct" in open_[0].message
    assert "\n" not in open_[0].message
    new = made_case(again, CASE, corrections("S1", edits=(gone,)))
    assert new.by_hand == 1
    life.correct(READER, new.case)
    assert not [item for item in life.items() if item.id.startswith("correction:")]
    assert value(life.findings(), "cells.count").value == value(
        life.pipeline(), "cells.count"
    ).value - 1  # fmt: skip


def test_findings_of_another_case_or_with_a_changed_number_are_refused(life, made):
    other = made[1].case.model_copy(update={"case_id": "C9"})
    for wrong in (other, other.sealed()):
        with pytest.raises(PathaiError) as error:
            life.correct(READER, wrong)
        assert error.value.code == "E200"
    assert not [e for e in life.events() if e.kind == "corrected"]


def test_a_crash_between_correction_and_draft_is_finished_by_the_next_step(life, made, monkeypatch):
    from pathai.report.life import drafting

    life.draft(reader=READER)
    whole = drafting.redraft

    def killed(*args, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(drafting, "redraft", killed)
    with pytest.raises(KeyboardInterrupt):
        life.correct(READER, made[1].case)
    assert replay(life.events(), CASE).corrected is not None
    monkeypatch.setattr(drafting, "redraft", whole)
    life.submit(READER)
    assert life.findings() == made[1].case
    assert life.audit().faults == ()


def test_a_slide_has_enough_nuclei_for_these_tests(made):
    plan = made[0]
    assert len(nuclei(plan, "S1").xy_px0) > 200
    assert load_findings(plan.results.case(CASE).findings.read_text("utf-8")).revision == 0
