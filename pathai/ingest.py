"""Stage ingest: what a slide file is, whether it can be trusted, and its fingerprint."""

import math
import os
from hashlib import file_digest, sha256
from typing import TYPE_CHECKING, Literal

from pathai.color import carried
from pathai.config import IngestConfig
from pathai.errors import PathaiError
from pathai.source import Place, Remote, hashed
from pathai.store.commit import Commit
from pathai.store.folders import SlideFolder, write_slide_info
from pathai.store.records import SlideInfo
from pathai.units import MPP_MAX, MPP_MIN, Mpp

if TYPE_CHECKING:
    from pathai.readers import Facts

DISAGREE = 0.05
"""Relative difference between the mpp of sheet and file that needs a decision."""
SQUARE = 0.02
"""Relative difference between x and y that is worth a note."""
STRETCHED = 0.2
"""Relative difference between x and y that no scanner makes."""
# Micrometers per pixel that software writes when it knows none: dots per inch read as a scale.
_DEFAULTS = {25400 / 72: "72 dpi", 25400 / 96: "96 dpi", 25400 / 300: "300 dpi", 1000.0: "1/mm"}


def run(
    folder: SlideFolder,
    section: IngestConfig,
    out: Commit,
    *,
    path: Place,
    mpp: float | None = None,
    stain: str = "H&E",
    sha256: str = "",
) -> None:
    """Examine a slide in a child process; write ``slide.json`` and what is kept of its colors.

    Parameters
    ----------
    folder : SlideFolder
        Where the slide's results lie; its name is the slide's id.
    section : IngestConfig
        Limits.
    out : Commit
        Takes ``slide.json`` and, where the slide has a usable ICC profile, ``color.icc``.
    path : Path or Remote
        The slide file; goes no further than the child.
    mpp : float, optional
        µm per pixel from the sheet.
    stain : str
        From the sheet.
    sha256 : str
        From the sheet: what the slide's fingerprint must be, where it is known.

    Raises
    ------
    PathaiError
        What is wrong with the file (E101-E141, E162, E163, E170-E172) and what to do.
    """
    from pathai.guard import shared

    guard = shared(section.memory_mib)
    target = "pathai.ingest:examine"
    asked = (folder.slide_id, mpp, stain, sha256)
    info, icc = guard.call(target, path, section, *asked, seconds=section.seconds)
    write_slide_info(out.part("slide.json"), info)
    if icc:
        out.part("color.icc").write_bytes(icc)


def inspect(
    path: Place,
    section: IngestConfig,
    slide_id: str,
    sheet_mpp: float | None,
    stain: str,
    expected: str = "",
) -> SlideInfo:
    """`examine` without the colors."""
    return examine(path, section, slide_id, sheet_mpp, stain, expected)[0]


def examine(
    path: Place,
    section: IngestConfig,
    slide_id: str,
    sheet_mpp: float | None,
    stain: str,
    expected: str = "",
) -> tuple[SlideInfo, bytes]:
    """Everything that is known of a slide file; opens it with native code (run it in a child).

    Returns
    -------
    info : SlideInfo
        Without path, file name or any text of the scanner.
    icc : bytes
        Colorimetry of its ICC profile, empty if there is none or it cannot be carried over.

    Raises
    ------
    PathaiError
        As in `run`.
    """
    from pathai.readers import open_slide
    from pathai.readers.icc import icc_profile
    from pathai.readers.slide_files import quick_identity, slide_files
    from pathai.readers.sniff import sniff

    digest = ""
    if expected:  # before a decoder sees a byte of a file that is not the one that was meant
        sniff(path, section)
        digest = fingerprint(*slide_files(path))
        check_fingerprint(digest, expected)
    slide = open_slide(path, section)
    facts = slide.facts
    slide.close()
    files = slide_files(path)
    notes = [facts.mpp_note] if facts.mpp_note else []
    mpp, source = choose_mpp(facts.mpp, sheet_mpp, override=section.mpp_override, notes=notes)
    notes += _remarks(facts, mpp, len(files))
    icc = carried(facts.icc)
    if facts.icc and not icc:
        notes.append("the color profile is of a kind that cannot be carried over")
    info = SlideInfo(
        slide_id=slide_id,
        sha256=digest or fingerprint(*files),
        quick_id=quick_identity(path),
        files=len(files),
        width=facts.size.width,
        height=facts.size.height,
        mpp_x=mpp.x,
        mpp_y=mpp.y,
        mpp_source=source,
        objective=facts.objective,
        vendor=facts.vendor,
        reader=slide.name,
        reader_reason=slide.reason,
        level_downsamples=facts.level_downsamples,
        stain=stain,
        icc=icc_profile(facts.icc),
        associated=facts.associated,
        phi=_identifying(facts, files),
        notes=tuple(notes),
    )
    return info, icc


def _identifying(facts: "Facts", files: tuple[Place, ...]) -> tuple[str, ...]:
    """Kinds of identifying text and pictures in any of a slide's files."""
    from pathai.readers.private_text import private_text

    pictures = {f"{kind} image" for kind in facts.associated if kind in ("label", "macro")}
    texts = {kind for file in files for kind in private_text(file)}
    return tuple(sorted(pictures | texts | set(facts.text_tags)))


