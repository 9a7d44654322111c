"""What the verb ``train-detector`` does, beside parsing."""

from pathlib import Path

from pathai.batch import say
from pathai.train_detector import Wanted, train_detector


def train(
    data: tuple[Path, ...],
    out: Path,
    by_size: tuple[str, ...],
    slides: Path | None,
    barren: Path | None,
    fields: int,
    steps: int,
    judging: float,
    seed: int,
) -> None:
    """Train a detector and say how good it was on sets that it never saw."""
    wanted = Wanted(
        data, out, by_size, slides, barren, fields=fields, steps=steps, judging=judging, seed=seed
    )
    card = train_detector(wanted, say)
    for name, found in card["judged"].items():
        low, high = found["f1_95"]
        say(
            f"{name}, never seen: F1 {found['f1']:.3f} ({low:.3f} to {high:.3f}), "
            f"{found['found_per_true']:.2f} found for each true nucleus"
        )
    say(f"{out.name}: use it as cells.detector: nuclei-small@{out.name}")
