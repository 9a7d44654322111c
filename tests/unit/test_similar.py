"""Similar cases: planted neighbors are found, percentiles true, no patient meets itself."""

import numpy as np
import pytest

from pathai import similar as room
from pathai.errors import PathaiError
from pathai.similar import similar
from pathai.store.records import SlideVector, SlideVectorAttrs


def vector(x, *, names=(), encoder_digest="a" * 64, tile_px=224):
    attrs = SlideVectorAttrs(
        encoder="mean:virchow",
        encoder_digest=encoder_digest,
        tile_encoder="virchow",
        tile_encoder_digest="b" * 64,
        grid_digest="c" * 64,
        tile_px=tile_px,
        mpp=0.5,
        tiles=3,
        names=names,
    )
    return SlideVector(np.asarray(x, np.float32), attrs)


def cohort(n, dim=32, seed=0, per_patient=1):
    x = np.random.default_rng(seed).normal(size=(n, dim))
    ids = [f"S{i:04d}" for i in range(n)]
    table = {name: vector(row) for name, row in zip(ids, x, strict=True)}
    return table, {name: f"P{i // per_patient:04d}" for i, name in enumerate(ids)}


def naive(query, table, patient_of):
    """The same by loops over pairs."""
    unit = {k: v.vector.astype(float) for k, v in table.items()}
    unit = {k: x / np.linalg.norm(x) for k, x in unit.items()}
    far = {
        (a, b): 1 - float(unit[a] @ unit[b])
        for a in table for b in table if patient_of[a] != patient_of[b]
    }  # fmt: skip
    pairs = np.array([d for (a, b), d in far.items() if a < b])
    nearest = {a: min(d for (c, _), d in far.items() if c == a) for a in table}
    order = sorted((d, b) for (a, b), d in far.items() if a == query)
    share = [100 * (pairs <= d + 1e-9).mean() for d, _ in order]
    others = [d for a, d in nearest.items() if a != query]
    unusual = 100 * np.mean([d <= nearest[query] + 1e-9 for d in others])
    return [b for _, b in order], [d for d, _ in order], share, unusual, len(pairs)


@pytest.mark.parametrize("block", [7, 40, 1000])
def test_it_is_what_loops_over_all_pairs_find(monkeypatch, block):
    monkeypatch.setattr(room, "BLOCK", block)
    table, patient_of = cohort(40, per_patient=3)
    found = similar("S0005", table, patient_of, 100)
    ids, far, share, unusual, pairs = naive("S0005", table, patient_of)
    assert [n.slide_id for n in found.neighbors] == ids
    assert [n.distance for n in found.neighbors] == pytest.approx(far, abs=1e-9)
    assert [n.percentile for n in found.neighbors] == pytest.approx(share, abs=1e-3)
    assert found.unusual_percentile == pytest.approx(unusual, abs=1e-3)
    assert (found.slides, found.patients, found.pairs) == (40, 14, pairs)


def test_planted_neighbors_are_found_in_the_order_of_their_distance():
    table, patient_of = cohort(200, dim=64)
    rng, seed = np.random.default_rng(1), table["S0000"].vector
    planted = {"S0150": 0.05, "S0020": 0.2, "S0090": 0.5}
    for name, noise in planted.items():
        table[name] = vector(3.0 * (seed + noise * rng.normal(size=64)))  # length does not matter
    found = similar("S0000", table, patient_of, 5)
    assert [n.slide_id for n in found.neighbors[:3]] == list(planted)
    assert found.neighbors[2].percentile < 0.1
    assert found.neighbors[3].percentile > 0.1
    assert found.unusual_percentile < 5


def test_the_same_patient_is_never_a_neighbor_and_in_no_pair():
    table, patient_of = cohort(30, per_patient=3)
    table["S0001"] = table["S0002"] = table["S0000"]  # all of patient P0000
    found = similar("S0000", table, patient_of, 100)
    assert {n.slide_id for n in found.neighbors} == {f"S{i:04d}" for i in range(3, 30)}
    assert found.pairs == 30 * 27 // 2
    assert not any(n.same for n in found.neighbors)


