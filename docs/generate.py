"""Write the generated parts of the documentation: `python docs/generate.py`.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->` on a page; what it says is
taken from the program, so that nothing is typed twice. A test fails while a part is stale.
"""

import json
import re
import runpy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

DOCS = Path(__file__).resolve().parent
BLOCK = re.compile(r"(<!-- generated: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

SAID = {
    "schema_version": "version of this file's layout",
    "sheet": "the sheet, one row per slide",
    "results": "folder of the results",
    "models": "folder of the models trained here",
    "reviews": "folder of a person's decisions; no step writes there",
    "tile.seconds": "wall clock per slide",
    "tile.memory_mib": "address space of the child",
    "features.encoders": "encoders to run; `pathai list encoders`",
    "features.batch": "tiles at a time; lower it when memory is short",
    "features.color": "colors of the tiles",
    "cells.detector": "detector to run; `pathai list detectors`",
    "train.learning_rate": "step size of the optimizer",
    "train.weight_decay": "pull of the weights toward 0",
    "train.hidden": "width of hidden layers",
    "train.dropout": "share of hidden units dropped in training",
    "train.device": "where it is trained",
    "train.seed": "start of all random numbers",
    "report.template": "layout of the report: one of `pathai list templates`, or a `.yaml` file",
    "report.drafter": "who phrases the draft; `pathai list drafters`",
    "report.llm": "a local language model, for drafters `openai-compatible` and `local`",
    "report.llm.base_url": "address of the server, on this machine",
    "report.llm.model": "name of the model on the server",
    "report.llm.seconds": "time for the whole draft of a case",
    "report.language": "language of the draft",
    "report.codes": "codes of outside systems in what is exported",
    "cohort.title": "title of the cohort page",
    "run.slides_per_job": "slides per job; more start less often",
    "task.name": "names the model and its results",
    "task.question": "the question, as a person reads it",
    "task.kind": "kind of answer",
    "task.unit": "what is scored: one label per patient, or per slide",
    "task.encoder": "encoder whose features are used",
    "task.head": "how tiles become an answer; `pathai list heads`",
    "task.stains": "stains of the sheet that the model is for; others get no answer",
    "task.limits": "sentences for the model's card",
    "task.train_on": "sheet column: value of the slides to train on; without it, all",
}
"""What a key means, where its model has no description of its own (never both)."""

STATUSES = {"background": "glass, or not tissue", "tissue": "what is analyzed",
            "pen": "marker ink", "dark": "black fill of the scanner",
            "unreadable": "pixels that could not be read", "edge": "edge of the coverslip",
            "blur": "tissue out of focus", "fold": "tissue that lies on itself",
            "bubble": "air under the coverslip"}  # fmt: skip


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in r) + " |" for r in lines
    )


# --- settings --------------------------------------------------------------------------------


def _kind(annotation: Any) -> str:
    """A type as a person reads it."""
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    if getattr(annotation, "__args__", None) and "Annotated" in text:
        return _kind(annotation.__args__[0])
    if "Literal" in text:
        return " or ".join(repr(v) if v != "" else "empty" for v in annotation.__args__)
    text = text.replace("typing.", "").replace("NoneType", "None")
    words = {"str": "text", "float": "number", "int": "whole number", "bool": "true or false",
             "tuple[str, ...]": "list of text", "tuple[str, str]": "two texts",
             "tuple[float, float]": "two numbers",
             "dict[str, str]": "column: value",
             "dict[str, dict[str, str]]": "column: value: layout", "float | None": "number",
             "int | None": "whole number"}  # fmt: skip
    if "Candidate" in text or "Target" in text:
        return "list of sections"
    if "LlmConfig" in text or "ColorConfig" in text or "CodesConfig" in text or "Abstain" in text:
        return "section"
    return words[text]


def _default(field: Any) -> str:
    if field.default_factory is not None:
        return "none"
    if field.default is PydanticUndefined:
        return "required"
    value = field.default
    if value is None or value in ("", (), {}):
        return "none"
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def described(model: type[BaseModel], prefix: str) -> list[tuple[str, str, str, str]]:
    """Key, type, default and meaning of each field of a section."""
    rows = []
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        if (key in SAID) == bool(field.description):
            raise SystemExit(f"{key}: say what it means, in its model or in SAID, not in both")
        said = field.description or SAID[key]
        rows.append((f"`{key}`", _kind(field.annotation), _default(field), said))
    return rows


