"""Time of opening a folder of 30,000 images with labels, masks or boxes.

    python benchmarks/opening.py [--images 30000] [--before CHECKOUT]

Masks and boxes enter the revision by content. Their digests are kept in MARSBENCH_HOME/digests, so
three times are compared: by the sizes of files alone, with no digest kept and the files dropped
from memory (cold), and with kept digests (cached). `--before` times another checkout of the package
too. Each is the median of three new processes, without the imports, in seconds of the clock and of
the processor. Files are written below a temporary folder (set TMPDIR to move it).
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

IMAGE, MASK = 1_000, 3_000
"""Bytes of an image, whose size does not matter, and of a PNG mask of 512 x 512 pixels."""

CLASSES = ["background", "cone", "crater"]

CHILD = """
import sys, time
from pathlib import Path
from marsbench.data.sources import fingerprints, local
from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import ClassInfo, TaskSpec
kind, folder, way = sys.argv[1:]
decode = {{"segmentation": Decode.IMAGE_MASK, "detection": Decode.IMAGE_BOXES}}
names = {classes}[kind == "detection":]
spec = TaskSpec(name="bench", kind=Kind(kind), classes=tuple(map(ClassInfo, names)),
                decode=decode.get(kind, Decode.IMAGE_LABEL), folder="mb-bench")
if way == "sizes":
    fingerprints.cached_digests = lambda files, stats: [str(stat.st_size) for stat in stats]
start = time.perf_counter(), time.process_time()
source = local.LocalSource(spec, Path(folder))
print(time.perf_counter() - start[0], time.process_time() - start[1])
"""


def write(kind: str, folder: Path, images: int, rng: np.random.Generator) -> None:
    """Write a folder in the published layout; images and masks are noise."""
    place = folder / "data" / "train"
    first, *others = {
        "multiclass": ["other"],
        "segmentation": ["images", "masks"],
        "detection": ["images", "labels", "pascal_voc"],
    }[kind]
    for part in (first, *others):
        (place / part).mkdir(parents=True)
    rows = ["file_id,split,feature_name,label"]
    listed, boxes = [], []
    for i in range(images):
        name = f"image_{i * 7919 % 104729:06d}_{i}"
        (place / first / f"{name}.png").write_bytes(rng.bytes(IMAGE))
        rows.append(f"{name}.png,train,{first},{i % len(CLASSES)}")
        if "masks" in others:
            (place / "masks" / f"{name}.png").write_bytes(rng.bytes(MASK))
        if "labels" in others:
            left, top = rng.uniform(0, 400, 2).round(2).tolist()
            (place / "labels" / f"{name}.txt").write_text(f"0 {left / 512:.6f} 0.5 0.1 0.1\n" * 3)
            (place / "pascal_voc" / f"{name}.xml").write_text(
                "<annotation>" + f"<object><name>cone</name>{left} {top}</object>" * 3
            )
            listed.append({"id": i, "file_name": f"{name}.png", "width": 512, "height": 512})
            boxes += [{"image_id": i, "category_id": 1, "bbox": [left, top, 51.2, 51.2]}] * 3
    (folder / "annotation.csv").write_text("\n".join(rows) + "\n")
    (folder / "mapping.json").write_text(json.dumps(dict(enumerate(CLASSES))))
    if boxes:
        content = {"images": listed, "annotations": boxes}
        (place / "coco_annotations.json").write_text(json.dumps(content))


def drop(folder: Path) -> None:
    """Drop the content of files from memory, where the system allows it."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file() and hasattr(os, "posix_fadvise"):
            file = os.open(path, os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def measure(kind: str, folder: Path, way: str, home: Path, checkout: Path) -> list[float]:
    """Open a folder in a new process; seconds of the clock and of the processor."""
    if way == "cold":
        shutil.rmtree(home, ignore_errors=True)
        drop(folder)
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(classes=CLASSES), kind, str(folder), way],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "MARSBENCH_HOME": str(home), "PYTHONPATH": str(checkout)},
    )
    return list(map(float, done.stdout.split()))


def main() -> None:
    """Print seconds, two rows per kind of task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=30_000)
    parser.add_argument("--before", type=Path, help="another checkout, for a further column")
    given = parser.parse_args()
    here = Path(__file__).parent.parent
    ways = {"before": given.before} if given.before else {}
    ways |= dict.fromkeys(("sizes", "cold", "cached"), here)
    print(f"{given.images} images, seconds")
    print(f"{'kind':<14}{'':<10}" + "".join(f"{way:>9}" for way in ways))
    for kind in ("multiclass", "segmentation", "detection"):
        with tempfile.TemporaryDirectory() as name:
            folder, home = Path(name) / "mb-bench", Path(name) / "home"
            write(kind, folder, given.images, np.random.default_rng(0))
            time.sleep(3)  # digests of newer files are not kept
            columns = []
            for way, path in ways.items():
                runs = [measure(kind, folder, way, home, path) for _ in range(3)]
                columns.append([statistics.median(values) for values in zip(*runs, strict=True)])
        for clock, values in zip(("clock", "processor"), zip(*columns, strict=True), strict=True):
            numbers = "".join(f"{value:>9.2f}" for value in values)
            print(f"{kind:<14}{clock:<10}{numbers}", flush=True)


if __name__ == "__main__":
    main()
