"""Segmentation models of segmentation-models-pytorch (smp).

A segmenter takes images of any size and number of bands. All weights of its encoder are loaded by
name, or building it fails.
"""

from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from marsbench.base.errors import NotAvailableError
from marsbench.models import weights
from marsbench.models.adapters import Bands, build_adapter
from marsbench.models.base import Model, without_lone_statistics
from marsbench.models.encoders.timm import without_memory
from marsbench.models.segmenters.weights import encoder_name, has_bands, load
from marsbench.models.spec import ModelSpec
from marsbench.models.tensors import read_checkpoint

_PAN_SMALLEST = 256
"""Smallest side for PAN, which halves features of stride 16 three times."""


class Segmenter(Model):
    """A segmentation model for images of any size.

    Args:
        adapter: Normalises images in [0, 1].
        model: smp's model: an `encoder`, a `decoder` and a `segmentation_head`.
        multiple: Sides are padded to multiples of this number of pixels.
        smallest: Sides are padded to at least this number of pixels.
        fixed_side: Side of the input if the encoder takes squares of a single size only. Images are
            resized to it, and logits back.
    """

    model: Any  # smp is untyped
    frozen_prefix = "model.encoder."

    def __init__(
        self,
        adapter: nn.Module,
        model: nn.Module,
        multiple: int = 32,
        smallest: int = 64,
        fixed_side: int | None = None,
    ) -> None:
        super().__init__()
        self.adapter, self.model = adapter, model
        self.multiple, self.smallest, self.fixed_side = multiple, smallest, fixed_side

    @property
    def backbone(self) -> nn.Module:
        """The encoder."""
        encoder: nn.Module = self.model.encoder
        return encoder

    def forward(self, image: Tensor) -> Tensor:
        """Segment a batch of images (B, C, H, W) in [0, 1]; returns logits (B, K, H, W)."""
        height, width = image.shape[-2:]
        if self.fixed_side is not None:
            sides = (self.fixed_side, self.fixed_side)
            image = functional.interpolate(image, sides, mode="bilinear", antialias=True)
        else:
            image = self._padded(image)
        logits: Tensor
        if self.training and len(image) == 1:
            with without_lone_statistics(self.model):
                logits = self.model(self.adapter(image))
        else:
            logits = self.model(self.adapter(image))
        if self.fixed_side is not None:
            return functional.interpolate(logits, (height, width), mode="bilinear")
        return logits[..., :height, :width]

    def _padded(self, image: Tensor) -> Tensor:
        """Pad images at the right and bottom by reflection, or by the edge if they are small."""
        height, width = image.shape[-2:]
        down, right = (
            max(-(-side // self.multiple) * self.multiple, self.smallest) - side
            for side in (height, width)
        )
        if not down and not right:
            return image
        mode = "reflect" if down < height and right < width else "replicate"
        return functional.pad(image, (0, right, 0, down), mode=mode)


def build_segmenter(
    spec: ModelSpec,
    num_classes: int,
    *,
    pretrained: bool,
    checkpoint: Path | None = None,
    color_of_band: Bands | None = None,
) -> Segmenter:
    """Build a segmenter.

    Args:
        spec: The zoo entry.
        num_classes: K, the number of outputs per pixel.
        pretrained: Whether the encoder starts from weights; the decoder always starts at random.
        checkpoint: Local weights to use instead of the default ones: of the encoder, or of a whole
            model, whose last layer is skipped if it has other classes.
        color_of_band: Colour of each band. By default images are grey or RGB, and grey images are
            replicated. Otherwise the filters of the first convolution are distributed to the
            bands after loading: a band takes the filter of its colour, or the mean of the three.
            All are scaled by 3 / number of bands, so that activations keep their scale.

    Raises:
        WeightsError: If the weights are missing or do not fit.
        NotAvailableError: If smp cannot combine the architecture and the encoder, or the encoder
            has no convolution to adapt to the bands.
    """
    state = origin = None
    if checkpoint is not None:
        state, origin = read_checkpoint(checkpoint), f"weights={checkpoint}"
    elif pretrained:
        state, origin = weights.download(spec), spec.name
    model, fixed_side = create(spec, num_classes)
    segmenter = Segmenter(
        build_adapter(spec),
        model,
        *_sides(spec, model),
        fixed_side,
    )
    first = _try_out(segmenter, spec)
    if color_of_band is None:
        if state is not None and origin is not None:
            load(model, state, spec, origin, is_default=checkpoint is None)
        return segmenter
    if not first:
        raise NotAvailableError(
            f"The encoder of {spec.name} does not begin with a convolution of three channels "
            f"and cannot be adapted to {len(color_of_band)} bands.",
            "Choose another encoder, or bands=rgb.",
        )
    segmenter.adapter = build_adapter(spec, color_of_band=color_of_band)
    if state is None or origin is None:
        _spread(segmenter, first, color_of_band, is_random=True)
    elif has_bands(model, state, first[0], len(color_of_band)):
        _spread(segmenter, first, color_of_band)
        load(model, state, spec, origin, is_default=checkpoint is None)
    else:
        load(model, state, spec, origin, is_default=checkpoint is None)
        _spread(segmenter, first, color_of_band)
    return segmenter


# Building


def create(spec: ModelSpec, num_classes: int) -> tuple[Any, int | None]:
    """Build smp's model with random weights; also returns its fixed side, or None.

    Raises:
        NotAvailableError: If architecture and encoder do not fit each other.
    """
    import segmentation_models_pytorch as smp

    encoder = encoder_name(spec)
    options, fixed_side = _size_options(encoder)
    if spec.id == "dpt":
        # Otherwise its encoder has an unused classifier of 17 million parameters.
        options["num_classes"] = 0
    try:
        model = smp.create_model(
            spec.id, encoder, encoder_weights=None, classes=num_classes, **options
        )
    except Exception as error:  # smp and timm raise many types for invalid combinations
        raise _not_together(spec, error) from error
    return model, fixed_side


def _size_options(encoder: str) -> tuple[dict[str, Any], int | None]:
    """Options of a timm encoder for inputs of any size, or else its fixed side.

    At the size of its training the options change nothing.
    """
    if not encoder.startswith("tu-"):
        return {}, None
    import timm

    name = encoder.removeprefix("tu-")
    cfg: Any = timm.get_pretrained_cfg(name)
    if cfg is None or not cfg.fixed_input_size:
        return {}, None
    options: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False})
    for option in options:
        try:
            without_memory(name, **option)
        except TypeError:
            continue  # the model does not have the option
        return option, None
    return {}, int(cfg.input_size[-1])


