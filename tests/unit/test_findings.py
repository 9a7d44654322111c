from decimal import Decimal

import pytest
from finding_cases import FAILED, OK, TILES, answer, by_key, cells, full_case, slide, stored_slide
from hypothesis import given
from hypothesis import strategies as st

from pathai.case import PredictionInput, StageState, slide_input
from pathai.config import FindingsConfig
from pathai.errors import PathaiError
from pathai.finding import Category, PredictedNumber, Quantity, load_findings
from pathai.finding import Prediction as PredictionValue
from pathai.findings import answer_key, findings_of_case, run
from pathai.sheet import SheetRow
from pathai.store.commit import Key, run_stage
from pathai.store.folders import CaseFolder, SlideFolder
from pathai.store.records import (
    Answer,
)
from pathai.task import Target
from pathai.units import Box

SKIPPED = StageState(state="skipped", code="E145")


def test_values_are_those_of_the_stages():
    found = by_key(findings_of_case("C1", [slide("S1")]))
    assert found["cells.count"].value.value == 4321
    assert float(found["cells.density_per_mm2"].value.value) == pytest.approx(4321 / 2.5)
    assert found["tissue.area_mm2"].value.unit == "mm2"
    assert found["tumor.probability"].value.probability == Decimal("0.9287")
    assert found["tumor.probability"].evidence[0].boxes == TILES
    assert "excluded_area" in found["cells.count"].flags
    assert {found["cells.count"].id, found["cells.analyzed_area_mm2"].id} == set(
        found["cells.density_per_mm2"].parents
    )


def test_order_of_the_slides_does_not_matter():
    slides = [slide("S2"), slide("S1"), slide("S10", stain="ER")]
    assert findings_of_case("C", slides) == findings_of_case("C", slides[::-1])


@pytest.mark.parametrize(
    ("stain", "key"),
    [
        ("H-DAB", "cells.positive_percent"),
        ("ER", "er.positive_percent"),
        ("PR", "pr.positive_percent"),
        ("p53", "cells.positive_percent"),
        ("Ki-67", "ki67.positive_percent"),
        ("KI67", "ki67.positive_percent"),
    ],
)
def test_a_positive_fraction_is_named_by_its_stain(stain, key):
    dab = cells(("negative", "positive"), (75, 25))
    found = by_key(findings_of_case("C", [slide("S1", stain=stain, cells=dab)]))
    value = found[key].value
    assert (value.value, value.numerator, value.denominator) == (25, 25, 100)
    # Wilson's interval for 25 of 100, from its formula.
    assert float(value.low) == pytest.approx(17.5451, abs=1e-3)
    assert float(value.high) == pytest.approx(34.3043, abs=1e-3)
    assert {"few_nuclei", "all_nuclei"} <= set(found[key].flags)
    assert ("not_ki67_score" in found[key].flags) == (key == "cells.positive_percent")
    assert len([k for k in found if k.endswith("positive_percent")]) == 1


def test_no_positive_fraction_on_hematoxylin_and_eosin():
    case = findings_of_case("C", [slide("S1", cells=cells(("negative", "positive"), (9, 1)))])
    fractions = [f for f in case.findings if f.key.endswith("positive_percent")]
    assert [(f.status, f.note) for f in fractions] == [("not_assessed", "no_dab_slide")]
    assert not [f for f in case.findings if f.key.startswith("cells.count.")]


@pytest.mark.parametrize(
    ("changes", "key", "status", "note"),
    [
        ({"cells": cells(("negative", "positive"), (0, 0))}, "ki67.positive_percent",
         "indeterminate", "no_nuclei"),
        ({"cells": cells(("nucleus",), (0,), area=0.0)}, "cells.density_per_mm2",
         "indeterminate", "no_area"),
        ({"cells": cells(("nucleus",), (5,))}, "ki67.positive_percent",
         "not_assessed", "no_classes"),
        ({"cells": None, "cells_stage": StageState()}, "ki67.positive_percent",
         "not_assessed", "not_run"),
        ({"cells": None, "cells_stage": SKIPPED}, "cells.count",
         "not_assessed", "slide_skipped"),
        ({"cells": None, "cells_stage": FAILED}, "cells.density_per_mm2",
         "failed", "stage_failed"),
        ({"tissue_mm2": None, "tissue_stage": FAILED}, "tissue.area_mm2",
         "failed", "slide_failed"),
        ({"predictions": (PredictionInput(model="tumor"),)}, "tumor.probability",
         "not_assessed", "not_run"),
        ({"predictions": (PredictionInput(
            model="tumor", stage=StageState(state="failed", code="E142")),)},
         "tumor.probability", "not_assessed", "stain_unsuitable"),
    ],
)  # fmt: skip
def test_absence_has_a_status_and_a_reason(changes, key, status, note):
    found = by_key(findings_of_case("C", [slide("S1", stain="Ki-67", **changes)]))
    assert (found[key].status, found[key].note, found[key].value) == (status, note, None)


