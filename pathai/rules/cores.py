"""Cores: tumor is no longer than its core, and its share follows from corrected lengths."""

from itertools import pairwise

from pathai.finding import Finding, Quantity, registry
from pathai.rules.board import Board, place_of

SLACK = 1e-6


def apply(board: Board) -> None:
    """Shares of corrected cores, the share of all cores, and lengths that cannot be."""
    lengths = [f for f in board.all() if f.key.startswith("core.") and f.key.endswith(".length_mm")]
    lengths = [f for f in lengths if _mm(f) is not None]
    for length in lengths:
        _one(board, length)
    for specimen in sorted({f.specimen_id for f in lengths}):
        if board.concerns(specimen, "prostate", "gleason"):
            _all(board, [f for f in lengths if f.specimen_id == specimen])
    for positive in board.with_values("prostate.cores_positive"):
        total = board.at(positive, "prostate.cores")
        if total and _more(positive, total):
            board.contradict("cores_positive", positive, total)


def _mm(finding: Finding | None) -> float | None:
    return float(finding.value.value) if finding and isinstance(finding.value, Quantity) else None


def _more(left: Finding, right: Finding) -> bool:
    a, b = _mm(left), _mm(right)
    return a is not None and b is not None and a > b + SLACK


def _one(board: Board, length: Finding) -> None:
    head = length.key.removesuffix(".length_mm")
    names = ("tumor_mm", "tumor_span_mm", "length_mm")
    found = [f for f in (board.at(length, f"{head}.{name}") for name in names) if f]
    for shorter, longer in pairwise(found):
        if _more(shorter, longer):
            board.contradict("core_order", shorter, longer)
    for name in ("tumor", "tumor_span"):
        part = board.at(length, f"{head}.{name}_mm")
        if part is None or "observed" not in (part.status, length.status):
            continue
        share = _share([part], [length])
        if share is not None:
            board.derive("core_involvement", f"{head}.{name}_percent", share, (length, part))


def _share(parts: list[Finding], wholes: list[Finding]) -> Quantity | None:
    part, whole = (sum(_mm(f) or 0.0 for f in group) for group in (parts, wholes))
    if whole <= 0 or part > whole + SLACK:
        return None
    return Quantity(value=min(100 * part / whole, 100.0), unit="%")


def _all(board: Board, lengths: list[Finding]) -> None:
    """Tumor of all cores over their length, once each core says how much it holds."""
    key = "prostate.involved_percent"
    own = [f for f in lengths if registry().stained(key, f.stain)]
    tumors = [board.at(f, f.key.replace(".length_mm", ".tumor_mm")) for f in own]
    parts = [f for f in tumors if f is not None]
    if not parts or len(parts) < len(own):
        return
    share = _share(parts, own)
    if share is not None:
        slides = tuple(sorted({slide for f in own for slide in place_of(f)}))
        board.derive("core_involvement", key, share, (*own, *parts), slides)
