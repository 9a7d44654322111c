"""Bytes of a slide changed at random: the parent lives, and every outcome has a name.

The seeds are fixed; `PATHAI_FUZZ=5000` runs more.
"""

import os
import random

import pytest

from pathai import chain
from pathai.config import Config
from pathai.store.folders import SlideFolder
from pathai.testing.synthetic import Recipe, write_slide

pytestmark = [pytest.mark.workflow, pytest.mark.slow]
CASES = int(os.environ.get("PATHAI_FUZZ", "60"))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "good.svs"
    write_slide(path, Recipe(seed=8, width=700, height=700, mpp=0.5))
    return path.read_bytes()


def mutate(raw: bytes, draw: random.Random) -> bytes:
    kind, at = draw.randrange(5), draw.randrange(len(raw))
    if kind == 0:  # one bit
        return raw[:at] + bytes([raw[at] ^ (1 << draw.randrange(8))]) + raw[at + 1 :]
    if kind == 1:  # cut off
        return raw[:at]
    if kind == 2:  # a lost block
        size = min(draw.choice([512, 4096, 65536]), len(raw) - at)
        return raw[:at] + bytes(size) + raw[at + size :]
    if kind == 3:  # bytes put in
        return raw[:at] + draw.randbytes(draw.randint(1, 16)) + raw[at:]
    tail = len(raw) - 4096  # near the directories: boundary values
    at = draw.randrange(max(tail, 0), len(raw) - 4)
    value = draw.choice([0, 0xFFFFFFFF, 0xFFFF0000, 0x7FFFFFFF])
    return raw[:at] + value.to_bytes(4, "little") + raw[at + 4 :]


def test_every_mutation_ends_in_a_named_outcome(source, tmp_path):
    draw = random.Random(20261121)
    outcomes: dict[str, int] = {}
    for case in range(CASES):
        path = tmp_path / f"m{case}.svs"
        path.write_bytes(mutate(source, draw))
        folder = SlideFolder(tmp_path / "slides" / f"M{case}")
        config = Config()
        made = chain.ingest_step(config, folder, path, None, "H&E").run()
        if made.status == "ok":
            made = chain.tile_step(config, folder, path).run()
        name = made.status if not made.problems else made.problems[0].code
        outcomes[name] = outcomes.get(name, 0) + 1
        assert made.status in ("ok", "degraded", "skipped", "failed")
        if made.status == "failed":
            assert made.problems[0].code.startswith("E1")
            assert not folder.tiles.exists()
        path.unlink()
    print(outcomes)
    assert outcomes.get("E110", 0) > 0, "truncation must be among the draws"
