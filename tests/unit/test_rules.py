"""Rules against tables written down here by hand from the guidelines, not read from the code."""

from decimal import Decimal

import pytest
from entry_cases import breast_case, entered, measured_er, prostate_case, rules_of, value
from finding_cases import cells, slide

from pathai import rules
from pathai.errors import PathaiError
from pathai.finding import (
    CaseFindings,
    Evidence,
    Finding,
    Method,
    Quantity,
    Specimen,
    registry,
)
from pathai.findings import findings_of_case
from pathai.language import catalog
from pathai.rules import mismatch
from pathai.rules.gleason import grade_group
from pathai.rules.nottingham import nottingham_grade, poisson_interval
from pathai.rules.receptors import her2_status, ki67_band, receptor_status
from pathai.rules.tables import contradictions, derivations, exclusions, suggestions

GROUPS = {
    (1, 1): "gg1", (1, 2): "gg1", (1, 3): "gg1", (1, 4): "gg1", (1, 5): "gg1",
    (2, 1): "gg1", (2, 2): "gg1", (2, 3): "gg1", (2, 4): "gg1", (2, 5): "",
    (3, 1): "gg1", (3, 2): "gg1", (3, 3): "gg1", (3, 4): "gg2", (3, 5): "gg4",
    (4, 1): "gg1", (4, 2): "gg1", (4, 3): "gg3", (4, 4): "gg4", (4, 5): "gg5",
    (5, 1): "gg1", (5, 2): "", (5, 3): "gg4", (5, 4): "gg5", (5, 5): "gg5",
}  # fmt: skip
GRADES = {3: "g1", 4: "g1", 5: "g1", 6: "g2", 7: "g2", 8: "g3", 9: "g3"}
TRIPLES = [(t, n, m) for t in (1, 2, 3) for n in (1, 2, 3) for m in (1, 2, 3)]


@pytest.mark.parametrize(("pair", "group"), GROUPS.items())
def test_every_gleason_pair_has_its_grade_group(pair, group):
    assert grade_group(*pair) == group
    case = entered(prostate_case(), ("gleason.score", list(pair)))
    assert value(case, "gleason.grade_group") == (group or None)
    assert ("gleason_no_group" in rules_of(case)) == (group == "")
    assert ("gleason_low_pattern" in rules_of(case)) == (min(pair) < 3)


@pytest.mark.parametrize(
    ("pair", "given", "wrong"),
    [
        # The contradictions of the public training reports of REG2025: the first stands there
        # three times, the others once.
        ((3, 4), "gg3", True),
        ((4, 3), "gg2", True),
        ((3, 3), "gg2", True),
        ((3, 4), "gg2", False),
        ((4, 3), "gg3", False),
    ],
)
def test_a_grade_group_against_its_score_is_flagged_with_both(pair, given, wrong):
    patterns = [
        (f"gleason.{name}", f"p{n}") for name, n in zip(("primary", "secondary"), pair, strict=True)
    ]
    case = entered(prostate_case(), *patterns, ("gleason.grade_group", given))
    found = [c for c in case.contradictions if c.rule == "gleason_grade_group"]
    assert bool(found) == wrong
    if wrong:
        named = {case.finding(i).key for i in found[0].findings}
        assert named == {"gleason.grade_group", "gleason.score"}
        assert found[0].error
    assert value(case, "gleason.grade_group") == given


@pytest.mark.parametrize("triple", TRIPLES)
def test_nottingham_adds_three_scores(triple):
    parts = zip(("tubules", "nuclear", "mitoses"), triple, strict=True)
    case = entered(breast_case(), *((f"nottingham.{n}", f"s{v}") for n, v in parts))
    grade = GRADES[sum(triple)]
    assert nottingham_grade(sum(triple)) == grade
    assert value(case, "nottingham.score") == triple
    assert value(case, "nottingham.grade") == grade
    wrong = entered(case, ("nottingham.grade", "g1" if grade != "g1" else "g3"))
    assert "nottingham_grade" in rules_of(wrong)
    assert "nottingham_grade" not in rules_of(entered(case, ("nottingham.grade", grade)))


