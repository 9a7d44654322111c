"""The page of the report: its sentences, what is open, and the signature."""

from functools import partial
from html import escape

from qtpy.QtCore import QTimer, Signal
from qtpy.QtGui import QHideEvent, QShowEvent
from qtpy.QtWidgets import QProgressBar, QWidget

from pathai.viewer import keys, palette
from pathai.viewer.cards import label
from pathai.viewer.controls import beside, bring_forward, button, column_of, fill_list, scrolled
from pathai.viewer.presenter import Review
from pathai.viewer.report import Report
from pathai.viewer.report_card_panel import ReportCard
from pathai.viewer.report_page import Page
from pathai.viewer.report_sign_panel import OpenList, Signing
from pathai.viewer.report_words_panel import AddDialog, ReasonDialog, WordsEditor, rich

LOOK_MS = 1500
"""How often the panel looks whether another program changed the report."""
STATES = {
    "draft": "Draft",
    "in_review": "In review",
    "signed": "Signed",
    "amended": "Signed again",
}


class ReportPanel(QWidget):  # type: ignore[misc]
    """The sentences with the decisions on them, and below them the way to a signature.

    Parameters
    ----------
    review : Review
        The review that it belongs to.
    """

    acted = Signal()
    """The reader does something: what was told before is no longer of interest."""

    def __init__(self, review: Review) -> None:
        super().__init__()
        self.review = review
        self.report: Report = review.part("report")
        self.cards: dict[str, ReportCard] = {}
        self.dialog: AddDialog | ReasonDialog | None = None
        self._shown: object = None
        self._typing = ""
        self._build()
        self._look = QTimer(self)
        self._look.setInterval(LOOK_MS)
        self._look.timeout.connect(self.report.look)
        self.report.asked.connect(self._asked)

    def _build(self) -> None:
        column = column_of(self)
        self.state = label("", "heading")
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(6)
        self.progress.setStyleSheet(
            "QProgressBar { border: none; border-radius: 3px; background: #d5d9de; }"
            f"QProgressBar::chunk {{ border-radius: 3px; background: {palette.BLUE}; }}"
        )
        self.stale = rich("", "message")
        self.again = button(
            "Draft again", "From the new findings; entries and words are kept", self.report.redraft
        )
        self.sentences = scrolled()
        self.accept, self.reject = (
            button(f"{words}  {keys.shown(name)}", keys.tip(name), partial(self._act, name))
            for words, name in (("Accept", "accept"), ("Reject", "reject"))
        )
        self.add = button("Add a sentence…", "On one of the case's findings", self._ask_add)
        self.open = OpenList()
        self.open.chosen.connect(lambda statement: self.review.select(statement))
        self.open.wanted.connect(self._ask_acknowledge)
        self.signing = Signing(self.report)
        parts = (self.state, self.progress, self.stale, self.again)
        for part in parts:
            column.addWidget(part)
        column.addWidget(self.sentences, stretch=1)
        column.addLayout(beside(self.accept, self.reject, self.add))
        column.addWidget(self.open)
        column.addWidget(self.signing)

    # --- what is shown --------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the report as it stands; while the tab is hidden nothing is drawn."""
        hidden = self.review.session.hidden
        if not (hidden or self.isVisible()):
            return
        page = Page() if hidden else self.report.page
        self._head(page, hidden=hidden)
        shown = None if hidden else self._key(page)
        if shown != self._shown or self.sentences.widget() is None:
            self._shown = shown
            self._build_cards(page)
        for row in page.rows:
            card = self.cards[row.sentence.id]
            selected = self.review.selected == row.sentence.id
            card.show_state(row, self.review.place if selected else -1, closed=page.closed)
            if selected:
                self.sentences.ensureWidgetVisible(card, 0, 40)
        self.add.setVisible(bool(page.state) and not page.closed)
        for one in (self.accept, self.reject):
            one.setVisible(bool(page.rows))
            one.setEnabled(bool(self.review.selected))
        self.open.show_items(page.open)
        self.signing.show_page(page)

    def _head(self, page: Page, *, hidden: bool) -> None:
        total = len(page.rows)
        if hidden:
            self.state.setText("The report is hidden until your first impression is given.")
        elif page.problem or not page.state:
            self.state.setText("No report")
        else:
            words = STATES[page.state] + (f", version {page.version}" if page.version > 1 else "")
            changed = "  ·  changed since your last decisions"
            changed *= self.review.session.state.outdated
            self.state.setText(f"{words}  ·  {page.decided} of {total} decided{changed}")
        self.progress.setRange(0, max(total, 1))
        self.progress.setValue(page.decided)
        self.progress.setVisible(bool(total) and not hidden)
        told = page.problem
        if page.stale:
            told = (
                "The findings of this case were made anew since this draft. Draft it again: "
                "entered values and your words are kept, and what changed waits for you."
            )
        self.stale.setText(escape(told))
        self.stale.setVisible(bool(told))
        self.again.setVisible(page.stale and not hidden)

    def _key(self, page: Page) -> object:
        """What the cards are built from."""
        return page.draft, tuple(
            (row.sentence.id, row.sentence.text, row.sentence.source, row.mark == "deleted")
            for row in page.rows
        )

    def _build_cards(self, page: Page) -> None:
        typed = self._typed()
        self.cards, parts, section = {}, list[QWidget](), ""
        for row in page.rows:
            if row.sentence.section != section:
                section = row.sentence.section
                parts.append(rich(escape(section), "section"))
            card = ReportCard(row)
            card.chosen.connect(self._choose)
            card.wanted.connect(self._want)
            card.edited.connect(self._keep)
            card.left.connect(self._leave)
            parts.append(card)
            self.cards[card.id] = card
        fill_list(self.sentences, parts)
        if self._typing in self.cards and typed is not None:  # words that are typed outlive it
            self._begin(self._typing, typed)
        else:
            self._typing = ""

    def showEvent(self, event: QShowEvent) -> None:
        """Show what stands, and look for others' changes from now on."""
        super().showEvent(event)
        self._look.start()
        self.refresh()

    def hideEvent(self, event: QHideEvent) -> None:
        """Nothing to look for."""
        self._look.stop()
        super().hideEvent(event)

    # --- from the reader ------------------------------------------------------------------

    def _asked(self, what: str) -> None:
        if what == "show":
            bring_forward(self)
        elif what == "edit" and self.review.selected:
            self._begin(self.review.selected)

    def _act(self, name: str) -> None:
        self.acted.emit()
        keys.do(self.review, name)

    def _choose(self, statement: str, place: int) -> None:
        self.acted.emit()
        if self._typing and self._typing != statement:
            self.review.told.emit(f"Keep or leave your words on {self._typing} first.")
            return
        self.review.select(statement, place)

    def _want(self, what: str, statement: str) -> None:
        if what == "edit":
            self._begin(statement)
        elif what == "restore":
            self.report.restore(statement)
        else:
            text = self.cards[statement].row.sentence.text
            self._ask(
                f"Delete {statement}",
                f"“{escape(text)}” leaves the report. Its finding stays among the findings.",
                "Delete",
                lambda reason: self.report.delete(statement, reason),
            )

    def _begin(self, statement: str, typed: str | None = None) -> None:
        if self._typing and self._typing != statement:
            self.review.told.emit(f"Keep or leave your words on {self._typing} first.")
            return
        card = self.cards.get(statement)
        if card is None or card.editor is not None or card.row.mark == "deleted":
            return
        editor = WordsEditor()
        self._typing = statement
        card.open_editor(editor)
        text = card.row.sentence.text if typed is None else typed
        editor.start(self.report.words(statement), text)
        QTimer.singleShot(0, self._reveal)

    def _reveal(self) -> None:
        """Bring the whole editor into view, once it has its place."""
        card = self.cards.get(self._typing)
        if card is not None and card.editor is not None:
            self.sentences.ensureWidgetVisible(card.editor.save, 0, 20)

    def _typed(self) -> str | None:
        card = self.cards.get(self._typing)
        return card.editor.text.toPlainText() if card and card.editor else None

    def _keep(self, statement: str, text: str) -> None:
        self._end(statement)
        if not self.report.edit(statement, text):
            self._begin(statement, text)  # refused: the words are not lost

    def _leave(self) -> None:
        self._end(self._typing)
        self.refresh()

    def _end(self, statement: str) -> None:
        self._typing = ""
        if statement in self.cards:
            self.cards[statement].close_editor()

    def _ask_add(self) -> None:
        dialog = AddDialog(self.window(), self.report.findings(), self.report.words_on)
        dialog.given.connect(self.report.add)
        self.dialog = dialog
        dialog.open()

    def _ask_acknowledge(self, item: str, message: str) -> None:
        self._ask(
            "Answer for it",
            f"{escape(message[:1].upper() + message[1:])}. You take responsibility, and the trail "
            "keeps your reason.",
            "I answer for it",
            lambda reason: self.report.acknowledge(item, reason),
        )

    def _ask(self, title: str, question: str, done: str, act: object) -> None:
        dialog = ReasonDialog(self.window(), title, question, done)
        dialog.given.connect(act)
        self.dialog = dialog
        dialog.open()
