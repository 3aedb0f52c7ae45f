import dataclasses
import re
from typing import Any

import pytest

from marsbench.base import paths
from marsbench.base.errors import ConfigError
from marsbench.cli.compose import GROUPS, compose, group_choices, set_by_groups
from marsbench.config.identity import identity, run_id, slug
from marsbench.config.notes import key_notes
from marsbench.config.resizing import Interpolation, Resizing
from marsbench.config.schema import (
    Augment,
    Mode,
    Protocol,
    RunConfig,
    canonical_subset,
    config_keys,
)

BASE = {"task": "frost_cls", "model": "vit_tiny"}

# Every key, and a value other than its default. In the id: by name, by hash, or not at all.
NAMED = {"task": "domars16k", "model": "vit", "mode": "scratch", "subset": "few_shot_5", "seed": 7}
HASHED = {
    "protocol": None,  # enters resolved
    "augment": None,  # enters resolved
    "weights": None,  # enters as the weights' name
    "hparams": None,  # enters as what it fills in
    "size": None,  # enters with the data revision
    "revision": None,  # enters as the commit
    "resize": None,  # enters as interpolation and crop
    "bands": None,  # enters resolved, where images have more than three
    "decoder": None,  # enters resolved, for encoders
    "head": None,  # enters resolved, of classifiers
    "channels": None,  # enters resolved, where it changes the bands
    "normalisation": None,  # enters resolved, for images
    "pooling": None,  # enters if it is not the model's own
    "side": None,  # enters as the input's size
    "stored": "float16",
    "negatives": "exclude",
    "raster": None,  # enters resolved
    "draws": 16,
    "api.structured": None,  # enters of models behind an endpoint
    "api.temperature": None,
    "api.max_tokens": None,
    "test_samples": None,  # enters if it is less than the test split
    "prompts": None,  # enters as the digest of the texts
    "folds": 4,
    "train_on": None,  # enters as FIELD:VALUE
    "strict": None,  # enters with the data revision
    "source": None,
    "loss": None,  # enters resolved
    "outputs": None,  # enters resolved
    "imbalance": "loss_weight",
    "optim.name": "sgd",
    "optim.lr": 0.5,
    "optim.weight_decay": 0.1,
    "optim.momentum": 0.5,
    "optim.batch_size": 8,
    "scheduler.name": "cosine",
    "scheduler.step_size": 3,
    "scheduler.gamma": 0.3,
    "scheduler.patience": 9,
    "scheduler.warmup": 2.0,
    "optim.layer_decay": 0.75,
    "trainer.max_epochs": 3,
    "trainer.patience": 2,
    "trainer.checkpoint": "last",
    "trainer.precision": "bf16-mixed",
    "trainer.matmul": "high",
    "compile": True,
    "trainer.accumulate_grad_batches": 4,
    "trainer.gradient_clip_val": 1.0,
    "trainer.devices": 2,
    "trainer.num_nodes": 2,
}
ONLY_WITH = {
    "optim.momentum": {"optim.name": "sgd"},
    "scheduler.step_size": {"scheduler.name": "step"},
    "scheduler.gamma": {"scheduler.name": "plateau"},
    "scheduler.patience": {"scheduler.name": "plateau"},
}
CHOSEN_BY_DEFAULT = (("optim", "adamw"), ("scheduler", "none"), ("logger", "csv"))
NEUTRAL = {
    "root": "/somewhere",
    "store": "elsewhere",
    "save_model": False,
    "pictures": True,
    "cache": False,
    "workers": 3,
    "logger.csv": False,
    "logger.tensorboard": True,
    "logger.wandb": True,
    "logger.project": "mine",
    "trainer.accelerator": "cpu",
    "trainer.strategy": "ddp",
    "trainer.deterministic": False,
    "channels_last": False,
    "api.base_url": "http://localhost:8000/v1",
    "api.concurrency": 8,
    "api.requests_per_minute": 60.0,
    "api.timeout": 10.0,
    "api.max_retries": 2,
    "api.input_price": 0.1,
    "api.output_price": 0.4,
}


