"""The sheet of a run: one row per slide.

Read and checked before any work; every message names file, row and column.
"""

import re
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pathai.address import check_address, is_remote
from pathai.config import ID_PATTERN, OPTIONAL_ID, folder_config, load_config
from pathai.errors import PathaiError

_NUMBER = r"[0-9]*\.?[0-9]+"
VECTORS = rf"^(\s*{_NUMBER}([\s,;]+{_NUMBER}){{5}}\s*)?$"
"""Six numbers between which stand spaces, commas or semicolons."""


def sheet_schema() -> dict[str, Any]:
    """JSON Schema of one row of the sheet, as text cells by column; other columns are labels."""
    schema = SheetRow.model_json_schema()
    own = {k: v for k, v in schema["properties"].items() if k in COLUMNS}
    own["mpp"] = {"type": "string", "pattern": r"^\s*([0-9.]+([eE][+-]?[0-9]+)?)?\s*$"} | {
        "description": own["mpp"]["description"]
    }
    other = {"type": "string"}
    return {**schema, "properties": own, "required": [*REQUIRED], "additionalProperties": other}


class SheetRow(BaseModel):
    """One slide. ``path`` never leaves the machine's own files; ids must not identify a person."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    row: int = Field(description="line of the sheet, 1 is the header")
    slide_id: str = Field(pattern=ID_PATTERN, description="names the slide everywhere")
    path: str = Field(
        min_length=1, description="the slide file, relative to the sheet's folder; or an address"
    )
    case_id: str = Field(pattern=ID_PATTERN, description="one report per case")
    patient_id: str = Field(pattern=ID_PATTERN, description="patients never straddle folds")
    specimen_id: str = Field("", pattern=OPTIONAL_ID, description="part of the case")
    block_id: str = Field("", pattern=OPTIONAL_ID, description="paraffin block")
    laterality: Literal["", "left", "right", "midline"] = Field("", description="side")
    stain: str = Field(
        "H&E", description="H&E, H-DAB, Ki-67 and others; decides stain vectors and classes"
    )
    stain_vectors: str = Field(
        "",
        pattern=VECTORS,
        description="optical density of red, green, blue of both stains, six numbers, "
        "where a lab has measured them",
    )
    site: str = Field("", description="where the slide was made or scanned")
    mpp: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="µm per pixel, where the file has none"
    )
    sha256: str = Field("", pattern=r"^([0-9A-Fa-f]{64})?$", description="of the file, if known")
    labels: dict[str, str] = Field({}, description="every other column")

    @field_validator("mpp", mode="before")
    @classmethod
    def _blank_is_none(cls, value: Any) -> Any:
        return None if isinstance(value, str) and not value.strip() else value


COLUMNS = tuple(name for name in SheetRow.model_fields if name not in ("row", "labels"))
REQUIRED = ("slide_id", "path", "case_id", "patient_id")
FAILURES = frozenset({"slide_id", "stage", "status", "code"})
"""Columns by which a table of failures is known."""
_IDS = ("slide_id", "case_id", "patient_id", "specimen_id", "block_id")


def check_id(value: str, where: str) -> None:
    """Refuse an id that could leave the results folder or reach a shell.

    Raises
    ------
    PathaiError
        E150 for control characters, E151 for anything outside ``ID_PATTERN`` or with ``..``.
    """
    if not value:
        raise PathaiError("E154", f"{where}: empty", "give an id")
    if any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise PathaiError("E150", f"{where}: control character in {value!r}")
    if not re.fullmatch(ID_PATTERN, value) or ".." in value:
        raise PathaiError("E151", f"{where}: unsafe id {value!r}")
    if value.split(".")[0].upper() in {"CON", "PRN", "AUX", "NUL"}:
        raise PathaiError("E151", f"{where}: reserved name {value!r}")


class Sheet:
    """The slides of a run, in the order of their ids."""

    def __init__(self, rows: list[SheetRow], folder: Path, name: str) -> None:
        self.rows = tuple(sorted(rows, key=lambda r: r.slide_id))
        self.folder = folder
        self.name = name
        self._by_id = {row.slide_id: row for row in self.rows}

    def __getitem__(self, slide_id: str) -> SheetRow:
        if slide_id not in self._by_id:
            raise PathaiError("E154", f"{self.name}: no slide {slide_id!r}", "add its row")
        return self._by_id[slide_id]

    def path(self, row: SheetRow) -> Path:
        """Absolute path of a row's slide; relative ones start at the sheet's folder."""
        return (self.folder / row.path).absolute()

    def cases(self) -> dict[str, tuple[SheetRow, ...]]:
        """Rows of each case, sorted by case id."""
        return dict(self._cases)

    @cached_property
    def _cases(self) -> dict[str, tuple[SheetRow, ...]]:
        # Every case and every batch of cases asks: sorting again each time grows by the square.
        found: dict[str, list[SheetRow]] = {}
        for row in sorted(self.rows, key=lambda r: r.case_id):
            found.setdefault(row.case_id, []).append(row)
        return {case: tuple(rows) for case, rows in found.items()}

    def case(self, case_id: str) -> tuple[SheetRow, ...]:
        """Rows of one case."""
        return self._cases[case_id]


def load_sheet(path: Path) -> Sheet:
    """Read and validate ``slides.tsv``.

    Tab-separated, UTF-8 (a byte-order mark and CRLF are accepted), first line is the header;
    columns beyond ``COLUMNS`` are labels. The table of failures of a run (``failures.tsv``) is
    taken as well: it stands for the rows of its run's own sheet whose slides failed, as it holds
    no paths itself.

    Raises
    ------
    PathaiError
        E150-E154, naming the file, row (1 = header), column and remedy.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise PathaiError("E154", f"{path.name} not found", "pathai init writes one") from None
    except OSError as error:
        message = f"{path.name}: {error.strerror}"
        raise PathaiError("E154", message, "give a readable file") from None
    except UnicodeDecodeError as error:
        raise PathaiError("E154", f"{path.name}: {error}", "save it as UTF-8") from None
    header = lines[0].split("\t") if lines else []
    if "path" not in header and not FAILURES - set(header):
        return _failed(path, header, lines[1:])
    _check_header(header, path.name)
    rows: list[SheetRow] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        row = _parse_row(line, header, number, path.name)
        key = row.slide_id.casefold()
        if key in seen:
            message = f"{path.name}, row {number}: id {row.slide_id!r} is also in row {seen[key]}"
            raise PathaiError("E152", message)
        seen[key] = number
        rows.append(row)
    if not rows:
        raise PathaiError("E154", f"{path.name}: no slides", "add a row per slide")
    _check_patients(rows, path.name)
    return Sheet(rows, path.parent, path.name)


