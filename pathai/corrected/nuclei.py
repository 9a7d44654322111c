"""Stored nuclei with a person's corrections: classes changed, rejected ones gone, others added."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from pathai.case import read_all
from pathai.config import CellsConfig
from pathai.corrected.dab import background_of, nuclear_dab
from pathai.corrected.given import AddedNucleus, CellEdit, SlideCorrections
from pathai.quantities.squares import map_pixel
from pathai.quantities.summary import Nuclei
from pathai.store.folders import SlideFolder
from pathai.store.records import TISSUE, Cells, TissueMap

MATCH_UM = 2.0
"""A nucleus of other contents is the stored one whose center lies within this."""
F32 = NDArray[np.float32]
GONE = ""
ADDED, ANY = "added", "*"
"""Contents, and class, that stand for a nucleus which was added without a word for it."""


@dataclass(frozen=True)
class Corrected:
    """Nuclei of a slide after a person's corrections.

    Attributes
    ----------
    nuclei : Nuclei
        The kept ones in the order of the store, then the added ones by y, then x.
    rows : int64[M]
        Row of each in the store; -1 for an added one.
    shapes : tuple of shapely geometry
        Outlines of the added ones, level-0 px.
    named : dict of int to str
        What a person said of stored rows, whether or not it changes a count; empty: no nucleus.
    by_hand : int
        Nuclei that were changed, dropped or added.
    notes : tuple of str
        What of the corrections does not count, and why; one sentence each.
    """

    nuclei: Nuclei
    rows: NDArray[np.int64]
    shapes: tuple[shapely.Geometry, ...]
    named: dict[int, str]
    by_hand: int
    notes: tuple[str, ...]


def corrected_nuclei(
    folder: SlideFolder,
    detector: str,
    given: SlideCorrections,
    section: CellsConfig | None = None,
    vectors: str = "",
) -> Corrected:
    """The nuclei of a slide as a person left them.

    Edits of the contents that are stored now hold by row. Those of other contents are
    matched by position, nearest first and one to one; what finds no nucleus within `MATCH_UM`
    is told in a note. A class that the slide's nuclei do not have changes no count, and is told.

    Parameters
    ----------
    folder : SlideFolder
        With cells and tissue; with ``tiles.zarr`` where nuclei were added on an immunostain.
    detector : str
        Whose nuclei.
    given : SlideCorrections
    section : CellsConfig, optional
        Cut-off of DAB and source of the stain vectors.
    vectors : str
        Column ``stain_vectors`` of the sheet.
    """
    stored, info = read_all(folder, detector), folder.read_slide()
    scale, store = np.array([info.mpp_x, info.mpp_y]), folder.cells_digest(detector)
    now = standing(given, detector, stored.xy_px0, scale, store)
    named, lost, fresh = now.named, now.lost, [given.added[i] for i in now.added]
    keep, class_, changed, unknown = _applied(stored, named)
    tissue = folder.read_tissue()
    excluded = given.excluded
    if not excluded.is_empty:
        shapely.prepare(excluded)
        keep &= ~shapely.contains_xy(excluded, *stored.xy_px0.astype(np.float64).T)
    found = _added(folder, fresh, stored.classes, section or CellsConfig(), vectors)
    counted = [one for one in found if _counts(one, tissue, excluded)]
    rows = np.flatnonzero(keep)
    nuclei = Nuclei(
        np.concatenate([stored.xy_px0[rows], *(one.xy for one in counted)]),
        np.concatenate([class_[rows], np.array([one.class_ for one in counted], np.uint8)]),
        np.concatenate([stored.dab_od[rows].astype(np.float32),
                        np.array([one.dab_od for one in counted], np.float32)]),
        stored.classes,
    )  # fmt: skip
    of = [*(e.detector for e in given.edits), *(a.detector for a in given.added)]
    others = len(of) - of.count(detector)
    off = sum(one.class_ is not None for one in found) - len(counted)
    notes = _notes(lost, unknown, [o for o in found if o.class_ is None], stored.classes)
    notes += _counted_notes(off, others, now.twice)
    return Corrected(
        nuclei,
        np.concatenate([rows, np.full(len(counted), -1)]).astype(np.int64),
        tuple(one.shape for one in counted),
        named,
        changed + len(counted),
        tuple(notes),
    )


@dataclass(frozen=True)
class Standing:
    """What stands of the corrections of one detector's nuclei, as these are stored now.

    Attributes
    ----------
    named : dict of int to str
        What a person said of stored rows; empty: no nucleus.
    added : tuple of int
        Which of the added nuclei are missing still.
    lost : tuple of CellEdit
        Edits of other contents that find no nucleus.
    twice : int
        Added nuclei that the detector found since.
    """

    named: dict[int, str]
    added: tuple[int, ...]
    lost: tuple[CellEdit, ...]
    twice: int


def standing(
    given: SlideCorrections,
    detector: str,
    xy_px0: F32,
    scale_um: NDArray[np.float64],
    store: str,
) -> Standing:
    """What of a slide's corrections is about these nuclei; parameters as of `resolved`."""
    own = [e for e in given.edits if e.detector == detector]
    fresh = [i for i, a in enumerate(given.added) if a.detector == detector]
    since = _found_since([given.added[i] for i in fresh], store)
    named, lost = resolved([*own, *since], xy_px0, scale_um, store)
    missing = {e.row for e in lost if e.store == ADDED}
    kept = [i for k, i in enumerate(fresh) if given.added[i].store in ("", store) or k in missing]
    return Standing(
        {row: word for row, word in named.items() if word != ANY},
        tuple(kept),
        tuple(e for e in lost if e.store != ADDED),
        len(since) - len(missing),
    )


