"""Documents of a draft: Markdown, HTML, DOCX and PDF say the same, for all are printed from a view.

`view` decides what is shown, in which order and words; the printers add nothing but form. Until a
report is signed each page says that it is a draft.
"""

from collections.abc import Sequence

from pathai.finding import CaseFindings
from pathai.report.documents.evidence import Picture, pictures
from pathai.report.documents.state import DRAFT, State
from pathai.report.documents.view import view
from pathai.report.records import Draft

__all__ = ["DRAFT", "Picture", "State", "docx", "html", "markdown", "pdf", "pictures"]


def markdown(
    draft: Draft, case: CaseFindings, state: State = DRAFT, evidence: Sequence[Picture] = ()
) -> str:
    """The draft as Markdown; characters that Markdown would act on are escaped."""
    from pathai.report.documents.text import print_markdown

    return print_markdown(view(draft, case, state, evidence))


def html(
    draft: Draft, case: CaseFindings, state: State = DRAFT, evidence: Sequence[Picture] = ()
) -> str:
    """The draft as one page that loads nothing and runs nothing.

    Parameters
    ----------
    draft : Draft
        As it is stored.
    case : CaseFindings
        The findings that it was drafted from.
    state : State
        Where in its life it is.
    evidence : sequence of Picture
        Shown when a sentence is hovered, clicked or focused, and once more at the end.
    """
    from pathai.report.documents.screen import print_html

    return print_html(view(draft, case, state, evidence))


def docx(
    draft: Draft, case: CaseFindings, state: State = DRAFT, evidence: Sequence[Picture] = ()
) -> bytes:
    """The draft for a word processor: same draft, same bytes."""
    from pathai.report.documents.word import print_docx

    return print_docx(view(draft, case, state, evidence))


def pdf(
    draft: Draft, case: CaseFindings, state: State = DRAFT, evidence: Sequence[Picture] = ()
) -> bytes:
    """The draft on A4, with its fonts: same draft, same bytes."""
    from pathai.report.documents.paper import print_pdf

    return print_pdf(view(draft, case, state, evidence))
