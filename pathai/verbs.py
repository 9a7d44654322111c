"""What the verbs of the command line do, beside parsing: folders, batches, output."""

import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pathai import chain
from pathai.batch import exit_code, print_json, run_batch, run_steps, say
from pathai.chain import Step
from pathai.config import Config, folder_config, load_config
from pathai.encoders.setup import Setup
from pathai.errors import CODES, PathaiError
from pathai.layouts import load_layout, names
from pathai.lock import owned
from pathai.plan import Plan
from pathai.processes import stoppable
from pathai.sheet import check_id
from pathai.source import Place
from pathai.store.commit import manifest_path
from pathai.store.folders import CaseFolder, SlideFolder
from pathai.store.manifest import Manifest
from pathai.task import load_task


def wrong(message: str) -> PathaiError:
    """A wrong call."""
    return PathaiError("E193", message)


def plan_of(config: Path | None) -> Plan:
    """The run of a configuration file, by default ``config.yaml`` here; work from its folder."""
    plan = Plan(config or Path("config.yaml"))
    os.chdir(plan.root)  # names of encoder files are relative to it
    return plan


def slide_folder(path: Path) -> SlideFolder:
    """A slide's folder; its name is the slide's id."""
    path = path.absolute()
    check_id(path.name, "folder DIR")
    if path.is_file():
        raise wrong(f"{path.name} is a file; give the slide's folder")
    return SlideFolder(path)


def slide_folders(paths: list[Path] | None) -> list[SlideFolder]:
    """At least one slide folder."""
    if not paths:
        raise wrong("give the folder of a slide, results/slides/<slide_id>")
    found = [slide_folder(path) for path in paths]
    for folder in found:
        if not manifest_path(folder.base("ingest")).exists():
            raise wrong(f"{folder.slide_id}: no slide here; run pathai ingest first")
    return found


def check_detector(name: str) -> None:
    """Refuse a detector that cannot be used (E191, E183, E194) before a folder is looked at."""
    from pathai.detectors import check_ready

    if name:
        check_ready(name)


def import_cells(
    folders: list[Path] | None, file: Path, format: str, mpp: float | None, detector: str
) -> int:
    """Import the cells of one slide, and say what was mended or left out."""
    from pathai.cells.foreign import FORMATS
    from pathai.cells.importing import detector_of

    if detector:
        raise wrong("--import brings its own cells; leave --detector out")
    if format not in FORMATS:
        raise wrong(f"--import needs --format: {', '.join(FORMATS)}")
    found = slide_folders(folders)
    if len(found) != 1:
        raise wrong("--import is of one slide")
    code = steps([chain.import_step(found[0], file, format, mpp)])
    if found[0].cells(detector_of(format)).exists():
        attrs = found[0].read_cells_attrs(detector_of(format))
        left = "".join(f", {n} left out ({why})" for why, n in attrs.dropped.items())
        say(f"{attrs.count.value:.0f} cells as {attrs.detector}, {attrs.mended} mended{left}")
    return code


def settings(folder: Path, config: Path | None) -> Config:
    """Configuration named, or of the run around the folder, or the defaults."""
    path = config or folder_config(folder)
    return _config(path) if path else Config()


def _config(path: Path) -> Config:
    """A configuration with its folder of weights, which is relative to it."""
    config = load_config(path)
    folder = str(path.absolute().parent / config.weights.folder)
    weights = config.weights.model_copy(update={"folder": folder})
    return config.model_copy(update={"weights": weights})


def slide_file(folder: SlideFolder, slide: Path | None, config: Path | None) -> Place:
    """The slide's file: named, or by the sheet of the run around the folder."""
    if slide is not None:
        return slide.absolute()
    path = config or folder_config(folder.path)
    if path is None:
        raise wrong(f"{folder.slide_id}: outside of a run, give its file with --slide")
    return Plan(path).place(folder.slide_id)


def steps(made: Iterable[Step]) -> int:
    """Run steps of single folders; a slide that failed, or failed before, gives 1."""
    made = list(made)
    config = folder_config(made[0].base) if made else None
    if config is None:
        return exit_code(_named(made))
    with stoppable(), owned(Plan(config)):
        return exit_code(_named(made))


def _named(made: list[Step]) -> list[Manifest]:
    """Run steps; a problem's file is told here, on the terminal, and nowhere else."""
    manifests = run_steps(None, made)
    for step, manifest in zip(made, manifests, strict=True):
        if manifest.problems and step.file is not None:
            say(f"  the file of {manifest.subject}: {step.file}")
    return manifests


def batch(stage: str, config: Path | None, name: str) -> int:
    """Run one batch of a run. Slides that fail are recorded, so the job itself succeeds."""
    plan = plan_of(config)
    if name not in plan.receipts().get(stage, ()):
        raise wrong(f"no batch {name!r} of {stage} in this run")
    run_batch(plan, stage, name, list(chain.steps_of_receipt(plan, stage, name)))
    return 0


