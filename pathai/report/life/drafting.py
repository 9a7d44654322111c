"""Findings and drafts of a report's life: from the stages, from a person's entries, from a file."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from pathai.config import ReportConfig
from pathai.drafters import DRAFTERS
from pathai.drafters.base import Drafter, Line, Phrasing
from pathai.errors import PathaiError
from pathai.finding import CaseFindings, canonical, load_findings
from pathai.report.draft import draft as make_draft
from pathai.report.life import neighbors
from pathai.report.life.events import Event, Facts
from pathai.report.life.state import State, Stored, replay
from pathai.report.life.trail import Trail, digest, now, read_bytes
from pathai.report.records import Draft
from pathai.store.folders import CaseFolder
from pathai.store.manifest import canonical as canonical_file


class Again:
    """A drafter that keeps its words where a line is as it was, and phrases only the others.

    Parameters
    ----------
    inner : Drafter
        Phrases what is new.
    before : Draft
        The draft that it made last.
    case : CaseFindings
        What that draft stood on.
    """

    def __init__(self, inner: Drafter, before: Draft, case: CaseFindings) -> None:
        self.inner, self.engine = inner, inner.engine
        self._said: dict[tuple[str, str, str], str] = {
            (said.finding, finding.key, finding.status): said.text
            for said in before.statements()
            for finding in [case.finding(said.finding)]
            if finding is not None and said.verdict == "pass" and said.source == "llm"
        }

    def phrase(self, lines: Sequence[Line]) -> Phrasing:
        """One text per line; the inner drafter is asked for the new ones, if there are any."""
        known = [self._said.get((line.finding, line.key, line.status)) for line in lines]
        new = [line for line, text in zip(lines, known, strict=True) if text is None]
        made = self.inner.phrase(new) if new else Phrasing(texts=())
        fresh = iter([*made.texts, *([None] * len(lines))])
        texts = tuple(next(fresh) if text is None else text for text in known)
        return Phrasing(texts=texts, flags=made.flags)


def redraft(
    trail: Trail,
    folder: CaseFolder,
    pipeline: CaseFindings,
    section: ReportConfig,
    reader: str,
    drafter: Drafter | None = None,
) -> None:
    """Make findings and draft anew from the stages' findings and every entry that counts."""
    state = replay(trail.events, trail.case_id)
    files: dict[str, bytes] = {}
    base = state.base
    if base is None or base.digest != pipeline.digest:
        base = Stored(_next(trail, "findings", files), pipeline.digest)
        files[base.file] = findings_bytes(pipeline)
    wanted = neighbors.requires(section)
    case, stored = _revised(trail, state, base, pipeline, wanted, files)
    draft = _drafted(trail, state, folder, case, section, drafter)
    name = _next(trail, "draft", files)
    files[name] = draft_bytes(draft)
    trail.append(
        "drafted",
        reader,
        files,
        what=str(state.version),
        findings=case.digest,
        draft=draft.digest,
        facts={
            "findings_file": stored,
            "draft_file": name,
            "base_file": base.file,
            "pipeline": pipeline.digest,
            "revision": case.revision,
            **provenance(draft),
        },
    )


def _revised(
    trail: Trail,
    state: State,
    base: Stored,
    pipeline: CaseFindings,
    requires: Sequence[str],
    files: dict[str, bytes],
) -> tuple[CaseFindings, str]:
    """The findings that a draft shall stand on, and their file."""
    events = sorted(state.entries.values(), key=lambda event: event.number)
    taken = any(e.kind == "withdrawn" and e.number > state.drafted for e in trail.events)
    if state.findings is not None and state.base == base and not taken:
        case = read_findings(trail.folder, state.findings, trail.case_id)
        stored, events = state.findings.file, [e for e in events if e.number > state.drafted]
    else:
        case, stored = pipeline, base.file
    if events:
        case, stored = neighbors.revise(case, events, requires), _next(trail, "findings", files)
        case = _numbered(case, trail, state)
        files[stored] = findings_bytes(case)
    return case, stored


def _numbered(case: CaseFindings, trail: Trail, state: State) -> CaseFindings:
    """A revision with a number that none before it had: numbers tell records apart."""
    taken = [0 if case.revision else -1]
    taken += [int(str(e.facts.get("revision", 0))) for e in trail.events if e.kind == "drafted"]
    if state.findings is not None:
        taken.append(read_findings(trail.folder, state.findings, trail.case_id).revision)
    if case.revision > max(taken):
        return case
    return case.model_copy(update={"revision": max(taken) + 1}).sealed()


