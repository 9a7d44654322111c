"""The knowledge corpus: definitions, formulas and thresholds in our own words, with their source.

A statement may cite an entry by its id and nothing else; its text is printed by code as a
reference and never enters a prompt. Text of checklists that are under licence is not part of it;
a laboratory names its own documents instead (``documents``).
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import pathai
from pathai.config import explain, read_yaml
from pathai.errors import PathaiError

ID = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
DOI = r"^10\.[0-9]{4,9}/\S+$"
Language = Literal["en", "fr", "es"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(_Frozen):
    """The article that an entry stands on; the DOI only where it was looked up."""

    text: str = Field(min_length=8)
    doi: str = Field("", pattern=rf"^$|{DOI}")


class Entry(_Frozen):
    """One definition; ``keys`` are finding keys, with ``*`` for one word."""

    id: str = Field(pattern=ID)
    keys: tuple[str, ...]
    source: str
    text: dict[Language, str]

    @model_validator(mode="after")
    def _english(self) -> "Entry":
        if not self.text.get("en"):
            raise ValueError(f"{self.id} has no English text")
        return self


class _File(_Frozen):
    schema_version: Literal[1]
    sources: dict[str, Source]
    entries: tuple[Entry, ...]

    @model_validator(mode="after")
    def _sourced(self) -> "_File":
        for entry in self.entries:
            if entry.source not in self.sources:
                raise ValueError(f"{entry.id} names source {entry.source}, which is not there")
        return self


class Reference(NamedTuple):
    """A fixed sentence of a report's list of references."""

    id: str
    text: str
    source: str


class Known(NamedTuple):
    """An entry with the source it names."""

    entry: Entry
    source: Source

    def reference(self, language: str) -> Reference:
        """Its sentence in a language, in English where it has none."""
        texts = {str(code): text for code, text in self.entry.text.items()}
        doi = f", doi:{self.source.doi}" if self.source.doi else ""
        text = texts.get(language) or texts["en"]
        return Reference(self.entry.id, text, f"{self.source.text}{doi}")


def load(folder: Path) -> dict[str, Known]:
    """Every entry of a folder's YAML files by id.

    Raises
    ------
    PathaiError
        E208 naming file and key, or the id that is used twice.
    """
    found: dict[str, Known] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            file = _File.model_validate(read_yaml(path, "E208"))
        except ValidationError as error:
            raise explain(error, path.name, _File, "E208") from None
        for entry in file.entries:
            if entry.id in found:
                message = f"{path.name}: id {entry.id} is used twice"
                raise PathaiError("E208", message, "give each entry its own id")
            found[entry.id] = Known(entry, file.sources[entry.source])
    if not found:
        message = f"no knowledge files in {folder.name}"
        raise PathaiError("E208", message, "install pathai again")
    return found


@lru_cache(maxsize=1)
def corpus() -> dict[str, Known]:
    """The entries that pathai ships, by id."""
    package = Path(pathai.__file__).parent
    inside = package / "_shipped" / "configs" / "knowledge"
    return load(inside if inside.exists() else package.parent / "configs" / "knowledge")


@lru_cache(maxsize=4096)
def for_key(key: str) -> tuple[str, ...]:
    """Ids of the entries on a finding key: those that name it first, then those by pattern."""
    exact, patterned = [], []
    for known in corpus().values():
        if key in known.entry.keys:
            exact.append(known.entry.id)
        elif any("*" in k and _pattern(k).fullmatch(key) for k in known.entry.keys):
            patterned.append(known.entry.id)
    return (*exact, *patterned)


def _pattern(key: str) -> re.Pattern[str]:
    return re.compile(re.escape(key).replace(r"\*", "[a-z0-9_]+"))


def references(ids: Iterable[str], language: str = "en") -> tuple[Reference, ...]:
    """Fixed sentences of entries, each once, in the order given; unknown ids are left out."""
    known = corpus()
    return tuple(known[i].reference(language) for i in dict.fromkeys(ids) if i in known)
