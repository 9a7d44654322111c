"""Sentences from a language's catalog: no weights, milliseconds, the same bytes every time."""

from collections.abc import Sequence
from functools import lru_cache

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from pathai.config import ReportConfig
from pathai.drafters.base import Engine, Line, Phrasing
from pathai.errors import PathaiError
from pathai.language import catalog
from pathai.layouts import Layout, load_layout


class TemplateDrafter:
    """Phrase every line by the language's patterns, or by the layout's own wording.

    Parameters
    ----------
    section : ReportConfig
        ``template`` names the layout or the path of its file.

    Raises
    ------
    PathaiError
        E191 for an unknown layout; E209 for a wrong file or a wording that is no Jinja2.
    """

    def __init__(self, section: ReportConfig) -> None:
        self._layout = load_layout(section.template)
        for words in self._layout.sentences.values():
            for text in words.values():
                _say(_compiled(text), self._layout, "T:key", "F1")
        self.engine = Engine(name="template", model=self._layout.name)

    def phrase(self, lines: Sequence[Line]) -> Phrasing:
        """Return one sentence per line; it never fails and never flags."""
        return Phrasing(texts=tuple(self._text(line) for line in lines))

    def plain(self, lines: Sequence[Line]) -> tuple[str, ...]:
        """The catalog's own sentences, which are printed where another is refused."""
        return tuple(self._plain(line) for line in lines)

    def _text(self, line: Line) -> str:
        own = self._layout.own_sentence(line.key, line.language)
        if not own or line.status not in ("measured", "observed", "predicted"):
            return self._plain(line)
        return _say(_compiled(own), self._layout, f"T:{line.key}", line.finding)

    def _plain(self, line: Line) -> str:
        style = self._layout.section(line.key).style
        pattern = catalog(line.language).sentence(line.status, style)
        slots = {"term": f"{{T:{line.key}}}", "value": f"{{{line.finding}}}"}
        return pattern.format(**slots, predicted="{T:predicted}")


@lru_cache(maxsize=256)
def _compiled(text: str) -> Template:
    # Plain text, not HTML: the page that shows the sentence escapes it.
    environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    try:
        return environment.from_string(text)
    except TemplateError as error:
        raise PathaiError("E209", f"sentence {text!r}: {error}") from None


def _say(template: Template, layout: Layout, term: str, finding: str) -> str:
    slots = {"term": f"{{{term}}}", "value": f"{{{finding}}}", "predicted": "{T:predicted}"}
    try:
        return " ".join(template.render(slots).split())
    except (TemplateError, ArithmeticError, TypeError, ValueError) as error:
        message = f"layout {layout.name}: a sentence cannot be written: {error}"
        raise PathaiError("E209", message) from None
