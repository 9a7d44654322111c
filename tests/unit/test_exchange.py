"""A reader's nuclei and regions in QuPath and back: only what was changed there changes here."""

import gzip
import json
import shutil
from hashlib import sha256

import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pathai import object_ids
from pathai.edits import CellEdit
from pathai.errors import PathaiError
from pathai.exchange import (
    ObjectsFile,
    changes_of,
    import_review,
    standing_on,
    take_back,
    write_review,
)
from pathai.review import Case, ReviewSession
from pathai.review_log import read_log
from pathai.store.folders import ResultsFolder

CASE, SLIDE, DETECTOR = "E2", "E2", "classical"
SQUARE = ((100.0, 100.0), (112.0, 100.0), (112.0, 112.0), (100.0, 112.0))
OTHER = ((300.0, 200.0), (312.5, 200.0), (306.0, 214.0))
RING = ((40.0, 40.0), (200.0, 40.0), (200.0, 180.0), (40.0, 180.0))
HOLE = ((80.0, 80.0), (120.0, 80.0), (120.0, 120.0), (80.0, 120.0))


@pytest.fixture(scope="module")
def results(tiny_results):
    return ResultsFolder(tiny_results / "results")


@pytest.fixture
def folder(results):
    return results.slide(SLIDE)


class Desk:
    """A reader at the case, with what QuPath would see."""

    def __init__(self, results, reviews, reader="dr-a"):
        self.results, self.reviews, self.folder = results, reviews, results.slide(SLIDE)
        self.session = ReviewSession(reviews, reader, [Case(CASE)], blind=False)
        self.session.open(CASE)
        self.path = reviews.parent / f"{reader}.geojson"

    @property
    def now(self):
        return standing_on(self.folder, DETECTOR, self.session.state)

    def edit(self, rows, after):
        places = self.folder.read_cells(DETECTOR).xy_px0[list(rows)].tolist()
        store = self.folder.cells_digest(DETECTOR)
        edit = CellEdit(SLIDE, DETECTOR, store, tuple(rows), tuple(map(tuple, places)), after)
        return self.session.correct_cells(edit)

    def add(self, outline, name):
        store = self.folder.cells_digest(DETECTOR)
        return self.session.add_cell(SLIDE, DETECTOR, outline, name, store)

    def write(self):
        write_review(self.folder, self.now, self.path, overwrite=True)
        return self.path.read_bytes()

    def collection(self):
        return json.loads(self.write())

    def take(self, said, **how):
        """What a file does that QuPath wrote anew: its own members, its own spelling."""
        if not isinstance(said, bytes):
            said = json.dumps({"type": "FeatureCollection", "features": said}, indent=1).encode()
        self.path.write_bytes(said)
        return import_review(
            self.session, self.results, self.path, slides=[SLIDE], detector=DETECTOR, **how
        )

    @property
    def events(self):
        return read_log(self.session.log_path(CASE))


@pytest.fixture
def desk(results, tmp_path):
    made = []

    def sit(reader="dr-a", name="reviews"):
        one = Desk(results, tmp_path / name, reader)
        made.append(one)
        return one

    yield sit
    for one in made:
        one.session.close()


def corrected(desk):
    """A desk at which a bit of everything was done."""
    desk.edit((3, 4), "")
    desk.edit((5,), "mitosis")
    names = desk.folder.read_cells(DETECTOR)
    desk.edit((6,), names.attrs.classes[int(names.class_[6])])  # confirmed
    desk.add(SQUARE, "nucleus")
    desk.session.set_region(SLIDE, "", "tumor", (RING, HOLE))
    desk.session.set_region(SLIDE, "", "reviewed", (OTHER,))
    return desk


def by_kind(features):
    found = {"cell": [], "added": [], "region": []}
    for feature in features:
        found[object_ids.parse(feature["id"]).kind].append(feature)
    return found


# --- the round trip --------------------------------------------------------------------------


def test_a_file_that_nobody_changed_changes_nothing(desk):
    one = corrected(desk())
    before, events = one.write(), len(one.events)
    made = one.take(before)
    assert (made.slide_id, made.events, bool(made.changes)) == (SLIDE, 0, False)
    assert len(one.events) == events
    assert one.write() == before


