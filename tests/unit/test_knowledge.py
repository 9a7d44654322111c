"""The knowledge corpus and a laboratory's own documents."""

import re

import pytest
import yaml

from pathai import knowledge
from pathai.config import ReportConfig
from pathai.errors import PathaiError
from pathai.finding import registry
from pathai.knowledge.documents import MAX_LINES, Shelf
from pathai.report.draft import draft
from pathai.report.plan import plan
from pathai.report_evaluation.hostile import clean_case

ENTRY = {"id": "a-b", "keys": ["x.y"], "source": "s", "text": {"en": "Words."}}
FILE = {"schema_version": 1, "sources": {"s": {"text": "Journal 2020;1:1"}}, "entries": [ENTRY]}

# --- what is shipped -------------------------------------------------------------------------


def test_every_entry_has_a_source_and_three_languages():
    found = knowledge.corpus()
    assert len(found) >= 40
    for known in found.values():
        assert set(known.entry.text) == {"en", "fr", "es"}
        texts = list(known.entry.text.values())
        assert len(set(texts)) == 3
        assert all(text.endswith(".") for text in texts)


def test_languages_agree_on_every_number():
    """A threshold that differs between languages would be a wrong one in one of them."""
    for name, known in knowledge.corpus().items():
        numbers = {
            code: sorted(re.findall(r"\d+", text)) for code, text in known.entry.text.items()
        }
        assert numbers["en"] == numbers["fr"] == numbers["es"], name


def test_keys_of_the_registry_that_are_measured_have_a_definition():
    book = registry()
    missing = [
        key
        for key, row in book.keys.items()
        if "measured" in row.statuses
        and row.group in ("cells", "tissue")
        and not knowledge.for_key(key.replace("*", "word"))
    ]
    assert missing == []


def test_an_entry_that_names_the_key_comes_before_one_of_a_pattern():
    assert knowledge.for_key("msi.probability") == ("msi-prediction", "prediction-set")
    assert knowledge.for_key("grade.probability") == ("prediction-set",)
    assert knowledge.for_key("core.a.b.length_mm") == ()
    assert knowledge.for_key("nothing.here") == ()


def test_references_come_once_in_order_and_only_if_they_exist():
    found = knowledge.references(["ki67", "nothing", "er-status", "ki67"], "fr")
    assert [r.id for r in found] == ["ki67", "er-status"]
    assert "noyaux" in found[0].text
    assert found[0].source.endswith("doi:10.1093/jnci/djaa201")
    assert knowledge.references(["ki67"], "xx") == knowledge.references(["ki67"], "en")


# --- what is refused -------------------------------------------------------------------------


def changed(**changes):
    return {**FILE, "entries": [{**ENTRY, **changes}]}


BAD = {
    "no English": changed(text={"fr": "Mots."}),
    "no source": changed(source="other"),
    "unknown key": changed(quote="copied text"),
    "bad id": changed(id="A b"),
    "other language": changed(text={"en": "Words.", "de": "Wörter."}),
    "twice": {**FILE, "entries": [ENTRY, ENTRY]},
    "bad DOI": {**FILE, "sources": {"s": {"text": "Journal 2020", "doi": "see web"}}},
    "not a mapping": ["x"],
}


@pytest.mark.parametrize("kind", sorted(BAD))
def test_a_wrong_file_is_named(tmp_path, kind):
    (tmp_path / "lab.yaml").write_text(yaml.safe_dump(BAD[kind]))
    with pytest.raises(PathaiError, match=r"lab\.yaml") as caught:
        knowledge.load(tmp_path)
    assert caught.value.code == "E208"


def test_a_good_file_is_read(tmp_path):
    (tmp_path / "lab.yaml").write_text(yaml.safe_dump(FILE))
    assert knowledge.load(tmp_path)["a-b"].reference("es").text == "Words."


# --- a laboratory's documents ----------------------------------------------------------------


@pytest.fixture
def lab(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "ki67.md").write_text(
        "# Ki-67\n\nThe Ki-67-positive fraction of nuclei\nis counted on the hot spot.\n\nOther.\n"
    )
    (tmp_path / "sub" / "er.txt").write_text("ER is stained with clone X.\n" * 30)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    return tmp_path


def test_passages_name_their_file_and_lines(lab):
    best = Shelf([lab]).search("Ki-67-positive fraction")[0]
    assert (best.file, best.first, best.last) == ("ki67.md", 3, 4)
    assert best.id.startswith("doc-")
    lines = (lab / best.file).read_text().split("\n")
    assert best.text == "\n".join(lines[best.first - 1 : best.last])


def test_long_paragraphs_are_cut_and_nothing_is_lost(lab):
    parts = [p for p in Shelf([lab]).passages if p.file == "sub/er.txt"]
    assert max(p.last - p.first + 1 for p in parts) == MAX_LINES
    assert sum(p.last - p.first + 1 for p in parts) == 30


def test_ids_stay_until_the_words_change(lab):
    one = {p.id for p in Shelf([lab]).passages}
    assert {p.id for p in Shelf([lab]).passages} == one
    (lab / "ki67.md").write_text("# Ki-67\n\nAnother text.\n")
    assert {p.id for p in Shelf([lab]).passages} != one


def test_words_that_are_nowhere_find_nothing(lab):
    shelf = Shelf([lab])
    assert shelf.search("zebra") == ()
    assert shelf.search("") == ()
    assert Shelf([]).search("Ki-67") == ()
    assert shelf.on("number of nuclei in the analyzed tissue") is None


def test_what_cannot_be_read_is_named(lab):
    with pytest.raises(PathaiError, match=r"E208.*nowhere"):
        Shelf([lab / "nowhere"])
    (lab / "old.txt").write_bytes(b"caf\xe9")
    with pytest.raises(PathaiError, match=r"E208.*old\.txt"):
        Shelf([lab])


# --- in a draft ------------------------------------------------------------------------------


def test_a_draft_lists_the_definitions_of_its_values_and_no_others():
    case = clean_case()
    made = draft(case, ReportConfig())
    cites = {line.finding: line.cites for part in plan(case) for line in part.lines}
    valued = {f.id for f in case.findings if f.status in ("measured", "observed", "predicted")}
    found = [f for f in made.fixed if f.kind == "reference"]
    for fixed in found:
        assert fixed.findings
        assert set(fixed.findings) <= valued
        assert all(fixed.id in cites[finding] for finding in fixed.findings)
    assert len({f.id for f in found}) == len(found)
    assert {f.id for f in found} == {i for x in valued for i in cites[x]}


def test_a_passage_is_named_by_place_without_its_words(lab):
    made = draft(clean_case(), ReportConfig(knowledge=(str(lab),)))
    found = [f for f in made.fixed if f.id.startswith("doc-")]
    assert [f.text for f in found] == ["ki67.md, 3-4"]
    assert "hot spot" not in " ".join(f.text for f in found)
    same = draft(clean_case(), ReportConfig())
    assert [s.rendered for s in made.statements()] == [s.rendered for s in same.statements()]
