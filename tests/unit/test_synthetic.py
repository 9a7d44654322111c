"""Synthetic slides: the files are real slides, and the truth is true of the pixels."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
import tiffslide

from pathai.testing.cohort import plan_patients
from pathai.testing.contours import inside_any
from pathai.testing.nuclei_model import place_nuclei
from pathai.testing.synthetic import (
    ARTEFACTS,
    CANARIES,
    CLASSES,
    HE,
    KI67,
    SCANNERS,
    TEST_LOOKS,
    TRAIN_LOOKS,
    VERSION,
    Recipe,
    Truth,
    draw,
    make_cohort,
    synthetic_field,
    write_slide,
)
from pathai.testing.tissue_model import build_layout

EPITHELIAL, TUMOR, LYMPHOCYTE, STROMAL = range(4)
ALL_LOOKS = [*TRAIN_LOOKS.values(), *TEST_LOOKS.values()]


def outline_areas(truth: Truth) -> np.ndarray:
    """Area of each nucleus in px, by the shoelace formula."""
    areas = np.empty(len(truth))
    for i in range(len(truth)):
        x, y = truth.outline(i).T.astype(float)
        areas[i] = 0.5 * abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())
    return areas


def tissue_in_regions(truth: Truth) -> dict[bool, int]:
    """Map pixels of tissue inside (True) and outside (False) the tumor regions."""
    at = np.argwhere(truth.tissue)[:, ::-1] * truth.map_downsample + truth.map_downsample / 2
    inside = int(inside_any(truth.regions(), at).sum())
    return {True: inside, False: len(at) - inside}


def density(picture: np.ndarray, glass: float = 240.0) -> np.ndarray:
    """Optical density per channel, without the stain vectors that drew the picture."""
    return -np.log(np.clip(picture.astype(float), 1, None) / glass)


@pytest.fixture(scope="module", params=sorted(SCANNERS))
def slide(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("slide") / "s.svs"
    recipe = Recipe(seed=5, width=1101, height=901, look=TRAIN_LOOKS[request.param])
    truth = write_slide(path, recipe, scanner=SCANNERS[request.param])
    return path, recipe, truth, SCANNERS[request.param]


@pytest.fixture(scope="module")
def tumor_slide():
    return draw(Recipe(seed=21, width=1500, height=1400))


def test_both_readers_see_the_same_slide(slide):
    path, recipe, _, scanner = slide
    with openslide.OpenSlide(path) as a, tiffslide.TiffSlide(path) as b:
        assert a.properties["openslide.vendor"] == "aperio"
        assert a.dimensions == b.dimensions == (recipe.width, recipe.height)
        assert a.level_count == b.level_count == 1 + len(scanner.steps)
        assert a.level_dimensions == b.level_dimensions
        assert a.level_downsamples[1:] == pytest.approx(scanner.steps, rel=0.02)
        assert float(a.properties["openslide.mpp-x"]) == 0.5
        assert float(b.properties["tiffslide.mpp-x"]) == 0.5
        for name in ("label", "macro", "thumbnail"):
            assert name in a.associated_images
            assert name in b.associated_images
        for level, size in enumerate(a.level_dimensions):
            one = np.asarray(a.read_region((0, 0), level, size).convert("RGB"), int)
            two = np.asarray(b.read_region((0, 0), level, size).convert("RGB"), int)
            assert np.abs(one - two).max() <= 1


def test_the_file_shows_what_was_drawn(slide):
    path, recipe, _, scanner = slide
    picture, _ = draw(recipe)
    with openslide.OpenSlide(path) as reader:
        read = np.asarray(reader.read_region((0, 0), 0, reader.dimensions).convert("RGB"), int)
        small = reader.read_region((0, 0), 1, reader.level_dimensions[1]).convert("RGB")
    # 4:2:0 costs more color than 4:4:4
    assert np.abs(read - picture).mean() < (3.5 if scanner.ycbcr else 2.0)
    rows, columns = recipe.height // 4, recipe.width // 4
    blocks = read[: rows * 4, : columns * 4].reshape(rows, 4, columns, 4, 3).mean((1, 3))
    luma = (0.299, 0.587, 0.114)
    assert np.abs(np.asarray(small, float) @ luma - blocks @ luma).mean() < 3.0


def test_tiles_are_abbreviated_and_unmarked(slide):
    path, _, _, scanner = slide
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        tiff.filehandle.seek(page.dataoffsets[0])
        tile = tiff.filehandle.read(page.databytecounts[0])
        assert (page.tilewidth, page.tilelength) == (scanner.tile_px, scanner.tile_px)
        assert page.jpegtables.startswith(b"\xff\xd8\xff\xdb")
        assert page.photometric.name == ("YCBCR" if scanner.ycbcr else "RGB")
        head = tile[: tile.index(b"\xff\xda")]
        assert not any(bytes([255, m]) in head for m in (0xDB, 0xC4, 0xE0, 0xEE))


def test_private_text_is_in_the_source(slide):
    path, *_ = slide
    raw = path.read_bytes()
    assert all(canary.encode() in raw for canary in CANARIES)
    with openslide.OpenSlide(path) as reader:
        label = np.asarray(reader.associated_images["label"].convert("L"))
        assert "CANARY^TEST" in reader.properties["openslide.comment"]
    assert 0.02 < (label < 90).mean() < 0.5


def test_mpp_can_be_left_out(tmp_path):
    recipe = Recipe(seed=3, width=300, height=280)
    write_slide(tmp_path / "a.svs", recipe, mpp_in_file=False)
    write_slide(tmp_path / "b.svs", replace(recipe, mpp=0.25))
    with openslide.OpenSlide(tmp_path / "a.svs") as reader:
        assert "openslide.mpp-x" not in reader.properties
    with openslide.OpenSlide(tmp_path / "b.svs") as reader:
        assert float(reader.properties["openslide.mpp-x"]) == 0.25


def test_same_seed_same_bytes(tmp_path):
    recipe = Recipe(seed=9, width=420, height=400, artefacts=ARTEFACTS)
    digests = set()
    for name in ("a", "b"):
        write_slide(tmp_path / f"{name}.svs", recipe).save(tmp_path / f"{name}.npz")
        both = [(tmp_path / f"{name}.{ext}").read_bytes() for ext in ("svs", "npz")]
        digests.add(tuple(hashlib.sha256(b).hexdigest() for b in both))
    assert len(digests) == 1
    other, _ = draw(replace(recipe, seed=10))
    assert not np.array_equal(other, draw(recipe)[0])


def test_truth_round_trip(tmp_path, tumor_slide):
    _, truth = tumor_slide
    truth.save(tmp_path / "t.npz")
    again = Truth.load(tmp_path / "t.npz")
    assert again.version == VERSION == 1
    assert again.tumor is True
    assert tuple(again.classes) == CLASSES
    for name in ("xy_px0", "class_", "outline_px0", "outline_start", "region_px0", "tissue"):
        np.testing.assert_array_equal(getattr(again, name), getattr(truth, name))


def test_outlines_contain_their_centers_and_do_not_share_them(tumor_slide):
    _, truth = tumor_slide
    for i in range(len(truth)):
        assert inside_any([truth.outline(i)], truth.xy_px0[i : i + 1])[0]
    gaps = np.linalg.norm(truth.xy_px0[:, None] - truth.xy_px0[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    assert gaps.min() * truth.mpp > 2.0
    assert (
        truth.tissue[tuple((truth.xy_px0[:, ::-1] / truth.map_downsample).astype(int).T)].mean()
        > 0.99
    )


@pytest.mark.parametrize("look", ALL_LOOKS, ids=lambda look: look.name)
def test_nuclei_are_darker_than_what_surrounds_them(look):
    picture, truth = synthetic_field(4, look)
    # red light is what hematoxylin takes and eosin leaves
    red = density(picture)[..., 0]
    covered = np.zeros(red.shape, bool)
    y, x = np.mgrid[0 : red.shape[0], 0 : red.shape[1]]
    for cx, cy in truth.xy_px0:
        covered |= np.hypot(x - cx, y - cy) < 9
    shown = truth.xy_px0.astype(int)
    inside = red[shown[:, 1], shown[:, 0]]
    for class_ in range(4):
        chosen = inside[truth.class_ == class_]
        assert len(chosen) > 5
        assert np.median(chosen) > np.median(red[~covered]) + 0.2
        assert np.mean(chosen > np.median(red[~covered])) > 0.9


def test_tumor_differs_from_benign(tumor_slide):
    picture, truth = tumor_slide
    areas = outline_areas(truth) * truth.mpp**2
    by_class = [np.median(areas[truth.class_ == k]) for k in range(4)]
    assert by_class[TUMOR] > 1.5 * by_class[EPITHELIAL]
    assert by_class[LYMPHOCYTE] < by_class[EPITHELIAL]
    # density: nuclei, and area of nuclei, per area of region against the tissue outside it
    ground = tissue_in_regions(truth)
    for weight in (np.ones(len(truth)), areas):
        inside, outside = weight[truth.in_tumor].sum(), weight[~truth.in_tumor].sum()
        assert inside / ground[True] > 1.1 * outside / ground[False]
    # chromatin: more contrast within the nucleus
    red = density(picture)[..., 0]
    spread = []
    for k in (EPITHELIAL, TUMOR):
        at = truth.xy_px0[truth.class_ == k].astype(int)
        patches = [red[y - 3 : y + 4, x - 3 : x + 4] for x, y in at if min(x, y) > 3]
        spread.append(np.median([p.std() / p.mean() for p in patches if p.size == 49]))
    assert spread[1] > 1.2 * spread[0]


def test_regions_cause_the_label():
    for seed in range(40, 44):
        with_tumor, without = (
            draw(Recipe(seed=seed, width=520, height=500, tumor=t))[1] for t in (True, False)
        )
        assert with_tumor.tumor
        assert len(with_tumor.regions()) >= 1
        tumor_cells = with_tumor.class_ == TUMOR
        assert tumor_cells.sum() > 5
        assert with_tumor.in_tumor[tumor_cells].all()
        assert not with_tumor.in_tumor[with_tumor.class_ == EPITHELIAL].any()
        assert not without.tumor
        assert not without.regions()
        assert not (without.class_ == TUMOR).any()
        # the piece of tissue is drawn without knowledge of the label
        np.testing.assert_array_equal(with_tumor.tissue, without.tissue)


def test_nucleus_count_does_not_give_the_label_away():
    counts = {True: [], False: []}
    for seed in range(100, 124):
        recipe = Recipe(seed=seed, width=900, height=800, tumor=seed % 2 == 0)
        counts[recipe.tumor].append(len(place_nuclei(recipe, build_layout(recipe))))
    wins = np.greater.outer(counts[True], counts[False]).mean()
    assert 0.25 < wins < 0.75


def test_mpp_scales_the_tissue():
    coarse, fine = (outline_areas(synthetic_field(6, mpp=m)[1]).mean() for m in (0.5, 0.25))
    assert 3 < fine / coarse < 5.5


def test_ki67_positive_nuclei_are_brown():
    picture, truth = synthetic_field(8, width=700, height=700, stain=KI67)
    at = truth.xy_px0.astype(int)
    od = density(picture)[at[:, 1], at[:, 0]]
    brown = od[:, 2] - od[:, 0]
    assert ((truth.dab_od > 0) == truth.positive).all()
    assert 0.02 < truth.positive.mean() < 0.6
    assert np.median(brown[truth.positive]) > np.median(brown[~truth.positive]) + 0.2
    assert np.corrcoef(brown[truth.positive], truth.dab_od[truth.positive])[0, 1] > 0.5
    _, same = synthetic_field(8, width=700, height=700, stain=HE)
    np.testing.assert_array_equal(same.xy_px0, truth.xy_px0)
    assert not same.positive.any()


@pytest.mark.parametrize("name", ARTEFACTS)
def test_artefacts_change_what_their_mask_says(name):
    recipe = Recipe(seed=14, width=800, height=760)
    clean, _ = draw(recipe)
    spoiled, truth = draw(replace(recipe, artefacts=(name,)))
    mask = truth.artefact(name)
    step = truth.map_downsample
    grown = np.kron(mask, np.ones((step, step)))[: recipe.height, : recipe.width] > 0
    changed = np.abs(spoiled.astype(int) - clean).max(2)[: grown.shape[0], : grown.shape[1]] > 6
    assert 0.002 < mask.mean() < 0.5
    assert changed[grown].mean() > 0.25
    assert changed[~grown].mean() < 0.02
    assert not truth.artefact("none of them").any()


def test_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="unknown stain"):
        Recipe(seed=1, stain="PAS")
    with pytest.raises(ValueError, match="unknown artefacts"):
        Recipe(seed=1, artefacts=("scratch",))
    with pytest.raises(ValueError, match="at least 64"):
        Recipe(seed=1, width=10)


def test_test_looks_lie_outside_the_training_looks():
    for test in TEST_LOOKS.values():
        for train in TRAIN_LOOKS.values():
            for stain in ("hematoxylin", "eosin"):
                # twice the jitter of a slide is 0.024
                gap = np.abs(np.subtract(getattr(test, stain), getattr(train, stain))).max()
                assert gap > 0.03
            assert abs(test.fiber_um / train.fiber_um - 1) > 0.11
            assert abs(test.chromatin_um / train.chromatin_um - 1) > 0.11


@pytest.mark.parametrize(("slides", "patients"), [(12, 10), (60, 60), (72, 60), (8, 5)])
def test_plan_is_balanced_and_independent(slides, patients):
    plan = plan_patients(slides, patients)
    assert sum(p.slides for p in plan) == slides
    for split in ("train", "test"):
        counts = [sum(p.slides for p in plan if p.split == split and p.tumor == t) for t in (0, 1)]
        assert min(counts) >= 1
        assert abs(counts[0] - counts[1]) <= 1 + slides // 20
    sites = {s: [p.tumor for p in plan if p.site == s] for s in "AB"}
    if patients >= 10:
        assert all(0 < np.mean(v) < 1 for v in sites.values())
    with pytest.raises(ValueError, match="at least 4 patients"):
        plan_patients(3, 3)


def test_cohort_is_the_same_on_one_worker_and_on_two(tmp_path):
    sheets = [
        make_cohort(tmp_path / str(n), slides=6, seed=3, size_px=(256, 300), workers=n)
        for n in (1, 2)
    ]
    files = sorted(p.relative_to(sheets[0].parent) for p in sheets[0].parent.rglob("*.*"))
    assert len(files) == 13
    for file in files:
        one, two = ((s.parent / file).read_bytes() for s in sheets)
        assert one == two, file
    with sheets[0].open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text, delimiter="\t"))
    patients: dict[str, set[tuple[str, str]]] = {}
    for row in rows:
        truth = Truth.load(sheets[0].parent / "truth" / f"{row['slide_id']}.npz")
        assert (sheets[0].parent / row["path"]).is_file()
        assert not Path(row["path"]).is_absolute()
        assert int(row["n_nuclei"]) == len(truth)
        assert row["tumor"] == ("yes" if truth.tumor else "no")
        assert truth.look == f"{row['split']}-{row['site']}"
        assert truth.seed % 2 == (row["split"] == "test")
        assert row["mpp"] == ""
        patients.setdefault(row["patient_id"], set()).add((row["split"], row["tumor"]))
    assert all(len(v) == 1 for v in patients.values())
    assert len(patients) == 5
