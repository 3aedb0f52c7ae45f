"""Trained networks reading batches of another task: outputs by kind of target."""

from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from marsbench.data.dataset import MarsDataset
from marsbench.evaluate.classes import Classes
from marsbench.evaluate.scoring import Read, joined_scores, kept_boxes, sample_facts
from marsbench.metrics.boxes import NO_BOXES, PredictedBoxes
from marsbench.metrics.masks import IGNORE
from marsbench.models.base import Model
from marsbench.models.encoders.classifier import Classifier
from marsbench.tasks.kinds import BOXES, LABELS, MASKS, Kind
from marsbench.training.loop.objectives.answers import AnswerObjective
from marsbench.training.loop.objectives.base import LogitObjective, Objective
from marsbench.training.loop.objectives.boxes import BoxObjective
from marsbench.training.loop.objectives.labels import LabelObjective
from marsbench.training.loop.objectives.masks import MaskObjective, at_size, confusion

Batch = dict[str, Any]


class Reader(ABC):
    """A network, and the outputs kept of each batch.

    Args:
        model: The network in evaluation.
        objective: Its objective.
        classes: Its classes and those of the target.
        dataset: Samples of the target.

    Attributes:
        key: Readers of equal keys share `encode`.
    """

    key: Hashable

    def __init__(
        self, model: Model, objective: Objective, classes: Classes, dataset: MarsDataset
    ) -> None:
        self.model, self.objective = model, objective
        self.classes, self.dataset = classes, dataset
        self.key = id(self)

    def encode(self, images: Tensor) -> Tensor:
        """Encode images (B, C, H, W); by default the images themselves."""
        return images

    @abstractmethod
    def read(self, encoded: Tensor, batch: Batch) -> None:
        """Keep the outputs of a batch.

        Args:
            encoded: Result of `encode` of a reader with the same key.
            batch: The batch on the device, targets as in the target's data.
        """

    @abstractmethod
    def finish(self) -> Read:
        """Columns of the predictions of all batches."""

    def own_labels(self, labels: Tensor) -> Tensor | None:
        """Labels as ids of the model's classes; None unless classes match one to one.

        Args:
            labels: Ids (...), with `IGNORE` for none; or rows of zeros and ones (B, K).
        """
        if not self.classes.is_one_to_one:
            return None
        ids = np.argsort(self.classes.of_source)[self.classes.of_target]
        if labels.is_floating_point():
            return labels[:, torch.from_numpy(np.argsort(ids)).to(labels.device)]
        table = torch.full((max(IGNORE + 1, len(ids)),), IGNORE, dtype=torch.int64)
        table[: len(ids)] = torch.from_numpy(ids)
        return table.to(labels.device)[labels.long()]


class LabelReader(Reader):
    """Reads labels; frozen classifiers share the features of a batch.

    Args:
        model: As in `Reader`.
        objective: As in `Reader`.
        classes: As in `Reader`.
        dataset: As in `Reader`.
        shared: Key of the frozen backbone; None for networks whose features are their own.
        is_cached: Whether the head was fitted, and is applied, to all features at once.
    """

    def __init__(
        self,
        model: Model,
        objective: Objective,
        classes: Classes,
        dataset: MarsDataset,
        shared: Hashable = None,
        *,
        is_cached: bool = False,
    ) -> None:
        super().__init__(model, objective, classes, dataset)
        is_split = isinstance(model, Classifier) and model.is_frozen and shared is not None
        self.classifier = cast(Classifier, model) if is_split else None
        self.is_cached = is_cached
        if self.classifier is not None:
            self.key = shared
        self._features: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._losses: list[Tensor] = []

    def encode(self, images: Tensor) -> Tensor:
        """Features (B, F) of a frozen classifier; other networks read the images."""
        return images if self.classifier is None else self.classifier.features(images)

    def read(self, encoded: Tensor, batch: Batch) -> None:
        """Keep features, logits or answers."""
        if self.classifier is not None:
            if self.is_cached:
                self._features.append(encoded.float())
            else:
                self._outputs.append(self.classifier.classify(encoded))
            return
        labels = self.own_labels(batch["label"])
        if isinstance(self.objective, AnswerObjective):
            self._outputs.append(self.model(encoded))
            if labels is not None:
                measured = self.objective.measure(self.model, {"image": encoded, "label": labels})
                self._losses.append(torch.as_tensor(measured["loss"]))
            return
        seen = {"image": encoded, "label": batch["label"]}
        self._outputs.append(torch.as_tensor(self.objective.observe(self.model, seen)["logits"]))

    @property
    def logits(self) -> Tensor:
        """Logits of all samples, (N, num_outputs); scores of models that answer in words."""
        if self.classifier is not None and self.is_cached:
            head: Any = self.classifier.head
            logits: Tensor = head(torch.cat(self._features))
            return logits
        return torch.cat(self._outputs)

    def finish(self) -> Read:
        """Columns ``target`` and ``scores``, and facts of the samples."""
        objective, logits = cast(LogitObjective, self.objective), self.logits
        scores = objective.probabilities(logits).cpu().numpy().astype(np.float32)
        columns = joined_scores(self.classes, self.objective.kind, self.dataset.targets, scores)
        return Read(
            self.dataset.sample_ids, columns | sample_facts(self.dataset), self._loss(logits)
        )

    def _loss(self, logits: Tensor) -> float | None:
        if isinstance(self.objective, AnswerObjective):
            return float(torch.cat(self._losses).mean()) if self._losses else None
        is_multilabel = self.objective.kind is Kind.MULTILABEL
        targets = torch.from_numpy(self.dataset.targets).to(logits.device)
        # Types as in training: the loss of double logits and single labels is rounded to single.
        dtype = logits.dtype if self.is_cached else torch.float32
        labels = self.own_labels(targets.to(dtype) if is_multilabel else targets.long())
        if labels is None:
            return None
        return float(cast(LabelObjective, self.objective).plain(logits, labels).mean())


