"""A share bundle: what is in it, and what can never be."""

import json
import re
import zipfile
from pathlib import Path

import pytest
import run_folder
from life_cases import sign_off
from run_folder import make_run
from typer.testing import CliRunner

from pathai import tiling
from pathai.cli import app
from pathai.config import TileConfig
from pathai.errors import PathaiError
from pathai.finding import Context, load_findings
from pathai.plan import Plan
from pathai.report.life import open_case
from pathai.report.life.case import Entered
from pathai.share import Pseudonyms
from pathai.share.archive import Archive
from pathai.share.pseudonyms import keep, make_key, read_key
from pathai.share.story import findings_without_names
from pathai.store.commit import Key, run_stage
from pathai.store.folders import SlideFolder
from pathai.testing.aperio import ACCESSION, MACHINE, PATIENT, USER, write_svs
from pathai.testing.picture import draw
from pathai.testing.truth import Recipe

KEY = b"0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("made"), side=700)


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    """A copy of a run; a way to share from it, which gives the zip's members."""
    import shutil

    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    (tmp_path / "key").write_bytes(KEY)
    monkeypatch.chdir(folder)

    def share(*words, case="C02", name="out.zip", fails=False):
        out = tmp_path / name
        call = ["share", case, "-o", str(out), "--key", str(tmp_path / "key"), *map(str, words)]
        done = CliRunner().invoke(app, call)
        if fails:
            assert isinstance(done.exception, PathaiError), (done.output, done.exception)
            return done.exception
        assert done.exit_code == 0, (done.output, done.exception)
        return members(out), done.stderr

    share.folder = folder
    return share


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def page_data(files):
    text = files["index.html"].decode()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    return json.loads(found[1])


def test_what_is_in_it(run):
    files, said = run()
    data = page_data(files)
    assert [slide["stain"] for slide in data["slides"]] == ["H&E", "Ki-67"]
    for slide in data["slides"]:
        assert f"{slide['folder']}/slide.dzi" in files
        assert slide["mpp"] == [0.5, 0.5]
        assert slide["tissue"]
        finest = len(slide["levels"]["masks"]) - 1
        assert f"{slide['folder']}/slide_files/{finest}/0_0.jpg" in files
        assert any(name.startswith(f"{slide['folder']}/nuclei_files/0/") for name in files)
    (looked,) = data["slides"][0]["attention"]
    assert looked["file"] in files
    cells = SlideFolder(run.folder / "results/slides/S03").read_cells_attrs("classical")
    legend = data["slides"][1]["nuclei"]["classes"]
    assert [(c["name"], c["count"]) for c in legend] == [
        *zip(cells.classes, cells.class_counts, strict=True)
    ]
    assert b"Redistribution and use" in files["licenses/openseadragon.txt"]
    assert b"DRAFT" in files["README.txt"]
    assert "wrote out.zip" in said
    names = set(files)
    assert not {n for n in names if n.startswith("/") or ".." in n}


def test_sentences_and_evidence_are_those_of_the_draft(run):
    files, _ = run()
    story = page_data(files)["story"]
    case = load_findings((run.folder / "results/cases/C02/findings.json").read_text())
    draft = json.loads((run.folder / "results/cases/C02/draft.json").read_text())
    by_id = {f.id: f for f in case.findings}
    said = {s["id"]: s for section in draft["sections"] for s in section["statements"]}
    items = {i["id"]: i for s in story["sections"] for i in s["items"] if i["id"]}
    assert len(items) > 5
    for name, item in items.items():
        assert item["text"] == said[name]["rendered"]
        for evidence in by_id[said[name]["finding"]].evidence:
            number = ["S02", "S03"].index(evidence.slide_id)
            boxes = [[b.x, b.y, b.width, b.height] for b in evidence.boxes]
            found = [p["box"] for p in item["places"] if p["slide"] == number and p["box"]]
            assert found == boxes or not found
    assert any(place["box"] for item in items.values() for place in item["places"])
    assert story["mark"].startswith("DRAFT")
    again = load_findings(files["findings.json"].decode())
    assert [f.value for f in again.findings] == [f.value for f in case.findings]
    assert again.digest != case.digest


