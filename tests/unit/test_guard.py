"""A child that crashes, hangs or lies down takes nothing else with it."""

import os
import signal
import sys
import time

import pytest

from pathai.errors import PathaiError
from pathai.guard import Guard, shared


@pytest.fixture(scope="module")
def guard() -> Guard:
    with Guard() as one:
        yield one


def test_values_and_arguments_pass(guard: Guard) -> None:
    assert guard.call("math:hypot", 3.0, 4.0, seconds=30) == 5.0
    assert guard.call("os:getpid", seconds=30) != os.getpid()


def test_one_child_serves_many_calls(guard: Guard) -> None:
    first = guard.call("os:getpid", seconds=30)
    assert [guard.call("os:getpid", seconds=30) for _ in range(3)] == [first] * 3


def test_a_crash_names_the_signal_and_the_next_call_works(guard: Guard) -> None:
    with pytest.raises(PathaiError, match="SIGSEGV") as caught:
        guard.call("ctypes:string_at", 0, seconds=30)
    assert caught.value.code == "E172"
    assert guard.call("math:sqrt", 4.0, seconds=30) == 2.0


def test_a_killed_child_is_replaced(guard: Guard) -> None:
    pid = guard.call("os:getpid", seconds=30)
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    assert guard.call("os:getpid", seconds=30) != pid


def test_a_hang_ends_in_time(guard: Guard) -> None:
    guard.call("math:sqrt", 1.0, seconds=30)
    start = time.monotonic()
    with pytest.raises(PathaiError, match=r"within 0.3 s") as caught:
        guard.call("time:sleep", 60, seconds=0.3)
    assert caught.value.code == "E171"
    assert time.monotonic() - start < 10
    assert guard.call("math:sqrt", 4.0, seconds=30) == 2.0


def test_pathai_errors_arrive_intact(guard: Guard) -> None:
    pid = guard.call("os:getpid", seconds=30)
    with pytest.raises(PathaiError) as caught:
        guard.call("pathai.errors:PathaiError", "E999", "no such code", seconds=30)
    assert caught.value.code == "E299"  # a ValueError of ours: the child is not trusted after it
    assert "ValueError" in str(caught.value)
    assert guard.call("os:getpid", seconds=30) != pid
    with pytest.raises(PathaiError) as caught:
        guard.call(
            "pathai.sheet:check_id", "../x", "slides.tsv, row 2, column slide_id", seconds=30
        )
    assert caught.value.code == "E151"
    assert "slides.tsv, row 2, column slide_id" in caught.value.message
    assert caught.value.remedy.startswith("use letters")


def test_the_text_of_foreign_errors_stays_in_the_child(guard: Guard) -> None:
    with pytest.raises(PathaiError) as caught:
        guard.call("os:stat", "/secret-patient-name", seconds=30)
    assert "secret" not in str(caught.value)
    assert "FileNotFoundError" in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="address space limits are Linux's")
def test_memory_is_limited() -> None:
    with Guard(memory_mib=1024) as small:
        with pytest.raises(PathaiError) as caught:
            small.call("builtins:bytes", 2**31, seconds=30)
        assert caught.value.code == "E170"
        assert small.call("builtins:len", b"123", seconds=30) == 3


def test_output_of_the_child_goes_nowhere(guard: Guard, capfd: pytest.CaptureFixture) -> None:
    with Guard() as fresh:
        fresh.call("builtins:print", "patient name", seconds=30)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_no_child_survives_close() -> None:
    guard = Guard()
    pid = guard.call("os:getpid", seconds=30)
    guard.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_shared_is_one_per_limit() -> None:
    assert shared(None) is shared(None)
    assert shared(None) is not shared(4096)


@pytest.mark.skipif(sys.platform != "linux", reason="uses prctl")
def test_the_child_dies_with_a_killed_parent(tmp_path) -> None:
    import subprocess

    code = (
        "from pathai.guard import Guard; g = Guard(); "
        "print(g.call('os:getpid', seconds=30), flush=True); "
        "g.call('time:sleep', 60, seconds=60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(50):
        time.sleep(0.1)
        try:
            with open(f"/proc/{child}/stat") as stat:
                if stat.read().split()[2] == "Z":
                    return
        except FileNotFoundError:
            return
    pytest.fail("the child outlived its parent")


def test_a_child_may_not_turn_in_circles_for_longer_than_it_was_given(tmp_path) -> None:
    """The processor's own limit ends it, should the parent have lost it from sight."""
    (tmp_path / "circles.py").write_text(
        "import resource\n"
        "def limit(): return resource.getrlimit(resource.RLIMIT_CPU)[0]\n"
        "def turn():\n    resource.setrlimit(resource.RLIMIT_CPU, (1, -1))\n    while True: pass\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        with Guard() as fresh:
            assert 5 < fresh.call("circles:limit", seconds=5) < 20
            assert 500 < fresh.call("circles:limit", seconds=500) < 520
            with pytest.raises(PathaiError, match="SIGXCPU"):
                fresh.call("circles:turn", seconds=200)
    finally:
        sys.path.remove(str(tmp_path))
