"""Published slide encoders and text towers get just what their publishers' calls take.

The packages cannot be had here. What stands in for them has the published signature, notes what
it is given, and does what is known of it; so order, dtype, shapes and units are proven, the
published weights are not.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from slide_level_cases import make_features

from pathai.encoders.cards import CARDS
from pathai.encoders.published import Published, digest_at, need
from pathai.encoders.setup import Setup
from pathai.encoders.slide_encoder import load_slide_encoder, slide_cards
from pathai.encoders.text_towers import load_text_tower, text_cards
from pathai.errors import PathaiError

RNG = np.random.default_rng(0)
ALL: dict[str, Published] = {**slide_cards(), **{f"text:{k}": v for k, v in text_cards().items()}}
PLACES = np.array([(0, 0), (1, 0), (2, 0), (7, 1), (0, 2), (7, 2), (150, 3)])

CODE = """\
import torch
from transformers import PretrainedConfig, PreTrainedModel


class StandInConfig(PretrainedConfig):
    model_type = "stand-in"


class StandIn(PreTrainedModel):
    config_class = StandInConfig

    def __init__(self, config):
        super().__init__(config)
        self.logit_scale = torch.nn.Parameter(torch.zeros(()))
        self.seen = {}
        self.post_init()

    def _init_weights(self, module):
        pass

    def encode_slide_from_patch_features(self, patch_features, patch_coords, patch_size_lv0):
        self.seen = {"x": patch_features, "xy": patch_coords, "edge": patch_size_lv0}
        grid = torch.floor_divide(patch_coords - patch_coords.min(dim=1).values, patch_size_lv0)
        assert len(torch.unique(grid[0], dim=0)) == patch_features.shape[1]
        return patch_features.mean(dim=1)

    def slide_representations(self, tile_embeddings, tile_mask=None):
        self.seen = {"x": tile_embeddings}
        return {"image_embedding": tile_embeddings.mean(dim=1)[:, :1280], "image_latents": None}

    def encode_text(self, text_inputs):
        self.seen = dict(text_inputs)
        vectors = text_inputs["input_ids"].float() @ torch.ones(256, 768) + 1
        return torch.nn.functional.normalize(vectors, dim=-1)
