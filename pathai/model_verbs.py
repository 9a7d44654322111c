"""What the verbs of models do, beside parsing: train, few labels, evaluate."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pathai import chain, verbs
from pathai.batch import exit_code, print_json, run_batch, say
from pathai.config import Config, PredictConfig, folder_config, load_config
from pathai.corrected.logs import regions_drawn
from pathai.corrections import Asked, corrected
from pathai.errors import PathaiError
from pathai.plan import Plan, check_columns, given_model
from pathai.sheet import Sheet, SheetRow, load_sheet
from pathai.store.bundle import SUMS, may_become_bundle
from pathai.store.commit import manifest_path
from pathai.store.folders import ResultsFolder, SlideFolder
from pathai.store.manifest import READABLE, read_manifest
from pathai.task import Task, load_task

if TYPE_CHECKING:
    from pathai.evaluate import Told
    from pathai.predict import Model
    from pathai.scored import Scored


def train_tasks(config: Path, name: str) -> int:
    """Train one task of a run, or all of them."""
    plan = verbs.plan_of(config)
    if name and name not in plan.tasks:
        raise PathaiError("E191", f"no task {name!r}", f"try {', '.join(plan.tasks)}")
    names = [name] if name else list(plan.tasks)
    for task in names:
        check_columns(plan.tasks[task], plan.sheet)
    return exit_code(
        made
        for task in names
        for made in run_batch(plan, "train", task, [chain.plan_train_step(plan, task)])
    )


@dataclass(frozen=True)
class Training:
    """What to train outside of a run: a task, a sheet, results, where to; and with what."""

    task: Path
    sheet: Path
    results: Path
    out: Path
    config: Path | None = None
    corrections: Path | None = None
    few_shot: int = 0


def train_one(wanted: Training) -> int:
    """Train a task outside of a run, with the settings of a configuration or the usual ones."""
    task, sheet = load_task(wanted.task), load_sheet(wanted.sheet)
    check_columns(task, sheet)
    if not may_become_bundle(wanted.out):
        message = f"{wanted.out.name} is no model, and training would replace it"
        raise PathaiError("E193", message, "give -o a new folder, or one that holds a model")
    if wanted.corrections is not None:
        sheet = _corrected(sheet, task, wanted.corrections)
    section = (load_config(wanted.config) if wanted.config else Config()).train
    if wanted.few_shot:
        section = section.model_copy(update={"few_shot": wanted.few_shot})
    folder = ResultsFolder(wanted.results.absolute())
    return verbs.steps([chain.train_step(section, task, sheet, folder, wanted.out.absolute())])


def _corrected(sheet: Sheet, task: Task, reviews: Path) -> Sheet:
    """The sheet in memory with what readers answered in place of its labels."""
    rows = sheet.rows
    for one in task.asked:
        rows, report = corrected(rows, Asked(one.name, one.label, one.classes, task.unit), reviews)
        for line in report.lines():
            say(line)
    drawn = regions_drawn(reviews, {row.case_id for row in rows})
    if drawn:
        asked = "patient" if task.unit == "patient" else "slide"
        say(
            f"{drawn} drawn regions are no labels: {task.name} asks of a {asked}, not of a place; "
            "pathai corrections makes training data for nuclei of them"
        )
    return Sheet(list(rows), sheet.folder, sheet.name)


def predict(folders: list[SlideFolder], models: list[Path], config: Path | None) -> int:
    """Apply models to single slides."""
    if not models:
        raise verbs.wrong("predict needs --model FOLDER")
    made = []
    for folder in folders:
        path = config or folder_config(folder.path)
        row = _row_of(folder, path) if path else None
        settings = verbs.settings(folder.path, config)
        given = [given_model(model.absolute()) for model in models]
        made += [chain.predict_step(settings, folder, model, row) for model in given]
    return verbs.steps(made)


def _row_of(folder: SlideFolder, config: Path) -> Callable[[], SheetRow]:
    """The slide's row in the sheet of a run, read when a model asks for it."""
    return lambda: Plan(config).sheet[folder.slide_id]


