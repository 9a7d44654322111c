"""The part of the review that lets corrected nuclei and regions count in the report."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pathai.corrected.applied import apply, counts_for, report_of
from pathai.corrected.case import Made
from pathai.corrected.given import Corrections
from pathai.corrected.logs import read_corrections
from pathai.errors import PathaiError
from pathai.report.life import Life
from pathai.review_log import ADJUDICATION

if TYPE_CHECKING:
    from pathai.viewer.presenter import Review

Work = Callable[[], Made]
Done = Callable[[Made], None]
Failed = Callable[[Exception], None]
Start = Callable[[Work, Done, Failed], None]


def in_thread(work: Work, done: Done, failed: Failed) -> None:
    """Work beside the window; what comes out is told in the window's own thread."""
    from napari.qt.threading import create_worker

    worker = create_worker(work, _start_thread=False)
    worker.returned.connect(done)
    worker.errored.connect(failed)
    worker.start()


class Corrected:
    """Counts a case again on what the reader corrected.

    Parameters
    ----------
    review : Review
        The review; its ``told`` says what came out, ``changed`` that the draft is another.
    start : callable, optional
        Runs the counting: gets the work, and what to do with its result or its error.

    Attributes
    ----------
    working : str
        The case that is being counted; empty when none is.
    last : Made or None
        What came out last.
    """

    def __init__(self, review: "Review", start: Start = in_thread) -> None:
        self.review, self._start = review, start
        self.working = ""
        self.last: Made | None = None

    def given(self) -> Corrections:
        """The open case's corrections as they stand; nothing without a case.

        Raises
        ------
        PathaiError
            E210 if a log is broken.
        """
        case = self.review.case
        if case is None:
            return Corrections("")
        reader = self.review.session.reader
        log = self.review.run.reviews / case.case_id / f"{reader}.jsonl"
        if not log.exists() and reader != ADJUDICATION:
            return Corrections(reader)
        return read_corrections(self.review.run.reviews, case.case_id, reader)

    def _report(self, case_id: str) -> Life:
        return report_of(self.review.run.plan, case_id, self.review.run.reviews)

    def pending(self) -> bool:
        """Whether there are corrections that the report does not stand on, or the other way."""
        case = self.review.case
        if case is None or self.working == case.case_id:
            return False
        try:
            return not counts_for(self._report(case.case_id), self.given())
        except PathaiError:  # no findings yet: nothing could be counted again
            return False

    def update(self) -> None:
        """Count again beside the window; says why not where it cannot."""
        case = self.review.case
        if case is None or self.working:
            self.review.told.emit("no case is open" if case is None else "still counting")
            return
        case_id, plan = case.case_id, self.review.run.plan
        reader = self.review.session.reader
        try:
            given = self.given()
            life = self._report(case_id)
        except PathaiError as error:
            self.review.told.emit(str(error))
            return
        self.working = case_id
        self.review.changed.emit()
        self._start(lambda: apply(plan, life, reader, given), self._done, self._failed)

    def _done(self, made: Made) -> None:
        case_id, self.working, self.last = self.working, "", made
        told = f"{case_id}: counted again, {len(made.changed)} findings are others now"
        self.review.told.emit("; ".join([told, *made.notes]))
        self.review.changed.emit()

    def _failed(self, error: Exception) -> None:
        self.working = ""
        if not isinstance(error, PathaiError):
            raise error
        self.review.told.emit(str(error))
        self.review.changed.emit()
