"""Turns: heads fitted at a time, distributed to cores."""

import resource
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from itertools import chain
from threading import Event

import torch

from marsbench.training.frozen.block import fit_block
from marsbench.training.frozen.heads import Head, LinearHead
from marsbench.training.frozen.samples import Samples


@dataclass(frozen=True)
class Limits:
    """Largest numbers of what a device fits at a time.

    Attributes:
        heads: Heads in a block, and in a turn.
        bytes: Size of a block, which bounds memory.
        folders: Runs whose folders are claimed; each is an open file.
    """

    heads: int
    bytes: int
    folders: int


LIMITS = {"cpu": Limits(heads=128, bytes=2**30, folders=192)}
"""Limits by type of device."""

WIDE = Limits(heads=1024, bytes=2**32, folders=1024)
"""Limits of a GPU, on which a step takes as long for a thousand heads as for one."""

_COPIES = 6
"""Numbers per weight: current, best, gradient and optimiser state."""

_SIDE_BY_SIDE = 4
"""Largest number of groups that a CPU core fits together."""


def limits_of(device: torch.device) -> Limits:
    """Limits of a device; at most half of the files that the process may open are claimed."""
    limits = LIMITS.get(device.type, WIDE)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return limits
    return replace(limits, folders=max(1, min(limits.folders, files // 2)))


class _Room:
    """Memory of heads on a device.

    Args:
        num_features: Features of a sample, F.
        num_outputs: Outputs of a head, K.
        device: The device.
    """

    def __init__(self, num_features: int, num_outputs: int, device: torch.device) -> None:
        self.limits = limits_of(device)
        self._per_head = _COPIES * 8 * (num_features + 1) * num_outputs
        self._per_sample = 8 * num_features
        self._is_wide = device.type != "cpu"

    def bytes(self, groups: Sequence[int], batch: int) -> int:
        """Bytes of a block whose groups have so many heads, with batches of so many samples."""
        if not self._is_wide:
            # A core steps through few groups at a time, whose batches and padding are small.
            return sum(groups) * self._per_head
        samples = len(groups) * batch * self._per_sample
        return len(groups) * max(groups) * self._per_head + samples

    def has(self, groups: Sequence[int], batch: int) -> bool:
        """Whether the groups fit into a block."""
        is_narrow = sum(groups) <= self.limits.heads
        return is_narrow and self.bytes(groups, batch) <= self.limits.bytes

    def most(self, batch: int) -> int:
        """Largest number of heads of a group in a block, at least 1."""
        rest = self.limits.bytes - self.bytes([1], batch)
        return max(1, min(self.limits.heads, 1 + rest // self._per_head))


def _batch(head: Head) -> int:
    """Samples of a step."""
    return min(head.batch_size, len(head.draws))


def blocks_of(
    heads: Sequence[Head], num_features: int, num_outputs: int, device: torch.device
) -> list[list[int]]:
    """Divide heads into blocks by memory; groups stay together.

    Returns:
        Indices of the heads of each block. Blocks with few draws, which finish first, come first.
    """
    room = _Room(num_features, num_outputs, device)
    together: dict[Hashable, dict[Hashable, list[int]]] = {}
    for i, head in enumerate(heads):
        together.setdefault(head.block, {}).setdefault(head.group, []).append(i)
    blocks: list[list[int]] = []
    for groups in together.values():
        batch = _batch(heads[next(iter(groups.values()))[0]])
        most = room.most(batch)
        current: list[list[int]] = []
        for group in groups.values():
            for start in range(0, len(group), most):
                part = group[start : start + most]
                if current and not room.has([*map(len, current), len(part)], batch):
                    blocks.append(list(chain(*current)))
                    current = []
                current.append(part)
        blocks.append(list(chain(*current)))
    return sorted(blocks, key=lambda block: len(heads[block[0]].draws))


def memory_of(
    heads: Sequence[Head], num_features: int, num_outputs: int, device: torch.device
) -> int:
    """Bytes of the largest block of heads."""
    room, largest = _Room(num_features, num_outputs, device), 0
    for block in blocks_of(heads, num_features, num_outputs, device):
        groups = Counter(heads[i].group for i in block)
        largest = max(largest, room.bytes(list(groups.values()), _batch(heads[block[0]])))
    return largest


def turns_of(
    heads: Sequence[Head], num_features: int, num_outputs: int, device: torch.device
) -> list[list[int]]:
    """Divide heads into turns.

    On a GPU a turn is a block. On a CPU it is as many blocks as fit into memory, because a single
    block seldom keeps all cores busy.

    Returns:
        Indices of the heads of each turn; the heads of a turn have the same optimiser.
    """
    blocks = blocks_of(heads, num_features, num_outputs, device)
    if device.type != "cpu":
        return blocks
    room = _Room(num_features, num_outputs, device)
    turns: list[list[int]] = []
    for block in blocks:
        is_alike = turns and heads[turns[-1][0]].optimizer == heads[block[0]].optimizer
        if is_alike and room.has([len(turns[-1]), len(block)], _batch(heads[block[0]])):
            turns[-1] = turns[-1] + block
        else:
            turns.append(block)
    return turns


def fit_heads(
    heads: Sequence[Head],
    samples: dict[str, Samples],
    *,
    dtype: torch.dtype = torch.float32,
    advance: Callable[[int], None] = lambda _: None,
) -> list[LinearHead]:
    """Fit the heads of a turn.

    A GPU fits all groups of a block together. On a CPU each core fits some groups: the products
    are too small for several cores, and the weights and optimiser state of a few groups stay in
    the core's cache.

    Args:
        heads: Heads of any blocks.
        samples: Their splits by name, including ``train``.
        dtype: Type of the weights.
        advance: Called with the number of newly fitted heads.

    Returns:
        The fitted heads in the order of `heads`; their seconds add up to the duration.
    """
    blocks: dict[Hashable, dict[Hashable, list[int]]] = {}
    for i, head in enumerate(heads):
        blocks.setdefault(head.block, {}).setdefault(head.group, []).append(i)
    on_cpu = samples["train"].labels.device.type == "cpu"
    threads = torch.get_num_threads() if on_cpu else 1
    tasks = [task for groups in blocks.values() for task in _shared_out(groups, threads, on_cpu)]
    started = time.perf_counter()
    if threads == 1 or len(tasks) == 1:
        fitted_tasks = []
        for task in tasks:
            fitted_tasks.append(fit_block([heads[i] for i in task], samples, dtype=dtype))
            advance(len(task))
    else:
        fitted_tasks = _fit_beside(tasks, heads, samples, dtype, threads, advance)
    seconds = time.perf_counter() - started
    spent = sum(head.seconds for fitted in fitted_tasks for head in fitted)
    by_place = {
        i: replace(head, seconds=head.seconds * seconds / spent)
        for task, fitted in zip(tasks, fitted_tasks, strict=True)
        for i, head in zip(task, fitted, strict=True)
    }
    return [by_place[i] for i in range(len(heads))]


def _shared_out(groups: dict[Hashable, list[int]], threads: int, on_cpu: bool) -> list[list[int]]:
    """Divide the groups of a block into lists of heads, each for a single core."""
    every = list(groups.values())
    some = min(_SIDE_BY_SIDE, -(-len(every) // threads)) if on_cpu else len(every)
    return [[i for group in every[n : n + some] for i in group] for n in range(0, len(every), some)]


def _fit_beside(
    tasks: list[list[int]],
    heads: Sequence[Head],
    samples: dict[str, Samples],
    dtype: torch.dtype,
    threads: int,
    advance: Callable[[int], None],
) -> list[list[LinearHead]]:
    """Fit tasks on all cores, longest first."""
    stop = Event()
    fitted: dict[int, list[LinearHead]] = {}
    order = sorted(
        range(len(tasks)), key=lambda n: len(heads[tasks[n][0]].draws) * len(tasks[n]), reverse=True
    )
    pool = ThreadPoolExecutor(
        min(threads, len(tasks)), initializer=torch.set_num_threads, initargs=(1,)
    )
    try:
        futures = {
            pool.submit(fit_block, [heads[i] for i in tasks[n]], samples, dtype=dtype, stop=stop): n
            for n in order
        }
        for future in as_completed(futures):
            fitted[futures[future]] = future.result()
            advance(len(tasks[futures[future]]))
    finally:
        # After an interruption, only the current epochs are finished.
        stop.set()
        pool.shutdown(cancel_futures=True)
        # Otherwise later threads would inherit the number of the pool's threads.
        torch.set_num_threads(threads)
    return [fitted[n] for n in range(len(tasks))]