def configuration() -> str:
    """Every key of the configuration, a table per section."""
    from pathai.config import Candidate, CodesConfig, ColorConfig, Config, LlmConfig, Section

    head = ("key", "type", "default", "means")
    sections = {
        name: field.annotation
        for name, field in Config.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
    }
    plain = {n: f for n, f in Config.model_fields.items() if n not in sections}
    top = type("Top", (), {"model_fields": plain})
    parts = ["## The run", table(head, described(top, ""))]
    for name, model in sections.items():
        rows = described(model, f"{name}.")
        if name == "report":
            rows += described(LlmConfig, "report.llm.") + described(CodesConfig, "report.codes.")
        if name == "features":
            rows += described(ColorConfig, "features.color.")
        if name == "train":
            rows += described(Candidate, "train.search[].")
        parts += [f"## {name}", (model.__doc__ or "").strip(), table(head, rows)]
    return "\n\n".join(parts)


def task() -> str:
    """Every key of a task file."""
    from pathai.task import Abstain, Task

    rows = described(Task, "task.") + described(Abstain, "task.abstain.")
    return table(
        ("key", "type", "default", "means"), [(k.replace("task.", ""), *rest) for k, *rest in rows]
    )


def tasks() -> str:
    """The task files that are shipped: what each asks, in its own words."""
    folder = DOCS.parent / "configs" / "tasks"
    return "\n\n".join(_task(file) for file in sorted(folder.glob("*.yaml")))


def _task(file: Path) -> str:
    """A task file's leading comment, its answers, and its limits."""
    import yaml

    text = file.read_text("utf-8")
    comment = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    data = yaml.safe_load(text)
    rows = [_asked(one) for one in (data, *data.get("targets", ()))]
    shared = [f"encoder `{data['encoder']}`", f"head `{data['head']}`", f"per {data['unit']}",
              f"stains {', '.join(data['stains'])}"]  # fmt: skip
    for key, said in (("tile_tables", "tables per tile"), ("covariates", "with")):
        shared += [f"{said} {', '.join(f'`{v}`' for v in data[key])}"] if data.get(key) else []
    return "\n\n".join(
        (
            f"## {data['name']}",
            "\n".join(comment).strip(),
            table(("question", "kind", "column", "answers"), rows),
            f"As shipped: {'; '.join(shared)}.",
            "Limits:",
            "\n".join(f"- {limit}" for limit in data["limits"]),
        )
    )


def _asked(data: dict[str, Any]) -> tuple[str, str, str, str]:
    columns = [data["label"], *(data[key] for key in ("time", "total") if key in data)]
    answers = [f"`{name}`" for name in data.get("classes", ())] or [data.get("unit_of_value", "")]
    return (
        data["question"],
        data.get("kind", "binary"),
        ", ".join(f"`{c}`" for c in columns),
        ", ".join(answers),
    )


def sheet() -> str:
    """Columns of the sheet."""
    from pathai.sheet import COLUMNS, REQUIRED, SheetRow

    rows = []
    for name in COLUMNS:
        field = SheetRow.model_fields[name]
        kind = _kind(field.annotation)
        needed = "yes" if name in REQUIRED else "no"
        rows.append((f"`{name}`", needed, kind, _default(field), field.description or ""))
    shown = [(n, q, k, "" if d == "required" else d, s) for n, q, k, d, s in rows]
    return table(("column", "required", "type", "if empty", "means"), shown)


def stains() -> str:
    """Words of column stain, by what they mean."""
    from pathai.stain import IMMUNOSTAINS, STAINS

    names = [name for name in STAINS if not STAINS[name].is_dab]
    brown = [name for name in STAINS if STAINS[name].is_dab] + list(IMMUNOSTAINS)
    rows = [(", ".join(f"`{n}`" for n in names), "hematoxylin and eosin"),
            (", ".join(f"`{n}`" for n in brown), "hematoxylin and DAB")]  # fmt: skip
    return table(("stain", "means"), rows)


# --- lists of the program --------------------------------------------------------------------