def cohort(config: Path | None, link: Path | None) -> int:
    """Build the cohort page; Snakemake's report finds it, and the failures, by links."""
    code = batch("cohort", config, "cohort")
    if link is not None:
        from pathai.store.commit import link_to

        page = plan_of(config).results.cohort
        link_to(page / "index.html", link / "cohort.html")
        link_to(page / "failures.tsv", link / "failures.tsv")
    return code


def draft_cases(config: Path | None, cases: list[str]) -> int:
    """Findings and draft of the named cases, or of all."""
    plan = plan_of(config)
    known = plan.sheet.cases()
    unknown = [case for case in cases if case not in known]
    if unknown:
        raise wrong(f"no case {unknown[0]!r} in {plan.config.sheet}")
    made = [step for case in cases or list(known) for step in chain.case_steps(plan, case)]
    return exit_code(run_steps(plan, made))


def fetch_weights(names: list[str], config: Path | None, folder: Path | None, revision: str) -> int:
    """Download weights; 1 if some were not got."""
    from pathai.weights import fetch

    names, setup = _weights(names, config, folder)
    if not names and config is None:
        raise wrong("give the names of published encoders, or --config")
    if not names:
        say("nothing to fetch: the configuration names no published encoder")
    if revision and len(names) > 1:
        raise wrong("--revision is of one encoder")
    return int(bool(fetch(names, setup, revision)))


def check_weights(
    names: list[str], config: Path | None, folder: Path | None, *, as_json: bool
) -> int:
    """Read every byte of the weights; 1 if some are missing or damaged."""
    from pathai.weights import check, show

    names, setup = _weights(names, config, folder)
    rows = [] if config and not names else check(names, setup)
    return show(rows, setup.weights, as_json=as_json)


def _weights(names: list[str], config: Path | None, folder: Path | None) -> tuple[list[str], Setup]:
    """Encoders named, or those of the configuration, and where their weights are to lie."""
    from pathai.weights import configured

    path = config or (Path("config.yaml") if Path("config.yaml").is_file() else None)
    settings = _config(path) if path else Config()
    setup = chain.encoder_setup(settings)
    if folder is not None:
        setup = replace(setup, weights=folder)
    return names or (configured(settings.features.encoders) if config else []), setup


def review(
    results: Path, reader: str, reviews: Path | None = None, blind: bool | None = None
) -> None:
    """Open the viewer."""
    from pathai.viewer.app import review as open_viewer

    open_viewer(results, reader, reviews, blind=blind)


def export(
    folder: Path, format: str, out: Path, detector: str, overwrite: bool, slide: Path | None = None
) -> None:
    """Write one export; ``slide`` is the DICOM file where no run's sheet names it."""
    from pathai.export import export as write

    if format == "dicom-sr":
        say(f"wrote {out}: {_export_measurements(folder, out, overwrite)} findings")
        return
    found = slide_folders([folder])[0]
    if format == "dicom-ann":
        say(f"wrote {out}: {_export_annotations(found, out, slide, detector, overwrite)} nuclei")
        return
    write(found, format, out, detector=detector, overwrite=overwrite)
    say(f"wrote {out}")


def _export_annotations(
    folder: SlideFolder, out: Path, slide: Path | None, detector: str, overwrite: bool
) -> int:
    """Nuclei of a DICOM slide; its patient is the case, or, outside of a run, the slide."""
    from pathai.export import export_annotations

    file = slide_file(folder, slide, None)
    if not isinstance(file, Path):
        raise wrong(f"{folder.slide_id}: its file is remote; give a copy with --slide")
    config = folder_config(folder.path)
    row = Plan(config).sheet[folder.slide_id] if config else None
    case_id, specimen = (row.case_id, row.specimen_id) if row else (folder.slide_id, "")
    return export_annotations(folder, out, file, case_id, specimen_id=specimen,
                              detector=detector, overwrite=overwrite)  # fmt: skip


def _export_measurements(folder: Path, out: Path, overwrite: bool) -> int:
    """Findings of a case on its DICOM slides, whose files the sheet of the run names."""
    from pathai.export import export_measurements
    from pathai.report.render import value_text

    case = CaseFolder(folder.absolute())
    config = folder_config(case.path)
    if not case.findings.is_file() or config is None:
        raise wrong("dicom-sr is of a case: give its folder, such as results/cases/C01")
    plan = Plan(config)
    places = {row.slide_id: plan.place(row.slide_id) for row in plan.sheet.cases()[case.case_id]}
    files = {name: place for name, place in places.items() if isinstance(place, Path)}
    return export_measurements(case, out, files, value_text, overwrite=overwrite)


def export_attention(folder: Path, format: str, out: Path, model: str, overwrite: bool) -> None:
    """Write where a model looked."""
    from pathai.export import export_attention as write

    write(slide_folders([folder])[0], format, out, model=model, overwrite=overwrite)
    say(f"wrote {out}")


