"""What the verb of readers does, beside parsing: who read which case, and where readers differ."""

from pathlib import Path
from typing import Any

from pathai.batch import print_json, say
from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.review import Case, Disagreement, Reading, audit, readings
from pathai.review.audit import read_kept
from pathai.review.compare import differences
from pathai.viewer.runs import Run, find_config


def readers(results: Path, case: str, reviews: Path | None, *, as_json: bool) -> int:
    """Tell the readers of each case, how far they are, and where they differ.

    Returns
    -------
    int
        1 if a log is broken, else 0.

    Raises
    ------
    PathaiError
        E191 for an unknown case, E212 without a run.
    """
    run = Run(results, reviews)
    if case and case not in run.cases:
        raise PathaiError("E191", f"no case {case!r} in {run.plan.config.sheet}", "see its case_id")
    told = []
    for case_id in (case,) if case else run.cases:
        record = run.cases[case_id].record
        found = readings(run.reviews, record)
        told.append((record, found, differences(found, record)))
    if as_json:
        print_json([_as_json(*one) for one in told])
    else:
        for record, found, differ in told:
            _tell(record, found, differ)
    return int(any(one.problem for _, found, _ in told for one in found))


def _as_json(case: Case, found: list[Reading], differ: list[Disagreement]) -> dict[str, Any]:
    return {
        "case": case.case_id,
        "readers": [
            {
                "reader": one.reader,
                "status": one.status,
                "events": one.events,
                "blind": _blind(one),
                "outdated": one.state.outdated,
                "problem": one.problem,
            }
            for one in found
        ],
        "disagreements": [one.as_json() for one in differ],
    }


def _blind(one: Reading) -> bool:
    """Whether the first impression came before the output was shown."""
    return any(impression.blind for impression in one.state.impressions)


def _tell(case: Case, found: list[Reading], differ: list[Disagreement]) -> None:
    say(f"{case.case_id}: {len(found)} readers, {len(differ)} disagreements")
    for one in found:
        facts = [f"{one.events} events", "read blind" if _blind(one) else "not read blind"]
        facts += ["decisions on another draft left out"] if one.state.outdated else []
        say(f"  {one.reader}: {one.problem or ', '.join([one.status, *facts])}")
    for differs in differ:
        say(f"  {differs.told()}")


def check(results: Path, reviews: Path | None, kept: Path | None, *, as_json: bool) -> int:
    """Check every log, line by line; 1 if one is altered, gone or cut.

    Raises
    ------
    PathaiError
        E212 without a run, E193 if ``kept`` is no earlier audit.
    """
    folder = reviews or Plan(find_config(results)).reviews
    found = audit(folder, read_kept(kept) if kept else ())
    if as_json:
        print_json([one.as_json() for one in found])
    else:
        for one in found:
            say(one.told())
        wrong = sum(bool(one.problem) for one in found)
        say(f"{len(found)} logs checked, {wrong} broken")
    return int(any(one.problem for one in found))
