"""OME-XML written anew: sizes, and the size of a pixel where it is stated."""

from __future__ import annotations

import re

from pathai.deid.report import unsafe
from pathai.deid.tiff_file import Image

_PIXELS = re.compile(r"<(?:\w+:)?Pixels\b([^<>]*)>")
_ATTRIBUTE = re.compile(r"\b(\w+)\s*=\s*(?:\"([^\"<>&]*)\"|'([^'<>&]*)')")
_NUMBER = re.compile(r"\d{1,4}(\.\d{1,17})?([eE][+-]?\d{1,2})?")
_UM = {"µm": 1.0, "μm": 1.0, "nm": 1e-3, "mm": 1e3, "": 1.0}
_OTHER = re.compile(r"\bName\s*=\s*[\"'][^\"']*(label|macro|overview|barcode)", re.I)


def level_text(first: Image, order: str) -> bytes:
    """Return the description of level 0.

    Parameters
    ----------
    first : Image
        Level 0 with its OME-XML.
    order : {"<", ">"}
        Of the file.

    Raises
    ------
    PathaiError
        E148 for stacks, channels of their own, sizes that differ from the image's, and a first
        image that calls itself label or macro.
    """
    text = first.tags[270].data.split(b"\0", 1)[0].decode("utf-8", "replace")
    stated = _PIXELS.search(text)
    if stated is None or "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise unsafe("the OME-XML is not of a kind that is known")
    if _OTHER.search(text[: stated.start()]):
        raise unsafe("the first image of the OME-XML is not the scan")
    found = {name: a or b for name, a, b in _ATTRIBUTE.findall(stated[1])}
    (width, height), samples = first.size, first.one(277, 1)
    wanted = {"SizeX": width, "SizeY": height, "SizeC": samples, "SizeZ": 1, "SizeT": 1}
    if any(found.get(name) != str(value) for name, value in wanted.items()):
        raise unsafe("the OME-XML is of a stack, or does not fit the image")
    if found.get("Type") != "uint8":
        raise unsafe("the OME-XML is not of 8-bit pixels")
    sizes = " ".join(f'{name}="{value}"' for name, value in wanted.items())
    physical = "".join(_physical(found, axis) for axis in "XY")
    big = "true" if order == ">" else "false"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" '
        f'Interleaved="true" BigEndian="{big}" {sizes}{physical}>'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="{samples}"/>'
        '<TiffData IFD="0" PlaneCount="1"/></Pixels></Image></OME>'
    ).encode() + b"\0"


def _physical(found: dict[str, str], axis: str) -> str:
    value = found.get(f"PhysicalSize{axis}")
    if value is None:
        return ""
    unit = found.get(f"PhysicalSize{axis}Unit", "")
    plain = _NUMBER.fullmatch(value) and unit in _UM
    if not plain or not 0.01 <= float(value) * _UM[unit] <= 1000:
        raise unsafe("the size of a pixel in the OME-XML is no plain number of µm, nm or mm")
    said = f' PhysicalSize{axis}Unit="{unit}"' if unit else ""
    return f' PhysicalSize{axis}="{value}"{said}'
