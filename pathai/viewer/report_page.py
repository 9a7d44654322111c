"""The report of a case as a page shows it: every sentence, what became of it, and what is open."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pathai.errors import PathaiError
from pathai.report.life import Life
from pathai.report.life.items import Item, contradiction_id, flag_id
from pathai.report.life.overlay import fits
from pathai.report.life.record import SignedReport
from pathai.report.life.standing import Revision
from pathai.report.records import Problem
from pathai.review import Decision
from pathai.viewer.entry import contradictions_of
from pathai.viewer.runs import Sentence, sentence_of

Mark = Literal["", "accepted", "rejected", "edited", "flagged", "deleted"]
How = Literal["wait", "decide", "acknowledge", "mend"]
PLAIN = {
    "digit": "a number that is not this finding's value",
    "missing_slot": "this finding's value does not stand there exactly once",
    "unknown_id": "no finding has this value",
    "characters": "a character that cannot stand there",
}
"""The verifier's reasons in words for who does not know how it works, by code."""
Decided = Callable[[str], Decision | None]
"""The reader's decision on a sentence, by its id."""


@dataclass(frozen=True)
class Row:
    """A sentence and what became of it.

    ``mark`` is empty while nobody decided; ``says`` is what the verifier says to a person's words,
    or why a sentence was deleted.
    """

    sentence: Sentence
    mark: Mark
    says: tuple[str, ...] = ()


@dataclass(frozen=True)
class Open:
    """Something that stands before a signature, and how it is closed.

    ``statement`` is the sentence that it is about, empty for none.
    """

    id: str
    message: str
    how: How
    statement: str = ""


@dataclass(frozen=True)
class Page:
    """The report as it stands.

    ``state`` is that of the trail: ``draft``, ``in_review``, ``signed``, ``amended``; empty where
    there is no report. ``problem`` says why nothing can be done; ``stale`` that the findings were
    made anew since the draft.
    """

    rows: tuple[Row, ...] = ()
    open: tuple[Open, ...] = ()
    state: str = ""
    version: int = 0
    stale: bool = False
    problem: str = ""
    draft: str = ""
    now: Revision | None = None
    signed: SignedReport | None = None

    @property
    def closed(self) -> bool:
        """Whether what stands is signed: only an amendment changes it."""
        return self.state in ("signed", "amended")

    @property
    def decided(self) -> int:
        """Sentences that need no more attention."""
        return sum(row.mark in ("accepted", "edited", "deleted") for row in self.rows)

    @property
    def signable(self) -> bool:
        """Whether a signature is possible."""
        return bool(self.state) and not (self.problem or self.open or self.closed)


def page_of(life: Life, decision: Decided, *, hidden: bool) -> Page:
    """The page of a case's report.

    Parameters
    ----------
    life : Life
        The report.
    decision : callable
        See `Decided`.
    hidden : bool
        Whether output must not be shown yet.
    """
    try:
        now = life.revision()
        stale, items = life.stale(), life.items(now)
        signed = life.signed()
        rows = _rows(life, now, {item.id for item in items}, decision)
        told = {contradiction_id(c): text for c, text in contradictions_of(now.case)}
    except PathaiError as error:
        return Page(problem=str(error))
    state = now.state
    closed = state.phase == "signed"
    found = () if closed else _open(rows, items, told, decision, stale=stale, hidden=hidden)
    return Page(
        rows, found, state.name, state.version, stale and not closed, "", now.draft.digest, now,
        signed,
    )  # fmt: skip


def _rows(life: Life, now: Revision, items: set[str], decision: Decided) -> tuple[Row, ...]:
    rows = list[Row]()
    standing = {said.id: said for said in now.draft.statements()}
    gone = {
        finding: edit
        for finding, edit in now.state.edits.items()
        if edit.text is None and fits(edit, now.case)
    }
    placed = set[str]()
    for section in life.machine_draft(now).sections:
        for said in section.statements:
            if said.finding in gone:
                sentence = sentence_of(said, section.title, now.case)
                rows.append(Row(sentence, "deleted", (gone[said.finding].reason,)))
            for one in standing.values():
                if one.id not in placed and one.finding == said.finding:
                    placed.add(one.id)
                    sentence = sentence_of(one, section.title, now.case)
                    held = flag_id(sentence.finding, sentence.text) in items
                    mark = _mark(sentence, decision(sentence.id), held)
                    rows.append(Row(sentence, mark, _says(life, now, sentence, one.text)))
    return tuple(rows)


def _says(life: Life, now: Revision, sentence: Sentence, text: str) -> tuple[str, ...]:
    """What the verifier says to a person's words."""
    words = life.words(now, sentence.id) if sentence.flags else None
    return tuple(plainly(one) for one in words.problems(text)) if words else ()


def _open(
    rows: tuple[Row, ...],
    items: list[Item],
    told: dict[str, str],
    decision: Decided,
    *,
    stale: bool,
    hidden: bool,
) -> tuple[Open, ...]:
    found = list[Open]()
    if hidden:
        found.append(Open("blind", "give your first impression first", "wait"))
    if stale:
        found.append(Open("stale", "the findings were made anew since this draft", "mend"))
    said = {flag_id(r.sentence.finding, r.sentence.text): r for r in rows}
    for item in items:
        how: How = "acknowledge" if item.acknowledgeable else "mend"
        flagged = said.get(item.id)
        if flagged is None:
            found.append(Open(item.id, told.get(item.id, item.message), how))
        else:
            name, why = flagged.sentence.id, "; ".join(flagged.says) or item.message
            found.append(Open(item.id, f"{name} is flagged: {why}", how, name))
    for row in rows:
        name = row.sentence.id
        if row.mark == "rejected":
            message = f"{name} is rejected: edit it, delete it, or accept it after all"
            found.append(Open(f"rejected:{name}", message, "decide", name))
        elif _waits(row, decision):
            found.append(Open(f"open:{name}", f"{name} has no decision", "decide", name))
    return tuple(found)


def _waits(row: Row, decision: Decided) -> bool:
    """Whether this reader has not yet said anything to a sentence that stands."""
    made = decision(row.sentence.id)
    return row.mark != "deleted" and (made is None or made.text != row.sentence.text)


def plainly(problem: Problem) -> str:
    """What the verifier says to words, in plain words."""
    return PLAIN.get(problem.code, problem.message)


def _mark(sentence: Sentence, decision: Decision | None, held: bool) -> Mark:
    """What became of a sentence that stands; ``held``: its flag is not acknowledged."""
    made = decision if decision and decision.text == sentence.text else None
    if made and made.verdict == "rejected":
        return "rejected"
    if sentence.flags and held:
        return "flagged"
    if made is None:
        return ""
    return "edited" if sentence.source == "human" else "accepted"
