"""Is every byte still there? Every manifest, every file and every parent below a folder.

A manifest carries the SHA-256 of itself and of every file that its stage wrote. What no
manifest lists does not belong there. So one flipped bit, one file too many and one too few are
all found, and the file is named.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path
from stat import S_ISREG
from typing import Any

from pathai.errors import CODES, PathaiError
from pathai.store.bundle import SUMS
from pathai.store.folders import slug
from pathai.store.manifest import SUFFIX, FileRecord, Manifest, read_manifest

BLOCK = 256
"""Files that a thread is given at a time: a million of them are small."""
THREADS = 4
"""Hashing releases the interpreter's lock, so threads keep disk and cores busy."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with one file; ``file`` is relative to the verified folder."""

    file: str
    code: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}; {self.remedy}"


@dataclass(frozen=True)
class Report:
    """Outcome of a verification."""

    manifests: int
    files: int
    bytes: int
    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def as_json(self) -> dict[str, Any]:
        """Ready for ``--json``."""
        return {"ok": self.ok, **asdict(self)}


def verify(path: Path) -> Report:
    """Check everything below a folder that manifests describe.

    Parameters
    ----------
    path : Path
        ``results/``, a slide's, a case's or the cohort's folder, or a folder of models.

    Returns
    -------
    Report
        ``faults`` sorted by file; empty when every byte is as it was written.

    Raises
    ------
    PathaiError
        E193 when there is no folder, or nothing in it: check the path. E162 when a folder below
        it cannot be listed.
    """
    if not path.is_dir():
        raise PathaiError("E193", f"{path.name or path} is not a folder", "give a results folder")
    try:
        found = sorted(_walk(str(path), ""))
    except OSError as error:
        raise PathaiError("E162", f"{path.name or path}: {error.strerror}") from None
    if not any(name.endswith((SUFFIX, "SHA256SUMS")) for name in found):
        raise PathaiError("E193", f"{path.name or path} holds no results", "give a results folder")
    if any((path / name).exists() for name in ("config.yaml", ".pathai")):
        message = f"{path.name or path} is the folder of a run"
        raise PathaiError("E193", message, "give its results or models folder")
    check = _Check(path, found)
    check.manifests()
    check.bundles()
    check.contents()
    check.strangers()
    check.parents()
    faults = tuple(sorted(check.faults, key=lambda f: (f.file, f.code, f.problem)))
    return Report(len(check.read), check.files, check.bytes, faults)


