"""The record of a run as an RO-Crate that follows the Process Run Crate profile.

``ro-crate-metadata.json`` lies beside the results, not among them: it holds times, which no digest
of results may depend on. It names ids of the lab, versions and digests: no text of a slide, no
path outside of the run's folder, no person.

References
----------
Leo S, Crusoe MR, Rodríguez-Navas L, et al. Recording provenance of workflow runs with RO-Crate.
PLOS ONE 19(9):e0309210, 2024. doi:10.1371/journal.pone.0309210
"""

import json
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pathai import __version__
from pathai.plan import Plan
from pathai.provenance.made import Made, made, weights_of
from pathai.store.bundle import SUMS
from pathai.store.manifest import READABLE, canonical, hash_file, write_atomic

CRATE = "ro-crate-metadata.json"
SPEC = "https://w3id.org/ro/crate/1.1"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
CONTEXT = [f"{SPEC}/context", "https://w3id.org/ro/terms/workflow-run/context"]
PACKAGES = ("numpy", "scipy", "scikit-image", "zarr", "torch", "timm", "openslide-python",
            "tiffslide", "snakemake")  # fmt: skip
OF_SHEET = ("ingest", "train", "findings", "cohort")
"""Stages that read the sheet."""
TERMS = "#terms"
FORMATS = {
    ".json": "application/json",
    ".html": "text/html",
    ".md": "text/markdown",
    ".tsv": "text/tab-separated-values",
    ".csv": "text/csv",
    ".pdf": "application/pdf",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".dcm": "application/dicom",
    ".icc": "application/vnd.iccprofile",
}
"""Media types of what stages write."""
Entity = dict[str, Any]


def write_crate(plan: Plan) -> Path:
    """Write ``ro-crate-metadata.json`` of a run (E160 or E161 if the disk refuses)."""
    path = plan.root / CRATE
    write_atomic(path, canonical(crate(plan)))
    return path


def crate(plan: Plan) -> dict[str, Any]:
    """The record of everything that a run holds now.

    Parameters
    ----------
    plan : Plan
        The run; results that failed are recorded as failed.

    Returns
    -------
    dict
        RO-Crate 1.1 as JSON-LD: one ``CreateAction`` per result, with what it was made from
        (parents, configuration, SHA-256 of the slide, weights) and what it made.
    """
    graph = _Graph(plan)
    graph.software()
    config = graph.file(plan.config_path, "configuration of the run", "application/yaml")
    sheet = graph.file(
        plan.root / plan.config.sheet, "sheet of slides", "text/tab-separated-values"
    )
    for folder in sorted({model.folder for model in plan.models}):
        graph.model(folder)
    found = list(made(plan))
    graph.results(found)
    for one in found:
        graph.action(one, [config, sheet] if one.manifest.stage in OF_SHEET else [config])
    return {"@context": CONTEXT, "@graph": graph.closed(found)}


def _ref(name: str) -> Entity:
    return {"@id": name}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


