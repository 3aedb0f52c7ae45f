"""Runs share features only if their features are equal."""

from typing import Any

import pytest
import timm
from safetensors.torch import save_file

from marsbench.base.errors import MarsbenchError
from marsbench.config.schema import Protocol, RunConfig, config_keys
from marsbench.plan.resolve import resolve
from marsbench.plan.sharing import bank_of, features_of
from marsbench.training.frozen.features import Encoder

OTHERS: dict[str, tuple[Any, ...]] = {
    "channels": ("zero",),
    "normalisation": ("minmax", "sigma2", "data"),
    "pooling": ("cls", "mean", "both"),
    "resize": ("pretraining",),
    "protocol": ("cached",),
    "augment": ("d4",),
    "bands": ("all",),
    "side": (64,),
    "folds": (2,),
    "subset": ("few_shot_1", "partition_0.50"),
    "seed": (1,),
    "imbalance": ("undersample",),
    "negatives": ("exclude",),
    "stored": ("float16",),
    "outputs": (1,),
    "draws": (2,),
    "optim.name": ("adam", "lbfgs", "knn"),
    "optim.batch_size": (8,),
    "trainer.precision": ("bf16-mixed", "64-true"),
    "trainer.max_epochs": (3,),
    "cache": (False,),
    "channels_last": (False,),
}
"""Other values of the keys of a run; the remaining keys concern files, devices and training."""


@pytest.fixture(scope="module")
def keys(toy: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    return {"task": toy, "model": "timm:test_vit", "weights": str(path)}


def variants() -> list[dict[str, Any]]:
    single = [{key: value} for key, values in OTHERS.items() for value in values]
    return [{}, *single, {"protocol": "cached", "augment": "d4"}] + [
        {"normalisation": "data", **other} for other in ({"subset": "few_shot_1"}, {"seed": 1})
    ]


def test_equal_keys_have_equal_features(keys: dict[str, Any]) -> None:
    assert set(OTHERS) <= set(config_keys())
    features: dict[str, dict[Any, str]] = {"bank": {}, "sweep": {}}
    count = 0
    for other in variants():
        try:
            plan = resolve(RunConfig.from_dict(keys | other))
        except MarsbenchError:
            continue  # the choice is not for this task
        if plan.protocol is not Protocol.CACHED:
            continue  # the features would not be kept
        count += 1
        key = " ".join(Encoder(plan).key(split) for split in ("train", "val"))
        for name, shared in (("bank", bank_of(plan)), ("sweep", features_of(plan.config))):
            assert features[name].setdefault(shared, key) == key, other
    assert count > 20
    assert len(set(features["bank"].values())) > 8
