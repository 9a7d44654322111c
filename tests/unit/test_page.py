"""A page loads nothing, runs nothing but its own script, and keeps foreign text inert."""

import re
from base64 import b64decode, b64encode
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO

import jinja2
import numpy as np
import pytest
from PIL import Image

from pathai.page import number, page, template, thumbnail


class Tags(HTMLParser):
    """Every element with its attributes, and the text of styles and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.code: dict[str, str] = {}
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {k: v or "" for k, v in attrs}))
        self._open = tag

    def handle_data(self, data):
        if self._open in ("style", "script"):
            self.code[self._open] = self.code.get(self._open, "") + data

    def handle_endtag(self, tag):
        self._open = ""


def policy(tags: Tags) -> str:
    [found] = [a["content"] for t, a in tags.tags if a.get("http-equiv")]
    return found


def quoted(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def test_policy_allows_this_style_and_this_script_only():
    tags = Tags(page("T", "<p>é</p>", "p { color: red }", "const é = 1;\nconsole.log(é);"))
    rules = dict(rule.strip().split(" ", 1) for rule in policy(tags).split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert rules["style-src"] == quoted(tags.code["style"])
    assert rules["script-src"] == quoted(tags.code["script"])
    assert "unsafe" not in policy(tags)


def test_no_script_means_none():
    tags = Tags(page("T", "<p></p>"))
    assert "script-src 'none'" in policy(tags)
    assert "script" not in {tag for tag, _ in tags.tags}


def test_nothing_is_loaded_from_elsewhere():
    text = page("T", "<p></p>", "", "1;")
    assert not re.search(r"(?i)https?:|//[a-z]|@import|url\(", text)


def test_title_is_escaped():
    tags = Tags(page("</title><script>alert(1)</script>", ""))
    assert "script" not in {tag for tag, _ in tags.tags}


@pytest.mark.parametrize("hurt", [{"style": "a{}</STYLE>"}, {"script": "'</script>'"},
                                  {"script": "a\r\n"}, {"style": "\0"}])  # fmt: skip
def test_style_and_script_cannot_end_their_element(hurt):
    with pytest.raises(ValueError, match="must not contain"):
        page("T", "", **hurt)


def test_templates_escape_and_refuse_what_is_missing():
    # The loader takes package files; the same environment is used for a string.
    shell = template("page.css", "pathai").environment
    hostile = '"><script>alert(1)</script>'
    shown = shell.from_string('<a title="{{ x }}">{{ x }}</a>').render(x=hostile)
    [(tag, attrs)] = Tags(shown).tags
    assert (tag, attrs["title"]) == ("a", hostile)
    with pytest.raises(jinja2.UndefinedError):
        shell.from_string("{{ absent }}").render()


def test_thumbnail_fits_and_shows_the_picture():
    pixels = np.zeros((300, 900, 3), np.uint8)
    pixels[:, :450, 0] = 255
    pixels[:, 450:, 2] = 255
    url = thumbnail(pixels, 192, 144)
    head, _, data = url.partition(",")
    assert head == "data:image/jpeg;base64"
    image = np.asarray(Image.open(BytesIO(b64decode(data))))
    assert image.shape == (64, 192, 3)
    assert (image[32, 20].argmax(), image[32, 170].argmax()) == (0, 2)
    assert url == thumbnail(pixels, 192, 144)


def test_a_small_picture_is_not_enlarged():
    data = thumbnail(np.zeros((5, 7, 3), np.uint8), 192, 144).partition(",")[2]
    assert Image.open(BytesIO(b64decode(data))).size == (7, 5)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(1234567.0, 0, "1,234,567"), (0.125, 2, "0.12"), (None, 0, "–"), (float("nan"), 1, "–")],
)
def test_number(value, digits, text):
    assert number(value, digits) == text
