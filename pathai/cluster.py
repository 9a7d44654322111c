"""Jobs of a run on a Slurm cluster: what a profile needs, and ending jobs that outlived their run.

A killed scheduler leaves jobs behind that wait or work on other machines, where their process ids
say nothing. So all jobs of a run folder carry one name, kept in ``.pathai/cluster``; before a run
starts, jobs of that name are canceled and their end is awaited, so that nothing has two writers.
"""

import shutil
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import yaml

from pathai.errors import PathaiError
from pathai.store.manifest import write_atomic

PLUGIN = "snakemake_executor_plugin_slurm"
PLUGIN_NAME = "executor plugin"
COMMANDS = ("sbatch", "squeue", "scancel")
END_S = 300.0
"""Longest that canceled jobs may take to end; a busy controller needs some minutes."""
POLL_S = 0.5


def executor(profile: Path | None, arguments: tuple[str, ...] = ()) -> str:
    """Name of the Snakemake executor that a profile, or an argument after it, asks for.

    Parameters
    ----------
    profile : Path or None
        Folder of a Snakemake profile.
    arguments : tuple of str
        Passed on to Snakemake; these come last and count most.

    Returns
    -------
    str
        Empty for jobs on this machine.
    """
    for i, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name in ("--executor", "-e"):
            return value or next(iter(arguments[i + 1 : i + 2]), "")
    for file in sorted(profile.glob("config*.yaml"))[:1] if profile else ():
        asked = yaml.safe_load(file.read_text())
        return str(asked.get("executor", "")) if isinstance(asked, dict) else ""
    return ""


def lacking() -> dict[str, str]:
    """What Slurm jobs need and this machine has not, with the remedy of each."""
    found = {}
    if find_spec(PLUGIN) is None:
        found[PLUGIN_NAME] = "pip install 'pathai[slurm]'"
    for command in COMMANDS:
        if shutil.which(command) is None:
            found[command] = "start it on a node of the cluster that has Slurm's commands"
    return found


def answer() -> str:
    """What Slurm says of its nodes, such as ``4 nodes, 256 cores``; empty if it does not answer."""
    try:
        said = _slurm("sinfo", "--noheader", "--Node", "--format=%N %c")
    except PathaiError:
        return ""
    cores = {row[0]: int(row[1]) for row in map(str.split, said.splitlines()) if len(row) == 2}
    return f"{len(cores)} nodes, {sum(cores.values())} cores" if cores else ""


def require(name: str) -> None:
    """Refuse an executor that cannot work here (E194); others than Slurm are Snakemake's matter."""
    missing = lacking() if name == "slurm" else {}
    for what, remedy in missing.items():
        raise PathaiError("E194", f"the profile asks for Slurm, and there is no {what}", remedy)


def job_name(state: Path) -> str:
    """First part of the name of every job of a run folder; drawn once.

    Parameters
    ----------
    state : Path
        The run's ``.pathai``.
    """
    note = state / "cluster"
    if not note.is_file():
        write_atomic(note, f"pathai-{uuid4().hex[:16]}\n".encode())
    return note.read_text().strip()


def end_jobs(state: Path) -> int:
    """Cancel jobs that an earlier run of this folder left on the cluster, and await their end.

    Parameters
    ----------
    state : Path
        The run's ``.pathai``.

    Returns
    -------
    int
        How many were canceled; 0 where this folder never had any.

    Raises
    ------
    PathaiError
        E175 when the cluster cannot be asked, or jobs do not end: results could get two writers.
    """
    if not (state / "cluster").is_file():
        return 0
    name = job_name(state)
    jobs = _jobs(name)
    if jobs:
        _slurm("scancel", *jobs)
    late = time.monotonic() + END_S
    left = jobs
    while left:
        if time.monotonic() > late:
            message = f"{len(left)} jobs of an earlier run do not end ({name} on the cluster)"
            raise PathaiError("E175", message, "end them with scancel, then run again")
        time.sleep(POLL_S)
        left = _jobs(name)
    return len(jobs)


def _jobs(name: str) -> list[str]:
    """Ids of jobs that wait, run or are just ending."""
    states = "PENDING,RUNNING,SUSPENDED,CONFIGURING,COMPLETING,STAGE_OUT,RESIZING,SIGNALING"
    asked = _slurm("squeue", "--me", "--noheader", "--format=%A %j", f"--states={states}")
    rows = [line.split() for line in asked.splitlines()]
    return sorted({row[0] for row in rows if len(row) == 2 and row[1].startswith(f"{name}_")})


def _slurm(command: str, *arguments: str) -> str:
    try:
        done = subprocess.run(
            [command, *arguments], capture_output=True, text=True, timeout=120, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _unanswered(command, type(error).__name__) from None
    if done.returncode and command != "scancel":  # which also complains of jobs that just ended
        raise _unanswered(command, done.stderr.strip().rpartition("\n")[2])
    return done.stdout


def _unanswered(command: str, why: str) -> PathaiError:
    message = f"Slurm does not say whether jobs of this folder still work; {why or command}"
    remedy = "run where Slurm answers; or, if no job is left, remove .pathai/cluster"
    return PathaiError("E175", message, remedy)
