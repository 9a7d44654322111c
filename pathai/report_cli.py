"""The commands below ``pathai report``."""

from pathlib import Path
from typing import Annotated

import typer

from pathai.options import Batch, ConfigFile, Json

report_app = typer.Typer(help="Findings, drafts and signed reports.", no_args_is_help=True)

Case = Annotated[str, typer.Argument(metavar="CASE", help="case id")]
Cases = Annotated[list[str] | None, typer.Argument(metavar="CASE", help="case ids; default: all")]
Reader = Annotated[str, typer.Option(help="your id, as it shall stand in the trail")]
Reason = Annotated[str, typer.Option(help="why, in a few words")]
Out = Annotated[Path | None, typer.Option("-o", "--out", help="file to write; default: stdout")]


@report_app.command()
def draft(
    cases: Annotated[list[str] | None, typer.Argument(metavar="CASE", help="case ids")] = None,
    config: ConfigFile = None,
    batch: Batch = "",
) -> None:
    """Collect a case's findings and draft its report."""
    from pathai import verbs

    if batch:
        raise typer.Exit(verbs.batch("report", config, batch))
    raise typer.Exit(verbs.draft_cases(config, cases or []))


@report_app.command()
def status(cases: Cases = None, config: ConfigFile = None, json: Json = False) -> None:
    """Say where reports stand, and what stands open before each can be signed."""
    from pathai import report_verbs

    report_verbs.status(config, cases or (), as_json=json)


@report_app.command()
def enter(
    case: Case,
    reader: Reader,
    entries: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="KEY@SLIDE=VALUE for one slide")
    ] = None,
    file: Annotated[Path | None, typer.Option(help="YAML of KEY: VALUE")] = None,
    config: ConfigFile = None,
) -> None:
    """Enter values that only a person sees; findings, rules and draft follow."""
    from pathai import report_verbs

    report_verbs.enter(config, case, reader, entries or (), file)


@report_app.command()
def withdraw(
    case: Case,
    key: Annotated[str, typer.Argument(metavar="KEY", help="KEY, or KEY@SLIDE")],
    reader: Reader,
    reason: Reason = "",
    config: ConfigFile = None,
) -> None:
    """Take an entered value back."""
    from pathai import report_verbs

    report_verbs.withdraw(config, case, reader, key, reason)


@report_app.command()
def correct(
    case: Case,
    reader: Reader,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="take corrections back")] = False,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Count again on the nuclei and regions that you corrected; findings and draft follow."""
    from pathai import corrected_verbs

    corrected_verbs.correct(config, case, reader, withdraw=withdraw, as_json=json)


@report_app.command()
def edit(
    case: Case,
    statement: Annotated[str, typer.Argument(metavar="STATEMENT", help="S3; --add: a finding, F7")],
    reader: Reader,
    text: Annotated[str, typer.Option(help="the new words")] = "",
    add: Annotated[str, typer.Option(help="words to add on a finding")] = "",
    delete: Annotated[str, typer.Option(metavar="REASON", help="take it out, and why")] = "",
    restore: Annotated[bool, typer.Option("--restore", help="back to the machine's words")] = False,
    config: ConfigFile = None,
) -> None:
    """Change, add, delete or restore a statement; the verifier flags, it never rewrites."""
    from pathai import report_verbs
    from pathai.verbs import wrong

    given = {"edit": text, "add": add, "delete": delete, "restore": restore}
    chosen = [(name, value) for name, value in given.items() if value]
    if len(chosen) != 1:
        raise wrong("give one of --text, --add, --delete, --restore")
    change, words = chosen[0]
    report_verbs.edit(config, case, reader, statement, change, str(words))


@report_app.command()
def acknowledge(
    case: Case,
    item: Annotated[str, typer.Argument(metavar="ITEM", help="see pathai report status")],
    reader: Reader,
    reason: Reason,
    config: ConfigFile = None,
) -> None:
    """Take responsibility for an open item, with a reason."""
    from pathai import report_verbs

    report_verbs.acknowledge(config, case, reader, item, reason)


@report_app.command()
def redraft(case: Case, reader: Reader, config: ConfigFile = None) -> None:
    """Draft anew after the pipeline ran again; entries are kept and applied again."""
    from pathai import report_verbs

    report_verbs.redraft(config, case, reader)


@report_app.command()
def submit(case: Case, reader: Reader, config: ConfigFile = None) -> None:
    """Hand the draft to the one who signs."""
    from pathai import report_verbs

    report_verbs.submit(config, case, reader)


@report_app.command()
def sign(
    case: Case,
    reader: Reader,
    role: Annotated[str, typer.Option(help="as you sign, such as pathologist")],
    config: ConfigFile = None,
) -> None:
    """Sign what stands and write its documents; refused while anything is open."""
    from pathai import report_verbs

    report_verbs.sign(config, case, reader, role)


@report_app.command()
def amend(case: Case, reader: Reader, reason: Reason, config: ConfigFile = None) -> None:
    """Open the next version of a signed report."""
    from pathai import report_verbs

    report_verbs.amend(config, case, reader, reason)


@report_app.command()
def render(
    case: Case,
    format: Annotated[str, typer.Option(help="html, pdf, docx, md, fhir")] = "md",
    out: Out = None,
    reader: Annotated[str, typer.Option(help="note in the trail who printed it")] = "",
    config: ConfigFile = None,
) -> None:
    """Print a report as it stands, or as it was signed."""
    from pathai import report_verbs

    report_verbs.render(config, case, format, out, reader)


@report_app.command()
def patient(
    case: Case,
    out: Out = None,
    config: ConfigFile = None,
) -> None:
    """Put a signed report into plain words for the patient."""
    from pathai import report_verbs

    report_verbs.patient(config, case, out)


@report_app.command()
def verify(cases: Cases = None, config: ConfigFile = None, json: Json = False) -> None:
    """Check every statement of reports as they stand."""
    from pathai import report_verbs

    raise typer.Exit(report_verbs.verify(config, cases or (), as_json=json))


@report_app.command()
def audit(cases: Cases = None, config: ConfigFile = None, json: Json = False) -> None:
    """Read every byte of the trails and signed files; name what was altered."""
    from pathai import report_verbs

    raise typer.Exit(report_verbs.audit(config, cases or (), as_json=json))


@report_app.command()
def diff(case: Case, config: ConfigFile = None, json: Json = False) -> None:
    """Say how far the report is from its first draft."""
    from pathai import report_verbs

    report_verbs.diff(config, case, as_json=json)


@report_app.command()
def evaluate(
    config: ConfigFile = None,
    out: Annotated[Path, typer.Option(help="folder of the result")] = Path("evaluation"),
    cases: Annotated[int | None, typer.Option(min=1, help="at most so many per suite")] = None,
    suite: Annotated[list[str] | None, typer.Option(help="only this one; may be repeated")] = None,
    json: Json = False,
) -> None:
    """Judge drafts, the verifier and the configured language model; 1 if they do not pass."""
    from pathai.report_evaluation.command import evaluate as judge

    raise typer.Exit(judge(config, out, suite or [], cases, as_json=json))
