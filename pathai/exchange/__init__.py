"""A reader's nuclei and regions to QuPath and back.

What is written is all that stands on a slide; what is read is compared with what stands now, and
only the difference becomes events of the reader's log. So a file that nobody changed changes
nothing, and writing, reading and writing again gives the same bytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pathai.errors import PathaiError
from pathai.exchange.changes import Changes, changes_of
from pathai.exchange.logged import take_back, take_in
from pathai.exchange.objects import ObjectsFile
from pathai.exchange.standing import Standing, standing_on
from pathai.exchange.written import write_review
from pathai.object_ids import slide_digits
from pathai.review import ReviewSession
from pathai.store.folders import ResultsFolder

__all__ = [
    "Changes",
    "ObjectsFile",
    "Standing",
    "TakenIn",
    "changes_of",
    "import_review",
    "slide_of",
    "standing_on",
    "take_back",
    "take_in",
    "write_review",
]


@dataclass(frozen=True)
class TakenIn:
    """What a file said that the log did not: its slide, the changes, the events written."""

    slide_id: str
    changes: Changes
    events: int


def slide_of(file: ObjectsFile, slides: Iterable[str], wanted: str = "") -> str:
    """Which of a case's or run's slides a file is of.

    Parameters
    ----------
    file : ObjectsFile
        Read by `pathai.exchange.ObjectsFile`.
    slides : iterable of str
        Ids that it may be of.
    wanted : str
        The slide that a person says it is of; needed where the file itself does not tell.

    Raises
    ------
    PathaiError
        E217 if it is of another slide, or does not tell of which.
    """
    known = {slide_digits(slide_id): slide_id for slide_id in sorted(slides)}
    told = file.slide()
    if told and told not in known:
        raise PathaiError("E217", f"{file.name} is of a slide that is not here")
    if told and wanted and known[told] != wanted:
        raise PathaiError("E217", f"{file.name} is of slide {known[told]}, not {wanted}")
    if not (told or wanted):
        message = f"{file.name} does not say of which slide it is"
        raise PathaiError("E217", message, "say it: --slide")
    return known[told] if told else wanted


def import_review(
    session: ReviewSession,
    results: ResultsFolder,
    path: Path,
    *,
    slides: Iterable[str],
    detector: str,
    slide_id: str = "",
    classes: Iterable[str] = (),
    keep_missing: bool = False,
) -> TakenIn:
    """Let a file's corrections stand in the log of the open case.

    Parameters
    ----------
    session : ReviewSession
        With the case open.
    results : ResultsFolder
        Of the run.
    path : Path
        GeoJSON that QuPath wrote, or `write_review`.
    slides : iterable of str
        Slides of the open case.
    detector : str
        Whose nuclei.
    slide_id : str
        The slide, where the file does not tell.
    classes : iterable of str
        Names of nuclei that are none of the detector's, to be allowed.
    keep_missing : bool
        The file holds only a part: what is not in it is as it was.

    Raises
    ------
    PathaiError
        E217 naming the line of what does not fit; nothing was written then. E193 without an open
        case, E160 or E161 if the log cannot be written.
    """
    file = ObjectsFile(path)
    name = slide_of(file, slides, slide_id)
    now = standing_on(results.slide(name), detector, session.state)
    found = changes_of(file, now, tuple(classes), keep_missing=keep_missing)
    return TakenIn(name, found, take_in(session, now, found, file.sha256))
