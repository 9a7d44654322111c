"""What the verbs that take a review to other programs and back do, beside parsing."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pathai.batch import print_json, say
from pathai.config import folder_config
from pathai.corrected.logs import read_own
from pathai.corrected.nuclei import corrected_nuclei, with_outlines
from pathai.errors import PathaiError
from pathai.exchange import (
    ObjectsFile,
    import_review,
    slide_of,
    standing_on,
    take_back,
    write_review,
)
from pathai.export import TABLES
from pathai.export import export as write
from pathai.export.held import held
from pathai.export.results import detector_of
from pathai.plan import Plan
from pathai.review import ReviewSession, replay
from pathai.review_log import read_log
from pathai.store.cell_store import CellsFile
from pathai.store.folders import SlideFolder
from pathai.verbs import slide_folders, wrong
from pathai.viewer.runs import Run


@dataclass(frozen=True)
class Whose:
    """Whose review of a slide, and of which nuclei."""

    reader: str
    reviews: Path | None = None
    detector: str = ""


def export(folder: Path, format: str, out: Path, whose: Whose, *, overwrite: bool) -> None:
    """Write a slide's nuclei and regions as a reader left them.

    Raises
    ------
    PathaiError
        E193 outside of a run or without a log of the reader, and as `pathai.export.export`.
    """
    found = slide_folders([folder])[0]
    config = folder_config(found.path)
    if config is None:
        raise wrong("--reader needs a slide of a run, where the reader's log is")
    plan = Plan(config)
    row = plan.sheet[found.slide_id]
    reviews = whose.reviews or plan.reviews
    detector = detector_of(found, whose.detector or plan.config.cells.detector)
    given = read_own(reviews, row.case_id, whose.reader)
    if format == "geojson":
        run = Run(config, whose.reviews)
        log = read_log(reviews / row.case_id / f"{whose.reader}.jsonl")
        now = standing_on(found, detector, replay(log, run.cases[row.case_id].record))
        count = write_review(found, now, out, overwrite=overwrite)
        if now.lost:
            say(f"  {now.lost} corrections of earlier nuclei find none now, and are left out")
        say(f"wrote {out}: {count} objects")
        return
    if format not in TABLES:
        raise wrong(f"--reader goes with geojson, {', '.join(TABLES)}")
    slide = given.of(found.slide_id)
    made = corrected_nuclei(found, detector, slide, plan.config.cells, row.stain_vectors)
    for note in made.notes:
        say(f"  {note}")
    cells = with_outlines(found, detector, made)
    origin = sha256("\n".join(given.events).encode()).hexdigest()
    stored = len(CellsFile(found.cells(detector)))
    table = held(cells, made.rows, stored, origin)
    write(found, format, out, corrected=table, overwrite=overwrite)
    say(f"wrote {out}: {len(made.rows)} nuclei, {made.by_hand} by hand")


@dataclass(frozen=True)
class From:
    """How a file is to be read."""

    slide: str = ""
    detector: str = ""
    classes: Sequence[str] = ()
    keep_missing: bool = False
    withdraw: bool = False


def take_in(results: Path, file: Path, whose: Whose, how: From, *, as_json: bool) -> None:
    """Let a file from QuPath stand in a reader's log, or take that back.

    Raises
    ------
    PathaiError
        As `pathai.exchange.import_review`; E175 while the case is open elsewhere.
    """
    run = Run(results, whose.reviews)
    of = {row.slide_id: row.case_id for row in run.plan.sheet.rows}
    if how.slide and how.slide not in of:
        raise wrong(f"no slide {how.slide!r} in {run.plan.config.sheet}")
    objects = ObjectsFile(file)
    slide_id = slide_of(objects, of, how.slide)
    case_id = of[slide_id]
    case = run.cases[case_id]
    session = ReviewSession(run.reviews, whose.reader, [case.record])
    session.open(case_id)
    try:
        if how.withdraw:
            _take_back(session, objects, slide_id)
            return
        folder: SlideFolder = run.slide(slide_id)
        made = import_review(
            session,
            run.plan.results,
            file,
            slides=[slide_id],
            detector=detector_of(folder, how.detector or run.plan.config.cells.detector),
            slide_id=slide_id,
            classes=how.classes,
            keep_missing=how.keep_missing,
        )
    finally:
        session.close()
    say(f"{case_id}, {slide_id}: {made.events} actions in the log of {whose.reader}")
    for line in made.changes.lines():
        say(f"  {line}")
    if as_json:
        print_json({"case": case_id, "slide": slide_id, "events": made.events,
                    "source": objects.sha256, "changes": made.changes.lines()})  # fmt: skip


def _take_back(session: ReviewSession, objects: ObjectsFile, slide_id: str) -> None:
    undone = take_back(session, objects.sha256)
    if not undone:
        message = f"the last action in this log of {slide_id} does not come from {objects.name}"
        raise PathaiError("E193", message, "undo what was done since first")
    say(f"{undone} actions taken back")
