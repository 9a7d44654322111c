import json
import time

import pytest
from jsonschema import Draft202012Validator

from pathai.config import Config, json_schema, load_config, read_yaml
from pathai.errors import PathaiError
from pathai.heads import HEADS
from pathai.run import shipped
from pathai.sheet import load_sheet, sheet_schema
from pathai.task import load_task

HEADER = "slide_id\tpath\tcase_id\tpatient_id\tstain\tmpp\ttumor\n"


def sheet(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "slides.tsv"
    path.write_text(text, encoding=encoding, newline="")
    return path


def complaint(act, *arguments) -> PathaiError:
    with pytest.raises(PathaiError) as caught:
        act(*arguments)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tile:\n  tissue_umm: 3\n", ["config.yaml", "tile.tissue_umm", "tissue_um"]),
        ("tiles: {}\n", ["config.yaml", "tiles", "tile"]),
        ("tile:\n  tissue_um: -1\n", ["tile.tissue_um", "greater than 0"]),
        ("tile:\n  tissue_um: soon\n", ["tile.tissue_um", "number"]),
        ("seed: 1\nseed: 2\n", ["twice"]),
        ("a: &x [1]\nb: *x\n", ["alias"]),
        ("sheet: !!python/object/apply:os.system [true]\n", ["config.yaml"]),
        ("- 1\n", ["keys and values"]),
        ("a: [\n", ["config.yaml"]),
    ],
)
def test_configuration_errors_name_file_key_and_remedy(tmp_path, text, words):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    error = complaint(load_config, path)
    assert error.code == "E190"
    assert all(word in str(error) for word in words), str(error)


def test_missing_configuration(tmp_path):
    assert complaint(load_config, tmp_path / "config.yaml").code == "E190"


def test_digest_changes_with_any_field_and_only_then():
    assert Config().tile.digest() == Config().tile.digest()
    for name, value in {"tissue_um": 4, "min_tissue_mm2": 1, "max_bad_fraction": 0.5}.items():
        assert Config().tile.model_copy(update={name: value}).digest() != Config().tile.digest()


def test_shipped_configuration_states_the_defaults():
    data = read_yaml(shipped("configs/config.yaml"), "E190")
    assert load_config(shipped("configs/config.yaml")) == Config()
    Draft202012Validator(json_schema()).validate(data)


def test_shipped_search_tries_heads_that_exist():
    heads = [
        candidate.head for candidate in load_config(shipped("configs/search.yaml")).train.search
    ]
    assert len(heads) == len(set(heads)) > 1
    assert set(heads) <= set(HEADS.names())


@pytest.mark.parametrize(("name", "made"), [("config", json_schema), ("slides", sheet_schema)])
def test_shipped_schemas_are_fresh(name, made):
    stored = json.loads(shipped(f"configs/{name}.schema.json").read_text())
    assert stored == made(), "run: python configs/write_schema.py"


@pytest.mark.parametrize(
    ("cells", "valid"),
    [
        ({"slide_id": "S1", "path": "a.svs", "case_id": "C", "patient_id": "P", "x": "yes"}, True),
        ({"slide_id": "../x", "path": "a.svs", "case_id": "C", "patient_id": "P"}, False),
        ({"slide_id": "S1", "path": "", "case_id": "C", "patient_id": "P"}, False),
        ({"slide_id": "S1", "path": "a", "case_id": "C", "patient_id": "P", "mpp": "0,5"}, False),
        ({"slide_id": "S1", "path": "a", "case_id": "C", "patient_id": "P", "mpp": ""}, True),
        (
            {
                "slide_id": "S1",
                "path": "a",
                "case_id": "C",
                "patient_id": "P",
                "stain_vectors": "0.65 0.7 0.29 0.07, .99, 0.11",
            },
            True,
        ),
        (
            {
                "slide_id": "S1",
                "path": "a",
                "case_id": "C",
                "patient_id": "P",
                "stain_vectors": "0.65 0.7 0.29",
            },
            False,
        ),
        (
            {
                "slide_id": "S1",
                "path": "a",
                "case_id": "C",
                "patient_id": "P",
                "stain_vectors": "a b c d e f",
            },
            False,
        ),
        ({"slide_id": "S1", "path": "a.svs", "case_id": "C"}, False),
    ],
)
def test_sheet_schema_and_sheet_agree(tmp_path, cells, valid):
    assert Draft202012Validator(sheet_schema()).is_valid(cells) == valid
    text = "\t".join(cells) + "\n" + "\t".join(cells.values()) + "\n"
    if valid:
        load_sheet(sheet(tmp_path, text))
    else:
        complaint(load_sheet, sheet(tmp_path, text))


def test_shipped_tasks_load():
    files = sorted(shipped("configs/tasks").glob("*.yaml"))
    assert files
    for file in files:
        assert load_task(file).name == file.stem


def test_task_errors_name_the_key(tmp_path):
    path = tmp_path / "t.yaml"
    path.write_text("name: t\nquestion: q\nlabel: l\nclasses: [a, b]\nencodre: x\n")
    error = complaint(load_task, path)
    assert error.code == "E192"
    assert "encoder" in str(error)


