"""Label images by a generative model on this machine, by the instructions for every such model."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch

from marsbench.base.hub import local_file
from marsbench.base.progress import steps, tell
from marsbench.models.adapters import build_adapter
from marsbench.models.answering.idefics import AnsweringModel, build
from marsbench.models.modes import count_parameters
from marsbench.plan.resolve import Plan
from marsbench.results.store import now
from marsbench.training.loop.devices import device_name, device_of, peak_memory
from marsbench.training.provenance import describe_weights
from marsbench.training.zero_shot.journal import Answer, Journal
from marsbench.training.zero_shot.models import Images, Predicted
from marsbench.training.zero_shot.reading import read_answers


class LocalModel:
    """A generative model that answers batch by batch, the likeliest token at a time.

    Args:
        plan: The run.
        folder: Its folder, with the answers of an interrupted run.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        config = plan.config
        self._plan, self._device = plan, device_of(config)
        self._journal = Journal(folder, plan.instructions.digest)
        checkpoint = None if config.weights is None else local_file(config.weights)
        classes = len(plan.class_names)
        model = cast(
            AnsweringModel, build(plan.model, classes, pretrained=True, checkpoint=checkpoint)
        )
        model.adapter = build_adapter(plan.model, plan.inputs)
        self._weights = describe_weights(plan, model)
        self._model = model.to(self._device).eval()
        self._model.instruct(plan.instructions)

    def predict(self, images: Images) -> Predicted:
        """Ask about the images without a kept answer, and read all answers."""
        plan, kept = self._plan, self._journal.answers
        left = [i for i, name in enumerate(images.sample_ids) if name not in kept]
        if len(left) < len(images):
            tell(
                f"{len(images) - len(left)} of {len(images)} answers are kept and not asked again."
            )
        size = plan.config.optim.batch_size
        title, done = f"{plan.model.name} on {plan.task.name}", len(images) - len(left)
        with steps(title, len(images), done) as advance:
            for start in range(0, len(left), size):
                part = left[start : start + size]
                self._ask(images, part)
                advance(len(part))
        readings = read_answers([kept[name] for name in images.sample_ids], plan.instructions)
        return Predicted(
            scores=readings.scores,
            unanswered=readings.unanswered,
            refused=readings.refused,
            facts={
                "prompt": {"digest": plan.instructions.digest, **plan.instructions.plain},
                "unanswered": dict(readings.reasons),
            },
            weights=self._weights,
            parameters=count_parameters(self._model)["total"],
            device=device_name(self._device),
            peak_memory=peak_memory(self._device),
        )

    def _ask(self, images: Images, indices: Sequence[int]) -> None:
        """Ask about a batch and keep the answers."""
        started = time.perf_counter()
        batch = torch.stack([images[i] for i in indices]).to(self._device)
        texts = self._model.answers(batch)
        seconds = (time.perf_counter() - started) / len(indices)
        for index, text in zip(indices, texts, strict=True):
            self._journal.add(
                Answer(
                    sample_id=images.sample_ids[index],
                    prompt=self._plan.instructions.digest,
                    text=text,
                    refused=False,
                    finish="",
                    model="",
                    structured=False,
                    input_tokens=None,
                    output_tokens=None,
                    cost=None,
                    seconds=round(seconds, 3),
                    time=now(),
                )
            )
