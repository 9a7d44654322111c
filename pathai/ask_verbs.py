"""What ``pathai ask`` does, beside parsing the call."""

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from pathai.ask import Answer, Query, Row, answer, parse, vocabulary
from pathai.batch import print_json, say
from pathai.config import Config
from pathai.errors import PathaiError
from pathai.finding import CaseFindings, Finding
from pathai.plan import Plan
from pathai.report.life import open_case
from pathai.report.render import value_text
from pathai.verbs import plan_of


def ask(question: str, config: Path | None, *, llm: bool, as_json: bool) -> None:
    """Answer a question from the latest revision of every case's findings."""
    plan = plan_of(config)
    cases, unread = latest(plan)
    if not cases:
        why = next(iter(unread.values()), "")
        raise PathaiError("E212", f"no case has findings that can be read; {why}".rstrip("; "))
    query = _translator(plan.config, cases, llm)(question)
    found = answer(query, cases, shown)
    if as_json:
        print_json({"question": question, **asdict(found), "no": found.no, "unread": unread})
        return
    _print(query, found)
    for case, problem in unread.items():
        say(f"{case} was not asked: {problem}")


def latest(plan: Plan) -> tuple[list[CaseFindings], dict[str, str]]:
    """Findings of every case, with a person's entries, and the cases that cannot be read."""
    found, unread = list[CaseFindings](), dict[str, str]()
    for case in plan.sheet.cases():
        life = open_case(plan.reviews, case, results=plan.results.path)
        try:
            found.append(life.findings())
        except PathaiError as error:
            unread[case] = str(error)
    return found, unread


def _translator(config: Config, cases: list[CaseFindings], llm: bool) -> Callable[[str], Query]:
    known = vocabulary(cases, config.report.language)
    if not llm:
        return lambda question: parse(question, known)
    from pathai.ask.translate import server, translate

    if config.report.llm is None:
        raise PathaiError("E190", "--llm needs report.llm", "give base_url and model")
    model = server(config.report.llm)
    return lambda question: translate(question, known, model)


def shown(finding: Finding) -> str:
    """A finding's value as a report prints it."""
    try:
        return value_text(finding)
    except PathaiError:
        return finding.status.replace("_", " ")


def _print(query: Query, found: Answer) -> None:
    """Answer to stdout, the query and what could not answer to stderr."""
    say(f"query: {found.query}")
    if query.want == "count":
        sys.stdout.write(f"{len(found.cases)}\n")
    if query.want == "list" and not found.groups:
        for row in found.cases:
            sys.stdout.write(_line(row))
    for name, ids in found.groups.items():
        sys.stdout.write(f"{name}  {len(ids)}  {', '.join(ids)}\n")
    say(f"{len(found.cases)} of {found.asked} cases, {found.no} say no")
    if found.unknown:
        plural = "case" if len(found.unknown) == 1 else "cases"
        say(f"{len(found.unknown)} {plural} could not answer, for it was not assessed there:")
        for row in found.unknown:
            sys.stderr.write(_line(row))


def _line(row: Row) -> str:
    told = "; ".join(
        f"{t.finding} {t.key} ({', '.join(t.slides)}): {t.value}" for t in row.findings
    )
    entered = f" (revision {row.revision})" if row.revision else ""
    return f"{row.case_id}{entered}  {told}".rstrip() + "\n"
