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

from pathai.config import Config, Sheet, load_config, load_sheet
from pathai.errors import PathaiError
from pathai.store.folders import ResultsFolder
from pathai.task import Task, load_task

SLIDE_STAGES = ("ingest", "tile", "features", "cells", "predict")
"""Stages that work on batches of slides, in the order of the data."""


@dataclass(frozen=True)
class Model:
    """A bundle to apply: its folder, and the task when it is trained in this run."""

    folder: Path
    name: str
    task: Task | None = None


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

    @cached_property
    def sheet(self) -> Sheet:
        """The slides."""
        return load_sheet(self.root / self.config.sheet)

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
        if len({task.name for task in tasks}) < len(tasks):
            raise PathaiError("E192", "two tasks have the same name", "rename one")
        return {task.name: task for task in tasks}

    @cached_property
    def models(self) -> tuple[Model, ...]:
        """Bundles to apply: given ones, then those trained here."""
        given = [self.root / path for path in self.config.predict.models]
        models = [Model(path, path.name) for path in given]
        models += [Model(self.model_folder(n), n, task) for n, task in self.tasks.items()]
        names = [model.name for model in models]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise PathaiError("E190", f"two models are named {doubled[0]}", "rename one folder")
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

    def batches_of_case_batch(self, name: str) -> list[str]:
        """Slide batches that hold a slide of these cases."""
        cases = self.sheet.cases()
        slides = {row.slide_id for case in self.case_batches[name] for row in cases[case]}
        return [b for b, ids in self.slide_batches.items() if not slides.isdisjoint(ids)]

    def receipt(self, stage: str, name: str) -> Path:
        """File that a rule declares as its output."""
        return self.state / "receipts" / stage / name

    def receipts(self) -> dict[str, tuple[str, ...]]:
        """Every stage of the run with the names of its receipts."""
        slides, cases = tuple(self.slide_batches), tuple(self.case_batches)
        stages = dict.fromkeys(SLIDE_STAGES, slides)
        return {**stages, "train": tuple(self.tasks), "report": cases, "cohort": ("cohort",)}


def _short(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:6]
