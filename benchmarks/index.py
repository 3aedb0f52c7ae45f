"""Time and memory of opening a task's index: a folder and a hub repository of 30,000 images.

    python benchmarks/index.py [--images 30000]

Each case is opened in a new process, without the imports, once with small and once with large
images: the cost of an index must not depend on the image size. For comparison the same repository
is opened with `datasets.load_dataset`, which copies the images first. Files are written below a
temporary folder (about 2 GB for 30,000 images; set TMPDIR to move it). Linux only: memory is read
from /proc.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SMALL, LARGE = 1_000, 30_000
"""Bytes of an image."""

CLASSES = [f"class {i}" for i in range(8)]

OPEN = {
    "folder": """
source = LocalSource(spec, folder / "mb-bench")
source.rows("train")
""",
    "hub": """
files = tuple(HubFile(path.name, path.stat().st_size, None) for path in paths)
source = HubSource(spec, Listing("o/n", "0" * 40, {"train": files}), Subset())
source.rows("train")
""",
    "datasets": """
datasets.load_dataset(
    "parquet", data_files=list(map(str, paths)), cache_dir=str(folder / "cache"), split="train"
)
""",
}
"""Code to be timed."""

CHILD = """
import json, sys, time
from pathlib import Path
import datasets, pyarrow.parquet
from marsbench.config.schema import Subset
from marsbench.data.sources.hub_files import HubFile, Listing
from marsbench.data.sources.huggingface import HubSource
from marsbench.data.sources.local import LocalSource
from marsbench.tasks.spec import ClassInfo, TaskSpec
from marsbench.tasks.kinds import Kind
datasets.disable_progress_bars()
folder = Path(sys.argv[1])
paths = sorted(folder.glob("datasets--*/snapshots/*/train-*.parquet"))
spec = TaskSpec(name="bench", title="Bench", kind=Kind.MULTICLASS,
                classes=tuple(map(ClassInfo, {classes})), folder="mb-bench")
def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))
Path("/proc/self/clear_refs").write_text("5")  # the peak so far, which is that of the imports
before, start = memory("VmRSS"), time.perf_counter()
{timed}
print(json.dumps([time.perf_counter() - start, memory("VmHWM") - before]))
"""


def write_folder(folder: Path, images: int, size: int, rng: np.random.Generator) -> None:
    """Write a folder in the published layout; its images are noise."""
    task = folder / "mb-bench"
    rows = []
    for k in range(len(CLASSES)):
        (task / "data" / "train" / f"c{k}").mkdir(parents=True)
    for i in range(images):
        k = i % len(CLASSES)
        name = f"image_{i * 7919 % 104729:06d}_{i}.png"
        (task / "data" / "train" / f"c{k}" / name).write_bytes(rng.bytes(size))
        rows.append((name, "train", f"c{k}", k))
    with (task / "annotation.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file_id", "split", "feature_name", "label"))
        writer.writerows(rows)
    mapping = {str(k): [f"c{k}", name] for k, name in enumerate(CLASSES)}
    (task / "mapping.json").write_text(json.dumps(mapping))


def write_parquet(folder: Path, images: int, size: int, rng: np.random.Generator) -> None:
    """Write parquet files like `datasets`, 5,000 rows each, 100 to a row group."""
    import datasets

    datasets.disable_progress_bars()
    files = folder / "datasets--o--n" / "snapshots" / ("0" * 40)
    files.mkdir(parents=True)
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=CLASSES))
    for start in range(0, images, 5000):
        rows = [
            {"image": {"bytes": rng.bytes(size), "path": f"image_{i}.png"}, "label": i % 8}
            for i in range(start, min(start + 5000, images))
        ]
        table = datasets.Dataset.from_list(rows, features=features)
        table.to_parquet(files / f"train-{start:05d}.parquet", batch_size=100)


def measure(case: str, folder: Path) -> tuple[float, float]:
    """Open a case in a new process: seconds, and growth of memory in MB."""
    code = CHILD.format(classes=CLASSES, timed=OPEN[case])
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(folder)},
    )
    seconds, memory = json.loads(done.stdout.splitlines()[-1])
    return seconds, memory


def main() -> None:
    """Print seconds and the growth of peak memory, one row per case and image size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=30_000)
    images = parser.parse_args().images
    print(f"{'opened':<10} {'image':>9} {'seconds':>9} {'MB':>8}")
    for size in (SMALL, LARGE):
        with tempfile.TemporaryDirectory() as name:
            folder, rng = Path(name), np.random.default_rng(0)
            write_folder(folder, images, size, rng)
            write_parquet(folder, images, size, rng)
            for case in OPEN:
                # Median of three; `datasets` runs once, since later runs reuse its copy.
                runs = [measure(case, folder) for _ in range(1 if case == "datasets" else 3)]
                seconds, memory = sorted(runs)[len(runs) // 2]
                print(f"{case:<10} {size:>7} B {seconds:>9.2f} {memory:>8.1f}", flush=True)


if __name__ == "__main__":
    main()
