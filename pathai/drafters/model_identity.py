"""Which weights stand behind a name: what a server on this machine says of its model.

Ollama names the digest of a model's weights. llama.cpp and vLLM name no digest; what they state
of the model (file, size, context) is hashed instead, as ``stated-...``: a weaker identity, which
still changes when another file is served. A server that says nothing leaves it empty.
"""

import re
from hashlib import sha256
from typing import Any, NamedTuple

import httpx

from pathai.store.manifest import canonical

CLOUD = re.compile(r"[-:/]cloud(:|$)|^cloud[-:/]", re.IGNORECASE)
"""Tags by which Ollama names models that it relays to its cloud service."""
REMOTE = ("remote_host", "remote_model")
PROPS = ("model_path", "model_alias", "build_info")
MODEL = ("id", "root", "parent", "owned_by", "max_model_len")
META = ("n_params", "n_vocab", "n_ctx_train", "size")


class Identity(NamedTuple):
    """Digest of a model, and whether its server relays it to another machine."""

    digest: str = ""
    relayed: bool = False


def is_cloud(model: str) -> bool:
    """Whether a model's name says that it is relayed to a cloud service."""
    return bool(CLOUD.search(model))


def identity(http: httpx.Client, base_url: str, model: str) -> Identity:
    """Ask a server which model it serves; redirects are not followed, oddities are ignored.

    Parameters
    ----------
    http : httpx.Client
        Over the guarded transport; its limits hold.
    base_url : str
        Of the configuration; Ollama's and llama.cpp's own paths lie beside ``/v1``.
    model : str
        Name of the model.

    Raises
    ------
    httpx.HTTPError
        When the server cannot be reached or a limit is exceeded.
    """
    root = base_url.rstrip("/").removesuffix("/v1")
    tags = _get(http, f"{root}/api/tags")
    for entry in _rows(tags, "models"):
        if {f"{model}:latest", model} & {entry.get("name"), entry.get("model")}:
            relayed = any(entry.get(key) for key in REMOTE) or _any_cloud(entry)
            found = str(entry.get("digest") or "").removeprefix("sha256:").lower()
            known = re.fullmatch(r"[0-9a-f]{12,128}", found)
            return Identity(digest=found if known else "", relayed=relayed)
    return _stated(http, root, base_url.rstrip("/"), model)


def _stated(http: httpx.Client, root: str, base: str, model: str) -> Identity:
    """What llama.cpp, vLLM and the like say of the model, hashed."""
    said: dict[str, Any] = {}
    props = _get(http, f"{root}/props")
    if isinstance(props, dict):
        said |= {f"props.{key}": props[key] for key in PROPS if isinstance(props.get(key), str)}
    relayed = False
    for entry in _rows(_get(http, f"{base}/models"), "data"):
        if entry.get("id") == model:
            said |= {f"model.{k}": entry[k] for k in MODEL if isinstance(entry.get(k), str | int)}
            meta = entry.get("meta")
            if isinstance(meta, dict):
                said |= {f"meta.{k}": meta[k] for k in META if isinstance(meta.get(k), int)}
            relayed = any(entry.get(key) for key in REMOTE) or _any_cloud(entry)
    digest = f"stated-{sha256(canonical(said)).hexdigest()}" if said else ""
    return Identity(digest=digest, relayed=relayed)


def _any_cloud(entry: dict[str, Any]) -> bool:
    return any(is_cloud(str(entry.get(key) or "")) for key in ("id", "name", "model", "root"))


def _rows(data: Any, key: str) -> list[dict[str, Any]]:
    found = data.get(key) if isinstance(data, dict) else None
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def _get(http: httpx.Client, url: str) -> Any:
    """JSON of an address, or None for anything else than a plain answer."""
    try:
        answer = http.get(url)
        return answer.json() if answer.status_code == 200 else None
    except (ValueError, httpx.DecodingError):
        return None
