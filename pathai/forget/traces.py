"""What a run holds of a patient, by the sheet and by what pathai writes where."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pathai.errors import PathaiError
from pathai.forget.searching import Ids, inside
from pathai.plan import Plan
from pathai.review_log import lock_file
from pathai.share.pseudonyms import telling
from pathai.sheet import SheetRow
from pathai.store.bundle import SPEC, TrainingData
from pathai.store.commit import manifest_path
from pathai.store.manifest import canonical, read_manifest, write_atomic

NOTE = "forget.json"
IDS_TABLE = "pseudonym\tkind\tid"
"""First line of the list in which a lab keeps whose pseudonym is whose."""


class Who(BaseModel):
    """A patient and every id that is the patient's alone; kept until the forget is done."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    patient: str
    cases: tuple[str, ...]
    slides: tuple[str, ...]
    more: tuple[str, ...] = ()
    """Ids of specimens and blocks that no other patient has."""
    contents: tuple[str, ...] = ()
    """SHA-256 of the slides' files: a model may have met one under another name."""
    token: str = ""
    pseudonyms: tuple[str, ...] = ()
    originals: tuple[str, ...] | None = None

    @property
    def by_column(self) -> dict[str, frozenset[str]]:
        """Cells that make a row of a table the patient's, by column."""
        every = (self.patient, *self.cases, *self.slides, *self.more)
        return {
            "patient_id": frozenset((self.patient,)),
            "case_id": frozenset(self.cases),
            "slide_id": frozenset(self.slides),
            "id": frozenset(every),
        }

    @property
    def untelling(self) -> tuple[str, ...]:
        """Ids that are words or numbers of many texts, so that a search says nothing."""
        named = {self.patient, *self.cases, *self.slides}
        return tuple(sorted(i for i in named if not telling(i)))

    def pattern(self, remaining: tuple[str, ...]) -> Ids:
        """What to search for where these ids of others remain."""
        named = {self.patient, *self.cases, *self.slides}
        ids = tuple(sorted(i for i in named if telling(i)))
        return Ids(ids, tuple(sorted(r for r in set(remaining) if any(i in r for i in ids))))


def find(plan: Plan, patient: str) -> Who:
    """The patient of the sheet (E193 if there is none)."""
    rows = [row for row in plan.sheet.rows if row.patient_id == patient]
    if not rows:
        remedy = "give an id of column patient_id"
        raise PathaiError("E193", f"no patient {patient!r} in {plan.sheet.name}", remedy)
    others = {i for row in plan.sheet.rows if row.patient_id != patient for i in _parts(row)}
    return Who(
        patient=patient,
        cases=tuple(sorted({row.case_id for row in rows})),
        slides=tuple(row.slide_id for row in rows),
        more=tuple(sorted({i for row in rows for i in _parts(row)} - others)),
        contents=tuple(_contents(plan, rows)),
    )


def _parts(row: SheetRow) -> tuple[str, ...]:
    return tuple(i for i in (row.specimen_id, row.block_id) if i)


def _contents(plan: Plan, rows: list[SheetRow]) -> Iterator[str]:
    for row in rows:
        with suppress(PathaiError):
            yield plan.results.slide(row.slide_id).read_slide().sha256


def write_note(plan: Plan, who: Who) -> None:
    """Keep what is to go until it is gone."""
    write_atomic(plan.state / NOTE, canonical(who.model_dump(mode="json")))


def read_note(plan: Plan, patient: str) -> Who | None:
    """What an interrupted forget of this patient was to remove.

    Raises
    ------
    PathaiError
        E175 if the forget of another patient was interrupted.
    """
    try:
        who = Who.model_validate_json((plan.state / NOTE).read_bytes())
    except (OSError, ValidationError):
        return None
    if who.patient != patient:
        message = "the forgetting of another patient was interrupted"
        raise PathaiError("E175", message, f"finish it first: .pathai/{NOTE} names the patient")
    return who


