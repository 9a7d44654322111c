"""What a reader does on the slides of the open case: nuclei, regions, fields seen."""

from collections.abc import Sequence
from dataclasses import replace

from pathai.edits import (
    AddedCell,
    CellEdit,
    Drawn,
    added_cell,
    box_value,
    cell_value,
    cells_of,
    check_name,
    drawn_value,
    edit_value,
    region_of,
    ring,
    seen_on,
)
from pathai.errors import PathaiError
from pathai.review.recorder import Recorder
from pathai.units import Box

Points = Sequence[Sequence[float]]
"""Points (x, y) of a closed line, level-0 px."""


class SlideEdits(Recorder):
    """Changes that are about the slides, and hold whatever the draft is."""

    def correct_cells(self, edit: CellEdit) -> int:
        """Give nuclei a class, or say that they are none; one event for any number of nuclei.

        Returns
        -------
        int
            How many nuclei changed; those that had this correction already do not count, and
            without a change there is no event.

        Raises
        ------
        PathaiError
            E193 without an open case.
        """
        self._check_open()
        now = self.state.classes(edit.slide_id, edit.detector, edit.store)
        new = [i for i, row in enumerate(edit.rows) if now.get(row) != edit.after]
        if not new:
            return 0
        new.sort(key=lambda i: edit.rows[i])
        kept = replace(
            edit, rows=tuple(edit.rows[i] for i in new), xy_px0=tuple(edit.xy_px0[i] for i in new)
        )
        before = self.state.value_of_rows(kept)
        self._record("cells", cells_of(edit.slide_id), edit_value(kept), before)
        return len(new)

    def add_cell(
        self, slide_id: str, detector: str, outline_px0: Points, class_name: str, store: str = ""
    ) -> str:
        """Add a nucleus that the detector missed.

        Parameters
        ----------
        slide_id, detector : str
            Whose nuclei it belongs to.
        outline_px0 : sequence of (float, float)
            Its outline (x, y), level-0 px; one decimal is kept.
        class_name : str
            Its class.
        store : str
            Digest of the cells in which it is missing.

        Returns
        -------
        str
            Its id on this slide: ``n1``, ``n2``; an id is never given twice.
        """
        self._check_open()
        cell_id = f"n{self.state.numbers.get(f'cell:{slide_id}', 0) + 1}"
        self._set_cell(slide_id, cell_id, outline_px0, class_name, detector, store)
        return cell_id

    def change_cell(
        self, slide_id: str, cell_id: str, class_name: str = "", outline_px0: Points = ()
    ) -> None:
        """Give an added nucleus another class or outline; what is left out stays (E193 if none)."""
        was = self._added(slide_id, cell_id)
        line, name = outline_px0 or was.outline_px0, class_name or was.class_name
        self._set_cell(slide_id, cell_id, line, name, was.detector, was.store)

    def remove_cell(self, slide_id: str, cell_id: str) -> None:
        """Take an added nucleus away (E193 if there is none)."""
        self._added(slide_id, cell_id)
        self._record("cells", added_cell(slide_id, cell_id), None)

    def _set_cell(
        self, slide_id: str, cell_id: str, line: Points, name: str, detector: str, store: str
    ) -> None:
        if not detector:
            raise PathaiError("E193", "an added nucleus names no detector")
        outline = ring(line, "an added nucleus")
        what = added_cell(slide_id, cell_id)
        value = cell_value(AddedCell(outline, check_name(name), detector, store))
        if self.state.value(what) != value:
            self._record("cells", what, value)

    def _added(self, slide_id: str, cell_id: str) -> AddedCell:
        found = self.state.added_cells.get(slide_id, {}).get(cell_id)
        if found is None:
            raise PathaiError("E193", f"no added nucleus {cell_id!r} on {slide_id}")
        return found

    def set_region(
        self,
        slide_id: str,
        region_id: str,
        name: str,
        rings_px0: Sequence[Points],
        store: str = "",
    ) -> str:
        """Draw a region, or change one.

        Parameters
        ----------
        slide_id : str
            Where it is.
        region_id : str
            Which region is changed; empty for a new one.
        name : str
            Such as ``tumor``; several regions may have one name.
        rings_px0 : sequence of rings
            Its outer ring, then its holes; points (x, y), level-0 px; one decimal is kept.
        store : str
            Digest of what it corrects, such as a tissue map's; empty if it is drawn on the
            picture alone.

        Returns
        -------
        str
            Its id on this slide: ``r1``, ``r2``; an id is never given twice.
        """
        self._check_open()
        if region_id:
            self._check_region(slide_id, region_id)
        if not rings_px0:
            raise PathaiError("E193", f"region {name!r} has no outline", "draw three points")
        rings = tuple(ring(one, f"region {name!r}") for one in rings_px0)
        region_id = region_id or f"r{self.state.numbers.get(f'region:{slide_id}', 0) + 1}"
        what = region_of(slide_id, region_id)
        value = drawn_value(Drawn(check_name(name), rings, store))
        if self.state.value(what) != value:
            self._record("region", what, value)
        return region_id

    def remove_region(self, slide_id: str, region_id: str) -> None:
        """Take a drawn region away (E193 if there is none)."""
        self._check_region(slide_id, region_id)
        self._record("region", region_of(slide_id, region_id), None)

    def _check_region(self, slide_id: str, region_id: str) -> None:
        if region_id not in self.state.regions.get(slide_id, {}):
            raise PathaiError("E193", f"no region {region_id!r} on {slide_id}")

    def seen(self, slide_id: str, box: Box) -> None:
        """Say that a field was looked at; the field before it is not written twice."""
        self._check_open()
        value = box_value(box)
        if box.width <= 0 or box.height <= 0:
            raise PathaiError("E193", "a field of view is empty")
        fields = self.state.seen.get(slide_id)
        if not fields or box_value(fields[-1]) != value:
            self._record("seen", seen_on(slide_id), value)

    def _check_open(self) -> None:
        if self.case is None:
            raise PathaiError("E193", "no case is open", "open one from the worklist")
