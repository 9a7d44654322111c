"""The commands of single stages: one slide's folder, or a batch that a rule of Snakemake names."""

from pathlib import Path
from typing import Annotated

import typer

from pathai.options import Batch, ConfigFile, Folders, Json

stage_app = typer.Typer()


@stage_app.command()
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


@stage_app.command()
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


@stage_app.command()
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


@stage_app.command("slide-vector")
def slide_vector(
    folders: Folders = None,
    encoder: Annotated[str, typer.Option(help="mean:<tile encoder>, or a slide encoder")] = "",
    config: ConfigFile = None,
    batch: Batch = "",
) -> None:
    """Describe a slide by one vector, from its tiles' features."""
    from pathai import slide_verbs

    raise typer.Exit(slide_verbs.slide_vector(folders, encoder, config, batch))


@stage_app.command()
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


@stage_app.command()
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


@stage_app.command()
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


@stage_app.command()
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


@stage_app.command()
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


@stage_app.command()
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


@stage_app.command("train-detector")
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