@pytest.mark.parametrize(
    ("percent", "er", "pr"),
    [
        (0, "negative", "negative"),
        (0.9, "negative", "negative"),
        (1, "low_positive", "positive"),
        (10, "low_positive", "positive"),
        (10.1, "positive", "positive"),
        (100, "positive", "positive"),
    ],
)
def test_receptors(percent, er, pr):
    assert receptor_status("er", Decimal(str(percent))) == er
    case = entered(
        breast_case(), ("er.positive_percent", percent), ("pr.positive_percent", percent)
    )
    assert (value(case, "er.status"), value(case, "pr.status")) == (er, pr)
    asked = rules_of(case)
    assert ("er_low_positive" in asked) == (er == "low_positive")
    assert ("er_controls" in asked) == (percent <= 10)
    for key, right in (("er.status", er), ("pr.status", pr)):
        for given in registry().find(key).values:
            flagged = key.replace(".", "_") in rules_of(entered(case, (key, given)))
            assert flagged == (given != right)


def test_controls_that_were_entered_are_not_asked_for():
    case = entered(breast_case(), ("er.positive_percent", 0))
    assert "er_controls" in rules_of(case)
    case = entered(case, ("ihc.controls", "adequate", "ER"))
    assert "er_controls" not in rules_of(case)


@pytest.mark.parametrize(
    ("score", "gene", "status"),
    [
        ("0", None, "negative"), ("0", "not_amplified", "negative"), ("0", "amplified", None),
        ("1plus", None, "negative"), ("1plus", "not_amplified", "negative"),
        ("1plus", "amplified", None),
        ("2plus", None, "equivocal"), ("2plus", "not_amplified", "negative"),
        ("2plus", "amplified", "positive"),
        ("3plus", None, "positive"), ("3plus", "not_amplified", None),
        ("3plus", "amplified", "positive"),
    ],
)  # fmt: skip
def test_her2(score, gene, status):
    assert her2_status(score, gene or "unknown") == (status or "")
    given = [("her2.score", score)] + ([("her2.ish", gene)] if gene else [])
    case = entered(breast_case(), *given)
    assert value(case, "her2.status") == status
    assert ("her2_discordant" in rules_of(case)) == (status is None)
    assert ("her2_reflex" in rules_of(case)) == (status == "equivocal")
    for other in ("negative", "equivocal", "positive") if status else ():
        entered_too = entered(case, ("her2.status", other))
        assert ("her2_status" in rules_of(entered_too)) == (other != status)
        assert value(entered_too, "her2.status") == other


@pytest.mark.parametrize(
    ("percent", "band"),
    [(0, "low"), (5, "low"), (5.1, "indeterminate"), (29.9, "indeterminate"), (30, "high")],
)
def test_ki67(percent, band):
    assert ki67_band(Decimal(str(percent))) == band
    assert value(entered(breast_case(), ("ki67.positive_percent", percent)), "ki67.band") == band


@pytest.mark.parametrize(
    ("lost", "status", "asked"),
    [
        ("", "proficient", set()),
        ("mlh1 pms2", "deficient", {"mlh1_loss"}),
        ("mlh1", "deficient", {"mlh1_loss", "mmr_pattern"}),
        ("pms2", "deficient", {"lynch_loss"}),
        ("msh2 msh6", "deficient", {"lynch_loss"}),
        ("msh2", "deficient", {"lynch_loss", "mmr_pattern"}),
        ("msh6", "deficient", {"lynch_loss"}),
        ("mlh1 pms2 msh6", "deficient", {"mlh1_loss", "lynch_loss", "mmr_pattern"}),
    ],
)
def test_mismatch_repair(lost, status, asked):
    proteins = {n: "lost" if n in lost.split() else "intact" for n in mismatch.PROTEINS}
    assert mismatch.mmr_status(proteins) == status
    case = entered(prostate_case(), *((f"mmr.{n}", code) for n, code in proteins.items()))
    assert value(case, "mmr.status") == status
    assert rules_of(case) == asked
    fewer = entered(prostate_case(), ("mmr.mlh1", "intact"))
    assert value(fewer, "mmr.status") is None


