"""Snakemake's own report of a run: the cohort page is in it, and nothing is fetched for it."""

import os
import subprocess
import sys
import zipfile

import pytest
from workflow.commands import pathai

from pathai.run import shipped

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("demo")]


def test_snakemakes_report_holds_the_cohort_page(demo, tmp_path):
    report = tmp_path / "report.zip"
    call = ["-m", "snakemake", "--snakefile", shipped("Snakefile"), "--directory", demo]
    call += ["--configfile", demo / "config.yaml", "--nolock", "--report", report]
    refuse = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, *map(str, call)],
        capture_output=True,
        text=True,
        env={**os.environ, **refuse},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(report) as archive:
        found = {name.rpartition("/")[2]: archive.read(name) for name in archive.namelist()}
    assert found["cohort.html"] == (demo / "results" / "cohort" / "index.html").read_bytes()
    assert b"\t" in found["failures.tsv"].splitlines()[0]
    page = found["report.html"].decode()
    for said in ("every slide of the sheet with its status", "Empty but for its head"):
        assert said in page, "a caption is missing"


def test_a_page_that_changes_changes_in_the_report_and_a_removed_one_is_gone(demo):
    """`pathai forget` and a new run find no second copy of a patient's rows."""
    link = demo / ".pathai" / "report" / "cohort.html"
    page = demo / "results" / "cohort" / "index.html"
    assert link.is_symlink()
    assert link.resolve() == page.resolve()
    page.write_text("another")
    assert link.read_text() == "another"
    page.unlink()
    assert not link.exists()
    done = pathai("run", "--config", demo / "config.yaml", "--cores", 2)
    assert done.returncode == 0, done.stderr
    assert link.read_bytes() == page.read_bytes()
    assert page.read_bytes() != b"another"
