"""The app in a headless Chromium: no errors, no request to other machines, and its pages."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from marsbench.leaderboard.board.results import check_file
from marsbench.leaderboard.board.tasksets import categories
from marsbench.leaderboard.schema import Author
from tests.browser import Browser, find_chromium
from tests.leaderboard.app.test_content import HOSTILE
from tests.leaderboard.app.test_export import fetched, free_port
from tests.leaderboard.fabricated import submit
from tests.leaderboard.fakes import many, put, some_scores

pytestmark = pytest.mark.browser

TABLE = "#table-overall"
READY = f"!!document.querySelector('{TABLE} [role=gridcell]')"
TABS = ("Overall", "By kind", "Capabilities", "Efficiency", "Compare", "Model", "Submit", "About")


UPLOADED = "['Method not implemented.']"
"""Warning of Gradio's own client when it closes the progress of an upload."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A served board of the paper's runs, 40 submissions and a hostile one."""
    folder = tmp_path_factory.mktemp("board")
    results = folder / "results"
    many(results, 40, seeds=(0, 1, 10))
    plain = some_scores(np.random.default_rng(0), categories()["classification"].tasks)
    best = {key: dict.fromkeys(metrics, 0.98) for key, metrics in plain.items()}
    put(results, "hostile", best, note=HOSTILE, author=Author(name=HOSTILE))
    content = json.loads(check_file(results, "hostile").read_text())
    content["submission"]["model"]["name"] = HOSTILE
    check_file(results, "hostile").write_text(json.dumps(content))
    port = free_port()
    command = ["-m", "marsbench", "leaderboard", "serve", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, *command, "--results", str(results)],
        env={**os.environ, "MARSBENCH_HOME": str(folder / "home")},
        stderr=subprocess.DEVNULL,
    )
    try:
        fetched(f"http://127.0.0.1:{port}/", process)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(timeout=60)


@pytest.fixture
def browser(tmp_path: Path, address: str) -> Iterator[Browser]:
    """A browser that saw no error and asked no other machine."""
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with Browser(chromium, tmp_path / "profile", is_online=True) as running:
        yield running
        assert [message for message in running.messages if message != UPLOADED] == []
        own = (address, address.replace("http", "ws", 1), "data:", "blob:", "about:")
        assert [url for url in running.requests if not url.startswith(own)] == []


def opened(browser: Browser, address: str, width: int = 1400, mobile: bool = False) -> None:
    browser.open(address, width, 1000, mobile)
    browser.until(READY)


def listed(selector: str) -> str:
    """Expression of the visible elements of a selector."""
    return f"Array.from(document.querySelectorAll({json.dumps(selector)}))"


def column(number: int, table: str = TABLE) -> str:
    """Expression of the texts of a column."""
    cells = listed(f"{table} [role=gridcell][data-col='{number}']")
    return f"{cells}.map((cell) => cell.textContent.trim())"


def press(browser: Browser, selector: str, start: str) -> None:
    """Press the first visible element whose text starts so."""
    found = f"{listed(selector)}.find((e) => e.offsetParent && e.textContent.trim().startsWith("
    found += f"{json.dumps(start)}))"
    browser.until(f"!!{found}")
    browser.evaluate(f"{found}.click()")


def select_tab(browser: Browser, title: str) -> None:
    """Select a tab, which a narrow window shows in a menu."""
    tabs = f"{listed('[role=tab]')}.filter((tab) => tab.offsetParent)"
    known = f"{tabs}.find((tab) => tab.textContent.trim() == {json.dumps(title)})"
    if not browser.evaluate(f"!!{known}"):
        browser.evaluate("document.querySelector('.overflow-menu > button').click()")
        entries = listed(".overflow-dropdown button")
        known = f"{entries}.find((tab) => tab.textContent.trim() == {json.dumps(title)})"
        browser.until(f"!!{known}")
    browser.evaluate(f"{known}.click()")


def sort(browser: Browser, number: int, order: str) -> None:
    """Sort a column by its menu."""
    browser.click(f"{TABLE} th[data-heading='{number}'] .cell-menu-button")
    press(browser, "[role=menuitem]", f"Sort {order}")


def search(browser: Browser, text: str) -> None:
    browser.evaluate("document.querySelector('[placeholder^=model]').focus()")
    browser.write(text)


def test_the_first_page(browser: Browser, address: str) -> None:
    opened(browser, address)
    text = browser.evaluate("document.body.innerText")
    assert "Mars-Bench leaderboard" in text
    assert "53 entries" in text
    assert "Version of the ranges: reference 1." in text
    assert browser.evaluate(column(0))[:4] == ["1", "2", "3", "4"]
    # The best entry has a name that is markup; it is text here, and no element.
    assert browser.evaluate(column(1))[0].startswith("<img src=x onerror=")
    assert browser.evaluate("document.images.length") == 0
    press(browser, "button", "How to submit")
    browser.until("document.body.innerText.includes('marsbench submit --check submission')")


def test_the_papers_order(browser: Browser, address: str) -> None:
    opened(browser, address)
    press(browser, "label", "Paper")
    press(browser, "label", "Segmentation")
    search(browser, "purohit")
    browser.until(f"{column(1)}.length == 4")
    assert browser.evaluate(column(1)) == ["unet", "dpt", "segformer", "deeplabv3plus"]
    assert browser.evaluate(column(2)) == ["0.824", "0.646", "0.401", "0.299"]


def test_sorting(browser: Browser, address: str) -> None:
    opened(browser, address)
    first = browser.evaluate(column(0))
    sort(browser, 2, "ascending")
    browser.until(f"{column(0)}[0] != '{first[0]}'")
    numbers = [float(text) for text in browser.evaluate(column(2)) if text != "\N{EN DASH}"]
    assert numbers == sorted(numbers)
    # A click on a name of the sorted table opens the page of that entry.
    row, name = browser.evaluate(
        f"(() => {{ const cell = document.querySelector(\"{TABLE} [role=gridcell][data-col='1']\");"
        "return [cell.dataset.row, cell.textContent.trim()]; })()"
    )
    browser.click(f"{TABLE} [role=gridcell][data-col='1'][data-row='{row}']")
    browser.until("!!document.querySelector('#model h2')")
    assert browser.evaluate("document.querySelector('#model h2').textContent") == name


def test_filters(browser: Browser, address: str) -> None:
    opened(browser, address)
    before = len(browser.evaluate(column(1)))
    press(browser, "button", "Filters")
    press(browser, "label", "scratch")
    browser.until(f"{column(1)}.length < {before}")
    heads = f"{listed(TABLE + ' th')}.map((head) => head.title)"
    assert set(browser.evaluate(column(browser.evaluate(heads).index("Mode")))) == {"scratch"}
    press(browser, "label", "scratch")
    browser.until(f"{column(1)}.length == {before}")
    search(browser, "model-0011")
    browser.until(f"{column(1)}.length == 1")
    assert browser.evaluate(column(1)) == ["model-0011"]


def test_the_other_tables(browser: Browser, address: str) -> None:
    opened(browser, address)
    for title, table, header in (
        ("By kind", "#table-kind", "frost_cls"),
        ("Capabilities", "#table-capability", "impact craters (2)"),
        ("Efficiency", "#table-efficiency", "Parameters"),
    ):
        select_tab(browser, title)
        heads = f"{listed(table + ' th')}.map((head) => head.title)"
        browser.until(f"{heads}.includes('{header}')")
    browser.until("document.querySelectorAll('.scatter circle').length > 10")


def test_a_model_page(browser: Browser, address: str) -> None:
    opened(browser, f"{address}?entry=submission%2Fmodel-0000")
    browser.until("!!document.querySelector('#model h2')")
    text = browser.evaluate("document.querySelector('#model').innerText")
    assert "model-0000" in text
    assert "scores consistent with predictions" in text
    assert "ImageNet-1k" in text
    loaded = "Array.from(document.images).map((i) => i.complete && i.naturalWidth > 300)"
    browser.until(f"document.images.length > 0 && {loaded}.every(Boolean)")
    press(browser, "label", "Paper")
    browser.until("document.querySelector('#model').innerText.includes('F1 of class 1')")


def test_two_models(browser: Browser, address: str) -> None:
    opened(browser, address)
    select_tab(browser, "Compare")
    for field, name in (("first", "model-0000"), ("second", "model-0001")):
        browser.until(f"!!document.querySelector('#{field} input')?.offsetParent")
        browser.click(f"#{field} input")
        browser.until(f"document.querySelector('#{field} input').ariaExpanded == 'true'")
        browser.write(name[:-1])
        browser.press(name[-1], ord(name[-1]), name[-1])  # a key filters the list
        browser.until(f"{listed('[role=option]')}.length == 1")
        browser.press("Enter", 13, "\r")
        browser.until(f"{listed('[role=option]')}.length == 0")
    browser.until("!!document.querySelector('#pair .result')")
    text = browser.evaluate("document.querySelector('#pair').innerText")
    assert "Probability of improvement" in text
    assert "9 shared tasks" in text


def test_a_good_and_a_bad_upload(browser: Browser, address: str, tmp_path: Path) -> None:
    folder = submit(tmp_path / "data", tmp_path / "submission")
    good = shutil.make_archive(str(tmp_path / "good"), "zip", folder)
    (tmp_path / "bad.zip").write_bytes(b"no archive")
    opened(browser, address)
    select_tab(browser, "Submit")
    for file, verdict in (
        (Path(good), "good.zip is valid: 7 runs"),
        (tmp_path / "bad.zip", "bad.zip is not valid"),
    ):
        browser.until("!!document.querySelector('#archive input[type=file]')")
        browser.choose_file("#archive input[type=file]", file)
        browser.until(f"document.querySelector('#check').innerText.includes('{verdict}')")
        # The archive is gone, and so is its link.
        browser.until("!document.querySelector('#archive a[href]')")


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("title", TABS)
def test_nothing_sticks_out(
    browser: Browser, address: str, width: int, title: str, tmp_path: Path
) -> None:
    opened(browser, address, width, mobile=width < 800)
    select_tab(browser, title)
    selected = f"{listed('[role=tab][aria-selected=true]')}.map((tab) => tab.textContent.trim())"
    browser.until(f"{selected}.includes('{title}')")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    folder = Path(os.environ.get("MARSBENCH_SCREENSHOTS", tmp_path))
    picture = folder / f"{title.replace(' ', '-')}-{width}.png"
    browser.screenshot(picture, whole=True)
    assert picture.stat().st_size > 10_000
