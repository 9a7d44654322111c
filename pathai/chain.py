"""The chain as steps: what each stage makes of which parents, and under which key.

This is the one place that knows the order of stages. A step is cheap to make: the stage's code
(and torch) is imported only when the step has something to do.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathai import detectors
from pathai.config import Config, ReportConfig, TrainConfig
from pathai.encoders import check_name, check_ready, weights_file
from pathai.encoders.cards import CARDS, require_licence
from pathai.encoders.setup import Setup
from pathai.encoders.weights import digest, locate
from pathai.errors import PathaiError
from pathai.layouts import chosen, load_layout
from pathai.plan import Model, Plan
from pathai.sheet import Sheet, SheetRow
from pathai.slide_level import slide_step
from pathai.source import Place, Remote, identity
from pathai.step import Step as Step
from pathai.step import digest_of
from pathai.store.commit import Commit, Key, manifest_path
from pathai.store.folders import (
    COHORT_FILES,
    DRAFT_FILES,
    CaseFolder,
    ResultsFolder,
    SlideFolder,
    cells_files,
    slug,
)
from pathai.store.manifest import READABLE, read_manifest
from pathai.task import Task

if TYPE_CHECKING:
    from pathai.store.records import Features
    from pathai.train import Known

VERSIONS = {
    "ingest": 2,
    "tile": 2,
    "features": 3,
    "cells": 2,
    "train": 2,
    "predict": 2,
    "findings": 4,
    "draft": 3,
    "cohort": 4,
}
"""Raised when the output of a stage changes, so that old results are made again."""


def _key(stage: str, outputs: tuple[str, ...], *parts: Any, source: Any = None) -> Key:
    return Key(stage, VERSIONS[stage], digest_of(*parts), outputs, source or {})


def file_identity(path: Place) -> dict[str, int]:
    """Size and time or version of a slide's files; empty when it is not there."""
    if isinstance(path, Remote):
        return identity(path)
    from pathai.readers.slide_files import watched

    try:
        stats = [file.stat() for file in watched(path) if isinstance(file, Path)]
    except OSError:
        return {}
    found = {"size": sum(s.st_size for s in stats), "mtime_ns": max(s.st_mtime_ns for s in stats)}
    return found if len(stats) == 1 else {**found, "files": len(stats)}


def last_identity(folder: SlideFolder) -> dict[str, int]:
    """What a slide that cannot be reached now was when it was read; empty if it never was.

    An unmounted share must not cost the results that were made from it.
    """
    try:
        manifest = read_manifest(manifest_path(folder.base("ingest")))
    except PathaiError:
        return {}
    return manifest.source if manifest.status in READABLE else {}


def ingest_step(
    config: Config,
    folder: SlideFolder,
    path: Place,
    mpp: float | None,
    stain: str,
    sha256: str = "",
) -> Step:
    """Facts of a slide from its file."""

    def work(out: Commit) -> None:
        from pathai.ingest import run

        run(folder, config.ingest, out, path=path, mpp=mpp, stain=stain, sha256=sha256)

    source = file_identity(path) or last_identity(folder)
    alone = config.ingest.model_copy(update={"remote": ()})  # a permission changes no result
    key = _key("ingest", ("slide.json", "color.icc"), alone, mpp, stain, sha256, source=source)
    return Step(folder.base("ingest"), folder.slide_id, key, {}, work, file=path)


def tile_step(config: Config, folder: SlideFolder, path: Place) -> Step:
    """Tissue map and pyramid."""

    def work(out: Commit) -> None:
        from pathai.tiling import run

        run(folder, config.tile, out, path=path)

    outputs = ("tiles.zarr", "tissue.zarr")
    key = _key("tile", outputs, config.tile)
    parents = {"ingest": folder.base("ingest")}
    return Step(folder.base("tile"), folder.slide_id, key, parents, work, file=path)


def features_step(config: Config, folder: SlideFolder, encoder: str) -> Step:
    """One vector per tile."""

    def work(out: Commit) -> None:
        from pathai.features import run

        made = _encoder(encoder, encoder_setup(config))
        run(folder, config.features, out, encoder=made, workers=config.run.readers)

    name = slug(encoder)
    section = config.features.model_copy(update={"encoders": (encoder,)})
    key = _key("features", (f"{name}.zarr",), section, encoder_identity(config, encoder))
    base = folder.base("features", encoder)
    return Step(base, folder.slide_id, key, {"tile": folder.base("tile")}, work)


