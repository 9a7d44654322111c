"""A trained model as a folder: weights, what they answer, how well, and a card for people.

``SHA256SUMS`` lists every file (``sha256sum -c`` checks it too); its own hash is the digest of
the model. Nothing is ever unpickled, and no file that is not listed is tolerated.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pathai.errors import PathaiError
from pathai.store.manifest import canonical, hash_file, write_atomic
from pathai.store.records import Record
from pathai.task import Target, Task

Array = NDArray[Any]
WEIGHTS, SPEC, METRICS, CARD, PAGE, SUMS = (
    "model.safetensors",
    "model.json",
    "metrics.json",
    "README.md",
    "evaluation.html",
    "SHA256SUMS",
)
HEADER_LIMIT = 100 * 2**20


class ReferenceSpec(Record):
    """Scalars of the out-of-distribution reference; its arrays are in the weights file."""

    floor: float
    root_mean: float
    root_sd: float
    n: int


class TrainingData(Record):
    """What the model was trained on, without a readable id.

    Everything is hashed with ``salt``, so that a lab that knows an id can ask whether it was used
    (``trained_on``), and nobody can read the list. ``contents`` stand for the SHA-256 of the
    slides' files: they find a slide that came back under another name.
    """

    digest: str
    salt: str
    slides: tuple[str, ...]
    patients: tuple[str, ...]
    contents: tuple[str, ...]

    def has_content(self, sha256: str) -> bool:
        """Whether a file with this SHA-256 was trained on."""
        return hash_id(self.salt, sha256) in self.contents

    def has_id(self, slide_id: str, patient_id: str) -> bool:
        """Whether a slide or patient of this name was trained on, in the run it was made in."""
        slide, patient = hash_id(self.salt, slide_id), hash_id(self.salt, patient_id)
        return slide in self.slides or patient in self.patients


class TargetState(Record):
    """What is known of one question beside the network: scales, calibration, held-out errors.

    ``conformal`` holds sorted out-of-fold nonconformity scores, one per patient: a tuple per class,
    or one tuple for numbers. ``isotonic_x`` and ``isotonic_y`` are the breakpoints of
    `pathai.calibration.Isotonic`. ``typical`` is what a model that looks at nothing would say:
    the mean of the training patients, or the shares of the classes.
    """

    target: Target
    location: float = 0.0
    scale: float = 1.0
    edges: tuple[float, ...] = ()
    temperature: float = 1.0
    log_prior: tuple[float, ...] = ()
    typical: tuple[float, ...] = ()
    isotonic_x: tuple[tuple[float, ...], ...] = ()
    isotonic_y: tuple[tuple[float, ...], ...] = ()
    conformal: tuple[tuple[float, ...], ...] = ()


class NetworkSpec(Record):
    """Networks of one fit, averaged; ``stretch`` and ``shift`` bring outputs to a common scale."""

    head: str
    hidden: int
    dropout: float
    members: int
    shift: tuple[float, ...] = ()
    stretch: tuple[float, ...] = ()


class ModelSpec(Record):
    """``model.json``: everything beside the weights that an answer depends on."""

    schema_version: int = 2
    task: Task
    dim: int
    networks: tuple[NetworkSpec, ...]
    encoder: str
    encoder_digest: str
    tile_px: int
    mpp: float
    feature_names: tuple[str, ...] = ()
    settings: dict[str, Any]
    targets: tuple[TargetState, ...]
    reference: ReferenceSpec
    data: TrainingData


@dataclass(frozen=True)
class Bundle:
    """A model that has passed every check.

    Parameters
    ----------
    spec : ModelSpec
    arrays : dict of str to array
        Weights ``model.*`` and reference distribution ``reference.*``.
    digest : str
        SHA-256 of ``SHA256SUMS``: identifies the model.
    """

    spec: ModelSpec
    arrays: dict[str, Array]
    digest: str

    def trained_on(self, subject: str) -> bool:
        """Whether a slide or patient id, or a file's SHA-256, was part of the training data."""
        data = self.spec.data
        return data.has_id(subject, subject) or data.has_content(subject)


def hash_id(salt: str, subject: str) -> str:
    """Sixteen hex digits that stand for an id or a SHA-256 within one bundle."""
    return sha256(f"{salt}:{subject}".encode()).hexdigest()[:16]


