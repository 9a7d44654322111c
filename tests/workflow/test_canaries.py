"""Nothing that names a person leaves a slide, a sheet or a folder: planted, run, hunted."""

import base64
import gzip
import io
import json
import os
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
import pytest
from canary_cases import (
    LABEL_INK,
    STEM,
    Canaries,
    Hunter,
    pixels,
    spelled,
    write_broken,
    write_dicom,
    write_ome,
    write_svs,
)
from PIL import Image
from workflow.commands import pathai

from pathai.testing.aperio import ACCESSION
from pathai.testing.llm_servers import honest, server

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("demo")]

INPUTS = ("slides.tsv", "clinical/")
"""What a lab itself writes into a run's folder: read, never an output."""
NOTE = "clinical note"
QUOTES = ("results/cases/C-OK/findings.json", "results/cases/C-OK/draft.",
          "results/cases/C-OK/fhir.json", "reviews/C-OK/report/", "C-OK.json")  # fmt: skip
"""Where a note is quoted word for word, for the reader of the draft whom it was written for."""


class Run(NamedTuple):
    """A run whose inputs are full of canaries, and what its commands said."""

    folder: Path
    told: Canaries
    said: dict[str, str]
    paths: list[str]


def plant(folder: Path, told: Canaries, model: Path) -> Path:
    """Slides, sheet, clinical context and configuration; returns the run's folder."""
    where = folder / told.put("folder name") / told.put("folder name below")
    where.mkdir(parents=True)
    name = told.put("file name")
    write_svs(where / f"{name}-a.svs", pixels(3), told)
    (where / f"{name}-a.xml").write_text(f"<Annotations Name='{told.put('sidecar file')}'/>")
    write_svs(where / f"{name}-b.svs", pixels(5), told, comment=True)
    write_dicom(where / f"{name}-dicom", pixels(4), told)
    write_ome(where / f"{name}.ome.tif", pixels(6), told)
    instance = next((where / f"{name}-dicom").glob("*-1.dcm"))
    slides = {"OK": where / f"{name}-a.svs", "COM": where / f"{name}-b.svs",
              "DCM": instance, "OME": where / f"{name}.ome.tif"}  # fmt: skip
    slides |= write_broken(where, told)
    run = folder / "run"
    (run / "clinical").mkdir(parents=True)
    remark = told.put("column of the sheet")
    lines = ["slide_id\tpath\tcase_id\tpatient_id\tstain\tremark"]
    lines += [f"{i}\t{path}\tC-{i}\tP-{i}\tH&E\t{remark}" for i, path in slides.items()]
    (run / "slides.tsv").write_text("\n".join(lines) + "\n")
    (run / "clinical" / "C-OK.yaml").write_text(f"age_band: 60-69\nnote: {told.put(NOTE)}\n")
    wrong = f"age_band: {told.put('clinical item that is refused')}\n"
    (run / "clinical" / "C-OME.yaml").write_text(wrong)
    (run / "config.yaml").write_text(f"predict: {{models: ['{model}']}}\nrun: {{retries: 0}}\n")
    return run


@pytest.fixture(scope="module")
def marked(finished_demo, tmp_path_factory):
    """The whole chain and every verb that writes or prints, on slides full of canaries."""
    told, folder = Canaries(), tmp_path_factory.mktemp("marked")
    run = plant(folder, told, finished_demo / "models" / "tumor")
    person = {"USER": told.put("user"), "LOGNAME": told.put("user"), "EMAIL": told.put("e-mail")}
    person["SNAKEMAKE_COMMENT"] = told.put("environment")
    said = {}

    def do(*words: object, code: int = 0, **more: str) -> None:
        done = pathai(*words, cwd=run, **person, **more)
        said[" ".join(map(str, words[:2]))] = done.stdout + done.stderr
        assert done.returncode == code, (words, done.stdout + done.stderr)

    do("run", "--config", "config.yaml", "--cores", 2, code=1)
    chain(do, run)
    paths = [told.places[p] for p in ("folder name", "folder name below", "file name",
                                      "DICOM file name")]  # fmt: skip
    return Run(run, told, said, paths)


