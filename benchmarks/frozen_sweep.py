"""Frozen sweep: the bank of heads against training run by run.

    python benchmarks/frozen_sweep.py FOLDER [--task YAML] [--seeds 7] [--rounds 1]
    python benchmarks/frozen_sweep.py --demo 0.2 [--accelerator gpu] [--ratios]

FOLDER holds the data of the task (by default the landmark images of configs/tasks); ``--demo``
draws a share of the images of frost_cls instead. The sweep is
seeds x subsets (full, seven partitions, six few-shot sets) x nine settings (three learning rates,
three weight decays) of a frozen EfficientNet-Lite0 with ImageNet weights: 882 runs.

Measured in one process, each on an empty store:

- encoding: one pass over all images, with decoded images cached but no features;
- bank: the whole engine from configs to 882 records, encoding included, without cached features;
- (a) loop: the ordinary training loop (protocol=online, no augmentation), image by image in every
  epoch. A few runs of different subsets are timed and extrapolated by seconds per sample and epoch
  to the epochs trained by the bank's heads;
- (b) one head at a time on the same cached features, for a sample of the runs;
- (c) scikit-learn's logistic regression on the same features, for a sample of the subsets, times
  the number of runs.

- bare: forward passes alone, on a batch that is on the device, for as many images as one pass.

``--ratios`` prints the two ratios with a goal and ends: bare against encoding, and one head at a
time against the bank.

(a), (b) and (c) are marked as extrapolations. Ratios are to the bank's heads, and to the whole
engine.
"""

import argparse
import dataclasses
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from measured import Figure, write
from sklearn.linear_model import LogisticRegression

from marsbench.base import paths
from marsbench.base.environment import usable_cores
from marsbench.config.schema import PUBLISHED_PARTITIONS, PUBLISHED_SHOTS, Mode, RunConfig
from marsbench.models.encoders.classifier import Classifier
from marsbench.plan.resolve import Plan, Resolver
from marsbench.results.record import Outcome, RunRecord
from marsbench.training import runner
from marsbench.training.frozen.bank import run_bank
from marsbench.training.frozen.features import BATCH, Encoder
from marsbench.training.loop.arithmetic import arithmetic
from marsbench.training.network import build_network
from marsbench.training.parts import parts_of
from marsbench.training.trained import open_split

SEEDS = (0, 1, 10, 42, 123, 1000, 1234)
RATES = (1e-2, 1e-3, 1e-4)
DECAYS = (0.0, 0.05, 0.5)
SUBSETS = (
    "full",
    *(f"partition_{p}" for p in PUBLISHED_PARTITIONS),
    *(f"few_shot_{k}" for k in PUBLISHED_SHOTS),
)
ENCODING_GOAL, BANK_GOAL = 0.9, 10
"""Least speed of encoding against bare passes, and of the bank against one head at a time."""

SAMPLED = ("few_shot_5", "partition_0.10")
"""Subsets timed with the ordinary loop."""


class Sweep:
    """Runs and stores of the sweep."""

    def __init__(
        self, data: Mapping[str, object], seeds: Sequence[int], home: Path, **choices: object
    ) -> None:
        self.home, self.resolver = home, Resolver()
        base = RunConfig.from_dict({**data, "mode": "frozen", **choices})
        self.configs = [
            dataclasses.replace(
                base,
                seed=seed,
                subset=subset,
                optim=dataclasses.replace(base.optim, lr=lr, weight_decay=decay),
            )
            for subset, seed, lr, decay in itertools.product(SUBSETS, seeds, RATES, DECAYS)
        ]

    def plans(self, store: str, **changes: object) -> list[Plan]:
        """Resolve all runs into a store."""
        place = str(self.home / store)
        return [
            self.resolver.resolve(dataclasses.replace(config, store=place, **changes))  # type: ignore[arg-type]
            for config in self.configs
        ]

    def forget_features(self) -> None:
        """Delete the cached features."""
        shutil.rmtree(self.home / "features", ignore_errors=True)


def encoding(sweep: Sweep) -> float:
    """Seconds of a pass over all images."""
    sweep.forget_features()
    encoder = Encoder(sweep.plans("none")[0])
    os.sync()  # else what was written before is still being put away, at this one's cost
    started = time.perf_counter()
    for split in ("train", "val", "test"):
        encoder.encode(split)
    return time.perf_counter() - started


