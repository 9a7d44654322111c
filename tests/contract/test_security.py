"""What the code may never do, read from its syntax; and what hostile files may never cause."""

import ast
import gzip
import io
import os
import re
import resource
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from pathai.clinical import read_clinical
from pathai.config import IngestConfig, load_config
from pathai.errors import PathaiError
from pathai.layouts import load_layout
from pathai.readers.sniff import sniff
from pathai.run import shipped
from pathai.store.bundle import read_bundle
from pathai.task import load_task
from pathai.train_classes.tables import unzipped

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "pathai"
FILES = {p.relative_to(ROOT).as_posix(): ast.parse(p.read_bytes()) for p in PACKAGE.rglob("*.py")}

# --- the syntax -------------------------------------------------------------------------------


def name(node: ast.AST) -> str:
    """``a.b.c`` of a name or attribute, else nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{name(node.value) or '()'}.{node.attr}"
    return ""


def calls(tree: ast.AST) -> Iterator[tuple[str, dict[str, ast.expr], ast.Call]]:
    """Every call: what is called, its keywords, the node."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield name(node.func), {k.arg: k.value for k in node.keywords if k.arg}, node


def imports(tree: ast.AST) -> set[str]:
    """First words of everything that is imported, wherever it stands."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal",
              "pickletools", "hickle", "jsonpickle"}  # fmt: skip
CODE = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "pty.spawn",
        "spec_from_file_location"}  # fmt: skip
OWN_CODE = {"pathai/encoders/foreign.py": "file.py:Class names a person's own plug-in"}
FOREIGN_CODE = {
    "pathai/encoders/adapters/local_code.py": "a model's own code, in a folder that a person named",
    "pathai/encoders/adapters/conch.py": "likewise",
}
"""Where code of others runs, and why; docs/security.md tells the user."""


def unsafe(tree: ast.AST) -> Iterator[str]:
    """Every way to run data as code, or to hand text to a shell."""
    yield from (f"import {word}" for word in imports(tree) & UNPICKLERS)
    for called, keys, _ in calls(tree):
        last = called.rpartition(".")[2]
        if called in CODE or last == "spec_from_file_location":
            yield called
        if last == "load" and called.partition(".")[0] in ("np", "numpy"):
            pickle = keys.get("allow_pickle")
            if pickle is not None and not (isinstance(pickle, ast.Constant) and not pickle.value):
                yield "np.load with pickle"
        if called.startswith("torch.") and last == "load" and not true(keys.get("weights_only")):
            yield "torch.load of more than weights"
        if "read_pickle" in called or "load_pickle" in called:
            yield called
        if called.startswith("yaml.") and last in ("load", "load_all", "unsafe_load", "full_load"):
            loader = name(keys["Loader"]) if "Loader" in keys else ""
            if loader not in ("yaml.SafeLoader", "yaml.CSafeLoader", "_UniqueKeys"):
                yield f"{called} with {loader or 'no loader'}"
        if true(keys.get("shell")):
            yield "a shell"
        if true(keys.get("trust_remote_code")):
            yield "trust_remote_code"
        if last in ("extractall", "extract", "unpack_archive"):
            yield f"{called} (an archive chooses where it writes)"
        if last == "mktemp":
            yield called


BAD = {
    "import pickle": "import pickle",
    "def f():\n    from joblib import load": "import joblib",
    "np.load(a, allow_pickle=True)": "np.load with pickle",
    "np.load(a, allow_pickle=x)": "np.load with pickle",
    "torch.load(a)": "torch.load of more than weights",
    "torch.load(a, weights_only=False)": "torch.load of more than weights",
    "yaml.load(a)": "yaml.load with no loader",
    "yaml.load(a, Loader=yaml.Loader)": "yaml.load with yaml.Loader",
    "yaml.unsafe_load(a)": "yaml.unsafe_load with no loader",
    "eval(a)": "eval",
    "os.system(a)": "os.system",
    "subprocess.run(a, shell=True)": "a shell",
    "x.from_pretrained(a, trust_remote_code=True)": "trust_remote_code",
    "archive.extractall()": "archive.extractall (an archive chooses where it writes)",
}


@pytest.mark.parametrize("code", BAD)
def test_the_reader_of_syntax_sees_what_is_unsafe(code):
    assert list(unsafe(ast.parse(code))) == [BAD[code]]


def test_no_data_becomes_code():
    found = {(file, what) for file, tree in FILES.items() for what in unsafe(tree)}
    allowed = {(file, "trust_remote_code") for file in FOREIGN_CODE}
    allowed |= {(file, "spec_from_file_location") for file in OWN_CODE}
    assert found == allowed
    assert len(FILES) > 300


def test_safe_yaml_is_a_safe_loader():
    from pathai import config

    assert issubclass(config._UniqueKeys, yaml.SafeLoader)


def test_markup_that_is_not_escaped_stands_where_it_was_looked_at():
    """Each file was read: it marks its own style, script, data as JSON, or a drawn plot."""
    marked = {file for file, tree in FILES.items() for c, _, _ in calls(tree) if c == "Markup"}
    assert marked == {"pathai/share/html.py", "pathai/metrics_page.py",
                      "pathai/report/documents/screen.py", "pathai/cohort/cards.py",
                      "pathai/cohort/reliable.py", "pathai/cohort/spread.py"}  # fmt: skip
    for template in PACKAGE.rglob("*.jinja"):
        text = template.read_text()
        assert not re.search(r"[^\s\"]\s*\|\s*safe\b|autoescape\s+false", text), template
        if "html" in template.name:
            assert not re.search(r"\son[a-z]+=[\"\']|javascript:|https?://(?!www\.w3\.org)", text)


def test_every_environment_of_templates_escapes():
    for file, tree in FILES.items():
        for called, keys, _ in calls(tree):
            if called.rpartition(".")[2] == "Environment":
                assert true(keys.get("autoescape")), file


SHELL = re.compile(r"\{([^{}]+)\}")


def shell_lines() -> Iterator[tuple[Path, str]]:
    """What rules give to a shell."""
    for file in [shipped("Snakefile"), *sorted(shipped("workflows").rglob("*.smk"))]:
        text = file.read_text()
        assert not re.search(r"^\s*(run|script|notebook|wrapper)\s*:", text, re.M), file
        for block in re.findall(r"^ +shell:\n((?: {8,}.*\n)+)", text, re.M):
            yield file, block


def test_every_value_in_a_shell_line_is_quoted():
    found = list(shell_lines())
    assert len(found) >= 9
    for file, block in found:
        fields = SHELL.findall(block)
        assert fields, file
        assert [f for f in fields if not f.endswith(":q")] == [], file


def test_the_look_at_rules_notices_a_bare_value():
    assert [f for f in SHELL.findall("pathai x {wildcards.batch} {log:q}") if ":q" not in f]


# --- hostile files ----------------------------------------------------------------------------

LAUGHS = "\n".join(
    ["a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    + [
        f"{b}: &{b} [{', '.join(['*' + a] * 9)}]"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    ]
)
CODES = {
    "a billion laughs": LAUGHS,
    "a call": "name: !!python/object/apply:os.mkdir [it-ran]",
    "a module": "name: !!python/module:antigravity",
    "a deep nest": "a: " + "[" * 3000,
    "a number too long": "name: " + "9" * 100_000,
}
READERS: dict[str, Callable[[Path], object]] = {
    "configuration": load_config,
    "task": load_task,
    "layout": lambda path: load_layout(str(path)),
    "clinical": read_clinical,
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("said", CODES)
def test_a_hostile_yaml_file_is_refused_with_a_code_and_runs_nothing(tmp_path, monkeypatch, kind,
                                                                     said):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.yaml"
    path.write_text(CODES[said])
    start, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PathaiError) as caught:
        READERS[kind](path)
    assert caught.value.code in ("E190", "E191", "E192", "E205", "E209")
    assert caught.value.remedy
    assert len(str(caught.value)) < 2000
    assert not (tmp_path / "it-ran").exists()
    assert time.process_time() - start < 20
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    assert grown < 300 * 1024, "KiB"


class Hostile:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_a_pickle_in_place_of_weights_does_not_run(tmp_path):
    import torch

    folder = tmp_path / "model"
    folder.mkdir()
    for file in ("model.safetensors", "weights.safetensors", "spec.json", "model.json"):
        torch.save({"a": Hostile(tmp_path / "it-ran")}, folder / file)
    with pytest.raises(PathaiError):
        read_bundle(folder)
    assert not (tmp_path / "it-ran").exists()


def test_objects_in_numpy_files_do_not_run(tmp_path):
    array = np.array([Hostile(tmp_path / "it-ran")], object)
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match="pickle"):
        np.load(tmp_path / "a.npy")  # numpy's default, on which the package stands
    assert not (tmp_path / "it-ran").exists()


# --- bombs ------------------------------------------------------------------------------------


def packed(size: int) -> bytes:
    """A ZIP of zeros."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a", "w") as one:
        for _ in range(size // 2**20):
            one.write(bytes(2**20))
    return out.getvalue()


def png(width: int, height: int) -> bytes:
    """A picture that says it is large and is not."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + crc

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    data = zlib.compress(bytes(2**20))
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def tiff(width: int, height: int, tile: int) -> bytes:
    """A TIFF of one directory that declares a size; nothing of it is there."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 2), (277, 3, 3),
            (322, 4, tile), (323, 4, tile), (324, 4, 8), (325, 4, 4)]  # fmt: skip
    entries = b"".join(
        code.to_bytes(2, "little") + kind.to_bytes(2, "little") + (1).to_bytes(4, "little")
        + value.to_bytes(4, "little") for code, kind, value in tags
    )  # fmt: skip
    head = b"II*\0" + (8).to_bytes(4, "little")
    return head + len(tags).to_bytes(2, "little") + entries + bytes(4) + bytes(4096)


