"""Where a job's network runs: one job, one device, and as many threads as the job was given."""

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import IO, Any

SHARERS = 64
"""Jobs on one device beyond which no more is counted."""
_held: list[IO[bytes]] = []
"""Locks of this process; they end with it, however it ends."""


@cache
def device() -> str:
    """The device of this process: a free GPU, else the one with the fewest jobs, else ``cpu``.

    Only devices that the process may see are counted. A scheduler that gives a job one device
    (``CUDA_VISIBLE_DEVICES``, or SLURM's control groups) has chosen by that.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count < 2:
        return f"cuda:{count - 1}" if count else "cpu"
    names = [str(torch.cuda.get_device_properties(i).uuid) for i in range(count)]
    folder = Path(tempfile.gettempdir()) / f"pathai-gpu-{getattr(os, 'getuid', int)()}"
    return f"cuda:{take(names, folder)}"


def take(names: list[str], folder: Path) -> int:
    """Number of the device that the fewest jobs of this user on this machine hold.

    Parameters
    ----------
    names : list of str
        One for each device, the same for every process: numbers differ with what a job may see.
    folder : Path
        Place of the locks, one file for each device and place in its queue. Locks are held until
        the process ends; kill -9 frees them too.

    Returns
    -------
    int
        The first device where locks cannot be had.
    """
    try:
        import fcntl

        folder.mkdir(mode=0o700, exist_ok=True)
        for place in range(SHARERS):
            for number, name in enumerate(names):
                file = (folder / f"{name}.{place}").open("ab")
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    file.close()
                    continue
                _held.append(file)
                return number
    except (ImportError, OSError):  # no such locks on this system or disk
        return 0
    return 0


def threads() -> int:
    """Processor threads of this job: what Snakemake or SLURM gave it, else all it may run on."""
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        given = os.environ.get(name, "").partition(",")[0]
        if given.isdigit() and int(given):
            return int(given)
    affinity: Any = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
