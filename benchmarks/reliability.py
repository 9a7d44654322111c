"""Faults of every kind on a small cohort through the whole chain, and how each one ends.

``--part kills``: kill -9 at random, then one command. ``--part disk``: disks of 1 to 32 MiB that
are full at each stage. ``--part store``: damaged stores. ``--part same``: one digest under other
cores, time zones, locales, hash seeds, folders and orders. Without ``--part``: all, as at night.

Prints what was found, writes it into ``benchmarks/results/reliability.json`` (or ``--out``), and
exits with 1 if a promise was broken. ``--minutes`` ends a part early; how many were asked is noted.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import reliability_disk
import reliability_kills
import reliability_same
import reliability_store
from machine import machine
from reliability_run import Cohort, make_cohort

ROOT = Path(__file__).resolve().parents[1]
SEED = 20_261_128
Trial = Callable[[int], dict[str, Any]]


def cases(trial: Trial, asked: int, minutes: float, lanes: int) -> list[dict[str, Any]]:
    """Run numbered trials, several at a time, until all are done or the time is over."""
    ends = time.monotonic() + 60 * minutes

    def one(number: int) -> dict[str, Any] | None:
        if time.monotonic() > ends:
            return None
        found = trial(number)
        if not found["ok"]:
            sys.stderr.write(json.dumps(found, indent=1) + "\n")
        return found

    with ThreadPoolExecutor(lanes) as pool:
        return [found for found in pool.map(one, range(asked)) if found is not None]


def kills(cohort: Cohort, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """See `reliability_kills`."""

    def trial(number: int) -> dict[str, Any]:
        return reliability_kills.trial(cohort, folder / str(number), number, options.seed)

    asked = options.trials or 200
    return reliability_kills.summary(cases(trial, asked, options.minutes, options.lanes), asked)


def disk(cohort: Cohort, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """See `reliability_disk`."""

    def trial(number: int) -> dict[str, Any]:
        return reliability_disk.case(cohort, folder / str(number), number, options.seed)

    asked = options.trials or 24
    return reliability_disk.summary(cases(trial, asked, options.minutes, options.lanes), asked)


def store(cohort: Cohort, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """See `reliability_store`."""
    stores = reliability_store.Stores(cohort, folder)

    def trial(number: int) -> dict[str, Any]:
        return reliability_store.fault(stores, number, options.seed)

    asked = options.trials or 2000
    return reliability_store.summary(cases(trial, asked, options.minutes, 1), asked)


def same(cohort: Cohort, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """See `reliability_same`."""

    def trial(number: int) -> dict[str, Any]:
        return reliability_same.same(cohort, folder / str(number), number)

    asked = options.trials or 32
    return reliability_same.summary(cases(trial, asked, options.minutes, options.lanes), asked)


PARTS = {"store": store, "disk": disk, "same": same, "kills": kills}


def parts(options: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run the asked parts over one cohort."""
    with tempfile.TemporaryDirectory() as folder:
        cohort = make_cohort(options.cohort or Path(folder) / "cohort")
        for name in options.part or PARTS:
            begun = time.monotonic()
            found = PARTS[name](cohort, Path(folder) / name, options)
            yield name, {**found, "minutes": round((time.monotonic() - begun) / 60, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", action="append", choices=[*PARTS])
    parser.add_argument("--trials", type=int, default=0, help="of each part; default: the night's")
    parser.add_argument("--minutes", type=float, default=600, help="at most, of each part")
    parser.add_argument("--cohort", type=Path, help="folder to keep slides and golden run in")
    parser.add_argument("--lanes", type=int, default=1, help="trials at a time")
    parser.add_argument("--seed", type=int, default=SEED)
    default = ROOT / "benchmarks" / "results" / "reliability.json"
    parser.add_argument("--out", type=Path, default=default)
    options = parser.parse_args()
    broken = False
    for name, found in parts(options):
        whole = json.loads(options.out.read_text()) if options.out.exists() else {}
        whole |= {name: found, "machine": machine(), "seed": options.seed}
        options.out.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")
        print(json.dumps({name: found}, indent=1, sort_keys=True))
        broken = broken or bool(found["failed"])
    raise SystemExit(broken)


if __name__ == "__main__":
    main()
