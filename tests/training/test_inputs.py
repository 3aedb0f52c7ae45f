"""Runs on images of more bands, with adapted channels and other normalisations."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import yaml

import marsbench
from marsbench.base.errors import ConfigError, MarsbenchError
from marsbench.config.schema import RunConfig
from marsbench.plan.resolve import resolve
from marsbench.results.store import Store
from marsbench.tasks.catalog import get_task
from marsbench.tasks.kinds import Decode, Kind
from marsbench.training.frozen.features import Encoder
from marsbench.training.inputs import prepared_inputs
from marsbench.training.trained import rebuild
from tests.fakes import make_spec, write_folder, write_spec

BANDS = ["B1", "blue", "green", "red", *(f"B{i}" for i in range(5, 13))]
"""Names of twelve bands."""


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A custom task of images of twelve bands, whose class shows in one band."""
    folder = tmp_path_factory.mktemp("twelve")
    rng = np.random.default_rng(0)
    task = {"name": "twelve", "kind": "binary", "bands": BANDS, "classes": ["dust", "rock"]}
    (folder / "task.yaml").write_text(yaml.safe_dump(task))
    (folder / "mapping.json").write_text(json.dumps({"0": ["du", "dust"], "1": ["ro", "rock"]}))
    rows = ["file_id,split,feature_name,label"]
    for split, count in (("train", 12), ("val", 6), ("test", 6)):
        for i in range(count):
            image = rng.integers(0, 100, (12, 32, 32), np.uint8)
            image[7] += 100 * (i % 2)
            name = "duro"[2 * (i % 2) :][:2]
            path = folder / "data" / split / name / f"{split}_{i}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            tifffile.imwrite(path, image, planarconfig="separate", photometric="minisblack")
            rows.append(f"{path.name},{split},{name},{i % 2}")
    (folder / "annotation.csv").write_text("\n".join(rows) + "\n")
    return folder


def config(task: Path | str, **more: Any) -> dict[str, Any]:
    return {
        "task": str(task),
        "model": "timm:test_vit",
        "mode": "scratch",
        "trainer.max_epochs": 1,
        "workers": 0,
        **more,
    }


def test_a_task_of_named_bands_needs_no_channels(twelve: Path) -> None:
    task = get_task(str(twelve))
    assert task.channels == 12
    assert task.rgb_bands == (3, 2, 1)


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        ({"bands": "all"}, ("12 bands", "3 channels", "bands=rgb or channels=learned")),
        ({"channels": "zero"}, ("channels=zero has no effect",)),
        ({"model": "unet_lite0"}, ("does not support binary",)),
        (
            {"model": "logistic", "task": "ega_ms", "source": "demo", "normalisation": "data"},
            ("normalisation=data is for images",),
        ),
    ],
)
def test_wrong_numbers_of_bands_name_the_remedy(
    twelve: Path, more: dict[str, Any], parts: tuple[str, ...]
) -> None:
    with pytest.raises(MarsbenchError) as caught:
        resolve(RunConfig.from_dict(config(twelve) | more))
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_masks_of_nameless_bands_need_bands_all(tmp_path: Path) -> None:
    """The filters of three colours would else meet seven bands in training."""
    spec = make_spec(
        Kind.SEGMENTATION, ("background", "dune"), decode=Decode.IMAGE_MASK, channels=7
    )
    task = write_spec(spec, write_folder(spec, tmp_path) / "task.yaml")
    values = {"task": str(task), "model": "unet_lite0", "mode": "scratch"}
    with pytest.raises(ConfigError, match=r"does not name among its 7 bands.\nAdd bands=all"):
        resolve(RunConfig.from_dict(values))
    resolve(RunConfig.from_dict(values | {"bands": "all"}))


def own_of_bands(folder: Path, bands: Sequence[str]) -> Path:
    """File of an encoder whose channels have names; its features are the means of its channels."""
    path = folder / "means.py"
    path.write_text(
        "from torch import nn\nfrom marsbench import Encoder\n\ndef encoder(pretrained=True):\n"
        "    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
        f"    return Encoder(net, num_features={len(bands)}, size=32, bands={tuple(bands)!r},\n"
        f"                   mean=(0.0,) * {len(bands)}, std=(1.0,) * {len(bands)})\n"
    )
    return path


def test_bands_are_matched_by_name(twelve: Path, tmp_path: Path) -> None:
    model = own_of_bands(tmp_path, ["red", "B8", "blue"])
    keys = config(twelve, model=str(model), mode="frozen", bands="all")
    plan = resolve(RunConfig.from_dict(keys))
    assert plan.inputs.select == (3, 7, 1)
    assert plan.identity["inputs"] == {"select": [3, 7, 1]}
    encoded = Encoder(plan).encode("test")
    ids = list(plan.source.rows("test").sample_ids)
    for row, sample_id in enumerate(ids):
        pixels = tifffile.imread(next(twelve.rglob(sample_id))) / 255
        expected = pixels[[3, 7, 1]].mean(axis=(1, 2))
        np.testing.assert_allclose(encoded.features[0, row], expected, atol=1e-5)


