"""One sentence of the report: what became of it, its place, and what can be done about it."""

from html import escape

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout

from pathai.viewer import palette
from pathai.viewer.cards import PALE, chip, label
from pathai.viewer.controls import button
from pathai.viewer.report_page import Row
from pathai.viewer.report_words_panel import WordsEditor, rich
from pathai.viewer.runs import Sentence

SOURCES = {"template": "", "llm": "words of a language model", "human": "words of a person"}


class ReportCard(QFrame):  # type: ignore[misc]
    """A sentence with its verdict, its evidence and its buttons.

    Parameters
    ----------
    row : Row
        As it stands.
    """

    chosen = Signal(str, int)
    edited = Signal(str, str)
    wanted = Signal(str, str)
    """What is wanted (``edit``, ``delete``, ``restore``), and of which sentence."""
    left = Signal()

    def __init__(self, row: Row) -> None:
        super().__init__()
        self.row, self._place = row, -1
        self.setProperty("role", "card")
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        column = QVBoxLayout(self)
        column.setContentsMargins(9, 7, 9, 7)
        column.setSpacing(4)
        head = QHBoxLayout()
        self.verdict, self.source = rich("", "verdict"), label("", "note")
        self.verdict.setWordWrap(False)
        self.chip = label("", "chip")
        self.chip.setAlignment(Qt.AlignmentFlag.AlignRight)
        head.addWidget(self.verdict)
        head.addWidget(self.chip, stretch=1)
        column.addLayout(head)
        self.text = rich("", "text")
        column.addWidget(self.text)
        self.notes = [rich(escape(note), "note") for note in row.sentence.notes]
        for note in self.notes:
            column.addWidget(note)
        column.addWidget(self.source)
        self.says = rich("", "says")
        column.addWidget(self.says)
        self.editor: WordsEditor | None = None
        self.buttons = QHBoxLayout()
        self.edit = button("Edit…", "Write other words", lambda: self._want("edit"))
        self.delete = button("Delete…", "Take it out, with a reason", lambda: self._want("delete"))
        self.restore = button("Restore", "The machine's words", lambda: self._want("restore"))
        for part in (self.edit, self.delete, self.restore):
            self.buttons.addWidget(part)
        self.buttons.addStretch(1)
        column.addLayout(self.buttons)

    @property
    def id(self) -> str:
        """Which sentence."""
        return self.row.sentence.id

    @property
    def sentence(self) -> Sentence:
        """The sentence as it stands."""
        return self.row.sentence

    def _want(self, what: str) -> None:
        self.wanted.emit(what, self.id)

    def show_state(self, row: Row, place: int, *, closed: bool) -> None:
        """Show what became of the sentence; ``place`` is -1 where it is not selected."""
        self.row, self._place = row, place
        sign, color, word = palette.VERDICTS[row.mark]
        number = f"<span style='color:{PALE}'>{row.sentence.id}</span>"
        self.verdict.setText(f"<span style='color:{color}'>{sign} {word}</span> {number}")
        gone = row.mark == "deleted"
        words = escape(row.sentence.text)
        self.text.setText(f"<s style='color:{PALE}'>{words}</s>" if gone else words)
        for note in self.notes:
            note.setVisible(not gone)
        self.source.setText(SOURCES[row.sentence.source])
        self.source.setVisible(bool(SOURCES[row.sentence.source]) and not gone)
        told = "; ".join(escape(one) for one in row.says)
        color = PALE if gone else palette.VERMILION
        self.says.setText(f"<span style='color:{color}'>{'because' if gone else '⚑'} {told}</span>")
        self.says.setVisible(bool(told))
        self.chip.setText(chip(row.sentence, place))
        selected, typing = place >= 0, self.editor is not None
        human = row.sentence.source == "human"
        self.edit.setVisible(selected and not (gone or closed or typing))
        self.delete.setVisible(selected and not (gone or closed or typing))
        self.restore.setVisible((gone or (selected and human)) and not (closed or typing))
        if self.property("chosen") != selected:
            self.setProperty("chosen", selected)
            self.style().unpolish(self)
            self.style().polish(self)

    def open_editor(self, editor: WordsEditor) -> None:
        """Show an editor in the place of the words."""
        self.editor = editor
        editor.kept.connect(lambda text: self.edited.emit(self.id, text))
        editor.left.connect(self.left.emit)
        self.layout().insertWidget(2, editor)
        for part in (self.edit, self.delete, self.restore):
            part.hide()

    def close_editor(self) -> None:
        """Show the words again."""
        if self.editor is not None:
            self.editor.hide()
            self.editor.deleteLater()
            self.editor = None

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Go to the evidence, with every further click to its next place."""
        if event.button() == Qt.MouseButton.LeftButton and self.row.mark != "deleted":
            self.chosen.emit(self.id, self._place + 1)
