"""A lab's own model of cell classes, from its own classified cells: minutes, no torch.

Cells that a person classified are found again among those that pathai stored, whose measures are
there already. The model starts from a base and moves as far as held-back slides bear out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from pathai.cell_classes import CLASSES, SHIPPED, STAINS, ClassModel, load_model, model_file
from pathai.cell_classes.context import Neighborhood
from pathai.cell_classes.fit import HeldOut, Labeled, train
from pathai.errors import PathaiError
from pathai.morphometry import MEASURES
from pathai.store.folders import ResultsFolder, SlideFolder
from pathai.train_classes.tables import Classified, files, read

MATCH_UM = 3.0
"""A classified cell is the stored one whose center lies within this."""
LEAST = 5
"""Cells that a class needs to be learned."""
FEW_GROUPS = 5
"""Below so many held-back slides or patients a model stays experimental."""


@dataclass(frozen=True)
class Wanted:
    """What to train from, and where to.

    Attributes
    ----------
    cells : Path
        Folder of classified cells, ``<slide_id>.csv`` or ``.geojson``.
    results : Path
        Results with stored cells of these slides.
    out : Path
        File of the model.
    base : str
        ``shipped``, a file, or ``none``.
    detector : str
        Whose cells.
    patients : mapping of str to str
        Patient of each slide; a slide that is not in it is held back by itself.
    seed : int
        Of folds and first weights.
    """

    cells: Path
    results: Path
    out: Path
    base: str = SHIPPED
    detector: str = "classical"
    patients: Mapping[str, str] | None = None
    seed: int = 0


@dataclass(frozen=True)
class Report:
    """What came out.

    Attributes
    ----------
    model : ClassModel
    held : HeldOut
        Answers on cells whose patient or slide training left out.
    unmatched : mapping of str to int
        Classified cells without a stored one, by slide.
    left_out : mapping of str to int
        Cells without one of the classes or outside of what was checked, by slide.
    """

    model: ClassModel
    held: HeldOut
    unmatched: Mapping[str, int]
    left_out: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "classes": list(CLASSES),
            "confusion": self.held.confusion.tolist(),
            "card": self.model.card,
            "digest": self.model.digest,
            "unmatched": dict(self.unmatched),
            "left_out": dict(self.left_out),
        }

    def lines(self) -> list[str]:
        """Lines for a person."""
        figures = self.held.figures()
        told = [
            f"{figures['cells']} cells of {figures['groups']} slides or patients, each judged "
            "by a model that never saw its slide or patient",
            f"accuracy {_percent(figures['accuracy'])}; always {figures['commonest_class']} "
            f"would reach {100 * figures['accuracy_of_the_commonest_class']:.0f} %",
        ]
        told += [
            f"  {name}: recall {_percent(figures['recall'][name])}, precision "
            f"{_percent(figures['precision'][name])}, {figures['recall'][name]['cells']} cells"
            for name in CLASSES
            if figures["recall"][name]["cells"]
        ]
        none = [n for n in CLASSES if not figures["recall"][n]["cells"]]
        if none:
            told.append(f"  no cells of: {', '.join(none)}; their counts get no error band")
        lost, skipped = sum(self.unmatched.values()), sum(self.left_out.values())
        if lost:
            told.append(f"  {lost} classified cells lie on no stored nucleus and were left out")
        if skipped:
            told.append(f"  {skipped} cells without one of the classes, or unchecked, left out")
        if self.model.experimental:
            told.append("experimental: classes are shown and stored, but not reported")
        return told


def _percent(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return "unknown"
    if figure["low"] is None:
        return f"{100 * figure['value']:.0f} % (no interval)"
    return (
        f"{100 * figure['value']:.0f} % ({100 * figure['low']:.0f} to {100 * figure['high']:.0f})"
    )


def train_classes(wanted: Wanted, note: Callable[[str], None] = lambda _: None) -> Report:
    """Train a model on classified cells and write it.

    Parameters
    ----------
    wanted : Wanted
    note : callable
        Gets a line per slide.

    Returns
    -------
    Report

    Raises
    ------
    PathaiError
        E193 when ``out`` exists; E184 when the cells do not allow training; E142 for slides that
        are not H&E; E164 for slides without stored measures; E182, E183 for the base.
    """
    if wanted.out.exists():
        raise PathaiError("E193", f"{wanted.out.name} exists", "give -o another name")
    base = None if wanted.base == "none" else load_model(model_file(wanted.base))
    results, patients = ResultsFolder(wanted.results), wanted.patients or {}
    parts, unmatched, left_out = [], {}, {}
    for path in files(wanted.cells):
        given = read(path)
        found = described(results.slide(given.slide_id), wanted.detector, given,
                          patients.get(given.slide_id, given.slide_id))  # fmt: skip
        note(f"{given.slide_id}: {len(found.class_)} of {len(given.class_)} classified cells")
        parts.append(found)
        unmatched[given.slide_id] = len(given.class_) - len(found.class_)
        left_out[given.slide_id] = given.left_out
    data = _learnable(parts)
    card = {"name": wanted.out.stem, "detector": wanted.detector, "slides": len(parts)}
    model, held = train(data, card, base=base, seed=wanted.seed)
    model.card["experimental"] = _experimental(held)
    report = Report(model, held, unmatched, left_out)
    model.save(wanted.out)
    return report


def described(folder: SlideFolder, detector: str, given: Classified, group: str) -> Labeled:
    """Stored cells that a person classified, with the features that they were classified from.

    Raises
    ------
    PathaiError
        E142 for a slide that is not H&E, E164 where no cells or measures are stored.
    """
    info, cells = folder.read_slide(), folder.read_cells(detector)
    if info.stain not in STAINS:
        message = f"{info.slide_id}: classes of nuclei are for {', '.join(STAINS)}, this is "
        raise PathaiError("E142", message + info.stain, "leave the slide out")
    if cells.attrs.measures != MEASURES:
        message = f"{info.slide_id}: its cells were stored without these measures"
        raise PathaiError("E164", message, "run pathai cells again")
    scale = np.array([info.mpp_x, info.mpp_y])
    stored = cells.xy_px0.astype(np.float64) * scale
    rows, of = _mutual(stored, given.xy_px0 * scale)
    order = np.argsort(rows)
    rows, of = rows[order], of[order]
    around = Neighborhood(stored, cells.measures)
    return Labeled(around.features(rows), given.class_[of], (group,) * len(rows))


def _mutual(stored: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of stored and given cells that are each other's nearest, within `MATCH_UM`."""
    if len(stored) == 0 or len(given) == 0:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    gap, near = cKDTree(stored).query(given)
    _, back = cKDTree(given).query(stored[near])
    # of two words for one cell the nearer counts
    of = np.flatnonzero((gap <= MATCH_UM) & (back == np.arange(len(given))))
    return near[of], of


def _learnable(parts: Sequence[Labeled]) -> Labeled:
    """All cells of classes that have enough of them.

    Raises
    ------
    PathaiError
        E184 when fewer than two classes are left.
    """
    filled = [part for part in parts if len(part.class_)]
    if not filled:
        raise PathaiError("E184", "none of the classified cells lies on a stored nucleus",
                          "check that positions are level-0 px of the same slides")  # fmt: skip
    data = filled[0]
    for part in filled[1:]:
        data = data.plus(part)
    number = np.bincount(data.class_, minlength=len(CLASSES))
    kept = number >= LEAST
    if kept.sum() < 2:
        have = ", ".join(f"{n} {c}" for n, c in zip(number.tolist(), CLASSES, strict=True) if n)
        raise PathaiError(
            "E184", f"at least two classes need {LEAST} cells each; there are {have}",
            "classify more cells",
        )  # fmt: skip
    return data.take(kept[data.class_])


def _experimental(held: HeldOut) -> bool:
    """Whether held-back cells leave open that the model is worth more than the commonest class."""
    figures = held.figures()
    low = figures["accuracy"]["low"]
    few = figures["groups"] < FEW_GROUPS
    return few or low is None or low <= figures["accuracy_of_the_commonest_class"]
