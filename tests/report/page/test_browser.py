"""The page of a report in a real browser, without a network."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from marsbench.report.build import write_report
from tests.browser import Browser, find_chromium
from tests.report.fake_store import everything, make_store

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    store = make_store(folder / "runs", everything(seeds=(0, 1, 10)))
    other = make_store(folder / "others", everything(seeds=(0, 1))[:40])
    parts = ("tables", "violins", "curves", "imbalance", "paper")
    built = write_report(store.root, folder / "out", only=parts, reference=True, compare=other.root)
    # Alone, to show that the page needs nothing beside it.
    lone = folder / "lone.html"
    lone.write_bytes(built.index.read_bytes())
    return lone


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with Browser(chromium, tmp_path / "profile") as running:
        yield running


COLUMN = """Array.from(document.querySelectorAll('#scores tbody tr')).filter((row) => !row.hidden)
    .map((row) => row.cells[%d].dataset.v ?? row.cells[%d].textContent)"""


def column(browser: Browser, number: int) -> list[str]:
    values = browser.evaluate(COLUMN % (number, number))
    return [str(value) for value in values]


def test_everything_is_in_the_file(browser: Browser, index: Path) -> None:
    browser.open(index, 1400)
    drawn = browser.evaluate(
        "Array.from(document.querySelectorAll('figure svg')).map((s) => s.getBBox().width)"
    )
    assert len(drawn) > 10
    assert all(drawn)
    faces = "Array.from(document.fonts).map((face) => [face.family, face.status])"
    assert ["Report sans", "loaded"] in browser.evaluate(faces)
    assert browser.messages == []
    outside = [url for url in browser.requests if not url.startswith(("data:", "file:"))]
    assert outside == []
    assert [url for url in browser.requests if url.startswith("file:")] == [index.as_uri()]
    # Not even a script that somebody smuggles in could ask the network.
    browser.evaluate("fetch('https://example.org/').catch(() => null)")
    assert any("Content Security Policy" in message for message in browser.messages)


def test_sorting_by_mouse_and_keyboard(browser: Browser, index: Path) -> None:
    browser.open(index, 1400)
    header = "#scores th:nth-child(3)"
    state = f"document.querySelector('{header}').getAttribute('aria-sort')"
    browser.click(f"{header} button")
    assert browser.evaluate(state) == "descending"
    numbers = [float(value) for value in column(browser, 2)]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) > 10
    browser.evaluate(f"document.querySelector('{header} button').focus()")
    browser.press("Enter", 13, "\r")
    assert browser.evaluate(state) == "ascending"
    assert [float(value) for value in column(browser, 2)] == sorted(numbers)
    browser.press("Tab", 9)
    browser.press(" ", 32, " ")
    assert browser.evaluate(state) == "none"
    assert browser.evaluate("document.querySelectorAll('#scores th[aria-sort=none]').length") == 10
    browser.click("#scores th:nth-child(2) button")
    names = column(browser, 1)
    assert names == sorted(names, key=str.lower)
    assert browser.messages == []


def test_filters(browser: Browser, index: Path) -> None:
    browser.open(index, 1400)
    every = len(column(browser, 0))
    browser.evaluate(
        "(() => { const f = document.forms[0]; f.elements.mode.value = 'finetune';"
        "f.dispatchEvent(new Event('input')); })()"
    )
    modes = column(browser, 6)
    assert set(modes) == {"fine-tuned"}
    assert 0 < len(modes) < every
    assert browser.evaluate("document.getElementById('shown').textContent") == (
        f"{len(modes)} of {every} rows"
    )
    figures = "Array.from(document.querySelectorAll('figure'))"
    shown = browser.evaluate(f"{figures}.filter((f) => !f.hidden).map((f) => f.dataset.mode)")
    assert set(shown) == {"finetune"}
    parts = "Array.from(document.querySelectorAll('#tables .grouped'))"
    titles = browser.evaluate(
        f"{parts}.filter((t) => !t.hidden).map((t) => t.querySelector('summary').textContent)"
    )
    assert titles
    assert all("ine-tuned" in title for title in titles)
    browser.evaluate("document.querySelector('#filters input').focus()")
    for letter in "frost":
        browser.press(letter, ord(letter.upper()), letter)
    assert set(column(browser, 0)) == {"frost_cls"}
    browser.click("#filters button")
    assert len(column(browser, 0)) == every
    assert browser.messages == []


def test_the_paper_beside_the_report(browser: Browser, index: Path) -> None:
    browser.open(index, 1400)
    shown = (
        "Array.from(document.querySelectorAll('figure[id^=paper-]'))"
        ".filter((f) => f.offsetParent).map((f) => f.id)"
    )
    classification = "classification-frozen-cached"
    assert set(browser.evaluate(shown)) >= {
        f"paper-violins-{classification}-full",
        f"paper-curves-partition-{classification}",
        f"paper-curves-few-shot-{classification}",
        "paper-violins-segmentation-frozen-online-full",
    }
    # Sorting by the difference puts rows without a number last.
    table = "document.querySelector('#beside table')"
    browser.click("#beside th:nth-child(7) button")
    values = browser.evaluate(
        f"Array.from({table}.tBodies[0].rows).map((row) => row.cells[6].dataset.v)"
    )
    numbers = [float(value) for value in values if value]
    assert len(numbers) > 3
    assert numbers == sorted(numbers, reverse=True)
    assert all(not value for value in values[len(numbers) :])
    browser.evaluate(
        "(() => { const f = document.forms[0]; f.elements.mode.value = 'finetune';"
        "f.dispatchEvent(new Event('input')); })()"
    )
    assert browser.evaluate(shown) == []
    assert browser.messages == []


def test_a_number_leads_to_its_runs(browser: Browser, index: Path) -> None:
    browser.open(index, 1400)
    broken = browser.evaluate(
        "Array.from(document.querySelectorAll('a[href^=\"#\"]')).map((a) => a.hash.slice(1))"
        ".filter((id) => !document.getElementById(decodeURIComponent(id)))"
    )
    assert broken == []
    links = browser.evaluate("document.querySelectorAll('#tables td a, #beside td a').length")
    assert links > 20
    # A number over tasks leads to the model's row, and that to the runs on each task, though a
    # filter hides them.
    first = "document.querySelector('#overall td a')"
    browser.evaluate(
        "(() => { const f = document.forms[0]; f.elements.mode.value = 'scratch';"
        f"f.dispatchEvent(new Event('input')); location.hash = {first}.hash; }})()"
    )
    row = "document.querySelector('#coverage details[open] tr:target')"
    assert after_a_moment(browser, f"Array.from({row}.cells).map((c) => c.textContent)") == [
        "ViT-L/16", "3/3", "3/3", "3/3",
    ]  # fmt: skip
    browser.evaluate(f"location.hash = {row}.querySelectorAll('a')[1].hash")
    found = after_a_moment(browser, OPENED)
    assert len(found) == 3
    assert all(run.startswith("frost_cls/vit_l_16/frozen/full/") for run in found)
    # What stands in the other store has its runs too.
    browser.evaluate(
        "location.hash = document.querySelector('#beside td a[href^=\"#there-\"]').hash"
    )
    assert len(after_a_moment(browser, OPENED)) in (1, 2)
    assert browser.messages == []


OPENED = """Array.from(document.querySelectorAll('tr:target details[open] li code'))
    .map((c) => c.textContent)"""


def after_a_moment(browser: Browser, expression: str) -> list[str]:
    """Evaluate once the page has followed a link to itself."""
    found: list[str] = browser.evaluate(
        f"new Promise((done) => setTimeout(() => done({expression}), 200))"
    )
    return found


def test_an_address_that_leads_nowhere(browser: Browser, index: Path) -> None:
    browser.open(index, 1000)
    browser.evaluate("location.hash = '#%E0%A4%A'")
    assert after_a_moment(browser, "[location.hash]") == ["#%E0%A4%A"]
    assert browser.messages == []


def test_p_values_are_sorted_as_numbers(browser: Browser, index: Path) -> None:
    browser.open(index, 1400)
    browser.evaluate(
        "(() => { const t = Array.from(document.querySelectorAll('#tables table')).find((t) =>"
        "t.rows[0].textContent.includes('Holm') && t.tBodies[0].rows[0].cells[5].dataset.v);"
        "t.id = 'pairs'; t.closest('details').open = true; })()"
    )
    browser.click("#pairs th:nth-child(6) button")
    values = "Array.from(document.querySelectorAll('#pairs tbody tr')).map((r) => r.cells[5])"
    found = browser.evaluate(f"{values}.map((c) => c.dataset.v).filter((v) => v !== '')")
    assert [float(value) for value in found] == sorted(map(float, found), reverse=True)
    assert "num" in browser.evaluate(f"{values}[0].className")


CUT = """Array.from(document.querySelectorAll('.scroll')).filter((e) => e.offsetParent)
    .filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.getAttribute('aria-label'))"""


def test_no_column_is_cut_at_1300_pixels(browser: Browser, index: Path) -> None:
    browser.open(index, 1300)
    browser.evaluate(
        "document.querySelectorAll('details').forEach((d) => { d.open = !d.closest('td'); })"
    )
    assert browser.evaluate("document.querySelectorAll('.scroll').length") > 30
    assert browser.evaluate(CUT) == []


def test_scores_are_seen_on_a_phone(browser: Browser, index: Path) -> None:
    browser.open(index, 390, mobile=True)
    ends = """Array.from(document.querySelectorAll('#answer table, #scores')).map((t) =>
        t.tBodies[0].rows[0].querySelector('td.num:not([data-v=""])').getBoundingClientRect().right)"""
    shown = browser.evaluate(ends)
    assert len(shown) > 10
    assert max(shown) <= 390


def test_the_answer_comes_first(browser: Browser, index: Path) -> None:
    browser.open(index, 1300)
    ids = browser.evaluate(
        "Array.from(document.querySelectorAll('main > section')).map((s) => s.id)"
    )
    assert ids[:3] == ["answer", "modes", "overall"]
    first = "document.querySelector('#answer .grouped')"
    assert browser.evaluate(f"{first}.querySelector('h3').textContent") == (
        "Frozen classification models, full training split"
    )
    assert browser.evaluate(f"{first}.querySelector('tbody td').textContent") == "ViT-L/16"
    assert browser.evaluate(f"{first}.querySelector('figure').id").startswith("violins-")


def test_the_page_on_paper(browser: Browser, index: Path) -> None:
    browser.open(index, 1300)
    # As wide as A4 without its margins.
    size = {"width": 710, "height": 1035, "deviceScaleFactor": 1, "mobile": False}
    browser.call("Emulation.setDeviceMetricsOverride", **size)
    browser.call("Emulation.setEmulatedMedia", media="print")
    browser.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert (
        browser.evaluate("document.querySelectorAll('main > * > details:not([open])').length") == 0
    )
    wide = """Array.from(document.querySelectorAll('table, figure svg'))
        .filter((e) => e.getBoundingClientRect().right > 711)
        .map((e) => e.closest('[aria-label]').getAttribute('aria-label'))"""
    assert browser.evaluate(wide) == []
    inches = "Array.from(document.querySelectorAll('figure svg')).map((s) => s.clientWidth / 96)"
    assert {round(width, 1) for width in browser.evaluate(inches)} == {3.4, 7.0}
    browser.evaluate("dispatchEvent(new Event('afterprint'))")
    assert browser.evaluate("document.querySelectorAll('#tables > details[open]').length") == 0


@pytest.mark.parametrize("width", [1400, 768, 390, 320])
def test_nothing_sticks_out(browser: Browser, index: Path, width: int, tmp_path: Path) -> None:
    browser.open(index, width, mobile=width < 800)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("window.innerWidth") == width
    browser.screenshot(tmp_path / f"page-{width}.png", whole=True)
    assert (tmp_path / f"page-{width}.png").stat().st_size > 10_000


def test_names_that_mean_something_in_html(browser: Browser, tmp_path: Path) -> None:
    import dataclasses

    strange = "<img src=x onerror=alert(1)>&\"'"
    records = [dataclasses.replace(record, device=strange) for record in everything(seeds=(0, 1))]
    store = make_store(tmp_path / "runs", records[:8])
    built = write_report(store.root, tmp_path / "out", only=("tables",))
    browser.open(built.index, 1000)
    assert browser.evaluate("document.images.length") == 0
    assert strange in browser.evaluate("document.querySelector('#environment dl').textContent")
    assert browser.messages == []
