"""Typing words of a report: an editor that says at once what the verifier says, and its dialogs."""

from collections.abc import Callable, Sequence
from html import escape

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeyEvent, QTextCursor
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from pathai.report.life.words import Words
from pathai.viewer import palette
from pathai.viewer.cards import label, style
from pathai.viewer.controls import button
from pathai.viewer.report_page import plainly

EDITOR_PX = 96
"""Height of the editor: three to four lines."""


def rich(text: str, role: str) -> QLabel:
    """A label whose text is HTML, whether it has tags or only an ampersand."""
    made = label(text, role)
    made.setTextFormat(Qt.TextFormat.RichText)
    return made


class _Text(QPlainTextEdit):  # type: ignore[misc]
    """Words; Ctrl+Enter keeps them, Escape leaves them."""

    kept, left = Signal(), Signal()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter with Ctrl, or Escape, ends the typing; else it is typed."""
        ctrl = event.modifiers() & Qt.KeyboardModifier.ControlModifier
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and ctrl:
            self.kept.emit()
        elif event.key() == Qt.Key.Key_Escape:
            self.left.emit()
        else:
            super().keyPressEvent(event)
            event.accept()  # no key of the window acts while words are typed


class WordsEditor(QWidget):  # type: ignore[misc]
    """Words for one finding, checked with every key; what is wrong stands below, in words."""

    kept, left = Signal(str), Signal()

    def __init__(self) -> None:
        super().__init__()
        self.words: Words | None = None
        self.text = _Text()
        self.text.setFixedHeight(EDITOR_PX)
        self.text.setTabChangesFocus(True)
        self.says = rich("", "says")
        self.save = button("Keep my words", "Ctrl+Enter", self._keep)
        self.cancel = button("Cancel", "Escape", self.left.emit)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.text)
        column.addWidget(self.says)
        row = QHBoxLayout()
        row.addWidget(self.save)
        row.addWidget(self.cancel)
        column.addLayout(row)
        self.text.textChanged.connect(self._check)
        self.text.kept.connect(self._keep)
        self.text.left.connect(self.left.emit)

    def start(self, words: Words | None, text: str) -> None:
        """Begin with a text that the verifier compares with a finding."""
        self.words = words
        self.text.setPlainText(text)
        self.text.moveCursor(QTextCursor.MoveOperation.End)
        self._check()
        self.text.setFocus()

    def _check(self) -> None:
        text = self.text.toPlainText()
        self.save.setEnabled(bool(text.strip()))
        if self.words is None or not text.strip():
            self.says.setText("Nothing to keep: delete the sentence instead, with a reason.")
            return
        found = self.words.problems(text)
        color = palette.VERMILION if found else palette.BLUE
        told = "; ".join(escape(plainly(problem)) for problem in found)
        says = f" The finding says: {escape(self.words.value)}." if self.words.value else ""
        sign = f"⚑ {told}.{says} You may keep your words and answer for them." if found else (
            "✓ The words stand on their finding."
        )  # fmt: skip
        self.says.setText(f"<span style='color:{color}'>{sign}</span>")

    def _keep(self) -> None:
        if self.save.isEnabled():
            self.kept.emit(self.text.toPlainText())


class Dialog(QDialog):  # type: ignore[misc]
    """A dialog in the look of the dock."""

    def __init__(self, parent: QWidget, title: str) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setObjectName("pathai")
        self.setStyleSheet(style())
        self.setMinimumWidth(440)
        self.column = QVBoxLayout(self)
        self.column.setSpacing(8)

    def end_with(self, text: str) -> QPushButton:
        """A row with one button that accepts and one that cancels."""
        row = QHBoxLayout()
        cancel, done = QPushButton("Cancel"), QPushButton(text)
        cancel.clicked.connect(self.reject)
        done.clicked.connect(self.accept)
        done.setDefault(True)
        done.setObjectName("done")
        row.addWidget(cancel)
        row.addWidget(done)
        self.column.addLayout(row)
        return done


class ReasonDialog(Dialog):
    """Asks why; nothing is done without a word."""

    given = Signal(str)

    def __init__(self, parent: QWidget, title: str, question: str, done: str) -> None:
        super().__init__(parent, title)
        self.column.addWidget(rich(question, "facts"))
        self.reason = QLineEdit()
        self.reason.setPlaceholderText("Why, in a few words")
        self.column.addWidget(self.reason)
        self.done_button = self.end_with(done)
        self.done_button.setEnabled(False)
        self.reason.textChanged.connect(
            lambda text: self.done_button.setEnabled(bool(text.strip()))
        )
        self.accepted.connect(lambda: self.given.emit(self.reason.text().strip()))


class AddDialog(Dialog):
    """A sentence of a person's own on one of the case's findings."""

    given = Signal(str, str)

    def __init__(
        self,
        parent: QWidget,
        findings: Sequence[tuple[str, str]],
        words_on: Callable[[str], Words | None],
    ) -> None:
        super().__init__(parent, "Add a sentence")
        self._words_on = words_on
        self.column.addWidget(label("On which finding?", "heading"))
        self.findings = QComboBox()
        for finding, text in findings:
            self.findings.addItem(text, finding)
        self.column.addWidget(self.findings)
        hint = QLabel("What no finding holds yet is entered first, in the tab Enter.")
        hint.setProperty("role", "hint")
        self.column.addWidget(hint)
        self.editor = WordsEditor()
        self.editor.save.setText("Add this sentence")
        self.column.addWidget(self.editor)
        self.findings.currentIndexChanged.connect(lambda _: self._begin())
        self.editor.kept.connect(self._add)
        self.editor.left.connect(self.reject)
        self._begin()

    def _begin(self) -> None:
        words = self._words_on(self.findings.currentData() or "")
        typed = self.editor.text.toPlainText()
        self.editor.start(words, typed)
        if not typed:
            self.editor.says.setText("Write the sentence; the value is checked as you type.")

    def _add(self, text: str) -> None:
        self.given.emit(self.findings.currentData(), text)
        self.accept()
