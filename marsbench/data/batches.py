"""Batches of samples."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import default_collate

from marsbench.base.errors import DataError

STACKED = ("image", "index", "label", "mask", "size")
"""Fields with the same shape in every sample of a task, stacked to a tensor."""


def batch_of(
    samples: Sequence[Mapping[str, Any]], stacked: Collection[str] = STACKED
) -> dict[str, Any]:
    """Make a batch: fields in `stacked` become tensors, others lists.

    Args:
        samples: B samples with equal fields.
        stacked: Names of the fields to stack.

    Raises:
        DataError: If samples differ in their fields, or in the shape of a field to stack.
    """
    for i, sample in enumerate(samples):
        if different := sample.keys() ^ samples[0].keys():
            raise DataError(
                f"{sample.get('sample_id', f'sample {i}')} and the first sample of its batch "
                f"differ in the fields {', '.join(sorted(different))}.",
                "Return the same fields for every sample from transform=.",
            )
    batch: dict[str, Any] = {}
    for key in samples[0]:
        values = [sample[key] for sample in samples]
        if key in stacked:
            _check_shapes(key, values, samples)
            batch[key] = default_collate(values)
        else:
            batch[key] = values
    return batch


def _check_shapes(key: str, values: Sequence[Any], samples: Sequence[Mapping[str, Any]]) -> None:
    shapes = [tuple(v.shape) if isinstance(v, Tensor) else () for v in values]
    other = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None)
    if other is None:
        return
    first, second = (samples[i].get("sample_id", f"sample {i}") for i in (0, other))
    raise DataError(
        f"The {key} of {first} has the shape {shapes[0]}, that of {second} {shapes[other]}; a "
        "batch needs equal shapes.",
        "Resize images and masks by transform=, or use batch_size=1.",
    )
