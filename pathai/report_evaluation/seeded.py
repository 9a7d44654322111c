"""The verifier against seeded errors and against true sentences in other words.

Every error is made in a draft of a synthetic case, in the drafter's text or in the stored draft,
and counts only if the oracle says that the result is wrong. Then the verifier is asked.
"""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple

from pydantic import ValidationError

from pathai.config import ReportConfig
from pathai.drafters.base import Line
from pathai.errors import PathaiError
from pathai.finding import CaseFindings
from pathai.report import check
from pathai.report.draft import draft
from pathai.report.plan import plan
from pathai.report.records import Draft
from pathai.report_evaluation.cases import synthetic_cases
from pathai.report_evaluation.draft_errors import ON_VALUE, Record, prints_of, statements_of
from pathai.report_evaluation.oracle import judge_draft, judge_raw, judge_sentence, sealed
from pathai.report_evaluation.paraphrases import paraphrases
from pathai.report_evaluation.reading import book
from pathai.report_evaluation.record_errors import RECORD_ERRORS, UNSEALED
from pathai.report_evaluation.suite import Gate, SuiteResult, gate
from pathai.report_evaluation.text_errors import TEXT_ERRORS

__all__ = ["Sample", "samples", "seeded_errors"]

SEED = 2
"""Cases of this suite are none of the synthetic suite's."""
STRICT = ("number", "unit", "polarity", "laterality", "category")
TRIES = 8
"""How often an error is tried anew on a case before the next case is taken."""


class Sample(NamedTuple):
    """A clean draft, with what both judges need of it."""

    case: CaseFindings
    data: dict[str, Any]
    lines: dict[str, Line]
    draft: str
    texts: dict[str, str]


def samples(count: int, section: ReportConfig, seed: int = SEED) -> list[Sample]:
    """Template drafts of ``count`` synthetic cases."""
    made = []
    plain = section.model_copy(update={"drafter": "template", "llm": None})
    for case in synthetic_cases(count, seed):
        try:
            clean = draft(case, plain)
        except PathaiError:  # the synthetic suite counts these
            continue
        lines = {line.statement: line for part in plan(case) for line in part.lines}
        made.append(
            Sample(
                case=case,
                data=case.model_dump(mode="json"),
                lines=lines,
                draft=clean.model_dump_json(),
                texts={s.id: s.text for s in clean.statements()},
            )
        )
    return made


class _Tally(NamedTuple):
    """What became of the errors of one kind."""

    group: str
    counted: int
    caught: int
    harmless: int


def seeded_errors(section: ReportConfig, cases: int = 300) -> SuiteResult:
    """Seed ``cases`` errors of every kind and count those that the verifier catches.

    Parameters
    ----------
    section : ReportConfig
        Language and layout; the drafter is always the template.
    cases : int
        Errors of each kind, each in another case.

    Returns
    -------
    SuiteResult
        Per kind: errors that the oracle confirms, and those caught. False alarms, as a share of
        the statements of clean drafts and of paraphrases.
    """
    began = time.process_time()
    pool = samples(cases, section)
    tallies: dict[str, _Tally] = {}
    missed: list[dict[str, str]] = []
    for name, (group, _) in TEXT_ERRORS.items():
        tallies[f"text: {name}"] = _text_kind(name, group, pool, missed)
        tallies[f"draft: {name}"] = _stored_kind(name, group, pool, missed)
    for name, (group, _) in {**ON_VALUE, **RECORD_ERRORS}.items():
        tallies[f"draft: {name}"] = _stored_kind(name, group, pool, missed)
    clean, reworded = _clean_alarms(pool), _reworded_alarms(pool)
    figures = {
        "kinds": len({name.split(": ", 1)[1] for name, t in tallies.items() if t.counted}),
        "cases_per_kind": cases,
        "errors": sum(t.counted for t in tallies.values()),
        "caught": sum(t.caught for t in tallies.values()),
        "by_kind": {name: t._asdict() for name, t in tallies.items()},
        "missed": _some(missed),
        "clean": clean,
        "paraphrased": reworded,
    }
    return SuiteResult(
        name="seeded",
        figures=figures,
        gates=tuple(_gates(tallies, clean, reworded)),
        cpu_s=time.process_time() - began,
    )


def _some(missed: list[dict[str, str]]) -> list[dict[str, str]]:
    """At most three examples of each kind."""
    seen: Counter[str] = Counter()
    shown = []
    for one in missed:
        seen[one["kind"]] += 1
        if seen[one["kind"]] <= 3:
            shown.append(one)
    return shown


def _gates(
    tallies: dict[str, _Tally], clean: dict[str, float], reworded: dict[str, float]
) -> Iterator[Gate]:
    def share(groups: tuple[str, ...]) -> float:
        chosen = [t for t in tallies.values() if t.group in groups]
        counted = sum(t.counted for t in chosen)
        return sum(t.caught for t in chosen) / counted if counted else 1.0

    yield gate("errors caught", share((*STRICT, "other")), "at least", 0.99)
    for group in STRICT:
        yield gate(f"errors of {group} caught", share((group,)), "equal to", 1.0)
    yield gate("kinds of error", sum(t.counted > 0 for t in tallies.values()), "at least", 20)
    yield gate("false alarms on clean statements", clean["rate"], "at most", 0.005)
    yield gate("false alarms on paraphrases", reworded["rate"], "at most", 0.005)


def _rng(name: str, sample: Sample) -> Random:
    return Random(f"{name} {sample.case.digest}")  # noqa: S311 - drawn for tests


# --- in the drafter's text -------------------------------------------------------------------


