"""What a synthetic slide was asked to be (`Recipe`) and what is true of it (`Truth`)."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pathai.testing.looks import Look

VERSION = 1
CLASSES = ("epithelial", "tumor", "lymphocyte", "stromal")
EPITHELIAL, TUMOR, LYMPHOCYTE, STROMAL = range(4)
HE, KI67 = "H&E", "Ki-67"
ARTEFACTS = ("pen", "blur", "fold", "bubble")
MAP_DOWNSAMPLE = 8

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the pixels of one synthetic picture.

    Attributes
    ----------
    seed : int
        Decides tissue, nuclei and artefacts; the same seed with another `look` is the same tissue,
        stained elsewhere.
    width, height : int
        Level-0 pixels.
    mpp : float
        Micrometers per pixel at which the tissue is drawn.
    stain : str
        "H&E" or "Ki-67" (hematoxylin and DAB).
    tumor : bool
        Whether tumor regions are laid out. They alone make the label.
    glass : bool
        True: a piece of tissue on a slide. False: a field filled with tissue.
    look : Look
        Stain vectors, textures and scanner.
    artefacts : tuple of str
        Names from `ARTEFACTS`, applied in this order.
    """

    seed: int
    width: int = 2000
    height: int = 1900
    mpp: float = 0.5
    stain: str = HE
    tumor: bool = True
    glass: bool = True
    look: Look = field(default_factory=Look)
    artefacts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.stain not in (HE, KI67):
            raise ValueError(f"unknown stain {self.stain!r}; use {HE!r} or {KI67!r}")
        unknown = sorted(set(self.artefacts) - set(ARTEFACTS))
        if unknown:
            raise ValueError(f"unknown artefacts {unknown}; known are {list(ARTEFACTS)}")
        if self.width < 64 or self.height < 64 or not 0.05 <= self.mpp <= 4:
            raise ValueError(
                "a synthetic picture needs at least 64 x 64 px and an mpp between 0.05 and 4"
            )


@dataclass(frozen=True)
class Truth:
    """All that is known of a synthetic picture.

    Positions are level-0 pixels, x before y; pixel i covers i to i + 1.

    Attributes
    ----------
    version, seed : int
        Version of the generator and seed of the recipe.
    width, height : int
        Level-0 pixels.
    mpp : float
        Micrometers per pixel.
    stain : str
    look : str
        Name of the look.
    tumor : bool
        The label: True if and only if there is a tumor region.
    classes : str[4]
        Names of the classes.
    xy_px0 : float32[M, 2]
        Centers of the nuclei.
    class_ : uint8[M]
        Index into `classes`.
    positive : bool[M]
        DAB positive (always False in H&E).
    dab_od : float32[M]
        Optical density of the DAB in the nucleus, length of (red, green, blue); 0 if negative.
    in_tumor : bool[M]
        The center lies in a tumor region (lymphocytes and stroma cells can).
    outline_px0 : float32[K, 2]
        Vertices of all outlines; nucleus i owns rows outline_start[i] to outline_start[i + 1].
    outline_start : int64[M + 1]
    region_px0 : float32[P, 2]
        Vertices of the tumor regions, with `region_start` int64[T + 1] as above.
    region_start : int64[T + 1]
    map_downsample : int
        Level-0 pixels per pixel of the two maps below.
    tissue : bool[h, w]
        The piece of tissue, with its lumens and fat.
    artefact_names : str[A]
    artefacts : bool[A, h, w]
        One mask per artefact.
    """

    version: int
    seed: int
    width: int
    height: int
    mpp: float
    stain: str
    look: str
    tumor: bool
    classes: Array
    xy_px0: Array
    class_: Array
    positive: Array
    dab_od: Array
    in_tumor: Array
    outline_px0: Array
    outline_start: Array
    region_px0: Array
    region_start: Array
    map_downsample: int
    tissue: Array
    artefact_names: Array
    artefacts: Array

    def __len__(self) -> int:
        return len(self.xy_px0)

    def outline(self, index: int) -> Array:
        """Return float32[n, 2], the outline of one nucleus."""
        return self.outline_px0[self.outline_start[index] : self.outline_start[index + 1]]

    def regions(self) -> list[Array]:
        """Return the tumor regions as a list of float32[n, 2]."""
        return (
            np.split(self.region_px0, self.region_start[1:-1]) if len(self.region_start) > 1 else []
        )

    def artefact(self, name: str) -> Array:
        """Return bool[h, w], where the named artefact lies; all False when there is none."""
        mask = np.zeros(self.tissue.shape, bool)
        for other, layer in zip(self.artefact_names, self.artefacts, strict=True):
            mask |= layer if other == name else False
        return mask

    def save(self, path: Path) -> None:
        """Write a compressed .npz: no pickle, and the same bytes for the same truth."""
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for item in fields(self):
                # np.savez may stamp the clock into the archive; an entry of its own does not
                entry = zipfile.ZipInfo(f"{item.name}.npy", (1980, 1, 1, 0, 0, 0))
                entry.compress_type = zipfile.ZIP_DEFLATED
                buffer = io.BytesIO()
                np.lib.format.write_array(
                    buffer, np.asarray(getattr(self, item.name)), allow_pickle=False
                )
                archive.writestr(entry, buffer.getvalue(), compresslevel=1)

    @classmethod
    def load(cls, path: Path) -> Truth:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as archive:
            values = {name: archive[name] for name in archive.files}
        return cls(
            **{name: value.item() if value.ndim == 0 else value for name, value in values.items()}
        )
