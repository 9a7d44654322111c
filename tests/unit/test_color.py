"""Colors by ICC profile: what the color engine makes of the whole profile, and no text kept."""

import pickle
import struct
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from pathai.chain import ingest_step
from pathai.color import Icc, carried, feed_color, minimal_profile, seen_by
from pathai.config import ColorConfig, Config
from pathai.errors import PathaiError
from pathai.normalize import Macenko
from pathai.store.folders import SlideFolder
from pathai.store.records import ColorAttrs
from pathai.testing.synthetic import synthetic_field

SECRET = b"CANARY-PATIENT"
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ALL = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)


def profile(tags: dict[bytes, bytes], space: bytes = b"XYZ ", version: int = 2) -> bytes:
    """An RGB scanner profile with text wherever a header or tag has room for some."""
    tags = {b"desc": b"text\0\0\0\0" + SECRET, **tags, b"priv": SECRET}
    entries, body, first = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        entries += struct.pack(">4sII", name, first + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s", first + len(body), b"CANA", version << 24, b"scnr",
                       b"RGB ", space)  # fmt: skip
    head += bytes(12) + b"acsp" + bytes(4) + bytes(4) + SECRET[:8] + bytes(12)
    head += struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D) + SECRET.ljust(48, b"\0")
    return head + struct.pack(">I", len(tags)) + entries + body


def matrix(gamma: float = 1.8, tail: bytes = SECRET) -> bytes:
    """Wide primaries and a sampled curve, each tag with text after its end."""
    curve = np.round(65535 * np.linspace(0, 1, 1024) ** gamma).astype(">u2").tobytes()
    tags = {}
    columns = ((0.61, 0.31, 0.02), (0.21, 0.63, 0.07), (0.15, 0.06, 0.74))
    for name, column in zip("rgb", columns, strict=True):
        values = [round(v * 65536) for v in column]
        tags[f"{name}XYZ".encode()] = b"XYZ \0\0\0\0" + struct.pack(">3i", *values) + tail
        tags[f"{name}TRC".encode()] = b"curvCANA" + struct.pack(">I", 1024) + curve + tail
    return profile(tags)


def table(kind: bytes = b"mft2", grid: int = 9) -> bytes:
    """A lookup table to CIELAB that turns red and blue about and darkens."""
    axis = np.linspace(0, 1, grid)
    r, g, b = np.meshgrid(axis, axis, axis, indexing="ij")
    lab = np.stack([0.2 * r + 0.7 * g + 0.1 * b, 0.5 + 0.2 * (b - g), 0.5 + 0.2 * (g - r)], axis=-1)
    ramp = np.linspace(0, 1, 256)
    numbers = np.concatenate([np.tile(ramp, 3), lab.ravel(), np.tile(ramp, 3)])
    identity = struct.pack(">9i", *(65536 * int(i % 4 == 0) for i in range(9)))
    head = kind + b"CANA" + bytes([3, 3, grid, 67]) + identity
    if kind == b"mft1":
        return head + np.round(numbers * 255).astype(np.uint8).tobytes() + SECRET
    return head + struct.pack(">HH", 256, 256) + np.round(numbers * 65280).astype(">u2").tobytes()


def by_pillow(data: bytes, rgb: np.ndarray) -> np.ndarray:
    """The whole profile through Pillow, the same intent."""
    source = ImageCms.getOpenProfile(BytesIO(data))
    image = Image.fromarray(rgb.reshape(-1, rgb.shape[-2], 3))
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    srgb = ImageCms.createProfile("sRGB")
    out = ImageCms.profileToProfile(image, source, srgb, renderingIntent=intent)
    return np.asarray(out).reshape(rgb.shape)


PROFILES = {
    "srgb": SRGB,
    "matrix": matrix(),
    "table of 16 bits": profile({b"A2B0": table()}, b"Lab "),
    "table of 8 bits": profile({b"A2B0": table(b"mft1")}, b"Lab "),
    "colorimetric table": profile({b"A2B1": table(), b"A2B0": table(grid=3)}, b"Lab "),
}


