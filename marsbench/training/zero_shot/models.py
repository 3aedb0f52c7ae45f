"""Interface of models that label images without training, and the table of their families.

A family is an entry of `MODELS` and a module with a function ``open(plan, folder)``, which returns
a `ZeroShotModel`:

- ``plan``: the resolved run. ``plan.asked`` is the task as it is scored, with masks recast as
  labels; ``plan.class_names`` are the K classes in the order of the data's ids, without the
  background of masks. ``plan.prompts`` are the words of the classes,
  ``plan.instructions`` those for generative models; the digest of the prompt in the run id is of
  `marsbench.plan.resolve.Plan`.
- ``folder``: the run's folder, for answers that an interrupted run keeps.

`marsbench.training.zero_shot.asking` chooses the test samples, calls `ZeroShotModel.predict` once,
and scores and stores the result.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from marsbench.base import lazy
from marsbench.data.dataset import MarsDataset
from marsbench.data.transforms import to_float
from marsbench.models.spec import Library
from marsbench.plan.resolve import Plan

MODELS: dict[Library, str] = {
    Library.TOWERS: "marsbench.training.zero_shot.towers:Towers",
    Library.VLM: "marsbench.training.zero_shot.local:LocalModel",
    Library.API: "marsbench.training.zero_shot.endpoint.model:open_model",
}
"""``(plan, folder) -> ZeroShotModel`` by library, as ``"module:function"``."""


class Images(Sequence[Tensor]):
    """The n images to label, read on access, also by several threads.

    An image is float32 (C, H, W) in [0, 1], of the side ``plan.side``, or of its own size if that
    is None; grey images have one channel.

    Args:
        dataset: The chosen test samples.

    Attributes:
        sample_ids: The n ids.
    """

    def __init__(self, dataset: MarsDataset) -> None:
        self._dataset = dataset
        self.sample_ids = dataset.sample_ids

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return to_float(self._dataset[index]["image"])


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """Labels of n images.

    Attributes:
        scores: float32 (n, K): probabilities of the classes; of answers in words ones and zeros.
            Of tasks of a single class rows sum to 1, and of multilabel tasks a label is present
            from 0.5. Rows of unanswered images are replaced.
        unanswered: bool (n,), images without a valid answer, which count as wrong; None if the
            model cannot fail to answer.
        refused: bool (n,), those of them that the model refused; None as above.
        facts: Further facts for the record, below ``data.zero_shot``.
        weights: Weights, as in a record; None if they are unknown or not on this machine.
        parameters: Number of parameters; 0 if unknown.
        device: The device.
        peak_memory: Peak bytes, as in a record.
    """

    scores: NDArray[np.float32]
    unanswered: NDArray[np.bool_] | None = None
    refused: NDArray[np.bool_] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    weights: dict[str, Any] | None = None
    parameters: int = 0
    device: str = "cpu"
    peak_memory: Mapping[str, int] = field(default_factory=dict)


class ZeroShotModel(Protocol):
    """Model that labels images without training."""

    def predict(self, images: Images) -> Predicted:
        """Label all images."""


def open_model(plan: Plan, folder: Path) -> ZeroShotModel:
    """Open the model of a run.

    Raises:
        MarsbenchError: If a package, a key or weights are missing.
    """
    model: ZeroShotModel = lazy.load(MODELS[plan.model.library])(plan, folder)
    return model
