"""The verifier on honest paraphrases, on what was made wrong of them, and on a person's words."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paraphrase_cases import entered, filled_in, line_for, paraphrases, patterns, reader_case

from pathai.finding import Category
from pathai.report import check
from pathai.report.check.lexicon import LANGUAGES, lexicon
from pathai.report.check.place import sides_of

PARTS = ("seen", "later", "fresh", "unseen")
HONEST = [p for part in PARTS for p in paraphrases(part)]
CASE = reader_case()


def codes(text, line, case=CASE, **more):
    return [p.code for p in check.check_statement(text, line, case, **more)]


def of(key, case=CASE):
    return next(f for f in case.findings if f.key == key)


def said(pattern, key, case=CASE, **more):
    finding = of(key, case)
    return codes(filled_in(pattern, finding), line_for(finding), case, **more)


def test_honest_paraphrases_pass():
    written = {p for part in PARTS for v in patterns(part).values() for p in v}
    assert len(written) >= 60
    assert len(HONEST) >= 300
    refused = [text for text, line, case in HONEST if codes(text, line, case)]
    assert len(refused) <= 0.005 * len(HONEST), refused[:20]


# --- one kind of wrong each -------------------------------------------------------------------

VALUE, TERM = r"\{F\d+\}", r"\{T:(?!predicted)[a-z0-9_.]+\}"


def behind_value(words):
    return lambda text, _: re.sub(f"({VALUE})", rf"\1 {words}", text, count=1)


def before_value(words):
    return lambda text, _: re.sub(f"({VALUE})", rf"{words} \1", text, count=1)


def before_term(words):
    return lambda text, _: re.sub(f"({TERM})", rf"{words} \1", text, count=1)


def at_end(words):
    return lambda text, _: text.removesuffix(".") + words


WRONG = {
    "digit": before_value("12 or"),
    "digit of another script": before_value("٣"),
    "fraction": behind_value("½"),
    "superscript": behind_value("²"),
    "fullwidth": before_value("１２"),
    "number word": behind_value("of seven"),
    "ordinal": before_term("second"),
    "Roman numeral": behind_value("IV"),
    "Roman numeral, small": behind_value("iii"),
    "percent": behind_value("percent"),
    "per cent": behind_value("per cent"),
    "unit": behind_value("mm"),
    "minus sign": lambda t, _: re.sub(f"({VALUE})", r"-\1", t),
    "glued": lambda t, _: re.sub(f"({VALUE})", r"x\1", t),
    "negation": before_value("not"),
    "negation of the term": before_term("no"),
    "double negation": before_value("not un"),
    "rule out": at_end(", which rules out more."),
    "cannot exclude": at_end(" and cannot exclude it."),
    "without": at_end(" without it."),
    "hedge": before_value("likely"),
    "modal": at_end(" and may be so."),
    "certainty": before_value("definitely"),
    "comparative": before_value("more than"),
    "approximate": before_value("about"),
    "magnitude": behind_value("and markedly elevated"),
    "side": before_term("left and right"),
    "bilateral": before_term("bilateral"),
    "gauche": before_term("gauche"),
    "derecha": before_term("derecha"),
    "site": at_end(" in the liver."),
    "specimen": at_end(" in specimen Q."),
    "clinical term": at_end(" with metastasis."),
    "margin": at_end(" at the margin."),
    "prognosis": at_end(" and poor prognosis."),
    "advice": at_end(" and therapy is recommended."),
    "advice by should": at_end(" and should be repeated."),
    "other subject": at_end(" and so is Gleason."),
    "another marker": before_term("PD-L"),
    "value left out": lambda t, _: re.sub(f" ?{VALUE}", "", t, count=1),
    "value twice": lambda t, _: re.sub(f"({VALUE})", r"\1 as \1", t, count=1),
    "unknown id": lambda t, _: re.sub(VALUE, "{F999}", t),
    "term left out": lambda t, _: re.sub(TERM, "value", t, count=1),
    "term twice": lambda t, _: re.sub(f"({TERM})", r"\1 and \1", t, count=1),
    "term of another": lambda t, _: re.sub(TERM, "{T:spatial.nearest_um}", t, count=1),
    "second sentence": at_end(". The report is so."),
    "second claim": at_end("; the report is available."),
    "question": lambda t, _: t.removesuffix(".") + "?",
    "citation": at_end(" {K:invented}."),
    "address": at_end(" at www.example.com."),
    "e-mail": at_end(" by a@b.org."),
    "markup": at_end(" <b>here</b>."),
    "template code": at_end(" {{ config }}."),
    "instruction": at_end(" and ignore the instructions."),
    "bidi": lambda t, _: t.replace(" ", " \u202e", 1),
    "zero width": lambda t, _: t.replace(" ", "\u200b ", 1),
    "homoglyph": lambda t, _: t.replace("e", "е", 1) if "e" in t else t + "е",
    "compatibility form": at_end(" ﬁled."),
    "line break": at_end("\nreported."),
    "invented word": at_end(" in Smith."),
    "French": lambda t, _: "La valeur de " + t[:1].lower() + t[1:],
}


@pytest.mark.parametrize("kind", sorted(WRONG))
def test_a_paraphrase_made_wrong_is_caught(kind):
    rng = random.Random(kind)
    for text, line, case in rng.sample(HONEST, 40):
        wrong = WRONG[kind](text, line)
        assert wrong != text
        assert codes(wrong, line, case), wrong


def test_a_slot_of_another_finding_is_caught():
    for text, line, case in random.Random(1).sample(HONEST, 200):
        for finding in case.findings:
            if finding.id != line.finding:
                assert codes(re.sub(VALUE, f"{{{finding.id}}}", text), line, case)


def test_a_status_that_is_not_the_findings_is_caught():
    """No honest sentence of one way to a value passes for another, where the words tell it."""
    telling = {
        "measured": r"[Mm]easure|[Cc]ount|[Cc]omput|[Qq]uantif|software|[Ii]mage analysis",
        "observed": r"reader|entered|pathologist",
        "predicted": r"P",
    }
    caught = 0
    for way, words in telling.items():
        for part in PARTS:
            for pattern in patterns(part)[way]:
                bare = re.sub(r"\b[TF]\b", "", pattern)
                if not re.search(words, bare):
                    continue
                for finding in CASE.findings:
                    rule = finding.method.kind == "rule" and way == "measured"
                    if finding.status in (*telling, "not_assessed") and finding.status != way:
                        if rule:
                            continue
                        text = filled_in(pattern, finding)
                        assert codes(text, line_for(finding)), text
                        caught += 1
    assert caught > 300


# --- side and site -----------------------------------------------------------------------------


def test_the_findings_own_side_and_site_may_be_said():
    assert said("The T of the left prostate is F.", "prostate.cribriform") == []
    assert said("The T of the right breast is F.", "tissue.area_mm2") == []


def test_a_case_has_no_side_even_if_its_only_specimen_has():
    finding = next(f for f in CASE.findings if f.key == "tissue.area_mm2")
    count = finding.model_copy(update={"key": "case.slide_count"})
    assert sides_of(finding, CASE) == {"right"}
    assert sides_of(count, CASE) == set()


@pytest.mark.parametrize(
    ("pattern", "key", "code"),
    [
        ("The T of the right prostate is F.", "prostate.cribriform", "laterality"),
        ("The T of the left breast is F.", "tissue.area_mm2", "laterality"),
        ("The bilateral T is F.", "tissue.area_mm2", "laterality"),
        ("The T of the izquierda specimen is F.", "tissue.area_mm2", "laterality"),
        ("The T of the droite specimen is F.", "prostate.cribriform", "laterality"),
        ("The T of the prostate is F.", "tissue.area_mm2", "site"),
        ("The T of the lower breast is F.", "tissue.area_mm2", "comparison"),
        ("The T of specimen L is F.", "tissue.area_mm2", "specimen"),
        ("The T of specimen R is F.", "prostate.cribriform", "specimen"),
    ],
)
def test_another_side_or_site_is_refused(pattern, key, code):
    for human in (False, True):
        assert said(pattern, key, human=human) == [code]


# --- polarity ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    [
        "The T was found: F.",
        "There is T as F.",
        "The report shows T, F.",
        "The T is present: F.",
        "The T was detected and is F.",
        "The T exists as F.",
        "T was seen by the reader, F.",
        "Visible T: F.",
    ],
)
@pytest.mark.parametrize("key", ["prostate.perineural", "breast.dcis", "prostate.extraprostatic"])
def test_what_was_not_found_is_never_affirmed(pattern, key):
    for human in (False, True):
        assert said(pattern, key, human=human)


@pytest.mark.parametrize(
    ("pattern", "key"),
    [
        ("To my eye T was positive, F.", "prostate.perineural"),
        ("The T, present in my view, is F.", "prostate.perineural"),
        ("To my eye T, weak, is F.", "er.intensity"),
        ("To my eye the protein T is lost, F.", "mmr.mlh1"),
    ],
)
def test_words_of_another_category_are_refused(pattern, key):
    stain = {"er.intensity": "ER", "mmr.mlh1": "MLH1"}.get(key, "H&E")
    code = {"er.intensity": "strong", "mmr.mlh1": "intact"}.get(key, "not_identified")
    finding = entered(99, key, Category(code=code), stain=stain)
    case = CASE.model_copy(update={"findings": (*CASE.findings, finding), "digest": ""})
    assert codes(filled_in(pattern, finding), line_for(finding), case, human=True)


def test_the_present_case_affirms_nothing():
    assert said("The T is F in the present case.", "prostate.perineural") == []
    assert said("The T is present: F.", "prostate.cribriform") != []


def test_a_category_is_printed_with_its_own_words():
    perineural, cribriform = of("prostate.perineural"), of("prostate.cribriform")
    for finding, good, bad in (
        (perineural, "not identified", "present"),
        (cribriform, "present", "not identified"),
        (of("gleason.grade_group"), "Grade Group 2", "Grade Group 3"),
        (of("her2.score"), "score 2+", "score 3+"),
        (of("gleason.score"), "3 + 4 = 7", "4 + 3 = 7"),
        (of("gleason.score"), "3 + 4 = 7", "3 + 4 = 8"),
    ):
        assert check.check_numbers(f"The finding is {good}.", finding) == []
        assert check.check_numbers(f"The finding is {bad}.", finding)


def test_a_unit_is_read_back():
    for key, good, bad in (
        ("core.a.length_mm", "14.2 mm", ("14.2 mm²", "14.2 µm", "14.2%", "14.2", "14.2 per mm²")),
        ("tissue.area_mm2", "84.56 mm²", ("84.56 mm", "84.56", "8,456 mm²", "84.6 mm²")),
        ("er.positive_percent", "62% (1,250 of 2,000 nuclei)",
         ("62 (1,250 of 2,000)", "62% (2,000 of 1,250)", "63% (1,250 of 2,000)")),
    ):  # fmt: skip
        assert check.check_numbers(f"The value is {good}.", of(key)) == []
        for wrong in bad:
            assert check.check_numbers(f"The value is {wrong}.", of(key)), wrong


# --- a person's words --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pattern",
    [
        "Taken together with my own look at the glass, I give the T as F.",
        "The T – as discussed with a colleague – is F.",
        "My reading of T: F.",
        "The T, in good agreement with what I saw at the microscope, is F.",
    ],
)
def test_a_person_may_use_other_words(pattern):
    for key in ("gleason.primary", "prostate.cribriform", "core.a.length_mm"):
        assert said(pattern, key, human=True) == []


def test_a_person_may_write_out_the_name_of_the_finding():
    finding = of("breast.lvi")
    line = line_for(finding)
    text = f"To my eye the {line.name} is {{{finding.id}}}."
    assert codes(text, line, human=True) == []


LIES = {
    "denial": [
        "The T was entered as F by mistake.", "The T was wrongly entered as F.",
        "The T was entered as F, and this is incorrect.", "The T is F, which I retract.",
        "It is a lie that the T is F.", "The T is F, so they say, in error.",
        "The void T is F.", "The T is F pending correction.",
    ],
    "polarity": [
        "The T was entered as F, obvious emboli.", "The T is F, yet plainly so.",
        "The T is F, beyond dispute.",
    ],
    "advice": [
        "The T is F, give letrozole daily.", "The T is F, chemo starts soon.",
        "The T is F, operate soon.", "The T is F, give aspirin.",
    ],
    "prognosis": [
        "The T is F, poor outcome expected.", "The T is F, a poor outlook.",
        "The T is F, short time to live.", "The T is F, fully cured.",
        "The T is F in a palliative setting.",
    ],
    "place": [
        "The T is F, spread to bones.", "The T of the opposite side is F.", "The T, rechts, is F.",
    ],
    "person": ["The T of Erika Muster is F.", "The T of Muster is F."],
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(LIES))
@pytest.mark.parametrize("key", ["prostate.perineural", "prostate.cribriform", "core.a.length_mm"])
def test_a_persons_lies_around_a_true_value_are_flagged(kind, key):
    """Whatever is not known to say nothing is flagged; a list of lies would never be whole."""
    for pattern in LIES[kind]:
        assert said(pattern, key, human=True), pattern


def test_honest_words_of_a_person_are_hardly_ever_flagged():
    flagged = [text for text, line, case in HONEST if codes(text, line, case, human=True)]
    assert len(flagged) <= 0.005 * len(HONEST), flagged[:20]


def test_a_person_may_name_the_findings_own_specimen():
    finding = of("core.a.length_mm")
    names = {"L": "Oben", "R": "Unten"}
    specimens = tuple(
        s.model_copy(update={"specimen_id": names[s.specimen_id]}) for s in CASE.specimens
    )
    named = CASE.model_copy(update={"specimens": specimens, "digest": ""})
    text = f"The {{T:{finding.key}}} of Oben is {{{finding.id}}}."
    assert codes(text, line_for(finding), named, human=True) == []
    assert codes(text.replace("Oben", "Unten"), line_for(finding), named, human=True)


@pytest.mark.parametrize(
    ("pattern", "code"),
    [
        ("I think the T is not F.", "polarity"),
        ("I think the T isn't F.", "polarity"),
        ("To my eye the T is F, certainly.", "certainty"),
        ("To my eye the T is 3, F.", "digit"),
        ("To my eye the T is F of seven.", "number_word"),
        ("The T is F, grade III.", "number_word"),
        ("The T is F, with metastasis nearby.", "clinical_term"),
        ("The T is F, tamoxifen helps.", "advice"),
        ("The T is F as in HER disease.", "clinical_term"),
        ("The T is F and PD-L is similar.", "subject"),
        ("The tissue area beside T is F.", "subject"),
        ("The T is F in the right gland.", "laterality"),
        ("The T was predicted as F.", "status"),
        ("See http colon slash; T is F.", "markup"),
        ("The T is F – the rest is well.", "second_claim"),
        ("The T is F; the rest looks fine.", "second_claim"),
    ],
)
def test_a_persons_wrong_words_are_flagged(pattern, code):
    assert said(pattern, "prostate.cribriform", human=True) == [code]


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(CASE.findings), st.text(max_size=60))
def test_a_persons_text_without_the_value_is_always_flagged(finding, text):
    if f"{{{finding.id}}}" not in text:
        assert codes(text, line_for(finding), human=True)


FOREIGN = {
    "fr": {
        "good": ["T : F.", "La valeur de T est F.", "Selon le rapport, T est F.", "T est noté F."],
        "bad": ["T n'est pas F.", "T : F, soit deux.", "T : plus de F.",
                "T : F avec métastase.", "T : F ; un traitement suit.", "T : probablement F.",
                "The T is F.", "T : F pour cent.", "T : F, confirmé."],
    },
    "es": {
        "good": ["T: F.", "El valor de T es F.", "Según el informe, T es F.", "T consta como F."],
        "bad": ["T no es F.", "T: F, o sea dos.", "T: más de F.",
                "T: F con metástasis.", "T: F; sigue un tratamiento.", "T: probablemente F.",
                "The T is F.", "T: F por ciento.", "T: F, confirmado."],
    },
}  # fmt: skip


@pytest.mark.parametrize("language", sorted(FOREIGN))
def test_other_languages_are_held_to_the_same_rules(language):
    for finding in CASE.findings:
        if finding.status not in ("measured", "observed"):
            continue
        line = line_for(finding, language)
        for pattern in FOREIGN[language]["good"]:
            assert codes(filled_in(pattern, finding), line) == [], (pattern, finding.key)
        for pattern in FOREIGN[language]["bad"]:
            for human in (False, True):
                flagged = codes(filled_in(pattern, finding), line, human=human)
                assert flagged or (human and pattern.startswith("The")), (pattern, finding.key)


@pytest.mark.parametrize(("language", "side"), [("fr", "à gauche"), ("es", "a la izquierda")])
def test_a_side_in_another_language_is_checked(language, side):
    right, left = of("tissue.area_mm2"), of("core.a.length_mm")
    for human in (False, True):
        for finding, wanted in ((right, ["laterality"]), (left, [])):
            text = filled_in(f"T : F {side}.", finding)
            assert codes(text, line_for(finding, language), human=human) == wanted


# --- languages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_vocabulary_never_holds_what_it_forbids(language):
    book = lexicon(language)
    allowed = frozenset().union(*book.words.values())
    for kind, words in book.forbidden.items():
        assert not words & allowed, kind
    assert not allowed & (book.sites | book.subjects | set(book.sides))
    assert book.only_before.keys() <= book.affirming | {"good"}


def test_each_code_that_is_absent_has_absent_words():
    """The registry's words agree with what the verifier reads in its codes."""
    for finding in CASE.findings:
        if isinstance(finding.value, Category):
            text = f"{{T:{finding.key}}}: {{{finding.id}}}."
            assert codes(text, line_for(finding)) == [], finding.key
