"""5,000 damaged copies of a real slide through ingest and tile: crashes, hangs, silent changes.

Prints and writes ``benchmarks/results/fuzz.json``. Exits with 1 if the parent met anything but a
named outcome, if a decoder hung, or if a changed file passed although its SHA-256 was known.
Data: ``PATHAI_TEST_DATA/slides/CMU-1-Small-Region.svs``.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from fuzz_slides import CHANGES, LIMIT_S, SEED, Fuzz, Outcome  # noqa: E402
from machine import machine  # noqa: E402

from pathai.guard import close_guards  # noqa: E402

DATA = Path(os.environ.get("PATHAI_TEST_DATA", ROOT.parent / "shared" / "data"))
SOURCE = "slides/CMU-1-Small-Region.svs"


def table(outcomes: list[Outcome]) -> dict[str, dict[str, int]]:
    """Outcomes by kind of damage."""
    rows = {}
    for kind in CHANGES:
        of_kind = [one for one in outcomes if one.kind == kind]
        found = Counter(one.result for one in of_kind)
        found.update(f"pixels {one.pixels}" for one in of_kind if one.pixels)
        rows[kind] = {"cases": len(of_kind), **dict(sorted(found.items()))}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    outcomes: list[Outcome] = []
    uncaught: Counter[str] = Counter()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        fuzz = Fuzz(DATA / SOURCE, Path(folder))
        for case in range(options.cases):
            try:
                outcomes.append(fuzz.run(case, options.seed))
            except Exception as error:  # noqa: BLE001 - what must not happen is counted, by type
                uncaught[type(error).__name__] += 1
    close_guards()
    changed = [one for one in outcomes if one.changed]
    wrong = sum(one.pixels == "wrong" for one in changed)
    result = {
        "source": SOURCE,
        "cases": options.cases,
        "seed": options.seed,
        "uncaught": dict(sorted(uncaught.items())),
        "hangs": sum(one.seconds > 2 * LIMIT_S for one in outcomes),
        "decoder_crashes": sum(one.result == "E172" for one in outcomes),
        "passed_with_known_checksum": sum(one.known == "ok" for one in changed),
        "passed_with_wrong_pixels_without_checksum": wrong,
        "share_of_changed": round(wrong / max(len(changed), 1), 4),
        "slowest_s": round(max(one.seconds for one in outcomes), 1),
        "minutes": round((time.monotonic() - start) / 60, 1),
        "peak_child_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
        "peak_parent_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "outcomes": dict(sorted(Counter(one.result for one in outcomes).items())),
        "by_damage": table(outcomes),
        "machine": machine(),
    }
    out = ROOT / "benchmarks" / "results" / "fuzz.json"
    out.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k != "machine"}, indent=1))
    bad = uncaught or result["hangs"] or result["passed_with_known_checksum"]
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
