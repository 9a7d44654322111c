"""Promises that every registered encoder, and any timm network, keeps."""

import re
from pathlib import Path

import numpy as np
import pytest

from pathai.encoders import ENCODERS, load_encoder
from pathai.encoders.base import Encoder
from pathai.encoders.morphology import Morphology
from pathai.errors import PathaiError
from pathai.testing.picture import synthetic_field

NETWORKS = ("test_vit.r160_in1k", "test_resnet.r160_in1k")
OWN = """
import numpy as np
class Mean:
    tile_px, mpp, dim, names, digest = 32, 1.0, 3, ("r", "g", "b"), "f" * 64
    def encode(self, tiles):
        return tiles.mean(axis=(1, 2), dtype=np.float32)
class Half:
    tile_px = 32
"""


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Seeded weights of two tiny networks, as a lab would have them: with a classifier."""
    import torch
    from safetensors.torch import save_file

    from pathai.encoders.torchvision_shim import import_timm

    folder = tmp_path_factory.mktemp("weights")
    written = {}
    for seed, name in enumerate(NETWORKS):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = import_timm().create_model(name, pretrained=False, num_classes=7)
        written[name] = folder / f"{name}.safetensors"
        save_file(network.state_dict(), written[name])
    return written


@pytest.fixture(params=[*ENCODERS.names(), *(f"timm:{n}" for n in NETWORKS), "file"])
def encoder(request: pytest.FixtureRequest, tmp_path: Path) -> Encoder:
    name: str = request.param
    if name.startswith("timm:"):
        path = request.getfixturevalue("weights")[name.removeprefix("timm:")]
        return load_encoder(f"{name}@{path}")
    if name == "file":
        (tmp_path / "own.py").write_text(OWN)
        return load_encoder(f"{tmp_path / 'own.py'}:Mean")
    return load_encoder(name)


def tiles_for(encoder: Encoder) -> np.ndarray:
    """Tissue, white, black, noise and one more piece of tissue."""
    edge = encoder.tile_px
    rng = np.random.default_rng(0)
    tissue = [synthetic_field(s, width=max(edge, 64), height=max(edge, 64))[0] for s in (1, 2)]
    return np.stack([
        tissue[0][:edge, :edge],
        np.full((edge, edge, 3), 255, np.uint8),
        np.zeros((edge, edge, 3), np.uint8),
        rng.integers(0, 256, (edge, edge, 3), dtype=np.uint8),
        tissue[1][:edge, :edge],
    ])  # fmt: skip


def test_shape_and_finite(encoder: Encoder) -> None:
    vectors = encoder.encode(tiles_for(encoder))
    assert vectors.shape == (5, encoder.dim)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors.astype(np.float16)).all()
    assert len(encoder.names) in (0, encoder.dim)
    assert len(set(encoder.names)) == len(encoder.names)
    assert re.fullmatch(r"[0-9a-f]{64}", encoder.digest)
    assert encoder.encode(tiles_for(encoder)[:0]).shape == (0, encoder.dim)


def test_deterministic_and_independent_of_the_batch(encoder: Encoder) -> None:
    tiles = tiles_for(encoder)
    whole = encoder.encode(tiles)
    assert np.array_equal(whole, encoder.encode(tiles))
    single = np.concatenate([encoder.encode(tiles[i : i + 1]) for i in range(len(tiles))])
    scale = np.abs(whole).max() + 1e-6
    assert np.abs(whole - single).max() / scale < 1e-5


def test_permuted_tiles_permute_rows(encoder: Encoder) -> None:
    tiles = tiles_for(encoder)
    order = np.array([3, 0, 4, 2, 1])
    whole = encoder.encode(tiles)
    scale = np.abs(whole).max() + 1e-6
    assert np.abs(encoder.encode(tiles[order]) - whole[order]).max() / scale < 1e-5


def test_different_tissue_gives_different_vectors(encoder: Encoder) -> None:
    vectors = encoder.encode(tiles_for(encoder))
    for i in range(len(vectors)):
        for j in range(i):
            assert not np.allclose(vectors[i], vectors[j], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("model", NETWORKS)
def test_timm_takes_the_files_weights(weights: dict[str, Path], model: str) -> None:
    from pathai.encoders.timm_encoder import TimmEncoder

    loaded = load_encoder(f"timm:{model}@{weights[model]}")
    seeded, other = (TimmEncoder(model, seeded=s) for s in (50, 51))
    tiles = tiles_for(loaded)
    assert len({loaded.digest, seeded.digest, other.digest}) == 3
    assert seeded.digest == TimmEncoder(model, seeded=50).digest
    assert np.array_equal(seeded.encode(tiles), TimmEncoder(model, seeded=50).encode(tiles))
    assert not np.allclose(loaded.encode(tiles), seeded.encode(tiles), atol=1e-3)


def test_timm_normalizes_as_its_own_transform(weights: dict[str, Path]) -> None:
    import torch
    from PIL import Image

    from pathai.encoders.timm_encoder import TimmEncoder
    from pathai.encoders.torchvision_shim import import_timm

    encoder = TimmEncoder(NETWORKS[1], weights[NETWORKS[1]])
    data = import_timm().data
    settings = data.resolve_model_data_config(encoder.network) | {"crop_pct": 1.0}
    transform = data.create_transform(**settings, is_training=False)
    tile = tiles_for(encoder)[0]
    with torch.inference_mode():
        expected = encoder.network(transform(Image.fromarray(tile))[None]).numpy()
    assert np.allclose(encoder.encode(tile[None]), expected, atol=1e-4)


def test_digest_follows_the_weights_not_their_place(
    weights: dict[str, Path], tmp_path: Path
) -> None:
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(weights[NETWORKS[0]].read_bytes())
    one = load_encoder(f"timm:{NETWORKS[0]}@{weights[NETWORKS[0]]}")
    assert load_encoder(f"timm:{NETWORKS[0]}@{moved}").digest == one.digest
    raw = bytearray(moved.read_bytes())
    raw[-1] ^= 1
    moved.write_bytes(raw)
    assert load_encoder(f"timm:{NETWORKS[0]}@{moved}").digest != one.digest


def test_weights_that_do_not_serve_are_refused(weights: dict[str, Path], tmp_path: Path) -> None:
    vit, resnet = NETWORKS
    with pytest.raises(PathaiError, match=r"E183.*has no weights"):
        load_encoder(f"timm:{vit}")
    with pytest.raises(PathaiError, match=r"E183.*gone\.safetensors"):
        load_encoder(f"timm:{vit}@gone.safetensors")
    with pytest.raises(PathaiError, match=f"E182.*{vit}"):
        load_encoder(f"timm:{vit}@{weights[resnet]}")
    (tmp_path / "bad.safetensors").write_bytes(weights[vit].read_bytes()[:1000])
    with pytest.raises(PathaiError, match=r"E182.*bad\.safetensors"):
        load_encoder(f"timm:{vit}@{tmp_path / 'bad.safetensors'}")


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PathaiError, match=r"E191.*morphology"):
        load_encoder("morpholog")
    with pytest.raises(PathaiError, match=r"E191.*no_such_net"):
        load_encoder("timm:no_such_net@x.safetensors")
    with pytest.raises(PathaiError, match=r"E183.*nowhere\.py"):
        load_encoder("nowhere.py:Mean")
    (tmp_path / "own.py").write_text(OWN)
    with pytest.raises(PathaiError, match=r"E191.*no class 'Median'"):
        load_encoder(f"{tmp_path / 'own.py'}:Median")
    with pytest.raises(PathaiError, match=r"E191.*lacks mpp, dim"):
        load_encoder(f"{tmp_path / 'own.py'}:Half")


def test_morphology_says_what_is_there() -> None:
    encoder = Morphology()
    tumor = synthetic_field(4, width=256, height=256)[0]
    white = np.full((256, 256, 3), 255, np.uint8)
    half = tumor.copy()
    half[:, 128:] = 255
    rows = [dict(zip(encoder.names, v, strict=True)) for v in encoder.encode(
        np.stack([tumor, half, white]))]  # fmt: skip
    assert rows[0]["nuclei_per_mm2"] > rows[1]["nuclei_per_mm2"] > rows[2]["nuclei_per_mm2"] == 0
    assert rows[2]["glass_share"] == 1
    assert rows[1]["glass_share"] >= 0.5
    assert rows[0]["h_mean"] > rows[1]["h_mean"] > rows[2]["h_mean"] == 0
    assert 9 < rows[0]["area_um2_mean"] < 200
    assert rows[0]["nuclear_h_mean"] > rows[0]["h_mean"]
    for row in rows:
        for radius in (1, 2):
            shares = [v for k, v in row.items() if k.startswith(f"lbp{radius}_")]
            assert sum(shares) == pytest.approx(1, abs=1e-5)
