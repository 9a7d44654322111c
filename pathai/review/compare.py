"""Readers of one case side by side: where they differ, and what settles it.

Compared is what two readers both said. That one of them left something out counts only where the
log shows that the reader looked: at a sentence never, at a nucleus if it lies in a field that the
reader has seen, at a region if the reader marked the case reviewed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pathai.edits import Position, spans
from pathai.errors import PathaiError
from pathai.review.outlines import AGREE, Looked, groups_of_cells, overlap, union_of
from pathai.review.records import Case, Decision, Status
from pathai.review.state import State, Store, replay
from pathai.review_log import ADJUDICATION, is_question, question, read_log, task_of

LEFT = "left as detected"
NONE = "no nucleus"
NOT_DRAWN = "not drawn"
Said = tuple[tuple[str, str], ...]
"""Reader and words, in the order of the readers."""


@dataclass(frozen=True)
class Reading:
    """One reader's log of a case; ``problem`` says why it cannot be read."""

    case_id: str
    reader: str
    events: int
    state: State
    problem: str = ""

    @property
    def status(self) -> Status:
        """How far the reader is."""
        return self.state.status


@dataclass(frozen=True)
class Disagreement:
    """Something that readers see differently.

    Attributes
    ----------
    kind : str
        ``sentence``, ``answer``, ``cells`` or ``region``.
    what : str
        Id of the sentence, the question, the detector, or the name of the region.
    said : tuple of (str, str)
        Reader and what the reader says.
    slide_id : str
        Where it is; empty for a sentence or a case.
    settled : str
        What the log ``adjudication`` says of it; empty if nothing yet.
    rows : tuple of int
        Nuclei, in the cells with digest ``store``; none for nuclei that readers added.
    xy_px0 : tuple of (float, float)
        Where the nuclei are (x, y), level-0 px.
    iou : float or None
        Of a region: the smallest intersection over union of two readers.
    """

    kind: Literal["sentence", "answer", "cells", "region"]
    what: str
    said: Said
    slide_id: str = ""
    settled: str = ""
    store: str = ""
    rows: tuple[int, ...] = ()
    xy_px0: tuple[Position, ...] = ()
    iou: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values; rows as in the log."""
        return {**asdict(self), "rows": spans(self.rows)}

    def told(self) -> str:
        """A line for a person."""
        what = f"{task_of(self.what)}" if is_question(self.what) else self.what
        count = f"{len(self.xy_px0)} nuclei of " if self.kind == "cells" else ""
        where = f" on {self.slide_id}" if self.slide_id else ""
        said = ", ".join(f"{reader}: {words}" for reader, words in self.said)
        overlap_ = f" (overlap {self.iou:.2f})" if self.iou is not None else ""
        end = f"; settled: {self.settled}" if self.settled else ""
        return f"{self.kind} {count}{what}{where}: {said}{overlap_}{end}"


def readings(reviews: Path, case: Case) -> list[Reading]:
    """Every reader's log of a case, in the order of their names; a broken one is among them."""
    found = []
    for path in sorted((reviews / case.case_id).glob("*.jsonl")):
        try:
            events = read_log(path)
            state = replay(events, case)
        except PathaiError as error:
            found.append(Reading(case.case_id, path.stem, 0, State(), str(error)))
        else:
            found.append(Reading(case.case_id, path.stem, len(events), state))
    return found


def compare(reviews: Path, case: Case, readers: Sequence[str] = ()) -> list[Disagreement]:
    """Where readers of a case differ: sentences, answers, nuclei, regions, in this order.

    Parameters
    ----------
    reviews : Path
        Folder of the logs.
    case : Case
        The draft as it is now; decisions on other drafts are not compared.
    readers : sequence of str
        Whom to compare; by default everyone who opened the case. The log ``adjudication`` is
        never compared: it settles. A log that is broken is left out (`readings` names it).
    """
    return differences(readings(reviews, case), case, readers)


def differences(
    found: Iterable[Reading], case: Case, readers: Sequence[str] = ()
) -> list[Disagreement]:
    """As `compare`, of logs that were read already."""
    whole = [one for one in found if not one.problem and one.state.opened]
    judge = next((one.state for one in whole if one.reader == ADJUDICATION), State())
    states = {
        one.reader: one.state
        for one in whole
        if one.reader != ADJUDICATION and (not readers or one.reader in readers)
    }
    if len(states) < 2:
        return []
    return [
        *_sentences(states, judge, case),
        *_answers(states, judge),
        *_cells(states, judge),
        *_added(states, judge),
        *_regions(states, judge),
    ]


def _differ(states: Mapping[str, State], word: Callable[[State], str | None]) -> Said:
    """What each reader says who says something; empty if they agree."""
    said = tuple((reader, words) for reader, s in states.items() if (words := word(s)) is not None)
    return said if len({words for _, words in said}) > 1 else ()


