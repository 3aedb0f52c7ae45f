import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from marsbench.base.errors import WeightsError
from marsbench.config.schema import Mode
from marsbench.metrics.boxes import Boxes, score
from marsbench.models import weights
from marsbench.models.detectors import torchvision as detectors
from marsbench.models.detectors.base import DETECTIONS_PER_IMAGE, Detector
from marsbench.models.modes import build_for_mode
from marsbench.models.spec import Library, ModelSpec
from marsbench.models.zoo.detection import ENTRIES
from marsbench.tasks.kinds import Kind
from tests.fakes import needs_ultralytics

SPECS = {entry.name: entry for entry in ENTRIES}
SIDES = {"ssd": 268, "yolo11n": 96}
"""Small but not too small for a model; `SIDE` for the others."""
SIDE = 64
CLASSES = 3

# The larger YOLOs differ from the smallest in numbers alone.
TESTED = [name for name in SPECS if name not in ("yolo11s", "yolo11m")]
HEAVY = ("ssd", "faster_rcnn")
"""Slow: ssdlite has the anchors of the one, faster_rcnn_mobilenet the head of the other."""
TORCHVISION = [name for name in TESTED if SPECS[name].library is Library.TORCHVISION]


def slow(names: list[str], heavy: tuple[str, ...]) -> list[Any]:
    """Parameters of a test, those of the heavy models marked slow."""
    return [pytest.param(n, marks=pytest.mark.slow) if n in heavy else n for n in names]


class Batch(NamedTuple):
    image: Tensor
    boxes: list[Tensor]
    labels: list[Tensor]


def side_of(name: str) -> int:
    return SIDES.get(name, SIDE)


def batch_of(name: str, side: int | None = None) -> Batch:
    """Two images: bright and dark squares of classes 0 and 2, and a ring of class 1."""
    side = side or side_of(name)
    unit = side / 96
    rng = torch.Generator().manual_seed(0)
    image = 0.5 + 0.05 * torch.randn(2, 1, side, side, generator=rng)
    boxes = [
        torch.tensor([[10.0, 10, 40, 40], [55, 50, 85, 80]]) * unit,
        torch.tensor([[50.0, 8, 80, 38]]) * unit,
    ]
    for i, box, value in ((0, boxes[0][0], 1.0), (0, boxes[0][1], 0.0), (1, boxes[1][0], 0.8)):
        x1, y1, x2, y2 = (int(v) for v in box)
        image[i, :, y1:y2, x1:x2] = value
    image[1, :, int(15 * unit) : int(31 * unit), int(57 * unit) : int(73 * unit)] = 0.1
    return Batch(image.clamp(0, 1), boxes, [torch.tensor([0, 2]), torch.tensor([1])])


def without_boxes(batch: Batch) -> Batch:
    none = [torch.zeros(0, 4)] * len(batch.image)
    return Batch(batch.image, none, [torch.zeros(0, dtype=torch.int64)] * len(batch.image))


def build(
    name: str,
    num_classes: int = CLASSES,
    seed: int = 0,
    pretrained: bool = False,
    side: int | None = None,
    checkpoint: Path | None = None,
) -> Detector:
    if SPECS[name].library is Library.ULTRALYTICS:
        needs_ultralytics()
    torch.manual_seed(seed)
    mode, side = Mode.FINETUNE if pretrained else Mode.SCRATCH, side or side_of(name)
    spec = SPECS[name]
    model = build_for_mode(
        spec, Kind.DETECTION, num_classes, mode, side=side, checkpoint=checkpoint
    )
    assert isinstance(model, Detector)
    if "faster_rcnn" in name:
        # Its head looks at 2,000 proposals of each image: fewer do here.
        rpn: Any = model.model.get_submodule("rpn")
        rpn._post_nms_top_n = {"training": 40, "testing": 120}
    return model


def step(model: Detector, batch: Batch, optimiser: torch.optim.Optimizer) -> float:
    optimiser.zero_grad()
    loss = model.losses(*batch).mean()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(model.parameters(), 10.0)
    optimiser.step()
    return loss.item()


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    now = model.state_dict()
    return {name for name, tensor in before.items() if not torch.equal(tensor, now[name])}


@pytest.fixture(scope="module", params=slow(TESTED, HEAVY))
def built(request: pytest.FixtureRequest) -> tuple[str, Detector]:
    """A model whose weights the tests that use it leave alone."""
    return request.param, build(request.param).eval()