def chain(do, run: Path) -> None:
    """Every verb that writes a file or prints about slides."""
    do("estimate", "--config", "config.yaml", code=1)  # some slides cannot be read
    do("doctor", "--config", "config.yaml")
    do("report", "enter", "C-OK", "--reader", "dr-a", "diagnosis.category=benign")
    do("report", "status", "C-OK")
    do("report", "audit", "C-OK")
    do("report", "render", "C-OK", "--format", "fhir", "-o", "C-OK.json")
    do("share", "C-OK", "-o", "C-OK.zip")
    for form in ("geojson", "csv", "geoparquet", "ome-zarr"):
        do("export", "results/slides/OK", "--format", form, "-o", f"exported.{form}")
    do("export", "results/slides/DCM", "--format", "dicom-ann", "-o", "exported.dcm")
    do("ask", "which cases have tumor predicted?")
    do("readers", ".", "--json")
    do("verify", "results")


# --- the hunter finds what it hunts -----------------------------------------------------------

WORD = f"{STEM}042"


def png(data: bytes) -> bytes:
    """A picture whose pixels spell bytes."""
    out = io.BytesIO()
    Image.fromarray(np.frombuffer(data.ljust(300), np.uint8)[:300].reshape(10, 30)).save(out, "PNG")
    return out.getvalue()


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a/b.txt", data)
    return out.getvalue()


CODINGS = {
    "plain": lambda w: w.encode(),
    "small letters": lambda w: w.lower().encode(),
    "UTF-16": lambda w: w.encode("utf-16"),
    "UTF-16 big end": lambda w: w.encode("utf-16-be"),
    "backward": lambda w: w[::-1].encode(),
    "hexadecimal": lambda w: w.encode().hex().encode(),
    "base64": lambda w: base64.b64encode(w.encode()),
    "base64, one before": lambda w: base64.b64encode(b"x" + w.encode()),
    "base64, two before": lambda w: base64.b64encode(b"xy" + w.encode()),
    "JSON escapes": lambda w: "".join(f"\\u{ord(c):04x}" for c in w).encode(),
    "hash": lambda w: __import__("hashlib").sha256(w.encode()).hexdigest().encode(),
}
CONTAINERS = {
    "nothing": lambda data: data,
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "zstd": lambda data: bytes(imagecodecs.zstd_encode(data)),
    "png": png,
    "zip": zipped,
    "base64": lambda data: base64.b64encode(data.ljust(90, b".")),
    "png in a data URL in a zip": lambda data: zipped(
        b'<img src="data:image/png;base64,' + base64.b64encode(png(data)) + b'">'
    ),
}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_the_hunter_finds_a_canary(coding, container):
    told = Canaries({"a place": WORD})
    data = CONTAINERS[container](b" filling \n" * 9 + CODINGS[coding](WORD) + b" filling \n" * 9)
    assert Hunter(told).look(b"before: " * 9 + data, "here")
    clean = CONTAINERS[container](b" filling \n" * 9 + CODINGS[coding]("Somebody042") + b" filling")
    assert Hunter(told).look(clean, "here") == []


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "data URL"])
def test_the_hunter_knows_the_pixels_of_a_label(tmp_path, kind):
    out = io.BytesIO()
    image = Image.fromarray(spelled(WORD, LABEL_INK)).resize((40, 60))
    image.save(out, "PNG" if kind == "PNG" else "JPEG", quality=70)
    data = out.getvalue()
    if kind == "data URL":
        data = b"data:image/jpeg;base64," + base64.b64encode(data)
    (tmp_path / "page").write_bytes(data)
    assert "label" in {find.word for find in Hunter(Canaries()).folder(tmp_path)}
    Image.fromarray(pixels(3)).save(tmp_path / "page", "PNG")
    assert Hunter(Canaries()).folder(tmp_path) == []


def test_every_slide_holds_what_was_planted(tmp_path):
    """A canary that is not in the file would never be found."""
    told = Canaries()
    write_svs(tmp_path / "abc.svs", pixels(3), told, comment=True)
    write_dicom(tmp_path / "dicom", pixels(4), told)
    write_ome(tmp_path / "o.ome.tif", pixels(6), told)
    write_broken(tmp_path, told)
    data = b"".join(
        p.name.encode() + p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()
    )
    assert [place for place, word in told.places.items() if word.encode() not in data] == []
    assert len(told.places) > 100


# --- and nothing is there ---------------------------------------------------------------------


@pytest.mark.slow
def test_the_chain_was_run_and_every_slide_was_met(marked):
    states = {p.name: json.loads((p / "ingest.manifest.json").read_text())["status"]
              for p in sorted((marked.folder / "results" / "slides").iterdir())}  # fmt: skip
    good = {"OK", "COM", "DCM", "OME"}
    assert {i for i, state in states.items() if state == "ok"} == good
    assert len(states) == 11
    for name in good:
        assert list((marked.folder / "results" / "slides" / name / "cells").glob("*.zarr"))


