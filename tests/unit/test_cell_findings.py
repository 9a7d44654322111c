"""Which figure stands under which key, what is said beside it, and what is never printed."""

import json
import re
import shutil
from functools import cache

import numpy as np
import pytest
import shapely
from finding_cases import OK, TILES, answer, by_key, cells, slide, stored_slide
from quantity_cases import CONFUSION, COUNTED, KINDS, nuclei, two_pieces, write_drawn

from pathai.case import PredictionInput, slide_input
from pathai.config import FindingsConfig, ReportConfig
from pathai.errors import PathaiError
from pathai.finding import Finding, registry
from pathai.findings import findings_of_case
from pathai.quantities.error import ShareError
from pathai.quantities.regions import MOST_POINTS, outline
from pathai.quantities.summary import Known, Nuclei, summarize
from pathai.quantities.tumor import in_tumor
from pathai.report.draft import draft
from pathai.store.cells_summary import write_summary
from pathai.store.commit import manifest_path
from pathai.store.folders import SlideFolder
from pathai.store.manifest import list_files, read_manifest, write_manifest
from pathai.store.pyramid import write_tissue
from pathai.store.records import TissueMap
from pathai.units import Mpp

STAINED = ("negative", "positive")
FULL = Known(COUNTED, ShareError(0.0, 0.1, 0.3, 60, "drawn tissue"), CONFUSION)


@cache
def figures(classes, family, known):
    """Nuclei and their summary; the stain's own word is filled in later."""
    tissue = two_pieces()
    found = nuclei(classes, tissue)
    made = summarize(found, tissue, detector="d", digest="ab", stain="", family=family,
                     cutoffs_od=(0.15, 0.4, 0.6), known=known)  # fmt: skip
    return found, made


def slide_with(classes, stain, known=None, found=None, tumor=False, **changes):
    """A slide whose summary and attributes are of the same nuclei."""
    tissue, family = two_pieces(), registry().family(stain)
    if found is None:
        found, made = figures(classes, family, known)
    else:
        made = summarize(found, tissue, detector="d", digest="ab", stain=stain, family=family,
                         cutoffs_od=(0.15, 0.4, 0.6), known=known)  # fmt: skip
    counts = tuple(np.bincount(found.class_, minlength=len(classes)).tolist())
    attrs = cells(classes, counts, made.slide.tissue_mm2).model_copy(
        update={"count": made.slide.count, "density_per_mm2": made.slide.density_per_mm2}
    )
    if tumor:
        inside = tissue.classes == 1
        inside[:, 60:] = False
        changes["tumor"] = in_tumor(inside, found, tissue, known or Known(), source="drawn")
    return slide("S1", stain=stain, cells=attrs, summary=made, **changes)


def of(*args, **kwargs):
    return by_key(findings_of_case("C1", [slide_with(*args, **kwargs)]))


def test_intervals_say_what_they_hold():
    known, unknown = of(KINDS, "H&E", FULL), of(KINDS, "H&E")
    assert "checked_interval" in known["cells.count"].flags
    assert "counting_interval" not in known["cells.count"].flags
    assert "counting_interval" in unknown["cells.count"].flags
    assert {"experimental", "class_interval"} <= set(known["cells.count.tumor"].flags)
    assert known["cells.count.tumor"].value.low < known["cells.count.tumor"].value.high
    assert unknown["cells.count.tumor"].value.low is None
    assert "classes_unchecked" in unknown["cells.count.tumor"].flags
    assert unknown["cells.crowded_percent"].note == "density_unchecked"


def test_crowding_is_told_with_its_place():
    tissue = two_pieces()
    rng = np.random.default_rng(0)
    dense = rng.uniform([200, 200], [700, 700], (3000, 2)).astype(np.float32)
    found = Nuclei(dense, np.zeros(3000, np.uint8), np.zeros(3000), ("nucleus",))
    crowded = of(("nucleus",), "H&E", Known(COUNTED), found)
    finding = crowded["cells.crowded_percent"]
    assert "crowded" in finding.flags
    assert finding.value.numerator > 2000  # whole squares of 128 µm inside the dense one
    (box,) = finding.evidence[0].boxes
    assert box.x <= 256
    assert box.right >= 640
    even = of(("nucleus",), "H&E", Known(COUNTED), nuclei(("nucleus",), tissue))
    assert even["cells.crowded_percent"].value.numerator == 0
    wide, narrow = (f["cells.count"].value for f in (crowded, even))
    assert float(wide.high / wide.low) > float(narrow.high / narrow.low)


