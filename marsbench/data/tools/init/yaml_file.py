"""Text of a new ``task.yaml``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from marsbench.base.errors import DataError, some
from marsbench.data.tools.init.facts import Facts
from marsbench.data.tools.init.samples import Samples


def task_yaml(name: str, folder: Path, samples: Samples, facts: Mapping[str, Facts]) -> str:
    """Text of ``task.yaml``, with remarks for the person who completes it.

    Args:
        name: Name of the task.
        folder: Its folder, for messages.
        samples: The images.
        facts: Facts of each image.

    Raises:
        DataError: If images have different numbers of bands, other than grey and colour.
    """
    return "".join(
        (
            _field(name=name),
            _field(title=name.replace("_", " ").capitalize()),
            _field(kind=samples.kind.value),
            _field(channels=_channels(folder, facts)),
            "platform: orbiter  # or rover, laboratory: such images are not turned upside down\n",
            "# Further fields: mission, sensor, citation, licence, bands (docs/custom_task.md).\n",
            "# The order gives the class ids. A description is a sentence on what is visible.\n",
            _field(classes=[{"name": c, "description": ""} for c in samples.classes]),
        )
    )


def _field(**values: Any) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def _channels(folder: Path, facts: Mapping[str, Facts]) -> int:
    examples = {fact.bands: path for path, fact in facts.items()}
    if len(examples) > 1 and set(examples) != {1, 3}:
        shown = [f"{bands} ({examples[bands]})" for bands in sorted(examples)]
        raise DataError(
            f"The images of {folder} have different numbers of bands: {some(shown)}.",
            "Give all images of a task the same bands.",
        )
    return max(examples)