def test_the_same_bytes_again_and_others_with_another_key(run, tmp_path):
    run()
    run(name="again.zip")
    first, again = (tmp_path / n for n in ("out.zip", "again.zip"))
    assert first.read_bytes() == again.read_bytes()
    (tmp_path / "key").write_bytes(b"another secret of this very site")
    run(name="other.zip")
    assert set(members(tmp_path / "other.zip")) != set(members(first))


def test_a_file_that_is_there_is_not_replaced_unless_asked(run, tmp_path):
    (tmp_path / "out.zip").write_bytes(b"mine")
    assert run(fails=True).code == "E193"
    assert (tmp_path / "out.zip").read_bytes() == b"mine"
    files, _ = run("--overwrite")
    assert "index.html" in files
    assert not list(tmp_path.glob("*.part"))
    assert run(name="run/results/x.zip", fails=True).code == "E193"


def test_nothing_is_left_of_a_bundle_that_failed(tmp_path):
    def fail():
        with Archive(tmp_path / "a.zip") as archive:
            archive.put("one.jpg", b"1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_bad_slide_does_not_stop_the_others(run):
    (run.folder / "results/slides/S02/tissue.zarr/zarr.json").unlink()
    files, said = run()
    data = page_data(files)
    assert data["slides"][0]["problem"] == "store is missing or damaged (E164)"
    assert not data["slides"][1]["problem"]
    assert "Slide 1 is not here" in files["index.html"].decode()
    assert "Slide 1 is not here" in said
    (run.folder / "results/slides/S03/tiles.zarr/zarr.json").write_text("{")
    assert run("--overwrite", fails=True).code == "E212"


def test_what_is_damaged_is_framed_and_the_rest_is_shown(run):
    shards = sorted((run.folder / "results/slides/S03/tiles.zarr/0").rglob("*"))
    shard = max((p for p in shards if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 255
    shard.write_bytes(bytes(data))
    files, _ = run()
    slide = page_data(files)["slides"][1]
    assert slide["unreadable"]
    assert "unreadable places" in files["index.html"].decode()


def test_a_case_without_report_shows_its_slides(run):
    for path in (run.folder / "results/cases/C02").iterdir():
        path.unlink()
    files, said = run()
    assert page_data(files)["story"] is None
    assert "findings.json" not in files
    assert "no report yet" in said
    assert "DRAFT" in files["index.html"].decode()


def life(run, case="C02"):
    plan = Plan(run.folder / "config.yaml")
    return open_case(plan.reviews, case, results=plan.results.path, section=plan.config.report)


def test_a_signed_case_gives_the_signed_words_and_no_name(run):
    life_ = life(run)
    first = next(s for s in life_.revision().draft.statements())
    life_.edit("dr-canary", first.id, first.text.replace("The ", "Here the ", 1))
    sign_off(life_, "dr-canary")
    files, said = run()
    story = page_data(files)["story"]
    assert story["signed"]
    assert "DRAFT" not in files["index.html"].decode().split("<script")[0]
    texts = [i["text"] for s in story["sections"] for i in s["items"]]
    assert any(text.startswith("Here the ") for text in texts)
    assert "typed by a person" in said
    assert not holding(files, ["dr-canary"])
    files, _ = run("--names", "--overwrite")
    assert "dr-canary" in page_data(files)["story"]["signature"]


# --- nothing that names anyone ---------------------------------------------------------------

CANARIES = {
    "slide": "SLIDE-canary01",
    "case": "CASE-canary02",
    "patient": "MRN-canary03",
    "specimen": "SPEC-canary04",
    "block": "BLOCK-canary05",
    "file": "Doe_Jane_canary06",
    "site": "canary07 hospital",
    "label": "canary08 label",
    "note": "canary09, a free text",
    "log": "canary10",
    "folder": "canary11-folder",
    "reader": "dr-canary12",
    "reason": "canary13 reason",
}
SCANNER = (PATIENT, ACCESSION, MACHINE, USER, "canary-uuid-0d6a")


def holding(files, words):
    """Members (names, too) that hold one of the words, in any usual encoding."""
    found = []
    for name, data in files.items():
        whole = name.encode() + b"\n" + data
        for word in words:
            coded = [word.lower().encode(), word.lower().encode("utf-16-le")]
            if any(code in whole.lower() for code in coded):
                found.append((name, word))
    return found


@pytest.fixture
def marked(tmp_path, monkeypatch):
    """A run in which every place that could name a person holds a canary."""
    c = CANARIES
    slides = ((c["slide"], c["case"], c["block"], "H&E"), ("S04", "C03", "A1", "H&E"))
    monkeypatch.setattr(run_folder, "SLIDES", slides)
    plain = run_folder.findings_of_case

    def findings(case_id, inputs, requires=()):
        named = [s.model_copy(update={"specimen_id": c["specimen"], "site": c["site"]})
                 for s in inputs]  # fmt: skip
        context = (Context(id="C1", key="age_band", value="60-69", unit="years"),
                   Context(id="C2", key="note", value=c["note"]))  # fmt: skip
        return plain(case_id, named, requires, context=context)

    monkeypatch.setattr(run_folder, "findings_of_case", findings)
    folder = make_run(tmp_path / c["folder"], side=700)
    header = ("slide_id", "path", "case_id", "patient_id", "specimen_id", "block_id", "stain",
              "site", "remark")  # fmt: skip
    row = (c["slide"], f"{c['file']}.svs", c["case"], c["patient"], c["specimen"], c["block"],
           "H&E", c["site"], c["label"])  # fmt: skip
    (folder / "slides.tsv").write_text("\t".join(header) + "\n" + "\t".join(row) + "\n")
    (folder / "clinical").mkdir()
    (folder / "clinical" / f"{c['case']}.yaml").write_text(f"note: {c['note']}\n")
    (folder / "logs").mkdir()
    (folder / "logs" / "run.log").write_text(c["log"])
    _tile(folder, c)
    life_ = open_case(folder / "reviews", c["case"], results=folder / "results")
    life_.enter(c["reader"], [Entered("diagnosis.category", "invasive")])
    said = next(s for s in life_.revision().draft.statements())
    life_.delete(c["reader"], said.id, c["reason"])
    other = next(s for s in life_.revision().draft.statements())
    life_.edit(c["reader"], other.id, f"{other.text} See {c['slide']} of {c['patient']}.")
    return folder


def _tile(folder, c):
    """The slide's pixels, copied by the tile stage from a scanner's file with private text."""
    pixels = draw(Recipe(3, 700, 700, 0.5, "H&E"))[0]
    file = folder / f"{c['file']}.svs"
    write_svs(file, pixels, 0.5)
    slide = SlideFolder(folder / "results" / "slides" / c["slide"])
    section = TileConfig(min_tissue_mm2=0.001)
    key = Key("tile", 1, section.digest(), ("tiles.zarr", "tissue.zarr"))
    done = run_stage(
        slide.path / "tile", c["slide"], key, {},
        lambda out: tiling.run(slide, section, out, path=file),
    )  # fmt: skip
    assert done.status == "ok"
    assert any(info.info.made == "copied" for info in slide.open_tiles().levels)


def test_no_canary_in_any_byte(marked, tmp_path, monkeypatch):
    monkeypatch.chdir(marked)
    source = b"".join(p.read_bytes() for p in sorted(marked.rglob("*")) if p.is_file())
    planted = [*SCANNER, *(v for k, v in CANARIES.items() if k != "folder")]
    assert [word for word in planted if word.encode() not in source] == []
    out = tmp_path / "out.zip"
    done = CliRunner().invoke(app, ["share", CANARIES["case"], "-o", str(out)])
    assert done.exit_code == 0, (done.output, done.exception)
    files = members(out)
    words = [*SCANNER, *CANARIES.values(), "canary", str(marked), "share.key"]
    assert holding(files, words) == []
    assert b"canary" not in out.read_bytes().lower()
    key = (marked / "share.key").read_bytes().strip()
    assert key not in b"".join(files.values())
    text = files["index.html"].decode()
    assert "60-69" in text  # of a closed list: it names nobody
    kept = (marked / "share.key.ids.tsv").read_text().splitlines()[1:]
    ids = {line.split("\t")[0]: line.split("\t")[2] for line in kept}
    data = page_data(files)
    assert ids[data["slides"][0]["name"]] == CANARIES["slide"]
    assert CANARIES["patient"] in ids.values()
    assert (marked / "share.key").stat().st_mode & 0o077 == 0
    assert (marked / "share.key.ids.tsv").stat().st_mode & 0o077 == 0
    kept = {f.id for f in load_findings(files["findings.json"].decode()).findings}
    gone = not_told(marked)
    assert len(gone) == 2  # one was taken out, one told in words that the verifier flags
    assert not gone & kept
    assert "left out here by a person" in text
    edited = [i["text"] for s in data["story"]["sections"] for i in s["items"] if i.get("mark")]
    assert any(data["slides"][0]["name"] in line for line in edited)


def not_told(folder):
    """Findings that the report's words do not give."""
    life_ = open_case(folder / "reviews", CANARIES["case"], results=folder / "results")
    now = life_.revision()
    return {f.id for f in now.case.findings} - now.draft.told()


def test_findings_keep_no_digest_by_which_an_id_could_be_guessed(marked):
    case = load_findings(
        (marked / "results/cases" / CANARIES["case"] / "findings.json").read_text()
    )
    every = frozenset(f.id for f in case.findings)
    clean = findings_without_names(case, every, Pseudonyms(KEY))
    text = clean.model_dump_json()
    assert case.digest not in text
    assert clean.parent == ""
    assert clean.events == ()
    assert len(clean.findings) == len(case.findings)


# --- pseudonyms ------------------------------------------------------------------------------


def test_pseudonyms_depend_on_key_and_kind_and_nothing_else():
    one, other = Pseudonyms(KEY), Pseudonyms(KEY[::-1])
    assert one.of("case", "C1") == Pseudonyms(KEY).of("case", "C1")
    made = {one.of(k, "C1") for k in ("case", "slide", "patient", "specimen", "block")}
    assert len(made) == 5
    assert other.of("case", "C1") != one.of("case", "C1")
    assert all(
        re.fullmatch(r"[CSPXB]-[0-9A-HJKMNP-TV-Z]{5}-[0-9A-HJKMNP-TV-Z]{5}", m) for m in made
    )
    assert one.of("block", "") == ""
    many = {one.of("slide", f"S{i}") for i in range(5000)}
    assert len(many) == 5000
    assert KEY.decode() not in repr(one)


def test_ids_in_a_sentence_are_replaced_as_whole_words():
    names = Pseudonyms(KEY)
    slide, case = names.of("slide", "S1"), names.of("case", "S1-2024")
    names.of("specimen", "A")
    text = names.scrub("Slide S1 of s1-2024 (S1.), not S12 nor XS1. A biopsy.")
    assert text == f"Slide {slide} of {case} ({slide}.), not S12 nor XS1. A biopsy."


def test_keys(tmp_path):
    path = tmp_path / "site.key"
    assert make_key(path)
    first = path.read_bytes()
    assert not make_key(path)
    assert path.read_bytes() == first
    assert len(read_key(path)) == 64
    path.write_bytes(b"short\n")
    with pytest.raises(PathaiError, match="E193"):
        read_key(path)
    with pytest.raises(PathaiError, match="E193"):
        read_key(tmp_path / "none")


def test_the_labs_list_grows(tmp_path):
    path = tmp_path / "ids.tsv"
    for name in ("C1", "C2", "C1"):
        names = Pseudonyms(KEY)
        names.of("case", name)
        keep(names, path)
    lines = path.read_text().splitlines()
    assert len(lines) == 3
    assert {line.split("\t")[2] for line in lines[1:]} == {"C1", "C2"}


# --- the page --------------------------------------------------------------------------------


def test_nothing_of_the_page_is_loaded_from_elsewhere(run):
    from base64 import b64encode
    from hashlib import sha256

    files, _ = run()
    text = files["index.html"].decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1].replace("&#39;", "'")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        digest = b64encode(sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    frame = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert "://" not in frame
    assert "<link" not in frame.replace('<link rel="icon" href="data:,">', "")
    assert not re.search(r"\son[a-z]+=|\sstyle=", frame)


def test_text_of_a_report_cannot_leave_its_place(run, monkeypatch):
    from pathai.share import html

    hostile = "</script><script>alert(1)</script>\u2028<!--"
    story = {"signed": False, "language": "en", "translation": hostile, "sections": []}
    page = html.print_page(hostile, hostile, story, [], [hostile], hostile)
    assert page.count("<script") == 3
    assert "alert(1)</script>" not in page
    assert hostile not in page


def test_without_the_library_one_line_says_what_to_do(run, monkeypatch, tmp_path):
    from pathai.share import html

    monkeypatch.setattr(html, "LIBRARY", "vendor/none.js")
    error = run(fails=True)
    assert error.code == "E194"
    assert "envs/openseadragon.py" in str(error)
    assert not (tmp_path / "out.zip").exists()
