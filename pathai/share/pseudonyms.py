"""Pseudonyms by HMAC with a key of the site: the lab can go back from them, nobody else.

References
----------
Krawczyk H, Bellare M, Canetti R. HMAC: Keyed-Hashing for Message Authentication. RFC 2104, 1997.
"""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pathai.errors import PathaiError
from pathai.sheet import SheetRow
from pathai.store.manifest import storage_error

Kind = Literal["case", "slide", "patient", "specimen", "block"]
LETTERS = {"case": "C", "slide": "S", "patient": "P", "specimen": "X", "block": "B"}
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Base 32 without I, L, O and U, which are misread (Crockford)."""
DIGITS = 10
"""Of 5 bits each: among 100,000 ids the chance that two agree is 5 in a million."""
LEAST_BYTES = 16
KEY_NAME = "share.key"
SHORT = 4
"""An id of fewer characters that is no mixture of letters and digits is a word or a number of
many texts; it is replaced where it stands as an id, not where it stands in a sentence."""


def read_key(path: Path) -> bytes:
    """The site's secret (E193 if it cannot be read or is too short)."""
    try:
        key = path.read_bytes().strip()
    except OSError:
        raise PathaiError("E193", "the file of --key cannot be read") from None
    if len(key) < LEAST_BYTES:
        message = f"the key has {len(key)} bytes"
        raise PathaiError("E193", message, f"give a file with {LEAST_BYTES} random bytes or more")
    return key


def make_key(path: Path) -> bool:
    """Draw a secret that only this user may read; False if there is one already."""
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise storage_error(error) from None
    with os.fdopen(number, "w") as file:
        file.write(secrets.token_hex(32) + "\n")
    return True


@dataclass
class Pseudonyms:
    """What stands in a bundle for each id; ``given`` collects what the lab must keep.

    Parameters
    ----------
    key : bytes
        The site's secret.
    """

    key: bytes = field(repr=False)
    given: dict[str, tuple[Kind, str]] = field(default_factory=dict)

    def of(self, kind: Kind, name: str) -> str:
        """The pseudonym of an id, such as ``S-7K3Q9-M2PXW``; empty for an empty one."""
        if not name:
            return ""
        digest = hmac.new(self.key, f"{kind}\0{name}".encode(), hashlib.sha256).digest()
        number = int.from_bytes(digest[:8], "big")
        text = "".join(ALPHABET[number >> 5 * i & 31] for i in range(DIGITS))
        made = f"{LETTERS[kind]}-{text[:5]}-{text[5:]}"
        self.given[made] = (kind, name)
        return made

    def scrub(self, text: str) -> str:
        """A text in which every id that was ever given here stands as its pseudonym.

        Ids are replaced as whole words, longest first; see `SHORT` for those that are words.
        """
        return self._pattern(tuple(self.given)).sub(lambda m: self._new[m[0].lower()], text)

    def _pattern(self, given: tuple[str, ...]) -> re.Pattern[str]:
        if getattr(self, "_known", None) != given:
            self._known = given
            pairs = ((name, made) for made, (_, name) in self.given.items())
            self._new = {name.lower(): made for name, made in pairs if telling(name)}
            names = sorted(self._new, key=lambda name: (-len(name), name))
            words = "|".join(map(re.escape, names)) or r"(?!)"
            flags = re.IGNORECASE
            self._found = re.compile(rf"(?<![A-Za-z0-9])(?:{words})(?![A-Za-z0-9])", flags)
        return self._found


def telling(name: str) -> bool:
    """Whether an id is told from a usual word or number of a text."""
    letters, digits = any(c.isalpha() for c in name), any(c.isdigit() for c in name)
    return (letters and digits) or len(name) > SHORT


def of_rows(names: Pseudonyms, rows: Iterable[SheetRow]) -> None:
    """Make every id of some rows known, so that no text can hold one."""
    for row in rows:
        names.of("case", row.case_id)
        names.of("patient", row.patient_id)
        names.of("slide", row.slide_id)
        names.of("specimen", row.specimen_id)
        names.of("block", row.block_id)


def keep(names: Pseudonyms, path: Path) -> None:
    """Add what was given to the lab's own list, which only this user may read.

    Parameters
    ----------
    names : Pseudonyms
        After a bundle was made.
    path : Path
        Tab-separated: pseudonym, kind, id. What it holds already is kept.
    """
    rows = {made: f"{made}\t{kind}\t{name}" for made, (kind, name) in names.given.items()}
    try:
        old = path.read_text("utf-8").splitlines()[1:] if path.exists() else []
        rows = {line.split("\t")[0]: line for line in old if line} | rows
        part = path.with_name(path.name + ".part")
        part.unlink(missing_ok=True)
        number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "w", encoding="utf-8") as file:
            file.write("\n".join(["pseudonym\tkind\tid", *(rows[k] for k in sorted(rows))]) + "\n")
        part.replace(path)
    except OSError as error:
        raise storage_error(error) from None