@pytest.mark.parametrize(
    ("model", "label", "kept", "mlh1", "asked"),
    [
        ("msi-h", "MSI-H", ("MSI-H",), None, {"msi_confirm"}),
        ("msi", "yes", ("yes", "no"), None, {"msi_confirm"}),
        ("msi", "MSS", ("MSS",), None, set()),
        ("msi", "MSS", ("MSS", "MSI-H"), None, {"msi_confirm"}),
        ("msi", "MSS", ("MSS",), "lost", {"msi_discordant"}),
        ("msi", "MSI-H", ("MSI-H",), "lost", set()),
        ("msi", "MSI-H", ("MSI-H",), "intact", {"msi_discordant"}),
        ("tumor", "yes", ("yes",), None, set()),
    ],
)
def test_a_model_on_msi_is_confirmed_or_compared(model, label, kept, mlh1, asked):
    case = prostate_case(model=model, label=label, kept=kept)
    if mlh1:
        codes = {"mlh1": mlh1, "pms2": mlh1, "msh2": "intact", "msh6": "intact"}
        case = entered(case, *((f"mmr.{n}", code) for n, code in codes.items()))
    found = rules_of(case) & {"msi_confirm", "msi_discordant"}
    assert found == asked
    assert not any(c.error for c in case.contradictions)


def test_mitoses_are_given_per_area_with_the_exact_interval():
    assert "mitoses_area_missing" in rules_of(entered(breast_case(), ("mitoses.count", 7)))
    case = entered(breast_case(), ("mitoses.count", 7), ("mitoses.area_mm2", 2))
    found = next(f for f in case.findings if f.key == "mitoses.per_mm2")
    assert found.value.value == Decimal("3.5")
    # Garwood's limits of 7 are 2.814 and 14.423 (tables of the Poisson distribution).
    assert float(found.value.low) == pytest.approx(2.814 / 2, abs=1e-3)
    assert float(found.value.high) == pytest.approx(14.423 / 2, abs=1e-3)
    assert poisson_interval(0, 0.95) == (0.0, pytest.approx(3.689, abs=1e-3))


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ([("gleason.score", [3, 3]), ("diagnosis.category", "benign")], "benign_with_grade"),
        ([("gleason.score", [3, 3]), ("diagnosis.category", "invasive")], ""),
        ([("gleason.score", [3, 3]), ("gleason.pattern4_percent", 20)], "pattern4_absent"),
        ([("gleason.score", [3, 4]), ("gleason.pattern4_percent", 60)], "pattern4_order"),
        ([("gleason.score", [4, 3]), ("gleason.pattern4_percent", 40)], "pattern4_order"),
        ([("gleason.score", [4, 3]), ("gleason.pattern4_percent", 60)], ""),
        ([("gleason.score", [3, 4]), ("gleason.pattern4_percent", 20)], ""),
        ([("prostate.cores", 6), ("prostate.cores_positive", 7)], "cores_positive"),
        ([("prostate.cores", 6), ("prostate.cores_positive", 6)], ""),
        ([("gleason.score", [3, 3]), ("prostate.cores_positive", 0)], "cores_without_tumor"),
        ([("core.1.length_mm", 9), ("core.1.tumor_mm", 9.5)], "core_order"),
        ([("core.1.length_mm", 9), ("core.1.tumor_mm", 9)], ""),
        ([("core.1.length_mm", 9), ("core.1.tumor_span_mm", 10)], "core_order"),
        ([("gleason.primary", "p3"), ("gleason.secondary", "p3"), ("gleason.score", [3, 4])],
         "gleason_score"),
    ],
)  # fmt: skip
def test_contradictions_are_flags_and_name_both(given, rule):
    case = entered(prostate_case(model="x"), *given)
    found = {c.rule: c for c in case.contradictions}
    assert set(found) == ({rule} if rule else set())
    if rule:
        assert len(found[rule].findings) >= 2
        assert found[rule].error


LIES = [
    ("breast.dcis", "present", "diagnosis_with_tumor"),
    ("prostate.perineural", "present", "diagnosis_with_tumor"),
    ("prostate.cores_positive", 3, "diagnosis_with_tumor"),
    ("prostate.involved_percent", 60, "diagnosis_with_tumor"),
    ("core.1.tumor_mm", 2, "diagnosis_with_tumor"),
    ("mmr.mlh1", "lost", "diagnosis_with_tumor"),
    ("gleason.primary", "p3", "benign_with_grade"),
    ("gleason.grade_group", "gg1", "benign_with_grade"),
    ("nottingham.grade", "g1", "benign_with_grade"),
    ("nottingham.tubules", "s1", "benign_with_grade"),
]


