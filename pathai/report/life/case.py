"""One case's report in a person's hands: enter, edit, submit, sign, amend."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from pathai.config import ID_PATTERN, ReportConfig
from pathai.drafters.base import Drafter
from pathai.errors import PathaiError
from pathai.finding import CaseFindings
from pathai.report.life import drafting, ledger, signing
from pathai.report.life.events import Facts, Kind
from pathai.report.life.neighbors import check_words
from pathai.report.life.overlay import OUTLIVED, bound, line_of, printed, value_digest
from pathai.report.life.record import SignedReport
from pathai.report.life.standing import Revision, Standing
from pathai.report.life.state import Edit, State, replay
from pathai.report.life.trail import Trail, digest, report_folder, writing
from pathai.report.records import Draft, Problem, Statement


@dataclass(frozen=True)
class Entered:
    """A value that only a person sees: a number or a code, by key and slide or specimen.

    ``place`` is empty where the case has the key once.
    """

    key: str
    value: JsonValue
    place: str = ""


class Life(Standing):
    """A report from its first draft to its last amendment.

    Every method that changes something takes the reader's name as asserted, holds the case's
    lock for its own length, and is in the trail before it counts.
    """

    @contextmanager
    def _step(
        self, reader: str, *, stale: bool = False, begin: bool = True
    ) -> Iterator[tuple[Trail, State]]:
        """Hold the trail; begin it, and finish what a crash left between entry and draft."""
        check_reader(reader)
        with writing(self.folder, self.case_id) as trail:
            state = replay(trail.events, self.case_id)
            if state.version == 0:
                pipeline = self.pipeline().digest
                trail.append("created", reader, what="1", findings=pipeline)
                if begin:
                    self._draft(trail, self.section, reader)
            elif state.phase != "signed" and state.drafted < state.last:
                self._draft(trail, self.section, reader)
            state = replay(trail.events, self.case_id)
            if not stale and state.phase != "signed" and state.pipeline != self.pipeline().digest:
                message = f"case {self.case_id}: its findings were made anew since this draft"
                raise PathaiError("E166", message, "draft it again: pathai report redraft")
            yield trail, state

    def _draft(
        self, trail: Trail, section: ReportConfig, reader: str, drafter: Drafter | None = None
    ) -> None:
        drafting.redraft(trail, self._case_folder(), self.pipeline(), section, reader, drafter)

    def draft(
        self,
        section: ReportConfig | None = None,
        reader: str = "pathai",
        drafter: Drafter | None = None,
    ) -> Draft:
        """Draft anew from the findings of the stages and every entry that counts.

        A person's words stay where their finding is the same; other words become open items.

        Raises
        ------
        PathaiError
            E206 if the report is signed: amend it first.
        """
        with self._step(reader, stale=True, begin=False) as (trail, state):
            self._open(state)
            self._draft(trail, section or self.section, reader, drafter)
        return self.revision().draft

    def enter(self, reader: str, entries: Iterable[Entered]) -> CaseFindings:
        """Enter values that only a person sees; findings and draft are made anew from them.

        Raises
        ------
        PathaiError
            E204 if one does not fit (nothing is entered then), E206 if the report is signed.
        """
        wanted = list(entries)
        with self._step(reader) as (trail, state):
            self._open(state)
            now = self._revision(state)
            drafting.rehearse(now.case, [(e.key, e.place, e.value) for e in wanted], reader)
            for entry in wanted:
                before = state.entries.get((entry.key, entry.place))
                trail.append(
                    "entered",
                    reader,
                    what=entry.key,
                    before=before.after if before else None,
                    after={"place": entry.place, "value": entry.value},
                    **_digests(now),
                )
            self._draft(trail, self.section, reader)
        return self.revision().case

    def withdraw(self, reader: str, key: str, place: str = "", reason: str = "") -> CaseFindings:
        """Take an entered value back; what the stages found stands again (E193 if none is)."""
        with self._step(reader) as (trail, state):
            self._open(state)
            now = self._revision(state)
            found = [k for k in state.entries if k[0] == key and (not place or k[1] == place)]
            if len(found) != 1:
                raise PathaiError("E193", f"{key}: {len(found) or 'no'} entries to withdraw")
            before = state.entries[found[0]].after
            trail.append(
                "withdrawn", reader, what=key, before=before, reason=reason, **_digests(now)
            )
            self._draft(trail, self.section, reader)
        return self.revision().case

    def edit(self, reader: str, statement: str, text: str) -> list[Problem]:
        """Replace the words of a statement; what the verifier says is a flag, never a rewrite.

        Returns
        -------
        list of Problem
            Empty if the words stand on their finding.
        """
        if not text.strip():
            raise PathaiError("E193", f"{statement} would be empty", "delete it with a reason")
        with self._step(reader) as (trail, state):
            self._open(state)
            now = self._revision(state)
            said, machine = self._find(now, statement)
            words = bound(text, machine)
            if words != said.text or OUTLIVED in said.flags:  # the same words, looked at again
                self._say(trail, now, "edited", reader, said, words)
        return self._problems(statement, words)

    def add(self, reader: str, finding_id: str, text: str) -> str:
        """Add a sentence on a finding; returns the new statement's id.

        What no finding holds yet is entered first (`enter`).
        """
        if not text.strip():
            raise PathaiError("E193", "an empty sentence cannot be added")
        with self._step(reader) as (trail, state):
            self._open(state)
            now = self._revision(state)
            machine = self._machine(now, finding_id)
            taken = [e.what for e in trail.events if e.kind == "added"]
            number = f"A{len(taken) + 1}"
            said = machine.model_copy(update={"id": number, "text": "", "rendered": ""})
            self._say(trail, now, "added", reader, said, bound(text, machine))
        return number

    def delete(self, reader: str, statement: str, reason: str) -> None:
        """Take a statement out of the report; its finding stays among the findings."""
        _reason(reason)
        with self._step(reader) as (trail, state):
            self._open(state)
            now = self._revision(state)
            said, _ = self._find(now, statement)
            self._say(trail, now, "deleted", reader, said, None, reason)

    def restore(self, reader: str, statement: str) -> None:
        """Give a statement the machine's words back, or take an added one out."""
        with self._step(reader) as (trail, state):
            self._open(state)
            now = self._revision(state)
            edits = {**state.edits, **state.added}
            machine = self._machine_draft(now)
            found = (s.finding for s in machine.statements() if s.id == statement)
            edit = edits.get(statement) or edits.get(next(found, statement))
            if edit is None:
                raise PathaiError("E193", f"{statement} has no words of a person")
            trail.append(
                "restored",
                reader,
                what=statement,
                before={"text": edit.text},
                facts=_on(edit),
                **_digests(now),
            )

    def acknowledge(self, reader: str, item: str, reason: str) -> None:
        """Take responsibility for an open item (E193 if it is none, E206 if it must be mended)."""
        _reason(reason)
        with self._step(reader) as (trail, state):
            self._open(state)
            now = self._revision(state)
            found = {i.id: i for i in self._items(now)}.get(item)
            if found is None:
                raise PathaiError("E193", f"{item} is not open", "see pathai report status")
            if not found.acknowledgeable:
                raise PathaiError("E206", f"{found.message}: this must be mended")
            trail.append(
                "acknowledged",
                reader,
                what=item,
                after={"message": found.message},
                reason=reason,
                **_digests(now),
            )

    def submit(self, reader: str) -> None:
        """Hand the draft to the one who signs."""
        with self._step(reader) as (trail, state):
            if state.phase == "in_review":
                return
            self._open(state)
            now = self._revision(state)
            trail.append("submitted", reader, what=str(state.version), **_digests(now))

    def sign(self, reader: str, role: str) -> SignedReport:
        """Sign what stands: findings, draft and the trail's head are bound in one record.

        Raises
        ------
        PathaiError
            E206 naming the first thing that stands open.
        """
        if not role.strip():
            raise PathaiError("E193", "a signature needs a role", "such as pathologist")
        with self._step(reader, stale=True) as (trail, state):
            now = self._revision(state)
            self._signable(state, now)
            snomed = self.section.codes.snomed
            by = (reader, role.strip())
            made = signing.sign(trail, state, now.draft, now.case, self.results, *by, snomed=snomed)
            ledger.enlist(
                self.folder.parent.parent, self.case_id, made.version, digest(made.data())
            )
            return made

    def _signable(self, state: State, now: Revision) -> None:
        reasons = []
        if state.phase == "signed":
            reasons.append("it is signed already")
        elif state.phase == "draft":
            reasons.append("it was not submitted")
        reasons += list(self.audit().faults)
        if state.pipeline != self.pipeline().digest:
            reasons.append("the findings were made anew since this draft")
        reasons += [f"{item.message} [{item.id}]" for item in self._items(now)]
        if reasons:
            more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
            raise PathaiError("E206", f"case {self.case_id}: {reasons[0]}{more}")

    def amend(self, reader: str, reason: str) -> int:
        """Open the next version of a signed report; the signed one stays as it is.

        Returns
        -------
        int
            Number of the new version.
        """
        _reason(reason)
        with self._step(reader, stale=True) as (trail, state):
            if state.phase != "signed":
                raise PathaiError("E206", f"case {self.case_id}: only a signed report is amended")
            number = state.version + 1
            signed = state.signed[-1].files[f"signed-{state.version}.json"]
            now = self._revision(state)
            trail.append(
                "amended",
                reader,
                what=str(number),
                before={"signed": signed},
                reason=reason,
                **_digests(now),
            )
        return number

    def rendered(self, reader: str, kind: str, sha256: str) -> None:
        """Note that a document of this report was given out."""
        with self._step(reader, stale=True) as (trail, state):
            now = self._revision(state)
            trail.append("rendered", reader, what=kind, facts={"sha256": sha256}, **_digests(now))

    # --- parts of the steps ------------------------------------------------------------------

    def _open(self, state: State) -> None:
        if state.phase == "signed":
            message = f"case {self.case_id}: version {state.version} is signed"
            raise PathaiError("E206", message, "amend it with a reason first")

    def _say(
        self,
        trail: Trail,
        now: Revision,
        kind: Kind,
        reader: str,
        said: Statement,
        text: str | None,
        reason: str = "",
    ) -> None:
        finding = now.case.finding(said.finding)
        if finding is None:
            raise PathaiError("E203", f"{said.id} stands on no finding")
        value = value_digest(finding)
        edit = Edit(finding.id, finding.key, finding.status, text, reader, reason, value)
        after: Facts | None = None
        facts = _on(edit)
        if text is not None:
            line = line_of(said.id, finding, now.draft.language)
            facts["flags"] = [p.code for p in check_words(text, line, now.case)]
            after = {
                "text": text,
                "printed": printed(
                    text, self._machine(now, finding.id), now.case, now.draft.language
                ),
            }
        trail.append(
            kind,
            reader,
            what=said.id,
            before={"text": said.text, "printed": said.rendered} if said.text else None,
            after=after,
            reason=reason,
            facts=facts,
            **_digests(now),
        )


