"""The page of a bundle: one file in which styles, scripts and data stand, allowed by their hash.

Pictures alone are read from beside it, as plain images: that works from a disk and from any web
server, and nothing else can be loaded.
"""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from pathai import __version__
from pathai.errors import PathaiError
from pathai.page import shipped, template

LIBRARY, LICENCE = "vendor/openseadragon.min.js", "vendor/openseadragon.LICENSE.txt"
VERSION = "vendor/openseadragon.version"
PACKAGE = "pathai.share"


def library() -> tuple[str, str, str]:
    """OpenSeadragon's script, its licence and its version.

    Raises
    ------
    PathaiError
        E194 if the build could not fetch it.
    """
    folder = files(PACKAGE)
    if not all(folder.joinpath(name).is_file() for name in (LIBRARY, LICENCE, VERSION)):
        message = "the viewer library OpenSeadragon is not in this installation"
        remedy = "with network: python envs/openseadragon.py in the source, or install pathai again"
        raise PathaiError("E194", message, remedy)
    lines = shipped(LIBRARY, PACKAGE).replace("\r\n", "\n").splitlines()
    script = "\n".join(line for line in lines if not line.startswith("//# sourceMappingURL="))
    return script, shipped(LICENCE, PACKAGE), shipped(VERSION, PACKAGE).split()[0]


def print_page(
    title: str,
    patient: str,
    story: Mapping[str, Any] | None,
    slides: Sequence[Mapping[str, Any]],
    problems: Sequence[str],
    mark: str,
) -> str:
    """``index.html`` of a bundle.

    Parameters
    ----------
    title : str
        Plain text, as all text here.
    patient : str
        Pseudonym.
    story : dict or None
        See `pathai.share.story.story`.
    slides : sequence of dict
        See `pathai.share.slides.slide_data`.
    problems : sequence of str
        What a reader must know, such as slides that are not here.
    mark : str
        Stands on top, always.
    """
    script, _, version = library()
    own, style = shipped("page.js", PACKAGE), shipped("page.css", PACKAGE)
    for text in (script, own):
        if "</script" in text.lower() or "<!--" in text:
            raise ValueError("a script must not hold a closing tag or the start of a comment")
    data = json.dumps({"story": story, "slides": slides}, ensure_ascii=False, sort_keys=True)
    policy = (
        "default-src 'none'; img-src 'self' file: data:; "
        f"style-src 'sha256-{_hash(style)}'; "
        f"script-src 'sha256-{_hash(script)}' 'sha256-{_hash(own)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    signed = bool(story and story["signed"])
    count = f"{len(slides)} slide{'s' if len(slides) != 1 else ''}"
    # Styles and scripts are the package's own files; everything else is escaped.
    return template("page.html.jinja", PACKAGE).render(
        policy=policy,
        title=title,
        kind="Signed report, research use only" if signed else "Draft for a tumor board",
        patient=patient,
        count=count,
        mark=mark,
        story=story,
        problems=problems,
        version=__version__,
        library=version,
        style=Markup(style),  # noqa: S704
        data=Markup(_in_script(data)),  # noqa: S704
        library_script=Markup(script),  # noqa: S704
        script=Markup(own),  # noqa: S704
    )


def _in_script(text: str) -> str:
    """JSON that cannot end the element in which it stands, nor open another."""
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _hash(text: str) -> str:
    return b64encode(sha256(text.encode()).digest()).decode()
