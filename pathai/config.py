"""What a run is asked to do: its configuration file.

It is validated here, once, with errors that name file, key and remedy; the sheet in
`pathai.sheet`.
The digest of a stage's section decides whether its results are stale.
"""

import json
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from pathai.address import check_server, check_webhook
from pathai.errors import PathaiError

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
OPTIONAL_ID = r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$"
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A frozen part of the configuration; unknown keys are errors.

    Models are built when they are used first: each of many short jobs uses few of them.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", allow_inf_nan=False)

    def digest(self) -> str:
        """SHA-256 over every field, so that no option can be forgotten."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return sha256(text.encode()).hexdigest()


class IngestConfig(Section):
    """Limits within which an unknown slide file is opened (in a child process)."""

    seconds: float = Field(600, gt=0, description="wall clock per slide")
    memory_mib: int = Field(8192, ge=512, description="address space of the child")
    max_pixels: int = Field(2**38, gt=0, description="largest level 0")
    max_tile_mib: int = Field(64, gt=0, description="largest decoded source tile")
    max_directories: int = Field(1000, gt=0, description="image directories in a TIFF")
    mpp_override: bool = Field(False, description="trust the sheet where it contradicts the file")
    remote: tuple[str, ...] = Field(
        (), description="servers that slides may be read from, e.g. `s3://bucket`; else none"
    )

    @field_validator("remote")
    @classmethod
    def _servers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            check_server(entry)
        return value


class TileConfig(Section):
    """Tissue map and the tissue-only pyramid."""

    seconds: float = Field(3600, gt=0)
    memory_mib: int = Field(8192, ge=512)
    tissue_um: float = Field(8.0, gt=0, description="µm per pixel of the tissue map")
    min_tissue_mm2: float = Field(0.05, ge=0, description="less is skipped as no tissue")
    pen: bool = Field(True, description="leave out ink of marker pens")
    coverslip: bool = Field(True, description="leave out the edge of the coverslip")
    blur_um: float = Field(
        2.0, ge=0, description="edges softer than this (standard deviation) are blurred; 0: off"
    )
    fold: float = Field(
        0.47, ge=0, description="added density of a fold, share of the tissue's median; 0: off"
    )
    bubble: Fraction = Field(
        0.64, description="light that passes a bubble's rim, share of bare glass; 0: off"
    )
    max_bad_fraction: Fraction = Field(0.001, description="unreadable share that fails a slide")
    copy_tiles: bool = Field(True, description="keep JPEG tiles as the scanner compressed them")
    jpeg_quality: int | None = Field(
        None, ge=50, le=100, description="pack decoded pixels with loss, as JPEG; the loss is noted"
    )


class ColorConfig(Section):
    """Colors of the tiles that an encoder sees; stored pixels stay as the scanner wrote them."""

    icc: bool = Field(False, description="bring colors to sRGB by the slide's ICC profile")
    normalize: Literal["none", "macenko", "reinhard"] = Field(
        "none", description="bring H&E to one look by statistics of the whole slide"
    )


class FeaturesConfig(Section):
    """Encoders, and which tiles they see."""

    encoders: tuple[str, ...] = ("morphology",)
    min_tissue: Fraction = Field(0.5, description="tissue share below which a tile is left out")
    max_artefact: Fraction = Field(1.0, description="artefact share above which it is left out")
    stride: float = Field(1.0, gt=0, le=4, description="from tile to tile, in edges of a tile")
    mpp_tolerance: Fraction = Field(
        0.1, description="share by which a slide may be coarser than the encoder's µm/px"
    )
    batch: int = Field(32, ge=1)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="of networks; auto: bf16 on a GPU that has it, else fp32"
    )
    compile: bool = Field(False, description="torch.compile: pays off for many tiles")
    color: ColorConfig = ColorConfig()


class SlideConfig(Section):
    """Slide encoders: one vector for a slide, from its tiles' features."""

    encoders: tuple[str, ...] = Field(
        (), description="slide encoders to run, such as `mean:morphology`; see slide-level.md"
    )


class WeightsConfig(Section):
    """Weights of published encoders."""

    folder: str = Field("weights", description="relative to this file")
    licence: Literal["any", "commercial", "open"] = Field(
        "any", description="what the lab may use: see pathai list encoders"
    )
    network: bool = Field(False, description="whether weights may be fetched from the hub")


