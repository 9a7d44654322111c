"""The command line. Every verb has a function of the same meaning; text for people goes to stderr.

Exit codes: 0 all done, 1 some slides failed, 2 the call or the configuration is wrong, 75 another
run owns the folder.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pathai import __version__
from pathai.errors import PathaiError
from pathai.options import ConfigFile, Json
from pathai.report_cli import report_app
from pathai.stage_verbs import stage_app
from pathai.weights_cli import weights_app

app = typer.Typer(
    name="pathai",
    help="Whole-slide images to counted cells, predictions and a draft report. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(stage_app)
app.add_typer(report_app, name="report")
app.add_typer(weights_app, name="weights")

Reviews = Annotated[
    Path | None, typer.Option(help="folder of the logs; default: the configuration's")
]


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="show tracebacks; any verb takes it")
    ] = False,
) -> None: ...


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder to make")] = Path("demo"),
    cores: Annotated[int, typer.Option(min=1, help="processor cores")] = 2,
    slides: Annotated[int, typer.Option(min=8, help="synthetic slides to draw")] = 12,
    seed: Annotated[int, typer.Option(help="of the synthetic cohort")] = 7,
    phrase: Annotated[
        bool, typer.Option("--phrase", help="a tiny language model phrases a draft, too")
    ] = False,
) -> None:
    """Draw synthetic slides and run the whole chain on them: no download, no GPU."""
    from pathai.demo import demo as make

    raise typer.Exit(make(out, cores=cores, slides=slides, seed=seed, phrased=phrase))


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="folder of the new run")],
    slides: Annotated[Path | None, typer.Option(help="folder with your slides")] = None,
) -> None:
    """Write a commented config.yaml, and slides.tsv with one row per slide found."""
    from pathai.init import init as make

    make(folder, slides)


@app.command()
def doctor(
    config: ConfigFile = None,
    profile: Annotated[str, typer.Option(help="of pathai run: what it needs of a cluster")] = "",
    json: Json = False,
) -> None:
    """Say what is missing on this machine and how to mend it."""
    from pathai.doctor import check, show

    raise typer.Exit(show(check(config, profile), as_json=json))


@app.command()
def estimate(
    config: ConfigFile = None,
    cores: Annotated[int | None, typer.Option(min=1, help="default: all")] = None,
    json: Json = False,
) -> None:
    """Say how many tiles, gigabytes and hours a run will take; no pixel is decoded."""
    from pathai.estimate import estimate as expect
    from pathai.estimate import show
    from pathai.plan import Plan

    raise typer.Exit(show(expect(Plan(config or Path("config.yaml")), cores), as_json=json))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": False})
def run(
    context: typer.Context,
    config: ConfigFile = None,
    cores: Annotated[int | None, typer.Option(min=1, help="default: all")] = None,
    profile: Annotated[
        str, typer.Option(help="Snakemake profile: local, slurm, slurm-gpu, or a folder")
    ] = "",
    dry_run: Annotated[bool, typer.Option("-n", "--dry-run", help="only show the jobs")] = False,
    retry_failed: Annotated[bool, typer.Option(help="try failed slides again")] = False,
    check: Annotated[bool, typer.Option(help="read every byte; redo what is damaged")] = False,
    watch: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="take slides as they arrive there")
    ] = None,
    until_idle: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="watch: end when so long none came")
    ] = 0,
    settle: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="watch: a file is whole when so old")
    ] = 10,
    pattern: Annotated[
        str, typer.Option(help="watch: reads columns from file names, as (?P<case_id>...)")
    ] = "",
    stain: Annotated[str, typer.Option(help="watch: of what arrives")] = "H&E",
) -> None:
    """Run or resume a whole cohort; arguments after -- go to Snakemake."""
    from pathai import run_verbs

    options = run_verbs.Options(
        cores, profile, dry_run, retry_failed, check, arguments=tuple(context.args)
    )
    if watch is None:
        if until_idle or pattern:
            raise PathaiError("E193", "--until-idle and --pattern belong to --watch")
        raise typer.Exit(run_verbs.run(config, options))
    arrivals = run_verbs.Watched(watch, until_idle, settle, pattern, stain)
    raise typer.Exit(run_verbs.watch(config, options, arrivals))


@app.command()
def cohort(
    config: ConfigFile = None,
    link: Annotated[
        Path | None, typer.Option(help="folder for links to the page, for snakemake --report")
    ] = None,
) -> None:
    """Build the cohort page from what is there."""
    from pathai import verbs

    raise typer.Exit(verbs.cohort(config, link))


@app.command()
def review(
    results: Annotated[
        Path, typer.Argument(help="run folder, its results, a slide's folder, or a slide file")
    ] = Path(),
    reader: Annotated[str, typer.Option(help="your id, as it shall stand in the log")] = "",
    reviews: Reviews = None,
    blind: Annotated[
        bool | None,
        typer.Option("--blind/--no-blind", help="first impression before the AI's results"),
    ] = None,
) -> None:
    """Open napari on a run: worklist, slide, overlays, draft."""
    from pathai import verbs

    verbs.review(results, reader, reviews, blind)


@app.command()
def answer(
    results: Annotated[Path, typer.Argument(help="run folder or its results")],
    case: Annotated[str, typer.Option(help="case id")],
    task: Annotated[str, typer.Option(help="name of the task that asks")],
    reader: Annotated[str, typer.Option(help="your id, as it shall stand in the log")],
    answer: Annotated[str, typer.Option(help="a class of the task, or a number")] = "",
    slide: Annotated[str, typer.Option(help="only this slide of the case")] = "",
    withdraw: Annotated[bool, typer.Option("--withdraw", help="take it back")] = False,
    reviews: Reviews = None,
) -> None:
    """Record a reader's own answer to a task's question; it can become a label."""
    from pathai import label_verbs

    label_verbs.answer(
        results, case, task, answer, reader, slide, withdraw=withdraw, reviews=reviews
    )


@app.command()
def readers(
    results: Annotated[Path, typer.Argument(help="run folder or its results")],
    case: Annotated[str, typer.Option(help="only this case")] = "",
    audit: Annotated[bool, typer.Option("--audit", help="check every line of every log")] = False,
    kept: Annotated[
        Path | None, typer.Option(help="audit: what --audit --json printed before; finds cut logs")
    ] = None,
    reviews: Reviews = None,
    json: Json = False,
) -> None:
    """Tell who read which case, and where readers differ; exit 1 if a log is broken."""
    from pathai import reader_verbs, verbs

    if audit:
        if case:
            raise verbs.wrong("--audit checks every case")
        raise typer.Exit(reader_verbs.check(results, reviews, kept, as_json=json))
    if kept:
        raise verbs.wrong("--kept belongs to --audit")
    raise typer.Exit(reader_verbs.readers(results, case, reviews, as_json=json))


@app.command()
def labels(
    results: Annotated[Path, typer.Argument(help="run folder or its results")],
    task: Annotated[str, typer.Option(help="task of the run, or a task file")],
    out: Annotated[Path, typer.Option("-o", "--out", help="new sheet, beside the old one")],
    sheet: Annotated[Path | None, typer.Option(help="default: the run's")] = None,
    json: Json = False,
) -> None:
    """Write a new sheet in which readers' answers override the labels."""
    from pathai import label_verbs

    label_verbs.labels(results, sheet, task, out, as_json=json)


