"""Jobs spread over devices by locks that end with their process, and keep to their threads."""

import subprocess
import sys
from pathlib import Path

import pytest

from pathai import device
from pathai.device import take, threads

HOLD = """
import sys
from pathlib import Path
from pathai.device import take
print(take(sys.argv[2:], Path(sys.argv[1])), flush=True)
sys.stdin.read()
"""


class Job:
    """A process that takes one device and keeps it."""

    def __init__(self, folder: Path, *names: str) -> None:
        command = [sys.executable, "-c", HOLD, str(folder), *names]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def number(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_jobs_take_free_devices_then_the_least_shared(tmp_path: Path) -> None:
    folder, jobs = tmp_path / "locks", []
    try:
        jobs = [Job(folder, "a", "b")]
        assert jobs[0].number() == 0
        jobs.append(Job(folder, "b", "a"))  # sees the devices under other numbers
        assert jobs[1].number() == 0
        jobs.append(Job(folder, "a", "b"))
        assert jobs[2].number() == 0  # both are held once
        jobs[1].kill()
        jobs.append(Job(folder, "a", "b"))
        assert jobs[3].number() == 1  # kill -9 has freed it
    finally:
        for job in jobs:
            job.kill()


def test_one_process_keeps_its_choice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.setattr(
        "torch.cuda.get_device_properties", lambda i: type("Card", (), {"uuid": f"card-{i}"})
    )
    monkeypatch.setattr(device, "_held", [])
    device.device.cache_clear()
    try:
        assert device.device() == device.device() == "cuda:0"
        assert len(device._held) == 1
        device.device.cache_clear()
        assert device.device() == "cuda:1"
    finally:
        device.device.cache_clear()
        for file in device._held:
            file.close()


@pytest.mark.parametrize(("count", "wanted"), [(0, "cpu"), (1, "cuda:0")])
def test_without_a_choice_no_lock_is_taken(
    monkeypatch: pytest.MonkeyPatch, count: int, wanted: str
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: count > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.setattr(device, "take", None)
    device.device.cache_clear()
    assert device.device() == wanted
    device.device.cache_clear()


def test_locks_that_cannot_be_had_give_the_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert take(["a", "b"], tmp_path / "file" / "below") == 0


def test_threads_are_those_that_the_job_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "5")
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert threads() == 5
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "")
    assert threads() >= 1
