"""Predict images with a loaded model, whole or in tiles, and write the results."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from marsbench.base import environment
from marsbench.base.errors import ConfigError
from marsbench.base.progress import track
from marsbench.predict import outputs
from marsbench.predict.journal import Journal
from marsbench.predict.kinds import WORK
from marsbench.predict.options import Options
from marsbench.predict.predictor import Predictor
from marsbench.predict.walk import Item
from marsbench.predict.work import Callback, Summary, line_of
from marsbench.training.failures import explaining_machine
from marsbench.training.loop.arithmetic import products


def predict(
    predictor: Predictor,
    items: Sequence[Item],
    out: Path,
    options: Options,
    report: Callback = lambda _: None,
) -> Summary:
    """Predict images and write the results into a folder.

    Failed images are skipped and listed in the summary.

    Args:
        predictor: The model.
        items: The images.
        out: The folder.
        options: Options of the prediction.
        report: Called with the result of each image.

    Raises:
        DeviceLostError: If the GPU fails; images without a result are predicted by the next call.
        MarsbenchError: If the folder cannot be written or holds another model's predictions.
    """
    device = device_of(options.device)
    predictor.model.eval()
    predictor.model.to(device)
    journal = Journal(out, _settings(predictor, options), options.overwrite)
    try:
        work = WORK[predictor.task.kind](predictor, options, journal, device, report)
        todo = []
        for item in items:
            if journal.is_done(item, options.overlay and work.draws):
                work.summary.skipped += 1
                report(line_of(item, "skipped"))
            else:
                todo.append(item)
        journal.reserve(todo)
        work.shows_tiles = len(todo) == 1
        loads = work.loads(todo)
        shown = todo if work.shows_tiles else track(todo, "predicting", len(todo))
        with (
            closing(loads),
            explaining_machine(),
            torch.inference_mode(),
            products(predictor.matmul),
        ):
            for item, loaded in zip(shown, loads, strict=True):
                work.take(item, loaded)
            work.flush()
        about = {
            **_settings(predictor, options),
            "notes": list(predictor.notes),
            "environment": environment.versions(),
        }
        outputs.write_json(out / outputs.ABOUT, about)
        if journal.rows:
            work.write(out, journal.rows, predictor.classes, about)
    finally:
        journal.close()
    return work.summary


def device_of(name: str) -> torch.device:
    """Resolve a torch device, or ``auto``.

    Raises:
        ConfigError: If the device is not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except Exception as error:  # torch raises many types on devices that are not there
        lines = str(error).splitlines() or [type(error).__name__]
        reason = lines[0].rstrip(".")
        if name.partition(":")[0] == "cuda" and not torch.cuda.is_available():
            reason = f"this machine has no usable GPU ({reason})"
        raise ConfigError(f"--device {name} is not available: {reason}.", "Try cpu.") from error
    return device


def _settings(predictor: Predictor, options: Options) -> dict[str, Any]:
    """Settings of the predictions besides the image."""
    kind = predictor.task.kind
    settings: dict[str, Any] = {
        "model": predictor.origin,
        "version": predictor.version,
        "task": predictor.task.name,
        "kind": str(kind),
        "classes": list(predictor.classes),
        "side": predictor.side,
        "resize": predictor.resizing.identity,
        "bands": str(predictor.bands),
    }
    return settings | {name: getattr(options, name) for name in WORK[kind].settings}
