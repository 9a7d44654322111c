"""The page before the AI's results: what the reader thinks, in words or as answers."""

from html import escape

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QInputDialog,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from pathai.task import Task
from pathai.viewer.cards import label
from pathai.viewer.presenter import Review

WHY = (
    "AI results of this case are hidden until you have said what you think, so that they cannot "
    "lead you. Your words go to your log with the time."
)
REASONS = ("case is known to me", "second reading", "teaching", "technical check")


class ImpressionPanel(QWidget):  # type: ignore[misc]
    """Text, one answer for each question of the run's models, *Record* and *Reveal*.

    Parameters
    ----------
    review : Review
        Of the open case.
    """

    def __init__(self, review: Review) -> None:
        super().__init__()
        self.review, self._case = review, ""
        self.text = QPlainTextEdit()
        self.text.setPlaceholderText("In a few words")
        self.text.setTabChangesFocus(True)
        self.text.setMaximumHeight(110)
        self.answers: dict[str, QComboBox | QLineEdit] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 12, 4, 4)
        column.setSpacing(10)
        column.addWidget(label("Your first impression", "title"))
        column.addWidget(label(WHY, "facts"))
        column.addWidget(self.text)
        for model in review.run.plan.models:
            self._ask(column, model.task)
        self.record = _button("Record", "Saves it and shows the AI's results", self._record)
        self.record.setObjectName("done")
        self.reveal = _button(
            "Reveal without (logged)", "Shows the AI's results; the reason goes to your log",
            self._reveal,
        )  # fmt: skip
        row = QHBoxLayout()
        row.addWidget(self.record, stretch=2)
        row.addWidget(self.reveal, stretch=1)
        column.addLayout(row)
        column.addStretch(1)

    def refresh(self) -> None:
        """Begin anew when another case is open."""
        case = self.review.case.case_id if self.review.case else ""
        if case != self._case:
            self._case = case
            self.text.clear()
            for answer in self.answers.values():
                if isinstance(answer, QComboBox):
                    answer.setCurrentIndex(0)
                else:
                    answer.clear()

    def _ask(self, column: QVBoxLayout, task: Task) -> None:
        column.addWidget(label(escape(task.question), "heading"))
        if task.classes:
            choice = QComboBox()
            for value in ("", *task.classes):
                choice.addItem(value or "no answer", value)
            self.answers[task.name] = choice
        else:
            self.answers[task.name] = QLineEdit()
            self.answers[task.name].setPlaceholderText("a number, or nothing")
        column.addWidget(self.answers[task.name])

    def given(self) -> dict[str, str]:
        """Answers by task, without those that were not given."""
        found = {
            task: str(one.currentData()) if isinstance(one, QComboBox) else one.text().strip()
            for task, one in self.answers.items()
        }
        return {task: value for task, value in found.items() if value}

    def _record(self) -> None:
        self.review.give_impression(self.text.toPlainText(), self.given())
        self._leave()

    def _reveal(self) -> None:
        reason, ok = QInputDialog.getItem(self, "Reveal", "Reason:", REASONS, 0, True)
        if ok:
            self.review.reveal(reason)
            self._leave()

    def _leave(self) -> None:
        """The keys belong to the slide again."""
        holder = self.focusWidget()
        if holder is not None and not self.review.blind:
            holder.clearFocus()


def _button(text: str, tip: str, act: object) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    button.clicked.connect(lambda: act())  # type: ignore[operator]
    return button
