"""What a run consists of: sheet, tasks, models and batches. Loads neither zarr nor torch.

Snakemake starts once per batch and stage, so that the cost of starting Python is paid once for
several slides. A batch's name holds a hash of its members: when they change, it is another
batch, and its finished slides are found by their manifests.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from pathai.config import Config, load_config
from pathai.errors import PathaiError
from pathai.sheet import Sheet, load_sheet
from pathai.source import Place, place
from pathai.store.folders import ResultsFolder
from pathai.task import Task, load_task

SLIDE_STAGES = ("ingest", "tile", "features", "cells")
"""Stages that work on batches of slides and need no model, in the order of the data."""


@dataclass(frozen=True)
class Model:
    """A bundle to apply, and the task that it answers."""

    folder: Path
    task: Task

    @property
    def name(self) -> str:
        """The task's name, under which predictions are stored."""
        return self.task.name


def given_model(folder: Path) -> Model:
    """A bundle from elsewhere, checked (E182, E183)."""
    from pathai.store.bundle import read_bundle

    return Model(folder, read_bundle(folder).spec.task)


def check_columns(task: Task, sheet: Sheet) -> None:
    """Refuse a task whose label or training columns the sheet does not have (E192)."""
    known = {column for row in sheet.rows for column in row.labels}
    for column in (*task.sheet_columns, *sorted(task.train_on)):
        if column not in known:
            message = f"task {task.name}: {sheet.name} has no column {column!r}"
            raise PathaiError("E192", message, "add the column or correct the task")


class Plan:
    """One run, read from its configuration file.

    Raises
    ------
    PathaiError
        E150-E154 for the sheet, E190 for the configuration, E192 for a task file.
    """

    def __init__(self, config_path: Path) -> None:
        self.config_path = config_path.absolute()
        self.root = self.config_path.parent
        self.config: Config = load_config(self.config_path)
        for name in ("results", "models", "reviews"):
            if self.root.is_relative_to((self.root / getattr(self.config, name)).resolve()):
                message = f"{self.config_path.name}: {name} must be a folder of its own"
                raise PathaiError("E190", message, f"give a name such as {name}")

    @cached_property
    def sheet(self) -> Sheet:
        """The slides."""
        return load_sheet(self.root / self.config.sheet)

    def place(self, slide_id: str) -> Place:
        """Where a slide's bytes come from."""
        return place(self.sheet[slide_id].path, self.sheet.folder, self.config.ingest.remote)

    @property
    def results(self) -> ResultsFolder:
        """Where results lie."""
        return ResultsFolder(self.root / self.config.results)

    @property
    def reviews(self) -> Path:
        """Where readers' decisions lie, outside of every rule's output."""
        return self.root / self.config.reviews

    @property
    def state(self) -> Path:
        """Receipts, lock and usage: pathai's own notes, no results."""
        return self.root / ".pathai"

    @property
    def logs(self) -> Path:
        """One log per stage and batch."""
        return self.root / "logs"

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """Tasks trained in this run, by name."""
        tasks = [load_task(self.root / name) for name in self.config.train.tasks]
        for task in tasks:
            if task.encoder not in self.config.features.encoders:
                message = f"task {task.name} needs encoder {task.encoder}"
                raise PathaiError("E192", message, "add it to features.encoders")
            if any(name != self.config.cells.detector for name in task.detectors):
                message = f"task {task.name} needs detector {', '.join(task.detectors)}"
                raise PathaiError("E192", message, "name it in cells.detector")
        if len({task.name for task in tasks}) < len(tasks):
            raise PathaiError("E192", "two tasks have the same name", "rename one")
        return {task.name: task for task in tasks}

    @cached_property
    def models(self) -> tuple[Model, ...]:
        """Bundles to apply: given ones, then those trained here."""
        models = [given_model(self.root / path) for path in self.config.predict.models]
        for model in models:
            if model.task.encoder not in self.config.features.encoders:
                message = f"model {model.name} needs encoder {model.task.encoder}"
                raise PathaiError("E190", message, "add it to features.encoders")
        models += [Model(self.model_folder(name), task) for name, task in self.tasks.items()]
        names = [model.name for model in models]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise PathaiError("E190", f"two models answer {doubled[0]}", "give one of them")
        return tuple(models)

    def model_folder(self, task: str) -> Path:
        """Bundle of a task trained in this run."""
        return self.root / self.config.models / task

    @cached_property
    def slide_batches(self) -> dict[str, tuple[str, ...]]:
        """Batch name to slide ids."""
        return self._batches(row.slide_id for row in self.sheet.rows)

    @cached_property
    def case_batches(self) -> dict[str, tuple[str, ...]]:
        """Batch name to case ids."""
        return self._batches(self.sheet.cases())

    def _batches(self, ids: Iterable[str]) -> dict[str, tuple[str, ...]]:
        members = list(ids)
        size = self.config.run.slides_per_job
        found = [tuple(members[i : i + size]) for i in range(0, len(members), size)]
        return {f"{i:04d}-{_short('|'.join(group))}": group for i, group in enumerate(found)}

    def leftovers(self) -> tuple[tuple[str, str], ...]:
        """Slides and cases (kind, id) that have results but no row in the sheet."""
        slides = {row.slide_id for row in self.sheet.rows}
        cases = self.sheet.cases()
        return (
            *(("slide", i) for i in self.results.slide_ids() if i not in slides),
            *(("case", i) for i in self.results.case_ids() if i not in cases),
        )

    def needs(self, stage: str, name: str) -> list[tuple[str, str]]:
        """Receipts (stage, name) that must be there before this one is worked on."""
        if stage == "ingest":
            return []
        if stage == "predict":
            trained = [("train", task) for task in self.tasks]
            counted = any(model.task.detectors for model in self.models)
            return [("features", name), *([("cells", name)] if counted else []), *trained]
        if stage == "train":
            stages = ("features", "cells") if self.tasks[name].detectors else ("features",)
            return [(before, batch) for before in stages for batch in self.slide_batches]
        if stage == "report":
            batches = self._slides_of_cases(name)
            return [(before, batch) for before in ("cells", "predict") for batch in batches]
        if stage == "cohort":
            slides = self.slide_batches if self.config.slide.encoders else ()
            reports = [("report", batch) for batch in self.case_batches]
            return [*reports, *(("slide", batch) for batch in slides)]
        if stage == "slide":
            return [("features", name)]
        return [("ingest" if stage == "tile" else "tile", name)]

    def _slides_of_cases(self, name: str) -> list[str]:
        """Slide batches that hold a slide of this batch of cases."""
        cases = self.sheet.cases()
        slides = {row.slide_id for case in self.case_batches[name] for row in cases[case]}
        return [b for b, ids in self.slide_batches.items() if not slides.isdisjoint(ids)]

    def receipt(self, stage: str, name: str) -> Path:
        """File that a rule declares as its output."""
        return self.state / "receipts" / stage / name

    def receipts(self) -> dict[str, tuple[str, ...]]:
        """Every stage of the run, in the order of the data, with the names of its receipts."""
        slides, cases = tuple(self.slide_batches), tuple(self.case_batches)
        trained = tuple(self.tasks)
        return {
            **dict.fromkeys(SLIDE_STAGES, slides),
            "slide": slides if self.config.slide.encoders else (),
            "train": trained,
            "predict": slides,
            "report": cases,
            "cohort": ("cohort",),
        }


def _short(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:6]
