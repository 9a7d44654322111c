"""Readers' own answers as labels: what a person decided overrides what the sheet says.

Only answers count that a reader gave to a task's question. Accepting, rejecting or editing a
sentence of a draft is about its words, and an accepted sentence may be accepted because it stands
there; none of them becomes a label.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from pathai.errors import PathaiError
from pathai.review_log import ADJUDICATION, answers, question, read_log, task_of
from pathai.sheet import COLUMNS, Sheet, SheetRow
from pathai.store.manifest import write_atomic

Answers = Mapping[str, Mapping[str, str]]
"""Reader to answers by question, of one case."""


@dataclass(frozen=True)
class Asked:
    """A question with the sheet's column of its answers.

    Parameters
    ----------
    name : str
        Name of the task, or of one of its targets.
    label : str
        Column of the sheet.
    classes : tuple of str
        Allowed answers; empty for a number.
    unit : str
        Whether an answer holds for the slides it is about, or for all slides of the patient.
    """

    name: str
    label: str
    classes: tuple[str, ...] = ()
    unit: Literal["patient", "slide"] = "patient"

    @property
    def before(self) -> str:
        """Column that keeps the sheet's own label."""
        return f"{self.label}.before"


@dataclass(frozen=True)
class Correction:
    """A label that a reader changed."""

    slide_id: str
    before: str
    after: str
    by: tuple[str, ...]


@dataclass(frozen=True)
class Conflict:
    """Readers (``case/reader``) who disagree: these slides' labels were left as they were."""

    slides: tuple[str, ...]
    answers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Report:
    """What the readers' answers did to one column.

    ``confirmed`` slides have an answer that is the sheet's label; ``unknown_cases`` have answers
    but no row.
    """

    question: str
    column: str
    changed: tuple[Correction, ...]
    confirmed: tuple[str, ...]
    conflicts: tuple[Conflict, ...]
    unknown_cases: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Lines for a person."""
        told = [
            f"{self.question}: {len(self.changed)} labels of column {self.column} changed, "
            f"{len(self.confirmed)} confirmed"
        ]
        told += [
            f"  {one.slide_id}: {one.before or 'empty'} -> {one.after} ({', '.join(one.by)})"
            for one in self.changed
        ]
        for conflict in self.conflicts:
            said = ", ".join(f"{who} says {answer}" for who, answer in conflict.answers)
            told.append(f"  left as it was: {', '.join(conflict.slides)}; {said}")
        if self.unknown_cases:
            told.append(f"  cases without a row: {', '.join(self.unknown_cases)}")
        return told


def corrected(
    rows: Sequence[SheetRow], asked: Asked, reviews: Path
) -> tuple[tuple[SheetRow, ...], Report]:
    """Rows whose labels are the readers' answers where there are some.

    Readers who agree override the sheet. Where they disagree, the log ``adjudication`` of the
    case decides; without it the label stays as it was and the conflict is listed. The sheet's own
    label is kept in column ``<label>.before`` of every row; a sheet that has this column already
    keeps it. An answer to a slide goes before one to its case. For a task per patient, the
    answers to all cases of a patient must agree, and hold for all slides of it.

    Parameters
    ----------
    rows : sequence of SheetRow
        The sheet.
    asked : Asked
        What was answered.
    reviews : Path
        Folder of the logs, ``<case_id>/<reader>.jsonl``.

    Returns
    -------
    tuple of SheetRow
        In the same order.
    Report
        What was changed, by whom, and what was not.

    Raises
    ------
    PathaiError
        E210 for a log that was tampered with, E184 for an answer that the task does not allow
        (correct it in the review), E162 for one that cannot be read.
    """
    cases = {row.case_id for row in rows}
    given = {case: _read(reviews / case, asked) for case in sorted(cases)}
    units: dict[str, list[SheetRow]] = {}
    for row in rows:
        units.setdefault(row.patient_id if asked.unit == "patient" else row.slide_id, []).append(
            row
        )
    labels: dict[str, str] = {}
    by: dict[str, tuple[str, ...]] = {}
    conflicts = []
    for _, members in sorted(units.items()):
        said = sorted({pair for row in members for pair in _said(row, given[row.case_id], asked)})
        settled = [pair for pair in said if pair[0].endswith(f"/{ADJUDICATION}")] or said
        if len({answer for _, answer in settled}) > 1:
            conflicts.append(Conflict(tuple(row.slide_id for row in members), tuple(said)))
        elif settled:
            labels |= {row.slide_id: settled[0][1] for row in members}
            by |= {row.slide_id: tuple(who for who, _ in settled) for row in members}
    old = {row.slide_id: row.labels.get(asked.label, "") for row in rows}
    report = Report(
        asked.name,
        asked.label,
        tuple(Correction(s, old[s], labels[s], by[s]) for s in labels if labels[s] != old[s]),
        tuple(s for s in labels if labels[s] == old[s]),
        tuple(conflicts),
        _unknown(reviews, cases),
    )
    return tuple(_with(row, asked, labels.get(row.slide_id)) for row in rows), report


def _read(folder: Path, asked: Asked) -> Answers:
    """Every reader's answers to a case, each checked against the task."""
    found = {}
    for path in sorted(folder.glob("*.jsonl")):
        found[path.stem] = answers(read_log(path), folder.name)
        for what, answer in found[path.stem].items():
            if task_of(what) == asked.name:
                _check(answer, asked, f"{folder.name}/{path.stem}")
    return found


