"""A view as PDF on A4, with its fonts, in bytes that do not depend on time.

Bitstream Vera comes with reportlab; its licence allows embedding and redistribution.
"""

from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Frame,
    Image,
    KeepTogether,
    LongTable,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

from pathai.report.documents.printable import printable
from pathai.report.documents.view import Part, Shown, Told, View

INK, SOFT, LINE, ACCENT, ALARM, GROUND = (
    HexColor(color) for color in ("#1d2529", "#5d6a70", "#d5dcdf", "#0b6b78", "#9b2226", "#f5f7f7")
)
PLAIN, BOLD = "Vera", "VeraBd"
WIDTH = A4[0] - 40 * mm
COLUMNS = tuple(share * WIDTH for share in (0.07, 0.21, 0.25, 0.12, 0.16, 0.19))
ALIKE = {0x202F: 0xA0, 0x2011: 0x2D}
"""Glyphs that Vera lacks, to ones that look alike: narrow space, hyphen that does not break."""
ACROSS = 3
"""Pictures beside one another."""


@lru_cache(maxsize=1)
def _fonts() -> frozenset[int]:
    """Register the fonts; code points that both have."""
    faces = [TTFont(name, f"{name}.ttf") for name in (PLAIN, BOLD)]
    for face in faces:
        pdfmetrics.registerFont(face)
    pdfmetrics.registerFontFamily(PLAIN, normal=PLAIN, bold=BOLD, italic=PLAIN, boldItalic=BOLD)
    return frozenset.intersection(*(frozenset(f.face.charToGlyph) for f in faces))


def _style(name: str, size: float, **more: Any) -> ParagraphStyle:
    given = {"fontName": PLAIN, "textColor": INK, "leading": size * 1.4, "spaceAfter": 2, **more}
    return ParagraphStyle(name, fontSize=size, **given)


BODY = _style("body", 9)
STYLES = {
    "kind": _style("kind", 9, fontName=BOLD, textColor=ACCENT),
    "title": _style("title", 18, fontName=BOLD, spaceAfter=6),
    "head": _style("head", 11, fontName=BOLD, spaceBefore=12, spaceAfter=5, keepWithNext=1),
    "body": BODY,
    "bold": _style("bold", 9, fontName=BOLD),
    "soft": _style("soft", 8, textColor=SOFT),
    "said": _style("said", 9, leftIndent=10, bulletIndent=0, spaceBefore=2),
    "note": _style("note", 8, textColor=SOFT, leftIndent=10),
    "serious": _style("serious", 8.5, fontName=BOLD, leftIndent=10),
    "cell": _style("cell", 7, spaceAfter=0),
    "cellhead": _style("cellhead", 7, fontName=BOLD, textColor=SOFT, spaceAfter=0),
    "alarmhead": _style("alarmhead", 11, fontName=BOLD, textColor=ALARM, spaceAfter=4),
    "alarm": _style("alarm", 9, fontName=BOLD, textColor=ALARM),
}


def print_pdf(shown: View) -> bytes:
    """Bytes of a view as PDF."""
    _fonts()
    out = BytesIO()
    document = BaseDocTemplate(
        out, pagesize=A4, leftMargin=20 * mm, rightMargin=20 * mm, topMargin=24 * mm,
        bottomMargin=18 * mm, title=_shown(shown.title), author="pathai", creator="pathai",
        subject=_shown(shown.mark), lang=shown.language, invariant=1,
    )  # fmt: skip
    frame = Frame(document.leftMargin, document.bottomMargin, document.width, document.height,
                  leftPadding=0, rightPadding=0, topPadding=0, bottomPadding=0)  # fmt: skip
    document.addPageTemplates(PageTemplate("page", [frame]))
    document.build(_story(shown), canvasmaker=lambda *a, **k: _Pages(shown, *a, **k))
    return out.getvalue()


