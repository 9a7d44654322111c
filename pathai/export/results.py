"""Which of a slide's results to export: the named one, or the only one."""

from pathlib import Path

from pathai.errors import PathaiError
from pathai.store.commit import manifest_path
from pathai.store.folders import SlideFolder, slug
from pathai.store.manifest import READABLE, SUFFIX, read_manifest


def detector_of(folder: SlideFolder, name: str = "") -> str:
    """The detector whose cells to export: the named one, or the only one.

    Raises
    ------
    PathaiError
        E164 without cells (run ``pathai cells``), E191 if it is not there or several are (name
        one), or the problem for which it failed or was skipped.
    """
    absent = PathaiError("E164", "nuclei were not looked for here", "run pathai cells")
    return _chosen(folder, "cells", name, absent, ("cells of", "several detectors"))


def model_of(folder: SlideFolder, name: str = "") -> str:
    """The model whose attention to export: the named one, or the only one.

    Raises
    ------
    PathaiError
        E164 without predictions (run ``pathai predict``), E191 if it is not there or several are
        (name one), or the problem for which it failed or was skipped.
    """
    absent = PathaiError("E164", "no model was applied here", "run pathai predict")
    return _chosen(folder, "predictions", name, absent, ("answer of", "several models"))


def _chosen(
    folder: SlideFolder, stage: str, name: str, absent: PathaiError, words: tuple[str, str]
) -> str:
    found = names_of(folder, stage)
    wanted = slug(name) if name else ""
    if not found:
        raise absent.about(folder.slide_id)
    if wanted not in found and (wanted or len(found) > 1):
        message = f"no {words[0]} {name!r}" if name else words[1]
        remedy = f"name one of {', '.join(found)}"
        raise PathaiError("E191", f"{folder.slide_id}: {message}", remedy)
    chosen = wanted or found[0]
    require(folder.base(stage, chosen))
    return chosen


def names_of(folder: SlideFolder, stage: str) -> list[str]:
    """Plug-ins or models that a stage was run with, sorted."""
    manifests = folder.base(stage).glob(f"*{SUFFIX}")
    return sorted(path.name.removesuffix(SUFFIX) for path in manifests)


def require(base: Path) -> None:
    """Refuse to export what failed or was skipped: nothing measured is not nothing there."""
    manifest = read_manifest(manifest_path(base))
    if manifest.status not in READABLE:
        raise manifest.problems[0].error()
