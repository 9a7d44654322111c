"""A reader's session: what can be done on the open case, and how it is taken back."""

from collections.abc import Mapping

from pathai.edits import Impression, Json
from pathai.errors import PathaiError
from pathai.review.compare import Disagreement, compare, readings
from pathai.review.records import CASE, VERDICTS
from pathai.review.slide_edits import SlideEdits
from pathai.review_log import ADJUDICATION, Event, Kind, Value, question


class ReviewSession(SlideEdits):
    """The worklist of one reader, one case open at a time.

    Parameters
    ----------
    reviews : Path
        Folder of the logs, outside of the results.
    reader : str
        Id of the reader, as it stands in the log's name.
    cases : sequence of Case
        In the order of the worklist.
    now : callable
        Time of day for the log.
    blind : bool
        Whether the output stays hidden until an impression or a reveal is logged (`hidden`).
        Without it, opening a case logs a reveal.
    signed : collection of str, or callable
        Cases whose report is signed, or what tells it of a case id: only the report's own trail
        knows.
    flags : mapping
        Short words for the worklist, by case.

    Raises
    ------
    PathaiError
        E193 if the reader's id is not usable, E212 if there is no case.
    """

    # --- the first impression -------------------------------------------------------------

    def give_impression(self, text: str, answers: Mapping[str, str] | None = None) -> None:
        """Say what the case looks like, before the output is shown.

        It cannot be undone. A later change is an event of its own: `State.impressions` holds
        every one, and whether it was given before any output was shown. Its answers are the
        reader's own answers to the tasks' questions, too (`answer`).

        Parameters
        ----------
        text : str
            In the reader's words.
        answers : mapping of str to str
            Answers to tasks' questions, by task.

        Raises
        ------
        PathaiError
            E193 if there is neither a word nor an answer.
        """
        self._check_open()
        words = " ".join(text.split())
        given = {task: " ".join(value.split()) for task, value in (answers or {}).items()}
        given = {task: value for task, value in given.items() if value}
        if not words and not given:
            remedy = "say it in words or answer a question, or reveal the output with a reason"
            raise PathaiError("E193", "the first impression is empty", remedy)
        now = self.state.impression
        if now is None or (now.text, now.answers) != (words, given):
            blind = not self.state.shown
            self._record("impression", "impression", Impression(words, given, blind).value())
        for task, value in given.items():
            self.answer(task, value)

    def reveal(self, reason: str) -> None:
        """Show the output without a first impression; the reason is logged.

        Raises
        ------
        PathaiError
            E193 without a reason.
        """
        self._check_open()
        words = " ".join(reason.split())
        if not words:
            raise PathaiError("E193", "no reason is given to reveal the output", "give a reason")
        if not self.state.shown:
            self._record("reveal", "reveal", {"reason": words})

    # --- sentences and answers ------------------------------------------------------------

    def accept(self, statement: str) -> None:
        """Accept a sentence as it stands (E193 while it is hidden)."""
        self._decide("accept", statement, self._text(statement))

    def reject(self, statement: str) -> None:
        """Reject a sentence (E193 while it is hidden)."""
        self._decide("reject", statement, self._text(statement))

    def edit(self, statement: str, text: str) -> None:
        """Replace the words of a sentence.

        Raises
        ------
        PathaiError
            E193 if nothing is left of it (reject it instead), or while it is hidden.
        """
        words = " ".join(text.split())
        if not words:
            raise PathaiError("E193", f"{statement} would be empty", "reject it instead")
        self._decide("edit", statement, words)

    def answer(self, task: str, value: str, slide_id: str = "") -> None:
        """Give the reader's own answer to a task's question, which can train a model.

        Parameters
        ----------
        task : str
            Name of the task, or of one of its targets.
        value : str
            A class of the task, or a number.
        slide_id : str
            The slide that it is about; by default every slide of the case.

        Raises
        ------
        PathaiError
            E193 for an empty answer; `withdraw` takes one back.
        """
        words = " ".join(value.split())
        if not words:
            raise PathaiError("E193", f"the answer to {task} is empty", "withdraw it instead")
        self._answer(question(task, slide_id), {"answer": words})

    def withdraw(self, task: str, slide_id: str = "") -> None:
        """Take the reader's own answer back, whenever it was given."""
        self._answer(question(task, slide_id), None)

    def _answer(self, what: str, after: Value) -> None:
        if self.state.value(what) != after:
            self._record("answer", what, after)

    def undecided(self) -> tuple[str, ...]:
        """Ids of the open case's sentences that have no decision yet, in order."""
        ids = tuple(s.id for s in self.case.statements) if self.case else ()
        return tuple(i for i in ids if i not in self.state.decisions)

    def mark_reviewed(self) -> None:
        """Say that the case is done.

        Raises
        ------
        PathaiError
            E193 without a draft, or while a sentence has no decision.
        """
        if self.case is not None and not self.case.draft:
            raise PathaiError("E193", f"{self.case.case_id} has no draft", "run pathai run first")
        left = self.undecided()
        if left:
            message = f"{len(left)} sentences have no decision yet, first {left[0]}"
            raise PathaiError("E193", message, "accept, reject or edit them first")
        if not self.state.reviewed:
            self._record("reviewed", CASE, {"status": "reviewed"})

    # --- back and forth -------------------------------------------------------------------

    def undo(self) -> str | None:
        """Take the last action back, as an action of its own.

        Sentences, answers, nuclei, regions and *reviewed* can be undone; opening, an impression,
        a reveal and a field that was seen cannot.

        Returns
        -------
        str or None
            What it concerned: id of the statement, ``case``, a question, or what of a slide
            (`pathai.edits.part_of`); None if there is nothing left.
        """
        if not self.state.undoable:
            return None
        last = self.state.undoable[-1]
        return self._step("undo", last, last.before)

    def redo(self) -> str | None:
        """Do the last action again that was undone; a new action ends what can be done again.

        Returns
        -------
        str or None
            As `undo`.
        """
        if not self.state.redoable:
            return None
        last, undone = self.state.redoable[-1]
        return self._step("redo", last, undone.before)

    def _step(self, kind: Kind, done: Event, after: Value) -> str:
        self._record(kind, str(done.number), after, self.state.value_of(done))
        return done.what

    # --- other readers --------------------------------------------------------------------

    def others(self) -> tuple[str, ...]:
        """Readers of the open case whose work this reader may see now.

        None until the case is marked reviewed; the log that settles sees who has finished.
        """
        if self.case is None or not (self.state.reviewed or self.reader == ADJUDICATION):
            return ()
        found = readings(self.reviews, self.case)
        mine = self.reader
        return tuple(
            one.reader
            for one in found
            if one.reader != mine and (one.status == "reviewed" or mine != ADJUDICATION)
        )

    def disagreements(self) -> list[Disagreement]:
        """Where the readers of the open case differ, as far as this reader may see them."""
        others = self.others()
        if self.case is None or not others:
            return []
        mine = () if self.reader == ADJUDICATION else (self.reader,)
        return compare(self.reviews, self.case, (*mine, *others))

    # --- inside ---------------------------------------------------------------------------

    def _text(self, statement: str) -> str:
        found = [s.text for s in self.case.statements if s.id == statement] if self.case else []
        if not found:
            raise PathaiError("E193", f"no statement {statement!r} in the open case")
        return found[0]

    def _decide(self, kind: Kind, statement: str, text: str) -> None:
        self._text(statement)
        if self.hidden:
            remedy = "give your first impression, or reveal the output with a reason"
            raise PathaiError("E193", f"{statement} is hidden still", remedy)
        after: Json = {"verdict": VERDICTS[kind], "text": text}
        if self.state.value(statement) != after:
            self._record(kind, statement, after)