@pytest.mark.parametrize(
    ("stain", "present", "absent"),
    [
        ("Ki-67", ("ki67.positive_percent", "ki67.hotspot_percent"), ("er.allred", "er.h_score")),
        ("ER", ("er.positive_percent", "er.h_score", "er.allred"), ("ki67.positive_percent",)),
        ("PR", ("pr.positive_percent", "pr.h_score", "pr.allred"), ("er.allred",)),
        ("p53", ("cells.positive_percent",), ("er.allred", "ki67.hotspot_percent")),
    ],
)
def test_each_marker_has_its_own_figures(stain, present, absent):
    found = of(STAINED, stain)
    assert all(found[key].status == "measured" for key in present)
    assert not any(key in found for key in absent)
    assert found["ihc.controls"].note == "controls_not_seen"
    percent = found[present[0]]
    assert "all_nuclei" in percent.flags
    assert percent.value.denominator == 3000
    weak = [found[f"ihc.intensity_percent.{b}"].value for b in ("weak", "moderate", "strong")]
    assert sum(v.numerator for v in weak) == percent.value.numerator


def test_h_score_is_that_of_the_bins():
    found = of(STAINED, "ER")
    bins = [found[f"ihc.intensity_percent.{b}"].value for b in ("weak", "moderate", "strong")]
    score = sum((k + 1) * float(v.value) for k, v in enumerate(bins))
    assert float(found["er.h_score"].value.value) == pytest.approx(score)


@pytest.mark.parametrize("stain", ["HER2", "PD-L1", "CD8"])
def test_markers_of_membranes_are_not_assessed(stain):
    found = of(STAINED, stain)
    assert found["cells.positive_percent"].note == "membrane_marker"
    scores = {"HER2": "her2.score", "PD-L1": "pdl1.tps"}
    assert [k for k in found if k in scores.values()] == [scores[s] for s in [stain] if s in scores]
    for key, finding in found.items():
        if finding.value is not None:
            assert "positive" not in key
            assert "intensity" not in key
            assert "negative" not in key


def test_no_biomarker_comes_from_hematoxylin_and_eosin():
    for classes in (STAINED, KINDS, ("nucleus",)):
        found = of(classes, "H&E", tumor=True)
        heads = {key.split(".")[0] for key, f in found.items() if f.value is not None}
        assert not heads & {"ki67", "er", "pr", "her2", "pdl1", "ihc"}
        assert not any("positive" in key for key, f in found.items() if f.value is not None)


def made(key, stain, n, d, **changes):
    from pathai.finding import Evidence, Method, Quantity

    value = Quantity(value=100 * n / d, unit="%", numerator=n, denominator=d)
    fields = {"id": "F1", "key": key, "stain": stain, "status": "measured", "value": value,
              "method": Method(name="d", version="1", kind="count"),
              "evidence": (Evidence(slide_id="S1"),)}  # fmt: skip
    return Finding(**{**fields, **changes})


@pytest.mark.parametrize(
    ("key", "stain", "n", "d", "flags", "why"),
    [
        ("ki67.positive_percent", "ER", 100, 900, (), "no value on stain"),
        ("er.positive_percent", "Ki-67", 500, 900, (), "no value on stain"),
        ("er.positive_percent", "H&E", 500, 900, (), "no value on stain"),
        ("ki67.positive_percent", "MIB-1", 100, 499, (), "few_nuclei"),
        ("ki67.hotspot_percent", "Ki-67", 100, 499, (), "few_nuclei"),
        ("er.positive_percent", "ER", 10, 1000, (), "er_low_positive"),
        ("er.positive_percent", "ER", 100, 1000, (), "er_low_positive"),
    ],
)
def test_rules_of_markers_are_checked(key, stain, n, d, flags, why):
    with pytest.raises(ValueError, match=why):
        made(key, stain, n, d, flags=flags)


def test_rules_of_markers_let_through_what_is_right():
    made("ki67.positive_percent", "MIB-1", 100, 499, flags=("few_nuclei",))
    made("ki67.positive_percent", "Ki-67", 100, 500)
    made("er.positive_percent", "ER", 9, 1000)
    made("er.positive_percent", "ER", 101, 1000)


@pytest.mark.parametrize(
    ("positive", "flags"),
    [(0, {"controls_needed"}), (9, {"controls_needed"}), (10, {"controls_needed", "low"}),
     (100, {"controls_needed", "low"}), (101, set()), (900, set())],
)  # fmt: skip
def test_er_between_1_and_10_percent_asks_for_a_comment(positive, flags):
    tissue = two_pieces()
    base = nuclei(STAINED, tissue, count=1000)
    kind = np.array([1] * positive + [0] * (1000 - positive), np.uint8)
    found = of(STAINED, "ER", found=Nuclei(base.xy_px0, kind, base.dab_od, STAINED))
    names = {f.replace("er_low_positive", "low") for f in found["er.positive_percent"].flags}
    assert names & {"controls_needed", "low"} == flags


