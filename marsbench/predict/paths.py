"""Predict the images of files and folders with a model named by a word."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from marsbench.base.errors import MarsbenchError
from marsbench.base.text import inline
from marsbench.predict.journal import check_folder
from marsbench.predict.options import Options
from marsbench.predict.places import find
from marsbench.predict.walk import check_exists, find_images

if TYPE_CHECKING:
    from marsbench.predict.work import Callback, Summary


@dataclass(frozen=True)
class Prediction:
    """A finished prediction.

    Attributes:
        folder: Folder of the results: ``predictions.csv``, or ``predictions.json`` of boxes.
        done: Number of predicted images.
        skipped: Number of images predicted by earlier calls.
        failed: Errors by path of the failed images.
    """

    folder: Path
    done: int
    skipped: int
    failed: dict[Path, MarsbenchError]

    def __repr__(self) -> str:
        """Folder and counts, in a line."""
        counts = f"{self.done} images done, {self.skipped} skipped, {len(self.failed)} failed"
        return inline(f"Prediction {self.folder}: {counts}")


def predict_paths(
    run: str,
    images: Sequence[Path],
    out: Path,
    options: Options,
    *,
    store: Path,
    task: str | None = None,
    model: str | None = None,
    note: Callable[[str], None],
    report: "Callback" = lambda _: None,
) -> "Summary":
    """Predict images and write the results into a folder.

    Args:
        run: Id or hash of a run of the store, the folder of a run, a checkpoint file, or
            ``hf://ORG/NAME[/FILE]`` of a hub.
        images: Images, and folders of images.
        out: Folder of the results.
        options: Options of the prediction.
        store: Folder of records.
        task: Task of a checkpoint, or of a run whose task file has moved.
        model: Model of a checkpoint, or the own encoder of a run.
        note: Called with remarks for the user.
        report: Called with the result of each image.

    Raises:
        MarsbenchError: If a path, run or device is missing, or the folder cannot be written.
    """
    # All words are checked before torch is loaded, which takes longest.
    for path in images:
        check_exists(path)
    check_folder(out, images)
    place = find(run, store, task, model)
    selection = find_images(images, place.task)
    for text in selection.notes:
        note(text)

    from marsbench.predict.load import load_place
    from marsbench.predict.run import device_of, predict

    device_of(options.device)  # sooner known than the model is loaded
    predictor = load_place(place)
    for text in predictor.notes:
        note(text)
    return predict(predictor, selection.items, out, options, report)
