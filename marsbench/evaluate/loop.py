"""Loop over batches of a target: load, corrupt, match bands, encode once, read by each model."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from marsbench.config.schema import Augment, LossName, Precision, Protocol, RunConfig
from marsbench.data.datamodule import Loader, Speaking, check_batch, collate, default_workers
from marsbench.data.dataset import MarsDataset
from marsbench.data.transforms import finish_batch
from marsbench.evaluate.bands import change_bands
from marsbench.evaluate.networks import READERS, LabelReader, Reader
from marsbench.evaluate.planning import Evaluation
from marsbench.evaluate.scoring import Read
from marsbench.evaluate.tables import read_table
from marsbench.models.base import Model
from marsbench.models.encoders.classifier import Classifier
from marsbench.predict.load import library_of
from marsbench.tasks.kinds import KINDS, Kind
from marsbench.training.frozen.features import BATCH
from marsbench.training.loop.arithmetic import arithmetic
from marsbench.training.loop.objectives.build import objective_of
from marsbench.training.trained import rebuild

Advance = Callable[[int], None]
"""To call with the number of samples read since the last call."""


class Networks:
    """Networks of finished runs, rebuilt once for all passes over their samples.

    Runs with the same frozen backbone share one copy of it.

    Args:
        device: The device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._networks: dict[str, list[Model]] = {}
        self._backbones: dict[Hashable, nn.Module] = {}

    def of(self, evaluation: Evaluation) -> list[Model]:
        """Networks of a run: one, or one per fold.

        Raises:
            MarsbenchError: If a network cannot be rebuilt.
        """
        name = evaluation.parent.record.run_id
        if name not in self._networks:
            self._networks[name] = [
                self._rebuilt(evaluation, place) for place in evaluation.parent.places
            ]
        return self._networks[name]

    def _rebuilt(self, evaluation: Evaluation, place: Path) -> Model:
        parent, rendering = evaluation.parent, evaluation.rendering
        shape = None if rendering is None else (rendering.raster.rows, rendering.raster.columns)
        model: Model = rebuild(parent.record, place, parent.task, shape, parent.model)
        model.to(self.device, dtype=_dtype(parent.config))
        if parent.config.channels_last:
            model.to(memory_format=torch.channels_last)
        if evaluation.backbone is not None and isinstance(model, Classifier):
            # Equal by digest, which `rebuild` checks.
            model.backbone = self._backbones.setdefault(evaluation.group, model.backbone)
        return model


def read_group(
    group: Sequence[Evaluation], networks: Networks, advance: Advance
) -> list[list[Read]]:
    """Read a target by the models of evaluations with equal inputs.

    Args:
        group: Evaluations of equal `Evaluation.group` and corruption.
        networks: Networks of their runs.
        advance: Progress.

    Returns:
        For each evaluation the outputs of its models: one, or one per fold.

    Raises:
        MarsbenchError: If a model cannot be rebuilt, or a sample cannot be read.
    """
    first = group[0]
    if first.parent.case.is_table:
        reads = [read_table(evaluation) for evaluation in group]
        advance(len(first.positions))
        return reads
    dataset = open_dataset(first)
    readers = [_readers(evaluation, dataset, networks) for evaluation in group]
    everyone = [reader for some in readers for reader in some]
    batches = Batches(first, dataset, networks.device, advance)
    with (
        torch.inference_mode(),
        arithmetic(first.parent.config, networks.device),
        dataset.averaged(first.parent.config.draws),
    ):
        for batch in batches:
            encoded: dict[Hashable, Tensor] = {}
            for reader in everyone:
                if reader.key not in encoded:
                    encoded[reader.key] = reader.encode(batch["image"])
                reader.read(encoded[reader.key], batch)
        return [[reader.finish() for reader in some] for some in readers]


def open_dataset(evaluation: Evaluation) -> MarsDataset:
    """Open the samples of the target that count, with the inputs of the run.

    Spectra are corrupted before they are drawn; images later, on the device.
    """
    parent, task, source = evaluation.parent, evaluation.task, evaluation.source
    damage, cache, spectra = evaluation.damage, evaluation.settings.cache, None
    if damage is not None and task.is_spectra:
        spectra = damage.spectra(task, source, source.rows(evaluation.tested.split), cache=cache)
    return MarsDataset(
        task,
        source,
        evaluation.tested.split,
        indices=evaluation.positions,
        side=parent.record.input_size,
        bands=evaluation.reading.bands,
        cache=cache,
        rendering=evaluation.rendering,
        resizing=parent.resizing,
        spectra=spectra,
    )


@dataclass(frozen=True)
class Batches:
    """Batches of a target on the device, images in [0, 1] with the bands of the run.

    Images are corrupted with the bands of the target, as its camera saw them.

    Attributes:
        evaluation: The evaluation, or the first of a group.
        dataset: The samples.
        device: The device.
        advance: Progress.
    """

    evaluation: Evaluation
    dataset: MarsDataset
    device: torch.device
    advance: Advance

    def __iter__(self) -> Iterator[dict[str, Any]]:
        config = self.evaluation.parent.config
        task, damage = self.evaluation.task, self.evaluation.damage
        for batch in self._loader(config):
            check_batch(batch)
            moved = {name: _moved(value, self.device) for name, value in batch.items()}
            finished = finish_batch(moved, Augment.NONE, dtype=_dtype(config))
            images = finished["image"]
            if damage is not None and not task.is_spectra:
                images = damage.corrupt(images, finished["sample_id"], is_pairs=task.is_pairs)
            images = change_bands(images, self.evaluation.reading.change)
            if config.channels_last and images.ndim == 4:
                images = images.contiguous(memory_format=torch.channels_last)
            yield {**finished, "image": images}
            self.advance(len(images))

    def _loader(self, config: RunConfig) -> Loader:
        settings = self.evaluation.settings
        workers = default_workers() if settings.workers is None else settings.workers
        # Batches as in the run: their size changes scores by rounding.
        usual = config.optim.batch_size
        if self.evaluation.parent.record.protocol == Protocol.CACHED:
            usual = BATCH.get(self.device.type, BATCH["cpu"])
        return Loader(
            Speaking(self.dataset),
            batch_size=settings.batch_size or usual,
            collate_fn=collate,
            num_workers=workers,
            pin_memory=self.device.type == "cuda",
        )


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, list):
        return [_moved(item, device) for item in value]
    return value


def _dtype(config: RunConfig) -> torch.dtype:
    is_double = config.trainer.precision is Precision.FLOAT64
    return torch.float64 if is_double else torch.float32


def _readers(evaluation: Evaluation, dataset: MarsDataset, networks: Networks) -> list[Reader]:
    """Readers by the networks of a run."""
    record, config = evaluation.parent.record, evaluation.parent.config
    kind = Kind(record.kind)
    loss = LossName(record.identity.get("loss") or KINDS[kind].loss)
    objective = objective_of(
        kind,
        loss,
        len(evaluation.classes.source),
        record.num_outputs,
        library=library_of(record),
    )
    readers = []
    for model in networks.of(evaluation):
        options: Mapping[str, Any] = {}
        if READERS[kind] is LabelReader:
            # Several drawings of a sample are encoded by the objective.
            shared = None if config.draws > 1 else evaluation.group
            options = {"shared": shared, "is_cached": record.protocol == Protocol.CACHED}
        readers.append(READERS[kind](model, objective, evaluation.classes, dataset, **options))
    return readers
