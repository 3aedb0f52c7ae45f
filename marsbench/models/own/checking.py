"""Checks of an encoder on generated inputs."""

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from marsbench.models.adapters import InputAdapter
from marsbench.models.encoders.timm import intermediates_of
from marsbench.models.own.encoder import Encoder

LARGEST = 64 * 2**30
"""Bytes of weights above which an encoder is refused: more than a run's optimiser could follow."""


def problems_of(encoder: Encoder, device: torch.device, *, is_quick: bool = False) -> list[str]:
    """Problems of an encoder: wrong shapes, numbers that are not finite, chance in evaluation, ...

    Args:
        encoder: The encoder; its module stays as it is.
        device: Device to try it on.
        is_quick: Whether to stop after the first problem, and to leave gradients out.
    """
    module = encoder.module
    weight = sum(t.numel() * t.element_size() for t in module.state_dict().values())
    if weight > LARGEST:
        return [f"its weights take {weight / 2**30:.0f} GiB; expected at most {LARGEST >> 30} GiB."]
    return _listed(encoder, device, _problems(encoder, device, is_quick), is_quick)


def _listed(
    encoder: Encoder, device: torch.device, problems: Iterator[str], is_quick: bool
) -> list[str]:
    """List problems, or the first alone, of an encoder in evaluation mode on a device."""
    module = encoder.module
    was_training, place = module.training, [p.device for p in module.parameters()][:1]
    try:
        module.eval().to(device)
        return list(itertools.islice(problems, 1 if is_quick else None))
    finally:
        module.train(was_training)
        if place:
            module.to(place[0])


def maps_of(encoder: Encoder, image: Tensor) -> list[Tensor]:
    """Feature maps (B, F, h, w) of an encoder, of its function or of timm's.

    Args:
        encoder: An encoder for which `Encoder.dense` promises maps.
        image: Normalised images (B, C, S, S).

    Raises:
        ValueError: If its output is neither tokens nor maps.
    """
    if encoder.dense is None:
        return intermediates_of(encoder.module)(encoder.module, image)
    output = encoder.dense(image)
    return [_as_map(part) for part in ([output] if isinstance(output, Tensor) else output)]


def _as_map(output: Any) -> Tensor:
    if not isinstance(output, Tensor):
        raise ValueError(f"dense gives {type(output).__name__}; expected tensors")
    if output.ndim == 3:
        side = math.isqrt(output.shape[1])
        if side * side == output.shape[1]:
            return output.transpose(1, 2).reshape(len(output), -1, side, side)
        raise ValueError(
            f"dense gives {output.shape[1]} tokens, which is no square; leave class tokens out"
        )
    if output.ndim != 4:
        raise ValueError(
            f"dense gives the shape {tuple(output.shape)}; expected tokens (B, n * n, F) or maps "
            "(B, F, h, w)"
        )
    return output


def dense_problems(encoder: Encoder, device: torch.device, *, is_quick: bool = False) -> list[str]:
    """Problems of an encoder's feature maps; arguments as in `problems_of`."""
    return _listed(encoder, device, _dense_problems(encoder, device), is_quick)


def weights_problems(encoder: Encoder, make: Callable[[bool], Encoder]) -> list[str]:
    """Problems of weights that do not follow from the function and its files alone.

    Args:
        encoder: The pre-trained encoder.
        make: Calls the function again, for pre-trained weights (True) or random ones.
    """
    # A forgotten load_state_dict would give every run other weights under the same id.
    again = make(True).module.state_dict()
    for name, tensor in encoder.module.state_dict().items():
        if name not in again or not tensor.equal(again[name]):
            problem = (
                f"two calls give other weights ({name}), which are therefore not pre-trained; load "
                "them from a file, and name the file in files."
            )
            return [problem]
    return _unsaved_problems(encoder, make(False))


def _unsaved_problems(encoder: Encoder, other: Encoder) -> list[str]:
    """Problems of tensors outside of the module's ``state_dict``, which runs neither load nor save.

    Such as layers in a plain list, or a second network behind `Encoder.dense`.

    Args:
        encoder: The pre-trained encoder.
        other: The encoder of another call, such as with random weights; takes the tensors of the
            first.
    """
    try:
        other.module.load_state_dict(encoder.module.state_dict())
    except RuntimeError:
        return []  # other names or shapes, which loading the weights reports
    device = torch.device("cpu")
    images, modules = _images(encoder, encoder.size, device), (encoder.module, other.module)
    has_maps = encoder.dense is not None and not dense_problems(encoder, device, is_quick=True)
    training = [module.training for module in modules]
    try:
        with torch.no_grad():
            features = [module.eval()(images) for module in modules]
            maps = [maps_of(e, images) for e in (encoder, other)] if has_maps else []
    finally:
        for module, was_training in zip(modules, training, strict=True):
            module.train(was_training)
    pairs = [features, *zip(*maps, strict=True)]
    if all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in pairs):
        return []
    problem = (
        "its output depends on tensors outside of module.state_dict(), which would stay at "
        "random; register them as parameters, buffers or submodules (nn.ModuleList for layers)."
    )
    return [problem]


