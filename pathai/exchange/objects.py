"""Objects of a GeoJSON file as QuPath writes it, one by one, with the line that each stands in."""

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.errors import PathaiError
from pathai.object_ids import ObjectId, parse, slide_digits

CORRECTED = "Corrected by reader"
"""Measurement that is 1 where a person spoke of a nucleus, else 0."""
ABOUT = "pathai"
"""Member of the file that says of what it is; QuPath does not keep it."""
NUCLEI = ("detection", "cell")
_SPACE = re.compile(r"[ \t\r\n]*")
Points = NDArray[np.float64]
Polygons = tuple[tuple[Points, ...], ...]


@dataclass(frozen=True)
class Place:
    """Where an object stands in a file: its number and its line, from 1."""

    file: str
    number: int
    line: int

    def wrong(self, why: str, remedy: str = "") -> PathaiError:
        """E217 that names the place."""
        message = f"{self.file}, line {self.line}: object {self.number} {why}"
        return PathaiError("E217", message, remedy)


@dataclass(frozen=True)
class Object:
    """One object of a file.

    Attributes
    ----------
    place : Place
    uuid : str
    id : ObjectId or None
        What the UUID says, where this program gave it.
    kind : str
        QuPath's word: annotation, detection, cell, tile and so on.
    class_name, label : str
        Its class, and its own name; empty where it has none.
    corrected : bool
        Whether its measurement says that a person spoke of it.
    polygons : tuple
        Each its outer ring, then its holes, as float64[n, 2] (x, y), level-0 px, not closed.
        Empty for points and lines.
    """

    place: Place
    uuid: str
    id: ObjectId | None
    kind: str
    class_name: str
    label: str
    corrected: bool
    polygons: Polygons


