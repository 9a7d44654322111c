"""Tab of the gallery: arrows walk over it, Enter or a click goes to the place."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QIcon, QImage, QKeyEvent, QPixmap
from qtpy.QtWidgets import QListView, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from pathai.viewer.cards import label
from pathai.viewer.controls import bring_forward, choice, fill, named
from pathai.viewer.gallery import THUMB_PX, Item

if TYPE_CHECKING:
    from pathai.viewer.presenter import Review

TILES, NUCLEI = "attention of ", "nuclei: "
MEASURE = "× is attention against the mean tile of its slide: where the model looked, not why."
EMPTY = "Nothing to show for this case."
HIDDEN = "Hidden until you have given your first impression."


class Pictures(QListWidget):  # type: ignore[misc]
    """Thumbnails with rank and score."""

    def __init__(self) -> None:
        super().__init__()
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setIconSize(QSize(THUMB_PX, THUMB_PX))
        self.setGridSize(QSize(THUMB_PX + 14, THUMB_PX + 26))
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setUniformItemSizes(True)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrows move and Enter chooses; every other key is left to the window."""
        key = event.key()
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if self.currentItem() is not None:
                self.itemActivated.emit(self.currentItem())
        elif key in _MOVES:
            super().keyPressEvent(event)
        else:
            event.ignore()


_MOVES = tuple(
    getattr(Qt.Key, f"Key_{name}")
    for name in ("Left", "Right", "Up", "Down", "Home", "End", "PageUp", "PageDown")
)


class Panel(QWidget):  # type: ignore[misc]
    """The gallery of the open case."""

    def __init__(self, review: "Review") -> None:
        super().__init__()
        self.review, self.part = review, review.part("gallery")
        self.kind = choice("What is shown", self._choose)
        self.list = Pictures()
        self.list.itemActivated.connect(self._go)
        self.list.itemClicked.connect(self._go)
        self.words = label("", "hint")
        self.items: tuple[Item, ...] = ()
        self._chosen, self._shown = "", ("", "", "")
        column = QVBoxLayout(self)
        column.setContentsMargins(2, 8, 2, 2)
        column.addWidget(named("show", self.kind))
        column.addWidget(self.list, stretch=1)
        column.addWidget(self.words)
        self.part.opened.connect(self.raise_tab)

    def raise_tab(self) -> None:
        """Come to the front and take the keyboard."""
        bring_forward(self)
        self._show()
        if self.list.count() and self.list.currentRow() < 0:
            self.list.setCurrentRow(0)
        self.list.setFocus()

    def refresh(self) -> None:
        """Bring it up to date if it is in view; pictures of what nobody looks at are not read."""
        if self.isVisible():
            self._show()

    def showEvent(self, event: object) -> None:
        """Come into view."""
        super().showEvent(event)
        self._show()

    def _choose(self, name: str) -> None:
        self._chosen = name
        self._show()

    def _show(self) -> None:
        part, review = self.part, self.review
        names = [*(TILES + t for t in part.tasks()), *(NUCLEI + c for c in part.classes())]
        if self._chosen not in names:
            self._chosen = names[0] if names else ""
        fill(self.kind, names, self._chosen)
        slide = review.slide.slide_id if review.slide and NUCLEI in self._chosen else ""
        shown = (review.case.case_id if review.case else "", slide, self._chosen)
        if shown == self._shown:
            return
        self._shown = shown
        if self._chosen.startswith(TILES):
            self.items = part.tiles(self._chosen.removeprefix(TILES))
        else:
            self.items = part.nuclei(self._chosen.removeprefix(NUCLEI))
        self.list.clear()
        for item in self.items:
            made = QListWidgetItem(_icon(part.picture(item)), f"{item.rank} · {_score(item)}")
            made.setToolTip(f"{item.slide_id}: {item.words}. Enter or a click goes there.")
            self.list.addItem(made)
        self.words.setText(self._explained())

    def _explained(self) -> str:
        if not self.items:
            return HIDDEN if self.part.hidden else EMPTY
        if self._chosen.startswith(TILES):
            return MEASURE
        return "The most doubtful first, with the model's certainty."

    def _go(self, made: QListWidgetItem) -> None:
        self.part.go(self.items[self.list.row(made)])


def _score(item: Item) -> str:
    return f"{item.score:.1f}×" if item.words.endswith("tile") else f"{100 * item.score:.0f} %"


def _icon(rgb: NDArray[np.uint8]) -> QIcon:
    height, width = rgb.shape[:2]
    image = QImage(
        rgb.tobytes(),
        width,
        height,
        3 * width,
        QImage.Format.Format_RGB888,
    )
    return QIcon(QPixmap.fromImage(image.copy()))
