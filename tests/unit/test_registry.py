import subprocess
import sys

import pytest

from pathai.errors import PathaiError
from pathai.registry import Registry


def test_unknown_name_gets_the_nearest_one():
    registry = Registry("things", {"morphology": "math:pi", "mean": "math:e"})
    with pytest.raises(PathaiError, match="morphology") as caught:
        registry.load("morpholog")
    assert caught.value.code == "E191"


def test_loads_lazily_what_the_name_stands_for():
    registry = Registry("things", {"pi": "math:pi", "broken": "no.such.module:x"})
    assert registry.names() == ["broken", "pi"]
    assert registry.load("pi") == pytest.approx(3.14159, abs=1e-4)


@pytest.mark.parametrize("room", ["encoders", "heads", "detectors", "drafters", "readers"])
def test_listing_a_room_imports_no_torch(room):
    code = (
        f"import sys, pathai.{room} as r; r.{room.upper()}.names(); "
        "sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