@pytest.mark.parametrize(("key", "given", "rule"), LIES)
@pytest.mark.parametrize("code", ["benign", "insufficient"])
def test_no_malignancy_excludes_what_describes_one(key, given, rule, code):
    case = entered(prostate_case(label="no", kept=("no",)), ("diagnosis.category", code))
    assert not case.contradictions
    case = entered(case, (key, given))
    (found,) = case.contradictions
    assert (found.rule, found.error) == (rule, True)
    assert {case.finding(i).key for i in found.findings} >= {"diagnosis.category", key}
    fits = entered(case, ("diagnosis.category", "invasive"))
    assert not [c for c in fits.contradictions if c.error]


@pytest.mark.parametrize(
    ("code", "key", "given", "rule"),
    [
        ("insufficient", "prostate.perineural", "not_identified", "insufficient_with_result"),
        ("benign", "prostate.perineural", "not_identified", ""),
        ("benign", "prostate.cores_positive", 0, ""),
        ("invasive", "prostate.cores_positive", 0, "diagnosis_without_tumor"),
        ("in_situ", "prostate.perineural", "present", "in_situ_with_invasion"),
        ("in_situ", "breast.dcis", "present", ""),
        ("in_situ", "nottingham.grade", "g2", "benign_with_grade"),
        ("uncertain", "breast.dcis", "present", ""),
    ],
)
def test_what_a_diagnosis_excludes(code, key, given, rule):
    case = entered(prostate_case(model="x"), ("diagnosis.category", code), (key, given))
    assert {c.rule for c in case.contradictions} == ({rule} if rule else set())


def test_insufficient_material_gives_no_result_of_a_stain():
    case = entered(breast_case(), ("diagnosis.category", "insufficient"), ("her2.score", "3plus"))
    (found,) = case.contradictions
    assert (found.rule, found.error) == ("insufficient_with_result", True)


def test_one_specimen_is_of_one_organ():
    both = [("gleason.score", [3, 4]), ("nottingham.tubules", "s1")]
    case = entered(prostate_case(model="x"), *both)
    (found,) = case.contradictions
    assert (found.rule, found.error) == ("organs", True)
    named = {case.finding(i).key for i in found.findings}
    assert named == {"gleason.score", "nottingham.tubules"}
    apart = [slide(n, specimen_id=n, predictions=()) for n in ("A", "B")]
    case = findings_of_case("C1", apart)
    case = entered(case, *((*e, s) for e, s in zip(both, ("A", "B"), strict=True)))
    assert not case.contradictions
    case = entered(case, ("prostate.cores", 3, "B"))
    assert {c.rule for c in case.contradictions} == {"organs"}


def test_a_slide_without_tumor_in_a_specimen_with_one_is_no_contradiction():
    case = findings_of_case("C1", [slide(n, predictions=()) for n in ("HE1", "HE2")])
    case = entered(
        case,
        ("diagnosis.category", "benign", "HE1"),
        ("diagnosis.category", "invasive", "HE2"),
        ("gleason.score", [3, 3], "HE2"),
    )
    assert not case.contradictions
    assert rules_of(entered(case, ("gleason.score", [3, 3], "HE1"))) == {"benign_with_grade"}
    assert "diagnosis_with_tumor" in rules_of(entered(case, ("diagnosis.category", "benign")))


@pytest.mark.parametrize(
    ("label", "kept", "code", "noted"),
    [
        ("yes", ("yes",), "benign", True),
        ("no", ("no",), "invasive", True),
        ("yes", ("yes",), "invasive", False),
        ("no", ("no",), "benign", False),
        ("yes", ("yes", "no"), "benign", False),
        ("no", ("no",), "uncertain", False),
    ],
)
def test_a_model_that_says_the_opposite_of_a_diagnosis_is_noted(label, kept, code, noted):
    case = entered(prostate_case(label=label, kept=kept), ("diagnosis.category", code))
    found = [c for c in case.contradictions if c.rule == "diagnosis_predicted"]
    assert bool(found) == noted
    assert not any(c.error for c in found)
    other = entered(
        prostate_case(model="stage", label=label, kept=kept), ("diagnosis.category", code)
    )
    assert not other.contradictions


