"""Encoders from a person's own file: what is wrong with one becomes a line, whatever it raises."""

from importlib.util import module_from_spec, spec_from_file_location
from math import isfinite
from pathlib import Path
from re import fullmatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.encoders.memory import TileError, out_of_memory
from pathai.errors import PathaiError

PARTS = ("tile_px", "mpp", "dim", "names", "digest", "encode")


class ForeignEncoder:
    """An encoder of a user's class.

    Parameters
    ----------
    name : str
        As in the configuration.
    made : object
        With the `PARTS` of `pathai.encoders.base.Encoder`.

    Raises
    ------
    PathaiError
        E191 naming the part that is missing or wrong.
    """

    def __init__(self, name: str, made: Any) -> None:
        self.name, self._made = name, made
        missing = [part for part in PARTS if not hasattr(made, part)]
        if missing:
            raise _wrong(name, f"lacks {', '.join(missing)}")
        self.tile_px = _whole(name, "tile_px", made.tile_px)
        self.dim = _whole(name, "dim", made.dim)
        if not isinstance(made.mpp, int | float) or not (isfinite(made.mpp) and made.mpp > 0):
            raise _wrong(name, f"mpp is {made.mpp!r}, not a number above 0")
        self.mpp = float(made.mpp)
        self.names = tuple(map(str, made.names))
        if len(self.names) not in (0, self.dim):
            raise _wrong(name, f"{len(self.names)} names for {self.dim} features")
        if not fullmatch("[0-9a-f]{64}", str(made.digest)):
            raise _wrong(name, "digest is not a SHA-256 in hex")
        self.digest = str(made.digest)

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[Any]:
        """Vectors of tiles ``uint8[B, H, W, 3]``, as the class makes them.

        Raises
        ------
        TileError
            E180 with what the class raised.
        """
        try:
            found = np.asarray(self._made.encode(tiles))
        # the boundary to code that is not ours: it may raise anything
        except (Exception, SystemExit) as error:
            if isinstance(error, PathaiError) or out_of_memory(error):
                raise
            message = f"encoder {self.name} raised {_said(error)}"
            raise TileError(0, "E180", message, "correct the encoder") from error
        if found.dtype.kind not in "fiub":
            message = f"encoder {self.name} made {found.dtype}, not real numbers"
            raise TileError(0, "E180", message, "correct the encoder")
        return found


def from_file(name: str) -> ForeignEncoder:
    """Load an encoder class from a file of the user: ``path/to/file.py:Class``.

    Raises
    ------
    PathaiError
        E183 if there is no such file, E191 if it cannot be loaded or has no such class, or a
        part of `pathai.encoders.base.Encoder` is missing or wrong.
    """
    place, _, attribute = name.rpartition(":")
    path = Path(place)
    if not path.is_file():
        raise PathaiError("E183", f"encoder file {path.name} not found", "give an existing file")
    spec = spec_from_file_location(f"pathai_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise PathaiError("E191", f"{path.name} is not a Python file", "give file.py:Class")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        kind = getattr(module, attribute, None)
        made = None if kind is None else kind()
    # the boundary to code that is not ours: it may raise anything
    except (Exception, SystemExit) as error:
        message = f"{path.name}:{attribute} cannot be loaded: {_said(error)}"
        raise PathaiError("E191", message, "correct the file; see docs/adding.md") from error
    if kind is None:
        raise PathaiError("E191", f"{path.name} has no class {attribute!r}", "give file.py:Class")
    return ForeignEncoder(name, made)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}".rstrip(": ")


def _wrong(name: str, what: str) -> PathaiError:
    return PathaiError("E191", f"encoder {name}: {what}", "see docs/adding.md")


def _whole(name: str, part: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _wrong(name, f"{part} is {value!r}, not a whole number above 0")
    return value
