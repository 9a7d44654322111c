"""From a recipe to pixels and truth, in memory or as a slide file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pathai.testing.aperio import SCANNERS, Scanner, write_svs
from pathai.testing.artefacts import Picture, apply_artefacts, to_map
from pathai.testing.contours import inside_any
from pathai.testing.looks import Look
from pathai.testing.noise import enlarge
from pathai.testing.nuclei_model import Nuclei, place_nuclei
from pathai.testing.stain_model import DENSITY, expose, paint
from pathai.testing.tissue_model import GRID, Layout, build_layout
from pathai.testing.truth import CLASSES, HE, MAP_DOWNSAMPLE, VERSION, Recipe, Truth


def draw(recipe: Recipe) -> tuple[Picture, Truth]:
    """Draw a recipe.

    Returns
    -------
    picture : uint8[y, x, 3]
    truth : Truth
    """
    layout = build_layout(recipe)
    nuclei = place_nuclei(recipe, layout)
    picture = expose(recipe, *paint(recipe, layout, nuclei))
    picture, masks = apply_artefacts(recipe, layout, picture)
    return picture, _truth(recipe, layout, nuclei, masks)


def synthetic_field(
    seed: int,
    look: Look | None = None,
    *,
    width: int = 512,
    height: int = 512,
    mpp: float = 0.5,
    stain: str = HE,
    tumor: bool = True,
    artefacts: tuple[str, ...] = (),
) -> tuple[Picture, Truth]:
    """Draw a field filled with tissue, for tests and training of detectors.

    Parameters
    ----------
    seed : int
    look : Look, optional
        The reference look when left out.
    width, height : int
        Pixels.
    mpp : float
        Micrometers per pixel.
    stain : str
        "H&E" or "Ki-67".
    tumor : bool
        Whether part of the field is tumor.
    artefacts : tuple of str
        "pen", "blur", "fold", "bubble".

    Returns
    -------
    picture : uint8[y, x, 3]
    truth : Truth
    """
    recipe = Recipe(seed, width, height, mpp, stain, tumor, False, look or Look(), artefacts)
    return draw(recipe)


def write_slide(
    path: Path, recipe: Recipe, *, scanner: Scanner = SCANNERS["A"], mpp_in_file: bool = True
) -> Truth:
    """Draw a recipe and write it as an SVS; return its truth.

    Parameters
    ----------
    path : Path
        The .svs to write.
    recipe : Recipe
    scanner : Scanner
        Layout of the file.
    mpp_in_file : bool
        False leaves the micrometers per pixel out of the file.
    """
    picture, truth = draw(recipe)
    write_svs(path, picture, recipe.mpp if mpp_in_file else None, scanner)
    return truth


def _truth(recipe: Recipe, layout: Layout, nuclei: Nuclei, masks: np.ndarray) -> Truth:
    outlines, starts = nuclei.outlines()
    regions = layout.tumor_regions
    tissue = enlarge(layout.tissue, recipe.width, recipe.height, GRID) > 0
    return Truth(
        version=VERSION,
        seed=recipe.seed,
        width=recipe.width,
        height=recipe.height,
        mpp=recipe.mpp,
        stain=recipe.stain,
        look=recipe.look.name,
        tumor=len(regions) > 0,
        classes=np.array(CLASSES),
        xy_px0=nuclei.xy,
        class_=nuclei.class_,
        positive=nuclei.dab > 0,
        dab_od=nuclei.dab * np.float32(DENSITY),
        in_tumor=inside_any(regions, nuclei.xy),
        outline_px0=outlines,
        outline_start=starts,
        region_px0=np.concatenate([np.zeros((0, 2), np.float32), *regions]),
        region_start=np.cumsum([0, *(len(r) for r in regions)]).astype(np.int64),
        map_downsample=MAP_DOWNSAMPLE,
        tissue=to_map(tissue),
        artefact_names=np.array(recipe.artefacts, dtype="U16"),
        artefacts=masks,
    )
