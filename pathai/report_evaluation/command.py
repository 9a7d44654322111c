"""``pathai report evaluate``: judge the template, the verifier and your own language model."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import typer

from pathai.config import ReportConfig, load_config
from pathai.page import page, template
from pathai.report_evaluation import evaluation
from pathai.report_evaluation.evaluation import Evaluation

__all__ = ["evaluate"]

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: .5rem 0 1.5rem }
td, th { text-align: left; padding: .2rem 1rem .2rem 0; border-bottom: 1px solid #8884 }
.no { font-weight: 600 }
"""


def evaluate(
    config: Path | None, out: Path, suites: Sequence[str], cases: int | None, *, as_json: bool
) -> int:
    """Run the evaluation and write it; 1 if it did not pass.

    Parameters
    ----------
    config : Path, optional
        Configuration whose drafter is judged; the template if not given.
    out : Path
        Folder of ``evaluation.json``, ``.md`` and ``.html``.
    suites : sequence of str
        Names of suites; none means all.
    cases : int, optional
        At most so many cases per suite.
    as_json : bool
        Print JSON instead of the summary.
    """
    out = out.absolute()
    section = ReportConfig()
    if config is not None:
        section = load_config(config).report
        os.chdir(config.absolute().parent)  # folders of the section are relative to it

    def say(name: str) -> None:
        typer.echo(f"evaluate: {name}", err=True)

    made = evaluation.evaluate(section, suites, cases, say)
    out.mkdir(parents=True, exist_ok=True)
    data = made.model_dump(mode="json")
    (out / "evaluation.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    (out / "evaluation.md").write_text(evaluation.summary(made), "utf-8")
    (out / "evaluation.html").write_text(_html(made), "utf-8")
    if made.complete and section.llm is not None:
        evaluation.register(made, Path(section.llm.evaluations))
    typer.echo(json.dumps(data, ensure_ascii=False) if as_json else evaluation.summary(made))
    return 0 if made.passed else 1


def _html(made: Evaluation) -> str:
    """The same figures as a page that loads nothing."""
    body = template("evaluation.html.jinja", "pathai.report_evaluation").render(made=made)
    return page("Evaluation of the report", body, STYLE)
