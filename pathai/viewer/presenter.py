"""What the review does with a viewer; knows napari's model but no Qt.

The dock shows this state and calls these methods; keys and commands call the same methods.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer
from psygnal import Signal

from pathai.errors import PathaiError
from pathai.review import Decision, ReviewSession, Row
from pathai.review.worklist import next_row
from pathai.units import Box
from pathai.viewer import layers, panels
from pathai.viewer.curtain import OWN, Curtain
from pathai.viewer.listing import Listing
from pathai.viewer.looking import Looking
from pathai.viewer.preferences import Preferences
from pathai.viewer.runs import CaseView, Run, Sentence
from pathai.viewer.slide import Slide, open_slide
from pathai.viewer.stack import Stack

CLOSE = 1.0
"""Screen pixels per µm (10x) from which nuclei are outlines with centers, not areas."""
MARGIN = 1.6
"""How much more than the evidence is shown around it."""
MIN_FIELD_UM = 400.0
"""A field is never narrower than this after a jump, so that the reader keeps the context."""
EDGE_PX = 3.0
FAINT = {"attention": (0.6, 0.2), "tissue": (0.5, 0.15)}
"""Opacity far and close: what is coarse must not cover the morphology."""


class Review(Looking):
    """One reader's review in one viewer.

    Parameters
    ----------
    viewer : ViewerModel
        Shows the slide.
    run : Run
        What there is to review.
    reader : str
        Id of the reader.
    preferences : Preferences, optional
        What the reader has set; ``blind`` decides whether AI results wait for a first impression.

    Raises
    ------
    PathaiError
        E193 if the reader's id cannot name a log.
    """

    changed = Signal()
    """Something that the dock shows has changed."""
    slide_shown = Signal()
    """Another slide is in view, with all of our layers; parts may add theirs."""
    slide_cleared = Signal()
    """The slide and our layers are gone; what a part keeps of them is void."""
    at_rest = Signal()
    """The camera has stopped, or what is shown has changed: draw what depends on the view."""

    def __init__(
        self, viewer: ViewerModel, run: Run, reader: str, preferences: Preferences | None = None
    ) -> None:
        super().__init__(viewer)
        self.run, self.preferences = run, preferences or Preferences()
        self.session = ReviewSession(
            run.reviews,
            reader,
            [case.record for case in run.cases.values()],
            blind=self.preferences.blind,
            signed=run.is_signed,
            flags={case.case_id: case.flags for case in run.cases.values()},
        )
        self.slide: Slide | None = None
        self.selected, self.place = "", 0
        self.hidden = False
        self._close = False
        self.overlays: dict[str, bool] = {}
        self.listing = Listing()
        self.faint = dict(FAINT)
        """Opacity of a family of overlays, far and close; a part may set it."""
        self._parts: dict[str, Any] = {}
        self._stack = Stack(viewer)
        self._curtain = Curtain(self)
        viewer.scene.camera.events.zoom.connect(self._on_zoom)

    # --- where we are ---------------------------------------------------------------------

    @property
    def case(self) -> CaseView | None:
        """The open case."""
        return self.run.cases[self.session.case.case_id] if self.session.case else None

    def decision(self, statement: str) -> Decision | None:
        """What the reader decided on a sentence of the open case."""
        return self.session.state.decisions.get(statement)

    def sentence(self, statement: str) -> Sentence | None:
        """A sentence of the open case."""
        return (
            next((s for s in self.case.sentences if s.id == statement), None) if self.case else None
        )

    def part(self, name: str) -> Any:
        """A part by its name in `pathai.viewer.panels.PARTS`, made when first asked for."""
        if name not in self._parts:
            self._parts[name] = panels.part(self, name)
        return self._parts[name]

    # --- the first impression -------------------------------------------------------------

    @property
    def blind(self) -> bool:
        """Whether AI results stay out of sight: no first impression of this case is recorded."""
        return self.session.hidden

    def refuse_blind(self) -> None:
        """Say why nothing of the AI's is shown."""
        self.told.emit("AI results stay hidden until your first impression is recorded.")

    def give_impression(self, text: str, answers: dict[str, str] | None = None) -> None:
        """Record what the reader thinks, and show the AI's results from now on."""
        self._unveil(lambda: self.session.give_impression(text, answers or {}))

    def reveal(self, reason: str) -> None:
        """Show the AI's results without a first impression; the reason goes to the log."""
        self._unveil(lambda: self.session.reveal(reason))

    def _unveil(self, act: Callable[[], None]) -> None:
        if not self._refused(act):
            self._show_overlays()

    # --- cases and slides -----------------------------------------------------------------

    def open_case(self, case_id: str) -> None:
        """Open a case and show its first slide that has pixels."""
        self.run.cases[case_id] = self.run.view(case_id)  # the report may have been changed since
        if self._refused(lambda: self.session.renew(self.run.cases[case_id].record)):
            return
        if self._refused(lambda: self.session.open(case_id)):
            return
        self._note_differences(case_id)
        self.selected = ""
        case = self.run.cases[case_id]
        shown = [row.slide_id for row in case.rows if self.run.has_pixels(row.slide_id)]
        if shown:
            self.show_slide(shown[0])
        else:
            self._clear()
            self.told.emit(f"{case_id}: no slide of this case could be processed")
        self.changed.emit()

    def open_slide(self, slide_id: str) -> None:
        """Open the case of a slide, and show that slide of it."""
        for case in self.run.cases.values():
            if slide_id in (row.slide_id for row in case.rows):
                self.open_case(case.case_id)
                self._go_to_slide(slide_id)
                return
        self.told.emit(f"{slide_id} is in no case of the sheet")

    def _note_differences(self, case_id: str) -> None:
        """A flag for the worklist where readers differ, once this reader may know."""
        flags = self.run.cases[case_id].flags
        try:
            open_ones = [one for one in self.session.disagreements() if not one.settled]
        except PathaiError:
            open_ones = []  # another reader's log is broken: `pathai readers` tells
        self.session.flags[case_id] = (*flags, "readers differ") if open_ones else flags

    def next_case(self, step: int = 1) -> None:
        """Open the next (-1: previous) case that is not reviewed."""
        found = next_row(self.rows(), self.session.case.case_id if self.session.case else "", step)
        if found is None:
            among = " of the list" if self.listing.narrow else ""
            self.told.emit(f"Every other case{among} is reviewed.")
        else:
            self.open_case(found.case_id)

    def rows(self) -> tuple[Row, ...]:
        """The worklist as the reader has filtered and sorted it."""
        return self.listing.of(self.session.worklist())

    def show_slide(self, slide_id: str) -> None:
        """Show a slide of the open case in place of the one before."""
        try:
            slide = open_slide(self.run.slide(slide_id), self.run.detector, self.run.tasks)
        except PathaiError as error:
            self._clear()
            self.told.emit(str(error.about(slide_id)))
            self.changed.emit()
            return
        self._clear(keep=True)
        self.slide = slide
        for data, options, kind in slide.layers():
            self._add(data, options, kind)
        if slide.cells is not None:
            for data, options, kind in self.part("cells").enter():
                self._add(data, options, kind)
        self._add(*layers.evidence_layer())
        notes = list(slide.notes)
        if self.run.being_written(slide_id):
            notes.append(f"A run is writing results of {slide_id}; what is finished is shown.")
        if notes:
            self.told.emit(" ".join(notes))
        self.viewer.layers.selection.active = self.layer("slide")
        self._close = False
        self.fit()
        self._on_zoom()
        self.slide_shown.emit()
        self._stack.drop()
        self.changed.emit()

    def layer(self, kind: str) -> Layer | None:
        """The layer of this name, if it is of the slide in view."""
        return self._stack.find(kind)

    def _add(self, data: object, options: dict[str, object], kind: str, above: str = "") -> Layer:
        layer = self._stack.put(data, options, kind, above)
        layer.editable = False
        if layer.name == "tissue":
            layer.contour = 1  # an option of the layer, but not of its constructor
        if layer.name != "slide" and not layer.metadata.get(OWN):
            layer.opacity *= self.preferences.opacity
        self.see_to(layer)
        return layer

    def see_to(self, layer: Layer) -> None:
        """Show or hide a layer; napari reads it anew even if it is shown already."""
        if layer.visible != self._wanted(layer):
            layer.visible = not layer.visible

    def _clear(self, *, keep: bool = False) -> None:
        """Take our layers away, or keep them for the next slide; the reader's own stay."""
        self.slide = None
        self._stack.rest()
        if not keep:
            self._stack.drop()
        self.slide_cleared.emit()

    # --- the camera -----------------------------------------------------------------------

    def fly(self, box: Box) -> None:
        """Bring a box of level-0 px into view, with some of what lies around it."""
        if self.slide is None:
            return
        corners = layers.box_um(box, self.slide.mpp)
        low, high = corners.min(axis=0), corners.max(axis=0)
        extent = np.maximum((high - low) * MARGIN, MIN_FIELD_UM)
        camera = self.viewer.scene.camera
        camera.center = tuple((low + high) / 2)
        camera.zoom = float(np.min(np.asarray(self.viewer.canvas.size, float) / extent))

    def field(self) -> Box:
        """What the canvas shows, level-0 px of the slide."""
        if self.slide is None:
            return Box(0, 0, 0, 0)
        camera, mpp = self.viewer.scene.camera, self.slide.mpp
        height, width = (float(v) / camera.zoom for v in self.viewer.canvas.size)
        y, x = camera.center[-2:]
        left, top = (x - width / 2) / mpp.x, (y - height / 2) / mpp.y
        return Box(left, top, width / mpp.x, height / mpp.y)

    def refresh_view(self) -> None:
        """Draw what depends on the view; to be called when the camera has come to rest."""
        self.part("cells").view.draw()
        self.at_rest.emit()

    def _on_zoom(self) -> None:
        zoom, evidence = self.viewer.scene.camera.zoom, self.layer("evidence")
        if (zoom >= CLOSE) != self._close:
            self._fade()
        self._close = bool(zoom >= CLOSE)
        if evidence is not None and len(evidence.data):
            evidence.edge_width = EDGE_PX / zoom

    def _fade(self) -> None:
        """Give coarse overlays the opacity that is meant for this zoom."""
        near = self.viewer.scene.camera.zoom >= CLOSE
        for layer in self.viewer.layers:
            ours = layer.metadata.get("pathai") and not layer.metadata.get("solid")
            if ours and _family(layer.name) in self.faint:
                opacity = self.faint[_family(layer.name)][near] * self.preferences.opacity
                if layer.opacity != opacity:
                    layer.opacity = opacity

    # --- overlays -------------------------------------------------------------------------

    def toggle_overlays(self) -> None:
        """Hide everything but the slide, or show it again."""
        if self.blind:
            self.refuse_blind()
            return
        self.hidden = not self.hidden
        self._show_overlays()

    def show_overlay(self, family: str, shown: bool) -> None:
        """Show or hide ``tissue``, ``attention``, ``nuclei`` or ``evidence``."""
        if self.blind and shown:
            self.refuse_blind()
            self.changed.emit()
            return
        self.overlays[family] = shown
        self._show_overlays()

    def _show_overlays(self) -> None:
        self.show_layers()
        self.changed.emit()

    def show_layers(self) -> None:
        """Bring visibility and opacity of our layers to what is wanted."""
        self._fade()
        for layer in self.viewer.layers:
            if layer.metadata.get("pathai") and not self._stack.idle(layer):
                self.see_to(layer)
        self.refresh_view()

    def put(self, data: object, options: dict[str, object], kind: str, above: str = "") -> Layer:
        """Add a layer of a part, on top or right above the named one; it goes with the slide."""
        layer = self._add(data, options, kind, above)
        self.viewer.layers.selection.active = self.layer("slide")
        return layer

    def wanted(self, layer: Layer) -> bool:
        """Whether a layer of ours is to be seen; a part leaves one out by its metadata."""
        return self._wanted(layer)

    def _wanted(self, layer: Layer) -> bool:
        if layer.metadata.get("left out"):
            return False
        family = _family(layer.name)
        if self.blind and self._curtain.covers(layer):
            return False
        return family == "slide" or (self.overlays.get(family, True) and not self.hidden)

    # --- sentences ------------------------------------------------------------------------

    def select(self, statement: str, place: int = 0) -> None:
        """Choose a sentence and go to where it stands.

        Parameters
        ----------
        statement : str
            Its id.
        place : int
            Which of its boxes to go to, round and round.
        """
        sentence = self.sentence(statement)
        if sentence is None:
            return
        if self.blind:
            self.refuse_blind()
            return
        self.selected, self.place = statement, place
        places = [(e.slide_id, box) for e in sentence.evidence for box in e.boxes]
        if places:
            slide_id, box = places[place % len(places)]
            self._go_to_slide(slide_id)
            self._show_evidence(sentence)
            self.fly(box)
        elif sentence.evidence:
            own = {e.slide_id for e in sentence.evidence}
            if self.slide is None or self.slide.slide_id not in own:
                self._go_to_slide(sentence.evidence[0].slide_id)
            self._show_evidence(sentence)
            self.fit()
        self.refresh_view()
        self.changed.emit()

    def _go_to_slide(self, slide_id: str) -> None:
        if self.slide is None or self.slide.slide_id != slide_id:
            if self.run.has_pixels(slide_id):
                self.show_slide(slide_id)
            else:
                self.told.emit(f"{slide_id} has no pixels to show")

    def _show_evidence(self, sentence: Sentence) -> None:
        shapes = self.layer("evidence")
        if shapes is None or self.slide is None:
            return
        shapes.data = []
        boxes = [
            layers.box_um(box, self.slide.mpp)
            for e in sentence.evidence
            if e.slide_id == self.slide.slide_id
            for box in e.boxes
        ]
        if boxes:
            look = layers.evidence_layer()[1]
            shapes.add(
                boxes,
                shape_type="rectangle",
                edge_color=look["edge_color"],
                face_color=look["face_color"],
                edge_width=EDGE_PX / self.viewer.scene.camera.zoom,
            )
            shapes.selected_data = set()

    # --- decisions ------------------------------------------------------------------------

    def accept(self) -> None:
        """Accept the selected sentence and go to the next one without a decision."""
        self._decide(lambda: self.session.accept(self.selected))

    def reject(self) -> None:
        """Reject the selected sentence and go to the next one without a decision."""
        self._decide(lambda: self.session.reject(self.selected))

    def edit(self, text: str) -> None:
        """Replace the words of the selected sentence in the report."""
        if not self.selected:
            self._select_next()
        elif self.part("report").edit(self.selected, text):
            self._select_next()
            self.changed.emit()

    def _decide(self, act: Callable[[], None]) -> None:
        """Without a selection the first key press selects: nobody decides on what is not marked."""
        if not self.selected:
            self._select_next()
            return
        if not self._refused(act):
            self._select_next()
            self.changed.emit()

    def _select_next(self) -> None:
        """The next sentence without a decision, after the selected one or from the top."""
        ids = [s.id for s in self.case.sentences] if self.case else []
        left = self.session.undecided()
        here = ids.index(self.selected) if self.selected in ids else -1
        after = [i for i in ids[here + 1 :] if i in left] or list(left)
        if after:
            self.select(after[0])

    def mark_reviewed(self) -> None:
        """Say that the case is done."""
        if self.blind:
            self.refuse_blind()
        elif not self._refused(self.session.mark_reviewed):
            self._note_differences(self.session.case.case_id if self.session.case else "")
            self.changed.emit()

    def undo(self) -> None:
        """Take the last decision on this case back and show where it was."""
        self._take(self.session.undo, "Nothing to undo in this case.")

    def redo(self) -> None:
        """Do again what was taken back last."""
        self._take(self.session.redo, "Nothing to do again in this case.")

    def _take(self, act: Callable[[], str | None], nothing: str) -> None:
        found: list[str | None] = []
        if self._refused(lambda: found.append(act())):
            return
        if found[0] is None:
            self.told.emit(nothing)
        elif not self.blind:
            self.select(found[0])  # where it was; nothing happens for what is no sentence
        self.changed.emit()

    def _refused(self, act: Callable[[], object]) -> bool:
        """Do it; a refusal is told to the reader, and nothing has changed."""
        try:
            act()
        except PathaiError as error:
            self.told.emit(str(error))
            self.changed.emit()
            return True
        return False

    def close(self) -> None:
        """Let go of the viewer and of the open case's log."""
        self.viewer.scene.camera.events.zoom.disconnect(self._on_zoom)
        self._curtain.close()
        self.session.close()


def _family(name: str) -> str:
    """``attention: tumor`` and ``nuclei, centers`` belong to ``attention`` and ``nuclei``."""
    return name.split(":")[0].split(",")[0]