class CellsConfig(Section):
    """Nuclei detection."""

    detector: str = "nuclei-small"
    block_px: int = Field(
        2048, ge=256, le=8192, description="edge of a block at the detector's resolution"
    )
    dab_cutoff_od: float = Field(0.15, gt=0, description="nuclear DAB density that is positive")
    classifier: str = Field(
        "",
        description="model of cell classes for H&E: `shipped` (experimental), or a file that "
        "`pathai train-detector --classes` wrote; empty: nuclei are counted without class",
    )
    workers: int = Field(1, ge=1, le=64, description="threads of a job; they change no result")
    scheduler: str = Field(
        "",
        pattern=r"^((tcp|tls|ws|wss|ucx)://\S+)?$",
        description="address of a dask scheduler whose workers do the work, e.g. "
        "`tcp://10.0.0.5:8786`; it changes no result",
    )
    dab_bins_od: tuple[float, float] = Field(
        (0.4, 0.6), description="nuclear DAB density from which a positive nucleus is 2+, and 3+"
    )
    stain_vectors: Literal["estimated", "fixed"] = Field(
        "estimated",
        description="the slide's own within limits (under DAB: of the hematoxylin), or the usual; "
        "column stain_vectors of the sheet goes before both",
    )

    @model_validator(mode="after")
    def _bins_rise(self) -> Self:
        if not 0 < self.dab_bins_od[0] < self.dab_bins_od[1]:
            raise ValueError("dab_bins_od must rise")
        return self

    @property
    def cutoffs_od(self) -> tuple[float, float, float]:
        """DAB density from which a nucleus is 1+ (positive), 2+ and 3+, each at least as high."""
        first, (second, third) = self.dab_cutoff_od, self.dab_bins_od
        return first, max(second, first), max(third, first)


class Candidate(Section):
    """One setting to be tried on inner folds; what is not given is as in ``train``."""

    head: str = Field("", description="default: the task's")
    hidden: int | None = Field(None, ge=1, description="as `train.hidden`")
    dropout: Fraction | None = Field(None, description="as `train.dropout`")
    learning_rate: float | None = Field(None, gt=0, description="as `train.learning_rate`")
    weight_decay: float | None = Field(None, ge=0, description="as `train.weight_decay`")


class TrainConfig(Section):
    """Training of one model per task. Everything is chosen on inner folds of training patients."""

    tasks: tuple[str, ...] = Field((), description="task files, relative to this file")
    folds: int = Field(5, ge=2, description="outer folds: their answers are what is measured")
    inner_folds: int = Field(
        4, ge=0, description="folds of the training patients for every choice; 0: none is made"
    )
    keep_sites: bool = Field(False, description="all slides of a site in one fold")
    epochs: int = Field(30, ge=1, description="at most; how many is chosen on inner folds")
    patience: int = Field(15, ge=1, description="epochs without a better inner loss")
    search: tuple[Candidate, ...] = Field((), description="settings to choose from")
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    hidden: int = Field(128, ge=1)
    dropout: Fraction = 0.25
    members: int = Field(3, ge=1, le=20, description="networks of one model, averaged")
    ensemble: Literal["seeds", "folds"] = Field(
        "seeds", description="seeds: refitted on all patients; folds: the models of the outer folds"
    )
    few_shot: int = Field(0, ge=0, description="patients per class of a linear probe; 0: all")
    max_tiles: int = Field(0, ge=0, description="of a slide in one step, drawn anew; 0: all")
    alpha: float = Field(0.1, gt=0, lt=1, description="1 - coverage of sets that are reported")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 on a GPU")
    seed: int = 0


class PredictConfig(Section):
    """Models to apply; those trained in this run are applied by themselves."""

    models: tuple[str, ...] = Field((), description="bundle folders, relative to this file")
    alpha: float = Field(0.1, gt=0, lt=1, description="1 - coverage of the conformal set")
    ood_percentile: float = Field(99.0, ge=0, le=100, description="beyond it a slide is foreign")


class FindingsConfig(Section):
    """What a case's findings are made from."""

    top_tiles: int = Field(4, ge=0, description="tiles shown as evidence of a prediction")
    tumor_model: str = Field(
        "tumor", description="model that maps tumor where nobody drew it; empty: none does"
    )
    tumor_attention: float = Field(
        1.0, gt=0, description="its tiles with more attention are tumor; 1 is the mean tile"
    )


class LlmConfig(Section):
    """A language model: a server on this machine or an allowed network, or a folder."""

    base_url: str = ""
    model: str = ""
    seconds: float = Field(60, gt=0)
    networks: tuple[str, ...] = Field((), description="CIDR ranges allowed beside loopback")
    command: tuple[str, ...] = Field(
        (),
        description="program and arguments of a server that each job starts for itself, with "
        "`{port}` where its port belongs; `base_url` is then left out",
    )
    start_seconds: float = Field(300, gt=0, description="until that server must answer")
    path: str = Field("", description="folder of a model for `local`, relative to this file")
    evaluations: str = Field(
        "evaluations", description="folder of passed evaluations, relative to this file"
    )


class CodesConfig(Section):
    """Codes of outside systems in what is exported.

    SNOMED CT needs a license outside its member countries, so its codes are off.
    """

    snomed: bool = Field(
        False, description="SNOMED CT codes; they need a license outside its member countries"
    )


class ReportConfig(Section):
    """The draft of a case."""

    template: str = "generic"
    template_by: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        max_length=1,
        description="sheet column: value: layout of the cases with that value",
    )
    drafter: str = "template"
    llm: LlmConfig | None = None
    language: Literal["en", "fr", "es"] = "en"
    knowledge: tuple[str, ...] = Field(
        (), description="folders of the lab's own documents, relative to this file"
    )
    codes: CodesConfig = CodesConfig()


