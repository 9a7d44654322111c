"""A run as the reviewer sees it: cases, their slides, and the sentences with their evidence.

The sentences are those of the report as it stands: the stages' own draft until a person changed
it, then the one of the report's trail (`pathai.report.life`).
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pathai import review
from pathai.errors import PathaiError
from pathai.finding import CaseFindings, Evidence, load_findings
from pathai.layouts import chosen
from pathai.plan import Plan
from pathai.report.life import Life, open_case
from pathai.report.life.state import replay
from pathai.report.life.trail import HEAD, LOG, read_trail, report_folder
from pathai.report.records import Draft, Source, Statement
from pathai.sheet import SheetRow
from pathai.store.folders import CaseFolder, ResultsFolder, SlideFolder

CONFIG = "config.yaml"
QUALITY = {"degraded": "pixels unreadable", "excluded_area": "tissue left out"}
"""Flags of findings that are about the slide itself, as words of the worklist."""
LOCK_WAIT_S = 1.0
"""How long the window waits for another program that writes the same report."""


@dataclass(frozen=True)
class Sentence:
    """A statement of the draft with the places that it stands on.

    ``section`` is the title under which it is printed; ``notes`` are the fixed sentences that
    belong to it. A box-less evidence means the whole slide. ``finding`` is what it stands on;
    ``source`` is the template, a language model or a person; ``flags`` are what the verifier says
    to a person's words.
    """

    id: str
    section: str
    text: str
    notes: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    finding: str = ""
    source: Source = "template"
    flags: tuple[str, ...] = ()

    @property
    def places(self) -> int:
        """How many boxes the sentence stands on."""
        return sum(len(e.boxes) for e in self.evidence)


@dataclass(frozen=True)
class CaseView:
    """One case: its rows of the sheet, and its draft if there is one.

    ``flags`` are words for the worklist that say what to watch for, never an AI result.
    """

    record: review.Case
    rows: tuple[SheetRow, ...]
    sentences: tuple[Sentence, ...] = ()
    watermark: str = ""
    problem: str = ""
    flags: tuple[str, ...] = ()

    @property
    def case_id(self) -> str:
        """The lab's id of the case."""
        return self.record.case_id

    def row(self, slide_id: str) -> SheetRow:
        """Row of one of the case's slides."""
        return next(row for row in self.rows if row.slide_id == slide_id)


class Run:
    """Everything that can be reviewed in a run folder.

    Parameters
    ----------
    path : Path
        The run folder, its ``config.yaml`` or its results.
    reviews : Path, optional
        Where the logs lie, instead of the run's own folder for them.

    Raises
    ------
    PathaiError
        E212 if there is no run, or no slide of it has pixels yet; E190 if reviews would lie
        among the results.
    """

    def __init__(self, path: Path, reviews: Path | None = None) -> None:
        self.plan = Plan(find_config(path))
        results, self.reviews = self.plan.results, (reviews or self.plan.reviews).absolute()
        if self.reviews.absolute().is_relative_to(results.path.absolute()):
            message = "reviews lie among the results, where a new run could remove them"
            raise PathaiError("E190", message, "choose another folder in key reviews")
        self._signed: dict[str, tuple[object, bool]] = {}
        self.cases = {case_id: self.view(case_id) for case_id in self.plan.sheet.cases()}
        if not any(self.has_pixels(row.slide_id) for row in self.plan.sheet.rows):
            raise PathaiError("E212", f"no slide in {self.plan.root.name} has been processed yet")

    def slide(self, slide_id: str) -> SlideFolder:
        """Results of a slide."""
        return self.plan.results.slide(slide_id)

    def has_pixels(self, slide_id: str) -> bool:
        """Whether there is anything to look at."""
        return self.slide(slide_id).tiles.exists()

    def life(self, case_id: str) -> Life:
        """The report of a case in a person's hands."""
        section = chosen(self.plan.config.report, self.plan.sheet.cases()[case_id], self.plan.root)
        results = self.plan.results.path
        return open_case(
            self.reviews, case_id, results=results, section=section, wait_s=LOCK_WAIT_S
        )

    def view(self, case_id: str) -> CaseView:
        """A case with its report as it stands now."""
        rows = self.plan.sheet.cases()[case_id]
        results = self.plan.results
        if not begun(self.reviews, case_id):
            return _case(case_id, rows, results)
        flags = _missing(rows, results)
        try:
            now = self.life(case_id).revision()
        except PathaiError as error:
            flags += ("report is broken",)
            return CaseView(review.Case(case_id), rows, problem=str(error), flags=flags)
        return view_of(rows, now.draft, now.case, flags)

    def is_signed(self, case_id: str) -> bool:
        """Whether the case's report is signed, as the report's own trail has it."""
        trail = self.reviews / case_id / "report" / LOG
        try:
            status = trail.stat()
        except OSError:
            return False
        known = (status.st_mtime_ns, status.st_size)
        if self._signed.get(case_id, (None, False))[0] != known:
            self._signed[case_id] = (known, _signed(trail.parent, case_id))
        return self._signed[case_id][1]

    def being_written(self, slide_id: str) -> bool:
        """Whether a run is writing results of this slide; what is committed can be read."""
        if not (self.plan.state / "lock").exists():
            return False
        return any(self.slide(slide_id).path.rglob("*.part"))

    @property
    def detector(self) -> str:
        """Whose nuclei the findings count."""
        return self.plan.config.cells.detector

    @property
    def tasks(self) -> tuple[str, ...]:
        """Models that were applied."""
        return tuple(model.name for model in self.plan.models)


