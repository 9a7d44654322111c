"""Verb ``train-detector``: a nuclei detector from labeled pictures, drawn fields and slides.

Every labeled set is held back once: a network that never saw it gives the threshold and says how
far counts are off on tissue of another look. Then one network learns from all.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pathai.errors import PathaiError
from pathai.train_detector.fields import Field, labeled, reduced, synthetic
from pathai.train_detector.judge import Tally, count_error, f1, f1_interval, tally

if TYPE_CHECKING:
    from pathai.detectors.nuclei_small.net import NucleusNet
    from pathai.train_detector.fit import Learned, Settings
    from pathai.train_detector.slides import Window

THRESHOLDS = tuple(round(0.15 + 0.025 * i, 3) for i in range(21))
Told = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What to learn from.

    Attributes
    ----------
    data : tuple of Path
        Folders of labeled pictures.
    by_size : tuple of str
        Names of folders whose µm/px is not known: the size of their nuclei tells.
    out : Path
        Folder to write.
    slides : Path, optional
        Sheet of slides without labels.
    barren : Path, optional
        CSV of places on them without a nucleus: ``slide_id,x,y,width,height``, level-0 px.
    fields : int
        Drawn fields.
    steps : int
        Of the last training; those with a set held back take ``judging`` of it.
    judging : float
        0: nothing is held back; the threshold is then 0.4 and the error of counts unknown.
    seed : int
    """

    data: tuple[Path, ...]
    out: Path
    by_size: tuple[str, ...] = ()
    slides: Path | None = None
    barren: Path | None = None
    fields: int = 300
    steps: int = 6000
    judging: float = 0.4
    seed: int = 1


def train_detector(wanted: Wanted, told: Told = lambda line: None) -> dict[str, Any]:
    """Train a detector and write ``weights.safetensors`` and ``card.json``.

    Returns
    -------
    dict
        The card.

    Raises
    ------
    PathaiError
        E191 if a folder of pictures is not as it should be or holds too few, E193 if ``out`` is
        there: choose another name.
    """
    from pathai.train_detector.fit import Settings
    from pathai.train_detector.slides import grounds, windows

    if wanted.out.exists():
        raise PathaiError("E193", f"{wanted.out.name} is there", "choose another name")
    start = time.process_time()
    unknown = set(wanted.by_size) - {folder.name for folder in wanted.data}
    if unknown:
        raise PathaiError(
            "E191", f"{', '.join(sorted(unknown))} is no folder of data", "see --data"
        )
    least = 2 if wanted.judging > 0 and len(wanted.data) == 1 else 1
    sets = {f.name: _fields(f, f.name in wanted.by_size, least) for f in wanted.data}
    drawn = list(synthetic(wanted.fields, wanted.seed))
    seen = list(windows(wanted.slides, wanted.barren)) if wanted.slides else []
    ground = grounds(seen)
    settings = Settings(steps=wanted.steps, seed=wanted.seed)
    judged: dict[str, dict[float, list[Tally]]] = {}
    if wanted.judging > 0:
        short = replace(settings, steps=max(int(wanted.steps * wanted.judging), 1))
        for name, (kept, rest) in _held_back(sets).items():
            told(f"held back: {name}")
            network = _learned([*drawn, *rest], ground, seen, short, told).network
            judged[name] = _judged(network, kept)
    told("learning from all")
    last = _learned([*drawn, *(f for s in sets.values() for f in s)], ground, seen, settings, told)
    card = _card(wanted, sets, judged, last, seen)
    card["processor_s"] = round(time.process_time() - start)
    _write(wanted.out, last.network, card)
    return card


def _fields(folder: Path, by_size: bool, least: int) -> list[Field]:
    found = list(labeled(folder, scale_by_size=by_size))
    if len(found) < least:
        remedy = "two are needed to hold one back; give more, or --judging 0"
        raise PathaiError("E191", f"{folder.name} holds {len(found)} pictures", remedy)
    return found


def _held_back(sets: dict[str, list[Field]]) -> dict[str, tuple[list[Field], list[Field]]]:
    """Fields to judge on and to learn from, by name: whole sets, or halves of a single one."""
    if len(sets) > 1:
        every = [(name, f) for name, fields in sets.items() for f in fields]
        return {
            name: (fields, [f for other, f in every if other != name])
            for name, fields in sets.items()
        }
    ((name, fields),) = sets.items()
    halves = fields[::2], fields[1::2]
    return {f"{name}, part {i + 1}": (halves[i], halves[1 - i]) for i in (0, 1)}


