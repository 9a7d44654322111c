"""Weights from the Hugging Face hub: at one commit, checked, and pinned in the lock.

The request is a person's own (``pathai weights fetch``), or the configuration's
(``weights.network: true``). ``HF_HUB_OFFLINE``, ``HF_ENDPOINT`` and the login of huggingface_hub
are honored; nothing but the request and the versions of Python and the libraries is sent.

A download that was interrupted goes on where it stopped: it lies under a name that holds the
hub's own mark of the content, so that the bytes of two versions never meet.
"""

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pathai import __version__
from pathai.encoders.cards import Card
from pathai.encoders.weights import (
    HUB,
    Found,
    Record,
    Weights,
    digest,
    folder_of,
    on_hub,
    prove,
    read_record,
    record_of,
    write_record,
)
from pathai.errors import PathaiError
from pathai.store.manifest import storage_error

COMMIT = re.compile("[0-9a-f]{40}")
SHA256 = re.compile("[0-9a-f]{64}")


class Offer(NamedTuple):
    """What the hub says of a file before it is read."""

    commit: str
    size: int
    etag: str
    """SHA-256 of a large file, else git's own hash."""


def fetch(card: Card, weights: Path, revision: str = "") -> Weights:
    """Download a card's weights into ``<weights>/<name>/`` and pin them in the lock.

    Parameters
    ----------
    card : Card
        What to fetch; its own revision and SHA-256 are held to.
    weights : Path
        Folder of weights.
    revision : str
        Commit, tag or branch; by default the card's, else the lock's, else the newest commit.

    Raises
    ------
    PathaiError
        E183 if the hub does not give the file (the remedy says where to ask for access), E182 if
        it gives other bytes than those that are known, E160 or E161 if they cannot be written.
    """
    if not on_hub(card):
        raise PathaiError("E183", f"encoder {card.name} is not on the hub", f"see {card.repo}")
    target = folder_of(card, weights) / card.file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder_of(card, weights)):
            return _fetch(card, weights, target, revision)
    except OSError as error:  # those of the network are caught where they arise
        raise _unwritable(card, error) from None


def _fetch(card: Card, weights: Path, target: Path, revision: str) -> Weights:
    record = read_record(card, weights)
    wanted = revision or card.revision or (record.revision if record else None) or "main"
    pinned = bool(COMMIT.fullmatch(wanted))
    if record and pinned and record.revision == wanted and target.is_file():
        with contextlib.suppress(PathaiError):  # what is damaged is fetched anew
            return prove(card, Found(target, "folder", wanted), weights, again=True)
    offer = _offer(card, wanted)
    if pinned and offer.commit != wanted:
        message = f"encoder {card.name}: asked for {wanted[:12]}, the hub gives {offer.commit[:12]}"
        raise PathaiError("E182", message, "check HF_ENDPOINT, then fetch again")
    if target.is_file() and digest(target) == offer.etag:
        _hold(card, record, offer, offer.etag)
    else:
        part = target.with_name(f"{target.name}.{offer.etag[:12]}.part")
        _clear(target, part)
        _download(card, offer, part)
        try:
            _hold(card, record, offer, digest(part))
        except PathaiError:
            part.unlink(missing_ok=True)
            raise
        part.replace(target)
    sha256 = digest(target)
    write_record(card, weights, record_of(card, target, sha256, offer.commit))
    return Weights(target, sha256)


def _hold(card: Card, record: Record | None, offer: Offer, actual: str) -> None:
    """Refuse bytes that are not those of the hub's own mark, the card, or the lock's commit."""
    expected = [("the card", card.sha256)]
    if SHA256.fullmatch(offer.etag):
        expected.append(("the hub", offer.etag))
    if record and record.revision == offer.commit:
        expected.append(("the lock of the same revision", record.sha256))
    for whose, sha256 in expected:
        if sha256 and actual != sha256:
            message = (
                f"encoder {card.name}: {card.file} at {offer.commit[:12]} has SHA-256 "
                f"{actual[:12]}, {whose} says {sha256[:12]}"
            )
            remedy = f"nothing was replaced; fetch again, and ask the publisher ({HUB}/{card.repo})"
            raise PathaiError("E182", message, remedy)


def _clear(target: Path, part: Path) -> None:
    """Remove what is left of other versions."""
    for old in target.parent.glob(f"{target.name}.*.part"):
        if old != part:
            old.unlink(missing_ok=True)


