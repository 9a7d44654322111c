"""Heads: from the tiles of a slide to one answer, with the attention each tile received."""

from pathai.registry import Registry

HEADS = Registry(
    "heads",
    {
        "abmil": "pathai.heads.abmil:AbMil",
        "mean": "pathai.heads.mean:MeanPool",
    },
)
"""Multiple-instance heads; ``docs/adding.md`` says how to add one."""
