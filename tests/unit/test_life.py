"""The life of a report: nothing is signed that is not whole, nothing that was done is lost."""

import json
import multiprocessing
from hashlib import sha256

import pytest
from finding_cases import slide
from hypothesis import given, settings
from hypothesis import strategies as st
from life_cases import READER, life_of, settled_case, sign_off, stand_in, store

from pathai.config import ReportConfig
from pathai.drafters.base import Engine, Phrasing
from pathai.errors import PathaiError
from pathai.finding import Contradiction
from pathai.findings import findings_of_case
from pathai.report.draft import draft
from pathai.report.life import neighbors, open_case
from pathai.report.life.case import Entered
from pathai.report.life.changes import word_distance
from pathai.report.life.drafting import Again
from pathai.report.life.events import parse
from pathai.report.life.items import open_items
from pathai.report.life.ledger import lost, signatures
from pathai.report.life.overlay import bound, printed
from pathai.report.life.trail import check_head, writing

NEEDED = neighbors.needed
"""Before a stand-in takes its place."""


@pytest.fixture(autouse=True)
def _neighbors(monkeypatch):
    stand_in(monkeypatch)


@pytest.fixture
def life(tmp_path):
    return life_of(tmp_path)


def statement(life, key, slide_id="S1"):
    """The statement on a key of a slide."""
    now = life.revision()
    ids = [f.id for f in now.case.findings if f.key == key and f.evidence[0].slide_id == slide_id]
    return next(s for s in now.draft.statements() if s.finding in ids)


def refused(code, call, *given, **named):
    with pytest.raises(PathaiError) as error:
        call(*given, **named)
    assert error.value.code == code
    assert "\n" not in str(error.value)
    return str(error.value)


def test_looking_writes_nothing(life, tmp_path):
    assert life.state == "draft"
    assert life.version == 0
    assert life.revision().case == settled_case()
    assert life.audit().faults == ()
    assert not (tmp_path / "reviews").exists()


def test_the_draft_of_the_stages_is_what_is_reviewed(life):
    made = life.draft(reader=READER)
    assert made == life.revision().draft
    assert [e.kind for e in life.events()][:2] == ["created", "drafted"]
    assert made.findings_digest == settled_case().digest


def test_from_draft_to_signed_to_amended(life):
    life.edit(READER, statement(life, "tissue.area_mm2").id, "Tissue: enough.")
    assert life.state == "draft"
    first = sign_off(life)
    assert life.state == "signed"
    assert (first.version, first.state, first.amends) == (1, "signed", "")
    refused("E206", life.edit, READER, "S1", "Something else.")
    refused("E206", life.enter, READER, [Entered("cells.count", 3, "S1")])
    refused("E206", life.submit, READER)
    assert life.amend("reader-b", "the count was of another slide") == 2
    assert life.state == "draft"
    life.enter("reader-b", [Entered("cells.count", 4000, "S1")])
    second = sign_off(life, "reader-b")
    assert life.state == "amended"
    assert (second.version, second.state, second.reason) == (
        2,
        "amended",
        "the count was of another slide",
    )
    folder = life.folder
    assert second.amends == sha256((folder / "signed-1.json").read_bytes()).hexdigest()
    assert life.signed(1) == first
    assert life.signed() == second
    assert life.audit().faults == ()
    assert {p.name for p in folder.glob("signed-*")} == {
        f"signed-{n}.{kind}"
        for n in (1, 2)
        for kind in ("json", "md", "html", "docx", "pdf", "fhir.json")
    }


def test_a_signature_binds_findings_draft_and_trail(life):
    signed = sign_off(life)
    event = life.events()[-1]
    assert event.kind == "signed"
    assert signed.head == event.previous
    assert (event.findings, event.draft) == (signed.findings_digest, signed.draft.digest)
    assert signed.draft.findings_digest == signed.findings_digest
    for kind in ("pdf", "docx", "html", "md", "fhir.json"):
        said = (life.folder / f"signed-1.{kind}").read_bytes()
        assert signed.draft.digest.encode() in said
    assert event.role == "pathologist"
    assert event.time == signed.time


