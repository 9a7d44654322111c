"""What is asked of a slide: one YAML file per biomarker or count."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from pathai.config import ID_PATTERN, Fraction, Section, explain, read_yaml
from pathai.errors import PathaiError

Kind = Literal["binary", "multiclass", "ordinal", "regression", "count", "ratio", "survival"]
CLASS_KINDS = ("binary", "multiclass", "ordinal")
NUMBER_KINDS = ("regression", "count", "ratio")
STAGES = ("ingest", "tile", "features", "cells", "slide", "zeroshot", "predictions", "findings",
          "draft")  # fmt: skip


class Target(Section):
    """One question: what is asked, how it is answered, and the sheet's columns with the truth."""

    name: str = Field(pattern=ID_PATTERN)
    question: str
    kind: Kind = "binary"
    label: str = Field(description="sheet column with the truth; survival: 1 for an event, else 0")
    classes: tuple[str, ...] = Field(
        (), description="as in the column; negative or lowest first; only for kinds with classes"
    )
    total: str = Field("", description="ratio: column of the denominator; none: label is a share")
    time: str = Field("", description="survival: column of the time until event or last contact")
    horizon: float = Field(0, ge=0, description="survival: time for which the chance is given")
    bins: int = Field(8, ge=2, le=64, description="survival: intervals of time")
    unit_of_value: str = Field("", description="such as cells, months")

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        n = len(self.classes)
        if self.kind in CLASS_KINDS:
            if (n != 2) if self.kind == "binary" else (n < 3):
                wanted = "two" if self.kind == "binary" else "at least three"
                raise ValueError(f"a {self.kind} task needs {wanted} classes")
            if len(set(self.classes)) != n:
                raise ValueError("a class is given twice")
        elif n:
            raise ValueError(f"a {self.kind} task has no classes")
        for key, kind in (("total", "ratio"), ("time", "survival"), ("horizon", "survival")):
            if getattr(self, key) and self.kind != kind:
                raise ValueError(f"{key} is a key of {kind} tasks")
        if self.kind == "survival" and not (self.time and self.horizon):
            raise ValueError("a survival task needs time and horizon")
        return self

    @property
    def has_classes(self) -> bool:
        """Whether the answer is one of some classes."""
        return self.kind in CLASS_KINDS

    @property
    def columns(self) -> tuple[str, ...]:
        """Sheet columns that hold the truth."""
        return tuple(c for c in (self.label, self.total, self.time) if c)


class Abstain(Section):
    """When a model gives no answer, beside a slide that is unlike those it was trained on."""

    min_tiles: int = Field(1, ge=1, description="fewer tiles are too little tissue")
    max_set: int = Field(0, ge=0, description="more classes in the set are no answer; 0: any")
    min_probability: Fraction = Field(0, description="of the likeliest class")


class Task(Target):
    """One model: its question, or several that share a head, with encoder, head and limits.

    ``train_on`` names sheet columns and the value that a slide must have to be used for
    training; every other slide is never seen by the training.
    """

    targets: tuple[Target, ...] = Field((), description="further questions to the same head")
    unit: Literal["patient", "slide"] = "patient"
    encoder: str = "morphology"
    head: str = "abmil"
    covariates: tuple[str, ...] = Field((), description="sheet columns with a number per slide")
    tile_tables: tuple[str, ...] = Field(
        (), description="tables beside the features: cells:<detector> counts nuclei per tile"
    )
    stains: tuple[str, ...] = ("H&E",)
    sites: tuple[str, ...] = Field((), description="sites that get an answer; none: all")
    abstain: Abstain = Field(Abstain(), description="when no answer is given")
    calibration: Literal["temperature", "isotonic"] = Field(
        "temperature", description="isotonic needs 50 patients of each class in each fold"
    )
    limits: tuple[str, ...] = ()
    train_on: dict[str, str] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _not_a_stage(cls, value: str) -> str:
        if value in STAGES:
            raise ValueError(f"{value} is the name of a stage")
        return value

    @field_validator("tile_tables")
    @classmethod
    def _known_tables(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for table in value:
            if not table.startswith("cells:") or table == "cells:":
                raise ValueError(f"{table!r}: write cells:<detector>")
        return value

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [target.name for target in self.asked]
        if len(set(names)) != len(names):
            raise ValueError("two targets have the same name")
        return self

    @property
    def asked(self) -> tuple[Target, ...]:
        """Every question of the task, the main one first."""
        return (self, *self.targets)

    @property
    def sheet_columns(self) -> tuple[str, ...]:
        """Sheet columns that training needs."""
        truth = [column for target in self.asked for column in target.columns]
        return tuple(dict.fromkeys([*truth, *self.covariates]))

    @property
    def detectors(self) -> tuple[str, ...]:
        """Detectors whose nuclei are counted per tile."""
        return tuple(table.removeprefix("cells:") for table in self.tile_tables)


def load_task(path: Path) -> Task:
    """Read and validate a task file.

    Raises
    ------
    PathaiError
        E192 naming file, key and the nearest known key.
    """
    data = read_yaml(path, "E192")
    if not isinstance(data, dict):
        raise PathaiError("E192", f"{path.name}: expected keys and values")
    try:
        return Task.model_validate(data)
    except ValidationError as error:
        raise explain(error, path.name, Task, "E192") from None
