"""The card of a model: what it is for, how well it does, and what it must not be used for."""

from __future__ import annotations

from typing import Any


def _range(estimate: dict[str, Any], digits: int = 2) -> str:
    """``0.91 (95 % interval 0.70-0.98)``, or what is missing said in words."""
    value, low, high = (estimate[k] for k in ("value", "low", "high"))
    if value is None:
        return "not defined"
    if low is None or high is None:
        return f"{value:.{digits}f} (no interval)"
    return f"{value:.{digits}f} (95 % interval {low:.{digits}f}-{high:.{digits}f})"


def model_card(spec: dict[str, Any], metrics: dict[str, Any]) -> str:
    """Model card in the Hugging Face form; every number comes from ``metrics``.

    Parameters
    ----------
    spec : dict
        Contents of ``model.json``.
    metrics : dict
        Contents of ``metrics.json``.

    Returns
    -------
    str
        Markdown with YAML front matter.

    References
    ----------
    .. [1] Mitchell et al., "Model cards for model reporting", FAT* 2019, arXiv:1810.03993.
    """
    task, found = spec["task"], metrics["out_of_fold"]
    limits = "".join(f"- {limit}\n" for limit in task["limits"]) or "- none were stated\n"
    return f"""{_front_matter(task["name"], found)}
# {task["name"]}

**Research use only. Not a medical device; not for diagnosis.**

{task["question"]} Classes: {" / ".join(task["classes"])}. Answer per slide.

## Intended use

Slides stained {", ".join(task["stains"])}, described by the encoder `{spec["encoder"]}` on tiles of
{spec["tile_px"]} px at {spec["mpp"]:g} µm/px. A pathologist reviews every answer.

Limits stated by the task:

{limits}
Not measured: other laboratories, scanners, stains and organs than those of the training slides.
The model abstains on slides that lie outside of the training slides' distribution; this catches
gross differences only.

## How well it does

Out of fold: each of {metrics["n_patients"]} patients ({metrics["n_slides"]} slides) was scored by a
model that never saw the patient. Nothing was selected on these patients. Unit: {metrics["unit"]}.

{_tables(metrics)}
The shipped model was refitted on all these patients with the same settings; it has no test set of
its own in this folder.

{_making(spec)}

## License

Set by the owner of the training data. The encoder's own license applies as well.
"""


def _making(spec: dict[str, Any]) -> str:
    """What the weights came from."""
    return f"""## How it was made

Head `{spec["head"]}` on {spec["dim"]} features per tile, mean of {spec["members"]} networks,
{spec["settings"]["epochs"]} epochs, seed {spec["settings"]["seed"]}. Temperature
{spec["temperature"]:.3f}. Prediction sets are class-conditional, from
{" and ".join(str(len(scores)) for scores in spec["conformal"])} patients of the classes.
Training data: SHA-256 `{spec["data"]["digest"]}`; ids and
SHA-256 of the slides are kept as salted hashes only."""


def _tables(metrics: dict[str, Any]) -> str:
    """Figures of all patients, and of each fold."""
    found, baselines = metrics["out_of_fold"], metrics["baselines"]
    folds = "".join(
        f"| {i} | {fold['n']} | {fold['n_positive']} | "
        f"{'not defined' if fold['auroc'] is None else format(fold['auroc'], '.2f')} | "
        f"{fold['brier']:.3f} |\n"
        for i, fold in enumerate(metrics["folds"], start=1)
    )
    return f"""| measure | value |
|---|---|
| AUROC | {_range(found["auroc"])} |
| AUROC, patient bootstrap | {_range(found["auroc_bootstrap"])} |
| Brier score | {_range(found["brier"], 3)} |
| sensitivity at 0.5 | {_range(found["sensitivity"])} |
| specificity at 0.5 | {_range(found["specificity"])} |
| AUROC of a constant | {baselines["constant"]["auroc"]:.2f} |
| Brier score of a constant | {baselines["constant"]["brier"]:.3f} |
| AUROC of the tissue area | {_range(baselines["tissue_area"]["auroc"])} |

| fold | n | positive | AUROC | Brier |
|---|---|---|---|---|
{folds}"""


def _front_matter(name: str, found: dict[str, Any]) -> str:
    auroc, brier = found["auroc"]["value"], found["brier"]["value"]
    return f"""---
library_name: pathai
license: other
license_name: set-by-owner
tags:
- pathology
- multiple-instance-learning
- research-use-only
model-index:
- name: {name}
  results:
  - task:
      type: image-classification
      name: whole-slide classification
    dataset:
      type: private
      name: training patients, out of fold
    metrics:
    - type: roc_auc
      value: {"null" if auroc is None else format(auroc, ".4f")}
    - type: brier_score
      value: {"null" if brier is None else format(brier, ".4f")}
---
"""
