"""Steps of `gpu_first.py` that no other benchmark measures.

python benchmarks/gpu_steps.py STEP [--accelerator gpu] [--quick] [--figures FILE]
"""

import argparse
import functools
import os
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import data_pipeline
import timm
import torch
from frozen_sweep import ENCODING_GOAL, bare
from measured import Figure, write
from pytorch_lightning import Trainer
from safetensors.torch import save_model
from torch.utils.data import DataLoader

import marsbench
from marsbench.base.environment import usable_cores, versions
from marsbench.config.schema import RunConfig
from marsbench.data.datamodule import collate
from marsbench.data.dataset import MarsDataset
from marsbench.data.sources.local import LocalSource
from marsbench.plan.resolve import resolve
from marsbench.predict import load
from marsbench.predict.options import Options
from marsbench.predict.run import predict
from marsbench.predict.walk import find_images
from marsbench.results.record import RunRecord
from marsbench.results.store import Store
from marsbench.training.frozen.features import Encoder

KINDS = {
    "labels": ("frost_cls", "timm:resnet10t", "timm:test_resnet"),
    "masks": ("conequest_seg", "smp:unet/tu-resnet18", "smp:unet/tu-test_resnet"),
    "boxes": ("conequest_det", "ssdlite", "ssdlite"),
}
"""Task of each kind, its model, and a smaller one."""


def run_of(kind: str, store: Path, options: argparse.Namespace, **choices: object) -> RunRecord:
    """Train a small model for an epoch, and test it."""
    task, large, small = KINDS[kind]
    values: dict[str, Any] = {
        "task": task,
        "source": "demo",
        "size": 0.02 if options.quick else 0.1,
        "model": small if options.quick else large,
        "mode": "scratch",
        "store": str(store),
        "optim.batch_size": 8,
        "trainer.max_epochs": 1,
        "trainer.accelerator": options.accelerator,
        **choices,
    }
    if kind == "boxes" and options.quick:
        values["side"] = 64
    return marsbench.run(**values)


def machine(options: argparse.Namespace, place: Path) -> list[Figure]:
    """Versions, device, and the precision of products."""
    figures = [Figure("cores", usable_cores())]
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        cudnn: Any = torch.backends.cudnn
        figures += [
            Figure("GPUs", torch.cuda.device_count()),
            Figure("device", properties.name),
            Figure("memory", properties.total_memory / 2**30, "GiB"),
            Figure("compute capability", f"{properties.major}.{properties.minor}"),
            Figure("cuDNN", str(cudnn.version())),
        ]
    figures += [Figure(name, version) for name, version in versions().items() if version]
    matmul = torch.get_float32_matmul_precision()
    return [*figures, Figure("torch's default products", matmul)]


def runs(options: argparse.Namespace, place: Path) -> list[Figure]:
    """Duration and headline of a run of each kind on the device and on the CPU."""
    figures = []
    devices = list(dict.fromkeys((options.accelerator, "cpu")))
    for kind in KINDS:
        scores = {}
        for device in devices:
            started = time.perf_counter()
            choices = {"trainer.accelerator": device}
            record = run_of(kind, place / device, options, **choices)
            seconds = time.perf_counter() - started
            name = record.headline
            scores[device] = record.metrics["test"][name]
            figures.append(Figure(f"{kind}, {device}: duration", seconds, "s"))
            figures.append(Figure(f"{kind}, {device}: {name}", scores[device]))
        if len(devices) > 1:
            apart = abs(scores[devices[0]] - scores[devices[1]])
            figures.append(Figure(f"{kind}: difference of the scores", apart))
    return figures


def waits(options: argparse.Namespace, place: Path) -> list[Figure]:
    """Waits of the host for the device in a run of each kind, by line."""
    figures = []
    for kind in KINDS:
        lines: Counter[str] = Counter()

        def note(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: object = None,
            line: str | None = None,
            lines: Counter[str] = lines,
        ) -> None:
            if "synchronizing" in str(message):
                lines[f"{Path(filename).name}:{lineno}"] += 1

        run_of(kind, place / "warm", options)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = note
            torch.cuda.set_sync_debug_mode("warn")
            try:
                run_of(kind, place / "waits", options)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        figures.append(Figure(f"{kind}: waits of a run", lines.total()))
        figures += [Figure(f"{kind}: {line}", count) for line, count in lines.most_common(8)]
    return figures


def encoding(options: argparse.Namespace, place: Path) -> list[Figure]:
    """Encoding of large encoders with random weights against bare passes."""
    figures = []
    names = ("test_resnet",) if options.quick else ("resnet101", "vit_large_patch16_224")
    for name in names:
        weights = place / f"{name}.safetensors"
        save_model(timm.create_model(name), str(weights))
        for precision in ("32-true", "bf16-mixed"):
            values: dict[str, object] = {
                "task": "frost_cls",
                "source": "demo",
                "size": 0.1 if options.quick else 8,
                "mode": "frozen",
                "model": f"timm:{name}",
                "weights": str(weights),
                "trainer.accelerator": options.accelerator,
                "trainer.precision": precision,
            }
            plan = resolve(RunConfig.from_dict(values))
            rounds = [bare(plan) for _ in range(1 if options.quick else 3)]
            title = f"{name} {precision}"
            figures.append(Figure(f"{title}: encoding", median(e for e, _ in rounds), "s"))
            ratio = median(forward / encoded for encoded, forward in rounds)
            figures.append(Figure(f"{title}: bare / encoding", ratio, "", ENCODING_GOAL))
    return figures


