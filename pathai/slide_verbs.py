"""What the verbs of slide-level encoders, zero-shot scores and similar cases do, beside parsing."""

from collections.abc import Sequence
from pathlib import Path

from pathai import chain, verbs
from pathai.batch import print_json, say
from pathai.config import Config, folder_config, load_config
from pathai.errors import PathaiError
from pathai.sheet import Sheet, load_sheet
from pathai.similar import Similar
from pathai.slide_level import slide_step, zeroshot_step
from pathai.store.commit import manifest_path
from pathai.store.folders import ResultsFolder, SlideFolder
from pathai.store.manifest import READABLE, SUFFIX, read_manifest
from pathai.store.records import SlideVector


def slide_vector(
    folders: list[Path] | None, encoder: str, config: Path | None, batch: str = ""
) -> int:
    """Vectors of a batch, or of single slides by the named encoder or the configuration's."""
    if batch:
        return verbs.batch("slide", config, batch)
    made = []
    for folder in verbs.slide_folders(folders):
        settings = verbs.settings(folder.path, config)
        names = (encoder,) if encoder else settings.slide.encoders
        if not names:
            raise verbs.wrong("slide-vector needs --encoder, such as mean:morphology")
        setup = chain.encoder_setup(settings)
        made += [slide_step(folder, name, setup) for name in names]
    return verbs.steps(made)


def zeroshot(
    folders: list[Path] | None, prompts: Path, encoder: str, config: Path | None, *, as_json: bool
) -> int:
    """Score slides for a prompt set, and show the slides' scores."""
    from pathai.prompts import load_prompts
    from pathai.zeroshot import NOT_CALIBRATED, Words

    found = verbs.slide_folders(folders)
    settings = [verbs.settings(folder.path, config) for folder in found]
    words = Words(encoder, load_prompts(prompts), chain.encoder_setup(settings[0]))
    color = [s.features.color for s in settings]
    made = [zeroshot_step(f, words, c) for f, c in zip(found, color, strict=True)]
    code = verbs.steps(made)
    rows = {}
    for folder, step in zip(found, made, strict=True):
        if read_manifest(manifest_path(step.base)).status in READABLE:
            attrs = folder.read_zeroshot(words.prompts.name, encoder).attrs
            rows[folder.slide_id] = attrs
            scores = zip(attrs.classes, attrs.slide_score, attrs.share, strict=True)
            said = [f"{name} {score:.3f} ({share:.0%} of tiles)" for name, score, share in scores]
            say(f"{folder.slide_id}  {'  '.join(said)}")
    say(f"Zero-shot scores: {NOT_CALIBRATED}.")
    if as_json:
        print_json({name: attrs.model_dump(mode="json") for name, attrs in rows.items()})
    return code


def similar(folder: Path, results: Path | None, encoder: str, count: int, *, as_json: bool) -> None:
    """Find the nearest slides of other patients.

    Raises
    ------
    PathaiError
        E193 without a vector, E154 without a sheet that names the patients, and as
        `pathai.similar.similar`.
    """
    from pathai.similar import similar as find

    query = verbs.slide_folder(folder)
    name = encoder or _only_encoder(query)
    vector = _vector(query, name)
    if vector is None:
        message = f"{query.slide_id}: no vector of {name}"
        raise PathaiError("E193", message, f"run pathai slide-vector DIR --encoder {name}")
    place = ResultsFolder(results.absolute() if results else query.path.parents[1])
    own, sheet = _sheet(query.path), _sheet(place.slide("any").path)
    patients = {row.slide_id: row.patient_id for row in sheet.rows}
    vectors, without = {}, []
    for slide_id in place.slide_ids():
        found = _vector(place.slide(slide_id), name) if slide_id in patients else None
        if found is None:
            without.append(slide_id)
        else:
            vectors[slide_id] = found
    if query.slide_id in vectors and place.slide(query.slide_id).path != query.path:
        message = f"{query.slide_id}: another slide has this id in {place.path.name}/"
        raise PathaiError("E193", message, "search the slide's own results")
    patients[query.slide_id] = own[query.slide_id].patient_id
    vectors[query.slide_id] = vector
    answer = find(query.slide_id, vectors, patients, count)
    for line in described(answer, patients, without):
        say(line)
    if as_json:
        print_json({**answer.as_json(), "without_vector": without})


def _vector(folder: SlideFolder, encoder: str) -> SlideVector | None:
    """A finished vector; None where there is none, or its making failed."""
    path = manifest_path(folder.base("slide", encoder))
    if not path.is_file() or read_manifest(path).status not in READABLE:
        return None
    return folder.read_slide_vector(encoder)


def _only_encoder(folder: SlideFolder) -> str:
    """The one slide encoder that a slide has a vector of."""
    files = sorted((folder.path / "slide").glob(f"*{SUFFIX}"))
    groups = [file.with_name(file.name.removesuffix(SUFFIX) + ".zarr") for file in files]
    names = [_name(group) for group in groups if group.is_dir()]
    if len(names) != 1:
        message = f"{folder.slide_id} has vectors of {', '.join(names) or 'no slide encoder'}"
        remedy = "name one with --encoder" if names else "run pathai slide-vector first"
        raise PathaiError("E193", message, remedy)
    return names[0]


def _name(group: Path) -> str:
    from pathai.store.groups import read_slide_vector

    return read_slide_vector(group).attrs.encoder


def _sheet(slide: Path) -> Sheet:
    """The sheet of the run around a slide's folder."""
    config = folder_config(slide)
    if config is None:
        message = (
            f"no run around {slide.parents[1].name}: which patients its slides are of is unknown"
        )
        remedy = (
            "similar cases need the run's sheet; put results/ beside config.yaml and slides.tsv"
        )
        raise PathaiError("E154", message, remedy)
    settings: Config = load_config(config)
    return load_sheet(config.parent / settings.sheet)


def described(answer: Similar, patients: dict[str, str], without: Sequence[str]) -> list[str]:
    """Lines for a person."""
    lines = [
        f"{answer.slide_id}: nearest of {answer.slides} slides of {answer.patients} patients "
        f"by {answer.encoder}" + (", features standardized" if answer.standardized else "")
    ]
    width = max(len("slide"), *(len(n.slide_id) for n in answer.neighbors))
    wide = max(len("patient"), *(len(patients[n.slide_id]) for n in answer.neighbors))
    lines.append(f"  {'slide':<{width}}  {'patient':<{wide}}  distance  nearer pairs")
    for n in answer.neighbors:
        row = f"  {n.slide_id:<{width}}  {patients[n.slide_id]:<{wide}}"
        said = "  the same vector: one slide under two ids?" if n.same else ""
        lines.append(f"{row}  {n.distance:8.4f}  {n.percentile:10.2f} %{said}")
    share = f"{answer.unusual_percentile:.0f} %"
    lines.append(f"  {share} of the other slides have a neighbor at least as near")
    if without:
        shown = ", ".join(without[:5]) + (" ..." if len(without) > 5 else "")
        lines.append(f"  {len(without)} slides without such a vector, or without a row: {shown}")
    return lines
