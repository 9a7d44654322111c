"""Manifests: what a stage wrote, from what, and whether every byte is still there.

A manifest is canonical JSON that carries the SHA-256 of itself, so a changed byte in it is
found like a changed byte in a file that it lists. Its ``digest`` covers what was made and from
what, not the pathai version nor the records, so an upgrade redoes nothing.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import file_digest, sha256
from pathlib import Path
from shutil import disk_usage
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from pathai.errors import PathaiError

SCHEMA_VERSION = 1
SUFFIX = ".manifest.json"
Status = Literal["ok", "degraded", "skipped", "failed"]
READABLE: tuple[Status, ...] = ("ok", "degraded")
BLOCK = 4096
"""Disks give room in such pieces."""
SHARD_BYTES = 2**22
"""Larger files are shards of pixels, or data whose every byte is for verify."""


class Problem(BaseModel):
    """Why a subject is degraded, skipped or failed."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    code: str
    message: str
    remedy: str
    stage: str

    def error(self) -> PathaiError:
        """The problem as an exception."""
        return PathaiError(self.code, self.message, self.remedy)


class FileRecord(BaseModel):
    """Size in bytes and SHA-256 of one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    size: int
    sha256: str


class Manifest(BaseModel):
    """What one stage made of one subject.

    ``files`` enter the digest; ``records`` (times, machine figures) are checked by verify but
    stay outside of it. ``source`` identifies the file a slide was read from by size and time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: int = SCHEMA_VERSION
    stage: str
    subject: str
    status: Status
    problems: tuple[Problem, ...] = ()
    stage_version: int
    config_digest: str
    parents: dict[str, str]
    files: dict[str, FileRecord]
    records: dict[str, FileRecord] = {}
    source: dict[str, int] = {}
    pathai_version: str

    @property
    def key(self) -> tuple[int, str, dict[str, str], dict[str, int]]:
        """What decides whether the result is current."""
        return self.stage_version, self.config_digest, self.parents, self.source

    @property
    def not_applicable(self) -> bool:
        """Whether a task was not asked, as it is not for this stain: no problem of the slide."""
        codes = {(p.stage, p.code) for p in self.problems}
        return self.status == "skipped" and codes == {("predict", "E142")}

    @property
    def digest(self) -> str:
        """SHA-256 over the contents: status, what it was made from, and every file."""
        kept = self.model_dump(mode="json", exclude={"records", "source", "pathai_version"})
        return sha256(canonical(kept)).hexdigest()


def canonical(value: Any) -> bytes:
    """JSON with sorted keys, one layout, ASCII, final newline: same value, same bytes."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=True, allow_nan=False)
    return text.encode() + b"\n"


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file under ``NAME.part`` and rename it.

    Raises
    ------
    PathaiError
        E161 when the disk is full, E160 when the folder cannot be written.
    """
    import os

    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        with suppress(OSError):  # the folder may be what cannot be written
            part.unlink(missing_ok=True)
        raise told_room(storage_error(error), path.parent, len(data)) from None