def _sides(spec: ModelSpec, model: Any) -> tuple[int, int]:
    """Multiple of the padded sides, and smallest side, in pixels."""
    stride = int(model.encoder.output_stride)
    if spec.id == "dpt":
        if stride & (stride - 1):
            raise NotAvailableError(
                f"The patches of {spec.name} have {stride} pixels; smp's DPT expects 8, 16 or 32.",
                "Choose another encoder.",
            )
        # DPT resamples the patches to strides 4 to 32 and joins them without cropping.
        stride = max(stride, 32)
    # Two strides give the deepest features more than one value per channel, which batch
    # normalisation needs for a single image.
    return stride, max(2 * stride, _PAN_SMALLEST if spec.id == "pan" else 64)


def _try_out(segmenter: Segmenter, spec: ModelSpec) -> list[str]:
    """Run a small image through the model.

    Unused parameters, such as those of stages below the last input of the decoder, are set not to
    train: several devices would wait for their gradients.

    Returns:
        Names of the encoder's convolutions that take the image.

    Raises:
        NotAvailableError: If architecture and encoder do not fit each other.
    """
    encoder = segmenter.backbone
    side = segmenter.fixed_side or segmenter.smallest
    first: list[str] = []

    def note(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            # Some encoders pad the image first; pooled features are smaller.
            if inputs[0].shape[-1] >= side and name not in first:
                first.append(name)

        return hook

    hooks = [
        module.register_forward_pre_hook(note(name))
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Conv2d) and module.in_channels == 3 and module.groups == 1
    ]
    was_training = segmenter.training
    segmenter.eval()
    try:
        logits = segmenter(torch.zeros(1, 3, side, side))
    except Exception as error:  # shapes that do not fit in any of the layers
        raise _not_together(spec, error) from error
    finally:
        for hook in hooks:
            hook.remove()
    if logits.shape[-2:] != (side, side):
        raise _not_together(spec, f"{tuple(logits.shape[-2:])} logits of {(side, side)} pixels")
    logits.sum().backward()
    for parameter in segmenter.parameters():
        if parameter.grad is None:
            parameter.requires_grad_(False)
        parameter.grad = None
    segmenter.train(was_training)
    return first


def _not_together(spec: ModelSpec, error: Exception | str) -> NotAvailableError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return NotAvailableError(
        f"smp cannot combine {spec.id} and {spec.encoder}: {lines[0][:200]}",
        f"Choose another encoder, such as smp:{spec.id}/"
        f"{'tu-vit_tiny_patch16_224' if spec.id == 'dpt' else 'resnet34'}.",
    )


# Bands


def _spread(
    segmenter: Segmenter, first: Sequence[str], color_of_band: Bands, is_random: bool = False
) -> None:
    """Distribute the filters of red, green and blue to bands.

    Random filters are drawn again with the standard deviation for their number of inputs: means
    of three would have a smaller one, and bands of equal colour would start with equal filters.
    """
    scale = 3 / len(color_of_band)
    for name in first:
        convolution: Any = segmenter.backbone.get_submodule(name)
        filters: Tensor = convolution.weight.detach()  # (outputs, 3, height, width)
        mean = filters.mean(dim=1)
        rows = [mean if color is None else filters[:, color] for color in color_of_band]
        adapted = torch.stack(rows, dim=1)
        if is_random:
            adapted = torch.randn_like(adapted) * filters.std() * sqrt(scale)
        else:
            adapted = adapted * scale
        convolution.weight = nn.Parameter(adapted)
        convolution.in_channels = len(color_of_band)
