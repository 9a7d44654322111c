"""A view as a document for word processors (Office Open XML); its bytes tell no time."""

from collections.abc import Sequence
from datetime import datetime
from io import BytesIO
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from docx import Document
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Mm, Pt, RGBColor

from pathai.report.documents.printable import printable
from pathai.report.documents.view import Part, Shown, Told, View

ALARM, SOFT = RGBColor(0x9B, 0x22, 0x26), RGBColor(0x5D, 0x6A, 0x70)
EPOCH = datetime(1980, 1, 1)
"""Written where the format wants a time; the oldest that a zip archive can hold."""
PICTURE_MM = 72


def print_docx(shown: View) -> bytes:
    """Bytes of a view as ``.docx``."""
    document = Document()
    _frame(document, shown)
    words = shown.words
    document.add_paragraph(printable(shown.kind))
    document.add_heading(printable(shown.heading), 0)
    if shown.translation:
        _paragraph(document, shown.translation, bold=True)
    for line in shown.life:
        _paragraph(document, line, bold=True)
    _paragraph(document, shown.lead, soft=True)
    _alarm(document, shown)
    _list(document, words("context"), shown.context, ids=True)
    for part in shown.parts:
        _part(document, part)
    _list(document, words("suggestions"), shown.suggestions)
    _findings(document, shown)
    _list(document, words("references"), shown.references, ids=True)
    _pictures(document, words("evidence"), shown.pictures)
    document.add_heading(printable(words("making")), 1)
    for line in (*shown.making, shown.bound):
        _paragraph(document, line)
    return _settled(document)


def _frame(document: Any, shown: View) -> None:
    """Paper, properties without names, and the mark on each page."""
    properties = document.core_properties
    properties.author, properties.last_modified_by, properties.comments = "pathai", "", ""
    properties.title, properties.language = printable(shown.title), shown.language
    properties.created = properties.modified = EPOCH
    properties.subject = printable(shown.mark)
    fonts = document.styles["Normal"].font
    fonts.name, fonts.size = "Arial", Pt(10)
    language = document.styles.element.find(".//" + qn("w:lang"))
    if language is not None:
        language.set(qn("w:val"), shown.language)
    section = document.sections[0]
    section.page_width, section.page_height = Mm(210), Mm(297)
    section.left_margin = section.right_margin = Mm(20)
    section.different_first_page_header_footer = False
    header = section.header.paragraphs[0]
    header.alignment = WD_ALIGN_PARAGRAPH.CENTER
    run = header.add_run(printable(shown.mark))
    run.bold, run.font.size = True, Pt(9)
    footer = section.footer.paragraphs[0]
    footer.alignment = WD_ALIGN_PARAGRAPH.CENTER
    before, between = shown.words("page", page="\0", pages="\0").split("\0")[:2]
    for text, field in ((before, "PAGE"), (between, "NUMPAGES")):
        footer.add_run(text)
        _field(footer.add_run(), field)


def _field(run: Any, name: str) -> None:
    """A number that the word processor fills in."""
    for kind in ("begin", "", "end"):
        if kind:
            element = OxmlElement("w:fldChar")
            element.set(qn("w:fldCharType"), kind)
        else:
            element = OxmlElement("w:instrText")
            element.set(qn("xml:space"), "preserve")
            element.text = name
        run._r.append(element)


def _paragraph(document: Any, text: str, *, bold: bool = False, soft: bool = False) -> Any:
    paragraph = document.add_paragraph()
    paragraph.paragraph_format.space_after = Pt(4)
    run = paragraph.add_run(printable(text))
    run.bold = bold
    if soft:
        run.font.color.rgb = SOFT
    return paragraph


def _ids(ids: Sequence[str]) -> str:
    return f" ({', '.join(ids)})" if ids else ""


def _alarm(document: Any, shown: View) -> None:
    if not shown.contradictions:
        return
    words = shown.words
    document.add_heading(printable(words("contradictions")), 1).runs[0].font.color.rgb = ALARM
    for one in shown.contradictions:
        text = f"{words('contradiction')}: {one.text}{_ids(one.findings)}"
        run = _paragraph(document, text, bold=True).runs[0]
        run.font.color.rgb = ALARM
        if one.source:
            _paragraph(document, f"{words('source')}: {one.source}", soft=True)


def _list(document: Any, title: str, items: Sequence[Told], *, ids: bool = False) -> None:
    if not items:
        return
    document.add_heading(printable(title), 1)
    for one in items:
        text = f"{one.id}: {one.text}" if ids else f"{one.text}{_ids(one.findings)}"
        document.add_paragraph(printable(text), style="List Bullet")
        if one.source:
            _paragraph(document, one.source, soft=True)


def _part(document: Any, part: Part) -> None:
    document.add_heading(printable(part.title), 1)
    for note in part.notes:
        _paragraph(document, note, soft=True)
    for said in part.sentences:
        mark = f"; {said.mark}" if said.mark else ""
        paragraph = document.add_paragraph(style="List Bullet")
        paragraph.add_run(printable(said.text))
        paragraph.add_run(f" ({said.finding}{printable(mark)})").font.color.rgb = SOFT
        for one in said.notes:
            line = _paragraph(document, one.text, bold=one.serious, soft=not one.serious)
            line.paragraph_format.left_indent = Mm(8)
    for brief in part.gathered:
        document.add_paragraph(printable(brief.text + _ids(brief.findings)), style="List Bullet")
        for note in brief.notes:
            _paragraph(document, note, soft=True).paragraph_format.left_indent = Mm(8)


def _findings(document: Any, shown: View) -> None:
    words = shown.words
    document.add_heading(printable(words("findings")), 1)
    names = ("finding", "what", "value", "status", "method", "place")
    table = document.add_table(rows=1, cols=len(names), style="Light Grid")
    for cell, name in zip(table.rows[0].cells, names, strict=True):
        _cell(cell, words(name), bold=True)
    head = OxmlElement("w:tblHeader")
    head.set(qn("w:val"), "true")
    table.rows[0]._tr.get_or_add_trPr().append(head)
    for row in shown.rows:
        name = f"{row.name}: {row.question}" if row.question else row.name
        method = f"{row.method}, {row.digest}" if row.digest else row.method
        texts = (row.id, name, row.value, row.status, method, row.place)
        for cell, text in zip(table.add_row().cells, texts, strict=True):
            _cell(cell, text)


def _cell(cell: Any, text: str, *, bold: bool = False) -> None:
    run = cell.paragraphs[0].add_run(printable(text))
    run.bold, run.font.size = bold, Pt(8)


def _pictures(document: Any, title: str, pictures: Sequence[Shown]) -> None:
    if not pictures:
        return
    document.add_heading(printable(title), 1)
    for one in pictures:
        size = one.picture.size
        wide = PICTURE_MM * min(1.0, size.width / max(size.width, size.height))
        inline = document.add_picture(BytesIO(one.picture.jpeg), width=Mm(wide))
        inline._inline.docPr.set("descr", printable(one.caption))
        document.paragraphs[-1].paragraph_format.keep_with_next = True
        _paragraph(document, one.caption + _ids(one.findings), soft=True)


def _settled(document: Any) -> bytes:
    """The archive again, without the times of its entries."""
    made, out = BytesIO(), BytesIO()
    document.save(made)
    with ZipFile(made) as source, ZipFile(out, "w") as target:
        for info in source.infolist():
            entry = ZipInfo(info.filename, EPOCH.timetuple()[:6])
            entry.compress_type, entry.external_attr, entry.create_system = ZIP_DEFLATED, 0, 0
            target.writestr(entry, source.read(info))
    return out.getvalue()
