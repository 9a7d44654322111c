"""The worklist: every case with its picture, status and flags; filter, sort, open."""

from collections.abc import Sequence
from html import escape
from typing import Any

from napari.qt.threading import create_worker
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QImage, QKeyEvent, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from pathai.review import Row
from pathai.review.records import STATUSES
from pathai.review.worklist import By
from pathai.viewer import keys, palette
from pathai.viewer.cards import label
from pathai.viewer.presenter import Review
from pathai.viewer.thumbnails import Picture, Thumbnails

TITLES = ("Slide", "Case", "Status", "Done", "Flags")
ORDERS: tuple[By, ...] = ("sheet", "case", "status", "undecided", "flags")
"""What a click on each column's title sorts by."""
CASE_ID = Qt.ItemDataRole.UserRole


class CaseTable(QAbstractTableModel):  # type: ignore[misc]
    """Rows of the worklist as they are shown."""

    def __init__(self, edge: int) -> None:
        super().__init__()
        self.edge, self.blind = edge, False
        self.shown: tuple[Row, ...] = ()
        self._pictures: dict[str, QIcon] = {}

    def show_rows(self, rows: Sequence[Row], blind: bool) -> None:
        """Show these rows; while reading is blind, no number of sentences."""
        if tuple(rows) != self.shown or blind != self.blind:
            self.beginResetModel()
            self.shown, self.blind = tuple(rows), blind
            self.endResetModel()

    def show_picture(self, case_id: str, picture: Picture | None) -> None:
        """Show a case's slide."""
        if picture is None:
            return
        height, width = picture.shape[:2]
        image = QImage(picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
        keep, smooth = (
            Qt.AspectRatioMode.KeepAspectRatio,
            Qt.TransformationMode.SmoothTransformation,
        )
        pixels = QPixmap.fromImage(image).scaled(self.edge, self.edge, keep, smooth)
        icon = QIcon()
        for mode in (QIcon.Mode.Normal, QIcon.Mode.Selected):  # else Qt tints the marked row's
            icon.addPixmap(pixels, mode)
        self._pictures[case_id] = icon
        for number, row in enumerate(self.shown):
            if row.case_id == case_id:
                place = self.index(number, 0)
                self.dataChanged.emit(place, place)

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Number of cases shown."""
        return 0 if parent is not None and parent.isValid() else len(self.shown)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Number of columns."""
        return 0 if parent is not None and parent.isValid() else len(TITLES)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = 0) -> Any:
        """Titles of the columns."""
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return TITLES[section]
        if role == Qt.ItemDataRole.ToolTipRole:
            return "A click sorts; another turns the order round"
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """What one cell shows."""
        row, column = self.shown[index.row()], index.column()
        if role == CASE_ID:
            return row.case_id
        if role == Qt.ItemDataRole.DecorationRole and column == 0:
            return self._pictures.get(row.case_id)
        if role == Qt.ItemDataRole.DisplayRole:
            return self._words(row)[column]
        if role == Qt.ItemDataRole.ForegroundRole and column == 2:
            return QColor(palette.STATUS[row.status][1])
        if role == Qt.ItemDataRole.ToolTipRole:
            return escape(row.problem) or "A click opens the case"
        return None

    def _words(self, row: Row) -> tuple[str, ...]:
        status = "log is broken" if row.problem else str(row.status)
        sign = palette.STATUS[row.status][0]
        decided = f"{row.decided} of {row.statements}" if row.statements else ""
        if self.blind and not row.decided:
            decided = ""
        changed = ("draft has changed",) if row.outdated and not row.done else ()
        return "", row.case_id, f"{sign} {status}", decided, " · ".join((*row.flags, *changed))


class _View(QTableView):  # type: ignore[misc]
    """Arrows and Enter are the table's own; every other key belongs to the window."""

    entered_case = Signal()
    _OWN = (
        Qt.Key.Key_Up,
        Qt.Key.Key_Down,
        Qt.Key.Key_Home,
        Qt.Key.Key_End,
        Qt.Key.Key_PageUp,
        Qt.Key.Key_PageDown,
    )

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Move, open, or leave the key to the review."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.entered_case.emit()
        elif event.key() in self._OWN and not event.modifiers():
            super().keyPressEvent(event)
        else:
            event.ignore()