# --- evaluation ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """Slides to evaluate on: a sheet, their results, and which rows."""

    sheet: Sheet
    results: ResultsFolder
    where: dict[str, str]

    def rows(self, task: Task) -> list[SheetRow]:
        """Rows that are asked for; E184 for a column that is not there."""
        known = {column for row in self.sheet.rows for column in row.labels}
        for column in (*task.sheet_columns, *self.where):
            if column not in known and column not in SheetRow.model_fields:
                message = f"{self.sheet.name} has no column {column!r}"
                raise PathaiError("E184", message, "add the column or correct the call")
        return [row for row in self.sheet.rows if all(self._is(row, c) for c in self.where)]

    def _is(self, row: SheetRow, column: str) -> bool:
        value = row.labels.get(column, getattr(row, column, ""))
        return str(value) == self.where[column]


def wanted(sheet: Path, results: Path, pairs: list[str] | None) -> Wanted:
    """What the command line asks for; ``pairs`` are ``column=value``."""
    where = {}
    for pair in pairs or []:
        column, equals, value = pair.partition("=")
        if not equals:
            raise verbs.wrong(f"--where {pair}: write column=value")
        where[column] = value
    return Wanted(load_sheet(sheet), ResultsFolder(results.absolute()), where)


def evaluate(
    model: Path, against: Path | None, wanted: Wanted, out: Path, alpha: float, *, as_json: bool
) -> int:
    """Measure a model on slides with labels, and a second one beside it.

    Raises
    ------
    PathaiError
        E182, E183 for a bundle; E184 when nothing can be scored; E193 when ``out`` is a file or
        a model.
    """
    from pathai.evaluate import compare, write

    if out.is_file() or (out / SUMS).exists():
        what = "a file" if out.is_file() else "a model, whose own numbers would be lost"
        raise PathaiError("E193", f"{out.name} is {what}", "give -o another folder")
    metrics, units, about = _measured(model, wanted, alpha)
    if against is not None:
        _, others, _ = _measured(against, wanted, alpha)
        metrics["comparison"] = {"against": against.name, "targets": compare(others, units)}
    write(metrics, out, about)
    for name, target in metrics["targets"].items():
        from pathai.figure_words import answer

        say(f"{name}: {answer(target, metrics['unit'])}")
    for reason, n in metrics["left_out"].items():
        say(f"  left out: {n} ({reason})")
    say(f"wrote {out}/evaluation.html")
    if as_json:
        print_json(metrics)
    return 0


def _measured(
    folder: Path, wanted: Wanted, alpha: float
) -> "tuple[dict[str, Any], list[Scored], tuple[str, ...]]":
    from pathai.evaluate import evaluate as measure
    from pathai.predict import load

    model = load(folder.absolute())
    task = model.spec.task
    rows = wanted.rows(task)
    ask = asker(model, wanted.results, PredictConfig(alpha=alpha))
    metrics, units = measure(model.spec.targets, model.spec.data, task.unit, rows, ask, alpha=alpha)
    return metrics, units, task.limits


def asker(
    model: "Model", results: ResultsFolder, section: PredictConfig
) -> "Callable[[SheetRow], Told | str]":
    """How a model is asked about a row of the sheet."""
    from pathai.evaluate import Told
    from pathai.tile_tables import with_tables

    task = model.spec.task

    def ask(row: SheetRow) -> "Told | str":
        if row.stain not in task.stains:
            return "not applicable: other stain"
        if task.sites and row.site not in task.sites:
            return "not applicable: other site"
        folder = results.slide(row.slide_id)
        bases = [folder.base("features", task.encoder)]
        bases += [folder.base("cells", name) for name in task.detectors]
        if not all(_readable(base) for base in bases):
            return "failed, skipped or not there"
        info = folder.read_slide()
        features = with_tables(folder, folder.read_features(task.encoder), task.detectors)
        return Told(model.answer(features, section, row.labels).attrs, info.sha256, info.vendor)

    return ask


def _readable(base: Path) -> bool:
    try:
        return read_manifest(manifest_path(base)).status in READABLE
    except PathaiError:
        return False
