"""The whole path through a real language-model runtime: build, serve, ask, verify, fall back."""

import random

import pytest
from llm_cases import CASE, HONEST, numbers_untouched, section, tiny

from pathai.drafters.base import read_answer
from pathai.report.draft import draft
from pathai.testing import tiny_llm


def test_what_the_model_is_trained_to_say_is_right():
    rng = random.Random(0)
    lines = tiny_llm.lines_of(rng, 6)
    texts = read_answer(tiny_llm.answer_of(rng, lines), lines)
    assert None not in texts
    assert all(line.finding in text for line, text in zip(lines, texts, strict=True))


def test_examples_are_drawn_from_the_seed_alone():
    one, two = tiny_llm._examples(3), tiny_llm._examples(3)
    assert [next(one) for _ in range(5)] == [next(two) for _ in range(5)]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """The tiny model, trained once per session (about half a minute)."""
    from pathai.testing.tiny_llm import build

    return build(tmp_path_factory.mktemp("tiny") / "model")


@pytest.mark.slow
def test_a_real_model_over_http_gives_a_verified_draft(tiny_model):
    with tiny(tiny_model) as url:
        assert url.startswith("http://127.0.0.1:")
        made = draft(CASE, section(url, seconds=120))
    numbers_untouched(made)
    counts = made.verification
    assert counts.accepted > 0, "the model phrased nothing that passes"
    for said in made.statements():
        assert (said.source == "llm") == (said.verdict == "pass")
        if said.verdict == "fallback":
            assert said.flags
    assert "llm_invalid" not in made.engine_flags, "the server honors the schema"


@pytest.mark.slow
def test_a_real_model_that_ignores_the_schema_is_verified_the_same_way(tiny_model):
    with tiny(tiny_model, "--ignore-schema") as url:
        made = draft(CASE, section(url, seconds=120))
    numbers_untouched(made)
    assert made.verification.fallback > 0
    assert "llm_repaired" in made.engine_flags


@pytest.mark.slow
def test_random_weights_are_refused_sentence_by_sentence(tmp_path):
    from pathai.testing.tiny_llm import build

    with tiny(build(tmp_path / "model", steps=0)) as url:
        made = draft(CASE, section(url, seconds=120))
    numbers_untouched(made)
    assert [s.rendered for s in made.statements()] == HONEST
    assert made.verification.fallback == len(HONEST)
