"""The card of a model: what it is for, how well it does, and what it must not be used for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from pathai.figure_words import CLASSES, answer, doubts, figure, shown, told, words

Json = Mapping[str, Any]


def model_card(spec: Json, metrics: Json) -> str:
    """Model card in the Hugging Face form; every number comes from ``metrics``.

    Parameters
    ----------
    spec : dict
        Contents of ``model.json``; what is missing there is left out.
    metrics : dict
        Contents of ``metrics.json`` (schema 2).

    Returns
    -------
    str
        Markdown with YAML front matter. Its ``model-index`` holds the figures that are known; of
        the types of task in it only ``image-classification`` is one of the hub's own.

    References
    ----------
    .. [1] Mitchell et al., "Model cards for model reporting", FAT* 2019, arXiv:1810.03993.
    """
    task, unit = spec["task"], metrics.get("unit") or "patient"
    targets = metrics["targets"]
    parts = [
        _front_matter(task, metrics),
        f"# {_plain(task['name'])}\n",
        "**Research use only. Not a medical device; not for diagnosis.**\n",
        "\n".join(_asked(target, unit) for target in targets.values()),
        _use(spec),
        _OUT_OF_SCOPE,
        _evaluation(metrics),
        *(_target(target, unit, len(targets) > 1) for target in targets.values()),
        _folds(metrics),
        _making(spec, metrics.get("few_shot")),
        _license(task),
    ]
    return "\n".join(part for part in parts if part)


def _plain(text: Any) -> str:
    """Foreign text on one line, in which Markdown and HTML mean nothing."""
    line = " ".join(str(text).split())
    for sign in "\\`*_[]<>|#":
        line = line.replace(sign, f"\\{sign}" if sign not in "<>" else f"&{'lg'[sign == '>']}t;")
    return line


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _listed(value: Any) -> str:
    """One name, or several, in code."""
    names = [value] if isinstance(value, str) else list(value or ())
    return " and ".join(f"`{_plain(n)}`" for n in names) or "not stated"


# --- what it is for --------------------------------------------------------------------------


def _asked(target: Json, unit: str) -> str:
    answers = " / ".join(_plain(c) for c in target.get("classes") or ())
    answers = answers or _plain(target.get("unit_of_value") or "a number")
    return f"{_plain(target.get('question') or '')} Answer per {unit}: {answers}.\n"


def _use(spec: Json) -> str:
    task = spec["task"]
    stains = ", ".join(map(_plain, task.get("stains") or ())) or "any stain"
    tiles = ""
    if spec.get("tile_px") and spec.get("mpp"):
        tiles = f" on tiles of {spec['tile_px']} px at {spec['mpp']:g} µm/px"
    limits = [f"- {_plain(limit)}" for limit in task.get("limits") or ()]
    return f"""## Intended use

Slides stained {stains}, described by the encoder {_listed(spec.get("encoder"))}{tiles}. A
pathologist reviews every answer. Slides that are unlike those of the training get no answer; this
catches gross differences only.

Limits stated by the task:

{chr(10).join(limits) or "- none were stated"}
"""


_OUT_OF_SCOPE = """## Out of scope

- Diagnosis, treatment, or any decision about a patient without a pathologist.
- Other laboratories, scanners, stains and organs than those of the training: not measured.
- Features of another encoder: `pathai predict` refuses them.
- Places where the finding is more or less common: probabilities and predictive values change.
"""


# --- how well it does ------------------------------------------------------------------------


def _evaluation(metrics: Json) -> str:
    reasons = {r: n for r, n in (metrics.get("left_out") or {}).items() if n}
    left_out = "; ".join(f"{_plain(r)}: {n}" for r, n in reasons.items())
    left_out = f"Slides left out: {left_out}.\n" if left_out else ""
    how = (_few_shot if metrics.get("few_shot") else _nested)(metrics)
    return f"""## Evaluation

{how} Brackets: 95 % interval, counting patients.

{left_out}"""


def _nested(metrics: Json) -> str:
    folds = metrics.get("folds") or ()
    chosen = any(str(f.get("chosen", {}).get("chosen_by", "")).startswith("loss") for f in folds)
    inside = "every setting was chosen inside the other parts"
    how = inside if chosen else "nothing was chosen: every setting was fixed beforehand"
    return f"""Nested and grouped by patient: {metrics.get("n_patients", "–")} patients
({metrics.get("n_slides", "–")} slides) in {len(folds)} parts. Each part was answered by a model
that never saw its patients, and {how}.
This says how well models made in this way do; the shipped one has no test set of its own here."""


def _few_shot(metrics: Json) -> str:
    few, targets = metrics["few_shot"], metrics["targets"].values()
    classes = any(target["kind"] in CLASSES for target in targets)
    balanced = """ It learned from about as many patients of each
class: where one is rarer, its probability is too high."""
    return f"""A linear probe that learned from {few["patients"]} of the {metrics["n_patients"]}