@pytest.mark.parametrize("spec", ENTRIES, ids=lambda spec: spec.name)
def test_entries_are_whole(spec: ModelSpec) -> None:
    assert spec.kinds == {Kind.DETECTION}
    assert spec.weights is not None
    assert "COCO" in spec.weights.data
    assert spec.weights.licence == (
        "AGPL-3.0" if spec.library is Library.ULTRALYTICS else "BSD-3-Clause"
    )
    if spec.library is Library.TORCHVISION:
        from torchvision.models import get_model_weights

        published = get_model_weights(spec.id).DEFAULT
        assert spec.weights.name == f"torchvision/{spec.id}.{published.name}"
        assert spec.parameters == pytest.approx(published.meta["num_params"] / 1e6, abs=0.05)


def test_names_and_aliases_are_unique() -> None:
    names = [name for entry in ENTRIES for name in (entry.name, *entry.aliases)]
    assert len(names) == len(set(names))
    assert {"yolo", "yolo11", "ssd", "retinanet", "faster_rcnn"} <= set(names)


def test_detections(built: tuple[str, Detector]) -> None:
    name, model = built
    with torch.no_grad():
        found = model(batch_of(name).image)
    assert len(found) == 2
    for boxes, scores, labels in found:
        assert 0 < len(scores) <= DETECTIONS_PER_IMAGE
        assert boxes.shape == (len(scores), 4)
        assert labels.dtype == torch.int64
        assert labels.min() >= 0
        assert labels.max() < CLASSES
        assert (boxes >= 0).all()
        assert (boxes <= side_of(name)).all()
        assert (scores[:-1] >= scores[1:]).all()
        assert (scores >= 0).all()
        assert (scores <= 1).all()


def test_grey_is_rgb_of_equal_channels(built: tuple[str, Detector]) -> None:
    name, model = built
    grey = batch_of(name)
    rgb = Batch(grey.image.repeat(1, 3, 1, 1), *grey[1:])
    with torch.no_grad():
        assert torch.equal(model.losses(*grey), model.losses(*rgb))
        for a, b in zip(model(grey.image), model(rgb.image), strict=True):
            assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_loss_in_evaluation_leaves_no_trace(built: tuple[str, Detector]) -> None:
    name, model = built
    batch = batch_of(name)
    # A mixture of modes, to be found again.
    frozen = next(m for m in model.model.modules() if isinstance(m, nn.Conv2d))
    frozen.training = True
    flags = {path: module.training for path, module in model.named_modules()}
    before, generator = snapshot(model), torch.get_rng_state()
    with torch.no_grad():
        first = model.losses(*batch)
        assert torch.equal(torch.get_rng_state(), generator)
        torch.rand(7)
        second = model.losses(*batch)
        empty = model.losses(*without_boxes(batch))
    assert first.shape == (2,)
    assert torch.isfinite(first).all()
    assert first[0] == first[1] > 0
    assert torch.equal(first, second)
    assert torch.isfinite(empty).all()
    assert changed(model, before) == set()
    assert {path: module.training for path, module in model.named_modules()} == flags
    frozen.training = False


def test_images_are_encoded_together_and_weighed_alone(built: tuple[str, Detector]) -> None:
    name, model = built
    batch = batch_of(name)
    before = snapshot(model)
    first = next(m for m in model.model.modules() if isinstance(m, nn.Conv2d))
    seen: list[int] = []
    hook = first.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    with torch.no_grad():
        losses = model.lone_losses(*batch)
        detections, again = model.observe(*batch)
        assert seen == [2, 2]
        parts = [
            Batch(batch.image[i : i + 1], [b], [n])
            for i, (_, b, n) in enumerate(zip(*batch, strict=True))
        ]
        alone = [model.losses(*part) for part in parts]
        expected = model(batch.image)
    hook.remove()
    torch.testing.assert_close(losses, torch.cat(alone), rtol=1e-5, atol=0)
    assert losses[0] != losses[1]
    assert torch.equal(losses, again)
    for found, of_image in zip(detections, expected, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(found, of_image, strict=True))
    assert changed(model, before) == set()
    assert seen == [2, 2, 1, 1, 2]
    model.train()
    with pytest.raises(RuntimeError, match="training mode"):
        model.lone_losses(*batch)
    model.eval()


