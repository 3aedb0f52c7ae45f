"""Walks through folders: links, special files, permissions, outputs of earlier predictions."""

import json
import os
import shutil
import socket
from pathlib import Path

import pytest

from marsbench.base.errors import DataError
from marsbench.config.schema import Bands
from marsbench.predict.inputs import open_picture
from marsbench.predict.walk import Item, Selection, find_images
from marsbench.tasks.kinds import Kind
from tests.data.test_raster import DEEP, label, make
from tests.fakes import as_nobody, make_spec, visible
from tests.predict.stubs import predictor
from tests.predict.test_run import go, item, noise

GREY = make_spec()


def touched(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def names(selection: Selection) -> list[str]:
    return [item.name for item in selection.items]


def test_images_are_listed_once_and_all_others_are_counted(tmp_path: Path) -> None:
    images = touched(tmp_path / "images", "b.png", "deep/a.JPG", ".hidden/c.png", "notes.txt")
    touched(images, "c.JP2", "data.csv", ".x.png")
    chosen = find_images([images, images / "b.png"], GREY)
    assert names(chosen) == ["b.png", "c.JP2", "deep/a.JPG"]
    left = "2 hidden (.hidden, .x.png), 2 not named as images (data.csv, notes.txt)"
    assert chosen.notes == [f"{images}: 3 images; left out: {left}."]
    assert find_images([images / "deep"], GREY).notes == []
    with pytest.raises(DataError, match="No images found"):
        find_images([touched(tmp_path / "empty", "a.txt")], GREY)
    with pytest.raises(DataError, match="File or folder not found"):
        find_images([images / "absent.png"], GREY)


def test_data_files_of_labels_and_other_texts_are_no_images(tmp_path: Path) -> None:
    attached, detached = make("PDS3", tmp_path), tmp_path / "deep" / "b.lbl"
    detached.parent.mkdir()
    (detached.parent / "b.img").write_bytes(DEEP.tobytes())
    detached.write_text(label('"b.img"'))
    (tmp_path / "deep" / "boxes.xml").write_text("<annotation/>")
    # Its image is a JPEG 2000, which is found itself.
    (tmp_path / "deep" / "c.lbl").write_text("PDS_VERSION_ID = PDS3\nOBJECT = COMPRESSED_FILE\nEND")
    chosen = find_images([tmp_path], GREY)
    assert [i.path for i in chosen.items] == [attached, detached]
    for one in chosen.items:
        assert open_picture(one, GREY, Bands.RGB).scaling.startswith("percentiles")
    # The data file belongs to its label.
    assert "2 without an image inside (deep/boxes.xml, deep/c.lbl)" in chosen.notes[0]


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    images = touched(tmp_path / "images", "own/a.png")
    far = touched(tmp_path / "far", "b.png", "deep/c.png")
    (images / "far").symlink_to(far)
    (images / "far2").symlink_to(far)
    (images / "own" / "up").symlink_to(images)
    (far / "round").symlink_to(far)
    (images / "file.png").symlink_to(far / "b.png")
    chosen = find_images([images], GREY)
    assert names(chosen) == ["far/b.png", "far/deep/c.png", "own/a.png"]
    assert "links followed: 4 (far, far2, far/round, own/up)" in chosen.notes[0]
    assert "3 searched already (far/round, far2, own/up)" in chosen.notes[0]


def test_dangling_and_circular_links_are_named(tmp_path: Path) -> None:
    (tmp_path / "gone.png").symlink_to("nothing.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "folder").symlink_to("nowhere")
    chosen = find_images([tmp_path], GREY)
    assert names(chosen) == ["gone.png", "loop.png"]
    assert "1 linked to missing files (folder)" in chosen.notes[0]
    for one, why in zip(chosen.items, ("No such file", "Too many levels"), strict=True):
        with pytest.raises(DataError, match=why):
            open_picture(one, GREY, Bands.RGB)


def test_special_files_are_refused_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe.xml")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.tif"))
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    chosen = find_images([tmp_path], GREY)
    assert names(chosen) == ["device.jpg", "pipe.png", "pipe.xml", "socket.tif"]
    assert "1 not named as images (pipe)" in chosen.notes[0]
    kinds = ("a device", "a named pipe", "a named pipe", "a socket")
    for one, kind in zip(chosen.items, kinds, strict=True):
        with pytest.raises(DataError, match=f"{one.name} cannot be read: it is {kind}"):
            open_picture(one, GREY, Bands.RGB)
    with pytest.raises(DataError, match="it is a device"):
        open_picture(Item(Path("/dev/zero"), "zero"), GREY, Bands.RGB)


