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
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage

import pathai
from pathai import chain, cluster
from pathai.batch import say
from pathai.errors import PathaiError
from pathai.floors import check_versions
from pathai.live import follow, told_apart
from pathai.lock import BEAT_S, as_owner, owned, refuse_if_owned, untouched
from pathai.plan import Plan, check_columns
from pathai.processes import elsewhere, end, read, stop, stoppable
from pathai.provenance import CRATE, write_crate
from pathai.slide_level import check_slide_encoders
from pathai.source import Remote
from pathai.store.commit import manifest_path, remove
from pathai.store.manifest import (
    Manifest,
    intact,
    read_manifest,
    told_room,
    write_atomic,
)

ENGINE_BYTES = 2**20
"""What Snakemake's own files and logs need at least; with less, a failure is the disk's."""
FOREIGN_S = 9 * BEAT_S
"""A job of another machine whose mark was not touched for so long has died with its machine."""
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
    refuse_if_owned(plan)  # at once, before anything that takes time
    check_everything(plan)
    with stoppable(), owned(plan):
        if retry_failed and not dry:
            forget_failures(plan)
        if check and not dry:
            forget_damaged(plan)
        note_config(plan)
        drop_stale_receipts(plan)
        remove(plan.state / "tallies")
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

    check_versions()
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
    """Run Snakemake; show either its own output or pathai's lines of progress.

    It has a process group of its own: Ctrl-C reaches this process alone, which ends the others in
    order.
    """
    full = [*command, "--quiet", "all"] if quiet else command
    said = told_apart() if quiet else None
    process = subprocess.Popen(
        full, cwd=plan.root, env=_environment(), process_group=0, stdout=said, stderr=said
    )
    try:
        return follow(plan, process, said) if quiet else process.wait()
    finally:
        if process.poll() is None:  # this run was asked to end, or failed itself
            stop(process, "--batch")


def _settled(plan: Plan) -> bool:
    receipts = plan.receipts().items()
    return all(plan.receipt(stage, name).exists() for stage, names in receipts for name in names)


def _command(
    plan: Plan, cores: int | None, profile: str, dry: bool, arguments: tuple[str, ...]
) -> list[str]:
    folder = profile_folder(profile)
    executor = cluster.executor(folder, arguments)
    cluster.require(executor)
    slots = ("--cores", str(cores or os.cpu_count() or 1))
    return [
        sys.executable,
        *("-m", "pathai.scheduler"),
        *("--snakefile", str(shipped("Snakefile"))),
        *("--directory", str(plan.root)),
        *("--configfile", str(plan.config_path)),
        *(slots if cores or not executor else ()),  # the profile says how many jobs a cluster gets
        *("--rerun-triggers", "mtime"),
        *("--retries", str(plan.config.run.retries)),
        "--rerun-incomplete",
        "--keep-going",
        "--nolock",
        *(("--profile", str(folder)) if folder else ()),
        *(("--slurm-jobname-prefix", cluster.job_name(plan.state)) if executor == "slurm" else ()),
        *(("--dry-run",) if dry else ()),
        *arguments,
    ]


def profile_folder(profile: str) -> Path | None:
    """Folder of a shipped profile or of one's own (E193); None without a name."""
    own = shipped(f"workflows/profiles/{profile}")
    if not profile or own.is_dir():
        return own if profile else None
    if Path(profile).is_dir():
        return Path(profile).absolute()
    near = sorted(p.name for p in shipped("workflows/profiles").iterdir())
    message, remedy = f"no profile {profile!r}", f"try {', '.join(near)}, or give a folder"
    raise PathaiError("E193", message, remedy)


def _environment() -> dict[str, str]:
    """Rules call ``pathai``: the one of this Python, one thread per process, nothing sent."""
    bin_folder = str(Path(sys.executable).parent)
    defaults = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    path = os.pathsep.join([bin_folder, os.environ.get("PATH", "")])
    return {**defaults, **os.environ, **offline, **as_owner(), "PATH": path}


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
    for link in (plan.state / "report").glob("*"):
        if not link.exists():  # its page was removed, and Snakemake refuses broken links
            link.unlink()


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
    if disk_usage(plan.state).free < ENGINE_BYTES:  # the note itself may have found no room
        full = PathaiError("E161", "a job or the workflow engine could not write")
        raise told_room(full, plan.state, ENGINE_BYTES)


def end_orphans(plan: Plan) -> None:
    """End jobs that outlived their scheduler, here and on a cluster: nothing has two writers.

    Those on other machines end by themselves once they see whose the folder is now; they are
    waited for.
    """
    cluster.end_jobs(plan.state)  # before those here, or jobs that wait would take their place
    workers = [m for m in (plan.state / "workers").rglob("*") if m.is_file()]
    for mark in sorted([*workers, *(plan.state / "running").rglob("*")]):
        if mark.is_file():
            end(read(mark))
    away = [mark for mark in workers if elsewhere(read(mark))]
    if away:
        say(f"waiting for {len(away)} jobs of an earlier run on other machines to end")
    while any(mark.exists() and untouched(mark) < FOREIGN_S for mark in away):
        time.sleep(1)
    for folder in ("workers", "running"):
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
