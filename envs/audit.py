"""Look up what is installed among known holes: `python envs/audit.py --advisories FOLDER`.

The folder (or ``PATHAI_ADVISORIES``) holds advisories in the OSV layout, one JSON file each, or is
the archive ``all.zip`` of PyPI that osv.dev publishes. Without one, pip-audit is asked where it is
installed and reaches its database. Where neither can be had nothing was audited, and it says so.

Exit codes: 0 audited and nothing found, 1 holes found, 3 NOT AUDITED.

References
----------
Open Source Vulnerability format, https://ossf.github.io/osv-schema/
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

NOT_AUDITED = 3


def advisories(path: Path) -> Iterator[dict[str, Any]]:
    """Every advisory of a folder or a ZIP."""
    if path.is_dir():
        for file in sorted(path.rglob("*.json")):
            yield json.loads(file.read_bytes())
        return
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".json"):
                yield json.loads(archive.read(name))


def hit(affected: dict[str, Any], found: str) -> bool:
    """Whether a version is among the affected ones: named, or inside of a range."""
    if found in affected.get("versions", ()):
        return True
    try:
        here = Version(found)
    except InvalidVersion:
        return False
    for span in affected.get("ranges", ()):
        if span.get("type") != "ECOSYSTEM":
            continue
        inside = False
        for event in span["events"]:
            if "introduced" in event:
                start = event["introduced"]
                inside = inside or start == "0" or here >= Version(start)
            if "fixed" in event:
                inside = inside and here < Version(event["fixed"])
            if "last_affected" in event:
                inside = inside and here <= Version(event["last_affected"])
        if inside:
            return True
    return False


def holes(path: Path, there: dict[str, str]) -> list[str]:
    """One line per known hole of what is here."""
    found = []
    for one in advisories(path):
        if one.get("withdrawn"):
            continue
        for affected in one.get("affected", ()):
            package = affected.get("package", {})
            name = canonicalize_name(package.get("name", ""))
            version = there.get(name)
            if package.get("ecosystem") == "PyPI" and version and hit(affected, version):
                names = ", ".join([one["id"], *one.get("aliases", ())])
                found.append(f"{name} {version}: {names}: {one.get('summary', '').strip()}")
    return sorted(set(found))


def say(text: str) -> None:
    """A line for people."""
    sys.stderr.write(f"audit: {text}\n")


def ask_pip_audit() -> int:
    """What pip-audit finds, where it is there and reaches its database."""
    program = shutil.which("pip-audit")
    if program is None:
        say("NOT AUDITED: no database of advisories here, and pip-audit is not installed")
        return NOT_AUDITED
    done = subprocess.run([program, "--progress-spinner", "off", "--format", "json"],
                          capture_output=True, text=True)  # fmt: skip
    try:
        told = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        say("NOT AUDITED: pip-audit reached no database")
        return NOT_AUDITED
    found = [f"{d['name']} {d['version']}: {v['id']}" for d in told for v in d.get("vulns", ())]
    for line in found:
        say(line)
    say(f"audited {len(told)} packages with pip-audit: {len(found)} known holes")
    return int(bool(found))


def main() -> int:
    """Audit, or say that nothing was audited."""
    from sbom import installed

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    given = os.environ.get("PATHAI_ADVISORIES")
    parser.add_argument("--advisories", type=Path, default=Path(given) if given else None)
    path = parser.parse_args().advisories
    if path is None:
        return ask_pip_audit()
    if not path.exists():
        say(f"NOT AUDITED: {path.name} is not there")
        return NOT_AUDITED
    there = {name: one.version for name, one in installed().items()}
    count = sum(1 for _ in advisories(path))
    if not count:
        say(f"NOT AUDITED: {path.name} holds no advisories")
        return NOT_AUDITED
    found = holes(path, there)
    for line in found:
        say(line)
    say(f"audited {len(there)} packages against {count} advisories: {len(found)} known holes")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
