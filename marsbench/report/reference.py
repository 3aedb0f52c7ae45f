"""Numbers from outside a store: ranges to normalise by, and what was published.

Purohit et al. 2025, Mars-Bench, https://arxiv.org/abs/2510.24010.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from marsbench import paths
from marsbench.data.catalog import TASKS
from marsbench.errors import ConfigError
from marsbench.report.summary import Ranges

PAPER = "Purohit et al. 2025, arXiv:2510.24010"


@dataclass(frozen=True)
class Published:
    """A published number.

    Attributes:
        table: Where it stands, such as "Table 6".
        task: Task.
        model: Model as published; it may be none of the zoo.
        mode: scratch, frozen, finetune or zero-shot.
        metric: Name of the metric as in records; None where the source names none.
        value: The number, in the metric's own scale.
        imbalance: How unequal classes were dealt with.
        note: What else must be said beside the number.
        source: The publication.
    """

    table: str
    task: str
    model: str
    mode: str
    metric: str | None
    value: float
    imbalance: str = "none"
    note: str = ""
    source: str = PAPER


_ZERO_SHOT = {
    # task: Gemini 2.0 Flash accuracy, F1; GPT-4o mini accuracy, F1
    "domars16k": (0.34, 0.32, 0.36, 0.30),
    "surface_cls": (0.43, 0.44, 0.42, 0.41),
    "frost_cls": (0.50, 0.55, 0.43, 0.54),
    "atmospheric_dust_cls_edr": (0.43, 0.50, 0.68, 0.56),
    "crater_multi_seg": (0.37, 0.41, 0.49, 0.51),
    "mars_seg_msl": (0.86, 0.84, 0.79, 0.70),
}

_IMBALANCE = {
    # strategy: landmark_cls, surface_cls, change_cls_ctx, change_cls_hirise
    "none": (0.84, 0.77, 0.78, 0.86),
    "oversample": (0.60, 0.54, 0.54, 0.76),
    "undersample": (0.41, 0.34, 0.58, 0.79),
    "loss_weight": (0.68, 0.58, 0.68, 0.81),
}

_VISION_LANGUAGE = {
    # model: domars16k, surface_cls, frost_cls, atmospheric_dust_cls_edr
    "CLIP ViT-B/16": (0.53, 0.39, 0.96, 0.96),
    "SigLIP B/16-224": (0.49, 0.30, 0.95, 0.96),
    "SmolVLM-256M": (0.45, 0.27, 0.99, 0.99),
}

_SAMPLED = "500 stratified test images"
_RECAST = f"{_SAMPLED}, segmentation recast as labels of the image"


def published() -> tuple[Published, ...]:
    """List the numbers that the paper's text gives; the values of its violins are not tabulated."""
    zero_shot = [
        Published(
            "Table 2",
            task,
            model,
            "zero-shot",
            metric,
            value,
            note=_RECAST if task.endswith(("_seg", "_msl")) else _SAMPLED,
        )
        for task, values in _ZERO_SHOT.items()
        for (model, metric), value in zip(
            (
                ("Gemini 2.0 Flash", "accuracy"),
                # The table says F1 without its average.
                ("Gemini 2.0 Flash", "f1"),
                ("GPT-4o mini", "accuracy"),
                ("GPT-4o mini", "f1"),
            ),
            values,
            strict=True,
        )
    ]
    imbalance = [
        Published(
            "Table 5",
            task,
            "mean of the five classifiers",
            "frozen",
            None,
            value,
            imbalance=strategy,
            note="the caption names no metric; the text speaks of overall accuracy",
        )
        for strategy, values in _IMBALANCE.items()
        for task, value in zip(
            ("landmark_cls", "surface_cls", "change_cls_ctx", "change_cls_hirise"),
            values,
            strict=True,
        )
    ]
    tuned = [
        Published("Table 6", task, model, "finetune", "f1_weighted", value)
        for model, values in _VISION_LANGUAGE.items()
        for task, value in zip(
            ("domars16k", "surface_cls", "frost_cls", "atmospheric_dust_cls_edr"),
            values,
            strict=True,
        )
    ]
    return (*zero_shot, *imbalance, *tuned)


def reference_ranges(metrics: Mapping[str, str] | None = None) -> Ranges:
    """Read the ranges that come with marsbench.

    Args:
        metrics: Headline metric by task; None for the tasks of the catalogue. Other tasks, or those
            judged by another metric, need it.

    Returns:
        Ranges of the tasks that have one, under a name with their version.

    Raises:
        ConfigError: If the table cannot be used.
    """
    path = paths.configs() / "report" / "ranges.yaml"
    wanted = metrics or {spec.name: spec.headline_metric for spec in TASKS.values()}
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
        version = str(table["version"])
        for task, metric in wanted.items():
            entry = table["tasks"].get(task)
            if entry is None or entry["metric"] != metric:
                entry = table["metrics"].get(metric)
            if entry is not None:
                low[task], high[task] = float(entry["low"]), float(entry["high"])
                if not low[task] < high[task]:
                    raise ValueError(f"the range of {task} is empty")
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"The table of ranges {path} cannot be used: {error}.", "Install marsbench again."
        ) from error
    return Ranges(f"reference ranges, version {version}", low, high)
