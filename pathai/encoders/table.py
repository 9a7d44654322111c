"""Cards as rows of a table: what ``pathai list encoders`` prints and the documentation shows."""

from pathai.encoders.cards import Card

HEAD = ("encoder", "tile", "µm/px", "vector", "parameters", "licence", "use", "access", "network")
ACCESS = {True: "ask", False: "free"}
NETWORK = {True: "built here", False: "publisher's"}
"""Whether architecture and number of parameters are proven, or left to the publisher's package."""


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


def millions(count: int) -> str:
    """A number of parameters, as it is usually said."""
    return f"{count / 1e9:.2f} B" if count >= 1e9 else f"{count / 1e6:.1f} M"
