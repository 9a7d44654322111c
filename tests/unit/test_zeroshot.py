"""Zero-shot scores are those of the published pipeline, and planted tiles give planted scores."""

import json
from dataclasses import replace

import numpy as np
import pytest
from slide_level_cases import make_features, put_features, tiny_clip

from pathai import chain, slide_verbs, zeroshot
from pathai.config import ColorConfig
from pathai.encoders import load_encoder, text_towers
from pathai.encoders.cards import CARDS
from pathai.encoders.setup import Setup
from pathai.encoders.text_towers import (
    Texts,
    TextTower,
    features_for,
    load_text_tower,
    text_cards,
    text_identity,
)
from pathai.errors import PathaiError
from pathai.feed import batches
from pathai.grid import grid
from pathai.plan import Plan
from pathai.prompts import PromptSet, load_prompts
from pathai.slide_level import zeroshot_step
from pathai.store.folders import SlideFolder
from pathai.verify import verify
from pathai.zeroshot import NOT_CALIBRATED, Words, unit

PROMPTS = """\
classes:
  tumor: [tumor]
  stroma: [stroma, fat tissue]
templates: ["{}", "an image of {}"]
top_tiles: 5
"""
NAME = "tiny-clip@clip/model.safetensors"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return tiny_clip(tmp_path_factory.mktemp("weights") / "clip")


@pytest.fixture
def known(clip, monkeypatch):
    """The tiny CLIP as if it had been published."""
    tiles, words, folder = clip
    monkeypatch.setattr(CARDS, "_cards", {**CARDS, tiles.name: tiles})
    monkeypatch.setattr(text_towers, "text_cards", lambda: {words.name: words})
    return folder


def reference(folder, card):
    """transformers' own model and tokenizer, from the same files."""
    from safetensors.torch import load_file
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    model = CLIPModel(CLIPConfig(**card.arguments)).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model, CLIPTokenizer.from_pretrained(folder)


def test_from_pixels_to_scores_it_is_the_pipeline_of_transformers(
    clip, known, tiny_copy, monkeypatch, capsys
):
    import torch
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    root = tiny_copy()
    monkeypatch.chdir(root)
    (root / "clip").symlink_to(known)
    (root / "words.yaml").write_text(PROMPTS)
    plan = Plan(root / "config.yaml")
    folder = SlideFolder(root / "results" / "slides" / "E3")
    assert chain.features_step(plan.config, folder, NAME).run().status == "ok"
    words = root / "words.yaml"
    assert slide_verbs.zeroshot([folder.path], words, NAME, None, as_json=True) == 0
    found = folder.read_zeroshot("words", NAME)

    card = clip[0]
    model, tokenizer = reference(known, card)
    tissue, info, pyramid = folder.read_tissue(), folder.read_slide(), folder.open_tiles()
    tiles = grid(tissue, info, 32, 0.5, plan.config.features.min_tissue)
    pixels = np.concatenate([p for p, _ in batches(pyramid, tiles, 64)])
    processor = CLIPImageProcessorPil(
        do_resize=False, do_center_crop=False, image_mean=card.mean, image_std=card.std
    )
    prompts = ["tumor", "an image of tumor", "stroma", "an image of stroma", "fat tissue",
               "an image of fat tissue"]  # fmt: skip
    images = processor(images=list(pixels), return_tensors="pt")
    with torch.inference_mode():
        out = model(**tokenizer(prompts, padding=True, return_tensors="pt"), **images)
    text, image = (getattr(out, f"{k}_embeds").double().numpy() for k in ("text", "image"))
    classes = np.stack([unit(text[:2].mean(0)), unit(text[2:].mean(0))])
    score = image @ classes.T
    assert len(score) > 100
    assert score.std() > 0.01
    np.testing.assert_allclose(found.score, score, atol=2e-3)
    scale = model.logit_scale.exp().item()
    assert found.attrs.temperature == pytest.approx(1 / scale)
    logits = torch.tensor(score * scale)
    np.testing.assert_allclose(found.softmax, logits.softmax(1).numpy(), atol=0.01)
    # one prompt per class: transformers' logits themselves
    both = out.logits_per_image[:, [0, 2]].numpy() / scale
    one = words.with_name("one.yaml")
    one.write_text("classes: {tumor: [tumor], stroma: [stroma]}\n")
    slide_verbs.zeroshot([folder.path], one, NAME, None, as_json=False)
    np.testing.assert_allclose(folder.read_zeroshot("one", NAME).score, both, atol=2e-3)

    top = np.sort(score, axis=0)[-5:].mean(0)
    assert found.attrs.slide_score == pytest.approx(top.tolist(), abs=2e-3)
    told = capsys.readouterr()
    assert NOT_CALIBRATED in told.err
    shown = json.loads(told.out)["E3"]
    assert shown["calibrated"] is False
    assert shown["classes"] == ["tumor", "stroma"]
    assert verify(root / "results").ok


