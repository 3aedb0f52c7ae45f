"""Label images by CLIP or SigLIP, from sentences about the classes."""

from pathlib import Path

from torch import Tensor

from marsbench.base.hub import local_file
from marsbench.models.modes import count_parameters
from marsbench.models.towers.building import build
from marsbench.plan.resolve import Plan
from marsbench.tasks.kinds import Kind
from marsbench.training.loop.devices import device_name, device_of, peak_memory, reset_peak_memory
from marsbench.training.provenance import describe_weights
from marsbench.training.zero_shot.batches import labelled
from marsbench.training.zero_shot.models import Images, Predicted


class Towers:
    """Model of two towers, and the vectors of a run's classes.

    Args:
        plan: The run.
        folder: Folder of the run.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        config = plan.config
        self._plan, self._folder, self._device = plan, folder, device_of(config)
        checkpoint = None if config.weights is None else local_file(config.weights)
        model = build(plan.model, checkpoint=checkpoint, inputs=plan.inputs)
        self._weights = describe_weights(plan, model)
        reset_peak_memory(self._device)
        self._model = model.to(self._device)
        self._model.take(plan.prompts, several=plan.asked.kind is Kind.MULTILABEL)

    def predict(self, images: Images) -> Predicted:
        """Label all images; the scores are probabilities of the classes."""
        plan = self._plan
        scores = labelled(
            self._label,
            images,
            len(plan.class_names),
            batch_size=plan.config.optim.batch_size,
            folder=self._folder,
            title=f"{plan.model.name} on {plan.task.name}",
        )
        prompts = plan.prompts
        return Predicted(
            scores=scores,
            facts={
                "templates": list(prompts.templates),
                "phrases": {c.name: c.phrase for c in prompts.classes},
            },
            weights=self._weights,
            parameters=count_parameters(self._model)["total"],
            device=device_name(self._device),
            peak_memory=peak_memory(self._device),
        )

    def _label(self, batch: Tensor) -> Tensor:
        scores: Tensor = self._model(batch.to(self._device))
        return scores
