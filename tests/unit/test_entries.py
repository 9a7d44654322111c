"""Entries of a person: what is let in, what the next revision holds, and what is refused."""

from itertools import permutations

import pytest
from entry_cases import breast_case, entered, event, measured_er, prostate_case, value
from finding_cases import slide
from hypothesis import given, settings
from hypothesis import strategies as st

from pathai import rules
from pathai.errors import PathaiError
from pathai.finding import canonical, load_findings, registry
from pathai.findings import findings_of_case
from pathai.rules import Entered

ASKED = ("gleason.primary", "gleason.secondary", "gleason.grade_group", "prostate.cores")
PROSTATE = prostate_case(requires=ASKED)
BREAST = breast_case()


def one(case, key):
    (found,) = [f for f in case.findings if f.key == key]
    return found


def test_what_a_layout_asks_for_is_there_as_not_assessed():
    by_key = {f.key: f for f in PROSTATE.findings}
    assert {by_key[k].status for k in ASKED} == {"not_assessed"}
    assert by_key["gleason.primary"].note == "person_only"
    assert by_key["gleason.grade_group"].note == "needs_entries"
    asked = findings_of_case("C1", [slide("S1"), slide("S2", specimen_id="B")], ("prostate.cores",))
    places = [(f.specimen_id, f.status) for f in asked.findings if f.key == "prostate.cores"]
    assert places == [("A", "not_assessed"), ("B", "not_assessed")]
    # What a slide already says of the key is not asked for twice; every ER slide is asked.
    stained = [slide("S1"), slide("S2", stain="ER"), slide("S3", stain="ER")]
    asked = findings_of_case("C1", stained, ("ihc.controls", "er.intensity", "core.*.length_mm"))
    for key in ("ihc.controls", "er.intensity"):
        assert [f.evidence[0].slide_id for f in asked.findings if f.key == key] == ["S2", "S3"]
    unasked = prostate_case(requires=("msi.probability", "er.positive_percent", "er.status"))
    notes = {f.key: f.note for f in unasked.findings if f.status == "not_assessed"}
    assert notes["msi.probability"] == notes["er.positive_percent"] == "not_run"
    assert notes["er.status"] == "needs_entries"
    with pytest.raises(PathaiError, match=r"E200: .*nothing\.at_all"):
        prostate_case(requires=("nothing.at_all",))


def test_a_revision_keeps_ids_and_binds_its_parent():
    before = {f.key: f.id for f in PROSTATE.findings}
    case = entered(PROSTATE, ("gleason.primary", "p3"), ("gleason.secondary", "p4"))
    assert (case.revision, case.parent) == (1, PROSTATE.digest)
    assert case.digest == case.sha256() != PROSTATE.digest
    assert len(case.events) == 2
    after = {f.key: f.id for f in case.findings}
    assert {k: after[k] for k in before} == before
    assert value(case, "gleason.grade_group") == "gg2"
    found = one(case, "gleason.primary")
    assert (found.status, found.method.kind, found.entry.before) == ("observed", "manual", "")
    assert found.entry.reader == "A. Reader"
    again = entered(case, ("gleason.primary", "p4"))
    assert (again.revision, again.parent) == (2, case.digest)
    assert again.events[:2] == case.events
    assert one(again, "gleason.primary").entry.before == "pattern 3"
    assert value(again, "gleason.score") == (4, 4)
    assert load_findings(canonical(again)) == again


def test_a_measured_value_is_corrected_by_the_same_door():
    case = measured_er(n=420, d=1000)
    was = one(case, "er.positive_percent")
    new = entered(case, ("er.positive_percent", 0.5))
    found = one(new, "er.positive_percent")
    assert (found.id, found.evidence) == (was.id, was.evidence)
    assert found.entry.before == "42%"
    assert (found.value.low, found.value.numerator, found.flags) == (None, None, ())
    assert one(new, "er.status").status == "observed"
    assert value(new, "er.status") == "negative"
    assert was == one(case, "er.positive_percent")  # the earlier revision did not change


