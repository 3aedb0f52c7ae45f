"""What repositories of the hub hold: columns, labels, names, images; in whatever form."""

import io
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import snapshot_download
from PIL import ExifTags, Image

from marsbench.base.errors import DataError, DataNotFoundError
from marsbench.config.schema import Subset
from marsbench.data.changed import MARK
from marsbench.data.rows import Source
from marsbench.data.samples import decode_sample
from marsbench.data.sources import huggingface, parquet
from marsbench.data.sources.demo import DemoSource
from marsbench.data.sources.hub_files import fetch
from marsbench.data.sources.huggingface import HubSource
from marsbench.tasks.kinds import Decode, Kind
from tests.conftest import go_offline
from tests.hub import (
    CHANGE,
    NEWER,
    REPO,
    hub_spec,
    opened,
    plain,
    publish,
    rewritten,
    same,
)
from tests.hub_data import repo_of
from tests.server import Repo, Server


def test_a_renamed_column(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)
    rewritten(server.repos[REPO], "val", lambda t: t.rename_columns(["image", "target"]))
    with pytest.raises(DataError, match=r"val has no column label .*: image, target"):
        opened(spec)


def test_turned_images_are_other_data_than_before(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)
    plain_source = opened(spec)
    assert plain_source.revision == f"hub:{server.repos[REPO].commit}"

    def turn(table: pa.Table) -> pa.Table:
        images = table["image"].to_pylist()
        with Image.open(io.BytesIO(images[-1]["bytes"])) as image:
            notes, out = Image.Exif(), io.BytesIO()
            notes[ExifTags.Base.Orientation] = 6
            image.save(out, "PNG", exif=notes)
        images[-1]["bytes"] = out.getvalue()
        column = pa.array(images, table.schema.field("image").type)
        return table.set_column(table.column_names.index("image"), "image", column)

    rewritten(server.repos[REPO], "val", turn)
    server.repos[REPO].commit = NEWER
    fetch(REPO, None, [Subset()], update=True)
    turned = opened(spec)
    assert turned.revision == f"hub:{NEWER}+{MARK}"

    def prints(source: Source) -> list[str]:
        return [source.rows(split).fingerprint for split in ("train", "val", "test")]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface, "KIND", "none")
        patch.setattr(parquet, "mark_of", lambda content: "")
        before = opened(spec)
    assert before.revision == f"hub:{NEWER}"
    same_prints = [a == b for a, b in zip(prints(before), prints(turned), strict=True)]
    assert same_prints == [True, False, True]


def test_a_missing_split(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)
    server.repos[REPO].files = {
        path: content for path, content in server.repos[REPO].files.items() if "val" not in path
    }
    source = opened(spec)
    assert source.splits == ("train", "test")
    with pytest.raises(DataError, match=r"has no split 'val' \(only test, train\)"):
        source.rows("val")


def test_a_repository_without_data(server: Server) -> None:
    server.repos[REPO] = Repo({"README.md": b"# nothing\n"})
    with pytest.raises(DataNotFoundError, match="holds no parquet files"):
        opened(hub_spec())


def test_other_names_of_splits_and_files_named_by_the_card(server: Server, tmp_path: Path) -> None:
    spec, local = publish(server, tmp_path)
    repo = server.repos[REPO]
    repo.files = {p.replace("/val-", "/validation-"): c for p, c in repo.files.items()}
    same(opened(spec), local, "val")

    repo.files = {
        p.replace("data/train-00000-of-00001", "a").replace("data/", ""): c
        for p, c in repo.files.items()
    }
    patterns = {"train": "a.parquet", "val": ["validation-*"], "test": "test-*"}
    files = [{"split": s, "path": p} for s, p in patterns.items()]
    files.append({"split": "train", "path": "a*.parquet"})  # the same file once more
    other = [{"split": "train", "path": "test-*"}]
    repo.card = {
        "configs": [
            {"config_name": "other", "data_files": other},
            {"config_name": "default", "data_files": files},
        ]
    }
    repo.commit = NEWER
    fetch(REPO, None, [Subset()], update=True)
    for split in ("train", "val", "test"):
        same(opened(spec), local, split)


@pytest.mark.parametrize(
    "configs",
    [
        "default",
        ["default"],
        {"a": 1},
        [{"data_files": 5}],
        [{"data_files": "train*"}],
        [{"data_files": ["a", {"split": "train", "path": 5}]}],
        [{"data_files": [{"split": "train", "path": [5, None]}]}],
    ],
    ids=str,
)
def test_invalid_configs_of_a_card_are_ignored(
    server: Server, tmp_path: Path, configs: object
) -> None:
    spec, local = publish(server, tmp_path)
    server.repos[REPO].card = {"configs": configs}
    same(opened(spec), local, "train")


