"""Classes matched by name or by a map; wrong maps are refused with a message."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from marsbench.base.errors import ConfigError
from marsbench.evaluate.classes import Classes, match_classes
from marsbench.evaluate.maps import read_map, shipped_maps
from marsbench.evaluate.scoring import joined_scores
from marsbench.tasks.catalog import TASKS, get_task
from marsbench.tasks.kinds import Kind
from marsbench.tasks.spec import ClassInfo, TaskSpec
from tests.fakes import make_spec

PAIRS = (
    ("mars_seg_mer", "mars_seg_msl"),
    ("mars_seg_mer", "s5mars"),
    ("mars_seg_msl", "s5mars"),
    ("atmospheric_dust_cls_edr", "atmospheric_dust_cls_rdr"),
    ("change_cls_ctx", "change_cls_hirise"),
    ("crater_multi_seg", "crater_binary_seg"),
    ("landmark_cls", "domars16k"),
    ("surface_cls", "surface_multi_label_cls"),
)
BOTH = [pair for a, b in PAIRS for pair in ((a, b), (b, a))]


def matched(trained_on: str, task: str) -> Classes:
    one, other = get_task(trained_on), get_task(task)
    return match_classes(one, one.class_names, other, other.class_names)


@pytest.mark.parametrize(("trained_on", "task"), BOTH, ids=[" to ".join(pair) for pair in BOTH])
def test_pairs_of_the_catalogue(trained_on: str, task: str) -> None:
    classes = matched(trained_on, task)
    assert classes.num_scored >= 2
    is_same = TASKS[trained_on].class_names == TASKS[task].class_names
    assert classes.is_identical == is_same
    assert (classes.digest is None) == is_same
    # Each counterpart is a class of the model, and each class of the target is accounted for.
    assert set(classes.counterparts) == set(TASKS[task].class_names)
    named = {
        n for v in classes.counterparts.values() for n in ([v] if isinstance(v, str) else v or [])
    }
    assert named <= set(TASKS[trained_on].class_names)


def test_every_shipped_map_is_of_the_catalogue() -> None:
    assert len(shipped_maps()) == 4
    for path in shipped_maps():
        chosen = read_map(path)
        for a in chosen.first:
            for b in chosen.second:
                matched(a, b)


def test_counterparts_of_the_maps() -> None:
    assert matched("mars_seg_msl", "s5mars").counterparts == {
        "background": None,
        "Bedrock": "Bedrock",
        "Hole": None,
        "Ridge": "Sky/Distant Mountains",
        "Rock": "Rock",
        "Rover": None,
        "Sand/Soil": "Gravel/Sand/Soil",
        "Sky": "Sky/Distant Mountains",
        "Track": "Track",
    }
    craters = matched("crater_multi_seg", "crater_binary_seg")
    assert craters.counterparts["crater"] == ["Other", "Layered", "Buried", "Secondary"]
    assert craters.of_source.tolist() == [0, 1, 1, 1, 1]
    back = matched("crater_binary_seg", "crater_multi_seg")
    assert back.names == ("background", "Other + Layered + Buried + Secondary")
    assert back.of_target.tolist() == [0, 1, 1, 1, 1]


def test_unmatched_classes_of_the_model_compete_and_ignored_ones_do_not() -> None:
    classes = matched("mars_seg_mer", "s5mars")
    source = dict(zip(classes.source, classes.of_source.tolist(), strict=True))
    assert source["Shadow"] == -1
    assert source["background"] == classes.num_scored == 5
    assert classes.names[5] == "background"
    labels = matched("surface_multi_label_cls", "surface_cls")
    assert len(labels.names) == labels.num_scored == 4
    assert labels.kind is Kind.MULTICLASS


def test_classes_are_matched_by_name_never_by_id() -> None:
    one = make_spec(classes=("Dark Dune", "Crater", "Plain"))
    infos = (ClassInfo("plains", aliases=("plain",)), ClassInfo("dark_dune"), ClassInfo("sky"))
    other = TaskSpec(name="other", kind=Kind.MULTICLASS, classes=infos)
    target = ("sky", "plains", "dark_dune")
    classes = match_classes(one, one.class_names, other, target)
    assert classes.names == ("plains", "dark_dune", "Crater")
    assert classes.of_target.tolist() == [-1, 0, 1]
    assert classes.of_source.tolist() == [1, 2, 0]
    scores = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]], dtype=np.float32)
    columns = joined_scores(classes, Kind.MULTICLASS, np.array([2, 1]), scores)
    assert [int(i) for i in columns["target"]] == [1, 0]
    np.testing.assert_array_equal(np.stack(columns["scores"]), scores[:, [2, 0, 1]])


def test_labels_of_other_kinds() -> None:
    rng = np.random.default_rng(0)
    single, several = (
        make_spec(classes=("a", "b", "c")),
        make_spec(Kind.MULTILABEL, ("b", "d", "a")),
    )
    scores = rng.dirichlet(np.ones(3), size=5).astype(np.float32)
    # One class to several labels: the label's probability is the class's.
    classes = match_classes(single, single.class_names, several, several.class_names)
    targets = rng.integers(2, size=(5, 3))
    columns = joined_scores(classes, Kind.MULTICLASS, targets, scores)
    assert (classes.names, classes.kind) == (("b", "a"), Kind.MULTILABEL)
    np.testing.assert_array_equal(np.stack(columns["scores"]), scores[:, [1, 0]])
    np.testing.assert_array_equal(np.stack(columns["target"]), targets[:, [0, 2]])
    # Several labels to one class: matched labels compete alone, scaled to a sum of 1.
    classes = match_classes(several, several.class_names, single, single.class_names)
    chances = rng.random((2, 3)).astype(np.float32)
    columns = joined_scores(classes, Kind.MULTILABEL, np.array([0, 1]), chances)
    wanted = chances[:, [2, 0]] / chances[:, [2, 0]].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.stack(columns["scores"]), wanted, rtol=1e-6)
    assert classes.names == ("a", "b")


def test_merged_classes_add_up_and_ignored_ones_leave_the_rest_at_one(tmp_path: Path) -> None:
    one, other = (
        make_spec(classes=("a", "b", "c", "d")),
        make_spec(classes=("x", "y"), name="other"),
    )
    content = {
        "first": "toy",
        "second": "other",
        "matches": [{"first": ["a", "b"], "second": "y"}, {"first": "c", "second": "x"}],
        "ignore": {"first": "d"},
    }
    classes = match_classes(
        one, one.class_names, other, other.class_names, written(tmp_path, content)
    )
    scores = np.array([[0.1, 0.2, 0.3, 0.4]], dtype=np.float32)
    columns = joined_scores(classes, Kind.MULTICLASS, np.array([1]), scores)
    np.testing.assert_allclose(columns["scores"][0], [0.5, 0.5], rtol=1e-6)
    assert columns["target"] == [1]


MAP: dict[str, Any] = {
    "first": ["toy"],
    "second": ["other"],
    "matches": [{"first": "crater", "second": "x"}],
    "unmatched": {"first": ["dune", "plain"], "second": "y"},
}


def written(folder: Path, content: Any) -> str:
    path = folder / "map.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unmatched": {"first": ["dune"], "second": "y"}}, "misses plain of toy"),
        ({"unmatched": {"first": ["dune", "plain"]}}, "misses y of other"),
        ({"ignore": {"first": "Crater"}}, "crater of toy stands twice"),
        ({"ignore": {"second": "x"}}, "x of other stands twice"),
        ({"ignore": {"first": "carter"}}, "Unknown class of toy 'carter'. Did you mean crater"),
        ({"matches": [{"first": "crater", "second": []}]}, "classes of one side only"),
        ({"second": "elsewhere"}, "is not of toy and other"),
        ({"pairs": []}, "Unknown key 'pairs'"),
        ({"matches": "crater"}, "is not a map of classes"),
        ({"first": 3}, "is not a map of classes"),
        (
            {
                "matches": [],
                "unmatched": {"first": ["crater", "dune", "plain"], "second": ["x", "y"]},
            },
            "No class of other has a counterpart",
        ),
        ({"ignore": {"first": ["dune", "plain"]}, "unmatched": {"second": "y"}}, "the only class"),
    ],
)
def test_wrong_maps_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    one, other = make_spec(), make_spec(classes=("x", "y"), name="other")
    match_classes(one, one.class_names, other, other.class_names, written(tmp_path, MAP))
    with pytest.raises(ConfigError, match=message):
        match_classes(
            one, one.class_names, other, other.class_names, written(tmp_path, MAP | change)
        )


def test_tasks_without_a_common_class_are_refused() -> None:
    with pytest.raises(ConfigError, match="No class of frost_cls has a counterpart"):
        matched("landmark_cls", "frost_cls")
    # A common background is not enough.
    with pytest.raises(ConfigError, match="No class of boulder_seg has a counterpart"):
        matched("conequest_seg", "boulder_seg")


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    one = make_spec()
    for name, text in (("missing.yaml", None), ("list.yaml", "- a\n"), ("empty.yaml", "")):
        path = tmp_path / name
        if text is not None:
            path.write_text(text)
        with pytest.raises(ConfigError):
            match_classes(one, one.class_names, one, one.class_names, str(path))