def test_tumor_figures_stand_on_a_region_or_say_why_not():
    bare = of(KINDS, "H&E", FULL)
    for key in ("in_tumor.count", "in_tumor.cellularity_percent"):
        assert (bare[key].status, bare[key].note) == ("not_assessed", "no_tumor_region")
    found = of(KINDS, "H&E", FULL, tumor=True)
    part = found["in_tumor.cellularity_percent"].value
    assert part.denominator == found["in_tumor.count"].value.value
    assert part.low < part.value < part.high
    assert "drawn_region" in found["in_tumor.count"].flags
    assert found["in_tumor.count"].evidence[0].boxes[0].right == 60 * 16
    assert found["in_tumor.area_mm2"].value.value < found["cells.analyzed_area_mm2"].value.value
    one_class = of(("nucleus",), "H&E", tumor=True)
    assert one_class["in_tumor.cellularity_percent"].note == "no_tumor_class"
    assert one_class["in_tumor.count"].status == "measured"
    unknown = of(KINDS, "H&E", tumor=True)["in_tumor.cellularity_percent"]
    assert unknown.value.low is None
    assert "classes_unchecked" in unknown.flags


@pytest.mark.parametrize("classes", [("nucleus",), STAINED, KINDS])
@pytest.mark.parametrize("stain", ["H&E", "Ki-67", "ER", "HER2", "H-DAB"])
@pytest.mark.parametrize("known", [None, FULL])
def test_every_line_can_be_drafted_and_verified(classes, stain, known):
    if known and classes == STAINED:
        known = Known(FULL.count, FULL.share)
    case = findings_of_case("C1", [slide_with(classes, stain, known, tumor=True)])
    report = draft(case, ReportConfig())
    assert report.verification.fallback == 0
    assert report.verification.statements == len(case.findings)


# --- from the store --------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path):
    """A slide with 37 nuclei as its stages wrote it, with a summary."""
    folder = SlideFolder(tmp_path / "slides" / "S1")
    row = stored_slide(folder, "H&E")
    shutil.rmtree(folder.tissue)  # the tiles of the model lie on tissue here
    write_tissue(folder.tissue, TissueMap(np.ones((40, 50), np.uint8), 16.0, Mpp(8.0, 8.0)))
    sealed = manifest_path(folder.base("tile"))
    files = list_files(sealed.parent, [folder.tissue])
    write_manifest(sealed, read_manifest(sealed).model_copy(update={"files": files}))
    found = folder.read_cells("classical")
    made = summarize(
        Nuclei(found.xy_px0, found.class_, found.dab_od, found.attrs.classes),
        folder.read_tissue(), detector="classical", digest="ab", stain="H&E", family="he",
        cutoffs_od=(0.15, 0.4, 0.6),
    )  # fmt: skip
    write_summary(folder.cells_summary("classical"), made)
    return row, folder, tmp_path


def read(stored, section=None, regions=None):
    row, folder, _ = stored
    models = {"tumor": ()}
    return slide_input(row, folder, section or FindingsConfig(), "classical", models, regions)


def test_a_models_map_says_where_tumor_is(stored):
    found = read(stored)
    # Of five tiles only the two with more than the mean attention: 0.4 and 0.3 of 0.2.
    assert found.tumor.source == "model"
    assert found.tumor.model == "tumor"
    lines = by_key(findings_of_case("C", [found]))
    assert "model_region" in lines["in_tumor.count"].flags
    polygons = lines["in_tumor.count"].evidence[0].polygons
    area = sum(shapely.Polygon(rings[0], rings[1:]).area for rings in polygons)
    assert area * (0.5e-3) ** 2 == pytest.approx(found.tumor.region.tissue_mm2, rel=0.02)
    more = read(stored, FindingsConfig(tumor_attention=0.4))
    assert more.tumor.region.tissue_mm2 > found.tumor.region.tissue_mm2
    none = read(stored, FindingsConfig(tumor_model=""))
    assert (none.tumor, none.tumor_note) == (None, "no_tumor_region")


def test_a_drawn_region_goes_before_the_model(stored):
    at = [[[80, 160], [400, 160], [400, 480], [80, 480], [80, 160]]]
    path = write_drawn(
        stored[2] / "S1.geojson",
        ("Polygon", at, {"classification": {"name": "Tumor"}}),
        ("Polygon", at, {"name": "Area 7 <b>"}),
    )
    found = read(stored, regions=path)
    assert found.tumor.source == "drawn"
    assert found.tumor.region.tissue_mm2 == pytest.approx(20 * 20 * 64e-6)
    lines = by_key(findings_of_case("C", [found]))
    assert lines["region.area_7_b.count"].value.value == lines["in_tumor.count"].value.value
    assert "drawn_region" in lines["region.tumor.count"].flags
    corners = {(80.0, 160.0), (400.0, 160.0), (400.0, 480.0), (80.0, 480.0)}
    for key in ("in_tumor.count", "region.tumor.area_mm2", "region.area_7_b.count"):
        (polygon,) = lines[key].evidence[0].polygons
        assert set(polygon[0]) == corners
    assert not lines["cells.count"].evidence[0].polygons
    path.write_text("{")
    with pytest.raises(PathaiError, match="E155"):
        read(stored, regions=path)


