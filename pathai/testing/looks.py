"""Looks: how a laboratory and a scanner make the same tissue appear.

Looks of the training side and of the test side are drawn from ranges that do not touch (stain
vectors and textures), so that an evaluation on the test side meets a laboratory that training never
saw.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Look:
    """Stain, texture and scanner of one picture.

    Attributes
    ----------
    name : str
    hematoxylin, eosin, dab, counterstain : tuple of 3 floats
        Optical density of red, green and blue per unit of stain (made unit length when painted).
        `counterstain` is what cytoplasm and collagen take up on a DAB slide.
    nuclear, cytoplasmic : float
        Strength of hematoxylin and of eosin; 1 is usual.
    glass : tuple of 3 floats
        Red, green, blue of empty glass, 0 to 255.
    gain : tuple of 3 floats
        Scanner color shift: factor per channel on the light, after the glass.
    gamma : float
        Scanner tone curve; 1 is linear in transmission.
    focus_um : float
        Standard deviation of the optical blur.
    noise : float
        Standard deviation of the sensor noise, gray levels.
    chromatin_um : float
        Grain of the chromatin.
    chromatin : float
        Contrast of the chromatin.
    fiber_um, fiber_length_um : float
        Width and length of collagen fibers.
    fiber_contrast : float
        0 a smooth stroma, 1 bundles with gaps of glass between them.
    """

    name: str = "reference"
    hematoxylin: Triple = (0.56, 0.72, 0.40)
    eosin: Triple = (0.11, 0.84, 0.50)
    dab: Triple = (0.27, 0.57, 0.78)
    counterstain: Triple = (0.55, 0.60, 0.58)
    nuclear: float = 1.0
    cytoplasmic: float = 1.0
    glass: Triple = (243.0, 242.0, 244.0)
    gain: Triple = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    focus_um: float = 0.30
    noise: float = 1.2
    chromatin_um: float = 0.55
    chromatin: float = 1.0
    fiber_um: float = 1.3
    fiber_length_um: float = 16.0
    fiber_contrast: float = 0.75


TRAIN_LOOKS: dict[str, Look] = {
    "A": Look(name="train-A"),
    "B": Look(
        name="train-B",
        hematoxylin=(0.65, 0.70, 0.29),
        eosin=(0.16, 0.87, 0.42),
        nuclear=0.9,
        cytoplasmic=1.1,
        glass=(238.0, 240.0, 240.0),
        gain=(1.0, 0.99, 0.97),
        focus_um=0.36,
        fiber_um=1.6,
        fiber_length_um=22.0,
    ),
}
TEST_LOOKS: dict[str, Look] = {
    "A": Look(
        name="test-A",
        hematoxylin=(0.50, 0.76, 0.42),
        eosin=(0.06, 0.80, 0.58),
        nuclear=1.12,
        cytoplasmic=0.9,
        glass=(246.0, 244.0, 242.0),
        gain=(1.0, 0.985, 0.98),
        chromatin_um=0.75,
        fiber_um=2.1,
        fiber_length_um=30.0,
        fiber_contrast=0.6,
    ),
    "B": Look(
        name="test-B",
        hematoxylin=(0.60, 0.76, 0.24),
        eosin=(0.22, 0.88, 0.40),
        nuclear=0.95,
        cytoplasmic=1.2,
        glass=(234.0, 232.0, 238.0),
        gain=(0.975, 0.985, 1.0),
        focus_um=0.42,
        chromatin_um=0.40,
        fiber_um=1.0,
        fiber_length_um=11.0,
        fiber_contrast=0.9,
    ),
}


def _turn(rng: np.random.Generator, vector: Triple, amount: float) -> Triple:
    """Return the vector with each entry moved by at most `amount`."""
    red, green, blue = (float(v + rng.uniform(-amount, amount)) for v in vector)
    return (max(red, 0.0), max(green, 0.0), max(blue, 0.0))


def vary(look: Look, rng: np.random.Generator) -> Look:
    """Return the look of one slide of a laboratory.

    The jitter is bounded, and smaller than the step between laboratories.
    """
    return replace(
        look,
        hematoxylin=_turn(rng, look.hematoxylin, 0.012),
        eosin=_turn(rng, look.eosin, 0.012),
        dab=_turn(rng, look.dab, 0.012),
        nuclear=look.nuclear * float(rng.uniform(0.88, 1.12)),
        cytoplasmic=look.cytoplasmic * float(rng.uniform(0.85, 1.15)),
        chromatin=look.chromatin * float(rng.uniform(0.9, 1.1)),
        fiber_um=look.fiber_um * float(rng.uniform(0.95, 1.05)),
        fiber_length_um=look.fiber_length_um * float(rng.uniform(0.95, 1.05)),
        focus_um=look.focus_um * float(rng.uniform(0.9, 1.1)),
    )
