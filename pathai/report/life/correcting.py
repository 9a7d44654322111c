"""Findings on nuclei and regions that a person corrected, set into the trail of a report."""

from pathai.config import ReportConfig
from pathai.errors import PathaiError
from pathai.finding import CaseFindings
from pathai.report.life import drafting, neighbors
from pathai.report.life.events import Facts
from pathai.report.life.standing import Revision
from pathai.report.life.state import State
from pathai.report.life.trail import Trail


def record(
    trail: Trail,
    state: State,
    now: Revision,
    pipeline: CaseFindings,
    case: CaseFindings,
    reader: str,
    section: ReportConfig,
    facts: Facts,
) -> bool:
    """Write the event of a correction, after trying whether every entry still fits.

    Parameters
    ----------
    trail : Trail
        Held for writing.
    state : State
        Of it.
    now : Revision
        What stands.
    pipeline : CaseFindings
        What the stages found last.
    case : CaseFindings
        Corrected, or ``pipeline`` to take a correction back.
    reader : str
        Who corrected.
    section : ReportConfig
        Whose layout says what is required.
    facts : dict
        What the trail shall keep beside.

    Returns
    -------
    bool
        Whether there was anything to record.
    """
    back = case.digest == pipeline.digest
    made = state.corrected
    _check(trail.case_id, case, pipeline, back=back)
    standing = made.stored.digest if made else pipeline.digest
    given = str(made.event.facts["made"]) if made else pipeline.digest
    current = made is None or made.pipeline == pipeline.digest
    if given == case.digest and current and state.pipeline == pipeline.digest:
        return False
    entries = sorted(state.entries.values(), key=lambda event: event.number)
    if entries:
        neighbors.revise(case, entries, neighbors.requires(section))
    made_as = case.digest
    if not back:
        case = drafting.numbered(case, trail, state)
    name = "" if back else drafting.next_name(trail, "findings", {})
    trail.append(
        "corrected",
        reader,
        {} if back else {name: drafting.findings_bytes(case)},
        what=str(state.version),
        before={"findings": standing},
        after=None if back else {"findings": case.digest},
        findings=case.digest,
        draft=now.draft.digest,
        facts={"findings_file": name, "made": made_as, "pipeline": pipeline.digest, **facts},
    )
    return True


def _check(case_id: str, case: CaseFindings, pipeline: CaseFindings, *, back: bool) -> None:
    if case.case_id != case_id or case.digest != case.sha256():
        raise PathaiError("E200", f"case {case_id}: these findings are not of it")
    if not back and case.parent != pipeline.digest:
        message = f"case {case_id}: its findings were made anew since this correction"
        raise PathaiError("E166", message, "correct it again: pathai report correct")
