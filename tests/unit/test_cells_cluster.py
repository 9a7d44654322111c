"""Nuclei found by the workers of a dask scheduler, on loopback."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from folder_cases import make_folder

from pathai.cells import workers
from pathai.cells.search import prepare
from pathai.chain import cells_step
from pathai.config import CellsConfig, Config
from pathai.errors import PathaiError
from pathai.store.commit import Key, run_stage
from pathai.store.folders import SlideFolder
from pathai.testing.picture import synthetic_field
from pathai.units import Mpp

distributed = pytest.importorskip("distributed")


@pytest.fixture
def slide(tmp_path: Path) -> SlideFolder:
    image, _ = synthetic_field(5, width=600, height=560)
    classes = np.ones((35, 38), np.uint8)
    classes[:9, 20:] = 0
    folder = make_folder(tmp_path / "SECRET-7", image, Mpp(0.5, 0.5), classes)
    run_stage(folder.base("tile"), folder.slide_id, Key("tile", 1, "", ()), {}, lambda out: None)
    return folder


def found(folder: SlideFolder, **cells: object) -> dict[str, str]:
    """Run the stage as the chain does, from nothing; the bits it leaves."""
    step = cells_step(
        Config(
            cells=CellsConfig.model_validate({"detector": "classical", "block_px": 256, **cells})
        ),
        folder,
    )
    folder.base("cells", "classical.manifest.json").unlink(missing_ok=True)
    assert step.run().status == "ok"
    root = folder.cells("classical")
    return {
        str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(root.rglob("*"))
        if file.is_file()
    }


def test_workers_of_a_scheduler_leave_the_same_bits(slide: SlideFolder) -> None:
    golden = found(slide)
    options = {"host": "127.0.0.1", "protocol": "tcp", "dashboard_address": None}
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, **options
    ) as cluster:
        address = cluster.scheduler_address
        assert address.startswith("tcp://127.0.0.1:")
        assert found(slide, scheduler=address) == golden
        each = [worker.state.executed_count for worker in cluster.workers.values()]
    assert sum(each) >= 5  # blocks
    assert min(each) > 0


def test_nothing_but_pixels_and_the_detector_leaves(slide: SlideFolder) -> None:
    search = prepare(slide, CellsConfig(detector="classical", block_px=256))
    blocks = list(search.blocks())
    sent = pickle.dumps((search.finder, blocks))
    assert len(blocks) >= 5
    for secret in (slide.slide_id, str(slide.path), slide.path.parent.name):
        assert secret.encode() not in sent


def test_a_scheduler_that_does_not_answer_costs_nothing(
    slide: SlideFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an earlier job has found is still there when it answers again."""
    monkeypatch.setattr(workers, "SECONDS", 1)
    rows = slide.base("cells", "classical").parent / "classical.zarr.rows.part"
    golden = found(slide)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("pathai.cells.store", killed)
        with pytest.raises(KeyboardInterrupt):
            found(slide)
    kept = rows.read_bytes()
    rows.write_bytes(kept[: len(kept) // 2])  # some blocks, and one cut off
    with pytest.raises(PathaiError, match=r"E177.*cells\.scheduler"):
        found(slide, scheduler="tcp://127.0.0.1:9")
    left = rows.read_bytes()
    assert kept.startswith(left)
    assert len(left) > len(kept) // 4
    assert found(slide) == golden
    assert not rows.exists()


@pytest.mark.parametrize("address", ["localhost", "http://x:1", "tcp:// x"])
def test_an_address_of_another_kind_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="scheduler"):
        CellsConfig(scheduler=address)
