"""From findings to problems, each with its remedy."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

ENOUGH_DISK = 1e9
"""Bytes that a cache or store needs free."""

ENOUGH_SHARED = 512e6
"""Bytes of shared memory that worker processes need: containers often have 64 MB."""

_MOVE = {
    "MARSBENCH_HOME": "set MARSBENCH_HOME to a folder you may write to",
    "decoded images": "set MARSBENCH_HOME to a folder you may write to, or add cache=false",
    "downloaded data": "set MARSBENCH_HOME to a folder you may write to",
    "store": "add store=FOLDER, a folder you may write to",
    "Hugging Face hub": "set HF_HOME to a folder you may write to",
    "torch hub": "set TORCH_HOME to a folder you may write to",
}


@dataclass(frozen=True)
class Problem:
    """Something that will not work.

    Attributes:
        problem: What is wrong.
        remedy: What the user can do.
        stops_runs: Whether no run at all can work.
    """

    problem: str
    remedy: str
    stops_runs: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Give the problem as plain values."""
        return asdict(self)


def failure(found: Any) -> str | None:
    """Why the probe broke that found this; None if it did not."""
    return found.get("failed") if isinstance(found, dict) else None


def find_problems(report: dict[str, Any]) -> list[Problem]:
    """Judge what `marsbench.doctor.examine.examine` found, the worst first."""
    found = [
        *_broken_probes(report),
        *_packages(report),
        *_cuda(report),
        *_folders(report),
        *_shared_memory(report),
        *_sources(report),
    ]
    return sorted(found, key=lambda problem: not problem.stops_runs)


def _broken_probes(report: dict[str, Any]) -> Iterator[Problem]:
    probes = {**report, **{f"cache of {k}": v for k, v in report["caches"].items()}}
    for name, found in probes.items():
        if reason := failure(found):
            yield Problem(
                f"The probe of {name} broke: {reason}.",
                "What it looks at may work all the same; report it, with all of the above.",
            )


def _packages(report: dict[str, Any]) -> Iterator[Problem]:
    absent = [] if failure(report["missing"]) else report["missing"]
    if absent:
        yield Problem(
            f"Packages that marsbench needs are not installed: {', '.join(absent)}.",
            f"Install them: pip install {' '.join(absent)}",
            stops_runs=True,
        )
    libraries = report["libraries"]
    if failure(libraries):
        return
    together = "Install them together: pip install --force-reinstall torch torchvision"
    for name in ("torch", "torchvision", "timm", "pytorch-lightning"):
        reason = failure(libraries[name])
        if name == "torch" and name in absent:
            return  # the others fail with it
        if reason is None or name in absent:
            continue
        if name == "torchvision":
            text = f"torchvision does not load, or was built for another torch: {reason}."
        else:
            text = f"{name} does not load: {reason}."
        is_torch = name in ("torch", "torchvision")
        remedy = together if is_torch else f"Install it again: pip install --force-reinstall {name}"
        # Without timm the models of torchvision still run.
        yield Problem(text, f"{remedy} (tested versions: constraints.txt).", name != "timm")
        if name == "torch":
            return


def _cuda(report: dict[str, Any]) -> Iterator[Problem]:
    libraries = report["libraries"]
    if failure(libraries) or failure(libraries["torch"]):
        return
    cuda = libraries["cuda"]
    if reason := failure(cuda):
        yield Problem(
            f"CUDA cannot be asked: {reason}.",
            "Try trainer.accelerator=cpu; check the driver with nvidia-smi.",
        )
        return
    for device in cuda["devices"]:
        if not device["works"]:
            what = device.get("failed", "a product of two matrices came out wrong")
            yield Problem(
                f"CUDA device {device['index']} does not work: {what}.",
                "Leave it out with CUDA_VISIBLE_DEVICES, or install a torch built for it.",
            )
    if report["nvidia device"] is True and not cuda["devices"]:
        built = libraries["torch"]["cuda"]
        yield Problem(
            "There is an NVIDIA device that torch does not see: "
            + (f"torch is built for CUDA {built}." if built else "torch is built without CUDA."),
            "Compare with the driver's CUDA version (nvidia-smi) and install a torch built for "
            "that or an earlier one; check CUDA_VISIBLE_DEVICES.",
        )


def _folders(report: dict[str, Any]) -> Iterator[Problem]:
    caches = {name: f for name, f in report["caches"].items() if not failure(f)}
    obstacles: dict[str, list[str]] = {}
    disks: dict[int, list[str]] = {}
    for name, found in caches.items():
        if found["obstacle"] is not None:
            obstacles.setdefault(found["obstacle"], []).append(name)
        elif found["free"] is not None and found["free"] < ENOUGH_DISK:
            disks.setdefault(found["disk"], []).append(name)
    for obstacle, names in obstacles.items():
        yield Problem(
            f"Files cannot be written for {', '.join(names)}: {obstacle}.",
            _remedy("Mend that", names),
            stops_runs="MARSBENCH_HOME" in names,
        )
    for names in disks.values():
        megabytes = caches[names[0]]["free"] / 1e6
        yield Problem(
            f"Only {megabytes:.0f} MB are free for {', '.join(names)}.", _remedy("Make room", names)
        )


def _remedy(start: str, names: list[str]) -> str:
    moves = dict.fromkeys(_MOVE[name] for name in names if name in _MOVE)
    if "MARSBENCH_HOME" in names:
        # Moves the parts below it too.
        moves = {m: None for m in moves if not m.startswith(_MOVE["MARSBENCH_HOME"] + ",")}
    return f"{start}, or {'; '.join(moves)}."


def _shared_memory(report: dict[str, Any]) -> Iterator[Problem]:
    shared = report["shared memory"]
    if shared is None or failure(shared) or shared["free"] >= ENOUGH_SHARED:
        return
    yield Problem(
        f"Shared memory ({shared['path']}) has only {shared['free'] / 1e6:.0f} MB free: processes "
        "that load data may die of it (bus error).",
        "Add workers=0, or give the container more (docker run --shm-size=2g).",
    )


def _sources(report: dict[str, Any]) -> Iterator[Problem]:
    sources = report["sources"]
    if failure(sources):
        return
    silent = {name: f for name, f in sources.items() if f["reachable"] is False}
    if not silent:
        return
    shown = "; ".join(f"{name} ({f['url']}: {f['said']})" for name, f in silent.items())
    remedy = (
        "Fine if data and weights are on this machine already, with source=demo, or with "
        "mode=scratch. Else check the network and HTTPS_PROXY"
    )
    if "Hugging Face hub" in silent:
        remedy += ", or set HF_ENDPOINT to a mirror of the hub"
    yield Problem(f"Not to be reached: {shown}.", f"{remedy}.")
