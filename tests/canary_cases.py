"""Canaries: texts that name a person, one for each place that could hold one, and their hunt.

`plant` makes a run whose slides, sheet and folders hold canaries; `hunt` finds them again in
whatever form they left: plain, in UTF-16, backward, as digits of hexadecimal or base64, percent
encoded, as a hash that could be guessed, inside ZIP, gzip, zlib (PNG, PDF) and Zstandard (Zarr)
streams, in data URLs, or as pixels of the label and macro image.
"""

import base64
import contextlib
import hashlib
import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import deid_dicom
import imagecodecs
import numpy as np
import tifffile
from PIL import Image
from pydicom.dataset import Dataset
from slide_cases import write_leica, write_mirax

from pathai.testing.aperio import split_jpeg
from pathai.testing.picture import draw
from pathai.testing.truth import Recipe

STEM = "QzKanari"
"""Every canary is this and three digits: no program, library or tissue says it by itself."""
LABEL_INK, MACRO_INK = (255, 0, 255), (0, 255, 0)
"""Colors that no tissue, palette or plot has: pixels of label and macro are known by them."""


@dataclass
class Canaries:
    """Texts by the place where they were put."""

    places: dict[str, str] = field(default_factory=dict)
    count: int = 0

    def put(self, place: str) -> str:
        """A new canary for a place; the same place gives the same one."""
        if place not in self.places:
            self.count += 1
            self.places[place] = f"{STEM}{self.count:03d}"
        return self.places[place]

    def keep(self, start: str, data: bytes) -> None:
        """Drop canaries of places that begin so and are not in the bytes any more."""
        gone = [p for p, w in self.places.items() if p.startswith(start) and w.encode() not in data]
        for place in gone:
            del self.places[place]

    def place(self, word: str) -> str:
        """Where a canary had been put."""
        return next((p for p, w in self.places.items() if w.lower() == word.lower()), word)


# --- slides ----------------------------------------------------------------------------------

TEXT_TAGS = {269: "DocumentName", 271: "Make", 272: "Model", 285: "PageName", 305: "Software",
             315: "Artist", 316: "HostComputer", 33432: "Copyright", 65001: "private"}  # fmt: skip
BYTE_TAGS = {700: "XMP", 33723: "IPTC"}
FIELDS = ("Filename", "Title", "User", "Patient", "Accession", "Barcode", "ScanScope ID", "DSR ID",
          "ImageID", "Slide Comment")  # fmt: skip
SIDE = 240


def pixels(seed: int, stain: str = "H&E") -> np.ndarray:
    """Drawn tissue, uint8[700, 700, 3]."""
    return draw(Recipe(seed, 700, 700, 0.5, stain))[0]


def write_svs(path: Path, picture: np.ndarray, told: Canaries, *, comment: bool = False) -> None:
    """An Aperio slide with a canary in every field, tag and picture that could hold one.

    Parameters
    ----------
    path : Path
    picture : uint8[y, x, 3]
    told : Canaries
        Takes what was put where.
    comment : bool
        Also write one into the JPEG stream of every tile, as some software does.
    """
    name = path.stem.rpartition("-")[2]
    height, width = picture.shape[:2]

    def described(what: str, ifd: str) -> str:
        fields = "".join(f"|{f} = {told.put(f'{name} {ifd} {f}')}" for f in FIELDS)
        mpp = "|MPP = 0.5000|AppMag = 20" if ifd.startswith("level") else ""
        return f"Aperio Image Library v11.2.1 \r\n{what}{mpp}{fields}"

    extra = [(tag, 2, 0, told.put(f"{name} tag {said}"), True) for tag, said in TEXT_TAGS.items()]
    for tag, said in BYTE_TAGS.items():
        data = f"<x>{told.put(f'{name} tag {said}')}</x>".encode()
        extra.append((tag, 1, len(data), data, True))
    note = told.put(f"{name} JPEG comment").encode() if comment else b""
    with tifffile.TiffWriter(path) as tiff:
        _level(tiff, picture, described(f"{width}x{height} (240x240) JPEG", "level 0"), extra, note)
        small = np.ascontiguousarray(picture[::4, ::4])
        plain = {"photometric": "rgb", "metadata": None, "software": False}
        tiff.write(small, description=described("thumbnail", "thumbnail"), **plain)
        _level(tiff, small, described("low level", "level 1"), extra, note)
        for kind, number, ink in (("label", 1, LABEL_INK), ("macro", 9, MACRO_INK)):
            image = spelled(told.put(f"{name} {kind} pixels"), ink)
            tiff.write(image, subfiletype=number, description=described(f"{kind} 60x90", kind),
                       **plain)  # fmt: skip
    with path.open("ab") as file:
        file.write(told.put(f"{name} bytes that nothing refers to").encode() * 3)


