"""Any TorchScript file whose output is a label map or maps; see ``docs/detectors.md``.

A TorchScript file is a program. It is not unpickled, and its own functions are all that it can
call; of these, the few that read or write files are refused before it is loaded. That is a fence,
not a prison: take such files only from those whom you would let run a program.
"""

import io
import re
import warnings
from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from pathai.detectors.files import identity as file_identity
from pathai.detectors.files import read as read_file
from pathai.detectors.files import require as require_file
from pathai.detectors.foreign import F32, ForeignDetector
from pathai.errors import PathaiError

_FILE_CALLS = re.compile(r"\b(?:torch|ops\.\w+)\.(?:save|from_file|_?load\w*)\s*\(")
_OTHER_CODE = re.compile(
    r"\bops\.(?!aten\b|prim\b|quantized\b|torchvision\b)\w+|\b__torch__\.torch\.classes\b"
)
_CODE = re.compile(r"[^/]+/code/.+\.py")


class TorchScript(ForeignDetector):
    """A network in a TorchScript file; it runs on a GPU if there is one."""

    @cached_property
    def network(self) -> Callable[[F32], list[NDArray[Any]]]:
        """The network's outputs for one input."""
        return outputs_of(module_of(self.file))


def module_of(file: Path) -> Any:
    """The module in a file, without gradient, for evaluation.

    Raises
    ------
    PathaiError
        E183 if the file is missing, E182 if it is no TorchScript or would touch files.
    """
    return _module(file.absolute(), file_identity(require_file(file)))


@lru_cache(maxsize=2)
def _module(file: Path, identity: str) -> Any:
    """Loaded once per process for all slides."""
    import torch

    data = read_file(file)
    refuse_file_calls(data, file.name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        with warnings.catch_warnings():  # TorchScript is deprecated; published models are in it
            warnings.simplefilter("ignore")
            load: Any = torch.jit.load
            module: Any = load(io.BytesIO(data), map_location=device)
    # the boundary to code that is not ours: it may raise anything
    except Exception as error:
        raise _damaged(file.name, (str(error).strip().splitlines() or [""])[0]) from error
    return module.eval()


def refuse_file_calls(data: bytes, name: str) -> None:
    """Refuse an archive whose code would read or write files, or that calls code outside of it.

    Raises
    ------
    PathaiError
        E182.
    """
    try:
        with ZipFile(io.BytesIO(data)) as archive:
            code = {
                n: archive.read(n).decode("utf-8", "replace")
                for n in archive.namelist()
                if _CODE.fullmatch(n)
            }
    except (BadZipFile, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise _damaged(name, f"not a TorchScript archive ({error})") from None
    if not code:
        raise _damaged(name, "not a TorchScript archive (no code in it)")
    for text in code.values():
        for kind, why in (
            (_FILE_CALLS, "touches files"),
            (_OTHER_CODE, "calls code outside of it"),
        ):
            if call := kind.search(text):
                message = f"{name} {why}: {call[0].rstrip('(')}"
                raise PathaiError("E182", message, "such a file is not loaded; ask for another")


def outputs_of(module: Any, **options: Any) -> Callable[[F32], list[NDArray[Any]]]:
    """A function from ``float32`` input to the outputs, one after the other."""
    import torch

    first = next(iter(module.parameters()), None) if hasattr(module, "parameters") else None
    device = first.device if first is not None else torch.device("cpu")

    def run(x: F32) -> list[NDArray[Any]]:
        with torch.inference_mode():
            made = module(torch.from_numpy(x).to(device), **options)
        if isinstance(made, dict):
            made = list(made.values())
        tensors = made if isinstance(made, list | tuple) else [made]
        return [np.asarray(tensor.float().cpu()) for tensor in tensors]

    return run


def _damaged(name: str, why: str) -> PathaiError:
    return PathaiError("E182", f"{name} cannot be loaded: {why}", "copy the file again")
