"""Clinical context: closed lists in, C1, C2, ... out, and a note that is only data."""

import unicodedata

import pytest
from finding_cases import slide, stored_slide
from hypothesis import given, settings
from hypothesis import strategies as st
from remote_cases import config

from pathai.chain import findings_step
from pathai.clinical import MOST_BYTES, MOST_LETTERS, cleaned, contexts, read_clinical
from pathai.config import FindingsConfig
from pathai.errors import PathaiError
from pathai.finding import canonical, load_findings
from pathai.findings import findings_of_case, run
from pathai.plan import Plan
from pathai.store.commit import Key, run_stage
from pathai.store.folders import CaseFolder, SlideFolder

WHOLE = """
age_band: 60-69
psa_ng_ml: 7.2
prior_diagnosis: none
specimen: prostate
procedure: needle_core_biopsy
note: |
  Rising PSA,
  asks for a second opinion.
"""


def write(tmp_path, text):
    path = tmp_path / "C1.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_items_are_numbered_in_one_order(tmp_path):
    found = read_clinical(write(tmp_path, WHOLE))
    assert [(c.id, c.key, c.value, c.unit) for c in found] == [
        ("C1", "age_band", "60-69", ""),
        ("C2", "psa_ng_ml", "7.2", "ng/mL"),
        ("C3", "prior_diagnosis", "none", ""),
        ("C4", "specimen", "prostate", ""),
        ("C5", "procedure", "needle_core_biopsy", ""),
        ("C6", "note", "Rising PSA, asks for a second opinion.", ""),
    ]
    backwards = "\n".join(reversed(WHOLE.split("note")[0].strip().splitlines()))
    assert read_clinical(write(tmp_path, backwards)) == found[:-1]
    assert read_clinical(tmp_path / "none.yaml") == ()


def test_context_is_part_of_the_sealed_findings():
    context = contexts({"psa_ng_ml": 7})
    case = findings_of_case("C1", [slide("S1")], context=context)
    assert case.context == context
    assert load_findings(canonical(case)) == case
    assert case.digest != findings_of_case("C1", [slide("S1")]).digest


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("age_band: 64", "age_band"),
        ("age_band: 64-66", "age_band"),
        ("psa_ng_ml: high", "psa_ng_ml"),
        ("psa_ng_ml: -1", "psa_ng_ml"),
        ("psa_ng_ml: .nan", "psa_ng_ml"),
        ("psa_ng_ml: true", "psa_ng_ml"),
        ("specimen: toe", "specimen"),
        ("patient_name: A B", "patient_name"),
        ("date_of_birth: 1950-01-01", "date_of_birth"),
        ("note: [a, b]", "note"),
        ("note: " + "x" * (MOST_LETTERS + 1), "2,001 characters"),
        ("note: " + "\ufdfa" * 200, "characters"),  # one that NFKC makes eighteen of
        ("[1, 2]", "no items"),
        ("", "no items"),
        ("a: !!python/object/apply:os.system ['true']", "not YAML"),
        ("a: [", "not YAML"),
        (b"note: \xff\xfe", "not UTF-8"),
        ("[" * 5000, "not YAML"),
        ("note: " + "x" * MOST_BYTES, "bytes"),
        ("\u202e\x1b[31m: 1", "not YAML|u202e"),
    ],
)
def test_anything_else_is_refused_in_one_plain_line(tmp_path, text, says):
    with pytest.raises(PathaiError, match=says) as caught:
        read_clinical(write(tmp_path, text))
    assert caught.value.code == "E205"
    assert str(caught.value).isprintable()


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "C1.yaml").mkdir()
    with pytest.raises(PathaiError, match=r"E205.*C1\.yaml"):
        read_clinical(tmp_path / "C1.yaml")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=100))  # NFKC makes at most eighteen characters of one
def test_a_note_is_one_clean_line_and_cleaning_it_again_changes_nothing(text):
    note = cleaned(text)
    assert cleaned(note) == note
    assert not any(unicodedata.category(c).startswith("C") for c in note)
    assert "\n" not in note


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("a\u202eb\u2066c\u200bd\x00e", "abcde"),
        ("ﬁne ½", "fine 1⁄2"),
        ("a\r\nb\u2028c", "a b c"),
        ("\U000e0041hidden\U000e007f", "hidden"),
    ],
)
def test_marks_that_hide_or_turn_text_are_gone(typed, kept):
    assert cleaned(typed) == kept


def test_a_change_of_the_file_makes_the_findings_stale(tmp_path):
    plan = Plan(config(tmp_path, {"S1": "S1.svs"}))
    step = findings_step(plan, plan.results.case("C-S1"))
    path = tmp_path / "clinical" / "C-S1.yaml"
    path.parent.mkdir()
    path.write_text("psa_ng_ml: 7\n")
    with_it = findings_step(plan, plan.results.case("C-S1"))
    path.write_text("psa_ng_ml: 8\n")
    changed = findings_step(plan, plan.results.case("C-S1"))
    assert len({str(s.key) for s in (step, with_it, changed)}) == 3
    (path.parent / "C-S2.yaml").write_text("psa_ng_ml: 9\n")
    assert findings_step(plan, plan.results.case("C-S1")).key == changed.key


def test_the_stage_reads_the_file_and_names_what_is_wrong(tmp_path):
    folder = SlideFolder(tmp_path / "slides" / "S1")
    row = stored_slide(folder, "H&E")
    path = write(tmp_path, "psa_ng_ml: 7.20")

    def stage(out):
        run(
            CaseFolder(tmp_path / "cases" / "C"), FindingsConfig(), out, rows=[row],
            slides={"S1": folder}, detector="classical", models={"tumor": ()}, clinical=path,
            requires=("gleason.primary",),
        )  # fmt: skip

    key = Key("findings", 1, "c", ("findings.json",))
    run_stage(tmp_path / "cases" / "C" / "findings", "C", key, {}, stage)
    case = load_findings((tmp_path / "cases" / "C" / "findings.json").read_text())
    assert [(c.id, c.value, c.unit) for c in case.context] == [("C1", "7.2", "ng/mL")]
    assert [f.note for f in case.findings if f.key == "gleason.primary"] == ["person_only"]
    path.write_text("psa: 7")
    with pytest.raises(PathaiError, match=r"E205: C1\.yaml: psa"):
        stage(None)


@pytest.mark.parametrize(
    ("value", "printed"), [(0.00001, "0.00001"), (7.0, "7"), (7.25, "7.25"), (100000.0, "100000")]
)
def test_a_number_has_no_exponent(value, printed):
    assert contexts({"psa_ng_ml": value})[0].value == printed


def test_a_wrong_item_is_named_without_a_stray_mark():
    for name in ("psa", "p" * 80):
        with pytest.raises(PathaiError) as caught:
            contexts({name: 7})
        assert "'" not in caught.value.message
        assert name[:60] + ":" in caught.value.message
