"""Encoders of users: found, described, trained, predicted with, and never executed unnamed."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import marsbench
from marsbench.base.errors import ConfigError, MarsbenchError, NotAvailableError, WeightsError
from marsbench.config.schema import RunConfig
from marsbench.models.own.calling import place_of
from marsbench.models.spec import Library
from marsbench.models.zoo.catalog import find_model, get_model
from marsbench.plan.resolve import resolve
from marsbench.predict.load import load
from marsbench.results.store import Store
from marsbench.sweep.suites import canonical, expand, load_suite, narrowed

SOURCE = """
import timm
from marsbench import Encoder, Pretraining
from pathlib import Path
from safetensors.torch import load_file

def encoder(pretrained=True):
    net = timm.create_model("test_resnet", num_classes=0)
    if pretrained:
        net.load_state_dict(load_file(Path(__file__).with_name("w.safetensors")))
    facts = Pretraining(data="a thousand rocks", images=1000, licence="MIT", overlaps=())
    return Encoder(net, num_features=net.num_features, size=64, mean=(0.5,) * 3, std=(0.5,) * 3,
                   any_size=True, pretraining=facts, files=("w.safetensors",))
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """File of an encoder beside its weights."""
    import timm

    torch.manual_seed(3)
    net = timm.create_model("test_resnet", num_classes=0)
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    path = tmp_path / "my_encoder.py"
    path.write_text(SOURCE)
    return path


def keys(task: str, model: Path | str, **more: Any) -> dict[str, Any]:
    return {
        "task": task,
        "model": str(model),
        "trainer.max_epochs": 1,
        "workers": 0,
        **more,
    }


def run_id(task: str, model: Path | str, **more: Any) -> str:
    return resolve(RunConfig.from_dict(keys(task, model, **more))).run_id


def test_words_that_name_functions() -> None:
    assert place_of("./a/my.py") == (str(Path("a/my.py").absolute()), "encoder")
    assert place_of("my.py:build") == (str(Path("my.py").absolute()), "build")
    assert place_of("package.module:function") == ("package.module", "function")
    for word in ("timm:resnet18", "smp:unet/resnet34", "vit_l_16", "own:my_encoder"):
        assert place_of(word) is None


@pytest.mark.parametrize("mode", ["scratch", "frozen", "finetune"])
def test_every_mode_ends_in_a_record(toy: str, own: Path, tmp_path: Path, mode: str) -> None:
    record = marsbench.run(**keys(toy, own, mode=mode), store=str(tmp_path / "runs"))
    assert record.model == "own:my_encoder"
    assert record.run_id.split("/")[1] == "own-my_encoder"
    assert record.pretraining is not None
    expected = "none" if mode == "scratch" else "a thousand rocks"
    assert record.pretraining.data == expected


def test_the_id_covers_source_and_files(toy: str, own: Path) -> None:
    before = run_id(toy, own)
    assert run_id(toy, f"{own}:encoder") == before
    state = {"x": torch.ones(1)}
    (own.parent / "other.txt").write_text("not named")
    assert run_id(toy, own) == before
    own.write_text(SOURCE + "\n# another comment\n")
    changed = run_id(toy, own)
    assert changed != before
    save_file(state, own.parent / "w.safetensors")
    assert run_id(toy, own) not in (before, changed)


def test_the_same_network_as_a_zoo_entry_scores_the_same(
    toy: str, own: Path, tmp_path: Path
) -> None:
    import timm

    torch.manual_seed(3)
    net = timm.create_model("test_resnet", num_classes=0)
    full: Any = timm.create_model("test_resnet")
    state = full.state_dict() | net.state_dict()
    save_file(state, tmp_path / "full.safetensors")
    cfg = full.pretrained_cfg
    side = cfg["input_size"][-1]
    text = SOURCE.replace("(0.5,) * 3", repr(tuple(cfg["mean"])), 1)
    text = text.replace("std=(0.5,) * 3", f"std={tuple(cfg['std'])!r}")
    own.write_text(text.replace("size=64", f"size={side}"))
    store = str(tmp_path / "runs")
    ours = marsbench.run(**keys(toy, own), store=store)
    theirs = marsbench.run(
        **keys(toy, "timm:test_resnet", weights=str(tmp_path / "full.safetensors")), store=store
    )
    assert ours.metrics == theirs.metrics


