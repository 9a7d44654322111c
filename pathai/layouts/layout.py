"""A layout file: sections with their keys, what a person is asked for, and own sentences."""

from fnmatch import fnmatchcase
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from pathai.errors import PathaiError
from pathai.finding import registry
from pathai.finding_values import Frozen
from pathai.language import LANGUAGES, Language, catalog

Per = Literal["case", "specimen", "slide"]
Style = Literal["sentence", "item"]
SUFFIXES = (".yaml", ".yml")
REST = "measurements"


@lru_cache(maxsize=16384)
def _rank(patterns: tuple[str, ...], key: str) -> int | None:
    return next((i for i, p in enumerate(patterns) if fnmatchcase(key, p)), None)


class LayoutSection(Frozen):
    """One heading and the keys below it, in their order; ``*`` in a key stands for any text."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str | dict[Language, str] = Field(
        "", description="a title of the catalogs, own words by language, or none: the slide's name"
    )
    keys: tuple[str, ...] = ()
    per: Per = "specimen"
    style: Style = "item"

    def words(self, language: str) -> str:
        """The heading; own words that lack a language are printed in the first one given."""
        if isinstance(self.title, str):
            return catalog(language).title(self.title) if self.title else ""
        given = {str(code): words for code, words in self.title.items()}
        return given.get(language) or next(iter(given.values()), "")

    def rank(self, key: str) -> int | None:
        """Place of a key among the section's patterns; None where none matches."""
        return _rank(self.keys, key)


class Layout(Frozen):
    """Order of a report.

    ``asks`` are keys that a person enters; ``requires`` those that stand in every report, as *not
    assessed* where nothing is known. ``sentences`` are a laboratory's own wordings by key pattern
    and language, in Jinja2 with ``term``, ``value`` and ``predicted``; each is verified like a
    language model's.
    """

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    title: dict[Language, str]
    sections: tuple[LayoutSection, ...] = Field(min_length=1)
    asks: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    sentences: dict[str, dict[Language, str]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _whole(self) -> "Layout":
        ids = [section.id for section in self.sections]
        if len(set(ids)) != len(ids):
            raise ValueError(f"section {next(i for i in ids if ids.count(i) > 1)} is given twice")
        if ids[-1] != REST:
            raise ValueError(f"the last section must be {REST}; it takes what no other names")
        titles = catalog("en").titles
        for section in self.sections:
            if isinstance(section.title, str) and section.title not in ("", *titles):
                known = ", ".join(sorted(titles))
                raise ValueError(f"section {section.id}: no title {section.title!r}; try {known}")
        return self

    def section(self, key: str) -> LayoutSection:
        """The section of a key: the first that names it, else the last."""
        named = (s for s in self.sections if s.rank(key) is not None)
        return next(named, self.sections[-1])

    def per(self, key: str) -> Per:
        """For what a key stands once: the case, a specimen or a slide."""
        return self.section(key).per

    def own_sentence(self, key: str, language: str) -> str:
        """The laboratory's own wording of a key, if it has one."""
        for pattern, words in self.sentences.items():
            if fnmatchcase(key, pattern):
                return {str(code): text for code, text in words.items()}.get(language, "")
        return ""

    @property
    def digest(self) -> str:
        """SHA-256 of all that the layout says."""
        return sha256(self.model_dump_json().encode()).hexdigest()


def names() -> tuple[str, ...]:
    """The layouts that pathai ships."""
    folder = files("pathai.layouts")
    return tuple(sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml")))


def load_layout(name_or_path: str | Path) -> Layout:
    """Read a shipped layout by its name, or a laboratory's own file by its path.

    Parameters
    ----------
    name_or_path : str or Path
        A name without suffix, or a path that ends in ``.yaml``.

    Raises
    ------
    PathaiError
        E191 for a name that pathai does not ship; E209 naming what is wrong in a file.
    """
    text = str(name_or_path)
    if text.endswith(SUFFIXES):
        path = Path(text)
        try:
            return _read(path.read_text("utf-8"), path.name)
        except (OSError, UnicodeDecodeError) as error:
            raise PathaiError("E209", f"layout {path.name} cannot be read: {error}") from None
    return _shipped(text)


@lru_cache(maxsize=16)
def _shipped(name: str) -> Layout:
    if name not in names():
        raise PathaiError(
            "E191", f"no report template named {name!r}", f"try {', '.join(names())}, or a .yaml"
        )
    return _read(files("pathai.layouts").joinpath(f"{name}.yaml").read_text("utf-8"), name)


def _read(text: str, where: str) -> Layout:
    try:
        layout = Layout.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", 0) + 1
        raise PathaiError("E209", f"layout {where}: line {line} is not YAML") from None
    except RecursionError:
        raise PathaiError("E209", f"layout {where}: nested too deeply") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"] if part not in LANGUAGES)
        message = first["msg"].removeprefix("Value error, ")
        raise PathaiError(
            "E209", f"layout {where}: {place}: {message}" if place else f"layout {where}: {message}"
        ) from None
    except ValueError as error:  # of a number of thousands of digits
        raise PathaiError("E209", f"layout {where}: {str(error)[:200]}") from None
    _check_keys(layout, where)
    return layout


def _check_keys(layout: Layout, where: str) -> None:
    """Refuse keys that no finding can have: a typing error would silently move a line."""
    patterns = [key for section in layout.sections for key in section.keys]
    for pattern in (*patterns, *layout.sentences):
        if not any(fnmatchcase(k, pattern) or fnmatchcase(pattern, k) for k in registry().keys):
            raise PathaiError("E209", f"layout {where}: no finding has a key like {pattern!r}")
    for key in (*layout.asks, *layout.requires):
        try:
            row = registry().find(key)
        except PathaiError:
            raise PathaiError("E209", f"layout {where}: no finding has the key {key!r}") from None
        if key in layout.asks and not row.enterable:
            raise PathaiError("E209", f"layout {where}: a person cannot enter {key}")
        if key in layout.requires and "not_assessed" not in row.statuses:
            raise PathaiError("E209", f"layout {where}: {key} cannot be not assessed")
