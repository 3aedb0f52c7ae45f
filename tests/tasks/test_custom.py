"""Custom tasks: what a YAML may say, and what a wrong one is told."""

import re
from pathlib import Path

import pytest

from marsbench.base.errors import ConfigError
from marsbench.tasks.catalog import TASKS, get_task
from marsbench.tasks.custom import load_task
from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import ClassInfo, Platform, TaskSpec

SHIPPED = Path(__file__).parents[2] / "configs" / "tasks" / "hirise_landmark_v1.yaml"

GOOD = "name: mine\nkind: binary\nclasses: [rock, sand]\n"


def write(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_least_a_file_says(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert load_task(path) == TaskSpec(
        name="mine",
        title="mine",
        kind=Kind.BINARY,
        classes=(ClassInfo("rock"), ClassInfo("sand")),
        folder="mine",
        path=path.resolve(),
    )


def test_all_a_file_may_say(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
name: mine
title: Vents
kind: multilabel
decode: pair_label
classes:
  - {name: Open vent, acronym: ove, aliases: [vent], description: A hole.}
  - name: Lava flow
    aliases: flow
  - dust
sizes: {train: 10, test: 0}
channels: 3
image_size: [64, 96]
platform: rover
mission: Perseverance
sensor: Mastcam-Z
folder: vents
hub_id: me/vents
zenodo_title: My vents
headline: ap_micro
min_partition: 0.5
few_shot: false
citation: "Me (2024): Vents"
licence: CC0
notes: one
""",
    )
    assert load_task(path) == TaskSpec(
        name="mine",
        title="Vents",
        kind=Kind.MULTILABEL,
        classes=(
            ClassInfo("Open vent", "A hole.", ("ove", "vent")),
            ClassInfo("Lava flow", "", ("flow",)),
            ClassInfo("dust"),
        ),
        decode=Decode.PAIR_LABEL,
        sizes={"train": 10, "test": 0},
        channels=3,
        image_size=(64, 96),
        platform=Platform.ROVER,
        mission="Perseverance",
        sensor="Mastcam-Z",
        folder="vents",
        hub_id="me/vents",
        zenodo_title="My vents",
        headline="ap_micro",
        min_partition=0.5,
        few_shot=False,
        citation="Me (2024): Vents",
        licence="CC0",
        notes=("one",),
        path=path.resolve(),
    )


def test_classes_as_a_mapping(tmp_path: Path) -> None:
    path = write(tmp_path, "name: m\nkind: binary\nclasses:\n  rock: Hard.\n  sand:\n")
    assert load_task(path).classes == (ClassInfo("rock", "Hard."), ClassInfo("sand"))


@pytest.mark.parametrize(
    ("kind", "classes", "decode"),
    [
        ("binary", "[a, b]", "image_label"),
        ("multiclass", "[a, b]", "image_label"),
        ("multilabel", "[a, b]", "image_label"),
        ("segmentation", "[a, b]", "image_mask"),
        ("detection", "[a]", "image_boxes"),
    ],
)
def test_kind_decides_the_defaults(tmp_path: Path, kind: str, classes: str, decode: str) -> None:
    spec = load_task(write(tmp_path, f"name: m\nkind: {kind}\nclasses: {classes}\n"))
    assert spec.decode == decode
    assert spec.few_shot == spec.kind.is_classification


def test_a_folder_with_a_task_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "vents"
    folder.mkdir()
    path = write(folder, GOOD, "task.yaml")
    assert load_task(folder).path == path.resolve()
    monkeypatch.chdir(tmp_path)
    assert get_task("vents").name == "mine"
    assert get_task("vents/task.yaml") == get_task(str(folder)) == load_task(folder)


def test_the_shipped_example() -> None:
    spec = get_task(str(SHIPPED))
    assert spec.name == "hirise_landmark_v1"
    assert spec.folder == "mb-landmark_cls"
    assert spec.kind is Kind.MULTICLASS
    assert spec.class_names == (
        "other", "crater", "dark dune", "slope streak", "bright dune", "edge",
    )  # fmt: skip
    assert [c.aliases for c in spec.classes] == [
        ("oth",), ("cra",), ("dar",), ("slo",), ("bri",), ("edg",),
    ]  # fmt: skip
    assert all(c.description for c in spec.classes)
    assert spec.sizes == {"train": 2310, "val": 755, "test": 755}
    assert spec.image_size == (227, 227)
    assert spec.channels == 1
    assert spec.sensor == "HiRISE"
    assert "Wagstaff" in spec.citation
    assert spec.hub_id is None
    assert spec.path == SHIPPED.resolve()


# Text of the file, field that has to be named, and what else the message has to say.
BAD = {
    "unknown field": (GOOD + "tittle: x\n", "tittle", "Did you mean title?"),
    "path is no field": (GOOD + "path: x\n", "path", "Unknown key 'path'"),
    "no name": ("kind: binary\nclasses: [a, b]\n", "name", "is missing"),
    "empty name": ("name: ''\nkind: binary\nclasses: [a, b]\n", "name", "is missing"),
    "no kind": ("name: m\nclasses: [a, b]\n", "kind", "is missing"),
    "blank kind": ("name: m\nkind: ' '\nclasses: [a, b]\n", "kind", "is missing"),
    "no classes": ("name: m\nkind: binary\n", "classes", "is missing"),
    "null classes": ("name: m\nkind: binary\nclasses:\n", "classes", "is missing"),
    "name is a number": ("name: 3\nkind: binary\nclasses: [a, b]\n", "name", "in quotes"),
    "name is no slug": ("name: My Vents\nkind: binary\nclasses: [a, b]\n", "name", "'my_vents'"),
    "name has no letters": ("name: '%'\nkind: binary\nclasses: [a, b]\n", "name", "a-z"),
    "name is taken": (
        "name: frost_cls\nkind: binary\nclasses: [a, b]\n",
        "name",
        "'frost_cls_custom'",
    ),
    "unknown kind": ("name: m\nkind: segmentatoin\nclasses: [a, b]\n", "kind", "segmentation?"),
    "kind not close": ("name: m\nkind: xyz\nclasses: [a, b]\n", "kind", "Choose one of: binary"),
    "unknown decode": (GOOD + "decode: image_lable\n", "decode", "Did you mean image_label"),
    "decode of another kind": (GOOD + "decode: image_mask\n", "decode", "expected image_label or"),
    "unknown platform": (GOOD + "platform: orbit\n", "platform", "orbiter?"),
    "unknown headline": (GOOD + "headline: f1_wieghted\n", "headline", "f1_weighted?"),
    "headline not close": (GOOD + "headline: zz\n", "headline", "Choose one of: accuracy"),
    "title is a list": (GOOD + "title: [a]\n", "title", "is ['a']; expected text"),
    "unknown split": (GOOD + "sizes: {trian: 3}\n", "sizes.trian", "Did you mean train?"),
    "negative size": (GOOD + "sizes: {train: -1}\n", "sizes.train", "-1"),
    "size is text": (GOOD + "sizes: {train: many}\n", "sizes.train", "'many'"),
    "sizes is a number": (GOOD + "sizes: 3\n", "sizes", "a mapping"),
    "no channels": (GOOD + "channels: 0\n", "channels", "is 0; expected"),
    "channels is a flag": (GOOD + "channels: true\n", "channels", "is true; expected"),
    "size is one number": (GOOD + "image_size: 64\n", "image_size", "a list of 2"),
    "size has a zero": (GOOD + "image_size: [64, 0]\n", "image_size.2", "is 0"),
    "size has three": (GOOD + "image_size: [1, 2, 3]\n", "image_size", "[1, 2, 3]"),
    "size has fractions": (GOOD + "image_size: [1.5, 2]\n", "image_size.1", "1.5"),
    "partition is 0": (GOOD + "min_partition: 0\n", "min_partition", "above 0"),
    "partition is text": (GOOD + "min_partition: half\n", "min_partition", "'half'"),
    "flag is a number": (GOOD + "few_shot: 1\n", "few_shot", "true or false"),
    "notes hold a number": (GOOD + "notes: [1]\n", "notes.1", "expected text"),
    "classes is text": ("name: m\nkind: binary\nclasses: rock\n", "classes", "'rock'"),
    "class is a flag": (
        "name: m\nkind: binary\nclasses: [yes, no]\n",
        "classes.1.name",
        "in quotes",
    ),
    "class has no name": (
        "name: m\nkind: binary\nclasses: [{description: x}, b]\n",
        "classes.1.name",
        "is missing",
    ),
    "class has an unknown field": (
        "name: m\nkind: binary\nclasses: [{name: a, descripton: x}, b]\n",
        "classes.1.descripton",
        "Did you mean description?",
    ),
    "two classes of one name": (
        "name: m\nkind: multiclass\nclasses: [Dark Dune, b, dark_dune]\n",
        "classes",
        "'Dark Dune' and 'dark_dune'",
    ),
    "alias of another class": (
        "name: m\nkind: binary\nclasses: [{name: a, acronym: x}, {name: b, aliases: [x]}]\n",
        "classes",
        "'x' names both 'a' and 'b'",
    ),
    "class twice in a mapping": (
        "name: m\nkind: multiclass\nclasses: {a: x, b: y, a: z}\n",
        "classes.a",
        "given twice",
    ),
    "folder above": (GOOD + "folder: ../../..\n", "folder", "below the data's place"),
    "folder of the machine": (GOOD + "folder: /etc\n", "folder", "below the data's place"),
    "field twice": (GOOD + "kind: multiclass\n", "kind", "given twice"),
    "one class": ("name: m\nkind: binary\nclasses: [a]\n", "classes", "exactly 2"),
    "one class of mask": (
        "name: m\nkind: segmentation\nclasses: [a]\n",
        "classes",
        "at least 2",
    ),
    "no boxes": ("name: m\nkind: detection\nclasses: []\n", "classes", "at least 1"),
    "binary of three": ("name: m\nkind: binary\nclasses: [a, b, c]\n", "classes", "exactly 2"),
}


@pytest.mark.parametrize(("text", "field", "says"), BAD.values(), ids=BAD)
def test_a_wrong_field_is_named(tmp_path: Path, text: str, field: str, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_task(path, taken=TASKS)
    message = str(caught.value)
    assert str(path.resolve()) in message
    assert f"'{field}'" in message or f"Unknown {field} '" in message
    assert says in message
    if field in ("tittle", "headline", "channels"):
        assert "- line 4: " in message


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "name: My Task\nkind: binery\nclasses: [a, a]\nchannels: 0\n"
        "sizes: {x: 1, val: -2}\nfoo: 1\n",
    )
    with pytest.raises(ConfigError) as caught:
        load_task(path)
    message = str(caught.value)
    assert "7 problems" in message
    for number, field in [
        (1, "name"),
        (3, "classes"),
        (4, "channels"),
        (5, "sizes.x"),
        (5, "sizes.val"),
    ]:
        assert re.search(f"\n  - line {number}: .*'{field}'", message)


def test_a_wrong_kind_does_not_cause_complaints_about_others(tmp_path: Path) -> None:
    path = write(tmp_path, "name: m\nkind: detect\nclasses: [a]\ndecode: image_boxes\n")
    with pytest.raises(ConfigError, match="1 problem in"):
        load_task(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: [a\nkind: b\n", "line 2"),
        ("name: a: b\n", "line 1, column 8"),
        ("a: 1\n\tb: 2\n", "line 2"),
        ("[a]: 1\n? [b]\n: 2\n", "not valid YAML"),
        ("name: !!python/object:os.system x\n", "not valid YAML"),
        ("date: 2024-13-45\n", "cannot be read"),
        ("", "is empty"),
        ("- name\n", "['name']"),
        ("just words\n", "'just words'"),
    ],
)
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_task(path)
    assert str(path.resolve()) in str(caught.value)
    assert says in str(caught.value)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"name: \xff\xfe\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_task(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file") as caught:
        load_task(tmp_path / "mine.yaml")
    assert str(tmp_path.resolve() / "mine.yaml") in str(caught.value)


def test_a_folder_without_a_task_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file") as caught:
        load_task(tmp_path)
    assert str(tmp_path.resolve() / "task.yaml") in str(caught.value)
