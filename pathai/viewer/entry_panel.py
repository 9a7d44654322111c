"""The tab of the entry form: what only a person sees, checked by the rules while it is typed."""

from html import escape

from qtpy.QtCore import Signal
from qtpy.QtGui import QShowEvent, QWheelEvent
from qtpy.QtWidgets import (
    QComboBox,
    QGridLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QWidget,
)

from pathai.viewer import palette
from pathai.viewer.controls import beside, button, column_of, fill_list, scrolled
from pathai.viewer.entry import Entries, Field, Preview, Where
from pathai.viewer.presenter import Review
from pathai.viewer.report_words_panel import rich


class _Choice(QComboBox):  # type: ignore[misc]
    """Codes by their words; the wheel scrolls the form and never changes a value."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Leave it to the form."""
        event.ignore()


class FieldRow(QWidget):  # type: ignore[misc]
    """One value: its name, its control, what stands there, and taking it back."""

    typed = Signal()
    taken = Signal(object)

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(6)
        star = " <b>*</b>" if field.required else ""
        name = rich(f"{escape(field.label[:1].upper() + field.label[1:])}{star}", "text")
        name.setToolTip(f"{field.key}: {field.hint}")
        grid.addWidget(name, 0, 0, 1, 2)
        self.control: QComboBox | QLineEdit
        if field.kind == "choice":
            self.control = self._choice()
        else:
            self.control = QLineEdit("" if field.given is None else _text(field.given))
            self.control.setPlaceholderText(field.hint)
            self.control.textChanged.connect(lambda _: self.typed.emit())
        self.control.setToolTip(field.hint)
        grid.addWidget(self.control, 1, 0)
        self.withdraw = button(
            "Withdraw", "Take the entered value back", lambda: self.taken.emit(self.field)
        )
        self.withdraw.setVisible(field.given is not None)
        grid.addWidget(self.withdraw, 1, 1)
        stands = f"stands: {escape(field.stands)}" if field.stands else "not assessed"
        if field.given is not None:
            stands += " (entered)"
        grid.addWidget(rich(stands, "note"), 2, 0, 1, 2)
        grid.setColumnStretch(0, 1)

    def _choice(self) -> QComboBox:
        control = _Choice()
        control.addItem("", "")
        for code, words in self.field.choices:
            control.addItem(words, code)
        if self.field.given is not None:
            control.setCurrentIndex(max(0, control.findData(self.field.given)))
        control.currentIndexChanged.connect(lambda _: self.typed.emit())
        return control

    @property
    def text(self) -> str:
        """What was chosen or typed."""
        if isinstance(self.control, QComboBox):
            return str(self.control.currentData() or "")
        return str(self.control.text()).strip()

    @property
    def changed(self) -> bool:
        """Whether there is something to enter that does not stand already."""
        given = "" if self.field.given is None else _text(self.field.given)
        return bool(self.text) and self.text != given


def _text(value: object) -> str:
    return "+".join(str(part) for part in value) if isinstance(value, list) else str(value)


