"""``pathai run``: Snakemake over the whole plan, always resuming, with nothing lost.

Manifests are the truth, receipts are what Snakemake sees. Before it starts, receipts without
current manifests are dropped; after it, slides whose job was killed beyond its retries get a
``failed`` manifest and the rest goes on.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pathai
from pathai import chain
from pathai.errors import PathaiError
from pathai.plan import Plan, check_columns
from pathai.processes import alive, die_with_parent, elsewhere, end, identity, read
from pathai.progress import follow
from pathai.provenance import CRATE, write_crate
from pathai.slide_level import check_slide_encoders
from pathai.source import Remote
from pathai.store.commit import manifest_path, remove
from pathai.store.manifest import (
    Manifest,
    intact,
    read_manifest,
    storage_error,
    write_atomic,
)

MAX_ROUNDS = 1000
"""Each round records at least one killed slide, so this is a bound on them."""


@dataclass(frozen=True)
class Outcome:
    """What a run came to: subjects with problems, and whether Snakemake had work."""

    problems: tuple[Manifest, ...]
    up_to_date: bool

    @property
    def failed(self) -> tuple[Manifest, ...]:
        """Failed subjects, each under the stage where it failed first."""
        return tuple(m for m in self.problems if m.status == "failed")


def shipped(name: str) -> Path:
    """A file or folder that travels with the package (Snakefile, workflows, configs)."""
    package = Path(pathai.__file__).parent
    inside = package / "_shipped" / name
    return inside if inside.exists() else package.parent / name


@contextmanager
def owned(plan: Plan) -> Iterator[None]:
    """Hold the run folder; a dead owner's lock is taken over.

    Raises
    ------
    PathaiError
        E175 naming the owner's process id, E160 when the folder cannot be written.
    """
    lock = plan.state / "lock"
    try:
        plan.state.mkdir(parents=True, exist_ok=True)
        if lock.exists():
            _take_over(lock)
        handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        owner = read(lock).split("\n")[0]
        raise PathaiError("E175", f"another run owns this folder (process {owner})") from None
    except OSError as error:
        raise storage_error(error) from None
    try:
        os.write(handle, identity().encode())
        os.close(handle)
        yield
    finally:
        lock.unlink(missing_ok=True)


def _take_over(lock: Path) -> None:
    """Remove the lock of a dead run; one of another machine cannot be judged from here."""
    text = read(lock)
    if elsewhere(text):
        owner = text.split("\n")[0]
        message = f"a run on another machine owns this folder (process {owner} there)"
        remedy = "if that run is dead, remove .pathai/lock in the run's folder"
        raise PathaiError("E175", message, remedy)
    if alive(text) is None:
        lock.unlink(missing_ok=True)


def run(
    plan: Plan,
    *,
    cores: int | None = None,
    profile: str = "",
    dry: bool = False,
    retry_failed: bool = False,
    check: bool = False,
    arguments: tuple[str, ...] = (),
) -> Outcome:
    """Run or resume everything that is not current.

    Parameters
    ----------
    plan : Plan
        What to run.
    cores : int, optional
        Processor cores; default all.
    profile : str
        Snakemake profile: a shipped name (``local``) or a folder.
    dry : bool
        Only show what would be done.
    retry_failed : bool
        Forget failures first, so that they are tried again.
    check : bool
        Read every byte of the results first, and make again what is damaged.
    arguments : tuple of str
        Passed to Snakemake as they are.

    Raises
    ------
    PathaiError
        E154, E190, E192 for sheet, configuration and tasks; E160 when results cannot be written;
        E175 when another run owns the folder; E176 when Snakemake itself failed.
    """
    check_everything(plan)
    with owned(plan):
        if retry_failed and not dry:
            forget_failures(plan)
        if check and not dry:
            forget_damaged(plan)
        note_config(plan)
        drop_stale_receipts(plan)
        command = _command(plan, cores, profile, dry, arguments)
        up_to_date = _settled(plan)
        if not (dry or up_to_date):  # a record of earlier results is none of these
            (plan.root / CRATE).unlink(missing_ok=True)
        for _ in range(MAX_ROUNDS):
            end_orphans(plan)
            returned = _start(plan, command, quiet=not (dry or arguments))
            if returned == 0:
                break
            if returned < 0:
                end_orphans(plan)
                raise PathaiError("E176", f"Snakemake was killed (signal {-returned})", "run again")
            raise_machine_error(plan)
            if dry or not record_killed(plan):
                log = "logs/ and .snakemake/log"
                raise PathaiError("E176", f"Snakemake ended with {returned}; see {log}")
        if not dry and not (plan.root / CRATE).exists():
            write_crate(plan)
        return Outcome(() if dry else tuple(problems(plan)), up_to_date)


def check_everything(plan: Plan) -> None:
    """Say before any work what would otherwise fail slide by slide."""
    from pathai.detectors import check_ready
    from pathai.drafters import DRAFTERS

    plan.sheet, plan.models  # noqa: B018  (reading them validates them)
    check_servers(plan)
    for task in plan.tasks.values():
        check_columns(task, plan.sheet)
    for name in plan.config.features.encoders:
        chain.check_encoder(plan.config, name)
    check_slide_encoders(plan.config, chain.encoder_setup(plan.config))
    check_ready(plan.config.cells.detector)
    if plan.config.cells.classifier:
        from pathai.cell_classes import load_model, model_file

        load_model(model_file(plan.config.cells.classifier))
    DRAFTERS.load(plan.config.report.drafter)(plan.config.report)


def check_servers(plan: Plan) -> None:
    """Refuse a sheet with a slide on a server that the configuration does not name (E106)."""
    for row in plan.sheet.rows:
        place = plan.place(row.slide_id)
        if isinstance(place, Remote) and not place.allowed:
            message = f"{plan.sheet.name}, row {row.row}: the slide's server is not allowed"
            raise PathaiError("E106", message)


def _start(plan: Plan, command: list[str], *, quiet: bool) -> int:
    """Run Snakemake; show either its own output or pathai's lines of progress."""
    full = [*command, "--quiet", "all"] if quiet else command
    bound = die_with_parent if sys.platform == "linux" else None
    with subprocess.Popen(  # nothing runs threads here, so a hook before exec is safe
        full,
        cwd=plan.root,
        env=_environment(),
        preexec_fn=bound,
    ) as process:
        return follow(plan, process) if quiet else process.wait()


