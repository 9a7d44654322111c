"""Figures of reliability for README and docs/reliability.md; see `figures.py`."""

import json
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
ROWS = ROOT / "tests" / "catalogue" / "rows.yaml"


def reliability() -> str:
    """Markdown table of promises and how often each was tried and kept."""
    found, fuzz = (json.loads((RESULTS / f"{n}.json").read_text()) for n in ("reliability", "fuzz"))
    rows = yaml.safe_load(ROWS.read_text("utf-8"))
    tests = {test for row in rows for test in row["tests"]}
    lines = [
        "| promise | tried | kept |",
        "|---|---|---|",
        f"| A fault ends as the catalogue says, with code, file and remedy | "
        f"{len(rows)} kinds of fault, {len(tests)} tests | {len(rows)} of {len(rows)} |",
    ]
    if "kills" in found:
        row = found["kills"]
        lines.append(
            "| Kill -9 at a random moment (scheduler, worker, whole group), then one command: the "
            "same bytes, nothing finished is done again, nothing left over | "
            f"{_of(row['trials'], row['asked'], 'runs')}, {row['kills_that_hit']} kills, "
            f"{row['trials_killed_more_than_once']} runs killed more than once | "
            f"{row['trials'] - len(row['failed'])} of {row['trials']} |"
        )
    if "disk" in found:
        row = found["disk"]
        low, high = row["sizes_mib"][0], row["sizes_mib"][-1]
        lines.append(
            f"| A disk of {low} to {high} MiB is full at some stage: E161 with the room that is "
            "needed and free, nothing half-written, the same bytes once there is room | "
            f"{_of(row['cases'], row['asked'], 'disks')} | {row['as_promised']} of {row['cases']} |"
        )
    if "store" in found:
        row = found["store"]
        wrong = row["read_as_something_else"]
        lines += [
            "| `pathai verify` names a damaged file (bits, bytes, cut off, emptied, deleted, "
            "swapped, foreign, left over) | "
            f"{_of(row['faults'], row['asked'], 'faults')} | {row['named_by_verify']:,} of "
            f"{row['faults']:,} |",
            "| Nothing reads a damaged result as if it were whole | the same faults, read | "
            f"{row['faults'] - wrong:,} of {row['faults']:,} |",
        ]
    if "same" in found:
        row = found["same"]
        lines.append(
            "| The same bytes on one core or two, in any time zone, locale, folder, order of the "
            f"sheet, with any hash seed | {_of(row['cases'], row['asked'], 'runs')} | "
            f"{row['identical']} of {row['cases']} |"
        )
    lines += [
        "| A slide that was damaged at random ends in a named outcome, and never passes where its "
        f"SHA-256 is known | {fuzz['cases']:,} damaged slides | "
        f"{fuzz['cases'] - sum(fuzz['uncaught'].values()) - fuzz['passed_with_known_checksum']:,} "
        f"of {fuzz['cases']:,} |",
        "",
        f"Processor: {found['machine']['processor']}, {found['machine']['cores']} cores. From "
        "`benchmarks/results/reliability.json` and `fuzz.json`, written by "
        "`benchmarks/reliability.py` and `fuzz.py`; this block by `docs/figures.py`.",
    ]
    return "\n".join(lines)


def _of(count: int, asked: int, what: str) -> str:
    """How many, and how many were asked for where these were fewer."""
    return f"{count:,} {what}" if count >= asked else f"{count:,} {what} (of the night's {asked:,})"


def stores() -> str:
    """Markdown table of damaged stores by kind of damage."""
    found = json.loads((RESULTS / "reliability.json").read_text()).get("store", {"by_kind": {}})
    lines = ["| damage | faults | named by verify | refused by readers |", "|---|---|---|---|"]
    for kind, row in found["by_kind"].items():
        lines.append(f"| {kind} | {row['faults']} | {row['named']} | {row['refused_by_readers']} |")
    return "\n".join(lines)


def catalogue() -> str:
    """Markdown table of the fault catalogue: what must happen, and where it is tested."""
    rows = yaml.safe_load(ROWS.read_text("utf-8"))
    lines = ["| row | fault | ends as | tested in |", "|---|---|---|---|"]
    for row in rows:
        ends = row["ends"] + (f". Decided here: {row['decided']}" if "decided" in row else "")
        files = sorted({test.partition("::")[0].rpartition("/")[2] for test in row["tests"]})
        lines.append(
            f"| {row['row']} | {row['fault']} | {ends} | {', '.join(f'`{f}`' for f in files)} |"
        )
    return "\n".join(lines)


PARTS = {"reliability": reliability, "stores": stores, "catalogue": catalogue}
