"""What ``pathai run`` says at its end: failures with their remedy, and where to look."""

from pathai.batch import say
from pathai.plan import Plan
from pathai.run import Outcome
from pathai.source import identity

SHOWN = 40
"""Problems that are printed; the table has all."""


def show(plan: Plan, outcome: Outcome) -> int:
    """Print the outcome; 1 if any subject failed."""
    for manifest in outcome.problems[:SHOWN]:
        problem = manifest.problems[0]
        row = _row(plan, manifest.subject)
        say(f"{manifest.status:<9} {row}{problem.code} {problem.message}; {problem.remedy}")
    if len(outcome.problems) > SHOWN:
        say(f"... and {len(outcome.problems) - SHOWN} more; all are in cohort/failures.tsv")
    away = [row.slide_id for row in plan.sheet.rows if not identity(plan.place(row.slide_id))]
    kept = [slide_id for slide_id in away if plan.results.slide(slide_id).slide_json.exists()]
    if kept:
        named = ", ".join(kept[:5]) + (" ..." if len(kept) > 5 else "")
        say(f"kept      {len(kept)} slides cannot be reached now ({named}); their results stay")
    if outcome.up_to_date:
        say("Everything is up to date.")
    page = plan.results.cohort / "index.html"
    if page.exists():
        say(f"Cohort page: {page}")
    return int(bool(outcome.failed))


def _row(plan: Plan, subject: str) -> str:
    """Row and file of a slide; paths are shown here, on the terminal, and nowhere else."""
    rows = [row for row in plan.sheet.rows if row.slide_id == subject]
    if not rows:
        return ""
    return f"{plan.sheet.name} row {rows[0].row} ({plan.place(subject)}): "
