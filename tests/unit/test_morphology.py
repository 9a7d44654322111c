"""The encoder `morphology` measures what was drawn."""

import numpy as np
import pytest

from pathai.encoders.morphology import LARGEST, Morphology
from pathai.encoders.morphology_features import FEATURES, NUCLEI, POOLS
from pathai.stain import STAINS, compose
from pathai.testing.picture import synthetic_field

EDGE = 256
Row = dict[str, float]


def drawn(
    centers: np.ndarray,
    long_px: float = 9.0,
    short_px: float = 9.0,
    angle: np.ndarray | float = 0.0,
    h: float = 0.7,
    grain: float = 0.0,
    ring: float = 0.15,
) -> np.ndarray:
    """Tile of even eosin with ellipses of hematoxylin; axes are semi-axes in px of 0.5 µm."""
    y, x = np.mgrid[:EDGE, :EDGE] + 0.5
    density = np.zeros((3, EDGE, EDGE))
    density[1, 4:] = ring  # the first rows are glass: the light is known
    rng = np.random.default_rng(3)
    speckle = np.kron(rng.choice([-1.0, 1.0], (EDGE // 2, EDGE // 2)), np.ones((2, 2)))
    angles = np.broadcast_to(angle, len(centers))
    for (cx, cy), turn in zip(centers, angles, strict=True):
        along = (x - cx) * np.cos(turn) + (y - cy) * np.sin(turn)
        across = (y - cy) * np.cos(turn) - (x - cx) * np.sin(turn)
        inside = (along / long_px) ** 2 + (across / short_px) ** 2 <= 1
        density[0][inside] = (h + grain * speckle)[inside]
    return compose(density, STAINS["H&E"], (245, 245, 245))


def lattice(step: float) -> np.ndarray:
    places = np.arange(step / 2, EDGE - step / 3, step)
    return np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)


def described(*tiles: np.ndarray) -> list[Row]:
    encoder = Morphology()
    return [dict(zip(encoder.names, map(float, v), strict=True))
            for v in encoder.encode(np.stack(tiles))]  # fmt: skip


def test_every_feature_has_one_sentence() -> None:
    assert tuple(FEATURES) == Morphology.names
    for name, sentence in FEATURES.items():
        assert sentence[0] == sentence[0].upper(), name
        assert sentence.endswith("."), name
        assert ". " not in sentence, name
        assert len(sentence) < 160, name
    assert len(set(FEATURES.values())) == len(FEATURES)


def test_sizes_and_shapes_are_those_drawn() -> None:
    small, large, narrow = described(
        drawn(lattice(48), 8, 8), drawn(lattice(48), 11, 11), drawn(lattice(48), 15, 6, 0.5)
    )
    # the finder's threshold lies on the blurred edge, so areas are near, not equal
    assert small["area_um2_mean"] == pytest.approx(np.pi * 4**2, rel=0.15)
    assert large["area_um2_mean"] == pytest.approx(np.pi * 5.5**2, rel=0.15)
    assert narrow["length_um_mean"] == pytest.approx(15, rel=0.1)
    assert narrow["width_um_mean"] == pytest.approx(6, rel=0.2)
    assert narrow["eccentricity_mean"] == pytest.approx(np.sqrt(1 - (6 / 15) ** 2), abs=0.05)
    assert small["eccentricity_mean"] < 0.3
    assert large["roundness_mean"] > 0.9 > 0.8 > narrow["roundness_mean"]
    for row in (small, large, narrow):
        assert row["solidity_mean"] > 0.93
        assert row["convexity_mean"] > 0.93
        assert row["area_um2_sd"] < 0.1 * row["area_um2_mean"]


def test_density_and_spacing_are_those_drawn() -> None:
    sparse, dense = described(drawn(lattice(64)), drawn(lattice(32)))
    assert sparse["nuclei_per_mm2"] == pytest.approx(16 / 0.128**2)
    assert dense["nuclei_per_mm2"] == pytest.approx(64 / 0.128**2)
    assert sparse["spacing_um_mean"] == pytest.approx(32, rel=0.02)
    assert dense["spacing_um_mean"] == pytest.approx(16, rel=0.02)
    assert dense["nuclear_share"] == pytest.approx(4 * sparse["nuclear_share"], rel=0.1)
    assert dense["reach_um_q50"] == pytest.approx(16 * (1 + np.sqrt(2)) / 2, rel=0.05)


def test_stain_and_chromatin_are_those_drawn() -> None:
    pale, dark, even, grained, pink = described(
        drawn(lattice(48), h=0.5),
        drawn(lattice(48), h=0.9),
        drawn(lattice(48), h=0.7),
        drawn(lattice(48), h=0.7, grain=0.15),
        drawn(lattice(48), h=0.5, ring=0.4),
    )
    assert pale["disc_h_mean"] == pytest.approx(0.5, abs=0.03)
    assert dark["disc_h_mean"] == pytest.approx(0.9, abs=0.04)
    assert pink["ring_e_mean"] == pytest.approx(0.4, abs=0.03)
    assert pale["ring_e_mean"] == pytest.approx(0.15, abs=0.03)
    assert abs(pale["ring_h_mean"]) < 0.03
    for name in ("chromatin_sd", "chromatin_gradient"):
        assert grained[f"{name}_mean"] > 1.2 * even[f"{name}_mean"], name
    assert dark["contrast_h_mean"] > pale["contrast_h_mean"] + 0.3
    assert pink["ring_saturation_mean"] > pale["ring_saturation_mean"] + 0.1


def test_coherence_is_one_for_parallel_nuclei_and_low_for_any() -> None:
    places = lattice(40)
    rng = np.random.default_rng(0)
    any_way = rng.uniform(0, np.pi, len(places))
    parallel, mixed = described(drawn(places, 14, 6, 0.7), drawn(places, 14, 6, any_way))
    assert parallel["coherence_mean"] > 0.98
    assert mixed["coherence_mean"] < 0.55
    assert parallel["unlike_area_um2_mean"] < 0.1 * parallel["area_um2_mean"]


def test_an_odd_one_out_contrasts_with_its_neighbors() -> None:
    places = lattice(48)
    even = drawn(places, 8, 8, h=0.5)
    odd = even.copy()
    one = drawn(places[12:13], 14, 14, h=0.9)
    changed = (one < even).any(axis=-1)
    odd[changed] = one[changed]
    rows = described(even, odd)
    for name in ("unlike_area_um2", "unlike_nuclear_h"):
        assert rows[1][f"{name}_mean"] > 2 * rows[0][f"{name}_mean"], name


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_quarter_turn_changes_little(seed: int) -> None:
    tile = synthetic_field(seed, width=EDGE, height=EDGE)[0]
    rows = described(*(np.ascontiguousarray(np.rot90(tile, k)) for k in range(4)))
    other = described(synthetic_field(seed + 10, width=EDGE, height=EDGE)[0])[0]
    names = [n for n in FEATURES if not n.endswith(("_q10", "_q90", "_sd"))]
    turned = np.array([[row[n] for n in names] for row in rows])
    apart = np.abs(np.array([other[n] for n in names]) - turned[0])
    # seeds lie on even pixels, which a turn moves by one: a few nuclei split otherwise
    change = np.abs(turned - turned[0]).max(axis=0)
    scale = np.abs(turned[0]) + 0.05
    assert np.median(change / scale) < 0.03
    assert (change / scale).max() < 0.25
    assert np.median(change) < 0.2 * np.median(apart)


def test_tiles_without_or_with_one_nucleus_are_finite() -> None:
    encoder = Morphology()
    tiles = [np.full((EDGE, EDGE, 3), 240, np.uint8), drawn(lattice(EDGE))]
    noise = np.random.default_rng(0).integers(0, 256, (EDGE, EDGE, 3), dtype=np.uint8)
    vectors = encoder.encode(np.stack([*tiles, noise]))
    assert np.isfinite(vectors.astype(np.float16)).all()
    assert np.abs(vectors).max() <= LARGEST
    empty, one, _ = described(*tiles, noise)
    nuclear = [n for n in FEATURES if n.startswith(("nuclear_", "nuclei_"))
               or any(n == f"{k}_{p}" for k in NUCLEI for p in POOLS)]  # fmt: skip
    assert {empty[n] for n in nuclear} == {0.0}
    assert one["nuclei_per_mm2"] == pytest.approx(1 / 0.128**2)
    assert one["area_um2_sd"] == one["spacing_um_mean"] == one["coherence_mean"] == 0
    assert one["area_um2_mean"] == one["area_um2_q10"] == one["area_um2_q90"] > 0


def test_small_tiles_serve_too() -> None:
    tile = synthetic_field(5, width=64, height=64)[0]
    assert np.isfinite(Morphology().encode(tile[None])).all()
