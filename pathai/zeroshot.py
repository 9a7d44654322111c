"""Zero-shot: score tiles and slides for classes that are described by words.

Nothing is trained, so nothing is calibrated: scores rank tiles and slides, they are no
probabilities of a diagnosis.

References
----------
Radford A, Kim JW, Hallacy C, et al. Learning transferable visual models from natural language
supervision. ICML 2021 (prompts, templates, the mean of their vectors).
Lu MY, Chen B, Zhang A, et al. Visual language pretrained multiple instance zero-shot transfer for
histopathology images. CVPR 2023 (the slide's score: the mean of its highest tiles).
"""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pathai.color import seen_by
from pathai.config import ColorConfig
from pathai.encoders.setup import Setup
from pathai.encoders.slide_encoder import check_tiles
from pathai.encoders.text_towers import load_text_tower
from pathai.errors import PathaiError
from pathai.prompts import PromptSet
from pathai.store.commit import Commit, Skipped
from pathai.store.folders import SlideFolder
from pathai.store.groups import write_zeroshot
from pathai.store.records import Features, ZeroShot, ZeroShotAttrs

if TYPE_CHECKING:
    from pathai.encoders.text_towers import TextTower

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
NOT_CALIBRATED = "not calibrated; for exploration"
BLOCK = 8192
"""Tiles at a time, so that memory does not grow with their number."""


class Words:
    """A prompt set and the text tower that reads it, loaded when first asked for.

    Parameters
    ----------
    tower : str
        Name of the text tower.
    prompts : PromptSet
        Classes in words.
    setup : Setup
        Where weights are.
    """

    def __init__(self, tower: str, prompts: PromptSet, setup: Setup) -> None:
        self.name, self.prompts, self.setup = tower, prompts, setup

    @cached_property
    def tower(self) -> "TextTower":
        """The text tower."""
        return load_text_tower(self.name, self.setup)

    @cached_property
    def classes(self) -> F64:
        """One unit vector per class, float64[C, D]: the mean of its prompts' unit vectors."""
        return np.stack(
            [
                unit(unit(self.tower.encode(self.prompts.prompts(name))).mean(axis=0))
                for name in self.prompts.classes
            ]
        )

    @property
    def temperature(self) -> float:
        """Of softmax: the file's, else the tower's own.

        Raises
        ------
        PathaiError
            E190 where neither says one.
        """
        found = self.prompts.temperature or self.tower.temperature
        if found is None:
            message = f"{self.prompts.name}: {self.name} has no temperature of its own"
            raise PathaiError("E190", message, "give temperature in the prompts' file")
        return found


def unit(vectors: NDArray[np.floating]) -> F64:
    """Vectors of length 1 along the last axis, float64."""
    x = vectors.astype(np.float64)
    found: F64 = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return found


def run(folder: SlideFolder, color: ColorConfig, out: Commit, *, words: Words) -> None:
    """Score a slide's tiles and write ``zeroshot/<prompts>.<encoder>.zarr``.

    Parameters
    ----------
    folder : SlideFolder
        With features of the text tower's tile encoder.
    color : ColorConfig
        What was done to the colors of the tiles.
    out : Commit
        Where to write.
    words : Words
        Prompts and text tower; slides share one.

    Raises
    ------
    Skipped
        E145 without a tile.
    PathaiError
        E164 without features, E181 for those of another encoder, size, µm/px or weights, E180
        for features that have no direction.
    """
    tower, prompts = words.tower, words.prompts
    features = folder.read_features(tower.tile_encoder)
    check_tiles(tower.card, tower.name, tower.tile_encoder, features)
    made = features.attrs
    if tower.tile_digest and made.encoder_digest != seen_by(tower.tile_digest, color):
        message = f"features of {made.encoder} come from other weights or colors than its words"
        raise PathaiError("E181", message, f"run pathai features --encoder {made.encoder}")
    if not (features.valid > 0).any():
        raise Skipped("E145", "no tile with a readable pixel")
    score = cosines(features, words.classes)
    slide_score, share = pooled(score[features.valid > 0], prompts.top_tiles)
    attrs = ZeroShotAttrs(
        prompts=prompts.name,
        prompts_digest=prompts.digest(),
        classes=tuple(prompts.classes),
        slide_score=tuple(round(float(v), 6) for v in slide_score),
        share=tuple(round(float(v), 6) for v in share),
        top_tiles=prompts.top_tiles,
        temperature=words.temperature,
        encoder=tower.name,
        text_digest=tower.digest,
        tile_encoder_digest=made.encoder_digest,
        grid_digest=made.grid_digest,
    )
    found = ZeroShot(
        score.astype(np.float16), softmax(score / words.temperature).astype(np.float16), attrs
    )
    write_zeroshot(out.part(folder.zeroshot(prompts.name, tower.name).name), found)


def cosines(features: Features, classes: F64) -> F64:
    """Cosine of each tile and each class, float64[N, C].

    Parameters
    ----------
    features : Features
        N tiles.
    classes : float64[C, D]
        Unit vectors.

    Raises
    ------
    PathaiError
        E180 naming the first tile whose vector has length 0.
    """
    out = np.empty((len(features.x), len(classes)))
    for start in range(0, len(out), BLOCK):
        x = features.x[start : start + BLOCK].astype(np.float64)
        length = np.linalg.norm(x, axis=1, keepdims=True)
        if not (length > 0).all():
            left, top = features.xy_px0[start + int(np.argmin(length))]
            raise PathaiError("E180", f"tile at x {left}, y {top}: a vector of length 0")
        out[start : start + BLOCK] = x / length @ classes.T
    return out


def softmax(logits: F64) -> F64:
    """Softmax over the last axis."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    found: F64 = raised / raised.sum(axis=-1, keepdims=True)
    return found


def pooled(score: F64, top: int) -> tuple[F64, F64]:
    """Scores of a slide from those of its tiles.

    Parameters
    ----------
    score : float64[N, C]
        At least one tile.
    top : int
        Tiles to take the mean of, for each class its highest; 0, or more than there are: all.

    Returns
    -------
    slide_score, share : float64[C]
        Mean of the highest scores, and share of the tiles whose best class this is (of equals,
        the first).
    """
    kept = min(top, len(score)) or len(score)
    best = np.sort(score, axis=0)[-kept:]
    share = np.bincount(score.argmax(axis=1), minlength=score.shape[1]) / len(score)
    return best.mean(axis=0), share
