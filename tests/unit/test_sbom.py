"""The bill of materials names what is installed; an audit without a database is none."""

import json
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

ENVS = Path(__file__).resolve().parents[2] / "envs"


def start(script, *arguments, **environment):
    call = [sys.executable, str(ENVS / script), *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, env={"PATH": "", **environment})


@pytest.fixture(scope="module")
def bill(tmp_path_factory):
    out = tmp_path_factory.mktemp("sbom") / "sbom.json"
    assert start("sbom.py", "-o", out).returncode == 0
    return out.read_text()


def test_the_bill_names_every_package_with_version_and_what_it_needs(bill):
    made = json.loads(bill)
    assert (made["bomFormat"], made["specVersion"]) == ("CycloneDX", "1.6")
    found = {c["name"]: c for c in made["components"]}
    for name in ("numpy", "torch", "pillow", "openslide-bin", "snakemake"):
        assert found[name]["version"] == version(name)
        assert found[name]["purl"].startswith(f"pkg:pypi/{name}@")
    refs = {c["bom-ref"] for c in made["components"]} | {made["metadata"]["component"]["bom-ref"]}
    assert len(refs) == len(made["components"]) + 1
    needed = {d["ref"]: set(d["dependsOn"]) for d in made["dependencies"]}
    assert set(needed) == refs
    assert set().union(*needed.values()) <= refs
    own = needed[made["metadata"]["component"]["bom-ref"]]
    assert found["numpy"]["bom-ref"] in own
    licensed = [c for c in made["components"] if "licenses" in c]
    assert len(licensed) > 0.7 * len(found)


def test_the_same_environment_gives_the_same_bytes_and_no_path(bill, tmp_path):
    assert start("sbom.py").stdout == bill
    assert str(Path(sys.prefix)) not in bill


def advisory(name, **affected):
    package = {"ecosystem": "PyPI", "name": name}
    return {"id": "PYSEC-1", "aliases": ["CVE-1"], "summary": "A hole.",
            "affected": [{"package": package, **affected}]}  # fmt: skip


def span(*events):
    return {"ranges": [{"type": "ECOSYSTEM", "events": list(events)}]}


NUMPY = version("numpy")
CASES = {
    "named": (advisory("NumPy", versions=[NUMPY]), 1),
    "in a range": (advisory("numpy", **span({"introduced": "0"}, {"fixed": "99"})), 1),
    "last affected": (advisory("numpy", **span({"introduced": "1"}, {"last_affected": NUMPY})), 1),
    "fixed here": (advisory("numpy", **span({"introduced": "0"}, {"fixed": NUMPY})), 0),
    "came later": (advisory("numpy", **span({"introduced": "99"})), 0),
    "other version": (advisory("numpy", versions=["0.1"]), 0),
    "not installed": (advisory("no-such-package", versions=["1"]), 0),
    "withdrawn": ({**advisory("numpy", versions=[NUMPY]), "withdrawn": "2026-01-01"}, 0),
}


@pytest.mark.parametrize("case", CASES)
def test_an_audit_finds_what_is_affected_and_nothing_else(tmp_path, case):
    told, code = CASES[case]
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("PYSEC-1.json", json.dumps(told))
    done = start("audit.py", "--advisories", tmp_path / "all.zip")
    assert done.returncode == code, done.stderr
    assert ("CVE-1" in done.stderr) == bool(code)
    assert "against 1 advisories" in done.stderr


def test_without_a_database_nothing_passes_as_audited(tmp_path):
    for done in (
        start("audit.py"),
        start("audit.py", PATHAI_ADVISORIES=str(tmp_path / "none.zip")),
        start("audit.py", "--advisories", tmp_path),
    ):
        assert done.returncode == 3
        assert "NOT AUDITED" in done.stderr
