"""The review's actions as napari commands: in the palette (Ctrl+Shift+P) and the Annotate menu."""

from collections.abc import Iterator
from contextlib import contextmanager

from napari.utils.notifications import show_info

from pathai.viewer.keys import KEYS
from pathai.viewer.presenter import Review

_open: list[Review] = []


@contextmanager
def acting_on(review: Review) -> Iterator[None]:
    """Let the commands act on a review; of several open ones the last is meant."""
    _open.append(review)
    try:
        yield
    finally:
        _open[:] = [one for one in _open if one is not review]


def _do(action: str) -> None:
    if _open:
        KEYS[action].action(_open[-1])
    else:
        show_info("No review is open: Plugins > pathai review.")


def next_case() -> None:
    """Open the next unreviewed case."""
    _do("next")


def previous_case() -> None:
    """Open the previous unreviewed case."""
    _do("previous")


def accept() -> None:
    """Accept the selected sentence."""
    _do("accept")


def reject() -> None:
    """Reject the selected sentence."""
    _do("reject")


def undo() -> None:
    """Undo the last decision."""
    _do("undo")


def hide() -> None:
    """Hide or show all overlays."""
    _do("hide")


def report() -> None:
    """Show the report."""
    _do("report")


def edit() -> None:
    """Edit the selected sentence."""
    _do("edit")
