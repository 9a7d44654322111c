"""What stands on a slide in a reader's log: every nucleus, and the reader's own regions."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pathai.corrected.logs import of_slide
from pathai.corrected.nuclei import standing
from pathai.edits import AddedCell, Drawn
from pathai.object_ids import Kind, object_id
from pathai.review import State
from pathai.store.cell_store import CellsFile
from pathai.store.folders import SlideFolder
from pathai.store.records import SlideInfo
from pathai.units import Ring

Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Standing:
    """What stands on one slide.

    Attributes
    ----------
    info : SlideInfo
    detector, store : str
        Whose nuclei, and the digest of their contents.
    cells : CellsFile
        The nuclei as the detector left them.
    words : dict of int to str
        What the reader said of rows; empty: no nucleus.
    added : dict of str to (str, AddedCell)
        Nuclei that the reader added, by the id of an exported object: id in the log, nucleus.
    regions : dict of str to (str, Drawn)
        Regions of the reader, likewise.
    lost : int
        Corrections of earlier nuclei that find none now.
    """

    info: SlideInfo
    detector: str
    store: str
    cells: CellsFile
    words: dict[int, str]
    added: dict[str, tuple[str, AddedCell]]
    regions: dict[str, tuple[str, Drawn]]
    lost: int = 0

    @property
    def slide_id(self) -> str:
        """Of the slide."""
        return self.info.slide_id

    @property
    def own_words(self) -> set[str]:
        """Classes that the reader gave and the detector does not have."""
        said = {*self.words.values(), *(cell.class_name for _, cell in self.added.values())}
        return said - {"", *self.cells.attrs.classes}

    def outlined(self) -> NDArray[np.bool_]:
        """Which nuclei have an outline, bool[M]."""
        found: NDArray[np.bool_] = np.diff(self.cells.read("outline_start")) > 2
        return found


def standing_on(folder: SlideFolder, detector: str, state: State) -> Standing:
    """What stands of a reader's review on a slide.

    Parameters
    ----------
    folder : SlideFolder
        With the detector's nuclei.
    detector : str
    state : State
        Of the reader's log of the case.

    Raises
    ------
    PathaiError
        E164 if there are no nuclei or they are damaged.
    """
    info, cells = folder.read_slide(), CellsFile(folder.cells(detector))
    store, slide_id = folder.cells_digest(detector), folder.slide_id
    scale = np.array([info.mpp_x, info.mpp_y])
    now = standing(of_slide(state, slide_id), detector, cells.read("xy_px0"), scale, store)
    there = list(state.added_cells.get(slide_id, {}).items())
    missed = [(key, one, (one.outline_px0,)) for key, one in (there[i] for i in now.added)]
    drawn = [(key, one, one.rings_px0) for key, one in state.regions.get(slide_id, {}).items()]
    added = _by_object(slide_id, "added", missed, lambda one: one.class_name)
    regions = _by_object(slide_id, "region", drawn, lambda one: one.name)
    return Standing(info, detector, store, cells, now.named, added, regions, len(now.lost))


def _by_object(
    slide_id: str,
    kind: Kind,
    found: Sequence[tuple[str, Thing, tuple[Ring, ...]]],
    word: Callable[[Thing], str],
) -> dict[str, tuple[str, Thing]]:
    """Things by the id of their object, in an order that no log decides.

    The id is that of the outline: it stays when a class or name is changed, and the same thing has
    the same id in every reader's log. Things of one outline are counted.
    """
    lines = {key: json.dumps(rings) for key, _, rings in found}
    named = sorted(found, key=lambda f: (f[2], word(f[1]), int(f[0][1:])))
    seen: Counter[str] = Counter()
    objects = {}
    for key, thing, _ in named:
        line = lines[key]
        objects[object_id(slide_id, kind, f"{line}\n{seen[line]}")] = (key, thing)
        seen[line] += 1
    return objects
