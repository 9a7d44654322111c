"""Axes and marks of a plot as SVG text: the paper that `pathai.plots` draws on.

Marks carry class names only; colors, dashes and fonts are the page's (``plots.css``), so a plot
follows light and dark. Coordinates are px of the view box, rounded to 0.01.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

Number = float | int | None
STYLES = 6
"""Colors and dashes; the class of curve ``i`` is ``c{i % 6} d...``."""
CHARACTER_PX = 6.7
"""Mean width of a character at the plots' 12 px."""


def plain(text: str) -> str:
    """Text that may stand in XML: escaped, and without characters that XML forbids."""
    return escape("".join(c if c.isprintable() else " " for c in str(text)))


def width_px(text: str) -> float:
    """Room that a text takes, about."""
    return CHARACTER_PX * len(text)


def shortened(text: str, room_px: float) -> str:
    """Text that fits, with an ellipsis where something was cut."""
    keep = max(int(room_px / CHARACTER_PX), 2)
    return text if len(text) <= keep else text[: keep - 1].rstrip() + "…"


def look(i: int) -> str:
    """Class names of the i-th curve: a color and a dash, never the same pair within 36."""
    return f"c{i % STYLES} d{(i + i // STYLES) % STYLES}"


def known(*columns: Iterable[Number]) -> list[tuple[float, ...]]:
    """Rows of columns in which every number is finite."""
    rows = zip(*columns, strict=False)
    return [tuple(float(v) for v in row if v is not None)
            for row in rows if all(v is not None and math.isfinite(v) for v in row)]  # fmt: skip


@dataclass(frozen=True)
class Axis:
    """A labeled range.

    Attributes
    ----------
    label : str
        In plain words, with the unit.
    low, high : float
        Ends of the axis; ``low < high``.
    bend : float, optional
        Below it the axis is nearly linear (so that 0 has a place), above it logarithmic.
    percent : bool
        Ticks as percentages of 1.
    bare : bool
        No ticks: places have names, not values.
    """

    label: str
    low: float
    high: float
    bend: float | None = None
    percent: bool = False
    bare: bool = False

    def place(self, value: float) -> float:
        """Where a value lies between 0 (low) and 1 (high); values outside go to the ends."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        return min(max((self._scaled(value) - low) / (high - low), 0.0), 1.0)

    def _scaled(self, value: float) -> float:
        return value if self.bend is None else math.log1p(max(value, 0.0) / self.bend)

    def ticks(self) -> list[float]:
        """Round values within the axis, about five."""
        if self.bare:
            return []
        if self.bend is None:
            step = _round_step((self.high - self.low) / 5)
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            return [k * step for k in range(first, last + 1)]
        powers = range(math.floor(math.log10(self.bend)), math.ceil(math.log10(self.high)) + 1)
        digits = (1,) if len(powers) > 3 else (1, 3)
        values = [0.0, *(d * 10.0**p for p in powers for d in digits)]
        return [v for v in values if self.low <= v <= self.high]

    def text(self, value: float) -> str:
        """A tick's label."""
        if self.percent:
            return f"{100 * value:.0f}%"
        if self.bend is not None:
            return f"{value:,.10g}"
        step = _round_step((self.high - self.low) / 5)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        digits += round(step * 10**digits, 6) % 1 > 0
        return f"{value + 0.0:,.{digits}f}".replace("-", "−")


def _round_step(about: float) -> float:
    """1, 2, 2.5 or 5 times a power of ten, at least ``about``."""
    power = 10.0 ** math.floor(math.log10(about))
    return next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= about * (1 - 1e-9))


def range_of(values: Iterable[float], *, zero: bool = True) -> tuple[float, float]:
    """Ends of an axis that holds all values, with some room; never empty."""
    found = list(values) or [0.0, 1.0]
    low, high = min(found), max(found)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    room = 0.06 * (high - low) or max(abs(high), 1.0) / 2
    return low - (room if low != 0 else 0.0), high + room