class _Graph:
    """Entities by their id, in the order in which they were first told of."""

    def __init__(self, plan: Plan) -> None:
        self.root = plan.root
        self.title = plan.config.cohort.title
        self.entities: dict[str, Entity] = {}
        self.parts: list[str] = []
        self.actions: list[str] = []
        self.by_digest: dict[str, str] = {}

    def add(self, place: str, kind: str, **fields: Any) -> Entity:
        """Tell of something once; what is told again is the same."""
        self.entities.setdefault(place, {"@id": place, "@type": kind, **fields})
        return _ref(place)

    def part(self, place: str, kind: str, **fields: Any) -> Entity:
        """A file or folder of the crate."""
        if place not in self.entities:
            self.parts.append(place)
        return self.add(place, kind, **fields)

    def value(self, name: str, about: str, digest: str) -> Entity:
        """Something that is not in the crate, by its SHA-256."""
        return self.add(name, "PropertyValue", name=about, propertyID="sha256", value=digest)

    def file(self, path: Path, about: str, kind: str) -> Entity:
        """A file a person gave; outside of the run's folder only its SHA-256 is told."""
        record = hash_file(path)
        if not path.resolve().is_relative_to(self.root.resolve()):
            return self.value(f"#{about.split()[0]}", about, record.sha256)
        name = path.relative_to(self.root).as_posix()
        size = str(record.size)
        return self.part(
            name, "File", name=about, encodingFormat=kind, contentSize=size, sha256=record.sha256
        )

    def software(self) -> None:
        """Programs and libraries, with versions."""
        needed = [
            self.add(url, "SoftwareApplication", name=n, softwareVersion=v, url=url)
            for n, v, url in _installed()
        ]
        self.add(
            f"#pathai-{__version__}",
            "SoftwareApplication",
            name="pathai",
            softwareVersion=__version__,
            license=_ref("https://spdx.org/licenses/Apache-2.0"),
            softwareRequirements=needed,
        )
        self.add("https://spdx.org/licenses/Apache-2.0", "CreativeWork", name="Apache License 2.0")

    def model(self, folder: Path) -> None:
        """A bundle: a folder of the crate, or of elsewhere by the SHA-256 of its list of files."""
        try:
            digest = sha256((folder / SUMS).read_bytes()).hexdigest()
        except OSError:
            return
        if folder.resolve().is_relative_to(self.root.resolve()):
            name = f"{folder.relative_to(self.root).as_posix()}/"
            about = f"model {folder.name}"
            self.part(name, "Dataset", name=about, identifier=f"sha256:{digest}")
        self.value(f"#weights-{digest[:12]}", f"model {folder.name}", digest)

    def results(self, found: Iterable[Made]) -> None:
        """Manifests and what they list; a child names its parents by the digest of contents."""
        for one in found:
            told = f"{one.manifest.stage} of {one.manifest.subject}"
            record = hash_file(self.root / one.file)
            self.part(
                one.file,
                "File",
                name=f"manifest: {told}",
                encodingFormat="application/json",
                contentSize=str(record.size),
                sha256=record.sha256,
                identifier=f"sha256:{one.manifest.digest}",
            )
            self.by_digest[one.manifest.digest] = one.file
            listed = {**one.manifest.files, **one.manifest.records}
            folder = one.file.rpartition("/")[0]
            for output in one.outputs:
                fields: dict[str, str] = {}
                if not output.endswith("/"):
                    known = listed[output.removeprefix(f"{folder}/")]
                    kind = FORMATS.get(Path(output).suffix, "application/octet-stream")
                    fields = {"contentSize": str(known.size), "sha256": known.sha256}
                    fields["encodingFormat"] = kind
                kind = "Dataset" if output.endswith("/") else "File"
                self.part(
                    output, kind, name=f"{output.rstrip('/').split('/')[-1]}: {told}", **fields
                )

    def action(self, one: Made, given: list[Entity]) -> None:
        """One stage for one subject."""
        manifest = one.manifest
        done = manifest.status in (*READABLE, "skipped")
        name = f"#{one.place}"
        first = manifest.problems[0] if manifest.problems else None
        fields: dict[str, Any] = {}
        if first is not None:
            fields["error" if not done else "disambiguatingDescription"] = (
                f"{first.code}: {first.message}"
            )
        self.add(
            name,
            "CreateAction",
            name=f"{manifest.stage} of {manifest.subject}",
            description=f"Stage {manifest.stage} of {manifest.subject} ended: {manifest.status}",
            instrument=self._tool(one),
            object=[*given, *self._inputs(one)],
            result=[_ref(one.file), *(_ref(output) for output in one.outputs)],
            endTime=_time(one.ended),
            actionStatus=f"http://schema.org/{'Completed' if done else 'Failed'}ActionStatus",
            **fields,
        )
        self.actions.append(name)

    def _tool(self, one: Made) -> Entity:
        stage, made_by = one.manifest.stage, one.manifest.pathai_version
        name = f"#pathai-{made_by}-{stage}-{one.manifest.stage_version}"
        whole = self.add(
            f"#pathai-{made_by}", "SoftwareApplication", name="pathai",
            softwareVersion=made_by,
        )  # fmt: skip
        return self.add(
            name,
            "SoftwareApplication",
            name=f"pathai {stage}",
            softwareVersion=f"{made_by}, stage version {one.manifest.stage_version}",
            isPartOf=whole,
        )

    def _inputs(self, one: Made) -> list[Entity]:
        inputs = []
        for parent, digest in sorted(one.manifest.parents.items()):
            known = self.by_digest.get(digest)
            about = f"{parent} as it was then; it is not here now"
            inputs.append(
                _ref(known) if known else self.value(f"#result-{digest[:12]}", about, digest)
            )
        slide = self._slide(one)
        inputs += [slide] if slide else []
        for name, digest in weights_of(self.root, one):
            inputs.append(self.value(f"#weights-{digest[:12]}", f"weights of {name}", digest))
        settings = one.manifest.config_digest
        about = f"settings of stage {one.manifest.stage}"
        inputs.append(self.value(f"#settings-{settings[:12]}", about, settings))
        return inputs

    def _slide(self, one: Made) -> Entity | None:
        """The slide file that ingest read, by its SHA-256: never its name nor its place."""
        path = self.root / one.file.rpartition("/")[0] / "slide.json"
        if one.manifest.stage != "ingest" or not path.is_file():
            return None
        try:
            digest = str(json.loads(path.read_bytes())["sha256"])
        except (ValueError, KeyError):
            return None
        subject = one.manifest.subject
        return self.value(f"#slide-{subject}", f"slide file {subject}", digest)

    def closed(self, found: list[Made]) -> list[Entity]:
        """The whole graph with its two fixed entities in front."""
        newest = max((one.ended for one in found), default=0.0)
        self.add(
            TERMS,
            "CreativeWork",
            name="terms of use",
            description="Research use only. The lab that ran it decides who may see it.",
        )
        head = {
            "@id": CRATE,
            "@type": "CreativeWork",
            "conformsTo": _ref(SPEC),
            "about": _ref("./"),
        }
        root = {
            "@id": "./",
            "@type": "Dataset",
            "conformsTo": _ref(PROFILE),
            "name": self.title,
            "description": f"A run of pathai with {len(found)} results: each with what made it, "
            "from what, and what came of it.",
            "datePublished": _time(newest),
            "license": _ref(TERMS),
            "hasPart": [_ref(name) for name in self.parts],
            "mentions": [_ref(name) for name in self.actions],
        }
        profile = {
            "@id": PROFILE,
            "@type": "CreativeWork",
            "name": "Process Run Crate",
            "version": "0.5",
        }
        return [head, root, profile, *self.entities.values()]


def _installed() -> list[tuple[str, str, str]]:
    """Name, version and address of Python and of the libraries that results depend on."""
    found = [("python", platform.python_version(), "https://www.python.org/")]
    for name in PACKAGES:
        try:
            found.append((name, version(name), f"https://pypi.org/project/{name}/"))
        except PackageNotFoundError:
            continue
    return found