def _learned(
    pool: Sequence[Field],
    ground: Sequence[Any],
    seen: Sequence["Window"],
    settings: "Settings",
    told: Told,
) -> "Learned":
    from pathai.train_detector.fit import fit
    from pathai.train_detector.slides import labeled_by

    def relabel(network: "NucleusNet") -> list[Field]:
        return labeled_by(network, seen)

    def progress(step: int, losses: dict[str, float]) -> None:
        told(f"{step} of {settings.steps} steps, " + json.dumps(
            {name: round(value, 3) for name, value in losses.items()}
        ))  # fmt: skip

    return fit(pool, ground, settings, relabel if seen else None, progress)


def _judged(network: "NucleusNet", kept: Sequence[Field]) -> dict[float, list[Tally]]:
    """Tallies of the fields that were kept, by threshold."""
    from pathai.detectors.nuclei_small.decode import decode
    from pathai.detectors.nuclei_small.net import fused
    from pathai.train_detector.slides import answer

    fused(network)
    found: dict[float, list[Tally]] = {t: [] for t in THRESHOLDS}
    for field in map(_working, kept):
        heat, rays = answer(network, field.rgb)
        for threshold, rows in found.items():
            rows.append(tally(field, decode(heat, rays, threshold).xy))
    return found


def _working(field: Field) -> Field:
    """The field at the network's µm/px."""
    from pathai.train_detector.fit import WORKING_MPP

    return reduced(field, WORKING_MPP)


def _card(
    wanted: Wanted,
    sets: dict[str, list[Field]],
    judged: dict[str, dict[float, list[Tally]]],
    last: "Learned",
    seen: Sequence["Window"],
) -> dict[str, Any]:
    threshold = _threshold(list(judged.values()))
    rows = [r for tallies in judged.values() for r in tallies[threshold]]
    source = "pictures of sets that the network never saw: " + ", ".join(judged)
    error = count_error(rows, source)
    return {
        "threshold": threshold,
        "seed": wanted.seed,
        "steps": wanted.steps,
        "labeled": {
            name: {"pictures": len(fields), "nuclei": sum(len(f.xy) for f in fields)}
            for name, fields in sets.items()
        },
        "drawn_fields": wanted.fields,
        "windows_of_slides": len(seen),
        "curve": last.curve,
        "count_error": asdict(error) if error else None,
        "judged": {name: _told(name, judged) for name in judged},
    }


def _told(name: str, judged: dict[str, dict[float, list[Tally]]]) -> dict[str, Any]:
    """How well a network did on a set that it never saw, at the threshold of the other sets."""
    others = [rows for other, rows in judged.items() if other != name]
    threshold = _threshold(others or [judged[name]])
    rows = judged[name][threshold]
    true = max(sum(r.true for r in rows), 1)
    return {
        "threshold": threshold,
        "f1": round(f1(rows), 4),
        "f1_95": [round(v, 4) for v in f1_interval(rows)],
        "f1_by_threshold": {str(t): round(f1(rows), 4) for t, rows in judged[name].items()},
        "found_per_true": round(sum(r.found for r in rows) / true, 4),
        "pictures": [[r.matched, r.found, r.true] for r in rows],
    }


def _threshold(judged: Sequence[dict[float, list[Tally]]]) -> float:
    """The threshold with the best mean F1 over sets; of those as good, the middle one."""
    if not judged:
        return 0.4
    mean = {t: float(np.mean([f1(rows[t]) for rows in judged])) for t in THRESHOLDS}
    good = [t for t in THRESHOLDS if mean[t] >= max(mean.values()) - 0.002]
    return good[len(good) // 2]


def _write(out: Path, network: "NucleusNet", card: dict[str, Any]) -> None:
    from safetensors.torch import save

    state = {
        name: value.contiguous()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    raw = save(state)
    part = out.with_name(out.name + ".part")
    part.mkdir(parents=True)
    (part / "weights.safetensors").write_bytes(raw)
    full = {"name": "nuclei-small", "sha256": sha256(raw).hexdigest(), **card}
    (part / "card.json").write_text(json.dumps(full, indent=1, ensure_ascii=False) + "\n")
    part.rename(out)
