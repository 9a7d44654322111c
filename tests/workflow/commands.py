"""Ways to start the command line, and to compare folders."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

PATHAI = Path(sys.executable).with_name("pathai")


def pathai(*arguments, cwd=None, **environment) -> subprocess.CompletedProcess:
    """Run the installed command."""
    return subprocess.run(
        [str(PATHAI), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
    )


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
