"""Class maps of the test split: names come from the data."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from marsbench.results.store import map_path
from marsbench.training.loop import evaluation


def test_maps_stay_in_their_folder_whatever_a_sample_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "run"
    ids = ["a.png", "deep/a.png", "../../x", "../x", "/x", "x/../../y", "", "..", "b" * 255]
    ids += ["n\nx", os.fsdecode(b"\xd6l"), "a.png/x", "c\\d", "/".join(["d" * 200] * 10)]
    for number, sample_id in enumerate(ids):
        evaluation._write_map(folder, sample_id, np.full((3, 4), number, np.uint8))
    for number, sample_id in enumerate(ids):
        with Image.open(map_path(folder, sample_id)) as opened:
            assert np.array(opened)[0, 0] == number
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert [path.name for path in folder.iterdir()] == ["maps"]
    assert map_path(folder, "deep/a.png") == folder / "maps" / "deep" / "a.png.png"
    assert not list(folder.rglob("*.part"))
