"""The case header, always in view: case, status, specimen, block, side, stain, slide."""

from html import escape

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from pathai.viewer import keys, palette
from pathai.viewer.cards import label
from pathai.viewer.looking import in_microns
from pathai.viewer.presenter import Review
from pathai.viewer.runs import CaseView

BANNER = "DRAFT – research use only – not for clinical use"
SIGNED_BANNER = "SIGNED – name and role as asserted – research use only"
ZOOMS = ("fit", "5x", "10x", "20x", "40x")


class Header(QWidget):  # type: ignore[misc]
    """Banner, title, facts, choice of the slide, magnification."""

    slide_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.banner = label(BANNER, "banner")
        self.title, self.facts = label("", "title"), label("", "facts")
        self.slides = QComboBox()
        self.slides.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.slides.activated.connect(
            lambda index: self.slide_chosen.emit(self.slides.itemData(index))
        )
        self.magnification = QLabel("")
        self.magnification.setMinimumWidth(48)
        self.magnification.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        for part in (self.banner, self.title, self.facts):
            column.addWidget(part)
        row = QHBoxLayout()
        row.addWidget(self.slides, stretch=1)
        row.addWidget(self.magnification)
        column.addLayout(row)

    def show_state(self, review: Review | None) -> None:
        """Show the open case, or that none is."""
        case = review.case if review else None
        self.magnification.setToolTip(
            "Magnification on a microscope. " + ", ".join(keys.tip(name) for name in ZOOMS)
        )
        if review is None or case is None:
            self.title.setText("No case open" if review else "pathai review")
            self.facts.setText("" if review else "Open the folder of a run to begin.")
            self.slides.hide()
            self.magnification.clear()
            return
        row = case.row(review.slide.slide_id) if review.slide else case.rows[0]
        signed = review.run.is_signed(case.case_id)
        status = "signed" if signed else review.session.state.status
        self.banner.setText(SIGNED_BANNER if signed else BANNER)
        sign, color = palette.STATUS[status]
        state = f"<span style='color:{color}; font-size:14px'>{sign} {status}</span>"
        self.title.setText(f"Case {escape(case.case_id)} &nbsp; {state}")
        parts = [
            row.specimen_id and f"specimen {row.specimen_id}",
            row.block_id and f"block {row.block_id}",
            row.laterality,
            row.site and f"site {row.site}",
        ]
        words = [escape(part) for part in parts if part]
        self.facts.setText("  ·  ".join((*words, f"<b>{escape(row.stain)}</b>")))
        self._list_slides(review, case, row.slide_id)
        self.show_magnification(review)

    def _list_slides(self, review: Review, case: CaseView, current: str) -> None:
        self.slides.clear()
        for one in case.rows:
            there = review.run.has_pixels(one.slide_id)
            words = f"Slide {one.slide_id} – {one.stain}" + " – no pixels" * (not there)
            self.slides.addItem(words, one.slide_id)
        self.slides.setCurrentIndex([row.slide_id for row in case.rows].index(current))
        self.slides.show()

    def show_magnification(self, review: Review) -> None:
        """Show the zoom as a microscope's magnification."""
        shown = review.layer("slide")
        if shown is None or not in_microns(shown):
            self.magnification.clear()
            return
        value = review.magnification
        self.magnification.setText(f"<b>{value:.1f}×</b>" if value < 10 else f"<b>{value:.0f}×</b>")