def test_another_readers_empty_log_says_the_same_after_it(desk):
    first = corrected(desk())
    before = first.write()
    second = desk("dr-b")
    made = second.take(before)
    assert made.events == 6  # three words of nuclei, one nucleus, two regions
    assert second.write() == before
    words, own = second.now.words, first.now.words
    assert words == own == {3: "", 4: "", 5: "mitosis", 6: own[6]}
    sources = {e.source for e in second.events if e.kind in ("cells", "region")}
    assert sources == {sha256(before).hexdigest()}


rings = st.integers(0, 60).flatmap(
    lambda k: st.lists(
        st.tuples(st.integers(10, 8000), st.integers(10, 6500)), min_size=3, max_size=7, unique=True
    ).map(lambda points: tuple((x / 10, y / 10) for x, y in points))
)
actions = st.one_of(
    st.tuples(st.just("cells"), st.sets(st.integers(0, 35), min_size=1, max_size=6),
              st.sampled_from(["", "nucleus", "mitosis", "odd; name é"])),
    st.tuples(st.just("add"), rings, st.sampled_from(["nucleus", "mitosis"])),
    st.tuples(st.just("region"), st.lists(rings, min_size=1, max_size=3),
              st.sampled_from(["tumor", "reviewed", "a \"b\" \\ c"])),
    st.tuples(st.just("undo"), st.none(), st.none()),
)  # fmt: skip


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(actions, max_size=8))
def test_writing_reading_and_writing_gives_the_same_bytes(tiny_results, tmp_path_factory, done):
    root, results = tmp_path_factory.mktemp("desk"), ResultsFolder(tiny_results / "results")
    first = Desk(results, root / "reviews")
    for what, where, name in done:
        if what == "cells":
            first.edit(sorted(where), name)
        elif what == "add":
            first.add(where, name)
        elif what == "region":
            first.session.set_region(SLIDE, "", name, where)
        else:
            first.session.undo()
    before = first.write()
    assert not first.take(before).changes
    second = Desk(results, root / "reviews", "dr-b")
    second.take(before)
    assert second.write() == before
    first.session.close()
    second.session.close()
    shutil.rmtree(root)


def test_packed_or_plain_the_same_is_read(desk):
    one = corrected(desk())
    plain = one.write()
    two = desk("dr-b")
    two.take(gzip.compress(plain))
    assert two.write() == plain


# --- what QuPath does ------------------------------------------------------------------------


def test_qupath_finds_what_it_needs(desk, folder):
    one = corrected(desk())
    said = one.collection()
    found, cells = by_kind(said["features"]), folder.read_cells(DETECTOR)
    assert [len(found[k]) for k in ("cell", "added", "region")] == [len(cells.xy_px0), 1, 2]
    assert len({f["id"] for f in said["features"]}) == len(said["features"])
    kinds = {f["properties"]["objectType"] for f in (*found["cell"], *found["added"])}
    assert kinds == {"detection"}
    rejected = found["cell"][3]["properties"]
    assert rejected["classification"] == {"name": "Ignore*", "color": [180, 180, 180]}
    assert rejected["measurements"]["Corrected by reader"] == 1
    assert found["cell"][7]["properties"]["measurements"]["Corrected by reader"] == 0
    shapes = {f["properties"]["name"]: shapely.from_geojson(json.dumps(f["geometry"]))
              for f in found["region"]}  # fmt: skip
    assert shapes["tumor"].equals(shapely.Polygon(RING, [HOLE]))
    assert "dr-a" not in one.path.read_text()


def test_each_edit_in_qupath_is_just_that_correction(desk):
    one = corrected(desk())
    names = one.folder.read_cells(DETECTOR).attrs.classes
    before = one.now
    features = one.collection()["features"]
    found = by_kind(features)
    found["cell"][10]["properties"]["classification"] = {"name": "mitosis", "color": [1, 2, 3]}
    features.remove(found["cell"][11])
    features.append(
        {"type": "Feature", "id": "5f3c1a52-7a1e-4b0f-9f0d-2f1a6f3b9c11",
         "geometry": {"type": "Polygon", "coordinates": [[*OTHER, OTHER[0]]]},
         "properties": {"objectType": "annotation", "classification": {"name": names[0]}}}
    )  # fmt: skip
    moved = next(f for f in found["region"] if f["properties"]["name"] == "reviewed")
    moved["geometry"]["coordinates"] = [[[x + 5, y] for x, y in (*OTHER, OTHER[0])]]
    made = one.take(features)
    changes = made.changes
    assert changes.classes == {"mitosis": [10], "": [11]}
    assert changes.missed == [(OTHER, names[0])]
    shifted = tuple((x + 5, y) for x, y in OTHER)
    key = next(k for k, drawn in before.regions.values() if drawn.name == "reviewed")
    assert changes.drawn == [(key, "reviewed", (shifted,))]
    assert not any((changes.renewed, changes.removed, changes.erased, changes.left))
    now = one.now
    assert now.words == {**before.words, 10: "mitosis", 11: ""}
    assert sorted(cell.outline_px0 for _, cell in now.added.values()) == sorted((SQUARE, OTHER))
    # and one by one all of it can be taken back
    assert take_back(one.session, sha256(one.path.read_bytes()).hexdigest()) == made.events == 4
    assert (one.now.words, one.now.regions) == (before.words, before.regions)
    assert one.now.added == before.added


