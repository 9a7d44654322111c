"""Encoders: from tiles to one vector each.

A name is one of `ENCODERS`, ``timm:<model>[@weights.safetensors]`` or ``path/to/file.py:Class``.
"""

from typing import TYPE_CHECKING

from pathai.registry import Registry

if TYPE_CHECKING:
    from pathai.encoders.base import Encoder

ENCODERS = Registry(
    "encoders",
    {
        "morphology": "pathai.encoders.morphology:Morphology",
        "tissue-small": "pathai.encoders.tissue_small:TissueSmall",
    },
)
"""Encoders by name; ``docs/adding.md`` says how to add one."""


def load_encoder(name: str) -> "Encoder":
    """Build an encoder.

    Parameters
    ----------
    name : str
        Registered name, ``timm:<model>@<weights.safetensors>`` or ``path/to/file.py:Class``.

    Raises
    ------
    PathaiError
        E191 if the name is unknown, E183 if weights are missing, E182 if they do not fit.
    """
    if name.startswith("timm:"):
        from pathai.encoders.timm_encoder import TimmEncoder

        return TimmEncoder.from_name(name)
    if ".py:" in name:
        from pathai.encoders.base import from_file

        return from_file(name)
    made: Encoder = ENCODERS.load(name)()
    return made
