"""What adapters ask of a publisher's package, proven against stand-ins with its signatures."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hub_cases import tensor

from pathai.encoders.cards import CARDS
from pathai.encoders.setup import Setup
from pathai.errors import PathaiError

CONCH = """
from pathlib import Path
import torch
class Model(torch.nn.Module):
    def encode_image(self, x, normalize=True, proj_contrast=True):
        assert (normalize, proj_contrast) == (False, False)
        return x.mean(dim=(2, 3)).repeat(1, 171)[:, :512]
def create_model_from_pretrained(model_cfg, checkpoint_path=None, device="cpu", jit=False,
                                 force_image_size=None, return_transform=True):
    assert model_cfg == "conch_ViT-B-16" and not return_transform
    assert Path(checkpoint_path).read_bytes().endswith(b"weights")
    return Model()
"""
MUSK = """
import torch
from timm.models import register_model
class Model(torch.nn.Module):
    def forward(self, image=None, text_description=None, padding_mask=None, return_global=True,
                with_head=True, out_norm=True, ms_aug=False):
        assert text_description is None and return_global
        assert not (with_head or out_norm or ms_aug)
        return image.mean(dim=(2, 3)).repeat(1, 342)[:, :1024], None
def musk_large_patch16_384(pretrained=False, **_):
    return Model()
musk_large_patch16_384.__module__ = __name__
register_model(musk_large_patch16_384)
"""
MUSK_UTILS = """
from pathlib import Path
def load_model_and_may_interpolate(ckpt_path, model, model_key, model_prefix):
    assert (model_key, model_prefix) == ("model|module", "")
    assert Path(ckpt_path).read_bytes().endswith(b"weights")
"""
TITAN = """
import torch
from transformers import PreTrainedModel, PretrainedConfig
class TitanConfig(PretrainedConfig):
    model_type = "titan"
class Conch(torch.nn.Module):
    def forward(self, x):
        return x.mean(dim=(2, 3)).repeat(1, 256)
class Titan(PreTrainedModel):
    config_class = TitanConfig
    def __init__(self, config):
        super().__init__(config)
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.post_init()
    def return_conch(self):
        return Conch(), None
"""
TITAN_CONFIG = """{"model_type": "titan", "architectures": ["Titan"],
 "auto_map": {"AutoConfig": "stand_in.TitanConfig", "AutoModel": "stand_in.Titan"}}"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins on the import path, gone afterward."""
    for name, text in (("conch/open_clip_custom/__init__.py", CONCH), ("conch/__init__.py", ""),
                       ("musk/__init__.py", ""), ("musk/modeling.py", MUSK),
                       ("musk/utils.py", MUSK_UTILS)):  # fmt: skip
        path = tmp_path / "packages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    yield tmp_path
    for name in [m for m in sys.modules if m.split(".")[0] in ("conch", "musk")]:
        del sys.modules[name]


def weights(folder: Path, name: str) -> Setup:
    card = CARDS[name]
    path = folder / "weights" / name / card.file
    path.parent.mkdir(parents=True)
    path.write_bytes(tensor(b"weights"))
    if name == "conch-v1-5":
        import torch
        from safetensors.torch import save_file

        (path.parent / "stand_in.py").write_text(TITAN)
        (path.parent / "config.json").write_text(TITAN_CONFIG)
        save_file({"scale": torch.ones(1)}, path.parent / "model.safetensors", {"format": "pt"})
    return Setup(weights=folder / "weights")


@pytest.mark.parametrize("name", ["conch-v1", "conch-v1-5", "musk"])
def test_an_adapter_hands_over_normalized_pixels_and_takes_the_vector(
    packages: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-ins answer with the mean of each channel, over and over."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(packages / "modules"))
    from pathai.encoders.load import card_encoder

    card = CARDS[name].model_copy(update={"sha256": None})  # a stand-in's weights are not theirs
    encoder = card_encoder(card, weights(packages, name))
    assert (encoder.tile_px, encoder.mpp, encoder.dim) == (card.tile_px, card.mpp, card.dim)
    tile = np.full((1, card.tile_px, card.tile_px, 3), (200, 100, 50), np.uint8)
    vector = encoder.encode(tile)[0]
    assert vector.shape == (card.dim,)
    wanted = (np.array([200, 100, 50]) / 255 - card.mean) / card.std
    assert np.allclose(vector[:3], wanted, atol=1e-4)
    assert np.allclose(vector[3:6], wanted, atol=1e-4)


@pytest.mark.parametrize("name", ["conch-v1", "musk"])
def test_a_missing_package_is_named(tmp_path: Path, name: str) -> None:
    from pathai.encoders.load import card_encoder

    card, setup = CARDS[name].model_copy(update={"sha256": None}), weights(tmp_path, name)
    with pytest.raises(PathaiError, match=rf"E194: encoder {name} needs the package .*{name[:4]}"):
        card_encoder(card, setup)
