"""A reader's corrections in the report of a case."""

from pathlib import Path

from pydantic import JsonValue

from pathai.corrected.case import Made, made_case
from pathai.corrected.given import Corrections
from pathai.corrected.logs import read_counted
from pathai.errors import PathaiError
from pathai.layouts import chosen
from pathai.plan import Plan
from pathai.report.life import Life, open_case


def report_of(plan: Plan, case_id: str, reviews: Path | None = None) -> Life:
    """The report of a case of a run, in its own folder of reviews or another (E191 for no case)."""
    rows = plan.sheet.cases().get(case_id)
    if rows is None:
        raise PathaiError("E191", f"no case {case_id!r} in {plan.config.sheet}")
    section = chosen(plan.config.report, rows, plan.root)
    return open_case(reviews or plan.reviews, case_id, results=plan.results.path, section=section)


def apply(plan: Plan, life: Life, reader: str, given: Corrections) -> Made:
    """Count a case again and let its report stand on that.

    Parameters
    ----------
    plan : Plan
        The run.
    life : Life
        The case's report.
    reader : str
        Who says that the corrections shall count.
    given : Corrections
        What was corrected; nothing takes an earlier correction back.

    Raises
    ------
    PathaiError
        As `pathai.corrected.made_case` and `pathai.report.life.Life.correct`.
    """
    made = made_case(plan, life.case_id, given)
    facts: dict[str, JsonValue] = {
        "by_hand": made.by_hand,
        "notes": list(made.notes),
        "corrected_by": given.reader,
    }
    life.correct(reader, made.case, given.events, facts)
    return made


def counts_for(life: Life, given: Corrections) -> bool:
    """Whether the report stands on exactly these corrections."""
    state = life.progress
    made = state.corrected
    if made is None:
        return not given
    current = made.pipeline == state.pipeline and not life.stale()
    return current and made.event.facts.get("events") == list(given.events)


def counted_in(life: Life, reviews: Path) -> Corrections | None:
    """The corrections that the numbers of a report stand on; None where none count.

    Parameters
    ----------
    life : Life
        The case's report.
    reviews : Path
        Folder of the readers' logs.

    Raises
    ------
    PathaiError
        E210 if a log is broken.
    """
    state = life.progress
    made = state.corrected
    if made is None or made.pipeline != state.pipeline:
        return None
    facts = made.event.facts
    events, readers = facts.get("events"), facts.get("corrected_by")
    if not isinstance(events, list) or not events or not isinstance(readers, str):
        return None
    counted = [str(event) for event in events]
    return read_counted(reviews, life.case_id, readers.split(", "), counted)
