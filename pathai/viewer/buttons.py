"""Small controls of the tabs: buttons, lists and rows of them that leave the keys to the slide."""

from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QWidget


def button(text: str, tooltip: str, act: Callable[[], object]) -> QPushButton:
    """A button that never takes the focus, so that keys go on working."""
    made = QPushButton(text)
    made.setToolTip(tooltip)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    made.clicked.connect(lambda: act())
    return made


def combo(chosen: Callable[[], object] | None = None) -> QComboBox:
    """A list to choose from; ``chosen`` is called when the reader has."""
    made = QComboBox()
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    if chosen is not None:
        made.activated.connect(lambda _: chosen())
    return made


def line(*parts: QWidget) -> QHBoxLayout:
    """Controls side by side, labels as narrow as their words."""
    row = QHBoxLayout()
    row.setSpacing(6)
    for part in parts:
        row.addWidget(part, stretch=0 if isinstance(part, QLabel) else 1)
    return row
