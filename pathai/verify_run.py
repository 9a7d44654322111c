"""Is everything of a run as it was written? Results, models, reviews, reports, record, bundles.

Each part is checked by what seals it: manifests, chains of hashes, digests. A chain cannot tell
that lines were cut from its end; give what an earlier check told (``--since``) and that is found,
too. What no seal covers is named as not checked.
"""

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from pathai.chain import steps_of_receipt
from pathai.errors import CODES, PathaiError
from pathai.finding import load_findings
from pathai.forget.tombstone import Tombstone, tombstones
from pathai.plan import Plan
from pathai.provenance import CRATE
from pathai.report.check import check_draft
from pathai.report.life.audit import audit as audit_report
from pathai.report.life.audit import audited_cases
from pathai.report.life.events import parse
from pathai.report.life.ledger import FIRST, LEDGER, lost, signatures
from pathai.report.life.trail import LOG, report_folder
from pathai.report.records import Draft
from pathai.review.audit import Checked
from pathai.review.audit import audit as audit_logs
from pathai.review_log import Link
from pathai.store.commit import manifest_path
from pathai.store.manifest import READABLE, SUFFIX, hash_file, read_manifest
from pathai.verify import Fault, verify

UNCHECKED = (
    "config.yaml and the tasks, which are yours to change",
    "logs/ and .snakemake/, which no result depends on",
    "weights of encoders and detectors: pathai weights check",
    "the pictures in a share bundle beyond their CRC-32",
)
"""What `verify_run` does not check, and where it is checked instead."""
OF_REVIEWS = (".jsonl", ".lock", ".aside", ".pairs.json")
"""Endings of what lies in a case's folder of reviews, beside ``report/``."""


class Heads(BaseModel):
    """Where every chain of a run ends: what a later check is given with ``--since``."""

    logs: list[dict[str, Any]] = []
    reports: dict[str, str] = {}
    signatures: str = ""
    forgotten: str = ""


@dataclass
class Part:
    """One part of a run: how many things were checked, and what is wrong with them."""

    name: str
    checked: int = 0
    bytes: int = 0
    faults: list[Fault] = field(default_factory=list)

    def fault(self, file: str, code: str, problem: str, remedy: str = "") -> None:
        """Note what is wrong."""
        self.faults.append(Fault(file, code, problem, remedy or CODES[code].remedy))


@dataclass(frozen=True)
class RunReport:
    """Outcome for a whole run; ``heads`` is what a later check wants to be given."""

    parts: tuple[Part, ...]
    heads: Heads
    unchecked: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    @property
    def faults(self) -> list[Fault]:
        """Everything that is wrong, part by part."""
        return [fault for part in self.parts for fault in part.faults]

    def as_json(self) -> dict[str, Any]:
        """Ready for ``--json``."""
        parts = [asdict(part) for part in self.parts]
        heads = self.heads.model_dump()
        return {"ok": self.ok, "parts": parts, "heads": heads, "unchecked": list(self.unchecked)}


