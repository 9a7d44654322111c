"""What `make nightly` asks of reliability, at the size of CI, by the same script."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.xdist_group("reliability")]
SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "reliability.py"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Where the slides and the undisturbed run are kept from one part to the next."""
    return tmp_path_factory.mktemp("reliability") / "cohort"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("part", "trials"), [("store", 300), ("disk", 6), ("same", 4), ("kills", 6)]
)
def test_a_part_keeps_its_promise(part, trials, cohort, tmp_path):
    out = tmp_path / "reliability.json"
    options = ("--part", part, "--trials", trials, "--lanes", 2, "--cohort", cohort, "--out", out)
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, options)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads(out.read_text())[part]
    assert found["failed"] == []
    assert found["asked"] == trials
    assert trials == found[{"store": "faults", "kills": "trials"}.get(part, "cases")]
    proven = {"store": "named_by_verify", "disk": "as_promised"}.get(part, "identical")
    assert found[proven] == trials
    if part == "kills":
        assert found["kills_that_hit"] >= trials / 2, "kills must meet runs"