def test_what_was_not_submitted_is_not_signed(life):
    life.draft(reader=READER)
    assert "not submitted" in refused("E206", life.sign, READER, "pathologist")


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b"])
def test_a_reader_has_a_name_that_can_stand_in_the_trail(life, name):
    refused("E193", life.submit, name)


def test_a_contradiction_must_be_mended(tmp_path):
    case = settled_case()
    wrong = Contradiction(rule="gleason_score", findings=("F1", "F2"))
    loose = Contradiction(rule="msi_discordant", findings=("F1",), error=False)
    case = case.model_copy(update={"contradictions": (wrong, loose), "digest": ""}).sealed()
    life = life_of(tmp_path, case)
    life.submit(READER)
    assert "gleason_score" in refused("E206", life.sign, READER, "pathologist")
    (item,) = life.items()
    assert "must be mended" in refused("E206", life.acknowledge, READER, item.id, "I know")


def test_a_flagged_edit_waits_for_a_reason(life):
    said = statement(life, "cells.count")
    problems = life.edit(READER, said.id, "About 9000 nuclei were found.")
    assert problems
    after = statement(life, "cells.count")
    assert (after.rendered, after.source, after.verdict) == (
        "About 9000 nuclei were found.",
        "human",
        "flag",
    )
    life.submit(READER)
    assert said.id in refused("E206", life.sign, READER, "pathologist")
    (item,) = life.items()
    refused("E193", life.acknowledge, READER, item.id, " ")
    life.acknowledge(READER, item.id, "counted by hand")
    signed = life.sign(READER, "pathologist")
    assert [(a.item, a.reason) for a in signed.acknowledged] == [(item.id, "counted by hand")]


def test_an_acknowledgement_holds_for_the_words_that_it_was_given_for(life):
    said = statement(life, "cells.count")
    life.edit(READER, said.id, "About 9000 nuclei were found.")
    life.acknowledge(READER, life.items()[0].id, "counted by hand")
    assert life.items() == []
    life.edit(READER, said.id, "About 9001 nuclei were found.")
    assert len(life.items()) == 1


def test_words_are_never_changed_and_restored_on_request(life):
    said = statement(life, "cells.count")
    life.edit(READER, said.id, "Nuclei:  many,   see image 7b!")
    assert statement(life, "cells.count").rendered == "Nuclei: many, see image 7b!"
    life.restore(READER, said.id)
    assert statement(life, "cells.count") == said
    refused("E193", life.restore, READER, said.id)


def test_the_printed_value_stays_bound_to_its_finding(life):
    said = statement(life, "cells.count")
    value = said.rendered[said.rendered.index("4,321") :].rstrip(".")
    text = bound(f"Nuclei in the piece: {value}.", said)
    assert "{F" in text
    assert printed(text, said, life.revision().case) == f"Nuclei in the piece: {value}."


def test_an_edit_follows_a_corrected_value(life):
    said = statement(life, "cells.count")
    life.edit(READER, said.id, said.rendered.replace(" is ", " amounts to "))
    life.enter(READER, [Entered("cells.count", 4000, "S1")])
    now = life.revision()
    assert "4,000" in "".join(s.rendered for s in now.draft.statements())
    # measured became observed: the words stand open instead of saying something old
    assert [i.id.split(":")[0] for i in life.items()] == ["edit"]


def test_words_written_on_another_value_wait_for_a_look(life):
    """They follow the value, but what was said around it may no longer be true."""
    life.enter(READER, [Entered("cells.count", 4000, "S1")])
    said = statement(life, "cells.count")
    assert life.edit(READER, said.id, said.rendered.replace("was", "were")) == []
    assert life.items() == []
    life.enter(READER, [Entered("cells.count", 9, "S1")])
    (item,) = life.items()
    assert item.acknowledgeable
    assert "value_changed" in item.message
    assert statement(life, "cells.count").rendered.count("9") == 1
    assert life.edit(READER, said.id, statement(life, "cells.count").rendered) == []
    assert life.items() == []
    life.delete(READER, said.id, "not asked for")
    life.enter(READER, [Entered("cells.count", 10, "S1")])
    assert [i.id.split(":")[0] for i in life.items()] == ["deleted"]


