"""Corrections of nuclei and regions in readers' logs that a report does not stand on."""

from functools import lru_cache
from pathlib import Path

from pathai.quantities.regions import REVIEWED
from pathai.report.life.items import Item
from pathai.report.life.state import State
from pathai.review_log import Event, action, read_log

KINDS = ("cells", "region")


def uncounted(logs: Path, state: State) -> list[Item]:
    """One open item per reader whose last correction is not in the findings.

    Parameters
    ----------
    logs : Path
        Folder of the readers' logs of the case.
    state : State
        Of its report.

    Raises
    ------
    PathaiError
        E210 if a log is broken.
    """
    made = state.corrected.event.facts.get("events") if state.corrected else None
    counted = set(made) if isinstance(made, list) else set()
    items = []
    for path in sorted(logs.glob("*.jsonl")):
        there = path.stat()
        events, stand = _about(path, there.st_size, there.st_mtime_ns)
        last = events[-1] if events else ""
        # of what was taken back since, the report may still hold something
        if last and last not in counted and (stand or not counted.isdisjoint(events)):
            items.append(
                Item(
                    f"uncounted:{path.stem}:{last[:8]}",
                    f"{path.stem} corrected nuclei or regions that do not count here yet; "
                    "count them: pathai report correct",
                    acknowledgeable=True,
                )
            )
    return items


@lru_cache(maxsize=64)
def _about(path: Path, size: int, time_ns: int) -> tuple[tuple[str, ...], bool]:
    """SHA-256 of the events on corrections, and whether one of them was not taken back.

    Size and time make a log that grew another one.
    """
    events, standing = list(read_log(path)), set[int]()
    found = []
    for event in events:
        done = action(event, events)
        if done.kind not in KINDS or _looked_through(done):
            continue
        found.append(event.sha256)
        if event.kind == "undo":
            standing.discard(done.number)
        else:
            standing.add(done.number)
    return tuple(found), bool(standing)


def _looked_through(event: Event) -> bool:
    """Whether an event is on a region that changes no count."""
    said = event.after or event.before or {}
    return str(said.get("name", "")).strip().casefold() in REVIEWED