class EntryPanel(QWidget):  # type: ignore[misc]
    """Widget of the tab.

    Parameters
    ----------
    review : Review
        The review that it belongs to.
    """

    def __init__(self, review: Review) -> None:
        super().__init__()
        self.review = review
        self.entries: Entries = review.part("entry")
        self.rows: dict[Where, FieldRow] = {}
        self._shown: tuple[str, tuple[Field, ...], bool] | None = None
        column = column_of(self)
        self.head = rich("", "facts")
        column.addWidget(self.head)
        self.form = scrolled()
        column.addWidget(self.form, stretch=1)
        self.more = _Choice()
        self.more.activated.connect(self._ask_more)
        column.addWidget(self.more)
        self.says = QLabel("")
        self.says.setWordWrap(True)
        column.addWidget(self.says)
        self.clear: QPushButton = button("Clear", "Forget what is not entered yet", self._forget)
        self.enter: QPushButton = button("Enter", "", self._enter)
        self.enter.setObjectName("done")
        row = beside(self.clear, self.enter)
        row.setStretch(1, 2)
        column.addLayout(row)

    # --- what is shown --------------------------------------------------------------------

    def refresh(self) -> None:
        """Show the form of the open case; what is typed stays where its field is the same."""
        if not self.isVisible():
            return
        hidden = self.review.session.hidden
        page = self.review.part("report").page
        fields = () if hidden else self.entries.fields()
        case = self.review.session.case
        shown = case.case_id if case else "", fields, page.closed
        if shown == self._shown:
            return
        kept = self.typed() if self._shown and self._shown[0] == shown[0] else {}
        self._shown = shown
        self._build(fields)
        for where, text in kept.items():
            self._put(where, text)
        self.head.setText(self._words(fields, hidden=hidden, closed=page.closed))
        self.form.setEnabled(not page.closed)
        self._offer(hidden=hidden or page.closed or not page.state)
        self._preview()

    def _words(self, fields: tuple[Field, ...], *, hidden: bool, closed: bool) -> str:
        if hidden:
            return "Give your first impression first."
        if closed:
            return "The report is signed: amend it before you enter anything."
        layout = self.entries.layout
        if layout is None or not fields:
            return "There is nothing to enter for this case."
        missing = sum(f.required and not f.stands for f in fields)
        left = f" <b>{missing}</b> required values are missing (*)." if missing else ""
        return f"Layout {escape(layout.name)}.{left} Nothing is written before you press Enter."

    def _build(self, fields: tuple[Field, ...]) -> None:
        self.rows, parts, heading = {}, list[QWidget](), None
        for field in fields:
            if field.heading != heading:
                heading = field.heading
                parts.append(rich(escape(heading), "section"))
            row = FieldRow(field)
            row.typed.connect(self._preview)
            row.taken.connect(self._withdraw)
            parts.append(row)
            self.rows[field.where] = row
        fill_list(self.form, parts, spacing=8)

    def _put(self, where: Where, text: str) -> None:
        row = self.rows.get(where)
        if row is None:
            return
        if isinstance(row.control, QComboBox):
            row.control.setCurrentIndex(max(0, row.control.findData(text)))
        else:
            row.control.setText(text)

    def _offer(self, *, hidden: bool) -> None:
        self.more.clear()
        self.more.addItem("Another value…", "")
        for key, name in () if hidden else self.entries.others():
            self.more.addItem(f"{name} ({key})", key)
        self.more.setVisible(self.more.count() > 1)

    def showEvent(self, event: QShowEvent) -> None:
        """Show what stands."""
        super().showEvent(event)
        self.refresh()

    # --- from the reader ------------------------------------------------------------------

    def typed(self) -> dict[Where, str]:
        """What was chosen or typed and does not stand yet."""
        return {where: row.text for where, row in self.rows.items() if row.changed}

    def _preview(self) -> None:
        typed = self.typed()
        found = self.entries.preview(typed)
        if not typed:
            found = Preview(contradictions=self.entries.standing())
        self.says.setText(_told(found))
        self.says.setVisible(found != Preview())
        count = len(typed)
        self.enter.setEnabled(bool(count) and not found.problem)
        self.enter.setText(f"Enter {count} value{'s' * (count != 1)}" if count else "Enter")
        tip = "Write them into the report's trail; findings and draft follow"
        self.enter.setToolTip(found.problem or (tip if count else "Choose or type a value first"))
        self.clear.setEnabled(bool(count))

    def _enter(self) -> None:
        typed = self.typed()
        if typed:
            self.entries.enter(typed)

    def _withdraw(self, field: Field) -> None:
        self.entries.withdraw(field)

    def _forget(self) -> None:
        self._shown = None
        self.refresh()

    def _ask_more(self, index: int) -> None:
        key = self.more.itemData(index)
        if key:
            self.entries.ask(key)


def _told(found: Preview) -> str:
    """What would follow, one line each."""
    lines = []
    if found.problem:
        lines.append(f"<span style='color:{palette.VERMILION}'>✕ {escape(found.problem)}</span>")
    for one in found.contradictions:
        lines.append(
            f"<span style='color:{palette.VERMILION}'>⚑ Contradiction: {escape(one)}</span>"
        )
    for one in found.follows:
        lines.append(f"<span style='color:{palette.BLUE}'>→ {escape(one)}</span>")
    return "<br>".join(lines)
