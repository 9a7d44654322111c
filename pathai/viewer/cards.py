"""Parts of the dock: labels, places of a sentence, overlay switches, and how they look."""

from html import escape

from qtpy.QtCore import QEvent, QRectF, Qt, Signal
from qtpy.QtGui import QColor, QPainter, QPen
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from pathai.viewer import keys, palette
from pathai.viewer.presenter import Review
from pathai.viewer.runs import Sentence

INK, PALE, LINE, GROUND = "#1f2328", "#5a636e", "#d5d9de", "#f4f5f7"


_STYLE = f"""
#pathai {{ background: {GROUND}; }}
#pathai QWidget {{ color: {INK}; font-size: 13px; background: transparent; }}
#pathai [role="banner"] {{ background: #fff3c4; color: #5c4400; font-weight: 600;
    padding: 5px 8px; border: 1px solid #e8cf7a; border-radius: 4px; }}
#pathai [role="title"] {{ font-size: 19px; font-weight: 600; }}
#pathai [role="facts"], #pathai [role="hint"], #pathai [role="section"] {{ color: {PALE}; }}
#pathai [role="heading"] {{ font-weight: 600; }}
#pathai [role="section"] {{ font-weight: 600; padding-top: 4px; }}
#pathai [role="hint"] {{ font-size: 11px; }}
#pathai [role="message"] {{ background: #ffe9df; color: #7a2f00; padding: 6px 8px;
    border: 1px solid #f0b89c; border-radius: 4px; }}
#pathai QScrollArea {{ border: none; }}
#pathai QPushButton {{ background: white; border: 1px solid {LINE}; border-radius: 4px;
    padding: 7px 6px; }}
#pathai QPushButton:hover {{ border-color: {palette.BLUE}; }}
#pathai QPushButton:disabled {{ color: #a0a7af; background: {GROUND}; }}
#pathai QPushButton#done:enabled {{ background: {palette.BLUE}; color: white;
    font-weight: 600; }}
#pathai QTableView {{ background: white; border: 1px solid {LINE}; border-radius: 4px;
    selection-background-color: #dcebf7; selection-color: {INK}; }}
#pathai QTableView::item:selected {{ background: #dcebf7; color: {INK}; }}
#pathai QHeaderView::section {{ background: {GROUND}; border: none; padding: 4px;
    color: {PALE}; }}
#pathai QTabWidget::pane {{ border: none; border-top: 1px solid {LINE}; }}
#pathai QTabBar::tab {{ background: transparent; padding: 6px 12px; border: none;
    border-bottom: 2px solid transparent; color: {PALE}; }}
#pathai QTabBar::tab:selected {{ color: {INK}; font-weight: 600;
    border-bottom: 2px solid {palette.BLUE}; }}
#pathai QLineEdit, #pathai QPlainTextEdit {{ background: white; border: 1px solid {LINE};
    border-radius: 4px; padding: 5px 7px; }}
#pathai QLineEdit:focus, #pathai QPlainTextEdit:focus {{ border-color: {palette.BLUE}; }}
#pathai QComboBox {{ background: white; border: 1px solid {LINE}; border-radius: 4px;
    padding: 4px 8px; }}
#pathai [role="card"] {{ background: white; border: 1px solid {LINE}; border-radius: 5px; }}
#pathai [role="card"][chosen="true"] {{ border: 2px solid {palette.BLUE};
    background: #eaf3fb; }}
#pathai [role="note"], #pathai [role="chip"], #pathai [role="verdict"] {{ font-size: 12px; }}
#pathai [role="note"] {{ color: {PALE}; }}
#pathai [role="chip"] {{ color: {palette.BLUE}; }}
#pathai [role="verdict"] {{ font-weight: 600; }}
"""


def style() -> str:
    """Style sheet of the dock: dark words on light ground in any theme of napari."""
    return _STYLE


def label(text: str, role: str) -> QLabel:
    """A label that wraps, with a role of the style sheet."""
    made = QLabel(text)
    made.setProperty("role", role)
    made.setWordWrap(True)
    made.setVisible(bool(text) or role != "message")
    return made


def chip(sentence: Sentence, place: int) -> str:
    """Where the evidence lies, in a few words; ``place`` is -1 where it is not selected."""
    if not sentence.evidence:
        return ""
    slides = [e.slide_id for e in sentence.evidence]
    where = slides[0] if len(slides) == 1 else f"{len(slides)} slides"
    places = sentence.places
    if places > 1 and place >= 0:
        return f"▣ {where}, place {place % places + 1} of {places}"
    if not places:
        return f"▣ {where}, whole slide" if len(slides) == 1 else f"▣ {where}"
    return f"▣ {where}, {places} place{'s' * (places > 1)}"


class Swatch(QWidget):  # type: ignore[misc]
    """A small field of color."""

    def __init__(self, color: str, outline: bool = False) -> None:
        super().__init__()
        self.color, self.outline = QColor(color), outline
        self.setFixedSize(14, 14)

    def paintEvent(self, event: QEvent) -> None:
        """Fill, or outline only."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        field = QRectF(2, 2, 10, 10)
        if self.outline:
            painter.setPen(QPen(self.color, 2))
            painter.drawRect(field)
        else:
            painter.fillRect(field, self.color)
        painter.end()


_FAMILIES = (
    ("nuclei", ""),
    ("attention", palette.GREEN),
    ("tissue", palette.TISSUE[1]),
    ("evidence", palette.EVIDENCE),
)
"""Switch and color; nuclei have a color per class, in the legend below."""


class OverlayRow(QWidget):  # type: ignore[misc]
    """Switches of the overlays with their colors, and the classes of nuclei."""

    toggled = Signal(str, bool)

    def __init__(self) -> None:
        super().__init__()
        self.boxes: dict[str, QCheckBox] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        row = QHBoxLayout()
        row.setSpacing(6)
        column.addLayout(row)
        self.legend = label("", "facts")
        column.addWidget(self.legend)
        for family, color in _FAMILIES:
            box = QCheckBox(family)
            box.setChecked(True)
            box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            box.setToolTip(f"Show {family}. {keys.tip('hide')}")
            box.clicked.connect(lambda on, family=family: self.toggled.emit(family, on))
            if color:
                row.addWidget(Swatch(color, outline=family != "attention"))
            row.addWidget(box)
            self.boxes[family] = box
        row.addStretch(1)

    def show_state(self, review: Review) -> None:
        """Show which overlays are on."""
        for family, box in self.boxes.items():
            box.setChecked(review.overlays.get(family, True) and not review.hidden)
        self.legend.setText("" if review.blind else _legend(review))


def _legend(review: Review) -> str:
    """Classes of nuclei on the slide with their colors and counts, as corrected."""
    part = review.part("cells")
    parts = [
        f"<span style='color:{part.colors[name]}'>■</span> "
        + (f"<s>{escape(name)}</s>" if name in part.hidden else escape(name))
        + f" {count:,}"
        for name, count in part.counts().items()
    ]
    if not parts:
        return ""
    return "Nuclei:  " + "  ·  ".join(parts)
