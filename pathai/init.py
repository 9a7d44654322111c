"""``pathai init``: a commented configuration and a sheet with one row per slide found."""

import re
from pathlib import Path

from pathai.batch import say
from pathai.errors import PathaiError
from pathai.run import shipped
from pathai.sheet import COLUMNS
from pathai.store.manifest import storage_error, write_atomic

SUFFIXES = frozenset(
    {".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide"}
    | {".czi", ".dcm", ".vsi", ".qptiff"}
)
"""Files that are listed; whether they can be read is for ingest to say."""


def init(folder: Path, slides: Path | None) -> None:
    """Write ``config.yaml``, ``slides.tsv`` and the shipped tasks.

    Parameters
    ----------
    folder : Path
        Folder of the new run; made if needed.
    slides : Path, optional
        Folder searched for slides, with its subfolders.

    Raises
    ------
    PathaiError
        E193 when the folder already holds a run, or the slides' folder is not there.
    """
    for name in ("config.yaml", "slides.tsv"):
        if (folder / name).exists():
            raise PathaiError("E193", f"{name} is already there", "choose an empty folder")
    found = find_slides(slides) if slides else []
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error) from None
    write_atomic(folder / "config.yaml", shipped("configs/config.yaml").read_bytes())
    for task in sorted(shipped("configs/tasks").glob("*.yaml")):
        write_atomic(folder / "tasks" / task.name, task.read_bytes())
    write_atomic(folder / "slides.tsv", sheet_text(found).encode())
    say(f"{len(found)} slides listed in {folder / 'slides.tsv'}")
    say("Check the columns case_id, patient_id, stain and mpp: they are guesses or empty.")
    say(f"Then: pathai run --config {folder / 'config.yaml'}")


def find_slides(slides: Path) -> list[Path]:
    """Slide files below a folder, sorted; one per DICOM series folder."""
    if not slides.exists():
        raise PathaiError("E193", f"folder {slides.name} not found", "give your slides' folder")
    if not slides.is_dir():
        raise PathaiError("E193", f"{slides.name} is a file", "give the folder that holds it")
    files = sorted(p for p in slides.rglob("*") if p.is_file() and p.suffix.lower() in SUFFIXES)
    kept, series = [], set()
    for file in files:
        if file.suffix.lower() == ".dcm":
            if _dicom_series(file) in series:
                continue
            series.add(_dicom_series(file))
        kept.append(file)
    return kept


def _dicom_series(file: Path) -> str:
    """What the files of one DICOM slide share; asked in a child process."""
    from pathai.guard import shared

    try:
        target = "pathai.readers.slide_files:quick_identity"
        return str(shared(4096).call(target, file, seconds=60)) or file.as_posix()
    except PathaiError:
        return file.as_posix()


def sheet_text(found: list[Path]) -> str:
    """The sheet. Ids are counted, never made from file names, which may identify a patient."""
    lines = ["\t".join(COLUMNS)]
    for number, file in enumerate(found, start=1):
        values = dict.fromkeys(COLUMNS, "")
        values |= {
            "slide_id": f"slide-{number:04d}",
            "path": _path(file),
            "case_id": f"case-{number:04d}",
            "patient_id": f"patient-{number:04d}",
            "stain": "H&E",
        }
        lines.append("\t".join(values[column] for column in COLUMNS))
    return "\n".join(lines) + "\n"


def _path(file: Path) -> str:
    path = file.absolute()
    if re.search(r"[\t\r\n]", str(path)):
        raise PathaiError("E150", f"the name of slide {path.name!r} holds a tab or line break")
    return str(path)