def test_an_invalid_card_in_the_cache_is_ignored(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, local = publish(server, tmp_path)
    server.repos[REPO].files["README.md"] = b"---\na: [\n---\n"
    snapshot_download(REPO, repo_type="dataset")
    go_offline(monkeypatch)
    same(opened(spec), local, "train")


def test_workers_read_for_themselves(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)
    source = opened(spec)
    first = source.read("train", 0).image
    assert pickle.loads(pickle.dumps(source)).read("train", 0).image == first


def test_splits_whose_ids_mean_other_classes(server: Server, tmp_path: Path) -> None:
    spec, local = publish(server, tmp_path)
    turned = repo_of(spec, local, names=local.class_names[::-1])
    server.repos[REPO].files |= {p: c for p, c in turned.files.items() if "/test-" in p}
    with pytest.raises(DataError, match="have different class ids"):
        opened(spec)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["label"]), "has no column label in train-00001"),
        (
            lambda t: t.set_column(1, "label", pa.array(["0"] * len(t))),
            "label is int64 in .* string",
        ),
        (lambda t: t.replace_schema_metadata(None), "have different class ids"),
    ],
    ids=["column", "type", "names"],
)
def test_files_of_a_split_that_differ(
    server: Server, tmp_path: Path, change: Any, message: str
) -> None:
    spec, _ = publish(server, tmp_path, shards=2)
    rewritten(server.repos[REPO], "train-00001", change)
    with pytest.raises(DataError, match=message):
        opened(spec)


def test_images_as_plain_bytes(server: Server, tmp_path: Path) -> None:
    spec, local = publish(server, tmp_path)

    def plain_bytes(table: Any) -> Any:
        images = pa.array([cell["bytes"] for cell in table["image"].to_pylist()])
        changed = table.set_column(0, "image", images)
        return changed.replace_schema_metadata(table.schema.metadata)

    rewritten(server.repos[REPO], "val", plain_bytes)
    source = opened(spec)
    assert source.rows("val").sample_ids[0] == "val_000000"
    assert "val" in source.notes[0]
    read = {source.read("val", i).image for i in range(9)}
    assert read == {local.read("val", i).image for i in range(9)}


def test_names_in_folders(server: Server, tmp_path: Path) -> None:
    """Two images of one name in two folders keep the folder in their ids."""
    spec, _ = publish(server, tmp_path)

    def in_folders(table: Any) -> Any:
        cells = [
            {"bytes": cell["bytes"], "path": f"{i % 2}/same_{i // 2}.png"}
            for i, cell in enumerate(table["image"].to_pylist())
        ]
        kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        changed = table.set_column(0, "image", pa.array(cells, kind))
        return changed.replace_schema_metadata(table.schema.metadata)

    rewritten(server.repos[REPO], "val", in_folders)
    assert opened(spec).rows("val").sample_ids[0] == "0/same_0.png"


def test_a_damaged_file_is_named(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)
    server.repos[REPO].files["data/train-00000-of-00001.parquet"] = b"x" * 1000
    with pytest.raises(DataError, match=r"train-00000.* cannot be read") as caught:
        opened(spec)
    assert "data clean" in caught.value.remedy


# Labels and class names, in whatever form.


def test_codes_of_classes_are_kept(server: Server, tmp_path: Path) -> None:
    spec, local = publish(server, tmp_path, None, names=["pla", "dun", "cra"])
    hub = opened(spec)
    assert hub.class_names == ("pla", "dun", "cra")
    assert "pla, dun, cra" in hub.notes[0]
    np.testing.assert_array_equal(hub.rows("test").targets, local.rows("test").targets)


def test_class_names_of_another_task(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path, None, names=["frost", "ice cap", "dune"])
    with pytest.raises(DataError, match=r"Only in the data: .*frost.*Only in the task: crater"):
        opened(spec)


def test_numbers_without_names(server: Server, tmp_path: Path) -> None:
    spec, local = publish(server, tmp_path)
    for split in ("train", "val", "test"):
        rewritten(server.repos[REPO], split, plain)
    hub = opened(spec)
    assert hub.class_names == ("0", "1", "2")
    assert "named by their ids" in hub.notes[0]
    np.testing.assert_array_equal(hub.rows("val").targets, local.rows("val").targets)
    # A user's own task says which class each id is.
    assert opened(replace(spec, path=Path("task.yaml"))).class_names == spec.class_names
    # And so may a file of the repository.
    names = {str(i): ["c", name] for i, name in enumerate(local.class_names)}
    server.repos[REPO].files["mapping.json"] = json.dumps(names).encode()
    fetch(REPO, None, [Subset()], update=True)
    assert opened(spec).class_names == local.class_names


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ([0, 1, 9] * 3, "has label 9; expected 0..2 "),
        ([0, None, 1] * 3, "expected class ids: values are missing"),
        (["0", "1", "2"] * 3, None),
        (["a", "b", "c"] * 3, "expected class ids: 'a' is neither a class id nor the name"),
        (["plain", "Dune", "2.0"] * 3, None),
        ([0.0, 1.5, 1.0] * 3, "not integers"),
    ],
    ids=["outside", "missing", "text", "words", "names", "fractions"],
)
def test_labels_of_other_types(
    server: Server, tmp_path: Path, label: list[Any], message: str | None
) -> None:
    spec, _ = publish(server, tmp_path)
    for split in ("train", "test"):
        rewritten(server.repos[REPO], split, plain)
    rewritten(server.repos[REPO], "val", lambda table: plain(table, label))
    if message is None:  # a user's own task names the classes
        rows = opened(replace(spec, path=Path("task.yaml"))).rows("val")
        assert len(rows) == 9
        assert rows.targets[rows.sample_ids.index("val_0001.png")] == 1
        return
    with pytest.raises(DataError, match=message):
        opened(spec).rows("val")


