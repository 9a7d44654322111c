"""What the verbs below ``pathai report`` do, beside parsing."""

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pathai.batch import print_json, say
from pathai.config import ReportConfig, read_yaml
from pathai.errors import PathaiError
from pathai.layouts import chosen
from pathai.plan import Plan
from pathai.report.documents import State
from pathai.report.life import Life, neighbors, open_case
from pathai.report.life.audit import audit as audit_case
from pathai.report.life.audit import audited_cases
from pathai.report.life.case import Entered
from pathai.report.life.changes import lines as change_lines
from pathai.report.life.ledger import lost
from pathai.report.life.record import SignedReport
from pathai.report.life.trail import digest
from pathai.report.patient import patient_summary
from pathai.report.records import Problem
from pathai.store.manifest import write_atomic
from pathai.verbs import plan_of, wrong

_ENTRY = re.compile(r"([a-z0-9_.]+)(?:@([^=]+))?=(.*)", re.DOTALL)


def life_of(config: Path | None, case: str) -> Life:
    """The report of a case of a run."""
    plan = plan_of(config)
    if case not in plan.sheet.cases():
        raise wrong(f"no case {case!r} in {plan.config.sheet}")
    return _life(plan, case)


def _life(plan: Plan, case: str) -> Life:
    return open_case(plan.reviews, case, results=plan.results.path, section=section_of(plan, case))


def section_of(plan: Plan, case: str) -> ReportConfig:
    """The options of a case's report; its layout may be chosen by a column of the sheet."""
    return chosen(plan.config.report, plan.sheet.cases()[case], plan.root)


# --- what a person does ----------------------------------------------------------------------


def enter(
    config: Path | None, case: str, reader: str, given: Sequence[str], file: Path | None
) -> None:
    """Enter values, from the command line and from a file."""
    read = [_entry(text) for text in given] + (_from_file(file.absolute()) if file else [])
    if not read:
        raise wrong("give KEY=VALUE, or --file entries.yaml")
    life = life_of(config, case)
    made = life.enter(reader, read)
    say(f"{case}: {len(read)} entered, findings revision {made.revision}")
    for found in made.contradictions:
        say(f"  contradiction {found.rule}: {' and '.join(found.findings)}")
    _say_state(life)


def _entry(text: str) -> Entered:
    found = _ENTRY.fullmatch(text)
    if not found:
        raise wrong(f"{text!r}: give KEY=VALUE, or KEY@SLIDE=VALUE")
    return Entered(found[1], _value(found[3]), found[2] or "")


def _value(text: str) -> Any:
    """A number, a list of numbers (``3+4``), or a code."""
    if re.fullmatch(r"[0-9]+(\+[0-9]+)+", text):
        return [int(part) for part in text.split("+")]
    if re.fullmatch(r"-?[0-9]+", text):
        return int(text)
    return float(text) if re.fullmatch(r"-?[0-9]+\.[0-9]+", text) else text


def _from_file(file: Path) -> list[Entered]:
    data = read_yaml(file, "E204")
    if not isinstance(data, dict) or not data:
        raise PathaiError("E204", f"{file.name}: expected lines KEY: VALUE")
    return [
        Entered(key, value, place)
        for name, value in data.items()
        for key, _, place in [str(name).partition("@")]
    ]


def withdraw(config: Path | None, case: str, reader: str, key: str, reason: str) -> None:
    """Take an entered value back."""
    name, _, place = key.partition("@")
    life = life_of(config, case)
    life.withdraw(reader, name, place, reason)
    _say_state(life)


def edit(
    config: Path | None, case: str, reader: str, statement: str, change: str, text: str
) -> None:
    """Edit, add, delete or restore a statement."""
    life = life_of(config, case)
    if change == "delete":
        life.delete(reader, statement, text)
    elif change == "restore":
        life.restore(reader, statement)
    elif change == "add":
        say(f"{case}: added {life.add(reader, statement, text)}")
    else:
        _say_problems(statement, life.edit(reader, statement, text))
    _say_state(life)


def _say_problems(statement: str, problems: Iterable[Problem]) -> None:
    for problem in problems:
        say(f"  {statement} is flagged: {problem.message} ({problem.code})")


def acknowledge(config: Path | None, case: str, reader: str, item: str, reason: str) -> None:
    """Take responsibility for an open item."""
    life = life_of(config, case)
    life.acknowledge(reader, item, reason)
    _say_state(life)


def submit(config: Path | None, case: str, reader: str) -> None:
    """Hand the draft to the one who signs."""
    life = life_of(config, case)
    life.submit(reader)
    _say_state(life)


def sign(config: Path | None, case: str, reader: str, role: str) -> None:
    """Sign the report."""
    life = life_of(config, case)
    made = life.sign(reader, role)
    say(f"{case}: version {made.version} {made.state} by {reader}, {role}, as asserted")
    for path in sorted(life.folder.glob(f"signed-{made.version}.*")):
        say(f"  {path}")


def amend(config: Path | None, case: str, reader: str, reason: str) -> None:
    """Open the next version of a signed report."""
    life = life_of(config, case)
    number = life.amend(reader, reason)
    say(f"{case}: version {number} is a draft; version {number - 1} stands until it is signed")


def redraft(config: Path | None, case: str, reader: str) -> None:
    """Draft anew from the findings as they are now."""
    life = life_of(config, case)
    life.draft(reader=reader)
    _say_state(life)


# --- what is looked at -----------------------------------------------------------------------


