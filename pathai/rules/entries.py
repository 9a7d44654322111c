"""What a person enters or corrects: checked, set down, and a new revision made of it."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from pydantic import Field, ValidationError

from pathai.errors import PathaiError
from pathai.finding import (
    CaseFindings,
    Category,
    Entry,
    Evidence,
    Finding,
    Key,
    Method,
    Quantity,
    Specimen,
    Sum,
    registry,
)
from pathai.finding_values import Frozen
from pathai.rules.board import Board
from pathai.rules.engine import run_rules
from pathai.rules.places import common_stain, stains_of, suiting

READER = Method(name="reader", version="1", kind="manual")


class Entered(Frozen):
    """One logged event: what a reader entered, where and when.

    ``value`` is a number, a code, a list of whole numbers for a sum, or None to withdraw what
    stands there. Without ``slide_id`` it belongs to the specimen, without ``specimen_id`` to the
    only specimen of the case.
    """

    key: str
    slide_id: str = ""
    specimen_id: str = ""
    value: Any = None
    reader: str = Field(min_length=1, max_length=200)
    event: str = Field(min_length=1, max_length=200)
    time: str = Field(min_length=1, max_length=64)


def revise(
    case: CaseFindings,
    entries: Sequence[Entered | Mapping[str, Any]],
    requires: Sequence[str] = (),
) -> CaseFindings:
    """The next revision of a case: entered values stand, and the rules are applied anew.

    Parameters
    ----------
    case : CaseFindings
        The revision that is corrected; it does not change.
    entries : sequence of Entered or mapping
        Of two for one key at one place the later one stands; otherwise their order does not
        matter.
    requires : sequence of str
        Keys that the report's layout asks for.

    Returns
    -------
    CaseFindings
        Sealed, with the digest of ``case`` as its parent. Ids of findings are kept.

    Raises
    ------
    PathaiError
        E204 naming the key and what may be entered there.
    """
    chosen: dict[tuple[str, tuple[str, ...]], tuple[Entered, _Place]] = {}
    events = list[str]()
    for given in entries:
        entry = _read(given)
        row = _row(entry.key)
        place = _place(case, entry, row)
        chosen[entry.key, place.slides] = entry, place
        events.append(entry.event)
    board = Board(case, requires)
    for (key, _), (entry, place) in sorted(chosen.items(), key=lambda item: item[0]):
        _set(board, key, entry, place)
    run_rules(board, case, requires)
    return board.result(
        revision=case.revision + 1,
        parent=case.digest or case.sha256(),
        events=(*case.events, *sorted(set(events))),
    )


class _Place(Frozen):
    slides: tuple[str, ...]
    specimen: Specimen
    stain: str


def _read(given: Entered | Mapping[str, Any]) -> Entered:
    if isinstance(given, Entered):
        return given
    try:
        return Entered.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PathaiError("E204", f"entry of {given.get('key')}: {where}: {first['msg']}") from None


def _row(key: str) -> Key:
    try:
        row = registry().find(key)
    except PathaiError:
        near = get_close_matches(key, registry().keys, n=1)
        more = f"; did you mean {near[0]}?" if near else ""
        raise PathaiError("E204", f"there is no key {key!r}{more}") from None
    if not row.enterable:
        raise PathaiError("E204", f"{key} is not entered by a person")
    return row


# --- where -----------------------------------------------------------------------------------


def _place(case: CaseFindings, entry: Entered, row: Key) -> _Place:
    specimen = _specimen(case, entry)
    if entry.slide_id:
        stain = stains_of(case).get(entry.slide_id, "")
        if not registry().stained(entry.key, stain):
            raise PathaiError(
                "E204",
                f"{entry.key} has no value on slide {entry.slide_id}, "
                f"whose stain is {stain or 'not stated'}; {_wanted(entry.key, row)}",
            )
        return _Place(slides=(entry.slide_id,), specimen=specimen, stain=stain)
    slides = suiting(case, entry.key, specimen)
    where = f"specimen {specimen.specimen_id or '(unnamed)'}"
    if not slides:
        raise PathaiError(
            "E204", f"{entry.key}: no slide of {where} suits; {_wanted(entry.key, row)}"
        )
    if row.per == "slide" and len(slides) > 1:
        raise PathaiError("E204", f"{entry.key}: name the slide of {where}: {', '.join(slides)}")
    return _Place(slides=slides, specimen=specimen, stain=common_stain(case, slides))


def _specimen(case: CaseFindings, entry: Entered) -> Specimen:
    if entry.slide_id:
        found = [s for s in case.specimens if entry.slide_id in s.slides]
        if not found:
            slides = ", ".join(slide for s in case.specimens for slide in s.slides)
            raise PathaiError(
                "E204", f"{entry.key}: no slide {entry.slide_id!r}; there are {slides}"
            )
        if entry.specimen_id and entry.specimen_id != found[0].specimen_id:
            raise PathaiError(
                "E204", f"{entry.key}: slide {entry.slide_id} is not of {entry.specimen_id!r}"
            )
        return found[0]
    if not entry.specimen_id and len(case.specimens) == 1:
        return case.specimens[0]
    named = [s for s in case.specimens if s.specimen_id == entry.specimen_id]
    if not named:
        names = ", ".join(s.specimen_id for s in case.specimens)
        raise PathaiError("E204", f"{entry.key}: name the specimen: {names}")
    return named[0]


def _wanted(key: str, row: Key) -> str:
    own = registry().markers.get(key.split(".")[0])
    return f"it stands on {' or '.join(own or row.stains)}"


# --- what ------------------------------------------------------------------------------------


def _set(board: Board, key: str, entry: Entered, place: _Place) -> None:
    row = registry().find(key)
    before = board.standing(key, place.slides)
    finding_id = board.id_for(key, place.slides, place.specimen.specimen_id)
    if entry.value is None and (before is None or before.value is None):
        raise PathaiError("E204", f"{key}: nothing stands there that could be withdrawn")
    if entry.value is None and before is not None and before.method.kind == "rule":
        raise PathaiError("E204", f"{key} follows by rule; withdraw what it follows from")
    note = Entry(
        reader=entry.reader,
        event=entry.event,
        time=entry.time,
        before=printed(before) if before else "",
    )
    kept = before.evidence if before else tuple(Evidence(slide_id=s) for s in place.slides)
    fields: dict[str, Any] = {
        "id": finding_id,
        "key": key,
        "specimen_id": place.specimen.specimen_id,
        "laterality": before.laterality if before else place.specimen.laterality,
        "stain": place.stain,
        "method": READER,
        "evidence": kept,
        "entry": note,
    }
    if entry.value is None:
        fields |= {"status": "not_assessed", "note": "reader_withdrew"}
    else:
        fields |= {"status": "observed", "value": value_of(key, row, entry.value)}
    try:
        board.put(Finding(**fields))
    except ValidationError as error:
        raise PathaiError("E204", error.errors(include_url=False)[0]["msg"]) from None


def value_of(key: str, row: Key, value: Any) -> Quantity | Category | Sum:
    """A plain JSON value as a value of ``key``.

    Raises
    ------
    PathaiError
        E204 saying what may be entered.
    """
    if row.type == "category":
        if not isinstance(value, str) or value not in row.values:
            raise PathaiError("E204", f"{key} is one of {', '.join(row.values)}, not {value!r:.60}")
        return Category(code=value)
    if row.type == "sum":
        return _sum(key, row, value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise PathaiError("E204", f"{key} is a number{_range(row)}, not {value!r:.60}")
    try:
        quantity = Quantity(value=value, unit=row.unit)
    except (ValidationError, OverflowError, ArithmeticError):
        raise PathaiError("E204", f"{key} is a number{_range(row)}, not {value!r:.60}") from None
    low, high = row.minimum, row.maximum
    if (low is not None and quantity.value < low) or (high is not None and quantity.value > high):
        raise PathaiError("E204", f"{key} is a number{_range(row)}, not {value}")
    if row.unit.startswith("{") and quantity.value != int(quantity.value):
        raise PathaiError("E204", f"{key} is a whole number, not {value}")
    return quantity


def _sum(key: str, row: Key, value: Any) -> Sum:
    allowed = range(row.part_minimum, row.part_maximum + 1)
    if isinstance(value, str) and re.fullmatch(r"\s*[0-9](?:\s*\+\s*[0-9])+\s*", value):
        value = [int(part) for part in value.split("+")]  # as it is read aloud: 3+4
    numbers = list(value) if isinstance(value, list | tuple) else []
    whole = all(isinstance(n, int) and not isinstance(n, bool) and n in allowed for n in numbers)
    if len(numbers) != row.parts or not whole:
        raise PathaiError(
            "E204",
            f"{key} is {row.parts} whole numbers from {allowed[0]} to {allowed[-1]}, "
            f"not {value!r:.60}",
        )
    return Sum(parts=tuple(numbers))


def _range(row: Key) -> str:
    unit = registry().units[row.unit]
    ends = [
        f"{word} {end.normalize():f}" if end is not None else ""
        for word, end in (("from", row.minimum), ("to", row.maximum))
    ]
    ends.append(f"in {unit}" if unit else "")
    return "".join(f" {end}" for end in ends if end)


def admits(key: str) -> str:
    """What a person may enter under a key, in words; empty where nothing."""
    row = registry().find(key.replace("*", "x"))
    if not row.enterable:
        return ""
    if row.type == "category":
        return f"one of {', '.join(row.values)}"
    if row.type == "sum":
        return f"{row.parts} whole numbers from {row.part_minimum} to {row.part_maximum}"
    return f"a number{_range(row)}"


def printed(finding: Finding) -> str:
    """A value as it stood, in short; empty where there is none."""
    value, book = finding.value, registry()
    if isinstance(value, Quantity):
        row = book.find(finding.key)
        unit = book.units[value.unit]
        return f"{row.rounded(value.value):,}{'' if unit == '%' else ' '}{unit}".strip()
    if isinstance(value, Category):
        return book.words(finding.key, value.code)
    if isinstance(value, Sum):
        return f"{' + '.join(str(part) for part in value.parts)} = {value.total}"
    return ""