@app.command()
def corrections(
    results: Annotated[Path, typer.Argument(help="run folder or its results")],
    out: Annotated[Path, typer.Option("-o", "--out", help="new folder")],
    reader: Annotated[str, typer.Option(help="whose; needed where several corrected")] = "",
    case: Annotated[list[str] | None, typer.Option(help="only this case; may be repeated")] = None,
    json: Json = False,
) -> None:
    """Write corrected nuclei as pictures, label maps and classes to train on."""
    from pathai import corrected_verbs

    corrected_verbs.export(results, out, reader, case or (), as_json=json)


@app.command()
def export(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="a slide's folder; dicom-sr: a case's")
    ],
    format: Annotated[
        str,
        typer.Option(help="geojson, csv, geoparquet, anndata, ome-zarr, dicom-ann, dicom-sr"),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="file or folder to write")],
    detector: Annotated[str, typer.Option(help="whose cells, when there are several")] = "",
    attention: Annotated[
        bool, typer.Option("--attention", help="only where a model looked: geojson, ome-zarr")
    ] = False,
    model: Annotated[str, typer.Option(help="whose attention; implies --attention")] = "",
    slide: Annotated[
        Path | None, typer.Option(help="dicom-ann: the slide's file, outside of a run")
    ] = None,
    reader: Annotated[
        str, typer.Option(help="nuclei and regions as this reader left them in the review")
    ] = "",
    reviews: Reviews = None,
    overwrite: Annotated[bool, typer.Option(help="replace an existing one")] = False,
) -> None:
    """Write a slide's cells, tissue and tiles, or a model's attention, for other programs."""
    from pathai import exchange_verbs, verbs

    if reader:
        whose = exchange_verbs.Whose(reader, reviews, detector)
        exchange_verbs.export(folder, format, out, whose, overwrite=overwrite)
        return
    if attention or model:
        if detector:
            raise verbs.wrong("--detector chooses cells; attention has none")
        verbs.export_attention(folder, format, out, model, overwrite)
        return
    verbs.export(folder, format, out, detector, overwrite, slide)


@app.command("import-review")
def import_review(
    results: Annotated[Path, typer.Argument(help="run folder or its results")],
    file: Annotated[Path, typer.Argument(help="GeoJSON of QuPath")],
    reader: Annotated[str, typer.Option(help="in whose log it shall stand")],
    slide: Annotated[str, typer.Option(help="where the file does not say of which it is")] = "",
    detector: Annotated[str, typer.Option(help="whose cells, when there are several")] = "",
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="a class to allow; may be repeated")
    ] = None,
    keep_missing: Annotated[
        bool, typer.Option("--keep-missing", help="a part: what is not in it was not deleted")
    ] = False,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="undo what this file did")] = False,
    reviews: Reviews = None,
    json: Json = False,
) -> None:
    """Take nuclei and regions that were corrected in QuPath into a reader's log."""
    from pathai import exchange_verbs

    whose = exchange_verbs.Whose(reader, reviews)
    how = exchange_verbs.From(slide, detector, classes or (), keep_missing, withdraw)
    exchange_verbs.take_in(results, file, whose, how, as_json=json)