def fingerprint(*paths: Place) -> str:
    """SHA-256 of a slide's file; of several files, the SHA-256 of their digests in their order.

    Raises
    ------
    PathaiError
        E111 if one grew or changed meanwhile, E163 if another file took its place, E162 if the
        disk failed.
    """
    digests = [_file_digest(path) for path in paths]
    return digests[0] if len(digests) == 1 else sha256("\n".join(digests).encode()).hexdigest()


def check_fingerprint(found: str, expected: str) -> None:
    """Refuse a slide that is not the one whose SHA-256 is known (E112)."""
    if found != expected.lower():
        message = f"its SHA-256 is {found[:12]}..., the sheet says {expected[:12].lower()}..."
        raise PathaiError("E112", message)


def _file_digest(path: Place) -> str:
    if isinstance(path, Remote):
        return _remote_fingerprint(path)
    try:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            digest = file_digest(file, "sha256").hexdigest()
            after, named = os.fstat(file.fileno()), path.stat()
    except OSError as error:
        raise PathaiError("E162", f"reading failed: {error.strerror}") from None
    if (named.st_ino, named.st_dev) != (before.st_ino, before.st_dev):
        raise PathaiError("E163", "another file took its place while it was read")
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise PathaiError("E111", "size or time of the file changed while it was read")
    return digest


def _remote_fingerprint(path: Remote) -> str:
    before, digest = path.look(), sha256()
    count = hashed(path, digest.update)
    if path.look() != before or count != before["size"]:
        raise PathaiError("E163", "the object was replaced while it was read")
    return digest.hexdigest()


def choose_mpp(
    recorded: Mpp | None, sheet: float | None, *, override: bool, notes: list[str]
) -> tuple[Mpp, Literal["file", "sheet"]]:
    """Resolution to use and where it came from; nothing is ever guessed.

    Parameters
    ----------
    recorded : Mpp or None
        What the file says.
    sheet : float or None
        What the sheet says.
    override : bool
        Let the sheet win where both are plausible and disagree.
    notes : list of str
        Receives what a person should know.

    Returns
    -------
    tuple of (Mpp, str)
        The resolution and ``"file"`` or ``"sheet"``.

    Raises
    ------
    PathaiError
        E130 missing, E131 implausible, E132 not square at all, E133 sheet and file disagree.
    """
    if sheet is None:
        mpp = _checked(recorded)
        uneven = abs(mpp.x / mpp.y - 1)
        if uneven > STRETCHED:
            raise PathaiError("E132", f"mpp is {mpp.x:g} along x and {mpp.y:g} along y")
        if uneven > SQUARE:
            notes.append(f"mpp differs by {uneven:.1%} between x and y; resampled per axis")
        return mpp, "file"
    mpp = Mpp(sheet, sheet)
    if not mpp.plausible:
        message = f"the sheet's mpp {sheet:g} is outside {MPP_MIN} to {MPP_MAX} µm/px"
        raise PathaiError("E131", message)
    if recorded is None:
        return mpp, "sheet"
    if not recorded.plausible:
        notes.append(f"the file's mpp ({_shown(recorded)}) is implausible; the sheet's is used")
        return mpp, "sheet"
    off = abs(sheet / recorded.mean - 1)
    if off > DISAGREE:
        message = f"the sheet says {sheet:g} µm/px, the file {recorded.mean:.4g} ({off:.0%} apart)"
        if not override:
            raise PathaiError("E133", message)
        notes.append(f"{message}; the sheet's is used")
    return mpp, "sheet"


def _checked(recorded: Mpp | None) -> Mpp:
    if recorded is None:
        raise PathaiError("E130", "the file does not record µm per pixel")
    if recorded.plausible:
        return recorded
    message = f"the file says {_shown(recorded)} µm/px, plausible is {MPP_MIN} to {MPP_MAX}"
    for value, name in _DEFAULTS.items():
        if math.isclose(recorded.x, value, rel_tol=0.003):
            message += f" (this is the default of {name}, not a calibration)"
    if MPP_MIN <= recorded.x * 100 <= MPP_MAX:
        message += f" (a unit error? 100 times it is {recorded.x * 100:.4g})"
    raise PathaiError("E131", message)


def _shown(mpp: Mpp) -> str:
    return "no number" if math.isnan(mpp.x) or math.isnan(mpp.y) else f"{mpp.x:.4g}"


def _remarks(facts: "Facts", mpp: Mpp, files: int) -> list[str]:
    """What a person should know of an accepted slide."""
    found = []
    # Scanners make about 10 µm/px divided by the magnification; twice or half is suspicious.
    if facts.objective and not 0.6 <= mpp.mean * facts.objective / 10 <= 1.6:
        found.append(f"mpp {mpp.mean:.4g} is unusual for an objective of {facts.objective:g}")
    if facts.bounds is not None:
        b = facts.bounds
        found.append(f"scanned part: x {b.x:g} y {b.y:g}, {b.width:g} x {b.height:g} px")
    if files > 1:
        found.append(f"one slide of {files} files")
    return found
