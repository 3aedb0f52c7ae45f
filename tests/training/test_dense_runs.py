"""Runs of encoders on masks and boxes: records, frozen parts, predictions, ids and refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import marsbench
from marsbench.base.errors import ConfigError, MarsbenchError
from marsbench.config.schema import Augment, Decoder, Mode, RunConfig
from marsbench.data.datamodule import collate
from marsbench.data.transforms import finish_batch
from marsbench.models.modes import build_for_mode
from marsbench.models.zoo.catalog import get_model
from marsbench.plan.resolve import Plan, resolve
from marsbench.predict.load import load
from marsbench.results.record import RunRecord
from marsbench.results.store import MODEL, Store, map_path
from marsbench.tasks.catalog import get_task
from marsbench.tasks.kinds import Decode, Kind
from marsbench.training.trained import open_split
from tests.fakes import make_spec, write_folder, write_spec

CLASSES = ("background", "crater", "dune")
VIT, CNN = "timm:test_vit", "timm:test_resnet"


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, str]:
    """Paths of a task of masks and of one of boxes, of images of 40 pixels."""
    sizes = {"train": 4, "val": 2, "test": 2}
    specs = {
        Kind.SEGMENTATION: make_spec(Kind.SEGMENTATION, CLASSES, decode=Decode.IMAGE_MASK),
        Kind.DETECTION: make_spec(Kind.DETECTION, CLASSES[1:], decode=Decode.IMAGE_BOXES),
    }
    paths = {}
    for kind, spec in specs.items():
        folder = write_folder(spec, tmp_path_factory.mktemp(kind), sizes, side=40)
        paths[kind] = str(write_spec(spec, folder / "task.yaml"))
    return paths


@pytest.fixture(scope="module")
def weights_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Paths of weights of the small encoders."""
    folder = tmp_path_factory.mktemp("weights")
    paths = {}
    for model in (VIT, CNN):
        torch.manual_seed(1)
        name = model.removeprefix("timm:")
        save_file(timm.create_model(name).state_dict(), folder / f"{name}.safetensors")
        paths[model] = str(folder / f"{name}.safetensors")
    return paths


def keys(task: str, model: str, mode: str, weights: dict[str, str], **more: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "task": task,
        "model": model,
        "mode": mode,
        "side": 64,
        "workers": 0,
        "optim.batch_size": 3,
        "trainer.max_epochs": 1,
    }
    if mode != "scratch":
        values["weights"] = weights[model]
    return values | more


def plan(task: str, model: str, **more: Any) -> Plan:
    values = {"task": task, "model": model, "mode": "scratch"} | more
    return resolve(RunConfig.from_dict(values))


RUNS = [
    (VIT, "upernet", "scratch"),
    (VIT, "upernet", "frozen"),
    (VIT, "linear", "frozen"),
    (VIT, "linear", "finetune"),
    (CNN, "upernet", "finetune"),
    (CNN, "linear", "scratch"),
    # Twelve million parameters and hundreds of proposals take seconds.
    (VIT, "faster_rcnn", "frozen"),
    (CNN, "faster_rcnn", "finetune"),
]


@pytest.mark.parametrize(("model", "decoder", "mode"), RUNS)
def test_runs_end_in_a_record_and_predict(
    tasks: dict[Kind, str],
    weights_of: dict[str, str],
    tmp_path: Path,
    model: str,
    decoder: str,
    mode: str,
) -> None:
    kind = Kind.DETECTION if decoder == "faster_rcnn" else Kind.SEGMENTATION
    store = tmp_path / "runs"
    values = keys(tasks[kind], model, mode, weights_of, decoder=decoder, store=str(store))
    record = marsbench.run(**values)
    assert record.identity["decoder"] == decoder
    assert record.headline == ("map" if kind is Kind.DETECTION else "miou")
    assert record.score is not None
    assert 0 <= record.score <= 1
    table = Store(store).predictions(record.run_id)
    assert set(table["split"]) == {"val", "test"}
    if mode == "frozen":
        kept = load_file(store / record.run_id / MODEL)
        assert not any(".encoder." in name or ".body." in name for name in kept)
        assert record.parameters["trained"] < record.parameters["total"]
        assert record.weights is not None
    rebuilt(record, store, RunConfig.from_dict(values))


def rebuilt(record: RunRecord, store: Path, config: RunConfig) -> None:
    """The rebuilt model predicts as the run did."""
    predictor = load(record.run_id, store)
    dataset = open_split(resolve(config), "test")
    batch = finish_batch(collate([dataset[0]]), Augment.NONE)
    table = Store(store).predictions(record.run_id)
    row = table[(table["split"] == "test")].set_index("sample_id").loc[batch["sample_id"][0]]
    with torch.no_grad():
        output: Any = predictor.model(batch["image"])[0]
    if record.kind == Kind.DETECTION:
        np.testing.assert_allclose(output.scores.numpy(), row["scores"], atol=1e-4)
        return
    logits = torch.nn.functional.interpolate(output[None], (40, 40), mode="bilinear")[0]
    with Image.open(map_path(store / record.run_id, row.name)) as opened:
        classes = np.array(opened)
    assert (logits.argmax(0).numpy() == classes).mean() > 0.999


