"""What ``pathai share`` does, beside parsing."""

import time
from collections.abc import Callable
from pathlib import Path

from pathai.batch import say
from pathai.corrected.applied import counted_in, report_of
from pathai.errors import PathaiError
from pathai.plan import Plan
from pathai.progress import SAY_S
from pathai.report.life import Life
from pathai.share import Pseudonyms, Standing, Wanted, share_case
from pathai.share.pseudonyms import KEY_NAME, keep, make_key, read_key
from pathai.verbs import plan_of, wrong


def share(
    config: Path | None,
    case: str,
    out: Path,
    key: Path | None,
    *,
    finest_mpp: float,
    quality: int,
    readers: bool,
    overwrite: bool,
) -> None:
    """Write a case's share bundle, and note in the lab's own list which pseudonym is whose."""
    out = out.absolute()
    key = key.absolute() if key else None
    plan = plan_of(config)
    rows = plan.sheet.cases().get(case)
    if not rows:
        raise wrong(f"no case {case!r} in {plan.config.sheet}")
    if out.is_relative_to(plan.results.path.absolute()):
        raise wrong("a bundle does not belong among the results")
    if key is None:
        key = plan.root / KEY_NAME
        if make_key(key):
            say(f"drew a key of this site: {key.name}; keep it secret, and keep it")
    names = Pseudonyms(read_key(key))
    report = standing(plan, case, readers=readers)
    wanted = Wanted(
        detector=plan.config.cells.detector,
        tasks=tuple(model.name for model in plan.models),
        quality=quality,
        finest_mpp=finest_mpp,
        corrected=counted_in(report_of(plan, case), plan.reviews) if report else None,
        section=plan.config.cells,
    )
    made = share_case(
        rows, plan.results, report, out, names, wanted,
        readers=readers, overwrite=overwrite, told=_now_and_then(case),
    )  # fmt: skip
    ids = key.with_name(f"{key.name}.ids.tsv")
    keep(names, ids)
    for note in made.notes:
        say(f"{case}: {note}")
    say(f"wrote {out.name}: {made.files} files, {made.bytes / 1e6:.1f} MB")
    say(f"which pseudonym is whose: {ids.name}, which stays here")


def standing(plan: Plan, case: str, *, readers: bool) -> Standing | None:
    """The report of a case as it was signed, else as it stands; None if there is none.

    Raises
    ------
    PathaiError
        E207 if its trail is broken: nothing is shared from that.
    """
    life = report_of(plan, case)
    try:
        return _signed(life, readers=readers) or _draft(life)
    except PathaiError as error:
        if error.code != "E212":
            raise
        say(f"{case}: no report yet, only slides are shared")
        return None


def _draft(life: Life) -> Standing:
    now = life.revision()
    return Standing(now.case, now.draft, now.state.name)


def _signed(life: Life, *, readers: bool) -> Standing | None:
    """The signed words, unless a newer version is being written."""
    if life.progress.phase != "signed":
        return None
    signed = life.signed()
    if signed is None:
        return None
    who = f"{signed.reader}, {signed.role}, {signed.time[:10]}, as asserted" if readers else ""
    return Standing(life.signed_findings(signed), signed.draft, signed.state, who)


def _now_and_then(case: str) -> Callable[[str], None]:
    """Say a line, but not more often than a person wants to read one."""
    last = time.monotonic()

    def told(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= SAY_S:
            last = time.monotonic()
            say(f"{case}: {text}")

    return told
