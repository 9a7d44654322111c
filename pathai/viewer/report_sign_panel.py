"""Signing: what is still open, who signs as what, and where the documents are."""

from html import escape

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from pathai.viewer.cards import label
from pathai.viewer.controls import button
from pathai.viewer.report import DOCUMENTS, Report
from pathai.viewer.report_page import Open, Page
from pathai.viewer.report_words_panel import Dialog, ReasonDialog, rich

ROLES = ("pathologist", "resident", "second reader")
OPEN_PX = 150
"""Most height of the list of what is open."""
FEW = 6
"""Open items that a tooltip lists."""


class SignDialog(Dialog):
    """The signer says who signs, as what, and that the report was read."""

    given = Signal(str)

    def __init__(self, parent: QWidget, page: Page, case_id: str, reader: str) -> None:
        super().__init__(parent, "Sign the report")
        sentences = sum(row.mark != "deleted" for row in page.rows)
        title = f"Case {escape(case_id)}, version {page.version or 1}"
        self.column.addWidget(rich(title, "title"))
        said = f"{sentences} sentences are printed. You sign as <b>{escape(reader)}</b>."
        self.column.addWidget(rich(said, "facts"))
        self.column.addWidget(label("Your role", "heading"))
        self.role = QComboBox()
        self.role.setEditable(True)
        self.role.addItems(["", *ROLES])
        self.column.addWidget(self.role)
        self.mine = QCheckBox(f"I am {reader}, and this is my role.")
        self.read = QCheckBox("I have read every sentence and every value of this report.")
        self.column.addWidget(self.mine)
        self.column.addWidget(self.read)
        self.column.addWidget(
            label(
                "Name and role are your own assertion: nobody checks them, and this is no "
                "qualified electronic signature. Research use only.",
                "hint",
            )
        )
        self.sign = self.end_with("Sign")
        for change in (self.mine.toggled, self.read.toggled, self.role.currentTextChanged):
            change.connect(lambda _: self._ready())
        self._ready()
        self.accepted.connect(lambda: self.given.emit(self.role.currentText().strip()))

    def _ready(self) -> None:
        said = self.mine.isChecked() and self.read.isChecked()
        self.sign.setEnabled(said and bool(self.role.currentText().strip()))


class OpenList(QWidget):  # type: ignore[misc]
    """What stands open; sentences without a decision are one line, not many."""

    chosen = Signal(str)
    wanted = Signal(str, str)

    def __init__(self) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        self.heading = label("", "heading")
        self.more = button("Show", "What is open before a signature", self._toggle)
        head = QHBoxLayout()
        head.addWidget(self.heading, stretch=1)
        head.addWidget(self.more)
        column.addLayout(head)
        self.area = QScrollArea()
        self.area.setWidgetResizable(True)
        self.area.setMaximumHeight(OPEN_PX)
        column.addWidget(self.area)
        self.buttons: dict[str, QPushButton] = {}
        self._shown: tuple[Open, ...] | None = None
        self.area.hide()

    def _toggle(self) -> None:
        self.area.setVisible(not self.area.isVisible())
        self.more.setText("Hide" if self.area.isVisible() else "Show")

    def show_items(self, items: tuple[Open, ...]) -> None:
        """Show what is open now."""
        self.setVisible(bool(items))
        if items == self._shown:
            return
        self._shown, self.buttons = items, {}
        self.heading.setText(f"{len(items)} open before a signature")
        body = QWidget()
        rows = QVBoxLayout(body)
        rows.setContentsMargins(0, 0, 4, 0)
        rows.setSpacing(4)
        waiting = [one for one in items if one.id.startswith("open:")]
        for one in items:
            if one not in waiting:
                rows.addWidget(self._row(one))
        if waiting:
            rows.addWidget(self._waiting(waiting))
        rows.addStretch(1)
        self.area.setWidget(body)
        self.area.setFixedHeight(min(OPEN_PX, body.sizeHint().height() + 4))

    def _row(self, one: Open) -> QWidget:
        acts = {
            "acknowledge": ("Answer for it…", "Take responsibility, with a reason"),
            "decide": ("Go there", "Show the sentence"),
        }
        words, tip = acts.get(
            one.how, ("Go there", "Show the sentence") if one.statement else ("", "")
        )
        made = self._line(one.message)
        if words:
            part = button(words, tip, lambda: self._act(one))
            made.layout().addWidget(part)
            self.buttons[one.id] = part
        return made

    def _waiting(self, waiting: list[Open]) -> QWidget:
        first = waiting[0]
        more = f"{len(waiting)} sentences have no decision" if len(waiting) > 1 else first.message
        made = self._line(more)
        part = button(
            "Go there", "Show the first of them", lambda: self.chosen.emit(first.statement)
        )
        made.layout().addWidget(part)
        self.buttons["open"] = part
        return made

    def _line(self, text: str) -> QWidget:
        made = QFrame()
        row = QHBoxLayout(made)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(rich(f"• {escape(text)}", "text"), stretch=1)
        return made

    def _act(self, one: Open) -> None:
        if one.how == "acknowledge":
            self.wanted.emit(one.id, one.message)
        else:
            self.chosen.emit(one.statement)


