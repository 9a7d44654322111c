"""What a signature binds: ``signed-<n>.json``."""

from typing import Literal

from pydantic import ValidationError

from pathai.errors import PathaiError
from pathai.finding import Frozen, canonical
from pathai.report.life.changes import Changes
from pathai.report.records import Draft


class Acknowledged(Frozen):
    """An open item that a person took responsibility for."""

    item: str
    reader: str
    reason: str
    time: str


class Deleted(Frozen):
    """A statement that a person took out; its finding stays among the findings."""

    finding: str
    text: str
    reader: str
    reason: str


class SignedReport(Frozen):
    """A signed report as data; the documents beside it are printed from it.

    ``reader`` and ``role`` are what the person said of themselves: an assertion, no qualified
    electronic signature. ``head`` is the chain's head just before the signature.
    """

    schema_version: Literal[1] = 1
    case_id: str
    version: int
    state: Literal["signed", "amended"]
    reader: str
    role: str
    time: str
    reason: str = ""
    amends: str = ""
    """SHA-256 of the signed record before this one."""
    findings_file: str
    findings_digest: str
    machine_draft_digest: str
    draft: Draft
    head: str
    acknowledged: tuple[Acknowledged, ...] = ()
    deleted: tuple[Deleted, ...] = ()
    changes: Changes

    def data(self) -> bytes:
        """The bytes that are stored; the trail names their SHA-256."""
        return canonical(self).encode() + b"\n"


def load_signed(data: bytes) -> SignedReport:
    """Read a signed report (E207 if it is damaged)."""
    try:
        return SignedReport.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PathaiError("E207", f"signed report: {where}: {first['msg']}") from None
