"""Tab of the screening: how it walks, and how much was seen."""

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QProgressBar, QVBoxLayout, QWidget

from pathai.errors import PathaiError
from pathai.viewer import keys, palette
from pathai.viewer.cards import label
from pathai.viewer.controls import beside, button, choice, fill, named, percent
from pathai.viewer.screening import MAGNIFICATIONS, MOMENT_S

if TYPE_CHECKING:
    from pathai.viewer.presenter import Review

WORDS = (
    "Shift+F goes from field to field over all tissue. What stood still in view counts as seen and"
    " is marked blue from afar. You go on where you stopped."
)


class Panel(QWidget):  # type: ignore[misc]
    """Switches of `pathai.viewer.screening.Screening`."""

    def __init__(self, review: "Review") -> None:
        super().__init__()
        self.review, self.part = review, review.part("screening")
        part = self.part
        self.power = choice("Magnification of a field", self._choose)
        fill(self.power, [f"{m}×" for m in MAGNIFICATIONS], f"{part.magnification}×")
        self.overlap = percent("What a field shares with the next one", part.set_overlap)
        self.overlap.setRange(0, 50)
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(10)
        self.bar.setStyleSheet(
            "QProgressBar { border: 1px solid #d5d9de; border-radius: 4px; background: white; }"
            f"QProgressBar::chunk {{ background: {palette.BLUE}; border-radius: 3px; }}"
        )
        self.words = label("", "text")
        self.back = button("Back  ⇧B", keys.tip("field_back"), part.previous_field)
        self.next = button("Next field  ⇧F", keys.tip("field"), part.next_field)
        self.stop = button("Stop", "Look around freely; what was seen stays", part.stop)
        column = QVBoxLayout(self)
        column.setContentsMargins(2, 8, 2, 2)
        column.setSpacing(10)
        column.addWidget(label("Screening", "heading"))
        column.addWidget(named("magnified", self.power))
        column.addWidget(named("overlap", self.overlap))
        column.addWidget(self.bar)
        column.addWidget(self.words)
        column.addLayout(beside(self.back, self.next, self.stop))
        column.addWidget(label(WORDS, "hint"))
        column.addStretch(1)
        self._moment = QTimer(self)
        self._moment.setSingleShot(True)
        self._moment.setInterval(int(1000 * MOMENT_S) + 50)
        self._moment.timeout.connect(part.settle)
        review.at_rest.connect(self._wait)
        part.changed.connect(self.refresh)
        self.refresh()

    def _wait(self) -> None:
        self._moment.start()

    def _choose(self, text: str) -> None:
        self.part.set_magnification(int(text.removesuffix("×")))

    def refresh(self) -> None:
        """Show what is set and seen."""
        part = self.part
        fill(self.power, [f"{m}×" for m in MAGNIFICATIONS], f"{part.magnification}×")
        self.overlap.blockSignals(True)
        self.overlap.setValue(round(100 * part.overlap))
        self.overlap.blockSignals(False)
        try:
            number = len(part.fields) if self.isVisible() or part.on else 0
        except PathaiError as error:
            self.words.setText(error.message)
            return
        self.bar.setValue(round(1000 * part.share))
        where = f"field {part.at + 1} of {number}" if part.at is not None else f"{number} fields"
        self.words.setText(f"<b>{100 * part.share:.0f} %</b> of the tissue seen · {where}")
        self.stop.setEnabled(part.on)

    def showEvent(self, event: object) -> None:
        """Come into view."""
        super().showEvent(event)
        self.refresh()
