"""The first ten minutes on a GPU: does it run, is it right, and how fast.

    python benchmarks/gpu_first.py [--out gpu_first] [--minutes 10] [--steps NAME ...]
    python benchmarks/gpu_first.py --accelerator cpu --quick

Each step is a process with a time limit; the next one starts whatever became of it, until the
minutes are over. The folder gets ``figures.json``, ``figures.md`` (a table) and the output of each
step. Ends with exit code 1 if a step failed or was left no time, and 2 without a GPU;
`--accelerator cpu --quick` carries out the same steps on a CPU, small, to see that they work. Data
are drawn (source=demo), weights are random: nothing is downloaded. Keep the output folder on a
local disk.
"""

import argparse
import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from measured import Figure, read

HERE = Path(__file__).parent
STEPS = "gpu_steps.py"
FIGURES, TABLE = "figures.json", "figures.md"
NO_TIME = "no time left"


@dataclass(frozen=True)
class Step:
    """A part of the measurement, in a process of its own.

    Attributes:
        name: Name of the step and of its files.
        about: What it answers.
        seconds: Time limit on a GPU.
        command: Script of this folder and its arguments.
        needs_gpu: Whether it has no meaning on a CPU.
    """

    name: str
    about: str
    seconds: int
    command: tuple[str, ...]
    needs_gpu: bool = False


@dataclass
class Outcome:
    """A step that was carried out.

    Attributes:
        name: Name of the step.
        about: What it answers.
        status: done, failed (with the exit code), over its time limit, `NO_TIME`, or left out.
        seconds: Its duration.
        figures: Its figures; also those written before a failure.
    """

    name: str
    about: str
    status: str
    seconds: float = 0.0
    figures: list[Figure] = field(default_factory=list)


LOOPS = (
    ("resnet101", "32-true"),
    ("resnet101", "bf16-mixed"),
    ("resnet101", "bf16-mixed", "trainer.deterministic=false"),
    ("resnet101", "bf16-mixed", "channels_last=false"),
    ("vit_l_16", "32-true"),
    ("vit_l_16", "bf16-mixed"),
    ("vit_l_16", "bf16-mixed", "trainer.deterministic=false"),
)
"""Model, precision and further choice of each training loop."""

QUICK_LOOPS = (("timm:test_resnet", "32-true"), ("timm:test_resnet", "bf16-mixed"))

MINUTES = 10.0
"""Default time of all steps on a GPU together."""


def own(step: str) -> tuple[str, ...]:
    """Command of a step of `gpu_steps.py`."""
    return (STEPS, step)


def steps_of(accelerator: str, *, quick: bool) -> list[Step]:
    """List the steps in order."""
    on = f"trainer.accelerator={accelerator}"
    small = ("--batch-size", "4", "--batches", "2", "--rounds", "1", "--workers", "0")
    shape = small if quick else ("--batch-size", "64", "--batches", "8", "--rounds", "3")
    loops = []
    for model, precision, *words in QUICK_LOOPS if quick else LOOPS:
        name = "-".join(["loop", model.split(":")[-1], precision, *words]).replace("=", "_")
        arguments = ("--model", model, "--precision", precision, *shape, "--set", on, *words)
        about = "the real training loop against the bare step"
        loops.append(Step(name, about, 45, ("train_throughput.py", *arguments)))
    sweep: tuple[str, ...] = ("--demo", "4", "--seeds", "3")
    if quick:
        sweep = ("--demo", "0.5", "--seeds", "1", "--epochs", "2", "--one-by-one", "2")
    about = "heads together against one at a time, encoding against bare passes"
    banks = [
        Step(
            f"bank-{device}",
            about,
            90,
            ("frozen_sweep.py", "--ratios", "--accelerator", device, *sweep),
        )
        for device in dict.fromkeys((accelerator, "cpu"))
    ]
    bank, *others = banks
    return [
        Step("machine", "versions, device and precision of products", 30, own("machine")),
        Step("runs", "a run of each kind on the device and on the CPU", 90, own("runs")),
        Step("waits", "waits of the host in a run of each kind", 60, own("waits"), needs_gpu=True),
        *loops,
        bank,
        Step("encoding", "encoding of large encoders against bare passes", 60, own("encoding")),
        Step("loader", "images/s of the loader, by size and workers", 60, own("loader")),
        Step(
            "memory",
            "smaller batches where memory is too small",
            60,
            own("memory"),
            needs_gpu=True,
        ),
        Step("checkpoints", "share of fine-tuning spent on checkpoints", 60, own("checkpoints")),
        *others,
    ]