def test_the_tile_encoder_of_a_clip_gives_its_image_features(clip, known):
    import torch

    model, _ = reference(known, clip[0])
    tiles = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), np.uint8)
    mean, std = (np.array(v) for v in (clip[0].mean, clip[0].std))
    pixels = torch.tensor((tiles / 255 - mean) / std).permute(0, 3, 1, 2).float()
    with torch.inference_mode():
        wanted = model.get_image_features(pixel_values=pixels).pooler_output.numpy()
    encoder = load_encoder(f"tiny-clip@{known / 'model.safetensors'}")
    assert encoder.dim == 24
    np.testing.assert_allclose(encoder.encode(tiles), wanted, atol=1e-4)


def test_words_alone_are_those_of_transformers_at_any_length(clip, known):
    import torch

    model, tokenizer = reference(known, clip[0])
    tower = load_text_tower(f"tiny-clip@{known / 'model.safetensors'}")
    prompts = ["fat", "an image of tumor tissue", "Stroma"]
    together = tower.encode(prompts)
    for prompt, found in zip(prompts, together, strict=True):
        with torch.inference_mode():
            wanted = model.get_text_features(**tokenizer([prompt], return_tensors="pt"))
        np.testing.assert_allclose(found, wanted.pooler_output[0].numpy(), atol=1e-4)
    with pytest.raises(PathaiError, match="E190: tiny-clip reads 16 tokens"):
        tower.encode(["tumor " * 20])


def test_words_and_tiles_must_come_from_one_file(clip, known, tmp_path, monkeypatch):
    """Two trainings of one architecture have spaces of their own; sizes do not tell."""
    other = tiny_clip(tmp_path / "clip", seed=1)[2]
    monkeypatch.chdir(tmp_path)
    encoder = load_encoder(f"tiny-clip@{known / 'model.safetensors'}")
    x = encoder.encode(np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8))
    made = make_features(x, NAME, tile_px=32, digest=encoder.digest)
    folder = put_features(SlideFolder(tmp_path / "S1"), made)
    prompts = PromptSet(name="p", classes={"a": ("fat",), "b": ("tumor",)})
    step = zeroshot_step(folder, Words(NAME, prompts, Setup()), ColorConfig())
    assert other == tmp_path / "clip"
    failed = step.run()
    assert (failed.status, failed.problems[0].code) == ("failed", "E181")
    assert "S1: " in failed.problems[0].message
    assert load_text_tower(f"tiny-clip@{known / 'model.safetensors'}").tile_digest == encoder.digest


def test_a_tokenizer_that_is_missing_is_named(known, tmp_path):
    (tmp_path / "model.safetensors").write_bytes((known / "model.safetensors").read_bytes())
    with pytest.raises(PathaiError, match=r"E183: .*vocab.json"):
        load_text_tower(f"tiny-clip@{tmp_path / 'model.safetensors'}")


# --- planted scores ---------------------------------------------------------------------------

AXES = {"tumor": (1, 0, 0, 0), "stroma": (0, 1, 0, 0), "fat": (0, 0, 1, 0), "other": (0, 0, 0, 1)}


def standing_in(monkeypatch, card=None, temperature=0.1, digest="t" * 64):
    """A tower that knows four words, each an axis of its own."""
    card = card or text_cards()["keep"].model_copy(update={"dim": 4, "tile_dim": 4})

    def encode(prompts):
        return np.array([AXES[p.split()[-1]] for p in prompts], np.float32) * 7

    tower = TextTower("keep", "keep", card, digest, Texts(encode, temperature))
    monkeypatch.setattr(zeroshot, "load_text_tower", lambda name, setup: tower)
    monkeypatch.setattr("pathai.slide_level.text_identity", lambda name, setup: digest)
    return tower


