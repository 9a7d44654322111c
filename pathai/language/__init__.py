"""Words and number formats of a report's languages; English is the registry's own.

``catalog("fr")`` gives display names, status words, notes, sentence patterns and the fixed words of
documents. A catalog that names no reviewer is unreviewed, and every document must say so.
"""

from pathai.language.catalog import LANGUAGES, Catalog, Language, catalog
from pathai.language.numbers import number_pattern, number_text, parse_number, percent_text

__all__ = [
    "LANGUAGES",
    "Catalog",
    "Language",
    "catalog",
    "number_pattern",
    "number_text",
    "parse_number",
    "percent_text",
]
