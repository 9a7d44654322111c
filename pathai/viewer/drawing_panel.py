"""Tab for drawing: regions by hand, outlines from a point or a box."""

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from pathai.viewer import keys, palette
from pathai.viewer.cards import label
from pathai.viewer.controls import beside, button, choice, fill, named
from pathai.viewer.drawing import LAYER, NAMES

if TYPE_CHECKING:
    from pathai.viewer.presenter import Review

DRAWING = "Click corner by corner; Enter or a double click ends the region."
WORDS = "A drawn tumor replaces what a model took for tumor."
COUNT = "The report's numbers are made anew on your regions; it says so"
POINT = "Point at a nucleus and press Alt+D; or drag a box around a larger object."


class Panel(QWidget):  # type: ignore[misc]
    """Controls of `pathai.viewer.drawing.Drawing` and `pathai.viewer.segmenting.Segmenting`."""

    def __init__(self, review: "Review") -> None:
        super().__init__()
        self.review = review
        self.part, self.outlines = review.part("drawing"), review.part("segmenting")
        column = QVBoxLayout(self)
        column.setContentsMargins(2, 8, 2, 2)
        column.setSpacing(8)
        self._regions(column)
        self._outlines(column)
        self.part.changed.connect(self.refresh)
        self.outlines.changed.connect(self.refresh)
        self.refresh()

    def _regions(self, column: QVBoxLayout) -> None:
        part = self.part
        self.name = choice("What the region is", part.choose)
        fill(self.name, NAMES, part.name)
        self.draw = button("Draw  Alt+R", keys.tip("draw"), part.toggle, checkable=True)
        self.edit = button("Move corners", "Drag a corner to its place", self._edit, checkable=True)
        self.list = QListWidget()
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.list.itemClicked.connect(self._go)
        self.list.setMinimumHeight(90)
        self.rename = button("Is of this kind", "Rename the chosen region", self._rename)
        self.remove = button(
            "Remove", "Take the chosen region away; U brings it back", self._remove
        )
        self.words = label(WORDS, "hint")
        column.addWidget(label("Regions", "heading"))
        column.addWidget(named("kind", self.name))
        column.addLayout(beside(self.draw, self.edit))
        column.addWidget(self.list, stretch=1)
        column.addLayout(beside(self.rename, self.remove))
        column.addWidget(self.words)
        self.count = button("Count in the report", COUNT, self.review.part("corrected").update)
        column.addWidget(self.count)

    def _outlines(self, column: QVBoxLayout) -> None:
        part = self.outlines
        self.method = choice("What finds the outline", part.choose_method)
        self.kind = choice("Class of the nucleus", part.choose_class)
        self.point = button("At the mouse  Alt+D", keys.tip("outline"), part.at_cursor)
        self.box = button("Box  Alt+X", keys.tip("box"), part.toggle_box, checkable=True)
        self.nucleus = button("Keep nucleus  Alt+A", keys.tip("keep"), part.keep_nucleus)
        self.region = button(
            "Keep region", "Keep it as a region of the kind above", part.keep_region
        )
        self.discard = button("Discard", "Forget the outline", part.discard)
        self.found = label("", "text")
        column.addWidget(label("Outline of one object", "heading"))
        column.addWidget(named("found by", self.method))
        column.addWidget(named("class", self.kind))
        column.addLayout(beside(self.point, self.box))
        column.addWidget(self.found)
        column.addLayout(beside(self.nucleus, self.region, self.discard))
        column.addWidget(label(POINT, "hint"))

    # --- from the reader ------------------------------------------------------------------

    def _edit(self) -> None:
        if self.edit.isChecked():
            self.part.edit()
        else:
            self.part.done()

    def _go(self, item: QListWidgetItem) -> None:
        from pathai.units import Box

        left, top, right, bottom = self.part.regions()[self.list.row(item)].shape.bounds
        self.review.fly(Box(left, top, right - left, bottom - top))

    def _rename(self) -> None:
        self.part.rename(self.list.currentRow(), self.part.name)

    def _remove(self) -> None:
        self.part.remove(self.list.currentRow())

    # --- what is shown --------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the regions and the proposed outline."""
        part, layer = self.part, self.review.layer(LAYER)
        mode = str(layer.mode) if layer is not None else ""
        fill(self.name, NAMES, part.name)
        self.draw.setChecked(part.drawing and mode == "add_polygon")
        self.edit.setChecked(part.drawing and mode == "direct")
        self.words.setText(DRAWING if self.draw.isChecked() else WORDS)
        row = self.list.currentRow()
        self.list.clear()
        for one in part.regions():
            source = "" if one.id else " · of the run"
            item = QListWidgetItem(f"{one.name}  {part.area_mm2(one):.3f} mm²{source}")
            item.setForeground(QColor(palette.region_color(one.name)))
            self.list.addItem(item)
        self.list.setCurrentRow(min(row, self.list.count() - 1))
        for one in (self.rename, self.remove):
            one.setEnabled(self.list.count() > 0)
        self._refresh_outline()

    def _refresh_outline(self) -> None:
        part = self.outlines
        fill(self.method, part.methods, part.method)
        fill(self.kind, part.classes, part.class_name)
        self.box.setChecked(part.boxing)
        there = part.proposal is not None
        for one in (self.nucleus, self.region, self.discard):
            one.setEnabled(there)
        words = f"{part.proposal.area_um2:,.0f} µm² as {escape(part.class_name)}?" if there else ""
        self.found.setText(words)
