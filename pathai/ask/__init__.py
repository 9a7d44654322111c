"""Questions over a cohort's findings, answered from the findings alone."""

from pathai.ask.answer import Answer, Row, answer
from pathai.ask.parse import parse
from pathai.ask.query import Query
from pathai.ask.vocabulary import Vocabulary, vocabulary

__all__ = ["Answer", "Query", "Row", "Vocabulary", "answer", "parse", "vocabulary"]