def test_names_of_bands_are_in_the_id_where_they_choose(twelve: Path, tmp_path: Path) -> None:
    def ids(names: list[str]) -> tuple[str, str]:
        task = yaml.safe_load((twelve / "task.yaml").read_text())
        (tmp_path / "task.yaml").write_text(yaml.safe_dump({**task, "bands": names}))
        first = config(tmp_path / "task.yaml", root=str(twelve))
        other = first | {"model": str(model), "mode": "frozen", "bands": "all"}
        return tuple(resolve(RunConfig.from_dict(c)).run_id for c in (first, other))  # type: ignore[return-value]

    model = own_of_bands(tmp_path, ["red", "B8", "blue"])
    rgb, selected = ids(BANDS)
    swapped = [{"red": "blue", "blue": "red"}.get(name, name) for name in BANDS]
    assert ids(swapped)[0] != rgb
    moved = [{"B8": "B9", "B9": "B8"}.get(name, name) for name in BANDS]
    assert ids(moved)[0] == rgb
    assert ids(moved)[1] != selected


def test_twelve_bands_train_and_come_back(twelve: Path, tmp_path: Path) -> None:
    keys = config(twelve, bands="all", channels="learned", normalisation="data")
    record = marsbench.run(**keys, store=str(tmp_path))
    inputs = record.data["inputs"]
    assert inputs["bands"] == 12
    assert record.identity["inputs"] == {
        "bands": 12,
        "channels": "learned",
        "normalisation": "data",
    }
    pixels = np.stack(
        [tifffile.imread(p) for p in sorted((twelve / "data" / "train").rglob("*.tif"))]
    )
    values = pixels.transpose(1, 0, 2, 3).reshape(12, -1) / 255
    np.testing.assert_allclose(inputs["mean"], values.mean(axis=1), atol=1e-9)
    np.testing.assert_allclose(inputs["std"], values.std(axis=1), atol=1e-9)
    model = rebuild(record, Store(tmp_path).folder(record.run_id), get_task(str(twelve)))
    assert model.adapter.mix.weight.shape == (3, 12, 1, 1)
    frame = Store(tmp_path).predictions(record.run_id)
    row = frame[frame["split"] == "test"].iloc[0]
    image = tifffile.imread(next(twelve.rglob(row["sample_id"])))
    side = record.identity["input_size"]
    unit = torch.nn.functional.interpolate(
        torch.from_numpy(image[None] / np.float32(255)), (side, side), mode="bilinear"
    )
    with torch.no_grad():
        scores = model(unit).softmax(dim=1)[0]
    np.testing.assert_allclose(scores.numpy(), row["scores"], atol=0.01)


def test_statistics_are_those_of_the_subset(twelve: Path) -> None:
    whole, few = (
        prepared_inputs(
            resolve(RunConfig.from_dict(config(twelve, normalisation="data", subset=subset)))
        )
        for subset in ("full", "few_shot_1")
    )
    assert whole.mean is not None
    assert few.mean is not None
    assert len(whole.mean) == 3
    assert whole.mean != few.mean


def test_frozen_features_differ_by_normalisation_and_pooling(
    toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file(timm.create_model("test_vit").state_dict(), tmp_path / "w.safetensors")
    scores = {}
    for key, value in (
        ("pooling", "auto"),
        ("pooling", "cls"),
        ("pooling", "mean"),
        ("pooling", "both"),
        ("normalisation", "minmax"),
        ("normalisation", "sigma2"),
        ("normalisation", "data"),
    ):
        record = marsbench.run(
            **config(toy, mode="frozen", weights=str(tmp_path / "w.safetensors"), **{key: value}),
            store=str(tmp_path / "runs"),
        )
        frame = Store(tmp_path / "runs").predictions(record.run_id)
        scores[value] = np.stack(list(frame["scores"]))
        assert record.data["features"] is not None
    assert np.array_equal(scores["auto"], scores["cls"])  # timm's own for this model
    others = [scores[v] for v in ("auto", "mean", "both", "minmax", "sigma2", "data")]
    assert len({values.tobytes() for values in others}) == len(others)


def test_pooling_needs_tokens(toy: str, tmp_path: Path) -> None:
    with pytest.raises(MarsbenchError, match="is for transformers of timm"):
        marsbench.run(**config(toy, model="timm:test_resnet", pooling="mean"), store=str(tmp_path))


def test_pooling_is_for_labels() -> None:
    keys = config("crater_binary_seg", model="unet_lite0", source="demo", pooling="mean")
    with pytest.raises(ConfigError, match="pooling=mean is for classifiers"):
        resolve(RunConfig.from_dict(keys))