@pytest.mark.parametrize("decoder", [Decoder.UPERNET, Decoder.LINEAR, Decoder.FASTER_RCNN])
@pytest.mark.parametrize("model", [VIT, CNN])
def test_a_frozen_encoder_does_not_move(
    weights_of: dict[str, str], model: str, decoder: Decoder
) -> None:
    is_boxes = decoder is Decoder.FASTER_RCNN
    kind = Kind.DETECTION if is_boxes else Kind.SEGMENTATION
    checkpoint = Path(weights_of[model])
    built: Any = build_for_mode(
        get_model(model), kind, 3, Mode.FROZEN, side=64, checkpoint=checkpoint, decoder=decoder
    )
    before = {name: tensor.clone() for name, tensor in built.state_dict().items()}
    trained = [p for p in built.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    built.train()
    image = torch.rand(2, 1, 64, 64)
    if is_boxes:
        boxes = [torch.tensor([[5.0, 5, 40, 40]])] * 2
        loss = built.losses(image, boxes, [torch.zeros(1, dtype=torch.int64)] * 2).mean()
    else:
        loss = torch.nn.functional.cross_entropy(
            built(image), torch.zeros(2, 64, 64, dtype=torch.int64)
        )
    torch.autograd.backward(loss)
    optimizer.step()
    moved = {n for n, t in built.state_dict().items() if not torch.equal(t, before[n])}
    body = "model.backbone.body." if is_boxes else "model.encoder."
    assert moved
    assert not any(name.startswith(body) for name in moved)
    assert all(p.grad is not None for p in trained)
    assert not any(p.requires_grad for name, p in built.named_parameters() if name.startswith(body))


def test_ids_state_the_decoder(tasks: dict[Kind, str], weights: str) -> None:
    masks, boxes = tasks[Kind.SEGMENTATION], tasks[Kind.DETECTION]
    default = plan(masks, CNN)
    assert default.identity["decoder"] == "upernet"
    assert plan(masks, CNN, decoder="upernet").run_id == default.run_id
    assert plan(masks, CNN, decoder="linear").run_id != default.run_id
    assert plan(boxes, CNN).identity["decoder"] == "faster_rcnn"
    assert "decoder" not in plan(masks, "smp:unet/tu-test_resnet").identity
    assert "decoder" not in plan(boxes, "ssdlite").identity
    frozen = {"mode": "frozen", "weights": weights}
    assert default.has_batch_statistics
    assert plan(masks, CNN, **frozen).has_batch_statistics
    assert not plan(masks, CNN, **frozen, decoder="linear").has_batch_statistics
    assert not plan(masks, VIT, decoder="linear").has_batch_statistics


def test_sizes_follow_the_task(tasks: dict[Kind, str]) -> None:
    masks, boxes = tasks[Kind.SEGMENTATION], tasks[Kind.DETECTION]
    assert plan(masks, VIT).side == 64  # 40 pixels, in multiples of 32
    assert plan(masks, "vit", side=96).side == 96
    assert plan(boxes, "vit").side == 640


@pytest.mark.parametrize(
    ("kind", "model", "decoder", "message"),
    [
        (Kind.BINARY, CNN, "linear", "is for masks and boxes; frost_cls is binary"),
        (Kind.SEGMENTATION, "smp:unet/tu-test_resnet", "linear", "has a decoder of its own"),
        (Kind.DETECTION, "ssdlite", "faster_rcnn", "has a decoder of its own"),
        (Kind.DETECTION, CNN, "linear", "is not for detection tasks"),
        (Kind.SEGMENTATION, CNN, "faster_rcnn", "is not for segmentation tasks"),
    ],
)
def test_refusals(
    tasks: dict[Kind, str], kind: Kind, model: str, decoder: str, message: str
) -> None:
    task = tasks.get(kind, "frost_cls")
    with pytest.raises(ConfigError, match=message) as caught:
        plan(task, model, decoder=decoder, source="demo" if kind is Kind.BINARY else "auto")
    assert "\n" in str(caught.value)


def test_models_without_maps_are_refused(tasks: dict[Kind, str]) -> None:
    with pytest.raises(MarsbenchError, match="does not support segmentation"):
        plan(tasks[Kind.SEGMENTATION], "torchvision:maxvit_t")


@pytest.mark.parametrize("decoder", [Decoder.UPERNET, Decoder.LINEAR, Decoder.FASTER_RCNN])
def test_checkpoints_show_their_decoder(tmp_path: Path, decoder: Decoder) -> None:
    kind = Kind.DETECTION if decoder is Decoder.FASTER_RCNN else Kind.SEGMENTATION
    task = "boulder_det" if kind is Kind.DETECTION else "conequest_seg"
    torch.manual_seed(0)
    num_classes = len(get_task(task).classes)
    side = 640 if kind is Kind.DETECTION else 512
    built: Any = build_for_mode(
        get_model(VIT), kind, num_classes, Mode.SCRATCH, side=side, decoder=decoder
    )
    path = tmp_path / "model.safetensors"
    save_file({k: v.contiguous() for k, v in built.model.state_dict().items()}, path)
    predictor = load(str(path), tmp_path, task, VIT)
    again = predictor.model.state_dict()
    assert all(torch.equal(again[f"model.{k}"], v) for k, v in load_file(path).items())