def spelled(word: str, ink: tuple[int, int, int]) -> np.ndarray:
    """A picture of one color whose first row of bytes reads as a word, uint8[90, 60, 3]."""
    image = np.full((90, 60, 3), ink, np.uint8)
    image[:3] = np.frombuffer((word * 60)[: 3 * 60 * 3].encode(), np.uint8).reshape(3, 60, 3)
    return image


def _level(tiff, picture, text: str, extra: list, note: bytes) -> None:
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((0, -height % SIDE), (0, -width % SIDE), (0, 0)), mode="edge")
    coding = {"level": 90, "colorspace": "RGB", "outcolorspace": "YCBCR", "subsampling": "422",
              "optimize": False}  # fmt: skip
    blank = bytes(imagecodecs.jpeg8_encode(np.full((SIDE, SIDE, 3), 255, np.uint8), **coding))
    tables = split_jpeg(blank)[0]
    segment = b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note if note else b""

    def tiles() -> Iterator[bytes]:
        for y in range(0, height, SIDE):
            for x in range(0, width, SIDE):
                tile = np.ascontiguousarray(padded[y : y + SIDE, x : x + SIDE])
                code = split_jpeg(bytes(imagecodecs.jpeg8_encode(tile, **coding)))[1]
                yield code[:2] + segment + code[2:]

    tiff.write(
        tiles(), shape=picture.shape, dtype=np.uint8, tile=(SIDE, SIDE), photometric="ycbcr",
        compression="jpeg", compressionargs={"subsampling": (2, 1)}, description=text,
        extratags=[(347, 7, len(tables), tables, True), *extra], metadata=None, software=False,
        datetime="2031:05:17 10:11:12",
    )  # fmt: skip


def write_dicom(folder: Path, picture: np.ndarray, told: Canaries) -> None:
    """A DICOM slide of a level, a label and an overview; every text of it is a canary."""
    folder.mkdir()
    label = np.full((64, 64, 3), LABEL_INK, np.uint8)
    for number, (image, flavor) in enumerate(((picture, "VOLUME"), (label, "LABEL")), 1):
        made = deid_dicom.instance(image, number, flavor)
        made.SpecimenDescriptionSequence[0].SpecimenUID = f"{deid_dicom.ROOT}.5"
        _retold(made, told)
        made.file_meta.SourceApplicationEntityTitle = told.put("DICOM application")
        made.preamble = (told.put("DICOM preamble").encode() * 20)[:128]
        made.save_as(folder / f"{told.put('DICOM file name')}-{number}.dcm",
                     enforce_file_format=True)  # fmt: skip


def _retold(data: Dataset, told: Canaries) -> None:
    """One canary per attribute instead of one for all."""
    old = deid_dicom.TEXT
    for element in data:
        if element.VR == "SQ":
            for inner in element.value:
                _retold(inner, told)
        elif isinstance(element.value, bytes):
            if old.encode() in element.value:
                word = told.put(f"DICOM {element.tag}").encode()
                element.value = (word * 10)[: len(element.value)]
        elif old in str(element.value):
            word = told.put(f"DICOM {element.keyword or element.tag}")
            element.value = str(element.value).replace(old, word)


OME = """<?xml version="1.0" encoding="UTF-8"?>
<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" Creator="{0}" UUID="urn:uuid:{1}">
<Experimenter ID="Experimenter:0" LastName="{2}" UserName="{3}"/>
<Image ID="Image:0" Name="{4}"><Description>{5}</Description>
<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="700" SizeY="700" SizeC="3"
SizeZ="1" SizeT="1" PhysicalSizeX="0.5" PhysicalSizeY="0.5" Interleaved="true">
<Channel ID="Channel:0:0" SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1">
<UUID FileName="{6}.ome.tif">urn:uuid:{1}</UUID></TiffData></Pixels></Image></OME>"""
OME_PLACES = ("Creator", "UUID", "LastName", "UserName", "Name", "Description", "FileName")


