"""Nuclei in the window: shown by class, chosen by click, corrected one by one or all in a region.

What a reader corrects goes to the session's log. What is shown (raster, outlines, centers, counts)
follows from the log, so that undo and redo need nothing of their own.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from psygnal import Signal

from pathai.edits import AddedCell, CellEdit
from pathai.errors import PathaiError
from pathai.region_counts import NONE, RegionIndex
from pathai.units import Box, Ring
from pathai.viewer import layers, palette
from pathai.viewer.cells_view import CellsView
from pathai.viewer.nuclei import Nuclei, Rows

if TYPE_CHECKING:
    from pathai.viewer.presenter import Review

PICK_UM = 6.0
"""A click so near to a center chooses the nucleus, even outside of its outline."""
REACH_UM = 30.0
"""No outline goes farther than this from its nucleus' center."""
BLOCK_PX = 512
"""The raster is drawn anew in blocks of about this edge, where nuclei changed."""
CLICK_PX = 4.0
"""A mouse that moved less than this between press and release has clicked."""


class CellsPart:
    """The nuclei of the slide in view.

    Parameters
    ----------
    review : Review
        Of the window.
    """

    changed = Signal()
    """Classes, counts, what is hidden or what is selected has changed."""

    def __init__(self, review: "Review") -> None:
        self.review = review
        self.nuclei: Nuclei | None = None
        self.index: RegionIndex | None = None
        self.classes: tuple[str, ...] = ()
        self.hidden: set[str] = set()
        self.selected: int | str | None = None
        self.version = 0
        """Grows with every change of classes."""
        self._applied: dict[int, str] = {}
        self._added: dict[str, AddedCell] = {}
        self.view = CellsView(self)
        review.changed.connect(self.sync)
        review.slide_cleared.connect(self._leave)
        review.viewer.mouse_drag_callbacks.append(self._click)

    # --- what there is --------------------------------------------------------------------

    def enter(self) -> list[layers.LayerData]:
        """Take up the slide in view; gives the layers of its nuclei beside the raster."""
        slide = self.review.slide
        if slide is None or slide.cells is None:
            self._leave()
            return []
        self.nuclei = slide.cells
        self.classes = self.nuclei.attrs.classes
        self.index = RegionIndex(self.nuclei.xy_px0, self.nuclei.class_, slide.mpp)
        self._applied, self._added, self.selected = {}, {}, None
        self.sync()
        return self.view.layers()

    def _leave(self) -> None:
        self.nuclei, self.index, self.selected = None, None, None
        self._applied, self._added = {}, {}

    @property
    def there(self) -> tuple[Nuclei, RegionIndex]:
        """The nuclei and their index; only to be asked for while a slide with nuclei is in view."""
        if self.nuclei is None or self.index is None:
            raise RuntimeError("no slide with nuclei is in view")
        return self.nuclei, self.index

    @property
    def colors(self) -> dict[str, str]:
        """Color of each class."""
        return palette.cell_colors(self.classes)

    @property
    def added(self) -> dict[str, AddedCell]:
        """Nuclei that the reader added, by id."""
        return self._added

    @property
    def edited(self) -> int:
        """Nuclei that the reader corrected, rejected, confirmed or added."""
        return len(self._applied) + len(self._added)

    def counts(self) -> dict[str, int]:
        """Nuclei of each class on the slide, as corrected."""
        if self.index is None:
            return {}
        every = np.concatenate([self.index.class_, self.index.added_class])
        number = np.bincount(every[every != NONE], minlength=len(self.classes))
        return dict(zip(self.classes, number.tolist(), strict=True))

    def class_of(self, one: int | str) -> str:
        """Class of a nucleus, by row or by the id of an added one; empty if it was rejected."""
        if isinstance(one, str):
            return self._added[one].class_name
        value = int(self.index.class_[one]) if self.index is not None else NONE
        return "" if value == NONE else self.classes[value]

    def outline_px0(self, one: int | str) -> NDArray[np.float32]:
        """Outline float32[k, 2] of a nucleus."""
        if isinstance(one, str):
            return np.array(self._added[one].outline_px0, np.float32)
        return self.there[0].outlines(np.array([one]))[0]

    # --- hiding ---------------------------------------------------------------------------

    def toggle(self, name: str) -> None:
        """Hide a class or show it again."""
        self.hidden ^= {name}
        self.view.recolor()
        self.view.draw()
        self.changed.emit()

    def toggle_number(self, number: int) -> None:
        """The same by its place in the legend, from 1."""
        if number <= len(self.classes):
            self.toggle(self.classes[number - 1])

    # --- choosing -------------------------------------------------------------------------

    def _click(self, _viewer: object, event: Any) -> Iterator[None]:
        """A click chooses the nucleus under it; a drag moves the view as ever."""
        active = self.review.viewer.layers.selection.active
        mode = str(getattr(active, "mode", "pan_zoom"))
        if event.button != 1 or self.index is None or mode != "pan_zoom" or not self.view.near:
            return
        start = np.asarray(event.pos, float)
        yield
        while event.type == "mouse_move":
            yield
        if np.abs(np.asarray(event.pos, float) - start).max() < CLICK_PX:
            y, x = event.position[-2:]
            mpp = self.index.mpp
            self.select_at(x / mpp.x, y / mpp.y)

    def select_at(self, x_px0: float, y_px0: float) -> None:
        """Choose the nucleus whose outline holds a place, or the nearest; else none."""
        self.select(self.at(x_px0, y_px0))

    def at(self, x_px0: float, y_px0: float) -> int | str | None:
        """The nucleus at a place, shown or not rejected."""
        if self.index is None:
            return None
        mpp, place = self.index.mpp, shapely.Point(x_px0, y_px0)
        near: list[int | str] = [int(row) for row in self._shown(self.around(place.bounds))]
        near += [i for i, cell in self._added.items() if cell.class_name not in self.hidden]
        found: list[tuple[bool, float, str, int | str]] = []
        for one in near:
            line = self.outline_px0(one)
            center = self.index.xy_px0[one] if isinstance(one, int) else line.mean(axis=0)
            away = float(np.hypot(*((center - (x_px0, y_px0)) * (mpp.x, mpp.y))))
            outside = len(line) < 3 or not shapely.Polygon(line).covers(place)
            if not outside or away <= PICK_UM:
                found.append((outside, away, str(one), one))
        return min(found, key=lambda one: one[:3])[3] if found else None

    def select(self, one: int | str | None) -> None:
        """Choose a nucleus by row or id, or none."""
        if one != self.selected:
            self.selected = one
            self.view.mark()
            self.changed.emit()

    def around(self, bounds: tuple[float, float, float, float]) -> Rows:
        """Rows of the nuclei whose outlines may reach into a box of level-0 px."""
        index = self.there[1]
        mpp = index.mpp
        wide, high = REACH_UM / mpp.x, REACH_UM / mpp.y
        left, top, right, bottom = bounds
        return index.in_box(
            Box(left - wide, top - high, right - left + 2 * wide, bottom - top + 2 * high)
        )

    def _shown(self, rows: Rows) -> Rows:
        return rows[self.shows()[self.there[1].class_[rows]]]

    def shows(self) -> NDArray[np.bool_]:
        """Whether nuclei of each class are shown, bool[C + 1]; the last is for rejected ones."""
        return np.array([name not in self.hidden for name in self.classes] + [False])

    # --- correcting -----------------------------------------------------------------------

    def classify(self, name: str) -> None:
        """Give the selected nucleus a class."""
        if self.selected is None:
            self.review.told.emit("Click a nucleus first.")
        elif isinstance(self.selected, str):
            one = self.selected
            self._do(lambda: self.review.session.change_cell(self._slide_id, one, name))
        else:
            self._correct(np.array([self.selected]), name)

    def classify_number(self, number: int) -> None:
        """The same by the class's place in the legend, from 1."""
        if number <= len(self.classes):
            self.classify(self.classes[number - 1])

    def confirm(self) -> None:
        """Say that the class of the selected nucleus is right."""
        self.classify("" if self.selected is None else self.class_of(self.selected))

    def reject(self) -> None:
        """Say that the selected one is no nucleus."""
        if self.selected is None:
            self.review.told.emit("Click a nucleus first.")
            return
        one, self.selected = self.selected, None
        if isinstance(one, str):
            self._do(lambda: self.review.session.remove_cell(self._slide_id, one))
        else:
            self._correct(np.array([one]), "")
        self.view.mark()

    def classify_all(self, shape_px0: shapely.Geometry, name: str, of: str = "") -> int:
        """Give every nucleus in a region a class, as one action.

        Parameters
        ----------
        shape_px0 : shapely geometry
            Level-0 px.
        name : str
            The class; empty: they are no nuclei.
        of : str
            Only those of this class.

        Returns
        -------
        int
            How many were meant. Nuclei that the reader added are corrected one by one.
        """
        if self.index is None:
            return 0
        rows = self.index.within(shape_px0)
        now = self.index.class_[rows]
        wanted = now == self.classes.index(of) if of else now != NONE
        rows = rows[wanted & (now != (self.classes.index(name) if name in self.classes else NONE))]
        if len(rows):
            self._correct(rows, name)
        else:
            self.review.told.emit("No nucleus in the region would change.")
        return len(rows)

    def add(self, outline_px0: Ring, name: str) -> None:
        """Add a nucleus that the detector missed."""
        if self.nuclei is None:
            return
        nuclei, known = self.nuclei, set(self._added)
        self._do(
            lambda: self.review.session.add_cell(
                self._slide_id, nuclei.detector, outline_px0, name, nuclei.store
            )
        )
        self.select(next((i for i in self._added if i not in known), self.selected))

    def draw(self, name: str) -> None:
        """Let the reader draw a nucleus of this class around its edge."""
        self.view.start_drawing(lambda line: self.add(tuple(map(tuple, line.tolist())), name))

    @property
    def _slide_id(self) -> str:
        return self.review.slide.slide_id if self.review.slide else ""

    def _correct(self, rows: Rows, name: str) -> None:
        nuclei = self.there[0]
        xy = tuple((float(x), float(y)) for x, y in nuclei.xy_px0[rows])
        where = (self._slide_id, nuclei.detector, nuclei.store)
        edit = CellEdit(*where, tuple(rows.tolist()), xy, name)
        self._do(lambda: self.review.session.correct_cells(edit))

    def _do(self, act: Any) -> None:
        """Do it; a refusal is told to the reader, and nothing has changed."""
        try:
            act()
        except PathaiError as error:
            self.review.told.emit(str(error))
        self.review.changed.emit()

    # --- following the log ----------------------------------------------------------------

    def sync(self) -> None:
        """Bring what is shown to what the log says."""
        if self.nuclei is None or self.index is None:
            return
        nuclei, index, state = self.nuclei, self.index, self.review.session.state
        now = dict(state.classes(self._slide_id, nuclei.detector, nuclei.store))
        added = dict(state.added_cells.get(self._slide_id, {}))
        if now == self._applied and added == self._added:
            return
        self._name({*now.values(), *(cell.class_name for cell in added.values())})
        number = {name: i for i, name in enumerate(self.classes)} | {"": NONE}
        rows = [r for r in now.keys() | self._applied.keys() if now.get(r) != self._applied.get(r)]
        rows = sorted(r for r in rows if r < len(nuclei))
        changed = np.array(rows, np.int64)
        before = index.class_[changed].copy()
        given = [number[now[r]] if r in now else int(nuclei.class_[r]) for r in rows]
        index.correct(changed, np.array(given, np.int16))
        lines = [np.array(cell.outline_px0, np.float32) for cell in added.values()]
        centers = [shapely.Polygon(line).centroid.coords[0] for line in lines]
        kinds = [number[cell.class_name] for cell in added.values()]
        index.set_added(np.array(centers, np.float32).reshape(-1, 2), kinds)
        moved = [c for i, c in (self._added | added).items() if self._added.get(i) != added.get(i)]
        moved += [c for i, c in self._added.items() if i in added and added[i] != c]
        self._applied, self._added = now, added
        self.version += 1
        if isinstance(self.selected, str) and self.selected not in added:
            self.selected = None
        self._redraw(changed[index.class_[changed] != before], moved)
        self.view.draw()
        self.changed.emit()

    def _name(self, names: set[str]) -> None:
        """Classes that a reader gives beside the detector's come after them."""
        more = sorted(names - {"", *self.classes})
        if more:
            self.classes = (*self.classes, *more)
            self.view.recolor()

    def _redraw(self, rows: Rows, moved: list[AddedCell]) -> None:
        """Draw the raster anew around nuclei that changed."""
        nuclei = self.there[0]
        boxes: dict[tuple[int, int], list[NDArray[np.float64]]] = {}
        lines = [np.array(cell.outline_px0, np.float64) for cell in moved]
        points, start = nuclei.outlines(rows)
        low = [line.min(axis=0) for line in lines]
        high = [line.max(axis=0) for line in lines]
        if len(rows):
            low += list(np.minimum.reduceat(points, start[:-1]).astype(np.float64))
            high += list(np.maximum.reduceat(points, start[:-1]).astype(np.float64))
        block = BLOCK_PX * nuclei.raster.step
        for a, b in zip(low, high, strict=True):
            key = (int(a[0] // block), int(a[1] // block))
            boxes.setdefault(key, []).append(np.concatenate([a, b]))
        for found in boxes.values():
            every = np.array(found)
            self._draw_box((*every[:, :2].min(axis=0), *every[:, 2:].max(axis=0)))
        if boxes:
            self.view.refresh_raster()

    def _draw_box(self, box: tuple[float, ...]) -> None:
        nuclei, index = self.there
        window = nuclei.raster.window((box[0], box[1], box[2], box[3]))
        step = nuclei.raster.step
        left, top, right, bottom = (v * step for v in window)
        near = self.around((left, top, right, bottom))
        near = near[index.class_[near] != NONE]
        points, start = nuclei.outlines(near)
        value = index.class_[near] + 1
        lines = [np.array(cell.outline_px0, np.float32) for cell in self._added.values()]
        nuclei.raster.redraw(
            window,
            np.concatenate([index.xy_px0[near], index.added_xy_px0]),
            np.concatenate([value, index.added_class + 1]).astype(np.uint8),
            np.concatenate([points, *lines]),
            np.concatenate([start, start[-1] + np.cumsum([len(line) for line in lines])]).astype(
                int
            ),
        )
