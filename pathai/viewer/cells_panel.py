"""The tab of the nuclei: legend with counts, the chosen nucleus, and all of a region at once."""

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QInputDialog,
    QLabel,
    QWidget,
)

from pathai.viewer import keys
from pathai.viewer.cards import Swatch, label
from pathai.viewer.cells import CellsPart
from pathai.viewer.controls import button, column_of, combo, follow, line

if TYPE_CHECKING:
    from pathai.viewer.presenter import Review

NO_NUCLEUS = "no nucleus"


class LegendRow:
    """One class: switch, color, count, and a button that gives it to the chosen nucleus."""

    def __init__(self, part: CellsPart, name: str, place: int) -> None:
        self.name = name
        self.shown = QCheckBox(name)
        self.shown.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.shown.clicked.connect(lambda: part.toggle(name))
        key = f"class {place}"
        self.shown.setToolTip(keys.tip(key) if key in keys.KEYS else f"Hide or show {name}")
        self.number = QLabel()
        self.number.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        give = f"give {place}"
        words = f"Is this  {keys.KEYS[give].shown}" if give in keys.KEYS else "Is this"
        self.give = button(words, f"The chosen nucleus is {name}", lambda: part.classify(name))
        self.swatch = Swatch(part.colors[name])


COUNT = "The report's numbers are made anew on what you corrected; it says so"


class CellsPanel(QWidget):  # type: ignore[misc]
    """Widget of the tab.

    Parameters
    ----------
    review : Review
        Of the window.
    """

    def __init__(self, review: "Review") -> None:
        super().__init__()
        self.review = review
        self.part: CellsPart = review.part("cells")
        self.rows: list[LegendRow] = []
        self._built: tuple[str, ...] = ()
        column = column_of(self, top=8)
        self.title = label("Nuclei by class", "heading")
        column.addWidget(self.title)
        self.legend = QWidget()
        column.addWidget(self.legend)
        self.edited = label("", "facts")
        column.addWidget(self.edited)
        column.addSpacing(8)
        column.addWidget(label("Chosen nucleus", "heading"))
        self.chosen = label("", "facts")
        column.addWidget(self.chosen)
        self.confirm = button(
            "Class is right  Ctrl+K", keys.tip("nucleus right"), self.part.confirm
        )
        self.reject = button("No nucleus  Ctrl+J", keys.tip("nucleus none"), self.part.reject)
        self.other = button("Another class…", "A class that is not in the list", self._other)
        column.addLayout(line(self.confirm, self.reject, self.other))
        column.addSpacing(8)
        column.addWidget(label("All nuclei of the region chosen under Counting", "heading"))
        self.of, self.to = combo(), combo()
        self.change = button("Change all", "One action; U takes it back", self._change_all)
        column.addLayout(line(self.of, QLabel("are"), self.to, self.change))
        column.addSpacing(8)
        column.addWidget(label("A nucleus that was missed", "heading"))
        self.kind = combo()
        tip = "Draw around its edge with the mouse"
        self.draw = button("Draw it", tip, lambda: self.part.draw(self.kind.currentText()))
        column.addLayout(line(self.kind, self.draw))
        column.addSpacing(8)
        self.count = button("Count in the report", COUNT, review.part("corrected").update)
        column.addWidget(self.count)
        column.addStretch(1)
        follow(self, self.part.changed, self.refresh)
        follow(self, review.part("counting").changed, self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the nuclei as they are now."""
        part, counts = self.part, self.part.counts()
        if self._built != (part.classes if part.nuclei is not None else ()):
            self._build()
        if not counts:
            self.title.setText("This slide has no nuclei")
        else:
            self.title.setText(f"Nuclei by class: {sum(counts.values()):,}")
        for row in self.rows:
            row.number.setText(f"{counts.get(row.name, 0):,}")
            row.shown.setChecked(row.name not in part.hidden)
            row.give.setEnabled(part.selected is not None)
        edited = part.edited
        words = (
            f"{edited:,} corrected, confirmed or added by you" if edited else "None corrected yet"
        )
        self.edited.setText(words if counts else "")
        self._choice()
        for one in (self.draw, self.of, self.to, self.kind):
            one.setEnabled(bool(counts))
        # Never the whole slide by one click.
        self.change.setEnabled(bool(counts) and bool(self.review.part("counting").chosen))

    def _choice(self) -> None:
        part = self.part
        there = part.selected is not None
        for one in (self.confirm, self.reject, self.other):
            one.setEnabled(there)
        if part.selected is None:
            self.chosen.setText("Click a nucleus when you are close (10× or more).")
            return
        now = part.class_of(part.selected) or NO_NUCLEUS
        if isinstance(part.selected, str):
            self.chosen.setText(f"<b>{now}</b>, added by you")
            return
        nuclei = part.there[0]
        first = nuclei.attrs.classes[int(nuclei.class_[part.selected])]
        self.chosen.setText(f"<b>{now}</b>" + f", found as {first}" * (first != now))

    def _build(self) -> None:
        part = self.part
        self._built = part.classes if part.nuclei is not None else ()
        self.rows = [LegendRow(part, name, i) for i, name in enumerate(self._built, start=1)]
        fresh = QWidget()
        grid = QGridLayout(fresh)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        grid.setHorizontalSpacing(10)
        for i, row in enumerate(self.rows):
            for j, one in enumerate((row.swatch, row.shown, row.number, row.give)):
                grid.addWidget(one, i, j)
        self.layout().replaceWidget(self.legend, fresh)
        self.legend.hide()  # it is gone only when the event loop comes to it
        self.legend.deleteLater()
        self.legend = fresh
        for box, more in ((self.of, "all"), (self.to, NO_NUCLEUS), (self.kind, "")):
            before = box.currentText()
            box.clear()
            box.addItems([*([more] if box is self.of else []), *self._built])
            if box is self.to:
                box.addItem(more)
            box.setCurrentText(before)

    def _other(self) -> None:
        name, ok = QInputDialog.getText(self, "Another class", "Name of the class:")
        if ok and name.strip():
            self.part.classify(" ".join(name.split()))

    def _change_all(self) -> None:
        of, to = self.of.currentText(), self.to.currentText()
        shape = self.review.part("counting").shape()
        number = self.part.classify_all(
            shape, "" if to == NO_NUCLEUS else to, "" if of == "all" else of
        )
        if number:
            self.review.told.emit(f"{number:,} nuclei changed; U takes it back.")
