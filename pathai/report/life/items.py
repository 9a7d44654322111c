"""What stands open before a report can be signed."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256

from pathai.finding import VALUELESS, CaseFindings, Finding, registry
from pathai.report.life.overlay import fits, outlived, value_digest
from pathai.report.life.state import State
from pathai.report.records import Draft


@dataclass(frozen=True)
class Item:
    """Something open; ``id`` is what an acknowledgement names.

    An item that no acknowledgement can close must be mended.
    """

    id: str
    message: str
    acknowledgeable: bool


def open_items(
    draft: Draft, case: CaseFindings, state: State, requires: Iterable[str] = ()
) -> list[Item]:
    """What must be mended, or acknowledged with a reason, before this draft can be signed.

    Parameters
    ----------
    draft : Draft
        As it stands, with a person's words.
    case : CaseFindings
        What it stands on.
    state : State
        Acknowledgements and edits.
    requires : iterable of str
        Keys or patterns that the layout requires; a finding that waits for a person's entry is
        required in any case.
    """
    items = _contradictions(case) + _stale(case, state) + _flags(draft) + _missing(case, requires)
    items += _deleted(case, state, requires)
    return [item for item in items if item.id not in state.acknowledged]


def _contradictions(case: CaseFindings) -> list[Item]:
    return [
        Item(
            f"contradiction:{c.rule}:{'+'.join(c.findings)}",
            f"{' and '.join(c.findings)} contradict each other ({c.rule})",
            acknowledgeable=False,
        )
        for c in case.contradictions
        if c.error
    ]


def _stale(case: CaseFindings, state: State) -> list[Item]:
    """Words that were written on a finding which has become another."""
    edits = {**{e.finding: e for e in state.edits.values()}, **state.added}
    return [
        Item(
            f"edit:{name}",
            f"the words on {edit.finding} were written before it changed; edit or restore them",
            acknowledgeable=False,
        )
        for name, edit in edits.items()
        if not fits(edit, case)
    ]


def _deleted(case: CaseFindings, state: State, requires: Iterable[str]) -> list[Item]:
    """Deleted sentences that the layout requires, or whose finding has another value by now."""
    wanted, items = tuple(requires), list[Item]()
    for edit in state.edits.values():
        finding = case.finding(edit.finding)
        if edit.text is not None or finding is None or not fits(edit, case):
            continue
        name = f"{registry().find(finding.key).name} ({finding.key}, {finding.id})"
        value = value_digest(finding)[:8]
        if outlived(edit, finding):
            message = f"the sentence on {name} was deleted before its value changed"
            items.append(Item(f"deleted:{finding.id}:{value}", message, acknowledgeable=True))
        elif finding.status not in VALUELESS and _asked(finding, wanted):
            message = f"the sentence on {name} is required and was deleted"
            items.append(Item(f"deleted:{finding.id}:{value}", message, acknowledgeable=True))
    return items


def _asked(finding: Finding, wanted: tuple[str, ...]) -> bool:
    return any(fnmatchcase(finding.key, w) for w in wanted)


def _flags(draft: Draft) -> list[Item]:
    """An acknowledgement holds for these printed words, not for those of tomorrow."""
    return [
        Item(
            f"flag:{said.finding}:{sha256(said.rendered.encode()).hexdigest()[:8]}",
            f"{said.id} is flagged ({', '.join(said.flags)})",
            acknowledgeable=True,
        )
        for said in draft.statements()
        if said.verdict == "flag"
    ]


def _missing(case: CaseFindings, requires: Iterable[str]) -> list[Item]:
    wanted = tuple(requires)

    def required(finding: Finding) -> bool:
        return finding.note == "person_only" or _asked(finding, wanted)

    found = [
        Item(
            f"missing:{finding.id}",
            f"{registry().find(finding.key).name} ({finding.key}, {finding.id}) is not assessed",
            acknowledgeable=True,
        )
        for finding in case.findings
        if finding.status in VALUELESS and required(finding)
    ]
    keys = [finding.key for finding in case.findings]
    absent = [w for w in wanted if not any(fnmatchcase(key, w) for key in keys)]
    return found + [
        Item(f"missing:{key}", f"{key} is required and not there", acknowledgeable=True)
        for key in absent
    ]
