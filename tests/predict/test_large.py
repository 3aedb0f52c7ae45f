"""An image of 2 GiB on its way through `predict`, in less memory than its pixels take."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from tests.data.test_raster import MARS, PLACE

HEIGHT, WIDTH, TILE = 65536, 32768, 512

MAKE = """
import sys
import numpy as np, rasterio, rasterio.shutil
from rasterio.windows import Window
from tests.data.test_raster import MARS, PLACE
from tests.predict.test_large import HEIGHT, TILE, WIDTH, tile

strip = np.tile(np.array([0, 128, 255], np.uint8)[tile()], (1, WIDTH // TILE))
profile = {"width": WIDTH, "height": HEIGHT, "count": 1, "dtype": "uint8", "compress": "zstd"}
profile |= {"tiled": True, "blockxsize": TILE, "blockysize": TILE}
plain, image = sys.argv[1:]
with rasterio.open(plain, "w", driver="GTiff", crs=MARS, transform=PLACE, **profile) as file:
    for top in range(0, HEIGHT, TILE):
        file.write(strip, 1, window=Window(0, top, WIDTH, TILE))
rasterio.shutil.copy(plain, image, driver="COG", compress="zstd", overviews="none")
"""

PREDICT = """
import resource, sys
from pathlib import Path
import torch
from marsbench.predict.walk import find_images
from marsbench.predict.run import predict
from marsbench.predict.options import Options
from marsbench.tasks.kinds import Kind
from tests.predict.stubs import predictor

torch.set_num_threads(2)
model, image, out = predictor(Kind.SEGMENTATION, side=128), Path(sys.argv[1]), Path(sys.argv[2])
options = Options(tile=512, overlap=0, device="cpu")
summary = predict(model, find_images([image], model.task).items, out, options)
assert summary.done == 1, summary
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def tile() -> np.ndarray:
    """Class ids of a tile: squares of 8 pixels."""
    kinds = np.random.default_rng(0).integers(0, 3, (TILE // 8, TILE // 8))
    return np.kron(kinds, np.ones((8, 8))).astype(np.uint8)


def started(script: str, *paths: Path) -> str:
    """Run a script in a process of its own; its peak would else be that of the tests."""
    command = [sys.executable, "-c", script, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_gib_pass_in_bounded_memory(tmp_path: Path) -> None:
    image = tmp_path / "large.tif"
    started(MAKE, tmp_path / "plain.tif", image)
    peak = int(started(PREDICT, image, tmp_path / "out").split()[-1])
    print(f"peak {peak / 2**30:.2f} GiB")  # noqa: T201
    assert peak < 2 << 30
    with rasterio.open(tmp_path / "out" / "maps" / "large.tif") as file:
        assert (file.shape, file.crs) == ((HEIGHT, WIDTH), MARS)
        assert file.transform.almost_equals(PLACE)
        for top, left in ((0, 0), (HEIGHT // 2, 7 * TILE), (HEIGHT - TILE, WIDTH - TILE)):
            ids = file.read(1, window=Window(left, top, TILE, TILE))
            # The model sees a quarter of the pixels: edges of squares are blurred.
            assert (ids == tile()).mean() > 0.8
    with rasterio.open(tmp_path / "out" / "overlays" / "large.tif") as file:
        assert (file.count, file.crs, file.shape) == (3, MARS, (4096, 2048))
        assert file.transform[:6] == (32, 0, PLACE.c, 0, -32, PLACE.f)
