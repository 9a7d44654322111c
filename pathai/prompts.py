"""A prompt set: classes in words, for scoring tiles without training. One YAML file."""

from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from pathai.config import ID_PATTERN, Section, explain, read_yaml
from pathai.errors import PathaiError

PLACE = "{}"
"""Stands for the class's words in a template."""


class PromptSet(Section):
    """Classes, each with the words that describe it, put into every template."""

    name: str = Field(pattern=ID_PATTERN, description="names the result; by default the file's")
    classes: dict[str, tuple[str, ...]] = Field(min_length=2, description="class: its words")
    templates: tuple[str, ...] = Field((PLACE,), min_length=1, description="{} is a class's words")
    top_tiles: int = Field(50, ge=0, description="tiles of a class's slide score; 0: all")
    temperature: float | None = Field(
        None, gt=0, description="of softmax; by default the text tower's own"
    )

    @field_validator("classes")
    @classmethod
    def _words(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name, words in value.items():
            if not words or not all(text.strip() for text in words):
                raise ValueError(f"class {name} needs words")
        return value

    @field_validator("templates")
    @classmethod
    def _place(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for template in value:
            if template.count(PLACE) != 1:
                raise ValueError(f"template {template!r} must hold {PLACE} once")
        return value

    def prompts(self, name: str) -> list[str]:
        """Every prompt of a class: each of its words in each template."""
        return [t.replace(PLACE, words) for words in self.classes[name] for t in self.templates]


def load_prompts(path: Path) -> PromptSet:
    """Read and validate a prompt set.

    Raises
    ------
    PathaiError
        E190 naming file, key and the nearest known key.
    """
    data = read_yaml(path, "E190")
    if not isinstance(data, dict):
        raise PathaiError(
            "E190", f"{path.name}: expected keys and values", "see docs/slide-level.md"
        )
    try:
        return PromptSet.model_validate({"name": path.stem, **data})
    except ValidationError as error:
        raise explain(error, path.name, PromptSet, "E190") from None
