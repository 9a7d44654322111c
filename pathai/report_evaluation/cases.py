"""Synthetic cases: random, valid findings of every key and status, the same for the same seed.

The values are drawn, not measured; no picture stands behind them. They reach into the corners
that a draft must survive: nothing and everything, thousands, chances next to certainty, answers
that a model withheld, empty sets, entries by a person, findings that contradict each other.
"""

from collections.abc import Sequence
from decimal import Decimal
from hashlib import sha256
from random import Random
from typing import Any

from pathai.finding import (
    FEW_NUCLEI,
    VALUELESS,
    CaseFindings,
    Category,
    Context,
    Entry,
    Evidence,
    Finding,
    Key,
    Method,
    PredictedNumber,
    Prediction,
    Quantity,
    Specimen,
    Sum,
    registry,
)
from pathai.rules import apply
from pathai.units import Box

__all__ = ["ORGANS", "synthetic_case", "synthetic_cases"]

ORGANS = ("prostate", "breast", "colorectal", "generic")
STAINS = {
    "prostate": ("H&E", "H&E", "H&E", "p63"),
    "breast": ("H&E", "ER", "PR", "HER2", "Ki-67"),
    "colorectal": ("H&E", "MLH1", "PMS2", "MSH2", "MSH6"),
    "generic": ("H&E", "HES", "Ki-67", "PD-L1", "CD3", "ER", "DAB"),
}
SITES = ("", "apex", "base", "upper outer quadrant", "ascending colon", "sigmoid")
NAMES = ("tumor", "msi_high", "lymphocyte", "stroma", "a1", "b2", "left_upper", "grade")
LABELS = ("yes", "no", "high", "low", "tumor", "normal", "MSI-H", "MSS")
UNITS = ("", "%", "years", "mm", "per mm²")
OWN_FLAGS = ("out_of_distribution", "few_nuclei", "er_low_positive", "empty_set", "ambiguous_set")
"""Flags that follow from a value; all others are drawn freely."""


def synthetic_cases(count: int, seed: int = 0, language: str = "en") -> list[CaseFindings]:
    """``count`` cases, the organs in turn.

    Parameters
    ----------
    count : int
        How many.
    seed : int
        Of the whole series; case k of a seed never changes with ``count``.
    language : str
        Only part of the names of the cases, so that series do not share ids.
    """
    return [
        synthetic_case(1_000_003 * seed + k, ORGANS[k % len(ORGANS)], f"{language}{k:05d}")
        for k in range(count)
    ]


def synthetic_case(seed: int, organ: str, name: str = "synthetic") -> CaseFindings:
    """One sealed case with what the rules derive, contradict and suggest of it."""
    rng = Random(seed)  # noqa: S311 - drawn for tests, not for secrets
    specimens, stains = _specimens(rng, organ)
    slides = tuple(stains)
    found: list[Finding] = []
    if rng.random() < 0.8 and "case.slide_count" in registry().keys:
        count = Quantity(value=Decimal(len(slides)), unit="{slides}")
        found.append(_bare("case.slide_count", "measured", slides, count))
    for specimen in specimens:
        for slide in specimen.slides:
            found += _of_slide(rng, specimen, slide, stains[slide])
    numbered = tuple(f.model_copy(update={"id": f"F{k}"}) for k, f in enumerate(found, start=1))
    case = CaseFindings(
        case_id=f"case-{name}",
        specimens=specimens,
        findings=numbered,
        context=_context(rng, organ),
    )
    return apply(case)


def _specimens(rng: Random, organ: str) -> tuple[tuple[Specimen, ...], dict[str, str]]:
    specimens: list[Specimen] = []
    stains: dict[str, str] = {}
    for letter in "ABCD"[: rng.choice((1, 1, 1, 2, 2, 3, 4))]:
        wanted = STAINS[organ]
        used = [wanted[0], *rng.sample(wanted[1:], rng.randint(0, min(2, len(wanted) - 1)))]
        ids = tuple(f"S-{letter}{k}" for k in range(1, len(used) + 1))
        stains.update(zip(ids, used, strict=True))
        side = rng.choice(("", "left", "right", "midline") if organ != "breast" else SIDES)
        specimens.append(
            Specimen(specimen_id=letter, laterality=side, site=rng.choice(SITES), slides=ids)
        )
    return tuple(specimens), stains


SIDES: tuple[Any, ...] = ("left", "right")


