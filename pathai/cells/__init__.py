"""Stage ``cells``: the nuclei of a slide: where, which class, how many per mm²."""

from pathai.cells.classes import chosen
from pathai.cells.result import store
from pathai.cells.search import fill, prepare
from pathai.config import CellsConfig
from pathai.morphometry import measure
from pathai.store.cell_rows import CellJournal
from pathai.store.cells_summary import write_regions, write_summary
from pathai.store.commit import Commit
from pathai.store.folders import SlideFolder, cells_files


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
        Gets ``.zarr``, ``.summary.json`` and ``.regions.csv`` under the detector's slug; is
        degraded where pixels turned out to be undecodable, and where there are more nuclei than
        there can be.
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
    group, figures, regions = cells_files(section.detector)
    columns = len(search.detector.classes), len(search.measures)
    with CellJournal(out.journal(group), search.key(out.made_from), *columns) as journal:
        fill(journal, search, workers, scheduler)
        attrs, summary = store(out.part(group), journal, search, section, classifier)
        _, lost = search.unreadable(journal)
    write_summary(out.part(figures), summary)
    write_regions(out.part(regions), summary)
    if lost:
        message = f"{lost} rectangles hold pixels that turned out to be undecodable"
        out.degrade("E121", message, "copy or scan the slide again; nothing is counted there")
    if attrs.implausible:
        message = (
            f"{attrs.implausible} objects on {attrs.implausible_mm2:.3g} mm² are too many to be "
            "nuclei and are not counted"
        )
        out.degrade("E144", message)
