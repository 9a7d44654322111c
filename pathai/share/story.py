"""A report as a share bundle tells it: sentences with their places, and no name of anyone.

What enters is listed here, field by field; nothing is passed on because it happens to be there.
The digests of the lab's own findings and draft stay out: with everything else known, a digest would
tell whether a guessed id is the right one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pathai.finding import CaseFindings, Evidence, Finding, ModelAnswer
from pathai.language import Catalog, catalog
from pathai.report.documents.words import words_of
from pathai.report.records import WATERMARK, Draft, Fixed, Section, Statement
from pathai.share.pseudonyms import Pseudonyms

LEFT_OUT = "A sentence was left out here by a person; who and why is with the lab."
"""In the place of the line that names the reader and quotes the reason."""
FREE = "note"
"""Item of the clinical context that holds free text, and is left out."""
Item = dict[str, Any]


@dataclass(frozen=True)
class Standing:
    """A report as it stands, or as it was signed.

    Parameters
    ----------
    case : CaseFindings
        What the draft stands on.
    draft : Draft
        The words.
    state : str
        ``draft``, ``in_review``, ``signed`` or ``amended``.
    signature : str
        Who signed, as what and when; empty where that is not to be told.
    """

    case: CaseFindings
    draft: Draft
    state: str = "draft"
    signature: str = ""

    @property
    def signed(self) -> bool:
        """Whether somebody signed these words."""
        return self.state in ("signed", "amended")


def findings_without_names(
    case: CaseFindings, told: frozenset[str], names: Pseudonyms, *, readers: bool = False
) -> CaseFindings:
    """Findings with pseudonyms for ids, without sites, free text, times and logged events.

    Parameters
    ----------
    case : CaseFindings
        Of the lab.
    told : frozenset of str
        Ids of those that the report tells (`Draft.told`): data say no more than the words.
    names : Pseudonyms
        That know every id of the case's rows.
    readers : bool
        True: keep the names of those who entered values.
    """
    data = case.model_dump(mode="json")
    data |= {"case_id": names.of("case", case.case_id), "parent": "", "events": [], "digest": ""}
    for specimen in data["specimens"]:
        specimen["specimen_id"] = names.of("specimen", specimen["specimen_id"])
        specimen["slides"] = [names.of("slide", name) for name in specimen["slides"]]
        specimen["site"] = ""
    for finding in data["findings"]:
        finding["specimen_id"] = names.of("specimen", finding["specimen_id"])
        for evidence in finding["evidence"]:
            evidence["slide_id"] = names.of("slide", evidence["slide_id"])
        entry = finding["entry"]
        if entry is not None:
            reader = entry["reader"] if readers else "reader"
            before = names.scrub(entry["before"])
            finding["entry"] = {"reader": reader, "event": "", "time": "", "before": before}
    _keep(data, told)
    data["context"] = [item for item in data["context"] if item["key"] != FREE]
    return CaseFindings.model_validate(data).sealed()


def _keep(data: dict[str, Any], told: frozenset[str]) -> None:
    """Leave out findings that are not told, and what is said of them elsewhere."""
    data["findings"] = [finding for finding in data["findings"] if finding["id"] in told]
    for finding in data["findings"]:
        finding["parents"] = [parent for parent in finding["parents"] if parent in told]
    for kind in ("contradictions", "suggestions"):
        data[kind] = [found for found in data[kind] if told.issuperset(found["findings"])]


def story(standing: Standing, names: Pseudonyms, slides: Sequence[str]) -> Item:
    """The report as plain data for the page.

    Parameters
    ----------
    standing : Standing
        The lab's own.
    names : Pseudonyms
        That know every id of the case's rows.
    slides : sequence of str
        The lab's slide ids in the order of the page; evidence names slides by number.

    Returns
    -------
    dict
        Text in it is plain, not markup.
    """
    draft = standing.draft
    teller = _Teller(standing.case, names, catalog(draft.language), slides)
    context = {item.id for item in standing.case.context if item.key != FREE}

    def told(kind: str) -> list[Item]:
        kept = (f for f in draft.fixed if f.kind == kind and (kind != "context" or f.id in context))
        return [teller.fixed(f) for f in kept]

    return {
        "signed": standing.signed,
        "mark": "" if standing.signed else WATERMARK,
        "signature": _signature(standing) if standing.signed else "",
        "language": draft.language,
        "translation": "" if teller.words.reviewed else words_of(draft.language)("translation"),
        "alarms": told("contradiction"),
        "context": told("context"),
        "sections": [teller.section(section) for section in draft.sections],
        "suggestions": told("suggestion"),
        "references": told("reference"),
        "typed": sum(s.source == "human" for s in draft.statements()),
    }


def _signature(standing: Standing) -> str:
    amended = ", amended" if standing.state == "amended" else ""
    who = standing.signature or "signer and time are with the lab"
    return f"SIGNED{amended} - {who} - AI-assisted; research use only"


class _Teller:
    """Puts the parts of a draft into data, with pseudonyms."""

    def __init__(
        self, case: CaseFindings, names: Pseudonyms, words: Catalog, slides: Sequence[str]
    ) -> None:
        self.case, self.names, self.words = case, names, words
        self.number = {slide_id: i for i, slide_id in enumerate(slides)}

    def section(self, section: Section) -> Item:
        items = [self.statement(said) for said in section.shown()]
        for line in section.briefs:
            places = self.places(self.findings(line.findings))
            text = line.text if line.findings else LEFT_OUT
            items.append(self.item("", text, line.notes, places))
        return {
            "title": self.title(section),
            "notes": [self.names.scrub(note) for note in section.notes],
            "items": items,
        }

    def title(self, section: Section) -> str:
        """A heading whose ids are replaced part by part, and from which the site is left out."""
        exact = {self.words.phrase("slide", id=s): self.slide(s) for s in self.number}
        for specimen in self.case.specimens:
            name = specimen.specimen_id
            made = self.names.of("specimen", name)
            exact[name] = made
            exact[self.words.phrase("specimen", id=name)] = self.words.phrase("specimen", id=made)
            exact[self.words.phrase("site", site=specimen.site)] = ""
        parts = (exact.get(part, self.names.scrub(part)) for part in section.title.split(" · "))
        return " · ".join(part for part in parts if part)

    def slide(self, slide_id: str) -> str:
        """Its number on the page, and its pseudonym."""
        name = f"{self.number[slide_id] + 1} · {self.names.of('slide', slide_id)}"
        return self.words.phrase("slide", id=name)

    def statement(self, said: Statement) -> Item:
        found = self.findings((said.finding,))
        made = self.item(said.id, said.rendered, said.notes, self.places(found))
        if said.source == "human":
            flagged = "human_flag" if said.verdict == "flag" else "human"
            made["mark"] = words_of(self.words.language)(flagged)
        answers = [f.value for f in found if isinstance(f.value, ModelAnswer)]
        made["serious"] = any(answer.out_of_distribution for answer in answers)
        return made

    def fixed(self, fixed: Fixed) -> Item:
        made = self.item(fixed.id, fixed.text, (), self.places(self.findings(fixed.findings)))
        return made | {"source": fixed.source}

    def item(self, name: str, text: str, notes: Iterable[str], places: list[Item]) -> Item:
        scrub = self.names.scrub
        return {"id": name, "text": scrub(text), "notes": [*map(scrub, notes)], "places": places}

    def findings(self, ids: Iterable[str]) -> list[Finding]:
        return [f for f in map(self.case.finding, ids) if f is not None]

    def places(self, findings: Iterable[Finding]) -> list[Item]:
        """What to fly to, each place once; a whole slide only where there is nothing smaller."""
        found = [place for f in findings for e in f.evidence for place in self.of(e)]
        once = list({repr(place): place for place in found}.values())
        return [place for place in once if place["box"]] or once

    def of(self, evidence: Evidence) -> list[Item]:
        number = self.number.get(evidence.slide_id)
        if number is None:
            return []
        if evidence.polygons:
            rings = [[list(p) for p in ring] for polygon in evidence.polygons for ring in polygon]
            x, y = zip(*(point for ring in rings for point in ring), strict=True)
            box = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
            return [{"slide": number, "box": box, "rings": rings}]
        boxes = [[b.x, b.y, b.width, b.height] for b in evidence.boxes]
        whole: Item = {"slide": number, "box": None, "rings": []}
        return [{"slide": number, "box": box, "rings": []} for box in boxes] or [whole]
