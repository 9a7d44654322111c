"""The ground that was analyzed: tissue, less what was unreadable or overfull."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pathai.cells.frame import Frame
from pathai.store.records import TISSUE, UNREADABLE, TissueMap

OVERFULL = 255
"""Value of tissue whose nuclei are too many to be true, in a map that stays in memory."""


def analyzed(
    tissue: TissueMap,
    grid: Frame,
    boxes: NDArray[np.float64],
    squares: NDArray[np.int32],
) -> TissueMap:
    """The tissue map with class tissue only where nuclei were sought and found believable.

    Parameters
    ----------
    tissue : TissueMap
        Of the slide.
    grid : Frame
        Working px, in which the squares lie.
    boxes : float64[l, 4]
        Left, top, right, bottom of what is unreadable, level-0 px; a map pixel that one of them
        touches is not analyzed.
    squares : int32[n, 3]
        Column, row and number of nuclei of overfull squares; a map pixel belongs to the square
        that holds its center.
    """
    classes, step = tissue.classes.copy(), tissue.downsample
    for left, top, right, bottom in boxes:
        rows = slice(max(int(top // step), 0), int(-(-bottom // step)))
        columns = slice(max(int(left // step), 0), int(-(-right // step)))
        part = classes[rows, columns]
        part[part == TISSUE] = UNREADABLE
    if len(squares):
        row, column = np.nonzero(classes == TISSUE)
        middle = (np.column_stack([column, row]) + 0.5) * step / grid.scale // grid.square_px
        size = np.maximum(squares[:, :2].max(axis=0), middle.max(axis=0, initial=0)).astype(int)
        full = np.zeros(size + 1, bool)
        full[squares[:, 0], squares[:, 1]] = True
        place = middle.astype(np.int64)
        spoiled = full[place[:, 0], place[:, 1]]
        classes[row[spoiled], column[spoiled]] = OVERFULL
    return replace(tissue, classes=classes)