def test_a_value_can_be_withdrawn():
    case = entered(PROSTATE, ("gleason.primary", "p3"), ("gleason.secondary", "p3"))
    less = entered(case, ("gleason.secondary", None))
    found = one(less, "gleason.secondary")
    assert (found.status, found.note) == ("not_assessed", "reader_withdrew")
    assert found.entry.before == "pattern 3"
    derived = one(less, "gleason.grade_group")
    assert (derived.status, derived.note, derived.value) == ("not_assessed", "needs_entries", None)
    assert derived.id == one(case, "gleason.grade_group").id
    back = entered(less, ("gleason.secondary", "p3"))
    assert one(back, "gleason.grade_group").id == derived.id
    with pytest.raises(PathaiError, match=r"E204.*nothing stands there"):
        entered(PROSTATE, ("diagnosis.category", None))
    with pytest.raises(PathaiError, match=r"E204.*nothing stands there"):
        entered(PROSTATE, ("gleason.primary", None))
    with pytest.raises(PathaiError, match=r"E204.*follows by rule"):
        entered(back, ("gleason.grade_group", None))
    own = entered(back, ("gleason.grade_group", "gg5"))
    assert one(own, "gleason.grade_group").entry.before == "Grade Group 1"
    gone = entered(own, ("gleason.grade_group", None))  # what the rule says comes back
    assert value(gone, "gleason.grade_group") == "gg1"
    assert one(gone, "gleason.grade_group").id == derived.id


def test_the_last_of_two_entries_for_a_key_stands():
    case = entered(BREAST, ("her2.score", "1plus"), ("her2.score", "3plus"))
    assert value(case, "her2.score") == "3plus"
    assert len(case.events) == 2


