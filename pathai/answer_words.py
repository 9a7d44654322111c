"""A model's answer in words: what the cohort page and other pages print of it."""

from __future__ import annotations

from pathai.figure_words import shown
from pathai.store.records import Answer


def chance(p: float | None) -> str:
    """Two digits, and never the certainty that rounding would claim."""
    if p is None:
        return ""
    return ">0.99" if p > 0.99 else "<0.01" if p < 0.01 else f"{p:.2f}"


def number(answer: Answer, value: float | None, *, unit: bool = True) -> str:
    """A number of an answer: a share in percent, everything else with the answer's own unit."""
    if answer.kind == "ratio" and answer.unit_of_value in ("", "%"):
        return shown("percent", value)
    return shown("value", value, answer.unit_of_value if unit else "")


def survival(answer: Answer) -> str:
    """Chance of living past the horizon, ``68% beyond 60 months``; empty without one."""
    if not answer.prob:
        return ""
    p = answer.prob[0]
    share = ">99%" if p > 0.99 else "<1%" if p < 0.01 else f"{100 * p:.0f}%"
    return f"{share} beyond {_time(answer)}"


def _time(answer: Answer) -> str:
    return f"{answer.horizon:,g} {answer.unit_of_value}".strip()


def said(answer: Answer) -> str:
    """The answer in a few words; empty when it is withheld."""
    if answer.classes:
        return answer.label
    if answer.kind == "survival":
        return survival(answer) if answer.risk is not None else ""
    return "" if answer.value is None else number(answer, answer.value)


def beside(answer: Answer, alpha: float) -> str:
    """What stands beside an answer: set, interval or median; empty when it is withheld."""
    if answer.classes:
        return f"set: {' or '.join(answer.set)}" if answer.set else ""
    if answer.kind == "survival":
        if answer.risk is None:
            return ""
        return f"median {number(answer, answer.value)}" if answer.value is not None else (
            "median beyond the times that were learned")  # fmt: skip
    if answer.value is None:
        return ""
    low, high = (None if v is None else number(answer, v, unit=False)
                 for v in (answer.low, answer.high))  # fmt: skip
    level = f"{100 * (1 - alpha):g}%"
    if low is not None and high is not None:
        return f"{low.removesuffix('%')} to {high} ({level})"
    if low is None and high is None:
        return "no interval"
    return f"at least {low} ({level})" if low is not None else f"at most {high} ({level})"


def raw(answer: Answer) -> str:
    """What the network put out although the answer is withheld; empty where nothing is kept."""
    if answer.classes and answer.prob:
        p, leading = max(zip(answer.prob, answer.classes, strict=True))
        return f"{leading} {chance(p)}"
    return survival(answer) if answer.kind == "survival" else ""


def order(answer: Answer) -> float | None:
    """Where an answer stands when answers are sorted; None when it is withheld.

    Two classes: chance of the second. More: by class, then by chance; ordered ones by the
    expected class. Numbers by value, survival by the chance of living past the horizon.
    """
    if answer.classes:
        if not answer.label:
            return None
        if len(answer.classes) == 2:
            return answer.prob[-1]
        if answer.kind == "ordinal":
            return sum(i * p for i, p in enumerate(answer.prob))
        return answer.classes.index(answer.label) + 0.9 * max(answer.prob)
    if answer.kind == "survival":
        return answer.prob[0] if answer.risk is not None else None
    return answer.value
