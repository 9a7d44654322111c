"""Tab of the overlays: model, strength, threshold, outlines."""

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from pathai.viewer import keys
from pathai.viewer.cards import label
from pathai.viewer.controls import button, choice, fill, named, percent

if TYPE_CHECKING:
    from pathai.viewer.presenter import Review

NOTHING = "No model's attention on this slide."
WORDS = "Attention shows where the model looked, not why. Tiles below the threshold are not shown."


class Panel(QWidget):  # type: ignore[misc]
    """Sliders for what `pathai.viewer.overlays.Overlays` holds."""

    def __init__(self, review: "Review") -> None:
        super().__init__()
        self.review, self.part = review, review.part("overlays")
        part = self.part
        self.task = choice(f"Whose attention. {keys.tip('task')}", part.choose)
        strength = f"{keys.tip('fainter')}. {keys.tip('stronger')}"
        self.attention = percent(strength, lambda v: part.set_opacity("attention", v))
        tip = f"{keys.tip('more')}. {keys.tip('fewer')}"
        self.threshold = percent(tip, part.set_threshold)
        self.tissue = percent(
            "How strong tissue and artefacts are", lambda v: part.set_opacity("tissue", v)
        )
        self.outlines = button(
            "Outlines only  Shift+H", keys.tip("outlines"), part.toggle_outlines, checkable=True
        )
        self.words = label(WORDS, "hint")
        column = QVBoxLayout(self)
        column.setContentsMargins(2, 8, 2, 2)
        column.setSpacing(10)
        column.addWidget(label("Attention", "heading"))
        column.addWidget(named("model", self.task))
        column.addWidget(named("opacity", self.attention))
        column.addWidget(named("hide lowest", self.threshold))
        column.addWidget(self.words)
        column.addWidget(label("Tissue and artefacts", "heading"))
        column.addWidget(named("opacity", self.tissue))
        column.addWidget(self.outlines)
        column.addStretch(1)
        part.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show what is set."""
        part = self.part
        fill(self.task, part.tasks, part.task)
        values = (part.opacity["attention"], part.threshold, part.opacity["tissue"])
        sliders = (self.attention, self.threshold, self.tissue)
        for slider, value in zip(sliders, values, strict=True):
            slider.blockSignals(True)
            slider.setValue(round(100 * value))
            slider.blockSignals(False)
        for slider in (self.attention, self.threshold, self.task):
            slider.setEnabled(bool(part.tasks))
        self.words.setText(WORDS if part.tasks else NOTHING)
        self.outlines.setChecked(part.outlines)
