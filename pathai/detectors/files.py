"""Files of foreign weights: that they are there, and what they are; never unpickled."""

from functools import cache
from hashlib import sha256
from pathlib import Path

from pathai.detectors.contract import beside
from pathai.errors import PathaiError
from pathai.store.manifest import hash_file

OF_A_FOLDER = ("*.json", "*.onnx", "*.pt", "*.safetensors")


def require(file: Path, *, folder: bool = False) -> Path:
    """The file, or the folder, if it is there.

    Raises
    ------
    PathaiError
        E183.
    """
    if folder and not file.is_dir():
        raise PathaiError("E183", f"folder {file.name} not found", "give an existing folder")
    if not folder and not file.is_file():
        raise PathaiError("E183", f"detector file {file.name} not found", "give an existing file")
    return file


def read(file: Path) -> bytes:
    """Every byte of a file.

    Raises
    ------
    PathaiError
        E183 if it is not there, E162 if it cannot be read.
    """
    try:
        return require(file).read_bytes()
    except OSError as error:
        raise PathaiError("E162", f"{file.name}: {error.strerror}") from None


def identity(file: Path) -> str:
    """SHA-256 over the weights and the contract beside them; of a folder, over its files.

    Raises
    ------
    PathaiError
        As `read`; E183 also for a folder without any.
    """
    if file.is_dir():
        parts = sorted({path for kind in OF_A_FOLDER for path in file.glob(kind)})
    else:
        parts = [path for path in (require(file), beside(file)) if path.is_file()]
    if not parts:
        raise PathaiError("E183", f"folder {file.name} holds no network", "see docs/detectors.md")
    total = sha256()
    for path in parts:
        kind = path.name if file.is_dir() else path.suffix
        total.update(f"{kind} {_sha256_of(path)}\n".encode())
    return total.hexdigest()


def _sha256_of(path: Path) -> str:
    try:
        stat = path.stat()
        return _sha256(path.absolute(), stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise PathaiError("E162", f"{path.name}: {error.strerror}") from None


@cache
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    """Read once per process while size and time stay."""
    return hash_file(path).sha256