@pytest.mark.parametrize("seed", range(5))
def test_an_outline_has_few_points_and_nearly_the_area(seed):
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, 3000, endpoint=False)
    radius = 5000 + 300 * np.sin(7 * angle) + rng.normal(0, 5, angle.size)
    ring = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    shape = shapely.make_valid(shapely.Polygon(ring, [np.array([[0, 0], [900, 0], [0, 900]])]))
    kept = outline(shape, 8.0)
    assert sum(len(r) for rings in kept for r in rings) <= MOST_POINTS
    made = shapely.union_all([shapely.Polygon(rings[0], rings[1:]) for rings in kept])
    assert made.is_valid
    assert made.symmetric_difference(shape).area < 0.02 * shape.area
    assert not made.contains(shapely.Point(100, 100))


def test_a_model_that_sees_no_tumor_or_says_nothing_maps_none(stored):
    from pathai.case import _why_unmapped

    assert _why_unmapped(answer()) == ""
    assert _why_unmapped(answer(label="no")) == "no_tumor_predicted"
    assert _why_unmapped(answer(abstained=True, label="", set=())) == "tumor_withheld"
    given = PredictionInput(model="tumor", stage=OK, answer=answer(label="no"), boxes=TILES)
    lines = of(KINDS, "H&E", predictions=(given,), tumor_note="no_tumor_predicted")
    assert lines["in_tumor.count"].note == "no_tumor_predicted"


def test_cores_have_length_and_tumor_by_both_conventions(tmp_path):
    classes = np.zeros((200, 900), np.uint8)
    classes[50:140, 50:850] = 1  # 6.4 x 0.72 mm
    tissue = TissueMap(classes, 16.0, Mpp(8.0, 8.0))
    write_tissue(tmp_path / "tissue.zarr", tissue)
    found = nuclei(("nucleus",), tissue)
    inside = classes == 1
    inside[:, :100] = False
    inside[:, 200:500] = False
    inside[:, 600:] = False
    tumor = in_tumor(inside, found, tissue, Known(), source="drawn")
    made = summarize(found, tissue, detector="d", digest="a", stain="H&E", family="he",
                     cutoffs_od=(0.15, 0.4, 0.6))  # fmt: skip
    attrs = cells(("nucleus",), (3000,), made.slide.tissue_mm2)
    lines = by_key(findings_of_case("C", [slide("S1", cells=attrs, summary=made, tumor=tumor)]))
    names = ("length_mm", "tumor_mm", "tumor_span_mm", "tumor_percent", "tumor_span_percent")
    values = {name: float(lines[f"core.1.{name}"].value.value) for name in names}
    assert values["length_mm"] == pytest.approx(6.4, rel=0.03)
    assert values["tumor_mm"] == pytest.approx(1.6, abs=0.1)
    assert values["tumor_span_mm"] == pytest.approx(4.0, abs=0.1)
    assert values["tumor_percent"] == pytest.approx(25, abs=2)
    assert values["tumor_span_percent"] == pytest.approx(62.5, abs=2)
    without = by_key(findings_of_case("C", [slide("S1", cells=attrs, summary=made)]))
    assert without["core.1.tumor_mm"].note == "no_tumor_region"


def test_a_core_shorter_than_its_tumor_is_refused():
    case = findings_of_case("C", [slide("S1")])
    text = json.loads(case.model_dump_json(exclude={"digest"}))
    sample = dict(text["findings"][-1])
    for number, (key, value) in enumerate({"tumor_mm": 7.0, "length_mm": 6.0}.items()):
        made_up = {**sample, "id": f"F{900 + number}", "key": f"core.1.{key}", "flags": []}
        made_up |= {"value": {"type": "quantity", "value": value, "unit": "mm"}, "parents": []}
        made_up |= {"status": "measured", "note": ""}
        made_up["method"] = {**sample["method"], "kind": "geometry"}
        text["findings"].append(made_up)
    with pytest.raises(ValueError, match="shorter than its tumor"):
        type(case).model_validate(text)


def test_names_of_flags_and_notes_are_sentences():
    book = registry()
    for words in (*book.notes.values(), *book.flags.values()):
        assert re.match(r"^[A-Z].*\.$", words)