def test_a_nucleus_that_was_drawn_anew_is_another_one(desk):
    one = desk()
    features = one.collection()["features"]
    ring = features[8]["geometry"]["coordinates"][0]
    features[8]["geometry"]["coordinates"] = [[[x + 3, y] for x, y in ring]]
    name = features[8]["properties"]["classification"]["name"]
    made = one.take(features)
    assert made.changes.classes == {"": [8]}
    assert made.changes.missed == [(tuple((x + 3, y) for x, y in ring[:-1]), name)]
    assert not one.take(one.write()).changes


def test_an_outline_that_begins_elsewhere_or_runs_the_other_way_is_the_same(desk):
    one = corrected(desk())
    features = one.collection()["features"]
    for feature in features:
        ring = feature["geometry"]["coordinates"][0][:-1]
        turned = [*ring[2:], *ring[:2]][::-1]
        feature["geometry"]["coordinates"][0] = [
            [x + 0.004, y - 0.004] for x, y in (*turned, turned[0])
        ]
    assert not one.take(features).changes


def test_regions_and_added_nuclei_that_were_deleted_or_renamed(desk):
    one = corrected(desk())
    features = one.collection()["features"]
    found = by_kind(features)
    features.remove(found["added"][0])
    tumor = next(f for f in found["region"] if f["properties"]["name"] == "tumor")
    tumor["properties"]["classification"]["name"] = "exclude"
    features.remove(next(f for f in found["region"] if f is not tumor))
    changes = one.take(features).changes
    assert changes.removed == ["n1"]
    assert [(key, name) for key, name, _ in changes.drawn] == [("r1", "exclude")]
    assert changes.erased == ["r2"]


def test_a_part_of_the_objects_deletes_nothing(desk):
    one = corrected(desk())
    whole = one.collection()["features"]
    few = [f for f in whole if object_ids.parse(f["id"]).kind == "cell"][:9]
    with pytest.raises(PathaiError, match=r"E217: dr-a.geojson is without \d+ of \d+ nuclei"):
        one.take(few)
    assert not one.take(few, keep_missing=True).changes
    regions = by_kind(whole)["region"]
    changes = one.take(regions).changes
    assert not changes.classes
    assert "holds no nuclei" in changes.notes[0]


def test_what_says_nothing_of_nuclei_and_regions_is_left_aside(desk):
    one = desk()
    features = one.collection()["features"]
    point = {"type": "Point", "coordinates": [5, 5]}
    for kind, geometry in (("tile", RING), ("annotation", None)):
        shape = {"type": "Polygon", "coordinates": [[*RING, RING[0]]]} if geometry else point
        features.append({"type": "Feature", "geometry": shape, "properties": {"objectType": kind}})
    changes = one.take(features).changes
    assert changes.left == {"tile": 1, "points and lines": 1}
    assert not changes


def test_a_region_of_several_parts_is_several_regions(desk):
    one = desk()
    features = one.collection()["features"]
    parts = [[[*RING, RING[0]], [*HOLE, HOLE[0]]], [[*OTHER, OTHER[0]]]]
    features.append({"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": parts},
                     "properties": {"objectType": "annotation", "name": "necrosis"}})  # fmt: skip
    one.take(features)
    drawn = sorted(d.rings_px0 for _, d in one.now.regions.values())
    assert drawn == sorted([(RING, HOLE), (OTHER,)])
    assert not one.take(one.write()).changes


