"""Stage ``cells``: the nuclei of a slide: where, which class, how many per mm²."""

from pathai.cells.classes import chosen
from pathai.cells.result import store
from pathai.cells.search import fill, prepare
from pathai.config import CellsConfig
from pathai.morphometry import measure
from pathai.store.cell_rows import CellJournal
from pathai.store.commit import Commit
from pathai.store.folders import SlideFolder, slug


def run(
    folder: SlideFolder,
    section: CellsConfig,
    out: Commit,
    workers: int = 1,
    *,
    scheduler: str = "",
    vectors: str = "",
) -> None:
    """Find, classify and count the nuclei of a slide.

    Parameters
    ----------
    folder : SlideFolder
        Slide with ``tiles.zarr`` and ``tissue.zarr``.
    section : CellsConfig
        Detector, block size, DAB cut-off.
    out : Commit
        Gets ``<slug of the detector>.zarr``; is degraded where pixels turned out to be
        undecodable, and where there are more nuclei than there can be.
    workers : int
        Threads; the result does not depend on them.
    scheduler : str
        Address of a dask scheduler, whose workers then do the work.
    vectors : str
        Column ``stain_vectors`` of the sheet.

    Raises
    ------
    PathaiError
        E131 if the slide's µm/px is outside the detector's range, E142 if its stain is unknown,
        E182 or E183 if the model of cell classes is damaged or missing,
        E177 if the scheduler does not answer, E186 if the detector's answer does not fit; as
        `pathai.detectors.load_detector`.
    """
    search = prepare(folder, section, measure, vectors)
    classifier = chosen(section, search.info.stain, search.detector.classes)
    name = f"{slug(section.detector)}.zarr"
    columns = len(search.detector.classes), len(search.measures)
    with CellJournal(out.journal(name), search.key(out.made_from), *columns) as journal:
        fill(journal, search, workers, scheduler)
        attrs = store(out.part(name), journal, search, section, classifier)
        _, lost = search.unreadable(journal)
    if lost:
        message = f"{lost} rectangles hold pixels that turned out to be undecodable"
        out.degrade("E121", message, "copy or scan the slide again; nothing is counted there")
    if attrs.implausible:
        message = (
            f"{attrs.implausible} objects on {attrs.implausible_mm2:.3g} mm² are too many to be "
            "nuclei and are not counted"
        )
        out.degrade("E144", message)
