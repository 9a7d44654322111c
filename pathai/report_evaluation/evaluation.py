"""Run the suites on one configuration, write what came out, and say whether it passed."""

import os
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pathai import __version__
from pathai.config import ReportConfig
from pathai.drafters.base import Engine
from pathai.errors import PathaiError
from pathai.finding import Frozen
from pathai.report_evaluation.model import model
from pathai.report_evaluation.safety import failing_servers, injection, ways_out
from pathai.report_evaluation.seeded import seeded_errors
from pathai.report_evaluation.suite import Suite, SuiteResult
from pathai.report_evaluation.synthetic import synthetic

__all__ = ["SUITES", "Evaluation", "evaluate", "summary"]

CASES = {"synthetic": 2000, "seeded": 300, "model": 50, "injection": 240, "egress": 1, "faults": 1}
"""Sizes of a whole evaluation."""


class Evaluation(Frozen):
    """What ``evaluation.json`` holds."""

    schema_version: Literal[1] = 1
    pathai: str = __version__
    made: str
    language: str
    engine: Engine
    passed: bool
    complete: bool
    """Whether every suite ran at its whole size."""
    suites: tuple[SuiteResult, ...]
    machine: dict[str, Any] = Field(default_factory=dict)


SUITES: dict[str, Suite] = {
    "synthetic": synthetic,
    "seeded": seeded_errors,
    "model": model,
    "injection": injection,
    "egress": ways_out,
    "faults": failing_servers,
}


def evaluate(
    config: ReportConfig,
    suites: Sequence[str] = (),
    cases: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Run suites on a configuration.

    Parameters
    ----------
    config : ReportConfig
        Drafter, language and layout to judge.
    suites : sequence of str
        Names of ``SUITES``; none means all.
    cases : int, optional
        At most so many cases per suite; each suite's whole size if not given.
    say : callable
        Told the name of each suite as it begins.

    Raises
    ------
    PathaiError
        E190 for a suite that there is not.
    """
    if unknown := sorted(set(suites) - set(SUITES)):
        raise PathaiError("E190", f"no suite {unknown[0]!r}", f"one of {', '.join(SUITES)}")
    chosen = [name for name in SUITES if not suites or name in suites]
    results = []
    for name in chosen:
        say(name)
        size = CASES[name] if cases is None else min(cases, CASES[name])
        results.append(SUITES[name](config, size))
    ran = [r for r in results if not r.skipped]
    expected = {r.name for r in results if r.skipped} <= _may_skip(config)
    return Evaluation(
        made=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        language=config.language,
        engine=_engine(config, results),
        passed=bool(ran) and all(r.passed for r in ran),
        complete=cases is None and len(chosen) == len(SUITES) and expected,
        suites=tuple(results),
        machine=machine(),
    )


def _may_skip(config: ReportConfig) -> set[str]:
    return {"model"} if config.drafter == "template" else set()


def _engine(config: ReportConfig, results: Sequence[SuiteResult]) -> Engine:
    for result in results:
        if "engine" in result.figures:
            return Engine.model_validate(result.figures["engine"])
    name = config.llm.model if config.llm and config.drafter != "template" else config.template
    return Engine(name=config.drafter, model=name)


def register(made: Evaluation, folder: Path) -> Path | None:
    """Let drafts of this model say that it was evaluated; None for the template.

    Raises
    ------
    PathaiError
        E201 for a model whose server states no digest.
    """
    if made.engine.name == "template":
        return None
    from pathai.drafters.evaluations import write_evaluation

    figures = {
        f"{suite.name}: {g.name}": float(g.value) for suite in made.suites for g in suite.gates
    }
    passed = made.passed and made.complete
    digest, name = made.engine.digest, made.engine.model
    return write_evaluation(folder, digest, name, passed=passed, figures=figures)


def machine() -> dict[str, Any]:
    """Processor, cores, memory and versions, without the names of machines or people."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), "")
    return {
        "processor": named or platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("pathai", "pydantic", "jinja2", "babel")},
    }


# --- for reading -----------------------------------------------------------------------------


def summary(made: Evaluation) -> str:
    """The evaluation as Markdown: one table per suite, what failed first."""
    verdict = "passed" if made.passed else "NOT passed"
    whole = "" if made.complete else " (not the whole evaluation)"
    lines = [
        f"# Evaluation of the report: {verdict}{whole}",
        "",
        f"Drafter {made.engine.name}, model {made.engine.model or 'none'}, digest "
        f"{made.engine.digest or 'none'}, language {made.language}. pathai {made.pathai}, "
        f"{made.made}.",
    ]
    for suite in made.suites:
        lines += ["", f"## {suite.name}", ""]
        if suite.skipped:
            lines.append(f"Not run: {suite.skipped}.")
            continue
        lines += ["| figure | value | must be | kept |", "|---|---|---|---|"]
        for g in sorted(suite.gates, key=lambda g: g.passed):
            kept = "yes" if g.passed else "**no**"
            lines.append(f"| {g.name} | {g.value:.4g} | {g.sense} {g.limit:g} | {kept} |")
    return "\n".join(lines) + "\n"
