"""Seconds until the board of a thousand submissions is read, shown and filtered.

    PYTHONPATH=. python benchmarks/leaderboard.py [--count 1000] [--rounds 15]

Generates a results repository, serves it with ``marsbench leaderboard serve`` and opens it in a
headless Chromium. Times reading the repository; the estimates of all entries, once and from their
file; the first page, from its request until the table is on the screen; and filters and searches,
from the event until the table has changed. Prints medians and the slowest. Without Chromium the
times of the server alone are measured.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.browser import Browser, find_chromium
from tests.leaderboard.app.test_export import fetched, free_port
from tests.leaderboard.fakes import many

TABLE = "#table-overall"
READY = f"!!document.querySelector('{TABLE} [role=gridcell]')"


def timed(call: Callable[[], object]) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def show(title: str, seconds: list[float]) -> None:
    """Print the median and the slowest of some times."""
    print(f"{title:<44} {statistics.median(seconds):6.3f} s, slowest {max(seconds):6.3f} s")


def board(results: Path, rounds: int) -> None:
    """Time reading and ranking in this process."""
    from marsbench.leaderboard.app.views import Views
    from marsbench.leaderboard.board.live import Live

    live: list[Live] = []
    show("read the repository", [timed(lambda: live.append(Live(results=str(results))))])
    views = Views(live[0])
    values: tuple[Any, ...] = ("headline metric", "", [], [], "full", [], [], "any")
    prepare = [timed(partial(live[0].estimates.prepare, e)) for e in live[0].board.entries]
    print(f"all estimates of all entries, once: {sum(prepare):.1f} s")
    show("all estimates of an entry", prepare)
    live[0].estimates.keep()
    show("read the repository, from its index", [timed(lambda: Live(results=str(results)))])
    for title, call in (
        ("rank and table: overall", lambda: views.overall(values, "classification")),
        ("rank and table: by kind", lambda: views.kind(values, "binary classification")),
        (
            "rank and table: landforms",
            lambda: views.capability(values, "classification", "landform"),
        ),
        ("rank, table and figure: efficiency", lambda: views.efficiency(values, "classification")),
    ):
        show(title, [timed(lambda call=call: call().table.value) for _ in range(rounds)])  # type: ignore[misc]


def page(address: str, browser: Browser) -> float:
    """Seconds from the request of the page until its table is on the screen."""
    start = time.perf_counter()
    browser.open("about:blank", 1400)
    start = time.perf_counter()
    browser.open(address, 1400)
    while not browser.evaluate(READY):
        time.sleep(0.01)
    return time.perf_counter() - start


CHANGED = f"""(async () => {{
  const table = document.querySelector('{TABLE}');
  const models = () => Array.from(
    table.querySelectorAll("[role=gridcell][data-col='1']")).map((cell) => cell.textContent).join();
  const before = models(), start = performance.now();
  %s;
  while (models() === before || models() === '') await new Promise(requestAnimationFrame);
  return (performance.now() - start) / 1000;
}})()"""
"""Seconds from an event until the table has other models."""

SEARCH = """const field = document.querySelector('[placeholder^=model]');
  field.value = %s; field.dispatchEvent(new Event('input', {bubbles: true}))"""

TICK = """Array.from(document.querySelectorAll('label')).find(
  (l) => l.textContent.trim() === %s).click()"""


def filters(browser: Browser, rounds: int) -> None:
    """Time searches and the filter of modes."""
    searches, ticks = [], []
    for number in range(rounds):
        searches.append(browser.evaluate(CHANGED % (SEARCH % f"'model-0{number % 10}'")))
        searches.append(browser.evaluate(CHANGED % (SEARCH % "''")))
    browser.evaluate(
        "Array.from(document.querySelectorAll('button')).find("
        "(b) => b.textContent.trim().startsWith('Filters')).click()"
    )
    browser.until(
        "Array.from(document.querySelectorAll('label')).some("
        "(l) => l.textContent.trim() === 'scratch')"
    )
    ticks = [browser.evaluate(CHANGED % (TICK % "'scratch'")) for _ in range(2 * rounds)]
    show("search, until the table has changed", searches)
    show("filter of modes, until the table has changed", ticks)


def main() -> None:
    """Generate, serve and time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MARSBENCH_HOME"] = str(folder / "home")
        many(folder / "results", given.count)
        board(folder / "results", given.rounds)
        port = free_port()
        command = ["-m", "marsbench", "leaderboard", "serve", "--port", str(port)]
        process = subprocess.Popen([sys.executable, *command, "--results", str(folder / "results")])
        address = f"http://127.0.0.1:{port}/"
        try:
            fetched(address, process)
            show(
                "page without a browser",
                [timed(lambda: fetched(address, process)) for _ in range(5)],
            )
            if chromium := find_chromium():
                with Browser(chromium, folder / "profile", is_online=True) as browser:
                    first = page(address, browser)
                    again = [page(address, browser) for _ in range(5)]
                    print(f"{'first page, empty browser cache':<44} {first:6.3f} s")
                    show("first page, again", again)
                    filters(browser, given.rounds)
        finally:
            process.terminate()
            process.wait(timeout=60)


if __name__ == "__main__":
    main()
