"""Numbers with intervals: the statistics that training, cohort page and findings share.

Everything here works on plain arrays, loads no torch, and is checked by simulation in
``tests/unit/test_stats*.py``. The independent unit is the patient: functions that take ``groups``
resample, split or leave out whole patients, never single slides. A ``weighted_*`` function
gives its statistic for all resamples at once; see ``pathai.stats.bootstrap``.
"""

from pathai.stats.agreement import (
    balanced_accuracy,
    kappa,
    weighted_balanced_accuracy,
    weighted_confusion,
    weighted_kappa,
)
from pathai.stats.binary import (
    binary_metrics,
)
from pathai.stats.bootstrap import (
    Resamples,
    Statistic,
    bootstrap_interval,
    resample,
    share,
    weighted_mean,
)
from pathai.stats.compare import (
    Difference,
    delong,
    paired_bootstrap,
)
from pathai.stats.confounding import (
    Association,
    association,
    confounder_warning,
)
from pathai.stats.decision import (
    OperatingPoint,
    decision_curve,
    operating_point,
    risk_coverage,
    threshold_for,
)
from pathai.stats.estimate import (
    Estimate,
    FloatArray,
    wilson,
)
from pathai.stats.folds import (
    grouped_folds,
    patient_labels,
    site_folds,
)
from pathai.stats.probability import (
    bins_for,
    brier_losses,
    claimed,
    expected_calibration_error,
    log_loss,
    log_losses,
    probability_bins,
    weighted_ece,
)
from pathai.stats.ranking import (
    auroc,
    auroc_interval,
    average_precision,
    precision_recall_curve,
    roc_curve,
    weighted_auroc,
    weighted_average_precision,
)
from pathai.stats.residuals import (
    RelativeError,
    r2,
    relative_error,
    spearman,
    weighted_median,
    weighted_r2,
    weighted_spearman,
)
from pathai.stats.survival import (
    KaplanMeier,
    auroc_at,
    brier_at,
    concordance,
    kaplan_meier,
    known_at,
    log_rank,
    weighted_auroc_at,
    weighted_brier_at,
    weighted_concordance,
)

__all__ = [
    "Association",
    "Difference",
    "Estimate",
    "FloatArray",
    "KaplanMeier",
    "OperatingPoint",
    "RelativeError",
    "Resamples",
    "Statistic",
    "association",
    "auroc",
    "auroc_at",
    "auroc_interval",
    "average_precision",
    "balanced_accuracy",
    "binary_metrics",
    "bins_for",
    "bootstrap_interval",
    "brier_at",
    "brier_losses",
    "claimed",
    "concordance",
    "confounder_warning",
    "decision_curve",
    "delong",
    "expected_calibration_error",
    "grouped_folds",
    "kaplan_meier",
    "kappa",
    "known_at",
    "log_loss",
    "log_losses",
    "log_rank",
    "operating_point",
    "paired_bootstrap",
    "patient_labels",
    "precision_recall_curve",
    "probability_bins",
    "r2",
    "relative_error",
    "resample",
    "risk_coverage",
    "roc_curve",
    "share",
    "site_folds",
    "spearman",
    "threshold_for",
    "weighted_auroc",
    "weighted_auroc_at",
    "weighted_average_precision",
    "weighted_balanced_accuracy",
    "weighted_brier_at",
    "weighted_concordance",
    "weighted_confusion",
    "weighted_ece",
    "weighted_kappa",
    "weighted_mean",
    "weighted_median",
    "weighted_r2",
    "weighted_spearman",
    "wilson",
]
