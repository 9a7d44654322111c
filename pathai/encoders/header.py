"""The header of a safetensors file: names and shapes of its tensors, without their bytes."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from pathai.errors import PathaiError

MAX_HEADER = 100_000_000
"""Bytes; a file may claim any length, and claims are not read into memory."""


class Shape(NamedTuple):
    """Type and shape of a tensor."""

    dtype: str
    """As safetensors names it: ``F32``, ``BF16`` ..."""
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, Shape]:
    """Names, types and shapes of the tensors of a safetensors file.

    Raises
    ------
    PathaiError
        E182 if the file is truncated or is no safetensors file: fetch it again.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(MAX_HEADER, size - 8):
                raise PathaiError("E182", f"{path.name}: header of {length} bytes, file of {size}")
            rows = json.loads(file.read(length))
        found, end = _shapes(rows)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise PathaiError("E182", f"{path.name} is no safetensors file") from None
    if 8 + length + end != size:
        message = f"{path.name} has {size} bytes, its header says {8 + length + end}"
        raise PathaiError("E182", message, "it is truncated or damaged: fetch or copy it again")
    return found


def _shapes(rows: dict[str, Any]) -> tuple[dict[str, Shape], int]:
    """Tensors, and where the last one ends."""
    rows = {name: row for name, row in rows.items() if name != "__metadata__"}
    found = {n: Shape(str(r["dtype"]), tuple(map(int, r["shape"]))) for n, r in rows.items()}
    return found, max((int(row["data_offsets"][1]) for row in rows.values()), default=0)
