"""Which slides are scored, and which ones a model was trained on and must never be."""

from collections.abc import Sequence
from typing import Any

from pathai.cohort.gather import SlideRow
from pathai.config import CohortConfig
from pathai.plan import Model, Plan
from pathai.store.bundle import TrainingData

_COLUMNS = ("slide_id", "case_id", "patient_id", "stain", "site", "laterality")
"""Columns beside the labels that may choose the slides to score."""


def held_out(section: CohortConfig, row: SlideRow) -> bool:
    """Whether a slide is one of those to score."""
    columns = {name: getattr(row.row, name) for name in _COLUMNS} | row.row.labels
    wanted = section.evaluate_on
    return bool(wanted) and all(columns.get(c) == v for c, v in wanted.items())


def trained_here(plan: Plan, model: Model) -> bool:
    """Whether a model is one that this run trains."""
    return model.folder.resolve() == plan.model_folder(model.name).resolve()


def not_evaluated(reason: str) -> dict[str, Any]:
    """What stands where there are no figures."""
    return {"evaluated": False, "reason": reason}


class Training:
    """Which slides of the sheet a model was trained on, under whatever name.

    A slide is known by its content. Names count only for a model of this run: ids of unrelated
    runs collide, as both may number their patients from 1.
    """

    def __init__(self, data: TrainingData, here: bool, rows: Sequence[SlideRow]) -> None:
        self._data, self._here = data, here
        self._patients = {row.row.patient_id for row in rows if self.slide(row)}

    def slide(self, row: SlideRow) -> bool:
        """Whether the model was trained on this very file."""
        return row.info is not None and self._data.has_content(row.info.sha256)

    def patient(self, row: SlideRow) -> bool:
        """Whether it was trained on the patient, by this sheet or by a name of this run."""
        sheet = row.row
        named = self._here and self._data.has_id(sheet.slide_id, sheet.patient_id)
        return named or sheet.patient_id in self._patients
