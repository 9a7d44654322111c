"""Ways to start the command line, and to compare folders."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import psutil

PATHAI = Path(sys.executable).with_name("pathai")


def pathai(*arguments, cwd=None, **environment) -> subprocess.CompletedProcess:
    """Run the installed command; a ``PYTHONPATH`` stands before the one that is there."""
    paths = [p for p in (environment.get("PYTHONPATH"), os.environ.get("PYTHONPATH")) if p]
    joined = {"PYTHONPATH": os.pathsep.join(paths)} if paths else {}
    return subprocess.run(
        [str(PATHAI), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment, **joined},
    )


def working_in(folder: Path) -> list[psutil.Process]:
    """Processes that run in a folder, as workers do; their command line does not name it."""
    return [p for p in psutil.process_iter() if _works_in(p, folder)]


def _works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(folder)
    except psutil.Error:
        return False


def tree(folder: Path) -> dict[str, tuple[str, int]]:
    """Content and modification time of every file."""
    return {
        p.relative_to(folder).as_posix(): (sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns)
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def contents(folder: Path) -> dict[str, str]:
    """Content of every file but times and machine figures, and the manifest that lists them."""
    timed = ("cohort/run.json", "cohort/run.html", "cohort/cohort.manifest.json")
    return {name: digest for name, (digest, _) in tree(folder).items() if not name.endswith(timed)}
