"""Checks of this machine: versions, devices, folders, sources and local data.

A broken build of torch may crash or hang on import, so torch and the libraries built on it are
imported in a child process that runs this module. Nothing heavy may be imported at the top.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from marsbench.base import environment, paths
from marsbench.base.paths import expanded
from marsbench.base.version import __version__
from marsbench.config.schema import RunConfig

LOADING = 180.0
"""Time limit for importing the libraries, in seconds; a slow network disk needs minutes."""

ANSWERING = 3.0
"""Time limit for an answer of a source, in seconds, after name resolution."""

RUNNER = "marsbench.training.runner"
MODULES = ("torch", "torchvision", "timm", "pytorch_lightning", RUNNER)
"""Libraries to import, and the runner, without which no run can work."""

WEIGHTS = "https://download.pytorch.org"
"""Host of torch's weights; the URLs of the other sources are configurable."""


@dataclass(frozen=True)
class Fault:
    """A problem and its remedy; `stops_runs` if no run can work."""

    problem: str
    remedy: str
    stops_runs: bool = False


@dataclass(frozen=True)
class Findings:
    """Result of a probe: facts as plain values, and problems."""

    facts: dict[str, Any]
    problems: Sequence[Fault] = ()


def examine(*, offline: bool = False) -> dict[str, Findings]:
    """Run all probes; returns findings by subject. `offline` skips requests."""
    probes: dict[str, Callable[[], Findings]] = {
        "versions": versions,
        "extras": extras,
        "machine": machine,
        "libraries": libraries,
        "folders": folders,
        "sources": lambda: sources(offline=offline),
        "data": local_data,
    }
    with ThreadPoolExecutor(len(probes)) as pool:
        return dict(zip(probes, pool.map(_tried, probes, probes.values()), strict=True))


def _tried(name: str, probe: Callable[[], Findings]) -> Findings:
    try:
        return probe()
    except Exception as error:  # a broken probe must not hide the others
        what = f"The probe of {name} failed: {_reason(error)}."
        remedy = "Please report this with the output above; runs may work all the same."
        return Findings({"failed": _reason(error)}, [Fault(what, remedy)])


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().splitlines()[0][:200]


def versions() -> Findings:
    """Versions of packages, commit of a checkout, and path of the Python executable."""
    facts: dict[str, Any] = {**environment.versions(), "executable": sys.executable}
    return Findings({**facts, "checkout": environment.git_state() or "none"})


def extras() -> Findings:
    """Versions of the packages of each extra, or the command to install them."""
    facts: dict[str, dict[str, str | None]] = {}
    for line in importlib.metadata.requires("marsbench") or ():
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", line)
        package = re.split(r"[^\w.-]", line, maxsplit=1)[0]
        packages = facts.setdefault(extra[1] if extra else "", {})
        packages[package] = environment.installed(package)
    missing = [package for package, version in facts.pop("").items() if version is None]
    facts = {name: packages for name, packages in facts.items() if name not in ("all", "dev")}
    for name, packages in facts.items():
        if None in packages.values():
            packages["install"] = f"pip install 'marsbench[{name}]'"
    if not missing:
        return Findings(facts)
    what = f"Required packages are not installed: {', '.join(missing)}."
    return Findings(facts, [Fault(what, f"pip install {' '.join(missing)}")])


