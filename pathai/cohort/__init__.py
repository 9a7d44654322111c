"""The page that a lab manager opens first, and the tables behind it.

Everything on it is read from manifests, stores and the sheet; nothing is typed. The page is one
file, works from a disk without network, and is usable without its small script.
"""

from pathai.cohort.card import run_page, settings
from pathai.cohort.evaluate import evaluate
from pathai.cohort.gather import other_outcomes, slide_rows
from pathai.cohort.multiqc import sections
from pathai.cohort.tables import failures_tsv, run_record, slides_tsv
from pathai.cohort.view import html
from pathai.plan import Plan
from pathai.store.commit import Commit
from pathai.store.folders import COHORT_FILES
from pathai.store.manifest import canonical, write_atomic

OUTPUTS = COHORT_FILES


def run(plan: Plan, out: Commit) -> None:
    """Write the cohort's page, its tables and its record.

    Parameters
    ----------
    plan : Plan
        The run; slides that failed, were skipped or were never reached are listed as such.
    out : Commit
        Where to write ``OUTPUTS``; ``run.json`` and ``run.html`` are records
        outside of the digest.
    """
    rows = slide_rows(plan)
    outcomes = [o for row in rows for o in row.outcomes] + list(other_outcomes(plan, rows))
    metrics = evaluate(plan, rows)
    metrics["slides"] = {
        status: sum(row.status == status for row in rows)
        for status in ("ok", "degraded", "skipped", "failed")
    }
    texts = {
        "index.html": html(plan, rows, outcomes, metrics),
        "failures.tsv": failures_tsv(outcomes),
        "slides.tsv": slides_tsv(rows, plan.models),
    }
    for name, text in texts.items():
        out.part(name).write_bytes(text.encode())
    folder = out.part("multiqc")
    for name, section in sections(rows, outcomes, plan.models).items():
        write_atomic(folder / name, canonical(section))
    out.part("metrics.json").write_bytes(canonical(metrics))
    record = run_record(plan)
    out.record("run.json").write_bytes(canonical(record))
    card = run_page(record, settings(plan.config), plan.config.cohort.title, len(rows))
    out.record("run.html").write_bytes(card.encode())
