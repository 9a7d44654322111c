"""What the verbs of readers' answers do, beside parsing: give one, and write them as labels."""

from pathlib import Path

from pathai.batch import print_json, say
from pathai.corrections import Asked, corrected, write_sheet
from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.review import ReviewSession
from pathai.sheet import load_sheet
from pathai.task import Task, load_task
from pathai.viewer.runs import Run, find_config


def answer(
    results: Path,
    case: str,
    task: str,
    value: str,
    reader: str,
    slide: str,
    *,
    withdraw: bool,
    reviews: Path | None = None,
) -> None:
    """Record a reader's own answer to a task's question, or take it back.

    Raises
    ------
    PathaiError
        E191 for an unknown case, slide or task, E193 for an answer that the task does not allow,
        E175 if the case is open elsewhere, E210 if the log is broken.
    """
    run = Run(results, reviews)
    if case not in run.cases:
        raise PathaiError("E191", f"no case {case!r} in {run.plan.config.sheet}", "see its case_id")
    slides = [row.slide_id for row in run.cases[case].rows]
    if slide and slide not in slides:
        raise PathaiError("E191", f"{case} has no slide {slide!r}", f"try {', '.join(slides)}")
    asked = questions(_tasks(run.plan), task)[0]
    if not withdraw and asked.classes and value not in asked.classes:
        message = f"answer {value!r} to {asked.name}"
        raise PathaiError("E193", message, f"give one of {', '.join(asked.classes)}")
    session = ReviewSession(run.reviews, reader, [one.record for one in run.cases.values()])
    session.open(case)
    try:
        if withdraw:
            session.withdraw(asked.name, slide)
        else:
            session.answer(asked.name, value, slide)
    finally:
        session.close()
    say(f"{case}: {reader} {'took back the answer to' if withdraw else 'answered'} {asked.name}")


def labels(results: Path, sheet: Path | None, task: str, out: Path, *, as_json: bool) -> None:
    """Write the sheet anew with readers' answers as labels.

    Raises
    ------
    PathaiError
        As `pathai.corrections.corrected` and `pathai.corrections.write_sheet`; E191 for an
        unknown task.
    """
    plan = Plan(find_config(results))
    old = plan.sheet if sheet is None else load_sheet(sheet)
    rows, reports = old.rows, []
    for asked in questions(_tasks(plan), task):
        rows, report = corrected(rows, asked, plan.reviews)
        reports.append(report)
    write_sheet(old, rows, out)
    for report in reports:
        for line in report.lines():
            say(line)
    say(f"wrote {out}")
    if as_json:
        print_json([report.as_json() for report in reports])


def _tasks(plan: Plan) -> dict[str, Task]:
    """Tasks trained in the run, and those of the models that it applies."""
    return {model.task.name: model.task for model in plan.models} | plan.tasks


def questions(tasks: dict[str, Task], name: str) -> tuple[Asked, ...]:
    """What a task asks: its own question and those of its targets; ``name`` may be a file."""
    if name.endswith((".yaml", ".yml")):
        task = load_task(Path(name))
    elif name in tasks:
        task = tasks[name]
    else:
        raise PathaiError("E191", f"no task {name!r}", f"try {', '.join(tasks)}")
    return tuple(Asked(one.name, one.label, one.classes, task.unit) for one in task.asked)
