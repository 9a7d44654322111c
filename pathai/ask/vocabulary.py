"""Words that a question may use: the keys of the registry and of the cohort, and their values."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

from pathai.errors import PathaiError
from pathai.finding import (
    CaseFindings,
    Category,
    Key,
    PredictedNumber,
    Prediction,
    plain,
    registry,
)


@lru_cache(maxsize=1)
def words() -> Mapping[str, Any]:
    """The table of words."""
    text = files("pathai.ask").joinpath("words.yaml").read_text("utf-8")
    loaded: Mapping[str, Any] = yaml.safe_load(text)
    return loaded


@dataclass
class Vocabulary:
    """What a question can name.

    Parameters
    ----------
    keys : dict
        Phrase in lower case to key.
    values : dict
        By key, phrase to codes or labels.
    units : dict
        By key of a predicted number, the task's unit.
    parts : dict
        Names of stains, sites, sides and cases, by part and phrase.
    """

    keys: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    parts: dict[str, dict[str, str]] = field(default_factory=dict)

    def row(self, key: str) -> Key:
        """Row of a key in the registry."""
        return registry().find(key)

    def unit(self, key: str) -> str:
        """UCUM unit of a key, or the task's own word of a predicted number."""
        return self.units.get(key, self.row(key).unit)


def vocabulary(cases: Iterable[CaseFindings], language: str = "en") -> Vocabulary:
    """The words of a cohort.

    Parameters
    ----------
    cases : iterable of CaseFindings
        Keys, labels, codes, stains and sites that they hold can be named.
    language : str
        Names of keys in this language count beside the English ones.
    """
    made = Vocabulary(parts={part: {} for part in ("case", "stain", "site", "laterality")})
    cases = list(cases)
    found = {f.key: f for case in cases for f in case.findings}
    for key in [*(k for k in registry().keys if "*" not in k), *sorted(found)]:
        row = registry().find(key)
        made.keys.setdefault(folded(row.name), key)
        made.keys.setdefault(folded(key), key)
        _values(made, key, row)
    for key in sorted(found):
        if key.endswith((".probability", ".predicted_number")):
            name = key.split(".")[0].replace("_", " ")
            for phrase in (name, f"{name} status", f"{name} probability"):
                made.keys.setdefault(folded(phrase), key)
    table = words()
    for named in (table["keys"], table["languages"].get(language, {})):
        for key, phrases in named.items():
            meant = _meant(key, found)
            if meant:
                made.keys.update({folded(phrase): meant for phrase in phrases})
    for case in cases:
        _of_case(made, case)
    return made


def _meant(key: str, found: Iterable[str]) -> str:
    """The cohort's own key for a usual one: ``msi_h.probability`` for ``msi.probability``."""
    if key in registry().keys or key in found:
        return key
    head, _, tail = key.partition(".")
    alike = [k for k in found if k.endswith(f".{tail}") and k.split("_")[0].split(".")[0] == head]
    if len(alike) == 1:
        return alike[0]
    return key if tail == "probability" else ""


def _values(made: Vocabulary, key: str, row: Key) -> None:
    for code in getattr(row, "values", ()) or ():
        made.values.setdefault(key, {}).update(_spellings(str(code)))


def _of_case(made: Vocabulary, case: CaseFindings) -> None:
    made.parts["case"][folded(case.case_id)] = case.case_id
    for specimen in case.specimens:
        for part, name in (("site", specimen.site), ("laterality", specimen.laterality)):
            if name:
                made.parts[part][folded(name)] = name
    for finding in case.findings:
        if finding.stain:
            made.parts["stain"][folded(finding.stain)] = finding.stain
        value = finding.value
        if isinstance(value, Category):
            made.values.setdefault(finding.key, {}).update(_spellings(value.code))
        if isinstance(value, Prediction):
            labels = [label for label in (value.label, *value.set) if label]
            for label in labels:
                made.values.setdefault(finding.key, {}).update({folded(label): label})
        if isinstance(value, PredictedNumber):
            made.units[finding.key] = value.unit


def _spellings(code: str) -> dict[str, str]:
    """Ways to write a code: ``2plus`` as 2+, ``not_identified`` as two words, ``gg3`` as gg 3."""
    spaced = code.replace("_", " ")
    forms = {code, spaced, spaced.replace("plus", "+")}
    return {folded(form): code for form in forms}


def folded(text: str) -> str:
    """Lower case, one kind of space and dash."""
    text = text.casefold().replace("–", "-").replace("‑", "-").replace("_", " ")
    return " ".join(text.split())


def nearest(word: str, made: Vocabulary) -> str:
    """A known phrase that looks like an unknown word; empty if none does."""
    from difflib import get_close_matches

    table = words()
    known = [
        *made.keys,
        *table["skipped"],
        *(p for ps in table["comparisons"].values() for p in ps),
    ]
    return next(iter(get_close_matches(word, known, n=1, cutoff=0.75)), "")


def not_understood(word: str, made: Vocabulary) -> PathaiError:
    """E213 naming a word."""
    near = nearest(word, made)
    near = "" if near == word else near
    remedy = f"did you mean {near}?" if near else "see pathai ask --help for examples"
    return PathaiError("E213", f"the question is not understood at {word!r}", remedy)


def same_name(a: str, b: str) -> bool:
    """Whether two names are one, whatever their case, spaces and dashes."""
    return plain(a) == plain(b)