def _found_since(added: Sequence[AddedNucleus], store: str) -> list[CellEdit]:
    """Nuclei that were added to other contents, as edits of what the detector may find by now."""
    places = ((i, one, one.shape.centroid) for i, one in enumerate(added))
    return [
        CellEdit(one.detector, ADDED, i, (at.x, at.y), one.class_name or ANY)
        for i, one, at in places
        if one.store not in ("", store)
    ]


def resolved(
    edits: Sequence[CellEdit], xy_px0: F32, scale_um: NDArray[np.float64], store: str
) -> tuple[dict[int, str], list[CellEdit]]:
    """What is said of each stored row, and the edits that found none.

    Parameters
    ----------
    edits : sequence of CellEdit
        Of one detector, in order.
    xy_px0 : float32[M, 2]
        Stored nuclei.
    scale_um : float64[2]
        µm per level-0 px along x and y.
    store : str
        Digest of what is stored.
    """
    last = {(e.store, e.row): e for e in edits}
    now = {e.row: e.after for e in last.values() if e.store == store and e.row < len(xy_px0)}
    old = [e for e in last.values() if e.store != store or e.row >= len(xy_px0)]
    if not old or not len(xy_px0):
        return now, old
    old.sort(key=lambda e: (e.xy_px0[1], e.xy_px0[0], e.store, e.row))
    places = np.array([e.xy_px0 for e in old], np.float64) * scale_um
    tree = cKDTree(xy_px0.astype(np.float64) * scale_um)
    pairs = sorted(
        (float(np.hypot(*(tree.data[row] - places[i]))), i, row)
        for i, near in enumerate(tree.query_ball_point(places, MATCH_UM))
        for row in near
    )
    rows, of = set[int](now), dict[int, int]()
    for _, i, row in pairs:
        if i not in of and row not in rows:
            of[i] = row
            rows.add(row)
    matched = {row: old[i].after for i, row in of.items()}
    return {**matched, **now}, [e for i, e in enumerate(old) if i not in of]


def _applied(
    stored: Nuclei, named: dict[int, str]
) -> tuple[NDArray[np.bool_], NDArray[np.uint8], int, dict[str, int]]:
    """Which rows are kept, their classes, how many changed, and words that are no class here."""
    keep, class_ = np.ones(len(stored.xy_px0), bool), stored.class_.copy()
    unknown: dict[str, int] = {}
    for row, word in sorted(named.items()):
        if word == GONE:
            keep[row] = False
        elif (index := class_index(word, stored.classes)) is None:
            unknown[word] = unknown.get(word, 0) + 1
        else:
            class_[row] = index
    changed = int((~keep | (class_ != stored.class_)).sum())
    return keep, class_, changed, unknown


def class_index(word: str, classes: tuple[str, ...]) -> int | None:
    """Index of a class; where nuclei have one class only, every nucleus is of it."""
    if word in classes:
        return classes.index(word)
    return 0 if len(classes) == 1 else None


@dataclass(frozen=True)
class _Added:
    """An added nucleus; no class where its word is none of the slide's."""

    shape: shapely.Geometry
    xy: F32
    word: str
    class_: int | None
    dab_od: float


def _added(
    folder: SlideFolder,
    given: Sequence[AddedNucleus],
    classes: tuple[str, ...],
    section: CellsConfig,
    vectors: str,
) -> list[_Added]:
    """Added nuclei by y, then x; DAB is measured where the classes are by stain."""
    shapes = [one.shape for one in given]
    dab = np.zeros(len(given), np.float32)
    if given and "positive" in classes:
        dab = nuclear_dab(folder, shapes, background_of(folder, section, vectors))
    made = []
    for one, shape, od in zip(given, shapes, dab.tolist(), strict=True):
        index = class_index(one.class_name, classes)
        if index is None and one.class_name in ("", "nucleus") and "positive" in classes:
            side = "positive" if od >= section.dab_cutoff_od else "negative"
            index = class_index(side, classes)
        xy = np.array([[shape.centroid.x, shape.centroid.y]], np.float32)
        made.append(_Added(shape, xy, one.class_name, index, od))
    return sorted(made, key=lambda a: (float(a.xy[0, 1]), float(a.xy[0, 0]), a.word))


