import threading
import time
import tracemalloc
from concurrent.futures import Future
from contextlib import closing

import pytest

from marsbench.predict import ahead as module
from marsbench.predict.ahead import ahead


def wait_until_idle(begun: list[int]) -> None:
    """Wait until the threads begin no further item."""
    count = -1
    while count != len(begun):
        count = len(begun)
        time.sleep(0.05)


@pytest.mark.parametrize("threads", [1, 4])
def test_results_come_in_order_at_most_so_many_ahead(threads: int) -> None:
    begun: list[int] = []

    def load(item: int) -> int:
        begun.append(item)
        time.sleep(0.003 * (item % 3))
        return item

    loads = ahead(range(20), load, most=5, threads=threads)
    with closing(loads):
        for i, future in enumerate(loads):
            assert future.result() == i
            assert len(begun) <= i + 1 + 5
        assert sorted(begun) == list(range(20))


def test_items_are_loaded_while_the_caller_works() -> None:
    begun: list[int] = []
    loads = ahead(range(20), begun.append, most=5)
    with closing(loads):
        next(loads)
        wait_until_idle(begun)
        assert begun == list(range(6))


def test_heavy_items_are_not_held_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAVIEST", 10)
    begun: list[int] = []

    def load(item: int) -> int:
        begun.append(item)
        return item

    loads = ahead(range(9), load, most=9, threads=3, weigh=lambda item: 100 if item < 3 else 1)
    with closing(loads):
        futures: list[Future[int]] = [next(loads)]
        wait_until_idle(begun)
        # Threads may have begun before the first was weighed, and none begins after.
        assert len(begun) <= 1 + 3
        futures += loads
    assert [future.result() for future in futures] == list(range(9))


def test_an_error_belongs_to_its_item() -> None:
    def load(item: int) -> int:
        if item == 1:
            raise ValueError("one")
        return item

    futures = list(ahead(range(3), load, most=2))
    assert [futures[i].result() for i in (0, 2)] == [0, 2]
    with pytest.raises(ValueError, match="one"):
        futures[1].result()


def test_the_queue_of_many_items_is_small() -> None:
    items = range(200_000)
    tracemalloc.start()
    try:
        loads = ahead(items, float, most=3)
        assert [next(loads).result() for _ in range(4)] == [0, 1, 2, 3]
        loads.close()
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_closing_ends_the_threads() -> None:
    begun: list[int] = []
    before = threading.active_count()
    loads = ahead(range(100), begun.append, most=2, threads=2)
    next(loads)
    assert threading.active_count() > before
    loads.close()
    assert threading.active_count() == before
    assert len(begun) < 10
    assert list(ahead([], begun.append, most=2)) == []
