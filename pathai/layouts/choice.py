"""Which layout a case gets: the configured one, or by a column of the sheet."""

from collections.abc import Sequence
from pathlib import Path

from pathai.config import ReportConfig
from pathai.errors import PathaiError
from pathai.layouts.layout import SUFFIXES
from pathai.sheet import COLUMNS, SheetRow


def chosen(section: ReportConfig, rows: Sequence[SheetRow], root: Path) -> ReportConfig:
    """The options of one case, with ``template`` decided and a path made absolute.

    Parameters
    ----------
    section : ReportConfig
        ``template`` holds for a case whose rows name no layout, or not all the same one.
    rows : sequence of SheetRow
        The case's rows of the sheet.
    root : Path
        Folder of the configuration, to which a path is relative.

    Raises
    ------
    PathaiError
        E190 if the sheet has no such column.
    """
    template = section.template
    for column, by_value in section.template_by.items():
        if rows and all(column not in (*row.labels, *COLUMNS) for row in rows):
            message = f"report.template_by: the sheet has no column {column!r}"
            raise PathaiError("E190", message, "name a column of the sheet")
        named = {by_value.get(_cell(row, column), "") for row in rows}
        if len(named) == 1 and (only := named.pop()):
            template = only
    if template.endswith(SUFFIXES):
        template = str((root / template).resolve())
    return section.model_copy(update={"template": template, "template_by": {}})


def _cell(row: SheetRow, column: str) -> str:
    own = getattr(row, column) if column in COLUMNS else ""
    return row.labels.get(column) or str(own)
