"""Loading by threads, ahead of the work on what is loaded."""

import threading
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

HEAVIEST = 1 << 26
"""Weight of loaded items above which no further item is loaded, in pixels."""


def ahead(
    items: Sequence[T],
    load: Callable[[T], R],
    *,
    most: int,
    threads: int = 1,
    weigh: Callable[[R], int] = lambda _: 0,
) -> Generator[Future[R]]:
    """Load items in threads while the caller works on earlier items.

    Args:
        items: The items.
        load: Loads an item, in any of the threads.
        most: Largest number of items loaded ahead.
        threads: Number of threads.
        weigh: Weight of a loaded item; at `HEAVIEST` in sum the threads pause.

    Yields:
        The results in the order of the items, each with its item's error if it failed. Closing the
        iterator ends the threads after their current items.
    """
    # Of the items begun and not yet taken: a list for all would need 1 KB for each.
    futures: defaultdict[int, Future[R]] = defaultdict(Future)
    weights: defaultdict[int, int] = defaultdict(int)
    room = threading.Condition()
    # Items are begun in order, so the threads never pause for later items than the caller's.
    begun = taken = held = 0
    is_closed = False

    def may_begin() -> bool:
        return is_closed or begun == len(items) or (begun - taken < most and held < HEAVIEST)

    def work() -> None:
        nonlocal begun
        while True:
            with room:
                room.wait_for(may_begin)
                if is_closed or begun == len(items):
                    return
                i, begun = begun, begun + 1
            work_on(i)

    def work_on(i: int) -> None:
        nonlocal held
        with room:
            future = futures[i]
        try:
            result = load(items[i])
        except BaseException as error:  # the caller's
            future.set_exception(error)
            return
        with room:
            weights[i] = weigh(result)
            held += weights[i]
        future.set_result(result)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(min(threads, len(items)))]
    for worker in workers:
        worker.start()
    try:
        for i in range(len(items)):
            with room:
                future = futures[i]
            future.exception()  # waits
            with room:
                del futures[i]
                taken, held = taken + 1, held - weights.pop(i, 0)
                room.notify_all()
            yield future
    finally:
        with room:
            is_closed = True
            room.notify_all()
        for worker in workers:
            worker.join()
