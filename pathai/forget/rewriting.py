"""Files that belong to several patients: the lines of one leave them, the others stay as they are.

Each is written beside itself and renamed, so that a kill leaves the old one or the new one.
"""

import csv
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pathai.forget.searching import Ids
from pathai.report.life.ledger import FIRST, Signature, signatures
from pathai.store.commit import remove
from pathai.store.manifest import canonical, write_atomic


def drop_rows(table: Path, by_column: Mapping[str, Collection[str]]) -> int:
    """Remove rows of a table with a header, by what stands in its columns; how many those were.

    A label that happens to read like a patient's id is no reason to remove a row.
    """
    if not table.is_file():
        return 0
    lines = table.read_bytes().splitlines(keepends=True)
    mark = "\t" if b"\t" in b"".join(lines[:1]) else ","
    header = _cells(lines[0], mark) if lines else []
    asked = [(n, by_column[name]) for n, name in enumerate(header) if name in by_column]
    if "id" in header and "pseudonym" not in header:  # a column of anything
        asked = [(n, ids) for n, ids in asked if header[n] != "id"]
    kept = lines[:1] + [
        line
        for line in lines[1:]
        if not any(cell in ids for n, ids in asked for cell in _cells(line, mark)[n : n + 1])
    ]
    if len(kept) < len(lines):
        write_atomic(table, b"".join(kept))
    return len(lines) - len(kept)


def _cells(line: bytes, mark: str) -> list[str]:
    text = line.decode("utf-8-sig", "replace").rstrip("\r\n")
    return next(csv.reader([text], delimiter=mark), []) if mark == "," else text.split(mark)


def drop_lines(folder: Path, ids: Ids, keep: Iterable[Path] = ()) -> int:
    """Remove the lines of logs that name one of the ids; how many files were changed."""
    spared, changed = set(keep), 0
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if path.is_symlink() or not path.is_file() or path in spared:
            continue
        lines = path.read_bytes().splitlines(keepends=True)
        kept = [line for line in lines if not ids.found_in(line)]
        if len(kept) < len(lines):
            write_atomic(path, b"".join(kept))
            changed += 1
    return changed


@dataclass(frozen=True)
class Ledger:
    """A list of signatures with its head; ``data`` is None where nothing of it changes."""

    head: str
    data: bytes | None

    def write(self, path: Path) -> None:
        """Put it in the place of the old one."""
        write_atomic(path, self.data or b"")


def rechained(reviews: Path, cases: Iterable[str]) -> tuple[str, Ledger]:
    """Head of the list of signatures, and the list without those of some cases, chained anew.

    Raises
    ------
    PathaiError
        E207 if the list was altered: restore it from a copy first.
    """
    known, listed = set(cases), signatures(reviews)
    before = sha256(listed[-1].line()).hexdigest() if listed else FIRST
    if not any(one.case_id in known for one in listed):
        return before, Ledger(before, None)
    head = FIRST
    lines: list[bytes] = []
    for one in listed:
        if one.case_id in known:
            continue
        told = {"number": len(lines) + 1, "previous": head}
        made: Signature = one.model_copy(update=told).sealed()
        lines.append(made.line())
        head = sha256(lines[-1]).hexdigest()
    return before, Ledger(head, b"".join(lines))


def drop_training(folder: Path, slides: Iterable[str]) -> None:
    """Remove what some slides gave to a folder of corrected nuclei."""
    note = folder / "corrections.json"
    try:
        about = json.loads(note.read_bytes())
        listed = dict(about["slides"])
    except (ValueError, KeyError, TypeError):  # not ours: the search names it if it holds an id
        return
    gone = set(slides)
    names = re.compile("|".join(rf"{re.escape(s)}-[0-9]+" for s in sorted(gone)))
    if not set(listed) - gone:
        remove(folder)
        return
    for kind in ("images", "labels"):
        for path in sorted((folder / kind).glob("*.png")):
            if names.fullmatch(path.stem):
                path.unlink()
    for table in ("images.csv", "gt_points.csv"):
        _without(folder / table, names)
    for slide in gone:
        (folder / "cells" / f"{slide}.csv").unlink(missing_ok=True)
    about["slides"] = {name: one for name, one in listed.items() if name not in gone}
    write_atomic(note, canonical(about))


def _without(table: Path, names: re.Pattern[str]) -> None:
    if not table.is_file():
        return
    lines = table.read_text("utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not names.fullmatch(next(csv.reader([line]))[0])]
    if len(kept) < len(lines):
        write_atomic(table, "".join(kept).encode())
