"""Nothing leaves: the default commands work where the kernel has no route, and try none.

Each command runs in a network namespace of its own with nothing but loopback. Two witnesses
watch it: an audit hook in every Python process of the command (sockets of Python), and the
kernel's own counters of packets and connections without a route (sockets of native libraries).
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import absent
from workflow.commands import PATHAI

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("no-route")]

HOOK = '''\
"""Every socket that is pointed at another machine leaves a line."""
import os, sys
from ipaddress import ip_address

def here(host):
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)
    if text in ("", "localhost", "None") or text.startswith(("/", chr(0))):
        return True
    try:
        return ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False

def hook(event, given):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        where = given[1]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        where = given[0]
    else:
        return
    host = where[0] if isinstance(where, tuple) else where
    if not here(host):
        with open(os.environ["PATHAI_TEST_SOCKETS"], "a") as file:
            file.write(f"{event} {host!r} of {sys.argv[:3]}\\n")

sys.addaudithook(hook)
'''
# the counters are of the namespace, so they begin at 0 with it
SCRIPT = """\
ip link set lo up || exit 111
shift
"$@"
code=$?
{ grep '^Ip:' /proc/net/snmp; grep NoRoutes /proc/net/snmp6; } > "$PATHAI_TEST_COUNTERS"
exit $code
"""


class Done(NamedTuple):
    """What a command came to, and what it asked of the network."""

    code: int
    out: str
    error: str
    asked: list[str]
    unrouted: int

    def check(self) -> None:
        """It worked and touched nothing."""
        assert self.code == 0, self.error
        assert "Traceback" not in self.error
        assert self.asked == []
        assert self.unrouted == 0


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder whose ``sitecustomize`` every Python below imports; and proof of the namespace."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(HOOK)
    if not shutil.which("unshare") or not shutil.which("ip", path=_path()):
        absent("unshare (util-linux) and ip (iproute2) are needed to take the route away")
    tried = subprocess.run([*_namespace(), "true"], capture_output=True, text=True)
    if tried.returncode:
        absent(f"this machine permits no network namespace: {tried.stderr.strip()}")
    return folder


def _path() -> str:
    return os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])


def _namespace() -> list[str]:
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *as_root, "--net"]


def without_route(site: Path, folder: Path, *command: object) -> Done:
    """Run a command where nothing but loopback can be reached."""
    asked, counters = site / "asked.txt", site / "counters.txt"
    asked.write_text("")
    python = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [*_namespace(), "sh", "-c", SCRIPT, "sh", "--", *map(str, command)],
        cwd=folder,
        capture_output=True,
        text=True,
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("PYTEST")},
            "PATH": _path(),
            "PYTHONPATH": os.pathsep.join(python),
            "PATHAI_TEST_SOCKETS": str(asked),
            "PATHAI_TEST_COUNTERS": str(counters),
        },
    )
    return Done(
        done.returncode,
        done.stdout,
        done.stderr,
        asked.read_text().splitlines(),
        unrouted(counters.read_text()),
    )


def unrouted(text: str) -> int:
    """Packets and connections that found no route, IPv4 and IPv6."""
    names, values = (line.split() for line in text.splitlines() if line.startswith("Ip:"))
    four = int(values[names.index("OutNoRoutes")])
    return four + sum(int(line.split()[1]) for line in text.splitlines() if "Ip6Out" in line)


# --- the witnesses see what they are there for ------------------------------------------------

PYTHON = "import socket; s = socket.socket(socket.AF_INET{0}); s.connect(('{1}', 80))"
LOOKUP = "import socket; socket.getaddrinfo('example.org', 443)"
NATIVE = """
import ctypes, struct
libc = ctypes.CDLL(None)
place = struct.pack("=HH4s8x", 2, 80 * 256, bytes([192, 0, 2, 7]))
libc.connect(libc.socket(2, 1, 0), place, 16)
"""
CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"


@pytest.mark.parametrize("program", [PYTHON.format("", "192.0.2.7"),
                                     PYTHON.format("6", "2001:db8::7"), LOOKUP])  # fmt: skip
def test_a_program_that_wants_out_is_seen_by_both(site, tmp_path, program):
    done = without_route(site, tmp_path, sys.executable, "-c", CHILD, program)
    assert len(done.asked) == 1
    assert done.unrouted >= 1


def test_a_native_library_that_wants_out_is_seen_by_the_kernel(site, tmp_path):
    done = without_route(site, tmp_path, sys.executable, "-c", NATIVE)
    assert done.code == 0
    assert done.asked == []
    assert done.unrouted == 1


def test_loopback_and_plain_work_are_no_way_out(site, tmp_path):
    listen = "import socket; a = socket.create_server(('127.0.0.1', 0)); "
    listen += "socket.create_connection(a.getsockname())"
    without_route(site, tmp_path, sys.executable, "-c", listen).check()


# --- the commands ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(site, tmp_path_factory) -> Path:
    """A demo that was drawn, run and reported without a route."""
    folder = tmp_path_factory.mktemp("alone")
    demo = ("demo", "--out", "demo", "--cores", "2", "--slides", "8")
    without_route(site, folder, PATHAI, *demo).check()
    return folder / "demo"


LISTS = ("encoders", "heads", "detectors", "drafters", "templates", "tasks", "rules")
COMMANDS = (
    "doctor",
    "doctor --config config.yaml",
    "estimate --config config.yaml",
    *(f"list {what} --json" for what in LISTS),
    "report draft C01",
    "report status C01",
    "report enter C01 --reader dr-a diagnosis.category=benign",
    "report render C01 --format html -o C01.html",
    "report audit C01",
    "cohort --config config.yaml",
    "verify results",
    "ask 'which cases have tumor predicted?'",
    "slide-vector results/slides/S01 results/slides/S02 --encoder mean:morphology",
    "similar results/slides/S01",
    "evaluate models/tumor --sheet slides.tsv --results results -o judged --where split=test",
    "export results/slides/S01 --format geojson -o S01.geojson",
    "share C01 -o C01.zip",
    "readers .",
    "weights check",
    "init ../fresh",
)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_default_command_reaches_for_nothing(site, alone, command):
    without_route(site, alone, PATHAI, *shlex.split(command)).check()


@pytest.mark.slow
def test_a_run_that_has_work_to_do_reaches_for_nothing(site, alone, tmp_path):
    folder = shutil.copytree(alone, tmp_path / "run", symlinks=True)
    shutil.rmtree(folder / "results" / "slides" / "S01")
    run = ("run", "--config", "config.yaml", "--cores", "2")
    without_route(site, folder, PATHAI, *run).check()
    assert (folder / "results" / "slides" / "S01" / "tiles.zarr").is_dir()
