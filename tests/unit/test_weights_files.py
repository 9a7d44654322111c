"""Files of weights that fit, that do not, and that mean harm."""

import contextlib
import os
import random

import pytest
import torch
from safetensors.torch import load_file, save_file

from pathai.encoders import fit
from pathai.encoders.build import build, transformers_model
from pathai.encoders.cards import CARDS, Card
from pathai.encoders.header import read_header
from pathai.encoders.load import card_encoder, read_state
from pathai.encoders.setup import Setup
from pathai.errors import PathaiError
from pathai.weights import check, fits

TIMM = CARDS["resnet50"].model_copy(
    update={"name": "tiny", "architecture": "test_vit.r160_in1k", "rule": "class", "dim": 64}
    | {"arguments": {}, "tile_px": 160, "input_px": 160, "fit": "none", "revision": None}
)
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28}
SMALL |= {"intermediate_size": 64, "patch_size": 14}
FAMILIES = {
    "Dinov2Config": {"use_swiglu_ffn": True, "mlp_ratio": 4},
    "Dinov2WithRegistersConfig": {"mlp_ratio": 2},
    "ViTConfig": {},
    "CLIPVisionConfig": {},
    "DINOv3ViTConfig": {},
}


def transformers_card(architecture: str) -> Card:
    arguments = SMALL | FAMILIES[architecture]
    update = {"source": "transformers", "architecture": architecture, "arguments": arguments}
    return TIMM.model_copy(update={"tile_px": 28, "input_px": 28, "dim": 32, **update})


@pytest.fixture(scope="module")
def state():
    """Seeded tensors of a tiny network, as its publisher would have them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return build(TIMM).state_dict()


def saved(tmp_path, state, name="w.safetensors"):
    path = tmp_path / name
    if path.suffix == ".safetensors":
        save_file({key: tensor.contiguous().clone() for key, tensor in state.items()}, path)
    else:
        torch.save(state, path)
    return path


def equal(network, state):
    own = network.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[k], state[k]) for k in own)


# --- safetensors ------------------------------------------------------------------------------


def test_the_header_says_names_and_shapes(tmp_path, state):
    found = read_header(saved(tmp_path, state))
    assert {k: row.shape for k, row in found.items()} == {k: v.shape for k, v in state.items()}
    assert {row.dtype for row in found.values()} == {"F32"}


@pytest.mark.parametrize("kept", [0, 7, 8, 100, 20_000, -1])
def test_a_truncated_file_is_refused(tmp_path, state, kept):
    path = saved(tmp_path, state)
    path.write_bytes(path.read_bytes()[:kept])
    for read in (read_header, read_state):
        with pytest.raises(PathaiError, match=r"E182.*w\.safetensors.*again"):
            read(path)


@pytest.mark.parametrize("length", [4 * 2**30, 2**63, 100_000_001, 0])
def test_a_header_beyond_all_reason_is_not_read(tmp_path, length):
    path = tmp_path / "w.safetensors"
    with path.open("wb") as file:
        file.write(length.to_bytes(8, "little") + b"{}")
        file.truncate(5 * 2**30)  # sparse: it takes no room
    for read in (read_header, read_state):
        with pytest.raises(PathaiError, match=rf"E182.*header of {length} bytes"):
            read(path)


@pytest.mark.parametrize("header", [b"[1, 2]", b'{"a": 3}', b'{"a": {}}', b"[" * 60_000, b"\xff{}"])
def test_a_header_that_is_none_is_refused(tmp_path, header):
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(PathaiError, match=r"E182.*no safetensors file"):
        read_header(path)


# --- pickles ----------------------------------------------------------------------------------


class Marker:
    """Unpickled, it makes a folder: what a hostile file would do, but harmless."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old format"])
