"""Buttons and sliders of the panels: they never take the keyboard from the slide."""

from collections.abc import Callable, Sequence

from psygnal import SignalInstance
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSlider,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)
from superqt import QLabeledSlider

from pathai.viewer import palette

NAME_WIDTH = 84
CHECKED = f"QPushButton:checked {{ background: #dcebf7; border: 2px solid {palette.BLUE}; }}"


def button(text: str, tip: str, act: Callable[[], object], checkable: bool = False) -> QPushButton:
    """A button that calls a function without arguments."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.setCheckable(checkable)
    if checkable:
        made.setStyleSheet(CHECKED)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    made.clicked.connect(lambda *_: act())
    return made


def percent(tip: str, act: Callable[[float], object]) -> QLabeledSlider:
    """A slider from 0 to 100 % that calls a function with a share, 0 to 1."""
    made = QLabeledSlider(Qt.Orientation.Horizontal)
    made.setRange(0, 100)
    made.setToolTip(tip)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    for part in made.findChildren(QSlider):
        part.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    made.valueChanged.connect(lambda value: act(value / 100))
    return made


def choice(tip: str, act: Callable[[str], object]) -> QComboBox:
    """A list of names to choose one from."""
    made = QComboBox()
    made.setToolTip(tip)
    made.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    made.textActivated.connect(act)
    return made


def fill(box: QComboBox, names: Sequence[str], current: str) -> None:
    """Show these names, without calling what a person's choice would call."""
    if [box.itemText(i) for i in range(box.count())] != list(names):
        box.clear()
        box.addItems(list(names))
    if current in names:
        box.setCurrentIndex(list(names).index(current))


def named(name: str, part: QWidget) -> QWidget:
    """A row: its name, and what is set."""
    row = QWidget()
    line = QHBoxLayout(row)
    line.setContentsMargins(0, 0, 0, 0)
    words = QLabel(name)
    words.setFixedWidth(NAME_WIDTH)
    line.addWidget(words)
    line.addWidget(part, stretch=1)
    return row


def beside(*parts: QWidget) -> QHBoxLayout:
    """Parts in one row."""
    row = QHBoxLayout()
    row.setSpacing(6)
    for part in parts:
        row.addWidget(part)
    return row


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


def column_of(panel: QWidget, top: int = 6) -> QVBoxLayout:
    """The column that a tab is made of: its parts below one another."""
    column = QVBoxLayout(panel)
    column.setContentsMargins(0, top, 0, 0)
    column.setSpacing(6)
    return column


def scrolled() -> QScrollArea:
    """A list that is scrolled from top to bottom, and never takes the keyboard."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    return area


def fill_list(area: QScrollArea, parts: Sequence[QWidget], spacing: int = 6) -> None:
    """Show these parts in a list, in the place of what was there."""
    body = QWidget()
    body.setObjectName("cards")
    column = QVBoxLayout(body)
    column.setContentsMargins(0, 0, 4, 0)
    column.setSpacing(spacing)
    for part in parts:
        column.addWidget(part)
    column.addStretch(1)
    area.setWidget(body)


def follow(panel: QWidget, changed: SignalInstance, refresh: Callable[[], object]) -> None:
    """Refresh a panel whenever a part of the presenter changes, as long as the panel is there."""
    changed.connect(refresh)
    panel.destroyed.connect(lambda: changed.disconnect(refresh, missing_ok=True))


def bring_forward(panel: QWidget) -> None:
    """Show a panel: in every row of tabs that it lies in, its tab comes to the front."""
    tabs = panel.parentWidget()
    while tabs is not None:
        if isinstance(tabs, QTabWidget):
            pages = [tabs.widget(i) for i in range(tabs.count())]
            page = next(one for one in pages if one is panel or one.isAncestorOf(panel))
            tabs.setCurrentWidget(page)
        tabs = tabs.parentWidget()