def _context(rng: Random, organ: str) -> tuple[Context, ...]:
    items = [("age_band", "60-69", "years"), ("prior_diagnosis", "none known", "")]
    if organ == "prostate":
        items.append(("psa_ng_ml", f"{rng.randint(1, 400) / 10}", "ng/mL"))
    chosen = rng.sample(items, rng.randint(0, len(items)))
    return tuple(
        Context(id=f"C{k}", key=key, value=value, unit=unit)
        for k, (key, value, unit) in enumerate(chosen, start=1)
    )


def _of_slide(rng: Random, specimen: Specimen, slide: str, stain: str) -> list[Finding]:
    patterns = [p for p in registry().keys if p != "case.slide_count"]
    rng.shuffle(patterns)
    cores = {n: sorted(round(rng.uniform(0, 25), 2) for _ in range(3)) for n in NAMES}
    found = []
    # Models are asked of most slides; of the rest some part was measured or entered.
    asked = [p for p in ("*.probability", "*.predicted_number") if rng.random() < 0.6]
    drawn = [p for p in patterns[: rng.randint(3, 8)] if p not in asked]
    for pattern in (*asked, *drawn):
        for name in rng.sample(NAMES, rng.choice((1, 1, 2)) if "*" in pattern else 1):
            key = pattern.replace("*", name)
            row = registry().find(key)
            status = rng.choice(_statuses(row, key, stain))
            core = cores[name] if pattern.startswith("core.") else None
            found.append(_finding(rng, key, row, status, (specimen, slide, stain), core))
    return found


def _statuses(row: Key, key: str, stain: str) -> Sequence[str]:
    # What follows by a rule is derived by the rules; drawn is only what a person entered instead.
    drawn = [s for s in row.statuses if s != "measured" or row.methods[0] != "rule"]
    if registry().stained(key, stain):
        # A value is usual: two of three findings have one.
        valued = [s for s in drawn if s not in (*VALUELESS, "not_detected")]
        return [*valued, *valued, *drawn]
    return [s for s in row.statuses if s in VALUELESS] or row.statuses[:1]


def _finding(
    rng: Random,
    key: str,
    row: Key,
    status: Any,
    place: tuple[Specimen, str, str],
    core: list[float] | None,
) -> Finding:
    specimen, slide, stain = place
    value = _value(rng, key, row, status, core)
    flags = _flags(rng, key, status, value)
    notes = sorted(set(registry().notes) - {"no_dab_slide"})
    needs_note = status in (*VALUELESS, "indeterminate")
    manual = status == "observed"
    kinds = [m for m in row.methods if (m == "manual") == manual] or list(row.methods)
    kinds = [m for m in kinds if m != "rule"] or kinds
    return Finding(
        id="F1",
        key=key,
        specimen_id=specimen.specimen_id,
        laterality=specimen.laterality,
        stain=stain,
        status=status,
        value=value,
        method=Method(name="synthetic", version="1", kind=rng.choice(kinds)),
        evidence=(Evidence(slide_id=slide, boxes=_boxes(rng)),),
        flags=flags,
        note=rng.choice(notes) if needs_note or rng.random() < 0.05 else "",
        code=rng.choice(("", "E110")) if status == "failed" else "",
        entry=_entry(rng, key) if manual else None,
    )


def _bare(key: str, status: Any, slides: Sequence[str], value: Any) -> Finding:
    method = Method(name="synthetic", version="1", kind=registry().find(key).methods[0])
    evidence = tuple(Evidence(slide_id=s) for s in slides)
    return Finding(id="F1", key=key, status=status, value=value, method=method, evidence=evidence)


def _boxes(rng: Random) -> tuple[Box, ...]:
    corner = rng.randint(0, 90_000)
    return tuple(Box(corner + 512.0 * k, 4096.0, 512.0, 512.0) for k in range(rng.randint(0, 2)))


def _entry(rng: Random, key: str) -> Entry:
    event = sha256(f"{key}{rng.random()}".encode()).hexdigest()
    return Entry(reader="reader 1", event=event, time="2026-01-02T03:04:05Z")


def _flags(rng: Random, key: str, status: str, value: Any) -> tuple[str, ...]:
    free = sorted(set(registry().flags) - set(OWN_FLAGS))
    flags = rng.sample(free, rng.choice((0, 0, 1, 2)))
    low = isinstance(value, Quantity) and 1 <= value.value <= 10
    if low and key == "er.positive_percent" and status != "observed":
        flags.append("er_low_positive")
    if isinstance(value, Quantity) and status == "measured" and value.denominator is not None:
        fraction = key.endswith(("positive_percent", "hotspot_percent"))
        if fraction and value.denominator < FEW_NUCLEI:
            flags.append("few_nuclei")
    if isinstance(value, Prediction | PredictedNumber) and value.out_of_distribution:
        flags.append("out_of_distribution")
    if isinstance(value, Prediction) and not value.abstained and value.alpha is not None:
        size = len(value.set)
        flags += ["empty_set"] if size == 0 else ["ambiguous_set"] if size > 1 else []
    return tuple(dict.fromkeys(flags))


