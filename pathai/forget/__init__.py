"""Verb ``forget``: everything that a run holds of one patient is removed, a tombstone stays.

The order makes an interrupted forget safe. First a note of what is to go, then the tombstone, then
the row of the sheet, so that no run can make anything again, then everything else; a later call
goes on from the note. What pathai did not write is never removed: it is searched, and named.
"""

import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pathai.chain import cohort_step
from pathai.errors import PathaiError
from pathai.forget.rewriting import drop_lines, drop_rows, drop_training, rechained
from pathai.forget.searching import Left, search
from pathai.forget.tombstone import Tombstone, bury, heads_of
from pathai.forget.traces import (
    Who,
    belongings,
    bundles_of,
    find,
    held_by_reader,
    models_of,
    originals,
    pseudonyms_of,
    read_note,
    tables,
    training_folders,
    write_note,
)
from pathai.lock import owned
from pathai.plan import Plan
from pathai.provenance import write_crate
from pathai.report.life.ledger import LEDGER
from pathai.share.pseudonyms import KEY_NAME, Pseudonyms, make_key, read_key
from pathai.store.commit import manifest_path, remove
from pathai.store.manifest import storage_error


@dataclass(frozen=True)
class Expected:
    """What a forget would remove, as paths relative to the run's folder.

    ``models`` were trained on the patient; ``originals`` are slide files, which are never removed.
    """

    cases: int
    slides: int
    paths: tuple[str, ...]
    models: tuple[str, ...]
    originals: tuple[str, ...]


@dataclass(frozen=True)
class Forgotten:
    """What a forget did; ``left`` names what still holds an id, for a person to look at."""

    pseudonym: str
    cases: int
    slides: int
    removed: int
    models: tuple[str, ...]
    originals: tuple[str, ...]
    left: tuple[Left, ...]
    unsearched: tuple[str, ...]


def expected(plan: Plan, patient: str) -> Expected:
    """What `forget` would remove; nothing is changed.

    Raises
    ------
    PathaiError
        E193 if the sheet has no such patient and no forget of it was interrupted.
    """
    who = read_note(plan, patient) or find(plan, patient)
    paths = [*belongings(plan, who), *bundles_of(plan, who)]
    paths += [plan.results.cohort] if plan.results.cohort.exists() else []
    named = tuple(sorted(path.relative_to(plan.root).as_posix() for path in paths))
    return Expected(
        len(who.cases), len(who.slides), named, models_of(plan, who), originals(plan, who)
    )


def forget(
    plan: Plan, patient: str, *, key: Path | None = None, told: Callable[[str], None] | None = None
) -> Forgotten:
    """Remove what a run holds of a patient.

    Parameters
    ----------
    plan : Plan
        The run.
    patient : str
        As in column ``patient_id``.
    key : Path, optional
        The site's secret for the pseudonym in the tombstone; default ``share.key`` of the run,
        which is drawn where there is none.
    told : callable, optional
        Takes a line for a person, now and then.

    Raises
    ------
    PathaiError
        E193 if the sheet has no such patient and no forget of it was interrupted; E175 if a run
        owns the folder or a reader has a case of the patient open; E160 or E161 if the disk
        refuses: call again, it goes on.
    """
    say = told or (lambda text: None)
    with owned(plan):
        who = read_note(plan, patient) or find(plan, patient)
        held_by_reader(plan, who)
        if not who.token:
            who = _noted(plan, who)
        models = models_of(plan, who)
        try:
            return _carry_out(plan, who, models, _names(plan, key), say)
        except OSError as error:
            raise storage_error(error) from None


def _noted(plan: Plan, who: Who) -> Who:
    who = who.model_copy(
        update={
            "token": secrets.token_hex(16),
            "pseudonyms": pseudonyms_of(plan, who),
            "originals": originals(plan, who),
        }
    )
    write_note(plan, who)
    return who


def _names(plan: Plan, key: Path | None) -> Pseudonyms:
    if key is None:
        key = plan.root / KEY_NAME
        make_key(key)
    return Pseudonyms(read_key(key))


def _carry_out(
    plan: Plan, who: Who, models: tuple[str, ...], names: Pseudonyms, say: Callable[[str], None]
) -> Forgotten:
    """Every step can be done again: what is gone already is no error."""
    logs, signed = heads_of(plan.reviews, who.cases)
    before, after = rechained(plan.reviews, who.cases)
    stone = Tombstone(
        number=0,
        previous="",
        time="",
        token=who.token,
        patient=names.of("patient", who.patient),
        cases=len(who.cases),
        slides=len(who.slides),
        logs=logs,
        signed=signed,
        signatures_before=before,
        signatures_after=after.head,
        models=models,
    )
    buried = bury(plan.reviews, stone)
    say("tombstone written")
    drop_rows(plan.root / plan.config.sheet, who.by_column)
    if after.data is not None:
        after.write(plan.reviews / LEDGER)
    removed = _remove(plan, who)
    for name in sorted({*models, *buried.models}):
        # its list of parents names slides; without it the next run trains the model again
        if (plan.model_folder(name)).is_dir():
            manifest_path(plan.model_folder(name)).unlink(missing_ok=True)
    say(f"{removed} files and folders removed")
    renewed = _renew(Plan(plan.config_path), say)
    pattern = who.pattern(renewed)
    for path in [plan.logs, plan.root / ".snakemake" / "log", plan.state]:
        drop_lines(path, pattern, keep=(plan.state / "forget.json",))
    say("searching every byte of the run")
    kept = (plan.state / "forget.json", *(plan.root / name for name in who.originals or ()))
    left = search(plan.root, pattern, kept)
    (plan.state / "forget.json").unlink(missing_ok=True)
    return Forgotten(
        buried.patient,
        len(who.cases),
        len(who.slides),
        removed,
        buried.models,
        who.originals or (),
        left,
        who.untelling,
    )


def _remove(plan: Plan, who: Who) -> int:
    removed = 0
    for path in [*bundles_of(plan, who), *belongings(plan, who)]:
        if path.is_dir() and not path.is_symlink():
            _loosen(path)
        remove(path)
        removed += 1
    remove(plan.results.cohort)
    remove(plan.state / "receipts")  # of other batches now; a run makes them again
    for path in tables(plan):
        drop_rows(path, who.by_column)
    for folder in training_folders(plan):
        drop_training(folder, who.slides)
    return removed


def _loosen(folder: Path) -> None:
    """Folders that were made read-only by hand can be emptied, too."""
    for path in [folder, *(p for p in folder.rglob("*") if p.is_dir() and not p.is_symlink())]:
        with suppress(OSError):
            path.chmod(path.stat().st_mode | 0o700)


def _renew(plan: Plan, say: Callable[[str], None]) -> tuple[str, ...]:
    """Make page and record of what remains; the ids that remain."""
    try:
        rows = plan.sheet.rows
    except PathaiError:  # it was the only patient: an empty sheet is no sheet
        shutil.rmtree(plan.results.cohort, ignore_errors=True)
        (plan.root / "ro-crate-metadata.json").unlink(missing_ok=True)
        say("no slide is left: the cohort page was not made again")
        return ()
    try:
        cohort_step(plan).run()
        say("the cohort page was made again without the patient")
    except PathaiError as error:
        say(f"the cohort page was not made again ({error.code}); pathai run makes it")
    write_crate(plan)
    return tuple({i for r in rows for i in (r.slide_id, r.case_id, r.patient_id)})
