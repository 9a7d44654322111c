"""The cohort page of thousands of slides in headless Chromium, by mouse and by keyboard."""

from dataclasses import replace

import pytest
from browser_cases import browser
from page_cases import Page
from tiny_run import SLIDES

from pathai.cohort.card import run_page, settings
from pathai.cohort.evaluate import evaluate
from pathai.cohort.gather import slide_rows
from pathai.cohort.spread import NO_SITE, histograms, sites
from pathai.cohort.tables import run_record
from pathai.cohort.view import FIRST, html
from pathai.config import Config
from pathai.plan import Plan

MANY = 2_000
SITES = ("Ulm", "Graz", "Turku", "")
MIB = 2**20


@pytest.fixture(scope="module")
def plan(tiny_results):
    return Plan(tiny_results / "config.yaml")


@pytest.fixture(scope="module")
def few(plan):
    return slide_rows(plan)


def many(few, count):
    """Rows under new names; every twelfth slide failed."""
    found = []
    for i in range(count):
        one, name = few[i % len(few)], f"S{i:05d}"
        sheet = one.row.model_copy(update={"slide_id": name, "case_id": f"C{i // 2:05d}",
                                           "patient_id": f"P{i // 2:05d}",
                                           "site": SITES[i % len(SITES)]})  # fmt: skip
        told = tuple(replace(o, slide_id=name) for o in one.outcomes)
        found.append(replace(one, row=sheet, outcomes=told))
    return tuple(found)


def page_of(plan, few, count):
    rows = many(few, count)
    outcomes = [o for row in rows for o in row.outcomes]
    return html(plan, rows, outcomes, evaluate(plan, few))


# --- what it says ----------------------------------------------------------------------------


def test_what_failed_comes_first_and_is_one_step_from_its_slide(plan, few):
    text = page_of(plan, few, 24)
    assert text.index('id="failures"') < text.index('id="evaluation"') < text.index('id="slides"')
    page = Page(text)
    looks = [a["id"] for t, a in page.tags if t == "tr" and a.get("id", "").startswith("look-")]
    assert looks == [f"look-{i}" for i in range(1, len(looks) + 1)]
    assert "E110" in page.rows["look-1"]  # failed before degraded before skipped
    failed = next(s for s in page.rows if s.startswith("slide-") and "failed" in page.rows[s])
    code = text.split(f'id="{failed}"')[1].split("</tr>")[0]
    assert failed.removeprefix("slide-") in page.rows[code.split('href="#')[1].split('"')[0]]


