"""A whole run under check: each fault is made, and must be named in its part and nowhere else."""

import json
import shutil
import zipfile

import pytest
from life_cases import READER, life_of

from pathai.errors import PathaiError
from pathai.forget import forget
from pathai.plan import Plan
from pathai.provenance import CRATE, write_crate
from pathai.provenance_verbs import verify as door
from pathai.report.life.ledger import LEDGER, enlist
from pathai.report.life.trail import HEAD, LOG, digest, head_text, report_folder, writing
from pathai.review_log import Event, Log
from pathai.verify_run import read_heads, verify_run


def say(path, number=1, kind="open"):
    log = Log(path)
    for _ in range(number):
        event = Event(
            number=len(log.events) + 1, previous=log.head, time="2026-01-01T00:00:00+00:00",
            kind=kind, what="case", before=None, after=None, findings="f", draft="d",
        )  # fmt: skip
        log.append(event.sealed())
    log.close()


@pytest.fixture(scope="module")
def whole(tiny_results, tmp_path_factory):
    """A run with two logs, a report of a life of its own, a record and a bundle."""
    root = tmp_path_factory.mktemp("whole") / "run"
    shutil.copytree(tiny_results, root)
    plan = Plan(root / "config.yaml")
    say(plan.reviews / "C-PE" / "dr-a.jsonl", 3)
    say(plan.reviews / "C-PF" / "dr-b.jsonl", 2)
    life = life_of(tmp_path_factory.mktemp("life"))
    life.draft(reader=READER)
    shutil.copytree(life.folder.parent.parent, plan.reviews, dirs_exist_ok=True)
    with zipfile.ZipFile(root / "board.zip", "w") as packed:
        packed.writestr("index.html", "<p>shared</p>" * 50)
    write_crate(plan)
    return root, life.case_id


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    return Plan(tmp_path / "run" / "config.yaml"), whole[1]


def faults(plan, **how):
    report = verify_run(plan, **how)
    return {p.name: sorted({f.file for f in p.faults}) for p in report.parts if p.faults}


def test_a_whole_run_is_as_written(run):
    plan, case = run
    report = verify_run(plan)
    assert report.ok, report.faults
    counts = {part.name: part.checked for part in report.parts}
    assert counts["results"] > 200
    assert (counts["sheet"], counts["reviews"], counts["reports"]) == (12, 2, 1)
    assert counts["record"] > 100
    assert counts["bundles"] == 1
    assert any("--slides" in text for text in report.unchecked)
    assert set(report.heads.reports) == {case}


def test_each_part_names_its_own_fault(run):
    plan, _ = run
    root = plan.root
    log = plan.reviews / "C-PE" / "dr-a.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"number":2', b'"number":7'))
    assert faults(plan) == {"reviews": ["reviews/C-PE/dr-a.jsonl"]}
    log.unlink()
    (plan.reviews / "stray.txt").write_text("?")
    assert faults(plan) == {"reviews": ["reviews/stray.txt"]}
    (plan.reviews / "stray.txt").unlink()
    data = bytearray((root / "board.zip").read_bytes())
    data[60] ^= 1
    (root / "board.zip").write_bytes(data)
    assert faults(plan) == {"bundles": ["board.zip"]}
    (root / "board.zip").unlink()
    (root / ".pathai" / "receipts" / "tile").mkdir(parents=True)
    name = next(iter(plan.slide_batches))
    plan.receipt("tile", name).write_text("")
    assert verify_run(plan).ok
    victim = plan.results.slide("F1").path / "tile.manifest.json"
    victim.unlink()
    found = faults(plan)
    assert found["receipts"] == [f".pathai/receipts/tile/{name}"]
    assert found["record"] == [CRATE]
    assert found["results"] == ["results/slides/F1/tile.manifest.json"]


