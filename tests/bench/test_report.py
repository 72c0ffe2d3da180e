"""The report in a real browser: drawn, sortable, readable on a phone, and nothing from the network."""

import re
import shutil
from dataclasses import replace

import pytest
from made_results import CASE, OURS, THEIRS, repeat, results

from gdkernels.bench.comparing.ratios import crossovers, ratios
from gdkernels.bench.report.page import as_html, write
from gdkernels.bench.results.model import BenchCase
from gdkernels.errors import FileError

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

LARGE = BenchCase((512, 512, 10), 256, 4096)


def full():
    """Return results with two sizes, of which each participant leads at one."""
    ours, theirs, *others = results().rows
    ours = replace(ours, repeats=(repeat(0.10, 0.11, 0.12, 0.10, 0.11, 0.12),))
    theirs = replace(theirs, repeats=(repeat(0.20, 0.22, 0.24, 0.20, 0.22, 0.24),))
    larger = {"case": LARGE, "records": 4096, "flops": 10**11, "bytes_least": 10**8}
    slow = replace(ours, **larger, repeats=(repeat(3.0, 3.1, 3.2, 3.0, 3.1, 3.2),))
    fast = replace(theirs, **larger, repeats=(repeat(1.5, 1.6, 1.7, 1.5, 1.6, 1.7),))
    forward = replace(ours, stage="forward", records=32)
    return results(rows=(ours, theirs, slow, fast, forward, *others))


def test_ratios_are_taken_round_by_round():
    found = ratios([row for row in full().rows if row.stage == "epoch" and row.repeats])
    assert [(r.row.case, r.row.participant, r.base) for r in found] == [(CASE, THEIRS, OURS), (LARGE, THEIRS, OURS)]
    assert found[0].value == found[0].low == found[0].high == pytest.approx(2.0)


def test_the_lead_changes_between_the_sizes():
    (crossing,) = crossovers([row for row in full().rows if row.stage == "epoch" and row.repeats])
    assert (crossing.before, crossing.after) == (OURS, THEIRS)
    small, large = 10**9 * 32 / 1024, 10**11 * 256 / 4096
    lead, behind = 2.0, 3.1 / 1.6
    share = pytest.approx(small * (large / small) ** (0.693147 / (0.693147 + 0.661398)), rel=1e-3)
    assert crossing.flops == share, (lead, behind)
    assert crossovers([row for row in full().rows if row.participant == OURS and row.stage == "epoch"]) == []


def test_no_lead_changes_where_it_cannot_be_told():
    slow, fast = (row for row in full().rows if row.stage == "epoch" and row.repeats and row.case == LARGE)
    close = replace(fast, repeats=(repeat(2.9, 3.0, 3.1, 2.9, 3.0, 3.1),))
    small = [row for row in full().rows if row.stage == "epoch" and row.repeats and row.case == CASE]
    assert crossovers([*small, slow, fast]) != []
    assert crossovers([*small, slow, close]) == []


def test_the_page_holds_what_was_found(tmp_path):
    html = as_html(full())
    for text in ("gdkernels bench: P", "there is no driver", "it computes something else", "1.0e-06", "diverged"):
        assert text in html, text
    assert not re.search(r'(src|href)="(?!#|data:)', html)  # nothing is fetched
    ids = re.findall(r'\bid="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert not re.search(r"\$[a-z_]", html)  # all of the template is filled
    assert as_html(full()) == html  # the same results give the same page
    path = tmp_path / "report.html"
    write(full(), path, overwrite=False)
    with pytest.raises(FileError, match="exists already"):
        write(full(), path, overwrite=False)


def test_what_comes_from_outside_is_escaped():
    odd = "<script>alert(1)</script>"
    html = as_html(results(command=odd, environment=results().environment | {"processor": odd, "python": odd}))
    assert odd not in html
    assert html.count("&lt;script&gt;") >= 3


def test_a_page_of_nothing_is_still_a_page():
    html = as_html(results(rows=results().rows[3:], ceilings=(), first_calls=(), targets=()))
    assert "nothing was measured" in html
    assert "there is no driver" in html


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium here: apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    profile = tmp_path_factory.mktemp("profile")
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        f"user-data-dir={profile}",
        "window-size=1280,900",
    ):
        options.add_argument(f"--{flag}")
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write(full(), path, overwrite=False)
    browser.get(path.as_uri())
    return browser


def test_the_charts_are_drawn_and_nothing_is_amiss(page):
    drawn = page.execute_script(
        "return Array.from(document.querySelectorAll('figure svg')).map(s => {"
        " const box = s.getBoundingClientRect(), text = Array.from(s.querySelectorAll('text'));"
        " return [s.getAttribute('aria-label'), box.width, box.height, s.querySelectorAll('path, use').length,"
        "  Math.min(...text.map(t => t.getBoundingClientRect().height))]})"
    )
    names = [name for name, *_ in drawn]
    assert names == [
        "Throughput: epoch",
        "Throughput: forward",
        "Roofline: cpu, float32",
        "Ratios: epoch",
        "First calls",
        "Time to a target",
    ]
    for name, width, height, marks, smallest in drawn:
        assert width > 300, name
        assert height > 80, name
        assert marks > 10, name
        assert smallest >= 6, name
    assert page.get_log("browser") == []
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0


def column(page, number):
    rows = "document.querySelector('table.sortable').tBodies[0].rows"
    return page.execute_script(f"return Array.from({rows}, row => row.cells[arguments[0]].innerText)", number)


def test_sorting_sorts(page):
    heads = page.find_element("css selector", "table.sortable").find_elements("tag name", "th")
    names = [head.text.split()[0] for head in heads]
    rate, who = names.index("records/s"), names.index("participant")

    def numbers():
        return [float(text.replace(",", "")) for text in column(page, rate)]

    unsorted = numbers()
    heads[rate].find_element("tag name", "button").click()
    assert numbers() == sorted(unsorted) != unsorted
    assert heads[rate].get_attribute("aria-sort") == "ascending"
    heads[rate].find_element("tag name", "button").click()
    assert numbers() == sorted(unsorted, reverse=True)
    heads[who].find_element("tag name", "button").click()
    assert column(page, who) == sorted(column(page, who))
    assert heads[rate].get_attribute("aria-sort") is None
    assert page.get_log("browser") == []


def test_it_is_readable_at_the_width_of_a_phone(page):
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    )
    try:
        assert page.execute_script("return window.innerWidth") == 390
        assert page.execute_script("return document.documentElement.scrollWidth") <= 390
        beyond = page.execute_script(
            "return Array.from(document.querySelectorAll('h1, h2, h3, p, pre, dl, figure, figcaption, figure text'))"
            ".filter(e => e.getBoundingClientRect().right > 390.5).map(e => e.textContent)"
        )
        assert beyond == []
        heights = (
            "return Array.from(document.querySelectorAll('figure svg text'), t => t.getBoundingClientRect().height)"
        )
        assert min(page.execute_script(heights)) >= 6
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
