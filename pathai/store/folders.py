"""Where everything lies. No other file knows a path below ``results/``."""

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from pathai.errors import PathaiError
from pathai.store.manifest import SUFFIX, canonical, first_damaged, read_manifest, write_atomic
from pathai.store.records import Qc, SlideInfo, TissueMap

if TYPE_CHECKING:
    from pathai.store.cells_summary import CellsSummary
    from pathai.store.pyramid import Pyramid
    from pathai.store.records import (
        Cells,
        CellsAttrs,
        Features,
        Prediction,
        SlideVector,
        ZeroShot,
    )


def slug(name: str) -> str:
    """A plug-in's name as a file name; other than plain names get 8 hex digits of their hash."""
    if re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        return name
    plain = re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-.")[:40]
    return f"{plain}-{sha256(name.encode()).hexdigest()[:8]}"


def cells_files(detector: str) -> tuple[str, str, str]:
    """Files of stage ``cells``: the group of nuclei, their figures, their counts by region."""
    name = slug(detector)
    return f"{name}.zarr", f"{name}.summary.json", f"{name}.regions.csv"


class SlideFolder:
    """``results/slides/<slide_id>/``: one output per stage, one owner each."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def slide_id(self) -> str:
        """The folder's name."""
        return self.path.name

    def base(self, stage: str, name: str = "") -> Path:
        """Folder and name of a stage's result; its manifest is ``<base>.manifest.json``."""
        return self.path / stage / slug(name) if name else self.path / stage

    @property
    def slide_json(self) -> Path:
        """Facts of the slide, written by ingest."""
        return self.path / "slide.json"

    @property
    def color_profile(self) -> Path:
        """What ingest kept of the slide's ICC profile; absent without one."""
        return self.path / "color.icc"

    @property
    def tiles(self) -> Path:
        """Tissue-only pyramid, written by tile."""
        return self.path / "tiles.zarr"

    @property
    def tissue(self) -> Path:
        """Tissue map, written by tile."""
        return self.path / "tissue.zarr"

    def features(self, encoder: str) -> Path:
        """Vectors of one encoder."""
        return self.path / "features" / f"{slug(encoder)}.zarr"

    def cells(self, detector: str) -> Path:
        """Nuclei of one detector."""
        return self.path / "cells" / f"{slug(detector)}.zarr"

    def cells_summary(self, detector: str) -> Path:
        """Every figure of one detector's nuclei."""
        return self.path / "cells" / f"{slug(detector)}.summary.json"

    def prediction(self, task: str) -> Path:
        """Answer to one task."""
        return self.path / "predictions" / f"{slug(task)}.zarr"

    def slide_vector(self, encoder: str) -> Path:
        """Vector of one slide encoder."""
        return self.path / "slide" / f"{slug(encoder)}.zarr"

    def zeroshot(self, prompts: str, encoder: str) -> Path:
        """Scores of one prompt set by one encoder; two may score the same words."""
        return self.path / "zeroshot" / f"{slug(prompts)}.{slug(encoder)}.zarr"

    def _check(self, stage: str, name: str = "", *, chunks: bool = True) -> None:
        """Refuse a result of which a file is gone, cut off or another one (E164)."""
        base = self.base(stage, name)
        path = base.with_name(base.name + SUFFIX)
        if path.exists():  # a folder may also hold results alone
            hurt = first_damaged(base.parent, read_manifest(path), chunks=chunks)
            if hurt:
                raise PathaiError("E164", f"{self.slide_id}: {hurt} is not what was written")

    def read_slide(self) -> SlideInfo:
        """Facts of the slide (E164 when ingest has not run)."""
        self._check("ingest")
        return read_slide_info(self.slide_json)

    def read_color_profile(self) -> bytes:
        """What was kept of the slide's ICC profile; empty if nothing."""
        self._check("ingest")
        return self.color_profile.read_bytes() if self.color_profile.is_file() else b""

    def read_tissue(self) -> TissueMap:
        """Tissue map (E164 when tile has not run)."""
        self._check("tile")
        from pathai.store.pyramid import read_tissue

        return read_tissue(self.tissue)

    def read_qc(self) -> Qc | None:
        """Quality figures; None where none were stored (E164 when tile has not run)."""
        self._check("tile")
        from pathai.store.pyramid import read_qc

        return read_qc(self.tissue)

    def open_tiles(self) -> "Pyramid":
        """Pixels (E164 when tile has not run)."""
        self._check("tile")
        from pathai.store.pyramid import Pyramid

        return Pyramid(self.tiles)

    def read_features(self, encoder: str) -> "Features":
        """Vectors of one encoder."""
        self._check("features", encoder)
        from pathai.store.groups import read_features

        return read_features(self.features(encoder))

    def read_cells(self, detector: str) -> "Cells":
        """Nuclei of one detector."""
        self._check("cells", detector)
        from pathai.store.groups import read_cells

        return read_cells(self.cells(detector))

    def read_cells_summary(self, detector: str) -> "CellsSummary | None":
        """Every figure of one detector's nuclei; None where an earlier version wrote none."""
        self._check("cells", detector, chunks=False)
        from pathai.store.cells_summary import read_summary

        return read_summary(self.cells_summary(detector))

    def read_cells_attrs(self, detector: str) -> "CellsAttrs":
        """Counts and areas of one detector."""
        self._check("cells", detector, chunks=False)
        from pathai.store.groups import read_cells_attrs

        return read_cells_attrs(self.cells(detector))

    def cells_digest(self, detector: str) -> str:
        """Digest of the contents of one detector's nuclei: rows mean the same while it is so.

        By their manifest (E164 if it is damaged), or by every file where there is none.
        """
        from pathai.store.commit import manifest_path
        from pathai.store.manifest import list_files

        path = manifest_path(self.base("cells", detector))
        if path.exists():
            return read_manifest(path).digest
        found = list_files(self.path, [self.cells(detector)])
        records = {name: record.model_dump() for name, record in found.items()}
        return sha256(canonical(records)).hexdigest()

    def read_prediction(self, task: str) -> "Prediction":
        """Answer to one task."""
        self._check("predictions", task)
        from pathai.store.groups import read_prediction

        return read_prediction(self.prediction(task))

    def read_slide_vector(self, encoder: str) -> "SlideVector":
        """Vector of one slide encoder."""
        self._check("slide", encoder)
        from pathai.store.groups import read_slide_vector

        return read_slide_vector(self.slide_vector(encoder))

    def read_zeroshot(self, prompts: str, encoder: str) -> "ZeroShot":
        """Scores of one prompt set by one encoder."""
        from pathai.store.groups import read_zeroshot

        return read_zeroshot(self.zeroshot(prompts, encoder))