def encoder_setup(config: Config) -> Setup:
    """Where weights lie and how networks run, by the configuration."""
    weights, features = config.weights, config.features
    return Setup(
        Path(weights.folder).absolute(),
        weights.licence,
        weights.network,
        features.precision,
        features.compile,
    )


def encoder_identity(config: Config, name: str) -> str:
    """SHA-256 of the file that an encoder is read from; empty for one without.

    Raises
    ------
    PathaiError
        E183 when the file is missing, E182 when it is not that of the card or its lock, E190 for
        an absolute path, which would enter the results, E185 for a forbidden licence.
    """
    setup, file = encoder_setup(config), weights_file(name)
    card = CARDS.get(name.partition("@")[0])
    if card is not None:
        require_licence(card, setup.licence)
    if file and Path(file).is_absolute():
        remedy = "give it relative to the run's folder"
        raise PathaiError("E190", f"encoder {Path(file).name}: absolute path", remedy)
    if file and not Path(file).is_file():
        raise PathaiError("E183", f"encoder file {file} not found")
    if card is not None and not file:
        return _weights_digest(card.name, setup)
    return digest(Path(file)) if file else ""


@cache
def _weights_digest(name: str, setup: Setup) -> str:
    """Found and proven once per process, for all slides of a run."""
    return locate(CARDS[name], setup).sha256


def check_encoder(config: Config, name: str) -> None:
    """Refuse an unknown encoder (E191), a missing file (E183), a forbidden licence (E185)."""
    check_name(name)
    encoder_identity(config, name)
    check_ready(name)


@cache
def _encoder(name: str, setup: Setup) -> Any:
    """Encoders are loaded once per process, for all slides of a batch."""
    from pathai.encoders import load_encoder

    return load_encoder(name, setup)


def _class_model(name: str) -> str:
    """SHA-256 of the file of a model of cell classes (E183 if there is none)."""
    from pathai.cell_classes import model_file

    return sha256(model_file(name).read_bytes()).hexdigest()


def cells_step(
    config: Config,
    folder: SlideFolder,
    detector: str = "",
    classifier: str = "",
    vectors: str = "",
) -> Step:
    """Nuclei; a detector or a model of cell classes may be named instead of the configured.

    ``vectors`` are the stain vectors of the sheet.
    """
    named = {"detector": detector, "classifier": classifier}
    section = config.cells.model_copy(update={k: v for k, v in named.items() if v})

    def work(out: Commit) -> None:
        from pathai.cells import run

        run(
            folder,
            section,
            out,
            workers=section.workers,
            scheduler=section.scheduler,
            vectors=vectors,
        )

    file = detectors.identity(section.detector)
    alone = section.model_copy(update={"workers": 1, "scheduler": ""})  # change no result
    model = _class_model(section.classifier) if section.classifier else ""
    more = [one for one in (file, vectors, model) if one]
    key = _key("cells", cells_files(section.detector), alone, *more)
    base = folder.base("cells", section.detector)
    return Step(base, folder.slide_id, key, {"tile": folder.base("tile")}, work)


def import_step(folder: SlideFolder, file: Path, format: str, mpp: float | None = None) -> Step:
    """Nuclei of another program's file."""
    from pathai.cells.importing import detector_of

    def work(out: Commit) -> None:
        from pathai.cells.importing import run

        run(folder, out, file=file, format=format, mpp=mpp)

    if not file.is_file():
        raise PathaiError("E183", f"file {file.name} not found", "give an existing file")
    name = detector_of(format)
    key = _key("cells", cells_files(name), format, mpp, digest(file))
    return Step(
        folder.base("cells", name), folder.slide_id, key, {"tile": folder.base("tile")}, work
    )


def predict_step(
    config: Config, folder: SlideFolder, model: Model, row: Callable[[], SheetRow] | None = None
) -> Step:
    """Answer of one model; ``row`` gives the slide's row for models that look at the sheet."""
    task, name = model.task, slug(model.name)
    asked = bool(task.covariates or task.sites)
    if asked and row is None:
        message = f"{folder.slide_id}: {model.name} needs columns of the sheet"
        raise PathaiError("E193", message, "predict within a run, or give its --config")
    given = row() if asked and row is not None else None
    labels = {c: given.labels.get(c, "") for c in task.covariates} if given else {}
    site = given.site if given and task.sites else ""

    def work(out: Commit) -> None:
        from pathai.predict import run

        run(folder, config.predict, out, model=model.folder, name=model.name, labels=labels,
            site=site)  # fmt: skip

    facts = [bundle_id(model.folder), *([labels, site] if asked else [])]
    key = _key("predict", (f"{name}.zarr",), config.predict, *facts)
    parents = {"features": folder.base("features", task.encoder)}
    parents |= {f"cells/{d}": folder.base("cells", d) for d in task.detectors}
    return Step(folder.base("predictions", model.name), folder.slide_id, key, parents, work)


