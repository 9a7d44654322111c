"""Kill -9 inside a slide: the job goes on where it was, and the store is the same to the byte."""

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from workflow.commands import PATHAI, contents, pathai

from pathai.testing.synthetic import Recipe, write_slide

pytestmark = pytest.mark.workflow
BATCH = 8
SLOW = """
import time
from pathlib import Path
import numpy as np
class Slow:
    def __init__(self):
        with Path("loaded").open("a") as file:
            file.write("once ")
    tile_px, mpp, dim, names, digest = 32, 0.5, 96, (), "5" * 64
    def encode(self, tiles):
        time.sleep(0.02)
        with Path("encoded").open("a") as file:
            file.write(f"{len(tiles)}\\n")
        if Path("broken").exists() and len(Path("encoded").read_text().split()) in (80, 81):
            return np.full((len(tiles), 96), np.nan, np.float32)
        flat = tiles.reshape(len(tiles), -1).astype(np.float32)
        return 1 + flat.reshape(len(tiles), 96, -1).mean(axis=2) / 7
"""


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    """A slide after tile, with a slow encoder beside it."""
    folder = tmp_path_factory.mktemp("resume")
    file = folder / "S.svs"
    write_slide(file, Recipe(seed=3, width=1000, height=900, mpp=0.5))
    (folder / "slow.py").write_text(SLOW)
    (folder / "config.yaml").write_text(f"features: {{batch: {BATCH}, min_tissue: 0.1}}\n")
    for verb in (("ingest", file, "-o", folder / "S1"), ("tile", folder / "S1", "--slide", file)):
        done = pathai(*verb)
        assert done.returncode == 0, done.stderr
    return folder


def start(folder: Path) -> subprocess.Popen:
    command = [PATHAI, "features", "S1", "--encoder", "slow.py:Slow", "--config", "config.yaml"]
    return subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE)


def encoded(folder: Path) -> int:
    """Tiles encoded since the last look."""
    noted = folder / "encoded"
    count = sum(map(int, noted.read_text().split())) if noted.exists() else 0
    noted.unlink(missing_ok=True)
    (folder / "loaded").unlink(missing_ok=True)
    return count


def finish(folder: Path) -> int:
    """Run to the end; tiles that this took."""
    encoded(folder)
    process = start(folder)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return encoded(folder)


@pytest.fixture(scope="module")
def golden(slide, tmp_path_factory):
    """Files of a run that was left alone, its tiles, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("golden") / "run"
    shutil.copytree(slide, folder)
    begun = time.monotonic()
    tiles = finish(folder)
    assert tiles > 300
    return contents(folder / "S1"), tiles, time.monotonic() - begun


def killed_and_resumed(slide, golden, folder, draw, kills):
    """Kill a job several times at random; bytes must be equal, and work must not be lost."""
    expected, tiles, seconds = golden
    shutil.copytree(slide, folder)
    done = 0
    for _ in range(kills):
        process = start(folder)
        try:
            process.communicate(timeout=draw.uniform(0.3, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        final = {n: v for n, v in contents(folder / "S1").items() if ".zarr/" in n}
        assert final.items() <= expected.items(), "half a store carries its final name"
        done += encoded(folder)
    last = finish(folder)
    assert contents(folder / "S1") == expected
    assert not list(folder.rglob("*.part"))
    assert pathai("verify", folder / "S1").returncode == 0
    assert done + last <= tiles + kills * 2 * BATCH, "a kill costs two batches at most"
    return done, last


def test_a_killed_job_goes_on_inside_the_slide(slide, golden, tmp_path):
    """Killed once, when half of the tiles are encoded."""
    expected, tiles, _ = golden
    folder = tmp_path / "run"
    shutil.copytree(slide, folder)
    process = start(folder)
    noted = folder / "encoded"
    while process.poll() is None:
        if noted.exists() and BATCH * len(noted.read_text().split()) > tiles / 2:
            process.kill()
        time.sleep(0.01)
    _, said = process.communicate()
    assert process.returncode == -9, said
    before, after = encoded(folder), finish(folder)
    assert tiles / 3 < after < tiles * 2 / 3
    assert before + after <= tiles + 2 * BATCH
    assert contents(folder / "S1") == expected


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_ended_job_ends_at_once_with_its_readers(slide, golden, tmp_path, stop):
    """Ctrl-C and a scheduler's end, with two processes that read tiles."""
    expected, tiles, _ = golden
    folder = tmp_path / "run"
    shutil.copytree(slide, folder)
    with (folder / "config.yaml").open("a") as config:
        config.write("run: {readers: 2}\n")
    process, noted = start(folder), folder / "encoded"
    while not (noted.exists() and len(noted.read_text().split()) > 2):
        assert process.poll() is None
        time.sleep(0.01)
    readers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(stop)
    process.communicate(timeout=10)
    assert process.returncode != 0
    assert len(readers) >= 2
    alive = psutil.wait_procs(readers, timeout=10)[1]
    assert not alive
    encoded(folder)
    assert finish(folder) < tiles
    assert contents(folder / "S1") == expected


def test_a_slide_that_fails_leaves_its_neighbors_alone(slide, golden, tmp_path):
    """Three slides of one job: the network is loaded once, each is committed on its own."""
    expected, tiles, _ = golden
    folder = tmp_path / "run"
    shutil.copytree(slide, folder)
    for name in ("S2", "S3"):
        shutil.copytree(folder / "S1", folder / name)
    (folder / "broken").write_bytes(b"")
    assert tiles / BATCH < 80 < 2 * tiles / BATCH, "the second slide breaks"
    names = ("S1", "S2", "S3")
    options = ("--encoder", "slow.py:Slow", "--config", "config.yaml")
    done = pathai("features", *names, *options, cwd=folder)
    assert done.returncode == 1
    assert "E180: S2: tile at x" in done.stderr
    assert (folder / "loaded").read_text() == "once "
    stores = [{n: v for n, v in contents(folder / name).items() if ".zarr/" in n} for name in names]
    wanted = {n: v for n, v in expected.items() if ".zarr/" in n}
    assert stores[0] == stores[2] == wanted
    assert not [n for n in stores[1] if n.startswith("features/")]
    assert not list(folder.rglob("*.part"))


@pytest.mark.slow
def test_ten_kills_at_random_change_no_byte(slide, golden, tmp_path):
    draw = random.Random(8)
    resumed = 0
    for trial in range(5):
        folder = tmp_path / str(trial)
        done, last = killed_and_resumed(slide, golden, folder, draw, kills=2)
        resumed += done > 0 and last < golden[1]
        shutil.rmtree(folder)
    assert resumed >= 3
