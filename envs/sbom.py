"""Write what is installed as a CycloneDX bill of materials: `python envs/sbom.py -o sbom.json`.

Every distribution of the environment with version, licence, package URL, the SHA-256 of its own
list of files and what it depends on. Nothing is looked up: the same environment gives the same
bytes, with or without network. The layout is that of CycloneDX 1.6 (ECMA-424).
"""

import argparse
import json
import re
import sys
import uuid
from hashlib import sha256
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = "pathai"
NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # URLs (RFC 9562)


def installed() -> dict[str, Distribution]:
    """Distributions by canonical name; of two with one name the first on the path counts."""
    found: dict[str, Distribution] = {}
    for one in distributions():
        if one.metadata["Name"]:
            found.setdefault(canonicalize_name(one.metadata["Name"]), one)
    return dict(sorted(found.items()))


def purl(name: str, one: Distribution) -> str:
    """Package URL."""
    return f"pkg:pypi/{name}@{one.version.replace('+', '%2B')}"


def licences(one: Distribution) -> list[dict[str, Any]]:
    """What the distribution says of its licence, as it says it."""
    if expression := one.metadata.get("License-Expression"):
        return [{"expression": expression}]
    told = [c for c in one.metadata.get_all("Classifier", []) if c.startswith("License ::")]
    names = [c.rpartition(" :: ")[2] for c in told if not c.endswith("OSI Approved")]
    text = (one.metadata.get("License") or "").strip()
    if not names and text and "\n" not in text and len(text) < 100:
        names = [text]
    return [{"license": {"name": name}} for name in sorted(set(names))]


def needs(one: Distribution, there: dict[str, Distribution]) -> list[str]:
    """Package URLs of what it depends on here, extras left out."""
    found = set()
    for line in one.requires or []:
        wanted = Requirement(line)
        name = canonicalize_name(wanted.name)
        applies = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if applies and name in there:
            found.add(purl(name, there[name]))
    return sorted(found)


def component(name: str, one: Distribution) -> dict[str, Any]:
    """One entry of the bill."""
    made: dict[str, Any] = {
        "type": "application" if name == ROOT else "library",
        "bom-ref": purl(name, one),
        "name": name,
        "version": one.version,
        "purl": purl(name, one),
    }
    if said := licences(one):
        made["licenses"] = said
    record = one.read_text("RECORD")
    if record and name != ROOT:  # the list holds a SHA-256 of every file
        kept = (line for line in record.splitlines() if not re.search(r"\.pyc,|INSTALL", line))
        lines = sorted(kept)
        digest = sha256("\n".join(lines).encode()).hexdigest()
        made["properties"] = [{"name": "pathai:record:sha256", "value": digest}]
    return made


def bill() -> dict[str, Any]:
    """The whole bill of materials."""
    there = installed()
    entries = [component(name, one) for name, one in there.items()]
    main = next((e for e in entries if e["name"] == ROOT), None)
    body = json.dumps(entries, sort_keys=True)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, body)}",
        "version": 1,
        "metadata": {"component": main} if main else {},
        "components": [e for e in entries if e is not main],
        "dependencies": [
            {"ref": purl(name, one), "dependsOn": needs(one, there)} for name, one in there.items()
        ],
    }


def main() -> int:
    """Write the bill."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--out", type=Path, help="file to write; default: stdout")
    wanted = parser.parse_args()
    text = json.dumps(bill(), indent=1, sort_keys=True) + "\n"
    if wanted.out is None:
        sys.stdout.write(text)
    else:
        part = wanted.out.with_name(f"{wanted.out.name}.part")
        part.write_text(text, "utf-8")
        part.replace(wanted.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
