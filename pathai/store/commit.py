"""Committing a stage: parts first, then renamed, the manifest last.

A killed stage leaves ``*.part`` or outputs without a manifest; both are cleared and redone. Only a
journal, which says itself how far it can be trusted, is left for the stage to go on from. A stage
that fails *as a slide* leaves a ``failed`` manifest and no output.
"""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from pathai import __version__
from pathai.errors import PathaiError
from pathai.store.manifest import (
    BLOCK,
    READABLE,
    SUFFIX,
    Manifest,
    Problem,
    Status,
    canonical,
    complete,
    files_below,
    list_files,
    read_manifest,
    storage_error,
    taken,
    told_room,
    write_manifest,
)


class Skipped(PathaiError):
    """Nothing to do for this subject (no tissue): listed, not a failure."""


@dataclass(frozen=True)
class Key:
    """What a result is made of; when it is unchanged, nothing is redone.

    Parameters
    ----------
    stage : str
        Name of the stage.
    version : int
        Raised by a developer when the stage's output changes.
    config_digest : str
        Digest of the stage's section (and of what else decides the result).
    outputs : tuple of str
        Names that the stage may write beside its manifest.
    source : dict
        Size and modification time of the slide file, for ingest alone.
    """

    stage: str
    version: int
    config_digest: str
    outputs: tuple[str, ...]
    source: dict[str, int] = field(default_factory=dict)

    def made_from(self, parents: dict[str, str]) -> str:
        """SHA-256 over all that decides the result, the parents' digests among it."""
        whole = [self.stage, self.version, self.config_digest, self.source, parents]
        return sha256(canonical(whole)).hexdigest()


class Commit:
    """Where a running stage writes, and what it has to say.

    ``part("tiles.zarr")`` gives the path to write; the final name is given at the end.

    Parameters
    ----------
    base : Path
        Folder and name of the result.
    outputs : tuple of str
        Names that may be written.
    made_from : str
        Digest of the key and the parents: what a journal must name to be gone on with.
    """

    def __init__(self, base: Path, outputs: tuple[str, ...], made_from: str = "") -> None:
        self.folder = base.parent
        self.made_from = made_from
        self._outputs = outputs
        self._parts: dict[str, Path] = {}
        self._records: dict[str, Path] = {}
        self.problems: list[tuple[str, str, str]] = []

    def part(self, name: str) -> Path:
        """Path under which to write the output ``name`` (a file or a folder)."""
        return self._claim(self._parts, name)

    def record(self, name: str) -> Path:
        """Like ``part``, for times and machine figures that stay outside the digest."""
        return self._claim(self._records, name)

    def journal(self, name: str) -> Path:
        """File for the rows of the output ``name`` so far; it outlives a kill, not the commit."""
        part = self.folder / f"{name}.rows.part"
        if name not in self._outputs:
            raise ValueError(f"{name} is not among the stage's outputs {self._outputs}")
        part.parent.mkdir(parents=True, exist_ok=True)
        return part

    def _claim(self, kind: dict[str, Path], name: str) -> Path:
        if name not in self._outputs:
            raise ValueError(f"{name} is not among the stage's outputs {self._outputs}")
        path = self.folder / f"{name}.part"
        path.parent.mkdir(parents=True, exist_ok=True)
        kind[name] = path
        return path

    def degrade(self, code: str, message: str, remedy: str = "") -> None:
        """Record that part of the subject could not be used; the result stands as degraded."""
        error = PathaiError(code, message, remedy)
        self.problems.append((error.code, error.message, error.remedy))

    def finish(self) -> tuple[list[Path], list[Path]]:
        """Give every part its final name; return outputs and records."""
        try:
            renamed = tuple(
                [self._rename(name, part) for name, part in sorted(kind.items())]
                for kind in (self._parts, self._records)
            )
            for name in self._outputs:
                remove(self.journal(name))
            return renamed  # type: ignore[return-value]
        except OSError as error:
            raise storage_error(error) from None

    def _rename(self, name: str, part: Path) -> Path:
        final = self.folder / name
        remove(final)
        return part.rename(final)

    def written(self) -> int:
        """Bytes that every part and journal takes so far."""
        parts = [*self._parts.values(), *self._records.values()]
        parts += [self.folder / f"{name}.rows.part" for name in self._outputs]
        return sum(taken(file) for part in parts for file in files_below(part))

    def abandon(self) -> None:
        """Remove every part and journal."""
        for part in [*self._parts.values(), *self._records.values()]:
            remove(part)
        for name in self._outputs:
            remove(self.journal(name))


