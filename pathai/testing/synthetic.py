"""Synthetic slides with known truth: every nucleus, every tumor region, every artefact.

VERSION = 1. Frozen once models are judged on it: a change to any pixel or any number of the truth
for a given recipe is a new version.

The label of a slide is caused by its tumor regions and by nothing else; how much tissue there is,
how cellular it is and how inflamed is drawn without knowledge of the label (`tissue_model.Habit`).
This module is the door to the room; the parts stand beside it: `tissue_model` (geometry),
`nuclei_model`, `fiber_model`, `stain_model` (painting), `artefacts`, `aperio` (files), `cohort`.
"""

from pathai.testing.aperio import CANARIES, SCANNERS, Scanner, write_svs
from pathai.testing.cohort import make_cohort
from pathai.testing.looks import TEST_LOOKS, TRAIN_LOOKS, Look, vary
from pathai.testing.picture import draw, synthetic_field, write_slide
from pathai.testing.truth import ARTEFACTS, CLASSES, HE, KI67, VERSION, Recipe, Truth

__all__ = [
    "ARTEFACTS",
    "CANARIES",
    "CLASSES",
    "HE",
    "KI67",
    "SCANNERS",
    "TEST_LOOKS",
    "TRAIN_LOOKS",
    "VERSION",
    "Look",
    "Recipe",
    "Scanner",
    "Truth",
    "draw",
    "make_cohort",
    "synthetic_field",
    "vary",
    "write_slide",
    "write_svs",
]
