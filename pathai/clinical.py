"""Clinical context of a case: a few structured items, and a note that is only ever quoted.

Items are of closed lists and ranges, so no name, date of birth or record number has a place here.
The note is data: it is cleaned, never interpreted, never given to a language model, and shown only
as a quotation.
"""

import unicodedata
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pathai.errors import PathaiError
from pathai.finding import Context

MOST_BYTES = 65_536
MOST_LETTERS = 2_000
"""Characters of a note, once it is cleaned."""
UNITS = {"psa_ng_ml": "ng/mL"}
DROPPED = ("Cc", "Cf", "Cs", "Co", "Cn")
"""Unicode categories that a note may not hold: control and direction marks, and no characters."""


class Clinical(BaseModel):
    """A ``clinical/<case_id>.yaml``; every item may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    schema_version: Literal[1] = 1
    age_band: (
        Literal["0-17", "18-29", "30-39", "40-49", "50-59", "60-69", "70-79", "80+"] | None
    ) = Field(None, description="years")
    psa_ng_ml: float | None = Field(None, ge=0, le=100_000, description="ng/mL, before the biopsy")
    prior_diagnosis: (
        Literal[
            "none",
            "benign",
            "atypical",
            "in_situ_carcinoma",
            "prostate_carcinoma",
            "breast_carcinoma",
            "colorectal_carcinoma",
            "other_malignancy",
            "unknown",
        ]
        | None
    ) = Field(None, description="of the same organ, or the last one known")
    specimen: Literal["prostate", "breast", "colorectum", "lymph_node", "other"] | None = Field(
        None, description="organ"
    )
    procedure: (
        Literal[
            "needle_core_biopsy",
            "endoscopic_biopsy",
            "polypectomy",
            "transurethral_resection",
            "excision",
            "resection",
            "other",
        ]
        | None
    ) = Field(None, description="how it was taken")
    note: str | None = Field(None, description="free text, quoted word for word and nothing more")


def read_clinical(path: Path) -> tuple[Context, ...]:
    """Items of a case's clinical context, numbered C1, C2, ... in the order of `Clinical`.

    Parameters
    ----------
    path : Path
        ``<case_id>.yaml``; no such file is no context.

    Raises
    ------
    PathaiError
        E205 naming the item that is wrong, or what the file is.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise PathaiError("E205", f"{path.name}: {error.strerror}") from None
    if len(data) > MOST_BYTES:
        raise PathaiError("E205", f"{path.name} has more than {MOST_BYTES:,} bytes")
    return contexts(_parsed(data, path.name), path.name)


def _parsed(data: bytes, name: str) -> Any:
    try:
        return yaml.safe_load(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise PathaiError("E205", f"{name} is not UTF-8 text") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f", line {line + 1}"
        raise PathaiError("E205", f"{name}{where}: not YAML") from None


def contexts(data: Any, name: str = "clinical.yaml") -> tuple[Context, ...]:
    """Items of a mapping as `read_clinical` gives them.

    Raises
    ------
    PathaiError
        E205 naming the item that is wrong.
    """
    if not isinstance(data, dict):
        raise PathaiError("E205", f"{name} holds no items")
    try:
        found = Clinical.model_validate(data)
    except (ValidationError, RecursionError) as error:
        raise PathaiError("E205", f"{name}: {_first(error)}") from None
    items = found.model_dump(exclude={"schema_version"}, exclude_none=True)
    if "note" in items:
        items["note"] = cleaned(items["note"], name)
        if not items["note"]:
            del items["note"]
    return tuple(
        Context(id=f"C{number}", key=key, value=_text(value), unit=UNITS.get(key, ""))
        for number, (key, value) in enumerate(items.items(), start=1)
    )


def _first(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return "nested too deeply"
    first = error.errors(include_url=False, include_input=False)[0]
    # The key may be anything that was typed; it is shown as printable ASCII and cut.
    where = ascii(str(first["loc"][0]) if first["loc"] else "items")[1:-1][:60]
    return f"{where}: {first['msg']}"


def _text(value: Any) -> str:
    """A number without an exponent, which a reader takes for a name."""
    return f"{Decimal(f'{value:.10g}').normalize():f}" if isinstance(value, float) else str(value)


def cleaned(text: str, name: str = "clinical.yaml") -> str:
    """A note as it may be quoted: NFKC, one line, no control or direction marks.

    Raises
    ------
    PathaiError
        E205 if more than 2,000 characters are left.
    """
    plain = "".join(
        " " if c in "\n\r\t\v\f\x85\u2028\u2029" else c for c in unicodedata.normalize("NFKC", text)
    )
    plain = "".join(c for c in plain if unicodedata.category(c) not in DROPPED)
    # Leaving marks out may bring letters together that compose.
    plain = " ".join(unicodedata.normalize("NFKC", plain).split())
    if len(plain) > MOST_LETTERS:
        raise PathaiError(
            "E205", f"{name}: note has {len(plain):,} characters, at most {MOST_LETTERS:,} fit"
        )
    return plain