def hash_of(config: RunConfig, **changes: Any) -> str:
    facts = {
        "kind": "binary",
        "data_revision": "r1",
        "subset_digest": "d1",
        "architecture": "timm:x",
        "weights": "w1",
        "input_size": 224,
        "augment": Augment.D4,
    }
    return run_id("t", "m", "frozen", "full", 0, identity(config, **{**facts, **changes}))


def test_every_key_is_known_to_move_the_score_or_not() -> None:
    assert set(NAMED) | set(HASHED) | set(NEUTRAL) == set(config_keys())


@pytest.mark.parametrize("key", [k for k, v in HASHED.items() if v is not None])
def test_what_can_move_the_score_is_in_the_id(key: str) -> None:
    context = {**BASE, **ONLY_WITH.get(key, {})}
    changed = RunConfig.from_dict({**context, key: HASHED[key]})
    assert hash_of(changed) != hash_of(RunConfig.from_dict(context))


@pytest.mark.parametrize("key", ONLY_WITH)
def test_settings_of_an_unused_choice_are_not_in_the_id(key: str) -> None:
    assert hash_of(RunConfig.from_dict({**BASE, key: HASHED[key]})) == hash_of(
        RunConfig.from_dict(BASE)
    )


@pytest.mark.parametrize("key", NEUTRAL)
def test_what_cannot_move_the_score_is_not_in_the_id(key: str) -> None:
    assert hash_of(RunConfig.from_dict({**BASE, key: NEUTRAL[key]})) == hash_of(
        RunConfig.from_dict(BASE)
    )


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("kind", "multiclass"),
        ("data_revision", "r2"),
        ("subset_digest", "d2"),
        ("architecture", "timm:y"),
        ("weights", None),
        ("input_size", 96),
        ("augment", Augment.NONE),
        ("loss", "binary_cross_entropy"),
        ("outputs", 1),
        ("protocol", Protocol.CACHED),
        ("resize", {"interpolation": "bicubic", "shorter": 256}),
        ("train_on", "instrument:commercial"),
    ],
)
def test_facts_from_outside_the_config_are_in_the_id(fact: str, value: Any) -> None:
    config = RunConfig.from_dict(BASE)
    assert hash_of(config, **{fact: value}) != hash_of(config)


def test_equal_effective_batch_size_is_one_id() -> None:
    expected = hash_of(RunConfig.from_dict(BASE))
    for way in ("trainer.accumulate_grad_batches", "trainer.devices", "trainer.num_nodes"):
        config = RunConfig.from_dict({**BASE, "optim.batch_size": 16, way: 2})
        assert hash_of(config) == expected


def test_batch_statistics_tell_splits_of_a_step_apart() -> None:
    whole = hash_of(RunConfig.from_dict(BASE))
    assert hash_of(RunConfig.from_dict(BASE), batch_statistics=True) == whole
    accumulated, devices = "trainer.accumulate_grad_batches", "trainer.devices"
    splits: list[dict[str, int]] = [{accumulated: 4}, {devices: 4}, {accumulated: 2, devices: 2}]
    ids = {
        hash_of(
            RunConfig.from_dict({**BASE, "optim.batch_size": 8, **split}), batch_statistics=True
        )
        for split in splits
    }
    assert len(ids | {whole}) == 4


def test_learning_rate_given_as_the_default_is_one_id() -> None:
    finetune = {**BASE, "mode": "finetune"}
    assert hash_of(RunConfig.from_dict({**finetune, "optim.lr": 1e-4})) == hash_of(
        RunConfig.from_dict(finetune)
    )


def test_run_id_is_pinned() -> None:
    """Records already written must stay findable: this id may change only with the protocol."""
    assert hash_of(RunConfig.from_dict(BASE)) == "t/m/frozen/full/0-a5cec5bab8"