def test_what_was_measured_against_a_diagnosis_is_a_note():
    findings = (
        Finding(id="F1", key="core.a.tumor_mm", stain="H&E", status="measured",
                value=Quantity(value=3, unit="mm"), evidence=(Evidence(slide_id="HE"),),
                method=Method(name="outline", version="1", kind="geometry")),
    )  # fmt: skip
    specimen = Specimen(specimen_id="A", slides=("HE",))
    case = CaseFindings(case_id="C1", specimens=(specimen,), findings=findings).sealed()
    case = entered(case, ("diagnosis.category", "benign"))
    (found,) = case.contradictions
    assert (found.rule, found.error) == ("diagnosis_measured", False)


def test_the_table_of_exclusions_names_keys_codes_and_rules_that_exist():
    codes = set(registry().vocabularies["diagnosis"])
    for rule, row in exclusions()["diagnoses"].items():
        assert contradictions()[rule].error
        assert set(row["diagnosis"]) <= codes
        for key, wanted in row["against"].items():
            known = registry().find(key.replace("*", "x"))
            fits = set(wanted) <= set(known.values) if isinstance(wanted, list) else True
            assert fits, (rule, key)
            assert isinstance(wanted, list) or wanted in ("any", "zero", "above_zero")


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ([("cells.count.positive", 5000)], {"cells.count.positive", "cells.count.negative"}),
        ([("cells.count", 100)], {"cells.count.positive", "cells.count.negative"}),
        ([("cells.count.positive", 430)], {"cells.count.positive", "cells.count.negative"}),
        ([("cells.count.positive", 400)], set()),
        ([("cells.count", 2000)], set()),
        ([("cells.count.tumor", 1001)], {"cells.count.tumor"}),
        ([("in_tumor.count", 1001)], {"in_tumor.count"}),
        ([("region.a.count", 1001)], {"region.a.count"}),
        ([("region.a.count", 1000)], set()),
    ],
)
def test_a_part_of_a_count_is_not_more_than_the_count(given, parts):
    case = entered(measured_er(n=420, d=1000), *((*e, "ER") for e in given))
    found = [c for c in case.contradictions if c.rule == "part_over_whole"]
    named = {case.finding(i).key for c in found for i in c.findings}
    assert named == (parts | {"cells.count"} if parts else set())
    assert all(c.error for c in found)


def test_a_densest_circle_does_not_hold_more_than_the_slide():
    spot = Finding(id="F2", key="hotspot_1mm2.nucleus", status="measured", stain="H&E",
                   value=Quantity(value=1915, unit="{nuclei}"),
                   method=Method(name="m", version="1", kind="count"),
                   evidence=(Evidence(slide_id="HE"),))  # fmt: skip
    whole = spot.model_copy(
        update={"id": "F1", "key": "cells.count", "value": Quantity(value=4321, unit="{nuclei}")}
    )
    specimen = Specimen(specimen_id="A", slides=("HE",))
    case = CaseFindings(case_id="C1", specimens=(specimen,), findings=(whole, spot)).sealed()
    assert not rules.apply(case).contradictions
    (flag,) = entered(case, ("cells.count", 100)).contradictions
    assert (flag.rule, flag.findings, flag.error) == ("part_over_whole", ("F1", "F2"), True)


def test_mitoses_were_not_counted_on_more_than_the_tissue():
    case = entered(breast_case(), ("mitoses.area_mm2", 2.5))  # of 2.75 mm² of tissue
    assert "part_over_whole" not in rules_of(case)
    assert "part_over_whole" in rules_of(entered(case, ("mitoses.area_mm2", 3)))


@pytest.mark.parametrize(
    ("percent", "printed"),
    [("0", "0"), ("0.2", "0.2"), ("0.04", "0.04"), ("1.5", "2"), ("99.7", "99.7"),
     ("99.2", "99"), ("100", "100")],
)  # fmt: skip
def test_some_is_not_printed_as_none_nor_as_all(percent, printed):
    for key in ("er.positive_percent", "ki67.positive_percent", "stroma.tils_percent"):
        assert str(registry().find(key).rounded(Decimal(percent))) == printed


