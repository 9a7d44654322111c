"""What is asked of a slide: one YAML file per biomarker or count."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator

from pathai.config import ID_PATTERN, Section, explain, read_yaml
from pathai.errors import PathaiError


class Task(Section):
    """One question with its labels, encoder, head and limits.

    ``train_on`` names sheet columns and the value that a slide must have to be used for
    training; every other slide is never seen by the training.
    """

    name: str = Field(pattern=ID_PATTERN)
    question: str
    kind: Literal["binary"] = "binary"
    label: str = Field(description="sheet column with the label")
    classes: tuple[str, str] = Field(description="negative first, positive second")
    unit: Literal["patient", "slide"] = "patient"
    encoder: str = "morphology"
    head: str = "abmil"
    stains: tuple[str, ...] = ("H&E",)
    limits: tuple[str, ...] = ()
    train_on: dict[str, str] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _not_a_stage(cls, value: str) -> str:
        stages = ("ingest", "tile", "features", "cells", "slide", "zeroshot", "predictions")
        if value in (*stages, "findings", "draft"):
            raise ValueError(f"{value} is the name of a stage")
        return value


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