def verbs() -> str:
    """Every command with its first line of help."""
    from typer.main import get_command

    from pathai.cli import app

    rows = []
    for name, command in get_command(app).commands.items():
        inner = getattr(command, "commands", None)
        found = {f"{name} {k}": v for k, v in inner.items()} if inner else {name: command}
        rows += [(f"`pathai {k}`", v.get_short_help_str(200)) for k, v in found.items()]
    return table(("command", "does"), rows)


def errors() -> str:
    """The table of error codes."""
    from pathai.errors import CODES

    rows = [(f"`{code}`", row.title, row.remedy) for code, row in sorted(CODES.items())]
    return _linked(table(("code", "what is wrong", "what to do"), rows))


def _linked(text: str) -> str:
    """Pages named in a text as links."""
    return re.sub(r"docs/([a-z-]+)\.md", r"[\1](\1.md)", text)


def encoders() -> str:
    """Published encoders, from their cards."""
    from pathai.encoders.cards import CARDS
    from pathai.encoders.table import HEAD, row

    rows = []
    for card in CARDS.values():
        name, tile, mpp, *rest = row(card)
        rows.append((f"`{name}`", f"{tile.removesuffix(' px')} at {mpp}", *rest))
    return table((HEAD[0], "px at µm/px", *HEAD[3:]), rows)


def facts() -> str:
    """What each card says beside the table, and where it was read."""
    from pathai.encoders.cards import CARDS

    return "\n".join(_card(card) for card in CARDS.values())


def _card(c: Any) -> str:
    fit = {
        "none": "",
        "resize": f", resized to {c.input_px}",
        "crop": f", of it the middle {c.input_px}",
    }
    words = {"class": "class token", "class+mean": "class token and mean of the patches",
             "mean": "mean of the patches", "pooled": "pooled by the network"}  # fmt: skip
    counted = f"{c.parameters:,} {'counted' if c.buildable else 'said'}"
    lines = [f"### {c.title} {{#{c.name}}}", "",
             f"`{c.name}`: {c.tile_px} px{fit[c.fit]}; {words[c.rule]}; "
             f"{c.published} parameters as published, {counted}; "
             f"`{c.repo}`, {c.paper}."]  # fmt: skip
    lines += ["", "In doubt: " + "; ".join(c.doubts) + "."] if c.doubts else []
    return "\n".join([*lines, "", "Sources: " + ", ".join(c.sources) + ".", ""])


def findings() -> str:
    """The registry of findings."""
    from pathai.finding import registry

    book = registry()
    rows = []
    for key, row in book.keys.items():
        unit = book.units[row.unit] or {"prediction": "probability"}.get(row.type, "number")
        unit = {"category": ", ".join(row.values), "sum": "sum"}.get(row.type, unit)
        name = row.name.replace("{name}", "*")
        statuses = ", ".join(s.replace("_", " ") for s in row.statuses)
        rows.append((f"`{key}`", name, unit, statuses, row.loinc, _source(row.doi)))
    return table(("key", "what it is", "unit or codes", "status", "LOINC", "source"), rows)


def _source(doi: str) -> str:
    return f"[doi](https://doi.org/{doi})" if doi else ""


def derivations() -> str:
    """What follows by rule."""
    from pathai.rules import tables

    rows = [(f"`{k}`", r["says"], _source(r["doi"])) for k, r in tables.derivations().items()]
    return table(("rule", "what follows", "source"), rows)


def contradictions() -> str:
    """What cannot all be true."""
    from pathai.rules import tables

    found = tables.contradictions().items()
    rows = [(f"`{k}`", t.en, "yes" if t.error else "no", _source(t.doi)) for k, t in found]
    return table(("rule", "what is said", "stops signing", "source"), rows)


def suggestions() -> str:
    """Every follow-up that may be suggested."""
    from pathai.rules import tables

    rows = [(f"`{k}`", t.en, _source(t.doi)) for k, t in tables.suggestions().items()]
    return table(("rule", "what is suggested", "source"), rows)


def clinical() -> str:
    """Items of the clinical context."""
    from pathai.clinical import Clinical

    rows = []
    for key, field in Clinical.model_fields.items():
        if key != "schema_version":
            kind = str(field.annotation)
            may = ", ".join(re.findall(r"'([^']+)'", kind)) or (
                "number" if "float" in kind else "text"
            )
            rows.append((f"`{key}`", may, field.description or ""))
    return table(("item", "may be", "what it is"), rows)