@pytest.mark.parametrize("name", PROFILES)
def test_what_is_kept_gives_just_the_colors_of_the_whole_profile(name: str) -> None:
    whole = PROFILES[name]
    kept = minimal_profile(whole)
    assert (Icc(kept).apply(ALL) == by_pillow(whole, ALL)).all()
    assert minimal_profile(kept) == kept
    if name != "srgb":
        assert np.abs(Icc(kept).apply(ALL).astype(int) - ALL).mean() > 4


@pytest.mark.parametrize("name", [n for n in PROFILES if n != "srgb"])
def test_no_text_is_kept_wherever_it_stands(name: str) -> None:
    assert SECRET in PROFILES[name]
    kept = minimal_profile(PROFILES[name])
    assert SECRET[:4] not in kept
    assert len(kept) < len(PROFILES[name])


def test_text_in_a_private_tag_changes_nothing_of_what_is_kept() -> None:
    assert minimal_profile(matrix(tail=b"")) == minimal_profile(matrix())


def test_srgb_is_left_as_it_is() -> None:
    changed = Icc(minimal_profile(SRGB)).apply(ALL).astype(int) - ALL
    assert np.abs(changed).max() <= 1


def test_a_tile_alone_is_as_in_a_batch() -> None:
    icc = Icc(minimal_profile(matrix()))
    before = ALL.copy()
    batch = icc.apply(ALL)
    assert (batch == np.stack([icc.apply(tile) for tile in ALL])).all()
    assert (before == ALL).all()
    assert icc.apply(ALL[:0]).shape == (0, 64, 64, 3)
    white = np.full((1, 2, 2, 3), 255, np.uint8)
    assert (icc.apply(white) >= 254).all()


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        (b"", "damaged"),
        (SECRET * 40, "damaged"),
        (matrix()[:400], "cut off|damaged"),
        (matrix().replace(b"RGB ", b"GRAY"), "not for RGB"),
        (matrix().replace(b"scnr", b"link"), "no scanner"),
        (matrix().replace(b"rTRC", b"xTRC"), "neither"),
        (profile({b"A2B0": b"mAB " + bytes(40)}, b"Lab "), "8 or 16"),
        (profile({b"A2B0": table()[:9] + b"\4" + table()[10:]}, b"Lab "), "channels"),
    ],
)
def test_other_profiles_are_refused_without_their_text(data: bytes, wrong: str) -> None:
    with pytest.raises(PathaiError, match=wrong) as caught:
        minimal_profile(data)
    assert caught.value.code == "E147"
    assert "CANARY" not in str(caught.value)
    assert carried(data) == b""


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damage_is_refused_or_harmless(data: st.DataObject) -> None:
    whole = bytearray(PROFILES[data.draw(st.sampled_from(sorted(PROFILES)))])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(whole), 700) - 1))
        whole[place] = data.draw(st.integers(0, 255))
    kept = carried(bytes(whole[: data.draw(st.integers(1, len(whole)))]))
    with suppress(PathaiError):  # nothing else comes out, and no process dies
        assert Icc(minimal_profile(kept)).apply(ALL[:1]).shape == (1, 64, 64, 3)


def test_off_changes_nothing_and_asks_for_no_sample() -> None:
    def never() -> np.ndarray:
        raise AssertionError

    color = feed_color(ColorConfig(), has_icc=True, profile=matrix(), stain="H&E", sample=never)
    assert (color.apply(ALL) == ALL).all()
    assert color.attrs == ColorAttrs()
    dab = ColorConfig(normalize="macenko")
    other = feed_color(dab, has_icc=False, profile=b"", stain="Ki-67", sample=never)
    assert other.attrs == ColorAttrs()


