"""Tab for two slides side by side, and the second canvas."""

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from pathai.pairs import FEWEST
from pathai.viewer import keys
from pathai.viewer.cards import label
from pathai.viewer.controls import beside, button, choice, fill, named

if TYPE_CHECKING:
    from pathai.viewer.presenter import Review

ALONE = "This case has no other slide."
FREE = "Both show the same place in µm. Pick the same three places on both to align them."
PICK = "Click a place here, then the same place on the slide beside."


class Panel(QWidget):  # type: ignore[misc]
    """Controls of `pathai.viewer.side.Side`; holds its canvas in a dock of the window."""

    def __init__(self, review: "Review") -> None:
        super().__init__()
        self.review, self.part = review, review.part("side")
        part = self.part
        self.canvas: Any = None
        self._dock: Any = None
        self.slide = choice("The slide beside", part.open)
        self.toggle = button("Side by side  Alt+B", keys.tip("side"), part.toggle, checkable=True)
        self.linked = QCheckBox("move together")
        self.linked.clicked.connect(part.link)
        self.pick = button("Pick pairs", PICK, part.pick, checkable=True)
        self.drop = button("Drop last", "Forget the last pair", part.drop_pair)
        self.words = label("", "text")
        column = QVBoxLayout(self)
        column.setContentsMargins(2, 8, 2, 2)
        column.setSpacing(10)
        column.addWidget(label("Two slides side by side", "heading"))
        column.addWidget(named("beside", self.slide))
        column.addWidget(self.toggle)
        column.addWidget(self.linked)
        column.addLayout(beside(self.pick, self.drop))
        column.addWidget(self.words)
        column.addStretch(1)
        part.changed.connect(self.refresh)
        self.destroyed.connect(self._put_away)
        self.refresh()

    def refresh(self) -> None:
        """Show what is beside, and how well it is aligned."""
        part = self.part
        fill(self.slide, part.slides, part.slide_id)
        there = part.viewer is not None
        self._show_canvas()
        self.toggle.setChecked(there)
        self.toggle.setEnabled(there or bool(part.slides))
        self.linked.setChecked(part.linked)
        self.pick.setChecked(part.picking)
        for one in (self.linked, self.pick, self.drop):
            one.setEnabled(there)
        self.words.setText(self._words())

    def _words(self) -> str:
        part = self.part
        if not part.slides and part.viewer is None:
            return ALONE
        if part.picking and len(part.pairs) < FEWEST:
            return f"{PICK} {len(part.pairs)} of {FEWEST}."
        if not part.fit.number:
            return FREE
        words = f"Aligned by {part.fit.number} pairs"
        if part.fit.number > FEWEST:
            return f"{words}; {part.fit.residual_um:.0f} µm are left between them."
        return f"{words}. A fourth pair tells how well."

    def _show_canvas(self) -> None:
        """A canvas for the model of the part, docked beside the slide that is read."""
        model, window = self.part.viewer, getattr(self.review.viewer, "window", None)
        if self.canvas is not None and self.canvas.viewer is not model:
            self._put_away()
        if model is None or window is None or self.canvas is not None:
            return
        from napari.qt import QtViewer

        self.canvas = QtViewer(model)
        row = self.part.review.case.row(self.part.slide_id)
        name = f"{row.slide_id} – {row.stain}"
        self._dock = window.add_dock_widget(self.canvas, name=name, area="left")
        self.canvas.setMinimumWidth(380)
        model.reset_view()
        self.part.link(self.part.linked)

    def _put_away(self) -> None:
        canvas, self.canvas = self.canvas, None
        if canvas is None:
            return
        window = getattr(self.review.viewer, "window", None)
        if window is not None and self._dock is not None:
            window.remove_dock_widget(self._dock)
        self._dock = None
        canvas.close()
        canvas.deleteLater()
