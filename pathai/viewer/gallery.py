"""The tiles a model looked at most, over all slides of the case, and nuclei of a class."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from pathai.errors import PathaiError
from pathai.store.pyramid import Pyramid
from pathai.units import Box, Size

if TYPE_CHECKING:
    from pathai.viewer.presenter import Review

MOST = 24
THUMB_PX = 112
NUCLEUS_UM = 24.0
"""Edge of a nucleus' picture."""


@dataclass(frozen=True)
class Item:
    """One picture of the gallery: where it is from, its rank from 1, and what it is ranked by."""

    rank: int
    slide_id: str
    box: Box
    score: float
    words: str


class Gallery:
    """What the gallery shows of the open case.

    Parameters
    ----------
    review : Review
        Whose case it is.
    """

    opened = Signal()
    """The reader wants to see the gallery."""

    def __init__(self, review: "Review") -> None:
        self.review = review
        self._pyramids: dict[str, Pyramid] = {}
        review.slide_cleared.connect(self._forget)

    def _forget(self) -> None:
        self._pyramids.clear()

    def open(self) -> None:
        """Bring the gallery to the front."""
        self.opened.emit()

    @property
    def hidden(self) -> bool:
        """Whether what models say is not to be seen yet."""
        return bool(getattr(self.review.session, "hidden", False))

    def tasks(self) -> tuple[str, ...]:
        """Models that looked at any slide of the case."""
        case, run = self.review.case, self.review.run
        if case is None or self.hidden:
            return ()
        return tuple(
            task
            for task in run.tasks
            if any(run.slide(row.slide_id).prediction(task).exists() for row in case.rows)
        )

    def classes(self) -> tuple[str, ...]:
        """Classes of nuclei on the slide that is shown."""
        slide = self.review.slide
        return slide.cells.attrs.classes if slide and slide.cells and not self.hidden else ()

    def tiles(self, task: str, most: int = MOST) -> tuple[Item, ...]:
        """Tiles with the most attention of a model over all slides of the case.

        Tiles of several slides compare by attention relative to uniform: 1 is what every tile of
        its slide would have if the model preferred none.
        """
        from pathai.viewer.slide import read_attention

        case, run = self.review.case, self.review.run
        found: list[tuple[float, str, Box]] = []
        for row in case.rows if case and not self.hidden else ():
            folder = run.slide(row.slide_id)
            if not folder.prediction(task).exists() or not run.has_pixels(row.slide_id):
                continue
            try:
                one = read_attention(folder, task)
            except PathaiError as error:
                self.review.told.emit(f"{row.slide_id}: {error}")
                continue
            width, height = (float(v) for v in one.features.size_px0)
            order = np.argsort(-one.weights, kind="stable")[:most]
            for i in order:
                x, y = (float(v) for v in one.features.xy_px0[i])
                score = float(one.weights[i]) * len(one.weights)
                found.append((score, row.slide_id, Box(x, y, width, height)))
        found.sort(key=lambda one: (-one[0], one[1], one[2].y, one[2].x))
        return tuple(
            Item(k, slide_id, box, score, f"{score:.1f} times the mean tile")
            for k, (score, slide_id, box) in enumerate(found[:most], start=1)
        )

    def nuclei(self, name: str, most: int = MOST) -> tuple[Item, ...]:
        """Nuclei of a class on the slide that is shown, the most doubtful first."""
        slide = self.review.slide
        if slide is None or slide.cells is None or name not in self.classes():
            return ()
        cells, mpp = slide.cells, slide.mpp
        value = cells.attrs.classes.index(name)
        rows = np.flatnonzero(cells.class_ == value)
        prob = cells.file.read("prob")
        sure = prob[rows, value].astype(float) if prob.size else np.ones(len(rows))
        order = np.argsort(sure, kind="stable")[:most]
        width, height = NUCLEUS_UM / mpp.x, NUCLEUS_UM / mpp.y
        items = []
        for k, i in enumerate(order, start=1):
            x, y = (float(v) for v in cells.xy_px0[rows[i]])
            box = Box(x - width / 2, y - height / 2, width, height)
            items.append(Item(k, slide.slide_id, box, sure[i], f"{name}, {100 * sure[i]:.0f} %"))
        return tuple(items)

    def picture(self, item: Item) -> NDArray[np.uint8]:
        """Pixels of an item: uint8[THUMB_PX, THUMB_PX, 3]."""
        if item.slide_id not in self._pyramids:
            self._pyramids[item.slide_id] = self.review.run.slide(item.slide_id).open_tiles()
        return self._pyramids[item.slide_id].read_at(item.box, Size(THUMB_PX, THUMB_PX))

    def go(self, item: Item) -> None:
        """Show the slide and fly to the place."""
        review = self.review
        if review.slide is None or review.slide.slide_id != item.slide_id:
            review.show_slide(item.slide_id)
        review.fly(item.box)
        review.refresh_view()