def scored(tmp_path, x, prompts, valid=None, **options):
    features = make_features(x, "keep", valid=valid, **options)
    folder = put_features(SlideFolder(tmp_path / "S1"), features)
    made = zeroshot_step(folder, Words("keep", prompts, Setup()), ColorConfig()).run()
    return made, folder


THREE = PromptSet(
    name="three", classes={k: (k,) for k in ("tumor", "stroma", "fat")}, top_tiles=2,
    templates=("{}", "an image of {}"),
)  # fmt: skip


def test_planted_tiles_give_planted_scores(tmp_path, monkeypatch):
    standing_in(monkeypatch)
    x = np.array([[5, 0, 0, 0], [3, 4, 0, 0], [0, 2, 0, 0], [0, 3, 0, 4], [0, 1, 0, 0]])
    _, folder = scored(tmp_path, x, THREE)
    found = folder.read_zeroshot("three", "keep")
    wanted = [[1, 0, 0], [0.6, 0.8, 0], [0, 1, 0], [0, 0.6, 0], [0, 1, 0]]
    np.testing.assert_allclose(found.score, wanted, atol=1e-3)
    assert found.score.dtype == found.softmax.dtype == np.float16
    assert found.attrs.slide_score == pytest.approx((0.8, 1.0, 0.0), abs=1e-6)
    assert found.attrs.share == (0.2, 0.8, 0.0)
    e = np.exp(np.array(wanted[1]) / 0.1)
    np.testing.assert_allclose(found.softmax[1], e / e.sum(), atol=1e-3)
    np.testing.assert_allclose(found.softmax.sum(1), 1, atol=2e-3)


def test_a_class_of_several_words_is_the_mean_of_their_directions(monkeypatch):
    standing_in(monkeypatch)
    prompts = PromptSet(name="p", classes={"a": ("tumor", "stroma", "stroma"), "b": ("fat",)})
    classes = Words("keep", prompts, Setup()).classes
    np.testing.assert_allclose(classes[0], np.array([1, 2, 0, 0]) / np.sqrt(5))
    np.testing.assert_allclose(np.linalg.norm(classes, axis=1), 1)


@pytest.mark.parametrize("top", [0, 3, 99])
def test_the_mean_of_all_tiles_where_there_are_no_more(tmp_path, monkeypatch, top):
    standing_in(monkeypatch)
    x = np.array([[1, 0, 0, 0], [3, 4, 0, 0], [0, 1, 0, 0]])
    _, folder = scored(tmp_path, x, THREE.model_copy(update={"top_tiles": top}))
    found = folder.read_zeroshot("three", "keep").attrs.slide_score
    assert found == pytest.approx((1.6 / 3, 1.8 / 3, 0), abs=1e-6)


def test_tiles_without_a_readable_pixel_are_scored_but_not_counted(tmp_path, monkeypatch):
    standing_in(monkeypatch)
    valid = np.array([1, 0, 0.5], np.float16)
    x = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0]])
    _, folder = scored(tmp_path, x, THREE, valid)
    found = folder.read_zeroshot("three", "keep")
    assert len(found.score) == 3
    assert found.attrs.share == (1.0, 0.0, 0.0)
    assert found.attrs.slide_score[1] == 0.0


def test_the_temperature_of_the_file_rules(tmp_path, monkeypatch):
    tower = standing_in(monkeypatch)
    words = Words("keep", THREE.model_copy(update={"temperature": 0.5}), Setup())
    assert words.temperature == 0.5
    monkeypatch.setattr(
        zeroshot, "load_text_tower", lambda name, setup: replace(tower, texts=Texts(lambda p: p))
    )
    with pytest.raises(PathaiError, match="E190: three: keep has no temperature"):
        _ = Words("keep", THREE, Setup()).temperature


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"tile_px": 256}, "256 px"),
        ({"mpp": 0.25}, "0.25 µm/px"),
        ({"x": np.ones((3, 5))}, "5 numbers"),
    ],
)
def test_tiles_that_the_tower_was_not_made_for_are_refused(tmp_path, monkeypatch, change, found):
    standing_in(monkeypatch)
    options = {"x": np.ones((3, 4)), **change}
    made, _ = scored(tmp_path, options.pop("x"), THREE, **options)
    (problem,) = made.problems
    assert (made.status, problem.code) == ("failed", "E181")
    assert problem.message.startswith("S1: ")
    assert found in problem.message
    assert "keep (224 px, 0.5 µm/px, 4 numbers)" in problem.message
    assert "pathai features" in problem.remedy


