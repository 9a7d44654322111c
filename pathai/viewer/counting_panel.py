"""The tab of counting: regions, what the chosen one holds, the hottest window, the ruler."""

from contextlib import suppress
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from napari.qt.threading import create_worker
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QHeaderView,
    QInputDialog,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from pathai.quantities.hotspots import Circle, Square
from pathai.quantities.markers import on_membrane
from pathai.region_counts import AREAS_MM2, Counts
from pathai.store.records import Interval
from pathai.viewer import keys
from pathai.viewer.cards import label
from pathai.viewer.controls import button, column_of, combo, follow, line
from pathai.viewer.counting import SLIDE, CountingPart, length_words

if TYPE_CHECKING:
    from pathai.viewer.presenter import Review

FORMS = ("circle", "square")
ANY = "nuclei"


class CountingPanel(QWidget):  # type: ignore[misc]
    """Widget of the tab.

    Parameters
    ----------
    review : Review
        Of the window.
    """

    def __init__(self, review: "Review") -> None:
        super().__init__()
        self.review = review
        self.part: CountingPart = review.part("counting")
        self._worker: Any = None
        column = column_of(self, top=8)
        self._tools(column)
        column.addWidget(label("Region", "heading"))
        self.regions = combo(self._choose)
        self.fly = button("Go there", "Bring the region into view", self.part.fly)
        self.rename = button("Rename…", "Give the region another name", self._rename)
        self.remove = button("Remove", "Take the region away; U brings it back", self.part.remove)
        column.addWidget(self.regions)
        column.addLayout(line(self.fly, self.rename, self.remove))
        self.size = label("", "facts")
        column.addWidget(self.size)
        self.table = _table()
        column.addWidget(self.table)
        self.positive = label("", "facts")
        self.positive.setTextFormat(Qt.TextFormat.RichText)
        column.addWidget(self.positive)
        column.addSpacing(8)
        self._hot(column)
        column.addStretch(1)
        follow(self, self.part.changed, self.refresh)
        self.refresh()

    def _tools(self, column: QVBoxLayout) -> None:
        column.addWidget(label("Count in a region", "heading"))
        self.draw = button("Draw  Shift+D", keys.tip("region draw"), self.part.draw)
        self.reshape = button("Move corners", "Drag corners of regions", self.part.reshape)
        self.ruler = button("Ruler  Shift+M", keys.tip("ruler"), self.part.measure)
        column.addLayout(line(self.draw, self.reshape, self.ruler))
        self.area, self.form = combo(self._chose_form), combo(self._chose_form)
        self.area.addItems([f"{area:g} mm²" for area in AREAS_MM2])
        self.area.setCurrentIndex(AREAS_MM2.index(self.part.area_mm2))
        self.form.addItems(FORMS)
        self.drop = button("Drop it  Shift+C", keys.tip("region drop"), self.part.drop)
        column.addLayout(line(self.area, self.form, self.drop))
        self.length = label("", "facts")
        column.addWidget(self.length)

    def _hot(self, column: QVBoxLayout) -> None:
        column.addWidget(label("Hottest window of the area chosen above", "heading"))
        self.of = combo()
        tip = "Search the whole slide for the window with the most nuclei, and go there"
        self.find = button("Find and go there", tip, self._find)
        column.addLayout(line(self.of, self.find))
        self.hot = label("", "facts")
        column.addWidget(self.hot)

    # --- showing --------------------------------------------------------------------------

    def refresh(self) -> None:
        """Show regions and counts as they are now."""
        part = self.part
        choices = [
            (SLIDE, "Whole slide"),
            *((i, f"{d.name}  ({i})") for i, d in part.regions.items()),
        ]
        if choices != [(self.regions.itemData(i), self.regions.itemText(i))
                       for i in range(self.regions.count())]:  # fmt: skip
            self.regions.clear()
            for region_id, words in choices:
                self.regions.addItem(words, region_id)
        self.regions.setCurrentIndex([i for i, _ in choices].index(part.chosen))
        for one in (self.rename, self.remove):
            one.setEnabled(part.chosen != SLIDE)
        length = part.length_um
        self.length.setText("" if length is None else f"Length: <b>{length_words(length)}</b>")
        self.length.setVisible(length is not None)
        found = part.counts()
        classes = (ANY, *found.by_class) if found and len(found.by_class) > 1 else (ANY,)
        if [self.of.itemText(i) for i in range(self.of.count())] != list(classes):
            self.of.clear()
            self.of.addItems(classes)
            self.of.setCurrentText("positive")
        self.find.setEnabled(found is not None and self._worker is None)
        self._show(found)

    def _show(self, found: Counts | None) -> None:
        self.table.setVisible(found is not None)
        self.positive.setVisible(found is not None and found.positive is not None)
        if found is None:
            self.size.setText("This slide has no nuclei to count.")
            return
        tissue = found.tissue_mm2
        words = f"{area_words(found.area_mm2)}"
        words += f", of it {area_words(tissue)} analyzed tissue" if tissue is not None else ""
        self.size.setText(words)
        colors = self.review.part("cells").colors
        rows = [
            *found.by_class.items(),
            *([("all", found.total)] if len(found.by_class) > 1 else []),
        ]
        self.table.setRowCount(len(rows))
        for i, (name, number) in enumerate(rows):
            share = number / found.total if found.total else None
            per_tissue = f"{number / tissue:,.0f}" if tissue else "–"
            per_area = f"{number / found.area_mm2:,.0f}" if found.area_mm2 > 0 else "–"
            band = found.class_share.get(name)
            cells = (name, f"{number:,}", per_area, per_tissue, share_words(share, band))
            for j, text in enumerate(cells):
                item = QTableWidgetItem(text)
                if j:
                    item.setTextAlignment(
                        Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
                    )
                elif name in colors:
                    item.setData(Qt.ItemDataRole.DecorationRole, QColor(colors[name]))
                self.table.setItem(i, j, item)
        height = self.table.horizontalHeader().height() + 26 * len(rows) + 4
        self.table.setFixedHeight(height)
        self._share(found)

    def _share(self, found: Counts) -> None:
        ratio, slide = found.positive, self.review.slide
        if ratio is None or slide is None:
            return
        stain = self.review.case.row(slide.slide_id).stain if self.review.case else ""
        if on_membrane(stain):
            self.positive.setText(f"{escape(stain)} stains membranes: no share of nuclei is given.")
            return
        band = ratio.analyzed
        self.positive.setText(
            f"<b>{escape(stain)} positive: {100 * band.value:.1f} %</b> "
            f"({100 * band.low:.1f} to {100 * band.high:.1f} %), "
            f"{ratio.numerator:,} of {ratio.denominator:,} nuclei"
        )
        self.positive.setToolTip(f"95 % interval. It holds: {band.covers}")

    # --- from the reader ------------------------------------------------------------------

    def _choose(self) -> None:
        self.part.choose(self.regions.currentData())

    def _chose_form(self) -> None:
        self.part.area_mm2 = AREAS_MM2[self.area.currentIndex()]
        self.part.round = self.form.currentText() == FORMS[0]

    def _rename(self) -> None:
        now = self.part.regions[self.part.chosen].name
        name, ok = QInputDialog.getText(self, "Rename", "Name, such as tumor:", text=now)
        if ok and name.strip():
            self.part.rename(name)

    def _find(self) -> None:
        of = self.of.currentText()
        search = self.part.hottest("" if of == ANY else of)
        if search is None or self._worker is not None:
            return
        self.hot.setText("Searching…")
        self.find.setEnabled(False)
        self._worker = create_worker(search, _start_thread=False)
        slide = self.review.slide
        self._worker.returned.connect(partial(self._found, of, slide))
        self._worker.finished.connect(self._searched)
        self._worker.start()

    def _searched(self) -> None:
        with suppress(RuntimeError):  # the window may be gone by now
            self._worker = None
            self.refresh()

    def _found(self, of: str, slide: object, found: Circle | Square | None) -> None:
        if slide is not self.review.slide:
            self.hot.setText("")
        elif found is None:
            self.hot.setText(f"No {of} on this slide.")
        else:
            self.hot.setText(hot_words(found, of))
            self.part.drop_window(found, of)