SLIDES = {
    "zip": (packed(64 * 2**20), "E104"),
    "gzip": (gzip.compress(bytes(2**26)), "E104"),
    "png": (png(60_000, 60_000), "E104"),
    "tiff of a huge level": (tiff(2**30, 2**30, 256), "E116"),
    "tiff of huge tiles": (tiff(2**16, 2**16, 2**15), "E116"),
}


@pytest.mark.parametrize("kind", SLIDES)
def test_a_slide_that_would_blow_up_is_refused_before_it_is_unpacked(tmp_path, kind):
    data, code = SLIDES[kind]
    path = tmp_path / "bomb.svs"
    path.write_bytes(data)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PathaiError) as caught:
        sniff(path, IngestConfig())
    assert caught.value.code == code
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 64 * 1024


def test_a_table_in_gzip_is_unpacked_up_to_a_limit():
    data = gzip.compress(bytes(2**24))
    assert unzipped(data, 2**24) == bytes(2**24)
    with pytest.raises(ValueError, match="unpacks to more than 15 MiB"):
        unzipped(data, 2**24 - 2**20)


def test_pictures_to_learn_from_are_held_to_the_limit_of_pillow(tmp_path):
    from pathai.train_detector.fields import picture

    (tmp_path / "a.png").write_bytes(png(60_000, 60_000))
    with pytest.raises(PathaiError, match=r"E184.*a\.png"):
        picture(tmp_path / "a.png")


# --- children ---------------------------------------------------------------------------------

GREEDY = "import pathai.guard as g; g._limit({mib}); bytearray(3 * 2**30)"


def test_a_child_that_takes_too_much_memory_ends_itself():
    def child(mib: int) -> subprocess.CompletedProcess:
        call = [sys.executable, "-c", GREEDY.format(mib=mib)]
        return subprocess.run(call, capture_output=True, text=True)

    assert "MemoryError" in child(1024).stderr
    assert child(0).returncode == 0


def test_a_child_leaves_no_core_dump():
    code = "import pathai.guard as g, resource as r; g._limit(0); print(r.getrlimit(r.RLIMIT_CORE))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "(0, 0)"


def test_the_stages_that_decode_have_limits_by_default():
    config = load_config(shipped("configs/config.yaml"))
    for section in (config.ingest, config.tile):
        assert 0 < section.memory_mib <= 16_384
        assert 0 < section.seconds <= 7200


def test_arrays_that_are_whole_are_read(tmp_path):
    """The gates above are no walls: what is fine passes."""
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "a.safetensors")
    from pathai.encoders.load import read_state

    assert list(read_state(tmp_path / "a.safetensors")) == ["a"]
