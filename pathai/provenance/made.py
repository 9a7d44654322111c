"""Every manifest of a run, and what each result says of the weights that it was made with."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.store.manifest import SUFFIX, Manifest, read_manifest

SKIPPED = (".zarr", ".part")
"""Folders of arrays: no manifest lies in them, and they hold most files of a run."""
_NAMED = (("encoder", "encoder_digest"), ("detector", "detector_digest"), ("task", "model_digest"))


@dataclass(frozen=True)
class Made:
    """One result of a run.

    Parameters
    ----------
    file : str
        Its manifest, relative to the run's folder.
    manifest : Manifest
    ended : float
        When the manifest was written, seconds since the epoch.
    """

    file: str
    manifest: Manifest
    ended: float

    @property
    def outputs(self) -> tuple[str, ...]:
        """Files and folders that it made, relative to the run's folder; folders end in ``/``."""
        folder = self.file.rpartition("/")[0]
        listed = {**self.manifest.files, **self.manifest.records}
        top = {name.split("/")[0] + "/" * ("/" in name) for name in listed}
        return tuple(sorted(f"{folder}/{name}" for name in top))

    @property
    def place(self) -> str:
        """Its name within a run, such as ``slides/S1/cells/classical``."""
        parts = self.file.removesuffix(SUFFIX).split("/")
        known = [parts.index(k) for k in ("slides", "cases", "cohort", "patients") if k in parts]
        return "/".join(parts[min(known) :]) if known else f"models/{parts[-1]}"


def made(plan: Plan) -> Iterator[Made]:
    """Every result of a run with an intact manifest, sorted by file."""
    for folder in (plan.root / plan.config.models, plan.results.path):
        for path in _manifests(folder):
            try:
                manifest = read_manifest(path)
            except PathaiError:  # verify names it
                continue
            yield Made(path.relative_to(plan.root).as_posix(), manifest, path.stat().st_mtime)


def _manifests(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and not entry.is_symlink() and entry.suffix not in SKIPPED:
            yield from _manifests(entry)
        elif entry.name.endswith(SUFFIX):
            yield entry


def weights_of(root: Path, one: Made) -> tuple[tuple[str, str], ...]:
    """Names and SHA-256 of encoder, detector, model or language model behind a result."""
    found = []
    for output in one.outputs:
        file = root / output / "zarr.json" if output.endswith("/") else root / output
        if not (output.endswith(".zarr/") or output.endswith("draft.json")):
            continue
        try:
            body = json.loads(file.read_bytes())
        except (OSError, ValueError):
            continue
        said = body.get("attributes", {})
        found += [(said[n], said[d]) for n, d in _NAMED if said.get(d) and said.get(n)]
        engine = body.get("engine", {})
        if engine.get("digest"):
            found.append((engine.get("model") or engine["name"], engine["digest"]))
    return tuple(found)
