"""Colorectum: mismatch repair proteins, and what a model predicts of MSI.

References
----------
Bartley AN et al. Mismatch repair and microsatellite instability testing for immune checkpoint
inhibitor therapy. Arch Pathol Lab Med 2022;146:1194-1210.
Sepulveda AR et al. Molecular biomarkers for the evaluation of colorectal cancer. J Clin Oncol
2017;35:1453-1486.
Wagner SJ et al. Transformer-based biomarker prediction from colorectal cancer histology. Cancer
Cell 2023;41:1650-1661.
"""

from collections.abc import Mapping

from pathai.finding import Category, Finding, Prediction, plain
from pathai.rules.board import Board
from pathai.rules.tables import msi_labels

PROTEINS = ("mlh1", "pms2", "msh2", "msh6")
USUAL = ({"mlh1", "pms2"}, {"pms2"}, {"msh2", "msh6"}, {"msh6"})
"""Losses that go together: without MLH1 its partner PMS2 is lost, without MSH2 MSH6."""


def mmr_status(proteins: Mapping[str, str]) -> str:
    """Code of the result; empty while none is lost and not all four are known."""
    if "lost" in proteins.values():
        return "deficient"
    return "proficient" if set(proteins) == set(PROTEINS) else ""


def apply(board: Board) -> None:
    """The result of each specimen, its follow-up, and the model beside it."""
    for specimen in sorted({f.specimen_id for f in board.all()}):
        _specimen(board, specimen)
    for given in board.all():
        says = msi_says(given)
        if says:
            _predicted(board, given, says)


def _specimen(board: Board, specimen: str) -> None:
    keys = [f"mmr.{name}" for name in PROTEINS]
    found: dict[str, Finding] = {}
    for finding in board.with_values(*keys):
        if finding.specimen_id == specimen:
            found.setdefault(finding.key.split(".")[1], finding)
    codes = {n: f.value.code for n, f in found.items() if isinstance(f.value, Category)}
    result = mmr_status(codes)
    if not result:
        return
    parents = [found[name] for name in PROTEINS if name in found]
    board.derive("mmr_status", "mmr.status", Category(code=result), parents)
    lost = {name for name, code in codes.items() if code == "lost"}
    if len(codes) == len(PROTEINS) and lost and lost not in USUAL:
        board.contradict("mmr_pattern", *parents)
    if "mlh1" in lost:
        board.suggest("mlh1_loss", found["mlh1"])
    unexplained = lost - {"mlh1", "pms2"} if "mlh1" in lost else lost
    if unexplained:
        board.suggest("lynch_loss", *(found[name] for name in PROTEINS if name in unexplained))


def msi_says(finding: Finding) -> str:
    """``deficient`` or ``proficient`` as a model on MSI predicts, ``both`` if it keeps both."""
    models, deficient, proficient = msi_labels()
    value = finding.value
    if finding.status != "predicted" or not isinstance(value, Prediction):
        return ""
    if finding.key.split(".")[0].split("_")[0] not in models:
        return ""
    kept = {plain(label) for label in value.set} or {plain(value.label)}
    if kept & deficient and kept & proficient:
        return "both"
    label = plain(value.label)
    return "deficient" if label in deficient else "proficient" if label in proficient else ""


def _predicted(board: Board, given: Finding, says: str) -> None:
    results = [f for f in board.with_values("mmr.status") if f.specimen_id == given.specimen_id]
    if not results:
        if says != "proficient":
            board.suggest("msi_confirm", given)
        return
    for result in results:
        code = result.value.code if isinstance(result.value, Category) else ""
        if says != "both" and code != says:
            board.contradict("msi_discordant", given, result)
