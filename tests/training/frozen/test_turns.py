"""Turns of heads: limits of devices."""

import dataclasses
import resource

import numpy as np
import pytest
import torch

from marsbench.training.frozen.turns import (
    LIMITS,
    WIDE,
    Limits,
    blocks_of,
    limits_of,
    memory_of,
    turns_of,
)
from tests.training.frozen.test_block import CPU, F, K, N, head_of, objective_of

GPU = torch.device("cuda")


def test_a_gpu_takes_a_thousand_heads_at_a_time() -> None:
    objective = objective_of("multiclass")
    heads = [head_of(objective, seed=i % 4, lr=1e-6 * (i + 1)) for i in range(1200)]
    assert sorted(map(len, turns_of(heads, F, K, GPU))) == [300, 900]  # groups stay together
    assert {len(turn) for turn in turns_of(heads, F, K, CPU)} == {44, 128}


def test_blocks_of_a_gpu_fit_with_their_batches_and_padding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    objective = objective_of("multiclass")
    alone = [head_of(objective, seed=seed) for seed in range(40)]
    per_group = memory_of(alone[:2], F, K, GPU) - memory_of(alone[:1], F, K, GPU)
    assert per_group == 6 * 8 * (F + 1) * K + 16 * 8 * F
    # A large group widens all others.
    large = [head_of(objective, lr=1e-6 * (i + 1)) for i in range(20)]
    assert memory_of([*large, *alone[1:]], F, K, GPU) > 10 * memory_of(alone, F, K, GPU)
    most = memory_of(alone[:10], F, K, GPU)
    monkeypatch.setattr(
        "marsbench.training.frozen.turns.WIDE", dataclasses.replace(WIDE, bytes=most)
    )
    blocks = blocks_of(alone + large, F, K, GPU)
    assert sorted(i for block in blocks for i in block) == list(range(60))
    heads = alone + large
    assert len(blocks) > 4
    assert all(memory_of([heads[i] for i in block], F, K, GPU) <= most for block in blocks)


@pytest.mark.parametrize(
    ("files", "cpu", "gpu"), [(1024, 192, 512), (100, 50, 50), (-1, 192, 1024)]
)
def test_claimed_folders_leave_files_to_open(
    files: int, cpu: int, gpu: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resource.RLIM_INFINITY == -1
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert (limits_of(CPU).folders, limits_of(GPU).folders) == (cpu, gpu)
    assert LIMITS["cpu"] == Limits(heads=128, bytes=2**30, folders=192)


def test_a_head_larger_than_the_limit_is_a_block() -> None:
    heads = [head_of(objective_of("multiclass"), seed=seed, train=np.arange(N)) for seed in (0, 1)]
    assert blocks_of(heads, 10**8, K, GPU) == [[0], [1]]
    assert blocks_of(heads, 10**8, K, CPU) == [[0], [1]]