def test_code_in_a_pickle_does_not_run(tmp_path, state, old):
    path, marker = tmp_path / "w.bin", tmp_path / "it-ran"
    content = {**state, "extra": Marker(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(PathaiError, match=r"E182.*w\.bin holds more than tensors.*safetensors"):
        read_state(path)
    for card in (TIMM, TIMM.model_copy(update={"source": "package"})):
        with pytest.raises(PathaiError, match="E182"):
            fits(card, path)
    assert not marker.exists()
    torch.load(path, weights_only=False)  # the file is what this test says it is
    assert marker.exists()


@pytest.mark.parametrize("content", [[1], "text", {"a": 1}, {"state_dict": {"a": "b"}}])
def test_a_pickle_without_a_table_of_tensors_is_refused(tmp_path, content):
    with pytest.raises(PathaiError, match=r"E182.*no table of tensors"):
        read_state(saved(tmp_path, content, "w.pth"))


def test_changed_bytes_are_an_error_or_other_numbers(tmp_path, state):
    """Whatever a byte becomes, there is no traceback and no code."""
    draw = random.Random(0)
    few = dict(list(state.items())[:3])
    for name in ("w.safetensors", "w.bin"):
        whole = saved(tmp_path, few, name).read_bytes()
        places = [*range(0, 400, 3), *(draw.randrange(len(whole)) for _ in range(60))]
        places += [len(whole) - i for i in range(1, 200, 5)]
        path = tmp_path / f"changed-{name}"
        for place in places:
            data = bytearray(whole)
            data[place] ^= draw.randrange(1, 256)
            path.write_bytes(data)
            with contextlib.suppress(PathaiError):
                read_state(path)


# --- what fits --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["w.safetensors", "w.bin", "old.bin"])
def test_all_tensors_arrive(tmp_path, state, name):
    path = saved(tmp_path, state, name)
    if name == "old.bin":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    assert equal(fit.loaded(TIMM, read_state(path), name), state)
    fits(TIMM, path)
    fits(TIMM.model_copy(update={"source": "package"}), path)


@pytest.mark.parametrize("nest", ["state_dict", "model", "teacher", "model state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.encoder.backbone."])
def test_nests_and_common_prefixes_are_seen_through(tmp_path, state, nest, prefix):
    content = {f"{prefix}{key}": tensor for key, tensor in state.items()}
    if prefix:
        content["head.mlp.weight"] = torch.zeros(3)  # what was trained on top, elsewhere
    for word in reversed(nest.split()):
        content = {word: content, "epoch": 7}
    path = saved(tmp_path, content, "w.pth")
    assert equal(fit.loaded(TIMM, read_state(path), path.name), state)
    fits(TIMM, path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("blocks.0.norm1.weight"), "lacks blocks.0.norm1.weight"),
        (lambda s: s.update({"extra.weight": torch.ones(2)}), "has unknown extra.weight"),
        (lambda s: s.update({"norm.bias": torch.ones(9)}), "has norm.bias of 9, not 64"),
        (lambda s: s.update({"norm.bias": torch.ones(64, dtype=torch.int8)}), "norm.bias as int"),
        (lambda s: s.clear(), "lacks blocks.0.attn"),
    ],
)
def test_what_does_not_fit_is_named_by_loading_and_by_checking(tmp_path, state, change, said):
    other = dict(state)
    change(other)
    for name in ("w.safetensors", "w.bin"):
        path = saved(tmp_path, other, name)
        for act in (lambda: fit.loaded(TIMM, read_state(path), name), lambda: fits(TIMM, path)):  # noqa: B023
            with pytest.raises(PathaiError, match=f"E182.*{name} .*{said}.*made for tiny"):
                act()


def test_tables_that_the_network_computes_itself_may_be_in_the_file():
    """Swin's of older timm, for one; they are no weights."""
    card = CARDS["ctranspath"]
    small = {**card.arguments, "embed_dim": 32, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 4, 8)}
    card = card.model_copy(update={"arguments": small})
    network = build(card)
    state = {**network.state_dict(), **dict(network.named_buffers())}
    assert len(state) > len(network.state_dict())
    assert equal(fit.loaded(card, state, "w.safetensors"), network.state_dict())


def test_a_network_of_our_own_knows_its_publishers_names(state):
    small = {"embed_dim": 32, "depth": 1, "num_heads": 2, "init_values": 1e-5}
    card = CARDS["keep"].model_copy(update={"arguments": {"dim": 8, **small}})
    network = build(card)
    true = network.state_dict()
    theirs = {k.replace("ls1.gamma", "ls1.weight"): v for k, v in true.items()}
    theirs["text.embeddings.weight"] = torch.ones(3)
    assert equal(fit.loaded(card, theirs, "w.safetensors"), true)
    with pytest.raises(PathaiError, match=r"E182.*lacks visual\.norm\.bias"):
        fit.loaded(card, {k: v for k, v in theirs.items() if k != "visual.norm.bias"}, "w")


def test_two_networks_in_one_file_are_not_chosen_between(tmp_path, state):
    both = {f"{who}.{key}": t for who in ("student", "teacher") for key, t in state.items()}
    with pytest.raises(PathaiError, match=r"E182.*several networks: student\., teacher\."):
        fit.loaded(TIMM, both, "w.safetensors")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_taken_exactly_and_computed_in_float32(tmp_path, state, dtype):
    half = {key: tensor.to(dtype) for key, tensor in state.items()}
    network = fit.loaded(TIMM, read_state(saved(tmp_path, half)), "w.safetensors")
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert equal(network, {key: tensor.float() for key, tensor in half.items()})


