from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from marsbench.tasks.kinds import Decode, Kind
from tests.device import backend
from tests.device.tensors import second
from tests.fakes import make_spec, write_folder, write_spec

CLASSES = ("background", "crater", "dune")
SPECS = {
    "labels": make_spec(),
    "many": make_spec(Kind.MULTILABEL),
    "masks": make_spec(Kind.SEGMENTATION, CLASSES, decode=Decode.IMAGE_MASK),
    "boxes": make_spec(Kind.DETECTION, CLASSES[1:], decode=Decode.IMAGE_BOXES),
}


SIZES = {"masks": {"train": 8, "val": 4, "test": 4}, "boxes": {"train": 8, "val": 4, "test": 2}}


@pytest.fixture(autouse=True, scope="session")
def device() -> torch.device:
    """The second device, which stays registered in this process."""
    backend.set_up()
    return second()


@pytest.fixture(scope="session")
def vit_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of weights for timm:test_vit."""
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    return str(path)


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Write the folder of a small task; returns the path of its YAML."""
    place = tmp_path_factory.mktemp("data")

    def written(name: str) -> str:
        spec, sizes = SPECS[name], SIZES.get(name)
        path: Path = place / name / spec.folder / "task.yaml"
        if not path.exists():
            write_folder(spec, place / name, sizes, side=32 if sizes is None else 40)
            write_spec(spec, path)
        return str(path)

    return written
