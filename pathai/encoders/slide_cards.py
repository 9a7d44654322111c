"""Cards of published slide encoders (``slide_cards.yaml``); nothing here imports torch."""

from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from pydantic import Field

from pathai.encoders.published import Published


class SlideCard(Published):
    """One published encoder of slides: from the tiles of one tile encoder to one vector.

    Parameters
    ----------
    grid : bool
        Whether it looks at where tiles lie: they must then neither overlap nor leave gaps.
    units : str
        What its publisher's call takes for a position; the adapter converts.
    half : bool
        Whether its publisher runs it in float16 on a GPU; on a processor all run in float32.
    """

    grid: bool = Field(False, description="looks at where tiles lie")
    units: str = Field("", description="of positions, in the publisher's call")
    half: bool = Field(False, description="float16 on a GPU, as published")


@cache
def slide_cards() -> dict[str, SlideCard]:
    """Cards by name, sorted."""
    text = files("pathai.encoders").joinpath("slide_cards.yaml").read_text(encoding="utf-8")
    rows: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return {name: SlideCard(name=name, **row) for name, row in sorted(rows.items())}
