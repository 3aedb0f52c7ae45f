"""Own encoders on masks and boxes: by their own function, or by timm's maps."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import marsbench
from marsbench.base.errors import MarsbenchError
from marsbench.config.schema import RunConfig
from marsbench.models.spec import CLASSIFICATION, EVERY
from marsbench.models.zoo.catalog import find_model
from marsbench.plan.resolve import resolve
from marsbench.tasks.kinds import Decode, Kind
from tests.fakes import make_spec, write_folder, write_spec

HEAD = """
import torch
from torch import nn
from marsbench import Encoder

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 16, stride=16)
        self.block = nn.Linear(12, 12)

    def tokens(self, image):
        first = self.patches(image).flatten(2).transpose(1, 2)
        return [first, first + self.block(first)]

    def forward(self, image):
        return self.tokens(image)[-1].mean(1)

def encoder(pretrained=True):
    torch.manual_seed(0)
    net = Net()
"""
TOKENS = (
    HEAD + "    return Encoder(net, num_features=12, dense=net.tokens, size=64, any_size=True)\n"
)
MAPS = HEAD + (
    "    maps = lambda x: [nn.functional.avg_pool2d(x, 4), net.patches(x)]\n"
    "    return Encoder(net, num_features=12, dense=maps, size=64)\n"
)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, str]:
    """Paths of a task of masks and of one of boxes."""
    classes = ("background", "crater", "dune")
    specs = (
        make_spec(Kind.SEGMENTATION, classes, decode=Decode.IMAGE_MASK),
        make_spec(Kind.DETECTION, classes[1:], decode=Decode.IMAGE_BOXES),
    )
    paths = {}
    for spec in specs:
        root = tmp_path_factory.mktemp(spec.kind)
        folder = write_folder(spec, root, {"train": 3, "val": 2, "test": 2}, side=40)
        paths[spec.kind] = str(write_spec(spec, folder / "task.yaml"))
    return paths


def written(folder: Path, text: str) -> Path:
    path = folder / "my_encoder.py"
    path.write_text(text)
    return path


def keys(task: str, model: Path, **more: Any) -> dict[str, Any]:
    return {"task": task, "model": str(model), "workers": 0, "trainer.max_epochs": 1, **more}


@pytest.mark.parametrize(
    ("text", "kind", "mode", "decoder"),
    [
        (TOKENS, Kind.SEGMENTATION, "frozen", "linear"),
        (MAPS, Kind.SEGMENTATION, "finetune", "upernet"),
        (TOKENS, Kind.DETECTION, "scratch", "faster_rcnn"),
    ],
)
def test_runs_end_in_a_record(
    tasks: dict[Kind, str], tmp_path: Path, text: str, kind: Kind, mode: str, decoder: str
) -> None:
    own = written(tmp_path, text)
    store = tmp_path / "runs"
    values = keys(tasks[kind], own, mode=mode, decoder=decoder, store=str(store))
    if "any_size" in text:
        values["side"] = 64
    record = marsbench.run(**values)
    assert record.identity["decoder"] == decoder
    assert record.model == "own:my_encoder"
    from marsbench.predict.load import load

    assert load(record.run_id, store, model=str(own)).side == 64


def test_sizes_are_those_of_the_encoder(tasks: dict[Kind, str], tmp_path: Path) -> None:
    own = written(tmp_path, MAPS.replace("size=64", "size=48"))
    assert resolve(RunConfig.from_dict(keys(tasks[Kind.DETECTION], own))).side == 48
    with pytest.raises(MarsbenchError, match="side=96 cannot be chosen"):
        resolve(RunConfig.from_dict(keys(tasks[Kind.SEGMENTATION], own, side=96)))


def test_vectors_alone_serve_labels(tasks: dict[Kind, str], tmp_path: Path) -> None:
    own = written(tmp_path, HEAD + "    return Encoder(net, num_features=12, size=64)\n")
    assert find_model(str(own)).kinds == CLASSIFICATION
    with pytest.raises(MarsbenchError, match="does not support segmentation"):
        resolve(RunConfig.from_dict(keys(tasks[Kind.SEGMENTATION], own)))
    own.write_text(TOKENS)
    assert find_model(str(own)).kinds == EVERY


BROKEN = {
    "not a function": ("dense=3", "expected a function"),
    "class token": ("dense=lambda x: torch.cat([net.tokens(x)[0]] * 2, 1)", "is no square"),
    "vectors": ("dense=net.forward", "expected tokens"),
    "raises": ("dense=lambda x: net.missing(x)", "AttributeError"),
    "empty": ("dense=lambda x: []", "list of feature maps is empty"),
    "order": ("dense=lambda x: [net.patches(x), x]", "expected the finest first"),
    "chance": ("dense=lambda x: torch.rand(2, 5, 4, 4)", "equal images give other feature maps"),
    "unsaved": ("dense=type(net)().tokens", "outside of module.state_dict()"),
    "NaN": ("dense=lambda x: net.patches(x) * float('nan')", "maps hold NaN"),
    "constant": ("dense=lambda x: net.patches(x) * 0", "equal feature maps"),
    "batch": ("dense=lambda x: net.patches(x)[:1]", "expected (2, F, n, n)"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_maps_have_one_message(tasks: dict[Kind, str], tmp_path: Path, name: str) -> None:
    field, part = BROKEN[name]
    # Random weights differ from the pre-trained ones.
    head = HEAD.replace("manual_seed(0)", "manual_seed(pretrained)") if name == "unsaved" else HEAD
    own = written(tmp_path, head + f"    return Encoder(net, num_features=12, {field}, size=64)\n")
    with pytest.raises(MarsbenchError) as caught:
        marsbench.run(**keys(tasks[Kind.SEGMENTATION], own), store=str(tmp_path / "runs"))
    assert part in str(caught.value)
    assert len(str(caught.value)) < 900


def test_the_check_says_which_tasks_are_served(tmp_path: Path, python: str) -> None:
    own = written(tmp_path, TOKENS)
    command = [python, "-m", "marsbench", "model", "check", str(own), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    facts = {row["fact"]: row["value"] for row in map(json.loads, done.stdout.splitlines())}
    assert facts["tasks"] == "classification, detection, segmentation"
    own.write_text(HEAD + "    return Encoder(net, num_features=12, dense=net.forward, size=64)\n")
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert "expected tokens" in failed.stdout
