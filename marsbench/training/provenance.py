"""Records, configs and weights of runs."""

from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import save_file
from torch import Tensor

from marsbench.base import environment, hub, links
from marsbench.base.files import cached_digest, replacing
from marsbench.config.schema import RunConfig
from marsbench.data.download.web import shown
from marsbench.models.base import Model
from marsbench.models.inputs import DEFAULT
from marsbench.models.spec import ModelSpec
from marsbench.models.weights import backbone_digest, file_of
from marsbench.plan.resolve import Plan
from marsbench.results.record import RunRecord
from marsbench.results.store import MODEL, now
from marsbench.training.inputs import prepared_inputs
from marsbench.training.trained import Trained

Surroundings = tuple[dict[str, str], dict[str, Any] | None]
"""Versions of packages, and the git commit."""


def surroundings() -> Surroundings:
    """Versions of packages and the git commit; asking git takes longer than fitting a head."""
    return environment.versions(), environment.git_state()


def record_of(plan: Plan, trained: Trained, around: Surroundings | None = None) -> RunRecord:
    """Write the record of a run.

    Args:
        plan: The run.
        trained: Result of its training, folds combined.
        around: Its surroundings, if known already.
    """
    config, inputs = plan.config, prepared_inputs(plan)
    versions, git = around or surroundings()
    return RunRecord(
        run_id=plan.run_id,
        task=plan.task.name,
        kind=plan.asked.kind,
        model=plan.model.name,
        mode=config.mode,
        subset=config.subset,
        seed=config.seed,
        protocol=plan.protocol,
        headline=plan.asked.headline_metric,
        metrics={name: predictions.metrics for name, predictions in trained.scored.items()},
        config=public(config),
        identity=plan.identity,
        data={
            "source": str(plan.source.name),
            "revision": plan.source.revision,
            "classes": list(plan.class_names),
            "task": plan.task.reading,
            **{f"num_{split}": count for split, count in plan.num_samples.items()},
            **(_training_data(plan) if plan.trains else {}),
            **({"notes": list(plan.source.notes)} if plan.source.notes else {}),
            **({"inputs": inputs.plain} if inputs != DEFAULT else {}),
            **trained.data,
        },
        weights=trained.weights,
        checkpoint=trained.checkpoint,
        timing=trained.timing,
        peak_memory=trained.peak_memory,
        parameters=trained.parameters,
        device=trained.device,
        environment=versions,
        git=git,
        created=now(),
        pretraining=plan.pretraining,
    )


def _training_data(plan: Plan) -> dict[str, Any]:
    """Facts of the train samples and the loss."""
    return {
        "subset_origin": plan.selection.origin,
        "subset_digest": plan.selection.digest,
        "train_counts": plan.train_counts,
        "num_draws": len(plan.balance.draws),
        "loss": str(plan.loss),
    }


def public(config: RunConfig) -> dict[str, Any]:
    """Config for records, without the credentials of an address."""
    values = config.to_dict()
    if config.root is not None and "://" in config.root:
        values["root"] = shown(config.root)
    if config.weights is not None and links.is_link(config.weights):
        values["weights"] = _place(config.weights)
    return values


def config_text(config: RunConfig) -> str:
    """Config as YAML."""
    # The writer in C, if available, takes a fifth of the time.
    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(public(config), Dumper=dumper, sort_keys=False)


def describe_weights(
    plan: Plan, model: "Model | None" = None, sha256: str | None = None
) -> dict[str, Any] | None:
    """Describe the initial weights: digests of the backbone's tensors and of the file.

    Args:
        plan: The run.
        model: The initial model, for the digest.
        sha256: The digest, if known.
    """
    if plan.weights is None:
        return None
    if sha256 is None and model is not None:
        sha256 = backbone_digest(model)
    described: dict[str, Any] = {"name": plan.weights, "sha256": sha256}
    if plan.config.weights is not None or plan.model.weights is None:
        return described | {"path": _place(plan.config.weights)}
    return described | {"file": default_weights(plan.model)}


def _place(weights: str | None) -> str | None:
    """Place of the user's own weights, of the hub with the commit in the client's cache."""
    if weights is not None and links.is_link(weights):
        return str(links.parse_link(weights))
    if weights is None or not hub.is_address(weights):
        return weights
    return str(hub.pinned(hub.parse_address(weights), hub.local_file(weights)))


def default_weights(spec: ModelSpec) -> str | None:
    """SHA-256 of the file of a model's default weights; None if it is not on this machine."""
    path = file_of(spec)
    return None if path is None else cached_digest(path)


def save_model(model: Model, folder: Path) -> None:
    """Save the tested weights, without a frozen backbone."""
    save_tensors(
        {
            name: tensor
            for name, tensor in model.state_dict().items()
            if not (model.is_frozen and name.startswith(model.frozen_prefix))
        },
        folder,
    )


def save_tensors(state: dict[str, Tensor], folder: Path) -> None:
    """Save tensors as the model of a run."""
    with replacing(folder / MODEL, sync=False) as partial:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, partial)