@app.command()
def share(
    case: Annotated[str, typer.Argument(metavar="CASE", help="case id")],
    out: Annotated[Path, typer.Option("-o", "--out", help="zip to write")],
    key: Annotated[
        Path | None,
        typer.Option(help="file with the site's secret; default: share.key, drawn once"),
    ] = None,
    mpp: Annotated[
        float, typer.Option(min=0, help="µm/px of the finest pixels; 0: all there are")
    ] = 0.0,
    quality: Annotated[int, typer.Option(min=30, max=95, help="of JPEG")] = 80,
    names: Annotated[
        bool, typer.Option("--names", help="with the readers' names and the time of signing")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="replace an existing one")] = False,
    config: ConfigFile = None,
) -> None:
    """Pack a case for a tumor board: slides, overlays and report in one page, without ids."""
    from pathai import share_verbs

    share_verbs.share(
        config, case, out, key, finest_mpp=mpp, quality=quality, readers=names, overwrite=overwrite
    )


@app.command()
def ask(
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="in plain English")],
    config: ConfigFile = None,
    llm: Annotated[bool, typer.Option("--llm", help="let the local model translate it")] = False,
    json: Json = False,
) -> None:
    """Ask the cohort's findings a question; the checked query is shown with the answer."""
    from pathai import ask_verbs

    ask_verbs.ask(question, config, llm=llm, as_json=json)


@app.command()
def deid(
    slide: Annotated[Path, typer.Argument(help="slide file, or folder of a DICOM slide")],
    out: Annotated[Path, typer.Option("-o", "--out", help="file to write; DICOM: a folder")],
    key: Annotated[
        Path | None, typer.Option(help="file with a secret, for DICOM UIDs that stay consistent")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="replace an existing copy")] = False,
    json: Json = False,
) -> None:
    """Copy a slide without label, macro and identifying text; write nothing in doubt."""
    from pathai import verbs

    verbs.deid(slide, out, key, overwrite, as_json=json)


@app.command()
def verify(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="a run's folder, results or part of them")
    ],
    slides: Annotated[bool, typer.Option("--slides", help="read the slide files, too")] = False,
    since: Annotated[
        Path | None, typer.Option(help="JSON of an earlier check: no chain may be shorter now")
    ] = None,
    json: Json = False,
) -> None:
    """Check every manifest, every chain and every byte; name what is damaged."""
    from pathai import provenance_verbs

    raise typer.Exit(provenance_verbs.verify(paths, since, slides=slides, as_json=json))


@app.command("diff")
def diff_(
    a: Annotated[Path, typer.Argument(metavar="RUN_A", help="a run's folder")],
    b: Annotated[Path, typer.Argument(metavar="RUN_B", help="another run's folder")],
    json: Json = False,
) -> None:
    """Say which results of two runs differ, by how much, and why."""
    from pathai import provenance_verbs

    raise typer.Exit(provenance_verbs.compare(a, b, as_json=json))


@app.command()
def forget(
    patient: Annotated[str, typer.Argument(metavar="PATIENT", help="id of the sheet")],
    config: ConfigFile = None,
    yes: Annotated[bool, typer.Option("--yes", help="remove without asking")] = False,
    dry_run: Annotated[bool, typer.Option("-n", "--dry-run", help="only say what")] = False,
    key: Annotated[
        Path | None, typer.Option(help="file with the site's secret; default: share.key")
    ] = None,
    json: Json = False,
) -> None:
    """Remove everything that a run holds of a patient; a tombstone without names stays."""
    from pathai import provenance_verbs

    raise typer.Exit(
        provenance_verbs.forget_patient(patient, config, key, yes=yes, dry=dry_run, as_json=json)
    )


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(help="encoders, heads, ...: an error names them all")],
    json: Json = False,
) -> None:
    """List what can be named in a configuration."""
    from pathai import verbs

    verbs.list_names(what, as_json=json)


def main() -> None:
    """Entry point: errors become one line and an exit code."""
    import os

    from pathai.processes import Stopped

    debug = "--debug" in sys.argv or os.environ.get("PATHAI_DEBUG") == "1"
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        app()
    except PathaiError as error:
        from pathai.batch import complain

        if debug:
            raise
        sys.exit(complain(error))
    except Stopped as stopped:
        sys.stderr.write(f"pathai: ended by {stopped}; the next pathai run goes on from here\n")
        sys.exit(stopped.exit_code)
    # The one broad except of the command line: a person gets one line, not a traceback.
    except Exception as error:
        from pathai.batch import complain
        from pathai.store.manifest import no_room

        if debug:
            raise
        unforeseen = PathaiError("E299", f"{type(error).__name__}: {error}")
        sys.exit(complain(no_room(error) or unforeseen))