class MaskReader(Reader):
    """Reads masks, scored at the size of each mask."""

    objective: MaskObjective

    def __init__(
        self, model: Model, objective: Objective, classes: Classes, dataset: MarsDataset
    ) -> None:
        super().__init__(model, objective, classes, dataset)
        # Pixels of classes without a counterpart are ignored.
        self._table = np.full(IGNORE + 1, IGNORE, dtype=np.int64)
        self._table[: len(classes.target)] = np.where(
            classes.of_target < 0, IGNORE, classes.of_target
        )
        self._members = [
            np.flatnonzero(classes.of_source == k).tolist() for k in range(len(classes.names))
        ]
        self._confusions: list[Tensor] = []
        self._losses: list[Tensor] = []
        self._pixels = np.zeros(len(classes.target), dtype=np.int64)

    def read(self, encoded: Tensor, batch: Batch) -> None:
        """Count pixels by class in ground truth and prediction."""
        logits: Tensor = self.model(encoded)
        table = torch.from_numpy(self._table).to(logits.device)
        for own, truth in zip(logits, batch["truth"], strict=True):
            self._count(truth)
            merged = self._merged(at_size(own, (truth.shape[0], truth.shape[1])))
            ids = table[truth.long()]
            self._confusions.append(confusion(ids, merged.argmax(dim=0), len(self._members)))
        masks = self.own_labels(batch["mask"])
        if masks is not None:
            self._losses.append(self.objective.plain(logits, masks))

    def _count(self, truth: Tensor) -> None:
        counts = np.bincount(truth.cpu().numpy().ravel(), minlength=IGNORE + 1)
        self._pixels += counts[: len(self._pixels)]

    def _merged(self, logits: Tensor) -> Tensor:
        """Logits of the matched classes (K', H, W): merged classes add up their probabilities."""
        return torch.stack(
            [
                logits[ids[0]] if len(ids) == 1 else logits[ids].float().logsumexp(dim=0)
                for ids in self._members
            ]
        )

    def finish(self) -> Read:
        """Column ``confusion``, and facts of the samples."""
        confusions = torch.stack(self._confusions).cpu().numpy()
        columns = {"confusion": list(confusions.reshape(len(confusions), -1))}
        loss = float(torch.cat(self._losses).mean()) if self._losses else None
        return Read(
            self.dataset.sample_ids, columns | sample_facts(self.dataset), loss, self._pixels
        )


class BoxReader(Reader):
    """Reads boxes, scored in pixels of the original image."""

    objective: BoxObjective

    def __init__(
        self, model: Model, objective: Objective, classes: Classes, dataset: MarsDataset
    ) -> None:
        super().__init__(model, objective, classes, dataset)
        self._detections: list[PredictedBoxes] = []
        self._losses: list[Tensor] = []

    def read(self, encoded: Tensor, batch: Batch) -> None:
        """Keep the detections."""
        own = {**batch, "image": encoded}
        labels = [self.own_labels(ids) for ids in batch["labels"]]
        if all(ids is not None for ids in labels):
            observed = self.objective.observe(self.model, {**own, "labels": labels})
            self._losses.append(torch.as_tensor(observed["loss"]))
            self._detections += cast(list[PredictedBoxes], observed["detections"])
        else:
            self._detections += self.objective.detections(self.model, own)

    def finish(self) -> Read:
        """Columns of boxes, and facts of the samples."""
        truths = [self.dataset.samples[int(i)].boxes or NO_BOXES for i in self.dataset.indices]
        targets = [kept_boxes(boxes, self.classes.of_target) for boxes in truths]
        predicted = [kept_boxes(boxes, self.classes.of_source) for boxes in self._detections]
        columns = {
            "target_boxes": [boxes.xyxy.tolist() for boxes in targets],
            "target_labels": [boxes.labels.tolist() for boxes in targets],
            "boxes": [boxes.xyxy.tolist() for boxes in predicted],
            "scores": [boxes.scores.tolist() for boxes in predicted],
            "labels": [boxes.labels.tolist() for boxes in predicted],
        }
        counts = np.zeros(len(self.classes.target), dtype=np.int64)
        for boxes in truths:
            counts += np.bincount(boxes.labels, minlength=len(counts))
        loss = float(torch.cat(self._losses).mean()) if self._losses else None
        return Read(self.dataset.sample_ids, columns | sample_facts(self.dataset), loss, counts)


READERS: dict[Kind, type[Reader]] = {
    **dict.fromkeys(LABELS, LabelReader),
    **dict.fromkeys(MASKS, MaskReader),
    **dict.fromkeys(BOXES, BoxReader),
}
"""Readers by kind of the model's task."""