def write_bundle(
    folder: Path,
    spec: ModelSpec,
    arrays: Mapping[str, Array],
    metrics: Mapping[str, Any],
    card: str,
    page: str,
) -> None:
    """Write the six files of a bundle; ``SHA256SUMS`` is the last."""
    from safetensors.numpy import save

    contents = {
        WEIGHTS: save({name: np.ascontiguousarray(a) for name, a in sorted(arrays.items())}),
        SPEC: canonical(spec.model_dump(mode="json")),
        METRICS: canonical(dict(metrics)),
        CARD: card.encode(),
        PAGE: page.encode(),
    }
    for name, data in contents.items():
        write_atomic(folder / name, data)
    write_atomic(folder / SUMS, _sums({n: sha256(d).hexdigest() for n, d in contents.items()}))


def may_become_bundle(folder: Path) -> bool:
    """Whether a bundle may be written here: nothing is there, or only files of a bundle."""
    if not folder.is_dir():
        return not folder.exists()
    own = {WEIGHTS, SPEC, METRICS, CARD, PAGE, SUMS}
    return {path.name for path in folder.iterdir()} <= own


def _sums(digests: Mapping[str, str]) -> bytes:
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())).encode()


def check_bundle(folder: Path) -> str:
    """Digest of a bundle whose every file is as it was written.

    Raises
    ------
    PathaiError
        E183 when there is no bundle, E182 naming the file that is missing, changed or not
        listed: copy the bundle again.
    """
    try:
        raw = (folder / SUMS).read_bytes()
    except OSError:
        message = f"{folder.name}: no model bundle here ({SUMS} is missing)"
        raise PathaiError("E183", message, "run pathai train or give a bundle's folder") from None
    listed = _parse_sums(raw, folder.name)
    for name in sorted({p.name for p in folder.iterdir()} - {*listed, SUMS}):
        raise PathaiError("E182", f"{folder.name}: {name} is not part of the bundle", "remove it")
    for name, expected in sorted(listed.items()):
        try:
            found = hash_file(folder / name).sha256
        except OSError:
            raise PathaiError("E182", f"{folder.name}: {name} is missing") from None
        if found != expected:
            message = f"{folder.name}: {name} has SHA-256 {found[:12]}, expected {expected[:12]}"
            raise PathaiError("E182", message)
    return sha256(raw).hexdigest()


def _parse_sums(raw: bytes, bundle: str) -> dict[str, str]:
    try:
        pairs = [line.split("  ") for line in raw.decode("ascii").splitlines()]
        listed = {name: digest for digest, name in pairs}
    except ValueError:
        raise PathaiError("E182", f"{bundle}: {SUMS} is damaged") from None
    if raw != _sums(listed):
        raise PathaiError("E182", f"{bundle}: {SUMS} is damaged")
    if sorted(listed) != sorted((WEIGHTS, SPEC, METRICS, CARD, PAGE)):
        raise PathaiError("E182", f"{bundle}: {SUMS} does not list the files of a bundle")
    return listed


def read_bundle(folder: Path) -> Bundle:
    """Check and load a bundle.

    Raises
    ------
    PathaiError
        E183 when there is none, E182 when anything in it is damaged, changed or a pickle,
        E165 when a newer pathai wrote it.
    """
    digest = check_bundle(folder)
    try:
        body = json.loads((folder / SPEC).read_bytes())
        if body.get("schema_version") != 2:
            message = f"{folder.name}: model.json is of another version"
            raise PathaiError("E165", message, "train the model again")
        spec = ModelSpec.model_validate(body)
    except (ValueError, AttributeError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise PathaiError("E182", f"{folder.name}: {SPEC}: {reason}") from None
    return Bundle(spec, read_weights(folder / WEIGHTS), digest)


def read_weights(path: Path) -> dict[str, Array]:
    """Arrays of a safetensors file.

    Raises
    ------
    PathaiError
        E182 for a pickle, a header beyond 100 MB, a truncated file, or a value that is not finite.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    data = path.read_bytes()
    # The length of a safetensors header may begin with a pickle's first byte; its ninth is "{".
    if data[:2] == b"PK" or (data[:1] == b"\x80" and data[8:9] != b"{"):
        message = f"{path.name} is a pickle, which could run code"
        raise PathaiError("E182", message, "convert it to safetensors where it was made")
    if len(data) < 8 or struct.unpack("<Q", data[:8])[0] > min(HEADER_LIMIT, len(data) - 8):
        raise PathaiError("E182", f"{path.name} is truncated or not safetensors")
    try:
        arrays: dict[str, Array] = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise PathaiError("E182", f"{path.name}: {error}") from None
    for name, array in sorted(arrays.items()):
        if not np.isfinite(array).all():
            raise PathaiError("E182", f"{path.name}: {name} is not finite")
    return arrays
