"""The oracle's part for sentences that come from tables; it reads their files as plain data."""

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

__all__ = ["judge_tables"]

Data = Mapping[str, Any]


def judge_tables(draft: Data, case: Data) -> list[tuple[str, str]]:
    """Contradictions, suggestions, context, references: all that must stand there, no others."""
    wrong = []
    rows = draft["fixed"]
    for kind in ("contradiction", "suggestion"):
        wanted = sorted((x["rule"], tuple(x["findings"])) for x in case[f"{kind}s"])
        given = [x for x in rows if x["kind"] == kind]
        if wanted != sorted((x["id"], tuple(x["findings"])) for x in given):
            wrong.append((kind, "fixed"))
        wrong += [(kind, x["id"]) for x in given if not _of_table(x, draft["language"])]
    context = {x["id"]: x for x in case["context"]}
    given = [x for x in rows if x["kind"] == "context"]
    if len({x["id"] for x in given}) != len(given):
        wrong.append(("context", "fixed"))
    wrong += [("context", x["id"]) for x in given if not _of_context(x, context)]
    return wrong + _judge_references(draft, case)


def _judge_references(draft: Data, case: Data) -> list[tuple[str, str]]:
    """A reference is an entry of the corpus in its own words, and what is cited is printed."""
    rows = [x for x in draft["fixed"] if x["kind"] == "reference"]
    texts = " ".join(s["text"] for section in draft["sections"] for s in section["statements"])
    cited = set(re.findall(r"\{K:([a-z0-9_-]+)\}", texts))
    wrong = [("citation", i) for i in cited - {x["id"] for x in rows}]
    known = {f["id"] for f in case["findings"]}
    for row in rows:
        entry = corpus().get(row["id"])
        own = entry is not None and _quotes(row, entry, draft["language"])
        if not own or not set(row["findings"]) <= known:
            wrong.append(("citation", row["id"]))
    return wrong


def _quotes(row: Data, entry: Data, language: str) -> bool:
    return entry["text"][language] in row["text"] and entry["doi"] in row["source"]


@lru_cache(maxsize=1)
def corpus() -> dict[str, Data]:
    """Entries of the shipped corpus by id, with the DOI of their source."""
    package = Path(str(files("pathai")))
    inside = package / "_shipped" / "configs" / "knowledge"
    folder = inside if inside.exists() else package.parent / "configs" / "knowledge"
    entries: dict[str, Data] = {}
    for path in sorted(folder.glob("*.yaml")):
        data = yaml.safe_load(path.read_text("utf-8"))
        for entry in data["entries"]:
            source = data["sources"].get(entry["source"], {})
            entries[entry["id"]] = {**entry, "doi": source.get("doi", "")}
    return entries


@lru_cache(maxsize=1)
def _tables() -> dict[str, Data]:
    folder = files("pathai").joinpath("rules")
    tables: dict[str, Data] = {}
    for kind in ("contradiction", "suggestion"):
        text = folder.joinpath(f"{kind}s.yaml").read_text("utf-8")
        tables[kind] = yaml.safe_load(text)["rules"]
    return tables


def _of_table(row: Data, language: str) -> bool:
    """Whether a fixed sentence has the words of its table, and names no other source."""
    entry = _tables()[row["kind"]].get(row["id"])
    if entry is None:
        return False
    return row["text"] == entry[language] and row["source"] in ("", entry["doi"])


def _of_context(row: Data, context: Mapping[str, Data]) -> bool:
    """The value as it was given stands in the sentence, which is one sentence or a row."""
    item = context.get(row["id"])
    if item is None or str(item["value"]) not in row["text"]:
        return False
    rest = row["text"].replace(str(item["value"]), "").replace(item["unit"], "")
    return not re.search(r"\d", rest.replace(row["id"], "")) and not re.search(r"\. \w", rest)
