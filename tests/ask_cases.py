"""Small cohorts of findings, drawn at random, to ask questions about."""

from decimal import Decimal

from hypothesis import strategies as st

from pathai.finding import (
    CaseFindings,
    Evidence,
    Finding,
    Method,
    Prediction,
    Quantity,
    Specimen,
)

COUNT = Method(name="classical", version="1", kind="count")
MODEL = Method(name="msi", version="1", kind="mil")
SITES = ("breast", "colon", "")


def ki67(number, slide, percent):
    """A fraction of 1000 nuclei, or why there is none."""
    fields = {"id": f"F{number}", "key": "ki67.positive_percent", "stain": "Ki-67"}
    fields |= {"method": COUNT, "evidence": (Evidence(slide_id=slide),)}
    if percent is None:
        return Finding(status="failed", note="stage_failed", code="E110", **fields)
    value = Quantity(value=percent, unit="%", numerator=10 * percent, denominator=1000)
    return Finding(status="measured", value=value, **fields)


def area(number, slide, mm2):
    """Tissue area, or not assessed."""
    method = Method(name="tissue-map", version="1", kind="geometry")
    fields = {"id": f"F{number}", "key": "tissue.area_mm2", "stain": "H&E", "method": method}
    fields["evidence"] = (Evidence(slide_id=slide),)
    if mm2 is None:
        return Finding(status="not_assessed", note="not_run", **fields)
    return Finding(status="measured", value=Quantity(value=mm2, unit="mm2"), **fields)


def msi(number, slide, label):
    """A model's answer, an abstention (empty) or none at all."""
    fields = {"id": f"F{number}", "key": "msi.probability", "stain": "H&E", "method": MODEL}
    fields["evidence"] = (Evidence(slide_id=slide),)
    if label is None:
        return Finding(status="not_assessed", note="not_run", **fields)
    if not label:
        answer = Prediction(abstained=True)
        return Finding(status="indeterminate", note="abstained", value=answer, **fields)
    answer = Prediction(label=label, probability=Decimal("0.9"), set=(label,), alpha=Decimal("0.1"))
    return Finding(status="predicted", value=answer, **fields)


def case(case_id, site, slides):
    """A case of slides, each ``(percent, mm2, label)``; ``...`` leaves a finding out."""
    found = []
    for k, values in enumerate(slides, start=1):
        for make, value in zip((ki67, area, msi), values, strict=True):
            if value is not ...:
                found.append(make(len(found) + 1, f"S{k}", value))
    names = tuple(f"S{k}" for k in range(1, len(slides) + 1))
    specimen = Specimen(specimen_id="A", site=site, slides=names)
    return CaseFindings(case_id=case_id, specimens=(specimen,), findings=tuple(found)).sealed()


_SLIDE = st.tuples(
    st.sampled_from([..., None, 0, 5, 14, 20, 21, 30, 42, 100]),
    st.sampled_from([..., None, 0.5, 2, 2.25, 7]),
    st.sampled_from([..., None, "", "MSI-H", "MSS"]),
)


@st.composite
def cohorts(draw):
    """One to six cases of one to three slides."""
    one = st.tuples(st.sampled_from(SITES), st.lists(_SLIDE, min_size=1, max_size=3))
    cases = draw(st.lists(one, min_size=1, max_size=6))
    return [case(f"C{k}", site, slides) for k, (site, slides) in enumerate(cases, start=1)]
