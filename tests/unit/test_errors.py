import re

import pytest

from pathai.errors import CODES, PathaiError


def test_every_code_has_a_title_and_a_remedy_in_one_line():
    for code, row in CODES.items():
        assert re.fullmatch(r"E\d{3}", code)
        assert row.title
        assert row.remedy
        assert "\n" not in row.title + row.remedy


def test_message_names_subject_once_and_ends_with_the_remedy():
    error = PathaiError("E130", "no µm per pixel\nin the file")
    named = error.about("S1").about("S1")
    assert str(named) == f"E130: S1: no µm per pixel in the file; {CODES['E130'].remedy}"


def test_unknown_code_is_a_mistake_of_the_programmer():
    with pytest.raises(ValueError, match="E000"):
        PathaiError("E000", "x")
