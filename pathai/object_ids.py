"""Ids of objects in files for other programs: an id says of which slide and which nucleus it is.

Other programs keep the id of an object and drop what else stands in the file. So the id itself
tells the slide, the contents that a row belongs to, and the row. It is a UUID of version 8, whose
bits are the application's own (RFC 9562, section 5.8):
``ssssssss-cccc-8kkk-8ccc-nnnnnnnnnnnn`` with digits of slide, contents, kind and number.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

Kind = Literal["map", "cell", "added", "region"]
_CODES: dict[Kind, str] = {"map": "a00", "cell": "a01", "added": "a02", "region": "a03"}
_KINDS = {code: kind for kind, code in _CODES.items()}
_OURS = re.compile(
    r"([0-9a-f]{8})-([0-9a-f]{4})-8(a0[0-3])-8([0-9a-f]{3})-([0-9a-f]{12})", re.ASCII
)


@dataclass(frozen=True)
class ObjectId:
    """What an id says.

    Attributes
    ----------
    slide : str
        Digits of the slide (`slide_digits`).
    kind : str
        Part of a map, nucleus of a detector, nucleus that a reader added, region of a reader.
    contents : str
        Digits of the nuclei that the row belongs to (`contents_digits`).
    number : int
        Row of a nucleus; of anything else a digest of what it is.
    """

    slide: str
    kind: Kind
    contents: str
    number: int


def slide_digits(slide_id: str) -> str:
    """What ids say of a slide."""
    return sha256(f"slide\n{slide_id}".encode()).hexdigest()[:8]


def contents_digits(store: str) -> str:
    """What ids say of the contents of a detector's nuclei."""
    return sha256(f"cells\n{store}".encode()).hexdigest()[:7]


def cell_ids(slide_id: str, store: str, rows: Iterable[int]) -> list[str]:
    """Ids of nuclei by row; the same on every export of the same nuclei."""
    digits = contents_digits(store)
    head = f"{slide_digits(slide_id)}-{digits[:4]}-8{_CODES['cell']}-8{digits[4:]}-"
    return [f"{head}{row:012x}" for row in rows]


def object_id(slide_id: str, kind: Kind, what: str) -> str:
    """Id of an object that is known by what it is; the same for the same ``what``."""
    found = sha256(f"{kind}\n{what}".encode()).hexdigest()
    head = f"{slide_digits(slide_id)}-{found[:4]}-8{_CODES[kind]}"
    return f"{head}-8{found[4:7]}-{found[7:19]}"


def parse(text: str) -> ObjectId | None:
    """What an id says; None if this program did not give it."""
    found = _OURS.fullmatch(text)
    if found is None:
        return None
    slide, first, code, second, number = found.groups()
    return ObjectId(slide, _KINDS[code], first + second, int(number, 16))