def test_every_slide_says_something_of_every_expected_key():
    case = full_case()
    for slide_id in ("S1", "S2", "S3"):
        expected = {"tumor.probability", "cells.count", "cells.density_per_mm2", "tissue.area_mm2"}
        assert expected <= set(by_key(case, slide_id))


def test_a_foreign_slide_is_marked_and_has_no_answer():
    finding = by_key(full_case(), "S2")["tumor.probability"]
    assert finding.status == "indeterminate"
    assert "out_of_distribution" in finding.flags
    assert finding.value.probability is None


@pytest.mark.parametrize(
    ("kept", "flag"), [(("no", "yes"), "ambiguous_set"), ((), "empty_set"), (("yes",), None)]
)
def test_the_conformal_set_is_flagged(kept, flag):
    given_answer = PredictionInput(model="tumor", stage=OK, answer=answer(set=kept))
    finding = by_key(findings_of_case("C", [slide("S1", predictions=(given_answer,))]))
    flags = finding["tumor.probability"].flags
    assert (flags == ()) if flag is None else (flag in flags)


def test_names_of_models_become_keys():
    assert answer_key("MSI-h.v2") == "msi_h_v2.probability"


def test_two_models_with_one_key_are_refused():
    twins = tuple(PredictionInput(model=n, stage=OK, answer=answer()) for n in ("a-b", "a_b"))
    with pytest.raises(PathaiError, match="E200"):
        findings_of_case("C", [slide("S1", predictions=twins)])


def test_classes_of_nuclei_have_their_counts():
    kinds = cells(("tumor", "lymphocyte"), (30, 12))
    found = by_key(findings_of_case("C", [slide("S1", cells=kinds)]))
    assert found["cells.count.lymphocyte"].value.value == 12
    assert found["cells.count"].value.value == 42


@given(
    counts=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
    area=st.floats(0.01, 500),
    stain=st.sampled_from(["H&E", "Ki-67", "ER", "unknown"]),
    chance=st.floats(0.5, 1),
)
def test_any_counts_give_valid_findings(counts, area, stain, chance):
    given_answer = answer(prob=(round(1 - chance, 6), round(chance, 6)))
    asked = (PredictionInput(model="tumor", stage=OK, answer=given_answer),)
    dab = cells(("negative", "positive"), counts, area)
    case = findings_of_case("C", [slide("S1", stain=stain, cells=dab, predictions=asked)])
    assert [f.id for f in case.findings] == [f"F{i + 1}" for i in range(len(case.findings))]
    for finding in case.findings:
        if finding.status in ("measured", "predicted"):
            assert isinstance(finding.value, Quantity | PredictionValue | Category)


def test_a_slide_without_any_result_is_read_as_not_run(tmp_path):
    row = SheetRow(row=2, slide_id="S1", path="x.svs", case_id="C", patient_id="P")
    read = slide_input(
        row, SlideFolder(tmp_path / "S1"), FindingsConfig(), "classical", {"tumor": ()}
    )
    statuses = {f.status for f in findings_of_case("C", [read]).findings}
    assert statuses == {"measured", "not_assessed"}


def test_run_reads_what_the_stages_wrote(tmp_path):
    slides = {name: SlideFolder(tmp_path / "slides" / name) for name in ("S1", "S2")}
    rows = [stored_slide(slides["S1"], "Ki-67"), stored_slide(slides["S2"], "H&E")]

    def failed(out):
        raise PathaiError("E164", "a chunk is damaged")

    base = slides["S2"].base("cells", "classical")
    run_stage(base, "S2", Key("cells", 2, "d", ("classical.zarr",)), {}, failed)
    case = CaseFolder(tmp_path / "cases" / "C")
    key = Key("findings", 1, "c", ("findings.json",))
    options = {"rows": rows, "slides": slides, "detector": "classical", "models": {"tumor": ()}}
    run_stage(
        case.base("findings"), "C", key, {}, lambda out: run(
            case, FindingsConfig(top_tiles=2), out, **options)
    )  # fmt: skip
    made = load_findings(case.findings.read_text("utf-8"))
    first, second = by_key(made, "S1"), by_key(made, "S2")
    assert first["cells.count"].value.value == 37
    assert first["ki67.positive_percent"].value.numerator == 17
    # 20 x 40 map pixels of 8 µm each, at 16 level-0 px.
    assert first["tissue.area_mm2"].value.value == Decimal("0.0512")
    assert first["tissue.area_mm2"].evidence[0].boxes == (Box(80.0, 160.0, 640.0, 320.0),)
    assert first["tumor.probability"].evidence[0].boxes == (
        Box(100.0, 50.0, 100.0, 90.0),
        Box(400.0, 50.0, 100.0, 90.0),
    )
    assert (second["cells.count"].status, second["cells.count"].code) == ("failed", "E164")
    assert second["tumor.probability"].status == "predicted"
    text = case.findings.read_text("utf-8")
    assert "x.svs" not in text
    assert str(tmp_path) not in text


