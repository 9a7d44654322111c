"""The sentences of the draft, one card each, and the decisions on them."""

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from pathai.viewer import keys
from pathai.viewer.cards import Card, label
from pathai.viewer.presenter import Review
from pathai.viewer.runs import CaseView


class SentencesPanel(QWidget):  # type: ignore[misc]
    """Cards and buttons.

    Parameters
    ----------
    review : Review
        Of the open case.
    """

    acted = Signal()
    """The reader does something: what was told before is no longer of interest."""

    def __init__(self, review: Review) -> None:
        super().__init__()
        self.review = review
        self.cards: list[Card] = []
        self._shown = ""
        self.title = label("Draft", "heading")
        self.area = QScrollArea()
        self.area.setWidgetResizable(True)
        self.area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.accept = _button("accept", "Accept", lambda: self._act("accept"))
        self.reject = _button("reject", "Reject", lambda: self._act("reject"))
        self.edit = _button("edit", "Edit…", self._edit)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 6, 0, 0)
        column.addWidget(self.title)
        column.addWidget(self.area, stretch=1)
        row = QHBoxLayout()
        for button in (self.accept, self.reject, self.edit):
            row.addWidget(button)
        column.addLayout(row)

    def refresh(self) -> None:
        """Build the cards of another case, or bring those of this one up to date."""
        review, case = self.review, self.review.case
        shown = f"{case.case_id} {case.record.draft}" if case and not review.blind else ""
        if shown != self._shown or not self.area.widget():
            self._shown = shown
            self._build(None if review.blind else case)
        outdated = review.session.state.outdated
        self.title.setText("Draft" + " – changed since your last decisions" * bool(outdated))
        for card in self.cards:
            selected = review.selected == card.sentence.id
            card.show_state(review.decision(card.sentence.id), review.place if selected else -1)
            if selected:
                self.area.ensureWidgetVisible(card, 0, 40)
        for button in (self.accept, self.reject, self.edit):
            button.setEnabled(bool(review.selected))

    def _build(self, case: CaseView | None) -> None:
        body, self.cards = QWidget(), []
        body.setObjectName("cards")
        column = QVBoxLayout(body)
        column.setContentsMargins(0, 0, 4, 0)
        column.setSpacing(6)
        section = ""
        for sentence in case.sentences if case else ():
            if sentence.section != section:
                section = sentence.section
                column.addWidget(label(section, "section"))
            card = Card(sentence)
            card.chosen.connect(self._choose)
            column.addWidget(card)
            self.cards.append(card)
        if case and case.problem:
            column.addWidget(label(case.problem, "message"))
        column.addStretch(1)
        self.area.setWidget(body)

    def _act(self, name: str) -> None:
        self.acted.emit()
        keys.do(self.review, name)

    def _choose(self, statement: str, place: int) -> None:
        self.acted.emit()
        self.review.select(statement, place)

    def _edit(self) -> None:
        self.acted.emit()
        self.review.part("report").begin_edit()


def _button(action: str, text: str, act: object) -> QPushButton:
    button = QPushButton(f"{text}  {keys.shown(action)}" if action else text)
    if action:
        button.setToolTip(keys.tip(action))
    button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    button.clicked.connect(lambda: act())  # type: ignore[operator]
    return button
