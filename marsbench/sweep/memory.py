"""Device memory of runs, from the peaks in records of like runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from marsbench.config.identity import digest
from marsbench.config.schema import Protocol
from marsbench.plan.resolve import Plan
from marsbench.results.record import RunRecord
from marsbench.tasks.kinds import LABELS

CONTEXT = 1 << 30
"""Assumed bytes outside of torch's allocator: CUDA's context, kernels and libraries."""

FRAGMENTED = 1.25
"""Assumed ratio of reserved to allocated memory, for records that lack the former."""

_OF_INPUTS = ("spectra", "inputs", "bands")
"""Fields of an identity, beside the side, that set the shape of the inputs."""


@dataclass(frozen=True, slots=True)
class Need:
    """Device memory of a unit.

    Attributes:
        like: Choices that set the memory; units with equal ones need about as much.
        bytes: Estimate in bytes; None before any like run has been measured.
        records: Number of records behind the estimate.
    """

    like: str
    bytes: int | None = None
    records: int = 0


def like_of(run: Plan | RunRecord) -> str:
    """Describe the choices of a run that set its device memory, whatever its data.

    Raises:
        KeyError, TypeError: If the record lacks a choice.
    """
    identity = run.identity
    if isinstance(run, RunRecord):
        return likeness(run.model, run.mode, identity, run.config["optim"]["batch_size"])
    config = run.config
    return likeness(run.model.name, config.mode, identity, config.optim.batch_size)


def likeness(model: str, mode: str, identity: Mapping[str, Any], batch_size: int) -> str:
    """Describe the choices of `like_of`.

    Args:
        model: Name of the model.
        mode: Mode.
        identity: Choices behind the hash of the run's id.
        batch_size: Samples per batch and device.
    """
    kind, protocol = identity["kind"], identity["protocol"]
    optim, trainer = identity.get("optim") or {}, identity.get("trainer") or {}
    words = [f"{model} {mode} {'labels' if kind in LABELS else kind}"]
    if protocol == Protocol.CACHED and kind in LABELS:
        # The encoder alone matters, not the training of heads.
        words.append("cached features")
    else:
        words.append(f"batch {batch_size}")
        words += [str(w) for w in (identity.get("decoder"), optim.get("name")) if w is not None]
    if "input_size" in identity:
        words.append(f"{identity['input_size']} px")
    if precision := trainer.get("precision"):
        words.append(str(precision))
    if inputs := {key: identity[key] for key in _OF_INPUTS if key in identity}:
        words.append(f"inputs {digest(inputs)[:6]}")
    return ", ".join(words)


def device_bytes(peak_memory: Mapping[str, int]) -> int | None:
    """Device memory that a run's process held at most, in bytes; None without a GPU.

    Args:
        peak_memory: Peaks of a record.
    """
    if "device" not in peak_memory:
        return None
    reserved = peak_memory.get("device_reserved", int(FRAGMENTED * peak_memory["device"]))
    return reserved + CONTEXT


def joint(needs: Sequence[Need]) -> Need:
    """Need of like runs that a worker carries out one after the other; at least one."""
    sizes = [need.bytes for need in needs if need.bytes is not None]
    largest = max(sizes) if len(sizes) == len(needs) else None
    return Need(needs[0].like, largest, needs[0].records)