def test_the_order_of_independent_entries_does_not_matter():
    entries = [
        event("er.positive_percent", 3, number=1),
        event("her2.score", "2plus", number=2),
        event("nottingham.tubules", "s2", number=3),
        event("her2.ish", "amplified", number=4),
    ]
    digests = {rules.revise(BREAST, order).digest for order in permutations(entries)}
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("key", "given", "slide_id", "says"),
    [
        ("gleason.primry", "p3", "", r"gleason\.primry.*did you mean gleason\.primary"),
        ("gleason.primary", "p2", "", r"gleason\.primary is one of p3, p4, p5, not 'p2'"),
        ("gleason.primary", 3, "", "is one of"),
        ("gleason.primary", "p3", "ER", r"no value on slide ER, whose stain is ER.*he or unstated"),
        ("gleason.score", [3], "", "2 whole numbers from 1 to 5"),
        ("gleason.score", [3, 6], "", "2 whole numbers from 1 to 5"),
        ("gleason.score", [3, 4.5], "", "2 whole numbers from 1 to 5"),
        ("gleason.score", [True, 4], "", "2 whole numbers from 1 to 5"),
        ("gleason.score", 7, "", "2 whole numbers from 1 to 5"),
        ("er.positive_percent", 101, "", r"from 0 to 100 in %, not 101"),
        ("er.positive_percent", -0.1, "", "from 0 to 100"),
        ("er.positive_percent", "50", "", "is a number"),
        ("er.positive_percent", True, "", "is a number"),
        ("er.positive_percent", float("nan"), "", "is a number"),
        ("er.positive_percent", float("inf"), "", "is a number"),
        ("er.positive_percent", 10**400, "", "is a number"),
        ("er.positive_percent", 50, "HE", "whose stain is H&E; it stands on ER"),
        ("er.positive_percent", 50, "PR", "whose stain is PR; it stands on ER"),
        ("er.positive_percent", 50, "S9", "no slide 'S9'; there are ER, "),
        ("mitoses.count", 3.5, "", "whole number"),
        ("mitoses.area_mm2", 0, "", "from 0.01"),
        ("cells.count", 12, "", "name the slide of specimen A: "),
        ("tumor.probability", 0.5, "", "not entered by a person"),
        ("case.slide_count", 2, "", "not entered by a person"),
        ("tissue.area_mm2", 2, "", "not entered by a person"),
        ("pdl1.tps", 2, "", "no slide of specimen A suits; it stands on PD-L1"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(key, given, slide_id, says):
    with pytest.raises(PathaiError, match=says) as caught:
        entered(BREAST, (key, given, slide_id))
    assert caught.value.code == "E204"
    assert key in caught.value.message
    assert "\n" not in str(caught.value)


def test_an_entry_names_its_specimen_where_there_are_two():
    two = findings_of_case("C1", [slide("S1"), slide("S2", specimen_id="B")])
    with pytest.raises(PathaiError, match="name the specimen: A, B"):
        entered(two, ("gleason.score", [3, 3]))
    with pytest.raises(PathaiError, match="slide S1 is not of 'B'"):
        rules.revise(two, [event("gleason.score", [3, 3], "S1", specimen_id="B")])
    case = rules.revise(two, [event("gleason.score", [3, 3], specimen_id="B")])
    assert one(case, "gleason.grade_group").specimen_id == "B"
    both = rules.revise(
        two,
        [event("gleason.score", [p, 4], specimen_id=s, number=p) for p, s in ((3, "A"), (4, "B"))],
    )
    groups = [(f.specimen_id, f.value.code) for f in both.findings if f.key.endswith("grade_group")]
    assert groups == [("A", "gg2"), ("B", "gg4")]


@pytest.mark.parametrize("change", [{"reader": ""}, {"event": 3}, {"more": 1}, {"time": None}])
def test_an_event_that_is_not_whole_is_refused(change):
    with pytest.raises(PathaiError, match="E204"):
        rules.revise(PROSTATE, [{**event("prostate.cores", 3), **change}])
    fine = Entered(**event("prostate.cores", 3))
    assert value(rules.revise(PROSTATE, [fine]), "prostate.cores") == 3


# --- properties ------------------------------------------------------------------------------

HAND = [k for k, row in registry().keys.items() if row.enterable and "*" not in k]


@st.composite
def fitting(draw):
    """A key that a person may enter in the breast case, with a value that fits it."""
    key = draw(st.sampled_from([k for k in HAND if not k.startswith(("pdl1", "cells.count."))]))
    row = registry().find(key)
    if row.type == "category":
        given = draw(st.sampled_from(row.values))
    elif row.type == "sum":
        parts = st.integers(row.part_minimum, row.part_maximum)
        given = draw(st.lists(parts, min_size=row.parts, max_size=row.parts))
    else:
        given = draw(st.integers(max(int(row.minimum or 0), 1), int(min(row.maximum or 100, 100))))
    names = {"er": "ER", "pr": "PR", "her2": "HER2", "ki67": "Ki-67"}
    slide_id = names.get(key.split(".")[0], "" if row.per == "specimen" else "ER")
    return key, given, slide_id if row.per == "slide" else ""


@settings(max_examples=60, deadline=None)
@given(st.lists(fitting(), min_size=1, max_size=8), st.randoms())
def test_any_fitting_entries_make_a_sound_revision(entries, random):
    case = entered(BREAST, *entries)
    last = {(key, at): given for key, given, at in entries}
    assert load_findings(canonical(case)) == case
    assert rules.apply(case) == case
    ids = {(f.key, f.evidence[0].slide_id): f.id for f in BREAST.findings}
    now = {(f.key, f.evidence[0].slide_id): f.id for f in case.findings}
    assert all(now[place] == name for place, name in ids.items())
    for (key, at), wanted in last.items():
        found = [f for f in case.findings if f.key == key and f.entry]
        held = [f for f in found if not at or f.evidence[0].slide_id == at]
        assert len(held) == 1
        stands = held[0].value
        plain = {"category": "code", "sum": "parts", "quantity": "value"}[stands.type]
        assert getattr(stands, plain) == (tuple(wanted) if isinstance(wanted, list) else wanted)
        assert getattr(stands, "low", None) is None
    shuffled = list(last.items())
    random.shuffle(shuffled)
    events = [event(k, v, at, number=sorted(last).index((k, at))) for (k, at), v in shuffled]
    ordered = [event(k, last[k, at], at, number=i) for i, (k, at) in enumerate(sorted(last))]
    assert rules.revise(BREAST, events).digest == rules.revise(BREAST, ordered).digest


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(HAND),
    st.one_of(
        st.none(), st.booleans(), st.text(max_size=8), st.floats(), st.integers(),
        st.lists(st.integers(), max_size=4), st.dictionaries(st.text(max_size=3), st.integers()),
    ),
)  # fmt: skip
def test_no_value_breaks_the_door(key, given):
    """Whatever is typed is a sound revision or E204; nothing else."""
    code = ""
    try:
        case = entered(BREAST, (key, given))
    except PathaiError as error:
        code = error.code
        case = BREAST
    assert code in ("", "E204")
    assert load_findings(canonical(case)) == case


@pytest.mark.parametrize("text", ["3+4", "3 + 4", " 3 +4 "])
def test_a_sum_may_be_written_as_it_is_read(text):
    assert value(entered(prostate_case(), ("gleason.score", text)), "gleason.score") == (3, 4)


@pytest.mark.parametrize("text", ["3+", "3+4+", "3-4", "34", "3+9", "3+4+5", "+3+4", "three+four"])
def test_what_is_no_sum_is_refused(text):
    with pytest.raises(PathaiError, match="E204"):
        entered(prostate_case(), ("gleason.score", text))