"""


def bag(name: str, n: int = len(PLACES), **change):
    """Features as a slide encoder wants them, unless something is changed."""
    card = slide_cards()[name]
    wanted = {
        "encoder": card.tile_encoder, "tile_px": card.tile_px, "mpp": card.mpp, "dim": card.tile_dim
    } | change  # fmt: skip
    x = RNG.normal(size=(n, wanted.pop("dim")))
    return make_features(x, places=PLACES[:n], step_px0=1.998 * card.tile_px, **wanted)


def code_folder(path: Path) -> Path:
    """A folder as the hub would give it: settings, code and weights."""
    path.mkdir()
    auto = {"AutoConfig": "stand_in.StandInConfig", "AutoModel": "stand_in.StandIn"}
    settings = {"model_type": "stand-in", "auto_map": auto, "architectures": ["StandIn"]}
    (path / "config.json").write_text(json.dumps(settings))
    (path / "stand_in.py").write_text(CODE)
    scale = torch.tensor(float(np.log(25.0)), dtype=torch.float16)
    save_file({"logit_scale": scale}, path / "model.safetensors", {"format": "pt"})
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    from pathai.encoders.torchvision_shim import import_torchvision

    import_torchvision()
    from transformers import dynamic_module_utils

    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    return code_folder(tmp_path / "code")


def stand_in(monkeypatch, name: str, **attributes) -> None:
    """Make a package importable that is not installed."""
    parts = name.split(".")
    for i in range(1, len(parts) + 1):
        module = ModuleType(".".join(parts[:i]))
        module.__path__ = []
        monkeypatch.setitem(sys.modules, module.__name__, module)
        if i > 1:
            setattr(sys.modules[".".join(parts[: i - 1])], parts[i - 1], module)
    for key, value in attributes.items():
        setattr(sys.modules[name], key, value)


# --- slide encoders ---------------------------------------------------------------------------


def test_titan_gets_features_places_and_edge(folder):
    encoder = load_slide_encoder(f"titan@{folder}")
    features = bag("titan")
    vector = encoder.encode(features)
    np.testing.assert_allclose(vector, features.x.astype(float).mean(0), atol=1e-5)
    assert vector.dtype == np.float32
    network = encoder._forward.__closure__  # what the stand-in has seen
    network = next(c.cell_contents for c in network if hasattr(c.cell_contents, "seen"))
    assert network.logit_scale.dtype == torch.float32
    seen = network.seen
    assert seen["x"].shape == (1, 7, 768)
    assert seen["x"].dtype == torch.float32
    assert (seen["xy"].shape, seen["xy"].dtype) == ((1, 7, 2), torch.int64)
    assert type(seen["edge"]) is int
    np.testing.assert_array_equal(seen["xy"][0].numpy() // seen["edge"], PLACES)  # x before y


def test_prism_gets_features_and_gives_the_image_embedding(folder):
    features = bag("prism")
    vector = load_slide_encoder(f"prism@{folder}").encode(features)
    np.testing.assert_allclose(vector, features.x.astype(float).mean(0)[:1280], atol=1e-5)


def test_code_of_a_publisher_runs_only_from_a_folder_that_was_named(tmp_path, monkeypatch, folder):
    for name in ("titan", "prism"):
        with pytest.raises(PathaiError, match=r"E183.*never fetched unasked") as error:
            load_slide_encoder(name, Setup(weights=tmp_path, network=True))
        assert f"{name}@FOLDER" in error.value.remedy
        assert slide_cards()[name].revision in error.value.remedy
    (folder / "config.json").unlink()
    with pytest.raises(PathaiError, match=r"E183.*config.json"):
        load_slide_encoder(f"titan@{folder}")


def test_a_package_that_the_code_needs_is_named(folder):
    text = (folder / "stand_in.py").read_text()
    (folder / "stand_in.py").write_text("import no_such_package_of_titan\n" + text)
    with pytest.raises(PathaiError, match=r"E194.*no_such_package_of_titan") as error:
        load_slide_encoder(f"titan@{folder}")
    assert "einops" in error.value.remedy


def test_weights_of_another_network_in_the_folder_are_refused(folder):
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(PathaiError, match=r"E18[23]: titan"):
        load_slide_encoder(f"titan@{folder}")


class LongNet(torch.nn.Module):
    """GigaPath's slide encoder by its signature."""

    def forward(self, x, coords, all_layer_embed=False):
        assert (x.dtype, coords.dtype) == (torch.float32, torch.float32)
        self.place = torch.floor(coords / 256.0)
        assert all_layer_embed
        return [x.mean(dim=1)[:, :768] * layer for layer in range(13)]


def test_gigapath_gets_pixels_at_half_a_micrometer_and_gives_its_last_layer(tmp_path, monkeypatch):
    network, called = LongNet(), []

    def create_model(pretrained, model_arch, in_chans, local_dir="~", **kwargs):
        called.append((pretrained, model_arch, in_chans, kwargs))
        return network

    stand_in(monkeypatch, "gigapath.slide_encoder", create_model=create_model)
    weights = tmp_path / "slide_encoder.pth"
    weights.write_bytes(b"weights")
    features = bag("gigapath-slide")
    vector = load_slide_encoder(f"gigapath-slide@{weights}").encode(features)
    np.testing.assert_allclose(vector, 12 * features.x.astype(float).mean(0)[:768], atol=1e-4)
    np.testing.assert_array_equal(network.place[0].numpy(), PLACES)
    wanted = (str(weights), "gigapath_slide_enc12l768d", 1536, {"global_pool": True})
    assert called == [wanted]


def test_madeleine_gets_its_settings_and_a_batch_of_one(tmp_path, monkeypatch):
    called = []

    class Madeleine(torch.nn.Module):
        def encode_he(self, feats, device):
            assert (feats.shape, feats.dtype) == ((1, 7, 512), torch.float32)
            assert str(device) == "cpu"
            return feats.mean(dim=1)

    def create_model(model_cfg, device, checkpoint_path=None):
        called.append((model_cfg.n_heads, device, checkpoint_path))
        return Madeleine()

    stand_in(monkeypatch, "madeleine.models.Model", create_model=create_model)
    weights = tmp_path / "model.pt"
    weights.write_bytes(b"weights")
    with pytest.raises(PathaiError, match=r"E183.*model_config.json"):
        load_slide_encoder(f"madeleine@{weights}")
    (tmp_path / "model_config.json").write_text('{"n_heads": 4}')
    features = bag("madeleine")
    vector = load_slide_encoder(f"madeleine@{weights}").encode(features)
    np.testing.assert_allclose(vector, features.x.astype(float).mean(0), atol=1e-5)
    assert called == [(4, "cpu", str(weights))]