def bundle_id(folder: Path) -> str:
    """SHA-256 of a bundle's list of hashes; empty when there is no bundle."""
    try:
        return sha256((folder / "SHA256SUMS").read_bytes()).hexdigest()
    except OSError:
        return ""


def train_step(
    section: TrainConfig, task: Task, sheet: Sheet, results: ResultsFolder, bundle: Path
) -> Step:
    """A model from the features and labels of the training slides."""
    rows = [r for r in sheet.rows if all(r.labels.get(c) == v for c, v in _on(task))]
    columns = task.sheet_columns
    labels = [
        [r.slide_id, r.patient_id, r.stain, r.site, *(r.labels.get(c, "") for c in columns)]
        for r in rows
    ]
    folders = {row.slide_id: results.slide(row.slide_id) for row in rows}

    def read(slide_id: str) -> "Features | None":
        from pathai.tile_tables import with_tables

        names = [slide_id, *(f"{slide_id}/{d}" for d in task.detectors)]
        status = [read_manifest(manifest_path(parents[name])).status for name in names]
        if not all(one in READABLE for one in status):
            return None
        folder = folders[slide_id]
        return with_tables(folder, folder.read_features(task.encoder), task.detectors)

    def about(slide_id: str) -> "Known":
        from pathai.train import Known

        info = folders[slide_id].read_slide()
        return Known(info.sha256, info.vendor)

    def work(out: Commit) -> None:
        from pathai.train import train

        scratch = out.journal(bundle.name)
        train(task, rows, read, about, section, out.part(bundle.name), scratch)

    alone = section.model_copy(update={"tasks": ()})  # another task is no reason to train again
    key = _key("train", (bundle.name,), alone, task, labels)
    parents = {i: folder.base("features", task.encoder) for i, folder in folders.items()}
    for detector in task.detectors:
        tables = {i: folder.base("cells", detector) for i, folder in folders.items()}
        parents |= {f"{i}/{detector}": base for i, base in tables.items()}
    return Step(bundle, task.name, key, parents, work, tolerant=True)


def plan_train_step(plan: Plan, name: str) -> Step:
    """Training of one of the run's own tasks."""
    bundle = plan.model_folder(name)
    return train_step(plan.config.train, plan.tasks[name], plan.sheet, plan.results, bundle)


def _on(task: Task) -> list[tuple[str, str]]:
    return sorted(task.train_on.items())


def _facts(rows: tuple[SheetRow, ...]) -> list[Any]:
    """What of the sheet may enter a case's findings: no path, no row number, no labels."""
    return [
        row.model_dump(mode="json", exclude={"path", "row", "sha256", "labels"}) for row in rows
    ]


def _file_digest(path: Path) -> str:
    """SHA-256 of a file that a person wrote; empty where there is none."""
    return digest(path) if path.is_file() else ""


def findings_step(plan: Plan, folder: CaseFolder) -> Step:
    """Every number that the case's report may contain."""
    rows = plan.sheet.case(folder.case_id)
    folders = {row.slide_id: plan.results.slide(row.slide_id) for row in rows}
    detector = plan.config.cells.detector
    models = {model.name: model.task.asked for model in plan.models}
    regions = plan.root / plan.config.regions
    requires = load_layout(chosen(plan.config.report, rows, plan.root).template).requires
    clinical = plan.root / plan.config.clinical / f"{folder.case_id}.yaml"

    def work(out: Commit) -> None:
        from pathai.findings import run

        run(
            folder,
            plan.config.findings,
            out,
            rows=rows,
            slides=folders,
            detector=detector,
            models=models,
            regions=regions,
            clinical=clinical,
            requires=requires,
        )

    drawn = {r.slide_id: _file_digest(regions / f"{r.slide_id}.geojson") for r in rows}
    extra: list[Any] = [drawn] if any(drawn.values()) else []
    extra += [{"clinical": _file_digest(clinical)}] if clinical.is_file() else []
    extra += [{"requires": requires}] if requires else []
    key = _key("findings", ("findings.json",), plan.config.findings, _facts(rows), *extra)
    parents = {}
    for slide_id, slide in folders.items():
        parents[f"{slide_id}/ingest"] = slide.base("ingest")
        parents[f"{slide_id}/tile"] = slide.base("tile")
        parents[f"{slide_id}/cells"] = slide.base("cells", detector)
        for name in models:
            parents[f"{slide_id}/{name}"] = slide.base("predictions", name)
    return Step(folder.base("findings"), folder.case_id, key, parents, work, tolerant=True)


