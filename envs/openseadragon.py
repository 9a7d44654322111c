"""Bring OpenSeadragon into the package's data: one pinned npm package, checked before it is used.

The pages of ``pathai share`` carry it. It is no part of the repository: the build runs this (see
``hatch_build.py``), and so may anyone by ``python envs/openseadragon.py``. Standard library only.
npm fetches it where it is installed, with its own settings; else it comes straight from the
registry (``NPM_CONFIG_REGISTRY`` names another one).
"""

import base64
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSION = "6.1.1"
SHA512 = "g4iKe2q8B642SaBT3+x4ZF3/8b1TxPPydyjmtrOLgDrlYWMKd9ZXM+1Cb/xa9DVySkvs/7l6HR1nHKfD5F3Tsw=="
"""Of the package's archive, as the registry states it (``dist.integrity``)."""
FOLDER = ROOT / "pathai" / "share" / "vendor"
FILES = {
    "package/build/openseadragon/openseadragon.min.js": "openseadragon.min.js",
    "package/LICENSE.txt": "openseadragon.LICENSE.txt",
}
STAMP = "openseadragon.version"
SECONDS = 120


def bring(folder: Path = FOLDER) -> bool:
    """Put the library and its licence into a folder; False if they were there already.

    Raises
    ------
    OSError
        If it could not be fetched.
    ValueError
        If what was fetched is not the pinned package; nothing is written then.
    """
    stamp = folder / STAMP
    wanted = f"{VERSION} {SHA512}\n"
    there = all((folder / name).is_file() for name in FILES.values())
    if there and stamp.is_file() and stamp.read_text() == wanted:
        return False
    data = by_npm() or by_hand()
    if base64.b64encode(hashlib.sha512(data).digest()).decode() != SHA512:
        raise ValueError(f"openseadragon {VERSION}: SHA-512 differs, nothing was written")
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
        for inside, name in FILES.items():
            found = archive.extractfile(inside)
            if found is None:
                raise ValueError(f"openseadragon {VERSION}: {inside} is missing")
            part = folder / f"{name}.part"
            part.write_bytes(found.read())
            part.replace(folder / name)
    stamp.write_text(wanted)
    return True


def by_npm() -> bytes:
    """The archive as npm fetches it; empty without npm, or where it fails."""
    npm = shutil.which("npm")
    if npm is None:
        return b""
    with tempfile.TemporaryDirectory() as place:
        command = [npm, "pack", f"openseadragon@{VERSION}", "--ignore-scripts", "--silent"]
        try:
            subprocess.run(command, cwd=place, capture_output=True, timeout=SECONDS, check=True)
        except (OSError, subprocess.SubprocessError):
            return b""
        found = sorted(Path(place).glob("*.tgz"))
        return found[0].read_bytes() if found else b""


def by_hand() -> bytes:
    """The archive straight from the registry."""
    base = os.environ.get("NPM_CONFIG_REGISTRY", "https://registry.npmjs.org").rstrip("/")
    if not base.startswith(("https://", "http://127.0.0.1", "http://localhost")):
        raise OSError("NPM_CONFIG_REGISTRY must begin with https://")
    url = f"{base}/openseadragon/-/openseadragon-{VERSION}.tgz"
    with urllib.request.urlopen(url, timeout=SECONDS) as answer:  # noqa: S310
        data: bytes = answer.read(64 * 2**20)
    return data


def main() -> None:
    """Fetch it, or say in one line why not."""
    try:
        made = bring()
    except (OSError, ValueError) as error:
        sys.exit(f"openseadragon {VERSION} could not be fetched: {error}")
    print(f"openseadragon {VERSION} {'fetched' if made else 'is there already'}")


if __name__ == "__main__":
    main()
