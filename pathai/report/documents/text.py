"""A view as Markdown."""

import re
from functools import lru_cache

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup

from pathai.page import shipped
from pathai.report.documents.printable import one_line
from pathai.report.documents.view import View


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = SandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=False,
        finalize=_escaped,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.from_string(shipped("templates/draft.md.jinja", "pathai.report"))


def _escaped(text: object) -> object:
    """Text that Markdown would act on, shown as it is; no line of it starts a block."""
    if isinstance(text, Markup):
        return text
    return re.sub(r"([\\`*_{}\[\]<>#|~])", r"\\\1", one_line(str(text)))


def print_markdown(shown: View) -> str:
    """Markdown of a view."""
    return _template().render(view=shown, words=shown.words)