def execute(step: Step, out: Path, arguments: Sequence[str], limit: float) -> Outcome:
    """Carry out a step in a process, and end it at its time limit."""
    script, *words = step.command
    figures = out / f"{step.name}.json"
    figures.unlink(missing_ok=True)
    command = [sys.executable, str(HERE / script), "--figures", str(figures), *words]
    if script == STEPS:
        command += arguments
    status, seconds = timed(command, out / f"{step.name}.log", limit)
    return Outcome(step.name, step.about, status, seconds, read(figures))


def timed(command: Sequence[str], log: Path, limit: float) -> tuple[str, float]:
    """Run a command with its output in a log; returns its status and duration in seconds."""
    started = time.monotonic()
    with log.open("wb") as file:
        # A session of its own, so that worker processes end with it.
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(limit)
            status = "done" if code == 0 else f"failed ({code})"
        except subprocess.TimeoutExpired:
            status = f"over {round(limit, 1):g} s"
        finally:
            _end(process)
    return status, time.monotonic() - started


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the processes of a session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def measure(
    steps: Sequence[Step],
    run: Callable[[Step, float], Outcome],
    out: Path,
    *,
    has_gpu: bool,
    seconds: float = math.inf,
) -> list[Outcome]:
    """Carry out steps one after the other, and write all figures after each.

    Args:
        steps: The steps.
        run: Carries out a step within the given seconds.
        out: Folder of the figures.
        has_gpu: Whether steps that need a GPU are carried out.
        seconds: Time of all steps together; steps after it are left out.
    """
    started = time.monotonic()
    outcomes: list[Outcome] = []
    for step in steps:
        if step.needs_gpu and not has_gpu:
            outcome = Outcome(step.name, step.about, "left out: needs a GPU")
        elif (left := seconds - (time.monotonic() - started)) <= 0:
            outcome = Outcome(step.name, step.about, NO_TIME)
        else:
            outcome = run(step, left)
        outcomes.append(outcome)
        print(f"{outcome.name:<44}{outcome.status:<24}{outcome.seconds:>6.0f} s", flush=True)
        (out / FIGURES).write_text(json.dumps([asdict(o) for o in outcomes], indent=2) + "\n")
        (out / TABLE).write_text(table(outcomes))
    return outcomes


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown of all figures, and of the steps without any."""
    lines = ["| step | figure | value | goal |", "| --- | --- | --- | --- |"]
    for outcome in outcomes:
        name = f"{outcome.name}: {outcome.about}"
        if outcome.status != "done":
            lines.append(f"| {name} | {outcome.status} | | |")
        for figure in outcome.figures:
            goal = ""
            if figure.goal is not None:
                is_met = isinstance(figure.value, int | float) and figure.value >= figure.goal
                goal = f"{figure.goal:g} {'met' if is_met else 'missed'}"
            value = f"{figure.text} {figure.unit}".strip()
            lines.append(f"| {name} | {figure.name} | {value} | {goal} |".replace("|  |", "| |"))
    return "\n".join(lines) + "\n"


def has_gpu() -> bool:
    """Whether torch sees a GPU, asked in a process of its own: this one holds no context."""
    code = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description="What to measure first on a GPU.")
    parser.add_argument("--out", type=Path, default=Path("gpu_first"))
    parser.add_argument("--accelerator", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument(
        "--minutes", type=float, help="time of all steps; default 10 on a GPU, no limit on a CPU"
    )
    parser.add_argument("--quick", action="store_true", help="small, to see that it works")
    parser.add_argument(
        "--steps", nargs="+", metavar="NAME", help="steps to carry out; default all"
    )
    options = parser.parse_args()
    on_gpu = options.accelerator == "gpu"
    if on_gpu and not has_gpu():
        print("No GPU: torch sees no CUDA device. Add --accelerator cpu --quick to try the steps.")
        sys.exit(2)
    steps = steps_of(options.accelerator, quick=options.quick)
    names = [step.name for step in steps]
    if unknown := sorted(set(options.steps or ()) - set(names)):
        parser.error(f"unknown steps: {', '.join(unknown)}; choose from {', '.join(names)}")
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    home = out / "home"
    home.mkdir(exist_ok=True)
    os.environ |= {"MARSBENCH_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    arguments = ["--accelerator", options.accelerator, *(["--quick"] if options.quick else [])]
    # A CPU takes longer; the limits then only end what hangs.
    patience = 1 if on_gpu else 5
    minutes = options.minutes or (MINUTES if on_gpu else math.inf)
    outcomes = measure(
        [step for step in steps if options.steps is None or step.name in options.steps],
        lambda step, left: execute(step, out, arguments, min(patience * step.seconds, left)),
        out,
        has_gpu=on_gpu,
        seconds=60 * minutes,
    )
    shutil.rmtree(home, ignore_errors=True)
    print(f"{out / TABLE}")
    sys.exit(any(outcome.status.startswith(("failed", "over", NO_TIME)) for outcome in outcomes))


if __name__ == "__main__":
    main()