def _dense_problems(encoder: Encoder, device: torch.device) -> Iterator[str]:
    images = _images(encoder, encoder.size, device)
    try:
        with torch.no_grad():
            maps, again = maps_of(encoder, images), maps_of(encoder, images)
    except Exception as error:  # of the user's code
        text = (str(error).splitlines() or [""])[0][:200]
        yield (
            f"feature maps of an image batch of shape {tuple(images.shape)} on {device} raise "
            f"{type(error).__name__}: {text}"
        )
        return
    shapes = [tuple(m.shape) for m in maps]
    sides = [shape[2] for shape in shapes]
    if not maps:
        yield "its list of feature maps is empty."
    elif any(shape[0] != 2 or shape[2] != shape[3] for shape in shapes):
        yield f"its feature maps have the shapes {shapes}; expected (2, F, n, n)."
    elif sides != sorted(sides, reverse=True) or not 0 < sides[0] <= encoder.size:
        yield f"its feature maps have the sides {sides}; expected the finest first."
    elif not all(map(_is_finite, maps)):
        yield "its feature maps hold NaN or infinity."
    elif not all(map(torch.equal, maps, again)):
        yield "equal images give other feature maps in evaluation mode; dropout, or other chance?"
    elif all(torch.allclose(m[0], m[1], rtol=1e-5, atol=1e-7) for m in maps):
        yield "two random images have equal feature maps."


def _images(encoder: Encoder, size: int, device: torch.device) -> Tensor:
    """Two random images, normalised for an encoder."""
    chance = torch.Generator().manual_seed(0)
    unit = torch.rand(2, len(encoder.mean), size, size, generator=chance)
    adapted: Tensor = InputAdapter(encoder.mean, encoder.std).to(device)(unit.to(device))
    return adapted


def _problems(encoder: Encoder, device: torch.device, is_quick: bool) -> Iterator[str]:
    module, size = encoder.module, encoder.size
    if bad := next((n for n, t in module.state_dict().items() if not _is_finite(t)), None):
        yield f"its tensor {bad} holds NaN or infinity."
    images = _images(encoder, size, device)
    try:
        with torch.no_grad():
            features = module(images)
    except Exception as error:  # of the user's code
        text = (str(error).splitlines() or [""])[0][:200]
        yield (
            f"an image batch of shape {tuple(images.shape)} on {device} raises "
            f"{type(error).__name__}: {text}"
        )
        return
    if not isinstance(features, Tensor):
        yield f"its output is {type(features).__name__}; expected a tensor."
        return
    expected = (2, encoder.num_features)
    if tuple(features.shape) != expected:
        yield f"its output has the shape {tuple(features.shape)}; expected {expected}."
        return
    if features.device.type != device.type:
        yield f"its output is on {features.device}, and its input on {device}."
        return
    if not _is_finite(features):
        yield "its output holds NaN or infinity."
        return
    with torch.no_grad():
        if not torch.equal(module(images), features):
            yield "equal images give other features in evaluation mode; dropout, or other chance?"
        alone = module(images[:1])
        if not torch.allclose(alone, features[:1], rtol=1e-3, atol=1e-4):
            yield "an image has other features alone than in a batch; statistics of the batch?"
        if torch.allclose(features[0], features[1], rtol=1e-5, atol=1e-7):
            yield "two random images have equal features."
    if not is_quick:
        yield from _trained(encoder, images)


def _trained(encoder: Encoder, images: Tensor) -> Iterator[str]:
    """Problems of training, on a copy."""
    try:
        module = copy.deepcopy(encoder.module).train()
        module.requires_grad_(True)
        module(images).sum().backward()
    except Exception as error:  # of the user's code
        text = (str(error).splitlines() or [""])[0][:200]
        yield f"a training step raises {type(error).__name__}: {text}"
        return
    unused = [name for name, p in module.named_parameters() if p.grad is None]
    if unused:
        yield (
            f"{len(unused)} parameters take no part in the output, such as {unused[0]}; several "
            "devices would wait for their gradients. Remove them."
        )


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
