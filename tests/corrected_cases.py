"""A run of one case whose nuclei were really found, for correcting them."""

from pathlib import Path

from folder_cases import make_folder

from pathai import chain
from pathai.case import read_all
from pathai.corrected import AddedNucleus, CellEdit, Corrections, DrawnRegion, SlideCorrections
from pathai.plan import Plan
from pathai.store.commit import manifest_path
from pathai.store.manifest import Manifest, list_files, write_manifest
from pathai.testing.picture import draw
from pathai.testing.truth import Recipe
from pathai.units import Mpp

CASE, DETECTOR = "C1", "classical"
SLIDES = {"S1": "H&E", "S2": "Ki-67"}
CONFIG = """\
schema_version: 1
cells: {detector: classical%s}
features: {encoders: [morphology]}
"""


def make_run(folder: Path, cells: str = "", side: int = 640) -> Plan:
    """Slides as ingest and tile leave them, then cells, findings and draft by the stages."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(CONFIG % cells)
    header = "slide_id path case_id patient_id specimen_id block_id laterality stain site"
    lines = [header.replace(" ", "\t")]
    for slide_id, stain in SLIDES.items():
        row = (slide_id, f"{slide_id}.svs", CASE, "P1", "SP1", "A1", "left", stain, "A")
        lines.append("\t".join(row))
    (folder / "slides.tsv").write_text("\n".join(lines) + "\n")
    plan = Plan(folder / "config.yaml")
    for number, (slide_id, stain) in enumerate(SLIDES.items()):
        pixels, _ = draw(Recipe(3 + number, side, side, 0.5, stain))
        made = make_folder(plan.results.slide(slide_id).path, pixels, Mpp(0.5, 0.5), stain=stain)
        _vouch(made.base("ingest"), "ingest", slide_id, [made.slide_json])
        _vouch(made.base("tile"), "tile", slide_id, [made.tiles, made.tissue])
    recount(plan)
    return plan


def _vouch(base: Path, stage: str, subject: str, outputs: list[Path]) -> None:
    files = list_files(base.parent, outputs)
    manifest = Manifest(
        stage=stage, subject=subject, status="ok", stage_version=1, config_digest="0" * 64,
        parents={}, files=files, pathai_version="0",
    )  # fmt: skip
    write_manifest(manifest_path(base), manifest)


def recount(plan: Plan) -> None:
    """Cells, findings and draft, where they are not current."""
    for slide_id in SLIDES:
        for step in chain.slide_steps(plan, "cells", slide_id):
            assert step.run().status == "ok"
    for step in chain.case_steps(plan, CASE):
        assert step.run().status == "ok"


def nuclei(plan: Plan, slide_id: str):
    """All nuclei of a slide as stored."""
    return read_all(plan.results.slide(slide_id), DETECTOR)


def edit(plan: Plan, slide_id: str, row: int, after: str, **changes) -> CellEdit:
    """An edit of a stored nucleus."""
    folder = plan.results.slide(slide_id)
    x, y = nuclei(plan, slide_id).xy_px0[row].tolist()
    fields = {
        "detector": DETECTOR, "store": folder.cells_digest(DETECTOR), "row": row,
        "xy_px0": (round(x, 1), round(y, 1)), "after": after,
    }  # fmt: skip
    return CellEdit(**{**fields, **changes})


def added(x: float, y: float, name: str = "", radius: float = 6.0) -> AddedNucleus:
    """A square nucleus around a place."""
    r = radius
    ring = ((x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r))
    return AddedNucleus(DETECTOR, ring, name)


def box(name: str, x: float, y: float, width: float, height: float) -> DrawnRegion:
    """A rectangular region."""
    ring = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
    return DrawnRegion(name, (ring,))


def corrections(slide_id: str = "", reader: str = "dr-a", **what) -> Corrections:
    """Corrections of one slide."""
    slides = {slide_id: SlideCorrections(**what)} if slide_id else {}
    return Corrections(reader, slides, ("a" * 64,), "2026-01-01T00:00:00.000+00:00")
