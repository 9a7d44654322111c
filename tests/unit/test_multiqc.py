"""What MultiQC is given: the keys it needs, every slide, and nothing that was not measured."""

import json
import re

import pytest

from pathai.cohort.multiqc import AREAS
from pathai.store.manifest import read_manifest

PLOTS = {"generalstats", "table", "bargraph"}


@pytest.fixture(scope="module")
def found(tiny_results):
    folder = tiny_results / "results" / "cohort" / "multiqc"
    return {p.name: json.loads(p.read_text()) for p in sorted(folder.iterdir())}


def test_each_file_is_a_section_that_multiqc_takes(found):
    assert set(found) == {
        "pathai_general_mqc.json", "pathai_areas_mqc.json", "pathai_cells_mqc.json",
        "pathai_predict_tumor_mqc.json", "pathai_problems_mqc.json",
    }  # fmt: skip
    for name, section in found.items():
        assert name == f"{section['id']}_mqc.json"
        assert section["plot_type"] in PLOTS
        assert section["section_name"]
        assert "Research use only" in section["description"]
        assert all(isinstance(cells, dict) for cells in section["data"].values())
    tables = [s for s in found.values() if s["plot_type"] == "table"]
    for section in tables:
        used = {column for cells in section["data"].values() for column in cells}
        assert used == set(section["headers"])
        places = [one["placement"] for one in section["headers"].values()]
        assert sorted(places) == list(range(len(places)))


def test_every_slide_has_a_line_and_a_failed_one_has_no_zero(found):
    general = found["pathai_general_mqc.json"]
    columns = {name for one in general["pconfig"] for name in one}
    assert len(general["data"]) == 12
    assert general["data"]["F1"] == {"status": "failed"}
    assert general["data"]["N1"].keys() == {"status", "mpp"}
    assert set(general["data"]["E1"]) <= columns
    assert "F1" not in found["pathai_cells_mqc.json"]["data"]
    assert set(found["pathai_areas_mqc.json"]["data"]["E2"]) == {"tissue", "pen"}
    assert set(found["pathai_areas_mqc.json"]["categories"]) == set(AREAS)


def test_answers_come_with_their_set_and_a_withheld_one_with_its_reason(found):
    data = found["pathai_predict_tumor_mqc.json"]["data"]
    assert data["E1"]["answer"] == "tumor: no"
    assert data["E1"]["set"] == "{no}"
    assert data["E5"]["given"] == "withheld"
    assert "answer" not in data["E5"]
    assert data["E5"]["reason"]


def test_no_answer_is_painted_as_good_or_bad(found):
    """MultiQC paints these words, whatever the column."""
    words = {"yes", "no", "true", "false", "pass", "fail", "m", "f", "male", "female"}
    data = found["pathai_predict_tumor_mqc.json"]["data"]
    texts = [v for cells in data.values() for v in cells.values() if isinstance(v, str)]
    assert not words & {text.lower() for text in texts}


def test_problems_are_told_with_their_remedy(found):
    rows = found["pathai_problems_mqc.json"]["data"].values()
    assert {"E110", "E145", "E162"} <= {row["code"] for row in rows}
    assert all(row["remedy"] and re.fullmatch(r"E\d{3}", row["code"]) for row in rows)


def test_they_are_results_like_any_other(tiny_results):
    manifest = read_manifest(tiny_results / "results" / "cohort" / "cohort.manifest.json")
    assert "multiqc/pathai_general_mqc.json" in manifest.files