def flags() -> str:
    """Sentences beside a value."""
    from pathai.finding import registry

    return "\n".join(
        f"- {text}" for text in (*registry().flags.values(), *registry().notes.values())
    )


def llm() -> str:
    """What can go wrong with a language model, in the draft's words."""
    from pathai.drafters.base import FLAGS

    return "\n".join(f"- {text}" for text in FLAGS.values())


def keys() -> str:
    """Keys of the review."""
    from pathai.viewer.keys import KEYS

    return table(("key", "does"), [(f"++{k.shown}++", k.title) for k in KEYS.values()]).replace(
        "++", "**"
    )


# --- the store -------------------------------------------------------------------------------

_PARAMETER = re.compile(r"^    (\w+) : (.+)\n((?:        .+\n)+)", re.MULTILINE)


def _arrays(record: type, stored: dict[str, tuple[str, int]]) -> str:
    """Arrays of a group: types from the store, meaning from the record's docstring."""
    from pathai.store import groups

    said = {n: (kind, text) for n, kind, text in _PARAMETER.findall((record.__doc__ or "") + "\n")}
    rows = []
    for name, (dtype, axes) in stored.items():
        kind, text = said[name]
        if not kind.startswith(f"{dtype}[") or kind.count(",") + 1 != axes:
            raise SystemExit(f"{record.__name__}.{name}: {kind} is not {dtype} of {axes} axes")
        rows.append((f"`{groups.stored_name(name)}`", f"`{kind}`", _plain(text)))
    if "raster" in said:
        rows.append(("`raster/<level>`", "`uint8[h, w]`", _plain(said["raster"][1])))
    return table(("array", "type", "holds"), rows)


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")


def features() -> str:
    """Arrays of features."""
    from pathai.store import groups
    from pathai.store.records import Features

    return _arrays(Features, groups._FEATURES)


def cells() -> str:
    """Arrays of cells."""
    from pathai.store import groups
    from pathai.store.records import Cells

    return _arrays(Cells, groups.CELL_ARRAYS)


def prediction() -> str:
    """Arrays of a prediction."""
    from pathai.store.records import Prediction

    return _arrays(Prediction, {"attention": ("float32", 1)})


def tissue() -> str:
    """Classes of the tissue map."""
    from pathai.store.records import TISSUE_NAMES

    rows = [(str(value), name, STATUSES[name]) for value, name in enumerate(TISSUE_NAMES)]
    return table(("value", "class", "means"), rows)


def heads() -> str:
    """Heads, each with its first sentence and its paper."""
    import sys

    from pathai.heads import HEADS

    rows = []
    for name in HEADS.names():
        kind = HEADS.load(name)
        said = (sys.modules[kind.__module__].__doc__ or "").split("\n\n")[0]
        paper = re.search(r"\[1\] (.*)", kind.__doc__ or "", re.DOTALL)
        where = " ".join(paper[1].split()) if paper else ""
        rows.append((f"`{name}`", said.partition(": ")[2] or said, where))
    return table(("head", "idea", "paper"), rows)


def morphology() -> str:
    """Features of the encoder `morphology`; those pooled alike share a row."""
    from pathai.encoders.morphology_features import FEATURES, NUCLEI, POOLS, TILE

    pooled = {f"{name}_{pool}": name for name in (*TILE, *NUCLEI) for pool in POOLS}
    rows: dict[str, str] = {}
    for name, sentence in FEATURES.items():
        if name in pooled:
            said = (TILE | NUCLEI)[pooled[name]]
            rows[f"`{pooled[name]}_*`"] = said[0].upper() + said[1:] + "."
        elif "lbp" not in name or name.endswith(("_0", "_8", "_9")):
            rows[f"`{name}`"] = sentence
        elif name.endswith("_1"):
            rows[f"`{name}` … `_7`"] = sentence.replace("arc of 1", "arc of 1 … 7")
    return table(("feature", "what it is"), rows.items())


def _worded(rows: dict[str, Any], keys: bool) -> str:
    """What figures, plots or notions mean; with the key of ``metrics.json`` where there is one."""
    head = (*(("in `metrics.json`",) if keys else ()), "name", "means", "when to distrust it",
            "compare it with")  # fmt: skip
    cells = [
        (*((f"`{key}`",) if keys else ()), row.name, row.means, row.distrust, row.compare)
        for key, row in rows.items()
    ]
    return table(head, cells)


