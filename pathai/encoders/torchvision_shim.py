"""The one door to timm: makes torchvision importable beside any build of torch.

pip's torchvision for Linux is compiled for CUDA. Beside a CPU build of torch its library cannot be
loaded, and the import stops where torchvision describes its detection operators. timm and
transformers need none of those, only torchvision's Python parts, so the missing operators
are declared (without an implementation) and the import is tried once more. With a matching
torchvision nothing of this happens.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_OPERATORS = ("nms", "qnms")
_declared: list[Any] = []  # torch forgets the operators when their library object is collected


def import_torchvision() -> ModuleType:
    """Import torchvision, declaring the operators that its compiled part failed to bring."""
    try:
        return import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    half_done = [m for m in sys.modules if m.split(".")[0] == "torchvision"]
    for name in half_done:
        del sys.modules[name]
    _declare()
    return import_module("torchvision")


def import_timm() -> ModuleType:
    """Import timm; every file that needs timm calls this."""
    import_torchvision()
    return import_module("timm")


def _declare() -> None:
    """Declare the operators that are still unknown to torch."""
    import torch

    make: Any = torch.library.Library  # untyped in torch
    library = make("torchvision", "FRAGMENT")
    _declared.append(library)
    for name in _OPERATORS:
        if not hasattr(torch.ops.torchvision, name):
            library.define(name + _SIGNATURE)