def _text_kind(name: str, group: str, pool: list[Sample], missed: list[dict[str, str]]) -> _Tally:
    _, change = TEXT_ERRORS[name]
    counted = caught = harmless = 0
    for sample in pool:
        rng = _rng(name, sample)
        found = {f["id"]: f for f in sample.data["findings"]}
        for statement in rng.sample(sorted(sample.lines), len(sample.lines)):
            line = sample.lines[statement]
            finding = found[line.finding]
            text = change(rng, sample.texts[statement], finding, sample.data)
            if text is None:
                continue
            if not judge_raw(text, finding, sample.data):
                harmless += 1
                continue
            counted += 1
            seen = bool(check.check_text(text, line, sample.case))
            caught += seen
            if not seen:
                missed.append({"kind": f"text: {name}", "text": text})
            break
    return _Tally(group, counted, caught, harmless)


# --- in the stored draft ---------------------------------------------------------------------


def _stored_kind(name: str, group: str, pool: list[Sample], missed: list[dict[str, str]]) -> _Tally:
    counted = caught = harmless = 0
    for sample in pool:
        rng = _rng(f"stored {name}", sample)
        for _ in range(TRIES):
            record = json.loads(sample.draft)
            if not _seed(name, rng, record, sample):
                continue
            if name != UNSEALED:
                record["digest"] = sealed(record)
            if not judge_draft(record, sample.data):
                harmless += 1
                continue
            counted += 1
            seen = _refused(record, sample.case)
            caught += seen
            if not seen:
                missed.append({"kind": f"draft: {name}", "text": _difference(record, sample)})
            break
    return _Tally(group, counted, caught, harmless)


def _seed(name: str, rng: Random, record: Record, sample: Sample) -> bool:
    """Make the error; False where this draft does not allow it."""
    if name in TEXT_ERRORS:
        return _seed_text(name, rng, record, sample)
    kinds = ON_VALUE if name in ON_VALUE else RECORD_ERRORS
    return kinds[name][1](rng, record, sample.data)


def _seed_text(name: str, rng: Random, record: Record, sample: Sample) -> bool:
    """A drafter's error in a stored draft: in the kept text and, filled in, in what it prints."""
    found = {f["id"]: f for f in sample.data["findings"]}
    said = statements_of(record)
    for statement in rng.sample(said, len(said)):
        finding = found[statement["finding"]]
        text = TEXT_ERRORS[name][1](rng, statement["text"], finding, sample.data)
        if text is not None:
            statement["rendered"] = _filled(text, statement)
            statement["text"] = text
            return True
    return False


def _filled(text: str, statement: Record) -> str:
    """``text`` with the prints of the clean sentence and the names of other keys."""
    words = book("en")
    prints = prints_of(statement)

    def printed(match: re.Match[str]) -> str:
        if match[0] in prints:
            return prints[match[0]]
        try:
            return words.terms.get(match[1]) or words.name(match[1])
        except KeyError:
            return match[0]

    filled = re.sub(r"\{(?:T:)?([^}]*)\}", printed, text)
    return filled[:1].upper() + filled[1:]


def _refused(record: Record, case: CaseFindings) -> bool:
    """Whether the draft cannot be read, or the verifier finds a problem in it."""
    try:
        read = Draft.model_validate(record)
    except ValidationError:
        return True
    return bool(check.check_draft(read, case))


def _difference(record: Record, sample: Sample) -> str:
    before = [s["rendered"] for s in statements_of(json.loads(sample.draft))]
    after = [s["rendered"] for s in statements_of(record)]
    return next((f"{a} -> {b}" for a, b in zip(before, after, strict=False) if a != b), "")


# --- false alarms ----------------------------------------------------------------------------


def _clean_alarms(pool: list[Sample]) -> dict[str, Any]:
    statements = alarms = 0
    for sample in pool:
        drawn = Draft.model_validate_json(sample.draft)
        whole = len(check.check_draft(drawn, sample.case))
        single = sum(
            bool(check.check_text(sample.texts[s], line, sample.case))
            for s, line in sample.lines.items()
        )
        statements += len(sample.lines)
        alarms += max(whole, single)
    return {"statements": statements, "alarms": alarms, "rate": alarms / max(statements, 1)}


def _reworded_alarms(pool: list[Sample]) -> dict[str, Any]:
    """Paraphrases that the oracle calls true and the verifier refuses."""
    words = book("en")
    used: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for sample in pool:
        rng = _rng("paraphrase", sample)
        found = {f["id"]: f for f in sample.data["findings"]}
        for statement, line in sample.lines.items():
            finding = found[line.finding]
            text = rng.choice(paraphrases(finding))
            clean = {"text": sample.texts[statement], "rendered": _printed(sample, statement)}
            true = not judge_raw(text, finding, sample.data)
            if not true or judge_sentence(_filled(text, clean), finding, sample.data, words):
                continue
            pattern = text.replace("T:" + line.key, "T").replace(line.finding, "F")
            used[pattern] += 1
            refused[pattern] += bool(check.check_text(text, line, sample.case))
    total, alarms = sum(used.values()), sum(refused.values())
    return {
        "statements": total,
        "variants": len(used),
        "variants_refused": sum(n > 0 for n in refused.values()),
        "alarms": alarms,
        "rate": alarms / max(total, 1),
        "refused_most": dict(refused.most_common(20)) if alarms else {},
    }


def _printed(sample: Sample, statement: str) -> str:
    said = statements_of(json.loads(sample.draft))
    return str(next(s["rendered"] for s in said if s["id"] == statement))