def test_sites_stand_beside_each_other(few):
    rows = many(few, 48)
    found = {one["name"]: one for one in sites(rows)}
    assert set(found) == {"Ulm", "Graz", "Turku", NO_SITE}
    assert sum(one["slides"] for one in found.values()) == 48
    assert sum(one["failed"] for one in found.values()) == sum(r.status == "failed" for r in rows)
    for name, one in found.items():
        here = sorted(r.tissue_mm2 for r in rows
                      if (r.row.site or NO_SITE) == name and r.tissue_mm2 is not None)  # fmt: skip
        assert float(one["tissue"]["value"]) == pytest.approx(here[len(here) // 2], abs=0.006)
        low, middle, high = one["tissue"]["places"]
        assert 0 <= low <= middle <= high <= 100
    assert sites(many(few, 1)) == []  # of one site there is nothing to compare


def test_histograms_hold_every_known_value(few):
    rows = many(few, 24)
    found = {one["name"]: one for one in histograms(rows)}
    known = sum(row.tissue_mm2 is not None for row in rows)
    assert found["Tissue"]["said"].startswith(f"{known} slides, median ")
    assert "<svg" in found["Nuclei"]["plot"]
    assert histograms(rows[:2]) == []


def test_probabilities_are_shown_against_what_came_true(plan, few):
    text = page_of(plan, few, 12)
    card = text.split("Can its probabilities be believed?")[1].split("</details>")[0]
    assert "Share that came true" in card


def test_the_run_card_tells_cost_settings_and_no_folder(plan, tiny_results):
    chosen = settings(plan.config)
    assert chosen["cohort.count_column"] == "n_nuclei"
    stage = {"jobs": 2, "cpu_s": 5400.0, "wall_s": 90.0, "peak_mib": 2048.0}
    record = {**run_record(plan), "stages": {"tile": stage}}
    text = " ".join(run_page(record, chosen, "Tiny <cohort>", 12).split())
    assert "Tiny &lt;cohort&gt;" in text
    for words in ("1.5 h", "1.5 min", "2.0 GiB", "7.5 min of processor time per slide",
                  "No job noted a GPU", "Energy: not measured"):  # fmt: skip
        assert words in text
    assert str(tiny_results) not in text
    stage = {"jobs": 1, "cpu_s": 60.0, "max_rss_mib": 10, "gpu": "A <b>", "max_gpu_mib": 5000}
    told = run_page({**record, "stages": {"features": stage}, "energy_kwh": 0.25}, {}, "T", 1)
    assert "A &lt;b&gt;, 4.9 GiB" in told
    assert "about 0.250 kWh" in told
    secret = {"webhook": "https://chat.example/hook/SECRET"}
    given = Config.model_validate(
        {"predict": {"models": ["/srv/someone/models/tumor"]}, "run": secret}
    )
    assert settings(given) == {"predict.models": "tumor"}
    assert settings(Config()) == {}


# --- thousands, in a browser -----------------------------------------------------------------


@pytest.fixture(scope="module")
def large(plan, few, tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "index.html"
    path.write_text(page_of(plan, few, MANY))
    return path


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser"), 1280, 900) as found:
        found.call("timeouts", {"pageLoad": 240_000})
        yield found


@pytest.fixture
def page(window, large):
    """The page as it is opened first; afterwards no script failed and nothing was fetched."""
    window.open("about:blank")
    window.log(), window.requests()
    window.open(large.as_uri())
    yield window
    assert window.log() == []
    asked = {u for u in window.requests() if not u.startswith("data:")}
    assert {u.partition("#")[0] for u in asked} == {large.as_uri()}


def shown(page):
    return page.run(
        "return [...document.querySelectorAll('#table tbody tr')]"
        ".filter((row) => row.offsetParent).map((row) => row.id.slice(6))"
    )


def said(page):
    return page.run("return document.getElementById('shown').textContent")


@pytest.mark.slow
@pytest.mark.browser
def test_a_page_of_thousands_is_light_and_shows_no_more_than_it_can(page, large):
    assert large.stat().st_size < 30 * MIB
    assert shown(page) == [f"S{i:05d}" for i in range(FIRST)]
    assert said(page) == f"{MANY} slides, the first {FIRST} shown"
    page.click("#next")
    assert len(shown(page)) == 2 * FIRST


@pytest.mark.slow
@pytest.mark.browser
def test_typing_finds_a_slide_beyond_those_shown(page):
    page.run("document.getElementById('find').focus()")
    page.press(*"s01987")
    assert shown(page) == ["S01987"]
    assert said(page) == f"1 of {MANY} slides"
    page.press("Tab", "Tab", "Tab", "Tab", "Tab", "Enter")  # past the filters to the way back
    assert len(shown(page)) == FIRST


@pytest.mark.slow
@pytest.mark.browser
def test_failures_are_one_click_away_and_lead_to_their_slides(page, few):
    page.click('.tile[data-show="failed"] button')
    failed = shown(page)
    statuses = [few[i % len(few)].status for i in range(MANY)]
    assert failed == [f"S{i:05d}" for i, status in enumerate(statuses) if status == "failed"]
    page.run("location.hash = '#slide-S01999'")  # filtered out, and far down
    page.wait("document.getElementById('slide-S01999').offsetParent !== null")
    box = page.run("return document.getElementById('slide-S01999').getBoundingClientRect().top")
    assert 0 < box < 900


@pytest.mark.slow
@pytest.mark.browser
def test_sorting_covers_all_slides_not_those_shown_alone(page):
    page.click("#table th:nth-child(5) button")
    page.click("#table th:nth-child(5) button")
    most = max(s[4] for s in SLIDES if s[6] not in ("failed", "skipped"))
    first = page.run("return document.querySelector('#table tbody tr').cells[4].dataset.value")
    assert float(first) == round(1.1 * float(most))
    assert len(shown(page)) == FIRST


@pytest.mark.slow
@pytest.mark.browser
def test_the_command_of_the_review_can_be_copied(page):
    page.click("#slide-S00003 .copy")
    page.wait("document.getElementById('shown').textContent.includes('pathai review')")
    assert said(page).endswith("pathai review results/slides/S00003")


@pytest.mark.slow
@pytest.mark.browser
def test_a_phone_does_not_scroll_sideways(page):
    page.size(420, 900)
    try:
        wide = page.run("return [document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1]
    finally:
        page.size(1280, 900)


def test_without_scripts_every_slide_is_in_the_page(plan, few):
    page = Page(page_of(plan, few, FIRST + 12))
    rows = [a for t, a in page.tags if t == "tr" and a.get("id", "").startswith("slide-")]
    assert len(rows) == FIRST + 12
    assert not any("hidden" in a for a in rows)
