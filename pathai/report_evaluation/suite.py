"""What a suite of the evaluation gives: figures, and gates that they must pass."""

from typing import Any, Literal, Protocol

from pydantic import Field

from pathai.config import ReportConfig
from pathai.finding import Frozen

__all__ = ["Gate", "Suite", "SuiteResult", "gate"]


class Gate(Frozen):
    """One limit that a figure must keep."""

    name: str
    value: float
    sense: Literal["at least", "at most", "equal to"]
    limit: float
    passed: bool


def gate(
    name: str, value: float, sense: Literal["at least", "at most", "equal to"], limit: float
) -> Gate:
    """A gate and whether ``value`` passes it."""
    passed = {
        "at least": value >= limit,
        "at most": value <= limit,
        "equal to": value == limit,
    }[sense]
    return Gate(name=name, value=value, sense=sense, limit=limit, passed=passed)


class SuiteResult(Frozen):
    """Figures of one suite; ``skipped`` says why it did not run, and then it has no gate."""

    name: str
    figures: dict[str, Any] = Field(default_factory=dict)
    gates: tuple[Gate, ...] = ()
    skipped: str = ""
    cpu_s: float = 0

    @property
    def passed(self) -> bool:
        """Whether every gate is kept."""
        return all(g.passed for g in self.gates)


class Suite(Protocol):
    """A suite: it draws its own cases and never reads a run's results."""

    def __call__(self, section: ReportConfig, cases: int) -> SuiteResult:
        """Judge ``section``'s drafter, or the verifier, on about ``cases`` cases."""
        ...