def status(config: Path | None, cases: Sequence[str], *, as_json: bool) -> None:
    """State of the named cases, or of all, and what stands open."""
    plan = plan_of(config)
    known = plan.sheet.cases()
    if unknown := sorted(set(cases) - set(known)):
        raise wrong(f"no case {unknown[0]!r} in {plan.config.sheet}")
    rows = [_status(_life(plan, case)) for case in cases or list(known)]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        _print_status(row)


def _status(life: Life) -> dict[str, Any]:
    try:
        now = life.revision()
        items = life.items()
        stale = life.stale()
    except PathaiError as error:
        return {"case": life.case_id, "state": "", "problem": str(error)}
    return {
        "case": life.case_id,
        "state": now.state.name,
        "version": now.state.version,
        "revision": now.case.revision,
        "statements": len(now.draft.statements()),
        "stale": stale,
        "open": [{"item": item.id, "message": item.message} for item in items],
    }


def _print_status(row: dict[str, Any]) -> None:
    if "problem" in row:
        sys.stdout.write(f"{row['case']}  {row['problem']}\n")
        return
    stale = "; its findings were made anew: pathai report redraft" if row["stale"] else ""
    sys.stdout.write(
        f"{row['case']}  {row['state'].replace('_', ' ')}, version {row['version']}, "
        f"{row['statements']} statements, {len(row['open'])} open{stale}\n"
    )
    for item in row["open"]:
        sys.stdout.write(f"  {item['item']}  {item['message']}\n")


def _say_state(life: Life) -> None:
    now = _status(life)
    say(f"{now['case']}: {now['state'].replace('_', ' ')}, {len(now.get('open', ()))} open")


def verify(config: Path | None, cases: Sequence[str], *, as_json: bool) -> int:
    """Run the verifier on what stands; 1 if a statement is flagged or something is wrong."""
    plan = plan_of(config)
    known = plan.sheet.cases()
    if unknown := sorted(set(cases) - set(known)):
        raise wrong(f"no case {unknown[0]!r} in {plan.config.sheet}")
    found = {case: _problems(_life(plan, case)) for case in cases or list(known)}
    if as_json:
        print_json(found)
    else:
        for case, problems in found.items():
            for text in problems:
                sys.stdout.write(f"{case}  {text}\n")
    say(f"{len(found)} reports verified, {sum(map(len, found.values()))} problems")
    return int(any(found.values()))


def _problems(life: Life) -> list[str]:
    """The verifier on the machine's draft, then on a person's words."""
    from pathai.report import check

    try:
        now = life.revision()
        machine = life.machine_draft()
    except PathaiError as error:
        return [str(error)]
    found = [f"{p.code}: {p.message}" for p in check.check_draft(machine, now.case)]
    flagged = [s for s in now.draft.statements() if s.verdict == "flag"]
    return found + [f"{s.id}: {', '.join(s.flags)}" for s in flagged]


def audit(config: Path | None, cases: Sequence[str], *, as_json: bool) -> int:
    """Check every byte of the named cases' trails, or of all; 1 if one was altered."""
    plan = plan_of(config)
    there = audited_cases(plan.reviews)
    if unknown := sorted(set(cases) - set(there)):
        raise wrong(f"{unknown[0]} has no report in a person's hands")
    found = [audit_case(plan.reviews, case) for case in cases or there]
    gone = [] if cases else lost(plan.reviews)
    if as_json:
        listed = [{**vars(a), "faults": list(a.faults)} for a in found]
        print_json([*listed, {"case_id": "", "faults": gone}] if gone else listed)
    else:
        for fault in (*(fault for a in found for fault in a.faults), *gone):
            sys.stdout.write(f"{fault}\n")
    events, files = sum(a.events for a in found), sum(a.files for a in found)
    faults = sum(len(a.faults) for a in found) + len(gone)
    say(f"{len(found)} report(s), {events} events and {files} files checked, {faults} faults")
    return int(bool(faults))


def diff(config: Path | None, case: str, *, as_json: bool) -> None:
    """From the first draft of the version to what stands or was signed."""
    found = life_of(config, case).changes()
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    for line in change_lines(found):
        sys.stdout.write(f"{line}\n")


def render(config: Path | None, case: str, kind: str, out: Path | None, reader: str) -> None:
    """Print the report as it stands; a signed one is given out as it was signed."""
    kind = {"fhir": "fhir.json"}.get(kind, kind)
    if kind not in neighbors.KINDS:
        raise wrong(f"--format {kind}: give html, pdf, docx, md or fhir")
    if out is None and kind in ("pdf", "docx"):
        raise wrong(f"{kind} needs -o FILE")
    target = out.absolute() if out else None
    life = life_of(config, case)
    data = life.document(kind)
    if reader:
        life.rendered(reader, kind, digest(data))
    if target is None:
        sys.stdout.write(data.decode())
        return
    write_atomic(target, data)
    say(f"wrote {target.name}")


def patient(config: Path | None, case: str, out: Path | None) -> None:
    """The plain-language summary of a signed report."""
    target = out.absolute() if out else None
    life = life_of(config, case)
    signed = life.signed()
    if signed is None:
        message = f"case {case}: only a signed report is put into plain words"
        raise PathaiError("E206", message, "sign it first")
    text = summary_of(life, signed)
    if target is None:
        sys.stdout.write(text)
        return
    write_atomic(target, text.encode())
    say(f"wrote {target.name}")


def summary_of(life: Life, signed: SignedReport) -> str:
    """The plain-language summary of a signed report."""
    state = State(
        name=signed.state,
        signer=signed.reader,
        role=signed.role,
        time=signed.time,
        digest=signed.draft.digest,
        reason=signed.reason,
    )
    return patient_summary(signed.draft, life.signed_findings(signed), state)
