"""The evaluation of reports: its cases, its oracle, its seeded errors, its suites and command."""

import ast
import json
import re
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from pathai.cli import app
from pathai.config import ReportConfig
from pathai.drafters.base import Engine, Phrasing
from pathai.errors import PathaiError
from pathai.finding import load_findings, registry
from pathai.report.draft import draft
from pathai.report_evaluation import evaluation, model, oracle, oracle_tables, reading
from pathai.report_evaluation.cases import ORGANS, synthetic_case, synthetic_cases
from pathai.report_evaluation.draft_errors import ON_VALUE, prints_of, statements_of
from pathai.report_evaluation.paraphrases import (
    OF_SLIDE,
    OF_SPECIMEN,
    OPENINGS,
    paraphrases,
    variants,
)
from pathai.report_evaluation.record_errors import RECORD_ERRORS, UNSEALED
from pathai.report_evaluation.seeded import samples, seeded_errors
from pathai.report_evaluation.suite import gate
from pathai.report_evaluation.synthetic import synthetic
from pathai.report_evaluation.text_errors import TEXT_ERRORS

SECTION = ReportConfig()
POOL = samples(6, SECTION, seed=9)


def say(finding_key, status, sentence, value, **more):
    """What the oracle says of one sentence about one finding of a case made by hand."""
    finding = {
        "id": "F1",
        "key": finding_key,
        "specimen_id": "A",
        "status": status,
        "value": value,
        "code": "",
        "note": "",
        "flags": [],
        **more,
    }
    case = {"findings": [finding], "specimens": [{"specimen_id": "A", "laterality": "left"}]}
    return oracle.judge_sentence(sentence, finding, case, reading.book("en"))


def count(value, **more):
    fields = {"low": None, "high": None, "level": None, "numerator": None, "denominator": None}
    return {"type": "quantity", "value": value, "unit": "{nuclei}", **fields, **more}


class TestCases:
    def test_the_same_seed_gives_the_same_case_and_another_seed_another(self):
        assert synthetic_case(5, "breast") == synthetic_case(5, "breast")
        assert synthetic_case(5, "breast").digest != synthetic_case(6, "breast").digest

    def test_a_longer_series_begins_with_the_shorter_one(self):
        assert synthetic_cases(6, 4)[:3] == synthetic_cases(3, 4)

    def test_cases_are_read_back_as_any_findings_are(self):
        for case in synthetic_cases(4, 2):
            assert load_findings(case.model_dump_json()) == case

    def test_every_key_status_organ_and_corner_is_reached(self):
        cases = synthetic_cases(120, 1)
        found = [f for case in cases for f in case.findings]
        patterns = {reading.book("en").pattern(f.key) for f in found}
        assert patterns == set(registry().keys)
        assert {f.status for f in found} >= {
            s for row in registry().keys.values() for s in row.statuses
        } - {"not_detected"}
        values = [f.value for f in found if f.value is not None]
        assert any(
            getattr(v, "set", None) == () and v.alpha for v in values if v.type == "prediction"
        )
        assert any(v.value == 0 for v in values if v.type == "quantity")
        assert any(v.value == 100 for v in values if v.type == "quantity" and v.unit == "%")
        assert any(v.value > 100_000 for v in values if v.type == "quantity")
        assert any(case.contradictions for case in cases)
        assert any(case.suggestions for case in cases)
        assert len(ORGANS) == 4