class WorklistPanel(QWidget):  # type: ignore[misc]
    """Filter box, status, table of cases.

    Parameters
    ----------
    review : Review
        Whose cases.
    """

    chosen = Signal(str)

    def __init__(self, review: Review) -> None:
        super().__init__()
        self.review, self.thumbnails = review, Thumbnails(review.run)
        self.table = CaseTable(review.preferences.thumbnail_px)
        self._worker: Any = None
        self.view = _View()
        self._build()
        self.refresh()
        self._start()

    def _build(self) -> None:
        self.filter = QLineEdit()
        self.filter.setPlaceholderText("Filter: case, status, flag")
        self.filter.setClearButtonEnabled(True)
        self.filter.setToolTip("Words that a case must hold; N goes through what is listed")
        self.filter.textChanged.connect(self._filter)
        self.filter.returnPressed.connect(self.take_focus)
        self.status = QComboBox()
        self.status.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        for name in ("", *STATUSES):
            self.status.addItem(name or "all cases", name)
        self.status.currentIndexChanged.connect(lambda _: self._filter())
        above = QHBoxLayout()
        above.addWidget(self.filter, stretch=1)
        above.addWidget(self.status)
        self._shape_view()
        self.count = label("", "facts")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 6, 0, 0)
        column.addLayout(above)
        column.addWidget(self.view, stretch=1)
        column.addWidget(self.count)

    def _shape_view(self) -> None:
        view, edge = self.view, self.table.edge
        view.setModel(self.table)
        view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        view.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        view.setShowGrid(False)
        view.setWordWrap(True)
        view.setIconSize(QSize(edge, edge))
        view.setToolTip(f"{keys.tip('next')}. {keys.tip('previous')}")
        view.verticalHeader().hide()
        view.verticalHeader().setDefaultSectionSize(edge + 8)
        head = view.horizontalHeader()
        head.setSectionsClickable(True)
        head.setHighlightSections(False)
        head.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        head.setSectionResizeMode(0, QHeaderView.ResizeMode.Fixed)
        head.setSectionResizeMode(len(TITLES) - 1, QHeaderView.ResizeMode.Stretch)
        view.setColumnWidth(0, edge + 8)
        head.sectionClicked.connect(self._sort)
        view.clicked.connect(lambda index: self.chosen.emit(index.data(CASE_ID)))
        view.entered_case.connect(self._open_current)

    def refresh(self) -> None:
        """Show the list as it is now, the open case marked."""
        review, total = self.review, len(self.review.run.cases)
        rows = review.rows()
        self.table.show_rows(rows, review.preferences.blind)
        current = review.case.case_id if review.case else ""
        for number, row in enumerate(rows):
            if row.case_id == current:
                self.view.selectRow(number)
                self.view.scrollTo(self.table.index(number, 1))
        left = sum(not row.done for row in rows)
        shown = f"{len(rows)} of {total} cases" if len(rows) < total else f"{total} cases"
        self.count.setText(f"{shown}, {left} to read")

    def take_focus(self) -> None:
        """Let arrows and Enter work at once."""
        self.view.setFocus()

    def stop(self) -> None:
        """Make no more pictures."""
        if self._worker is not None:
            self._worker.quit()
            self._worker = None

    def _start(self) -> None:
        wanted = self.thumbnails.missing()
        if wanted:
            self._worker = create_worker(self.thumbnails.made, wanted, _start_thread=False)
            self._worker.yielded.connect(self._pictured)
            self._worker.start()

    def _pictured(self, found: tuple[str, Picture | None]) -> None:
        if self._worker is not None:
            self.table.show_picture(*found)

    def _filter(self) -> None:
        listing = self.review.listing
        listing.words, listing.status = self.filter.text(), self.status.currentData()
        self.refresh()

    def _sort(self, column: int) -> None:
        listing, by = self.review.listing, ORDERS[column]
        listing.backwards = listing.by == by and not listing.backwards
        listing.by = by
        order = Qt.SortOrder.DescendingOrder if listing.backwards else Qt.SortOrder.AscendingOrder
        self.view.horizontalHeader().setSortIndicator(column, order)
        self.view.horizontalHeader().setSortIndicatorShown(True)
        self.refresh()

    def _open_current(self) -> None:
        index = self.view.currentIndex()
        if index.isValid():
            self.chosen.emit(index.data(CASE_ID))