def test_whoever_saw_nuclei_elsewhere_has_not_read_blind(results, tmp_path, desk):
    source = corrected(desk("dr-b")).write()
    session = ReviewSession(tmp_path / "reviews", "dr-a", [Case(CASE)])
    session.open(CASE)
    path = tmp_path / "file.geojson"
    path.write_bytes(source)
    assert session.hidden
    import_review(session, results, path, slides=[SLIDE], detector=DETECTOR)
    assert not session.hidden
    assert session.state.revealed
    session.close()


# --- what is refused -------------------------------------------------------------------------


def ruined(features, how):
    """One object changed so that it cannot be taken in; gives it back, with its number."""
    last = features[-1]
    geometry = last["geometry"]
    if how == "unknown class":
        last["properties"]["classification"]["name"] = "astrocyte"
    elif how == "no class":
        del last["properties"]["classification"]
    elif how == "damaged outline":
        geometry["coordinates"][0][1] = [3, None]
    elif how == "fewer than three points":
        geometry["coordinates"] = [geometry["coordinates"][0][:2]]
    elif how == "no geometry":
        last["geometry"] = None
    elif how == "outside of slide":
        geometry["coordinates"] = [[[x + 5000, y] for x, y in geometry["coordinates"][0]]]
    elif how == "another slide":
        last["id"] = object_ids.cell_ids("E3", "0" * 64, [0])[0]
    elif how == "found anew":
        last["id"] = object_ids.cell_ids(SLIDE, "0" * 64, [0])[0]
    elif how == "second time":
        features.append(dict(last))
    elif how == "no feature":
        features[-1] = [1, 2]


@pytest.mark.parametrize(
    "how",
    ["unknown class", "no class", "damaged outline", "fewer than three points", "no geometry",
     "outside of slide", "another slide", "found anew", "second time", "no feature"],
)  # fmt: skip
def test_what_does_not_fit_is_named_by_its_line_and_nothing_is_written(desk, how):
    one = corrected(desk())
    features, events = one.collection()["features"], len(one.events)
    ruined(features, how)
    lines = '{"type":"FeatureCollection","features":[\n' + ",\n".join(map(json.dumps, features))
    place = f"line {len(features) + 1}: object {len(features)} "
    with pytest.raises(PathaiError) as told:
        one.take((lines + "\n]}").encode())
    assert told.value.code == "E217"
    assert place in told.value.message
    assert how in told.value.message
    assert len(one.events) == events


def test_a_file_of_another_slide_is_refused(desk, results):
    one = desk()
    said = one.collection()
    said["pathai"]["slide_id"] = "E3"
    with pytest.raises(PathaiError, match=r"E217.*of a slide that is not here"):
        one.take(json.dumps(said).encode())
    there = results.slide("E3")
    path = one.path.with_name("e3.geojson")
    write_review(there, standing_on(there, DETECTOR, one.session.state), path)
    with pytest.raises(PathaiError, match=r"E217"):
        one.take(json.loads(path.read_text())["features"])
    with pytest.raises(PathaiError, match=r"E217.*another slide"):
        changes_of(ObjectsFile(path), one.now)


def test_a_file_without_any_of_our_objects_needs_to_be_told_its_slide(desk):
    one = desk()
    shape = {"type": "Polygon", "coordinates": [[*RING, RING[0]]]}
    facts = {"objectType": "annotation", "classification": {"name": "tumor"}}
    region = {"type": "Feature", "geometry": shape, "properties": facts}
    with pytest.raises(PathaiError, match=r"E217.*does not say of which slide.*--slide"):
        one.take([region])
    changes = one.take([region], slide_id=SLIDE).changes
    assert [(name, rings) for _, name, rings in changes.drawn] == [("tumor", (RING,))]
    assert not changes.classes


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff\xfe", b'{"features": [1', b"[{} {}]", b"[" * 100_000, b"\x1f\x8bno"]
)
def test_what_is_no_geojson_is_told(desk, text):
    one = desk()
    with pytest.raises(PathaiError, match=r"E217: dr-a.geojson"):
        one.take(text)


def test_a_class_of_ones_own_is_allowed_when_it_is_told(desk):
    one = desk()
    features = one.collection()["features"]
    features[2]["properties"]["classification"] = {"names": ["tumor", "mitosis"]}
    with pytest.raises(PathaiError, match=r"unknown class 'tumor: mitosis'.*--class"):
        one.take(features)
    changes = one.take(features, classes=["tumor: mitosis"]).changes
    assert changes.classes == {"tumor: mitosis": [2]}
