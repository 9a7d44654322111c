"""Sentences from a template: no weights, milliseconds, the same bytes every time."""

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import SandboxedEnvironment

from pathai.config import ReportConfig
from pathai.drafters.base import Engine, Line, Phrasing
from pathai.errors import PathaiError


@lru_cache(maxsize=8)
def _load(name: str) -> Template:
    path = files("pathai.drafters").joinpath("templates", f"{name}.jinja")
    if not name.isidentifier() or not path.is_file():
        raise PathaiError("E191", f"no report template named {name!r}", "try generic")
    # Plain text, not HTML: the page that shows the sentence escapes it.
    environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    return environment.from_string(path.read_text("utf-8"))


class TemplateDrafter:
    """Phrase every line by the template that the configuration names."""

    def __init__(self, section: ReportConfig) -> None:
        self._template = _load(section.template)
        self.engine = Engine(name="template", model=section.template)

    def phrase(self, lines: Sequence[Line]) -> Phrasing:
        """Return one sentence per line; it never fails and never flags."""
        texts = (self._template.render(line=line, slot="{" + line.finding + "}") for line in lines)
        return Phrasing(texts=tuple(" ".join(text.split()) for text in texts))