def test_a_required_sentence_is_not_deleted_in_silence(life):
    said = statement(life, "cells.count")
    life.delete(READER, said.id, "not asked for")
    now = life.revision()
    free = open_items(now.draft, now.case, now.state, ["tissue.*"])
    assert not [i for i in free if i.id.startswith("deleted")]
    items = open_items(now.draft, now.case, now.state, ["cells.count"])
    (item,) = [i for i in items if i.id.startswith("deleted")]
    assert item.acknowledgeable
    assert f"(cells.count, {said.finding}) is required" in item.message


def test_a_report_without_a_diagnosis_is_not_signed_in_silence(life, monkeypatch):
    monkeypatch.setattr(neighbors, "needed", NEEDED)
    (item,) = life.items()
    assert "diagnosis.category" in item.message
    assert item.acknowledgeable


def test_deleting_needs_a_reason_and_keeps_the_finding(life):
    said = statement(life, "cells.count")
    refused("E193", life.delete, READER, said.id, "")
    life.delete(READER, said.id, "not asked for")
    now = life.revision()
    assert said.finding not in [s.finding for s in now.draft.statements()]
    assert now.case.finding(said.finding) is not None
    told = [b.text for section in now.draft.sections for b in section.briefs]
    assert (
        f"Left out by {READER}: number of nuclei in the analyzed tissue (reason: not asked for)."
        in told
    )
    signed = sign_off(life)
    assert [(d.finding, d.text, d.reason) for d in signed.deleted] == [
        (said.finding, said.rendered, "not asked for")
    ]


def test_a_sentence_is_added_on_a_finding_only(life):
    said = statement(life, "cells.count")
    refused("E193", life.add, READER, "F999", "Something.")
    number = life.add(READER, said.finding, said.rendered)
    now = life.revision()
    (added,) = [s for s in now.draft.statements() if s.id == number]
    assert (added.finding, added.source, added.notes) == (said.finding, "human", ())
    assert added.rendered == said.rendered
    life.delete(READER, number, "twice the same")
    assert life.revision().draft.statements() == tuple(
        s for s in now.draft.statements() if s.id != number
    )


def test_an_entry_that_does_not_fit_leaves_no_trace(life):
    life.draft(reader=READER)
    before = [e.kind for e in life.events()]
    entries = [Entered("cells.count", 5, "S1"), Entered("cells.count", [], "S1")]
    refused("E204", life.enter, READER, entries)
    assert [e.kind for e in life.events()] == before
    assert life.revision().case == settled_case()


def test_entries_make_revisions_that_name_parent_and_events(life):
    life.enter(READER, [Entered("cells.count", 4000, "S1")])
    one = life.revision().case
    life.enter("reader-b", [Entered("cells.count", 5, "S1")])
    two = life.revision().case
    assert (one.revision, two.revision) == (1, 2)
    assert one.parent == settled_case().digest
    assert two.parent == one.digest
    entered = [e.sha256 for e in life.events() if e.kind == "entered"]
    assert (one.events, two.events) == (tuple(entered[:1]), tuple(entered))
    assert {e.reader for e in life.events() if e.kind == "entered"} == {READER, "reader-b"}
    assert life.audit().faults == ()


def test_what_is_withdrawn_stands_as_the_stages_found_it(life):
    life.enter(READER, [Entered("cells.count", 4000, "S1")])
    life.withdraw(READER, "cells.count", "S1", "wrong slide")
    assert life.revision().case == settled_case()
    refused("E193", life.withdraw, READER, "cells.count", "S1")
    life.enter(READER, [Entered("cells.count", 5, "S1")])
    assert life.revision().case.revision == 2  # 1 was another record
    assert life.audit().faults == ()


