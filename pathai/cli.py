"""The command line. Every verb has a function of the same meaning; text for people goes to stderr.

Exit codes: 0 all done, 1 some slides failed, 2 the call or the configuration is wrong, 75 another
run owns the folder.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pathai import __version__
from pathai.report_cli import report_app

app = typer.Typer(
    name="pathai",
    help="Whole-slide images to counted cells, predictions and a draft report. Research use only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(report_app, name="report")
weights_app = typer.Typer(help="Weights of published encoders.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")

ConfigFile = Annotated[Path | None, typer.Option("--config", help="configuration of a run")]
Batch = Annotated[str, typer.Option("--batch", help="a batch of the run", hidden=True)]
Folders = Annotated[list[Path] | None, typer.Argument(metavar="DIR", help="slide folders")]
Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="published encoders")]
WeightsFolder = Annotated[
    Path | None, typer.Option("--folder", help="folder of weights; default: the configuration's")
]
Reviews = Annotated[
    Path | None, typer.Option(help="folder of the logs; default: the configuration's")
]
Json = Annotated[bool, typer.Option("--json", help="print JSON to stdout")]


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
def doctor(config: ConfigFile = None, json: Json = False) -> None:
    """Say what is missing on this machine and how to mend it."""
    from pathai.doctor import check, show

    raise typer.Exit(show(check(config), as_json=json))


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
    profile: Annotated[str, typer.Option(help="Snakemake profile: local, or a folder")] = "",
    dry_run: Annotated[bool, typer.Option("-n", "--dry-run", help="only show the jobs")] = False,
    retry_failed: Annotated[bool, typer.Option(help="try failed slides again")] = False,
    check: Annotated[bool, typer.Option(help="read every byte; redo what is damaged")] = False,
) -> None:
    """Run or resume a whole cohort; arguments after -- go to Snakemake."""
    from pathai import verbs
    from pathai.run import run as start
    from pathai.summary import show

    plan = verbs.plan_of(config)
    outcome = start(
        plan,
        cores=cores,
        profile=profile,
        dry=dry_run,
        retry_failed=retry_failed,
        check=check,
        arguments=tuple(context.args),
    )
    raise typer.Exit(0 if dry_run else show(plan, outcome))


@app.command()
def ingest(
    slide: Annotated[Path | None, typer.Argument(help="slide file")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="the slide's folder")] = None,
    mpp: Annotated[float | None, typer.Option(help="µm per pixel, if the file has none")] = None,
    stain: Annotated[str, typer.Option(help="as in the sheet")] = "H&E",
    config: ConfigFile = None,
    batch: Batch = "",
) -> None:
    """Check a slide file and record its facts."""
    from pathai import chain, verbs

    if batch:
        raise typer.Exit(verbs.batch("ingest", config, batch))
    if slide is None or out is None:
        raise verbs.wrong("ingest needs SLIDE and -o DIR")
    if mpp is not None and not 0 < mpp < float("inf"):
        raise verbs.wrong(f"--mpp {mpp}: give a positive number")
    folder = verbs.slide_folder(out)
    step = chain.ingest_step(verbs.settings(out, config), folder, slide.absolute(), mpp, stain)
    raise typer.Exit(verbs.steps([step]))


@app.command()
def tile(
    folders: Folders = None,
    slide: Annotated[Path | None, typer.Option(help="slide file, outside of a run")] = None,
    config: ConfigFile = None,
    batch: Batch = "",
) -> None:
    """Find tissue and write the tissue-only pyramid."""
    from pathai import chain, verbs

    if batch:
        raise typer.Exit(verbs.batch("tile", config, batch))
    found = verbs.slide_folders(folders)
    made = [
        chain.tile_step(verbs.settings(f.path, config), f, verbs.slide_file(f, slide, config))
        for f in found
    ]
    raise typer.Exit(verbs.steps(made))


@app.command()
def features(
    folders: Folders = None,
    encoder: Annotated[str, typer.Option(help="see pathai list encoders")] = "morphology",
    config: ConfigFile = None,
    batch: Batch = "",
) -> None:
    """Describe every tissue tile by one vector."""
    from pathai import chain, verbs
    from pathai.encoders import check_name

    if batch:
        raise typer.Exit(verbs.batch("features", config, batch))
    check_name(encoder)
    made = [
        chain.features_step(verbs.settings(f.path, config), f, encoder)
        for f in verbs.slide_folders(folders)
    ]
    raise typer.Exit(verbs.steps(made))


@app.command("slide-vector")
def slide_vector(
    folders: Folders = None,
    encoder: Annotated[str, typer.Option(help="mean:<tile encoder>, or a slide encoder")] = "",
    config: ConfigFile = None,
    batch: Batch = "",
) -> None:
    """Describe a slide by one vector, from its tiles' features."""
    from pathai import slide_verbs

    raise typer.Exit(slide_verbs.slide_vector(folders, encoder, config, batch))


