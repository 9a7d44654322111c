"""The network that comes with pathai is the one of its card, and does what it was trained for."""

import json
from hashlib import sha256
from importlib.resources import files
from typing import Any

import numpy as np
import pytest

import pathai.encoders.tissue_small as room
from pathai.encoders.tissue_small import TissueSmall, card
from pathai.encoders.tissue_small.network import TissueNetwork, seeded
from pathai.errors import PathaiError
from pathai.testing.looks import TEST_LOOKS
from pathai.testing.picture import synthetic_field

FOLDER = files(room)


def test_the_weights_are_those_of_the_card() -> None:
    raw = FOLDER.joinpath("weights.safetensors").read_bytes()
    assert sha256(raw).hexdigest() == card()["sha256"]
    assert len(raw) <= 5_000_000
    count = sum(p.numel() for p in TissueNetwork().parameters())
    assert count == card()["parameters"] <= 1_200_000


def test_the_card_says_what_a_person_must_know() -> None:
    said = card()
    assert "research only" in said["use"]
    assert all(data["licence"] and data["amount"] for data in said["data"])
    # evaluation data took no part
    assert "nucls" not in json.dumps(said["data"]).lower()
    assert said["limits"]
    log = json.loads(FOLDER.joinpath("log.json").read_text("utf-8"))
    assert log[-1] == said["training"]["last_losses"]
    assert log[-1]["step"] == said["training"]["steps"]
    assert log[-1]["truth"] < log[0]["truth"]
    for name, trained in said["held_out_r2"].items():
        assert trained > said["held_out_r2_untrained"][name]


def test_damaged_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    other: dict[str, Any] = {**card(), "sha256": "0" * 64}
    monkeypatch.setattr(room, "card", lambda: other)
    with pytest.raises(PathaiError, match=r"E182.*tissue-small"):
        TissueSmall()


@pytest.mark.parametrize("edge", [64, 96, 130, 256])
def test_tiles_of_other_sizes_serve(edge: int) -> None:
    tiles = synthetic_field(3, width=edge, height=edge)[0][None]
    vector = TissueSmall().encode(tiles)
    assert vector.shape == (1, TissueSmall.dim)
    assert np.isfinite(vector).all()


def test_training_made_other_vectors_than_chance() -> None:
    tile = synthetic_field(3, width=128, height=128)[0][None]
    trained, one, same = (TissueSmall(n).encode(tile) for n in (None, seeded(1), seeded(1)))
    assert np.array_equal(one, same)
    assert not np.allclose(trained, one, atol=0.1)


def test_the_same_tissue_is_known_again_in_another_laboratory() -> None:
    """Nearest vector across looks that training never drew: the same field, far above chance."""
    shown = [
        np.stack([synthetic_field(s, look, width=256, height=256)[0] for s in range(12)])
        for look in TEST_LOOKS.values()
    ]
    one, two = (TissueSmall().encode(tiles) for tiles in shown)
    one, two = ((v - v.mean(axis=0)) / (v.std(axis=0) + 1e-6) for v in (one, two))
    likeness = one @ two.T
    assert (likeness.argmax(axis=1) == np.arange(12)).sum() >= 10
