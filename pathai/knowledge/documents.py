"""A laboratory's own documents, searched on this machine by the words of a question.

Markdown and plain text in folders that the configuration names are cut into passages and indexed
with BM25. What is found is an id, a file and its lines. The words of a passage are shown to a
person who searches; they enter no prompt and no statement.
"""

import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from pathai.errors import PathaiError
from pathai.knowledge import Reference

SUFFIXES = (".md", ".txt")
MAX_BYTES = 4_000_000
MAX_LINES = 12
MAX_PASSAGES = 100_000
_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")


class Passage(NamedTuple):
    """Some lines of a document; ``first`` and ``last`` count from 1."""

    id: str
    file: str
    first: int
    last: int
    text: str

    def reference(self) -> Reference:
        """Where it stands, without its words."""
        return Reference(self.id, f"{self.file}, {self.first}-{self.last}", self.file)


class Shelf:
    """The passages of some folders, searchable.

    Parameters
    ----------
    folders : sequence of Path
        Searched with their subfolders; links are not followed.

    Raises
    ------
    PathaiError
        E208 for a folder that is not there, a file that is not UTF-8 text or is too large.

    References
    ----------
    Lù XH. BM25S: orders of magnitude faster lexical search via eager sparse scoring.
    arXiv 2407.03618.
    Robertson S, Zaragoza H. The probabilistic relevance framework: BM25 and beyond. Foundations
    and Trends in Information Retrieval 2009;3:333-389.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.passages = tuple(p for folder in folders for p in _passages_of(folder))
        if len(self.passages) > MAX_PASSAGES:
            message = f"more than {MAX_PASSAGES:,} passages in report.knowledge"
            raise PathaiError("E208", message, "name fewer documents")
        self._index = self._build() if self.passages else None

    def _build(self) -> Any:
        import bm25s

        index = bm25s.BM25()
        words = bm25s.tokenize([p.text for p in self.passages], stopwords=None, show_progress=False)
        index.index(words, show_progress=False)
        return index

    def search(self, query: str, limit: int = 5) -> tuple[Passage, ...]:
        """Passages that share words with ``query``, best first."""
        index = self._index
        if index is None:
            return ()
        import bm25s

        words = bm25s.tokenize([query], stopwords=None, show_progress=False, return_ids=False)
        if not words[0]:
            return ()
        most = min(limit, len(self.passages))
        rows, scores = index.retrieve(words, k=most, show_progress=False)
        ranked = zip(scores[0].tolist(), rows[0].tolist(), strict=True)
        best = sorted((-score, row) for score, row in ranked if score > 0)
        return tuple(self.passages[row] for _, row in best)

    def on(self, name: str) -> Passage | None:
        """The best passage on a finding's name, if it holds most of the name's longer words."""
        for found in self.search(name, limit=1):
            words = {w for w in _WORD.findall(name.lower()) if len(w) > 3}
            held = words & set(_WORD.findall(found.text.lower()))
            return found if words and len(held) > len(words) / 2 else None
        return None


def _passages_of(folder: Path) -> list[Passage]:
    if not folder.is_dir():
        message = f"report.knowledge: no folder {folder}"
        raise PathaiError("E208", message, "give an existing folder")
    root = folder.resolve()
    found: list[Passage] = []
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.is_symlink():
            found += _cut(path.relative_to(root).as_posix(), _read(path))
    return found


def _read(path: Path) -> str:
    if path.stat().st_size > MAX_BYTES:
        message = f"{path.name} is larger than {MAX_BYTES // 1_000_000} MB"
        raise PathaiError("E208", message, "split the document")
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        message = f"{path.name} is not UTF-8 text"
        raise PathaiError("E208", message, "save it as UTF-8") from None


def _cut(name: str, text: str) -> list[Passage]:
    """Passages of a document: paragraphs, long ones in parts."""
    found: list[Passage] = []
    held: list[tuple[int, str]] = []

    def close() -> None:
        if held:
            words = "\n".join(line for _, line in held)
            mark = sha256(f"{name}\0{held[0][0]}\0{words}".encode()).hexdigest()[:12]
            found.append(Passage(f"doc-{mark}", name, held[0][0], held[-1][0], words))
            held.clear()

    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or len(held) == MAX_LINES:
            close()
        if line.strip():
            held.append((number, line.rstrip()))
    close()
    return found