def taken(path: Path) -> int:
    """Bytes that a file takes on its disk."""
    seen = path.stat()
    return getattr(seen, "st_blocks", -(-seen.st_size // 512)) * 512


class NoRoom(PathaiError):
    """E161 that tells what is needed and what is free."""


def told_room(error: PathaiError, folder: Path, needed: int) -> PathaiError:
    """Add to an E161 how many bytes are needed at least, and free below ``folder`` now."""
    if error.code != "E161" or isinstance(error, NoRoom):
        return error
    try:
        free = f"{_size(disk_usage(folder).free)} free"
    except OSError:
        free = "free room unknown"
    told = f"{error.message} (at least {_size(needed)} needed, {free})"
    return NoRoom(error.code, told, error.remedy)


def no_room(error: Exception) -> PathaiError | None:
    """E161 for an error of a full disk that no writer of results has met, else None."""
    told = storage_error(error) if isinstance(error, OSError) else None
    if told is None or told.code != "E161":
        return None
    name = error.filename if isinstance(error, OSError) else None
    return told_room(told, Path(name).parent, BLOCK) if isinstance(name, str) else told


def _size(count: int) -> str:
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{-(-count // 2**10)} KiB"


def storage_error(error: OSError) -> PathaiError:
    """E161 for a full disk or quota, else E160; the path stays out of the message."""
    from errno import EDQUOT, EFBIG, ENOSPC

    code = "E161" if error.errno in (ENOSPC, EDQUOT, EFBIG) else "E160"
    return PathaiError(code, f"writing results failed: {error.strerror or error}")


def hash_file(path: Path) -> FileRecord:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        return FileRecord(size=path.stat().st_size, sha256=file_digest(file, "sha256").hexdigest())


def files_below(path: Path) -> Iterator[Path]:
    """Every file at or below ``path``, sorted."""
    if path.is_dir():
        yield from sorted(p for p in path.rglob("*") if not p.is_dir())
    elif path.exists():
        yield path


def list_files(folder: Path, outputs: Iterable[Path]) -> dict[str, FileRecord]:
    """Record of every file of the outputs, keyed by POSIX path relative to ``folder``."""
    files = (file for output in outputs for file in files_below(output))
    return {file.relative_to(folder).as_posix(): hash_file(file) for file in files}


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest with the SHA-256 of itself; it is the last file of a stage."""
    body = manifest.model_dump(mode="json")
    write_atomic(path, canonical({**body, "sha256": sha256(canonical(body)).hexdigest()}))


def read_manifest(path: Path) -> Manifest:
    """Read a manifest, refusing one with a changed byte.

    Raises
    ------
    PathaiError
        E164 when it is missing or damaged, E165 when another schema version wrote it.
    """
    try:
        raw = path.read_bytes()
    except OSError:
        raise PathaiError("E164", f"{path.name} is missing", "run pathai run") from None
    try:
        body = json.loads(raw)
        seal = body.pop("sha256")
        intact = raw == canonical({**body, "sha256": seal})
        intact = intact and seal == sha256(canonical(body)).hexdigest()
        if intact and body["schema_version"] != SCHEMA_VERSION:
            raise PathaiError("E165", f"{path.name}: schema version {body['schema_version']}")
        manifest = Manifest.model_validate(body)
    except (ValueError, KeyError, AttributeError, TypeError, ValidationError):
        raise PathaiError("E164", f"{path.name} is damaged") from None
    if not intact:
        raise PathaiError("E164", f"{path.name} is damaged")
    return manifest


def intact(folder: Path, manifest: Manifest) -> bool:
    """Whether every listed file is, byte by byte, what was written."""
    if not complete(folder, manifest):
        return False
    listed = {**manifest.files, **manifest.records}
    return all(hash_file(folder / name) == record for name, record in listed.items())


def complete(folder: Path, manifest: Manifest) -> bool:
    """Whether every listed file is there with its size (hashes are for verify)."""
    for name, record in {**manifest.files, **manifest.records}.items():
        try:
            if (folder / name).stat().st_size != record.size:
                return False
        except OSError:
            return False
    return True


def first_damaged(folder: Path, manifest: Manifest, *, chunks: bool) -> str:
    """First listed file that is gone, of another length, or of other bytes; empty if none is found.

    The bytes of descriptions (``*.json``) are always compared: they carry no checksum that a reader
    would see. Chunks carry one, but a chunk in the place of another one is whole; so who is to read
    all of them has ``chunks`` compared too, but for shards of many MiB.
    """
    for name, record in manifest.files.items():
        path = folder / name
        hashed = record.size <= SHARD_BYTES and (chunks or name.endswith(".json"))
        try:
            sound = hash_file(path) == record if hashed else path.stat().st_size == record.size
        except OSError:
            sound = False
        if not sound:
            return name
    return ""
