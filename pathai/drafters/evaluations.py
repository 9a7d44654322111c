"""The register of language models that passed ``pathai report evaluate`` on this site.

One file per model, ``<digest>.json``, in the folder ``report.llm.evaluations``. An evaluation
holds for one digest and for the prompts that this version sends; anything else must be evaluated
anew, and until then each draft says so.
"""

import re
from hashlib import sha256
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pathai.drafters.base import SYSTEMS
from pathai.errors import PathaiError
from pathai.store.manifest import canonical, write_atomic

DIGEST = r"^(stated-)?[0-9a-f]{12,128}$"


class Evaluation(BaseModel):
    """What a model's evaluation gave; ``figures`` are the suites' own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    digest: str = Field(pattern=DIGEST)
    model: str
    passed: bool
    pathai: str
    prompts: str
    figures: dict[str, float] = Field(default_factory=dict)


def prompts_digest() -> str:
    """SHA-256 of everything that a model is told beside a plan's lines."""
    return sha256(canonical(SYSTEMS)).hexdigest()


def write_evaluation(
    folder: Path, digest: str, model: str, *, passed: bool, figures: dict[str, float]
) -> Path:
    """Register what an evaluation gave, passed or not; an earlier one is replaced.

    Raises
    ------
    PathaiError
        E201 for a model whose server states nothing to know it by.
    """
    if not re.match(DIGEST, digest):
        message = f"{model}: its server states no digest, so an evaluation cannot be tied to it"
        raise PathaiError("E201", message, "serve it by Ollama, vLLM or llama.cpp")
    from pathai import __version__

    made = Evaluation(
        digest=digest,
        model=model,
        passed=passed,
        pathai=__version__,
        prompts=prompts_digest(),
        figures=figures,
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{digest}.json"
    write_atomic(path, canonical(made.model_dump(mode="json")))
    return path


def is_evaluated(folder: Path, digest: str) -> bool:
    """Whether a model of this digest has passed with today's prompts; False if in doubt."""
    if not re.match(DIGEST, digest):
        return False
    try:
        found = Evaluation.model_validate_json((folder / f"{digest}.json").read_bytes())
    except (OSError, ValidationError):
        return False
    return found.passed and found.digest == digest and found.prompts == prompts_digest()
