"""A view as one HTML page: nothing is loaded, nothing runs, styles by hash.

A sentence can be focused; while it is hovered, clicked or focused, CSS alone shows the pictures of
its place. Each picture stands once in the page, in a figure at the end; sentences show it by an SVG
``use``, so that many sentences on one place cost no bytes.
"""

from base64 import b64encode
from functools import lru_cache
from hashlib import sha256

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup

from pathai.page import shipped
from pathai.report.documents.view import View


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = SandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["b64"] = lambda data: b64encode(data).decode()
    return environment.from_string(shipped("templates/draft.html.jinja", "pathai.report"))


def print_html(shown: View) -> str:
    """HTML of a view."""
    style = shipped("templates/draft.css", "pathai.report")
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    # The style is the package's own file; everything else is escaped.
    return _template().render(
        view=shown,
        words=shown.words,
        style=Markup(style),  # noqa: S704
        policy=policy,
    )
