"""What the verbs of corrected nuclei and regions do, beside parsing."""

from collections.abc import Sequence
from pathlib import Path

from pathai.batch import print_json, say
from pathai.corrected import Made
from pathai.corrected.applied import apply, report_of
from pathai.corrected.logs import read_corrections
from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.verbs import plan_of, wrong
from pathai.viewer.runs import find_config


def correct(config: Path | None, case: str, reader: str, *, withdraw: bool, as_json: bool) -> None:
    """Let a reader's corrections of nuclei and regions count in the report of a case.

    Raises
    ------
    PathaiError
        As `pathai.corrected.made_case` and `pathai.report.life.Life.correct`; E193 if the
        reader corrected nothing.
    """
    plan = plan_of(config)
    life = report_of(plan, case)
    if withdraw:
        life.correct(reader, life.pipeline())
        say(f"{case}: corrections taken back; the findings of the pipeline stand")
        return
    given = read_corrections(plan.reviews, case, reader)
    if not given.events:
        message = f"{case}: {reader} corrected no nuclei and no regions"
        raise PathaiError("E193", message, "correct some in the review, or give another --reader")
    made = apply(plan, life, reader, given)
    for line in lines(case, made):
        say(line)
    if as_json:
        print_json(
            {"case": case, "by_hand": made.by_hand, "changed": made.changed, "notes": made.notes}
        )


def lines(case: str, made: Made) -> Sequence[str]:
    """What became of a correction, for a person."""
    told = [f"{case}: {made.by_hand} nuclei by hand, {len(made.changed)} findings are others now"]
    return [*told, *(f"  {note}" for note in made.notes)]


def export(run: Path, out: Path, reader: str, cases: Sequence[str], *, as_json: bool) -> None:
    """Write corrected nuclei as training data.

    Raises
    ------
    PathaiError
        As `pathai.corrected.training.export_training` and `read_corrections`.
    """
    from pathai.corrected.training import export_training

    plan = Plan(find_config(run))
    known = plan.sheet.cases()
    if unknown := sorted(set(cases) - set(known)):
        raise wrong(f"no case {unknown[0]!r} in {plan.config.sheet}")
    given = {}
    for case in cases or known:
        there = (plan.reviews / case / f"{reader}.jsonl").exists()
        if not reader or there:
            given[case] = read_corrections(plan.reviews, case, reader)
    made = export_training(plan, given, out)
    for note in made.notes:
        say(f"  {note}")
    say(
        f"{made.total('pictures')} pictures with {made.total('nuclei')} nuclei, "
        f"{made.total('classified')} classified nuclei of {len(made.slides)} slides"
    )
    say(f"wrote {out.name}; use it with pathai train-detector --corrections {out.name}")
    if as_json:
        print_json({"slides": {name: vars(one) for name, one in made.slides.items()},
                    "notes": list(made.notes)})  # fmt: skip