def remove(path: Path) -> None:
    """Delete a file or folder if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def link_to(target: Path, link: Path) -> None:
    """Let ``link`` stand for a file of the results: there is no second copy to keep or to erase.

    A missing target gives an empty file; a file system without links gives a copy.
    """
    link.parent.mkdir(parents=True, exist_ok=True)
    remove(link)
    if not target.is_file():
        link.touch()
        return
    try:
        link.symlink_to(os.path.relpath(target, link.parent))
    except OSError:
        shutil.copyfile(target, link)


def manifest_path(base: Path) -> Path:
    """``folder/tile`` -> ``folder/tile.manifest.json``."""
    return base.with_name(base.name + SUFFIX)


def current(base: Path, key: Key, parents: dict[str, str]) -> Manifest | None:
    """The manifest of a finished result made from just this, or None."""
    try:
        manifest = read_manifest(manifest_path(base))
    except PathaiError:
        return None
    wanted = (key.version, key.config_digest, parents, key.source)
    return manifest if manifest.key == wanted and complete(base.parent, manifest) else None


def run_stage(
    base: Path,
    subject: str,
    key: Key,
    parents: dict[str, Path],
    work: Callable[[Commit], None],
    *,
    tolerant: bool = False,
) -> Manifest:
    """Do ``work`` unless its result is current, and commit it.

    Parameters
    ----------
    base : Path
        Folder and name of the result; the manifest is ``<base>.manifest.json``.
    subject : str
        Slide, case or task id, named in every message.
    key : Key
        What the result depends on beside its parents.
    parents : dict
        Name to base of each parent result.
    work : callable
        Writes through the Commit; raises PathaiError to fail, Skipped to skip the subject.
    tolerant : bool
        Work also on failed or skipped parents (findings and cohort report them).

    Returns
    -------
    Manifest
        Of the result, current or new. A parent's failure is passed on.

    Raises
    ------
    PathaiError
        E164 when a parent was never made, E160/E161 when results cannot be written, E177 when a
        scheduler that was to help does not answer.
    """
    manifests = {name: _parent(subject, name, path) for name, path in parents.items()}
    digests = {name: manifest.digest for name, manifest in manifests.items()}
    found = current(base, key, digests)
    if found is not None:
        return found
    bad = [m for m in manifests.values() if m.status not in READABLE]
    _clear(base, key, journals=bool(bad) and not tolerant)
    out = Commit(base, key.outputs, key.made_from(digests))
    if bad and not tolerant:
        return _seal(base, subject, key, digests, bad[0].status, bad[0].problems, out)
    failure = _attempt(work, out, subject, key)
    if failure is not None:
        return _seal(base, subject, key, digests, *failure, Commit(base, ()))
    inherited = tuple(p for m in manifests.values() if m.status == "degraded" for p in m.problems)
    own = tuple(
        Problem(code=c, message=f"{subject}: {m}", remedy=r, stage=key.stage)
        for c, m, r in out.problems
    )
    problems = tuple(dict.fromkeys(inherited + own)) if not tolerant else own
    return _seal(base, subject, key, digests, "degraded" if problems else "ok", problems, out)


def _attempt(
    work: Callable[[Commit], None], out: Commit, subject: str, key: Key
) -> tuple[Status, tuple[Problem, ...]] | None:
    """Do the work; what made the subject fail or be skipped, or None when it is done."""
    try:
        work(out)
    except PathaiError as error:
        if error.code == "E177":  # of no slide: its journal is gone on with once it answers again
            raise
        needed = out.written() + BLOCK
        out.abandon()
        if error.code in ("E160", "E161"):
            raise told_room(error, out.folder, needed) from None
        return "skipped" if isinstance(error, Skipped) else "failed", (
            _problem(error.about(subject), key),
        )
    except OSError as error:
        needed = out.written() + BLOCK
        out.abandon()
        raise told_room(storage_error(error), out.folder, needed) from None
    return None


def _problem(error: PathaiError, key: Key) -> Problem:
    return Problem(code=error.code, message=error.message, remedy=error.remedy, stage=key.stage)


def _parent(subject: str, name: str, base: Path) -> Manifest:
    path = manifest_path(base)
    if not path.exists():
        message = f"{subject}: no result of {name} yet ({path.parent.name}/{path.name})"
        raise PathaiError("E164", message, "run the stage before it, or pathai run")
    return read_manifest(path)


def _seal(
    base: Path,
    subject: str,
    key: Key,
    parents: dict[str, str],
    status: Status,
    problems: tuple[Problem, ...],
    out: Commit,
) -> Manifest:
    outputs, records = out.finish()
    manifest = Manifest(
        stage=key.stage,
        subject=subject,
        status=status,
        problems=problems,
        stage_version=key.version,
        config_digest=key.config_digest,
        parents=parents,
        files=list_files(base.parent, outputs),
        records=list_files(base.parent, records),
        source=key.source,
        pathai_version=__version__,
    )
    try:
        write_manifest(manifest_path(base), manifest)
    except PathaiError:  # a full disk: without its manifest nothing may carry a final name
        for made in (*outputs, *records):
            remove(made)
        raise
    return manifest


def _clear(base: Path, key: Key, *, journals: bool) -> None:
    """Remove what an earlier, stale or killed run of this stage left."""
    base.parent.mkdir(parents=True, exist_ok=True)
    manifest_path(base).unlink(missing_ok=True)
    for name in key.outputs:
        remove(base.parent / name)
        remove(base.parent / f"{name}.part")
        if journals:
            remove(base.parent / f"{name}.rows.part")


def fail(base: Path, subject: str, key: Key, parents: dict[str, Path], error: PathaiError) -> None:
    """Write a ``failed`` manifest for a job that was killed beyond its retries."""
    _clear(base, key, journals=True)
    problem = _problem(error.about(subject), key)
    paths = {name: manifest_path(path) for name, path in parents.items()}
    digests = {name: read_manifest(path).digest for name, path in paths.items() if path.exists()}
    _seal(base, subject, key, digests, "failed", (problem,), Commit(base, ()))
