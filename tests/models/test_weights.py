import hashlib
import pickle
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision import models

from marsbench.base.errors import WeightsError
from marsbench.base.files import file_digest
from marsbench.models import weights
from marsbench.models.encoders.classifier import build_classifier
from marsbench.models.tensors import read_checkpoint
from marsbench.models.zoo.catalog import get_model

SPEC = get_model("timm:test_resnet")


@pytest.fixture(scope="module")
def donor() -> nn.Module:
    import timm

    return timm.create_model("test_resnet", num_classes=7)


def loads(path: Path, donor: nn.Module) -> bool:
    backbone = build_classifier(SPEC, 3, pretrained=True, checkpoint=path).backbone.state_dict()
    given = donor.state_dict()
    return all(torch.equal(tensor, given[name]) for name, tensor in backbone.items())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": {f"module.{k}": v for k, v in state.items()}},
        lambda state: {"state_dict": {f"model.backbone.{k}": v for k, v in state.items()}},
        lambda state: {
            f"module.{k}": v for k, v in state.items() if not k.endswith("num_batches_tracked")
        },
    ],
    ids=["plain", "state_dict", "distributed", "nested prefixes", "without counts"],
)
def test_torch_checkpoints(
    wrap: Callable[[dict[str, Any]], dict[str, Any]], donor: nn.Module, tmp_path: Path
) -> None:
    torch.save(wrap(donor.state_dict()), tmp_path / "x.pth")
    assert loads(tmp_path / "x.pth", donor)


def test_safetensors_and_our_own_models(donor: nn.Module, tmp_path: Path) -> None:
    save_file(donor.state_dict(), tmp_path / "x.safetensors")
    assert loads(tmp_path / "x.safetensors", donor)
    ours = build_classifier(SPEC, 3, pretrained=True, checkpoint=tmp_path / "x.safetensors")
    save_file(ours.state_dict(), tmp_path / "ours.safetensors")
    assert loads(tmp_path / "ours.safetensors", donor)


class Malicious:
    """A pickle that runs a command when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.target), "w"))


def test_a_pickle_that_executes_code_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": Malicious(tmp_path / "executed")}, tmp_path / "bad.pth")
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps(Malicious(tmp_path / "executed")))
    for name in ("bad.pth", "bad.pkl"):
        with pytest.raises(WeightsError) as caught:
            read_checkpoint(tmp_path / name)
        assert "refused" in str(caught.value)
        assert name in str(caught.value)
        assert "safetensors" in str(caught.value)
    assert not (tmp_path / "executed").exists()


class Widget(nn.Module):
    """A module of a library that checkpoints name."""

    def __init__(self, marker: str = "") -> None:
        super().__init__()
        if marker:
            Path(marker).touch()
        self.scale = nn.Parameter(torch.rand(3))
        self.register_buffer("seen", torch.tensor([2.0]))
        self.register_buffer("grid", torch.ones(2), persistent=False)

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "marker" in state:
            Path(state["marker"]).touch()
        super().__setstate__(state)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: model,
        lambda model: {"model": model, "ema": None, "epoch": 1, "args": Namespace(lr=1)},
        lambda model: {"model": Widget(), "ema": model},
        lambda model: {"state_dict": model.state_dict(), "hyper_parameters": Widget()},
    ],
    ids=["module", "model", "ema", "parameters of Lightning"],
)
def test_pickled_modules_are_read_as_their_tensors(
    wrap: Callable[[nn.Module], Any], tmp_path: Path
) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), Widget())
    torch.save(wrap(model), tmp_path / "x.pt")
    read = read_checkpoint(tmp_path / "x.pt")
    expected = model.state_dict()
    assert list(read) == list(expected)
    assert all(torch.equal(read[name], tensor) for name, tensor in expected.items())


def test_mappings_of_modules_are_read_as_their_tensors(tmp_path: Path) -> None:
    parts = {"encoder": {"a": torch.ones(1)}, "pool": {"a": torch.zeros(2)}, "epoch": 3}
    torch.save(parts, tmp_path / "x.pt")
    read = read_checkpoint(tmp_path / "x.pt")
    assert {name: len(tensor) for name, tensor in read.items()} == {"encoder.a": 1, "pool.a": 2}


class Constructed:
    """A pickle that constructs a class with arguments of its own, or sets its state."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def test_no_class_is_constructed_nor_set_by_a_file(tmp_path: Path) -> None:
    marker = str(tmp_path / "executed")
    for number, reduced in enumerate(
        [(Widget, (marker,)), (Widget, (), {"marker": marker}), (nn.Sequential, (Widget(),))]
    ):
        torch.save({"model": Constructed(*reduced)}, tmp_path / f"{number}.pt")
        with pytest.raises(WeightsError, match="no tensors"):
            read_checkpoint(tmp_path / f"{number}.pt")
    # Other packages may allow their classes; a checkpoint may not use them.
    with torch.serialization.safe_globals([Widget]):
        torch.save({"a": torch.ones(1), "b": Constructed(Widget, (marker,))}, tmp_path / "x.pt")
        assert list(read_checkpoint(tmp_path / "x.pt")) == ["a"]
        assert Widget in torch.serialization.get_safe_globals()
    assert not Path(marker).exists()


def test_modules_without_end_are_refused(tmp_path: Path) -> None:
    ring = nn.Module()
    ring._modules["self"] = ring
    torch.save(ring, tmp_path / "ring.pt")
    wide = nn.Module()
    for _ in range(40):
        outer = nn.Module()
        outer._modules.update(a=wide, b=wide)
        wide = outer
    torch.save(wide, tmp_path / "wide.pt")
    for name in ("ring.pt", "wide.pt"):
        with pytest.raises(WeightsError, match=rf"{name} is damaged .* nests more than"):
            read_checkpoint(tmp_path / name)