def _counts(one: _Added, tissue: TissueMap, excluded: shapely.Geometry) -> bool:
    """Whether an added nucleus has a class and lies on tissue that was analyzed."""
    on = tissue.classes[map_pixel(tissue, one.xy)][0] == TISSUE
    inside = shapely.contains_xy(excluded, *one.xy[0].astype(float))
    return bool(one.class_ is not None and on and not inside)


def _notes(
    lost: Sequence[CellEdit],
    unknown: dict[str, int],
    classless: Sequence[_Added],
    classes: tuple[str, ...],
) -> list[str]:
    """What of the corrections changes no count, and why."""
    notes, have = [], ", ".join(classes)
    if lost:
        notes.append(
            f"{len(lost)} corrected nuclei are no more: the nuclei were found anew, and none lies "
            f"within {MATCH_UM:g} µm"
        )
    for word, count in sorted(unknown.items()):
        notes.append(f"{count} nuclei called {word} keep their class: the slide has {have}")
    if classless:
        words = ", ".join(sorted({one.word or "nucleus" for one in classless}))
        notes.append(f"{len(classless)} added nuclei do not count as {words}: the slide has {have}")
    return notes


def _counted_notes(off: int, others: int, twice: int) -> list[str]:
    told = {
        f"{off} added nuclei do not count: they lie off the analyzed tissue": off,
        f"{others} corrections belong to the nuclei of another detector": others,
        f"{twice} added nuclei were found by the detector since, and count once": twice,
    }
    return [note for note, count in told.items() if count]


def corrected_cells(
    folder: SlideFolder,
    detector: str,
    given: SlideCorrections,
    section: CellsConfig | None = None,
    vectors: str = "",
) -> Cells:
    """The same with outlines, without raster; an added one is certain of its class, not measured.

    Its counts are those of these nuclei; its intervals are left as they were stored.
    """
    found = corrected_nuclei(folder, detector, given, section, vectors)
    return with_outlines(folder, detector, found)


def with_outlines(folder: SlideFolder, detector: str, found: Corrected) -> Cells:
    """Corrected nuclei as a table of cells; see `corrected_cells`."""
    stored, nuclei = folder.read_cells(detector), found.nuclei
    rows = found.rows[found.rows >= 0]
    rings = [np.asarray(_ring(shape), np.float32) for shape in found.shapes]
    first, length = stored.outline_start[rows], np.diff(stored.outline_start)[rows]
    ends = np.cumsum([0, *length.tolist(), *(len(r) for r in rings)]).astype(np.int64)
    # each point of a kept outline: where its outline begins, and its place in it
    place = np.arange(int(length.sum())) - np.repeat(ends[: len(rows)], length)
    points = stored.outline_px0[np.repeat(first, length) + place]
    prob = np.eye(len(nuclei.classes), dtype=np.float16)[nuclei.class_]
    same = nuclei.class_[: len(rows)] == stored.class_[rows]
    prob[: len(rows)][same] = stored.prob[rows][same]
    counts = np.bincount(nuclei.class_, minlength=len(nuclei.classes)).tolist()
    unmeasured = np.full((len(rings), stored.measures.shape[1]), np.nan, np.float32)
    return Cells(
        xy_px0=nuclei.xy_px0,
        score=np.concatenate([stored.score[rows], np.ones(len(rings), np.float16)]),
        class_=nuclei.class_,
        prob=prob,
        dab_od=nuclei.dab_od.astype(np.float16),
        measures=np.concatenate([stored.measures[rows], unmeasured]),
        outline_px0=np.concatenate([points, *rings]),
        outline_start=ends,
        raster=(),
        attrs=stored.attrs.model_copy(update={"class_counts": tuple(counts)}),
    )


def _ring(shape: shapely.Geometry) -> list[tuple[float, float]]:
    """Outer ring of the largest part, without its closing point."""
    part = max((p for p in shapely.get_parts(shape) if p.geom_type == "Polygon"),
               key=lambda p: p.area)  # fmt: skip
    return list(part.exterior.coords[:-1])


def excluding(tissue: TissueMap, inside: NDArray[np.bool_]) -> TissueMap:
    """The map without a part of its tissue."""
    classes = tissue.classes.copy()
    classes[inside] = LEFT_OUT
    return replace(tissue, classes=classes)


LEFT_OUT = 254
"""Value of tissue that a person excluded, in a map that stays in memory."""