def test_flags_return_after_an_error(built: tuple[str, Detector]) -> None:
    name, model = built
    image, _, labels = batch_of(name)
    upside_down = [torch.tensor([[40.0, 40, 10, 10]])]
    if name != "yolo11n":  # torchvision refuses such boxes
        with pytest.raises(AssertionError):
            model.losses(image[:1], upside_down, labels[1:])
    assert not any(module.training for module in model.modules())


def test_detections_in_training_mode_and_losses_with_gradients() -> None:
    model = build("ssdlite").train()
    image, boxes, labels = batch_of("ssdlite")
    assert len(model(image)) == 2
    assert all(module.training for module in model.modules())
    loss = model.losses(image, boxes, labels)
    assert loss.requires_grad
    model.eval()
    assert model.losses(image, boxes, labels).requires_grad


def check_that_all_train(model: Detector, before: dict[str, Tensor]) -> None:
    """The loss reaches every tensor, and those with a gradient have moved."""
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert [n for n, p in trained.items() if p.grad is None] == []
    moved = changed(model, before)
    assert {n for n, p in trained.items() if p.grad is not None and p.grad.any()} <= moved
    assert len(moved & set(trained)) > 0.5 * len(trained)  # some units die at once


@pytest.mark.parametrize("name", slow(TESTED, HEAVY))
def test_training_lowers_the_loss_and_reaches_every_layer(name: str) -> None:
    model, batch = build(name).train(), batch_of(name)
    rate = 1e-4 if name in ("ssd", "faster_rcnn", "retinanet") else 1e-3
    optimiser = torch.optim.AdamW(model.parameters(), rate)
    before = snapshot(model)
    losses = [step(model, batch, optimiser) for _ in range(12 if name == "yolo11n" else 4)]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    check_that_all_train(model, before)
    # Only the constants of YOLO's distributions over distances do not train.
    assert all(p.requires_grad or ".dfl." in n for n, p in model.named_parameters())
    # Batches without a single box train too.
    assert np.isfinite(step(model, without_boxes(batch), optimiser))
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("name", slow(TESTED, HEAVY))
def test_frozen_keeps_the_body_and_trains_the_rest(name: str) -> None:
    model, batch = build(name), batch_of(name)
    model.freeze_backbone()
    model.train()
    body = {n for n in model.state_dict() if n.startswith(model.frozen_prefix)}
    names = {n for n, p in model.named_parameters() if p.requires_grad}
    assert body
    assert names
    assert not body & names
    before = snapshot(model)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-4)
    for _ in range(1 if name == "ssd" else 3):
        step(model, batch, optimiser)
    with torch.no_grad():
        model.eval()
        model.losses(*batch)
        model.train()
        model.losses(*batch)
    assert not changed(model, before) & body
    check_that_all_train(model, before)
    assert model.is_frozen


def test_which_layers_are_the_body(built: tuple[str, Detector]) -> None:
    name, model = built
    rest = [n for n in model.state_dict() if not n.startswith(model.frozen_prefix)]
    assert any("head" in n or "cv3" in n for n in rest)
    if "fpn" in SPECS[name].id:
        assert any(".fpn." in n for n in rest)
        assert not any("backbone.body" in n for n in rest)
    if name == "ssd":
        body = [n for n in model.state_dict() if n.startswith(model.frozen_prefix)]
        assert len(body) == 2 * 13  # the convolutions of VGG16
        assert "model.backbone.scale_weight" in rest


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torchvision's weights, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def no_network(url: str) -> None:
        raise OSError("no network in tests")

    monkeypatch.setattr("marsbench.base.network.check_reachable", no_network)
    # Tests write files of their own under published names.
    monkeypatch.setattr(weights, "check_published", lambda path, digest: None)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("name", slow(TESTED, HEAVY))
