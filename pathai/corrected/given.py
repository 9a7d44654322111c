"""What one reader corrected, free of the log that it was read from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import shapely

from pathai.quantities.regions import REVIEWED, Drawn
from pathai.quantities.tumor import is_tumor

XY = tuple[float, float]
EXCLUDE = ("exclude", "excluded", "artefact", "artifact")
"""Names of regions whose tissue and nuclei do not count, in any capitals."""


@dataclass(frozen=True)
class CellEdit:
    """One stored nucleus as a person left it.

    Attributes
    ----------
    detector : str
        Whose nuclei.
    store : str
        Digest of the contents that ``row`` belongs to.
    row : int
    xy_px0 : tuple of float
        Where it lay; finds it again in other contents.
    after : str
        Its class; empty where a person saw no nucleus.
    """

    detector: str
    store: str
    row: int
    xy_px0: XY
    after: str


@dataclass(frozen=True)
class AddedNucleus:
    """A nucleus that the detector missed.

    Attributes
    ----------
    detector : str
        Which one.
    outline_px0 : tuple of (float, float)
        Level-0 px.
    class_name : str
        Empty where a person gave none.
    store : str
        Digest of the contents that it was missing in; empty: of those that are there.
    """

    detector: str
    outline_px0: tuple[XY, ...]
    class_name: str
    store: str = ""

    @property
    def shape(self) -> shapely.Geometry:
        """The outline as a shape with an inside; too few points become a small disc."""
        if len(self.outline_px0) >= 3:
            shape = shapely.make_valid(shapely.Polygon(self.outline_px0))
            if shape.area > 0:
                return shape
        return shapely.MultiPoint(self.outline_px0).centroid.buffer(1.0)


@dataclass(frozen=True)
class DrawnRegion:
    """A region: its outer ring, then its holes, level-0 px."""

    name: str
    rings_px0: tuple[tuple[XY, ...], ...]

    @property
    def shape(self) -> shapely.Geometry:
        """As a shape; a line that crosses itself is mended, too few points are an empty shape."""
        rings = [ring for ring in self.rings_px0 if len(ring) >= 3]
        if not rings or len(self.rings_px0[0]) < 3:
            return shapely.Polygon()
        return shapely.make_valid(shapely.Polygon(rings[0], rings[1:]))


@dataclass(frozen=True)
class SlideCorrections:
    """What a reader corrected on one slide, as it stands.

    Attributes
    ----------
    edits : tuple of CellEdit
        In the order in which they were made; of two for one nucleus the later stands.
    added : tuple of AddedNucleus
    regions : tuple of DrawnRegion
    """

    edits: tuple[CellEdit, ...] = ()
    added: tuple[AddedNucleus, ...] = ()
    regions: tuple[DrawnRegion, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.edits or self.added or self.counting)

    @property
    def counting(self) -> tuple[DrawnRegion, ...]:
        """Regions that change what is counted."""
        return tuple(r for r in self.regions if not _named(r.name, REVIEWED))

    @property
    def excluded(self) -> shapely.Geometry:
        """Where nothing counts."""
        return _union(r for r in self.regions if _named(r.name, EXCLUDE))

    @property
    def reviewed(self) -> shapely.Geometry:
        """Where every nucleus was looked at."""
        return _union(r for r in self.regions if _named(r.name, REVIEWED))

    def drawn(self, before: tuple[Drawn, ...]) -> tuple[Drawn, ...]:
        """Regions to count in: the reader's own, and of those before what has another name.

        The reader's tumor takes the place of every tumor region before.
        """
        own = tuple(
            Drawn(r.name.strip()[:64] or "region", r.shape)
            for r in self.counting
            if not _named(r.name, EXCLUDE) and r.shape.area > 0
        )
        taken = {_word(d.name) for d in own}
        return (*(d for d in before if _word(d.name) not in taken), *own)


@dataclass(frozen=True)
class Corrections:
    """What one reader corrected in a case.

    Attributes
    ----------
    reader : str
        Name as asserted.
    slides : mapping of str to SlideCorrections
    events : tuple of str
        SHA-256 of the logged events that it stands on, in order.
    time : str
        Of the last of them.
    """

    reader: str
    slides: Mapping[str, SlideCorrections] = field(default_factory=dict)
    events: tuple[str, ...] = ()
    time: str = ""

    def __bool__(self) -> bool:
        return any(self.slides.values())

    @property
    def anything(self) -> bool:
        """Whether there is anything at all, be it a region that was only looked through."""
        return any(one or one.regions for one in self.slides.values())

    def of(self, slide_id: str) -> SlideCorrections:
        """Those of a slide; empty where there are none."""
        return self.slides.get(slide_id, SlideCorrections())


def _named(name: str, names: Iterable[str]) -> bool:
    return name.strip().casefold() in names


def _word(name: str) -> str:
    return "tumor" if is_tumor([name])[0] else name.strip().casefold()


def _union(regions: Iterable[DrawnRegion]) -> shapely.Geometry:
    return shapely.union_all([region.shape for region in regions])