def _failed(path: Path, header: list[str], lines: list[str]) -> Sheet:
    """Rows of the sheet of the run that a table of failures belongs to."""
    config = folder_config(path)
    if config is None:
        message = f"{path.name}: a table of failures away from its run, which knows the files"
        raise PathaiError("E154", message, "name it where it lies, in results/cohort of its run")
    sheet = config.parent / load_config(config).sheet
    if sheet.resolve() == path.resolve():
        message = f"{path.name} is the table of this very run"
        raise PathaiError("E154", message, "name the sheet, and use pathai run --retry-failed")
    whole = load_sheet(sheet)
    told = [dict(zip(header, line.split("\t"), strict=False)) for line in lines]
    failed = {row["slide_id"] for row in told if row["slide_id"] and row["status"] == "failed"}
    rows = [row for row in whole.rows if row.slide_id in failed]
    if not rows:
        raise PathaiError("E154", f"{path.name}: no slide failed", "there is nothing to do again")
    return Sheet(rows, whole.folder, whole.name)


def _check_header(header: list[str], file: str) -> None:
    if len(header) == 1 and any(mark in header[0] for mark in ",;"):
        raise PathaiError("E154", f"{file}: columns are not separated by tabs", "save it as TSV")
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        message = f"{file}, row 1: missing column {', '.join(missing)}"
        raise PathaiError("E154", message, f"the first row must name {', '.join(REQUIRED)}")
    if any(not name.strip() for name in header):
        raise PathaiError("E154", f"{file}, row 1: a column without a name", "name or remove it")
    doubled = sorted({name for name in header if header.count(name) > 1})
    if doubled:
        raise PathaiError("E154", f"{file}, row 1: column {doubled[0]!r} twice", "rename one")


def _parse_row(line: str, header: list[str], number: int, file: str) -> SheetRow:
    cells = line.split("\t")
    if len(cells) > len(header):
        message = f"{file}, row {number}: {len(cells)} cells, {len(header)} columns"
        raise PathaiError("E154", message, "remove the extra tab")
    values = dict(zip(header, cells + [""] * (len(header) - len(cells)), strict=True))
    for column in _IDS:
        if values.get(column) or column in REQUIRED:
            check_id(values[column], f"{file}, row {number}, column {column}")
    if is_remote(values["path"]):
        check_address(values["path"], f"{file}, row {number}, column path")
    known = {k: v for k, v in values.items() if k in COLUMNS and (v or k in REQUIRED)}
    labels = {k: v for k, v in values.items() if k not in COLUMNS}
    try:
        return SheetRow.model_validate({**known, "row": number, "labels": labels})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        column = str(first["loc"][0])
        message = f"{file}, row {number}, column {column}: {first['msg']} ({values[column]!r})"
        raise PathaiError("E154", message, f"correct column {column}") from None


def _check_patients(rows: list[SheetRow], file: str) -> None:
    owner: dict[str, SheetRow] = {}
    spelled: dict[str, SheetRow] = {}
    for row in rows:
        same = spelled.setdefault(row.patient_id.casefold(), row)
        if same.patient_id != row.patient_id:
            message = (
                f"{file}, row {row.row}: patient {row.patient_id} is {same.patient_id} in row "
                f"{same.row}"
            )
            raise PathaiError("E154", message, "spell one patient in one way")
        first = owner.setdefault(row.case_id, row)
        if first.patient_id != row.patient_id:
            message = (
                f"{file}, row {row.row}: case {row.case_id} has patient {row.patient_id}, "
                f"but {first.patient_id} in row {first.row}"
            )
            raise PathaiError("E154", message, "a case belongs to one patient")
