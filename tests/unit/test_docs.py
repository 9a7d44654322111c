"""The documentation is whole, fresh, and says nothing that the program contradicts."""

import os
import re
import subprocess
import sys

import pytest
import yaml
from docs_pages import DOCS, PAGES, ROOT, blocks, script

from pathai.clinical import contexts
from pathai.config import Config, Section
from pathai.errors import CODES, PathaiError
from pathai.finding import registry
from pathai.layouts import Layout
from pathai.prompts import PromptSet
from pathai.store.level import LevelInfo
from pathai.store.manifest import Manifest
from pathai.store.records import (
    CellsAttrs,
    FeaturesAttrs,
    PredictionAttrs,
    SlideInfo,
    SlideVectorAttrs,
    ZeroShotAttrs,
)
from pathai.task import Task

ATTRS = (FeaturesAttrs, CellsAttrs, PredictionAttrs, SlideVectorAttrs, ZeroShotAttrs)
MODELS = (SlideInfo, LevelInfo, *ATTRS, Manifest)
RECORDS = {model.__name__: model for model in MODELS}
MACHINE = re.compile(r"(?<![\w.])/(work|tmp|root|home|Users|mnt|var)/\S+|[A-Z]:\\\\")
SECTIONS = {
    name: field.annotation
    for name, field in Config.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
FILES = ("json", "zarr", "tsv", "html", "yaml", "md", "jsonl", "smk")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def text_of(page):
    return (ROOT / page).read_text("utf-8")


@pytest.fixture(scope="module")
def generate():
    return script("generate")


def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for page in PAGES[1:]:
        name = page.removeprefix("docs/").removesuffix(".md")
        html = tmp_path / "site" / ("" if name == "index" else name) / "index.html"
        loaded = re.findall(
            r'<(?:script|link|img)\b[^>]*(?:src|href)="?(https?:[^"> ]+)', html.read_text()
        )
        assert loaded == []
    assert not list((tmp_path / "site").rglob("*.py"))


@pytest.mark.parametrize("page", PAGES)
def test_generated_parts_are_fresh(page, generate):
    assert generate.renewed(text_of(page)) == text_of(page), "run python docs/generate.py"


def test_every_generated_part_stands_somewhere(generate):
    used = {name for page in PAGES for _, name, _ in generate.BLOCK.findall(text_of(page))}
    assert used == set(generate.PARTS)


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_and_pictures_lead_somewhere(page):
    links = [k for k in LINK.findall(text_of(page)) if not re.match(r"[a-z]+:", k)]
    assert [k for k in links if not ((ROOT / page).parent / k).exists()] == []


@pytest.mark.parametrize("page", [*PAGES, "mkdocs.yml", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_no_page_names_a_path_of_a_machine(page):
    assert [m[0] for m in MACHINE.finditer(text_of(page))] == []


def test_figures_are_those_that_were_measured():
    figures = script("figures")
    for page in figures.PAGES:
        assert figures.renewed(text_of(page)) == text_of(page), "run docs/figures.py"


@pytest.mark.parametrize("name", RECORDS)
def test_tables_of_fields_are_complete(name):
    text = text_of("docs/format.md") + text_of("docs/slide-level.md")
    found = re.search(rf"<!-- checked: {name} -->\n\n((?:\|.*\n)+)", text)
    cells = [line.split("|")[1] for line in found[1].splitlines()[2:]]
    documented = [field for cell in cells for field in re.findall(r"`(\w+)`", cell)]
    assert sorted(documented) == sorted(RECORDS[name].model_fields)


@pytest.mark.parametrize("page", PAGES)
def test_codes_and_keys_that_are_named_exist(page):
    text = text_of(page)
    assert set(re.findall(r"\bE[0-9]{3}\b", text)) <= set(CODES)
    for key in re.findall(r"`([a-z]+(?:\.[a-z_0-9]+)+)`", text):
        section, _, rest = key.partition(".")
        if section in SECTIONS and key.rpartition(".")[2] not in FILES and not known(key):
            assert rest.split(".")[0] in SECTIONS[section].model_fields, key


def known(key):
    """Whether this is the key of a finding, which looks like one of the configuration."""
    try:
        return bool(registry().find(key))
    except PathaiError:
        return False


@pytest.mark.parametrize("page", PAGES)
def test_examples_of_configuration_and_tasks_are_valid(page):
    for block in blocks(page):
        if block.language == "yaml":
            data = yaml.safe_load(block.text)
            if block.title.startswith("clinical/"):
                assert contexts(data)
                continue
            if "executor" in data:  # a profile of Snakemake, with keys that the shipped one has
                profile = (ROOT / "workflows/profiles/slurm/config.yaml").read_text()
                assert set(data) <= {*yaml.safe_load(profile), "default-resources"}
                continue
            kind = Task if "label" in data else PromptSet if "classes" in data else Config
            kind = Layout if "sections" in data else kind
            kind.model_validate({"name": "a-name", **data} if kind is PromptSet else data)


def test_the_title_picture_of_each_page_has_words_for_those_who_do_not_see_it():
    for page in PAGES:
        assert "![](" not in text_of(page)
    assert {p.name for p in (DOCS / "img").iterdir()} <= {
        name for page in PAGES for name in re.findall(r"img/([\w.-]+)", text_of(page))
    }