def _check(answer: str, asked: Asked, where: str) -> None:
    if asked.classes and answer not in asked.classes:
        message = f"{where}: answer {answer!r} to {asked.name}, not {', '.join(asked.classes)}"
        raise PathaiError("E184", message, "correct the answer in the review")
    try:
        fits = bool(asked.classes) or isfinite(float(answer))
    except ValueError:
        fits = False
    if not fits:
        message = f"{where}: answer {answer!r} to {asked.name} is no number"
        raise PathaiError("E184", message, "correct the answer in the review")


def _said(row: SheetRow, given: Answers, asked: Asked) -> list[tuple[str, str]]:
    """Who says what of a slide; an answer to the slide itself goes before one to its case."""
    said = []
    for reader, found in given.items():
        whole = found.get(question(asked.name))
        answer = found.get(question(asked.name, row.slide_id), whole)
        if answer is not None:
            said.append((f"{row.case_id}/{reader}", answer))
    return said


def _with(row: SheetRow, asked: Asked, label: str | None) -> SheetRow:
    old = row.labels.get(asked.label, "")
    new = {asked.label: old if label is None else label, asked.before: old}
    return row.model_copy(update={"labels": {**new, **row.labels, asked.label: new[asked.label]}})


def _unknown(reviews: Path, cases: set[str]) -> tuple[str, ...]:
    folders = reviews.iterdir() if reviews.is_dir() else ()
    names = [f.name for f in folders if f.is_dir() and any(f.glob("*.jsonl"))]
    return tuple(sorted(name for name in names if name not in cases))


# --- the sheet -------------------------------------------------------------------------------


def write_sheet(sheet: Sheet, rows: Sequence[SheetRow], out: Path) -> None:
    """Write a sheet anew with the labels of these rows; all other cells stay as they are.

    Parameters
    ----------
    sheet : Sheet
        The original, which is never written to.
    rows : sequence of SheetRow
        Its rows, corrected.
    out : Path
        A new file, in the folder of the original: paths of slides are relative to it.

    Raises
    ------
    PathaiError
        E193 if ``out`` exists or lies elsewhere; E160 or E161 if it cannot be written.
    """
    if out.exists() or out.is_symlink():
        raise PathaiError("E193", f"{out.name} exists", "choose another name")
    if out.absolute().parent.resolve() != sheet.folder.absolute().resolve():
        message = f"{out.name} would not lie beside {sheet.name}, where its slides are found from"
        raise PathaiError("E193", message, f"write it into the folder of {sheet.name}")
    lines = (sheet.folder / sheet.name).read_text("utf-8-sig").splitlines()
    header = lines[0].split("\t")
    labels = {row.row: row.labels for row in rows}
    new = [name for name in rows[0].labels if name not in header]
    written = ["\t".join([*header, *new])]
    for number, line in enumerate(lines[1:], start=2):
        if number not in labels:  # an empty line
            continue
        cells = line.split("\t") + [""] * (len(header) - len(line.split("\t")))
        kept = [
            cell if name in COLUMNS else labels[number][name]
            for name, cell in zip(header, cells, strict=True)
        ]
        written.append("\t".join([*kept, *(labels[number][name] for name in new)]))
    write_atomic(out, ("\n".join(written) + "\n").encode())