@pytest.mark.slow
def test_no_artefact_log_or_export_holds_a_canary(marked):
    hunter = Hunter(marked.told)
    found = hunter.folder(marked.folder, leave=INPUTS)
    note = marked.told.places[NOTE].lower()
    quoted = [f for f in found if f.word == note and f.where.split(" > ")[0].startswith(QUOTES)]
    left = [f for f in found if f not in quoted]
    assert [(f, marked.told.place(f.word)) for f in left] == []
    assert quoted, "the note reaches the draft that it was written for"
    assert hunter.bytes_read > 1e6
    figures(marked, hunter.bytes_read)


@pytest.mark.slow
def test_no_line_on_the_terminal_holds_a_canary_but_a_path(marked):
    hunter = Hunter(marked.told)
    found = [f for name, text in marked.said.items() for f in hunter.look(text.encode(), name)]
    told = {f.word for f in found} - {word.lower() for word in marked.paths}
    assert {word: marked.told.place(word) for word in told} == {}


@pytest.mark.slow
def test_no_traceback_holds_a_canary_but_a_path(marked, tmp_path):
    """``--debug`` shows more to whoever asks for it, and still no text of a slide."""
    hunter = Hunter(marked.told)
    rows = (marked.folder / "slides.tsv").read_text().splitlines()[1:]
    for slide_id, path in (row.split("\t")[:2] for row in rows):
        done = pathai("--debug", "ingest", path, "-o", tmp_path / "out" / slide_id)
        found = hunter.look((done.stdout + done.stderr).encode(), slide_id)
        assert {f.word for f in found} <= {word.lower() for word in marked.paths}
    found = hunter.folder(tmp_path / "out")
    assert [(f, marked.told.place(f.word)) for f in found] == []


@pytest.mark.slow
def test_logs_of_a_run_that_is_debugged_hold_no_canary(marked, tmp_path):
    run = shutil.copytree(marked.folder, tmp_path / "run", symlinks=True)
    shutil.rmtree(run / "results" / "slides")
    shutil.rmtree(run / "logs")
    done = pathai("run", "--config", "config.yaml", "--cores", 2, cwd=run, PATHAI_DEBUG="1")
    assert done.returncode == 1, done.stderr
    found = Hunter(marked.told).folder(run / "logs")
    assert [(f, marked.told.place(f.word)) for f in found] == []


@pytest.mark.slow
def test_no_prompt_holds_a_canary(marked, tmp_path):
    run = shutil.copytree(marked.folder, tmp_path / "run", symlinks=True)
    with server(honest) as (url, seen):
        config = (run / "config.yaml").read_text()
        llm = f"llm: {{base_url: '{url}', model: tiny, seconds: 60}}"
        config += f"report: {{drafter: openai-compatible, {llm}}}\n"
        (run / "config.yaml").write_text(config)
        done = pathai("report", "draft", "C-OK", cwd=run)
    assert done.returncode == 0, done.stderr
    assert [request.method for request in seen].count("POST") >= 1
    hunter = Hunter(marked.told)
    for request in seen:
        data = f"{request.path} {request.headers}".encode() + request.body
        assert [(f, marked.told.place(f.word)) for f in hunter.look(data, "prompt")] == []
    drafted = json.loads((run / "results" / "cases" / "C-OK" / "draft.json").read_text())
    assert drafted["engine"]["name"] != "template"


@pytest.mark.slow
def test_the_demo_holds_nothing_of_what_its_slides_say(finished_demo):
    """Training, held-out scores and model card too: the drawn slides carry a scanner's text."""
    hunter = Hunter(Canaries(), ("CANARY", ACCESSION, "05/17/31"))
    slides = finished_demo / "slides"
    assert hunter.folder(slides)
    leave = (*INPUTS, "slides/", "truth")
    assert hunter.folder(finished_demo, leave) == []


def figures(marked: Run, read: int) -> None:
    """Write what was hunted, where a file for it is named."""
    target = os.environ.get("PATHAI_PRIVACY_JSON")
    if not target:
        return
    kinds = ("tag", "DICOM", "OME", "MIRAX", "pixels", "name", "JPEG", "clinical", "sheet")
    places = list(marked.told.places)
    told = {
        "canaries": len(places),
        "of_kind": {kind: sum(kind in place for place in places) for kind in kinds},
        "slides": len(list((marked.folder / "results" / "slides").iterdir())),
        "bytes_searched": read,
        "found": 0,
    }
    Path(target).write_text(json.dumps(told, indent=1, sort_keys=True) + "\n")