def _on(edit: Edit) -> Facts:
    facts: Facts = {"finding": edit.finding, "key": edit.key, "status": edit.status}
    return {**facts, "value": edit.value} if edit.value else facts


def _digests(now: Revision) -> dict[str, Any]:
    return {"findings": now.case.digest, "draft": now.draft.digest}


def _reason(reason: str) -> None:
    if not reason.strip():
        raise PathaiError("E193", "a reason is needed", "say in a few words why")


def check_reader(reader: str) -> None:
    """Refuse a name that cannot stand in a trail (E193)."""
    if not re.fullmatch(ID_PATTERN, reader) or ".." in reader:
        remedy = "give --reader with letters, digits, dot, dash or underscore"
        raise PathaiError("E193", f"reader {reader!r} cannot stand in the trail", remedy)


def open_case(
    reviews: Path,
    case_id: str,
    *,
    results: Path | None = None,
    section: ReportConfig | None = None,
) -> Life:
    """The report of a case; nothing is written before a person's first step.

    Parameters
    ----------
    reviews : Path
        Folder of a person's decisions, outside of the results.
    case_id : str
        The case.
    results : Path, optional
        Folder of the results; by default ``results`` beside ``reviews``.
    section : ReportConfig, optional
        How drafts are made; by default by the template.
    """
    if not re.fullmatch(ID_PATTERN, case_id) or ".." in case_id:
        raise PathaiError("E151", f"case id {case_id!r}")
    found = results if results is not None else reviews.parent / "results"
    return Life(report_folder(reviews, case_id), case_id, found, section or ReportConfig())
