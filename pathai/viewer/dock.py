"""The dock of the review: the case header on top, below it the tabs, at the foot what is next."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import napari
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QMainWindow,
    QStackedWidget,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from pathai.errors import PathaiError
from pathai.viewer import commands, keys, panels, preferences
from pathai.viewer.cards import OverlayRow, label, style
from pathai.viewer.controls import button
from pathai.viewer.header_panel import Header
from pathai.viewer.help_panel import KeyList
from pathai.viewer.impression_panel import ImpressionPanel
from pathai.viewer.overview_panel import Overview
from pathai.viewer.preferences import Preferences
from pathai.viewer.presenter import Review
from pathai.viewer.report_card_panel import ReportCard
from pathai.viewer.report_panel import ReportPanel
from pathai.viewer.runs import Run
from pathai.viewer.worklist_panel import WorklistPanel

HINTS = ("worklist", "hide", "fit", "20x", "40x", "help")
"""Keys that no button shows."""
REST_MS = 120
"""The camera is at rest when it has not moved for this long."""
CASES, REVIEW = 0, 1
"""Places of our own tabs."""


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
        self._panels: list[Any] = []
        self._groups: dict[str, QTabWidget] = {}
        self.worklist: WorklistPanel | None = None
        self.sentences: ReportPanel | None = None
        self.impression: ImpressionPanel | None = None
        self.overview: Overview | None = None
        self.key_list: KeyList | None = None
        self._before = REVIEW
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
        self.header = Header()
        self.banner, self.title = self.header.banner, self.header.title
        self.facts, self.slides = self.header.facts, self.header.slides
        self.header.slide_chosen.connect(self._choose_slide)
        self.open_button = button("Open a run…", "Choose the folder of a run", self._choose_run)
        self.overlays = OverlayRow()
        self.overlays.toggled.connect(self._choose_overlay)
        self.message = label("", "message")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(10, 8, 10, 10)
        layout.setSpacing(8)
        layout.addWidget(self.header)
        layout.addWidget(self.open_button)
        layout.addWidget(self.overlays)
        self.tabs = _tabs()
        layout.addWidget(self.tabs, stretch=1)
        layout.addWidget(self.message)
        layout.addLayout(self._buttons())
        self.hint = label("", "hint")
        layout.addWidget(self.hint)

    def _buttons(self) -> QHBoxLayout:
        self.undo = button("Undo", "", lambda: self._act("undo"))
        self.done = button("Mark case reviewed", "", self._mark_reviewed)
        self.next = button("Next case", "", lambda: self._act("next"))
        self.done.setObjectName("done")
        row = QHBoxLayout()
        for part in (self.undo, self.done, self.next):
            row.addWidget(part, stretch=2 if part is self.done else 1)
        return row

    @property
    def _cards(self) -> list[ReportCard]:
        return list(self.sentences.cards.values()) if self.sentences else []

    # --- opening --------------------------------------------------------------------------

    def start(self, run: Run, reader: str, wishes: Preferences | None = None) -> Review:
        """Begin the review of a run; the first unreviewed case is opened.

        Parameters
        ----------
        run : Run
            What there is to review.
        reader : str
            Id of the reader.
        wishes : Preferences, optional
            Instead of those that napari keeps.

        Raises
        ------
        PathaiError
            E193 if the reader's id cannot name a log.
        """
        wishes = wishes or preferences.read()
        review = Review(self.viewer, run, reader, wishes)
        self.stop()
        problems = keys.choose(wishes.keys, keys.napari_keys())
        self.review = review
        self._add_tabs(review)
        self._add_on_canvas(review)
        self._open.callback(review.close)
        self._open.enter_context(keys.bound(self.viewer, review))
        self._open.enter_context(commands.acting_on(review))
        review.changed.connect(self._refresh)
        review.told.connect(self._tell)
        review.asked.connect(self._show_part)
        self._name_keys()
        bar = self.viewer.canvas.overlays.scale_bar
        bar.visible, bar.colored, bar.box = True, False, True
        review.open_case(review.session.next_unreviewed() or next(iter(review.run.cases)))
        if problems:
            self._tell(" ".join((self.message.text(), *problems)).strip())
        return review

    def _add_tabs(self, review: Review) -> None:
        self.worklist = WorklistPanel(review)
        self.worklist.chosen.connect(self._choose_case)
        self.sentences, self.impression = ReportPanel(review), ImpressionPanel(review)
        self.sentences.acted.connect(lambda: self._tell(""))
        self.pages = QStackedWidget()
        self.pages.addWidget(self.impression)
        self.pages.addWidget(self.sentences)
        self.tabs.addTab(self.worklist, "Cases")
        self.tabs.addTab(self.pages, "Review")
        self.tabs.setTabToolTip(CASES, keys.tip("worklist"))
        self.tabs.setTabToolTip(REVIEW, "The report, sentence by sentence, and its signature")
        self._panels = [panels.load(tab.widget)(review) for tab in panels.TABS]
        self._groups = {}
        for tab, panel in zip(panels.TABS, self._panels, strict=True):
            if tab.group not in self._groups:
                self._groups[tab.group] = _tabs()
                self.tabs.addTab(self._groups[tab.group], tab.group)
            group = self._groups[tab.group]
            group.setTabToolTip(group.addTab(panel, tab.title), tab.tip)
        self.tabs.setCurrentIndex(REVIEW)

    def _add_on_canvas(self, review: Review) -> None:
        """Map and list of keys lie on the canvas, where there is one."""
        window = self.window()
        canvas = window.centralWidget() if isinstance(window, QMainWindow) else None
        if canvas is not None:
            self.overview, self.key_list = Overview(review, canvas), KeyList(canvas)
            review.slide_shown.connect(self.overview.refresh)
            review.slide_cleared.connect(self.overview.refresh)

    def _name_keys(self) -> None:
        """Buttons and hints say the keys that hold now."""
        for one, words, name in ((self.undo, "Undo", "undo"), (self.next, "Next case", "next")):
            one.setText(f"{words}  {keys.shown(name)}")
            one.setToolTip(keys.tip(name))
        shown = ((keys.shown(name), keys.KEYS[name].short) for name in HINTS)
        self.hint.setText(" · ".join(f"<b>{key}</b> {word}" for key, word in shown))

    def stop(self) -> None:
        """End the review: keys are given back, the log is closed."""
        if self.review is not None:
            for signal, slot in (
                (self.review.changed, self._refresh),
                (self.review.told, self._tell),
                (self.review.asked, self._show_part),
            ):
                signal.disconnect(slot)
            self.review = None
        if self.worklist is not None:
            self.worklist.stop()
        for part in (self.overview, self.key_list):
            if part is not None:
                part.close_down()
        while self.tabs.count():
            panel = self.tabs.widget(0)
            self.tabs.removeTab(0)
            panel.deleteLater()
        self._groups = {}
        self._panels, self.worklist, self.sentences, self.impression = [], None, None, None
        self.overview = self.key_list = None
        self._open.close()

    def closeEvent(self, event: QCloseEvent) -> None:
        """The dock is closed for good."""
        if self.review is not None:
            window = self.window()
            preferences.keep_sizes(self.width(), (window.width(), window.height()))
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
        review = self.review
        self.open_button.setVisible(review is None)
        self.header.show_state(review)
        for part in (self.tabs, self.hint, self.done, self.undo, self.next):
            part.setVisible(review is not None)
        self.overlays.setVisible(review is not None and not review.blind)
        if review is None or self.worklist is None:
            return
        self._draw_curtain(review.blind)
        for panel in (self.worklist, self.sentences, self.impression, *self._panels):
            panel.refresh()
        self.overlays.show_state(review)
        self.undo.setEnabled(bool(review.session.state.undoable))
        self._show_done(review)

    def _draw_curtain(self, blind: bool) -> None:
        """Before the first impression there are only the page for it and what shows no result."""
        self.pages.setCurrentIndex(0 if blind else 1)
        for tab, panel in zip(panels.TABS, self._panels, strict=True):
            group = self._groups[tab.group]
            group.setTabVisible(group.indexOf(panel), tab.blind or not blind)
        for name, group in self._groups.items():
            shown = any(tab.blind for tab in panels.TABS if tab.group == name) or not blind
            self.tabs.setTabVisible(self.tabs.indexOf(group), shown)

    def _show_done(self, review: Review) -> None:
        if review.blind:
            self.done.setEnabled(False)
            self.done.setText("First impression first")
            self.done.setToolTip("Record it, or reveal the AI's results with a reason")
            return
        left, reviewed = len(review.session.undecided()), review.session.state.reviewed
        drafted = review.case is not None and bool(review.case.record.draft)
        self.done.setEnabled(drafted and not left and not reviewed)
        words = f"{left} sentence{'s' * (left != 1)} left" if left else "Mark case reviewed"
        self.done.setText("Case reviewed ✓" if reviewed else words)
        tip = "Every sentence needs a decision first" if left else "The case leaves the worklist"
        self.done.setToolTip(tip)

    def _tell(self, text: str) -> None:
        self.message.setText(text)
        self.message.setVisible(bool(text))

    def _show_part(self, name: str) -> None:
        """What a key asks for: the worklist and back, the list of keys, the map."""
        if name == "help" and self.key_list is not None:
            self.key_list.toggle()
        elif name == "overview" and self.overview is not None:
            self.overview.toggle()
        elif name == "worklist" and self.worklist is not None:
            here = self.tabs.currentIndex()
            if here == CASES:
                self.tabs.setCurrentIndex(self._before)
            else:
                self._before = here
                self.tabs.setCurrentIndex(CASES)
                self.worklist.take_focus()

    # --- from the reader ------------------------------------------------------------------

    def _act(self, name: str) -> None:
        self._tell("")
        if self.review is not None:
            keys.do(self.review, name)

    def _choose_case(self, case_id: str) -> None:
        self._tell("")
        if self.review is not None:
            self.review.open_case(case_id)
            self.tabs.setCurrentIndex(REVIEW)

    def _choose_overlay(self, family: str, shown: bool) -> None:
        if self.review is not None:
            self.review.show_overlay(family, shown)

    def _choose_slide(self, slide_id: str) -> None:
        self._tell("")
        if self.review is not None:
            self.review.show_slide(slide_id)

    def _mark_reviewed(self) -> None:
        if self.review is not None:
            self.review.mark_reviewed()

    def _moved(self) -> None:
        self._rest.start()

    def _at_rest(self) -> None:
        if self.review is not None:
            self.review.refresh_view()
            self.header.show_magnification(self.review)


def _tabs() -> QTabWidget:
    tabs = QTabWidget()
    tabs.setTabBarAutoHide(True)  # a group of one tab needs no second row
    tabs.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    tabs.tabBar().setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return tabs