def measures() -> str:
    """Figures of an evaluation."""
    from pathai.figure_words import words

    return _worded(words().figures, keys=True)


def plots() -> str:
    """Plots of an evaluation: how to read them."""
    from pathai.figure_words import words

    return _worded(words().plots, keys=False)


def notions() -> str:
    """Intervals, baselines, sets and the like."""
    from pathai.figure_words import words

    return _worded(words().notions, keys=False)


def floors() -> str:
    """Oldest allowed versions, and whether a run refuses older ones."""
    from pathai.floors import FLOORS, UNSAFE, floor

    head = ("library", "oldest version", "below it")
    refused = {True: "`pathai run` refuses (E195)", False: "`pathai doctor` names it"}
    return table(head, [(f"`{n}`", floor(n), refused[n in UNSAFE]) for n in sorted(FLOORS)])


def models() -> str:
    """A card of every model that is shipped, from the card beside its weights."""
    from safetensors import safe_open

    room = DOCS.parent / "pathai"
    nuclei = json.loads((room / "detectors/nuclei_small/card.json").read_text())
    tissue = json.loads((room / "encoders/tissue_small/card.json").read_text())
    with safe_open(room / "cell_classes/shipped.safetensors", "numpy") as file:
        classes = json.loads(file.metadata()["pathai"])["card"]
    labeled = [f"{n}: {c['pictures']} pictures, {c['nuclei']} nuclei"
               for n, c in nuclei["labeled"].items()]  # fmt: skip
    accuracy, cells = classes["held_out"]["accuracy"], classes["cells"]
    cards = {
        "nuclei-small": (
            ("for", nuclei["intended_use"]),
            ("learned from", f"{'; '.join(labeled)}; {nuclei['drawn_fields']} drawn fields"),
            ("judged on", nuclei["count_error"]["source"]),
            ("limits", nuclei["limits"]),
            ("licence", nuclei["licence"]),
            ("SHA-256", f"`{nuclei['sha256']}`"),
        ),
        "tissue-small": (
            ("what", tissue["what"]),
            ("for", tissue["use"]),
            ("learned from", "; ".join(f"{d['name']} ({d['amount']})" for d in tissue["data"])),
            ("how", tissue["method"]),
            ("limits", " ".join(tissue["limits"])),
            ("licence", tissue["licence"]),
            ("SHA-256", f"`{tissue['sha256']}`"),
        ),
        "classes of nuclei, shipped (experimental, off by default)": (
            ("learned from", classes["about"]),
            ("nuclei", ", ".join(f"{name} {count}" for name, count in cells.items())),
            ("accuracy, held out", f"{accuracy['value']:.0%} ({accuracy['low']:.0%} to "
             f"{accuracy['high']:.0%}); {classes['held_out']['commonest_class']} alone "
             f"{classes['held_out']['accuracy_of_the_commonest_class']:.0%}"),
            ("not assessed", classes["confusion_of"]),
        ),
    }  # fmt: skip
    return "\n\n".join(f"## {n}\n\n{table(('fact', 'value'), rows)}" for n, rows in cards.items())


PARTS: dict[str, Callable[[], str]] = {
    part.__name__: part
    for part in (configuration, task, tasks, sheet, stains, verbs, errors, findings, flags, llm,
                 derivations, contradictions, suggestions, clinical, keys, features, cells,
                 prediction, tissue, encoders, facts, morphology, heads, measures, plots, notions,
                 floors, models)
}  # fmt: skip
"""Name of a part to what writes it."""


def renewed(text: str) -> str:
    """A page with all its generated parts written anew."""
    return BLOCK.sub(lambda m: f"{m[1]}\n{PARTS[m[2]]()}\n\n{m[3]}", text)


def pages() -> list[Path]:
    """Every page."""
    return sorted(DOCS.glob("*.md"))


if __name__ == "__main__":
    for page in pages():
        old = page.read_text("utf-8")
        new = renewed(old)
        if new != old:
            page.write_text(new, "utf-8")
            print(f"wrote {page.name}")
    runpy.run_path(str(DOCS / "manifest.py"), run_name="__main__")
