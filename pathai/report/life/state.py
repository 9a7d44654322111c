"""What a trail says: a function of its events alone, the same after any crash."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from pathai.report.life.events import Event, broken

Name = Literal["draft", "in_review", "signed", "amended"]


@dataclass(frozen=True)
class Edit:
    """A person's words in the place of, or beside, a statement.

    ``finding`` is what it stands on; ``status``, ``key`` and ``value`` (a digest) are the finding's
    when it was written, ``value`` empty in trails that did not keep it yet. ``text`` is None for
    a statement that was deleted.
    """

    finding: str
    key: str
    status: str
    text: str | None
    reader: str
    reason: str = ""
    value: str = ""


@dataclass(frozen=True)
class Stored:
    """A file of the folder and the digest of the record in it."""

    file: str
    digest: str


@dataclass
class State:
    """Where a report stands.

    Parameters
    ----------
    version : int
        Of the report that is being written or was signed last; 0 before the first step.
    signed : list of Event
        One per version that was signed.
    pipeline : str
        Digest of the findings that the stages had made when this draft was drafted.
    findings, draft : Stored or None
        What stands now.
    first_findings, first_draft : Stored or None
        What this version began with; edits are measured from there.
    entries : dict
        Entered events that count, by key and place.
    edits, added : dict
        A person's words by finding, and added statements by id.
    acknowledged : dict
        Open items that a person took responsibility for, with the event.
    """

    phase: Literal["draft", "in_review", "signed"] = "draft"
    version: int = 0
    signed: list[Event] = field(default_factory=list)
    pipeline: str = ""
    base: Stored | None = None
    findings: Stored | None = None
    draft: Stored | None = None
    first_findings: Stored | None = None
    first_draft: Stored | None = None
    entries: dict[tuple[str, str], Event] = field(default_factory=dict)
    edits: dict[str, Edit] = field(default_factory=dict)
    added: dict[str, Edit] = field(default_factory=dict)
    acknowledged: dict[str, Event] = field(default_factory=dict)
    drafted: int = 0
    """Number of the event that drafted what stands; later entries are not in it yet."""
    last: int = 0
    """Number of the last event that entered or withdrew a value."""

    @property
    def name(self) -> Name:
        """A signed report is amended once a later version of it is signed."""
        if self.phase == "signed":
            return "signed" if self.version == 1 else "amended"
        return self.phase


def replay(events: Iterable[Event], case_id: str) -> State:
    """State after these events.

    Raises
    ------
    PathaiError
        E207 if an event does not follow from those before it.
    """
    state = State()
    for event in events:
        try:
            _apply(state, event)
        except (KeyError, TypeError, ValueError):
            raise broken(case_id, f"event {event.number} does not follow") from None
    return state


def _apply(state: State, event: Event) -> None:
    if event.kind in ("rendered", "recovered"):
        return
    closed = state.phase == "signed" and event.kind != "amended"
    if closed or (event.kind == "created") != (state.version == 0):
        raise ValueError
    if event.kind == "created":
        state.version = 1
    elif event.kind in ("entered", "withdrawn"):
        _enter(state, event)
    elif event.kind == "drafted":
        _draft(state, event)
    elif event.kind in ("edited", "deleted", "added", "restored"):
        _edit(state, event)
    elif event.kind == "acknowledged":
        state.acknowledged[event.what] = event
    elif event.kind == "submitted":
        _move(state, "draft", "in_review")
    elif event.kind == "signed":
        _move(state, "in_review", "signed")
        state.signed.append(event)
    elif event.kind == "amended":
        _move(state, "signed", "draft")
        state.version += 1
        state.first_findings, state.first_draft = state.findings, state.draft


def _move(state: State, old: str, new: Literal["draft", "in_review", "signed"]) -> None:
    if state.phase != old:
        raise ValueError
    state.phase = new


def entry_place(event: Event) -> tuple[str, str]:
    """Key and slide or specimen that an entry is about."""
    said = event.after if event.kind == "entered" else event.before
    return event.what, str((said or {})["place"])


def _enter(state: State, event: Event) -> None:
    key = entry_place(event)
    state.last = event.number
    if event.kind == "entered":
        state.entries[key] = event
    else:
        del state.entries[key]


def _draft(state: State, event: Event) -> None:
    files = {kind: str(event.facts[f"{kind}_file"]) for kind in ("findings", "draft")}
    state.findings = Stored(files["findings"], event.findings)
    state.draft = Stored(files["draft"], event.draft)
    state.pipeline = str(event.facts["pipeline"])
    state.base = Stored(str(event.facts["base_file"]), state.pipeline)
    state.first_findings = state.first_findings or state.findings
    state.first_draft = state.first_draft or state.draft
    state.drafted = event.number


def _edit(state: State, event: Event) -> None:
    said = event.after or {}
    finding = str(event.facts["finding"])
    if event.kind == "restored":
        if event.what in state.added:
            del state.added[event.what]
        else:
            del state.edits[finding]
        return
    text = None if event.kind == "deleted" else str(said["text"])
    key, status = str(event.facts["key"]), str(event.facts["status"])
    value = str(event.facts.get("value", ""))
    edit = Edit(finding, key, status, text, event.reader, event.reason, value)
    if event.kind == "added" or (event.kind == "edited" and event.what in state.added):
        state.added[event.what] = edit
    elif event.kind == "deleted" and event.what in state.added:
        del state.added[event.what]
    else:
        state.edits[finding] = edit
