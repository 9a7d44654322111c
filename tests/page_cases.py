"""A page as tests read it."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Elements with attributes, and the text of the table's rows by id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.rows: dict[str, str] = {}
        self._row = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = {k: v or "" for k, v in attrs}
        self.tags.append((tag, found))
        if tag == "tr":
            self._row = found.get("id", "")

    def handle_data(self, data):
        self.rows[self._row] = self.rows.get(self._row, "") + data