def test_weights_that_cannot_be_had(name: str, hub: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        build(name, pretrained=True)
    message = str(caught.value)
    assert str(hub) in message
    assert "mode=scratch" in message
    assert "weights=PATH" in message
    assert SPECS[name].id in message


def old_names(state: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """State as torchvision's published files name it; its own loader translates these."""
    for name, tensor in state.items():
        head, _, kind = name.rpartition(".")
        if ("_blocks." in head or "_head.conv." in head) and head.endswith(".0"):
            head = head.removesuffix(".0")
            if "_head.conv." in head:
                stem, _, number = head.rpartition(".")
                head = f"{stem}.{2 * int(number)}"
        yield head.replace("rpn.head.conv.0.0", "rpn.head.conv") + f".{kind}", tensor


@pytest.mark.parametrize("name", slow(TORCHVISION, HEAVY))
def test_coco_weights_fill_all_but_the_predictor(name: str, hub: Path) -> None:
    from torchvision.models import get_model, get_model_weights

    enum = get_model_weights(SPECS[name].id).DEFAULT
    donor: Any = build(name, num_classes=90, seed=1).model
    if name == "retinanet":  # torchvision counts a background that is never used
        donor = get_model(SPECS[name].id, weights=None, weights_backbone=None, num_classes=91)
    state = dict(old_names(donor.state_dict()))
    torch.save(state, hub / Path(enum.url).name)
    reference = get_model(SPECS[name].id, weights=enum)  # by torchvision's own loader

    model = build(name, pretrained=True)
    given, ours = reference.state_dict(), model.model.state_dict()
    assert set(ours) == set(given)
    fresh = {n for n, tensor in ours.items() if not torch.equal(tensor, given[n])}
    assert fresh
    by_classes = {n for n in ours if ours[n].shape != given[n].shape}
    assert by_classes <= fresh
    assert all(n.rpartition(".")[0] in {c.rpartition(".")[0] for c in by_classes} for n in fresh)
    assert all(p.requires_grad for p in model.parameters())
    for (path, a), (_, b) in zip(
        model.model.backbone.named_modules(),  # type: ignore[union-attr]
        reference.backbone.named_modules(),
        strict=True,
    ):
        assert type(a) is type(b), path
        assert getattr(a, "eps", None) == getattr(b, "eps", None), path

    # The same from a file of our own, whatever wrapped it.
    save_file({f"model.{n}": t for n, t in model.state_dict().items()}, hub / "own.safetensors")
    again = build(name, pretrained=True, checkpoint=hub / "own.safetensors").model.state_dict()
    assert [n for n in ours if not torch.equal(ours[n], again[n])] == []


def test_a_checkpoint_of_other_classes_tells_what_starts_at_random(
    hub: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = build("ssdlite")
    save_file(own.state_dict(), hub / "x.safetensors")
    path = hub / "x.safetensors"
    model = build("ssdlite", num_classes=2, pretrained=True, side=SIDE, checkpoint=path)
    body = "model.backbone.features.0.0.0.weight"
    assert torch.equal(model.state_dict()[body], own.state_dict()[body])
    assert re.search("has other classes: 12 tensor", capsys.readouterr().err)


@pytest.mark.parametrize("name", ["retinanet", "faster_rcnn_mobilenet", "ssdlite"])
def test_half_precision_leaves_boxes_exact(name: str) -> None:
    torch.manual_seed(0)
    model, batch = build(name).eval(), batch_of(name)
    with torch.no_grad():
        exact = model(batch.image)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = model(batch.image)
            loss = model.losses(*batch)
    assert loss.dtype == torch.float32
    for one, other in zip(exact, half, strict=True):
        assert other.boxes.dtype == torch.float32
        assert len(other.boxes)
        # Every box has one of the exact run's within a fraction of a pixel, the best ones first.
        best = (other.boxes[:10, None] - one.boxes[None]).abs().amax(dim=2).amin(dim=1)
        assert best.median() < 0.1
        on_grid = other.boxes == other.boxes.to(torch.bfloat16).float()
        assert on_grid.float().mean() < 0.9


@pytest.mark.parametrize("name", ["ssdlite", "faster_rcnn_mobilenet", "yolo11n"])
def test_a_last_batch_of_one_image(name: str) -> None:
    model = build(name, side=32 if name != "yolo11n" else 96).train()
    batch = batch_of(name, 32 if name != "yolo11n" else 96)
    loss = model.losses(batch.image[:1], batch.boxes[:1], batch.labels[:1])
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss).all()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.training and not m._forward_pre_hooks for m in norms)


def test_statistics_train_from_scratch_and_are_constants_of_coco(hub: Path) -> None:
    from torchvision.ops import FrozenBatchNorm2d

    scratch = build("faster_rcnn_mobilenet")
    assert any(isinstance(m, nn.BatchNorm2d) for m in scratch.modules())
    save_file(scratch.state_dict(), hub / "x.safetensors")
    finetune = build("faster_rcnn_mobilenet", pretrained=True, checkpoint=hub / "x.safetensors")
    assert not any(isinstance(m, nn.BatchNorm2d) for m in finetune.modules())
    assert any(isinstance(m, FrozenBatchNorm2d) for m in finetune.modules())


def test_a_checkpoint_of_another_model(hub: Path) -> None:
    save_file(build("ssdlite").state_dict(), hub / "x.safetensors")
    with pytest.raises(WeightsError, match="another model"):
        build("faster_rcnn_mobilenet", pretrained=True, checkpoint=hub / "x.safetensors")


def test_ssd_needs_room() -> None:
    assert SPECS["ssd"].smallest == 268
    build("ssd", side=268)
    assert detectors._ssd_steps(300) == [8, 16, 32, 64, 100, 300]


@pytest.mark.parametrize("name", ["faster_rcnn_mobilenet", "ssdlite", "yolo11n"])
def test_sides_that_no_stride_divides(name: str) -> None:
    model = build(name, side=101).eval()
    image = torch.rand(1, 3, 101, 101)
    with torch.no_grad():
        (found,) = model(image)
        loss = model.losses(image, [torch.tensor([[5.0, 5, 101, 101]])], [torch.tensor([0])])
    assert torch.isfinite(loss).all()
    assert found.boxes.max() <= 101


def class_biases(model: Detector) -> tuple[list[nn.Parameter], int]:
    """Biases of a model's last layers, and how many outputs stand before those of the classes."""
    last = (
        r"(box_predictor\.cls_score|head\.classification_head\.(cls_logits|module_list\.\d(\.1)?)"
        r"|cv3\.\d\.2)\.bias$"
    )
    family = getattr(model, "family", None)
    first = family.first_label if family else 0  # a background comes first
    biases = [bias for name, bias in model.named_parameters() if re.search(last, name)]
    return biases, first


@pytest.mark.parametrize("name", slow(TESTED, HEAVY))
def test_labels_of_targets_and_detections_are_the_same(name: str) -> None:
    image, boxes, labels = batch_of(name)
    model = build(name).eval()
    biases, first = class_biases(model)
    assert biases
    for class_id in range(CLASSES):
        of_class = [[torch.full_like(ids, k) for ids in labels] for k in range(CLASSES)]
        with torch.no_grad():
            # Of a model that believes in one class everywhere ...
            for bias in biases:
                bias.view(-1, first + CLASSES)[:, first + class_id] += 100.0
            assert all(found.labels[0] == class_id for found in model(image))
            losses = [model.losses(image, boxes, ids)[0].item() for ids in of_class]
            for bias in biases:
                bias.view(-1, first + CLASSES)[:, first + class_id] -= 100.0
        if name != "yolo11n":
            # ... the loss is lowest where that is the right one.
            assert np.argmin(losses) == class_id
        else:
            # YOLO's targets grow with its predictions; they pull at the right class most.
            loss = model.losses(image, boxes, of_class[class_id])[0]
            gradients = torch.autograd.grad(loss, biases)
            assert torch.stack(gradients).sum(0).argmin() == class_id


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side", "steps", "rate"),
    [
        ("ssd", 300, 25, 1e-4),
        ("yolo11n", 96, 300, 2e-3),
        ("retinanet", 96, 150, 1e-4),
        ("faster_rcnn", 96, 150, 1e-4),
    ],
)
def test_two_images_are_learnt_with_their_labels(
    name: str, side: int, steps: int, rate: float
) -> None:
    model, batch = build(name, side=side).train(), batch_of(name, side)
    optimiser = torch.optim.AdamW(model.parameters(), rate)
    for _ in range(steps):
        step(model, batch, optimiser)
    model.eval()
    with torch.no_grad():
        found = model(batch.image)
    targets = [
        Boxes(b.double().numpy(), ids.numpy())
        for b, ids in zip(batch.boxes, batch.labels, strict=True)
    ]
    predicted = [detections.numpy() for detections in found]
    assert score(targets, predicted, ("a", "b", "c"))["map50"] > 0.9
    for detections, ids in zip(found, batch.labels, strict=True):
        assert sorted(detections.labels[: len(ids)].tolist()) == sorted(ids.tolist())
