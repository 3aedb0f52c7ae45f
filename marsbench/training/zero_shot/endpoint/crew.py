"""Threads that share a list of items, end together, and finish what they have begun."""

import contextlib
import queue
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

from marsbench.base.progress import tell
from marsbench.training.zero_shot.endpoint.pace import StoppedError


def work_on(
    items: Sequence[int],
    work: Callable[[int], None],
    stop: threading.Event,
    *,
    threads: int,
    done: Callable[[int], None],
) -> None:
    """Work on items in several threads.

    The first error, Ctrl-C or SIGTERM ends the work: no thread takes a further item, and items
    begun are finished before it is raised. A second Ctrl-C does not wait for them.

    Args:
        items: The items.
        work: Works on an item, in a thread.
        stop: Set when the work ends early.
        threads: Number of threads.
        done: Called with the number of items done since the last call.
    """
    left, ended = deque(items), queue.SimpleQueue[bool]()
    errors: list[BaseException] = []

    def loop() -> None:
        try:
            while not stop.is_set():
                try:
                    item = left.popleft()
                except IndexError:
                    return
                work(item)
                ended.put(True)
        except StoppedError:
            pass
        except BaseException as error:
            errors.append(error)
            stop.set()
        finally:
            ended.put(False)

    # Daemons, so that a second Ctrl-C ends the process at once.
    crew = [threading.Thread(target=loop, daemon=True) for _ in range(min(threads, len(items)))]
    with _terminable():
        try:
            for thread in crew:
                thread.start()
            running = len(crew)
            while running:
                if ended.get():
                    done(1)
                else:
                    running -= 1
        except BaseException:
            stop.set()
            if any(thread.is_alive() for thread in crew):
                tell("Stopping: waiting for the answers in flight (Ctrl-C again gives them up).")
            for thread in crew:
                thread.join()
            raise
    if errors:
        raise errors[0]


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an exit of the main thread, unless a caller handles it already."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