def loader(options: argparse.Namespace, place: Path) -> list[Figure]:
    """Images per second of the loader from the cache, by size of the images and by workers."""
    figures = []
    count = 32 if options.quick else 512
    workers = sorted({0, min(4, usable_cores() - 1), min(15, usable_cores() - 1)})
    for side in (227, 1024):
        folder = data_pipeline.write_folder(place / str(side), count, side, "jpg")
        source = LocalSource(data_pipeline.SPEC, folder)
        data = MarsDataset(data_pipeline.SPEC, source, "train", side=data_pipeline.SIDE)
        for number in workers:
            batches: DataLoader[Any] = DataLoader(
                data,
                batch_size=32,
                collate_fn=collate,
                num_workers=number,
                persistent_workers=number > 0,
                pin_memory=options.accelerator == "gpu",
            )
            visit: Callable[[], object] = functools.partial(list, batches)
            visit()  # starts the workers
            rate = count / median(data_pipeline.seconds(visit) for _ in range(3))
            figures.append(Figure(f"{side} px, {number} workers", rate, "images/s"))
    return figures


def memory(options: argparse.Namespace, place: Path) -> list[Figure]:
    """Whether a run, the encoder and a prediction go on in smaller batches."""
    figures = []
    record = run_of("masks", place / "full", options, save_model=True)
    needed = record.peak_memory.get("device", 0)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.6 * needed / total)
    figures.append(Figure("memory of a run", needed / 2**20, "MiB"))

    def tried(name: str, work: Callable[[], str]) -> None:
        try:
            figures.append(Figure(name, work()))
        except Exception as error:  # its words are the result
            figures.append(Figure(name, f"{type(error).__name__}: {str(error).splitlines()[0]}"))

    def trained() -> str:
        limited = run_of("masks", place / "limited", options, **{"optim.batch_size": 8})
        return str(limited.data.get("notes", ["in whole batches"])[-1])

    def encoded() -> str:
        values = {"task": "frost_cls", "source": "demo", "size": 0.1, "mode": "frozen"}
        plan = resolve(RunConfig.from_dict({**values, "model": "efficientnet_lite0"}))
        return f"{Encoder(plan).encode('train').features.shape[1]} images"

    def predicted() -> str:
        folder = Store(place / "full").folder(record.run_id)
        model = load.load(str(folder), place)
        images = data_pipeline.write_folder(place / "new", 64, 512, "png")
        items = find_images([images / "data"], model.task).items
        done = predict(model, items, place / "out", Options(device="cuda", batch_size=64)).done
        return f"{done} of {len(items)} images"

    for name, work in (("run", trained), ("encoder", encoded), ("prediction", predicted)):
        tried(f"{name} at 60 % of it", work)
    return figures


def checkpoints(options: argparse.Namespace, place: Path) -> list[Figure]:
    """Share of fine-tuning on few images that is spent on writing checkpoints."""
    spent: list[float] = []
    original = Trainer.save_checkpoint

    def save(self: Trainer, *args: Any, **kwargs: Any) -> None:
        started = time.perf_counter()
        original(self, *args, **kwargs)
        spent.append(time.perf_counter() - started)

    Trainer.save_checkpoint = save  # type: ignore[method-assign]
    try:
        record = marsbench.run(
            task="frost_cls",
            source="demo",
            size=0.05 if options.quick else 0.2,
            model="timm:test_vit" if options.quick else "timm:vit_large_patch16_224",
            mode="scratch",
            subset="few_shot_5",
            store=str(place / "runs"),
            **{"trainer.max_epochs": 3, "trainer.accelerator": options.accelerator},
        )
    finally:
        Trainer.save_checkpoint = original  # type: ignore[method-assign]
    train = record.timing["train"]
    return [
        Figure("training, 3 epochs of 10 images", train, "s"),
        Figure("checkpoints written", len(spent)),
        Figure("share spent on checkpoints", sum(spent) / train),
    ]


STEPS: dict[str, Callable[[argparse.Namespace, Path], list[Figure]]] = {
    "machine": machine,
    "runs": runs,
    "waits": waits,
    "encoding": encoding,
    "loader": loader,
    "memory": memory,
    "checkpoints": checkpoints,
}
"""Steps by name."""


def main(words: Sequence[str] | None = None) -> None:
    """Carry out a step, print its figures and write them."""
    parser = argparse.ArgumentParser(description="A step of gpu_first.py.")
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--accelerator", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--figures", type=Path, help="file for the figures, as JSON")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory(dir=os.environ.get("MARSBENCH_HOME")) as place:
        figures = STEPS[options.step](options, Path(place))
    for figure in figures:
        print(f"{figure.name:<58}{figure.text:>12} {figure.unit}")
    write(options.figures, figures)


if __name__ == "__main__":
    main()
