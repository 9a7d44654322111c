"""One stage for one subject, ready to be run or asked whether it is current."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pathai.config import Section
from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.source import Place
from pathai.store.commit import Commit, Key, current, fail, manifest_path, run_stage
from pathai.store.manifest import Manifest, canonical, read_manifest


@dataclass(frozen=True)
class Step:
    """One stage for one subject, ready to be run or asked whether it is current."""

    base: Path
    subject: str
    key: Key
    parents: dict[str, Path]
    work: Callable[[Commit], None]
    tolerant: bool = False
    file: Place | None = None
    """The slide's file, for the terminal alone."""

    def run(self) -> Manifest:
        """Do it unless it is current."""
        return run_stage(
            self.base, self.subject, self.key, self.parents, self.work, tolerant=self.tolerant
        )

    def manifest(self) -> Manifest | None:
        """The current manifest, or None when there is work to do."""
        try:
            digests = {n: read_manifest(manifest_path(p)).digest for n, p in self.parents.items()}
        except PathaiError:
            return None
        return current(self.base, self.key, digests)

    def mark(self, plan: Plan) -> Path:
        """File that exists while the step runs: what a killed job leaves names its subject."""
        return plan.state / "running" / self.key.stage / f"{self.subject}--{self.base.name}"

    def fail(self, error: PathaiError) -> None:
        """Record a job that was killed beyond its retries."""
        fail(self.base, self.subject, self.key, self.parents, error)


def digest_of(*parts: Any) -> str:
    """SHA-256 over everything that decides a result beside its parents."""
    dumped = [p.model_dump(mode="json") if isinstance(p, Section) else p for p in parts]
    return sha256(canonical(dumped)).hexdigest()