def test_findings_made_anew_ask_for_a_new_draft_and_keep_the_entries(life, tmp_path):
    life.enter(READER, [Entered("cells.count", 4000, "S1")])
    life.submit(READER)
    assert not life.stale()
    fresh = settled_case()
    area = next(f for f in fresh.findings if f.key == "tissue.area_mm2" and f.value)
    other = area.model_copy(update={"value": area.value.model_copy(update={"value": 3})})
    found = tuple(other if f.id == area.id else f for f in fresh.findings)
    fresh = fresh.model_copy(update={"findings": found, "digest": ""}).sealed()
    store(tmp_path / "results", fresh)
    assert life.stale()
    assert "made anew" in refused("E206", life.sign, READER, "pathologist")
    refused("E166", life.edit, READER, "S1", "Words.")
    life.draft(reader=READER)
    now = life.revision().case
    assert now.parent == fresh.digest
    assert now.finding(area.id).value.value == 3
    counted = [f for f in now.findings if f.key == "cells.count" and f.entry]
    assert [int(f.value.value) for f in counted] == [4000]
    assert not life.stale()
    life.sign(READER, "pathologist")


def test_the_trail_tells_what_phrased_the_draft(life):
    life.draft(reader=READER)
    (event,) = [e for e in life.events() if e.kind == "drafted"][:1]
    assert event.facts["engine"]["name"] == "template"
    assert set(event.facts["verdicts"].values()) == {"pass"}
    assert event.files.keys() == {"findings-1.json", "draft-1.json"}


class Fluent:
    """A drafter that counts what it is asked."""

    engine = Engine(name="fluent", model="m", digest="d")

    def __init__(self):
        self.asked = []

    def phrase(self, lines):
        self.asked.append([line.finding for line in lines])
        texts = tuple(
            f"The {{T:{line.key}}} is {{{line.finding}}}." if line.status == "measured" else None
            for line in lines
        )
        return Phrasing(texts=texts)


def test_a_language_model_is_asked_again_for_what_changed_alone(life):
    fluent = Fluent()
    life.draft(reader=READER, drafter=fluent)
    now = life.revision()
    kept = [s.finding for s in now.draft.statements() if s.source == "llm"]
    assert kept
    again = Again(fluent, now.draft, now.case)
    made = draft(now.case, ReportConfig(), again)
    assert not set(kept) & set(fluent.asked[-1])
    assert [s.rendered for s in made.statements()] == [s.rendered for s in now.draft.statements()]


# --- how far a person went from the draft ----------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=7), st.lists(st.sampled_from("abc"), max_size=7))
def test_the_distance_is_the_fewest_changes_of_words(a, b):
    def slow(x, y):
        if not x or not y:
            return len(x) + len(y)
        same = slow(x[1:], y[1:]) + (x[0] != y[0])
        return min(same, slow(x[1:], y) + 1, slow(x, y[1:]) + 1)

    assert word_distance(" ".join(a), " ".join(b)) == slow(a, b)


def test_changes_are_measured_and_signed(life):
    area, count = statement(life, "tissue.area_mm2"), statement(life, "cells.count")
    life.edit(READER, area.id, area.rendered.replace("The ", "In all, the ", 1))
    life.delete(READER, statement(life, "cells.density_per_mm2").id, "not asked for")
    life.add(READER, area.finding, area.rendered)
    life.enter(READER, [Entered("cells.count", 4000, "S1")])
    signed = sign_off(life)
    found = signed.changes
    total = len(found.statements)
    assert (found.edited, found.deleted, found.added, found.revalued) == (1, 1, 1, 1)
    assert found.kept == total - 4
    assert (found.values, found.entered) == (1, 0)
    (value,) = found.corrections
    assert (value.finding, value.corrected) == (count.finding, True)
    by = {row.what: row for row in found.statements}
    assert not by["edited"].relevant
    assert by["deleted"].relevant
    assert found.relevant == 3
    assert life.events()[-1].facts["changes"] == found.figures()


@pytest.mark.parametrize(
    ("words", "relevant"),
    [
        ("{T} is {F}.", False),
        ("{T} is not {F}.", True),
        ("On the left {T} is {F}.", True),
        ("{T} is about 9.", True),
    ],
)
def test_polarity_side_and_numbers_make_an_edit_relevant(life, words, relevant):
    said = statement(life, "cells.count")
    text = words.replace("{T}", "{T:cells.count}").replace("{F}", f"{{{said.finding}}}")
    life.edit(READER, said.id, text)
    (row,) = [r for r in life.changes().statements if r.what == "edited"]
    assert row.relevant == relevant


