"""What stands of a case's report: findings, draft, state, open items. Read only."""

from dataclasses import dataclass
from pathlib import Path

from pathai.config import ReportConfig
from pathai.errors import PathaiError
from pathai.finding import CaseFindings, load_findings
from pathai.report.life import drafting, neighbors, signing
from pathai.report.life.audit import Audit, audit
from pathai.report.life.changes import Changes
from pathai.report.life.events import Event
from pathai.report.life.items import Item, open_items
from pathai.report.life.neighbors import check_words
from pathai.report.life.overlay import bound, line_of, overlaid
from pathai.report.life.record import SignedReport, load_signed
from pathai.report.life.state import Name, State, Stored, replay
from pathai.report.life.trail import read_trail
from pathai.report.records import Draft, Problem, Statement
from pathai.store.folders import CaseFolder, ResultsFolder


@dataclass(frozen=True)
class Revision:
    """What stands now."""

    case: CaseFindings
    draft: Draft
    state: State


@dataclass(frozen=True)
class Standing:
    """A case's report as it stands; see `pathai.report.life.case.Life`, which changes it.

    Parameters
    ----------
    folder : Path
        ``reviews/<case_id>/report``.
    case_id : str
        The case.
    results : Path
        Folder of the results.
    section : ReportConfig
        How a draft is made when one is needed.
    """

    folder: Path
    case_id: str
    results: Path
    section: ReportConfig

    def events(self) -> list[Event]:
        """The trail (E207 if it is broken)."""
        return read_trail(self.folder, self.case_id)[0]

    @property
    def progress(self) -> State:
        """Everything that the trail says."""
        return replay(self.events(), self.case_id)

    @property
    def state(self) -> Name:
        """``draft``, ``in_review``, ``signed`` or ``amended`` (signed once more)."""
        return self.progress.name

    @property
    def version(self) -> int:
        """Of the report that is written now; 0 before a person's first step."""
        return self.progress.version

    def pipeline(self) -> CaseFindings:
        """What the stages found last (E212 if there is nothing)."""
        path = ResultsFolder(self.results).case(self.case_id).findings
        try:
            return load_findings(path.read_text("utf-8"))
        except FileNotFoundError:
            raise PathaiError("E212", f"case {self.case_id} has no findings") from None
        except (OSError, UnicodeDecodeError) as error:
            raise PathaiError("E162", f"{self.case_id}/findings.json: {error}") from None

    def stale(self) -> bool:
        """Whether the stages ran again since the draft was drafted: draft it again then."""
        state = self.progress
        return bool(state.pipeline) and state.pipeline != self.pipeline().digest

    def findings(self) -> CaseFindings:
        """The latest findings: a person's last revision, or the stages' own."""
        state = self.progress
        if state.findings is None:
            return self.pipeline()
        return drafting.read_findings(self.folder, state.findings, self.case_id)

    def revision(self) -> Revision:
        """Findings, and the draft with a person's words, as they stand.

        Before a person's first step these are the results' own findings and draft.

        Raises
        ------
        PathaiError
            E207 if the trail or a file that it names is not what was written, E212 without
            findings.
        """
        return self._revision(self.progress)

    def _revision(self, state: State) -> Revision:
        if state.findings is None or state.draft is None:
            case = self.pipeline()
            draft = drafting.pipeline_draft(self._case_folder(), case, self.section)
            return Revision(case, draft, state)
        case = drafting.read_findings(self.folder, state.findings, self.case_id)
        draft = drafting.read_draft(self.folder, state.draft, self.case_id)
        return Revision(case, overlaid(draft, case, state), state)

    def _case_folder(self) -> CaseFolder:
        return ResultsFolder(self.results).case(self.case_id)

    def items(self) -> list[Item]:
        """What stands open before this report can be signed."""
        return self._items(self.revision())

    def _items(self, now: Revision) -> list[Item]:
        return open_items(now.draft, now.case, now.state, neighbors.requires(self.section))

    def audit(self) -> Audit:
        """Whether every byte of the trail and of the files that it names is as it was written."""
        return audit(self.folder.parent.parent, self.case_id)

    def signed(self, version: int = 0) -> SignedReport | None:
        """The last signed version, or the one with a number."""
        found = [e for e in self.progress.signed if not version or e.what == str(version)]
        if not found:
            return None
        name = f"signed-{found[-1].what}.json"
        data = drafting.check_file(self.folder, name, found[-1].files[name], self.case_id)
        return load_signed(data)

    def machine_draft(self) -> Draft:
        """The draft without a person's words."""
        return self._machine_draft(self.revision())

    def signed_findings(self, signed: SignedReport) -> CaseFindings:
        """The findings that a signature binds."""
        stored = Stored(signed.findings_file, signed.findings_digest)
        return drafting.read_findings(self.folder, stored, self.case_id)

    def document(self, kind: str) -> bytes:
        """One document (an ending of `neighbors.KINDS`) as it stands, or as it was signed."""
        state = self.progress
        if state.phase == "signed":
            name = f"signed-{state.version}.{kind}"
            return drafting.check_file(
                self.folder, name, state.signed[-1].files[name], self.case_id
            )
        now = self._revision(state)
        made = neighbors.documents(
            now.draft,
            now.case,
            {"name": state.name},
            self.results,
            (kind,),
            snomed=self.section.codes.snomed,
        )
        return made[kind]

    def check(self, statement: str, text: str) -> list[Problem]:
        """What the verifier would say to these words; nothing is stored."""
        now = self.revision()
        said, machine = self._find(now, statement)
        finding = now.case.finding(said.finding)
        if finding is None:
            return [Problem(code="unknown_id", message="it stands on no finding")]
        line = line_of(statement, finding, now.draft.language)
        return check_words(bound(text, machine), line, now.case)

    def changes(self) -> Changes:
        """From the first draft of this version to what stands, or to what was signed."""
        state = self.progress
        if state.first_draft is None or state.first_findings is None:
            raise PathaiError("E212", f"case {self.case_id} has no report in a person's hands")
        return signing.changes_of(self.folder, state, self._revision(state).draft, self.case_id)

    def _machine_draft(self, now: Revision) -> Draft:
        stored = now.state.draft
        return drafting.read_draft(self.folder, stored, self.case_id) if stored else now.draft

    def _machine(self, now: Revision, finding_id: str) -> Statement:
        """The machine's statement on a finding, which tells what its slots print."""
        found = [s for s in self._machine_draft(now).statements() if s.finding == finding_id]
        if not found:
            raise PathaiError("E193", f"no statement stands on {finding_id}")
        return found[0]

    def _find(self, now: Revision, statement: str) -> tuple[Statement, Statement]:
        """A statement that stands, and the machine's on the same finding."""
        found = [s for s in now.draft.statements() if s.id == statement]
        if not found:
            raise PathaiError("E193", f"{self.case_id} has no statement {statement!r}")
        return found[0], self._machine(now, found[0].finding)

    def _problems(self, statement: str, words: str) -> list[Problem]:
        now = self.revision()
        said, _ = self._find(now, statement)
        finding = now.case.finding(said.finding)
        if finding is None or said.source != "human":
            return []
        return check_words(words, line_of(statement, finding, now.draft.language), now.case)
