"""The page of a share bundle in headless Chromium: from a disk, and from a server on loopback."""

import functools
import http.server
import shutil
import threading
import zipfile
from io import BytesIO

import pytest
from browser_cases import browser
from PIL import Image
from run_folder import make_run
from typer.testing import CliRunner

from pathai.cli import app

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("share-page")]

LOADED = """(() => {
  const page = window.pathaiShare;
  if (!page || !page.viewer.world.getItemCount()) return false;
  return page.viewer.world.getItemAt(0).getFullyLoaded();
})()"""
BOUNDS = """(() => {
  const { viewer, state, data } = window.pathaiShare;
  const b = viewer.viewport.getBounds(), w = data.slides[state.slide].size[0];
  return [b.x * w, b.y * w, b.width * w, b.height * w];
})()"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An unzipped bundle of two slides; its run is gone."""
    root = tmp_path_factory.mktemp("share")
    run = make_run(root / "run", side=1400)
    out = root / "out.zip"
    call = ["share", "C02", "-o", str(out), "--config", str(run / "config.yaml")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run)
        done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, (done.output, done.exception)
    with zipfile.ZipFile(out) as archive:
        archive.extractall(root / "page")
    shutil.rmtree(run)
    return root / "page"


@pytest.fixture(scope="module")
def server(folder):
    """Its address, and the paths that were asked for and not there."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def send_error(self, code, message=None, explain=None):
            missing.append(self.path)
            super().send_error(code, message, explain)

    missing: list[str] = []
    make = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), make) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{found.server_port}/", missing
        finally:
            found.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


@pytest.fixture(params=["disk", "server"])
def page(request, window, folder, server):
    """The page, opened and shown; afterwards nothing was refused, missing or fetched elsewhere."""
    origin = folder.as_uri() + "/" if request.param == "disk" else server[0]
    window.size(1400, 900)
    window.open("about:blank")
    window.log(), window.requests()
    window.open(f"{origin}index.html")
    window.wait(LOADED)
    yield window
    assert window.log() == []
    asked = {url for url in window.requests() if not url.startswith(("data:", "blob:null/"))}
    assert f"{origin}index.html" in asked
    assert [url for url in asked if not url.startswith(origin)] == []
    assert any(url.endswith(".jpg") for url in asked)
    assert server[1] == []


def settled(page):
    page.wait("!window.pathaiShare.viewer.isAnimating?.() && " + LOADED)
    return page.run(f"return {BOUNDS}")


def test_pan_and_zoom_with_the_mouse(page):
    width = settled(page)[2]
    page.wheel((900, 450), -240)
    nearer = page.wait(f"(({BOUNDS})[2] < {0.9 * width}) && {BOUNDS}")
    page.drag((900, 450), (-120, -60))
    moved = page.wait(f"(({BOUNDS})[0] > {nearer[0]}) && {BOUNDS}")
    view = page.run("return window.pathaiShare.viewer.viewport.getContainerSize().x")
    assert moved[2] == pytest.approx(nearer[2], rel=0.01)
    assert moved[0] - nearer[0] == pytest.approx(120 / view * nearer[2], rel=0.35)
    assert moved[1] > nearer[1]


def test_scale_bar_and_magnification_are_true(page):
    page.click('[data-power="20"]')
    page.wait("document.getElementById('power').textContent === '20×'")
    bounds = settled(page)
    view = page.run("return window.pathaiShare.viewer.viewport.getContainerSize().x")
    um_per_px = 0.5 * bounds[2] / view  # the slide has 0.5 µm/px
    assert um_per_px == pytest.approx(0.5, rel=0.01)  # 20x is 0.5 µm per pixel of the screen
    bar = page.run("return document.getElementById('rule').getBoundingClientRect().width")
    told = page.run("return document.getElementById('length').textContent")
    assert told.endswith(" µm")
    assert bar * um_per_px == pytest.approx(float(told.split()[0]), rel=0.05)


def test_a_sentence_flies_to_its_evidence_and_draws_it(page):
    place = page.run(
        "const s = window.pathaiShare.data.story.sections.flatMap((p) => p.items)"
        ".find((i) => i.places.length > 1 && i.places[0].box); return [s.id, s.places];"
    )
    name, places = place
    css = f'button[data-id="{name}"]'
    for at, wanted in enumerate([*places, places[0]]):  # again and again: the next place
        page.click(css)
        page.wait(f"window.pathaiShare.state.at === {at % len(places)}")
        x, y, width, height = settled(page)
        bx, by, bw, bh = wanted["box"]
        assert page.run("return window.pathaiShare.state.slide") == wanted["slide"]
        assert x <= bx + 1
        assert y <= by + 1
        assert x + width >= bx + bw - 1
        assert y + height >= by + bh - 1
        assert (x + width / 2, y + height / 2) == pytest.approx((bx + bw / 2, by + bh / 2), abs=2)
        assert blue(page, bx, by, bw)
    assert page.run(f"return document.querySelector('{css}').ariaPressed") == "true"
    page.press("Escape")
    assert page.run("return document.querySelectorAll('button[aria-pressed=true]').length") == 0
    assert not blue(page, bx, by, bw)


def blue(page, x, y, width):
    """Whether evidence is drawn at the upper edge of a box: read from a picture of the screen."""
    at = page.run(
        f"""const {{ viewer, state, data }} = window.pathaiShare;
        const w = data.slides[state.slide].size[0];
        const p = viewer.viewport.pixelFromPoint(
          new OpenSeadragon.Point({x + width / 4} / w, {y} / w), true);
        const r = viewer.element.getBoundingClientRect(); return [p.x + r.x, p.y + r.y];"""
    )
    with Image.open(BytesIO(page.picture())) as image:
        px = [image.convert("RGB").getpixel((round(at[0]), round(at[1]) + d)) for d in (-1, 0, 1)]
    return any(abs(r - 0) < 60 and abs(g - 80) < 60 and abs(b - 200) < 60 for r, g, b in px)


def test_sentences_of_another_slide_and_its_nuclei(page):
    name = page.run(
        "return window.pathaiShare.data.story.sections.flatMap((p) => p.items)"
        ".find((i) => i.places.length && i.places[0].slide === 1 && i.places[0].box).id"
    )
    page.click(f'button[data-id="{name}"]')
    page.wait("window.pathaiShare.state.slide === 1")
    settled(page)
    assert page.run("return document.querySelector('[aria-selected=true]').textContent").startswith(
        "Slide 2"
    )
    before = opacities(page)
    page.click('[data-layer="nuclei:positive"]')
    after = opacities(page)
    assert before == [1, 0, 0]
    assert after == [1, 0, pytest.approx(0.9)]
    page.wait("window.pathaiShare.viewer.world.getItemAt(2).getFullyLoaded()")
    page.press("h")
    assert opacities(page) == [1, 0, 0]
    page.press("h")
    assert opacities(page) == after


def opacities(page):
    return page.run(
        "const w = window.pathaiShare.viewer.world;"
        "return [...Array(w.getItemCount()).keys()].map((i) => w.getItemAt(i).getOpacity())"
    )


def test_everything_by_keyboard(page):
    page.run("document.querySelector('.report').focus()")
    page.press("Tab")
    first = page.run("return document.activeElement.dataset.id")
    assert first
    page.press("Down")
    second = page.run("return document.activeElement.dataset.id")
    assert second != first
    page.press("Enter")
    page.wait(f"window.pathaiShare.state.item?.id === '{second}'")
    page.press("]")
    page.wait("window.pathaiShare.state.slide === 1")
    settled(page)
    page.run("window.pathaiShare.viewer.canvas.focus()")
    page.press("+", "+", "+")
    x = settled(page)[0]
    page.press("Right", "Right")
    page.wait(f"({BOUNDS})[0] > {x}")
    named = page.run(
        "return [...document.querySelectorAll('button, input, summary')].filter((e) =>"
        " !(e.textContent.trim() || e.ariaLabel || e.labels?.length)).length"
    )
    assert named == 0


@pytest.mark.parametrize("slide", [0, 1])
def test_an_address_can_name_a_sentence(page, slide):
    name, box = page.run(
        "const s = window.pathaiShare.data.story.sections.flatMap((p) => p.items)"
        f".find((i) => i.places.length && i.places[0].box && i.places[0].slide === {slide});"
        "return [s.id, s.places[0].box];"
    )
    address = page.run("return location.href")
    page.open(f"{address}?again#{name}")
    page.wait(LOADED)
    page.wait(f"window.pathaiShare.state.item?.id === '{name}'")
    x, y, width, height = settled(page)
    center = (box[0] + box[2] / 2, box[1] + box[3] / 2)
    assert (x + width / 2, y + height / 2) == pytest.approx(center, abs=2)
    assert page.run("return window.pathaiShare.state.slide") == slide


def test_draft_stays_in_view(page):
    for width, height in ((1400, 900), (900, 700), (500, 800)):
        page.size(width, height)
        for way in ("0", "document.body.scrollHeight"):
            page.run(
                f"window.scrollTo(0, {way}); document.querySelector('.report').scrollTop = {way}"
            )
            top = page.run(
                "const m = document.querySelector('.mark'), r = m.getBoundingClientRect();"
                "return [r.top, r.bottom, innerHeight, m.textContent]"
            )
            assert 0 <= top[0] < top[1] <= top[2]
            assert "DRAFT" in top[3]
            assert "research use only" in top[3]
        wide = page.run("return document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0


def test_on_a_phone_the_slide_stays_in_view_beside_the_sentences(page):
    page.size(500, 860)
    name = page.run(
        "return window.pathaiShare.data.story.sections.at(-1).items"
        ".findLast((i) => i.places.length).id"
    )
    page.run(f"document.querySelector('button[data-id=\"{name}\"]').focus()")
    page.press("Enter")
    page.wait(f"window.pathaiShare.state.item?.id === '{name}'")
    view, one, high = page.run(
        f"""const box = (css) => document.querySelector(css).getBoundingClientRect();
        const [v, o] = [box('.view'), box('button[data-id="{name}"]')];
        return [[v.top, v.bottom], [o.top, o.bottom], innerHeight];"""
    )
    assert view[0] >= 0
    assert view[1] <= one[0] + 1
    assert one[1] <= high + 1


def test_no_other_script_may_run(page):
    page.run(
        "const s = document.createElement('script'); s.textContent = 'window.bad = 1';"
        "document.body.append(s)"
    )
    assert page.run("return window.bad === undefined")
    (line,) = page.log()
    assert "Content Security Policy" in line
    assert page.run("return fetch('index.html').then(() => false, () => true)")
    assert page.log()
