"""The configured language model: what it says, what of that is caught, and what is published."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pathai.config import ReportConfig
from pathai.drafters import DRAFTERS
from pathai.drafters.base import Drafter, Line, Phrasing
from pathai.errors import PathaiError
from pathai.finding import CaseFindings
from pathai.report import check
from pathai.report.draft import draft
from pathai.report_evaluation.cases import synthetic_cases
from pathai.report_evaluation.draft_errors import statements_of
from pathai.report_evaluation.oracle import judge_draft, judge_raw
from pathai.report_evaluation.suite import SuiteResult, gate

__all__ = ["Recorder", "model"]

SEED = 3
SLOTS = ("slot", "subject", "hedge", "number", "polarity", "laterality", "citation")
"""Errors of a raw text that would make a printed sentence false, not merely wordy."""


class Recorder:
    """A drafter that keeps what the one within it said."""

    def __init__(self, inner: Drafter) -> None:
        self.inner = inner
        self.engine = inner.engine
        self.said: list[tuple[Line, str | None]] = []
        self.flags: Counter[str] = Counter()

    def phrase(self, lines: Sequence[Line]) -> Phrasing:
        """What the inner drafter says, recorded."""
        given = self.inner.phrase(lines)
        # A server may name itself only when it answers.
        self.engine = self.inner.engine
        texts = (*given.texts, *[None] * (len(lines) - len(given.texts)))
        self.said = list(zip(lines, texts, strict=False))
        self.flags.update(given.flags)
        return given


def model(section: ReportConfig, cases: int = 50) -> SuiteResult:
    """Draft ``cases`` synthetic cases by the configured drafter.

    Parameters
    ----------
    section : ReportConfig
        With the language model's address or folder.
    cases : int
        Cases, the organs in turn.

    Returns
    -------
    SuiteResult
        Hallucination and omission of the published drafts by the oracle, the share of sentences
        that fell back to the template, and how many wrong raw texts the verifier let pass.
    """
    if section.drafter == "template":
        return SuiteResult(name="model", skipped="the configuration names no language model")
    began, wall = time.process_time(), time.monotonic()
    recorder = Recorder(DRAFTERS.load(section.drafter)(section))
    totals: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    missed: list[str] = []
    for case in synthetic_cases(cases, SEED):
        try:
            made = draft(case, section, recorder).model_dump(mode="json")
        except PathaiError:  # even the template's sentences are refused: the synthetic suite's
            totals["refused"] += 1
            continue
        data = case.model_dump(mode="json")
        _judge_said(recorder, case, data, totals, kinds, missed)
        _judge_published(made, data, totals)
    said = max(totals["statements"], 1)
    figures: dict[str, Any] = {
        "cases": cases,
        "engine": recorder.engine.model_dump(mode="json"),
        "cases_refused": totals["refused"],
        "statements": totals["statements"],
        "raw_texts": totals["raw"],
        "raw_wrong": totals["raw_wrong"],
        "raw_wrong_by_kind": dict(kinds),
        "raw_wrong_not_caught": totals["not_caught"],
        "not_caught": missed[:20],
        "fallback_rate": totals["fallback"] / said,
        "hallucination_rate": totals["wrong_sentences"] / said,
        "omission_rate": totals["missing"] / said,
        "flags": dict(recorder.flags),
        "wall_s_per_draft": round((time.monotonic() - wall) / max(cases, 1), 3),
    }
    gates = (
        gate("hallucination of published drafts", figures["hallucination_rate"], "equal to", 0),
        gate("omission of published drafts", figures["omission_rate"], "equal to", 0),
        gate("wrong raw texts not caught", totals["not_caught"], "equal to", 0),
        # Without one raw text nothing was evaluated.
        gate("texts that the model gave", totals["raw"], "at least", 1),
    )
    return SuiteResult(
        name="model", figures=figures, gates=gates, cpu_s=time.process_time() - began
    )


def _judge_said(
    recorder: Recorder,
    case: CaseFindings,
    data: dict[str, Any],
    totals: Counter[str],
    kinds: Counter[str],
    missed: list[str],
) -> None:
    found = {f["id"]: f for f in data["findings"]}
    for line, text in recorder.said:
        totals["statements"] += 1
        if text is None:
            continue
        totals["raw"] += 1
        wrong = judge_raw(text, found[line.finding], data, line.cites)
        if not wrong:
            continue
        totals["raw_wrong"] += 1
        kinds.update(wrong)
        if not check.check_text(text, line, case):
            totals["not_caught"] += 1
            missed.append(text)


def _judge_published(made: dict[str, Any], data: dict[str, Any], totals: Counter[str]) -> None:
    said = statements_of(made)
    totals["fallback"] += sum(s["verdict"] == "fallback" for s in said)
    places = {s["id"] for s in said}
    errors = judge_draft(made, data)
    totals["wrong_sentences"] += len({place for _, place in errors if place in places})
    totals["missing"] += sum(kind == "missing" for kind, _ in errors)
