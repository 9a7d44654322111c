"""What print formats can hold: no control characters, no invisible turning of the text."""

import re

_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ud800-\udfff"
    "\ufeff\ufffe\uffff]"
)


def printable(text: str) -> str:
    """Text with each character that no page can show replaced by a mark of replacement."""
    return one_line(_UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text))


def one_line(text: str) -> str:
    """Text without line breaks; spaces that must not break stay."""
    return re.sub(r"[ \t\r\n]+", " ", text).strip(" ")
