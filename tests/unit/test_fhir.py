"""The Bundle of a draft: parsed by FHIR R4B, equal to the findings, naming no patient."""

import json
import re
from decimal import Decimal
from html import unescape
from uuid import UUID

import pytest
from fhir.resources.R4B.bundle import Bundle
from finding_cases import OK, answer, full_case, slide

from pathai.case import PredictionInput
from pathai.config import ReportConfig
from pathai.errors import PathaiError
from pathai.finding import Category, Prediction, Quantity, registry
from pathai.findings import findings_of_case
from pathai.report.documents import State
from pathai.report.draft import draft
from pathai.report.fhir import check_fhir, fhir
from pathai.report.fhir_values import value_fields
from pathai.report.records import Fixed

CASE = full_case()
MADE = draft(CASE, ReportConfig())
TIME = "2026-03-04T05:06:07Z"
SIGNED = State(name="signed", signer="Reader One", role="pathologist", time=TIME)
AMENDED = State(name="amended", signer="Reader One", time=TIME, reason="recounted")


def resources(bundle, kind):
    return [e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == kind]


def by_finding(bundle):
    return {o["identifier"][0]["value"]: o for o in resources(bundle, "Observation")}


@pytest.mark.parametrize(
    ("state", "status", "kind"),
    [
        (State(), "preliminary", "collection"),
        (State(name="in_review"), "preliminary", "collection"),
        (SIGNED, "final", "document"),
        (AMENDED, "amended", "document"),
    ],
)
def test_it_parses_and_its_status_is_the_reports(state, status, kind):
    bundle = fhir(MADE, CASE, state, pdf=b"%PDF-1")
    parsed = Bundle.model_validate(bundle)
    assert parsed.type == kind
    assert json.loads(parsed.model_dump_json())["resourceType"] == "Bundle"
    for name in ("Composition", "DiagnosticReport", "Observation"):
        assert {r["status"] for r in resources(bundle, name)} == {status}
    (report,) = resources(bundle, "DiagnosticReport")
    assert report["code"]["coding"][0]["code"] == "60568-3"
    assert report["presentedForm"][0]["contentType"] == "application/pdf"
    (composition,) = resources(bundle, "Composition")
    assert ("DRAFT" in composition["title"]) == (kind == "collection")
    assert ("attester" in composition) == (kind == "document")


def test_every_finding_is_one_observation_with_its_value():
    bundle = fhir(MADE, CASE)
    found = by_finding(bundle)
    assert set(found) == {f.id for f in CASE.findings}
    urls = {e["resource"]["identifier"][0]["value"]: e["fullUrl"] for e in bundle["entry"]
            if e["resource"]["resourceType"] == "Observation"}  # fmt: skip
    for finding in CASE.findings:
        made, value = found[finding.id], finding.value
        assert made["code"]["coding"][-1]["code"] == finding.key
        assert made["category"][0]["coding"][0]["code"] == finding.status
        assert [r["reference"] for r in made.get("derivedFrom", [])] == [
            urls[parent] for parent in finding.parents
        ]
        if isinstance(value, Quantity):
            row = registry().find(finding.key)
            quantity = made["valueQuantity"]
            assert Decimal(str(quantity["value"])) == row.rounded(value.value)
            assert quantity["code"] == value.unit
            ranges = [c["valueRange"] for c in made.get("component", []) if "valueRange" in c]
            if value.low is not None:
                assert Decimal(str(ranges[0]["low"]["value"])) == row.rounded(value.low)
                assert Decimal(str(ranges[0]["high"]["value"])) == row.rounded(value.high)
        elif isinstance(value, Prediction) and not value.abstained:
            assert made["valueCodeableConcept"]["text"] == value.label
        elif isinstance(value, Category):
            assert made["valueCodeableConcept"]["coding"][0]["code"] == value.code
        else:
            assert "dataAbsentReason" in made
            assert not any(name.startswith("value") for name in made)


def test_what_was_not_measured_says_so():
    found = by_finding(fhir(MADE, CASE))
    reasons = {
        f.status: found[f.id]["dataAbsentReason"]["coding"][0]["code"]
        for f in CASE.findings
        if f.status in ("not_assessed", "failed", "indeterminate")
    }
    assert reasons == {"not_assessed": "not-performed", "failed": "error",
                       "indeterminate": "unknown"}  # fmt: skip


