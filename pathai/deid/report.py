"""What was kept, changed and removed: kinds and counts, never values."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pathai.errors import PathaiError


def unsafe(message: str, remedy: str = "") -> PathaiError:
    """E148 with a message that names kinds and places, never a value of the file."""
    return PathaiError("E148", message, remedy)


@dataclass
class Report:
    """The account of one copy.

    Attributes
    ----------
    format : str
        ``aperio``, ``ome-tiff``, ``tiff`` or ``dicom``.
    kept, rewritten, removed : Counter of str
        Kind of thing to how many of it. ``rewritten`` is text or a color profile that was made
        anew from checked values.
    notes : list of str
        What a person should know.
    files : list of dict
        ``name`` (of the output), ``bytes``, ``sha256``.
    """

    format: str
    kept: Counter[str] = field(default_factory=Counter)
    rewritten: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON holds it."""
        return {
            "format": self.format,
            **{name: dict(sorted(getattr(self, name).items())) for name in PARTS},
            "notes": self.notes,
            "files": self.files,
        }

    def lines(self) -> list[str]:
        """The report as a person reads it."""
        found = [
            f"{name}: {kind} ({count})"
            for name in PARTS
            for kind, count in sorted(getattr(self, name).items())
        ]
        return [*found, *(f"note: {note}" for note in self.notes)]


PARTS = ("kept", "rewritten", "removed")