# --- values ----------------------------------------------------------------------------------


def _value(rng: Random, key: str, row: Key, status: str, core: list[float] | None) -> Any:
    if status in VALUELESS or status == "not_detected":
        return None
    if row.type == "prediction":
        return _prediction(rng, withheld=status == "indeterminate")
    if row.type == "predicted_number":
        return _predicted_number(rng, withheld=status == "indeterminate")
    if row.type == "category":
        return Category(code=rng.choice(row.values))
    if row.type == "sum":
        drawn = (rng.randint(row.part_minimum, row.part_maximum) for _ in range(row.parts))
        return Sum(parts=tuple(drawn))
    if core is not None and key.endswith("_mm"):
        order = ("tumor_mm", "tumor_span_mm", "length_mm")
        return _quantity(rng, row, Decimal(str(core[order.index(key.rsplit(".", 1)[1])])))
    counted = row.ratio and (status != "observed" or rng.random() < 0.5)
    return _ratio(rng, row) if counted else _quantity(rng, row, _drawn(rng, row))


def _drawn(rng: Random, row: Key) -> Decimal:
    """A value within the row's bounds, often at one of them."""
    low = row.minimum if row.minimum is not None else Decimal(0)
    high = row.maximum if row.maximum is not None else Decimal(2_000_000)
    if rng.random() < 0.15:
        return low if rng.random() < 0.5 or row.maximum is None else high
    spread = min(high - low, Decimal(10) ** rng.randint(0, 6))
    drawn = low + spread * Decimal(str(round(rng.random(), 6)))
    whole = row.unit.startswith("{")
    return drawn.quantize(Decimal(1)) if whole else drawn


def _quantity(rng: Random, row: Key, value: Decimal) -> Quantity:
    low, high, level = _interval(rng, row, value)
    return Quantity(value=value, unit=row.unit, low=low, high=high, level=level)


def _interval(rng: Random, row: Key, value: Decimal) -> tuple[Any, Any, Any]:
    if rng.random() < 0.4:
        return None, None, None
    width = max(abs(value), Decimal(1)) * Decimal(str(round(rng.uniform(0.02, 0.6), 3)))
    low, high = value - width, value + width
    if row.minimum is not None:
        low = max(low, row.minimum)
    if row.maximum is not None:
        high = min(high, row.maximum)
    return low, high, Decimal(rng.choice(("0.95", "0.9")))


def _ratio(rng: Random, row: Key) -> Quantity:
    d = rng.choice((1, 7, 99, 499, 500, 501, rng.randint(2, 900), rng.randint(1000, 400_000)))
    n = rng.choice((0, d, rng.randint(0, d), rng.randint(0, d), rng.randint(0, d // 9)))
    value = Decimal(100 * n) / Decimal(d)
    low, high, level = _interval(rng, row, value)
    return Quantity(
        value=value, unit="%", numerator=n, denominator=d, low=low, high=high, level=level
    )


def _prediction(rng: Random, *, withheld: bool) -> Prediction:
    common: dict[str, Any] = {"question": "Which class?", "alpha": rng.choice((None, 0.1, 0.05))}
    if withheld:
        return Prediction(abstained=True, out_of_distribution=rng.random() < 0.5, **common)
    chance = rng.choice((0, 1, 1e-9, 0.004, 0.005, 0.996, 0.5, rng.random(), rng.random()))
    label = rng.choice(LABELS)
    members = tuple(rng.sample(LABELS, rng.choice((0, 1, 1, 2)))) if common["alpha"] else ()
    return Prediction(label=label, probability=chance, set=members, **common)


def _predicted_number(rng: Random, *, withheld: bool) -> PredictedNumber:
    if withheld:
        return PredictedNumber(abstained=True, out_of_distribution=rng.random() < 0.5)
    value = Decimal(str(round(rng.uniform(-20, 10 ** rng.randint(0, 5)), 3)))
    width = Decimal(str(round(rng.uniform(0.1, 50), 2)))
    alpha = rng.choice((None, 0.1))
    ends = rng.choice(((True, True), (True, False), (False, True), (False, False)))
    low = value - width if alpha and ends[0] else None
    high = value + width if alpha and ends[1] else None
    return PredictedNumber(
        value=value,
        low=low,
        high=high,
        alpha=alpha,
        unit=rng.choice(UNITS),
        decimals=rng.randint(0, 3),
    )