def test_a_benign_tumor_is_a_tumor():
    for language in ("en", "fr", "es"):
        words = catalog(language).value("diagnosis.category", "benign")
        assert "malign" in words
        assert "tum" not in words


def test_intensity_of_nothing_is_a_contradiction():
    both = [("er.positive_percent", 0), ("er.intensity", "weak")]
    assert "er_intensity_zero" in rules_of(entered(breast_case(), *both))
    assert "er_intensity_zero" not in rules_of(
        entered(breast_case(), both[1], ("er.positive_percent", 1))
    )


def test_the_share_of_a_corrected_core_follows_its_lengths():
    lengths = {"1": (10, 2), "2": (15, 0.5)}
    given = [
        (f"core.{n}.{name}", mm)
        for n, pair in lengths.items()
        for name, mm in zip(("length_mm", "tumor_mm"), pair, strict=True)
    ]
    case = entered(prostate_case(), *given)
    assert value(case, "core.1.tumor_percent") == 20
    assert value(case, "prostate.involved_percent") is None  # nothing says it is a prostate
    case = entered(case, ("prostate.cores", 2))
    assert value(case, "prostate.involved_percent") == 10
    case = entered(case, ("core.1.tumor_mm", 3))
    assert value(case, "core.1.tumor_percent") == 30
    assert "core_involvement" in rules_of(entered(case, ("core.1.tumor_percent", 80)))


def test_a_corrected_count_gives_its_density_and_marks_what_it_leaves_behind():
    case = measured_er(n=420, d=1000)
    assert rules_of(case) == {"counted_positive"}
    corrected = entered(case, ("cells.count", 2000, "ER"))
    assert value(corrected, "cells.density_per_mm2") == 800
    stale = next(c for c in corrected.contradictions if c.rule == "parent_corrected")
    assert not stale.error
    keys = [corrected.finding(i).key for i in stale.findings]
    assert keys == ["er.positive_percent", "cells.count"]


@pytest.mark.parametrize(
    ("n", "d", "says"),
    [
        (0, 1000, "negative"),
        (50, 1000, "low_positive"),
        (420, 1000, "positive"),
        (1, 4, "unclear"),  # few nuclei
        (100, 1000, "unclear"),  # the interval holds the threshold
    ],
)
def test_a_counted_fraction_suggests_a_result_that_a_person_must_enter(n, d, says):
    case = measured_er(n=n, d=d)
    found = next(f for f in case.findings if f.key == "er.status")
    assert (found.value, found.status, found.note) == (None, "not_assessed", "person_only")
    assert [case.finding(p).key for p in found.parents] == ["er.positive_percent"]
    share = case.finding(found.parents[0])
    assert share.status == "measured"
    counted = [x for x in case.suggestions if x.rule.startswith("counted_")]
    assert [x.rule for x in counted] == [f"counted_{says}"]
    assert set(counted[0].findings) == {share.id, found.id}
    # The same id, once a person has entered it.
    stated = entered(case, ("er.status", "positive"))
    assert stated.finding(found.id).value.code == "positive"
    assert not [x for x in stated.suggestions if x.rule.startswith("counted_")]
    read = entered(case, ("er.positive_percent", 60))
    assert value(read, "er.status") == "positive"


def test_a_counted_ki67_band_waits_for_a_person():
    found = cells(("negative", "positive"), (980, 20))
    case = findings_of_case("C1", [slide("K", stain="Ki-67", cells=found, predictions=())])
    assert value(case, "ki67.band") is None
    assert "counted_ki67_low" in rules_of(case)


@pytest.mark.parametrize("given", ["negative", "low_positive", "positive"])
def test_a_reader_outranks_a_count_of_all_nuclei(given):
    case = entered(measured_er(n=5, d=1000), ("er.status", given))
    assert value(case, "er.status") == given
    found = [(c.rule, c.error) for c in case.contradictions]
    assert found == ([] if given == "negative" else [("counted_otherwise", False)])
    both = entered(case, ("er.positive_percent", 0.5))
    hard = [c.rule for c in both.contradictions if c.error]
    assert hard == ([] if given == "negative" else ["er_status"])


def test_an_intensity_beside_a_count_of_none_is_a_note():
    case = entered(measured_er(n=0, d=1000), ("er.intensity", "weak"))
    assert [(c.rule, c.error) for c in case.contradictions] == [("counted_otherwise", False)]