def test_rounding_never_makes_certainty():
    sure = PredictionInput(model="tumor", stage=OK, answer=answer(prob=(0.0004, 0.9996)))
    case = findings_of_case("C1", [slide("S1", predictions=(sure,))])
    finding = next(f for f in case.findings if f.key == "tumor.probability")
    part = value_fields(finding)["component"][0]["valueQuantity"]
    assert (part["comparator"], part["value"]) == (">", 0.99)


def test_the_patient_is_a_pseudonym_and_nothing_else():
    bundle = fhir(MADE, CASE, SIGNED)
    assert not resources(bundle, "Patient")
    subjects = {json.dumps(e["resource"]["subject"], sort_keys=True) for e in bundle["entry"]
                if "subject" in e["resource"]}  # fmt: skip
    assert len(subjects) == 1
    assert json.loads(subjects.pop())["identifier"]["value"] == CASE.case_id
    assert not re.search(r'"(birthDate|family|given|telecom|address)"', json.dumps(bundle))


def test_the_same_draft_is_the_same_bundle_and_a_signature_another():
    assert fhir(MADE, CASE) == fhir(MADE, CASE)
    assert fhir(MADE, CASE)["identifier"] != fhir(MADE, CASE, SIGNED)["identifier"]


def test_sections_hold_every_sentence_and_what_the_tables_say():
    fixed = (
        Fixed(kind="contradiction", id="r", text="Both <b>cannot</b> be.", findings=("F1",)),
        Fixed(kind="suggestion", id="s", text="Test again.", findings=("F2",), source="doi:10.1/x"),
    )
    bundle = fhir(MADE.model_copy(update={"fixed": fixed}), CASE)
    (composition,) = resources(bundle, "Composition")
    sections = composition["section"]
    assert sections[0]["title"] == "Contradictions"
    assert "Both &lt;b&gt;cannot&lt;/b&gt; be." in sections[0]["text"]["div"]
    text = " ".join(s["text"]["div"] for s in sections)
    assert all(said.rendered in unescape(text) for said in MADE.statements())
    assert "doi:10.1/x" in text


def test_hostile_text_stays_text():
    bad = "</div><script>x</script>\x00\u202e"
    named = answer(classes=("no", bad), label=bad, set=(bad,))
    asked = (PredictionInput(model="tumor", stage=OK, answer=named),)
    case = findings_of_case("C1", [slide("S1", site=bad, predictions=asked)])
    bundle = fhir(draft(case, ReportConfig()), case)
    (composition,) = resources(bundle, "Composition")
    assert not any("<script" in s["text"]["div"] for s in composition["section"])
    assert "\x00" not in json.dumps(bundle, ensure_ascii=False)


@pytest.mark.parametrize(
    "harm",
    [
        lambda o: o.update(status="done"),
        lambda o: o.pop("status"),
        lambda o: o.pop("code"),
        lambda o: o.update(valueString="x", valueInteger=3),
        lambda o: o.update(surprise=1),
        lambda o: o.update(derivedFrom=[{"reference": f"urn:uuid:{UUID(int=0)}"}]),
    ],
)
def test_a_bad_resource_is_refused(harm):
    bundle = json.loads(json.dumps(fhir(MADE, CASE)))
    harm(resources(bundle, "Observation")[0])
    with pytest.raises(PathaiError, match="E203"):
        check_fhir(bundle)


def test_a_signature_needs_an_instant():
    with pytest.raises(PathaiError, match="E203"):
        fhir(MADE, CASE, State(name="signed", signer="A", time="yesterday"))


@pytest.mark.parametrize("change", ["deleted", "told against the finding"])
def test_what_the_report_does_not_tell_is_no_observation(change):
    gone = next(f for f in CASE.findings if any(f.id in g.parents for g in CASE.findings))
    own = {"source": "human", "verdict": "flag", "flags": ("missing_slot",)}

    def changed(said):
        if said.finding != gone.id:
            return (said,)
        return () if change == "deleted" else (said.model_copy(update=own),)

    sections = tuple(
        s.model_copy(update={"statements": tuple(x for one in s.statements for x in changed(one))})
        for s in MADE.sections
    )
    bundle = fhir(MADE.model_copy(update={"sections": sections}), CASE, SIGNED)
    assert set(by_finding(bundle)) == {f.id for f in CASE.findings} - {gone.id}
    assert set(by_finding(fhir(MADE, CASE, SIGNED))) == {f.id for f in CASE.findings}
