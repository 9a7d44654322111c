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

from collections.abc import Callable
from decimal import Decimal
from functools import partial
from itertools import combinations

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


RESULTS = ("er.status", "pr.status", "ki67.band", "her2.status")
Code = Callable[[Decimal], str]


def apply(board: Board) -> None:
    """Results from the fractions and scores of each slide."""
    for name in ("er", "pr"):
        for share in board.with_values(f"{name}.positive_percent"):
            _result(board, share, f"{name}.status", partial(receptor_status, name))
            _intensity(board, name, share)
    for share in board.with_values("ki67.positive_percent"):
        _result(board, share, "ki67.band", ki67_band)
    for score in board.with_values("her2.score"):
        _her2(board, score)
    for status in board.with_values("er.status"):
        _er_asks(board, status, _code(status))
    _controls(board)
    _between_slides(board)


def _code(finding: Finding | None) -> str:
    return finding.value.code if finding and isinstance(finding.value, Category) else ""


def _result(board: Board, share: Finding, key: str, code: Code) -> None:
    """What follows from a fraction that was entered; of one that was counted, a suggestion.

    A count is of all nuclei, so its result is never stated for a person: it waits for one.
    """
    if not isinstance(share.value, Quantity):
        return
    found = code(share.value.value)
    rule = key.replace(".", "_")
    if share.status == "observed":
        board.derive(rule, key, Category(code=found), (share,))
        return
    given = board.withhold(rule, key, (share,))
    if given.value is not None:
        if _code(given) != found:
            board.contradict("counted_otherwise", given, share)
        return
    if key == "er.status":
        _er_asks(board, share, found)
    board.suggest(f"counted_{_counted(share, code, key)}", share, given)


def _counted(share: Finding, code: Code, key: str) -> str:
    """What the count suggests; ``unclear`` if it is of few nuclei or might be another result."""
    value = share.value
    if not isinstance(value, Quantity):
        return "unclear"
    ends = {code(end) for end in (value.low, value.value, value.high) if end is not None}
    if len(ends) > 1 or "few_nuclei" in share.flags:
        return "unclear"
    return f"ki67_{ends.pop()}" if key == "ki67.band" else ends.pop()


def _intensity(board: Board, name: str, share: Finding) -> None:
    intensity = board.at(share, f"{name}.intensity")
    if intensity and isinstance(share.value, Quantity) and share.value.value == 0:
        counted = share.status == "measured"
        rule = "counted_otherwise" if counted else f"{name}_intensity_zero"
        board.contradict(rule, intensity, share)


def _er_asks(board: Board, found: Finding, code: str) -> None:
    """What the guideline asks for at or below 10 %, whoever gave the result."""
    if code == "low_positive":
        board.suggest("er_low_positive", found)
    controls = board.at(found, "ihc.controls")
    failed = _code(controls) == "inadequate" and code == "low_positive"
    if code in ("negative", "low_positive") and (controls is None or failed):
        board.suggest("er_controls", found)


def _controls(board: Board) -> None:
    """Where the controls did not stain, nothing that did not stain is negative."""
    for controls in board.with_values("ihc.controls"):
        if _code(controls) != "inadequate":
            continue
        results = [board.at(controls, key) for key in RESULTS if key != "ki67.band"]
        if negative := [f for f in results if f is not None and _code(f) == "negative"]:
            board.contradict("controls_inadequate", *negative, controls)


def _between_slides(board: Board) -> None:
    """Two results of one marker in one specimen; what was only counted is noted."""
    for key in RESULTS:
        for one, other in combinations(board.with_values(key), 2):
            if _code(one) != _code(other) and board.together(one, other):
                named = one.specimen_id or other.specimen_id
                board.contradict("results_differ" if named else "counts_differ", one, other)
    shares: tuple[tuple[str, Code], ...] = (
        ("er", partial(receptor_status, "er")),
        ("pr", partial(receptor_status, "pr")),
        ("ki67", ki67_band),
    )
    for name, code in shares:
        found = board.with_values(f"{name}.positive_percent")
        for one, other in combinations(found, 2):
            pair = (one.value, other.value)
            if "measured" not in (one.status, other.status) or not board.together(one, other):
                continue
            if len({code(v.value) for v in pair if isinstance(v, Quantity)}) > 1:
                board.contradict("counts_differ", one, other)


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
