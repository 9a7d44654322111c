"""What a person asserts at each step: a name, and where it is asked for a reason."""

import re

from pathai.config import ID_PATTERN
from pathai.errors import PathaiError


def check_reason(reason: str) -> None:
    """Refuse an empty reason (E193)."""
    if not reason.strip():
        raise PathaiError("E193", "a reason is needed", "say in a few words why")


def check_reader(reader: str) -> None:
    """Refuse a name that cannot stand in a trail (E193)."""
    if not re.fullmatch(ID_PATTERN, reader) or ".." in reader:
        remedy = "give --reader with letters, digits, dot, dash or underscore"
        raise PathaiError("E193", f"reader {reader!r} cannot stand in the trail", remedy)
