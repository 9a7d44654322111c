"""``pathai demo``: a synthetic cohort through the whole chain, without download or GPU."""

from pathlib import Path

from pathai.batch import say
from pathai.config import LlmConfig
from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.run import run, shipped
from pathai.store.commit import remove
from pathai.store.manifest import write_atomic
from pathai.summary import show

CONFIG = """\
# The demo's run: synthetic slides, one task, evaluated on patients that training never saw.
# A commented configuration with every key is written by `pathai init`.
schema_version: 1
train:
  tasks: [tasks/tumor.yaml]
cohort:
  title: Synthetic demo cohort
  evaluate_on: {{split: test}}
  count_column: n_nuclei
run:
  slides_per_job: {slides_per_job}
"""


def draw(out: Path, *, cores: int, slides: int, seed: int) -> None:
    """Draw the cohort beside the folder and rename it, so that half a one is never taken up."""
    from pathai.testing.cohort import make_cohort

    say(f"Drawing {slides} synthetic slides ...")
    part = out.absolute().with_name(f"{out.absolute().name}.part")
    remove(part)
    make_cohort(part, slides=slides, seed=seed, workers=cores)
    task = shipped("configs/tasks/tumor.yaml")
    write_atomic(part / "tasks" / task.name, task.read_bytes())
    per_job = min(max(-(-slides // cores), 1), 32)
    write_atomic(part / "config.yaml", CONFIG.format(slides_per_job=per_job).encode())
    if out.exists():
        out.rmdir()
    part.rename(out.absolute())


def phrase(plan: Plan, folder: Path) -> Path:
    """Let a tiny language model, built and served here, phrase the first case's draft.

    It goes the way of any model: over HTTP, by the schema, through the verifier. Its words stand in
    a folder beside the results, which keep the template's draft.

    Raises
    ------
    PathaiError
        E202 when the model's server does not start.
    """
    from pathai import chain
    from pathai.testing import tiny_llm

    case = plan.results.case(next(iter(plan.sheet.cases())))
    say("Building a tiny language model, some minutes the first time ...")
    with tiny_llm.serving(tiny_llm.cached(plan.root / ".pathai" / "tiny-llm")) as url:
        llm = LlmConfig(base_url=url, model=tiny_llm.NAME, seconds=300)
        asked = {"drafter": "openai-compatible", "llm": llm}
        section = plan.config.report.model_copy(update=asked)
        chain.phrased_step(plan, case, section, folder / case.case_id).run()
    return folder / case.case_id


def demo(out: Path, *, cores: int, slides: int, seed: int, phrased: bool = False) -> int:
    """Draw the cohort unless it is there, run or resume the chain, say where the page is.

    Parameters
    ----------
    out : Path
        Folder of the demo.
    cores, slides, seed : int
        Processor cores; how many slides are drawn, and from which seed.
    phrased : bool
        Also let a tiny language model phrase a draft; see `phrase`.

    Raises
    ------
    PathaiError
        E193 when the folder holds something other than a demo.
    """
    config = out / "config.yaml"
    if not config.exists():
        if out.exists() and (out.is_file() or any(out.iterdir())):
            raise PathaiError("E193", f"{out} is not empty", "choose another folder with --out")
        draw(out, cores=cores, slides=slides, seed=seed)
    plan = Plan(config)
    code = show(plan, run(plan, cores=cores))
    case = plan.results.case(next(iter(plan.sheet.cases())))
    say(f"A case:      {case.draft('html')} (and .pdf, .docx, {case.fhir.name})")
    if phrased:
        made = phrase(plan, out / "phrased")
        say(f"Phrased:     {made / 'draft.html'} (by a tiny language model, verified)")
    say(f"Review it:   pathai review {out}")
    return code