# --- answers that are numbers, grades or times -----------------------------------------------

COUNT = {"kind": "count", "classes": (), "label": "", "prob": (), "set": ()}
NUMBER = {**COUNT, "value": 1240.4, "low": 830.0, "high": 1900.0, "unit_of_value": "cells"}


def of_model(**changes):
    """The findings of a slide that one model answered."""
    given = PredictionInput(model="cancer-cells", stage=OK, answer=answer(**changes), boxes=TILES)
    return by_key(findings_of_case("C1", [slide("S1", predictions=(given,))]))


def test_a_predicted_number_is_a_finding_with_interval_unit_and_coverage():
    finding = of_model(**NUMBER)["cancer_cells.predicted_number"]
    value = finding.value
    assert (finding.status, finding.method.kind, value.unit) == ("predicted", "mil", "cells")
    assert [float(v) for v in (value.value, value.low, value.high, value.alpha)] == [
        1240.4, 830, 1900, 0.1,
    ]  # fmt: skip
    assert finding.evidence[0].boxes == TILES
    assert not finding.flags


def test_a_share_is_in_percent_and_an_open_end_stays_open():
    share = {**COUNT, "kind": "ratio", "value": 0.123, "low": None, "high": 0.3}
    value = of_model(**share)["cancer_cells.predicted_number"].value
    assert (float(value.value), value.low, float(value.high), value.unit) == (12.3, None, 30, "%")


def test_a_withheld_number_is_indeterminate_and_holds_no_number():
    nothing = dict.fromkeys(("value", "low", "high"))
    finding = of_model(**{**NUMBER, **nothing}, abstained=True)["cancer_cells.predicted_number"]
    assert (finding.status, finding.note, finding.value.value) == (
        "indeterminate",
        "abstained",
        None,
    )


def test_survival_is_the_chance_of_no_event_and_has_no_set():
    alive = {**COUNT, "kind": "survival", "prob": (0.68,), "risk": 0.4, "value": 74.2}
    alive |= {"unit_of_value": "months", "horizon": 60}
    value = of_model(**alive)["cancer_cells.probability"].value
    assert (value.label, float(value.probability)) == ("no event within 60 months", 0.68)
    assert (value.set, value.alpha) == ((), None)


def test_every_target_of_a_model_has_its_finding_by_its_own_name():
    grade = {"kind": "ordinal", "classes": ("1", "2", "3"), "label": "2", "prob": (0.2, 0.5, 0.3)}
    also = (
        Answer(name="grade", question="Which grade?", set=("2", "3"), **grade),
        Answer(name="cells", question="How many?", **NUMBER),
        Answer(name="cancer-cells", question="The model's own name again", **NUMBER),
    )
    found = of_model(also=also)
    assert found["cancer_cells.probability"].value.label == "yes"
    assert found["grade.probability"].value.label == "2"
    assert "ambiguous_set" in found["grade.probability"].flags
    assert float(found["cells.predicted_number"].value.value) == 1240.4
    assert "cancer_cells_cancer_cells.predicted_number" in found


@pytest.mark.parametrize("stage", [FAILED, SKIPPED, StageState()])
def test_every_question_is_told_of_where_there_is_no_answer(stage):
    """Not measured is not negative: also for further targets, and under the same keys."""
    asked = (
        Target(name="main", question="?", label="x", classes=("no", "yes")),
        Target(name="cells", question="How many?", label="n", kind="count"),
    )
    given = PredictionInput(model="main", asked=asked, stage=stage)
    found = by_key(findings_of_case("C1", [slide("S1", predictions=(given,))]))
    for key in ("main.probability", "cells.predicted_number"):
        assert found[key].status in ("failed", "not_assessed")
        assert found[key].value is None


@pytest.mark.parametrize(
    "fields",
    [
        {"value": 5, "low": 6, "high": 7, "alpha": 0.1},
        {"value": 5, "low": 1, "high": 4, "alpha": 0.1},
        {"value": -1, "low": 0, "alpha": 0.1},
        {"value": 5, "low": 4, "high": 6},
        {"value": 5, "abstained": True},
        {"abstained": False},
        {"low": 1, "alpha": 0.1, "abstained": True},
    ],
)
def test_a_predicted_number_that_contradicts_itself_is_refused(fields):
    with pytest.raises(ValueError, match=r"interval|value"):
        PredictedNumber(**fields)
