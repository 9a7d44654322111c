"""The report of the open case: what stands, what is open, and what a person does about it.

Knows no Qt. Two logs hold one truth each. What the reader thinks of a sentence, accepted or
rejected, is in the reader's own log and holds for these printed words. What goes into the report,
words and values, is in the report's trail. A rejected sentence stands in the report all the same,
so it is open until somebody edits, deletes or accepts it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from psygnal import Signal

from pathai.errors import PathaiError
from pathai.finding import registry
from pathai.report.life import Life
from pathai.report.life.record import SignedReport
from pathai.report.life.words import Words
from pathai.rules.entries import printed
from pathai.viewer.presenter import Review
from pathai.viewer.report_page import Page, page_of
from pathai.viewer.runs import Sentence, read_head

T = TypeVar("T")
DOCUMENTS = (("PDF", "pdf"), ("FHIR", "fhir.json"), ("JSON", "json"))
"""What a signature writes first of all, by name and ending."""


class Report:
    """Presenter part: the report of the review's open case.

    Parameters
    ----------
    review : Review
        Whose case, reader and log are meant.
    """

    asked = Signal(str)
    """The reader asks the window for ``show``, or for ``edit`` of the selected sentence."""

    def __init__(self, review: Review) -> None:
        self.review = review
        self._key: object = None
        self._page = Page()
        self._seen: tuple[object, ...] = ()

    # --- what stands ----------------------------------------------------------------------

    @property
    def life(self) -> Life | None:
        """The report of the open case."""
        case = self.review.session.case
        return self.review.run.life(case.case_id) if case else None

    @property
    def reader(self) -> str:
        """Who acts, as asserted."""
        return self.review.session.reader

    @property
    def page(self) -> Page:
        """What stands now; read again only when trail, findings or decisions have changed."""
        session = self.review.session
        if session.case is None:
            return Page()
        written = self._written(session.case.case_id)
        key = (
            session.case,
            dict(session.state.decisions),
            session.hidden,
            written,
        )
        if key != self._key:
            self._page = self._read()
            self._key, self._seen = key, written
        return self._page

    def _written(self, case_id: str) -> tuple[object, ...]:
        findings = self.review.run.plan.results.case(case_id).findings
        try:
            told = findings.stat()
        except OSError:
            return read_head(self.review.run.reviews, case_id), 0, 0
        return read_head(self.review.run.reviews, case_id), told.st_mtime_ns, told.st_size

    def _read(self) -> Page:
        life = self.life
        if life is None:
            return Page()
        return page_of(life, self.review.decision, hidden=self.review.session.hidden)

    # --- words ----------------------------------------------------------------------------

    def words(self, statement: str) -> Words | None:
        """What checks words for a sentence as fast as they are typed."""
        life, now = self.life, self.page.now
        return life.words(now, statement) if life and now else None

    def words_on(self, finding: str) -> Words | None:
        """What checks words for a sentence that shall be added on a finding."""
        life, now = self.life, self.page.now
        return life.words_on(now, finding) if life and now else None

    def findings(self) -> list[tuple[str, str]]:
        """Findings on which a sentence can be added: id, and what it says in short."""
        life, now = self.life, self.page.now
        if life is None or now is None:
            return []
        found = [now.case.finding(s.finding) for s in life.machine_draft(now).statements()]
        book = registry()
        return [
            (f.id, f"{book.find(f.key).name}: {printed(f) or f.status.replace('_', ' ')}")
            for f in found
            if f is not None
        ]

    def edit(self, statement: str, text: str) -> bool:
        """Replace the words of a sentence; the reader's log says that they are the reader's."""
        if self._do(lambda life: life.edit(self.reader, statement, text)) is None:
            return False
        self._own(statement)
        return True

    def add(self, finding: str, text: str) -> str:
        """Add a sentence on a finding; its id, empty if it was refused."""
        made = self._do(lambda life: life.add(self.reader, finding, text))
        if made:
            self._own(made)
        return made or ""

    def _own(self, statement: str) -> None:
        """Who writes a sentence has read it."""
        sentence = self.review.sentence(statement)
        if sentence is not None:
            self._tell(lambda: self.review.session.edit(statement, sentence.text))
            self.review.changed.emit()

    def delete(self, statement: str, reason: str) -> bool:
        """Take a sentence out of the report, with a reason."""
        return self._step(lambda life: life.delete(self.reader, statement, reason))

    def restore(self, statement: str) -> bool:
        """Give a sentence the machine's words back; it waits for a decision then."""
        return self._step(lambda life: life.restore(self.reader, statement))

    def acknowledge(self, item: str, reason: str) -> bool:
        """Take responsibility for an open item, with a reason."""
        return self._step(lambda life: life.acknowledge(self.reader, item, reason))

    def redraft(self) -> bool:
        """Draft again from findings that were made anew; entries and words are kept."""
        return bool(self._do(lambda life: life.draft(reader=self.reader)))

    # --- signing --------------------------------------------------------------------------

    def sign(self, role: str) -> list[Path]:
        """Submit and sign what the reader has read; the documents that were written.

        Nothing is signed while something is open; what, is told.
        """
        page = self.page
        if not page.signable:
            first = page.problem or next((one.message for one in page.open), "it is signed already")
            self.review.told.emit(f"Not signed: {first}.")
            return []

        def act(life: Life) -> SignedReport:
            life.submit(self.reader)
            return life.sign(self.reader, role, page.draft)

        made = self._do(act)
        return self.documents() if made else []

    def documents(self) -> list[Path]:
        """Documents of the signed report, PDF, FHIR and JSON first."""
        life, signed = self.life, self.page.signed
        if life is None or signed is None:
            return []
        named = [life.folder / f"signed-{signed.version}.{ending}" for _, ending in DOCUMENTS]
        others = sorted(set(life.folder.glob(f"signed-{signed.version}.*")) - set(named))
        return [path for path in (*named, *others) if path.exists()]

    def amend(self, reason: str) -> bool:
        """Open the next version of a signed report, with a reason."""
        return bool(self._do(lambda life: life.amend(self.reader, reason)))

    # --- the window -----------------------------------------------------------------------

    def show(self) -> None:
        """Bring the report into view."""
        self.asked.emit("show")

    def begin_edit(self) -> None:
        """Let the reader type other words for the selected sentence."""
        if not self.review.selected:
            self.review.told.emit("Choose a sentence first.")
        elif self.page.closed:
            self.review.told.emit("The report is signed: amend it first.")
        else:
            self.asked.emit("show")
            self.asked.emit("edit")

    def look(self) -> bool:
        """Whether the report was changed by another program since; what stands is shown then."""
        case = self.review.session.case
        if case is None or self._key is None or self._written(case.case_id) == self._seen:
            return False
        self._seen = self._written(case.case_id)
        self.follow()
        self.review.changed.emit()
        return True

    # --- inside ---------------------------------------------------------------------------

    def do(self, act: Callable[[Life], T]) -> T | None:
        """Take a step in the report's life and show what stands then; None if it was refused."""
        return self._do(act)

    def _step(self, act: Callable[[Life], object]) -> bool:
        return self._do(lambda life: (act(life), True)) is not None

    def _do(self, act: Callable[[Life], T]) -> T | None:
        life, done = self.life, list[T]()
        if life is None:
            return None
        if self.review.session.hidden:
            self.review.told.emit("The report is hidden until your first impression is given.")
            return None
        self._tell(lambda: done.append(act(life)))
        self.follow()
        self.review.changed.emit()
        return done[0] if done else None

    def _tell(self, act: Callable[[], object]) -> bool:
        try:
            act()
        except PathaiError as error:
            self.review.told.emit(str(error))
            return False
        return True

    def follow(self) -> bool:
        """Show the sentences that stand; True if they are others than those shown before.

        The report can also be changed from the command line while the window is open.
        """
        case = self.review.session.case
        if case is None:
            return False
        view = self.review.run.view(case.case_id)
        if view.record == case and view.problem == self.review.run.cases[case.case_id].problem:
            return False
        if view.problem and not view.record.draft:
            return False
        same = _same(self.review.run.cases[case.case_id].sentences, view.sentences)
        self.review.run.cases[case.case_id] = view
        self._tell(lambda: self.review.session.renew(view.record, same))
        if self.review.selected not in {s.id for s in view.sentences}:
            self.review.selected = ""
        return True


def _same(before: tuple[Sentence, ...], after: tuple[Sentence, ...]) -> dict[str, str]:
    """Sentences to those of the draft before on the same finding, whatever their numbers are."""
    old = {_subject(sentence): sentence.id for sentence in before}
    return {s.id: old[_subject(s)] for s in after if _subject(s) in old}


def _subject(sentence: Sentence) -> tuple[str, str]:
    """The finding, and the number of a sentence that was added to it."""
    return sentence.finding, sentence.id if sentence.id.startswith("A") else ""