def chief_state(seed=0):
    rng = torch.Generator().manual_seed(seed)
    sizes = {"0": (512, 768), "3.attention_a.0": (256, 512), "3.attention_b.0": (256, 512),
             "3.attention_c": (1, 256)}  # fmt: skip
    state = {}
    for name, shape in sizes.items():
        state[f"attention_net.{name}.weight"] = torch.randn(shape, generator=rng) / shape[1] ** 0.5
        state[f"attention_net.{name}.bias"] = torch.randn(shape[0], generator=rng)
    return {**state, "classifiers.weight": torch.zeros(2, 768)}


def test_chief_is_the_attention_of_its_description(tmp_path):
    state = chief_state()
    torch.save(state, tmp_path / "CHIEF_pretraining.pth")
    features = bag("chief")
    encoder = load_slide_encoder(f"chief@{tmp_path / 'CHIEF_pretraining.pth'}")
    w = {k.removeprefix("attention_net."): v.double().numpy() for k, v in state.items()}
    x = features.x.astype(float)
    hidden = np.maximum(x @ w["0.weight"].T + w["0.bias"], 0)
    a = np.tanh(hidden @ w["3.attention_a.0.weight"].T + w["3.attention_a.0.bias"])
    b = 1 / (1 + np.exp(-(hidden @ w["3.attention_b.0.weight"].T + w["3.attention_b.0.bias"])))
    score = ((a * b) @ w["3.attention_c.weight"].T + w["3.attention_c.bias"])[:, 0]
    attention = np.exp(score) / np.exp(score).sum()
    assert attention.std() > 0.01
    np.testing.assert_allclose(encoder.encode(features), attention @ x, atol=1e-5)
    assert sum(v.numel() for k, v in state.items() if "attention" in k) == 656_641  # published


def test_chief_refuses_weights_that_do_not_fit(tmp_path):
    state = chief_state()
    state["attention_net.0.weight"] = torch.zeros(512, 1024)
    file = tmp_path / "CHIEF_pretraining.pth"
    torch.save(state, file)
    with pytest.raises(PathaiError, match=r"E182: .*attention_net.0.weight"):
        load_slide_encoder(f"chief@{file}")
    torch.save({"other": torch.zeros(1)}, file)
    with pytest.raises(PathaiError, match="E182"):
        load_slide_encoder(f"chief@{file}")


def test_weights_that_lack_a_part_are_refused_not_drawn_at_random(folder):
    save_file({"other": torch.zeros(1)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(PathaiError, match=r"E182: titan: .*logit_scale"):
        load_slide_encoder(f"titan@{folder}")


# --- what none of them may be given -----------------------------------------------------------


@pytest.fixture
def loaded(tmp_path, monkeypatch, folder):
    """Every slide encoder, with what stands in for its package and weights."""
    stand_in(monkeypatch, "gigapath.slide_encoder", create_model=lambda *args, **kwargs: LongNet())
    plain = SimpleNamespace(encode_he=lambda feats, device: feats.mean(dim=1))
    stand_in(monkeypatch, "madeleine.models.Model", create_model=lambda *args, **kwargs: _as(plain))
    for name in ("slide_encoder.pth", "model.pt"):
        (tmp_path / name).write_bytes(b"weights")
    (tmp_path / "model_config.json").write_text("{}")
    torch.save(chief_state(), tmp_path / "CHIEF_pretraining.pth")
    place = {
        name: tmp_path / card.file if card.file else folder for name, card in slide_cards().items()
    }
    return {name: load_slide_encoder(f"{name}@{path}") for name, path in place.items()}


def _as(plain):
    module = torch.nn.Identity()
    module.encode_he = plain.encode_he
    return module


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"encoder": "uni"}, "uni ("),
        ({"tile_px": 300}, "(300 px"),
        ({"mpp": 0.25}, "0.25 µm/px"),
        ({"dim": 100}, "100 numbers"),
    ],
)
def test_tiles_of_another_making_are_refused(loaded, change, found):
    for name, encoder in loaded.items():
        card = slide_cards()[name]
        with pytest.raises(PathaiError) as error:
            encoder.encode(bag(name, **change))
        assert error.value.code == "E181"
        assert found in error.value.message
        needed = (
            f"{card.tile_encoder} ({card.tile_px} px, {card.mpp:g} µm/px, {card.tile_dim} numbers)"
        )
        assert needed in error.value.message
        assert f"--encoder {card.tile_encoder}" in error.value.remedy