def hot_words(found: Circle | Square, of: str) -> str:
    """What a search found, and what it left open."""
    if found.at_most == found.count:
        return f"{found.count:,} {of}: no other place holds more."
    missed = found.at_most / found.count - 1
    return (
        f"{found.count:,} {of}. No place on the slide holds more than {found.at_most:,} "
        f"({100 * missed:.1f} % more)."
    )


def area_words(area_mm2: float) -> str:
    """An area as a reader says it."""
    if area_mm2 < 0.01:
        return f"{area_mm2 * 1e6:,.0f} µm²"
    return f"{area_mm2:,.2f} mm²" if area_mm2 < 100 else f"{area_mm2:,.0f} mm²"


def share_words(share: float | None, band: Interval | None) -> str:
    """A share, with its interval where one is known."""
    if share is None:
        return "–"
    words = f"{100 * share:.1f} %"
    return words if band is None else f"{words} ({100 * band.low:.0f}–{100 * band.high:.0f})"


def _table() -> QTableWidget:
    table = QTableWidget(0, 5)
    table.setHorizontalHeaderLabels(["class", "n", "per mm²", "per mm² tissue", "share"])
    table.verticalHeader().hide()
    table.verticalHeader().setDefaultSectionSize(26)
    table.setShowGrid(False)
    table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    table.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
    table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
    table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    header = table.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    return table
