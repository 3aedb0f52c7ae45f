from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from marsbench.base.errors import DataError, UnknownNameError
from marsbench.config.schema import SourceName
from marsbench.data import drawing
from marsbench.data.corruptions.table import Subject, names_of
from marsbench.data.decode import is_negative
from marsbench.data.sources import open_source
from marsbench.data.sources.local import LocalSource
from marsbench.data.tools.pictures import corruptions as corrupted_pictures
from marsbench.data.tools.pictures import images as pictures
from marsbench.data.tools.pictures.corruptions import draw_corruptions
from marsbench.data.tools.pictures.images import draw_samples
from marsbench.metrics.boxes import Boxes
from marsbench.tasks.catalog import get_task
from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import TaskSpec
from tests.fakes import make_spec, write_folder

NAMES = ("background", "crater", "dune")

SPECS = {
    "labels": make_spec(),
    "masks": make_spec(Kind.SEGMENTATION, NAMES, decode=Decode.IMAGE_MASK),
    "bands": make_spec(
        Kind.SEGMENTATION, NAMES, decode=Decode.IMAGE_MASK, channels=7, rgb_bands=(2, 1, 0)
    ),
    "bands that are no colours": make_spec(
        Kind.SEGMENTATION, NAMES, decode=Decode.IMAGE_MASK, channels=5
    ),
    "boxes": make_spec(Kind.DETECTION, ("cone", "boulder"), decode=Decode.IMAGE_BOXES, channels=3),
}


def open_spec(spec: TaskSpec, tmp_path: Path, **sizes: int) -> LocalSource:
    return LocalSource(spec, write_folder(spec, tmp_path, sizes or None))


def rgb(color: str) -> NDArray[np.int64]:
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])


def pixels_of(path: Path, color: str) -> int:
    """Pixels of a picture of nearly a colour."""
    with Image.open(path) as opened:
        found = np.asarray(opened.convert("RGB")).astype(int)
    return int((np.abs(found - rgb(color)).max(axis=2) < 12).sum())


@pytest.mark.parametrize("name", SPECS)
def test_every_kind_of_task_can_be_drawn(name: str, tmp_path: Path) -> None:
    path = tmp_path / "samples.png"
    draw_samples(SPECS[name], open_spec(SPECS[name], tmp_path), "val", path)
    if name != "labels":
        # Both classes, in the mapping's order.
        assert all(pixels_of(path, color) > 100 for color in drawing.PALETTE[:2])
        assert pixels_of(path, drawing.PALETTE[2]) == 0


def test_bands_are_one_more_row(tmp_path: Path) -> None:
    shapes = {}
    for name in ("masks", "bands"):
        path = tmp_path / f"{name}.png"
        draw_samples(SPECS[name], open_spec(SPECS[name], tmp_path / name), "val", path)
        with Image.open(path) as opened:
            shapes[name] = opened.size
    assert shapes["bands"][0] == shapes["masks"][0]
    assert shapes["bands"][1] > shapes["masks"][1] + 150


