"""Documents of a draft: the same statements in every format, the mark on every page."""

import io
import re
from base64 import b64decode, b64encode
from hashlib import sha256
from html.parser import HTMLParser
from zipfile import ZipFile

import numpy as np
import pytest
from docx import Document
from finding_cases import OK, answer, full_case, slide
from PIL import Image
from pypdf import PdfReader
from store_cases import store

from pathai.case import PredictionInput
from pathai.config import ReportConfig
from pathai.drafters.base import Engine
from pathai.findings import findings_of_case
from pathai.report import documents
from pathai.report.documents import State
from pathai.report.documents.evidence import MAX_BYTES, PER_CASE, packed, pictures
from pathai.report.documents.words import languages, words_of
from pathai.report.draft import draft
from pathai.report.records import WATERMARK, Fixed
from pathai.store.folders import ResultsFolder
from pathai.store.records import TISSUE, TissueMap
from pathai.units import Box, Mpp, Size

CASE = full_case()
FIXED = (
    Fixed(kind="contradiction", id="r1", text="Two values cannot both be true.",
          findings=("F1", "F2"), source="doi:10.1000/one"),
    Fixed(kind="suggestion", id="r2", text="A reflex test is suggested.", findings=("F3",),
          source="doi:10.1000/two"),
    Fixed(kind="context", id="C1", text="PSA 7.1 ng/mL"),
    Fixed(kind="reference", id="ki67", text="Positive nuclei of all nuclei.",
          source="doi:10.1000/three"),
)  # fmt: skip
MADE = draft(CASE, ReportConfig()).model_copy(update={"fixed": FIXED})
SIGNED = State(name="signed", signer="Reader One", role="pathologist",
               time="2026-03-04T05:06:07Z", digest="ab" * 32)  # fmt: skip
PRINTERS = {name: getattr(documents, name) for name in ("markdown", "html", "docx", "pdf")}


def flat(text):
    """Letters, digits and signs without spaces, which a page may break anywhere."""
    return re.sub(r"\s+", "", text)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.style, self.inside = [], "", "", ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        if self.inside == "style":
            self.style += data
        else:
            self.text += data


def words(kind, made):
    """What a reader of a document reads, page by page where it has pages."""
    if kind == "markdown":
        return [re.sub(r"\\(.)", r"\1", made)]
    if kind == "html":
        return [Page(made).text]
    if kind == "pdf":
        return [page.extract_text() for page in PdfReader(io.BytesIO(made)).pages]
    document = Document(io.BytesIO(made))
    texts = [p.text for p in document.paragraphs]
    texts += [cell.text for table in document.tables for row in table.rows for cell in row.cells]
    return ["\n".join([document.sections[0].header.paragraphs[0].text, *texts])]


@pytest.mark.parametrize("kind", PRINTERS)
@pytest.mark.parametrize("state", [State(), SIGNED], ids=["draft", "signed"])
def test_every_format_holds_every_statement_and_value(kind, state):
    text = flat("".join(words(kind, PRINTERS[kind](MADE, CASE, state))))
    if kind == "pdf":  # a statement may go on below the edge of a page
        shown = documents.view(MADE, CASE, state)
        edge = [flat(shown.mark), flat(shown.heading + "Page")]
        for piece in edge:
            text = text.replace(piece, "") if piece == edge[0] else text
    for line in (brief for section in MADE.sections for brief in section.briefs):
        assert all(flat(part) in text for part in (line.text, *line.notes, *line.findings))
    for said in (said for section in MADE.sections for said in section.shown()):
        assert flat(said.rendered) in text
        assert all(flat(note) in text for note in said.notes)
    for one in FIXED:
        assert flat(one.text) in text
        assert flat(one.source) in text
    for row in documents.view(MADE, CASE, state).rows:
        assert flat(row.value) in text
        assert flat(row.place) in text
    assert text.index(flat(FIXED[0].text)) < text.index(flat(MADE.statements()[0].rendered))


@pytest.mark.parametrize("kind", PRINTERS)
def test_same_draft_same_bytes(kind):
    assert PRINTERS[kind](MADE, CASE) == PRINTERS[kind](MADE, CASE)


def test_the_mark_stands_on_every_page_until_signed():
    for state, mark in ((State(), WATERMARK), (State(name="in_review"), WATERMARK)):
        pages = words("pdf", documents.pdf(MADE, CASE, state))
        assert len(pages) > 1
        assert all(mark in page for page in pages)
        assert [f"Page {n} of {len(pages)}" in p for n, p in enumerate(pages, 1)] == [True] * len(
            pages
        )
        sections = Document(io.BytesIO(documents.docx(MADE, CASE, state))).sections
        assert all(mark in s.header.paragraphs[0].text for s in sections)
        assert not any(s.different_first_page_header_footer for s in sections)
        assert documents.html(MADE, CASE, state).count(mark) == 2  # on screen, and as table head
    for kind in PRINTERS:
        pages = words(kind, PRINTERS[kind](MADE, CASE, SIGNED))
        text = " ".join(" ".join(pages).split())
        assert "DRAFT" not in text
        assert "Reader One" in text
        assert "an assertion, not a qualified electronic signature" in text
        assert all("research use only" in page for page in pages)


