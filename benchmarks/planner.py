"""Seconds to plan a suite of 20,000 runs with 19,000 finished.

    python benchmarks/planner.py [--folder FOLDER]

The runs are a grid of hyperparameters over the nine classification tasks on demo data; their
records are small fakes, written first. The whole command, `marsbench sweep --dry-run`, is timed
three times in a new process.
"""

import argparse
import contextlib
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from marsbench.plan.resolve import Resolver
from marsbench.results.record import RunRecord
from marsbench.results.store import Store, now
from marsbench.sweep.suites import expand, load_suite

FINISHED = 19_000

SUITE = {
    "description": "20,160 runs: 9 tasks x 5 models x 4 rates x 4 sizes of batch x 28 seeds.",
    "set": {"source": "demo", "size": 0.1},
    "grids": [
        {
            "task": "classification",
            "model": "classifiers",
            "mode": "finetune",
            "seed": list(range(28)),
            "optim.lr": [0.001, 0.0003, 0.0001, 0.00001],
            "optim.batch_size": [16, 32, 64, 128],
        }
    ],
}


def write_store(root: Path, suite: Path) -> int:
    """Write the records of all but the last runs of a suite; returns the number of runs."""
    resolver = Resolver()
    runs = list(expand(load_suite(str(suite)), {}))
    made: dict[object, RunRecord] = {}
    for config in runs[:FINISHED]:
        alike = dataclasses.replace(config, seed=0)
        if alike not in made:
            plan = resolver.plan_of(config)
            made[alike] = RunRecord(
                run_id="",
                task=plan.task.name,
                kind=str(plan.task.kind),
                model=plan.model.name,
                mode=str(config.mode),
                subset=config.subset,
                seed=0,
                protocol=str(plan.protocol),
                headline=plan.task.headline_metric,
                metrics={"val": {}, "test": {plan.task.headline_metric: 0.5}},
                config=config.to_dict(),
                identity=plan.identity,
                data={"num_train": plan.num_samples["train"]},
                weights=None,
                checkpoint={},
                timing={"data": 0.1, "train": 60.0, "eval": 2.0},
                peak_memory={},
                parameters={},
                device="cpu",
                environment={},
                git=None,
                created=now(),
            )
        run_id = resolver.run_id(config)
        record = dataclasses.replace(made[alike], run_id=run_id, seed=config.seed)
        folder = Store(root).folder(run_id)
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(record.to_json())
    return len(runs)


def plan(root: Path, suite: Path) -> tuple[float, dict[str, int]]:
    """Time the planning command; returns its seconds and printed summary."""
    words = [f"suite={suite}", f"store={root}", "--dry-run", "--format", "json"]
    started = time.perf_counter()
    command = [sys.executable, "-m", "marsbench", "sweep", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - started, json.loads(done.stdout.splitlines()[0])


def main() -> None:
    """Write a store, and plan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="folder of the store, kept afterwards")
    given = parser.parse_args().folder
    with contextlib.ExitStack() as stack:
        folder = given or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        root, suite = folder / "runs", folder / "grid.yaml"
        suite.write_text(yaml.safe_dump(SUITE))
        started = time.perf_counter()
        if root.exists():
            count = len(expand(load_suite(str(suite)), {}))
        else:
            count = write_store(root, suite)
        print(f"{count:,} runs, {FINISHED:,} records in {time.perf_counter() - started:.0f} s")
        for _ in range(3):
            seconds, summary = plan(root, suite)
            print(
                f"{seconds:.2f} s: {summary['done']:,} done, "
                f"{summary['to_do']:,} to do in {summary['units']:,} units, "
                f"{summary['estimated_from_records']:,} estimated from records"
            )
            if summary["done"] != FINISHED:
                sys.exit(f"the plan finds {summary['done']} finished runs, not {FINISHED}")
    if seconds > 5:
        sys.exit("above the 5 s that a plan may take")


if __name__ == "__main__":
    main()
