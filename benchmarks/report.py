"""Evaluate drafts, the verifier and the tiny language model: writes `results/report.json`.

Run it as `python benchmarks/report.py`; `--cases N` makes a quick try, which writes nothing.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from machine import machine

from pathai.config import LlmConfig, ReportConfig
from pathai.report_evaluation.evaluation import evaluate, summary

OUT = Path(__file__).parent / "results" / "report.json"
TINY = [sys.executable, "-m", "pathai.testing.tiny_llm"]


def tiny(cases: int | None, folder: str) -> dict:
    """The suite of the language model, on the tiny model over HTTP on loopback."""
    options = ["--model", folder] if folder else []
    call = [*TINY, *options]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as it:
        try:
            url = it.stdout.readline().strip()
            llm = LlmConfig(base_url=url, model="tiny", seconds=600)
            section = ReportConfig(drafter="openai-compatible", llm=llm)
            made = evaluate(section, ["model"], cases)
        finally:
            it.terminate()
            it.wait(20)
    print(summary(made))
    return made.model_dump(mode="json")


def main() -> None:
    """Evaluate the template, then the tiny model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, help="at most so many per suite; writes nothing")
    parser.add_argument("--model", default="", help="folder of the tiny model, kept")
    given = parser.parse_args()
    made = evaluate(ReportConfig(), cases=given.cases, say=print)
    print(summary(made))
    found = {
        "machine": machine(),
        "template": made.model_dump(mode="json", exclude={"machine"}),
        "tiny": tiny(given.cases, given.model),
    }
    if given.cases is None:
        OUT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
