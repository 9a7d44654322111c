"""A case's share bundle: every slide in turn, then findings, page and licence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pathai.errors import PathaiError
from pathai.finding import canonical
from pathai.report.records import WATERMARK
from pathai.share import html
from pathai.share.archive import Archive
from pathai.share.pseudonyms import Pseudonyms, of_rows
from pathai.share.slides import Made, Wanted, absent, write_slide
from pathai.share.story import Standing, findings_without_names, story
from pathai.sheet import SheetRow
from pathai.store.folders import ResultsFolder

README = """\
Unzip all of this, then open index.html in a browser. No network is needed and nothing is sent.
A web server can hand out the folder as it is.

Ids are pseudonyms. The lab that made this keeps the list.
{mark}

index.html      slides, overlays and report
findings.json   what the report says, as data
slides/         tiles in the Deep Zoom layout; a tile that is not there is background
licenses/       of OpenSeadragon, which shows the slides
"""


@dataclass(frozen=True)
class Bundle:
    """What was made: the file's size in bytes, how many files are in it, and what to tell."""

    bytes: int
    files: int
    notes: tuple[str, ...]


def share_case(
    rows: Sequence[SheetRow],
    results: ResultsFolder,
    standing: Standing | None,
    out: Path,
    names: Pseudonyms,
    wanted: Wanted,
    *,
    readers: bool = False,
    overwrite: bool = False,
    told: Callable[[str], None] = lambda text: None,
) -> Bundle:
    """Write the share bundle of a case.

    Parameters
    ----------
    rows : sequence of SheetRow
        The case's rows.
    results : ResultsFolder
        Of the run.
    standing : Standing or None
        Its report; None where there is none yet.
    out : Path
        The zip to write.
    names : Pseudonyms
        With the site's key; they know afterwards what was given.
    wanted : Wanted
        What to put in of each slide, and how well.
    readers : bool
        True: with the names of those who entered values.
    overwrite : bool
        Replace a file that is there.
    told : callable
        Takes a line of progress for people.

    Returns
    -------
    Bundle

    Raises
    ------
    PathaiError
        E193 if the file is there, E194 without the viewer library, E212 if no slide can be shown,
        E160, E161 if it cannot be written. Nothing is left then.
    """
    licence = html.library()[1]
    of_rows(names, rows)
    slides: list[Made] = []
    with Archive(out, overwrite=overwrite) as archive:
        for number, row in enumerate(rows, start=1):
            slides.append(_slide(row, results, names, wanted, archive, told, number, len(rows)))
        if all(made.data["problem"] for made in slides):
            raise PathaiError("E212", f"no slide of case {rows[0].case_id} can be shown")
        notes = [f"Slide {i} {note}." for i, m in enumerate(slides, 1) for note in m.notes]
        told_story = None
        if standing is not None:
            told_story = story(standing, names, [row.slide_id for row in rows])
            told_ids = standing.draft.told()
            found = findings_without_names(standing.case, told_ids, names, readers=readers)
            archive.put("findings.json", canonical(found).encode() + b"\n")
        mark = WATERMARK
        if told_story is not None and told_story["signed"]:
            mark = told_story["signature"]
        page = html.print_page(
            title=f"Case {names.of('case', rows[0].case_id)}",
            patient=names.of("patient", rows[0].patient_id),
            story=told_story,
            slides=[made.data for made in slides],
            problems=notes,
            mark=mark,
        )
        archive.put("index.html", page.encode())
        archive.put("README.txt", README.format(mark=mark).encode())
        archive.put("licenses/openseadragon.txt", licence.encode())
    if told_story is not None and told_story["typed"]:
        notes.append(
            f"{told_story['typed']} sentences were typed by a person: read them for names before "
            "you hand the file on."
        )
    return Bundle(archive.bytes, archive.members, tuple(notes))


def _slide(
    row: SheetRow,
    results: ResultsFolder,
    names: Pseudonyms,
    wanted: Wanted,
    archive: Archive,
    told: Callable[[str], None],
    number: int,
    count: int,
) -> Made:
    """One slide; what is wrong with it does not stop the others."""
    name, stain = names.of("slide", row.slide_id), names.scrub(row.stain)

    def progress(what: str, done: int, of: int) -> None:
        told(f"slide {number} of {count}: {what} {100 * done // of} %")

    try:
        folder, vectors = results.slide(row.slide_id), row.stain_vectors
        made = write_slide(folder, name, stain, wanted, archive.put, progress, vectors)
    except PathaiError as error:
        if error.code in ("E160", "E161"):
            raise
        return absent(name, stain, error)
    return made
