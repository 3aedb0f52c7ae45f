"""Which heads are fitted at one go, and on which core."""

import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from threading import Event

import torch

from marsbench.training.frozen.heads import FittedHead, Head, Samples, fit_block

MOST_BYTES = 2**30
"""Of the weights of a block, with all that optimisers keep beside them; bounds memory."""

MOST_HEADS = 128
"""Heads of a block, and of a turn."""

_COPIES = 6
"""Numbers kept per weight: itself, its best, its gradient and what the optimiser remembers."""

_SIDE_BY_SIDE = 4
"""Groups that one core of a CPU steps through together, at most."""


def blocks_of(heads: Sequence[Head], num_features: int, num_outputs: int) -> list[list[int]]:
    """Put heads into blocks that fit into memory, groups together.

    Returns:
        Positions of the heads of each block; small blocks, which are done soonest, first.
    """
    most = _most(num_features, num_outputs)
    together: dict[Hashable, dict[Hashable, list[int]]] = {}
    for i, head in enumerate(heads):
        together.setdefault(head.block, {}).setdefault(head.group, []).append(i)
    blocks: list[list[int]] = []
    for groups in together.values():
        current: list[int] = []
        for group in groups.values():
            for start in range(0, len(group), most):
                part = group[start : start + most]
                if current and len(current) + len(part) > most:
                    blocks.append(current)
                    current = []
                current = current + part
        blocks.append(current)
    return sorted(blocks, key=lambda block: len(heads[block[0]].draws))


def turns_of(
    heads: Sequence[Head], num_features: int, num_outputs: int, device: torch.device
) -> list[list[int]]:
    """Say which heads are fitted at one go.

    On a GPU those of a block. On a CPU as many blocks as fit into memory: a block by itself has
    seldom work for all cores to its end.

    Returns:
        Positions of the heads of each turn, which have one optimiser.
    """
    blocks = blocks_of(heads, num_features, num_outputs)
    if device.type != "cpu":
        return blocks
    most = _most(num_features, num_outputs)
    turns: list[list[int]] = []
    for block in blocks:
        is_alike = turns and heads[turns[-1][0]].optimizer == heads[block[0]].optimizer
        if is_alike and len(turns[-1]) + len(block) <= most:
            turns[-1] = turns[-1] + block
        else:
            turns.append(block)
    return turns


def _most(num_features: int, num_outputs: int) -> int:
    """Heads that fit into memory side by side."""
    heads = MOST_BYTES // (_COPIES * 8 * (num_features + 1) * num_outputs)
    return max(1, min(MOST_HEADS, heads))


def fit_heads(
    heads: Sequence[Head],
    samples: dict[str, Samples],
    *,
    dtype: torch.dtype = torch.float32,
    advance: Callable[[int], None] = lambda _: None,
) -> list[FittedHead]:
    """Fit the heads of a turn where it is done fastest.

    A GPU steps through all groups of a block together. On a CPU every core takes some of them:
    products as small as these are not worth being shared out, and with few groups the weights, and
    all that an optimiser keeps beside them, stay in the core's cache.

    Args:
        heads: Heads of any blocks.
        samples: The splits they refer to; ``train`` among them.
        dtype: Type of the weights.
        advance: Called with each number of heads that are done now.

    Returns:
        The heads in their order; their seconds add up to the time this took.
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
    """Share out the groups of a block; what a core steps through together is one list."""
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
) -> list[list[FittedHead]]:
    """Fit tasks on all cores, the longest first."""
    stop = Event()
    fitted: dict[int, list[FittedHead]] = {}
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
        # Whoever interrupts waits for an epoch, not for whole trainings.
        stop.set()
        pool.shutdown(cancel_futures=True)
        # Threads begun later would take over the number of the pool's.
        torch.set_num_threads(threads)
    return [fitted[n] for n in range(len(tasks))]
