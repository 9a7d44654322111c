"""How encoders are loaded and run: what the configuration says of it, without torch."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Setup:
    """Where weights lie, what may be used, and how a network runs.

    Parameters
    ----------
    weights : Path
        Folder of weights, see `pathai.encoders.weights.locate`.
    licence : str
        ``any``, ``commercial`` or ``open``.
    network : bool
        Whether weights may be fetched from the hub.
    precision : str
        ``auto`` (bfloat16 on a GPU that has it, else float32), ``fp32``, ``bf16`` or ``fp16``.
    compile : bool
        Whether `torch.compile` is used.
    device : str
        ``""``: a free GPU if there is one, else the processor.
    """

    weights: Path = Path("weights")
    licence: str = "any"
    network: bool = False
    precision: str = "auto"
    compile: bool = False
    device: str = ""