def belongings(plan: Plan, who: Who) -> tuple[Path, ...]:
    """Files and folders that are the patient's alone and that are there."""
    paths = [plan.results.slide(slide).path for slide in who.slides]
    paths += [plan.results.case(case).path for case in who.cases]
    paths += [plan.results.path / "patients" / who.patient]
    paths += [plan.reviews / case for case in who.cases]
    paths += [plan.root / plan.config.clinical / f"{case}.yaml" for case in who.cases]
    paths += [plan.root / plan.config.regions / f"{slide}.geojson" for slide in who.slides]
    exact = {*who.slides, *who.cases}
    for folder in (plan.logs, plan.state / "running", plan.state / "workers"):
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            name = path.name.removesuffix(".killed.log").split("--")[0]
            paths += [path] if name in exact else []
    return tuple(path for path in paths if path.exists() or path.is_symlink())


def originals(plan: Plan, who: Who) -> tuple[str, ...]:
    """Slide files inside the run's folder: a lab's own, never removed."""
    if who.originals is not None:
        return who.originals
    found = []
    for row in plan.sheet.rows:
        path = plan.sheet.path(row)
        if row.slide_id in who.slides and path.exists() and path.is_relative_to(plan.root):
            found.append(path.relative_to(plan.root).as_posix())
    return tuple(found)


def models_of(plan: Plan, who: Who) -> tuple[str, ...]:
    """Models that were trained on the patient, by their own hashed list or their manifest."""
    folders = {p.parent for p in (plan.root / plan.config.models).glob(f"*/{SPEC}")}
    folders |= {model.folder for model in plan.models}
    return tuple(sorted({f.name for f in folders if _met(f, who)}))


def _met(folder: Path, who: Who) -> bool:
    with suppress(PathaiError):
        parents = read_manifest(manifest_path(folder)).parents
        if any(name.split("/")[0] in who.slides for name in parents):
            return True
    try:
        data = TrainingData.model_validate(json.loads((folder / SPEC).read_bytes())["data"])
    except (OSError, ValueError, KeyError, TypeError):
        return False
    by_id = any(data.has_id(slide, who.patient) for slide in who.slides)
    return by_id or any(data.has_content(content) for content in who.contents)


def tables(plan: Plan) -> tuple[Path, ...]:
    """Tables beside the sheet: corrected sheets, failures taken as a sheet, pseudonyms."""
    found = [*plan.root.glob("*.tsv"), *plan.root.glob("*.csv")]
    return tuple(sorted(p for p in found if p.is_file() and not p.is_symlink()))


def pseudonyms_of(plan: Plan, who: Who) -> tuple[str, ...]:
    """What stands for the patient's cases and slides in bundles that were shared."""
    wanted, found = {who.patient, *who.cases, *who.slides}, set()
    for path in plan.root.glob("*.tsv"):
        lines = path.read_text("utf-8", "replace").splitlines()
        if lines[:1] == [IDS_TABLE]:
            cells = [line.split("\t") for line in lines[1:]]
            found |= {row[0] for row in cells if len(row) == 3 and row[2] in wanted}
    return tuple(sorted(found))


def bundles_of(plan: Plan, who: Who) -> tuple[Path, ...]:
    """Share bundles inside the run's folder that show the patient."""
    told = who.pseudonyms or pseudonyms_of(plan, who)
    if not told:
        return ()
    found = (p for p in plan.root.rglob("*.zip") if p.is_file() and not p.is_symlink())
    return tuple(sorted(path for path in found if inside(path, Ids(told))))


def training_folders(plan: Plan) -> tuple[Path, ...]:
    """Folders of corrected nuclei that were written as training data into the run's folder."""
    owned = (plan.results.path, plan.root / ".snakemake", plan.reviews)
    found = (path.parent for path in plan.root.rglob("corrections.json"))
    return tuple(sorted(f for f in found if not any(f.is_relative_to(o) for o in owned)))


def held_by_reader(plan: Plan, who: Who) -> None:
    """Refuse while a reader has a case of the patient open (E175)."""
    with ExitStack() as stack:
        for case in who.cases:
            for path in sorted((plan.reviews / case).rglob("*.lock")):
                file = stack.enter_context(path.open("ab"))
                try:
                    lock_file(file)
                except OSError:
                    message = "a case of the patient is open in a review"
                    raise PathaiError("E175", message, "close it there, then try again") from None
