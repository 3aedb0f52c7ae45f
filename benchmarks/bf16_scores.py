"""How far bf16-mixed moves scores: the table of docs/measured.md, on the CPU.

    python benchmarks/bf16_scores.py ROOT [STORE]

ROOT holds mb-landmark_cls/ (version 1 of the HiRISE landmark images); STORE (default runs/)
collects the records. Each setting runs in 32-true and in bf16-mixed with the same seeds: a quarter
of an hour on one core.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

import marsbench
from marsbench.config.schema import Precision

LANDMARKS = Path(__file__).parents[1] / "configs" / "tasks" / "hirise_landmark_v1.yaml"
SEEDS = (0, 1, 2, 3, 4)
SUBSETS = ("full", "partition_0.10", "few_shot_5")


def score(precision: Precision, seed: int, keys: dict[str, Any]) -> float:
    """Weighted F1 on the test split."""
    trainer = {"precision": precision.value, **keys.get("trainer", {})}
    record = marsbench.run(**{**keys, "seed": seed, "trainer": trainer})
    return record.metrics["test"]["f1_weighted"]


def row(name: str, seeds: tuple[int, ...], keys: dict[str, Any]) -> str:
    """A line of the table."""
    single, mixed = (
        np.array([score(precision, seed, keys) for seed in seeds])
        for precision in (Precision.FLOAT32, Precision.BF16_MIXED)
    )
    moved = mixed - single
    spread = f"{single.std(ddof=1):.4f}" if len(seeds) > 1 else "-"
    return (
        f"| {name} | {len(seeds)} | {single.mean():.4f} | {spread} | {moved.mean():+.4f} "
        f"| {np.abs(moved).max():.4f} |"
    )


def main() -> None:
    """Run and print."""
    root, store = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "runs"
    common = {"model": "efficientnet_lite0", "store": store, "save_model": False, "workers": 0}
    frozen = {**common, "task": str(LANDMARKS), "source": "local", "root": root}
    optimum = {**frozen, "optim": {"name": "lbfgs", "weight_decay": 0.01}}
    small = {**frozen, "model": "timm:test_resnet", "mode": "scratch", "subset": SUBSETS[1]}
    scratch = {**small, "trainer": {"max_epochs": 5, "patience": None}}
    print("| run | seeds | 32-true | over seeds | bf16-mixed moves by | at most |")
    print("|---|---|---|---|---|---|")
    for subset in SUBSETS:
        name = f"frozen, landmarks, {subset}"
        print(row(name, SEEDS, {**frozen, "subset": subset}), flush=True)
        print(row(f"{name}, lbfgs", SEEDS[:1], {**optimum, "subset": subset}), flush=True)
    print(
        row("scratch, landmarks, partition_0.10, timm:test_resnet", SEEDS[:3], scratch), flush=True
    )


if __name__ == "__main__":
    main()
