"""An image of 2 GiB on its way through `predict`, in less memory than its pixels take."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.windows import Window

from tests.data.test_raster import MARS, PLACE

HEIGHT, WIDTH, TILE = 65536, 32768, 512

CHILD = """
import resource, sys
from pathlib import Path
import torch
from marsbench.predict.inputs import find_images
from marsbench.predict.run import Options, predict
from marsbench.tasks.kinds import Kind
from tests.predict.stubs import predictor

torch.set_num_threads(2)
model, image, out = predictor(Kind.SEGMENTATION, side=128), Path(sys.argv[1]), Path(sys.argv[2])
options = Options(tile=512, overlap=0, device="cpu")
summary = predict(model, find_images([image], model.task, out), out, options)
assert summary.done == 1, summary
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_gib_pass_in_bounded_memory(tmp_path: Path) -> None:
    # Squares of 8 pixels that are dark, grey or bright, the same in every tile.
    kinds = np.random.default_rng(0).integers(0, 3, (TILE // 8, TILE // 8))
    tile = np.kron(kinds, np.ones((8, 8))).astype(np.uint8)
    strip = np.tile(np.array([0, 128, 255], np.uint8)[tile], (1, WIDTH // TILE))
    profile = {"width": WIDTH, "height": HEIGHT, "count": 1, "dtype": "uint8"}
    profile |= {"tiled": True, "blockxsize": TILE, "blockysize": TILE, "compress": "zstd"}
    plain, image = tmp_path / "plain.tif", tmp_path / "large.tif"
    with rasterio.open(plain, "w", driver="GTiff", crs=MARS, transform=PLACE, **profile) as file:
        for top in range(0, HEIGHT, TILE):
            file.write(strip, 1, window=Window(0, top, WIDTH, TILE))
    rasterio.shutil.copy(plain, image, driver="COG", compress="zstd", overviews="none")
    command = [sys.executable, "-c", CHILD, str(image), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 2 << 30, done.stdout
    with rasterio.open(tmp_path / "out" / "maps" / "large.tif") as file:
        assert (file.shape, file.crs) == ((HEIGHT, WIDTH), MARS)
        assert file.transform.almost_equals(PLACE)
        for top, left in ((0, 0), (HEIGHT // 2, 7 * TILE), (HEIGHT - TILE, WIDTH - TILE)):
            ids = file.read(1, window=Window(left, top, TILE, TILE))
            # The model sees a quarter of the pixels: edges of squares are blurred.
            assert (ids == tile).mean() > 0.8
    with rasterio.open(tmp_path / "out" / "overlays" / "large.tif") as file:
        assert (file.count, file.crs, file.shape) == (3, MARS, (4096, 2048))
        assert file.transform[:6] == (32, 0, PLACE.c, 0, -32, PLACE.f)