def bare(plan: Plan) -> tuple[float, float]:
    """Seconds to encode the train split, and of bare forward passes of as many images."""
    open_split(plan, "train")  # decodes the images
    shutil.rmtree(paths.home() / "features", ignore_errors=True)
    encoder = Encoder(plan)
    encoder.encode("val")  # builds the network
    started = time.perf_counter()
    count = encoder.encode("train").features.shape[1]
    encoded = time.perf_counter() - started
    size = min(BATCH.get(encoder.device.type, BATCH["cpu"]), count)
    network = build_network(plan, Mode.FROZEN)
    if not isinstance(network, Classifier):
        raise SystemExit(f"{plan.model.name} is no classifier.")
    network.eval().to(encoder.device)
    side = plan.side or plan.model.input_size
    images = torch.rand(size, plan.task.channels, side, side, device=encoder.device)
    if plan.config.channels_last:
        network.to(memory_format=torch.channels_last)
        images = images.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), arithmetic(plan.config, encoder.device):
        network.features(images).cpu()
        started = time.perf_counter()
        for _ in range(-(-count // size)):
            features = network.features(images)
        features.cpu()  # waits for the device
        seconds = time.perf_counter() - started
    return encoded, seconds * count / (size * -(-count // size))


def reach(sweep: Sweep, options: argparse.Namespace) -> list[Figure]:
    """Measure the ratios with a goal: encoding by bare passes, one head at a time by the bank."""
    encoding(sweep)
    passes = [bare(sweep.plans("none")[0]) for _ in range(options.rounds)]
    bank(sweep, "warm")
    heads = [bank(sweep, f"heads{turn}")[0] for turn in range(options.rounds)]
    single = one_by_one(sweep, options.one_by_one)
    model = sweep.configs[0].model
    return [
        Figure(f"{model}: encoding", median(e for e, _ in passes), "s"),
        Figure(f"{model}: bare / encoding", median(b / e for e, b in passes), "", ENCODING_GOAL),
        Figure(f"{model}: bank, {len(sweep.configs)} runs", median(heads), "s"),
        Figure(f"{model}: one head at a time / bank", single / median(heads), "", BANK_GOAL),
    ]


def bank(sweep: Sweep, store: str) -> tuple[float, list[RunRecord]]:
    """Seconds from configs to records."""
    os.sync()
    started = time.perf_counter()
    found = list(run_bank(sweep.plans(store)))
    seconds = time.perf_counter() - started
    outcomes = [outcome for _, outcome in found if isinstance(outcome, Outcome)]
    if len(outcomes) < len(found):
        raise SystemExit(f"{len(found) - len(outcomes)} runs failed: {found[0][1]}")
    return seconds, [outcome.record for outcome in outcomes]


def loop(sweep: Sweep, records: Sequence[RunRecord]) -> tuple[float, int]:
    """Seconds of the ordinary loop for all runs, extrapolated; and the number of timed runs."""
    rates = []
    for subset in SAMPLED:
        config = next(c for c in sweep.configs if c.subset == subset)
        trainer = dataclasses.replace(config.trainer, max_epochs=2, patience=None)
        config = RunConfig.from_dict(
            {
                **dataclasses.replace(config, trainer=trainer).to_dict(),
                "protocol": "online",
                "augment": "none",
                "store": str(sweep.home / "loop"),
            }
        )
        plan = sweep.resolver.resolve(config)
        started = time.perf_counter()
        runner.run(plan)
        seconds = time.perf_counter() - started
        rates.append(seconds / _images(plan, epochs=2))
    by_subset = {c.subset: sweep.resolver.resolve(c) for c in sweep.configs[:: len(RATES)]}
    total = 0.0
    for record in records:
        plan = by_subset[record.subset]
        total += median(rates) * _images(plan, epochs=record.checkpoint["epochs_trained"])
    return total, len(SAMPLED)


def _images(plan: Plan, epochs: int) -> int:
    """Images through the backbone: train and val in each epoch, and all at the end."""
    val, test = plan.num_samples["val"], plan.num_samples["test"]
    return epochs * (len(plan.selection.indices) + val) + val + test


def one_by_one(sweep: Sweep, count: int) -> float:
    """Seconds of all runs, one head at a time, extrapolated from a sample."""
    plans = sweep.plans("single")
    chosen = plans[:: max(1, len(plans) // count)]
    started = time.perf_counter()
    for plan in chosen:
        runner.run(plan)
    return (time.perf_counter() - started) / len(chosen) * len(plans)


def scikit_learn(sweep: Sweep) -> float:
    """Seconds of logistic regressions on the same features, extrapolated to all runs."""
    plans = {plan.config.subset: plan for plan in sweep.plans("none")}
    seconds = []
    for subset in ("few_shot_5", "partition_0.10", "full"):
        plan = plans[subset]
        x = Encoder(plan).encode("train").features[0]
        (part,) = parts_of(plan)
        chosen = plan.selection.indices
        y = plan.source.rows("train").targets[chosen]
        started = time.perf_counter()
        LogisticRegression(max_iter=200).fit(np.asarray(x[chosen]), y)
        seconds.append(time.perf_counter() - started)
        del part
    # Few-shot sets and small partitions first, then larger partitions, then the full split.
    small, middle, large = seconds
    per_seed = 10 * small + 3 * middle + large
    return per_seed * len(plans_per_subset(sweep))


def plans_per_subset(sweep: Sweep) -> list[RunConfig]:
    """Number of runs per subset."""
    return [config for config in sweep.configs if config.subset == "full"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The bank of heads against run by run.")
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--demo", type=float, metavar="SIZE", help="share of the demo images")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--weights", help="checkpoint of the model")
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--epochs", type=int, help="most epochs of a head")
    parser.add_argument("--ratios", action="store_true")
    parser.add_argument("--figures", type=Path, help="file for the ratios, as JSON")
    parser.add_argument("--task", default="configs/tasks/hirise_landmark_v1.yaml")
    parser.add_argument("--seeds", type=int, default=len(SEEDS))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--one-by-one", type=int, default=42, help="runs of the sample of (b)")
    options = parser.parse_args()
    if (options.folder is None) == (options.demo is None):
        parser.error("Give a folder, or --demo.")
    data: dict[str, object] = {"task": options.task, "root": options.folder}
    if options.demo is not None:
        data = {"task": "frost_cls", "source": "demo", "size": options.demo}
    choices: dict[str, object] = {
        "model": options.model,
        "weights": options.weights,
        "trainer.accelerator": options.accelerator,
    }
    if options.epochs is not None:
        choices["trainer.max_epochs"] = options.epochs
    with tempfile.TemporaryDirectory() as home:
        os.environ["MARSBENCH_HOME"] = home
        sweep = Sweep(data, SEEDS[: options.seeds], Path(home), **choices)
        runs = len(sweep.configs)
        print(
            f"{runs} runs, {usable_cores()} cores, {torch.get_num_threads()} threads, "
            f"load {os.getloadavg()[0]:.1f}, torch {torch.__version__}"
        )
        if options.ratios:
            figures = reach(sweep, options)
            for figure in figures:
                goal = "" if figure.goal is None else f"  (goal {figure.goal:g})"
                print(f"{figure.name:<58}{figure.text:>10} {figure.unit}{goal}")
            write(options.figures, figures)
            return
        encoding(sweep)  # decodes the images
        rows: dict[str, list[float]] = {"encoding": [], "bank": [], "heads": [], "one by one": []}
        records: list[RunRecord] = []
        for turn in range(options.rounds):
            rows["encoding"].append(encoding(sweep))
            seconds, records = bank(sweep, f"heads{turn}")
            rows["heads"].append(seconds)
            sweep.forget_features()
            rows["bank"].append(bank(sweep, f"bank{turn}")[0])
            shutil.rmtree(Path(home) / "single", ignore_errors=True)
            rows["one by one"].append(one_by_one(sweep, options.one_by_one))
        middle = {name: median(values) for name, values in rows.items()}
        looped, sampled = loop(sweep, records)
        learned = scikit_learn(sweep)
        trained = sum(record.timing["train"] for record in records)
        told = {
            "one encoding pass": (middle["encoding"], "measured"),
            "bank, features there": (middle["heads"], "measured"),
            "  of which fitting heads": (trained, "measured"),
            "bank, encoding included": (middle["bank"], "measured"),
            "(a) ordinary loop": (looped, f"extrapolated from {sampled} runs of 2 epochs"),
            "(b) one head at a time": (
                middle["one by one"],
                f"extrapolated from {options.one_by_one} runs",
            ),
            "(c) scikit-learn": (learned, "extrapolated from 3 fits; fits alone"),
        }
        print(f"{'':<26}{'seconds':>12}{'of heads':>10}{'of engine':>11}")
        for name, (seconds, how) in told.items():
            ratios = f"{seconds / middle['heads']:>9.2f}x{seconds / middle['bank']:>10.2f}x"
            print(f"{name:<26}{seconds:>12.1f}{ratios}   {how}")
        overhead = 1000 * (middle["heads"] - trained) / runs
        print(f"overhead per run (all but encoding and fitting): {overhead:.1f} ms")
        epochs = float(np.mean([r.checkpoint["epochs_trained"] for r in records]))
        print(f"epochs trained, mean: {epochs:.1f}")


if __name__ == "__main__":
    main()