class TestOracle:
    def test_it_shares_no_code_with_what_it_judges(self):
        for module in (oracle, oracle_tables, reading):
            tree = ast.parse(Path(module.__file__).read_text("utf-8"))
            names = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
            names += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
            ours = {n for n in names if n.startswith("pathai")}
            assert ours <= {
                "pathai.report_evaluation.reading",
                "pathai.report_evaluation.oracle_tables",
            }

    @pytest.mark.parametrize(
        ("sentence", "wrong"),
        [
            ("The number of nuclei in the analyzed tissue is 4,321.", []),
            ("Number of nuclei in the analyzed tissue: 4,321.", []),
            ("The number of nuclei in the analyzed tissue is 4,321, a tumor.", ["ungrounded"]),
            ("The number of nuclei in the analyzed tissue is 4,312.", ["number"]),
            ("The number of nuclei in the analyzed tissue is 4.321.", ["number"]),
            ("The number of nuclei in the analyzed tissue is 4,321 mm.", ["unit"]),
            ("The number of nuclei in the analyzed tissue is not 4,321.", ["polarity"]),
            ("On the right, the number of nuclei in the analyzed tissue is 4,321.", ["laterality"]),
            ("On the left, the number of nuclei in the analyzed tissue is 4,321.", []),
            ("The density of nuclei in the analyzed tissue is 4,321.", ["subject", "ungrounded"]),
            ("Model prediction for number of nuclei in the analyzed tissue: 4,321.", ["hedge"]),
            ("The number of nuclei in the analyzed tissue was entered as 4,321.", ["status"]),
            ("The number of nuclei in the analyzed tissue was not assessed.", ["number", "status"]),
            ("The number of nuclei in the analyzed tissue is 4,321, twice.", ["number"]),
            (
                "The number of nuclei in the analyzed tissue is 4,321\u200b.",
                ["characters", "ungrounded"],
            ),
        ],
    )  # fmt: skip
    def test_a_count(self, sentence, wrong):
        given = say("cells.count", "measured", sentence, count(4321))
        assert set(given) == set(wrong)

    def test_an_interval_and_counts_are_read_with_their_ends(self):
        value = count(33.33, unit="%", numerator=1, denominator=3, low=2.4, high=80.1, level=0.95)
        said = "The nuclear DAB-positive fraction is 33% (95% interval 2 to 80; 1 of 3 nuclei)."
        ask = lambda text: say("cells.positive_percent", "measured", text, value)  # noqa: E731
        assert ask(said) == []
        for old, new in (
            ("2 to 80", "80 to 2"),
            ("95%", "90%"),
            ("1 of 3", "3 of 1"),
            ("33%", "33"),
        ):
            assert ask(said.replace(old, new)), new

    def test_a_prediction_never_becomes_certain(self):
        value = {
            "type": "prediction",
            "label": "MSI-H",
            "probability": 0.999,
            "alpha": 0.1,
            "set": [],
        }
        said = (
            "Model prediction for msi status: “MSI-H” with probability above 0.99 "
            "(prediction set at 90% coverage: empty)."
        )
        ask = lambda text: say("msi.probability", "predicted", text, value)  # noqa: E731
        assert ask(said) == []
        for old, new in (
            ("above 0.99", "1.00"), ("above", "below"), ("MSI-H", "MSS"), ("empty", "“MSS”"),
            ("Model prediction for msi status", "Msi status"), ("90%", "99%"),
        ):  # fmt: skip
            assert ask(said.replace(old, new)), new

    def test_a_threshold_is_not_crossed_by_printing(self):
        row = reading.book("en").rows["er.positive_percent"]
        assert oracle._rounded(0.96, 0, [1]) == oracle._number("0.96")
        assert row["ratio"]


class TestErrors:
    @pytest.mark.parametrize("name", TEXT_ERRORS)
    def test_an_error_in_a_text_is_one_and_the_clean_text_is_none(self, name):
        made = 0
        for sample in POOL:
            found = {f["id"]: f for f in sample.data["findings"]}
            for statement, line in list(sample.lines.items())[:12]:
                finding, text = found[line.finding], sample.texts[statement]
                assert oracle.judge_raw(text, finding, sample.data) == []
                seeded = TEXT_ERRORS[name][1](Random(statement), text, finding, sample.data)
                if seeded is not None:
                    made += bool(oracle.judge_raw(seeded, finding, sample.data))
        assert made

    @pytest.mark.parametrize("name", [*ON_VALUE, *RECORD_ERRORS])
    def test_an_error_in_a_stored_draft_is_one(self, name):
        change = {**ON_VALUE, **RECORD_ERRORS}[name][1]
        tried, wrong = 0, 0
        for sample in POOL:
            record = json.loads(sample.draft)
            assert oracle.judge_draft(record, sample.data) == []
            if change(Random(name), record, sample.data):
                tried += 1
                record["digest"] = record["digest"] if name == UNSEALED else oracle.sealed(record)
                wrong += bool(oracle.judge_draft(record, sample.data))
        assert wrong >= tried / 2

    def test_the_prints_of_a_sentence_make_it_up(self):
        for said in statements_of(json.loads(POOL[0].draft)):
            text = said["text"]
            for slot, value in prints_of(said).items():
                text = text.replace(slot, value)
            assert text[:1].upper() + text[1:] == said["rendered"]

    def test_paraphrases_are_many_and_true(self):
        statuses = ("measured", "observed", "predicted", "not_assessed")
        openings = (*OPENINGS, *OF_SLIDE, *OF_SPECIMEN)
        assert sum(len(set(variants(s, openings))) for s in statuses) >= 300
        for sample in POOL[:3]:
            for finding in sample.data["findings"]:
                for text in paraphrases(finding)[:40]:
                    assert oracle.judge_raw(text, finding, sample.data) == [], text


class _Scripted:
    """A drafter whose texts a test writes."""

    engine = Engine(name="scripted", model="scripted", digest="ab" * 16)

    def __init__(self, text):
        self.text = text

    def phrase(self, lines):
        return Phrasing(texts=tuple(self.text(line) for line in lines))


