"""One step in the life of a report, as a line of ``audit.jsonl``."""

from hashlib import sha256
from typing import Literal

from pydantic import Field, JsonValue

from pathai.errors import PathaiError
from pathai.review_log import Link, read_chain

Kind = Literal[
    "created",
    "entered",
    "withdrawn",
    "corrected",
    "drafted",
    "edited",
    "deleted",
    "added",
    "restored",
    "acknowledged",
    "submitted",
    "signed",
    "amended",
    "rendered",
    "recovered",
]
Facts = dict[str, JsonValue]


class Event(Link):
    """Who did what, when, and to which findings and draft.

    Parameters
    ----------
    number : int
        Place in the trail, from 1.
    time : str
        ISO 8601, UTC.
    kind : str
        What was done.
    reader, role : str
        As asserted: nobody checks who sits at the keyboard.
    what : str
        A statement, a finding key, an open item, a format, or the version of the report.
    before, after : dict or None
        What stood there, and what stands there now.
    reason : str
        In the person's own words, where a step asks for one.
    findings, draft : str
        SHA-256 of the findings and of the draft that the step stands on.
    facts : dict
        Template, engine, digests of model, prompt and refused answers, verdicts, figures.
    files : dict
        SHA-256 of every file that this step wrote, by name.
    previous, sha256 : str
        The chain.
    """

    time: str
    kind: Kind
    reader: str
    role: str = ""
    what: str = ""
    before: Facts | None = None
    after: Facts | None = None
    reason: str = ""
    findings: str = ""
    draft: str = ""
    facts: Facts = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)


def genesis(case_id: str) -> str:
    """What the first line names as its previous one: a trail fits one case."""
    return sha256(f"pathai report 1\n{case_id}\n".encode()).hexdigest()


def parse(data: bytes, case_id: str) -> tuple[list[Event], bytes]:
    """Check a trail.

    Parameters
    ----------
    data : bytes
        Content of ``audit.jsonl``.
    case_id : str
        Whose trail it shall be.

    Returns
    -------
    list of Event
        In order.
    bytes
        A half-written last line; empty after a clean end.

    Raises
    ------
    PathaiError
        E207 naming the line that does not fit.
    """

    def wrong(number: int) -> PathaiError:
        return broken(case_id, f"line {number} does not fit the lines before it")

    return read_chain(data, Event, genesis(case_id), wrong)


def head_of(events: list[Event], case_id: str) -> str:
    """SHA-256 of the last line; what the next event names as its previous one."""
    return sha256(events[-1].line()).hexdigest() if events else genesis(case_id)


def broken(case_id: str, what: str) -> PathaiError:
    """E207 naming what does not fit."""
    return PathaiError("E207", f"{case_id}: audit.jsonl: {what}")