def test_packed_and_sparse_tensors_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "plain.pt")
    with (
        ZipFile(tmp_path / "plain.pt") as plain,
        ZipFile(tmp_path / "packed.pt", "w", ZIP_DEFLATED) as packed,
    ):
        for info in plain.infolist():
            packed.writestr(info.filename, plain.read(info))
    with pytest.raises(WeightsError, match=r"packed\.pt .* does not compress"):
        read_checkpoint(tmp_path / "packed.pt")
    torch.save({"a": torch.eye(3).to_sparse()}, tmp_path / "sparse.pt")
    with pytest.raises(WeightsError, match="sparse"):
        read_checkpoint(tmp_path / "sparse.pt")


def test_bad_files_name_the_file(tmp_path: Path, donor: nn.Module) -> None:
    torch.save(donor.state_dict(), tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "page.safetensors").write_text("<html>")
    torch.save({"a": 1}, tmp_path / "numbers.pth")
    for name in ("cut.pth", "empty.pth", "page.safetensors", "numbers.pth", "none.pth"):
        with pytest.raises(WeightsError, match=name):
            read_checkpoint(tmp_path / name)


def test_checkpoint_of_another_model(tmp_path: Path) -> None:
    import timm

    other = timm.create_model("test_vit", num_classes=7)
    torch.save(other.state_dict(), tmp_path / "vit.pth")
    with pytest.raises(WeightsError) as caught:
        build_classifier(SPEC, 3, pretrained=True, checkpoint=tmp_path / "vit.pth")
    for word in ("another model", "vit.pth", "is missing", "also has"):
        assert word in str(caught.value)


def test_checkpoint_of_another_width(tmp_path: Path, donor: nn.Module) -> None:
    state = donor.state_dict()
    state["conv1.0.weight" if "conv1.0.weight" in state else "conv1.weight"] = torch.zeros(
        1, 3, 3, 3
    )
    torch.save(state, tmp_path / "wide.pth")
    with pytest.raises(WeightsError, match="differs in 1 tensor"):
        build_classifier(SPEC, 3, pretrained=True, checkpoint=tmp_path / "wide.pth")


def test_digest_names_the_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"1")
    assert file_digest(tmp_path / "a") == file_digest(tmp_path / "b")
    (tmp_path / "b").write_bytes(b"2")
    assert file_digest(tmp_path / "a") != file_digest(tmp_path / "b")
    with pytest.raises(WeightsError, match="nowhere"):
        file_digest(tmp_path / "nowhere")


def test_offline_weights_are_image_net() -> None:
    """Loaded by order into timm's architecture, they must still classify: a smoke test of that.

    Neighbouring class logits of the removed classifier cannot be had, so the features are tested:
    those of an image and of its mirror image are far closer than those of two noises.
    """
    model = build_classifier(get_model("efficientnet_lite0"), 2, pretrained=True).eval()
    y, x = torch.meshgrid(torch.linspace(-1, 1, 224), torch.linspace(-1, 1, 224), indexing="ij")
    disc = ((x - 0.2) ** 2 + y**2 < 0.3).float()[None, None]
    bars = ((x * 12).sin() > 0).float()[None, None]
    with torch.inference_mode():
        a, b, c = (model.features(i)[0] for i in (disc, disc.flip(-1), bars))
    cosine = torch.nn.functional.cosine_similarity
    assert cosine(a, b, dim=0) > cosine(a, c, dim=0) + 0.2


# One of each kind of classifier: two heads, none but a linear layer, auxiliary ones, a version.
@pytest.mark.parametrize(
    "name",
    [
        "timm:deit_tiny_distilled_patch16_224",
        "timm:levit_128s",
        "timm:regnety_002",
        "torchvision:googlenet",
        "torchvision:mnasnet0_5",
        "torchvision:densenet121",
        "torchvision:squeezenet1_1",
    ],
)
def test_full_checkpoints_of_the_libraries_fit(name: str, tmp_path: Path) -> None:
    import timm
    from torchvision import models

    library, _, model_id = name.partition(":")
    torch.manual_seed(0)
    full = (
        timm.create_model(model_id)
        if library == "timm"
        else models.get_model(model_id, weights=None)
    )
    torch.save(full.state_dict(), tmp_path / "full.pth")
    model = build_classifier(get_model(name), 3, pretrained=True, checkpoint=tmp_path / "full.pth")
    given = full.state_dict()
    for key, tensor in model.backbone.state_dict().items():
        assert torch.equal(tensor, given[key]), key


def test_a_replaced_file_of_named_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    spec = get_model("squeezenet")
    path = weights.torch_cache(models.SqueezeNet1_1_Weights.DEFAULT.url)
    path.parent.mkdir(parents=True)
    torch.save(models.squeezenet1_1().state_dict(), path)
    with pytest.raises(WeightsError, match="is not the published file"):
        weights.download(spec)


def test_a_replaced_file_of_the_hubs_cache_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The cache names a file by its SHA-256, and links to it from the commit.
    state = {"weight": torch.zeros(2)}
    save_file(state, tmp_path / "saved")
    blob = tmp_path / hashlib.sha256((tmp_path / "saved").read_bytes()).hexdigest()
    (tmp_path / "saved").rename(blob)
    (tmp_path / "model.safetensors").symlink_to(blob)
    monkeypatch.setattr(weights, "file_of", lambda spec: tmp_path / "model.safetensors")
    monkeypatch.setattr("marsbench.base.lazy.load", lambda path: lambda spec: load_file(blob))
    assert weights.download(get_model("vit")).keys() == state.keys()
    save_file({"weight": torch.ones(2)}, blob)
    with pytest.raises(WeightsError, match="is not the published file"):
        weights.download(get_model("vit"))
