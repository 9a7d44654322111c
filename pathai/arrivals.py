"""Slides that arrive in a folder: which have settled, and their rows in the run's sheet.

A file is taken once it was the same, in size and time, at two looks; names that copying programs
use for unfinished files are passed over. Its row gets the next free number, as ``pathai init``
counts, or what a pattern reads from its name, which must then hold no person's name.
"""

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pathai.config import load_config
from pathai.errors import PathaiError
from pathai.ingest import fingerprint
from pathai.init import SUFFIXES, find_slides
from pathai.readers.slide_files import quick_identity, watched
from pathai.sheet import COLUMNS, SheetRow, check_id, load_sheet
from pathai.store.folders import ResultsFolder
from pathai.store.manifest import write_atomic

Signature = tuple[tuple[str, int, int], ...]
WITH_FOLDER = frozenset({".mrxs", ".vsi"})
"""Formats whose pixels lie in a folder beside the file that is named."""
_UNFINISHED = re.compile(r"^[.~]|^_\$|\.(part|partial|filepart|tmp|temp|crdownload)(\.|$)", re.I)
_IDS = ("slide_id", "case_id", "patient_id")


@dataclass
class Arrivals:
    """What arrives in a folder.

    Parameters
    ----------
    folder : Path
        Looked through with its subfolders.
    settle_s : float
        A slide whose files were the same for so long is complete.
    """

    folder: Path
    settle_s: float = 10.0
    _seen: dict[Path, tuple[Signature, float]] = field(default_factory=dict)
    _given: dict[Path, Signature] = field(default_factory=dict)

    def look(self) -> tuple[list[Path], bool]:
        """Slides that have settled since the last look, and whether others are still arriving.

        A slide that changes after it was given out settles again, and is given out again.
        """
        now, settled = time.monotonic(), []
        units = dict(self._units())
        self._seen = {path: seen for path, seen in self._seen.items() if path in units}
        for path, signature in units.items():
            before, since = self._seen.get(path, (None, now))
            if signature != before:
                self._seen[path] = (signature, now)
            elif now - since >= self.settle_s and self._given.get(path) != signature:
                self._given[path] = signature
                settled.append(path)
        waiting = any(self._given.get(path) != signature for path, signature in units.items())
        return [slide for path in settled for slide in _slides(path)], waiting

    def _units(self) -> Iterator[tuple[Path, Signature]]:
        """Files, or folders of DICOM, with the size and time of all that belongs to each."""
        series: dict[Path, list[Path]] = {}
        for file in _found(self.folder):
            suffix = file.suffix.lower()
            if suffix == ".dcm":
                series.setdefault(file.parent, []).append(file)
                continue
            beside = file.with_suffix("")
            if suffix in WITH_FOLDER and not beside.is_dir():
                continue  # its pixels have not begun to arrive
            parts = _below(beside) if suffix in WITH_FOLDER else []
            signature = _signature([file, *parts])
            if signature and signature[0][1]:  # an empty file has only been opened
                yield file, signature
        for parent, files in series.items():
            if signature := _signature(files):
                yield parent, signature


def _found(folder: Path) -> list[Path]:
    """Slide files that are not under a name for unfinished ones."""
    files = []
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder).parts
        if file.suffix.lower() in SUFFIXES and not any(_UNFINISHED.search(p) for p in inside):
            files.append(file)
    return [file for file in files if file.is_file()]


