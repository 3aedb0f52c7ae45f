"""Train a decoder of masks on cached maps of its frozen encoder."""

from dataclasses import replace
from pathlib import Path

from marsbench.plan.resolve import Plan
from marsbench.training import network
from marsbench.training.frozen.features import Encoder
from marsbench.training.parts import Part
from marsbench.training.trained import Trained


def train(plan: Plan, part: Part, run_folder: Path) -> Trained:
    """Encode the splits of a run once, and train as `network.train` does, without the encoder.

    Raises:
        DataError: If the maps do not fit on the disk, or an image cannot be read.
    """
    encoder = Encoder(plan)
    splits = sorted(part.splits)
    encoder.check_space(splits)
    encoded = {split: encoder.encode(split) for split in splits}
    encoder.release()
    images = {split: features.images for split, features in encoded.items()}
    trained = network.train(plan, part, run_folder, images)
    facts = {
        # The cost for all runs with these maps, whenever they were encoded.
        "encode_s": sum(features.seconds for features in encoded.values()),
        "sha256": {split: features.sha256 for split, features in encoded.items()},
        "views": encoder.views("train"),
        "encoded_on": encoded["train"].backbone.device,
    }
    return replace(trained, data={**trained.data, "features": facts})
