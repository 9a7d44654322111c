"""What a file says of a slide that a reader's log does not say yet."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely
from numpy.typing import NDArray

from pathai.edits import DECIMALS, MAX_NAME, AddedCell, Drawn, check_name
from pathai.edits import ring as kept_ring
from pathai.errors import PathaiError
from pathai.exchange.objects import NUCLEI, Object, ObjectsFile, Points
from pathai.exchange.standing import Standing
from pathai.geojson import IGNORE
from pathai.object_ids import contents_digits, slide_digits
from pathai.units import Ring

SAME_PX0 = 0.15
"""Outlines are the same within this: coordinates have one decimal, QuPath keeps 32 bits."""
LARGEST_UM2 = 1000.0
"""A new annotation that has a class of the nuclei and is not larger is a nucleus: QuPath's tools
draw annotations alone."""
MOST_MISSING = 0.5
"""Share of a slide's nuclei beyond which a file without them is taken for a part."""
OUTSIDE_PX0 = 1.0
"""How far an outline may reach beyond the slide."""


@dataclass
class Changes:
    """The difference between a file and what stands, ready to be logged.

    Attributes
    ----------
    classes : dict of str to list of int
        Class to rows that get it; empty: no nucleus.
    missed : list of (Ring, str)
        New nuclei: outline and class.
    renewed : list of (str, Ring, str)
        Added nuclei that changed: id in the log, outline, class.
    removed : list of str
        Added nuclei that are gone, by their id in the log.
    drawn : list of (str, str, tuple of Ring)
        Regions that are new (empty id) or changed: id, name, rings.
    erased : list of str
        Regions that are gone.
    left : Counter of str
        Objects that say nothing of nuclei and regions, by kind.
    notes : list of str
        What a person must know of it.
    """

    classes: dict[str, list[int]] = field(default_factory=dict)
    missed: list[tuple[Ring, str]] = field(default_factory=list)
    renewed: list[tuple[str, Ring, str]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    drawn: list[tuple[str, str, tuple[Ring, ...]]] = field(default_factory=list)
    erased: list[str] = field(default_factory=list)
    left: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any((self.classes, self.missed, self.renewed, self.removed, self.drawn, self.erased))

    def lines(self) -> list[str]:
        """What would change, for a person."""
        rejected = len(self.classes.get("", ()))
        named = {name: len(rows) for name, rows in self.classes.items() if name}
        told = [f"{count} nuclei are {name}" for name, count in sorted(named.items())]
        counted = (
            (rejected, "are no nuclei"),
            (len(self.missed), "nuclei added"),
            (len(self.renewed), "added nuclei changed"),
            (len(self.removed), "added nuclei taken away"),
            (len(self.drawn), "regions drawn or changed"),
            (len(self.erased), "regions taken away"),
        )
        told += [f"{count} {words}" for count, words in counted if count]
        told += [f"{count} objects left aside: {kind}" for kind, count in sorted(self.left.items())]
        return [*(told or ["nothing is new"]), *self.notes]


def changes_of(
    file: ObjectsFile, now: Standing, classes: Sequence[str] = (), *, keep_missing: bool = False
) -> Changes:
    """Compare a file with what stands on its slide.

    Parameters
    ----------
    file : ObjectsFile
    now : Standing
        What stands in the reader's log.
    classes : sequence of str
        Names of nuclei to allow beside those of the detector and of the reader.
    keep_missing : bool
        What is not in the file stays, instead of being deleted.

    Raises
    ------
    PathaiError
        E217 for another slide, for nuclei that were found anew since, for unknown classes, damaged
        outlines and what lies outside of the slide, with the line; for a file that holds less than
        half of the nuclei.
    """
    found = _Comparison(now, (*classes, *_told_classes(file)))
    for one in file:
        found.look(one)
    told = file.about.get("slide_id")
    if told is not None and told != now.slide_id:
        raise PathaiError("E217", f"{file.name} is of slide {told}, not {now.slide_id}")
    if not keep_missing:
        found.missing(file.name)
    return found.changes


def _told_classes(file: ObjectsFile) -> list[str]:
    told = file.about.get("classes")
    return [name for name in told if isinstance(name, str)] if isinstance(told, list) else []


class _Comparison:
    """Looks at one object after the other, and at what was not there at the end."""

    def __init__(self, now: Standing, classes: Sequence[str]) -> None:
        self.now, self.changes = now, Changes()
        cells = now.cells
        self.names = cells.attrs.classes
        self.known = {*self.names, *now.own_words, *classes}
        self.class_ = cells.read("class_")
        self.start, self.points = cells.read("outline_start"), cells.read("outline_px0")
        self.outlined = now.outlined()
        self.seen = np.zeros(len(cells), bool)
        self.things = set[str]()
        self.slide, self.contents = slide_digits(now.slide_id), contents_digits(now.store)
        self.ours = False

    # --- one object -----------------------------------------------------------------------

    def look(self, one: Object) -> None:
        """Note what an object says that does not stand yet."""
        if one.id is not None:
            if one.id.slide != self.slide:
                raise one.place.wrong(f"is of another slide than {self.now.slide_id}")
            self.ours = True
            if one.uuid in self.things:
                raise one.place.wrong("is there a second time", "delete it there")
        self._inside(one)
        kind = one.id.kind if one.id else ""
        if kind == "cell":
            self._stored(one)
        elif one.uuid in self.now.added:
            self.things.add(one.uuid)
            self._added(one, *self.now.added[one.uuid])
        elif one.uuid in self.now.regions:
            self.things.add(one.uuid)
            self._region(one, *self.now.regions[one.uuid])
        elif kind == "map" or one.kind not in ("annotation", *NUCLEI):
            self.changes.left["parts of maps" if kind == "map" else one.kind] += 1
        elif not one.polygons and one.kind not in NUCLEI:
            self.changes.left["points and lines"] += 1
        elif one.kind in NUCLEI or (kind != "region" and self._small(one)):
            self._new_nucleus(one)
        else:
            self._new_region(one)

    def _inside(self, one: Object) -> None:
        width, height = self.now.info.width, self.now.info.height
        for rings in one.polygons:
            x, y = rings[0].T
            low, high = min(x.min(), y.min()), max(x.max() - width, y.max() - height)
            if low < -OUTSIDE_PX0 or high > OUTSIDE_PX0:
                raise one.place.wrong(
                    f"lies outside of slide {self.now.slide_id}", "is it the file of this slide?"
                )

    def _small(self, one: Object) -> bool:
        mpp = self.now.info.mpp
        area = sum(shapely.Polygon(rings[0]).area for rings in one.polygons) * mpp.x * mpp.y
        return one.class_name in self.names and area <= LARGEST_UM2

    def _class(self, one: Object) -> str:
        """The class of a nucleus; empty if it is none."""
        name = one.class_name
        if name == IGNORE:
            return ""
        if not name and len(self.names) == 1:
            return self.names[0]
        if name in self.known:
            return name
        what = f"has the unknown class {name[:MAX_NAME]!r}" if name else "has no class"
        raise one.place.wrong(
            what, f"classes are {', '.join(sorted(self.known))}; --class allows another"
        )

    def _stored(self, one: Object) -> None:
        """A nucleus of the detector: its class, and whether its outline is the same still."""
        row = one.id.number if one.id else -1
        if one.id is None or one.id.contents != self.contents or row >= len(self.seen):
            remedy = "export again, and make the changes there"
            raise one.place.wrong("is of nuclei that were found anew since", remedy)
        if self.seen[row]:
            raise one.place.wrong("is there a second time", "delete it there")
        self.seen[row] = True
        name = self._class(one)
        own = self.points[self.start[row] : self.start[row + 1]]
        if name and one.polygons and len(own) > 2 and not self._same(one, (own,)):
            self._say(row, "")
            self._new_nucleus(one)
        elif one.corrected or name != self.names[self.class_[row]]:
            self._say(row, name)

    def _say(self, row: int, name: str) -> None:
        if self.now.words.get(row) != name:
            self.changes.classes.setdefault(name, []).append(row)

    def _added(self, one: Object, key: str, was: AddedCell) -> None:
        name = self._class(one)
        if not name:
            self.changes.removed.append(key)
            return
        same = self._same(one, (np.asarray(was.outline_px0),))
        if same and name == was.class_name:
            return
        outline = was.outline_px0 if same else self._outline(one)
        self.changes.renewed.append((key, outline, name))

    def _new_nucleus(self, one: Object) -> None:
        name = self._class(one)
        if name:
            self.changes.missed.append((self._outline(one), name))

    def _region(self, one: Object, key: str, was: Drawn) -> None:
        name = self._region_name(one)
        if self._same(one, [np.asarray(ring) for ring in was.rings_px0]):
            if name != was.name:
                self.changes.drawn.append((key, name, was.rings_px0))
            return
        for i, rings in enumerate(self._areas(one)):
            self.changes.drawn.append((key if i == 0 else "", name, rings))

    def _new_region(self, one: Object) -> None:
        for rings in self._areas(one):
            self.changes.drawn.append(("", self._region_name(one), rings))

    def _region_name(self, one: Object) -> str:
        try:
            return check_name(one.class_name or one.label or "region")
        except PathaiError as error:
            raise one.place.wrong(f"has a name that cannot be kept: {error.message}") from None

    # --- outlines -------------------------------------------------------------------------

    def _outline(self, one: Object) -> Ring:
        """The outline of a nucleus: one part, without holes."""
        if len(one.polygons) != 1:
            raise one.place.wrong("is a nucleus of several parts or of none", "split it there")
        return self._kept(one, one.polygons[0][0])

    def _areas(self, one: Object) -> list[tuple[Ring, ...]]:
        if not one.polygons:
            raise one.place.wrong("has no area", "delete it there, or draw it again")
        return [tuple(self._kept(one, ring) for ring in rings) for rings in one.polygons]

    def _kept(self, one: Object, points: Points) -> Ring:
        try:
            outline = kept_ring(points.tolist(), "an object")
        except PathaiError:
            raise one.place.wrong("has an outline that encloses nothing", "draw it again") from None
        area = shapely.make_valid(shapely.Polygon(outline)).area
        if one.id is None and not area > 0:
            raise one.place.wrong("has an outline that encloses nothing", "draw it again")
        return outline

    def _same(self, one: Object, rings: Sequence[NDArray[np.floating]]) -> bool:
        """Whether an object has these rings still, wherever each begins and runs."""
        if len(one.polygons) != 1 or len(one.polygons[0]) != len(rings):
            return False
        return all(_near(a, b) for a, b in zip(one.polygons[0], rings, strict=True))

    # --- what is not there ----------------------------------------------------------------

    def missing(self, file: str) -> None:
        """What is not in the file was deleted there."""
        expected = self.outlined.copy()
        expected[[row for row, word in self.now.words.items() if not word]] = False
        gone = np.flatnonzero(expected & ~self.seen)
        if not self.seen.any() and len(self.seen):
            self.changes.notes.append("the file holds no nuclei of the detector: they stay")
        elif len(gone) > MOST_MISSING * self.outlined.sum():
            message = f"{file} is without {len(gone)} of {len(self.seen)} nuclei"
            remedy = "export all objects there, or say that it is a part: --keep-missing"
            raise PathaiError("E217", message, remedy)
        else:
            for row in gone.tolist():
                self._say(row, "")
        if self.ours:
            now = self.now
            self.changes.removed += [k for i, (k, _) in now.added.items() if i not in self.things]
            self.changes.erased += [k for i, (k, _) in now.regions.items() if i not in self.things]


def _near(a: Points, b: NDArray[np.floating]) -> bool:
    """Whether two rings are the same line within `SAME_PX0`."""
    b = np.round(np.asarray(b, np.float64), DECIMALS)
    if a.shape == b.shape and np.abs(a - b).max() <= SAME_PX0:
        return True
    one, other = shapely.linearrings(a), shapely.linearrings(b)
    return bool(shapely.hausdorff_distance(one, other) <= SAME_PX0)
