"""What each feature of `morphology` means: one sentence per name."""

POOLS = {
    "mean": "Mean",
    "sd": "Standard deviation",
    "q10": "10th percentile",
    "q50": "Median",
    "q90": "90th percentile",
}
"""How the nuclei of a tile become one number each, in this order."""

TILE = {
    "h": "density of hematoxylin over all pixels, optical density",
    "e": "density of eosin over all pixels, optical density",
}
"""Pooled over pixels."""

NUCLEI = {
    "area_um2": "the area of a nucleus, µm²",
    "length_um": "the long axis of the ellipse with a nucleus's second moments, µm",
    "width_um": "the short axis of the ellipse with a nucleus's second moments, µm",
    "eccentricity": "the eccentricity of the ellipse with a nucleus's second moments, 0 to 1",
    "solidity": "a nucleus's area by that of its hull (16 directions), 1 without dents",
    "convexity": "the perimeter of a nucleus's hull by its own, 1 with a smooth outline",
    "roundness": "4π area / perimeter² of a nucleus, 1 for a disc",
    "nuclear_h": "the density of hematoxylin in a nucleus, optical density",
    "nuclear_e": "the density of eosin in a nucleus, optical density",
    "chromatin_sd": "the standard deviation of hematoxylin inside a nucleus, optical density",
    "chromatin_gradient": "the mean gradient of hematoxylin in a nucleus, optical density per px",
    "disc_h": "hematoxylin within 2.5 µm of a nucleus's center, optical density",
    "disc_e": "eosin within 2.5 µm of a nucleus's center, optical density",
    "disc_od": "optical density within 2.5 µm of a nucleus's center",
    "disc_saturation": "color saturation within 2.5 µm of a nucleus's center, 0 to 1",
    "ring_h": "hematoxylin 4 to 6.5 µm from a nucleus's center, outside nuclei, optical density",
    "ring_e": "eosin 4 to 6.5 µm from a nucleus's center, outside nuclei, optical density",
    "ring_od": "optical density 4 to 6.5 µm from a nucleus's center, outside nuclei",
    "ring_saturation": "color saturation 4 to 6.5 µm from a nucleus's center, outside nuclei",
    "contrast_h": "hematoxylin in the disc less that in the ring, optical density",
    "contrast_e": "eosin in the disc less that in the ring, optical density",
    "spacing_um": "the distance from a nucleus to the nearest other one, µm",
    "reach_um": "the mean distance from a nucleus to its eight nearest, µm",
    "coherence": "how parallel a nucleus and its eight nearest lie, 0 any way to 1 parallel",
    "unlike_area_um2": "the difference in area between a nucleus and its eight nearest, µm²",
    "unlike_eccentricity": "the difference in eccentricity between a nucleus and its eight nearest",
    "unlike_nuclear_h": "the difference in hematoxylin between a nucleus and its eight nearest, "
    "optical density",
    "unlike_chromatin_gradient": "the difference in chromatin gradient between a nucleus and its "
    "eight nearest, optical density per px",
}
"""Pooled over the nuclei of a tile, five numbers each."""


def _pattern(k: int, radius: int) -> str:
    """What class ``k`` of a local binary pattern stands for."""
    ring = f"ring at {radius} px"
    if k == 0:
        return f"with nothing darker in the {ring} (even, or a dark spot)"
    if k == 8:
        return f"with a {ring} that is darker all around (a pale spot)"
    if k == 9:
        return f"with a {ring} that turns darker more than once (disorder)"
    return f"with one darker arc of {k} of the 8 pixels in the {ring}"


def _table() -> dict[str, str]:
    """Every feature in the order of the vector."""
    table = {f"{n}_{p}": f"{said} of {what}." for n, what in TILE.items()
             for p, said in POOLS.items()}  # fmt: skip
    table |= {
        "residual_mean": "Mean density that neither stain explains (pigment, ink, brown).",
        "residual_sd": "Standard deviation of the density that neither stain explains.",
        "od_mean": "Mean optical density over all pixels and colors.",
        "od_sd": "Standard deviation of optical density over all pixels.",
        "saturation_mean": "Mean color saturation over all pixels, 0 to 1.",
        "saturation_sd": "Standard deviation of color saturation over all pixels.",
        "glass_share": "Share of pixels with optical density below 0.05.",
        "dark_share": "Share of pixels with optical density above 0.8.",
        "h_gradient_mean": "Mean gradient of hematoxylin, optical density per px.",
        "h_gradient_sd": "Standard deviation of the gradient of hematoxylin.",
        "h_gradient_q90": "90th percentile of the gradient of hematoxylin.",
        "e_gradient_mean": "Mean gradient of eosin, optical density per px.",
        "e_gradient_sd": "Standard deviation of the gradient of eosin.",
    }
    for r in (1, 2):
        table |= {f"lbp{r}_{k}": f"Share of pixels {_pattern(k, r)}." for k in range(10)}
    table |= {
        "nuclei_per_mm2": "Nuclei found per mm² of the tile.",
        "nuclear_share": "Share of the tile that lies in nuclei.",
    }
    table |= {f"{n}_{p}": f"{said} over nuclei of {what}." for n, what in NUCLEI.items()
              for p, said in POOLS.items()}  # fmt: skip
    own = "Mean over nuclei of the share of their pixels"
    for r in (1, 2):
        table |= {f"nuclear_lbp{r}_{k}": f"{own} {_pattern(k, r)}." for k in range(10)}
    return table


FEATURES: dict[str, str] = _table()
"""Name of each feature, in the order of the vector, and what it means."""
