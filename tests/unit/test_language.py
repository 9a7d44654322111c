import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layout_cases import KEYS

from pathai import rules
from pathai.drafters.base import FLAGS
from pathai.errors import PathaiError
from pathai.finding import registry
from pathai.language import LANGUAGES, catalog, number_pattern, number_text, parse_number
from pathai.report.records import WATERMARK
from pathai.rules import tables

OTHERS = [code for code in LANGUAGES if code != "en"]
languages = st.sampled_from(LANGUAGES)
numbers = st.decimals(-(10**12), 10**12, places=6)


@given(numbers, st.integers(0, 6), languages)
def test_numbers_read_back(value, decimals, language):
    text = number_text(value, decimals, language)
    assert parse_number(text, language) == round(value, decimals)
    assert number_pattern(language).findall(f"({text}; {text})") == [text, text]


@given(numbers, languages)
def test_a_percentage_holds_its_number_and_the_sign(value, language):
    text = catalog(language).percent(value, 1)
    assert text.endswith("%")
    assert number_pattern(language).findall(text) == [text.rstrip("%\u00a0")]
    assert parse_number(text.rstrip("%\u00a0"), language) == round(value, 1)


@given(st.decimals(1000, 10**9, places=2))
def test_no_language_takes_anothers_number_for_its_own(value):
    """1,234.5 of English must not be read as 1.2345 in French: it is no number there at all."""
    for printed in LANGUAGES:
        for read in LANGUAGES:
            text = number_text(value, 2, printed)
            if printed != read and {printed, read} != {"fr", "es"}:
                with pytest.raises(ValueError, match="not a number"):
                    parse_number(text, read)


@pytest.mark.parametrize(
    ("language", "printed"),
    [("en", "−1,234,567.50"), ("fr", "−1\u202f234\u202f567,50"), ("es", "−1\u202f234\u202f567,50")],
)
def test_formats(language, printed):
    assert number_text(Decimal("-1234567.5"), 2, language) == printed
    assert number_text(Decimal("-0.001"), 2, language) in ("0.00", "0,00")


def test_digits_within_names_are_not_numbers():
    for language in LANGUAGES:
        assert number_pattern(language).findall("Ki-67 H2 E110 v1") == []


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalog_covers_the_registry(language):
    words, book = catalog(language), registry()
    assert set(words.terms) == {*book.keys, *book.terms}
    assert set(words.notes) == set(book.notes)
    assert set(words.flags) == set(book.flags)
    assert set(words.units) == set(book.units)
    assert {v: set(w) for v, w in words.values.items()} == {
        v: set(w) for v, w in book.vocabularies.items()
    }
    assert {row.counts for row in book.keys.values() if row.counts} <= set(words.counts)
    assert set(words.engine_flags) == set(FLAGS)


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalog_covers_the_english_words_with_the_same_places(language):
    words, english = catalog(language), catalog("en")
    for name in ("statuses", "valueless", "laterality", "titles", "phrases"):
        theirs, ours = getattr(words, name), getattr(english, name)
        assert set(theirs) == set(ours), name
        for key, text in ours.items():
            assert places(theirs[key]) == places(text), key
    for pattern, row in registry().keys.items():
        assert places(words.terms[pattern]) == places(row.name)
    assert {len(set(words.notes.values())), len(set(words.flags.values()))} == {
        len(registry().notes), len(registry().flags)
    }  # fmt: skip


def places(text):
    return sorted(re.findall(r"\{[^}]*\}", text))


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_keeps_every_number_of_a_fixed_sentence(language):
    """A guideline's limit must be the same in every language."""
    words, book = catalog(language), registry()
    pairs = [(words.notes[c], t) for c, t in book.notes.items()]
    pairs += [(words.flags[c], t) for c, t in book.flags.items()]
    pairs += [(words.terms[k], row.name) for k, row in book.keys.items()]
    pairs += [(words.values[v][c], t) for v, w in book.vocabularies.items() for c, t in w.items()]
    for theirs, ours in pairs:
        # A Gleason pattern is called a grade elsewhere; its number stays.
        read = sorted(number_pattern(language).findall(theirs))
        assert [x.replace(",", ".") for x in read] == sorted(number_pattern().findall(ours)), theirs


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_is_not_the_english_text(language):
    words, book = catalog(language), registry()
    assert not set(words.notes.values()) & set(book.notes.values())
    assert not set(words.flags.values()) & set(book.flags.values())
    same = {k for k, row in book.keys.items() if words.terms[k] == row.name}
    assert same <= {"*.predicted_number"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_rules_have_words_in_every_language(language):
    told = [(rules.suggestion_text(n, language), t.en) for n, t in tables.suggestions().items()]
    told += [
        (rules.contradiction_text(n, language), t.en) for n, t in tables.contradictions().items()
    ]
    assert told
    for text, english in told:
        assert text.strip()
        assert (text == english) == (language == "en")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_key_has_words_and_no_place_is_left_open(language):
    words = catalog(language)
    for key in (*KEYS, *registry().terms):
        assert "{" not in words.term(key)
    for row_key, row in registry().keys.items():
        for code in row.values:
            assert words.value(row_key, code)
        assert words.unit(row.unit) is not None


@pytest.mark.parametrize("language", LANGUAGES)
def test_sentences_hold_each_slot_once_and_no_digit(language):
    patterns = catalog(language).sentences
    for words in (patterns.sentence, patterns.item):
        for status, text in words.items():
            hedge = ["{predicted}"] if status == "predicted" else []
            assert places(text) == sorted(["{term}", "{value}", *hedge])
            assert not re.search(r"\d", text)
            assert text.endswith(".")


def test_translations_say_that_nobody_has_reviewed_them():
    assert catalog("en").reviewed
    for language in OTHERS:
        words = catalog(language)
        assert words.reviewed == bool(words.reviewed_by)
        assert not words.reviewed


def test_the_english_watermark_is_the_records():
    assert catalog("en").phrase("watermark") == WATERMARK


def test_an_unknown_language_is_named():
    with pytest.raises(PathaiError, match="E191"):
        catalog("de")


def test_french_spaces_do_not_break():
    assert catalog("fr").typeset("« a » : b ; c") == "«\u00a0a\u00a0»\u00a0: b\u00a0; c"
    assert catalog("es").typeset("a : b") == "a : b"