def scripted(monkeypatch, text):
    load = model.DRAFTERS.load
    mine = lambda section: _Scripted(text)  # noqa: E731
    monkeypatch.setattr(
        model.DRAFTERS, "load", lambda name: mine if name == "scripted" else load(name)
    )


class TestSuites:
    def test_the_template_is_true_whole_and_the_same_again(self):
        found = synthetic(SECTION, 8)
        figures = found.figures
        exact = ("claim_precision", "claim_recall", "number_accuracy", "unit_accuracy")
        assert [figures[name] for name in (*exact, "polarity_accuracy")] == [1.0] * 5
        assert figures["reruns_that_differ"] == figures["rule_violations"] == 0
        assert figures["errors"] == {}
        assert figures["statements"] == figures["findings"] > 100

    def test_a_false_renderer_is_seen(self, monkeypatch):
        made = json.loads(POOL[0].draft)
        numbers = [
            s
            for s in statements_of(made)
            if re.search(r"\d", prints_of(s).get("{" + s["finding"] + "}", ""))
        ]
        numbers[0]["rendered"] = numbers[0]["rendered"][:-1] + "7."
        assert ("number", numbers[0]["id"]) in oracle.judge_draft(made, POOL[0].data)

    def test_seeded_errors_are_counted_and_mostly_caught(self):
        found = seeded_errors(SECTION, 2)
        assert found.figures["kinds"] >= 40
        assert found.figures["clean"]["alarms"] == 0
        by_group: Counter[str] = Counter()
        for row in found.figures["by_kind"].values():
            assert row["caught"] <= row["counted"]
            by_group[row["group"]] += row["counted"] - row["caught"]
        assert by_group["number"] == by_group["unit"] == by_group["polarity"] == 0

    def test_wrong_texts_of_a_model_are_caught_and_never_published(self, monkeypatch):
        def lie(line):
            return (
                f"The {{T:{line.key}}} is not {{{line.finding}}}." if line.finding == "F2" else None
            )

        scripted(monkeypatch, lie)
        found = model.model(SECTION.model_copy(update={"drafter": "scripted"}), 3)
        assert found.figures["raw_wrong"] == found.figures["raw_texts"] == 3
        assert found.figures["raw_wrong_not_caught"] == 0
        assert found.figures["hallucination_rate"] == 0
        assert found.figures["fallback_rate"] == 1
        assert found.passed

    def test_a_model_that_says_nothing_has_not_passed(self, monkeypatch):
        scripted(monkeypatch, lambda line: None)
        assert not model.model(SECTION.model_copy(update={"drafter": "scripted"}), 2).passed

    def test_the_template_has_no_model_to_evaluate(self):
        assert model.model(SECTION, 3).skipped

    def test_gates(self):
        assert gate("a", 1.0, "equal to", 1.0).passed
        assert not gate("a", 0.98, "at least", 0.99).passed
        assert not gate("a", 0.1, "at most", 0.005).passed


class TestCommand:
    def test_it_writes_what_came_out_and_its_exit_code_says_whether_it_passed(self, tmp_path):
        out = tmp_path / "found"
        args = [
            "report",
            "evaluate",
            "--cases",
            "3",
            "--suite",
            "synthetic",
            "--out",
            str(out),
            "--json",
        ]
        done = CliRunner().invoke(app, args)
        data = json.loads((out / "evaluation.json").read_text("utf-8"))
        assert json.loads(done.stdout) == data
        assert done.exit_code == (0 if data["passed"] else 1)
        assert not data["complete"]
        assert data["suites"][0]["figures"]["claim_recall"] == 1
        page = (out / "evaluation.html").read_text("utf-8")
        assert "claim recall" in page
        assert "src=" not in page
        assert "claim recall" in (out / "evaluation.md").read_text("utf-8")

    def test_one_failed_gate_is_enough_to_fail(self, monkeypatch):
        def bad(section, cases):
            bad_gate = gate("claim recall", 0.9, "equal to", 1.0)
            return evaluation.SuiteResult(name="synthetic", gates=(bad_gate,))

        monkeypatch.setitem(evaluation.SUITES, "synthetic", bad)
        made = evaluation.evaluate(SECTION, ["synthetic"], 1)
        assert not made.passed
        assert "| claim recall | 0.9 | equal to 1 | **no** |" in evaluation.summary(made)

    def test_nothing_run_is_not_passed(self):
        assert not evaluation.evaluate(SECTION, ["model"], 1).passed

    def test_an_unknown_suite_is_named(self):
        with pytest.raises(PathaiError, match="no suite 'sintetic'"):
            evaluation.evaluate(SECTION, ["sintetic"], 1)

    def test_the_clean_draft_of_every_organ_is_true(self):
        for organ in ORGANS:
            case = synthetic_case(21, organ)
            made = draft(case, SECTION)
            assert (
                oracle.judge_draft(made.model_dump(mode="json"), case.model_dump(mode="json")) == []
            )
