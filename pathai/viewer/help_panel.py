"""The list of all keys, over the slide; it is made from `pathai.viewer.keys.KEYS`."""

from collections.abc import Iterable
from html import escape

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from pathai.viewer import keys
from pathai.viewer.cards import INK, LINE, PALE

_STYLE = f"""
QFrame#keys {{ background: #fdfdfd; border: 1px solid {LINE}; border-radius: 8px; }}
QFrame#keys QLabel {{ color: {INK}; font-size: 13px; background: transparent; }}
"""


class KeyList(QFrame):  # type: ignore[misc]
    """Every key by what it is for; a click or the same key closes it.

    Parameters
    ----------
    canvas : QWidget
        In whose middle it lies.
    names : iterable of str, optional
        Actions to list; by default all.
    """

    def __init__(self, canvas: QWidget, names: Iterable[str] = ()) -> None:
        super().__init__(canvas)
        self.canvas, self.names = canvas, tuple(names)
        self.setObjectName("keys")
        self.setStyleSheet(_STYLE)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 18, 24, 18)
        column.addWidget(QLabel("<b style='font-size:16px'>Keys</b>"))
        self.columns = (QLabel(), QLabel())
        row = QHBoxLayout()
        row.setSpacing(32)
        for one in self.columns:
            one.setTextFormat(Qt.TextFormat.RichText)
            one.setAlignment(Qt.AlignmentFlag.AlignTop)
            row.addWidget(one)
        column.addLayout(row)
        foot = "Change keys in Preferences, under pathai. A click closes this list."
        column.addWidget(QLabel(f"<span style='color:{PALE}'>{foot}</span>"))
        canvas.installEventFilter(self)
        self.hide()

    def toggle(self) -> None:
        """Show the list, or close it."""
        if self.isVisible():
            self.hide()
            return
        for shown, words in zip(self.columns, self.halves(), strict=True):
            shown.setText(words)
        self.show()  # rich text knows its size once it is shown
        self.layout().activate()
        self.resize(self.sizeHint())
        self._place()
        self.raise_()

    def halves(self) -> tuple[str, str]:
        """The list in two columns of about the same length."""
        chosen = {k: v for k, v in keys.KEYS.items() if not self.names or k in self.names}
        groups: dict[str, list[str]] = {}
        for name, key in chosen.items():
            cell = f"<td><b>{escape(keys.shown(name))}</b>&nbsp;&nbsp;&nbsp;</td>"
            groups.setdefault(key.group, []).append(f"<tr>{cell}<td>{escape(key.title)}</td></tr>")
        left: list[str] = []
        right: list[str] = []
        lengths = [0, 0]
        for title, rows in sorted(groups.items(), key=lambda one: -len(one[1])):
            side = lengths[1] < lengths[0]
            lengths[side] += len(rows) + 1
            table = f"<p style='color:{PALE}'>{escape(title)}</p><table>{''.join(rows)}</table>"
            (right if side else left).append(table)
        return "".join(left), "".join(right)

    def close_down(self) -> None:
        """Let go of the canvas."""
        self.canvas.removeEventFilter(self)
        self.hide()
        self.deleteLater()

    def _place(self) -> None:
        gap = (self.canvas.width() - self.width(), self.canvas.height() - self.height())
        self.move(max(gap[0] // 2, 0), max(gap[1] // 2, 0))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Stay in the middle when the canvas changes its size."""
        if event.type() == QEvent.Type.Resize and self.isVisible():
            self._place()
        return False

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Close."""
        self.hide()