@pytest.mark.parametrize(
    ("rows", "code", "words"),
    [
        ("../x\ta\tC\tP\n", "E151", ["row 2", "slide_id", "../x"]),
        ("$(touch x)\ta\tC\tP\n", "E151", ["row 2"]),
        ("a..b\ta\tC\tP\n", "E151", ["row 2"]),
        ("/etc\ta\tC\tP\n", "E151", ["row 2"]),
        ("CON\ta\tC\tP\n", "E151", ["row 2"]),
        ("-x\ta\tC\tP\n", "E151", ["row 2"]),
        ("a b\ta\tC\tP\n", "E151", ["row 2"]),
        ("S\x07\ta\tC\tP\n", "E150", ["row 2"]),
        ("S1\ta\t;rm\tP\n", "E151", ["case_id"]),
        ("S1\ta\tC\tP\nS2\tb\tC\tP\nS1\tc\tC\tP\n", "E152", ["row 4", "row 2"]),
        ("S1\ta\tC\tP\ns1\tb\tC\tP\n", "E152", ["row 3", "row 2"]),
        ("S1\ta\tC\tP\nS2\tb\tC\tQ\n", "E154", ["row 3", "case C", "row 2"]),
        ("S1\ta\tC\tpat-1\nS2\tb\tD\tPAT-1\n", "E154", ["row 3", "PAT-1", "pat-1 in row 2"]),
        ("S1\t\tC\tP\n", "E154", ["row 2", "path"]),
        ("S1\ta\tC\tP\tH&E\tx\n", "E154", ["row 2", "mpp"]),
        ("S1\ta\tC\tP\tH&E\t0\n", "E154", ["row 2", "mpp"]),
        ("S1\ta\tC\tP\tH&E\t0.5\tyes\textra\n", "E154", ["row 2"]),
        ("", "E154", ["no slides"]),
    ],
)
def test_sheet_errors_name_row_column_and_remedy(tmp_path, rows, code, words):
    error = complaint(load_sheet, sheet(tmp_path, HEADER + rows))
    assert error.code == code
    assert all(word in str(error) for word in ["slides.tsv", *words]), str(error)


@pytest.mark.parametrize(
    ("header", "word"),
    [
        ("slide_id\tpath\tcase_id\n", "patient_id"),
        ("slide_id,path,case_id,patient_id\n", "tabs"),
        (HEADER.replace("tumor", "stain"), "twice"),
        ("", "slide_id"),
    ],
)
def test_header_errors(tmp_path, header, word):
    error = complaint(load_sheet, sheet(tmp_path, header))
    assert error.code == "E154"
    assert word in str(error)


def test_sheet_reads_bom_and_crlf_sorts_and_keeps_labels(tmp_path):
    text = HEADER + "S2\tb.svs\tC\tP\tH&E\t\tyes\nS1\ta.svs\tC\tP\tH&E\t0.25\tno\n"
    read = load_sheet(sheet(tmp_path, text.replace("\n", "\r\n"), "utf-8-sig"))
    assert [row.slide_id for row in read.rows] == ["S1", "S2"]
    assert [row.mpp for row in read.rows] == [0.25, None]
    assert read["S2"].labels == {"tumor": "yes"}
    assert read.path(read["S1"]) == tmp_path / "a.svs"


def test_a_sheet_of_100_000_rows_is_read_in_seconds(tmp_path):
    rows = "".join(f"S{i}\ts{i}.svs\tC{i}\tP{i}\tH&E\t0.5\tyes\n" for i in range(100_000))
    start = time.process_time()
    read = load_sheet(sheet(tmp_path, HEADER + rows))
    assert len(read.cases()) == 100_000
    assert time.process_time() - start < 20  # a bound against quadratic work, not a figure


FAILED = "slide_id\tstage\tstatus\tcode\tmessage\tremedy\n"


def test_a_table_of_failures_is_a_sheet_of_the_slides_that_failed(tmp_path):
    """Of another run: rows, labels and paths are those of the sheet of the run that failed."""
    first = tmp_path / "first"
    (first / "lists").mkdir(parents=True)
    (first / "config.yaml").write_text("sheet: lists/all.tsv\n")
    rows = "".join(f"S{i}\tslides/S{i}.svs\tC{i}\tP{i}\tyes\n" for i in range(4))
    header = "slide_id\tpath\tcase_id\tpatient_id\tlabel\n"
    (first / "lists" / "all.tsv").write_text(header + rows)
    table = first / "results" / "cohort" / "failures.tsv"
    table.parent.mkdir(parents=True)
    problems = [
        "S1\tingest\tfailed\tE101\tS1: empty\tcopy",
        "S1\tingest\tfailed\tE101\tS1: again\tcopy",
        "S2\ttile\tdegraded\tE112\tS2: some\tcopy",
        "\tcohort\twarning\tE167\tS9: no row\tadd",
        "S3\tcells\tfailed\tE173\tS3: killed\trun",
    ]
    table.write_text(FAILED + "\n".join(problems) + "\n")
    found = load_sheet(table)
    assert [row.slide_id for row in found.rows] == ["S1", "S3"]
    assert found.path(found["S1"]) == first / "lists" / "slides" / "S1.svs"
    assert found["S3"].labels == {"label": "yes"}
    assert (found["S3"].row, found.name) == (5, "all.tsv")

    table.write_text(FAILED + problems[2] + "\n")
    assert "no slide failed" in str(complaint(load_sheet, table))
    (first / "config.yaml").write_text("sheet: results/cohort/failures.tsv\n")
    assert "--retry-failed" in str(complaint(load_sheet, table))
    (tmp_path / "alone.tsv").write_text(FAILED)
    assert "away from its run" in str(complaint(load_sheet, tmp_path / "alone.tsv"))
