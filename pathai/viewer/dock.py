"""The dock of the review: case header, worklist, sentences with their evidence, decisions."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import napari
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSplitter,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from pathai.errors import PathaiError
from pathai.viewer import commands, keys, palette, panels
from pathai.viewer.cards import Card, OverlayRow, Worklist, label, style
from pathai.viewer.presenter import Review
from pathai.viewer.runs import CaseView, Run

BANNER = "DRAFT – research use only – not for clinical use"
SIGNED_BANNER = "SIGNED – name and role as asserted – research use only"
HINTS = ("hide", "fit", "20x", "40x", "previous")
"""Keys that no button shows."""
REST_MS = 120
"""The camera is at rest when it has not moved for this long."""


class ReviewDock(QWidget):  # type: ignore[misc]
    """Widget of the plugin.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The window that the review works in.
    """

    def __init__(self, napari_viewer: "napari.viewer.Viewer") -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.review: Review | None = None
        self._open = ExitStack()
        self._cards: list[Card] = []
        self._panels: list[Any] = []
        self._shown = ""
        self.setObjectName("pathai")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setMinimumWidth(430)
        self.setStyleSheet(style())
        self._build()
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._at_rest)
        for event in self._camera_events():
            event.connect(self._moved)
        # A closed window destroys the dock without closing it; the log must be let go anyway.
        self.destroyed.connect(self._open.close)
        self._refresh()

    # --- parts ----------------------------------------------------------------------------

    def _build(self) -> None:
        self.banner = label(BANNER, "banner")
        self.title, self.facts = label("", "title"), label("", "facts")
        self.slides = QComboBox()
        self.slides.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.slides.activated.connect(self._choose_slide)
        self.open_button = _button("Open a run…", "Choose the folder of a run", self._choose_run)
        self.worklist = Worklist()
        self.worklist.chosen.connect(self._choose_case)
        self.overlays = OverlayRow()
        self.overlays.toggled.connect(self._choose_overlay)
        self.message = label("", "message")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(10, 8, 10, 10)
        layout.setSpacing(8)
        for part in (self.banner, self.title, self.facts, self.slides, self.open_button):
            layout.addWidget(part)
        layout.addWidget(self.overlays)
        self.tabs = QTabWidget()
        self.tabs.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.tabs.tabBar().setVisible(bool(panels.TABS))
        self.tabs.addTab(self._splitter(), "Review")
        layout.addWidget(self.tabs, stretch=1)
        layout.addWidget(self.message)
        layout.addLayout(self._buttons())
        shown = (keys.KEYS[name] for name in HINTS)
        self.hint = label(" · ".join(f"<b>{k.shown}</b> {k.short}" for k in shown), "hint")
        layout.addWidget(self.hint)

    def _splitter(self) -> QSplitter:
        splitter = QSplitter(Qt.Orientation.Vertical)
        splitter.setChildrenCollapsible(False)
        splitter.addWidget(_titled("Worklist", self.worklist))
        self.sentences = QScrollArea()
        self.sentences.setWidgetResizable(True)
        self.sentences.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.sentences.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.draft_title = label("Draft", "heading")
        splitter.addWidget(_titled(self.draft_title, self.sentences))
        splitter.setSizes([190, 500])
        self.splitter = splitter
        return splitter

    def _buttons(self) -> QVBoxLayout:
        self.accept = _button("Accept  K", keys.tip("accept"), lambda: self._act("accept"))
        self.reject = _button("Reject  J", keys.tip("reject"), lambda: self._act("reject"))
        self.edit = _button("Edit…", keys.tip("edit"), self._edit)
        self.undo = _button("Undo  U", keys.tip("undo"), lambda: self._act("undo"))
        self.done = _button("Mark case reviewed", "", self._mark_reviewed)
        self.next = _button("Next case  N", keys.tip("next"), lambda: self._act("next"))
        self.done.setObjectName("done")
        rows = QVBoxLayout()
        for parts in ((self.accept, self.reject, self.edit, self.undo), (self.done, self.next)):
            row = QHBoxLayout()
            for part in parts:
                row.addWidget(part, stretch=2 if part is self.done else 1)
            rows.addLayout(row)
        self.decisions = (self.accept, self.reject, self.edit)
        return rows

    # --- opening --------------------------------------------------------------------------

    def start(self, run: Run, reader: str) -> Review:
        """Begin the review of a run; the first unreviewed case is opened.

        Raises
        ------
        PathaiError
            E193 if the reader's id cannot name a log.
        """
        review = Review(self.viewer, run, reader)
        self.stop()
        self.review = review
        self._panels = [panels.load(tab.widget)(review) for tab in panels.TABS]
        for tab, panel in zip(panels.TABS, self._panels, strict=True):
            self.tabs.setTabToolTip(self.tabs.addTab(panel, tab.title), tab.tip)
        self._open.callback(review.close)
        self._open.enter_context(keys.bound(self.viewer, review))
        self._open.enter_context(commands.acting_on(review))
        review.changed.connect(self._refresh)
        review.told.connect(self._tell)
        bar = self.viewer.canvas.overlays.scale_bar
        bar.visible, bar.colored, bar.box = True, False, True
        review.open_case(review.session.next_unreviewed() or next(iter(review.run.cases)))
        return review

    def stop(self) -> None:
        """End the review: keys are given back, the log is closed."""
        if self.review is not None:
            self.review.changed.disconnect(self._refresh)
            self.review.told.disconnect(self._tell)
            self.review = None
        for panel in self._panels:
            self.tabs.removeTab(self.tabs.indexOf(panel))
            panel.deleteLater()
        self._panels = []
        self._open.close()

    def closeEvent(self, event: QCloseEvent) -> None:
        """The dock is closed for good."""
        for one in self._camera_events():
            one.disconnect(self._moved)
        self._rest.stop()
        self.stop()
        super().closeEvent(event)

    def _camera_events(self) -> tuple[Any, Any]:
        events = self.viewer.scene.camera.events
        return events.zoom, events.center

    def _choose_run(self) -> None:
        from pathai.viewer.app import default_reader

        folder = QFileDialog.getExistingDirectory(self, "Folder of a run (holds config.yaml)")
        if not folder:
            return
        try:
            self.start(Run(Path(folder)), default_reader())
        except PathaiError as error:
            self._tell(str(error))
        self._refresh()

    # --- from the presenter ---------------------------------------------------------------

    def _refresh(self) -> None:
        review, case = self.review, self.review.case if self.review else None
        self.open_button.setVisible(review is None)
        self._header(case)
        parts = (self.tabs, self.overlays, self.hint, self.done, self.undo, self.next)
        for part in (*parts, *self.decisions):
            part.setVisible(review is not None)
        if review is None:
            return
        self.worklist.show_rows(review.session.worklist(), case.case_id if case else "")
        self.overlays.show_state(review)
        self._sentences(case)
        for panel in self._panels:
            panel.refresh()
        left = len(review.session.undecided())
        for part in self.decisions:
            part.setEnabled(bool(review.selected))
        self.undo.setEnabled(bool(review.session.state.undoable))
        reviewed = review.session.state.reviewed
        drafted = case is not None and bool(case.record.draft)
        self.done.setEnabled(drafted and not left and not reviewed)
        words = f"{left} sentence{'s' * (left != 1)} left" if left else "Mark case reviewed"
        self.done.setText("Case reviewed ✓" if reviewed else words)
        tip = "Every sentence needs a decision first" if left else "The case leaves the worklist"
        self.done.setToolTip(tip)

    def _header(self, case: CaseView | None) -> None:
        if case is None:
            self.title.setText("No case open" if self.review else "pathai review")
            self.facts.setText("" if self.review else "Open the folder of a run to begin.")
            self.slides.hide()
            return
        slide = self.review.slide if self.review else None
        row = case.row(slide.slide_id) if slide else case.rows[0]
        status = self.review.session.state.status if self.review else "unread"
        signed = bool(self.review and self.review.run.signed(case.case_id))
        status = "signed" if signed else status
        self.banner.setText(SIGNED_BANNER if signed else BANNER)
        sign, color = palette.STATUS[status]
        state = f"<span style='color:{color}; font-size:14px'>{sign} {status}</span>"
        self.title.setText(f"Case {case.case_id} &nbsp; {state}")
        parts = [
            row.specimen_id and f"specimen {row.specimen_id}",
            row.block_id and f"block {row.block_id}",
            row.laterality,
            row.site and f"site {row.site}",
            f"<b>{_plain(row.stain)}</b>",
        ]
        self.facts.setText("  ·  ".join(part for part in parts if part))
        self.slides.clear()
        for one in case.rows:
            there = self.review is not None and self.review.run.has_pixels(one.slide_id)
            words = f"Slide {one.slide_id} – {one.stain}" + " – no pixels" * (not there)
            self.slides.addItem(words, one.slide_id)
        self.slides.setCurrentIndex([r.slide_id for r in case.rows].index(row.slide_id))
        self.slides.show()

    def _sentences(self, case: CaseView | None) -> None:
        """Build the cards of another case, or bring those of this one up to date."""
        shown = f"{case.case_id} {case.record.draft}" if case else ""
        if shown != self._shown or not self.sentences.widget():
            self._shown = shown
            self._build_cards(case)
        review = self.review
        outdated = review and review.session.state.outdated
        self.draft_title.setText("Draft" + " – changed since your last decisions" * bool(outdated))
        for card in self._cards:
            decision = review.decision(card.sentence.id) if review else None
            selected = bool(review and review.selected == card.sentence.id)
            card.show_state(decision, review.place if review and selected else -1)
            if selected:
                self.sentences.ensureWidgetVisible(card, 0, 40)

    def _build_cards(self, case: CaseView | None) -> None:
        body, self._cards = QWidget(), []
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
            card.chosen.connect(self._choose_sentence)
            column.addWidget(card)
            self._cards.append(card)
        if case and case.problem:
            column.addWidget(label(case.problem, "message"))
        column.addStretch(1)
        self.sentences.setWidget(body)

    def _tell(self, text: str) -> None:
        self.message.setText(text)
        self.message.setVisible(bool(text))

    # --- from the reader ------------------------------------------------------------------

    def _act(self, name: str) -> None:
        self._tell("")
        if self.review is not None:
            keys.KEYS[name].action(self.review)

    def _choose_case(self, case_id: str) -> None:
        self._tell("")
        if self.review is not None:
            self.review.open_case(case_id)

    def _choose_overlay(self, family: str, shown: bool) -> None:
        if self.review is not None:
            self.review.show_overlay(family, shown)

    def _choose_sentence(self, statement: str, place: int) -> None:
        self._tell("")
        if self.review is not None:
            self.review.select(statement, place)

    def _choose_slide(self, index: int) -> None:
        if self.review is not None:
            self.review.show_slide(self.slides.itemData(index))

    def _edit(self) -> None:
        if self.review is not None:
            self.review.part("report").begin_edit()

    def _mark_reviewed(self) -> None:
        if self.review is not None:
            self.review.mark_reviewed()

    def _moved(self) -> None:
        self._rest.start()

    def _at_rest(self) -> None:
        if self.review is not None:
            self.review.refresh_view()
            self.overlays.show_magnification(self.review.magnification)


def _button(text: str, tooltip: str, act: object) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tooltip)
    button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    button.clicked.connect(lambda: act())  # type: ignore[operator]
    return button


def _titled(title: str | QLabel, part: QWidget) -> QWidget:
    box = QWidget()
    column = QVBoxLayout(box)
    column.setContentsMargins(0, 0, 0, 0)
    column.setSpacing(4)
    column.addWidget(label(title, "heading") if isinstance(title, str) else title)
    column.addWidget(part, stretch=1)
    return box


def _plain(text: str) -> str:
    """Text of the sheet for a label that understands HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;")
