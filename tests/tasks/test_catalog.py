"""The catalogue against the numbers of the paper, written out here a second time."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from marsbench.base.errors import ConfigError, UnknownNameError
from marsbench.tasks.catalog import TASKS, by_name, get_task, known_task
from marsbench.tasks.kinds import KINDS, METRICS, Kind
from marsbench.tasks.spec import SPLITS, Platform, TaskSpec, normalise

# Table 1: kind, classes, train, val, test, bands, platform.
TABLE_1 = {
    "atmospheric_dust_cls_edr": ("binary", 2, 9817, 4969, 5214, 1, "orbiter"),
    "atmospheric_dust_cls_rdr": ("binary", 2, 9817, 4969, 5214, 1, "orbiter"),
    "change_cls_ctx": ("binary", 2, 36, 10, 10, 1, "orbiter"),
    "change_cls_hirise": ("binary", 2, 3103, 670, 670, 1, "orbiter"),
    "domars16k": ("multiclass", 15, 11305, 3231, 1614, 1, "orbiter"),
    "frost_cls": ("binary", 2, 30124, 11415, 12249, 1, "orbiter"),
    "landmark_cls": ("multiclass", 8, 6997, 2025, 1793, 1, "orbiter"),
    "surface_cls": ("multiclass", 36, 6580, 1293, 1594, 3, "rover"),
    "surface_multi_label_cls": ("multilabel", 25, 1762, 443, 739, 1, "rover"),
    "boulder_seg": ("segmentation", 2, 39, 6, 4, 1, "orbiter"),
    "conequest_seg": ("segmentation", 2, 2236, 319, 643, 1, "orbiter"),
    "crater_binary_seg": ("segmentation", 2, 3600, 900, 900, 1, "orbiter"),
    "crater_multi_seg": ("segmentation", 5, 3600, 900, 900, 1, "orbiter"),
    "mars_seg_mer": ("segmentation", 7, 744, 106, 214, 1, "rover"),
    "mars_seg_msl": ("segmentation", 7, 2893, 413, 828, 3, "rover"),
    "mmls": ("segmentation", 2, 275, 31, 256, 7, "orbiter"),
    "s5mars": ("segmentation", 10, 4997, 200, 800, 3, "rover"),
    "boulder_det": ("detection", 1, 39, 6, 4, 1, "orbiter"),
    "conequest_det": ("detection", 1, 1158, 167, 333, 1, "orbiter"),
    "dust_devil_det": ("detection", 1, 1404, 201, 402, 1, "orbiter"),
}
CHALLENGES = ("ega_ms", "gcms")
NOT_IN_TABLE_1 = {"s5mars": 9}  # Table 1 says 10, appendix B.2 names 8, which are 9 with background
FROM_TEN_PERCENT = {"boulder_seg", "boulder_det", "change_cls_ctx"}

EVERY_TASK = pytest.mark.parametrize("spec", TASKS.values(), ids=TASKS.keys())
MARS_BENCH = pytest.mark.parametrize("name", TABLE_1)


def test_the_catalogue_holds_the_paper_and_the_challenges() -> None:
    collections = {"mars_bench": sorted(TABLE_1), "ms_challenges": sorted(CHALLENGES)}
    for collection, names in collections.items():
        assert sorted(n for n, spec in TASKS.items() if spec.collection == collection) == names


@EVERY_TASK
def test_subjects(spec: TaskSpec) -> None:
    """Images have landforms or other subjects, and every task has instruments by name."""
    assert bool(spec.landforms) != spec.is_spectra
    assert len(set(spec.landforms)) == len(spec.landforms)
    assert spec.sensors
    assert all(re.fullmatch(r"[\w ]+", name) for name in spec.sensors)


def test_instruments_are_apart_from_remarks() -> None:
    assert TASKS["mmls"].sensors == ("CTX",)
    assert TASKS["surface_cls"].sensors == ("Mastcam", "MAHLI")


@EVERY_TASK
def test_names(spec: TaskSpec) -> None:
    assert re.fullmatch(r"[a-z0-9_]+", spec.name)
    assert TASKS[spec.name] is spec
    assert spec.title
    assert "\n" not in spec.title


@EVERY_TASK
def test_classes_are_described_and_told_apart(spec: TaskSpec) -> None:
    spellings = [normalise(s) for c in spec.classes for s in (c.name, *c.aliases)]
    assert len(set(spellings)) == len(spellings)
    for info in spec.classes:
        assert info.description.endswith("."), info
        assert len(info.description) > 15, info


@EVERY_TASK
def test_decode_fits_kind(spec: TaskSpec) -> None:
    assert spec.decode in KINDS[spec.kind].decoders
    assert spec.is_spectra == (spec.technique is not None)
    assert (spec.is_pairs) == spec.name.startswith("change_")


@EVERY_TASK
def test_provenance_is_complete(spec: TaskSpec) -> None:
    assert spec.mission
    assert spec.sensor
    assert re.search(r"\((19|20)\d\d\)", spec.citation)
    assert spec.headline_metric in METRICS
    assert spec.path is None
    assert all(note.endswith(".") for note in spec.notes)


@MARS_BENCH
def test_subsets(name: str) -> None:
    spec = TASKS[name]
    assert spec.min_partition == (0.10 if spec.name in FROM_TEN_PERCENT else 0.01)
    assert spec.few_shot == (spec.kind.is_classification and spec.name != "change_cls_ctx")


@EVERY_TASK
def test_background_is_the_first_class_of_masks_only(spec: TaskSpec) -> None:
    names = spec.class_names
    assert ("background" in names) == (spec.kind is Kind.SEGMENTATION)
    if "background" in names:
        assert names[0] == "background"


@MARS_BENCH
def test_table_1(name: str) -> None:
    kind, classes, train, val, test, bands, platform = TABLE_1[name]
    spec = TASKS[name]
    assert spec.kind == Kind(kind)
    assert len(spec.classes) == NOT_IN_TABLE_1.get(name, classes)
    assert dict(spec.sizes) == {"train": train, "val": val, "test": test}
    assert tuple(spec.sizes) == SPLITS
    assert spec.channels == bands
    assert spec.platform == Platform(platform)


@MARS_BENCH
def test_published_places(name: str) -> None:
    spec = TASKS[name]
    assert spec.folder == spec.zenodo_title == f"mb-{name}"
    assert spec.hub_id == f"Mirali33/mb-{name}"
    assert spec.licence == "CC-BY-4.0"
    assert spec.headline is None


def test_image_sizes_are_given_where_published() -> None:
    sizes = {spec.name: spec.image_size for spec in TASKS.values() if spec.image_size}
    assert sizes == {"conequest_seg": (512, 512), "mmls": (128, 128)}


@pytest.mark.parametrize("name", CHALLENGES)
def test_challenges(name: str) -> None:
    spec = TASKS[name]
    assert spec.kind is Kind.MULTILABEL
    assert spec.platform is Platform.LABORATORY
    assert spec.headline_metric == "log_loss"
    assert not METRICS[spec.headline_metric].higher_is_better
    assert spec.folder == name
    assert spec.hub_id is None
    assert spec.zenodo_title is None


def test_challenge_labels_and_sizes() -> None:
    assert TASKS["ega_ms"].class_names == (
        "basalt", "carbonate", "chloride", "iron_oxide", "oxalate",
        "oxychlorine", "phyllosilicate", "silicate", "sulfate", "sulfide",
    )  # fmt: skip
    assert TASKS["gcms"].class_names == (
        "aromatic", "hydrocarbon", "carboxylic_acid", "nitrogen_bearing_compound",
        "chlorine_bearing_compound", "sulfur_bearing_compound", "alcohol",
        "other_oxygen_bearing_compound", "mineral",
    )  # fmt: skip
    assert TASKS["ega_ms"].sizes == {"train": 766, "val": 293, "test": 511}
    assert not TASKS["gcms"].sizes


def test_domars16k_leaves_the_ambiguous_codes_out() -> None:
    spellings = {alias for c in TASKS["domars16k"].classes for alias in c.aliases}
    assert spellings.isdisjoint({"ael", "aec"})
    assert len(spellings) == 13


def test_the_papers_counts_of_subsets_follow() -> None:
    specs = [TASKS[name] for name in TABLE_1]
    partitions = (0.01, 0.02, 0.05, 0.10, 0.20, 0.25, 0.50)
    assert sum(p >= spec.min_partition for spec in specs for p in partitions) == 131
    shots = (1, 2, 5, 10, 15, 20)
    # The paper counts 54 = 9 x 6, and says itself that change_cls_ctx has none, which makes 48.
    assert sum(spec.few_shot for spec in specs) * len(shots) == 48


def test_two_tasks_of_one_name_are_refused() -> None:
    spec = TASKS["frost_cls"]
    with pytest.raises(ValueError, match="frost_cls"):
        by_name([spec, spec])


@EVERY_TASK
def test_get_task(spec: TaskSpec) -> None:
    assert get_task(spec.name) is spec
    assert get_task(f"mb-{spec.name}") is spec


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("forst_cls", "frost_cls"),
        ("Frost_Cls", "frost_cls"),
        ("mb-landmark", "landmark_cls"),
        ("conequest", "conequest_seg"),
        ("ega", "ega_ms"),
    ],
)
def test_a_typo_gets_a_suggestion(typo: str, meant: str) -> None:
    with pytest.raises(UnknownNameError, match=meant) as caught:
        get_task(typo)
    assert "marsbench list tasks" in str(caught.value)


def test_an_empty_name_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "task.yaml").write_text("name: mine\nkind: binary\nclasses: [a, b]\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError):
        get_task("")


@pytest.mark.parametrize("name", ["none.yaml", "none.yml", "folder/none"])
def test_a_path_that_is_not_there_is_called_a_missing_file(name: str) -> None:
    with pytest.raises(ConfigError, match="no such file") as caught:
        get_task(name)
    assert not isinstance(caught.value, UnknownNameError)


def test_the_catalogue_is_light_to_import() -> None:
    heavy = ["torch", "numpy", "yaml", "pandas", "hydra", "marsbench.tasks.custom"]
    code = (
        "import json, sys, marsbench.tasks.catalog\n"
        f"print(json.dumps([m for m in {heavy!r} if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_a_name_longer_than_a_path_is_unknown() -> None:
    with pytest.raises(UnknownNameError):
        get_task("x" * 10_000)
    assert known_task("x" * 10_000) is None
