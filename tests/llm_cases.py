"""Servers on loopback that play a language model, honest or not; shared by several tests."""

from finding_cases import full_case

from pathai.config import LlmConfig, ReportConfig
from pathai.report import check
from pathai.report.draft import draft
from pathai.report.plan import plan
from pathai.testing.llm_servers import asked, completion, honest, ollama, phrased, send, server

__all__ = ["asked", "completion", "honest", "ollama", "phrased", "send", "server"]

CASE = full_case()
LINES = [line for section in plan(CASE) for line in section.lines]
HONEST = [s.rendered for s in draft(CASE, ReportConfig()).statements()]


def section(url, seconds=5.0, model="tiny", **more):
    llm = LlmConfig(base_url=url, model=model, seconds=seconds, **more)
    return ReportConfig(drafter="openai-compatible", llm=llm)


def numbers_untouched(made):
    """The draft prints each finding's value, whoever phrased it."""
    assert check.check_draft(made, CASE) == []
    assert len(made.statements()) == len(HONEST)