def test_slug_is_safe_in_a_path() -> None:
    assert slug("smp:unet/tu-x") == "smp-unet-tu-x"
    assert "/" not in slug("a/../b")
    assert "" != slug("模块") != slug("模型")
    assert not run_id("..", "模块:", "frozen", "full", 0, {}).startswith("/")


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("full", "full"),
        ("partition_0.1", "partition_0.10"),
        ("partition_.25", "partition_0.25"),
        ("few_shot_20", "few_shot_20"),
    ],
)
def test_subsets_have_one_spelling(given: str, canonical: str) -> None:
    assert canonical_subset(given) == canonical
    assert RunConfig.from_dict({**BASE, "subset": given}).subset == canonical


@pytest.mark.parametrize(
    "name", ["", "Full", "partition_0", "partition_1.0", "partition_0.123", "few_shot_0", "5"]
)
def test_bad_subsets(name: str) -> None:
    with pytest.raises(ConfigError, match="Unknown subset"):
        canonical_subset(name)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, ["task=NAME", "model=NAME"]),
        ({**BASE, "modle": 1}, ["modle", "model"]),
        ({**BASE, "lr": 1}, ["lr", "optim.lr"]),
        ({**BASE, "optim": {"learning": 1}}, ["optim.learning"]),
        ({**BASE, "optim": 3}, ["'optim' is a group", "optim.lr"]),
        ({**BASE, "mode": "frozn"}, ["frozn", "frozen"]),
        ({**BASE, "seed": 1.5}, ["seed", "whole number", "1.5"]),
        ({**BASE, "seed": -1}, ["seed", "from 0"]),
        ({**BASE, "seed": 2**32}, ["seed", "4294967295"]),
        ({**BASE, "seed": "abc"}, ["seed", "abc"]),
        ({**BASE, "seed": True}, ["seed", "true"]),
        ({**BASE, "optim.lr": "nan"}, ["optim.lr", "nan"]),
        ({**BASE, "optim.lr": 0}, ["optim.lr", "above 0"]),
        ({**BASE, "optim.batch_size": 0}, ["optim.batch_size", "at least 1"]),
        ({**BASE, "cache": "maybe"}, ["cache", "true or false"]),
        ({**BASE, "task": None}, ["task"]),
        ({**BASE, "subset": "few"}, ["subset", "few_shot_K"]),
        ({**BASE, "trainer.precision": "8"}, ["trainer.precision", "bf16-mixed"]),
        ({**BASE, "imbalance": "smote"}, ["imbalance", "smote", "oversample"]),
        ({**BASE, "loss": "mse"}, ["loss", "mse", "cross_entropy"]),
        ({**BASE, "outputs": 3}, ["outputs", "3"]),
        ({**BASE, "trainer.devices": 0}, ["trainer.devices", "at least 1"]),
        ({**BASE, "views": "d5"}, ["'views' is d5"]),
        ({**BASE, "views": "d4", "protocol": "online"}, ["protocol=cached augment=d4"]),
        ({**BASE, "views": 3, "draws": 2}, ["views=3 is now draws=3"]),
    ],
)
def test_bad_values_name_the_key_and_the_way_out(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_dict(values)
    for word in words:
        assert word in str(caught.value)


def test_all_problems_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_dict({**BASE, "sed": 1, "mode": "x", "optim.lr": "fast"})
    assert all(word in str(caught.value) for word in ("sed", "mode", "optim.lr"))


def test_dotted_and_nested_keys_are_the_same() -> None:
    dotted = RunConfig.from_dict({**BASE, "optim.lr": 0.1, "optim.name": "sgd"})
    nested = RunConfig.from_dict({**BASE, "optim": {"lr": 0.1, "name": "sgd"}})
    assert dotted == nested == RunConfig.from_dict(dotted.to_dict())


def test_null_and_text_numbers_are_read() -> None:
    config = RunConfig.from_dict({**BASE, "trainer.patience": "null", "optim.lr": "1e-3"})
    assert config.trainer.patience is None
    assert config.learning_rate == 1e-3
    assert RunConfig.from_dict({**BASE, "mode": "finetune"}).learning_rate == 1e-4


def test_the_command_line_composes_to_the_same_defaults() -> None:
    assert compose(["task=frost_cls", "model=vit_tiny"]) == RunConfig.from_dict(BASE)


@pytest.mark.parametrize(
    ("group", "name"),
    [(g, n) for g in ("optim", "scheduler", "trainer", "logger") for n in group_choices(g)],
)
def test_every_choice_composes(group: str, name: str) -> None:
    config = compose(["task=frost_cls", "model=vit_tiny", f"{group}={name}"])
    is_default = getattr(config, group) == getattr(RunConfig(), group)
    assert is_default == ((group, name) in CHOSEN_BY_DEFAULT)


def test_overrides_win_over_choices() -> None:
    config = compose(["task=t", "model=m", "trainer=long", "trainer.max_epochs=7"])
    assert (config.trainer.max_epochs, config.trainer.patience) == (7, 10)
    assert compose(["task=t", "model=m", "optim.name=adam", "optim=sgd"]).optim.name == "adam"


def test_the_choice_for_gpus_sets_its_keys_in_runs_and_sweeps() -> None:
    keys = {"compile": True, "trainer.precision": "bf16-mixed", "trainer.matmul": "high"}
    assert set_by_groups({"trainer": "gpu"}) == keys
    config = compose(["task=t", "model=m", "trainer=gpu", "trainer.matmul=highest"])
    assert config == RunConfig.from_dict(
        {"task": "t", "model": "m", **keys, "trainer.matmul": "highest"}
    )


@pytest.mark.parametrize(
    "value",
    [
        "./my task.yaml",
        "a,b",
        "{x}",
        "[1]",
        "C:\\data",
        "it's",
        "timm:resnet18",
        "~/x",
        "$HOME",
        "a=b",
        "${x}",
        "\\'",
        "end\\",
    ],
)
def test_any_text_survives_the_command_line(value: str) -> None:
    assert compose([f"task={value}", "model=m"]).task == value


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["frost_cls"], "not of the form"),
        (["task=a", "task=b"], "given twice"),
        (["optim=sdg"], "sgd"),
        (["+task=a"], "task"),
        (["trainer.max_epoch=3"], "trainer.max_epochs"),
    ],
)
def test_bad_words(words: list[str], expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(expected)):
        compose(words)


def test_every_key_has_a_meaning() -> None:
    notes = key_notes()
    assert set(notes) == set(config_keys())
    assert all(notes.values())


def test_config_is_immutable() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().mode = Mode.SCRATCH  # type: ignore[misc]


def test_resizing_comes_back_from_a_record() -> None:
    for resizing in (Resizing(), Resizing(Interpolation.BICUBIC, 256)):
        assert Resizing.from_identity(resizing.identity) == resizing
    for bad in (3, {"shorter": -1}, {"interpolation": "none"}, {"other": 1}, {"shorter": "1"}):
        with pytest.raises(ConfigError, match="resize of the record is invalid"):
            Resizing.from_identity(bad)


def test_no_folder_of_choices_has_the_name_of_a_key() -> None:
    """Hydra would take the key's value for the name of a file in the folder."""
    folders = {path.name for path in paths.configs().iterdir() if path.is_dir()}
    keys = {key.partition(".")[0] for key in config_keys()}
    assert folders & keys <= set(GROUPS)


def test_a_path_of_prompts_reaches_the_config() -> None:
    words = ["task=frost_cls", "model=clip", "mode=zero_shot", "prompts=./my words.yaml"]
    assert compose(words).prompts == "./my words.yaml"
