"""What an encoder promises, and how one is loaded from a person's own file. No torch here."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError


class Encoder(Protocol):
    """An encoder is a function of a tile: neighbors and order do not matter.

    One that runs on a device of its own may also have what `pathai.encoders.network` has:
    ``start`` and ``room``, so that reading, copying and computing overlap, and ``precision`` and
    ``runs_on``, which are recorded.

    Attributes
    ----------
    name : str
        As in the configuration: the store finds features by it.
    tile_px : int
        Edge of a tile in px.
    mpp : float
        µm per px of a tile.
    dim : int
        Length of a vector.
    names : tuple of str
        Name of each feature, or empty.
    digest : str
        SHA-256 over everything that decides the vectors: version, weights, preprocessing.
    """

    @property
    def name(self) -> str:
        """Name in the configuration."""
        ...

    @property
    def tile_px(self) -> int:
        """Edge of a tile, px."""
        ...

    @property
    def mpp(self) -> float:
        """µm per px of a tile."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names, or empty."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of what decides the vectors."""
        ...

    def encode(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Vectors ``float32[B, D]`` of tiles ``uint8[B, H, W, 3]``; B may be 0."""
        ...


def from_file(name: str) -> Encoder:
    """Load an encoder class from a file of the user: ``path/to/file.py:Class``.

    Raises
    ------
    PathaiError
        E191 if the file or class does not exist or lacks a part of `Encoder`.
    """
    place, _, attribute = name.rpartition(":")
    path = Path(place)
    if not path.is_file():
        raise PathaiError("E191", f"encoder file {path.name} not found", "give an existing file")
    spec = spec_from_file_location(f"pathai_user_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise PathaiError("E191", f"{path.name} is not a Python file", "give file.py:Class")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, attribute):
        raise PathaiError("E191", f"{path.name} has no class {attribute!r}", "give file.py:Class")
    made: Any = getattr(module, attribute)()
    made.name = name
    needed = ("tile_px", "mpp", "dim", "names", "digest", "encode")
    missing = [part for part in needed if not hasattr(made, part)]
    if missing:
        raise PathaiError(
            "E191", f"{path.name}:{attribute} lacks {', '.join(missing)}", "see docs/adding.md"
        )
    found: Encoder = made
    return found
