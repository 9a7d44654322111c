"""The registry of findings: which keys there are, and which values each of them admits.

The rows are in ``finding_keys/*.yaml``. A key says which kind of value, unit, status, method and
stain it admits, so a model's probability on H&E and a count on an immunostain can never share one.
"""

import re
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

import yaml
from pydantic import Field, PrivateAttr, model_validator

from pathai.errors import PathaiError
from pathai.finding_values import Frozen, Number

KEY = r"^[a-z0-9_]+(\.[a-z0-9_]+)+$"
Status = Literal[
    "measured",
    "predicted",
    "observed",
    "not_detected",
    "not_assessed",
    "indeterminate",
    "failed",
]
Group = Literal["case", "prediction", "cells", "tissue"]
MethodKind = Literal["count", "geometry", "mil", "rule", "manual"]
PREDICTED = {"prediction": ".probability", "predicted_number": ".predicted_number"}
"""Types of value that a model gives, and how their keys end."""
UNSTATED = "unstated"
"""Stands among a key's stains for a slide whose stain the sheet does not say."""
MOST_DECIMALS = 6


class Key(Frozen):
    """One row of the registry."""

    name: str
    group: Group
    type: Literal["quantity", "category", "sum", "prediction", "predicted_number"]
    unit: str = "1"
    decimals: int = Field(0, ge=0, le=6)
    minimum: Number | None = None
    maximum: Number | None = None
    ratio: bool = False
    counts: str = ""
    statuses: tuple[Status, ...]
    methods: tuple[MethodKind, ...]
    stains: tuple[str, ...] = ()
    per: Literal["slide", "specimen"] = "slide"
    """What an entry of a person belongs to where it names no slide."""
    vocabulary: str = ""
    values: tuple[str, ...] = ()
    """Codes of the vocabulary, which alone a category may hold."""
    parts: int = 0
    part_minimum: int = 0
    part_maximum: int = 0
    cuts: tuple[Number, ...] = ()
    """Thresholds of the key's rules: printing never moves a value across or onto one."""
    criticality: Literal["critical", "major", "minor"] = "minor"
    loinc: str = Field("", pattern=r"^([0-9]+-[0-9])?$")
    snomed: str = Field("", pattern=r"^[0-9]*$")
    doi: str = Field("", pattern=r"^(10\.[0-9]{4,9}/\S+)?$")
    rules: tuple[str, ...] = ()

    def places(self, value: Decimal) -> int:
        """Decimals with which ``value`` is printed: the row's, or as many as keep it off a cut.

        A fraction of 0.9 % is below the cut at 1 % and would be printed as 1 % without them. Of a
        percentage none and all are cuts, too: 0.2 % is not printed as 0 %.
        """
        cuts = (*self.cuts, *((Decimal(0), Decimal(100)) if self.unit == "%" else ()))
        for decimals in range(self.decimals, MOST_DECIMALS):
            printed = _quantized(value, decimals)
            if all(value.compare(cut) == printed.compare(cut) for cut in cuts):
                return decimals
        return MOST_DECIMALS

    def rounded(self, value: Decimal) -> Decimal:
        """``value`` as it is printed."""
        return _quantized(value, self.places(value))

    def suits(self, family: str) -> bool:
        """Whether a value may stand on a slide of this stain family (empty if unknown)."""
        return not self.stains or (family or UNSTATED) in self.stains

    @property
    def enterable(self) -> bool:
        """Whether a person may enter or correct it."""
        return "observed" in self.statuses and "manual" in self.methods


def _quantized(value: Decimal, decimals: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN)


class Keys(Frozen):
    """The registry of keys, units, stains, vocabularies, terms, notes and flags."""

    schema_version: Literal[1]
    units: dict[str, str]
    stains: dict[str, tuple[str, ...]]
    markers: dict[str, tuple[str, ...]]
    terms: dict[str, str]
    notes: dict[str, str]
    flags: dict[str, str]
    vocabularies: dict[str, dict[str, str]]
    once_per_slide: tuple[str, ...] = ()
    keys: dict[str, Key]
    _named: dict[str, Key] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _apart(self) -> "Keys":
        for pattern, key in self.keys.items():
            for kind, ending in PREDICTED.items():
                if (key.type == kind) != pattern.endswith(ending):
                    raise ValueError(f"{pattern}: a {kind}, and only it, ends in {ending}")
            if (key.type in PREDICTED) != ("mil" in key.methods):
                raise ValueError(f"{pattern}: a model predicts, and only a model")
            if key.unit not in self.units or not set(key.stains) <= {*self.stains, UNSTATED}:
                raise ValueError(f"{pattern}: unknown unit or stain")
            if (key.type == "category") != bool(key.values):
                raise ValueError(f"{pattern}: a category, and only it, has a vocabulary")
            if (key.type == "sum") != (key.parts > 1):
                raise ValueError(f"{pattern}: a sum, and only it, has parts")
        return self

    def find(self, key: str) -> Key:
        """Row of ``key``, its ``{name}`` filled in for a key with ``*``.

        Raises
        ------
        PathaiError
            E200 if the registry has no such key; add it to ``finding_keys/``.
        """
        if "*" not in key and key in self.keys:
            return self.keys[key]
        if key not in self._named:
            self._named[key] = self._filled(key)
        return self._named[key]

    def _filled(self, key: str) -> Key:
        for pattern, row in self.keys.items():
            if "*" in pattern and re.fullmatch(KEY, key):
                head, _, tail = pattern.partition("*")
                name = key[len(head) : len(key) - len(tail)] if tail else key[len(head) :]
                if key == head + name + tail and name and "." not in name:
                    words = name.replace("_", " ")
                    return row.model_copy(update={"name": row.name.replace("{name}", words)})
        raise PathaiError("E200", f"no finding key {key!r}", "add it to finding_keys/")

    def words(self, key: str, code: str) -> str:
        """English words of a code of ``key``'s vocabulary."""
        return self.vocabularies[self.find(key).vocabulary][code]

    def stained(self, key: str, stain: str) -> bool:
        """Whether ``key`` may have a value on a slide of this stain, as the sheet spells it.

        A count on one immunostain, or on H&E, is never a value of another marker.
        """
        row = self.find(key)
        own = self.markers.get(key.split(".")[0])
        if row.stains and row.type not in PREDICTED and own:
            return plain(stain) in {plain(s) for s in own}
        return row.suits(self.family(stain))

    def family(self, stain: str) -> str:
        """Stain family (``he``, ``ihc``) of a sheet's word; empty if unknown."""
        for family, spellings in self.stains.items():
            if plain(stain) in {plain(s) for s in spellings}:
                return family
        return ""


@lru_cache(maxsize=4096)
def plain(text: str) -> str:
    """Lower-case letters and digits only, for comparing names typed by people."""
    return re.sub(r"[^a-z0-9]", "", text.casefold())


@lru_cache(maxsize=1)
def registry() -> Keys:
    """The registry that pathai ships."""
    folder = files("pathai").joinpath("finding_keys")
    data: dict[str, Any] = yaml.safe_load(folder.joinpath("words.yaml").read_text("utf-8"))
    data["keys"] = {}
    for name in ("case", "prostate", "breast", "stains", "colorectal", "cells"):
        text = folder.joinpath(f"{name}.yaml").read_text("utf-8")
        data["keys"].update(yaml.safe_load(text)["keys"])
    for row in data["keys"].values():
        row["values"] = tuple(data["vocabularies"].get(row.get("vocabulary", ""), {}))
    return Keys.model_validate(data)