class _Pages(Canvas):  # type: ignore[misc]
    """Draws the mark and the number of each page once their number is known."""

    def __init__(self, shown: View, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._shown, self._kept = shown, list[dict[str, Any]]()

    def showPage(self) -> None:
        self._kept.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        for number, page in enumerate(self._kept, start=1):
            self.__dict__.update(page)
            self._edge(number, len(self._kept))
            super().showPage()
        super().save()

    def _edge(self, number: int, count: int) -> None:
        shown = self._shown
        band, top = 11 * mm, A4[1]
        self.setFillColor(INK if shown.watermark else ACCENT)
        self.rect(0, top - band, A4[0], band, stroke=0, fill=1)
        self.setFillColor(HexColor("#ffffff"))
        mark = _shown(shown.mark)
        size = min(8.5, 8.5 * (A4[0] - 12 * mm) / stringWidth(mark, BOLD, 8.5))
        self.setFont(BOLD, size)
        self.drawCentredString(A4[0] / 2, top - band / 2 - size / 3, mark)
        self.setFillColor(SOFT)
        self.setFont(PLAIN, 7.5)
        self.drawString(20 * mm, 10 * mm, _shown(shown.heading))
        text = shown.words("page", page=number, pages=count)
        self.drawRightString(A4[0] - 20 * mm, 10 * mm, _shown(text))


def _shown(text: str) -> str:
    """Text in glyphs that the fonts have; another character is named by its code point."""
    known = _fonts()
    text = text.translate(ALIKE)
    return "".join(c if ord(c) in known else f"[U+{ord(c):04X}]" for c in printable(text))


def _p(text: str, style: str = "body", bullet: str | None = None) -> Paragraph:
    return Paragraph(escape(_shown(text)), STYLES[style], bulletText=bullet)


def _ids(ids: Sequence[str]) -> str:
    return f" ({', '.join(ids)})" if ids else ""


def _story(shown: View) -> list[Any]:
    words = shown.words
    story: list[Any] = [_p(shown.kind, "kind"), _p(shown.heading, "title")]
    if shown.translation:
        story.append(_p(shown.translation, "bold"))
    story += [_p(line, "bold") for line in shown.life]
    story.append(_p(shown.lead, "soft"))
    story += _alarm(shown)
    story += _list(words("context"), shown.context, ids=True)
    for part in shown.parts:
        story += _part(part)
    story += _boxed(words("suggestions"), shown)
    story += [_p(words("findings"), "head"), _findings(shown)]
    story += _list(words("references"), shown.references, ids=True)
    story += _pictures(words("evidence"), shown.pictures)
    story.append(_p(words("making"), "head"))
    story += [_p(line) for line in shown.making]
    return [*story, _p(shown.bound, "soft")]


def _box(rows: list[Any], color: HexColor) -> Table:
    table = Table([[row] for row in rows], colWidths=[WIDTH])
    table.setStyle(TableStyle([("BOX", (0, 0), (-1, -1), 1.2, color),
                               ("TOPPADDING", (0, 0), (-1, -1), 2),
                               ("BOTTOMPADDING", (0, 0), (-1, -1), 2)]))  # fmt: skip
    return table


def _alarm(shown: View) -> list[Any]:
    if not shown.contradictions:
        return []
    words = shown.words
    rows = [_p(words("contradictions"), "alarmhead")]
    for one in shown.contradictions:
        rows.append(_p(f"{words('contradiction')}: {one.text}{_ids(one.findings)}", "alarm"))
        if one.source:
            rows.append(_p(f"{words('source')}: {one.source}", "soft"))
    return [Spacer(1, 8), _box(rows, ALARM)]


def _boxed(title: str, shown: View) -> list[Any]:
    if not shown.suggestions:
        return []
    rows = [_p(title, "bold")]
    for one in shown.suggestions:
        rows.append(_p(f"{one.text}{_ids(one.findings)}"))
        if one.source:
            rows.append(_p(f"{shown.words('source')}: {one.source}", "soft"))
    return [Spacer(1, 10), _box(rows, ACCENT)]


def _list(title: str, items: Sequence[Told], *, ids: bool = False) -> list[Any]:
    story: list[Any] = [_p(title, "head")] if items else []
    for one in items:
        story.append(_p(f"{one.id}: {one.text}" if ids else one.text, "said", "•"))
        if one.source:
            story.append(_p(one.source, "note"))
    return story


def _part(part: Part) -> list[Any]:
    story: list[Any] = [_p(part.title, "head"), *(_p(note, "soft") for note in part.notes)]
    for said in part.sentences:
        mark = f"; {said.mark}" if said.mark else ""
        lines = [_p(f"{said.text} ({said.finding}{mark})", "said", "•")]
        lines += [_p(n.text, "serious" if n.serious else "note") for n in said.notes]
        story.append(KeepTogether(lines))
    for brief in part.gathered:
        lines = [_p(brief.text + _ids(brief.findings), "said", "•")]
        story.append(KeepTogether([*lines, *(_p(note, "note") for note in brief.notes)]))
    return story


def _findings(shown: View) -> LongTable:
    names = ("finding", "what", "value", "status", "method", "place")
    rows = [[_p(shown.words(name), "cellhead") for name in names]]
    for row in shown.rows:
        name = f"{row.name}: {row.question}" if row.question else row.name
        method = f"{row.method}, {row.digest}" if row.digest else row.method
        texts = (row.id, name, row.value, row.status, method, row.place)
        rows.append([_p(text, "cell") for text in texts])
    table = LongTable(rows, colWidths=COLUMNS, repeatRows=1)
    table.setStyle(TableStyle([("VALIGN", (0, 0), (-1, -1), "TOP"),
                               ("LINEBELOW", (0, 0), (-1, -1), 0.5, LINE),
                               ("BACKGROUND", (0, 0), (-1, 0), GROUND),
                               ("LEFTPADDING", (0, 0), (-1, -1), 3),
                               ("RIGHTPADDING", (0, 0), (-1, -1), 3),
                               ("TOPPADDING", (0, 0), (-1, -1), 2),
                               ("BOTTOMPADDING", (0, 0), (-1, -1), 3)]))  # fmt: skip
    return table


def _pictures(title: str, pictures: Sequence[Shown]) -> list[Any]:
    if not pictures:
        return []
    side = WIDTH / ACROSS - 8
    cells = []
    for one in pictures:
        size = one.picture.size
        scale = side / max(size.width, size.height)
        image = Image(BytesIO(one.picture.jpeg), size.width * scale, size.height * scale)
        cells.append([image, _p(one.caption + _ids(one.findings), "cell")])
    cells += [[]] * (-len(cells) % ACROSS)
    rows = [cells[i : i + ACROSS] for i in range(0, len(cells), ACROSS)]
    table = Table(rows, colWidths=[WIDTH / ACROSS] * ACROSS, hAlign="LEFT")
    table.setStyle(TableStyle([("VALIGN", (0, 0), (-1, -1), "TOP"),
                               ("LEFTPADDING", (0, 0), (-1, -1), 0)]))  # fmt: skip
    return [_p(title, "head"), table]