def test_a_function_without_pretrained_cannot_start_at_random(toy: str, own: Path) -> None:
    own.write_text(SOURCE.replace("pretrained=True", "").replace("if pretrained", "if True"))
    assert run_id(toy, own, mode="frozen")
    with pytest.raises(ConfigError, match="no parameter 'pretrained'"):
        run_id(toy, own, mode="scratch")


def test_sweeps_name_files_absolutely(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own.parent)
    assert canonical("model", "./my_encoder.py") == (f"{own}:encoder",)


def test_an_own_encoder_takes_the_place_of_the_models_of_a_suite(own: Path) -> None:
    suite = narrowed(load_suite("frozen_demo"), {"model": [str(own)], "subset": ["full"]})
    runs = expand(suite, {})
    assert {config.model for config in runs} == {f"{own}:encoder"}
    assert len({config.task for config in runs}) == 9
    boxes = expand(narrowed(load_suite("paper_det"), {"model": [str(own)]}), {})
    assert {config.model for config in boxes} == {f"{own}:encoder"}
    vectors = own.with_name("vectors.py")
    vectors.write_text(HEAD + "return Encoder(Net(), num_features=3)\n")
    with pytest.raises(ConfigError, match="has no model="):
        narrowed(load_suite("paper_det"), {"model": [str(vectors)]})


def test_prediction_demands_the_encoder_and_compares_it(
    toy: str, own: Path, tmp_path: Path
) -> None:
    store = tmp_path / "runs"
    record = marsbench.run(**keys(toy, own), store=str(store))
    marker = own.parent / "executed"
    own.write_text(SOURCE + f"\nopen({str(marker)!r}, 'w')\n")
    with pytest.raises(NotAvailableError, match="encoder of a user"):
        load(record.run_id, store)
    assert not marker.exists()
    with pytest.raises(WeightsError, match="unchanged"):
        load(record.run_id, store, model=str(own))
    own.write_text(SOURCE)
    predictor = load(record.run_id, store, model=str(own))
    frame = Store(store).predictions(record.run_id)
    row = frame[frame["split"] == "test"].iloc[0]
    from PIL import Image

    image = np.asarray(Image.open(next(Path(toy).parent.rglob(row["sample_id"]))))
    unit = torch.from_numpy(image[None, None] / np.float32(255))
    unit = torch.nn.functional.interpolate(unit, (64, 64), mode="bilinear")
    with torch.no_grad():
        scores = predictor.label(unit)[0].numpy()
    np.testing.assert_allclose(scores, row["scores"], atol=2e-3)