class ObjectsFile:
    """A GeoJSON file; objects are made one by one, so that a million of them fit into memory.

    Parameters
    ----------
    path : Path
        A collection, a list of features, or one; gzip where it is packed.

    Raises
    ------
    PathaiError
        E217 if it cannot be read.

    Attributes
    ----------
    name : str
    sha256 : str
        Of the file.
    about : dict
        What the file says of itself; known when the objects have been read.
    """

    def __init__(self, path: Path) -> None:
        self.name, self.about = path.name, dict[str, Any]()
        try:
            data = path.read_bytes()
            self.sha256 = sha256(data).hexdigest()
            packed = data.startswith(b"\x1f\x8b")
            self._text = (gzip.decompress(data) if packed else data).decode("utf-8-sig")
        except (OSError, EOFError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no GeoJSON"
            raise PathaiError("E217", f"{self.name} cannot be read: {why}") from None

    def slide(self) -> str:
        """Digits of the slide that the file says it is of; empty if it says nothing."""
        told = ""
        for found in self:
            if found.id is not None:
                told = found.id.slide
                break
        about = self.about.get("slide_id")
        return slide_digits(about) if isinstance(about, str) else told

    def __iter__(self) -> Iterator[Object]:
        line, last = 1, 0
        for number, (position, feature) in enumerate(self._features(), start=1):
            line += self._text.count("\n", last, position)
            last = position
            yield _object(feature, Place(self.name, number, line))

    def _features(self) -> Iterator[tuple[int, Any]]:
        """Features with their places in the text; other members go to ``about``."""
        text, position = self._text, 0
        try:
            position = _skip(text, 0)
            if text[position : position + 1] == "[":
                yield from self._list(position)
                return
            members: dict[str, Any] = {}
            position = _expect(text, position, "{")
            while text[position : position + 1] != "}":
                key, position = _value(text, position)
                position = _expect(text, position, ":")
                if key == "features":
                    yield from self._list(position)
                    position = self._end
                else:
                    members[key], position = _value(text, position)
                    if key == ABOUT and isinstance(members[key], dict):
                        self.about = members[key]
                position = _skip(text, position)
                if text[position : position + 1] == ",":
                    position = _skip(text, position + 1)
            if members.get("type") == "Feature":
                yield 0, members
        except (ValueError, RecursionError) as error:
            at = error.pos if isinstance(error, json.JSONDecodeError) else position
            line = text.count("\n", 0, at) + 1
            message = f"{self.name} cannot be read: line {line} is no GeoJSON"
            raise PathaiError("E217", message, "export it again") from None

    def _list(self, position: int) -> Iterator[tuple[int, Any]]:
        text = self._text
        position = _expect(text, position, "[")
        while text[position : position + 1] != "]":
            start = position
            value, position = _value(text, position)
            yield start, value
            position = _skip(text, position)
            if text[position : position + 1] == ",":
                position = _skip(text, position + 1)
            elif text[position : position + 1] != "]":
                raise json.JSONDecodeError("no comma", text, position)
        self._end = position + 1


def _constant(name: str) -> None:
    return None  # a measurement that is no number; of a coordinate it is told later


_DECODER = json.JSONDecoder(parse_constant=_constant)


def _skip(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return found.end() if found else position


def _expect(text: str, position: int, sign: str) -> int:
    position = _skip(text, position)
    if text[position : position + 1] != sign:
        raise json.JSONDecodeError(f"no {sign}", text, position)
    return _skip(text, position + 1)


def _value(text: str, position: int) -> tuple[Any, int]:
    value, position = _DECODER.raw_decode(text, position)
    return value, _skip(text, position)


def _object(feature: Any, place: Place) -> Object:
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        raise place.wrong("is no feature", "export it again")
    facts = feature.get("properties")
    facts = facts if isinstance(facts, dict) else {}
    uuid = feature.get("id")
    uuid = uuid if isinstance(uuid, str) else ""
    geometry = feature.get("nucleusGeometry") or feature.get("geometry")
    kind, label = facts.get("objectType", "annotation"), facts.get("name")
    return Object(
        place,
        uuid,
        parse(uuid),
        kind if isinstance(kind, str) else "",
        _class(facts.get("classification")),
        label if isinstance(label, str) else "",
        _corrected(facts.get("measurements")),
        _polygons(geometry, place),
    )


def _class(said: Any) -> str:
    """Name of a class; QuPath writes one name, or the names of a class and its parts."""
    if isinstance(said, dict):
        names = said.get("names")
        said = ": ".join(map(str, names)) if isinstance(names, list) else said.get("name")
    return said.strip() if isinstance(said, str) else ""


def _corrected(said: Any) -> bool:
    if isinstance(said, list):  # of QuPath before 0.4
        said = {one.get("name"): one.get("value") for one in said if isinstance(one, dict)}
    return bool(isinstance(said, dict) and said.get(CORRECTED))


def _polygons(geometry: Any, place: Place) -> Polygons:
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in ("Polygon", "MultiPolygon"):
        if kind in ("Point", "MultiPoint", "LineString", "MultiLineString"):
            return ()
        raise place.wrong("has no geometry", "delete it there, or draw it again")
    said = geometry.get("coordinates")
    parts = said if kind == "MultiPolygon" else [said]
    if not isinstance(parts, list) or not parts:
        raise place.wrong("has no geometry", "delete it there, or draw it again")
    return tuple(_rings(part, place) for part in parts)


def _rings(said: Any, place: Place) -> tuple[Points, ...]:
    if not isinstance(said, list) or not said:
        raise place.wrong("has no outline", "delete it there, or draw it again")
    return tuple(_ring(points, place) for points in said)


def _ring(said: Any, place: Place) -> Points:
    try:
        points = np.asarray(said, np.float64)
        fits = points.ndim == 2 and points.shape[1] >= 2 and bool(np.isfinite(points).all())
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise place.wrong("has a damaged outline", "delete it there, or draw it again")
    points = points[:, :2]
    closed = len(points) > 1 and points[0, 0] == points[-1, 0] and points[0, 1] == points[-1, 1]
    points = points[:-1] if closed else points
    if len(points) < 3:
        raise place.wrong("has an outline of fewer than three points", "delete it, or draw it")
    return points