def deid(slide: Path, out: Path, key: Path | None, overwrite: bool, *, as_json: bool) -> None:
    """Write a de-identified copy and say what was kept, rewritten and removed."""
    from pathai.deid import deid as copy

    try:
        secret = key.read_bytes() if key is not None else None
    except OSError:
        raise wrong("the file of --key cannot be read") from None
    report = copy(slide, out, overwrite=overwrite, key=secret)
    for line in report.lines():
        say(line)
    say(f"wrote {out}")
    if as_json:
        print_json(report.as_json())


def list_names(what: str, *, as_json: bool) -> None:
    """Names of a registry, the shipped tasks, or the table of errors."""
    if what in ("encoders", "detectors"):
        (list_encoders if what == "encoders" else list_detectors)(as_json=as_json)
        return
    rows = _names(what)
    if as_json:
        print_json(dict(rows))
        return
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        sys.stdout.write(f"{name:<{width}}  {text}\n".rstrip() + "\n")


def list_encoders(*, as_json: bool) -> None:
    """Encoders: those that need no weights, then the published ones from their cards."""
    from pathai.encoders import ENCODERS
    from pathai.encoders.cards import CARDS
    from pathai.encoders.table import HEAD, own_row, row

    if as_json:
        own = {name: {"target": ENCODERS[name]} for name in ENCODERS.names()}
        print_json(own | {name: card.model_dump(mode="json") for name, card in CARDS.items()})
        return
    own_rows = [own_row(name, ENCODERS.load(name)) for name in ENCODERS.names()]
    _table([HEAD, *own_rows, *(row(card) for card in CARDS.values())])


def list_detectors(*, as_json: bool) -> None:
    """Detectors, with licence, what they need and where their weights come from."""
    from dataclasses import asdict

    from pathai.detectors import DETECTORS, FILE_DETECTORS, names
    from pathai.detectors.cards import CARDS, HEAD, row

    if not as_json:
        _table([HEAD, *(row(name) for name in names())])
        return
    targets = {**DETECTORS, **FILE_DETECTORS}
    cards = {name: asdict(card) for name, card in CARDS.items()}
    print_json({name: {"target": targets[name], **cards.get(name, {})} for name in names()})


def _table(rows: list[tuple[str, ...]]) -> None:
    """Print rows in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        line = "  ".join(f"{cell:<{w}}" for cell, w in zip(cells, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")


def _names(what: str) -> list[tuple[str, str]]:
    from importlib import import_module

    from pathai.run import shipped

    if what == "errors":
        return [(code, f"{row.title}; {row.remedy}") for code, row in sorted(CODES.items())]
    if what == "knowledge":
        from pathai.knowledge import corpus

        return [(name, f"{k.entry.text['en']} ({k.source.text})") for name, k in corpus().items()]
    if what == "tasks":
        found = sorted(shipped("configs/tasks").glob("*.yaml"))
        return [(file.stem, load_task(file).question) for file in found]
    if what == "templates":
        return [(name, load_layout(name).title["en"]) for name in names()]
    if what in ("keys", "rules"):
        return _facts(what)
    if what in ("slide-encoders", "text-towers"):
        return _published(what)
    if what not in ("heads", "drafters"):
        raise PathaiError(
            "E191",
            f"nothing to list under {what!r}",
            "try encoders, slide-encoders, text-towers, heads, detectors, drafters, templates, "
            "knowledge, tasks, keys, rules, errors",
        )
    registry = getattr(import_module(f"pathai.{what}"), what.upper())
    return [(name, registry[name]) for name in registry.names()]


def _facts(what: str) -> list[tuple[str, str]]:
    """Keys with what a person may enter, or rules with what they say."""
    from pathai import rules
    from pathai.finding import registry
    from pathai.rules.tables import contradictions, derivations, suggestions

    if what == "keys":
        rows = registry().keys.items()
        asked = ((key, row.name.replace("{name}", "*"), rules.admits(key)) for key, row in rows)
        return [(key, f"{name}; {may}" if may else name) for key, name, may in asked]
    said = {name: str(row["says"]) for name, row in derivations().items()}
    texts = {name: text.en for name, text in {**contradictions(), **suggestions()}.items()}
    return sorted({**texts, **said}.items())


def _published(what: str) -> list[tuple[str, str]]:
    """Slide encoders or text towers, with the tiles that they need and their licence."""
    from pathai.encoders.slide_cards import slide_cards
    from pathai.encoders.text_towers import text_cards

    slides = what == "slide-encoders"
    rows = [("mean:<tile encoder>", "mean of the tiles")] if slides else []
    for name, card in (slide_cards() if slides else text_cards()).items():
        said = f"{card.title}; tiles of {card.tile_encoder} at {card.mpp:g} µm/px; {card.licence}"
        rows.append((name, said if card.verified else f"{said}; unverified"))
    return rows