def test_percentiles_of_a_random_slide_are_uniform():
    """A slide like all others: its distances are draws from the reference distribution."""
    seen = []
    for seed in range(20):
        table, patient_of = cohort(60, seed=seed)
        seen += [n.percentile for n in similar("S0000", table, patient_of, 60).neighbors]
    seen = np.sort(seen) / 100
    apart = np.abs(seen - np.arange(1, len(seen) + 1) / len(seen)).max()
    assert apart < 1.63 / np.sqrt(
        20 * 59 / 4
    )  # 1 % of Kolmogorov's law; a slide's are not independent


def test_how_unusual_a_slide_is_is_uniform_too():
    found = []
    for seed in range(120):
        table, patient_of = cohort(30, dim=8, seed=seed)
        found.append(similar("S0007", table, patient_of, 1).unusual_percentile / 100)
    expected = np.arange(1, 121) / 120
    assert np.abs(np.sort(found) - expected).max() < 1.63 / np.sqrt(120) + 1 / 30


def test_a_foreign_slide_is_more_unusual_than_all_others():
    rng = np.random.default_rng(3)
    table = {f"S{i}": vector(np.r_[5, rng.normal(size=15)]) for i in range(40)}
    table["X"] = vector(np.r_[-5, rng.normal(size=15)])
    patient_of = {name: name for name in table}
    assert similar("X", table, patient_of, 3).unusual_percentile == 100


def test_equal_distances_are_ordered_by_id_and_a_copy_is_said():
    table = {name: vector([1, 0, 0]) for name in ("Q", "b", "a")}
    table |= {name: vector([0, 1, 0]) for name in ("z", "y")}
    found = similar("Q", table, {name: name for name in table}, 4)
    assert [n.slide_id for n in found.neighbors] == ["a", "b", "y", "z"]
    assert [n.same for n in found.neighbors] == [True, True, False, False]
    assert [n.distance for n in found.neighbors] == [0.0, 0.0, 1.0, 1.0]


def test_the_order_of_the_slides_changes_nothing():
    table, patient_of = cohort(50)
    turned = dict(reversed(table.items()))
    assert similar("S0003", table, patient_of) == similar("S0003", turned, patient_of)


def test_features_in_units_of_their_own_weigh_the_same():
    """Without, the feature with the largest numbers would decide alone."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(60, 8))
    x[1] = x[0] + 0.05 * rng.normal(size=8)
    patient_of = {f"S{i}": str(i) for i in range(60)}

    def found(scale, names):
        table = {f"S{i}": vector(row * scale + 7, names=names) for i, row in enumerate(x)}
        return similar("S0", table, patient_of, 60)

    names = tuple("abcdefgh")
    plain, scaled = found(1.0, names), found(np.r_[5000.0, np.full(7, 0.01)], names)
    assert plain.standardized
    assert plain.neighbors[0].slide_id == scaled.neighbors[0].slide_id == "S1"
    for a, b in zip(plain.neighbors, scaled.neighbors, strict=True):
        assert a.distance == pytest.approx(b.distance, abs=0.01)
    assert not found(1.0, ()).standardized


@pytest.mark.parametrize("other", [{"encoder_digest": "f" * 64}, {"tile_px": 256}])
def test_vectors_of_different_making_are_not_compared(other):
    table, patient_of = cohort(5)
    table["S0003"] = vector(np.ones(32), **other)
    with pytest.raises(PathaiError, match=r"E181: S0003: .*S0000") as error:
        similar("S0000", table, patient_of)
    assert "pathai slide-vector" in error.value.remedy


def test_what_cannot_be_compared_is_said():
    table, patient_of = cohort(5)
    table["S0002"] = vector(np.zeros(32))
    with pytest.raises(PathaiError, match="E180: S0002"):
        similar("S0000", table, patient_of)
    table, _ = cohort(3)
    with pytest.raises(PathaiError, match="E193: no slide of another patient"):
        similar("S0000", table, dict.fromkeys(table, "P"))