def _drafted(
    trail: Trail,
    state: State,
    folder: CaseFolder,
    case: CaseFindings,
    section: ReportConfig,
    drafter: Drafter | None,
) -> Draft:
    if drafter is None and case.revision == 0 and state.draft is None:
        return pipeline_draft(folder, case, section)
    engine = drafter or DRAFTERS.load(section.drafter)(section)
    if state.draft is not None and state.findings is not None and engine.engine.name != "template":
        before = read_draft(trail.folder, state.draft, trail.case_id)
        if before.engine == engine.engine and before.language == section.language:
            stood = read_findings(trail.folder, state.findings, trail.case_id)
            engine = Again(engine, before, stood)
    return make_draft(case, section, engine)


def pipeline_draft(folder: CaseFolder, case: CaseFindings, section: ReportConfig) -> Draft:
    """The draft that the stages made, or a new one where theirs is not of these findings."""
    data = read_bytes(folder.draft("json"))
    if data is not None:
        try:
            draft = Draft.model_validate_json(data)
        except ValidationError:
            draft = None
        if draft is not None and draft.findings_digest == case.digest:
            return draft
    return make_draft(case, section)


def provenance(draft: Draft) -> Facts:
    """What made a draft and what became of its sentences, for the trail."""
    verdicts = {said.id: said.verdict for said in draft.statements()}
    refused = {said.id: said.refused for said in draft.statements() if said.refused}
    return {
        "template": draft.template,
        "language": draft.language,
        "engine": draft.engine.model_dump(mode="json"),
        "engine_flags": list(draft.engine_flags),
        "verdicts": dict(verdicts),
        "refused": dict(refused),
        "problems": dict(draft.verification.problems),
    }


def rehearse(case: CaseFindings, entries: Sequence[tuple[str, str, object]], reader: str) -> None:
    """Try entries before one of them is written down (E204 if one does not fit)."""
    neighbors.revise(
        case,
        [
            Event(
                number=number,
                time=now(),
                kind="entered",
                reader=reader,
                what=key,
                after={"place": place, "value": value},
                previous="",
            ).sealed()
            for number, (key, place, value) in enumerate(entries, start=1)
        ],
    )


def findings_bytes(case: CaseFindings) -> bytes:
    """Findings as they are stored."""
    return canonical_file(case.model_dump(mode="json"))


def draft_bytes(draft: Draft) -> bytes:
    """A draft as it is stored."""
    return canonical_file(draft.model_dump(mode="json"))


def _next(trail: Trail, kind: str, files: dict[str, bytes]) -> str:
    """Name of the next file of a kind, ``findings-3.json``."""
    names = {name for event in trail.events for name in event.files} | files.keys()
    return f"{kind}-{sum(name.startswith(f'{kind}-') for name in names) + 1}.json"


def check_file(folder: Path, name: str, sha: str, case_id: str) -> bytes:
    """Bytes of a file that the trail names (E207 if they are not those that were written)."""
    data = read_bytes(folder / name)
    if data is None:
        raise PathaiError("E207", f"{case_id}: report/{name} is missing")
    if digest(data) != sha:
        raise PathaiError("E207", f"{case_id}: report/{name} was altered")
    return data


def read_findings(folder: Path, stored: Stored, case_id: str) -> CaseFindings:
    """Findings of a file of the trail (E207 if they are not those that it names)."""
    data = read_bytes(folder / stored.file)
    try:
        case = load_findings((data or b"").decode())
    except (PathaiError, UnicodeDecodeError):
        raise PathaiError("E207", f"{case_id}: report/{stored.file} was altered") from None
    if case.digest != stored.digest:
        raise PathaiError("E207", f"{case_id}: report/{stored.file} was altered")
    return case


def read_draft(folder: Path, stored: Stored, case_id: str) -> Draft:
    """A draft of a file of the trail (E207 if it is not the one that it names)."""
    try:
        draft = Draft.model_validate_json(read_bytes(folder / stored.file) or b"")
    except ValidationError:
        raise PathaiError("E207", f"{case_id}: report/{stored.file} was altered") from None
    told = digest(canonical(draft, exclude={"digest"}).encode())
    if not draft.digest == told == stored.digest:
        raise PathaiError("E207", f"{case_id}: report/{stored.file} was altered")
    return draft