@app.command()
def zeroshot(
    prompts: Annotated[Path, typer.Option(help="file of classes in words")],
    folders: Folders = None,
    encoder: Annotated[str, typer.Option(help="see pathai list text-towers")] = "plip",
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Score tiles and slide for classes in words: not calibrated, for exploration."""
    from pathai import slide_verbs

    raise typer.Exit(slide_verbs.zeroshot(folders, prompts, encoder, config, as_json=json))


@app.command()
def similar(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="a slide's folder")],
    results: Annotated[Path | None, typer.Option(help="where to search")] = None,
    encoder: Annotated[str, typer.Option(help="whose vectors, when there are several")] = "",
    count: Annotated[int, typer.Option("-k", min=1, help="neighbors")] = 10,
    json: Json = False,
) -> None:
    """Find the most similar slides of other patients, and say how unusual that is."""
    from pathai import slide_verbs

    slide_verbs.similar(folder, results, encoder, count, as_json=json)


@app.command()
def cells(
    folders: Folders = None,
    detector: Annotated[str, typer.Option(help="see pathai list detectors")] = "",
    classifier: Annotated[str, typer.Option(help="cell classes on H&E: shipped, or a file")] = "",
    file: Annotated[Path | None, typer.Option("--import", help="cells of another program")] = None,
    format: Annotated[str, typer.Option(help="hovernet, qupath-geojson or geoparquet")] = "",
    mpp: Annotated[float | None, typer.Option(min=0.01, help="µm/px of imported cells")] = None,
    config: ConfigFile = None,
    batch: Batch = "",
) -> None:
    """Detect and count nuclei, or import those that another program found."""
    from pathai import chain, verbs

    if batch:
        raise typer.Exit(verbs.batch("cells", config, batch))
    if file is not None:
        raise typer.Exit(verbs.import_cells(folders, file, format, mpp, detector))
    verbs.check_detector(detector)
    made = [
        chain.cells_step(verbs.settings(f.path, config), f, detector, classifier)
        for f in verbs.slide_folders(folders)
    ]
    raise typer.Exit(verbs.steps(made))


@app.command()
def predict(
    folders: Folders = None,
    model: Annotated[list[Path] | None, typer.Option(help="bundle folder")] = None,
    config: ConfigFile = None,
    batch: Batch = "",
) -> None:
    """Apply trained models."""
    from pathai import model_verbs, verbs

    if batch:
        raise typer.Exit(verbs.batch("predict", config, batch))
    raise typer.Exit(model_verbs.predict(verbs.slide_folders(folders), model or [], config))


@app.command()
def train(
    config: ConfigFile = None,
    name: Annotated[str, typer.Option(help="a task of the configuration; default all")] = "",
    task: Annotated[Path | None, typer.Option(help="task file, without a run")] = None,
    sheet: Annotated[Path | None, typer.Option(help="sheet with labels")] = None,
    results: Annotated[Path | None, typer.Option(help="results with features")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="folder of the model")] = None,
    few_shot: Annotated[
        int, typer.Option(min=0, metavar="K", help="linear probe on K patients of each class")
    ] = 0,
    corrections: Annotated[
        Path | None, typer.Option(help="reviews whose answers override the sheet's labels")
    ] = None,
    batch: Batch = "",
) -> None:
    """Train a model per task, with nested cross-validation by patient."""
    from pathai import model_verbs, verbs

    if batch:
        raise typer.Exit(verbs.batch("train", config, batch))
    if task is None and config is not None:
        if few_shot or corrections is not None:
            raise verbs.wrong("--few-shot and --corrections need --task --sheet --results -o")
        raise typer.Exit(model_verbs.train_tasks(config, name))
    if task is None or sheet is None or results is None or out is None:
        raise verbs.wrong("train needs --config, or --task --sheet --results -o")
    wanted = model_verbs.Training(task, sheet, results, out, config, corrections, few_shot)
    raise typer.Exit(model_verbs.train_one(wanted))


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="bundle folder")],
    sheet: Annotated[Path, typer.Option(help="sheet with labels")],
    results: Annotated[Path, typer.Option(help="results with features")],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder to write")],
    where: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN=VALUE", help="only such slides")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="a second model, on the same patients")
    ] = None,
    alpha: Annotated[float, typer.Option(min=0.01, max=0.5, help="1 - coverage of sets")] = 0.1,
    json: Json = False,
) -> None:
    """Measure a model on labeled slides that it never met; write numbers and a page."""
    from pathai import model_verbs

    wanted = model_verbs.wanted(sheet, results, where)
    raise typer.Exit(model_verbs.evaluate(model, against, wanted, out, alpha, as_json=json))


@weights_app.command()
def fetch(
    names: Names = None,
    config: ConfigFile = None,
    folder: WeightsFolder = None,
    revision: Annotated[str, typer.Option(help="commit, tag or branch of one encoder")] = "",
) -> None:
    """Download weights from the Hugging Face hub, check them and pin them."""
    from pathai import verbs

    raise typer.Exit(verbs.fetch_weights(names or [], config, folder, revision))


@weights_app.command("check")
def check_weights(
    names: Names = None,
    config: ConfigFile = None,
    folder: WeightsFolder = None,
    json: Json = False,
) -> None:
    """Read every byte of the weights that are here; say what is missing or damaged."""
    from pathai import verbs

    raise typer.Exit(verbs.check_weights(names or [], config, folder, as_json=json))


@app.command()
def cohort(config: ConfigFile = None) -> None:
    """Build the cohort page from what is there."""
    from pathai import verbs

    raise typer.Exit(verbs.batch("cohort", config, "cohort"))


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


@app.command("train-detector")
def train_detector(
    out: Annotated[Path, typer.Option("-o", "--out", help="folder to write; --classes: file")],
    data: Annotated[
        list[Path] | None, typer.Option(help="folder of labeled pictures; may be repeated")
    ] = None,
    by_size: Annotated[
        list[str] | None, typer.Option(help="folder whose µm/px the size of nuclei shall tell")
    ] = None,
    slides: Annotated[Path | None, typer.Option(help="sheet of slides without labels")] = None,
    barren: Annotated[
        Path | None, typer.Option(help="CSV of places on them without a nucleus")
    ] = None,
    fields: Annotated[int, typer.Option(min=0, help="drawn fields to learn from as well")] = 300,
    steps: Annotated[int, typer.Option(min=1, help="steps of learning")] = 6000,
    judging: Annotated[
        float, typer.Option(min=0, max=1, help="share of steps for each set held back; 0: none")
    ] = 0.4,
    seed: Annotated[int, typer.Option(help="of every draw")] = 1,
    classes: Annotated[
        bool, typer.Option("--classes", help="instead: a model of cell classes")
    ] = False,
    corrections: Annotated[
        Path | None, typer.Option(help="folder of pathai corrections; classes: or classified cells")
    ] = None,
    results: Annotated[Path | None, typer.Option(help="classes: results with the cells")] = None,
    sheet: Annotated[Path | None, typer.Option(help="classes: sheet, for the patients")] = None,
    base: Annotated[
        str, typer.Option(help="classes: start from shipped, a file, none")
    ] = "shipped",
    detector: Annotated[
        str, typer.Option(help="classes: whose cells; default: the usual detector")
    ] = "",
    json: Json = False,
) -> None:
    """Train what finds nuclei, or with --classes what tells their classes; say how good it is."""
    from pathai import detector_verbs

    if classes:
        cells = detector_verbs.Cells(corrections, results, out, base, detector, sheet)
        detector_verbs.train_classes(cells, as_json=json)
    else:
        pictures = (*(data or ()), *((corrections,) if corrections else ()))
        kept = pictures, out, tuple(by_size or ()), slides, barren
        detector_verbs.train(*kept, fields=fields, steps=steps, judging=judging, seed=seed)


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
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="results or part of them")],
    json: Json = False,
) -> None:
    """Check every manifest and every byte; name what is damaged."""
    from pathai import verbs

    raise typer.Exit(verbs.verify(paths, as_json=json))


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

    from pathai.errors import PathaiError

    debug = "--debug" in sys.argv or os.environ.get("PATHAI_DEBUG") == "1"
    sys.argv = [argument for argument in sys.argv if argument != "--debug"]
    try:
        app()
    except PathaiError as error:
        from pathai.batch import complain

        if debug:
            raise
        sys.exit(complain(error))
    except KeyboardInterrupt:
        sys.stderr.write("pathai: interrupted; pathai run resumes\n")
        sys.exit(130)
    # The one broad except of the command line: a person gets one line, not a traceback.
    except Exception as error:
        from pathai.batch import complain

        if debug:
            raise
        sys.exit(complain(PathaiError("E299", f"{type(error).__name__}: {error}")))