def find_config(path: Path) -> Path:
    """The run's configuration file for anything that a user may point at (E212 if none).

    That is the file itself, the run's folder, its results, a slide's folder in them or the
    ``tiles.zarr`` in that; else the folder of the only run below, such as ``demo``.
    """
    path = path.absolute()
    for found in (path, path / CONFIG, *(folder / CONFIG for folder in list(path.parents)[:4])):
        if not found.is_file() or found.suffix not in (".yaml", ".yml"):
            continue
        if found.parent in (path, path.parent) or found == path or _of(found, path):
            return found
    below = [one for one in path.glob(f"*/{CONFIG}") if (one.parent / "results").is_dir()]
    if len(below) == 1:
        return below[0]
    several = f"there are {len(below)}; " if below else ""
    remedy = f"{several}give the folder that holds config.yaml"
    raise PathaiError("E212", f"no run at {path.name}", remedy)


def _of(config: Path, path: Path) -> bool:
    """Whether a path lies in a slide's results of this run."""
    try:
        return path.is_relative_to(Plan(config).results.path.absolute() / "slides")
    except PathaiError:
        return False


def loose_slide(path: Path) -> bool:
    """Whether this is one slide outside of any run: its folder, ``tiles.zarr``, or a plain file."""
    try:
        find_config(path)
    except PathaiError:
        plain = path.is_file() and path.suffix.lower() not in (".yaml", ".yml")
        return plain or (slide_folder(path) is not None)
    return False


def slide_folder(given: Path) -> SlideFolder | None:
    """The slide whose folder or ``tiles.zarr`` this is; None if it is neither."""
    folder = SlideFolder(given.absolute().parent if given.name == "tiles.zarr" else given)
    try:
        return folder if (folder.tiles / "zarr.json").is_file() else None
    except OSError:
        return None


def names_of(folder: SlideFolder) -> tuple[str, tuple[str, ...]]:
    """Detector and models of the run that a slide's folder belongs to; empty outside of a run."""
    try:
        plan = Plan(find_config(folder.path))
    except PathaiError:
        return "", ()
    return plan.config.cells.detector, tuple(model.name for model in plan.models)


def _missing(rows: tuple[SheetRow, ...], results: ResultsFolder) -> tuple[str, ...]:
    """The flag of a case that has slides without pixels."""
    missing = [row for row in rows if not results.slide(row.slide_id).tiles.exists()]
    return (f"{len(missing)} without pixels",) if missing else ()


def _case(case_id: str, rows: tuple[SheetRow, ...], results: ResultsFolder) -> CaseView:
    """A case with its draft; a draft that cannot be shown is a problem, not the end."""
    empty, folder = review.Case(case_id), results.case(case_id)
    flags = _missing(rows, results)
    if not folder.draft("json").exists():
        problem = "no draft yet: run pathai run"
        return CaseView(empty, rows, problem=problem, flags=(*flags, "no draft"))
    try:
        draft, findings = _read(folder)
    except PathaiError as error:
        return CaseView(empty, rows, problem=str(error), flags=(*flags, "draft cannot be shown"))
    return view_of(rows, draft, findings, flags)


def begun(reviews: Path, case_id: str) -> bool:
    """Whether a person has taken a first step in the report of a case."""
    return (report_folder(reviews, case_id) / LOG).exists()


def read_head(reviews: Path, case_id: str) -> bytes:
    """What changes with every step of a case's report; empty before the first one."""
    try:
        return (report_folder(reviews, case_id) / HEAD).read_bytes()
    except OSError:
        return b""


def view_of(
    rows: tuple[SheetRow, ...],
    draft: Draft,
    findings: CaseFindings,
    flags: tuple[str, ...] = (),
) -> CaseView:
    """A case as a draft and its findings tell it."""
    sentences = tuple(
        sentence_of(said, section.title, findings)
        for section in draft.sections
        for said in section.statements
    )
    told = tuple(review.Statement(s.id, s.text) for s in sentences)
    record = review.Case(draft.case_id, draft.findings_digest, draft.digest, told)
    flags += _quality(findings)
    return CaseView(record, rows, sentences, draft.watermark, flags=flags)


def _quality(findings: CaseFindings) -> tuple[str, ...]:
    """What stands against the slides' quality, and what is open; no answer of a model."""
    found = {flag for one in findings.findings for flag in one.flags}
    words = [word for flag, word in QUALITY.items() if flag in found]
    errors = sum(one.error for one in findings.contradictions)
    if errors:
        words.append(f"{errors} contradiction{'s' * (errors > 1)}")
    return tuple(words)


def sentence_of(said: Statement, section: str, findings: CaseFindings) -> Sentence:
    """A statement with the places of its finding."""
    finding = findings.finding(said.finding)
    evidence = finding.evidence if finding else ()
    flags = said.flags if said.verdict == "flag" else ()
    return Sentence(
        said.id, section, said.rendered, said.notes, evidence, said.finding, said.source, flags
    )


def _read(folder: CaseFolder) -> tuple[Draft, CaseFindings]:
    try:
        draft = Draft.model_validate_json(folder.draft("json").read_bytes())
        findings = load_findings(folder.findings.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError):
        raise PathaiError("E164", f"draft of {folder.case_id} is damaged") from None
    if draft.findings_digest != findings.digest:
        message = f"draft of {folder.case_id} was made from other findings"
        raise PathaiError("E166", message)
    return draft, findings


def _signed(folder: Path, case_id: str) -> bool:
    try:
        return replay(read_trail(folder, case_id)[0], case_id).name in ("signed", "amended")
    except PathaiError:
        return False  # a broken trail is told where the report is shown
