"""Build .venv with everything that the demo and the tests use. Standard library only.

Where there is no NVIDIA driver, PyTorch's CPU build is taken: from a local wheel that pip knows,
else from PyTorch's public CPU index. An index that does not answer is passed over.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import urllib.error
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
SUPPORTED = ((3, 11), (3, 12), (3, 13))


def constraints() -> Path:
    """Pins for the running Python."""
    if sys.version_info[:2] not in SUPPORTED:
        names = ", ".join(f"{a}.{b}" for a, b in SUPPORTED)
        sys.exit(f"pathai needs Python {names}; this is {sys.version.split()[0]}. Try PYTHON=...")
    return ROOT / "envs" / f"constraints-{sys.version_info[0]}.{sys.version_info[1]}.txt"


def has_nvidia_driver() -> bool:
    """Whether a driver is loaded (no library is opened)."""
    return Path("/proc/driver/nvidia/version").exists() or os.name == "nt"


def index_answers(url: str, seconds: float = 5) -> bool:
    """Whether the index answers in time."""
    try:
        with urllib.request.urlopen(f"{url}/torch/", timeout=seconds):  # noqa: S310
            return True
    except (urllib.error.URLError, OSError):
        return False


def pip(python: Path, *arguments: str, quiet: bool = False) -> bool:
    """Run pip; return whether it succeeded."""
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    sink = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, stdout=sink, stderr=sink, cwd=ROOT).returncode == 0


def pinned(name: str, pins: Path) -> str:
    """``name==version`` as the constraints file has it."""
    return next(line for line in pins.read_text().splitlines() if line.startswith(f"{name}=="))


def install_cpu_torch(python: Path, pins: Path) -> None:
    """Install the CPU build if one can be had; else leave torch to the next step."""
    wanted = [f"{pinned('torch', pins)}+cpu", pinned("torchvision", pins)]
    base = ["install", "-q", "-c", str(pins), *wanted]
    if pip(python, *base, quiet=True):
        return
    if index_answers(CPU_INDEX) and pip(python, *base, "--extra-index-url", CPU_INDEX):
        return
    print("No CPU build of PyTorch at hand: the default build follows (several GB).", flush=True)


def main() -> None:
    """Create or renew the environment when its description has changed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--extras", default="dev")
    options = parser.parse_args()
    pins = constraints()
    fetched = ROOT / "envs" / "openseadragon.py"  # run by the build: another pin builds anew
    sources = [pins, ROOT / "pyproject.toml", fetched, Path(__file__)]
    text = options.extras.encode() + b"".join(path.read_bytes() for path in sources)
    stamp = options.folder / ".pathai-stamp"
    digest = hashlib.sha256(text).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    print(f"Setting up {options.folder} (some minutes, once) ...", flush=True)
    if not (options.folder / "bin" / "python").exists():
        venv.create(options.folder, with_pip=True)
    python = options.folder.absolute() / "bin" / "python"
    if not has_nvidia_driver():
        install_cpu_torch(python, pins)
    if not pip(python, "install", "-q", "-c", str(pins), "-e", f".[{options.extras}]"):
        sys.exit("pip failed; see its message above, mend it and run make again")
    stamp.write_text(digest)


if __name__ == "__main__":
    main()
