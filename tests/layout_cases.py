"""Random cases of several specimens and slides, with findings of every key of the registry."""

from decimal import Decimal

from hypothesis import strategies as st

from pathai.finding import (
    CaseFindings,
    Category,
    Evidence,
    Finding,
    Method,
    PredictedNumber,
    Prediction,
    Quantity,
    Specimen,
    Sum,
    registry,
)

STAINS = ("H&E", "ER", "PR", "HER2", "Ki-67", "PD-L1", "H-DAB", "MLH1")
NAMES = ("lymphocyte", "left_part")
KEYS = tuple(
    key.replace("*", name) for key in registry().keys for name in NAMES[: 1 + ("*" in key)]
)
LENGTHS = {"tumor_mm": 3, "tumor_span_mm": 6, "length_mm": 12}


def value_of(key, choose):
    """A value that the key admits, and the flags that must stand beside it."""
    row = registry().find(key)
    if row.type == "category":
        return Category(code=choose(st.sampled_from(row.values))), ()
    if row.type == "sum":
        part = st.integers(row.part_minimum, row.part_maximum)
        return Sum(parts=tuple(choose(part) for _ in range(row.parts))), ()
    if row.type == "prediction":
        kept = choose(st.sampled_from([("yes",), ("no", "yes"), ()]))
        chance = choose(st.decimals("0.5", 1, places=6))
        return Prediction(label="yes", probability=chance, set=kept, alpha="0.1"), ()
    if row.type == "predicted_number":
        value = choose(st.decimals(-(10**7), 10**7, places=3))
        low = choose(st.sampled_from([None, value - 5]))
        fields = {"low": low, "high": value + 1000, "alpha": "0.05", "unit": "cells", "decimals": 1}
        return PredictedNumber(value=value, **fields), ()
    if row.ratio:
        whole = choose(st.integers(500, 10**6))
        part = choose(st.integers(0, whole))
        share = Decimal(100 * part) / whole
        flags = ("er_low_positive",) if 1 <= share <= 10 else ()
        return Quantity(value=share, unit=row.unit, numerator=part, denominator=whole), flags
    top = min(10**8, row.maximum or 10**8)
    number = LENGTHS.get(key.split(".")[-1])
    if number is None:
        number = choose(st.decimals(row.minimum or 0, top, places=4))
    return Quantity(value=number, unit=row.unit), ()


def finding_of(number, key, place, stain, choose):
    """One finding of ``key`` with any status that it admits."""
    row = registry().find(key)
    status = choose(st.sampled_from(row.statuses))
    if status == "observed" and "manual" not in row.methods:
        status = "not_assessed"
    fields = {
        "id": f"F{number}",
        "key": key,
        "stain": stain,
        "evidence": tuple(Evidence(slide_id=slide) for slide in place),
        "method": Method(name="any", version="1", kind=row.methods[-1]),
    }
    if status in ("measured", "observed", "predicted") and registry().stained(key, stain):
        value, flags = value_of(key, choose)
        extra = choose(st.sets(st.sampled_from(("drawn_region", "excluded_area", "degraded"))))
        return Finding(**fields, status=status, value=value, flags=(*flags, *sorted(extra)))
    status = choose(st.sampled_from([s for s in row.statuses if s in ("not_assessed", "failed")]
                                    or [""]))  # fmt: skip
    if not status:
        return None
    note = choose(st.sampled_from(("not_run", "person_only", "slide_failed")))
    code = "E110" if status == "failed" else ""
    return Finding(**fields, status=status, note=note, code=code)


@st.composite
def cases(draw, most=25):
    """A sealed case."""
    specimens, stains, places = [], {}, []
    for name in draw(st.sampled_from([("",), ("A",), ("A", "B"), ("A", "B", "C")])):
        slides = tuple(f"S{len(stains) + i}{name}" for i in range(draw(st.integers(1, 4))))
        stains |= {slide: draw(st.sampled_from(STAINS)) for slide in slides}
        side = draw(st.sampled_from(["", "left", "right"]))
        specimens.append(Specimen(specimen_id=name, laterality=side, slides=slides))
        places += [(slide,) for slide in slides] + ([slides] if len(slides) > 1 else [])
    places.append(tuple(stains))
    keys = st.sampled_from(KEYS)
    least = draw(st.integers(0, most))
    pairs = st.tuples(keys, st.sampled_from(places))
    wanted = st.lists(pairs, unique=True, min_size=least, max_size=most)
    found = []
    for key, place in draw(wanted):
        stain = stains[place[0]] if len(place) == 1 else "H&E"
        made = finding_of(len(found) + 1, key, place, stain, draw)
        if made is not None:
            found.append(made)
    return CaseFindings(case_id="C1", specimens=tuple(specimens), findings=tuple(found)).sealed()