class CohortConfig(Section):
    """The page that a lab manager opens first."""

    title: str = "Cohort"
    evaluate_on: dict[str, str] = Field(
        default_factory=dict, description="sheet column: value of the slides to score"
    )
    count_column: str = Field("", description="column with the reference number of nuclei")


class RunConfig(Section):
    """How the work is divided; never changes a result."""

    slides_per_job: int = Field(8, ge=1)
    retries: int = Field(1, ge=0, description="of a job that was killed")
    readers: int = Field(1, ge=1, le=64, description="processes of a job that decode tiles")
    webhook: str = Field(
        "", description="https address that gets counts and codes when a run has ended; else none"
    )
    core_watts: float | None = Field(
        None, gt=0, description="power of one busy core, for the estimate of energy in run.json"
    )

    @field_validator("webhook")
    @classmethod
    def _posted(cls, value: str) -> str:
        if value:
            check_webhook(value)
        return value


class Config(Section):
    """One run. Paths are relative to the configuration file's folder."""

    schema_version: Literal[1] = 1
    sheet: str = "slides.tsv"
    results: str = "results"
    models: str = "models"
    reviews: str = "reviews"
    clinical: str = Field("clinical", description="folder of clinical context, `<case_id>.yaml`")
    regions: str = Field("regions", description="folder of drawn regions, `<slide_id>.geojson`")
    ingest: IngestConfig = IngestConfig()
    tile: TileConfig = TileConfig()
    features: FeaturesConfig = FeaturesConfig()
    slide: SlideConfig = SlideConfig()
    weights: WeightsConfig = WeightsConfig()
    cells: CellsConfig = CellsConfig()
    train: TrainConfig = TrainConfig()
    predict: PredictConfig = PredictConfig()
    findings: FindingsConfig = FindingsConfig()
    report: ReportConfig = ReportConfig()
    cohort: CohortConfig = CohortConfig()
    run: RunConfig = RunConfig()


class _UniqueKeys(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice and aliases (no bombs)."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(k, deep=True) for k, _ in node.value]
        doubled = sorted({str(k) for k in keys if keys.count(k) > 1})
        if doubled:
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"key given twice near line {line}: {', '.join(doubled)}")
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, code: str) -> Any:
    """Parse a YAML file safely; ``code`` is used for every complaint."""
    try:
        text = path.read_text("utf-8-sig")
        return yaml.load(text, Loader=_UniqueKeys)  # noqa: S506  (a SafeLoader)
    except FileNotFoundError:
        raise PathaiError(code, f"{path.name} not found", "give an existing file") from None
    except OSError as error:
        raise PathaiError(code, f"{path.name}: {error.strerror}", "give a readable file") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise PathaiError(code, f"{path.name}: {error}", "correct the file") from None
    except RecursionError:
        raise PathaiError(code, f"{path.name}: nested too deeply", "correct the file") from None
    except ValueError as error:  # of a number that is none, or has thousands of digits
        message = f"{path.name}: {str(error)[:200]}"
        raise PathaiError(code, message, "correct the file") from None


def explain(error: ValidationError, file: str, model: type[BaseModel], code: str) -> PathaiError:
    """One line for the first complaint of pydantic: file, key, what is wrong, nearest key."""
    from difflib import get_close_matches

    first = error.errors(include_url=False)[0]
    keys = [str(part) for part in first["loc"]]
    where = ".".join(keys) or "top level"
    if first["type"] != "extra_forbidden":
        given = (
            ""
            if {"remote", "webhook"} & set(keys)
            else f" (given: {str(first.get('input'))[:80]!r})"
        )
        message = f"{file}: {where}: {first['msg']}{given}"  # an address may hold a secret
        return PathaiError(code, message, f"correct {where}")
    known: dict[str, Any] = dict(model.model_fields)
    for key in keys[:-1]:
        inner: Any = known[key].annotation if key in known else None
        known = dict(getattr(inner, "model_fields", {}))
    near = get_close_matches(keys[-1], known, n=1)
    remedy = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}"
    return PathaiError(code, f"{file}: unknown key {where}", remedy)


def load_config(path: Path) -> Config:
    """Read and validate a configuration file.

    Raises
    ------
    PathaiError
        E190 naming file, key and the nearest known key.
    """
    data = read_yaml(path, "E190")
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise PathaiError("E190", f"{path.name}: expected keys and values at the top level")
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise explain(error, path.name, Config, "E190") from None


def json_schema() -> dict[str, Any]:
    """JSON Schema of the configuration, for editors and Snakemake."""
    return Config.model_json_schema()


def folder_config(folder: Path) -> Path | None:
    """The configuration of the run that a folder or file belongs to."""
    for parent in list(folder.absolute().parents)[:5]:
        noted = parent / ".pathai" / "config"
        name = noted.read_text() if noted.is_file() else "config.yaml"
        if (parent / name).is_file():
            return parent / name
    return None
