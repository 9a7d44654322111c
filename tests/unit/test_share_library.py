"""The viewer library is the pinned one, or there is none."""

import base64
import hashlib
import importlib.util
import io
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def fetch():
    """A fresh copy of the script as a module."""
    path = ROOT / "envs" / "openseadragon.py"
    spec = importlib.util.spec_from_file_location("openseadragon_fetch", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def archive(text: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as made:
        for name in ("package/build/openseadragon/openseadragon.min.js", "package/LICENSE.txt"):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            made.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


def test_what_is_not_the_pinned_package_is_not_written(fetch, monkeypatch, tmp_path):
    monkeypatch.setattr(fetch, "by_npm", lambda: archive("window.evil = 1"))
    with pytest.raises(ValueError, match="SHA-512 differs"):
        fetch.bring(tmp_path / "vendor")
    assert not (tmp_path / "vendor").exists()


def test_it_is_fetched_once_and_again_for_another_pin(fetch, monkeypatch, tmp_path):
    data, asked = archive("one"), []
    monkeypatch.setattr(fetch, "by_npm", lambda: b"")
    monkeypatch.setattr(fetch, "by_hand", lambda: asked.append(1) or data)
    digest = base64.b64encode(hashlib.sha512(data).digest()).decode()
    monkeypatch.setattr(fetch, "SHA512", digest)
    assert fetch.bring(tmp_path)
    assert not fetch.bring(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {*fetch.FILES.values(), fetch.STAMP}
    monkeypatch.setattr(fetch, "VERSION", "9.9.9")
    assert fetch.bring(tmp_path)
    assert len(asked) == 2


def test_a_registry_without_tls_is_refused(fetch, monkeypatch):
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://example.org")
    with pytest.raises(OSError, match="https"):
        fetch.by_hand()


def test_what_is_here_is_the_pinned_one_with_its_licence():
    from pathai.share.html import library

    script, licence, version = library()
    assert f"//! openseadragon {version}" in script
    assert "sourceMappingURL" not in script
    assert "Redistributions in binary form" in licence