def _below(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def _signature(files: list[Path]) -> Signature:
    """Name, size and time of files; empty if one has just gone."""
    try:
        stats = [(file.name, file.stat()) for file in files]
    except OSError:
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def _slides(path: Path) -> list[Path]:
    """Slides of what has settled: a file, or the series of a folder of DICOM."""
    if path.is_file():
        return [path]
    return [p for p in find_slides(path) if p.parent == path and p.suffix.lower() == ".dcm"]


@dataclass(frozen=True)
class Taken:
    """What became of slides that arrived: ids of new rows, and files left out with the reason."""

    rows: tuple[str, ...]
    left_out: tuple[tuple[Path, str], ...]


def take(config: Path, found: list[Path], pattern: str = "", stain: str = "H&E") -> Taken:
    """Append a row to the run's sheet for every slide that is new, all at once.

    Parameters
    ----------
    config : Path
        Configuration of the run.
    found : list of Path
        Slides that have settled. Those whose path or SHA-256 is known are no new ones.
    pattern : str
        Regular expression whose groups are named as columns, such as ``(?P<case_id>...)``, found
        in the file's name. Without one, each slide is a case and a patient of its own.
    stain : str
        Column ``stain``, where the pattern has none.

    Raises
    ------
    PathaiError
        E154 and others for the sheet that is there, E190 for the configuration.
    """
    settings = load_config(config)
    file = config.parent / settings.sheet
    text = file.read_text("utf-8-sig") if file.exists() else "\t".join(COLUMNS) + "\n"
    header, *lines = text.splitlines() or [""]
    sheet = load_sheet(file) if any(line.strip() for line in lines) else None
    results = ResultsFolder(config.parent / settings.results)
    rows = [(row, sheet.path(row).resolve()) for row in sheet.rows] if sheet else []
    known = _Known(results, rows)
    added: list[dict[str, str]] = []
    left_out: list[tuple[Path, str]] = []
    for path in found:
        try:
            if not known.is_new(path):
                continue
            values = _row(path, pattern, stain, known.number())
            known.admit(values)
            added.append(values)
        except PathaiError as error:
            left_out.append((path, error.message))
    if added:
        columns = header.split("\t")
        missing = sorted({c for v in added for c in v} - set(columns))
        if missing:
            raise PathaiError("E154", f"{file.name} has no column {missing[0]}", "add the column")
        more = ["\t".join(values.get(column, "") for column in columns) for values in added]
        write_atomic(file, ("\n".join([header, *lines, *more]) + "\n").encode())
    return Taken(tuple(values["slide_id"] for values in added), tuple(left_out))


class _Known:
    """Slides of a run, by path, content and id."""

    def __init__(self, results: ResultsFolder, rows: list[tuple[SheetRow, Path]]) -> None:
        self._paths = {path for _, path in rows}
        self._ids = {name.casefold() for name in results.slide_ids()}
        self._owner: dict[str, str] = {}
        self._slides: set[str] = set()
        self._quick: dict[str, list[str | Path]] = {}
        self._told: set[str] = set()
        for row, path in rows:
            self._ids |= {row.slide_id.casefold(), row.case_id.casefold()}
            self._ids.add(row.patient_id.casefold())
            self._owner[row.case_id] = row.patient_id
            self._slides.add(row.slide_id.casefold())
            self._told |= {row.sha256.lower()} if row.sha256 else set()
            folder = results.slide(row.slide_id)
            if folder.slide_json.is_file():
                info = folder.read_slide()
                self._quick.setdefault(info.quick_id, []).append(info.sha256)
            elif path.is_file():
                with suppress(PathaiError):
                    self._quick.setdefault(quick_identity(path), []).append(path)

    def is_new(self, path: Path) -> bool:
        """Whether neither path nor content is known. Whole files are read only in doubt."""
        if path.resolve() in self._paths:
            return False
        alike = self._quick.setdefault(quick_identity(path), [])
        if alike or self._told:
            digest = fingerprint(*watched(path))
            if digest in self._told or any(_digest(one) == digest for one in alike):
                return False
        alike.append(path)
        self._paths.add(path.resolve())
        return True

    def number(self) -> int:
        """The next number that no slide, case, patient or result has."""
        names = [re.fullmatch(r"(?:slide|case|patient)-(\d+)", name) for name in self._ids]
        return max((int(name[1]) for name in names if name), default=0) + 1

    def admit(self, values: dict[str, str]) -> None:
        """Note a new row, or refuse what would make the sheet wrong."""
        slide, case, patient = (values[name] for name in _IDS)
        if slide.casefold() in self._slides:
            raise PathaiError("E152", f"id {slide!r} is in the sheet already")
        if self._owner.setdefault(case, patient) != patient:
            raise PathaiError("E154", f"case {case} belongs to another patient")
        self._slides.add(slide.casefold())
        self._ids |= {value.casefold() for value in (slide, case, patient)}


def _digest(known: str | Path) -> str:
    """SHA-256 of a slide that ingest has read, or that it has yet to read."""
    try:
        return known if isinstance(known, str) else fingerprint(*watched(known))
    except PathaiError:
        return ""


def _row(path: Path, pattern: str, stain: str, number: int) -> dict[str, str]:
    """Cells of a new row."""
    if re.search(r"[\t\r\n]", str(path)):
        raise PathaiError("E150", "its name holds a tab or line break")
    values = {"slide_id": f"slide-{number:04d}", "path": str(path.absolute()), "stain": stain}
    if pattern:
        match = re.search(pattern, path.name)
        if match is None:
            raise PathaiError("E154", "its name does not fit the pattern")
        values |= {name: text for name, text in match.groupdict().items() if text is not None}
    values.setdefault("case_id", f"case-{number:04d}")
    values.setdefault("patient_id", values["case_id"] if pattern else f"patient-{number:04d}")
    for name in _IDS:
        check_id(values[name], f"column {name}")
    return values


def check_pattern(pattern: str) -> None:
    """Refuse a pattern that cannot be read or names no column (E193)."""
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise PathaiError("E193", f"--pattern: {error}") from None
    wrong = sorted(set(groups) - {*COLUMNS} | set(groups) & {"path"})
    if pattern and (wrong or not groups):
        named = f"no column {wrong[0]!r}" if wrong else "no named group"
        raise PathaiError("E193", f"--pattern has {named}", "name groups (?P<case_id>...)")
