"""What an immunostain marks: which of its figures a count of nuclei may give."""

from typing import Literal

Marker = Literal["ki67", "er", "pr", "her2", "pdl1", "other"]
_NAMES: dict[str, Marker] = {
    "ki67": "ki67", "mib1": "ki67", "er": "er", "pr": "pr", "her2": "her2", "pdl1": "pdl1",
}  # fmt: skip
_MEMBRANE = ("her2", "pdl1", "cd3", "cd8", "cd20")


def _plain(stain: str) -> str:
    return "".join(c for c in stain.casefold() if c.isalnum())


def marker(stain: str) -> Marker:
    """The marker that column ``stain`` of the sheet names; ``other`` where it has no rules here."""
    return _NAMES.get(_plain(stain), "other")


def on_membrane(stain: str) -> bool:
    """Whether the marker stains membranes, of which a count of nuclei says nothing."""
    return _plain(stain) in _MEMBRANE
