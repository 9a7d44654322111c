"""Sentences of a draft that come from the rules' tables, and the clinical context as given."""

from pathai import rules
from pathai.finding import CaseFindings
from pathai.language import Language, catalog
from pathai.report.records import Fixed


def fixed_of(case: CaseFindings, language: Language = "en") -> tuple[Fixed, ...]:
    """Contradictions of a case and its suggestions in the tables' words, then its context.

    Parameters
    ----------
    case : CaseFindings
        Findings to which the rules were applied.
    language : str
        Language of the report.
    """
    said = [
        Fixed(
            kind="contradiction",
            id=found.rule,
            text=rules.contradiction_text(found.rule, language),
            findings=found.findings,
            source=rules.source(found.rule),
        )
        for found in case.contradictions
    ]
    said += [
        Fixed(
            kind="suggestion",
            id=found.rule,
            text=rules.suggestion_text(found.rule, language),
            findings=found.findings,
            source=rules.source(found.rule),
        )
        for found in case.suggestions
    ]
    book = catalog(language)
    said += [
        Fixed(
            kind="context",
            id=item.id,
            text=f"{book.phrase(f'context_{item.key}')}: {f'{item.value} {item.unit}'.strip()}",
        )
        for item in case.context
    ]
    return tuple(said)
