"""Images per second of a forward pass on the CPU, with and without `keep_freed_memory`.

Run: python benchmarks/allocator.py
"""

import subprocess
import sys

SCRIPT = """
import sys, time, torch
from marsbench.models.encoders.classifier import build_classifier
from marsbench.models.zoo.catalog import get_model
from marsbench.training.loop.allocator import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
model = build_classifier(get_model("efficientnet_lite0"), 6, pretrained=False).eval()
images = torch.rand(32, 1, 224, 224)
with torch.inference_mode():
    model(images)
    started = time.perf_counter()
    for _ in range(8):
        model(images)
print(8 * 32 / (time.perf_counter() - started))
"""


def measure(how: str) -> float:
    """Images per second in a new process."""
    command = [sys.executable, "-c", SCRIPT, how]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def main() -> None:
    """Print medians of three runs, interleaved, and their ratio."""
    runs = [(measure("default"), measure("keep")) for _ in range(3)]
    default, keep = (sorted(values)[1] for values in zip(*runs, strict=True))
    print(f"default {default:.0f} images/s, keep_freed_memory {keep:.0f} images/s")
    print(f"ratio {keep / default:.2f}")


if __name__ == "__main__":
    main()
