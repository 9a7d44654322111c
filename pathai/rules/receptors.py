"""Breast: results of ER, PR, HER2 and Ki-67.

References
----------
Allison KH et al. Estrogen and progesterone receptor testing in breast cancer: ASCO/CAP guideline
update. Arch Pathol Lab Med 2020;144:545-563.
Wolff AC et al. Human epidermal growth factor receptor 2 testing in breast cancer: ASCO/CAP
clinical practice guideline focused update. Arch Pathol Lab Med 2018;142:1364-1382.
Nielsen TO et al. Assessment of Ki67 in breast cancer: updated recommendations from the
International Ki67 in Breast Cancer Working Group. JNCI 2021;113:808-819.
"""

from decimal import Decimal

from pathai.finding import Category, Finding, Quantity
from pathai.rules.board import Board, says


def receptor_status(name: str, percent: Decimal) -> str:
    """Code of the result of ``er`` or ``pr`` with this share of positive nuclei."""
    row = says(f"{name}_status")
    if percent < row["negative_below"]:
        return "negative"
    return "low_positive" if percent <= row.get("low_up_to", -1) else "positive"


def ki67_band(percent: Decimal) -> str:
    """Code of the band of a Ki-67 fraction."""
    row = says("ki67_band")
    if percent <= row["low_up_to"]:
        return "low"
    return "high" if percent >= row["high_from"] else "indeterminate"


def her2_status(score: str, gene: str = "unknown") -> str:
    """Code of the HER2 result; empty where score and gene contradict each other."""
    return str(says("her2_status")["grid"][score].get(gene, ""))


def apply(board: Board) -> None:
    """Results from the fractions and scores of each slide."""
    for name in ("er", "pr"):
        for share in board.with_values(f"{name}.positive_percent"):
            _receptor(board, name, share)
    _er_asks(board)
    for share in board.with_values("ki67.positive_percent"):
        if isinstance(share.value, Quantity):
            band = Category(code=ki67_band(share.value.value))
            found = board.derive("ki67_band", "ki67.band", band, (share,))
            _all_nuclei(board, found)
    for score in board.with_values("her2.score"):
        _her2(board, score)


def _receptor(board: Board, name: str, share: Finding) -> None:
    if not isinstance(share.value, Quantity):
        return
    code = receptor_status(name, share.value.value)
    found = board.derive(f"{name}_status", f"{name}.status", Category(code=code), (share,))
    _all_nuclei(board, found)
    intensity = board.at(share, f"{name}.intensity")
    if intensity is not None and share.value.value == 0:
        board.contradict(f"{name}_intensity_zero", intensity, share)


def _er_asks(board: Board) -> None:
    """What the guideline asks for at or below 10 %, whoever gave the result."""
    for status in board.with_values("er.status"):
        code = status.value.code if isinstance(status.value, Category) else ""
        if code == "low_positive":
            board.suggest("er_low_positive", status)
        if code in ("negative", "low_positive") and board.at(status, "ihc.controls") is None:
            board.suggest("er_controls", status)


def _all_nuclei(board: Board, found: Finding) -> None:
    if found.status == "measured" and "all_nuclei" in found.flags:
        board.suggest("all_nuclei_status", found)


def _her2(board: Board, score: Finding) -> None:
    if not isinstance(score.value, Category):
        return
    gene = board.beside(score, "her2.ish")
    known = gene.value.code if gene and isinstance(gene.value, Category) else "unknown"
    code = her2_status(score.value.code, known)
    parents = (score, gene) if gene else (score,)
    if not code:
        board.contradict("her2_discordant", *parents)
        return
    status = board.derive("her2_status", "her2.status", Category(code=code), parents)
    if code == "equivocal":
        board.suggest("her2_reflex", score, status)
