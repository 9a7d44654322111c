"""Which layout a case gets: the configured one, or by a column of the sheet."""

from collections.abc import Sequence
from pathlib import Path

from pathai.config import ReportConfig
from pathai.layouts.layout import SUFFIXES
from pathai.sheet import SheetRow


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
    """
    template = section.template
    for column, by_value in section.template_by.items():
        named = {by_value.get(_cell(row, column), "") for row in rows}
        if len(named) == 1 and (only := named.pop()):
            template = only
    if template.endswith(SUFFIXES):
        template = str((root / template).resolve())
    return section.model_copy(update={"template": template, "template_by": {}})


def _cell(row: SheetRow, column: str) -> str:
    own = getattr(row, column, "") if column in ("stain", "site", "specimen_id") else ""
    return str(row.labels.get(column, own))
