"""Nested cross-validation: every choice on inner folds, every number from patients never met.

The fits are independent jobs. They run side by side, one thread each; a job that is done leaves
its result in the scratch folder, so that training that was interrupted goes on where it was.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pathai.config import TrainConfig
from pathai.device import threads
from pathai.errors import PathaiError
from pathai.labels import needed
from pathai.outputs import TargetSpec
from pathai.processes import die_with_parent
from pathai.stats import grouped_folds, site_folds
from pathai.store.manifest import write_atomic
from pathai.task import Target
from pathai.train.cohort import Cohort
from pathai.train.fitting import Fitted, Settings, fit, outputs_of, place

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

MIN_TO_CHOOSE = 20
"""Patients of a training part below which nothing is chosen: inner folds would choose by chance."""
WORTH_A_PROCESS = 20.0
"""Seconds of fitting, about, from which on starting processes pays."""
VALUE_S, SLIDE_S = 2e-8, 5e-4
"""Seconds, about, for each tile value and each slide that a head is shown."""
SAY_S = 5.0


@dataclass(frozen=True)
class Job:
    """One fit: slides to train on, slides to answer for, and with what."""

    name: str
    train: tuple[int, ...]
    test: tuple[int, ...]
    settings: Settings
    members: int
    epochs: int
    watch: bool = False


@dataclass(frozen=True)
class Choice:
    """What inner folds chose."""

    settings: Settings
    epochs: int
    by: str

    def as_json(self) -> dict[str, float | str]:
        """For ``metrics.json``."""
        return {**asdict(self.settings), "epochs": self.epochs, "chosen_by": self.by}


@dataclass(frozen=True)
class Answered:
    """What a fit said about its test slides: ``outputs`` float64[n, W], in its own scales."""

    test: Ints
    outputs: Floats
    specs: tuple[TargetSpec, ...]
    offsets: tuple[Floats, ...]


@dataclass(frozen=True)
class Nested:
    """Everything that nested cross-validation found.

    ``folds`` holds each outer fold's answers, ``fold`` intp[n] says where a slide was tested;
    ``models`` holds the arrays of the model that is shipped, or of one for each fold.
    """

    fold: Ints
    folds: tuple[Answered, ...]
    choices: tuple[Choice, ...]
    last: Choice
    models: tuple[dict[str, NDArray[Any]], ...]


def fold_count(cohort: Cohort, wanted: int) -> int:
    """Folds that the rarest class allows."""
    who, part = np.asarray(cohort.patients, str), cohort.strata
    if not (cohort.targets[0].has_classes or cohort.targets[0].kind == "survival"):
        return min(wanted, len(np.unique(who)))
    return min(wanted, *(len(np.unique(who[part == c])) for c in np.unique(part)))


def folds_of(cohort: Cohort, k: int, seed: int, *, keep_sites: bool) -> Ints:
    """Fold intp[n] of each slide.

    Raises
    ------
    PathaiError
        E184 when there are fewer sites than folds.
    """
    if not keep_sites:
        return grouped_folds(cohort.patients, cohort.strata, k, seed)
    sites = cohort.groups.get("site", ())
    if len(set(sites)) < k:
        message = f"{len(set(sites))} sites in the sheet, {k} folds keep their sites together"
        raise PathaiError("E184", message, "set train.folds lower, or train.keep_sites: false")
    return site_folds(cohort.patients, sites, cohort.strata, k, seed)


def outer_folds(cohort: Cohort, section: TrainConfig) -> Ints:
    """Fold intp[n] in which each slide is tested.

    Raises
    ------
    PathaiError
        E184 when a fold would leave nothing to learn an answer from, or sites do not suffice.
    """
    k = fold_count(cohort, section.folds)
    if k < 2:
        raise PathaiError("E184", "cross-validation needs 2 patients of each class")
    fold = folds_of(cohort, k, section.seed, keep_sites=section.keep_sites)
    _every_part_has_all(cohort, fold)
    return fold


def cross_validate(
    cohort: Cohort, head: str, section: TrainConfig, scratch: Path | None = None
) -> Nested:
    """Cross-validate a cohort, and choose for the model that will be shipped.

    Parameters
    ----------
    cohort : Cohort
        All training slides.
    head : str
        Of the task; ``section.search`` may name others.
    section : TrainConfig
        Folds and settings.
    scratch : Path, optional
        Folder of finished fits.

    Raises
    ------
    PathaiError
        E184 when the folds cannot be made; see `outer_folds`.
    """
    fold = outer_folds(cohort, section)
    k = len(np.unique(fold))
    whole = np.arange(len(cohort))
    parts = [*(np.flatnonzero(fold != f) for f in range(k)), whole]
    candidates = [Settings.of(head, section, c) for c in section.search]
    candidates = candidates or [Settings.of(head, section)]
    with crew(cohort, section, scratch) as run:
        plans = [_inner_jobs(cohort, part, i, candidates, section) for i, part in enumerate(parts)]
        done = run([job for plan in plans for jobs in plan for job in jobs])
        choices = [_choose(plan, done, candidates, section) for plan in plans]
        outer = [
            Job(f"outer{f}", _tuple(parts[f]), _tuple(np.flatnonzero(fold == f)),
                choices[f].settings, section.members, choices[f].epochs)
            for f in range(k)
        ]  # fmt: skip
        answered = run(outer)
        models = outer
        if section.ensemble == "seeds":
            last = choices[-1]
            models = [Job("last", _tuple(whole), (), last.settings, section.members, last.epochs)]
            answered |= run(models)
    folds = tuple(answers_of(cohort, job, answered[job.name]) for job in outer)
    shipped = tuple(_weights(answered[job.name]) for job in models)
    return Nested(fold, folds, tuple(choices[:k]), choices[-1], shipped)


def _tuple(rows: Ints) -> tuple[int, ...]:
    return tuple(rows.tolist())


def _every_part_has_all(cohort: Cohort, fold: Ints) -> None:
    """Refuse folds of which one leaves nothing to learn an answer from (E184)."""
    for target, truth in zip(cohort.targets, cohort.truth, strict=True):
        part, wanted = needed(target, truth)
        for f in np.unique(fold):
            lacking = sorted(set(wanted) - set(part[fold != f].tolist()))
            if lacking:
                message = (
                    f"a training part of the cross-validation lacks {target.label} = "
                    f"{wanted[lacking[0]]} ({target.name})"
                )
                remedy = "add patients of it, set another train.seed, or keep_sites: false"
                raise PathaiError("E184", message, remedy)


# --- choosing --------------------------------------------------------------------------------


def _inner_jobs(
    cohort: Cohort, part: Ints, outer: int, candidates: Sequence[Settings], section: TrainConfig
) -> list[list[Job]]:
    """Fits of each candidate on the inner folds of one training part; none where too few."""
    inner = cohort.take(part)
    k = fold_count(inner, section.inner_folds) if section.inner_folds else 0
    if k < 2 or len(set(inner.patients)) < MIN_TO_CHOOSE:
        return []
    fold = grouped_folds(inner.patients, inner.strata, k, section.seed + 1)
    return [
        [
            Job(f"outer{outer}-setting{c}-inner{g}", _tuple(part[fold != g]),
                _tuple(part[fold == g]), settings, 1, section.epochs, watch=True)
            for g in range(k)
        ]
        for c, settings in enumerate(candidates)
    ]  # fmt: skip


def _choose(
    plan: list[list[Job]],
    done: dict[str, dict[str, Floats]],
    candidates: Sequence[Settings],
    section: TrainConfig,
) -> Choice:
    """Setting with the least mean inner loss, and its last epoch that is as good as its best."""
    if not plan:
        by = "nothing: too few patients" if section.inner_folds else "nothing: inner_folds is 0"
        return Choice(candidates[0], section.epochs, by)
    best = (np.inf, 0, 0)
    for c, jobs in enumerate(plan):
        losses = [done[job.name]["losses"] for job in jobs]
        run = min(map(len, losses))
        epoch, loss = latest_good(np.concatenate([one[:run] for one in losses], axis=1))
        best = min(best, (loss, c, epoch + 1))
    return Choice(candidates[best[1]], best[2], f"loss on {len(plan[0])} inner folds")


def latest_good(losses: Floats) -> tuple[int, float]:
    """The last epoch that is as good as the best one, and its mean loss.

    Parameters
    ----------
    losses : float64[epochs, n]
        Of slides that the models did not see.

    Returns
    -------
    tuple
        Index of the epoch, mean loss there. As good is what loses no more than one standard
        error of the differences: the least of many noisy means lies too early as a rule, and
        later epochs are calmer, since the learning rate falls.

    References
    ----------
    .. [1] Breiman et al., "Classification and regression trees", 1984 (section 3.4.3: the rule
       of one standard error).
    """
    mean = losses.mean(axis=1)
    beyond = losses - losses[int(mean.argmin())]
    error = beyond.std(axis=1) / np.sqrt(losses.shape[1])
    good = np.flatnonzero(beyond.mean(axis=1) <= error)
    return int(good[-1]), float(mean[good[-1]])


# --- running ---------------------------------------------------------------------------------


class Crew:
    """Runs jobs, remembers finished ones, says how far it is."""

    def __init__(self, cohort: Cohort, section: TrainConfig, scratch: Path | None) -> None:
        self.cohort, self.section, self.scratch = cohort, section, scratch
        self.pool: ProcessPoolExecutor | None = None
        self.digest = _digest(cohort, section) if scratch else ""

    def __call__(self, jobs: Sequence[Job]) -> dict[str, dict[str, Floats]]:
        """Results of all jobs by name."""
        found = {job.name: kept for job in jobs if (kept := self._kept(job)) is not None}
        todo = [job for job in jobs if job.name not in found]
        begun = said = time.monotonic()
        for n, (job, result) in enumerate(self._results(todo), start=1):
            self._keep(job, result)
            found[job.name] = result
            now = time.monotonic()
            if now - said > SAY_S and n < len(todo):
                said, left = now, (now - begun) / n * (len(todo) - n)
                sys.stderr.write(f"  {n} of {len(todo)} fits, about {left:.0f} s left\n")
        return found

    def _results(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, dict[str, Floats]]]:
        if self.scratch is None or not self._worth(jobs):
            for job in jobs:
                yield job, do(self.cohort, self.section, job)
            return
        if self.pool is None:
            self.pool = _pool(self.cohort, self.section, self.scratch)
        running = {self.pool.submit(_do_there, job): job for job in jobs}
        for future in as_completed(running):
            yield running[future], future.result()

    def _worth(self, jobs: Sequence[Job]) -> bool:
        if place(self.section) != "cpu" or len(jobs) < 2 or threads() < 2:
            return False
        sizes, dim = self.cohort.bags.sizes, self.cohort.bags.dim

        def seconds(job: Job) -> float:
            once = VALUE_S * dim * sizes[list(job.train)].sum() + SLIDE_S * len(job.train)
            return float(once * job.epochs * job.members)

        return sum(map(seconds, jobs)) > WORTH_A_PROCESS

    def _path(self, job: Job) -> Path | None:
        if self.scratch is None:
            return None
        key = sha256(json.dumps([self.digest, asdict(job)]).encode()).hexdigest()[:16]
        return self.scratch / f"{job.name}-{key}.npz"

    def _kept(self, job: Job) -> dict[str, Floats] | None:
        path = self._path(job)
        if path is None or not path.exists():
            return None
        with np.load(path) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def _keep(self, job: Job, result: dict[str, Floats]) -> None:
        from io import BytesIO

        path = self._path(job)
        if path is not None:
            buffer = BytesIO()
            np.savez(buffer, **result)  # type: ignore[arg-type]
            write_atomic(path, buffer.getvalue())


@contextmanager
def crew(cohort: Cohort, section: TrainConfig, scratch: Path | None) -> Iterator[Crew]:
    """Workers for the fits of one cohort; ended afterwards."""
    run = Crew(cohort, section, scratch)
    try:
        yield run
    finally:
        if run.pool is not None:
            run.pool.shutdown(cancel_futures=True)


def _digest(cohort: Cohort, section: TrainConfig) -> str:
    total = sha256(section.model_dump_json(exclude={"tasks"}).encode())
    for target in cohort.targets:  # of a whole task only what is asked
        total.update(target.model_dump_json(include=set(Target.model_fields)).encode())
    for array in (*cohort.moments, cohort.truth, cohort.bags.sizes):
        total.update(np.ascontiguousarray(array).tobytes())
    total.update("\n".join(cohort.patients).encode())
    return total.hexdigest()


def _pool(cohort: Cohort, section: TrainConfig, scratch: Path) -> ProcessPoolExecutor:
    """Processes that map the tiles instead of copying them."""
    cohort.bags.save(scratch)  # what came from a file of this folder lies there already
    shared = replace(cohort, bags=None)  # type: ignore[arg-type]
    return ProcessPoolExecutor(
        threads(), multiprocessing.get_context("spawn"), _start, (shared, section, str(scratch))
    )


_there: dict[str, tuple[Cohort, TrainConfig]] = {}


def _start(cohort: Cohort, section: TrainConfig, scratch: str) -> None:
    from pathai.train.bags import Bags

    die_with_parent()
    _there["work"] = (replace(cohort, bags=Bags.load(Path(scratch))), section)


def _do_there(job: Job) -> dict[str, Floats]:
    return do(*_there["work"], job)


def do(cohort: Cohort, section: TrainConfig, job: Job) -> dict[str, Floats]:
    """Fit, and answer for the test slides: arrays only, so that they can be kept in a file."""
    fitted = fit_job(cohort, section, job)
    test = cohort.take(np.array(job.test, np.intp))
    if job.watch:
        return {"losses": fitted.losses}
    found = {f"model.{name}": t.numpy() for name, t in fitted.model.state_dict().items()}
    if len(test):
        found["outputs"] = outputs_of(fitted.model, test)
    for t, (spec, offset) in enumerate(zip(fitted.specs, fitted.offsets, strict=True)):
        found[f"scale.{t}"] = np.array([spec.location, spec.scale])
        found[f"edges.{t}"], found[f"offset.{t}"] = np.array(spec.edges), offset
    return found


def answers_of(cohort: Cohort, job: Job, result: dict[str, NDArray[Any]]) -> Answered:
    """What a finished job said, with the meaning of it."""
    specs = [
        TargetSpec(
            target.kind,
            n_classes=len(target.classes),
            location=float(result[f"scale.{t}"][0]),
            scale=float(result[f"scale.{t}"][1]),
            edges=tuple(result[f"edges.{t}"].tolist()),
        )
        for t, target in enumerate(cohort.targets)
    ]
    offsets = tuple(result[f"offset.{t}"] for t in range(len(specs)))
    return Answered(np.array(job.test, np.intp), result["outputs"], tuple(specs), offsets)


def _weights(result: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Arrays of a finished job's model, by their names in it."""
    mine = {name: a for name, a in result.items() if name.startswith("model.")}
    return {name.removeprefix("model."): array for name, array in mine.items()}


def fit_job(cohort: Cohort, section: TrainConfig, job: Job) -> Fitted:
    """The model of a job; the same bits whenever it is asked for."""
    test = np.array(job.test, np.intp)
    return fit(
        cohort.take(np.array(job.train, np.intp)),
        job.settings,
        section,
        members=job.members,
        epochs=job.epochs,
        watched=cohort.take(test) if job.watch else None,
    )
