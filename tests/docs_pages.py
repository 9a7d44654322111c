"""README and pages of the documentation, and the code blocks on them."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = ("README.md", *(f"docs/{p.name}" for p in sorted(DOCS.glob("*.md"))))
_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block; ``title`` is the file that it shows, if it shows one."""

    page: str
    language: str
    title: str
    text: str


def blocks(page: str) -> list[Block]:
    """Fenced blocks of a page, in order."""
    text = (ROOT / page).read_text("utf-8")
    return [Block(page, *found) for found in _BLOCK.findall(text)]


def script(name: str) -> ModuleType:
    """A script of ``docs/`` as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