def _settled(plan: Plan) -> bool:
    receipts = plan.receipts().items()
    return all(plan.receipt(stage, name).exists() for stage, names in receipts for name in names)


def _command(
    plan: Plan, cores: int | None, profile: str, dry: bool, arguments: tuple[str, ...]
) -> list[str]:
    own = shipped(f"workflows/profiles/{profile}")
    if profile and not own.is_dir() and not Path(profile).is_dir():
        near = sorted(p.name for p in shipped("workflows/profiles").iterdir())
        message, remedy = f"no profile {profile!r}", f"try {', '.join(near)}, or give a folder"
        raise PathaiError("E193", message, remedy)
    return [
        sys.executable,
        "-m",
        "snakemake",
        *("--snakefile", str(shipped("Snakefile"))),
        *("--directory", str(plan.root)),
        *("--configfile", str(plan.config_path)),
        *("--cores", str(cores or os.cpu_count() or 1)),
        *("--rerun-triggers", "mtime"),
        *("--retries", str(plan.config.run.retries)),
        "--rerun-incomplete",
        "--keep-going",
        "--nolock",
        *(("--profile", str(own if own.is_dir() else profile)) if profile else ()),
        *(("--dry-run",) if dry else ()),
        *arguments,
    ]


def _environment() -> dict[str, str]:
    """Rules call ``pathai``: the one of this Python, one thread per process, nothing sent."""
    bin_folder = str(Path(sys.executable).parent)
    defaults = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    path = os.pathsep.join([bin_folder, os.environ.get("PATH", "")])
    return {**defaults, **os.environ, **offline, "PATH": path}