def test_a_signature_has_a_name_and_a_time_and_an_amendment_a_reason():
    for missing in ({}, {"signer": "A"}, {"time": "2026-01-01T00:00:00Z"}):
        with pytest.raises(ValueError, match="a name and a time"):
            State(name="signed", **missing)
    with pytest.raises(ValueError, match="says why"):
        SIGNED.model_copy(update={"name": "amended"}).model_validate(
            {**SIGNED.model_dump(), "name": "amended"}
        )
    amended = State(**{**SIGNED.model_dump(), "name": "amended", "reason": "Ki-67 recounted"})
    assert "Ki-67 recounted" in documents.markdown(MADE, CASE, amended)


def test_the_page_loads_nothing_and_runs_nothing():
    page = Page(documents.html(MADE, CASE, State(), [picture()]))
    policy = next(a["content"] for t, a in page.tags if a.get("http-equiv"))
    digest = b64encode(sha256(page.style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert not {"script", "iframe", "link", "object", "embed"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") or name == "style" for _, a in page.tags for name in a)
    ids = {a["id"] for _, a in page.tags if "id" in a}
    for _, attributes in page.tags:
        link = attributes.get("href", "#")
        assert link.startswith("data:image/jpeg;base64,") or link == "#" or link[1:] in ids
    assert not re.search(r"url\(|@import|https?:", page.style)


HOSTILE = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style><b>", "{{ 7*7 }}",
    "[a](javascript:x)", "]]><!--", "&lt;b&gt;", "\u202eevil", "a\x00b\x07c", "漢字", "<para>",
)  # fmt: skip


@pytest.mark.parametrize("bad", HOSTILE)
def test_hostile_names_are_text_in_every_format(bad):
    named = answer(classes=("no", bad), label=bad, set=(bad,), question=bad)
    asked = (PredictionInput(model="tumor", stage=OK, answer=named),)
    case = findings_of_case("C1", [slide("S1", site=bad, predictions=asked)])
    made = draft(case, ReportConfig())
    usual = Page(documents.html(MADE, CASE, SIGNED))
    assert {tag for tag, _ in Page(documents.html(made, case)).tags} <= {t for t, _ in usual.tags}
    title = next(s.title for s in made.sections if s.slide_id == "S1")
    assert bad in title  # no template has acted on it
    state = State(**{**SIGNED.model_dump(), "signer": bad, "role": bad})
    for kind in PRINTERS:
        assert words(kind, PRINTERS[kind](made, case, state))
    assert "<script" not in documents.markdown(made, case, state).replace("\\<", "")


def test_a_word_document_tells_no_name_machine_or_time():
    made = documents.docx(MADE, CASE)
    properties = Document(io.BytesIO(made)).core_properties
    assert (properties.author, properties.last_modified_by) == ("pathai", "")
    assert properties.created.year == properties.modified.year == 1980
    with ZipFile(io.BytesIO(made)) as archive:
        assert {i.date_time for i in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_pdf_has_title_language_and_its_own_fonts():
    reader = PdfReader(io.BytesIO(documents.pdf(MADE, CASE)))
    assert reader.metadata.title == "Draft pathology report · Case C1"
    assert reader.trailer["/Root"]["/Lang"] == "en"
    fonts = [f.get_object() for f in reader.pages[0]["/Resources"]["/Font"].values()]
    embedded = [f for f in fonts if "FontFile2" in str(f.get("/FontDescriptor", ""))]
    assert embedded
    assert any("mm²" in page for page in words("pdf", documents.pdf(MADE, CASE)))


def test_how_it_was_made_names_a_model_that_was_not_evaluated():
    llm = Engine(name="openai-compatible", model="m", digest="sha256:" + "c" * 64,
                 network="loopback")  # fmt: skip
    asked = MADE.model_copy(update={"engine": llm})
    for name, value in (("not passed", False), ("has passed", True)):
        engine = llm.model_copy(update={"evaluated": value})
        text = documents.markdown(asked.model_copy(update={"engine": engine}), CASE)
        assert name in text
        assert "sha256:cccccccccccc" in text
        assert "on this machine was asked" in text


def test_languages_have_the_same_words_and_say_that_they_are_unreviewed():
    english = words_of("en")
    for language in languages():
        own = words_of(language)
        assert own.names() == english.names()
        for name in own.names():
            slots = [set(re.findall(r"\{(\w+)\}", w(name))) for w in (own, english)]
            assert slots[0] == slots[1], name
        made = MADE.model_copy(update={"language": language})
        for kind in PRINTERS:
            text = "".join(words(kind, PRINTERS[kind](made, CASE)))
            assert ("unreviewed translation" in text) == (language != "en")
            assert WATERMARK in text


# --- evidence --------------------------------------------------------------------------------


def picture(findings=("F1",), box=None):
    jpeg = packed(np.full((40, 60, 3), 200, np.uint8))
    return documents.Picture("S1", jpeg, Size(60, 40), 2.0, 20, box, box is None, findings)


BLUE = (20, 40, 200)


def _results(tmp_path, names=("S1",), seed=0):
    """Slides of noise, the hardest to pack, with one blue square at 512, 256 of 128 px."""
    results = ResultsFolder(tmp_path)
    noise = np.random.default_rng(seed).integers(0, 255, (1024, 1280, 3), dtype=np.uint8)
    noise[256:384, 512:640] = BLUE
    tissue = TissueMap(np.full((16, 20), TISSUE, np.uint8), 64.0, Mpp(32.0, 32.0))

    def read(box):
        x, y = round(box.x), round(box.y)
        block = noise[y : y + round(box.height), x : x + round(box.width)]
        return block, np.ones(block.shape[:2], bool)

    for name in names:
        folder = results.slide(name)
        folder.path.mkdir(parents=True)
        store(folder.tiles, read, Size(1280, 1024), Mpp(0.5, 0.5), tissue)
    return results


def _case(boxes, names=("S1",)):
    asked = (PredictionInput(model="tumor", stage=OK, answer=answer(), boxes=boxes),)
    whole = Box(0, 0, 1280, 1024)
    slides = [slide(n, predictions=asked, tissue_box=whole) for n in names]
    return findings_of_case("C1", slides)


def test_a_picture_shows_the_place_outlined_at_the_stated_scale(tmp_path):
    case = _case((Box(512.0, 256.0, 128.0, 128.0),))
    made = pictures(case, _results(tmp_path).slide)
    crop = next(p for p in made if not p.overview)
    guess = next(f for f in case.findings if f.key == "tumor.probability")
    assert guess.id in crop.findings
    pixels = np.asarray(Image.open(io.BytesIO(crop.jpeg)).convert("RGB")).astype(int)
    assert pixels.shape == (crop.size.height, crop.size.width, 3)
    d = crop.um_px / 0.5  # level-0 px per px of the picture
    inside = np.abs(pixels - BLUE).sum(axis=2) < 90
    side = 128 / d
    assert abs(inside.sum() - side**2) < 0.25 * side**2  # less the outline drawn upon it
    bar = pixels[crop.size.height - 10, 8 : 8 + round(crop.bar_um / crop.um_px)]
    assert (bar.mean(axis=1) < 90).mean() > 0.9
    assert any(p.overview for p in made)


def test_a_finding_of_the_whole_slide_shows_its_overview(tmp_path):
    made = pictures(_case(()), _results(tmp_path).slide)
    assert all(p.overview for p in made)
    count = next(p for p in made if p.box is None)
    assert (count.size.width, count.size.height) == (340, 272)
    assert count.um_px == pytest.approx(0.5 * 1280 / 340)


def test_a_page_of_five_noisy_slides_stays_small(tmp_path):
    names = tuple(f"S{i}" for i in range(5))
    boxes = tuple(Box(100.0 * i, 40.0 * i, 128.0, 128.0) for i in range(9))
    case = _case(boxes, names)
    results = _results(tmp_path, names)
    made = pictures(case, results.slide)
    assert {p.slide_id for p in made} == set(names)
    assert len(made) <= PER_CASE
    assert max(len(p.jpeg) for p in made) <= MAX_BYTES
    page = documents.html(draft(case, ReportConfig()), case, State(), made)
    assert len(page.encode()) < 3_000_000
    assert page.count("data:image/jpeg") == len(made)
    assert pictures(case, results.slide) == made


def test_a_slide_without_pixels_has_no_picture_and_the_page_goes_on(tmp_path):
    case = _case((), ("S1", "S2"))
    made = pictures(case, _results(tmp_path, ("S2",)).slide)
    assert {p.slide_id for p in made} == {"S2"}
    assert documents.pdf(draft(case, ReportConfig()), case, State(), made)


def test_a_sentence_can_be_focused_and_holds_its_pictures(tmp_path):
    case = _case((Box(512.0, 256.0, 128.0, 128.0),))
    shots = pictures(case, _results(tmp_path).slide)
    made = draft(case, ReportConfig())
    page = documents.html(made, case, State(), shots)
    guess = next(f for f in case.findings if f.key == "tumor.probability")
    item = next(i for i in page.split("<li")[1:] if f'href="#{guess.id}"' in i)
    assert item.startswith(' tabindex="0"')
    numbers = {int(n) for n in re.findall(r'<use href="#P(\d+)"', item)}
    assert numbers
    assert all(guess.id in shots[n - 1].findings for n in numbers)
    style = Page(page).style
    assert "li:hover > .glance" in style
    assert "li:focus-within > .glance" in style
    stored = [b64decode(d) for d in re.findall(r"base64,([A-Za-z0-9+/=]+)", page)]
    assert stored == [s.jpeg for s in shots]