@pytest.mark.parametrize("form", ["ids", "one_hot", "text"])
def test_multilabel(server: Server, tmp_path: Path, form: str) -> None:
    spec, local = publish(server, tmp_path, hub_spec(Kind.MULTILABEL))

    def change(table: Any) -> Any:
        ids = table.column("label").to_pylist()
        hot = [[int(k in row) for k in range(3)] for row in ids]
        return table.set_column(1, "label", [hot if form == "one_hot" else [str(i) for i in ids]])

    if form != "ids":
        for split in ("train", "val", "test"):
            metadata = pq.read_schema(
                io.BytesIO(
                    next(c for p, c in server.repos[REPO].files.items() if f"/{split}-" in p)
                )
            ).metadata
            rewritten(
                server.repos[REPO],
                split,
                lambda t, m=metadata: change(t).replace_schema_metadata(m),
            )
    hub = opened(spec)
    assert hub.class_names == local.class_names
    for split in hub.splits:
        np.testing.assert_array_equal(hub.rows(split).targets, local.rows(split).targets)


def test_a_one_hot_row_among_ids_is_no_list_of_ids(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path, hub_spec(Kind.MULTILABEL))

    def change(table: Any) -> Any:
        labels = [[1, 0, 0], *([1, 2] for _ in range(len(table) - 1))]
        place, field = table.column_names.index("label"), table.schema.field("label")
        return table.set_column(place, field, pa.array(labels, field.type))

    rewritten(server.repos[REPO], "val", change)
    with pytest.raises(DataError, match=r"\[1, 0, 0\] is a 0 or 1 per class, but other rows"):
        opened(spec).rows("val")


def test_images_without_names_are_numbered(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path)

    def unnamed(table: Any) -> Any:
        rows = [{"bytes": cell["bytes"], "path": None} for cell in table["image"].to_pylist()]
        kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        changed = table.set_column(0, "image", pa.array(rows, kind))
        return changed.replace_schema_metadata(table.schema.metadata)

    rewritten(server.repos[REPO], "val", unnamed)
    assert opened(spec).rows("val").sample_ids[0] == "val_000000"


@pytest.mark.parametrize("path", ["../../x.png", "a/..", "/etc/x.png", "..\\..\\x.png"])
def test_names_of_images_stay_below_their_folder(server: Server, tmp_path: Path, path: str) -> None:
    spec, _ = publish(server, tmp_path)

    def renamed(table: Any) -> Any:
        rows = table["image"].to_pylist()
        # Two equal file names, so that paths are the ids.
        names = [path, path.replace("x.png", "y/x.png"), *(row["path"] for row in rows[2:])]
        if path.endswith(".."):
            names = [path, *(row["path"] for row in rows[1:])]
        cells = [{**row, "path": name} for row, name in zip(rows, names, strict=True)]
        changed = table.set_column(0, "image", pa.array(cells, table.schema.field("image").type))
        return changed.replace_schema_metadata(table.schema.metadata)

    rewritten(server.repos[REPO], "val", renamed)
    with pytest.raises(DataError, match="are not file names below a folder"):
        opened(spec)


def test_the_composite_of_a_pair_is_taken_apart(server: Server, tmp_path: Path) -> None:

    spec, local = publish(
        server, tmp_path, hub_spec(Kind.BINARY, classes=CHANGE, decode=Decode.PAIR_LABEL)
    )
    hub = opened(spec)
    for i in range(len(hub.rows("val"))):
        np.testing.assert_array_equal(
            decode_sample(spec, hub.read("val", i)).pixels,
            decode_sample(spec, local.read("val", i)).pixels,
        )


def test_an_image_that_is_no_composite(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path, hub_spec(Kind.BINARY, classes=CHANGE, channels=3))
    pair = replace(spec, decode=Decode.PAIR_LABEL, channels=1)
    with pytest.raises(DataError, match="not a composite"):
        opened(pair).read("val", 0)


def test_demo_rows_published(server: Server, tmp_path: Path) -> None:
    from marsbench.tasks.catalog import TASKS

    spec = replace(TASKS["surface_multi_label_cls"], hub_id=REPO)
    demo = DemoSource(spec, 0.02)
    server.repos[REPO] = repo_of(spec, demo)
    hub = HubSource(spec, fetch(REPO, None, [Subset()]), Subset())
    np.testing.assert_array_equal(hub.rows("test").targets, demo.rows("test").targets)
