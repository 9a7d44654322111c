"""Cases that a person enters values into, and what follows from them."""

from finding_cases import OK, TILES, answer, cells, slide

from pathai import rules
from pathai.case import PredictionInput
from pathai.finding import Category, Sum
from pathai.findings import findings_of_case


def prostate_case(model="tumor", label="yes", kept=("yes",), requires=()):
    """One slide of hematoxylin and eosin."""
    classes = tuple(dict.fromkeys((label, *kept, "other")))[:2]
    given = answer(classes=classes, label=label, prob=(0.9, 0.1), set=kept)
    prediction = PredictionInput(model=model, stage=OK, answer=given, boxes=TILES)
    return findings_of_case("C1", [slide("HE", predictions=(prediction,))], requires)


def breast_case(requires=(), sides=("left", "left")):
    """H&E, ER, PR, HER2 and Ki-67 of one specimen; nuclei are not told apart."""
    slides = [slide("HE", laterality=sides[0], predictions=())]
    for name in ("ER", "PR", "HER2", "Ki-67"):
        slides.append(slide(name, stain=name, laterality=sides[1], predictions=()))
    return findings_of_case("C1", slides, requires)


def measured_er(n=420, d=1000):
    """One ER slide on which positive nuclei were counted."""
    found = cells(("negative", "positive"), (d - n, n))
    return findings_of_case("C1", [slide("ER", stain="ER", cells=found, predictions=())])


def event(key, value, slide_id="", number=0, **more):
    """An entry as the log of a report keeps it."""
    fields = {"key": key, "value": value, "slide_id": slide_id, "reader": "A. Reader"}
    return {**fields, "event": f"{number:064x}", "time": "2026-01-02T03:04:05Z", **more}


def entered(case, *entries):
    """The next revision with these (key, value[, slide_id])."""
    return rules.revise(case, [event(*e, number=i) for i, e in enumerate(entries)])


def value(case, key):
    """Code, parts or number of the only value of a key; None where there is none."""
    found = [f.value for f in case.findings if f.key == key and f.value is not None]
    assert len(found) < 2
    for one in found:
        if isinstance(one, Category):
            return one.code
        return one.parts if isinstance(one, Sum) else one.value
    return None


def rules_of(case):
    """Names of the rules that spoke."""
    return {c.rule for c in (*case.contradictions, *case.suggestions)}
