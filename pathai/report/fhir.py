"""A draft as a FHIR R4B Bundle: report, findings as observations, specimens, the software.

The patient is a pseudonym (the case's id) and nothing else. Status is ``preliminary`` until a
person signs. The structure is that of FHIR R4B, of no national profile.

References
----------
HL7 FHIR R4B (4.3.0), https://hl7.org/fhir/R4B/; LOINC 60568-3, pathology synoptic report.
"""

import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from pydantic import ValidationError

from pathai import __version__
from pathai.errors import PathaiError
from pathai.finding import CaseFindings, Finding, Specimen, registry
from pathai.language import catalog
from pathai.report.documents.printable import printable
from pathai.report.documents.state import DRAFT, State
from pathai.report.fhir_values import value_fields
from pathai.report.records import WATERMARK, Draft, Fixed, Section

LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"
KEY_SYSTEM, STATUS_SYSTEM = "urn:pathai:finding-key", "urn:pathai:finding-status"
ABSENT_EXTENSION = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
SYNOPTIC = {"coding": [{"system": LOINC, "code": "60568-3",
                        "display": "Pathology Synoptic report"}]}  # fmt: skip
STATUS = {"draft": "preliminary", "in_review": "preliminary", "signed": "final",
          "amended": "amended"}  # fmt: skip
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")

Resource = dict[str, Any]


def fhir(
    draft: Draft,
    case: CaseFindings,
    state: State = DRAFT,
    *,
    pdf: bytes = b"",
    snomed: bool = False,
) -> Resource:
    """The Bundle of a draft, checked.

    Parameters
    ----------
    draft : Draft
        Its sentences become the sections of the composition.
    case : CaseFindings
        Each finding whose value the sentences give becomes an observation.
    state : State
        ``preliminary`` until signed, then ``final`` or ``amended``.
    pdf : bytes
        The report as PDF, to be carried along.
    snomed : bool
        Whether codes of SNOMED CT may be written; its licence must be held.

    Returns
    -------
    dict
        JSON of the Bundle: a ``document`` once there is a time of signing, else a ``collection``.

    Raises
    ------
    PathaiError
        E203 naming the field that FHIR R4B refuses.
    """
    made = _Bundle(draft, case, state, snomed=snomed).make(pdf)
    check_fhir(made)
    return made


def check_fhir(bundle: Resource) -> None:
    """Refuse what is no Bundle of FHIR R4B (E203, naming the field)."""
    from fhir.resources.R4B.bundle import Bundle

    try:
        parsed = Bundle.model_validate(bundle)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PathaiError("E203", f"fhir.json: {where}: {first['msg']}") from None
    for entry in bundle["entry"]:  # its closed lists of codes are not checked by the parser
        status = entry["resource"].get("status", STATUS["draft"])
        if status not in STATUS.values():
            raise PathaiError("E203", f"fhir.json: {status} is no status of a report")
    urls = {entry["fullUrl"] for entry in bundle["entry"]}
    if missing := sorted(set(_references(bundle)) - urls):
        raise PathaiError("E203", f"fhir.json: {missing[0]} is not in the bundle")
    if len(parsed.entry or ()) != len(urls):
        raise PathaiError("E203", "fhir.json: an entry stands twice")


def _references(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str):
            yield value["reference"]
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


