"""The whole path through a real language-model runtime: build, serve, ask, verify, fall back."""

import os
import random
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from llm_cases import CASE, HONEST, numbers_untouched, section

from pathai.config import LlmConfig, ReportConfig
from pathai.drafters.base import read_answer
from pathai.drafters.evaluations import write_evaluation
from pathai.drafters.local import LocalDrafter, weights_digest
from pathai.errors import PathaiError
from pathai.report.draft import draft
from pathai.testing import tiny_llm
from pathai.testing.tiny_llm import build, cached, serving
from pathai.testing.tiny_llm_sentences import answer_of, examples, lines_of


def test_what_the_model_is_trained_to_say_is_right():
    rng = random.Random(0)
    languages = set()
    for _ in range(40):
        lines = lines_of(rng, 6)
        texts = read_answer(answer_of(rng, lines), lines)
        assert None not in texts
        assert all(line.finding in text for line, text in zip(lines, texts, strict=True))
        languages.add(lines[0].language)
    assert languages == {"en", "fr", "es"}


def test_examples_are_drawn_from_the_seed_alone():
    one, two = examples(3), examples(3)
    assert [next(one) for _ in range(5)] == [next(two) for _ in range(5)]


@pytest.mark.parametrize("path", ["", "nowhere", "."])
def test_a_local_model_needs_a_folder_with_weights(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with pytest.raises(PathaiError, match="E190"):
        LocalDrafter(ReportConfig(drafter="local", llm=LlmConfig(path=path)))


def test_a_digest_covers_names_and_bytes(tmp_path):
    one, two = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    one.write_bytes(b"x")
    two.write_bytes(b"y")
    found = weights_digest([one, two])
    two.write_bytes(b"z")
    assert weights_digest([one, two]) != found
    assert weights_digest([one]) != weights_digest([two])


def test_a_drafter_is_known_without_loading_torch():
    code = "import sys, pathai.drafters.local, pathai.knowledge; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- a trained model -------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """The tiny model, trained once per session, or kept in the folder that CI caches."""
    folder = os.environ.get("PATHAI_TINY_LLM")
    return cached(Path(folder) if folder else tmp_path_factory.mktemp("tiny"))


def judged(made):
    """What was published stands on its findings; what was refused says why."""
    numbers_untouched(made)
    for said in made.statements():
        assert (said.source == "llm") == (said.verdict == "pass")
        if said.verdict == "fallback":
            assert said.flags
    return made.verification


@pytest.mark.slow
def test_a_real_model_over_http_gives_a_verified_draft(tiny_model):
    with serving(tiny_model) as url:
        assert url.startswith("http://127.0.0.1:")
        made = draft(CASE, section(url, seconds=120, model=tiny_llm.NAME))
    assert judged(made).accepted > len(HONEST) / 2, "the model phrased little that passes"
    assert "llm_invalid" not in made.engine_flags, "the server honors the schema"
    assert made.engine.digest == weights_digest(sorted(tiny_model.glob("*.safetensors")))


@pytest.mark.slow
def test_a_real_model_that_ignores_the_schema_is_verified_the_same_way(tiny_model):
    with serving(tiny_model, honor_schema=False) as url:
        made = draft(CASE, section(url, seconds=120))
    judged(made)
    assert "llm_repaired" in made.engine_flags


@pytest.mark.slow
def test_the_same_model_in_this_process_says_the_same(tiny_model, tmp_path):
    """No server: the drafter ``local`` constrains and verifies as the server's client does."""
    llm = LlmConfig(path=str(tiny_model), seconds=120, evaluations=str(tmp_path))
    config = ReportConfig(drafter="local", llm=llm)
    made = draft(CASE, config)
    counts = judged(made)
    assert counts.accepted > len(HONEST) / 2
    assert "llm_invalid" not in made.engine_flags
    assert made.engine.network == "none"
    with serving(tiny_model) as url:
        served = draft(CASE, section(url, seconds=120))
    assert [s.text for s in served.statements()] == [s.text for s in made.statements()]
    assert served.raw_sha256 == made.raw_sha256
    write_evaluation(tmp_path, made.engine.digest, "tiny", passed=True, figures={})
    assert draft(CASE, config).engine_flags == ()


@pytest.mark.slow
def test_a_local_model_stops_at_its_time_limit(tiny_model):
    llm = LlmConfig(path=str(tiny_model), seconds=0.2)
    made = draft(CASE, ReportConfig(drafter="local", llm=llm))
    numbers_untouched(made)
    assert "llm_slow" in made.engine_flags
    assert made.verification.fallback > 0


@pytest.mark.slow
def test_a_model_is_built_once_per_recipe(tiny_model, monkeypatch):
    def never(*args):
        raise AssertionError("it was built again")

    monkeypatch.setattr(tiny_llm, "build", never)
    assert cached(tiny_model.parent) == tiny_model
    with pytest.raises(AssertionError):
        cached(tiny_model.parent, seed=1)


@pytest.mark.slow
def test_random_weights_are_refused_sentence_by_sentence(tmp_path):
    with serving(build(tmp_path / "model", steps=0)) as url:
        made = draft(CASE, section(url, seconds=120))
    numbers_untouched(made)
    assert [s.rendered for s in made.statements()] == HONEST
    assert made.verification.fallback == len(HONEST)


# --- somebody else's server ------------------------------------------------------------------


@contextmanager
def transformers_serve(seconds=240):
    """``transformers serve`` on a free port of loopback; it ignores ``response_format``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # its command, with torchvision importable beside any build of torch
    start = "from pathai.encoders.torchvision_shim import import_torchvision; import_torchvision()"
    start += "; from transformers.cli.transformers import main; main()"
    call = [sys.executable, "-c", start, "serve", "--device", "cpu"]
    call += ["--host", "127.0.0.1", "--port", str(port)]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    quiet = subprocess.DEVNULL
    with subprocess.Popen(call, stdout=quiet, stderr=quiet, env=offline) as child:
        try:
            until = time.monotonic() + seconds
            while child.poll() is None and time.monotonic() < until:
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                        break
                except OSError:
                    time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1" if child.poll() is None else ""
        finally:
            child.terminate()
            child.wait(30)


@pytest.mark.slow
def test_transformers_serve_gives_a_verified_draft(tiny_model):
    """A runtime that is not ours and does not constrain: what it says is verified the same way."""
    with transformers_serve() as url:
        assert url, "transformers serve did not start"
        for _ in range(3):  # it may drop a connection while it still loads the model
            made = draft(CASE, section(url, seconds=80, model=str(tiny_model)))
            judged(made)
            if "llm_unreachable" not in made.engine_flags:
                break
    assert not {"llm_unreachable", "llm_status"} & set(made.engine_flags)
    assert made.raw_sha256
