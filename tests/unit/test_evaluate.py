"""External validation counts what can be counted, and refuses what contradicts itself."""

import pytest
from mil_cases import row

from pathai.errors import PathaiError
from pathai.evaluate import Told, evaluate
from pathai.sheet import SheetRow
from pathai.store.bundle import TargetState, TrainingData
from pathai.store.records import PredictionAttrs
from pathai.task import Target

GRADE = Target(
    name="grade", question="?", kind="ordinal", label="g", classes=("low", "middle", "high")
)
STATE = TargetState(target=GRADE, typical=(0.4, 0.3, 0.3))
NONE = TrainingData(digest="0" * 64, salt="0" * 16, slides=(), patients=(), contents=())


def told(one: SheetRow) -> Told:
    """A model that always says the same."""
    attrs = PredictionAttrs(
        name="grade",
        question="?",
        kind="ordinal",
        classes=GRADE.classes,
        label="low",
        prob=(0.5, 0.3, 0.2),
        set=("low", "middle"),
        task="grade",
        alpha=0.1,
        ood_percentile=1.0,
        out_of_distribution=False,
        abstained=False,
        encoder="morphology",
        grid_digest="grid",
        model_digest="0" * 64,
    )
    return Told(attrs, f"file of {one.slide_id}")


def test_a_patient_with_two_labels_is_refused_and_not_averaged() -> None:
    """The mean of the first and the last class would be the one between."""
    labels = ["low", "high", "low", "middle", "high", "low"]
    patients = ["p0", "p0", "p1", "p2", "p3", "p4"]
    rows = [row(i, f"s{i}", patients[i], g=labels[i]) for i in range(6)]
    with pytest.raises(PathaiError, match=r"E184: rows 2 and 3, column g: patient p0 has two"):
        evaluate([STATE], NONE, "patient", rows, told, alpha=0.1)
    found, _ = evaluate([STATE], NONE, "slide", rows, told, alpha=0.1)
    assert found["targets"]["grade"]["n_by_class"] == {"low": 3, "middle": 1, "high": 2}