def test_unreadable_files_and_folders_are_rows_of_their_own(tmp_path: Path) -> None:
    touched(visible(tmp_path), "a.png", "b.xml", "closed/c.png", "unsearchable/d.png")
    (tmp_path / "a.png").chmod(0)
    (tmp_path / "b.xml").chmod(0)
    (tmp_path / "closed").chmod(0)
    (tmp_path / "unsearchable").chmod(0o444)
    with as_nobody():
        chosen = find_images([tmp_path], GREY)
        assert names(chosen) == ["a.png", "b.xml", "closed", "unsearchable"]
        for one in chosen.items:
            with pytest.raises(DataError, match=f"{one.path} cannot be .*: Permission denied"):
                open_picture(one, GREY, Bands.RGB)
        with pytest.raises(DataError, match="Permission denied"):
            find_images([tmp_path / "closed" / "c.png"], GREY)


@pytest.mark.parametrize("kind", [Kind.SEGMENTATION, Kind.DETECTION])
def test_outputs_of_predictions_are_never_read(kind: Kind, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    own = item(images / "a.png", noise(20, 20))
    go(predictor(kind), [own], images / "deep" / "first")
    (images / "link").symlink_to(images / "deep" / "first")
    (images / "overlays").symlink_to(images / "deep" / "first" / "overlays")
    chosen = find_images([images], GREY)
    assert names(chosen) == ["a.png"]
    left = "2 written by predict (overlays, deep/first), 1 searched already (link)"
    assert chosen.notes == [f"{images}: 1 image; links followed: 1 (link); left out: {left}."]
    for place in ("overlays", "deep/first/overlays", "deep/first"):
        with pytest.raises(DataError, match="No images found"):
            find_images([images / place], GREY)
    for name in ("overlays/a.png", "legend.png"):
        (one,) = find_images([images / "deep" / "first" / name], GREY).items
        with pytest.raises(DataError, match="was written by predict"):
            open_picture(one, GREY, Bands.RGB)
    # An image of the user in an output folder is an image.
    touched(images / "deep" / "first", "own.png")
    assert names(find_images([images], GREY)) == ["a.png", "deep/first/own.png"]


def test_output_folders_of_earlier_versions_and_run_folders_are_recognised(tmp_path: Path) -> None:
    own = item(tmp_path / "a.png", noise(20, 20))
    go(predictor(Kind.SEGMENTATION), [own], tmp_path / "out")
    # The first versions wrote no journal.
    (tmp_path / "out" / ".journal.jsonl").unlink()
    assert names(find_images([tmp_path], GREY)) == ["a.png"]
    shutil.rmtree(tmp_path / "out")
    # A folder with its own about.json is not an output folder.
    touched(tmp_path, "album/maps/b.png")
    (tmp_path / "album" / "about.json").write_text(json.dumps({"title": "album"}))
    touched(tmp_path, "runs/task/record.json", "runs/task/maps/c.png")
    chosen = find_images([tmp_path], GREY)
    assert names(chosen) == ["a.png", "album/maps/b.png"]
    assert "1 in folders of runs (runs/task)" in chosen.notes[0]


def test_names_that_are_not_utf8_are_listed(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xd6l.png")).touch()
    (tmp_path / os.fsdecode(b"\xd6l.txt")).touch()
    chosen = find_images([tmp_path], GREY)
    assert names(chosen) == [os.fsdecode(b"\xd6l.png")]
    assert chosen.notes[0].endswith(r"1 not named as images (\xd6l.txt).")