class Signing(QWidget):  # type: ignore[misc]
    """The foot of the panel: sign, or what was signed, where it lies, and amend.

    Parameters
    ----------
    report : Report
        Of the open case.
    """

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report
        self.dialog: SignDialog | ReasonDialog | None = None
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        self.said = rich("", "facts")
        self.paths = rich("", "note")
        self.paths.setTextInteractionFlags(self.paths.textInteractionFlags().TextSelectableByMouse)
        self.sign = button("Sign…", "", self._ask)
        self.sign.setObjectName("done")
        self.amend = button("Amend…", "Open the next version, with a reason", self._ask_why)
        self.buttons = QHBoxLayout()
        column.addWidget(self.said)
        column.addWidget(self.paths)
        column.addLayout(self.buttons)
        self.buttons.addWidget(self.sign, stretch=2)
        self.buttons.addWidget(self.amend)

    def show_page(self, page: Page) -> None:
        """Show whether a signature is possible, and what was signed."""
        self.sign.setVisible(bool(page.state) and not page.closed)
        self.sign.setEnabled(page.signable)
        self.sign.setToolTip(tip(page))
        left = len(page.open)
        self.sign.setText("Sign…" if not left else f"Sign… ({left} open)")
        self.amend.setVisible(page.closed)
        signed = page.signed
        self.said.setVisible(signed is not None)
        self.paths.setVisible(signed is not None)
        if signed is not None:
            words = "Signed" if page.closed else f"Version {signed.version} was signed"
            when = signed.time[:16].replace("T", " ")
            self.said.setText(
                f"<b>◆ {words}</b> by {escape(signed.reader)}, {escape(signed.role)} "
                f"(as asserted), {when} UTC"
            )
            found = self.report.documents()
            short = dict(zip((f"signed-{signed.version}.{e}" for _, e in DOCUMENTS),
                             (name for name, _ in DOCUMENTS), strict=True))  # fmt: skip
            first = [f"{short[p.name]}: {escape(str(p))}" for p in found if p.name in short]
            others = ", ".join(p.name for p in found if p.name not in short)
            self.paths.setText("<br>".join([*first, f"Beside them: {escape(others)}"]))

    def _ask(self) -> None:
        case = self.report.review.session.case
        if case is None or not self.report.page.signable:
            return
        self.dialog = SignDialog(self.window(), self.report.page, case.case_id, self.report.reader)
        self.dialog.given.connect(self._sign)
        self.dialog.open()

    def _sign(self, role: str) -> None:
        self.report.sign(role)

    def _ask_why(self) -> None:
        question = "The signed version stays as it is. The next one begins as a draft."
        self.dialog = ReasonDialog(self.window(), "Amend the report", question, "Amend")
        self.dialog.given.connect(self.report.amend)
        self.dialog.open()


def tip(page: Page) -> str:
    """What a disabled button waits for."""
    if page.signable:
        return "Sign what you have read"
    if page.problem:
        return page.problem
    first = [f"• {one.message}" for one in page.open[:FEW]]
    more = len(page.open) - len(first)
    return "\n".join(["Open:", *first, *([f"• and {more} more"] if more > 0 else [])])