class _Bundle:
    """Makes the resources of one draft."""

    def __init__(self, draft: Draft, case: CaseFindings, state: State, *, snomed: bool) -> None:
        self.draft, self.case, self.state, self.snomed = draft, case, state, snomed
        self.findings = [f for f in case.findings if f.id in draft.told()]
        self.status = STATUS[state.name]
        self.time = state.time if INSTANT.fullmatch(state.time) else ""
        self.seed = draft.digest or draft.findings_digest
        self.subject = {
            "type": "Patient",
            "identifier": {"system": "urn:pathai:case", "value": case.case_id},
        }

    def url(self, name: str) -> str:
        """URN of a resource: the same for the same draft."""
        return uuid5(NAMESPACE_URL, f"pathai:{self.seed}:{self.state.name}:{name}").urn

    def to(self, name: str) -> Resource:
        return {"reference": self.url(name)}

    def these(self, ids: Iterable[str]) -> list[Resource]:
        """References to those of the findings that the report tells."""
        told = {f.id for f in self.findings}
        return [self.to(i) for i in ids if i in told]

    def make(self, pdf: bytes) -> Resource:
        document = not self.state.watermark and bool(self.time)
        named: list[tuple[str, Resource]] = [
            ("composition", self.composition()),
            ("report", self.report(pdf)),
            ("device", self.device()),
        ]
        named += [(f"specimen-{s.specimen_id}", self.specimen(s)) for s in self.case.specimens]
        named += [(f.id, self.observation(f)) for f in self.findings]
        bundle: Resource = {
            "resourceType": "Bundle",
            "identifier": {"system": "urn:ietf:rfc:3986", "value": self.url("bundle")},
            "type": "document" if document else "collection",
            "entry": [{"fullUrl": self.url(name), "resource": made} for name, made in named],
        }
        return {**bundle, "timestamp": self.time} if document else bundle

    # --- the report --------------------------------------------------------------------------

    def composition(self) -> Resource:
        mark = WATERMARK if self.state.watermark else "research use only"
        tag = {"system": "urn:pathai:use", "code": "research-use-only", "display": mark}
        made: Resource = {
            "resourceType": "Composition",
            "meta": {"tag": [tag]},
            "language": self.draft.language,
            "status": self.status,
            "type": SYNOPTIC,
            "subject": self.subject,
            "author": [self.to("device")],
            "title": f"{mark}: case {printable(self.case.case_id)}",
            "section": self.sections(),
        }
        if self.state.watermark:  # a draft says no time: the same draft is the same bytes
            unknown = {"url": ABSENT_EXTENSION, "valueCode": "unknown"}
            return {**made, "_date": {"extension": [unknown]}}
        party = {"display": printable(f"{self.state.signer} {self.state.role}".strip())}
        attester: Resource = {"mode": "personal", "party": party}
        if not self.time:
            raise PathaiError("E203", "fhir.json: the time of signing is no instant with its zone")
        return {**made, "date": self.time, "attester": [{**attester, "time": self.time}]}

    def sections(self) -> list[Resource]:
        def told(title: str, kind: str) -> list[Resource]:
            found = [one for one in self.draft.fixed if one.kind == kind]
            return [self.told(title, found)] if found else []

        return [
            *told("Contradictions", "contradiction"),
            *told("Clinical context", "context"),
            *(self.said(section) for section in self.draft.sections),
            *told("Suggestions", "suggestion"),
            *told("References", "reference"),
        ]

    def said(self, section: Section) -> Resource:
        texts = [" ".join((said.rendered, *said.notes)) for said in section.statements]
        ids = [said.finding for said in section.statements]
        return _section(section.title, (*section.notes, *texts), self.these(ids))

    def told(self, title: str, fixed: Sequence[Fixed]) -> Resource:
        texts = [" ".join(t for t in (one.text, one.source) if t) for one in fixed]
        ids = dict.fromkeys(i for one in fixed for i in one.findings)
        return _section(title, texts, self.these(ids))

    def report(self, pdf: bytes) -> Resource:
        made: Resource = {
            "resourceType": "DiagnosticReport",
            "identifier": [{"system": "urn:pathai:draft", "value": self.seed}],
            "status": self.status,
            "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0074",
                                      "code": "SP", "display": "Surgical Pathology"}]}],
            "code": SYNOPTIC,
            "subject": self.subject,
            "result": [self.to(f.id) for f in self.findings],
        }  # fmt: skip
        if self.case.specimens:
            made["specimen"] = [self.to(f"specimen-{s.specimen_id}") for s in self.case.specimens]
        if self.time and not self.state.watermark:
            made["issued"] = self.time
        if pdf:
            form = {"contentType": "application/pdf", "language": self.draft.language}
            made["presentedForm"] = [{**form, "data": b64encode(pdf).decode()}]
        return made

    def device(self) -> Resource:
        engine = self.draft.engine
        phrased = f"phrased by {engine.name} {engine.model} {engine.digest[:19]}".strip()
        return {
            "resourceType": "Device",
            "deviceName": [{"name": "pathai", "type": "model-name"}],
            "version": [{"value": __version__}],
            "type": {"text": "software, research use only"},
            "note": [{"text": printable(phrased)}],
        }

    def specimen(self, specimen: Specimen) -> Resource:
        made: Resource = {"resourceType": "Specimen", "subject": self.subject}
        if specimen.specimen_id:
            value = printable(specimen.specimen_id)
            made["identifier"] = [{"system": "urn:pathai:specimen", "value": value}]
        site = printable(" ".join(t for t in (specimen.laterality, specimen.site) if t))
        return {**made, "collection": {"bodySite": {"text": site}}} if site else made

    # --- findings ----------------------------------------------------------------------------

    def observation(self, finding: Finding) -> Resource:
        made: Resource = {
            "resourceType": "Observation",
            "identifier": [{"system": "urn:pathai:finding", "value": finding.id}],
            "status": self.status,
            "category": [{"coding": [{"system": STATUS_SYSTEM, "code": finding.status}]}],
            "code": self.code(finding),
            "subject": self.subject,
            "device": self.to("device"),
            "method": {"text": printable(_method_text(finding))},
            **value_fields(finding, self.draft.language),
        }
        if any(s.specimen_id == finding.specimen_id for s in self.case.specimens):
            made["specimen"] = self.to(f"specimen-{finding.specimen_id}")
        if parents := self.these(finding.parents):
            made["derivedFrom"] = parents
        if notes := list(_notes(finding, self.draft.language)):
            made["note"] = [{"text": printable(note)} for note in notes]
        if finding.entry is not None:
            made["performer"] = [{"display": printable(finding.entry.reader)}]
        return made

    def code(self, finding: Finding) -> Resource:
        row = registry().find(finding.key)
        coding = [{"system": KEY_SYSTEM, "code": finding.key, "display": row.name}]
        snomed = row.snomed if self.snomed else ""
        for system, code in ((LOINC, row.loinc), (SNOMED, snomed)):
            if code:
                coding.insert(0, {"system": system, "code": code})
        return {"coding": coding, "text": catalog(self.draft.language).term(finding.key)}


def _section(title: str, texts: Iterable[str], entries: list[Resource]) -> Resource:
    items = "".join(f"<li>{escape(printable(text))}</li>" for text in texts)
    div = f'<div xmlns="http://www.w3.org/1999/xhtml"><ul>{items}</ul></div>'
    made: Resource = {"title": printable(title), "text": {"status": "generated", "div": div}}
    return {**made, "entry": entries} if entries else made


def _method_text(finding: Finding) -> str:
    method = finding.method
    digest = f", {method.digest[:12]}" if method.digest else ""
    return f"{method.name}, version {method.version} ({method.kind}{digest})"


def _notes(finding: Finding, language: str) -> Iterable[str]:
    words = catalog(language)
    for item in finding.evidence:
        yield f"slide {item.slide_id}"
    for code in (finding.note, *finding.flags):
        if code:
            yield words.said(code)
    if finding.laterality:
        yield f"laterality: {finding.laterality}"
    if finding.code:
        yield f"code {finding.code}"