def _sentences(states: Mapping[str, State], judge: State, case: Case) -> Iterable[Disagreement]:
    def words(found: Decision | None) -> str | None:
        if found is None:
            return None
        return f"edited to {found.text!r}" if found.verdict == "edited" else found.verdict

    for statement in case.statements:
        key = statement.id
        said = _differ(states, lambda state, key=key: words(state.decisions.get(key)))  # type: ignore[misc]
        if said:
            settled = words(judge.decisions.get(key)) or ""
            yield Disagreement("sentence", key, said, settled=settled)


def _answers(states: Mapping[str, State], judge: State) -> Iterable[Disagreement]:
    """An answer to a case's question holds for each slide that has no answer of its own."""

    def words(state: State, asked: str) -> str | None:
        return state.answers.get(asked, state.answers.get(question(task_of(asked))))

    for asked in sorted({key for state in states.values() for key in state.answers}):
        said = _differ(states, lambda state, asked=asked: words(state, asked))  # type: ignore[misc]
        if said:
            slide_id = asked.removeprefix(question(task_of(asked))).removeprefix(":")
            settled = words(judge, asked) or ""
            yield Disagreement("answer", asked, said, slide_id, settled)


def _cells(states: Mapping[str, State], judge: State) -> Iterable[Disagreement]:
    """Nuclei that the detector found; those about which the same is said are told together."""
    looked = {reader: Looked(state.seen) for reader, state in states.items()}
    for key in sorted({key for state in states.values() for key in state.nuclei}):
        places: dict[int, Position] = {}
        for state in states.values():
            if key in state.nuclei:
                places |= state.nuclei[key].xy_px0
        rows = sorted(places)
        points = [places[row] for row in rows]
        left = {reader: one.at(key.slide_id, points) for reader, one in looked.items()}
        groups: dict[tuple[Said, str], list[int]] = {}
        given = {reader: state.classes(*key) for reader, state in states.items()}
        settled = judge.classes(*key)
        for i, row in enumerate(rows):
            said = tuple(
                (reader, _class(classes.get(row)))
                for reader, classes in given.items()
                if row in classes or left[reader][i]
            )
            if len({words for _, words in said}) > 1:
                end = _class(settled[row]) if row in settled else ""
                groups.setdefault((said, end), []).append(row)
        for (said, end), same in groups.items():
            where = tuple(places[row] for row in same)
            yield _nuclei(key, said, end, tuple(same), where)


def _nuclei(
    key: Store, said: Said, settled: str, rows: tuple[int, ...], where: tuple[Position, ...]
) -> Disagreement:
    return Disagreement("cells", key.detector, said, key.slide_id, settled, key.store, rows, where)


def _class(name: str | None) -> str:
    return LEFT if name is None else name or NONE


def _added(states: Mapping[str, State], judge: State) -> Iterable[Disagreement]:
    """Nuclei that readers added: the same one if the center of one lies in the other's outline."""
    looked = {reader: Looked(state.seen) for reader, state in states.items()}
    judged = Looked(judge.seen)
    for slide_id in sorted({key for state in states.values() for key in state.added_cells}):
        cells = {
            reader: list(state.added_cells.get(slide_id, {}).values())
            for reader, state in states.items()
        }
        cells[ADJUDICATION] = list(judge.added_cells.get(slide_id, {}).values())
        for group, place in groups_of_cells(cells):
            said = tuple(
                (reader, group[reader].class_name if reader in group else NONE)
                for reader in states
                if reader in group or looked[reader].at(slide_id, [place])[0]
            )
            if len({words for _, words in said}) < 2:
                continue
            found = group.get(ADJUDICATION)
            settled = NONE if judged.at(slide_id, [place])[0] else ""
            settled = found.class_name if found else settled
            detector = next(cell.detector for cell in group.values())
            yield Disagreement("cells", detector, said, slide_id, settled, xy_px0=(place,))


def _regions(states: Mapping[str, State], judge: State) -> Iterable[Disagreement]:
    """All regions of one name on a slide together, by intersection over union."""
    drawn = {
        (slide_id, one.name)
        for state in states.values()
        for slide_id, found in state.regions.items()
        for one in found.values()
    }
    for slide_id, name in sorted(drawn):
        areas = {
            reader: union_of(state.regions.get(slide_id, {}).values(), name)
            for reader, state in states.items()
        }
        kept = {r: area for r, area in areas.items() if not area.is_empty or states[r].reviewed}
        least = overlap(list(kept.values()))
        if least >= AGREE:
            continue
        said = tuple((r, NOT_DRAWN if a.is_empty else f"{a.area:.0f} px²") for r, a in kept.items())
        own = union_of(judge.regions.get(slide_id, {}).values(), name)
        settled = "" if own.is_empty else f"{own.area:.0f} px²"
        settled = NOT_DRAWN if own.is_empty and judge.reviewed else settled
        yield Disagreement("region", name, said, slide_id, settled, iou=round(least, 4))