def _download(card: Card, offer: Offer, part: Path) -> None:
    """Add to the part what it lacks."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get

    have = part.stat().st_size if part.is_file() else 0
    if have > offer.size:
        part.unlink()
        have = 0
    free = shutil.disk_usage(part.parent).free
    if free < offer.size - have:
        gib = (offer.size - have) / 2**30
        message = f"encoder {card.name}: {gib:.1f} GiB are needed, {free / 2**30:.1f} GiB are free"
        raise PathaiError("E161", message, "free space or choose another disk, then fetch again")
    url = hf_hub_url(card.repo, card.file, revision=offer.commit)
    with _explained(card, offer.commit), part.open("ab") as file:
        http_get(url, file, resume_size=have, headers=_headers(), expected_size=offer.size)
        file.flush()
        os.fsync(file.fileno())


def _offer(card: Card, revision: str) -> Offer:
    """Commit, size and mark of a file on the hub."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(card.repo, card.file, revision=revision)
    with _explained(card, revision):
        found = get_hf_file_metadata(url, headers=_headers())
    if not found.commit_hash or not found.etag or found.size is None:
        message = f"encoder {card.name}: what answers at the hub's address is not the hub"
        raise PathaiError("E183", message, "check HF_ENDPOINT and the proxy")
    return Offer(found.commit_hash, found.size, found.etag)


def _headers() -> dict[str, str]:
    """Login and user agent; no telemetry, which would otherwise name more."""
    from huggingface_hub import constants, utils

    constants.HF_HUB_DISABLE_TELEMETRY = True
    library: Any = utils  # it exports lazily
    made: dict[str, str] = library.build_hf_headers(
        library_name="pathai", library_version=__version__
    )
    return made


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait for another fetch of the same encoder; the lock falls with its process.

    Some network disks have no locks; then two that meet spoil one another's part, which is seen by
    its SHA-256, and one of them must be started again.
    """
    with (folder / ".fetch.lock").open("w") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _explained(card: Card, revision: str) -> Iterator[None]:
    """Errors of the network, in one line that says what to do; never the library's own text."""
    from huggingface_hub import errors as hub_errors

    errors: Any = hub_errors  # the base class of errors of the network is another library's
    try:
        yield
    except errors.OfflineModeIsEnabled:
        remedy = f"unset HF_HUB_OFFLINE and run pathai weights fetch {card.name} where network is"
        raise _refused(card, "HF_HUB_OFFLINE forbids to fetch the weights", remedy) from None
    except errors.RevisionNotFoundError:
        raise _refused(card, f"{card.repo} has no revision {revision}", "correct it") from None
    except errors.EntryNotFoundError:
        text = f"{card.repo} has no file {card.file} at {revision}"
        raise _refused(card, text, "give another --revision") from None
    except errors.HfHubHTTPError as error:
        raise _status(card, error) from None
    except errors.HTTPError as error:
        text = f"the hub cannot be reached ({type(error).__name__})"
        remedy = f"run pathai weights fetch {card.name} again where network is; it goes on"
        raise _refused(card, text, remedy) from None
    except OSError as error:
        if error.errno is not None:
            raise _unwritable(card, error) from None
        text = "the download ended early"  # the library's check of the size
        raise _refused(card, text, f"run pathai weights fetch {card.name} again") from None


def _status(card: Card, error: Any) -> PathaiError:
    """What a refusal of the hub means."""
    from huggingface_hub import errors

    status = error.response.status_code
    gated = isinstance(error, errors.GatedRepoError) or status == 403
    page = f"{HUB}/{card.repo}"
    if gated or (card.gated and status == 401):
        remedy = f"ask for access at {page}, then hf auth login, then fetch again"
        return _refused(card, "the hub gives these weights only to those with access", remedy)
    if status in (401, 404):
        return _refused(card, f"the hub has no {card.repo} for this login", f"see {page}")
    return _refused(card, f"the hub answered {status}", "try again later")


def _unwritable(card: Card, error: OSError) -> PathaiError:
    message = f"encoder {card.name}: the weights cannot be written: {error.strerror or error}"
    return PathaiError(storage_error(error).code, message)


def _refused(card: Card, text: str, remedy: str) -> PathaiError:
    return PathaiError("E183", f"encoder {card.name}: {text}", remedy)
