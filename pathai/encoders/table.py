"""Cards as rows of a table: what ``pathai list encoders`` prints and the documentation shows."""

from typing import Any

from pathai.encoders.cards import Card

HEAD = ("encoder", "tile", "µm/px", "vector", "parameters", "licence", "use", "access", "network")
ACCESS = {True: "ask", False: "free"}
NETWORK = {True: "built here", False: "unverified"}
"""Whether architecture and number of parameters are proven, or left to the publisher's code."""


def row(card: Card) -> tuple[str, ...]:
    """Cells of a card, in the order of `HEAD`."""
    return (
        card.name,
        f"{card.tile_px} px",
        f"{card.mpp:g}",
        str(card.dim),
        millions(card.parameters),
        card.licence,
        card.terms,
        ACCESS[card.gated],
        NETWORK[card.buildable],
    )


def own_row(name: str, made: Any) -> tuple[str, ...]:
    """Cells of an encoder without a card: of this package, or of an outside one."""
    tile, mpp, dim = (getattr(made, part, None) for part in ("tile_px", "mpp", "dim"))
    inside = str(getattr(made, "__module__", "")).startswith("pathai.")
    known = ("Apache-2.0", "open", "ships", "built here") if inside else ("", "unknown", "", "")
    return (
        name,
        f"{tile} px" if tile else "",
        f"{mpp:g}" if mpp else "",
        str(dim or ""),
        "",
        *known,
    )


def millions(count: int) -> str:
    """A number of parameters, as it is usually said."""
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.1f} M"