def draft_step(plan: Plan, folder: CaseFolder) -> Step:
    """The draft report, in the layout that the configuration or the sheet gives the case."""
    return phrased_step(plan, folder, plan.config.report, folder.path)


def phrased_step(plan: Plan, folder: CaseFolder, report: ReportConfig, out: Path) -> Step:
    """The draft report by other settings than the configuration's, into a folder of its own."""
    rows = plan.sheet.case(folder.case_id)
    section = chosen(report, rows, plan.root)
    layout = load_layout(section.template)

    def work(out: Commit) -> None:
        from pathai.report.draft import run

        run(folder, section, out, _local(plan, rows))

    pixels = [_made(plan.results.slide(row.slide_id).base("tile")) for row in rows]
    # By the layout's content: the path of a laboratory's own file says nothing of it.
    asked = section.model_copy(update={"template": layout.name})
    key = _key("draft", DRAFT_FILES, asked, layout.digest, pixels)
    parents = {"findings": folder.base("findings")}
    return Step(out / "draft", folder.case_id, key, parents, work)


def _local(plan: Plan, rows: Iterable[SheetRow]) -> dict[str, Path]:
    """Files of slides that lie on this machine, by slide id."""
    places = {row.slide_id: plan.place(row.slide_id) for row in rows}
    return {name: place for name, place in places.items() if isinstance(place, Path)}


def cohort_step(plan: Plan) -> Step:
    """The page of the cohort, from everything that was made."""
    made = [_made(step.base) for step in all_steps(plan)]
    rows = [r.model_dump(mode="json", exclude={"path", "row"}) for r in plan.sheet.rows]

    def work(out: Commit) -> None:
        from pathai.cohort import run

        run(plan, out)

    key = _key("cohort", COHORT_FILES, plan.config.cohort, rows, made, plan.leftovers())
    return Step(plan.results.cohort / "cohort", "cohort", key, {}, work)


def _made(base: Path) -> str:
    """Digest of what a stage made; empty where it made nothing yet."""
    try:
        return read_manifest(manifest_path(base)).digest
    except PathaiError:
        return ""


def slide_steps(plan: Plan, stage: str, slide_id: str) -> list[Step]:
    """Steps of one stage for one slide of the sheet."""
    config, row = plan.config, plan.sheet[slide_id]
    folder, path = plan.results.slide(slide_id), plan.place(slide_id)
    if stage == "ingest":
        return [ingest_step(config, folder, path, row.mpp, row.stain, row.sha256)]
    if stage == "tile":
        return [tile_step(config, folder, path)]
    if stage == "features":
        return [features_step(config, folder, name) for name in config.features.encoders]
    if stage == "cells":
        return [cells_step(config, folder, vectors=row.stain_vectors)]
    if stage == "slide":
        return [slide_step(folder, name, encoder_setup(config)) for name in config.slide.encoders]
    return [predict_step(config, folder, model, lambda: row) for model in plan.models]


def case_steps(plan: Plan, case_id: str) -> list[Step]:
    """Findings and draft of a case, in this order."""
    folder = plan.results.case(case_id)
    return [findings_step(plan, folder), draft_step(plan, folder)]


def steps_of_receipt(plan: Plan, stage: str, name: str) -> Iterator[Step]:
    """Every step that a receipt stands for."""
    if stage == "train":
        yield plan_train_step(plan, name)
    elif stage == "report":
        for case_id in plan.case_batches[name]:
            yield from case_steps(plan, case_id)
    elif stage == "cohort":
        yield cohort_step(plan)
    else:
        for slide_id in plan.slide_batches[name]:
            yield from slide_steps(plan, stage, slide_id)


def all_steps(plan: Plan) -> Iterator[Step]:
    """Every step of the run but the cohort's, in the order of the data."""
    for stage, names in plan.receipts().items():
        if stage != "cohort":
            for name in names:
                yield from steps_of_receipt(plan, stage, name)
