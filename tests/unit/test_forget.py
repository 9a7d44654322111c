"""Forgetting a patient: nothing is left, nothing else is touched, an interruption loses nothing."""

import json
import shutil
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
import tiny_run

import pathai.forget as module
from pathai.errors import PathaiError
from pathai.forget import expected, forget
from pathai.forget.rewriting import drop_rows
from pathai.forget.searching import Ids, search
from pathai.forget.tombstone import tombstones
from pathai.plan import Plan
from pathai.report.life.ledger import enlist, lost, signatures
from pathai.report.life.trail import digest, report_folder, writing
from pathai.review_log import Event, Log
from pathai.run import owned
from pathai.store.manifest import SUFFIX
from pathai.verify import verify

PATIENT, OTHER = "PAT-PG-77", "PAT-PE-77"
CASE, OTHER_CASE = f"C-{PATIENT}", f"C-{OTHER}"
SLIDES, OTHER_SLIDE = ("SLIDE-E3-8842", "SLIDE-E4-8842"), "SLIDE-E1-8842"
TRAINED = "PAT-PA-77"
TELLING = (PATIENT, CASE, *SLIDES)


def renamed(row):
    slide, patient, *rest = row
    return f"SLIDE-{slide}-8842", f"PAT-{patient}-77", *rest


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small finished run whose ids no other text holds."""
    keep = ("T1", "T2", "T3", "T4", "E1", "E3", "E4")
    with pytest.MonkeyPatch.context() as patch:
        rows = tuple(renamed(row) for row in tiny_run.SLIDES if row[0] in keep)
        patch.setattr(tiny_run, "SLIDES", rows)
        patch.setattr(tiny_run, "TRAINED", tuple(f"SLIDE-T{i}-8842" for i in (1, 2, 3, 4)))
        root = tmp_path_factory.mktemp("run") / "run"
        tiny_run.finish(tiny_run.write_tiny_run(root))
    people(root)
    around(root)
    return root


def people(root):
    """What readers left of two cases."""
    reviews = root / "reviews"
    for case in (CASE, OTHER_CASE):
        log = Log(reviews / case / "dr-a.jsonl")
        event = Event(
            number=1, previous=log.head, time="2026-01-01T00:00:00+00:00", kind="open",
            what="case", before=None, after=None, findings="f", draft="d",
        )  # fmt: skip
        log.append(event.sealed())
        log.close()
        record = f'{{"case": "{case}"}}'.encode()
        with writing(report_folder(reviews, case), case) as trail:
            trail.append("created", "dr-a", {"signed-1.json": record})
        enlist(reviews, case, 1, digest(record))


def around(root):
    """Logs, context, regions, a corrected sheet, training data, a bundle: of both patients."""
    logs = root / "logs" / "tile"
    logs.mkdir(parents=True)
    (logs / "0000-abcdef.log").write_text(f"{SLIDES[0]}  tile  ok\n{OTHER_SLIDE}  tile  ok\n")
    (logs / f"{SLIDES[1]}.killed.log").write_text("ended\n")
    (root / "clinical").mkdir()
    (root / "regions").mkdir()
    for case, slide in ((CASE, SLIDES[0]), (OTHER_CASE, OTHER_SLIDE)):
        (root / "clinical" / f"{case}.yaml").write_text("schema_version: 1\n")
        (root / "regions" / f"{slide}.geojson").write_text("{}\n")
    shutil.copy(root / "slides.tsv", root / "slides.corrected.tsv")
    training = root / "corrected"
    lines = {"images.csv": "image,file,mpp\n", "gt_points.csv": "image,x,y\n"}
    for folder in ("images", "labels", "cells"):
        (training / folder).mkdir(parents=True)
    for slide in (SLIDES[0], OTHER_SLIDE):
        for folder in ("images", "labels"):
            (training / folder / f"{slide}-001.png").write_bytes(b"png")
        (training / "cells" / f"{slide}.csv").write_text("x_px0,y_px0,class\n")
        lines["images.csv"] += f"{slide}-001,images/{slide}-001.png,0.5\n"
        lines["gt_points.csv"] += f"{slide}-001,1,1\n"
    for name, text in lines.items():
        (training / name).write_text(text)
    about = {"slides": {SLIDES[0]: {"pictures": 1}, OTHER_SLIDE: {"pictures": 1}}}
    (training / "corrections.json").write_text(json.dumps(about))
    shared = {CASE: "C-AAAAA-AAAAA", OTHER_CASE: "C-BBBBB-BBBBB"}
    rows = "".join(f"{made}\tcase\t{case}\n" for case, made in shared.items())
    (root / "share.key.ids.tsv").write_text(f"pseudonym\tkind\tid\n{rows}")
    for case, made in shared.items():
        with zipfile.ZipFile(root / f"board-{made[2]}.zip", "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("index.html", f"<h1>Case {shared[case]}</h1>" + "x" * 500)


@pytest.fixture
def plan(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    return Plan(tmp_path / "run" / "config.yaml")


def contents(root):
    return {
        p.relative_to(root).as_posix(): sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


def holding(root, ids):
    """Every file whose name or bytes hold an id: an independent, plain search."""
    wanted = [i.encode(e) for i in ids for e in ("utf-8", "utf-16-le")]
    found = set()
    for path in root.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as packed:
                data += b"".join(packed.read(name) for name in packed.namelist())
        if any(i in path.name for i in ids) or any(w in data for w in wanted):
            found.add(path.relative_to(root).as_posix())
    return found


def test_nothing_of_the_patient_is_left_and_nothing_else_is_touched(plan):
    root = plan.root
    before = contents(root)
    assert len(holding(root, TELLING)) > 20
    made = forget(plan, PATIENT)
    assert holding(root, (*TELLING, "C-AAAAA-AAAAA")) == set()
    assert made.left == ()
    assert (made.slides, made.cases, made.models) == (2, 1, ())
    after = contents(root)
    changed = {f for f in before.keys() & after.keys() if before[f] != after[f]}
    gone = before.keys() - after.keys()
    mine = [f for f in gone if not f.startswith("results/cohort/")]
    assert all(any(i in f for i in TELLING) or f == "board-A.zip" for f in mine)
    assert {f for f in changed if not f.startswith("results/cohort/")} == {
        "slides.tsv", "slides.corrected.tsv", "share.key.ids.tsv", "logs/tile/0000-abcdef.log",
        "reviews/signatures.jsonl", "corrected/images.csv", "corrected/gt_points.csv",
        "corrected/corrections.json",
    }  # fmt: skip
    assert OTHER_SLIDE in (root / "logs" / "tile" / "0000-abcdef.log").read_text()
    assert (root / "board-B.zip").exists()
    assert verify(plan.results.path).ok
    assert verify(root / "models").ok


def test_the_tombstone_names_nobody_and_binds_what_was_removed(plan):
    reviews = plan.reviews
    log = (reviews / CASE / "dr-a.jsonl").read_bytes()
    record = digest((report_folder(reviews, CASE) / "signed-1.json").read_bytes())
    old = signatures(reviews)
    made = forget(plan, PATIENT)
    (stone,) = tombstones(reviews)
    assert stone.patient == made.pseudonym
    assert stone.patient.startswith("P-")
    assert sha256(log).hexdigest() in stone.logs
    assert stone.signed == (record,)
    assert stone.signatures_before == sha256(old[-1].line()).hexdigest()
    (left,) = signatures(reviews)
    assert left.case_id == OTHER_CASE
    assert stone.signatures_after == sha256(left.line()).hexdigest()
    assert lost(reviews) == []
    forget(Plan(plan.config_path), OTHER)
    assert [s.number for s in tombstones(reviews)] == [1, 2]
    data = (reviews / "forgotten.jsonl").read_bytes()
    (reviews / "forgotten.jsonl").write_bytes(data.replace(b'"slides":2', b'"slides":3'))
    with pytest.raises(PathaiError, match="E210"):
        tombstones(reviews)


STEPS = ("write_note", "bury", "drop_rows", "_remove", "_renew", "drop_lines", "search")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("done", [False, True])
def test_what_was_interrupted_goes_on(plan, monkeypatch, step, done):
    """Killed before or after each step; one more call ends it, with one tombstone."""
    real = getattr(module, step)

    def killed(*arguments, **named):
        if done:
            real(*arguments, **named)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, step, killed)
    with pytest.raises(KeyboardInterrupt):
        forget(plan, PATIENT)
    monkeypatch.setattr(module, step, real)
    again = Plan(plan.config_path)
    if (step, done) not in (("write_note", False),):
        with pytest.raises(PathaiError, match="E175"):
            forget(again, OTHER)
    expected(again, PATIENT)
    made = forget(again, PATIENT)
    assert holding(plan.root, TELLING) == set()
    assert (made.slides, made.cases) == (2, 1)
    assert len(tombstones(plan.reviews)) == 1
    assert verify(plan.results.path).ok
    with pytest.raises(PathaiError, match="E193"):
        forget(Plan(plan.config_path), PATIENT)


def test_models_trained_on_the_patient_are_named_and_their_lists_go(plan):
    planned = expected(plan, TRAINED)
    assert planned.models == ("tumor",)
    made = forget(plan, TRAINED)
    assert made.models == ("tumor",)
    assert holding(plan.root, ("SLIDE-T1-8842", TRAINED)) == set()
    assert tombstones(plan.reviews)[0].models == ("tumor",)
    assert (plan.model_folder("tumor") / "model.safetensors").exists()
    assert not plan.model_folder("tumor").with_name(f"tumor{SUFFIX}").exists()


def test_a_dry_run_changes_nothing_and_tells_all(plan):
    before = contents(plan.root)
    planned = expected(plan, PATIENT)
    assert contents(plan.root) == before
    assert {f"results/slides/{s}" for s in SLIDES} | {
        f"reviews/{CASE}", "board-A.zip"} <= set(planned.paths)  # fmt: skip
    assert (planned.cases, planned.slides, planned.models) == (1, 2, ())


def test_it_waits_for_a_run_and_for_a_reader(plan):
    before = contents(plan.root)
    with owned(plan), pytest.raises(PathaiError, match="E175"):
        forget(plan, PATIENT)
    log = Log(plan.reviews / CASE / "dr-a.jsonl")
    try:
        with pytest.raises(PathaiError, match="open in a review"):
            forget(plan, PATIENT)
    finally:
        log.close()
    kept = {k: v for k, v in contents(plan.root).items() if not k.startswith((".pathai", "share"))}
    assert kept.items() <= before.items()
    with pytest.raises(PathaiError, match="E193"):
        forget(Plan(plan.config_path), "PAT-NOBODY-1")


def test_what_pathai_did_not_write_is_named_and_stays(plan):
    root = plan.root
    (root / "notes.txt").write_bytes(f"see {SLIDES[0]}".encode("utf-16-le"))
    (root / f"{PATIENT}.txt").write_text("a letter\n")
    with zipfile.ZipFile(root / "sent.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a/b.txt", "long " * 200 + CASE)
    made = forget(plan, PATIENT)
    found = {(one.file, one.where) for one in made.left}
    assert found == {
        ("notes.txt", "text"), (f"{PATIENT}.txt", "name"), ("sent.zip", "a/b.txt"),
    }  # fmt: skip
    assert (root / "notes.txt").exists()


def test_slide_files_stay_and_are_named(plan):
    slide = plan.root / "in" / f"{SLIDES[0]}.svs"
    slide.parent.mkdir()
    slide.write_bytes(b"a slide")
    made = forget(plan, PATIENT)
    assert made.originals == (f"in/{SLIDES[0]}.svs",)
    assert slide.read_bytes() == b"a slide"


def test_the_last_patient_leaves_an_empty_sheet(plan):
    for patient in sorted({row.patient_id for row in plan.sheet.rows}):
        forget(Plan(plan.config_path), patient)
    assert len((plan.root / "slides.tsv").read_text().splitlines()) == 1
    assert plan.results.slide_ids() == plan.results.case_ids() == ()


def test_an_id_inside_another_id_is_not_the_patients(tmp_path):
    ids = Ids(("S-10",), ("S-10-b", "a.S-10"))
    for text in ("S-10-b", "S-100", "xS-10", "a.S-10", "S-10-b a.S-10"):
        assert not ids.found_in(text.encode())
        assert not ids.found_in(text.encode("utf-16-le"))
    for text in ("S-10", "S-10-001.png", "S-10-b S-10", "{S-10}"):
        assert ids.found_in(text.encode())
    (tmp_path / "S-10-001.png").write_bytes(b"")
    (tmp_path / "S-10-b.txt").write_text("S-10-b")
    assert [one.file for one in search(tmp_path, ids)] == ["S-10-001.png"]


def test_ids_are_found_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("pathai.forget.searching.BLOCK", 1000)
    for start in (0, 990, 995, 999, 1000, 2996):
        path = tmp_path / "long.txt"
        path.write_bytes(b"-" * start + b"SLIDE-77" + b"-" * 2000)
        assert search(tmp_path, Ids(("SLIDE-77",)))


def test_a_label_that_reads_like_the_patient_keeps_its_row(tmp_path):
    table = tmp_path / "slides.tsv"
    rows = ["slide_id\tpatient_id\tgrade", "a\t1\t2", "b\t2\t1", "c\t10\t1"]
    table.write_bytes("\ufeff".encode() + "\r\n".join(rows).encode() + b"\r\n")
    assert drop_rows(table, {"patient_id": {"1"}, "id": {"1"}}) == 1
    assert table.read_bytes() == "\ufeff".encode() + "\r\n".join([rows[0], *rows[2:]]).encode() + (
        b"\r\n"
    )
    assert drop_rows(Path(tmp_path / "none.tsv"), {"patient_id": {"1"}}) == 0
