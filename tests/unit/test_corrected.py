"""Corrected nuclei and regions change exactly the numbers that stand on them."""

import json
from itertools import permutations

import numpy as np
import pytest
import shapely
from corrected_cases import (
    CASE,
    DETECTOR,
    added,
    box,
    corrections,
    edit,
    make_run,
    nuclei,
    recount,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pathai.config import CellsConfig
from pathai.corrected import (
    SlideCorrections,
    corrected_case,
    corrected_cells,
    corrected_nuclei,
    made_case,
)
from pathai.corrected.dab import background_of, nuclear_dab
from pathai.corrected.figures import Slide, basis_of
from pathai.corrected.nuclei import resolved
from pathai.errors import PathaiError
from pathai.finding import load_findings
from pathai.quantities.regions import Drawn
from pathai.store.folders import SlideFolder

HAND = "cells.corrected_by_hand"


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"))


def pipeline(plan):
    return load_findings(plan.results.case(CASE).findings.read_text("utf-8"))


def numbers(case, slide_id=""):
    """What is printed of each finding, by key."""
    return {
        f.key: (f.status, f.note, f.value)
        for f in case.findings
        if not slide_id or f.evidence[0].slide_id == slide_id
    }


def moved(before, after):
    """Keys whose value is another."""
    old, new = numbers(before, "S2"), numbers(after, "S2")
    return {k for k in old.keys() | new.keys() if old.get(k) != new.get(k)}


def a_row(plan, name, slide_id="S2"):
    found = nuclei(plan, slide_id)
    return int(np.flatnonzero(found.class_ == found.classes.index(name))[3])


# --- nothing more, nothing less --------------------------------------------------------------


def test_without_corrections_the_findings_are_those_of_the_stages(plan):
    made = corrected_case(plan, CASE, corrections())
    assert made == pipeline(plan)
    assert made.digest == pipeline(plan).digest


def test_what_says_nothing_new_changes_nothing(plan):
    row = a_row(plan, "negative")
    same = corrections("S2", edits=(edit(plan, "S2", row, "negative"),))
    only_looked = corrections("S2", regions=(box("Reviewed", 50, 50, 100, 100),))
    for one in (same, only_looked):
        assert corrected_case(plan, CASE, one).digest == pipeline(plan).digest


def test_one_class_changes_the_numbers_of_that_class_and_no_other(plan):
    row = a_row(plan, "negative")
    made = made_case(plan, CASE, corrections("S2", edits=(edit(plan, "S2", row, "positive"),)))
    before, case = pipeline(plan), load_findings(made.case.model_dump_json())
    assert moved(before, case) == {
        *("ki67.positive_percent", "ki67.hotspot_percent", "ihc.intensity_percent.weak"),
        *("cells.count.negative", "cells.count.positive", HAND),
        *("hotspot_1mm2.positive", "hotspot_025mm2.positive"),
    }
    old, new = numbers(before, "S2"), numbers(case, "S2")
    for key, step in (("cells.count.positive", 1), ("cells.count.negative", -1)):
        assert new[key][2].value == old[key][2].value + step
    share = new["ki67.positive_percent"][2]
    assert share.numerator == old["ki67.positive_percent"][2].numerator + 1
    assert share.denominator == old["ki67.positive_percent"][2].denominator
    assert new[HAND][2].value == made.by_hand == 1
    assert numbers(before, "S1") == numbers(case, "S1")


def test_what_changed_says_so_and_by_whom_and_the_rest_is_untouched(plan):
    row = a_row(plan, "negative")
    given = corrections("S2", edits=(edit(plan, "S2", row, "positive"),))
    made, before = made_case(plan, CASE, given), pipeline(plan)
    assert (made.case.revision, made.case.parent) == (1, before.digest)
    assert made.case.events == given.events
    for finding in made.case.findings:
        if finding.id in made.changed:
            assert ("reader_corrected" in finding.flags) == (finding.key != HAND)
            by = finding.entry and (finding.entry.reader, finding.entry.event)
            assert by == (None if finding.method.kind == "rule" else ("dr-a", "a" * 64))
        else:
            assert finding == before.finding(finding.id)
    counted = next(f for f in made.case.findings if f.key == "cells.count.positive")
    was = next(f for f in before.findings if f.key == "cells.count.positive")
    assert counted.entry.before == f"{was.value.value:.0f}"


def test_the_detectors_error_stays_in_the_interval(plan):
    """A corrected nucleus says nothing of how the detector errs on the others."""
    drop = tuple(edit(plan, "S1", row, "") for row in range(30))
    before, after = pipeline(plan), corrected_case(plan, CASE, corrections("S1", edits=drop))
    old, new = (numbers(c, "S1")["cells.density_per_mm2"][2] for c in (before, after))
    assert new.low < new.value < new.high
    width = float((new.high - new.low) / new.value), float((old.high - old.low) / old.value)
    assert width[0] > 0.9 * width[1]


def test_a_rejected_nucleus_is_gone_and_an_added_one_is_there(plan):
    row = a_row(plan, "positive")
    x, y = nuclei(plan, "S2").xy_px0[row].tolist()
    gone = edit(plan, "S2", row, "")
    before = numbers(pipeline(plan), "S2")
    count, positive = (before[k][2].value for k in ("cells.count", "cells.count.positive"))
    less = numbers(corrected_case(plan, CASE, corrections("S2", edits=(gone,))), "S2")
    assert less["cells.count"][2].value == count - 1
    assert less["cells.count.positive"][2].value == positive - 1
    back = corrections("S2", edits=(gone,), added=(added(x, y, "positive"),))
    again = numbers(corrected_case(plan, CASE, back), "S2")
    assert again["cells.count"] == before["cells.count"]
    assert again["cells.count.positive"] == before["cells.count.positive"]
    assert again[HAND][2].value == 2


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_order_of_corrections_does_not_matter(plan, order):
    rows = [a_row(plan, "negative"), a_row(plan, "positive"), 0]
    made = [edit(plan, "S2", r, w) for r, w in zip(rows, ("positive", "", ""), strict=True)]
    more = [added(200, 300, "negative"), added(320, 120, "positive"), added(400, 400, "negative")]
    one = corrected_case(plan, CASE, corrections("S2", edits=tuple(made), added=tuple(more)))
    mixed = corrections(
        "S2", edits=tuple(made[i] for i in order), added=tuple(more[i] for i in order)
    )
    assert corrected_case(plan, CASE, mixed).digest == one.digest


def test_of_two_words_for_one_nucleus_the_later_stands(plan):
    row = a_row(plan, "negative")
    there_and_back = (edit(plan, "S2", row, "positive"), edit(plan, "S2", row, "negative"))
    made = corrected_case(plan, CASE, corrections("S2", edits=there_and_back))
    assert made.digest == pipeline(plan).digest


def test_one_kind_of_cell_moves_its_counts_and_no_total(tmp_path):
    plan = make_run(tmp_path / "run", ", classifier: shipped")
    found = nuclei(plan, "S1")
    assert found.kinds
    number = np.bincount(found.class_, minlength=len(found.classes))
    first, second = np.argsort(-number)[:2]
    row = int(np.flatnonzero(found.class_ == first)[0])
    word = found.classes[second]
    given = corrections("S1", edits=(edit(plan, "S1", row, word),))
    before, after = pipeline(plan), corrected_case(plan, CASE, given)
    old, new = numbers(before, "S1"), numbers(after, "S1")
    changed = {k for k in old.keys() | new.keys() if old.get(k) != new.get(k)}
    names = {f"cells.count.{found.classes[first]}", f"cells.count.{word}"}
    assert names | {HAND} <= changed
    spots = {k for k in changed if k.startswith("hotspot_")}
    band = {k for k in changed if k.startswith("cells.count.")}  # one confusion bands them all
    assert changed == band | spots | {HAND}
    assert not any(k.endswith(".nuclei") for k in spots)
    assert new[f"cells.count.{word}"][2].value == old[f"cells.count.{word}"][2].value + 1


# --- regions ---------------------------------------------------------------------------------


def test_an_excluded_region_takes_its_tissue_and_its_nuclei(plan):
    region = box("Exclude", 160, 160, 320, 320)  # whole pixels of the tissue map
    xy = nuclei(plan, "S1").xy_px0
    inside = shapely.contains_xy(region.shape, *xy.astype(float).T).sum()
    before = numbers(pipeline(plan), "S1")
    after = numbers(corrected_case(plan, CASE, corrections("S1", regions=(region,))), "S1")
    assert inside > 20
    assert after["cells.count"][2].value == before["cells.count"][2].value - int(inside)
    area = 0.32 * 0.32 / 4
    for key in ("cells.analyzed_area_mm2", "tissue.area_mm2"):
        assert float(before[key][2].value - after[key][2].value) == pytest.approx(area)
    assert float(after["cells.excluded_area_mm2"][2].value) == pytest.approx(area)
    assert HAND not in after


def test_the_readers_tumor_takes_the_place_of_the_drawn_one(plan, tmp_path):
    slide = Slide(plan.results.slide("S1"), DETECTOR, CellsConfig(detector=DETECTOR))
    old = Drawn("Tumour", shapely.box(0, 0, 100, 100))
    other = Drawn("margin", shapely.box(0, 0, 50, 50))
    given = SlideCorrections(regions=(box("tumor", 200, 200, 200, 200),))
    basis, notes = basis_of(slide, given, (old, other))
    assert [d.name for d in basis.drawn] == ["margin", "tumor"]
    assert basis.drawn[1].shape.equals(shapely.box(200, 200, 400, 400))
    assert notes == ()


def test_a_drawn_tumor_is_counted_in(plan):
    region = box("tumor", 160, 160, 320, 320)
    xy = nuclei(plan, "S1").xy_px0
    case = corrected_case(plan, CASE, corrections("S1", regions=(region,)))
    found = next(f for f in case.findings if f.key == "in_tumor.count" and f.value)
    inside = shapely.contains_xy(region.shape, *xy.astype(float).T).sum()
    assert abs(found.value.value - int(inside)) <= 3  # the map decides at the line
    assert "drawn_region" in found.flags
    assert found.evidence[0].polygons
    assert next(f for f in case.findings if f.key == "cells.count").entry is None


def test_findings_keep_their_ids_and_new_ones_follow(plan):
    before = {(f.key, f.evidence): f.id for f in pipeline(plan).findings}
    case = corrected_case(plan, CASE, corrections("S1", regions=(box("tumor", 160, 160, 99, 99),)))
    ids = [f.id for f in case.findings]
    last = max(int(i[1:]) for i in before.values())
    new = [f for f in case.findings if int(f.id[1:]) > last]
    assert ids == sorted(ids, key=lambda i: int(i[1:]))
    assert {"in_tumor.area_mm2", "region.tumor.count"} <= {f.key for f in new}
    old = {(f.key, tuple(e.slide_id for e in f.evidence)): f.id for f in pipeline(plan).findings}
    for finding in case.findings:
        key = finding.key, tuple(e.slide_id for e in finding.evidence)
        assert old.get(key, finding.id) == finding.id


# --- what cannot count is told ---------------------------------------------------------------


def test_a_class_that_the_slide_does_not_have_is_told(plan):
    row = a_row(plan, "negative")
    made = made_case(plan, CASE, corrections("S2", edits=(edit(plan, "S2", row, "tumor"),),
                                             added=(added(200, 200, "lymphocyte"),)))  # fmt: skip
    assert made.case.digest == pipeline(plan).digest
    assert any("1 nuclei called tumor keep their class" in n for n in made.notes)
    assert any("do not count as lymphocyte" in n for n in made.notes)
    assert all(n.startswith("S2: ") for n in made.notes)


def test_where_nuclei_have_one_class_every_word_is_a_nucleus(plan):
    given = SlideCorrections((edit(plan, "S1", 4, "tumor"),), (added(200, 200, "tumor"),))
    found = corrected_nuclei(plan.results.slide("S1"), DETECTOR, given)
    assert found.named == {4: "tumor"}
    assert (found.by_hand, found.notes) == (1, ())
    assert not found.nuclei.class_.any()


def test_nuclei_of_another_detector_and_off_the_tissue_are_told(plan):
    strange = edit(plan, "S1", 4, "", detector="other")
    given = SlideCorrections((strange,), (added(9000, 9000),), (box("exclude", 0, 0, 64, 64),))
    inside = SlideCorrections((), (added(20, 20),), (box("exclude", 0, 0, 64, 64),))
    found = corrected_nuclei(plan.results.slide("S1"), DETECTOR, given)
    assert any("another detector" in n for n in found.notes)
    assert found.by_hand == 1  # the map ends at the slide's edge, and so does the place
    found = corrected_nuclei(plan.results.slide("S1"), DETECTOR, inside)
    assert any("off the analyzed tissue" in n for n in found.notes)
    assert found.by_hand == 0


def test_an_unknown_slide_or_case_is_named(plan):
    for slide_id, case in (("S9", CASE), ("S1", "C9")):
        with pytest.raises(PathaiError) as error:
            corrected_case(plan, case, corrections(slide_id))
        assert error.value.code == "E191"


# --- nuclei found anew -----------------------------------------------------------------------


def test_nuclei_that_were_found_anew_are_matched_by_place(tmp_path):
    run = make_run(tmp_path / "run")
    rows = [a_row(run, "negative"), a_row(run, "positive")]
    edits = (edit(run, "S2", rows[0], "positive"), edit(run, "S2", rows[1], ""))
    before = corrected_nuclei(run.results.slide("S2"), DETECTOR, SlideCorrections(edits))
    text = (tmp_path / "run" / "config.yaml").read_text()
    changed = text.replace("{detector: classical}", "{detector: classical, block_px: 512}")
    assert changed != text
    (tmp_path / "run" / "config.yaml").write_text(changed)
    again = type(run)(tmp_path / "run" / "config.yaml")
    recount(again)
    folder = again.results.slide("S2")
    assert folder.cells_digest(DETECTOR) != edits[0].store
    after = corrected_nuclei(folder, DETECTOR, SlideCorrections(edits))
    assert after.named == before.named
    assert after.notes == ()
    lost = tuple(edit(run, "S2", 0, "", store="f" * 64, xy_px0=(-50.0, 5.0 * i)) for i in range(3))
    lost = tuple(type(e)(e.detector, e.store, i, e.xy_px0, "") for i, e in enumerate(lost))
    told = corrected_nuclei(folder, DETECTOR, SlideCorrections(lost))
    assert told.notes[0].startswith("3 corrected nuclei are no more")
    assert told.by_hand == 0


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_matching_is_one_to_one_near_and_blind_to_order(plan, data):
    places = st.tuples(st.integers(0, 30), st.integers(0, 30))
    stored = np.array(data.draw(st.lists(places, min_size=1, max_size=8)), np.float32)
    wanted = data.draw(st.lists(places, min_size=1, max_size=8))
    base = edit(plan, "S1", 0, "", store="old")
    edits = [
        type(base)(DETECTOR, "old", i, (float(x), float(y)), f"w{i}")
        for i, (x, y) in enumerate(wanted)
    ]
    half = np.array([0.5, 0.5])
    named, lost = resolved(edits, stored, half, "new")
    assert len(named) + len(lost) == len(edits)
    for row, word in named.items():
        gap = np.hypot(*((stored[row] - wanted[int(word[1:])]) * half))
        assert gap <= 2.0
    free = [i for i in range(len(stored)) if i not in named]
    for one in lost:
        assert all(np.hypot(*((stored[i] - one.xy_px0) * half)) > 2.0 for i in free)
    order = data.draw(st.permutations(edits))
    again, missed = resolved(order, stored, half, "new")
    assert again == named
    assert {e.row for e in missed} == {e.row for e in lost}


def test_an_added_nucleus_that_the_detector_found_since_counts_once(plan):
    folder = plan.results.slide("S2")
    xy = nuclei(plan, "S2").xy_px0
    row = a_row(plan, "negative")
    x, y = (float(v) for v in xy[row])
    old = added(x + 1, y + 1, "positive")
    before = type(old)(DETECTOR, old.outline_px0, "positive", "0" * 64)
    missed = type(old)(DETECTOR, added(1.0, 1.0).outline_px0, "positive", "0" * 64)
    found = corrected_nuclei(folder, DETECTOR, SlideCorrections(added=(before, missed)))
    assert found.named == {row: "positive"}
    assert len(found.nuclei.xy_px0) == len(xy) + 1
    assert found.by_hand == 2
    assert found.notes == ("1 added nuclei were found by the detector since, and count once",)
    silent = type(old)(DETECTOR, old.outline_px0, "", "0" * 64)
    found = corrected_nuclei(folder, DETECTOR, SlideCorrections(added=(silent,)))
    assert (found.named, found.by_hand, len(found.nuclei.xy_px0)) == ({}, 0, len(xy))


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_counts_are_what_was_kept_plus_what_was_added(plan, data):
    folder, stored = plan.results.slide("S2"), nuclei(plan, "S2")
    words = st.sampled_from(["", "positive", "negative", "tumor"])
    said = data.draw(st.dictionaries(st.integers(0, len(stored.xy_px0) - 1), words, max_size=12))
    places = st.tuples(st.integers(20, 600), st.integers(20, 600))
    new = data.draw(st.lists(st.tuples(places, words), max_size=5))
    edits = tuple(edit(plan, "S2", row, word) for row, word in said.items())
    more = tuple(added(x, y, word) for (x, y), word in new)
    found = corrected_nuclei(folder, DETECTOR, SlideCorrections(edits, more))
    dropped = [row for row, word in said.items() if word == ""]
    counted = [word for _, word in new if word != "tumor"]
    assert len(found.nuclei.xy_px0) == len(stored.xy_px0) - len(dropped) + len(counted)
    assert len(found.rows) == len(found.nuclei.class_) == len(found.nuclei.dab_od)
    for row, word in said.items():
        at = np.flatnonzero(found.rows == row)
        assert len(at) == (word != "")
        if word in stored.classes:
            assert stored.classes[found.nuclei.class_[at[0]]] == word
    told = sum(word == "tumor" for word in said.values())
    assert any(f"{told} nuclei called tumor" in n for n in found.notes) == bool(told)


# --- added nuclei ----------------------------------------------------------------------------


def test_the_dab_of_an_added_nucleus_is_what_the_detector_measures(plan):
    folder = plan.results.slide("S2")
    cells = folder.read_cells(DETECTOR)
    known = background_of(folder, CellsConfig(detector=DETECTOR))
    start = cells.outline_start
    rows = [int(i) for i in np.argsort(cells.dab_od)[[-1, -5, -10, 20, 60]]]
    shapes = [shapely.Polygon(cells.outline_px0[start[i] : start[i + 1]]) for i in rows]
    found = nuclear_dab(folder, shapes, known)
    assert np.abs(found - cells.dab_od[rows]).max() < 0.04


def test_an_added_nucleus_without_a_word_is_classed_by_its_dab(plan):
    folder = plan.results.slide("S2")
    cells = folder.read_cells(DETECTOR)
    start, top = cells.outline_start, int(np.argmax(cells.dab_od))
    ring = tuple(map(tuple, cells.outline_px0[start[top] : start[top + 1]].tolist()))
    one = type(added(0, 0))(DETECTOR, ring, "")
    found = corrected_nuclei(folder, DETECTOR, SlideCorrections(added=(one,)))
    assert found.nuclei.classes[found.nuclei.class_[-1]] == "positive"
    assert found.nuclei.dab_od[-1] == pytest.approx(float(cells.dab_od[top]), abs=0.04)
    assert found.rows[-1] == -1


def test_outlines_stay_with_their_nuclei(plan):
    folder = plan.results.slide("S1")
    given = SlideCorrections((edit(plan, "S1", 3, ""),), (added(300, 200),))
    found, stored = corrected_cells(folder, DETECTOR, given), folder.read_cells(DETECTOR)
    assert len(found.xy_px0) == len(stored.xy_px0)
    start = found.outline_start
    own = found.outline_px0[start[3] : start[4]]
    old = stored.outline_start
    assert np.array_equal(own, stored.outline_px0[old[4] : old[5]])
    last = found.outline_px0[start[-2] : start[-1]]
    assert shapely.Polygon(last).equals(shapely.box(294, 194, 306, 206))
    assert sum(found.attrs.class_counts) == len(found.xy_px0)


def test_nothing_of_the_results_is_written(plan):
    def state(folder: SlideFolder):
        return {p: p.stat().st_mtime_ns for p in folder.path.rglob("*")}

    before = state(plan.results.slide("S2"))
    corrected_case(plan, CASE, corrections("S2", edits=(edit(plan, "S2", 1, ""),)))
    assert state(plan.results.slide("S2")) == before
    json.loads(plan.results.case(CASE).findings.read_text())
