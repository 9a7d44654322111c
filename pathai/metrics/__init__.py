"""The numbers a model is judged by, ready for ``metrics.json``: one report per kind of target.

Plain arrays, no torch, no paths. Units are slides or patients as the task says; every interval
is taken over patients. ``E`` below is ``Estimate.as_json()``: value, low and high, where None is
"cannot be given".
"""

from pathai.metrics.classes import class_report
from pathai.metrics.compare import (
    compare_class_models,
    compare_number_models,
    compare_survival_models,
)
from pathai.metrics.numbers import number_report
from pathai.metrics.survival import survival_report

__all__ = [
    "class_report",
    "compare_class_models",
    "compare_number_models",
    "compare_survival_models",
    "number_report",
    "survival_report",
]