def write_ome(path: Path, picture: np.ndarray, told: Canaries) -> None:
    """A tiled OME-TIFF whose XML names people, files and machines."""
    text = OME.format(*(told.put(f"OME {place}") for place in OME_PLACES))
    tifffile.imwrite(path, picture, tile=(240, 240), photometric="rgb", compression="zlib",
                     description=text, metadata=None, software=False)  # fmt: skip


def write_broken(folder: Path, told: Canaries) -> dict[str, Path]:
    """Slides that fail, each for another reason and with canaries where the reason lies."""
    found = {i: folder / f"{told.put('file name')}-{i}.svs" for i in ("CUT", "TEXT", "MPP", "ODD")}
    write_svs(found["CUT"], pixels(8), told)
    whole = found["CUT"].read_bytes()
    found["CUT"].write_bytes(whole[: len(whole) // 2])
    told.keep("CUT ", found["CUT"].read_bytes())
    found["TEXT"].write_text(f"{told.put('text instead of a slide')}\n" * 40)
    for name, text in (("MPP", "MPP = {}|AppMag = {}"), ("ODD", "AppMag = {}|{} = MPP")):
        words = told.put(f"{name} scale"), told.put(f"{name} magnification")
        said = f"Aperio Image Library v1\r\n700x700|{text.format(*words)}"
        tifffile.imwrite(found[name], pixels(9), tile=(240, 240), photometric="rgb",
                         description=said, metadata=None, software=False)  # fmt: skip
    found["MRXS"] = folder / f"{told.put('file name')}.mrxs"
    write_mirax(found["MRXS"], pixels(9)[:640, :640], 4, 4)
    ini = found["MRXS"].with_suffix("") / "Slidedat.ini"
    text = ini.read_text("utf-8-sig").replace("Data0000", told.put("MIRAX name of a data file"))
    ini.write_text(text.replace("CANARY0123456789", told.put("MIRAX id")), "utf-8-sig")
    found["SCN"] = folder / f"{told.put('file name')}.scn"
    write_leica(found["SCN"], [(pixels(9), 500, 500, 20), (pixels(8)[:400, :400], 2000, 900, 40)])
    found["GONE"] = folder / f"{told.put('file name')}-gone.svs"
    return found


# --- the hunt --------------------------------------------------------------------------------


def forms(word: str) -> dict[str, bytes]:
    """A text in every form in which it could leave; letters of plain forms are lower case."""
    low = word.lower()
    return {
        "plain": low.encode(),
        "UTF-16": low.encode("utf-16-le"),
        "UTF-16 big end": low.encode("utf-16-be"),
        "UTF-32": low.encode("utf-32-le"),
        "backward": low[::-1].encode(),
        "hexadecimal": word.encode().hex().encode(),
        "percent": "".join(f"%{byte:02x}" for byte in word.encode()).encode(),
        "JSON escapes": "".join(f"\\u{ord(c):04x}" for c in word).encode(),
        "HTML entities": "".join(f"&#{ord(c)};" for c in word).encode(),
    }


def coded(word: str) -> dict[str, bytes]:
    """Base64, whatever stands before the word; case matters."""
    found = {}
    for shift in range(3):
        text = base64.b64encode(b"\0" * shift + word.encode() + b"\0\0\0")
        start = -(-shift * 8 // 6)
        end = (shift + len(word)) * 8 // 6
        found[f"base64, {shift} before"] = text[start:end]
    return found


def digests(words: Iterator[str] | list[str]) -> dict[bytes, str]:
    """Unsalted hashes of texts: whoever knows the name can make them, too."""
    kinds = (hashlib.sha256, hashlib.sha1, hashlib.md5, hashlib.blake2b)
    return {kind(word.encode()).hexdigest()[:24].encode(): word for word in words for kind in kinds}


@dataclass(frozen=True)
class Find:
    """A canary where none may be."""

    where: str
    form: str
    word: str


class Hunter:
    """Looks for canaries in bytes, files and folders."""

    def __init__(self, told: Canaries, stems: tuple[str, ...] = (STEM,)) -> None:
        self.bytes_read = 0
        self._plain = {(stem, form): code for stem in stems for form, code in forms(stem).items()}
        self._coded = {(stem, form): code for stem in stems for form, code in coded(stem).items()}
        self._digests = digests(list(told.places.values()))
        self._digest = re.compile(rb"[0-9a-f]{32,128}")

    def look(self, data: bytes, where: str, depth: int = 0) -> list[Find]:
        """Canaries in bytes, and in every stream that can be unpacked from them."""
        self.bytes_read += len(data)
        found = self._texts(data, where)
        if depth < 4:
            for name, inner in unpacked(data):
                found += self.look(inner, f"{where} > {name}", depth + 1)
        return found

    def _texts(self, data: bytes, where: str) -> list[Find]:
        found, low = [], data.lower()
        for (stem, form), code in self._plain.items():
            at = low.find(code)
            while at >= 0:
                whole = low[at : at + len(stem) + 3].decode("ascii", "replace")
                found.append(Find(where, form, whole if form == "plain" else stem))
                at = low.find(code, at + len(code))
        found += [Find(where, form, s) for (s, form), code in self._coded.items() if code in data]
        for digest in self._digest.findall(low):
            word = self._digests.get(digest[:24])
            found += [Find(where, "hash", word)] if word else []
        return found

    def file(self, path: Path, root: Path) -> list[Find]:
        """Canaries in a file and in its name; label and macro among the pictures in it."""
        where = path.relative_to(root).as_posix()
        data = path.read_bytes()
        found = self._texts(where.encode(), f"name of {where}") + self.look(data, where)
        return found + [Find(where, "pixels", ink) for ink in inks(data)]

    def folder(self, root: Path, leave: tuple[str, ...] = ()) -> list[Find]:
        """Canaries in every file below a folder but those whose path begins so."""
        files = [p for p in sorted(root.rglob("*")) if p.is_file()]
        kept = [p for p in files if not p.relative_to(root).as_posix().startswith(leave or ("\0",))]
        return [find for path in kept for find in self.file(path, root)]


UNREADABLE = (OSError, ValueError, SyntaxError)
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{80,}={0,2}")


def unpacked(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Streams inside of bytes: members of a ZIP, gzip, zlib, Zstandard, base64."""
    if b"PK\x05\x06" in data:
        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(io.BytesIO(data)) as packed:
            for name in packed.namelist():
                yield name, name.encode() + b"\n" + packed.read(name)
    for mark, kind, bits in ((b"\x1f\x8b\x08", "gzip", 31), (b"\x78", "zlib", 15)):
        for match in re.finditer(re.escape(mark), data):
            at = match.start()
            if kind == "zlib" and (at + 1 >= len(data) or (0x7800 + data[at + 1]) % 31):
                continue
            with contextlib.suppress(zlib.error):
                text = zlib.decompressobj(bits).decompress(data[at:], 2**27)
                if len(text) > 16:
                    yield f"{kind} at {at}", text
    for match in re.finditer(re.escape(b"\x28\xb5\x2f\xfd"), data):
        with contextlib.suppress(imagecodecs.ZstdError):
            yield f"zstd at {match.start()}", bytes(imagecodecs.zstd_decode(data[match.start() :]))
    for match in re.finditer(re.escape(b"\x89PNG\r\n\x1a\n"), data):  # its rows are filtered
        with contextlib.suppress(*UNREADABLE):
            image = Image.open(io.BytesIO(data[match.start() :]))
            yield f"PNG at {match.start()}", image.tobytes()
    for match in _BASE64.finditer(data):
        with contextlib.suppress(ValueError):
            text = base64.b64decode(match[0] + b"=" * (-len(match[0]) % 4))
            yield f"base64 at {match.start()}", text


_PICTURES = re.compile(rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff")


def inks(data: bytes, depth: int = 0) -> set[str]:
    """Whether pictures in bytes hold the colors of label or macro."""
    found = set()
    for match in _PICTURES.finditer(data):
        with (
            contextlib.suppress(*UNREADABLE),
            Image.open(io.BytesIO(data[match.start() :])) as image,
        ):
            found |= inked(np.asarray(image.convert("RGBA").convert("RGB")))
    if depth < 2:
        for _, inner in unpacked(data):
            found |= inks(inner, depth + 1)
    return found


def inked(picture: np.ndarray) -> set[str]:
    """Names of the inks that more than a thousandth of a picture has, uint8[y, x, 3]."""
    named = {"label": LABEL_INK, "macro": MACRO_INK}
    off = {k: np.abs(picture.astype(int) - v).max(axis=-1) for k, v in named.items()}
    return {name for name, far in off.items() if (far < 60).mean() > 0.001}
