"""Same input, same bytes: whatever the cores, batches, time zone, locale, hash seed or folder.

The demo with its networks, once elsewhere; more combinations of a smaller cohort are tried by
``benchmarks/reliability.py --part same`` (`test_reliability.py` at the size of CI).
"""

import shutil

import pytest
from workflow.commands import contents, pathai

pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.xdist_group("demo")]

OTHER = {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "271828"}


@pytest.mark.parametrize(("cores", "per_job"), [(1, 5)])
def test_a_run_elsewhere_gives_the_same_bytes(finished_demo, tmp_path, cores, per_job):
    folder = tmp_path / "an other folder"
    folder.mkdir()
    for name in ("slides", "tasks"):
        shutil.copytree(finished_demo / name, folder / name)
    rows = (finished_demo / "slides.tsv").read_text().splitlines()
    (folder / "slides.tsv").write_text("\n".join([rows[0], *reversed(rows[1:])]) + "\n")
    text = (finished_demo / "config.yaml").read_text()
    text = text.replace("slides_per_job: 6", f"slides_per_job: {per_job}")
    assert f"slides_per_job: {per_job}" in text
    (folder / "config.yaml").write_text(text)
    done = pathai("run", "--config", "config.yaml", "--cores", cores, cwd=folder, **OTHER)
    assert done.returncode == 0, done.stderr
    assert contents(folder / "models") == contents(finished_demo / "models")
    mine, theirs = contents(folder / "results"), contents(finished_demo / "results")
    manifests = {name for name in mine if name.startswith("slides/") and "ingest" in name}
    # ingest notes the modification time of the slide file, which a copy changes
    assert {n: d for n, d in mine.items() if n not in manifests} == {
        n: d for n, d in theirs.items() if n not in manifests
    }
