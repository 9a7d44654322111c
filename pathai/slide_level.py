"""The steps that look at a slide as a whole: its vector, and its scores for classes in words."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pathai.config import ColorConfig, Config
from pathai.encoders import slide_encoder
from pathai.encoders.published import split
from pathai.encoders.setup import Setup
from pathai.encoders.text_towers import features_for, text_identity
from pathai.errors import PathaiError
from pathai.step import Step, digest_of
from pathai.store.commit import Commit, Key
from pathai.store.folders import SlideFolder

if TYPE_CHECKING:
    from pathai.zeroshot import Words

VERSIONS = {"slide": 1, "zeroshot": 1}
"""Raised when the output of a stage changes, so that old results are made again."""


def slide_step(folder: SlideFolder, encoder: str, setup: Setup) -> Step:
    """One vector for the slide.

    Raises
    ------
    PathaiError
        E191 for an unknown encoder, E190 for an absolute path in its name, E185 for a forbidden
        licence, E183 for missing files.
    """

    def work(out: Commit) -> None:
        from pathai.slide_vector import run

        run(folder, out, encoder=_loaded(encoder, setup))

    check_place(encoder)
    digest = digest_of(encoder, slide_encoder.identity(encoder, setup))
    key = Key("slide", VERSIONS["slide"], digest, (folder.slide_vector(encoder).name,))
    parents = {"features": folder.base("features", slide_encoder.tile_encoder_of(encoder))}
    return Step(folder.base("slide", encoder), folder.slide_id, key, parents, work)


@cache
def _loaded(name: str, setup: Setup) -> slide_encoder.SlideEncoder:
    """Slide encoders are loaded once per process."""
    return slide_encoder.load_slide_encoder(name, setup)


def zeroshot_step(folder: SlideFolder, words: "Words", color: ColorConfig) -> Step:
    """Scores of the tiles for classes in words; raises as `slide_step`."""

    def work(out: Commit) -> None:
        from pathai.zeroshot import run

        run(folder, color, out, words=words)

    check_place(words.name)
    output = folder.zeroshot(words.prompts.name, words.name)
    digest = digest_of(words.prompts, words.name, text_identity(words.name, words.setup))
    key = Key("zeroshot", VERSIONS["zeroshot"], digest, (output.name,))
    parents = {"features": folder.base("features", features_for(words.name))}
    return Step(output.with_suffix(""), folder.slide_id, key, parents, work)


def check_place(name: str) -> None:
    """Refuse an absolute path in a name (E190): names enter the results."""
    parts = split(name)
    if Path(parts.place).is_absolute():
        remedy = "give it relative to the run's folder"
        raise PathaiError("E190", f"encoder {parts.card}: absolute path", remedy)


def check_slide_encoders(config: Config, setup: Setup) -> None:
    """Refuse a slide encoder that is unknown, has no files, may not be used, or lacks its tiles.

    Raises
    ------
    PathaiError
        E191, E183, E185, or E190 where nobody makes the features that it takes.
    """
    for name in config.slide.encoders:
        check_place(name)
        slide_encoder.identity(name, setup)
        tiles = slide_encoder.tile_encoder_of(name)
        if tiles not in config.features.encoders:
            message = f"slide encoder {name} needs the features of {tiles}"
            raise PathaiError("E190", message, "add it to features.encoders")