def machine() -> Findings:
    """Processor, cores and memory usable by this process."""
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        line = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        model = line[1] if line else model
    cores = {"cores": os.cpu_count(), "usable cores": environment.usable_cores()}
    facts = {"CPU": {"model": model, **cores}, "memory": {"size": environment.usable_memory()}}
    return Findings({**facts, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set")})


def libraries() -> Findings:
    """Whether torch and its dependents can be imported, and each CUDA device used."""
    answers = ask_libraries()
    devices = [f"cuda:{i}" for i in range(answers.get("cuda", {}).get("devices", 0))]
    silent = {"failed": "the child process crashed or hung"}
    facts = {name: answers.get(name, silent) for name in (*MODULES, "cuda", *devices)}
    failed = {name: fact["failed"] for name, fact in facts.items() if "failed" in fact}
    # Later libraries may fail because of the first.
    first = next(iter(failed), None)
    problems = []
    if first in MODULES:
        what = f"{first} cannot be imported: {failed[first]}."
        remedy = "Reinstall it, torch and torchvision together (tested versions: constraints.txt)."
        problems = [Fault(what, remedy, stops_runs=RUNNER in failed)]
    if "torch" not in failed:
        remedy = "Leave it out with CUDA_VISIBLE_DEVICES or trainer.accelerator=cpu, or install a "
        remedy += "torch built for it and for its driver (nvidia-smi)."
        bad = [name for name in failed if name.startswith("cuda")]
        problems += [Fault(f"{name} does not work: {failed[name]}.", remedy) for name in bad]
        if not devices and not bad and nvidia_is_present():
            what = f"torch, {facts['cuda']['built']}, does not see the NVIDIA device."
            remedy = "Check CUDA_VISIBLE_DEVICES, or install a torch built for the driver's CUDA "
            problems.append(Fault(what, f"{remedy}version (nvidia-smi) or an earlier one."))
    return Findings(facts, problems)


def nvidia_is_present() -> bool:
    """Whether the NVIDIA driver has created device files."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def ask_libraries() -> dict[str, dict[str, Any]]:
    """Import the libraries in a child process; unanswered ones are missing from the result."""
    # The child imports from the same folders.
    folders = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-P", "-m", "marsbench.doctor"]
    try:
        out = subprocess.run(command, capture_output=True, env=folders, timeout=LOADING).stdout  # noqa: S603
    except subprocess.TimeoutExpired as late:
        out = late.stdout or b""
    return dict(json.loads(line) for line in out.splitlines())


def _answer() -> None:
    """Print the answers for `ask_libraries`."""
    steps: list[tuple[str, Callable[[str], dict[str, Any]]]] = [(m, _module) for m in MODULES]
    steps.append(("cuda", _cuda))
    # Output of the libraries goes to standard error.
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        for name, ask in steps:
            try:
                facts = ask(name)
            except Exception as error:  # broken builds and drivers fail in many ways
                facts = {"failed": _reason(error)}
            out.write(json.dumps([name, facts]) + "\n")
            out.flush()
            steps += [(f"cuda:{i}", _device) for i in range(facts.get("devices", 0))]


def _module(name: str) -> dict[str, Any]:
    version = getattr(importlib.import_module(name), "__version__", None)
    return {"loads": True} | ({"version": str(version)} if version else {})


def _cuda(_: str) -> dict[str, Any]:
    import torch

    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return {"devices": torch.cuda.device_count(), "built": built}


def _device(name: str) -> dict[str, Any]:
    import torch

    device = torch.cuda.get_device_properties(name)
    torch.ones(8, 8, device=name).matmul(torch.ones(8, 8, device=name)).sum().item()
    free, memory = torch.cuda.mem_get_info(name)
    facts = {"name": device.name, "capability": f"sm_{device.major}{device.minor}"}
    # Older devices emulate bfloat16 slowly.
    return {**facts, "memory": memory, "free": free, "bf16": device.major >= 8}


def folders() -> Findings:
    """Folders written by runs: size, free space and permission."""
    from huggingface_hub import constants

    from marsbench.data.tools.inventory import size_of

    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    torch = Path(os.environ.get("TORCH_HOME") or f"{cache}/torch")
    places = {
        "MARSBENCH_HOME": (
            paths.home(),
            "set MARSBENCH_HOME elsewhere, or add cache=false",
        ),
        "store": (Path(RunConfig().store), "add store=FOLDER"),
        "Hugging Face hub": (Path(constants.HF_HUB_CACHE), "set HF_HOME to another folder"),
        "torch hub": (torch / "hub", "set TORCH_HOME to another folder"),
    }
    facts: dict[str, dict[str, Any]] = {}
    problems = []
    for name, (path, move) in places.items():
        facts[name] = fact = _folder(expanded(path).absolute())
        if not fact["writable"]:
            what = f"Files cannot be written for {name} ({path}): {fact['failed']}."
            problems.append(Fault(what, f"Fix the permissions, or {move}."))
        elif fact["free"] < 1e9:
            what = f"Only {fact['free'] / 1e6:.0f} MB are free for {name} ({path})."
            problems.append(Fault(what, f"Free space, or {move}."))
    parts = {"decoded images": "decoded", "downloaded data": "data"}
    facts["MARSBENCH_HOME"] |= {what: size_of(paths.home() / part) for what, part in parts.items()}
    shared = Path("/dev/shm")  # noqa: S108
    if shared.is_dir():
        free = shutil.disk_usage(shared).free
        facts["shared memory"] = {"path": str(shared), "free": free}
        if free < 512e6:  # containers often have 64 MB
            what = f"Only {free / 1e6:.0f} MB are free in {shared}: data loaders may crash "
            remedy = "Add workers=0, or enlarge it (docker run --shm-size=2g)."
            problems.append(Fault(f"{what}(bus error).", remedy))
    return Findings(facts, problems)


def _folder(path: Path) -> dict[str, Any]:
    from marsbench.data.tools.inventory import size_of

    facts: dict[str, Any] = {"path": str(path), "size": size_of(path)}
    above = next(p for p in (path, *path.parents) if os.path.lexists(p))
    try:
        # Permissions do not reveal full or read-only disks.
        with tempfile.TemporaryFile(dir=above) as file:
            file.write(b"0")
        return {**facts, "writable": True, "free": shutil.disk_usage(above).free}
    except OSError as error:
        return {**facts, "writable": False, "failed": _reason(error)}


def sources(*, offline: bool) -> Findings:
    """Whether the sources of data and weights answer."""
    from huggingface_hub import constants

    from marsbench.data.download import web
    from marsbench.data.sources import zenodo

    urls = {
        "Hugging Face hub": web.shown(constants.ENDPOINT),
        "Zenodo": web.shown(zenodo.api()),
        "torch weights": WEIGHTS,
    }
    skipped = dict.fromkeys(urls, "--offline") if offline else {}
    if constants.HF_HUB_OFFLINE:
        skipped.setdefault("Hugging Face hub", "HF_HUB_OFFLINE is set")
    with ThreadPoolExecutor() as pool:
        answers = pool.map(lambda name: _ask(urls[name], skipped.get(name)), urls)
        facts = dict(zip(urls, answers, strict=True))
    silent = [f"{f['url']} ({f['said']})" for f in facts.values() if f.get("reachable") is False]
    if not silent:
        return Findings(facts)
    remedy = (
        "Fine if data and weights are on this machine already, with source=demo, or with "
        "mode=scratch. Else check the network and HTTPS_PROXY, or set HF_ENDPOINT to a mirror of "
        "the Hugging Face hub."
    )
    return Findings(facts, [Fault(f"Not to be reached: {', '.join(silent)}.", remedy)])


def _ask(url: str, skipped: str | None) -> dict[str, Any]:
    if skipped:
        return {"url": url, "said": f"not tried: {skipped}"}
    start = time.monotonic()
    try:
        request = Request(url, method="HEAD", headers={"User-Agent": f"marsbench/{__version__}"})  # noqa: S310
        with urlopen(request, timeout=ANSWERING) as answer:  # noqa: S310
            status = int(answer.status)
    except HTTPError as error:
        status = error.code
    except Exception as error:  # no network, no address, an invalid HTTP reply
        said = str(getattr(error, "reason", "")) or _reason(error)
        return {"url": url, "reachable": False, "said": said}
    said = f"HTTP {status} in {time.monotonic() - start:.1f} s"
    # Forbidden or not found is an answer too; a proxy's request for a password is none.
    return {"url": url, "reachable": status < 500 and status != 407, "said": said}


def local_data() -> Findings:
    """Tasks with a folder in the searched places."""
    from marsbench.data.sources import local_places
    from marsbench.data.sources.layout import find_folder
    from marsbench.tasks.catalog import TASKS

    facts: dict[str, dict[str, Any]] = {}
    for name, spec in TASKS.items():
        for what, place in local_places(spec, None).items():
            entry = facts.setdefault(what, {"path": str(place.absolute()), "tasks": []})
            if find_folder(spec, {what: place}) is not None:
                entry["tasks"].append(name)
    return Findings(facts)


if __name__ == "__main__":
    _answer()
