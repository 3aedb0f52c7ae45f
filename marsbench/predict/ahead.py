"""Loading by threads, ahead of the work on what is loaded."""

import threading
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
    futures: list[Future[R]] = [Future() for _ in items]
    weights = [0] * len(items)
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
        try:
            result = load(items[i])
        except BaseException as error:  # the caller's
            futures[i].set_exception(error)
            return
        with room:
            weights[i] = weigh(result)
            held += weights[i]
        futures[i].set_result(result)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(min(threads, len(items)))]
    for worker in workers:
        worker.start()
    try:
        for i in range(len(futures)):
            futures[i].exception()  # waits
            with room:
                taken, held = taken + 1, held - weights[i]
                room.notify_all()
            future, futures[i] = futures[i], Future()  # frees the result with the caller
            yield future
    finally:
        with room:
            is_closed = True
            room.notify_all()
        for worker in workers:
            worker.join()
