"""Verification by rules: a statement stands on its finding, or it is not printed.

Nothing here trusts a drafter, and nothing asks a model. Expected numbers and units are computed
from the finding, independently of the renderer, and compared with what is read back from the
printed sentence. A drafter's vocabulary is closed, so a paraphrase that it does not know is
refused, too: the template's sentence is then printed instead. A person has more words, is
held to the same rules, and is flagged but never rewritten.
"""

from pathai.report.check.draft import check_draft, digest_of, require
from pathai.report.check.numbers import check_numbers, expected_numbers, read_numbers
from pathai.report.check.statement import check_statement, check_text

__all__ = [
    "check_draft",
    "check_numbers",
    "check_statement",
    "check_text",
    "digest_of",
    "expected_numbers",
    "read_numbers",
    "require",
]
