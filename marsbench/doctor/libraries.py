"""What the heavy libraries say of themselves; a script for a process of its own.

A broken build of torch may crash or hang on import, and with it the process that imports it. The
script prints a line of JSON per step, so that the step that broke is the first that is missing.
It imports nothing of marsbench.
"""

import importlib
import json
import os
from collections.abc import Callable
from typing import Any


def torch_facts() -> dict[str, Any]:
    """Version, threads and what torch was built for."""
    import torch

    return {
        "version": str(torch.__version__),
        "cuda": torch.version.cuda,
        "threads": torch.get_num_threads(),
        "mps": bool(torch.backends.mps.is_available()),
        "hub": torch.hub.get_dir(),
    }


def torchvision_facts() -> dict[str, Any]:
    """Version; an operator is called, since one built for another torch has none."""
    import torch
    import torchvision

    torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([1.0]), 0.5)
    return {"version": str(torchvision.__version__)}


def _version(module: str) -> Callable[[], dict[str, Any]]:
    return lambda: {"version": str(importlib.import_module(module).__version__)}


def cuda_facts() -> dict[str, Any]:
    """Every CUDA device, tried with a small product."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return {"devices": [_device(index) for index in range(count)]}


def _device(index: int) -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {"index": index}
    try:
        properties = torch.cuda.get_device_properties(index)
        capability = (properties.major, properties.minor)
        found |= {
            "name": properties.name,
            "memory": properties.total_memory,
            "capability": f"{capability[0]}.{capability[1]}",
            # Older devices emulate bfloat16 slowly.
            "bf16": capability >= (8, 0) and torch.version.hip is None,
        }
        if torch.version.hip is not None:
            found["bf16"] = bool(torch.cuda.is_bf16_supported())
        found["free"] = torch.cuda.mem_get_info(index)[0]
        ones = torch.ones(8, 8, device=f"cuda:{index}")
        found["works"] = float((ones @ ones).sum()) == 512.0
    except Exception as error:  # drivers fail in many ways
        found |= {"works": False, "failed": reason(error)}
    return found


def reason(error: BaseException) -> str:
    """The first line of an error, with its type."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


STEPS: dict[str, Callable[[], dict[str, Any]]] = {
    "torch": torch_facts,
    "torchvision": torchvision_facts,
    "timm": _version("timm"),
    "pytorch-lightning": _version("pytorch_lightning"),
    "cuda": cuda_facts,
}
"""Distribution, or what else is asked, and who asks. The step likeliest to crash is the last."""


def main() -> None:
    """Print a line of JSON per step."""
    # Libraries may print: their lines go to standard error.
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        for name, step in STEPS.items():
            try:
                facts = step()
            except Exception as error:  # a broken installation raises anything
                facts = {"failed": reason(error)}
            out.write(json.dumps([name, facts]) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
