"""What ``pathai run`` does, beside parsing: one run, or one after the other as slides arrive."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

from pathai.arrivals import Arrivals, check_pattern, take
from pathai.batch import complain, say
from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.processes import stoppable
from pathai.run import run as start
from pathai.summary import show
from pathai.verbs import plan_of, wrong
from pathai.webhook import Told, broken, ended, send


@dataclass(frozen=True)
class Options:
    """How a run is to go; see `pathai.run.run`."""

    cores: int | None = None
    profile: str = ""
    dry: bool = False
    retry_failed: bool = False
    check: bool = False
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Watched:
    """A folder in which slides arrive.

    Parameters
    ----------
    folder : Path
        Looked through with its subfolders.
    until_idle_s : float
        End when so long nothing arrived; 0: go on until told to end.
    settle_s : float
        A file that was the same for so long is complete.
    pattern, stain : str
        Columns of new rows; see `pathai.arrivals.take`.
    """

    folder: Path
    until_idle_s: float = 0.0
    settle_s: float = 10.0
    pattern: str = ""
    stain: str = "H&E"


def run(config: Path | None, options: Options) -> int:
    """Run or resume a cohort, say what it came to, and tell it to whom the configuration names."""
    began, plan = time.monotonic(), plan_of(config)
    try:
        outcome = start(
            plan,
            cores=options.cores,
            profile=options.profile,
            dry=options.dry,
            retry_failed=options.retry_failed,
            check=options.check,
            arguments=options.arguments,
        )
    except PathaiError as error:
        if not options.dry and error.code != "E175":  # of another run's folder
            _tell(plan, broken(error, time.monotonic() - began))
        raise
    if options.dry:
        return 0
    code = show(plan, outcome)
    _tell(plan, ended(plan, outcome, time.monotonic() - began))
    return code


def _tell(plan: Plan, told: Told) -> None:
    """Post to the webhook, if there is one; a run does not fail because nobody listened."""
    url = plan.config.run.webhook
    why = send(url, told) if url else ""
    if why:
        say(f"run.webhook was not told: {why}")


def watch(config: Path | None, options: Options, watched: Watched) -> int:
    """Take slides as they arrive, and run what is new, until told to end.

    A slide that fails is listed and the next one taken; what stops a run, such as a full disk,
    ends the watch. Exit code as of the last run.
    """
    path = (config or Path("config.yaml")).absolute()
    folder = watched.folder.absolute()
    if not folder.is_dir():
        raise wrong(f"--watch: no folder {watched.folder.name}")
    if options.dry:
        raise wrong("--watch takes slides; it has no dry run")
    check_pattern(watched.pattern)
    arrivals = Arrivals(folder, watched.settle_s)
    known: set[Path] = set()
    code, last, due = 0, time.monotonic(), _has_rows(path)
    say(f"watching {watched.folder} for slides; Ctrl-C ends it")
    with stoppable():
        while True:
            found, waiting = arrivals.look()
            if found:
                changed = [f for f in found if f in known]
                taken = take(path, found, watched.pattern, watched.stain)
                known |= set(found)
                _say_taken(taken.rows, taken.left_out)
                due = due or bool(taken.rows or changed)
            if due:
                code, due = _one(path, options, code)
                options = replace(options, retry_failed=False, check=False)
            if found or waiting:
                last = time.monotonic()
            if 0 < watched.until_idle_s <= time.monotonic() - last:
                return code
            time.sleep(max(watched.settle_s / 2, 0.1))


def _one(path: Path, options: Options, code: int) -> tuple[int, bool]:
    """One run; its exit code, and whether it is still due since another run owns the folder."""
    try:
        return run(path, options), False
    except PathaiError as error:
        if error.code != "E175":
            raise
        complain(error)
        return code, True


def _has_rows(config: Path) -> bool:
    """Whether there is something to run or resume before the first slide arrives."""
    plan = Plan(config)
    sheet = plan.root / plan.config.sheet
    return sheet.exists() and len(sheet.read_text("utf-8-sig").strip().splitlines()) > 1


def _say_taken(rows: tuple[str, ...], left_out: tuple[tuple[Path, str], ...]) -> None:
    for row in rows:
        say(f"taken     {row}")
    for path, why in left_out:  # paths are shown here, on the terminal, and nowhere else
        say(f"left out  {path.name}: {why}")