def read_heads(path: Path) -> Heads:
    """Heads that an earlier ``pathai verify RUN --json`` told (E193 if it told none)."""
    try:
        return Heads.model_validate(json.loads(path.read_bytes())["heads"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        remedy = "give what pathai verify RUN --json printed"
        raise PathaiError("E193", f"{path.name} is no earlier check of a run", remedy) from None


def verify_run(plan: Plan, *, slides: bool = False, since: Heads | None = None) -> RunReport:
    """Check everything that a run holds.

    Parameters
    ----------
    plan : Plan
        The run; nothing of it is changed.
    slides : bool
        Read every slide file again, too, and compare it with the SHA-256 of its ingestion.
    since : Heads, optional
        Where the chains ended at an earlier check: each must still contain that line, or a
        tombstone must say that it was forgotten.
    """
    before = since or Heads()
    heads = Heads()
    checks: tuple[tuple[str, Callable[[Part], None]], ...] = (
        ("results", lambda part: _stored(part, plan, plan.results.path)),
        ("models", lambda part: _stored(part, plan, plan.root / plan.config.models)),
        ("sheet", lambda part: _sheet(part, plan, slides=slides)),
        ("receipts", lambda part: _receipts(part, plan)),
        ("drafts", lambda part: _drafts(part, plan)),
        ("tombstones", lambda part: _tombstones(part, plan, before, heads)),
        ("reviews", lambda part: _reviews(part, plan, before, heads)),
        ("reports", lambda part: _reports(part, plan, before, heads)),
        ("signatures", lambda part: _signatures(part, plan, before, heads)),
        ("record", lambda part: _crate(part, plan)),
        ("bundles", lambda part: _bundles(part, plan)),
    )
    parts = []
    for name, check in checks:
        part = Part(name)
        try:
            check(part)
        except PathaiError as error:
            part.fault(name, error.code, error.message, error.remedy)
        parts.append(part)
    left = UNCHECKED if slides else ("the slide files: give --slides", *UNCHECKED)
    return RunReport(tuple(parts), heads, left)


def _stored(part: Part, plan: Plan, folder: Path) -> None:
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    found = verify(folder)
    part.checked, part.bytes = found.files, found.bytes
    at = folder.relative_to(plan.root).as_posix() if folder.is_relative_to(plan.root) else ""
    part.faults += [
        Fault(f"{at}/{f.file}" if at else f.file, f.code, f.problem, f.remedy) for f in found.faults
    ]


def _sheet(part: Part, plan: Plan, *, slides: bool) -> None:
    """Whether each slide is the file that the sheet and the ingestion say it is."""
    name = plan.config.sheet
    for row in plan.sheet.rows:
        part.checked += 1
        try:
            known = plan.results.slide(row.slide_id).read_slide()
        except PathaiError:  # never ingested, or damaged: the results say so
            continue
        if row.sha256 and row.sha256.lower() != known.sha256:
            problem = f"{row.slide_id}: column sha256 is not that of the ingested file"
            part.fault(f"{name} row {row.row}", "E112", problem)
        if slides and (problem := _slide(plan, row.slide_id, known.sha256)):
            part.fault(f"{name} row {row.row}", "E112", f"{row.slide_id}: {problem}")
    for kind, one in plan.leftovers():
        problem = f"{kind} {one} has results and no row"
        part.fault(name, "E167", problem)


def _slide(plan: Plan, slide_id: str, wanted: str) -> str:
    """What is wrong with a slide file; its path stays out of what is told."""
    path = plan.place(slide_id)
    if not isinstance(path, Path) or not path.is_file():
        return "the slide file is not one file of this machine, and was not read again"
    try:
        found = hash_file(path).sha256
    except OSError as error:
        return f"the slide file cannot be read: {error.strerror}"
    if found == wanted or sha256(f"{found}\n".encode()).hexdigest() == wanted:
        return ""
    return f"the slide file is another now: SHA-256 {found[:12]}, {wanted[:12]} was ingested"


def _receipts(part: Part, plan: Plan) -> None:
    """A receipt tells Snakemake that results are there: they must be."""
    for stage, names in plan.receipts().items():
        for name in names:
            if not plan.receipt(stage, name).exists():
                continue
            part.checked += 1
            steps = steps_of_receipt(plan, stage, name)
            bare = [s.subject for s in steps if not manifest_path(s.base).exists()]
            if bare:
                file = f".pathai/receipts/{stage}/{name}"
                problem = f"stands for {stage} of {', '.join(bare[:3])}, which is not there"
                part.fault(file, "E166", problem)


def _drafts(part: Part, plan: Plan) -> None:
    """Whether every sentence of every draft still stands on its findings."""
    for case in plan.results.case_ids():
        folder = plan.results.case(case)
        if not _readable(folder.base("draft")) or not folder.draft("json").is_file():
            continue
        part.checked += 1
        file = folder.draft("json").relative_to(plan.root).as_posix()
        try:
            found = load_findings(folder.findings.read_text("utf-8"))
            draft = Draft.model_validate_json(folder.draft("json").read_bytes())
            problems = check_draft(draft, found)
        except (OSError, ValidationError):
            part.fault(file, "E203", "draft or findings cannot be read")
            continue
        except PathaiError as error:
            part.fault(file, error.code, error.message, error.remedy)
            continue
        for problem in problems:
            part.fault(file, "E203", problem.message)


def _readable(base: Path) -> bool:
    try:
        return read_manifest(manifest_path(base)).status in READABLE
    except PathaiError:
        return False


# --- what people wrote -----------------------------------------------------------------------


def _tombstones(part: Part, plan: Plan, before: Heads, heads: Heads) -> None:
    stones = tombstones(plan.reviews)
    part.checked = len(stones)
    heads.forgotten = _lines(stones)[-1] if stones else ""
    if before.forgotten and before.forgotten not in _lines(stones):
        part.fault("reviews/forgotten.jsonl", "E210", "lines of an earlier check are missing")


def _lines(links: Iterable[Link]) -> list[str]:
    """SHA-256 of each line of a chain."""
    return [sha256(link.line()).hexdigest() for link in links]


def _stones(plan: Plan) -> list[Tombstone]:
    """Tombstones, if their own chain is whole; it is told of elsewhere if it is not."""
    try:
        return tombstones(plan.reviews)
    except PathaiError:
        return []


def _reviews(part: Part, plan: Plan, before: Heads, heads: Heads) -> None:
    """Every log of every reader; a log that a tombstone names is no lost one."""
    if not plan.reviews.is_dir():
        if before.logs:
            part.fault("reviews", "E210", "the folder of an earlier check is gone")
        return
    buried = {head for stone in _stones(plan) for head in stone.logs}
    kept = [Checked(**one) for one in before.logs]
    kept = [one for one in kept if one.head not in buried or _there(plan, one)]
    found = audit_logs(plan.reviews, kept)
    part.checked = len(found)
    heads.logs = [one.as_json() for one in found if not one.problem]
    for one in found:
        if one.problem:
            part.fault(f"reviews/{one.case_id}/{one.reader}.jsonl", "E210", one.problem)
    for path in _strangers(plan.reviews):
        problem = "is no part of a review"
        part.fault(path.relative_to(plan.root).as_posix(), "E210", problem, "move it elsewhere")


def _there(plan: Plan, one: Checked) -> bool:
    return (plan.reviews / one.case_id / f"{one.reader}.jsonl").exists()


def _strangers(reviews: Path) -> Iterator[Path]:
    """What lies among the reviews and is none; the trails of reports name their own files."""
    known = ("signatures.jsonl", "signatures.lock", "forgotten.jsonl", "forgotten.lock")
    for entry in sorted(reviews.iterdir()):
        if not entry.is_dir():
            if entry.name not in known:
                yield entry
            continue
        for path in sorted(entry.iterdir()):
            if not (path.name == "report" and path.is_dir()) and not path.name.endswith(OF_REVIEWS):
                yield path


def _reports(part: Part, plan: Plan, before: Heads, heads: Heads) -> None:
    buried = {head for stone in _stones(plan) for head in stone.logs}
    for case in sorted({*audited_cases(plan.reviews), *before.reports}):
        part.checked += 1
        file = f"reviews/{case}/report"
        wanted = before.reports.get(case, "")
        folder = report_folder(plan.reviews, case)
        if not folder.is_dir():
            if wanted not in buried:
                part.fault(file, "E207", "the report of an earlier check is gone")
            continue
        told = audit_report(plan.reviews, case)
        for fault in told.faults:
            part.fault(file, "E207", fault.removeprefix(f"{case}: "))
        if told.faults:
            continue
        lines = _lines(parse((folder / LOG).read_bytes(), case)[0]) if told.events else []
        heads.reports[case] = lines[-1] if lines else ""
        if wanted and wanted not in lines:
            part.fault(file, "E207", "lines of an earlier check are missing")


def _signatures(part: Part, plan: Plan, before: Heads, heads: Heads) -> None:
    for problem in lost(plan.reviews):
        part.fault(f"reviews/{LEDGER}", "E207", problem)
    listed = signatures(plan.reviews) if plan.reviews.is_dir() else []
    part.checked = len(listed)
    lines = _lines(listed)
    heads.signatures = lines[-1] if lines else ""
    renewed = {stone.signatures_before for stone in _stones(plan)}
    if before.signatures and before.signatures not in {*lines, *renewed} - {FIRST}:
        part.fault(f"reviews/{LEDGER}", "E207", "lines of an earlier check are missing")


# --- what leaves -----------------------------------------------------------------------------


def _crate(part: Part, plan: Plan) -> None:
    """Whether the record of the run tells of what is here."""
    path = plan.root / CRATE
    if not path.is_file():
        return
    try:
        graph = json.loads(path.read_bytes())["@graph"]
        files = [one for one in graph if one.get("@type") in ("File", "Dataset")]
    except (ValueError, KeyError, TypeError, AttributeError):
        part.fault(CRATE, "E164", "is damaged", "pathai run writes it again")
        return
    for one in files:
        name, wanted = str(one["@id"]), one.get("sha256", "")
        if name in ("./", plan.config_path.name, plan.config.sheet):
            continue  # a person may change configuration and sheet at any time
        part.checked += 1
        target = plan.root / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            part.fault(CRATE, "E164", f"names {name!r}, which lies elsewhere")
        elif not target.exists():
            part.fault(CRATE, "E166", f"names {name}, which is not here", _RENEW)
        elif name.endswith(SUFFIX) and hash_file(target).sha256 != wanted:
            part.fault(CRATE, "E166", f"tells of an earlier {name}", _RENEW)


_RENEW = "pathai run writes it again"


def _bundles(part: Part, plan: Plan) -> None:
    """Zip files of the run's folder: every member is read against its CRC-32."""
    for path in sorted(plan.root.rglob("*.zip")):
        if path.is_relative_to(plan.results.path) or path.is_symlink() or not path.is_file():
            continue
        part.checked += 1
        part.bytes += path.stat().st_size
        name = path.relative_to(plan.root).as_posix()
        try:
            with zipfile.ZipFile(path) as packed:
                bad = packed.testzip()
        except (OSError, zipfile.BadZipFile):
            bad = "the zip itself"
        if bad:
            part.fault(name, "E164", f"{bad} is damaged", "pathai share makes it again")