def test_broken_tiles_are_named_and_none_is_no_failure(tmp_path, monkeypatch):
    standing_in(monkeypatch)
    x = np.ones((3, 4))
    x[2] = 0
    made, _ = scored(tmp_path / "zero", x, THREE)
    assert made.problems[0].code == "E180"
    assert "x 448, y 0" in made.problems[0].message
    made, _ = scored(tmp_path / "none", np.ones((0, 4)), THREE)
    assert (made.status, made.problems[0].code) == ("skipped", "E145")


def test_scores_are_made_again_when_the_words_change_and_only_then(tmp_path, monkeypatch):
    standing_in(monkeypatch)
    _, folder = scored(tmp_path, np.eye(4), THREE)
    path = folder.zeroshot("three", "keep") / "zarr.json"
    before = path.stat().st_mtime_ns
    scored(tmp_path, np.eye(4), THREE)
    assert path.stat().st_mtime_ns == before
    changed = THREE.model_copy(update={"classes": {"tumor": ("tumor",), "stroma": ("fat",)}})
    scored(tmp_path, np.eye(4), changed)
    assert folder.read_zeroshot("three", "keep").attrs.classes == ("tumor", "stroma")
    assert [f for f in verify(tmp_path / "S1").faults if "zeroshot" in f.file] == []


# --- the file of prompts, and names -----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("classes: {a: [x]}\n", "classes"),
        ("classes: {a: [x], b: []}\n", "class b needs words"),
        ("classes: {a: [x], b: [' ']}\n", "class b needs words"),
        ("classes: {a: [x], b: [y]}\ntemplates: [no place]\n", "must hold {} once"),
        ("classes: {a: [x], b: [y]}\ntemplates: []\n", "templates"),
        ("classes: {a: [x], b: [y]}\ntemperature: 0\n", "temperature"),
        ("classes: {a: [x], b: [y]}\ntop_tile: 3\n", "top_tiles"),
        ("classes: {a: [x], a: [y]}\n", "given twice"),
        ("name: ../up\nclasses: {a: [x], b: [y]}\n", "name"),
        ("- a\n", "expected keys"),
    ],
)
def test_a_wrong_file_of_prompts_is_refused_by_name_and_key(tmp_path, text, said):
    file = tmp_path / "words.yaml"
    file.write_text(text)
    with pytest.raises(PathaiError, match=r"E190: words.yaml") as error:
        load_prompts(file)
    assert said in f"{error.value}"


def test_a_prompt_set_is_named_by_its_file(tmp_path):
    (tmp_path / "words.yaml").write_text(PROMPTS)
    prompts = load_prompts(tmp_path / "words.yaml")
    assert prompts.name == "words"
    assert prompts.prompts("stroma") == [
        "stroma", "an image of stroma", "fat tissue", "an image of fat tissue",
    ]  # fmt: skip


def test_a_tower_names_the_tiles_of_its_own_space():
    assert features_for("plip") == "plip"
    assert features_for("plip@w/pytorch_model.bin") == "plip@w/pytorch_model.bin"
    assert features_for("conch") == "conch-joint"
    assert features_for("keep@models/KEEP") == "keep"
    assert features_for("keep@models/KEEP:keep@w.safetensors") == "keep@w.safetensors"
    with pytest.raises(PathaiError, match=r"E191.*plop"):
        features_for("plop")


def test_a_policy_on_licences_holds_for_words(tmp_path):
    with pytest.raises(PathaiError, match="E185"):
        text_identity(f"musk@{tmp_path}", Setup(licence="open"))
    with pytest.raises(PathaiError, match="E183: keep runs code"):
        text_identity("keep", Setup(licence="open"))
    assert all(card.terms in ("open", "research", "unknown") for card in text_cards().values())
