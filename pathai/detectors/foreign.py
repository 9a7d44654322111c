"""What every detector from a foreign file has in common: pixels in, nuclei out, clear errors."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pathai.detectors.base import CountError, Detections
from pathai.detectors.contract import Contract, read_contract
from pathai.detectors.dab import dab_classes, positive
from pathai.detectors.files import identity as file_identity
from pathai.detectors.files import require as require_file
from pathai.detectors.found import Found, channels, from_label_output, from_maps
from pathai.errors import PathaiError
from pathai.resample import area_reduce, reduction
from pathai.stain import Background, densities, slide_background, stain_matrix
from pathai.units import Mpp

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Limits = tuple[tuple[float, ...], tuple[float, ...]]
VERSION = 1
"""Raise it when the same file and settings give other nuclei."""


@dataclass(frozen=True)
class ForeignDetector:
    """A detector from a file that this program did not make.

    With DAB and one class of the network's own, a nucleus is ``positive`` by the mean DAB density
    of its pixels, as `pathai.detectors.classical.Classical` does it.

    Parameters
    ----------
    file : Path
        Weights; the contract is in the JSON file beside them.
    stain : str
        As in the sheet.
    dab_cutoff_od : float
        Nuclear DAB optical density (base 10) from which a nucleus is positive.
    background : Background, optional
        The slide's light, stain vectors and haze; without it each image is taken for itself.
    limits : tuple, optional
        Intensities that become 0 and 1, for each channel, where the network wants percentiles.

    Raises
    ------
    PathaiError
        E183 if file or contract are missing, E182 if they are damaged, E194 if a package is
        missing, E142 if the stain is unknown or the network is not made for it.
    """

    file: Path
    stain: str = "H&E"
    dab_cutoff_od: float = 0.15
    background: Background | None = None
    limits: Limits | None = None
    smallest_px: ClassVar[int] = 16
    """Images are padded to so much: some networks fail on smaller ones."""

    def __post_init__(self) -> None:
        stain_matrix(self.stain)
        stains = self.contract.stains
        if stains and self.stain not in stains:
            message = f"{self.file.name} is made for {', '.join(stains)}, not for {self.stain}"
            raise PathaiError("E142", message)

    @cached_property
    def contract(self) -> Contract:
        """What the file, and the JSON beside it, say of the network."""
        return read_contract(require_file(self.file))

    @cached_property
    def network(self) -> Callable[[F32], list[NDArray[Any]]]:
        """The network: input as the contract says to its outputs."""
        raise NotImplementedError

    def found(self, outputs: list[F32], mpp: Mpp) -> Found:
        """Nuclei of the outputs ``float32[K, h, w]``."""
        return (from_maps if self.contract.output == "maps" else from_label_output)(
            outputs, self.contract, mpp
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The network's classes; with DAB and no more than one, negative and positive."""
        own = self.contract.classes
        return own if len(own) > 1 else dab_classes(self.stain, own)

    @property
    def mpp(self) -> float:
        """µm/px at which it works."""
        return self.contract.mpp

    @property
    def mpp_range(self) -> tuple[float, float]:
        """µm/px that it accepts."""
        return self.contract.mpp_range

    @property
    def halo_um(self) -> float:
        """Surround that a block needs, µm."""
        return self.contract.halo_um

    @property
    def step_px(self) -> int:
        """Blocks must start at multiples of it, in px at `mpp`: the network's total stride."""
        return self.contract.step_px

    @property
    def error(self) -> CountError | None:
        """How far its counts are off, if the contract says so."""
        return self.contract.error

    @property
    def digest(self) -> str:
        """SHA-256 over the file, its contract and the settings."""
        facts = [VERSION, type(self).__name__, file_identity(self.file), self.stain,
                 self.dab_cutoff_od, self.contract.model_dump(mode="json")]  # fmt: skip
        return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def for_slide(self, sample: U8) -> "ForeignDetector":
        """Return this detector with the slide's light, stain vectors, haze and percentiles."""
        known = slide_background(sample, stain_matrix(self.stain))
        return replace(self, background=known, limits=self._limits(sample))

    def detect(self, rgb: U8, mpp: Mpp) -> Detections:
        """Nuclei of an image.

        Raises
        ------
        PathaiError
            E131 if ``mpp`` is out of range, E182 if the network fails or its output is not what
            the contract says, E170 if memory does not suffice.
        """
        low, high = self.mpp_range
        if not all(low <= m <= high for m in (mpp.x, mpp.y)):
            message = f"{mpp.x:.3g} x {mpp.y:.3g} µm/px is outside {low:g} to {high:g}"
            raise PathaiError("E131", f"{self.file.name}: {message}")
        image, factor = rgb, reduction(mpp, self.mpp)
        if factor != (1.0, 1.0):
            size = (max(int(rgb.shape[1] / factor[0]), 1), max(int(rgb.shape[0] / factor[1]), 1))
            image = area_reduce(rgb, factor, (0, 0), (0, 0), size)
        found = self._find(image, Mpp(mpp.x * factor[0], mpp.y * factor[1]))
        class_, prob, dab = self._classified(found, image)
        count, corners = found.outlines.shape[:2]
        scale = np.asarray(factor)
        return Detections(
            centers=(found.centers * scale).astype(np.float32),
            anchors=(found.anchors * scale).astype(np.float32),
            score=found.score,
            class_=class_,
            prob=prob,
            dab_od=dab,
            outline=(found.outlines * scale).reshape(-1, 2).astype(np.float32),
            outline_start=np.arange(count + 1, dtype=np.int64) * corners,
        )

    def _find(self, image: U8, mpp: Mpp) -> Found:
        """Run the network; whatever it raises becomes one line."""
        height, width = image.shape[:2]
        grid, step = self.contract.grid, self.step_px
        rows, columns = (-(-max(n, self.smallest_px) // step) * step for n in (height, width))
        padded = np.pad(image, ((0, rows - height), (0, columns - width), (0, 0)), "symmetric")
        network = self.network
        try:
            made = network(self._input(padded, self.limits or self._limits(image)))
            shape = (rows // grid, columns // grid)
            outputs = [channels(output, self.contract, shape) for output in made]
            return self.found(
                [a[:, : -(-height // grid), : -(-width // grid)] for a in outputs], mpp
            )
        # the boundary to code that is not ours: it may raise anything
        except Exception as error:
            if isinstance(error, PathaiError):
                raise
            said = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[-1]}"
            if isinstance(error, MemoryError) or "memory" in str(error).lower():
                raise PathaiError(
                    "E170", f"{self.file.name}: {said}", "lower cells.block_px"
                ) from None
            message = f"{self.file.name} does not do what its contract says: {said}"
            raise PathaiError("E182", message, "see docs/detectors.md") from error

    def _limits(self, sample: U8) -> Limits | None:
        if self.contract.percentiles is None:
            return None
        flat = sample.reshape(-1, 3)
        flat = flat[:: max(1, len(flat) // 2**18)]
        axis = 0 if self.contract.per_channel else None
        low, high = (
            np.broadcast_to(np.percentile(flat, q, axis=axis), 3).tolist()
            for q in self.contract.percentiles
        )
        return tuple(low), tuple(high)

    def _input(self, image: U8, limits: Limits | None) -> F32:
        """Pixels as the contract wants them, ``float32[1, 3, h, w]`` or ``[1, h, w, 3]``."""
        if limits is not None:
            low, high = np.asarray(limits, np.float32)
            x = (image - low) / np.maximum(high - low, 1)
        else:
            x = image * np.float32(self.contract.scale)
            mean, std = (np.asarray(v, np.float32) for v in (self.contract.mean, self.contract.std))
            x = (x - mean) / std
        axes = (2, 0, 1) if self.contract.layout == "nchw" else (0, 1, 2)
        return np.ascontiguousarray(x.transpose(axes)[None], np.float32)

    def _classified(self, found: Found, image: U8) -> tuple[NDArray[np.uint8], F32, F32]:
        """Class, support and DAB density of each nucleus."""
        matrix, count = stain_matrix(self.stain), len(found.centers)
        dab = np.zeros(count, np.float32)
        if matrix.is_dab:
            known = self.background or slide_background(image, matrix)
            dab = found.mean(densities(image, known.stain, known.white)[1])
            dab -= np.float32(known.haze)
            if len(self.contract.classes) == 1:
                return (*positive(dab, self.dab_cutoff_od), dab)
        return found.support.argmax(axis=1).astype(np.uint8), found.support, dab