def _walk(folder: str, prefix: str) -> Iterator[str]:
    """Every file, link and odd thing below a folder, relative; links are not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name


class _Check:
    """One verification under way."""

    def __init__(self, root: Path, found: list[str]) -> None:
        self.root = root
        self.found = found
        self.read: dict[str, Manifest] = {}
        self.damaged: set[str] = set()
        self.sums: set[str] = set()
        self.expected: dict[str, tuple[FileRecord, str]] = {}
        self.faults: list[Fault] = []
        self.files = 0
        self.bytes = 0

    def fault(self, file: str, code: str, problem: str, remedy: str = "") -> None:
        self.faults.append(Fault(file, code, problem, remedy or CODES[code].remedy))

    def manifests(self) -> None:
        """Read each manifest and note what it lists."""
        for name in self.found:
            if not name.endswith(SUFFIX):
                continue
            path = self.root / name
            self.files += 1
            if not _plain(path):
                self.damaged.add(name)
                self.fault(name, "E164", "is not a plain file", "remove it, then run pathai run")
                continue
            try:
                self.read[name] = read_manifest(path)
            except PathaiError as error:
                self.damaged.add(name)
                remedy = error.remedy if error.code == "E165" else _AGAIN
                problem = "manifest is damaged" if error.code == "E164" else error.message
                self.fault(name, error.code, problem, remedy)
                continue
            self.bytes += path.stat().st_size
            manifest = self.read[name]
            if manifest.stage != "train" and manifest.subject not in path.absolute().parts:
                problem = f"belongs to {manifest.subject}, not here"
                self.fault(name, "E166", problem, "put it back, or remove it and run pathai run")
            folder = name.rpartition("/")[0]
            for file, record in {**manifest.files, **manifest.records}.items():
                self._expect(f"{folder}/{file}" if folder else file, record, name)

    def _expect(self, file: str, record: FileRecord, manifest: str) -> None:
        if file.startswith("/") or ".." in file.split("/"):
            self.fault(manifest, "E164", f"lists {file!r}, which lies elsewhere", _AGAIN)
        elif file in self.expected:
            other = self.expected[file][1]
            self.fault(manifest, "E164", f"lists {file}, and so does {other}", _AGAIN)
        else:
            self.expected[file] = record, manifest

    def bundles(self) -> None:
        """Models from elsewhere have no manifest; their ``SHA256SUMS`` stands in its place."""
        for name in self.found:
            folder, _, last = name.rpartition("/")
            if last != SUMS or name in self.expected:
                continue
            self.files += 1
            for line in (self.root / name).read_bytes().decode("utf-8", "replace").splitlines():
                digest, _, file = line.partition("  ")
                target = f"{folder}/{file}" if folder else file
                if len(digest) == 64 and file and "/" not in file:
                    self._expect(target, FileRecord(size=-1, sha256=digest), name)
                else:
                    self.fault(name, "E182", f"line {line[:80]!r} is damaged")
            self.sums.add(name)

    def contents(self) -> None:
        """Compare every listed file with its size and SHA-256."""
        present = set(self.found)
        names = sorted(self.expected)
        for name in names:
            if name not in present:
                by = self.expected[name][1]
                self.fault(name, "E164", f"is missing ({by} lists it)", _AGAIN)
        names = [name for name in names if name in present]
        blocks = [names[i : i + BLOCK] for i in range(0, len(names), BLOCK)]
        with ThreadPoolExecutor(THREADS) as pool:
            for block, found in zip(blocks, pool.map(self._read, blocks), strict=True):
                self.files += len(block)
                for name, (size, problem) in zip(block, found, strict=True):
                    self.bytes += size
                    if problem:
                        of_bundle = self.expected[name][1].endswith(SUMS)
                        code, remedy = ("E182", "") if of_bundle else ("E164", _AGAIN)
                        self.fault(name, code, problem, remedy)

    def _read(self, names: list[str]) -> list[tuple[int, str]]:
        """Size of each listed file, and what is wrong with it; size 0 if anything is."""
        return [self._differs(name) for name in names]

    def _differs(self, name: str) -> tuple[int, str]:
        wanted, by = self.expected[name]
        path = f"{self.root}/{name}"
        try:
            if not S_ISREG(os.lstat(path).st_mode):
                return 0, "is not a plain file"
            with open(path, "rb", buffering=0) as file:
                found = file_digest(file, "sha256").hexdigest()
                size = file.tell()
        except OSError as error:
            return 0, f"cannot be read: {error.strerror}"
        if wanted.size not in (-1, size):
            return 0, f"has {size} bytes, {wanted.size} were written"
        if found != wanted.sha256:
            seen, was = found[:12], wanted.sha256[:12]
            return 0, f"is changed: SHA-256 {seen}, {was} in {by.rpartition('/')[2]}"
        return size, ""

    def strangers(self) -> None:
        """Name what no manifest lists."""
        for name in self.found:
            if name in self.expected or name in self.read or name in self.damaged | self.sums:
                continue
            self.files += 1
            if any(part.endswith(".part") for part in name.split("/")):
                self.fault(name, "E164", "is left over from a job that was ended", _AGAIN)
            else:
                remedy = "move it away, or restore the manifest that listed it"
                self.fault(name, "E164", "is listed by no manifest", remedy)

    def parents(self) -> None:
        """Compare the parents' digests in each manifest with the parents as they are."""
        known: dict[tuple[str, str], set[str]] = {}
        for name, manifest in self.read.items():
            last = name.rpartition("/")[2].removesuffix(SUFFIX)
            for label in {manifest.stage, last}:
                known.setdefault((manifest.subject, label), set()).add(manifest.digest)
        hurt = {part for name in self.damaged for part in (self.root.absolute() / name).parts}
        for name, manifest in self.read.items():
            for parent, digest in sorted(manifest.parents.items()):
                subject, label = _place(manifest, parent)
                digests = known.get((subject, label), set())
                if digest in digests or subject in hurt:  # a damaged parent is named already
                    continue
                missing = self._missing(name, manifest, subject, label)
                if digests:
                    self.fault(name, "E166", f"was made from another {parent} than is here now")
                elif missing:
                    self.fault(missing, "E166", f"parent {parent} of {name} is missing", _AGAIN)

    def _missing(self, name: str, manifest: Manifest, subject: str, label: str) -> str:
        """File to name for a parent that is not here; nothing if it may lie elsewhere."""
        if manifest.stage == "train":  # models lie beside the results that they were made from
            return ""
        if subject != manifest.subject:
            home = f"slides/{subject}/" if (self.root / "slides").is_dir() else ""
        else:
            # .../<subject>/ingest.manifest.json or .../<subject>/cells/<detector>.manifest.json
            top = self.root.absolute()
            above = (top / name).parents
            own = next((folder for folder in above if folder.name == subject), None)
            inside = own is not None and own.is_relative_to(top)
            home = f"{own.relative_to(top).as_posix()}/" if own and inside else ""
        if not home:
            return ""
        certain = label in ("ingest", "tile", "findings")
        return f"{home.removeprefix('./')}{label}{SUFFIX}" if certain else name


_AGAIN = "pathai run --check makes it again"


def _place(manifest: Manifest, parent: str) -> tuple[str, str]:
    """Subject, and stage or plug-in, of a parent's name (``tile``, ``S1/tile``, ``S1``)."""
    if manifest.stage == "train":
        return parent, "features"
    subject, _, label = parent.rpartition("/")
    return subject or manifest.subject, slug(label)


def _plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