def test_a_record_of_earlier_results_is_said_to_be_old(run):
    plan, _ = run
    path = plan.root / CRATE
    body = json.loads(path.read_bytes())
    for one in body["@graph"]:
        if one["@id"] == "results/slides/E1/tile.manifest.json":
            one["sha256"] = "0" * 64
    path.write_text(json.dumps(body))
    assert faults(plan) == {"record": [CRATE]}
    path.write_text("{")
    assert faults(plan) == {"record": [CRATE]}


def test_slide_files_are_read_again_when_asked(run):
    plan, _ = run
    folder = plan.root / "in"
    folder.mkdir()
    for row in plan.sheet.rows:
        (plan.root / row.path).write_bytes(row.slide_id.encode())  # its SHA-256 is in slide.json
    assert "sheet" not in faults(plan, slides=True)
    (folder / "E1.svs").write_bytes(b"another")
    assert faults(plan) == {}
    assert faults(plan, slides=True) == {"sheet": ["slides.tsv row 6"]}
    text = (plan.root / "slides.tsv").read_text().splitlines()
    rows = [
        f"{text[0]}\tsha256",
        *(f"{line}\t{'0' * 64 * line.startswith('E2')}" for line in text[1:]),
    ]
    (plan.root / "slides.tsv").write_text("\n".join(rows) + "\n")
    assert faults(Plan(plan.config_path))["sheet"] == ["slides.tsv row 7"]


def test_a_chain_that_was_cut_is_found_with_the_heads_of_before(run):
    plan, case = run
    heads = verify_run(plan).heads
    log = plan.reviews / "C-PE" / "dr-a.jsonl"
    whole = log.read_bytes()
    log.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    assert faults(plan) == {}
    assert faults(plan, since=heads) == {"reviews": ["reviews/C-PE/dr-a.jsonl"]}
    log.write_bytes(whole)
    say(log)
    assert faults(plan, since=heads) == {}
    folder = report_folder(plan.reviews, case)
    with writing(folder, case) as trail:
        kept = list(trail.events)
        trail.append("rendered", READER, what="pdf")
    later = verify_run(plan, since=heads)
    assert later.ok
    lines = (folder / LOG).read_bytes().splitlines(keepends=True)
    (folder / LOG).write_bytes(b"".join(lines[:-1]))
    (folder / HEAD).write_bytes(head_text(kept, case))  # who can write can write this, too
    assert faults(plan) == {}
    assert faults(plan, since=later.heads) == {"reports": [f"reviews/{case}/report"]}
    shutil.rmtree(folder)
    assert faults(plan) == {}
    assert faults(plan, since=heads)["reports"] == [f"reviews/{case}/report"]


def test_what_was_forgotten_is_not_lost(run):
    plan, _ = run
    record = b"{}"
    for case in ("C-PE", "C-PF"):
        with writing(report_folder(plan.reviews, case), case) as trail:
            trail.append("created", "dr-a", {"signed-1.json": record})
        enlist(plan.reviews, case, 1, digest(record))
    heads = verify_run(plan).heads
    assert (heads.signatures, heads.forgotten) != ("", "")
    forget(plan, "PE")
    plan = Plan(plan.config_path)
    assert faults(plan, since=heads) == {}
    ledger = plan.reviews / LEDGER
    assert b"C-PE" not in ledger.read_bytes()
    shutil.rmtree(plan.reviews / "C-PF")
    found = faults(plan, since=heads)
    assert found.keys() == {"reviews", "reports", "signatures"}


def test_the_door_takes_a_run_and_its_own_json(run, capsys, tmp_path):
    plan, _ = run
    assert door([plan.root], None, slides=False, as_json=True) == 0
    told = capsys.readouterr()
    assert "not checked: the slide files" in told.err
    file = tmp_path / "before.json"
    file.write_text(told.out)
    assert read_heads(file).logs
    assert door([plan.root], file, slides=False, as_json=False) == 0
    with pytest.raises(PathaiError, match="E193"):
        door([plan.results.path], file, slides=False, as_json=False)
    file.write_text("[]")
    with pytest.raises(PathaiError, match="E193"):
        read_heads(file)