# --- two at once, crashes --------------------------------------------------------------------


def _enter(folder, number):
    life = open_case(folder / "reviews", "C1")
    for k in range(5):
        life.edit(f"reader-{number}", "S1", f"Words {'ab'[number - 1]} {'vwxyz'[k]}.")


def test_two_writers_lose_nothing(life, tmp_path):
    life.draft(reader=READER)
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=_enter, args=(tmp_path, n)) for n in (1, 2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0]
    said = {e.after["text"] for e in life.events() if e.kind == "edited"}
    assert said == {f"Words {n} {k}." for n in "ab" for k in "vwxyz"}
    assert life.audit().faults == ()


def test_a_held_lock_is_named(life, monkeypatch):
    monkeypatch.setattr("pathai.report.life.trail.WAIT_S", 0.05)
    with writing(life.folder, "C1"):
        assert "written elsewhere" in refused("E175", life.submit, READER)


def test_a_crash_between_entry_and_draft_is_finished(life, monkeypatch):
    life.draft(reader=READER)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("pathai.report.life.drafting.make_draft", killed)
        with pytest.raises(KeyboardInterrupt):
            life.enter(READER, [Entered("cells.count", 4000, "S1")])
    life.submit(READER)
    assert life.revision().case.revision == 1
    assert life.audit().faults == ()


@pytest.mark.parametrize("cut", [1, 7, 200])
def test_a_line_half_written_is_set_aside(life, cut):
    life.draft(reader=READER)
    log = life.folder / "audit.jsonl"
    before = log.read_bytes()
    head = (life.folder / "audit.head").read_bytes()
    life.edit(READER, "S1", "Words of a person.")
    log.write_bytes(log.read_bytes()[: len(before) + cut])
    (life.folder / "audit.head").write_bytes(head)
    assert life.audit().faults
    life.submit(READER)
    assert [e.kind for e in life.events()][-2:] == ["recovered", "submitted"]
    assert life.audit().faults == ()


def test_a_line_whose_head_was_not_written_counts(life):
    life.draft(reader=READER)
    head = (life.folder / "audit.head").read_bytes()
    life.edit(READER, "S1", "Words of a person.")
    (life.folder / "audit.head").write_bytes(head)
    assert life.audit().faults == ()
    life.submit(READER)
    assert [e.kind for e in life.events()][-2:] == ["edited", "submitted"]


def test_a_file_that_no_event_names_is_found_and_set_aside(life):
    life.draft(reader=READER)
    (life.folder / "draft-2.json").write_text("{}")
    assert "named by no event" in life.audit().faults[0]
    life.enter(READER, [Entered("cells.count", 4000, "S1")])
    assert life.audit().faults == ()
    assert json.loads((life.folder / "draft-2.json").read_text())["revision"] in (0, 1)


def test_a_full_disk_leaves_no_half_step(life, monkeypatch):
    life.draft(reader=READER)
    before = sorted(p.name for p in life.folder.iterdir())

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("pathai.report.life.trail.append_synced", full)
        refused("E161", life.draft, reader=READER)
    assert sorted(p.name for p in life.folder.iterdir()) == before
    assert life.audit().faults == ()


# --- audit: every byte -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A signed report as small as one can be; nobody writes to it, so it is read once."""
    with pytest.MonkeyPatch.context() as patched:
        stand_in(patched)
        patched.setattr("pathai.report.life.trail.TRIES", 0)
        life = life_of(tmp_path_factory.mktemp("small"), findings_of_case("C1", [slide("S1")]))
        life.delete(READER, "S2", "not asked for")
        sign_off(life)
        yield life


def files_of(life):
    skip = ("audit.lock",)
    return sorted(p for p in life.folder.iterdir() if p.is_file() and p.name not in skip)


