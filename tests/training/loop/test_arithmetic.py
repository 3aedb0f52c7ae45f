"""One key sets the precision of matrix products and convolutions, wherever numbers are made."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import marsbench
from marsbench.base.errors import ConfigError
from marsbench.config.schema import Matmul, RunConfig
from marsbench.evaluate.networks import LabelReader
from marsbench.evaluate.run import evaluate
from marsbench.evaluate.settings import Settings
from marsbench.models.encoders.classifier import Classifier
from marsbench.plan.resolve import resolve
from marsbench.plan.sharing import bank_of
from marsbench.predict.load import load
from marsbench.predict.options import Options
from marsbench.predict.run import predict
from marsbench.predict.walk import Item
from marsbench.training.frozen import bank
from marsbench.training.frozen.features import Encoder
from marsbench.training.loop.arithmetic import products

Flags = tuple[Any, ...]

backends: Any = torch.backends

IEEE: Flags = ("ieee", "ieee", "ieee", "ieee", "highest", False)
TF32: Flags = ("tf32", "tf32", "tf32", "tf32", "high", True)
CHOSEN = {"highest": IEEE, "high": TF32}


def flags() -> Flags:
    """Torch's flags by both of its interfaces; reading the earlier one fails if they disagree."""
    places = (
        backends.cuda.matmul,
        backends.cudnn.conv,
        backends.mkldnn.matmul,
        backends.mkldnn.conv,
    )
    later = [place.fp32_precision for place in places]
    return (*later, torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32)


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """The flags of torch itself, before and after."""
    before = flags()
    yield
    assert flags() == before


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[Flags]]:
    """Collects the flags by the place of the work."""
    seen: dict[str, set[Flags]] = {}

    def watch(owner: Any, name: str) -> None:
        work = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            seen.setdefault(name, set()).add(flags())
            return work(*arguments, **options)

        monkeypatch.setattr(owner, name, watched)

    watch(Classifier, "features")
    watch(Classifier, "classify")
    watch(bank, "fit_heads")
    watch(bank, "trained_of")
    watch(LabelReader, "encode")
    return seen


@pytest.mark.parametrize("choice", CHOSEN)
def test_products_are_set_alike_and_restored(choice: str) -> None:
    def work() -> None:
        with products(Matmul(choice)):
            assert flags() == CHOSEN[choice]
            raise ValueError("of the body")

    with pytest.raises(ValueError, match="of the body"):
        work()


def test_settings_of_the_caller_neither_leak_in_nor_are_lost() -> None:
    """Also of a caller who uses torch's later interface, which the earlier one cannot read."""
    backends.fp32_precision, backends.cuda.matmul.fp32_precision = "tf32", "tf32"
    try:
        with pytest.raises(RuntimeError):
            flags()
        with products(Matmul.HIGHEST):
            assert flags() == IEEE
        assert backends.fp32_precision == backends.cuda.matmul.fp32_precision == "tf32"
        with pytest.raises(RuntimeError):
            flags()
    finally:
        for place in (backends.mkldnn.matmul, backends.mkldnn.conv, backends.cuda.matmul, backends):
            place.fp32_precision = "none"
        backends.cudnn.allow_tf32 = True
        torch.set_float32_matmul_precision("highest")
        for place in (backends.mkldnn.matmul, backends.cuda.matmul):
            place.fp32_precision = "none"


@pytest.mark.parametrize("choice", CHOSEN)
def test_runs_with_cached_features_compute_as_chosen(
    choice: str, toy: str, weights: str, tmp_path: Path, own_home: Path, seen: dict[str, set[Flags]]
) -> None:
    trainer: dict[str, Any] = {"matmul": choice, "max_epochs": 1}
    keys: dict[str, Any] = {"weights": weights, "store": tmp_path, "trainer": trainer}
    record = marsbench.run(toy, "timm:test_resnet", **keys)
    assert set(seen) == {"features", "fit_heads", "trained_of"}
    assert set.union(*seen.values()) == {CHOSEN[choice]}
    assert record.config["trainer"]["matmul"] == choice
    assert record.identity.get("matmul") == (None if choice == "highest" else choice)


def test_training_evaluation_and_prediction_compute_as_chosen(
    toy: str, tmp_path: Path, seen: dict[str, set[Flags]]
) -> None:
    store = tmp_path / "runs"
    record = marsbench.run(
        task=toy,
        model="timm:test_resnet",
        mode="scratch",
        store=str(store),
        workers=0,
        trainer={"matmul": "high", "max_epochs": 1},
    )
    assert seen == {"features": {TF32}, "classify": {TF32}}
    seen.clear()
    list(evaluate([record.run_id], Settings(task=toy, store=str(store), workers=0)))
    assert seen["encode"] == seen["features"] == {TF32}
    seen.clear()
    image = next(Path(toy).parent.glob("data/test/**/*.*"))
    model = load(record.run_id, store)
    predict(model, [Item(image, image.name)], tmp_path / "out", Options(device="cpu"))
    assert seen == {"features": {TF32}, "classify": {TF32}}


def test_features_of_another_arithmetic_are_other_features(
    toy: str, weights: str, tmp_path: Path
) -> None:
    keys = {"task": toy, "model": "timm:test_resnet", "weights": weights, "store": str(tmp_path)}
    plans = [resolve(RunConfig.from_dict({**keys, "trainer.matmul": choice})) for choice in CHOSEN]
    assert len({plan.run_id for plan in plans}) == 2
    assert len({Encoder(plan).key("val") for plan in plans}) == 2
    assert len({bank_of(plan) for plan in plans}) == 2


def test_other_names_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.matmul"):
        RunConfig.from_dict({"task": "a", "model": "b", "trainer.matmul": "tf32"})