def test_profile_comes_first_and_both_are_recorded() -> None:
    picture, _ = synthetic_field(3)
    section = ColorConfig(icc=True, normalize="macenko")
    color = feed_color(section, has_icc=True, profile=matrix(), stain="H&E", sample=lambda: picture)
    assert color.icc is not None
    assert isinstance(color.normalizer, Macenko)
    expected = color.normalizer.apply(color.icc.apply(picture[None]))
    assert (color.apply(picture[None]) == expected).all()
    plain = feed_color(
        ColorConfig(normalize="macenko"),
        has_icc=True, profile=matrix(), stain="H&E", sample=lambda: picture,
    )  # fmt: skip
    assert plain.attrs.digest != color.attrs.digest  # the sample went through the profile, too
    assert (color.attrs.icc, plain.attrs.icc) == (Icc(minimal_profile(matrix())).digest, "")
    assert color.attrs.normalize == "macenko"
    assert len(color.attrs.parameters["strength"]) == 2


@pytest.mark.parametrize("method", ["none", "macenko", "reinhard"])
def test_what_is_done_travels_to_workers(method: str) -> None:
    picture, _ = synthetic_field(3)
    section = ColorConfig(icc=True, normalize=method)  # type: ignore[arg-type]
    color = feed_color(section, has_icc=True, profile=matrix(), stain="H&E", sample=lambda: picture)
    here = color.apply(picture[None])
    sent = pickle.dumps(color.apply)
    assert len(sent) < 20_000
    assert (pickle.loads(sent)(picture[None]) == here).all()  # noqa: S301  (our own bytes)


def test_a_profile_that_is_asked_for_and_lost_is_an_error() -> None:
    section = ColorConfig(icc=True)
    with pytest.raises(PathaiError, match="E147"):
        feed_color(section, has_icc=True, profile=b"", stain="H&E", sample=lambda: ALL[0])
    without = feed_color(section, has_icc=False, profile=b"", stain="H&E", sample=lambda: ALL[0])
    assert without.attrs == ColorAttrs()


def test_a_model_refuses_tiles_of_another_coloring() -> None:
    plain = ColorConfig()
    others = [ColorConfig(icc=True), ColorConfig(normalize="macenko"), plain]
    assert len({seen_by("aa", section) for section in others}) == 3
    assert seen_by("aa", plain) == "aa"
    assert seen_by("aa", others[0]) != seen_by("bb", others[0])


@pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
def test_ingest_keeps_the_numbers_of_a_profile_and_no_text(tmp_path: Path, reader: str) -> None:
    path = tmp_path / "slide.tif"

    def write(icc: bytes) -> None:
        image = np.full((300, 300, 3), 230, np.uint8)
        tifffile.imwrite(path, image, photometric="rgb", tile=(256, 256), compression="zlib",
                         ome=reader == "tiffslide", iccprofile=icc)  # fmt: skip

    write(matrix())
    folder = SlideFolder(tmp_path / "results" / "s1")
    made = ingest_step(Config(), folder, path, 0.5, "H&E").run()
    assert (made.status, set(made.files)) == ("ok", {"slide.json", "color.icc"})
    assert (folder.read_slide().reader, folder.read_slide().icc is not None) == (reader, True)
    assert folder.read_color_profile() == minimal_profile(matrix())
    write(profile({}))
    ingest_step(Config(), folder, path, 0.5, "H&E").run()
    assert folder.read_slide().icc is not None
    assert "cannot be carried over" in str(folder.read_slide().notes)
    assert folder.read_color_profile() == b""


@pytest.mark.real
@pytest.mark.parametrize("name", ["TCGA-CR-7395-01A-01-TS1.svs", "dicom-cmu-jpeg"])
def test_profiles_of_real_slides(test_data: Path, name: str) -> None:
    import openslide

    path = test_data / "slides" / name
    path = path if path.is_file() else sorted(path.iterdir())[0]
    with openslide.OpenSlide(path) as slide:
        whole = slide.color_profile.tobytes()
        pixels = np.asarray(slide.read_region((300, 300), 0, (512, 512)))[None, ..., :3]
    assert (Icc(minimal_profile(whole)).apply(pixels) == by_pillow(whole, pixels)).all()