def write_slide_info(path: Path, info: SlideInfo) -> None:
    """Write ``slide.json``."""
    write_atomic(path, canonical(info.model_dump(mode="json")))


def read_slide_info(path: Path) -> SlideInfo:
    """Read ``slide.json``."""
    try:
        return SlideInfo.model_validate(json.loads(path.read_bytes()))
    except OSError:
        message = f"{path.parent.name}/slide.json is missing"
        raise PathaiError("E164", message, "run pathai ingest") from None
    except (ValueError, ValidationError) as error:
        raise PathaiError("E164", f"slide.json of {path.parent.name}: {error}") from None


COHORT_FILES = (
    *("index.html", "failures.tsv", "slides.tsv", "metrics.json", "multiqc"),
    *("run.json", "run.html"),
)
"""Files of the cohort's page; the last two are records outside of the digest."""
DRAFT_FILES = (
    *("draft.json", "draft.md", "draft.html", "draft.docx", "draft.pdf"),
    *("fhir.json", "sr.dcm"),
)
"""Files of a case's draft; ``sr.dcm`` only where a slide of the case is DICOM."""


class CaseFolder:
    """``results/cases/<case_id>/``: findings and draft."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def case_id(self) -> str:
        """The folder's name."""
        return self.path.name

    def base(self, stage: str) -> Path:
        """``findings`` or ``draft``."""
        return self.path / stage

    def slide(self, slide_id: str) -> SlideFolder:
        """Folder of one of its slides, which lies in the same results."""
        return ResultsFolder(self.path.parent.parent).slide(slide_id)

    @property
    def findings(self) -> Path:
        """Every number that a report of the case may contain."""
        return self.path / "findings.json"

    def draft(self, kind: str) -> Path:
        """``draft.json`` and its documents: ``md``, ``html``, ``docx``, ``pdf``."""
        return self.path / f"draft.{kind}"

    @property
    def fhir(self) -> Path:
        """The draft as a FHIR R4B Bundle."""
        return self.path / "fhir.json"


def _folders(path: Path) -> tuple[str, ...]:
    if not path.is_dir():
        return ()
    return tuple(sorted(entry.name for entry in path.iterdir() if entry.is_dir()))


class ResultsFolder:
    """``results/``: slides, cases, cohort."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def slide(self, slide_id: str) -> SlideFolder:
        """Folder of a slide."""
        return SlideFolder(self.path / "slides" / slide_id)

    def case(self, case_id: str) -> CaseFolder:
        """Folder of a case."""
        return CaseFolder(self.path / "cases" / case_id)

    def slide_ids(self) -> tuple[str, ...]:
        """Names of the slides' folders that are there, of whatever sheet they came."""
        return _folders(self.path / "slides")

    def case_ids(self) -> tuple[str, ...]:
        """Names of the cases' folders that are there."""
        return _folders(self.path / "cases")

    @property
    def cohort(self) -> Path:
        """Folder of the cohort page."""
        return self.path / "cohort"