def test_weights_are_those_of_the_module(toy: str, own: Path, tmp_path: Path) -> None:
    (tmp_path / "other.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes())
    store = tmp_path / "runs"
    given = str(tmp_path / "other.safetensors")
    record = marsbench.run(**keys(toy, own, weights=given), store=str(store))
    default = marsbench.run(**keys(toy, own), store=str(store))
    assert record.run_id != default.run_id
    assert record.weights is not None
    assert default.weights is not None
    assert record.weights["sha256"] == default.weights["sha256"]
    assert load(record.run_id, store, model=str(own)).side == 64


def test_names_in_records_execute_nothing() -> None:
    with pytest.raises(NotAvailableError, match="own:x is an encoder of a user"):
        get_model("own:x")


def test_functions_of_packages_have_their_version_in_the_id(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from importlib import metadata

    package = tmp_path / "rocknet"
    package.mkdir()
    text = (
        "import timm\nfrom marsbench import Encoder\n\ndef small(pretrained=True):\n"
        "    net = timm.create_model('test_resnet', num_classes=0)\n"
        "    return Encoder(net, num_features=net.num_features, size=64, any_size=True)\n"
    )
    (package / "__init__.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    version = ["1.0"]
    monkeypatch.setattr(metadata, "packages_distributions", lambda: {"rocknet": ["rocknet"]})
    monkeypatch.setattr(metadata, "version", lambda name: version[0])
    from marsbench.models.own import calling

    first = find_model("rocknet:small")
    assert (first.library, first.name) == (Library.OWN, "own:rocknet.small")
    version[0] = "1.1"
    calling._described.cache_clear()
    assert find_model("rocknet:small").architecture != first.architecture


def test_entry_points_are_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    from marsbench.models.own import calling

    point = metadata.EntryPoint("rocks", "rocknet.models:small", calling.GROUP)
    points = metadata.EntryPoints((point,))
    monkeypatch.setattr(metadata, "entry_points", lambda group: points)
    assert place_of("rocks") == ("rocknet.models", "small")
    assert place_of("stones") is None


BROKEN = {
    "no file": (None, "no such file"),
    "syntax": ("def encoder(:\n", "SyntaxError"),
    "no function": ("x = 1\n", "Unknown function"),
    "raises": ("def encoder():\n    raise ValueError('no weights')\n", "ValueError: no weights"),
    "not an encoder": ("def encoder():\n    return 3\n", "returns int"),
    "not a module": ("return Encoder(3, num_features=2)", "module of"),
    "wrong length": ("return Encoder(Net(), num_features=7)", "expected (2, 7)"),
    "wrong channels": (
        "return Encoder(Net(), num_features=3, mean=(0.5,), std=(0.5,))",
        "RuntimeError",
    ),
    "no features": ("return Encoder(Net(), num_features=0)", "'num_features' is 0"),
    "statistics": ("return Encoder(Net(), num_features=3, mean=(0.5,))", "'std' 3"),
    "missing file": ("return Encoder(Net(), num_features=3, files=('w.pt',))", "missing below"),
    "outside": ("return Encoder(Net(), num_features=3, files=('../w.pt',))", "not below"),
    "nan": ("return Encoder(Net(scale=float('nan')), num_features=3)", "NaN or infinity"),
    "chance": ("return Encoder(Net(noise=1), num_features=3)", "equal images give other features"),
    "batch": ("return Encoder(Net(batch=True), num_features=3)", "alone than in a batch"),
    "constant": ("return Encoder(Net(scale=0), num_features=3)", "equal features"),
    "unsaved": (
        "torch.manual_seed(pretrained); return Encoder(Listed(), num_features=3)",
        "outside of module.state_dict()",
    ),
    "random": ("return Encoder(Net(), num_features=3)", "two calls give other weights"),
    "not a tensor": ("return Encoder(Net(listed=True), num_features=3)", "output is list"),
    "device": ("return Encoder(Net(device='meta'), num_features=3)", "on meta"),
    "too large": ("return Encoder(Huge(), num_features=3)", "GiB; expected at most"),
    "pickle": (
        "return Encoder(torch.load('w.pt', weights_only=True), num_features=3)",
        "FileNotFoundError",
    ),
}

HEAD = """
import torch
from torch import nn
from marsbench import Encoder

class Net(nn.Module):
    def __init__(self, scale=1, noise=0, batch=False, listed=False, device=None):
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 3)
        self.how = scale, noise, batch, listed, device

    def forward(self, image):
        scale, noise, batch, listed, device = self.how
        out = self.layer(image).mean((2, 3)) * scale
        out = out + noise * torch.rand_like(out)
        out = out - out.mean(0) if batch else out
        return [out] if listed else out.to(device) if device else out

class Listed(Net):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(3, 3)]

    def forward(self, image):
        return self.layers[0](super().forward(image))

class Huge(Net):
    def __init__(self):
        super().__init__()
        self.more = nn.Parameter(torch.empty(2**36, device='meta'))

def encoder(pretrained=True):
    """


@pytest.mark.parametrize("name", BROKEN)
def test_broken_encoders_have_one_message(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    text, part = BROKEN[name]
    path = tmp_path / "broken.py"
    if text is not None:
        path.write_text(HEAD + text + "\n" if "return Encoder" in text else text)
    with pytest.raises(MarsbenchError) as caught:
        marsbench.run(**keys(toy, path), store=str(tmp_path / "runs"))
    message = str(caught.value)
    assert part in message, message
    assert len(message) < 900


def test_the_command_checks_an_encoder(own: Path, python: str) -> None:
    command = [python, "-m", "marsbench", "model", "check", str(own), "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    facts = {row["fact"]: row["value"] for row in map(json.loads, done.stdout.splitlines())}
    assert facts["model"] == "own:my_encoder"
    assert "problem" not in facts
    own.write_text(HEAD + "return Encoder(Net(noise=1), num_features=3)\n")
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert "equal images give other features" in failed.stdout
    assert "Traceback" not in failed.stderr