def test_two_slides_of_one_marker_do_not_give_two_results():
    slides = [
        slide(name, stain="ER", predictions=(), cells=cells(("negative", "positive"), (d - n, n)))
        for name, n, d in (("E1", 2, 1000), ("E2", 400, 1000))
    ]
    case = findings_of_case("C1", slides)
    assert [(c.rule, c.error) for c in case.contradictions] == [("counts_differ", False)]
    both = [("er.status", "negative", "E1"), ("er.status", "positive", "E2")]
    case = entered(case, *both)
    hard = [c for c in case.contradictions if c.error]
    assert [c.rule for c in hard] == ["results_differ"]
    assert {case.finding(i).value.code for i in hard[0].findings} == {"negative", "positive"}
    case = entered(case, ("er.status", "positive", "E1"))
    assert not [c for c in case.contradictions if c.error]
    apart = [s.model_copy(update={"specimen_id": s.slide_id}) for s in slides]
    assert not findings_of_case("C1", apart).contradictions


@pytest.mark.parametrize(
    ("key", "given", "slide_id", "flagged"),
    [
        ("er.status", "negative", "ER", True),
        ("er.positive_percent", 0, "ER", True),
        ("er.status", "positive", "ER", False),
        ("pr.status", "negative", "PR", True),
        ("her2.score", "1plus", "HER2", True),
    ],
)
def test_a_negative_result_needs_controls_that_stained(key, given, slide_id, flagged):
    case = entered(breast_case(), (key, given, slide_id))
    for code in ("adequate", "not_available", "inadequate"):
        now = entered(case, ("ihc.controls", code, slide_id))
        found = [c for c in now.contradictions if c.rule == "controls_inadequate"]
        assert bool(found) == (flagged and code == "inadequate")
        assert all(c.error for c in found)


def test_low_positive_still_asks_for_controls_that_did_not_stain():
    case = entered(breast_case(), ("er.positive_percent", 5), ("ihc.controls", "inadequate", "ER"))
    assert "er_controls" in rules_of(case)
    assert "controls_inadequate" not in rules_of(case)


def test_a_side_that_is_not_the_specimens_is_flagged():
    case = breast_case(sides=("left", "right"))
    (flag,) = [c for c in case.contradictions if c.rule == "laterality"]
    side = case.specimens[0].laterality
    wrong = {f.id for f in case.findings if f.laterality not in ("", side)}
    assert set(flag.findings) == wrong != set()
    assert flag.error
    assert not breast_case(sides=("left", "left")).contradictions


# --- tables ----------------------------------------------------------------------------------


def test_every_rule_of_the_registry_is_in_a_table_and_back():
    named = {rule for row in registry().keys.values() for rule in row.rules}
    everywhere = {"laterality", "parent_corrected", "organs", "part_over_whole"}
    tables = set(derivations()) | set(contradictions()) | set(suggestions())
    assert named | everywhere == tables


def test_every_derivation_can_be_contradicted_by_a_person():
    # Only cases where no key that is derived could be entered would need none.
    assert set(derivations()) <= set(contradictions())


@pytest.mark.parametrize("language", ["en", "fr", "es"])
def test_texts_are_one_sentence_without_a_number(language):
    texts = [rules.contradiction_text(r, language) for r in contradictions()]
    texts += [rules.suggestion_text(r, language) for r in suggestions()]
    assert len(set(texts)) == len(texts)
    for text in texts:
        bare = text.replace("HER2", "").replace("MLH1", "").replace("Ki-67", "")
        assert not any(c.isdigit() for c in bare), text
        assert text.endswith(".")
        assert ". " not in text


def test_sources_and_unknown_rules():
    assert rules.source("her2_reflex") == "10.5858/arpa.2018-0902-SA"
    assert all(t.doi for t in suggestions().values())
    for call in (rules.source, rules.suggestion_text, rules.contradiction_text):
        with pytest.raises(PathaiError, match="E191"):
            call("nothing")


@pytest.mark.parametrize("make", [prostate_case, breast_case, measured_er])
def test_rules_applied_twice_change_nothing(make):
    case = make()
    assert rules.apply(case) == case
    full = entered(case, ("diagnosis.category", "benign"))
    assert rules.apply(full) == full
