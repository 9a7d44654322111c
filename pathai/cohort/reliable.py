"""Whether a model's probabilities came true on the slides that are held out, as plots."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from pathai.figure_words import figure, told
from pathai.plots import reliability

ONE, SEVERAL = 240, 170
"""Side of a plot that stands alone, and of one of several, px."""


def calibration(target: Mapping[str, Any], unit: str) -> list[Markup]:
    """Reliability diagrams of a question with classes; of two classes, the positive one's alone.

    Parameters
    ----------
    target : dict
        Of ``metrics.json``: ``kind``, ``classes``, ``figures`` and ``curves``.
    unit : str
        ``patient`` or ``slide``, what is counted.
    """
    curves: Sequence[Any] = (target.get("curves") or {}).get("reliability") or []
    if target["kind"] == "binary":
        curves = [c for c in curves if c.get("class") == target["classes"][1]]
    error = told(figure("ece").shown, (target.get("figures") or {}).get("ece"))
    said = f"Stated probability against the share that came true. {figure('ece').name} {error}."
    size = ONE if len(curves) == 1 else SEVERAL
    return [Markup(reliability(c, said, unit, size)) for c in curves]  # noqa: S704 (it escapes)