# --- transformers -----------------------------------------------------------------------------


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """A card, its network, and the file that the library saves: under the older names."""
    card = transformers_card(request.param)
    model, settings, extra = transformers_model(card)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = model(settings, **extra).eval()
    folder = tmp_path_factory.mktemp(request.param)
    network.save_pretrained(folder)
    return card, network, folder / "model.safetensors"


def test_published_names_of_transformers_load(family):
    card, network, path = family
    assert equal(fit.loaded(card, read_state(path), path.name), network.state_dict())
    fits(card, path)
    renamed = load_file(path).keys() != network.state_dict().keys()
    assert renamed == (card.architecture != "CLIPVisionConfig")  # else this proves nothing
    assert equal(fit.loaded(card, network.state_dict(), "own names"), network.state_dict())


def test_what_does_not_fit_transformers_is_named(family, tmp_path):
    card, _, path = family
    true = load_file(path)
    norm = next(k for k in sorted(true) if "norm" in k and k.endswith("bias"))
    changes = {
        "lacks": {k: v for k, v in true.items() if k != norm},
        "has unknown": {**true, "extra.weight": torch.ones(2)},
        "has another shape": {**true, norm: torch.ones(9)},
        "as int64": {**true, norm: true[norm].long()},
    }
    for said, other in changes.items():
        changed = saved(tmp_path, other)
        with pytest.raises(PathaiError, match=f"E182.*w.safetensors.*{said}"):
            fit.loaded(card, read_state(changed), changed.name)
        with pytest.raises(PathaiError, match=f"E182.*w.safetensors.*{said}"):
            fits(card, changed)


def test_half_precision_of_transformers(family, tmp_path):
    card, network, path = family
    half = {key: tensor.half() for key, tensor in load_file(path).items()}
    found = fit.loaded(card, read_state(saved(tmp_path, half)), "w.safetensors")
    assert {p.dtype for p in found.parameters()} == {torch.float32}
    expected = {k: v.half().float() for k, v in network.state_dict().items()}
    assert equal(found, expected)


def test_loading_is_silent_and_leaves_the_librarys_settings(family, capfd):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    card, _, path = family
    capfd.readouterr()
    fit.loaded(card, read_state(path), path.name)
    assert "".join(capfd.readouterr()) == ""
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_the_image_tower_of_a_model_of_images_and_texts(tmp_path):
    import transformers

    card = transformers_card("CLIPVisionConfig")
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    whole = transformers.CLIPConfig(
        text_config={**text, "intermediate_size": 64, "vocab_size": 99}, vision_config=SMALL
    )
    network = transformers.CLIPModel(whole)
    network.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    found = fit.loaded(card, read_state(path), path.name).state_dict()
    vision = {k.removeprefix("vision_model."): v for k, v in network.state_dict().items()}
    assert len(found) > 20
    assert all(torch.equal(v, vision[k.removeprefix("vision_model.")]) for k, v in found.items())


def test_a_pooler_that_was_trained_on_top_is_left_out(tmp_path):
    import transformers

    card = transformers_card("ViTConfig")
    network = transformers.ViTModel(transformers.ViTConfig(**SMALL), add_pooling_layer=True)
    network.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    assert any(key.startswith("pooler.") for key in load_file(path))
    assert "pooler.dense.weight" not in fit.loaded(card, read_state(path), path.name).state_dict()


# --- the whole way ----------------------------------------------------------------------------


def test_an_encoder_from_the_folder_and_its_check(tmp_path, state, monkeypatch):
    folder = tmp_path / "weights"
    (folder / "tiny").mkdir(parents=True)
    saved(folder / "tiny", state, "model.safetensors")
    monkeypatch.setattr(CARDS, "_cards", {"tiny": TIMM})
    encoder = card_encoder(TIMM, Setup(folder, device="cpu"))
    assert equal(encoder.network, state)
    (row,) = check([], Setup(folder))
    assert (row.state, row.problem) == ("present", "")
    own = tmp_path / "own.safetensors"
    own.write_bytes((folder / "tiny" / "model.safetensors").read_bytes())
    other = card_encoder(TIMM, Setup(tmp_path), file=own, name="tiny@own.safetensors")
    assert other.digest == encoder.digest
    with pytest.raises(PathaiError, match=r"E183.*gone\.safetensors"):
        card_encoder(TIMM, Setup(folder), file=tmp_path / "gone.safetensors")