patients. Every figure is of {_plain(few["tested_on"])}.{balanced if classes else ""}"""


def _target(target: Json, unit: str, several: bool) -> str:
    """Figures of a target beside the baselines, its doubts, calibration and sets."""
    own, value_unit = target.get("figures") or {}, _plain(target.get("unit_of_value") or "")
    baselines = target.get("baselines") or {}
    labels = [words().notions[b].name if b in words().notions else _plain(b) for b in baselines]
    rows = [
        [figure(n).name, told(figure(n).shown, e, value_unit),
         *(told(figure(n).shown, b[n], value_unit) if (b or {}).get(n) else "–"
           for b in baselines.values())]
        for n, e in own.items()
    ]  # fmt: skip
    warnings = [f"- {_plain(w)}" for w in (*(target.get("warnings") or ()),
                                            *doubts(target))]  # fmt: skip
    parts = [
        f"### {_plain(target.get('question') or '')}\n" if several else "",
        _plain(answer(target, unit)) + "\n",
        _table(["figure", "value", *labels], rows) if rows else "",
        "Before you trust this:\n\n" + "\n".join(warnings) + "\n" if warnings else "",
        _calibration(target),
        _sets(target),
    ]
    return "\n".join(part for part in parts if part)


def _calibration(target: Json) -> str:
    found = target.get("calibration") or {}
    before, own = found.get("figures_before") or {}, target.get("figures") or {}
    if not found.get("method"):
        return ""
    changes = "; ".join(
        f"{figure(n).name} {shown('small', (e or {}).get('value'))} before, "
        f"{shown('small', (own.get(n) or {}).get('value'))} after" for n, e in before.items()
    )  # fmt: skip
    return (f"Calibration: {_plain(found['method'])}, fitted on answers for patients that were not "
            f"trained on{f' ({changes})' if changes else ''}.\n")  # fmt: skip


def _sets(target: Json) -> str:
    found = target.get("conformal") or {}
    if not found:
        return ""
    classes = target["kind"] in CLASSES
    by_class = "; ".join(f"{_plain(k)} {told('percent', v.get('coverage'))}"
                         for k, v in (found.get("by_class") or {}).items())  # fmt: skip
    name = "sets, for each class" if classes else "intervals"
    size = ""
    if found.get("mean_size"):
        size = f" A set holds {told('number', found['mean_size'])} answers on average."
    if found.get("median_width"):
        width = told("value", found["median_width"], _plain(target.get("unit_of_value") or ""))
        size = f" Median width {width}."
    return (f"Prediction {name}: {100 * (1 - found['alpha']):.0f} % promised, "
            f"{told('percent', found.get('coverage'))} held"
            f"{f' ({by_class})' if by_class else ''}.{size}\n")  # fmt: skip


def _folds(metrics: Json) -> str:
    folds = metrics.get("folds") or ()
    names = list(dict.fromkeys(n for f in folds for n in f.get("figures") or ()))
    rows = [
        [str(i), str(f.get("n_patients", "–")),
         *(shown(figure(n).shown, (f.get("figures") or {}).get(n)) for n in names),
         _plain(", ".join(f"{k} {v}" for k, v in (f.get("chosen") or {}).items())) or "–"]
        for i, f in enumerate(folds, start=1)
    ]  # fmt: skip
    head = ["part", "patients", *(figure(n).name for n in names), "chosen inside"]
    return _table(head, rows) if rows else ""


# --- how it was made -------------------------------------------------------------------------


def _making(spec: Json, few: Json | None) -> str:
    networks, targets = spec.get("networks") or (), spec.get("targets") or ()
    heads = list(dict.fromkeys(one["head"] for one in networks)) or spec["task"].get("head")
    n = sum(one["members"] for one in networks)
    known = {
        k: v for k, v in (spec.get("settings") or {}).items() if isinstance(v, str | int | float)
    }
    if few:  # a probe hears of no other setting
        known = {k: known[k] for k in ("few_shot", "alpha", "seed") if k in known}
    settings = ", ".join(f"{_plain(k)} {_plain(v)}" for k, v in known.items())
    temperatures = ", ".join(
        (f"{_plain(t['target']['name'])} " if len(targets) > 1 else "") + f"{t['temperature']:.3g}"
        for t in targets
        if t["target"]["kind"] in CLASSES
    )
    digest = (spec.get("data") or {}).get("digest")
    return f"""## Training

Head {_listed(heads)}{f", {n} network{'' if n == 1 else 's, averaged'}" if n else ""}.
Settings: {settings or "not stated"}.{f" Temperature: {temperatures}." if temperatures else ""}
Training data: {f"SHA-256 `{_plain(digest)}`" if digest else "digest not stated"}. Ids and SHA-256
of the slides are kept as salted hashes only.
"""


def _license(task: Json) -> str:
    stated = task.get("license")
    said = f"{_plain(stated)}." if stated else "Set by the owner of the training data."
    return f"## License\n\n{said} The encoder's own license applies as well.\n"


# --- for the hub -----------------------------------------------------------------------------

_TASK_TYPES = {"survival": "survival-analysis"}


def _front_matter(task: Json, metrics: Json) -> str:
    results = [r for name, target in metrics["targets"].items() if (r := _result(name, target))]
    data: dict[str, Any] = {
        "library_name": "pathai",
        "license": "other",
        "license_name": "set-by-owner",
        "tags": ["pathology", "whole-slide-imaging", "multiple-instance-learning",
                 "research-use-only"],
    }  # fmt: skip
    if results:
        data["model-index"] = [{"name": str(task["name"]), "results": results}]
    return f"---\n{yaml.safe_dump(data, sort_keys=False, allow_unicode=True)}---\n"


def _result(name: str, target: Json) -> dict[str, Any] | None:
    """One target as the hub's evaluation result; nothing where no figure is known."""
    kind = target["kind"]
    usual = "image-classification" if kind in CLASSES else "image-regression"
    found = [
        {"type": figure(n).hub, "value": round(float(e["value"]), 4), "name": figure(n).name}
        for n, e in (target.get("figures") or {}).items()
        if figure(n).hub and e and e.get("value") is not None
    ]
    if not found:
        return None
    return {
        "task": {"type": _TASK_TYPES.get(kind, usual), "name": f"whole-slide {kind}: {name}"},
        "dataset": {"type": "private", "name": "training patients, out of fold"},
        "metrics": found,
    }