def drop_stale_receipts(plan: Plan) -> None:
    """Remove receipts without current manifests, and those that depend on them.

    Snakemake would not miss an intermediate receipt as long as the last one is there.
    """
    dropped: set[tuple[str, str]] = set()
    wanted = [(stage, name) for stage, names in plan.receipts().items() for name in names]
    for stage, name in wanted:
        stale = not dropped.isdisjoint(plan.needs(stage, name))
        steps = chain.steps_of_receipt(plan, stage, name)
        if stale or not plan.receipt(stage, name).exists() or not all(s.manifest() for s in steps):
            plan.receipt(stage, name).unlink(missing_ok=True)
            dropped.add((stage, name))
    for path in (plan.state / "receipts").glob("*/*"):
        if (path.parent.name, path.name) not in wanted:
            path.unlink()


def forget_failures(plan: Plan) -> None:
    """Remove every ``failed`` manifest."""
    for step in chain.all_steps(plan):
        path = manifest_path(step.base)
        if path.exists() and read_manifest(path).status == "failed":
            path.unlink()


def forget_damaged(plan: Plan) -> None:
    """Remove manifests whose files are not, byte by byte, what was written."""
    for step in chain.all_steps(plan):
        manifest = step.manifest()
        if manifest is not None and not intact(step.base.parent, manifest):
            manifest_path(step.base).unlink()


def note_config(plan: Plan) -> None:
    """Note the configuration's name, so that single verbs in this folder use it too."""
    write_atomic(plan.state / "config", plan.config_path.name.encode())


def raise_machine_error(plan: Plan) -> None:
    """Raise what stopped a job and has nothing to do with its slide, such as a full disk."""
    note = plan.state / "error.json"
    if note.exists():
        told = json.loads(note.read_bytes())
        note.unlink()
        raise PathaiError(told["code"], told["message"], told["remedy"])


def end_orphans(plan: Plan) -> None:
    """End jobs that outlived their scheduler, so that nothing has two writers."""
    for folder in ("workers", "running"):
        for mark in sorted((plan.state / folder).rglob("*")):
            if mark.is_file():
                end(read(mark))
        remove(plan.state / folder)
    (plan.state / "error.json").unlink(missing_ok=True)


def record_killed(plan: Plan) -> int:
    """Write a failed manifest for every step that a killed job left behind; return how many."""
    count = 0
    for stage, names in plan.receipts().items():
        for name in names:
            if plan.receipt(stage, name).exists():
                continue
            for step in chain.steps_of_receipt(plan, stage, name):
                if step.mark(plan).exists() and step.manifest() is None:
                    log = _kept_log(plan, stage, name, step.subject)
                    message = f"the {step.key.stage} job did not finish; see {log}"
                    step.fail(PathaiError("E173", message))
                    count += step.manifest() is not None
    return count


def _kept_log(plan: Plan, stage: str, name: str, subject: str) -> str:
    """Keep the log of a killed job: Snakemake empties it when the job's other subjects are run."""
    log = plan.root / "logs" / stage / f"{name}.log"
    kept = log.with_name(f"{subject}.killed.log")
    if log.is_file():
        shutil.copyfile(log, kept)
    return kept.relative_to(plan.root).as_posix()


def problems(plan: Plan) -> Iterator[Manifest]:
    """First manifest of each subject that is not ok, in the order of the data."""
    seen: set[str] = set()
    for step in chain.all_steps(plan):
        path = manifest_path(step.base)
        manifest = read_manifest(path) if path.exists() else None
        if manifest is None or manifest.status == "ok" or manifest.not_applicable:
            continue
        if step.subject not in seen:
            seen.add(step.subject)
            yield manifest