def test_every_altered_byte_is_found(small):
    """Each byte of the head, and forty of every other file."""
    assert small.audit().faults == ()
    tried = 0
    for path in files_of(small):
        data = path.read_bytes()
        path.chmod(0o644)
        step = 1 if path.name == "audit.head" else max(1, len(data) // 40)
        for place in range(0, len(data), step):
            changed = bytearray(data)
            changed[place] ^= 1 << place % 8
            path.write_bytes(changed)
            assert small.audit().faults, (path.name, place)
            tried += 1
        path.write_bytes(data)
    assert tried > 300
    assert small.audit().faults == ()


def test_every_byte_of_the_trail_is_found(small):
    data = (small.folder / "audit.jsonl").read_bytes()
    head = (small.folder / "audit.head").read_bytes()
    line = data.index(b"\n") + 1
    for place in [*range(line), *range(line, len(data), 11)]:
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(PathaiError):
            check_head(head, parse(bytes(changed), "C1")[0], "C1")


def test_cut_swapped_doubled_and_missing_lines_are_found(small):
    path = small.folder / "audit.jsonl"
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    wrong = [lines[:k] for k in range(len(lines))]  # whole lines cut from the end
    wrong += [lines[:k] + lines[k + 1 :] for k in range(len(lines))]
    wrong += [[*lines[:k], lines[k + 1], lines[k], *lines[k + 2 :]] for k in range(len(lines) - 1)]
    wrong += [[*lines[: k + 1], *lines[k:]] for k in range(len(lines))]
    for some in wrong:
        path.write_bytes(b"".join(some))
        assert small.audit().faults
    for cut in range(1, len(lines[-1]), 7):
        path.write_bytes(data[:-cut])
        assert small.audit().faults
    path.write_bytes(data)


def test_a_signed_case_that_was_removed_whole_is_missed(life):
    sign_off(life)
    life.amend(READER, "more to say")
    sign_off(life)
    reviews = life.folder.parent.parent
    assert [(s.case_id, s.version) for s in signatures(reviews)] == [("C1", 1), ("C1", 2)]
    assert lost(reviews) == []
    kept = life.folder.rename(reviews / "elsewhere")
    assert [f.split(":")[0] for f in lost(reviews)] == ["C1", "C1"]
    kept.rename(life.folder)
    first, second = (reviews / "signatures.jsonl").read_bytes().splitlines(keepends=True)
    for altered in (second, second + first, first + second.replace(b"C1", b"C2")):
        (reviews / "signatures.jsonl").write_bytes(altered)
        assert "does not fit" in lost(reviews)[0]


def test_a_file_in_a_folder_that_nobody_named_is_found(life):
    life.enter(READER, [Entered("cells.count", 4000, "S1")])
    (life.folder / "sub").mkdir()
    (life.folder / "sub" / "x.pdf").write_bytes(b"x")
    (fault,) = life.audit().faults
    assert "x.pdf is named by no event" in fault


def test_missing_and_swapped_files_are_found(small):
    paths = files_of(small)
    for path in paths:
        kept = path.rename(path.with_name("kept.part"))
        assert small.audit().faults, path.name
        kept.rename(path)
    one, two = small.folder / "signed-1.md", small.folder / "signed-1.html"
    first, second = one.read_bytes(), two.read_bytes()
    for path, data in ((one, second), (two, first)):
        path.chmod(0o644)
        path.write_bytes(data)
    assert len(small.audit().faults) == 2
    one.write_bytes(first)
    two.write_bytes(second)
    assert small.audit().faults == ()


def test_the_trail_of_another_case_does_not_fit(small, tmp_path):
    other = open_case(tmp_path / "reviews", "C2")
    other.folder.mkdir(parents=True)
    for path in files_of(small):
        (other.folder / path.name).write_bytes(path.read_bytes())
    assert other.audit().faults


def test_a_broken_trail_is_not_written_to(small, tmp_path):
    life = life_of(tmp_path)
    life.draft(reader=READER)
    path = life.folder / "audit.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"reader-a"', b'"reader-b"', 1))
    before = path.read_bytes()
    refused("E207", life.submit, READER)
    assert path.read_bytes() == before
