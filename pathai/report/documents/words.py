"""Fixed words of documents, by language."""

from functools import lru_cache
from importlib.resources import files

import yaml


class Words:
    """Words of one language; a word that is missing is an error."""

    def __init__(self, language: str, table: dict[str, str]) -> None:
        self.language = language
        self._table = table

    def __call__(self, name: str, **values: object) -> str:
        """The words of a name, with its values filled in."""
        return self._table[name].format(**values) if values else self._table[name]

    def names(self) -> set[str]:
        """What this language has words for."""
        return set(self._table)


@lru_cache(maxsize=1)
def _tables() -> dict[str, dict[str, str]]:
    text = files("pathai.report.documents").joinpath("words.yaml").read_text("utf-8")
    tables: dict[str, dict[str, str]] = yaml.safe_load(text)
    return tables


def words_of(language: str) -> Words:
    """Words of a language (``en``, ``fr``, ``es``)."""
    return Words(language, _tables()[language])


def languages() -> tuple[str, ...]:
    """Languages that documents are printed in."""
    return tuple(_tables())