def test_overlapping_tiles_are_refused_where_places_count(loaded):
    for name, encoder in loaded.items():
        card = slide_cards()[name]
        features = bag(name, stride_px=card.tile_px // 2)
        if card.grid:
            with pytest.raises(PathaiError, match=f"E181.*{card.tile_px // 2} px apart"):
                encoder.encode(features)
        else:
            assert encoder.encode(features).shape == (card.dim,)


def test_every_encoder_is_a_function_of_the_tiles(loaded):
    for name, encoder in loaded.items():
        features = bag(name)
        vector = encoder.encode(features)
        assert vector.shape == (slide_cards()[name].dim,)
        assert vector.dtype == np.float32
        assert np.isfinite(vector).all()
        np.testing.assert_array_equal(encoder.encode(features), vector)
        assert encoder.encode(bag(name, n=1)).shape == vector.shape
        assert len(encoder.digest) == 64
    assert len({encoder.digest for encoder in loaded.values()}) == len(loaded)


def test_broken_features_are_refused(loaded):
    for name, encoder in loaded.items():
        features = bag(name)
        features.x[2, 1] = np.inf
        with pytest.raises(PathaiError, match="E180"):
            encoder.encode(features)


def test_a_package_that_is_missing_is_named_with_its_place(tmp_path):
    for name in ("gigapath-slide", "madeleine"):
        weights = tmp_path / slide_cards()[name].file
        weights.write_bytes(b"weights")
        with pytest.raises(PathaiError, match=f"E194: {name}") as error:
            load_slide_encoder(f"{name}@{weights}")
        assert "git+https://" in error.value.remedy


@pytest.mark.parametrize("name", [n for n, c in ALL.items() if c.file])
def test_weights_that_are_missing_are_named_with_their_place(name, tmp_path):
    card = ALL[name]
    load = load_text_tower if name.startswith("text:") else load_slide_encoder
    with pytest.raises(PathaiError, match=f"E183: {card.name} has no weights") as error:
        load(card.name, Setup(weights=tmp_path))
    for part in (card.file, card.repo, str(tmp_path / card.name)):
        assert part in error.value.remedy
    with pytest.raises(PathaiError, match=f"E183: {card.name}: there is no file"):
        load(f"{card.name}@{tmp_path / 'no-such'}", Setup(weights=tmp_path))


def test_weights_in_their_folder_are_found_and_proven(tmp_path, monkeypatch):
    place = tmp_path / "chief" / "CHIEF_pretraining.pth"
    place.parent.mkdir()
    torch.save(chief_state(), place)
    with pytest.raises(PathaiError, match=r"E182: chief: .* not the published file"):
        load_slide_encoder("chief", Setup(weights=tmp_path))
    card = slide_cards()["chief"].model_copy(update={"sha256": digest_at(place)})
    monkeypatch.setitem(slide_cards(), "chief", card)
    encoder = load_slide_encoder("chief", Setup(weights=tmp_path))
    assert encoder.encode(bag("chief")).shape == (768,)


# --- text towers of packages ------------------------------------------------------------------


class Letters:
    """A tokenizer whose tokens are characters, between two marks."""

    pad_token_id, bos_token_id, eos_token_id = 0, 1, 2

    def __call__(self, text):
        return {"input_ids": self.encode(text)}

    def encode(self, text):
        return [1, *(ord(c) % 97 + 3 for c in text), 2]


def test_conch_gets_tokens_and_its_tiles_are_projected(tmp_path, monkeypatch):
    class Conch(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.logit_scale = torch.nn.Parameter(torch.tensor(4.0))

        def encode_text(self, text, normalize=True):
            assert text.shape[1] == 128
            return torch.nn.functional.normalize(text.float() @ torch.ones(128, 512) + 1, dim=-1)

        def encode_image(self, image, normalize=True, proj_contrast=True):
            assert (normalize, proj_contrast) == (False, True)
            return image.mean(dim=(2, 3)) @ torch.ones(3, 512)

    def create_model_from_pretrained(model_cfg, checkpoint_path=None, hf_auth_token=None):
        assert (model_cfg, checkpoint_path) == ("conch_ViT-B-16", str(weights))
        return Conch(), None

    def tokenize(tokenizer, texts):
        rows = [tokenizer.encode(t)[:127] for t in texts]
        return torch.tensor([r + [0] * (128 - len(r)) for r in rows])

    weights = tmp_path / "pytorch_model.bin"
    weights.write_bytes(b"weights")
    stand_in(
        monkeypatch, "conch.open_clip_custom", get_tokenizer=Letters, tokenize=tokenize,
        create_model_from_pretrained=create_model_from_pretrained,
    )  # fmt: skip
    tower = load_text_tower(f"conch@{weights}")
    assert tower.encode(["tumor", "fat"]).shape == (2, 512)
    assert tower.temperature == pytest.approx(np.exp(-4))
    assert tower.tile_encoder == "conch-joint"
    with pytest.raises(PathaiError, match="E190: conch reads 127 tokens"):
        tower.encode(["x" * 200])
    from pathai.encoders.adapters.conch_joint import tiles

    _, forward = tiles(None, weights)
    assert forward(torch.ones(2, 3, 8, 8)).shape == (2, 512)


def test_musk_gets_ids_and_mask_and_its_tiles_pass_the_head(tmp_path, monkeypatch):
    import timm
    import transformers

    class Musk(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.logit_scale = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, image=None, text_description=None, padding_mask=None, with_head=True,
                    out_norm=True, ms_aug=False, return_global=True):  # fmt: skip
            assert with_head
            if image is not None:
                assert (out_norm, ms_aug) == (False, False)
                return image.mean(dim=(2, 3)) @ torch.ones(3, 1024), None
            assert (text_description.shape, padding_mask.shape) == ((2, 100), (2, 100))
            assert out_norm
            assert ((padding_mask == 1) == (text_description == 0)).all()
            return None, text_description.float() @ torch.ones(100, 1024)

    loads = []

    def xlm_tokenizer(tokens, tokenizer, max_len=100):
        ids = tokenizer.encode(tokens)
        return ids + [0] * (max_len - len(ids)), [0] * len(ids) + [1] * (max_len - len(ids))

    stand_in(
        monkeypatch, "musk.utils", xlm_tokenizer=xlm_tokenizer,
        load_model_and_may_interpolate=lambda *given: loads.append((given[0], *given[2:])),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "musk.modeling", ModuleType("musk.modeling"))
    monkeypatch.setattr(timm, "create_model", lambda name: Musk())
    monkeypatch.setattr(transformers, "XLMRobertaTokenizer", lambda file: Letters(), raising=False)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    with pytest.raises(PathaiError, match=r"E183.*tokenizer.spm"):
        load_text_tower(f"musk@{weights}")
    (tmp_path / "tokenizer.spm").write_bytes(b"words")
    tower = load_text_tower(f"musk@{weights}")
    assert tower.encode(["tumor", "fat"]).shape == (2, 1024)
    assert tower.temperature == pytest.approx(np.exp(-2))
    assert loads[-1] == (str(weights), "model|module", "")
    with pytest.raises(PathaiError, match="E190: musk reads 100 tokens"):
        tower.encode(["x" * 200, "y"])
    from pathai.encoders.adapters.musk_joint import tiles

    _, forward = tiles(None, weights)
    assert forward(torch.ones(2, 3, 8, 8)).shape == (2, 1024)


def test_keep_gets_padded_words_from_its_own_folder(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"[PAD]": 0, "[UNK]": 1, "tumor": 2, "fat": 3}
    unknown, padding = {"unk_token": "[UNK]"}, {"pad_token": "[PAD]"}
    words = Tokenizer(models.WordLevel(vocabulary, **unknown))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, **unknown, **padding).save_pretrained(folder)
    tower = load_text_tower(f"keep@{folder}")
    found = tower.encode(["tumor", "fat"])
    assert found.shape == (2, 768)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert tower.temperature == pytest.approx(1 / 25, rel=1e-3)
    with pytest.raises(PathaiError, match="E190: keep reads 256 tokens"):
        tower.encode(["fat " * 300])


# --- cards ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_card_says_what_a_person_must_know(name):
    card = ALL[name]
    module, _, attribute = card.adapter.partition(":")
    assert callable(getattr(import_module(module), attribute))
    assert not card.verified, "say in its sources who ran it with the published weights"
    assert card.doubts
    assert card.file or card.revision
    if card.package:
        with pytest.raises(PathaiError, match="E194"):
            need("no_such_module", card)


def test_it_agrees_with_the_card_of_its_tile_encoder():
    """Else nobody could make the features that it takes."""
    for name, card in ALL.items():
        if card.tile_encoder not in CARDS:
            continue
        tiles = CARDS[card.tile_encoder]
        needed = (card.tile_dim, card.tile_px, card.mpp)
        assert (tiles.dim, tiles.tile_px, tiles.mpp) == needed, name
        if getattr(card, "shared", False):
            assert (tiles.file, tiles.architecture) == (card.file, "CLIPConfig"), name