@dataclass
class Canvas:
    """A plot in the making; `done` closes it.

    Attributes
    ----------
    x, y : Axis
    plot_width, plot_height : float
        Size of the area between the axes, px.
    left, top : float
        Room left of it, at least, and above it, px.
    """

    x: Axis
    y: Axis
    plot_width: float = 300.0
    plot_height: float = 230.0
    left: float = 58.0
    top: float = 12.0
    parts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Lay out the area and draw grid, ticks and labels."""
        self.right = 22.0
        longest = max((width_px(self.y.text(t)) for t in self.y.ticks()), default=0.0)
        self.left = max(self.left, longest + 36)
        self.bottom = self.top + self.plot_height + 46  # grows with what stands below
        free = -math.inf
        for tick in self.x.ticks():
            px, half = self.px(tick), width_px(self.x.text(tick)) / 2
            self._segment((px, self.top), (px, self.top + self.plot_height), "grid")
            if px - half > free:  # a label that would touch its neighbor is left out
                self.write(px, self.top + self.plot_height + 16, self.x.text(tick), "tick middle x")
                free = px + half + 2
        for tick in self.y.ticks():
            py = self.py(tick)
            self._segment((self.left, py), (self.left + self.plot_width, py), "grid")
            self.write(self.left - 7, py + 4, self.y.text(tick), "tick end y")
        base = self.top + self.plot_height
        self._segment((self.left, base), (self.left + self.plot_width, base), "axis")
        self.write(self.left + self.plot_width / 2, base + 36, self.x.label, "middle label")
        middle = self.top + self.plot_height / 2
        self.parts.append(f'<text class="middle label" transform="translate(14 {middle:g}) '
                          f'rotate(-90)">{plain(self.y.label)}</text>')  # fmt: skip

    def px(self, x: float) -> float:
        """Horizontal place of a value."""
        return round(self.left + self.plot_width * self.x.place(x), 2)

    def py(self, y: float) -> float:
        """Vertical place of a value."""
        return round(self.top + self.plot_height * (1 - self.y.place(y)), 2)

    def write(self, px: float, py: float, words: str, kind: str = "", room: float = 0) -> None:
        """Text at a place; where there is ``room`` for less, cut, with the whole as its title."""
        fits = shortened(words, room) if room else words
        whole = f"<title>{plain(words)}</title>" if fits != words else ""
        self.parts.append(f'<text class="{kind}" x="{px:g}" y="{py:g}">{whole}{plain(fits)}</text>')

    def _segment(self, a: tuple[float, float], b: tuple[float, float], kind: str) -> None:
        self.parts.append(
            f'<line class="{kind}" x1="{a[0]:g}" y1="{a[1]:g}" x2="{b[0]:g}" y2="{b[1]:g}"/>'
        )

    def segment(self, a: tuple[float, float], b: tuple[float, float], kind: str) -> None:
        """A straight line between two points in values."""
        self._segment((self.px(a[0]), self.py(a[1])), (self.px(b[0]), self.py(b[1])), kind)

    def line(self, points: Sequence[tuple[float, ...]], kind: str) -> None:
        """A curve through points in values."""
        if points:
            places = " ".join(f"{self.px(p[0]):g},{self.py(p[1]):g}" for p in points)
            self.parts.append(f'<polyline class="curve {kind}" points="{places}"/>')

    def band(self, points: Sequence[tuple[float, ...]], kind: str) -> None:
        """An area between (x, low) and (x, high); points are (x, low, high)."""
        if points:
            upper = [f"{self.px(x):g},{self.py(high):g}" for x, _, high in points]
            lower = [f"{self.px(x):g},{self.py(low):g}" for x, low, _ in reversed(points)]
            self.parts.append(f'<polygon class="band {kind}" points="{" ".join(upper + lower)}"/>')

    def dot(self, x: float, y: float, kind: str, radius: float = 4) -> None:
        """A point in values."""
        self.parts.append(
            f'<circle class="dot {kind}" cx="{self.px(x):g}" cy="{self.py(y):g}" r="{radius:g}"/>'
        )

    def box(self, px: float, py: float, width: float, height: float, kind: str) -> None:
        """A rectangle in px."""
        self.parts.append(
            f'<rect class="{kind}" x="{px:g}" y="{py:g}" width="{width:g}" height="{height:g}"/>'
        )

    def legend(self, entries: Sequence[tuple[str, str]]) -> None:
        """Samples of curves with their names, in rows below the plot."""
        row = self.bottom + 10
        px, end = self.left, self.left + self.plot_width
        for name, kind in entries:
            name = shortened(name, self.plot_width - 40)
            if px > self.left and px + 36 + width_px(name) > end:
                px, row = self.left, row + 20
            self._segment((px, row - 4), (px + 28, row - 4), f"curve {kind}")
            self.write(px + 34, row, name)
            px += 52 + width_px(name)
        self.bottom = row + 8

    def done(self, title: str, said: str) -> str:
        """The whole SVG; ``title`` and ``said`` are what a screen reader speaks."""
        width = self.left + self.plot_width + self.right
        return (
            f'<svg class="plot" role="img" viewBox="0 0 {width:g} {self.bottom:g}" '
            f'width="{width:g}" height="{self.bottom:g}">'
            f"<title>{plain(title)}</title><desc>{plain(said)}</desc>"
            f"{''.join(self.parts)}</svg>"
        )
