"""Any ONNX file whose output is a label map, maps or stars; see ``docs/detectors.md``.

ONNX describes a network and is no program. The file is handed over as bytes, so that it cannot
refer to others.
"""

import os
from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pathai.detectors.contract import Contract, read_contract
from pathai.detectors.files import identity as file_identity
from pathai.detectors.files import read as read_file
from pathai.detectors.files import require as require_file
from pathai.detectors.foreign import F32, ForeignDetector
from pathai.errors import PathaiError

KEY = "pathai"
"""Of the metadata that may hold the contract."""
PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class Onnx(ForeignDetector):
    """A network in an ONNX file."""

    @cached_property
    def contract(self) -> Contract:
        """The JSON beside the file, or what its metadata say."""
        return read_contract(self.file, stated_in(session_of(self.file)))

    @cached_property
    def network(self) -> Callable[[F32], list[NDArray[Any]]]:
        """The network's outputs for one input."""
        return outputs_of(session_of(self.file))


def session_of(file: Path) -> Any:
    """The network in a file, ready to run.

    Raises
    ------
    PathaiError
        E194 if onnxruntime is not installed, E183 if the file is missing, E182 if it is no ONNX
        or not whole.
    """
    return _session(file.absolute(), file_identity(require_file(file)))


@lru_cache(maxsize=2)
def _session(file: Path, identity: str) -> Any:
    """Loaded once per process for all slides."""
    try:
        import onnxruntime
    except ImportError:
        message = f"{file.name} needs onnxruntime, which is not installed"
        raise PathaiError("E194", message, "pip install 'pathai[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
    options.log_severity_level = 4
    here = onnxruntime.get_available_providers()
    data = read_file(file)
    try:
        session: Any = onnxruntime.InferenceSession(
            data, options, providers=[name for name in PROVIDERS if name in here]
        )
    # the boundary to code that is not ours: it may raise anything
    except Exception as error:
        said = (str(error).strip().splitlines() or [""])[0]
        message = f"{file.name} cannot be loaded: {said}"
        raise PathaiError(
            "E182", message, "copy the file again; all weights must be in it"
        ) from error
    return session


def stated_in(session: Any) -> str:
    """The contract that the metadata hold; empty if none."""
    return str(session.get_modelmeta().custom_metadata_map.get(KEY, ""))


def outputs_of(session: Any) -> Callable[[F32], list[NDArray[Any]]]:
    """A function from ``float32`` input to the outputs, one after the other."""
    name = session.get_inputs()[0].name

    def run(x: F32) -> list[NDArray[Any]]:
        made: list[NDArray[Any]] = session.run(None, {name: x})
        return made

    return run
