"""Networks of transformers whose code lies beside their weights. Nothing is fetched."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from pathai.encoders.published import Published
from pathai.encoders.torchvision_shim import import_torchvision
from pathai.errors import PathaiError


def from_folder(card: Published, folder: Path) -> Any:
    """The network in a folder that the user has named, built by the code in it.

    Raises
    ------
    PathaiError
        E183 if the folder holds no network, E194 if its code needs a package that is missing,
        E182 if its weights do not fit.
    """
    import_torchvision()
    from transformers import AutoModel

    if not (folder / "config.json").is_file():
        message = f"{card.name}: {folder.name} has no config.json"
        raise PathaiError("E183", message, f"put the files of {card.repo} into it")
    try:
        network, loaded = AutoModel.from_pretrained(
            folder, trust_remote_code=True, local_files_only=True, output_loading_info=True
        )
    except ImportError as error:
        remedy = f"install {card.package or 'what it names'}"
        raise PathaiError("E194", f"{card.name}: {error}", remedy) from None
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise PathaiError("E182", f"{card.name}: {folder.name}: {line}") from None
    for key in sorted(loaded["missing_keys"]):  # else they would be random numbers, unsaid
        raise PathaiError("E182", f"{card.name}: the weights in {folder.name} lack {key}")
    return network.float()  # stored in half precision, it would be built so
