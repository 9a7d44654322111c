"""What ``pathai verify``, ``diff`` and ``forget`` do, beside parsing."""

import sys
from pathlib import Path

from pathai.batch import print_json, say
from pathai.forget import Expected, Forgotten, expected, forget
from pathai.plan import Plan
from pathai.provenance.diff import Diff, Difference, diff
from pathai.verbs import plan_of, wrong
from pathai.verify import Report
from pathai.verify import verify as check
from pathai.verify_run import RunReport, read_heads, verify_run
from pathai.viewer.runs import CONFIG, find_config

MOST = 12
"""Slides that are named one by one where they share a reason."""


def verify(paths: list[Path], since: Path | None, *, slides: bool, as_json: bool) -> int:
    """Check whole runs, results or parts of them; 1 if anything is damaged."""
    kept = read_heads(since) if since else None
    reports: list[Report | RunReport] = []
    for path in paths:
        if any((path / name).exists() for name in (CONFIG, ".pathai")):
            plan = Plan(find_config(path))
            reports.append(verify_run(plan, slides=slides, since=kept))
        elif kept is not None or slides:
            raise wrong("--since and --slides are of a whole run: give its folder")
        else:
            reports.append(check(path))
    faults = [fault for report in reports for fault in report.faults]
    if as_json:
        told = [report.as_json() for report in reports]
        print_json(told[0] if isinstance(reports[0], RunReport) and len(told) == 1 else told)
    else:
        for fault in faults:
            sys.stdout.write(f"{fault}\n")
    for report in reports:
        if isinstance(report, RunReport):
            _tell_run(report)
        else:
            say(f"{report.files} files checked, {len(report.faults)} faults")
    return int(bool(faults))


def _tell_run(report: RunReport) -> None:
    """What was checked of a run, and what was not."""
    for part in report.parts:
        word = "as written" if not part.faults else f"{len(part.faults)} faults"
        say(f"{part.name:<11} {part.checked:>8} checked  {word if part.checked else 'none'}")
    say("not checked: " + "; ".join(report.unchecked))


def compare(a: Path, b: Path, *, as_json: bool) -> int:
    """Tell how two runs differ: 0 the same, 1 not."""
    found = diff(Plan(find_config(a)), Plan(find_config(b)))
    if as_json:
        print_json(found.as_json())
    else:
        for line in lines(found):
            sys.stdout.write(f"{line}\n")
    return int(not found.equal)


def lines(found: Diff) -> list[str]:
    """A difference for a person: what was changed, then what came of it."""
    if found.equal:
        told = [f"{found.same} results have the same contents"]
        return [*told, *(f"  though {k}" for k in (*found.versions, *found.config))]
    out = [f"{found.same} results are the same, {len(found.differences)} differ"]
    for title, keys in (
        ("software", found.versions),
        ("configuration", found.config),
        ("sheet", found.sheet),
    ):
        out += [f"{title}:", *(f"  {key}" for key in keys)] if keys else []
    for title, places in (
        ("only in the first", found.only_a),
        ("only in the second", found.only_b),
    ):
        out += [f"{title}: {', '.join(_few(places))}"] if places else []
    changed = [one for one in found.differences if one.own]
    follow = [one for one in found.differences if not one.own]
    reasons: dict[tuple[str, tuple[str, ...]], list[Difference]] = {}
    for one in changed:
        reasons.setdefault((one.stage, one.own), []).append(one)
    out += ["changed by themselves:"] if reasons else []
    for (stage, own), members in reasons.items():
        names = ", ".join(_few(tuple(one.subject for one in members)))
        out.append(f"  {stage} of {names}")
        out += [f"    because {reason}" for reason in own]
        out += [line for one in members[:MOST] for line in _measured(one)]
    out += ["followed from these:"] if follow else []
    stages: dict[str, list[Difference]] = {}
    for one in follow:
        stages.setdefault(one.stage, []).append(one)
    for stage, members in stages.items():
        out.append(f"  {stage} of {', '.join(_few(tuple(one.subject for one in members)))}")
        out += [line for one in members[:MOST] for line in _measured(one)]
    return out


def _few(names: tuple[str, ...]) -> list[str]:
    names = tuple(dict.fromkeys(names))
    more = [f"and {len(names) - MOST} more"] if len(names) > MOST else []
    return [*names[:MOST], *more]


def _measured(one: Difference) -> list[str]:
    return [f"      {one.subject}  {measure}" for measure in one.measures]


def forget_patient(
    patient: str, config: Path | None, key: Path | None, *, yes: bool, dry: bool, as_json: bool
) -> int:
    """Remove what a run holds of a patient; 1 if something that holds an id is left."""
    key = key.absolute() if key else None
    plan = plan_of(config)
    if dry or not yes:
        planned = expected(plan, patient)
        _tell_expected(planned, as_json=as_json)
        if dry:
            return 0
        if not (sys.stdin.isatty() and _sure()):
            raise wrong("nothing was removed; give --yes to remove it")
    made = forget(plan, patient, key=key, told=say)
    _tell_done(made, as_json=as_json)
    return int(bool(made.left))


def _sure() -> bool:
    say("Remove all of this for good? Type forget to go on.")
    return sys.stdin.readline().strip() == "forget"


def _tell_expected(planned: Expected, *, as_json: bool) -> None:
    if as_json:
        print_json(vars(planned))
        return
    say(f"{planned.slides} slides of {planned.cases} cases; these would be removed:")
    for path in planned.paths:
        sys.stdout.write(f"{path}\n")
    _tell_models(planned.models)
    _tell_originals(planned.originals)


def _tell_models(models: tuple[str, ...]) -> None:
    for name in models:
        say(f"model {name} was trained on this patient: train it again without")


def _tell_originals(paths: tuple[str, ...]) -> None:
    for path in paths:
        say(f"stays: {path}, a slide file of yours")


def _tell_done(made: Forgotten, *, as_json: bool) -> None:
    if as_json:
        print_json({**vars(made), "left": [vars(one) for one in made.left]})
    say(f"{made.pseudonym} is forgotten: {made.slides} slides of {made.cases} cases")
    _tell_models(made.models)
    _tell_originals(made.originals)
    for name in made.unsearched:
        say(f"not searched for: {name}, which is a word or a number of many texts")
    for one in made.left:
        say(f"still holds an id: {one.file} ({one.where}); look at it")
    if not made.left:
        say("no id of the patient was found in any other file of the run")
    say("Copies elsewhere (backups, bundles that were sent) are not reached from here.")
