"""Heads: from the tiles of a slide to one answer, with the attention each tile received."""

from pathai.registry import Registry

HEADS = Registry(
    "heads",
    {
        "abmil": "pathai.heads.abmil:AbMil",
        "additive": "pathai.heads.additive:AdditiveMil",
        "clam-sb": "pathai.heads.clam:ClamSb",
        "count": "pathai.heads.count:CountMil",
        "dsmil": "pathai.heads.dsmil:DsMil",
        "linear": "pathai.heads.linear:LinearProbe",
        "max": "pathai.heads.maxpool:MaxPool",
        "mean": "pathai.heads.mean:MeanPool",
        "transmil": "pathai.heads.transmil:TransMil",
    },
)
"""Multiple-instance heads; ``docs/adding.md`` says how to add one."""