@pytest.mark.parametrize("name", ["masks", "boxes"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_samples_are_spread_and_some_show_nothing(name: str, split: str, tmp_path: Path) -> None:
    spec = SPECS[name]
    source = open_spec(spec, tmp_path, train=60, val=3, test=13)
    rows = source.rows(split)
    chosen = pictures._chosen(spec, source, rows)
    assert len(chosen) == len(set(chosen)) == min(len(rows), pictures.SHOWN)
    assert chosen == sorted(chosen) == pictures._chosen(spec, source, rows)
    assert np.diff(chosen).max() <= 2 * len(rows) / len(chosen)
    negative = [is_negative(spec, source.read(split, i)) for i in chosen]
    assert sum(negative) >= (0 if split == "val" else pictures.NEGATIVES)


@pytest.mark.parametrize("name", ["masks", "boxes"])
def test_the_only_negative_sample_is_found(name: str, tmp_path: Path) -> None:
    spec = SPECS[name]
    source = open_spec(spec, tmp_path, train=40, val=3, test=3)
    place = source.folder / "data" / "train"
    if name == "boxes":
        for path in (place / "coco_annotations.json", *(place / "pascal_voc").iterdir()):
            path.unlink()
        (place / "pascal_voc").rmdir()
    for i in range(3, 40, 4):
        if i == 19:
            continue
        if name == "boxes":
            (place / "labels" / f"train_{i:04d}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
        else:
            Image.fromarray(np.ones((32, 32), np.uint8)).save(
                place / "masks" / f"train_{i:04d}.png"
            )
    source = LocalSource(spec, source.folder)
    chosen = pictures._chosen(spec, source, source.rows("train"))
    assert 19 in chosen
    assert len(chosen) == pictures.SHOWN
    assert {0, 39} <= set(chosen)


def test_colors() -> None:
    assert drawing.class_colors(NAMES) == [None, *drawing.PALETTE[:2]]
    # Without a background, class 0 is a class.
    assert drawing.class_colors(("cone", "boulder")) == list(drawing.PALETTE[:2])
    many = drawing.class_colors([f"class {i}" for i in range(30)])
    assert len(set(many)) == 30
    assert many[:10] == list(drawing.PALETTE)


@pytest.mark.parametrize("side", [2, 33, 700])
def test_a_mask_over_its_image(side: int) -> None:
    image = np.full((side, side, 3), 100, np.uint8)
    mask = np.zeros((side, side), np.uint8)
    mask[:, side // 2 :] = 2
    painted = drawing.paint_mask(image, mask, NAMES).astype(int)
    shown = min(side, drawing.MOST_PIXELS)
    assert painted.shape == (shown, shown, 3)
    # The background is as it was; the class is outlined and tinted, the image's edge is no outline.
    assert (painted[:, : shown // 2] == 100).all()
    color = rgb(drawing.PALETTE[1])
    assert (painted[:, shown // 2] == color).all()
    if side > 2:
        assert np.abs(painted[:, -1] - (0.55 * 100 + 0.45 * color)).max() <= 1


@pytest.mark.parametrize("grey", [0, 40, 128, 255])
def test_ignored_pixels_are_striped_on_any_ground(grey: int) -> None:
    image = np.full((40, 40, 3), grey, np.uint8)
    mask = np.full((40, 40), 255, np.uint8)
    mask[:20] = 0
    painted = drawing.paint_mask(image, mask, NAMES)
    assert (painted[:20] == grey).all()
    dark, light = np.unique(painted[20:]).tolist()
    assert light - dark > 80
    assert 0.4 < (painted[20:] == light).mean() < 0.6


def test_images_of_any_bands_can_be_shown() -> None:
    pixels = np.zeros((2, 3, 7), np.float32)
    pixels[..., 2] = 1.0
    assert (drawing.to_rgb(pixels, (2, 1, 0)) == [255, 0, 0]).all()
    assert (drawing.to_rgb(pixels) == 0).all()
    assert drawing.to_rgb(pixels[..., 2:4]).min() == 255
    grey = np.full((2, 3, 1), 7, np.uint8)
    assert (drawing.to_rgb(grey) == 7).all()
    assert drawing.to_rgb(grey).shape == (2, 3, 3)


def test_boxes_stand_where_they_are(tmp_path: Path) -> None:
    figure = drawing.new_figure(4, 4)
    figure.set_layout_engine("none")
    axis = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axis.set_axis_off()
    boxes = Boxes(np.array([[2.0, 1.0, 5.0, 9.0]]), np.array([1]))
    panel = drawing.Panel(np.zeros((10, 10, 3), np.uint8), target=boxes)
    panel.show(axis, ("cone", "boulder"))
    figure.savefig(tmp_path / "boxes.png", dpi=100)
    with Image.open(tmp_path / "boxes.png") as opened:
        found = np.asarray(opened.convert("RGB")).astype(int)
    y, x = np.nonzero(np.abs(found - rgb(drawing.PALETTE[1])).max(axis=2) < 40)
    assert np.allclose((x.min(), x.max(), y.min(), y.max()), (80, 200, 40, 360), atol=2)


def test_a_picture_that_cannot_be_written(tmp_path: Path) -> None:
    spec = SPECS["masks"]
    source = open_spec(spec, tmp_path)
    with pytest.raises(DataError, match="cannot be written"):
        draw_samples(spec, source, "val", tmp_path / "nowhere" / "x.png")
    with pytest.raises(UnknownNameError):
        draw_samples(spec, source, "vall", tmp_path / "x.png")


def test_a_sample_that_cannot_be_read(tmp_path: Path) -> None:
    spec = SPECS["masks"]
    source = open_spec(spec, tmp_path)
    (source.folder / "data" / "val" / "images" / "val_0000.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"val_0000\.png is empty"):
        draw_samples(spec, source, "val", tmp_path / "x.png")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("labels", marks=pytest.mark.slow),
        "masks",
        pytest.param("boxes", marks=pytest.mark.slow),
    ],
)
def test_corruptions_have_a_row_each(name: str, tmp_path: Path) -> None:
    path = tmp_path / "corruptions.png"
    spec = SPECS[name]
    figures = []

    def keep(figure: Figure, where: Path) -> None:
        figures.append(figure)
        drawing.save(figure, where)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corrupted_pictures, "save", keep)
        draw_corruptions(spec, open_spec(spec, tmp_path), "val", path, (1, 5))
    rows = names_of(Subject.IMAGES)
    axes = figures[0].axes
    columns = len(axes) // len(rows)
    assert columns in (3, 6)  # one sample or two: clean and two severities
    for i, corruption in enumerate(rows):
        clean, mild, strong = (np.asarray(a.images[0].get_array()) for a in axes[columns * i :][:3])
        assert axes[columns * i].get_title(loc="left").startswith(f"{corruption}:")
        damage = [float(np.abs(a.astype(float) - clean).mean()) for a in (mild, strong)]
        assert damage[0] < damage[1]
    with Image.open(path) as picture:
        assert picture.height > 100 * len(rows)


def test_spectra_have_corruptions_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "corruptions.png"
    spec = get_task("ega_ms")
    draw_corruptions(spec, open_source(spec, SourceName.DEMO, size=0.02), "train", path, (5,))
    with Image.open(path) as picture:
        assert picture.height > 250 * len(names_of(Subject.SPECTRA))
