"""Template drafts of synthetic cases: whether each printed claim is true, each finding said."""

import time
from collections import Counter
from typing import Any

from pathai.config import ReportConfig
from pathai.errors import PathaiError
from pathai.finding import canonical
from pathai.report import check
from pathai.report.draft import draft
from pathai.report_evaluation.cases import synthetic_cases
from pathai.report_evaluation.draft_errors import statements_of
from pathai.report_evaluation.oracle import expected, judge_draft, judge_sentence
from pathai.report_evaluation.reading import book
from pathai.report_evaluation.suite import SuiteResult, gate

__all__ = ["synthetic"]

SEED = 1
MS_PER_CASE = 20
TIMED = 200
KINDS = {
    "number": ("number", "interval"),
    "unit": ("unit",),
    "polarity": ("polarity", "status", "category"),
}
"""Errors of the oracle that speak against each accuracy."""


class _Counts:
    """Claims that could be judged, and those that hold, by what they are about."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.right: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    def add(self, about: str, *, right: bool) -> None:
        self.asked[about] += 1
        self.right[about] += right

    def share(self, about: str) -> float:
        return self.right[about] / self.asked[about] if self.asked[about] else 1.0


def synthetic(section: ReportConfig, cases: int = 2000) -> SuiteResult:
    """Draft ``cases`` synthetic cases by the template and read the drafts back.

    Parameters
    ----------
    section : ReportConfig
        Language and layout; the drafter is always the template.
    cases : int
        Cases, the organs in turn.

    Returns
    -------
    SuiteResult
        Claim precision (true claims of those printed), recall (findings that are truly said),
        accuracy of numbers, units and polarity, and processor time per case.
    """
    began = time.process_time()
    plain = section.model_copy(update={"drafter": "template", "llm": None})
    counts = _Counts()
    differ = violations = 0
    refused: Counter[str] = Counter()
    drafting = 0.0
    for case in synthetic_cases(cases, SEED):
        start = time.process_time()
        try:
            made = draft(case, plain)
        except PathaiError as error:
            refused[error.message.split(": ", 1)[-1]] += 1
            continue
        finally:
            drafting += time.process_time() - start
        differ += canonical(draft(case, plain)) != canonical(made)
        violations += len(check.check_draft(made, case))
        _judge(made.model_dump(mode="json"), case.model_dump(mode="json"), counts)
    spent = 1000 * drafting / max(cases, 1)
    figures: dict[str, Any] = {
        "cases": cases,
        "language": section.language,
        "findings": counts.asked["recall"],
        "statements": counts.asked["precision"],
        "claim_precision": counts.share("precision"),
        "claim_recall": counts.share("recall"),
        **{f"{kind}_accuracy": counts.share(kind) for kind in KINDS},
        "judged": {kind: counts.asked[kind] for kind in KINDS},
        "errors": dict(counts.errors),
        "rule_violations": violations,
        "cases_refused": sum(refused.values()),
        "refusals": list(refused)[:10],
        "reruns_that_differ": differ,
        "cpu_ms_per_case": round(spent, 2),
    }
    exact = ("claim_precision", "claim_recall", *(f"{kind}_accuracy" for kind in KINDS))
    gates = [gate(name.replace("_", " "), figures[name], "equal to", 1.0) for name in exact]
    gates.append(gate("other errors of a draft", sum(counts.errors.values()), "equal to", 0))
    gates.append(gate("cases without a draft", sum(refused.values()), "equal to", 0))
    gates.append(gate("rule violations", violations, "equal to", 0))
    gates.append(gate("reruns that differ", differ, "equal to", 0))
    if cases >= TIMED:  # fewer say more of the start of the program than of a case
        gates.append(gate("ms of processor time per case", spent, "at most", MS_PER_CASE))
    return SuiteResult(
        name="synthetic",
        figures=figures,
        gates=tuple(gates),
        cpu_s=time.process_time() - began,
    )


def _judge(made: dict[str, Any], case: dict[str, Any], counts: _Counts) -> None:
    words = book(made["language"])
    found = {f["id"]: f for f in case["findings"]}
    said_right = set()
    for said in statements_of(made):
        finding = found.get(said["finding"])
        wrong = judge_sentence(said["rendered"], finding, case, words) if finding else ["subject"]
        counts.add("precision", right=not wrong)
        if finding is None:
            continue
        if not wrong:
            said_right.add(finding["id"])
        _by_kind(finding, wrong, counts)
    for finding_id in found:
        counts.add("recall", right=finding_id in said_right)
    counts.errors.update(kind for kind, _ in judge_draft(made, case))


def _by_kind(finding: dict[str, Any], wrong: list[str], counts: _Counts) -> None:
    wanted = expected(finding, book("en"))
    asked = {
        "number": wanted.number is not None or bool(wanted.parts),
        "unit": bool(wanted.unit),
        "polarity": bool(wanted.category or wanted.status or wanted.label),
    }
    for kind, applies in asked.items():
        if applies:
            counts.add(kind, right=not set(KINDS[kind]) & set(wrong))
