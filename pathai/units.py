"""Units as types: no naked ``(w, h)`` crosses a function boundary; x before y."""

from dataclasses import dataclass

Ring = tuple[tuple[float, float], ...]
"""Points (x, y) of a closed line in level-0 px, the first one not repeated."""
Polygons = tuple[tuple[Ring, ...], ...]
"""Polygons as the coordinates of a GeoJSON MultiPolygon: each its outer ring, then its holes."""

MPP_MIN, MPP_MAX = 0.05, 5.0
"""Plausible µm per pixel of a scan; 352.8 and 264.6 are 72 and 96 dpi defaults."""


@dataclass(frozen=True)
class Mpp:
    """Micrometers per pixel along x and y."""

    x: float
    y: float

    @property
    def mean(self) -> float:
        """Mean of both axes, µm/px."""
        return (self.x + self.y) / 2

    @property
    def plausible(self) -> bool:
        """Whether both axes lie within ``MPP_MIN`` to ``MPP_MAX`` (NaN does not)."""
        return all(MPP_MIN <= v <= MPP_MAX for v in (self.x, self.y))

    def scaled(self, downsample: float) -> "Mpp":
        """Resolution of an image that is ``downsample`` times smaller."""
        return Mpp(self.x * downsample, self.y * downsample)


@dataclass(frozen=True)
class Size:
    """Width and height in pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class Box:
    """A rectangle in level-0 pixels: left, top, width, height."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """First x past the box."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """First y past the box."""
        return self.y + self.height
