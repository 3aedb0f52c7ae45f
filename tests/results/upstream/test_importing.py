"""Result files of the Mars-Bench code base, as it writes them, become records."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from marsbench.base.errors import DataError, MarsbenchError
from marsbench.cli import app
from marsbench.cli.complete import results_words
from marsbench.report.study.cells import Trouble
from marsbench.report.study.scores import load_study
from marsbench.results.store import Store
from marsbench.results.upstream.importing import Imported, import_results

CLASSIFICATION = """\
run_id,model,dataset,training_type,number_of_samples,random_seed,model_checkpoint,test/loss,\
test/Accuracy_macro,test/Accuracy_weighted,test/AUROC_macro,test/F1Score_macro,\
test/F1Score_weighted,test_class/F1Score_ael
a_1,resnet101,domars16k,feature_extraction,-,0,ckpt_last,0.51,0.77,0.81,0.97,0.76,0.8,0.9
a_2,resnet101,domars16k,feature_extraction,-,1,ckpt_last,0.52,0.76,0.8,0.96,0.75,0.79,0.91
a_3,vit,frost_classification,transfer_learning,-,0,ckpt_last,0.1,0.98,0.98,0.99,0.97,0.97,
"""
SEGMENTATION = """\
run_id,model,dataset,training_type,number_of_samples,random_seed,model_checkpoint,test/acc,\
test/dice,test/iou,test/prec,test/rec
b_1,deeplab,mmls,scratch_training,-,42,ckpt_last,0.8,0.7,0.6,0.75,0.8
"""
DETECTION = """\
run_id,model,dataset,training_type,number_of_samples,random_seed,model_checkpoint,\
mean_average_precision,object_iou_mean,object_accuracy_mean,object_precision_mean,object_recall_mean
c_1,fasterrcnn,dust_devil_detection,transfer_learning,-,10,ckpt_last,0.412345,0.7,0.5,0.6,0.55
"""
FEW_SHOT = """\
model,dataset,seed,test metric,training_type,few_shot
ViT-L/16,mb-domars16k,0,0.41,feature_extraction,5
ViT-L/16,mb-domars16k,0,0.61,feature_extraction,10.0
"""
PARTITION = """\
model,dataset,seed,test metric,training_type,partition name
SwinV2-B,mb-frost_cls,0,0.91,feature_extraction,0.1
SwinV2-B,mb-frost_cls,0,0.95,feature_extraction,1.0
"""
EARTH = """\
seed,model,dataset,partition name,test metric
42,SatMAE_ViT-L/16,mb-frost_cls,0.05,0.81
42,ViT-L/16,mb-frost_cls,1.00x train,0.97
"""


def bring(folder: Path, *texts: str, **options: object) -> Imported:
    """Import files of these texts."""
    files = []
    for number, text in enumerate(texts):
        files.append(folder / f"results_{number}.csv")
        files[-1].write_text(text)
    return import_results(files, folder / "runs", **options)  # type: ignore[arg-type]


def test_what_its_tests_write(tmp_path: Path) -> None:
    done = bring(tmp_path, CLASSIFICATION, SEGMENTATION, DETECTION)
    records, bad = Store(tmp_path / "runs").records()
    assert bad == []
    found = {(r.task, r.model, r.mode, r.seed): (r.headline, r.score) for r in records}
    assert found == {
        ("domars16k", "resnet101", "frozen", 0): ("f1_weighted", 0.8),
        ("domars16k", "resnet101", "frozen", 1): ("f1_weighted", 0.79),
        ("frost_cls", "vit_l_16", "finetune", 0): ("f1_positive", 0.97),
        ("mmls", "deeplabv3plus", "scratch", 42): ("iou_per_image", 0.6),
        ("dust_devil_det", "faster_rcnn", "finetune", 10): ("map", 0.412345),
    }
    first = next(r for r in records if r.seed == 1)
    assert first.metrics["test"] == {
        "f1_weighted": 0.79,
        "f1_macro": 0.75,
        "accuracy": 0.8,
        "auroc": 0.96,
    }
    assert (first.record_type, first.protocol) == ("imported", "upstream")
    # Whatever average its name says, the F1 of a binary task is that of class 1.
    binary = next(r for r in records if r.kind == "binary")
    assert binary.metrics["test"] == {"f1_positive": 0.97, "accuracy": 0.98, "auroc": 0.99}
    origin = first.data["imported"]
    assert (origin["file"], origin["line"], len(origin["sha256"])) == ("results_0.csv", 3, 64)
    assert origin["row"]["run_id"] == "a_2"
    assert any("class 1" in note for note in done.notes)
    assert any("mean over images" in note for note in done.notes)
    assert "object_iou_mean" in done.notes[-1]


def test_tables_of_its_figures(tmp_path: Path) -> None:
    rename = {"SatMAE_ViT-L/16": "mae_of_mine"}
    bring(tmp_path, FEW_SHOT, PARTITION)
    bring(tmp_path, EARTH, mode="frozen", rename=rename)
    records, _ = Store(tmp_path / "runs").records()
    assert {(r.task, r.model, r.subset, r.score) for r in records} == {
        ("domars16k", "vit_l_16", "few_shot_5", 0.41),
        ("domars16k", "vit_l_16", "few_shot_10", 0.61),
        ("frost_cls", "swinv2_b", "partition_0.10", 0.91),
        ("frost_cls", "swinv2_b", "full", 0.95),
        ("frost_cls", "mae_of_mine", "partition_0.05", 0.81),
        ("frost_cls", "vit_l_16", "full", 0.97),
    }


def test_again_is_nothing_new(tmp_path: Path) -> None:
    assert len(bring(tmp_path, CLASSIFICATION).records) == 3
    again = bring(tmp_path, CLASSIFICATION)
    assert (again.records, again.existing) == ([], 3)
    with pytest.raises(DataError, match="other scores of domars16k/resnet101"):
        bring(tmp_path, CLASSIFICATION.replace("0.75,0.79", "0.75,0.78"))


def test_percent(tmp_path: Path) -> None:
    text = PARTITION.replace("0.91", "91.0").replace("0.95", "2.5")
    with pytest.raises(DataError, match="2 scores are above 1") as caught:
        bring(tmp_path, text)
    assert "--percent" in caught.value.remedy
    bring(tmp_path, text, percent=True)
    scores = [r.score for r in Store(tmp_path / "runs").records()[0]]
    assert scores == [pytest.approx(0.025), pytest.approx(0.91)]
    with pytest.raises(DataError, match="expected scores in percent"):
        bring(tmp_path, PARTITION, percent=True)


def test_fractions_among_percent_are_refused(tmp_path: Path) -> None:
    text = PARTITION.replace("0.91", "90").replace("0.95", "0.9")
    with pytest.raises(DataError) as caught:
        bring(tmp_path, text, percent=True)
    for words in ("line 3: test metric is 0.9.", "Expected percent", "without --percent"):
        assert words in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_rows_without_a_score_are_left_out(tmp_path: Path) -> None:
    done = bring(
        tmp_path,
        PARTITION.replace("0.91", ""),
        SEGMENTATION.replace("0.8,0.7,0.6,0.75,0.8", ",,,,"),
    )
    assert [record.subset for record in done.records] == ["full"]
    assert done.empty == [f"{tmp_path}/results_0.csv, line 2", f"{tmp_path}/results_1.csv, line 2"]
    # A row with another score alone says nothing of the headline.
    with pytest.raises(DataError, match="iou_per_image of mmls, a task of segmentation, is miss"):
        bring(tmp_path, SEGMENTATION.replace("0.7,0.6", "0.7,"))


def test_repeated_rows_are_one_run(tmp_path: Path) -> None:
    """The files repeat runs, and print them with up to one digit less."""
    full = PARTITION.replace("0.95", "0.47805681824684143")
    again = PARTITION.replace("0.95", "0.4780568182468414").replace(
        "extraction,0.1", "extraction,0.2"
    )
    done = bring(tmp_path, full, again, full)
    assert (len(done.records), done.existing, done.repeated) == (3, 0, 3)
    score = next(r.score for r in done.records if r.subset == "full")
    assert score == 0.47805681824684143
    # Also of a run in the store.
    done = bring(tmp_path, again)
    assert (done.records, done.existing, done.repeated) == ([], 2, 0)


def test_all_unequal_rows_of_a_run_are_listed(tmp_path: Path) -> None:
    lines = [f"SwinV2-B,mb-frost_cls,{seed},0.5,feature_extraction,0.1" for seed in range(9)]
    first = "\n".join([PARTITION.splitlines()[0], *lines])
    with pytest.raises(DataError, match="second run of frost_cls swinv2_b") as caught:
        bring(tmp_path, first, first.replace("0.5,", "0.50001,"))
    text = str(caught.value)
    assert "results_1.csv, line 2: a second run" in text
    assert "the first is" in text
    assert "and 4 more" in text
    assert len(text.splitlines()) == 7
    assert not (tmp_path / "runs").exists()


def test_earth_observation_models(tmp_path: Path) -> None:
    """Every row says seed 42: rows are numbered, and more than seven are another series."""
    header, first, vit = EARTH.splitlines()
    rows = [first.replace("0.81", f"0.{score}") for score in range(11, 20)]
    other = "42,CROMA_ViT-L/16,mb-frost_cls,0.05,0.11"
    done = bring(tmp_path, "\n".join([header, *rows[:4], vit, other, *rows[4:]]), mode="frozen")
    assert done.repeated == 0
    mine = [r for r in done.records if r.model == "satmae"]
    assert [(r.score, r.seed, r.identity.get("series", 1)) for r in mine] == [
        *zip(
            [0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 0.17],
            (0, 1, 10, 42, 123, 1000, 1234),
            [1] * 7,
            strict=True,
        ),
        (0.18, 0, 2),
        (0.19, 1, 2),
    ]
    # Their F1 is no F1 of class 1, unlike that of the other models.
    assert {(r.model, r.seed, r.headline) for r in done.records if r not in mine} == {
        ("croma", 0, "f1_weighted"),
        ("vit_l_16", 42, "f1_positive"),
    }
    assert {r.headline for r in mine} == {"f1_weighted"}
    assert any("one seed to all runs" in note for note in done.notes)
    assert sum("series" in note for note in done.notes) == 1
    # The same rows again are the same runs.
    again = bring(tmp_path, "\n".join([header, *rows]), mode="frozen")
    assert (again.records, again.existing) == ([], 9)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("mb-frost_cls,0,0.91", "mb-frost_clz,0,0.91", ["frost_clz", "frost_cls", "line 2"]),
        ("SwinV2-B,mb-frost_cls,0,0.91", "SwinV3-B,mb-frost_cls,0,0.91", ["SwinV3-B", "--rename"]),
        ("feature_extraction,0.1", "feature_extractoin,0.1", ["feature_extraction"]),
        ("feature_extraction,0.1", "feature_extraction,half", ["half", "0.01 to 1"]),
        ("feature_extraction,0.1", "feature_extraction,0.123", ["0.123"]),
        (",0,0.91", ",zero,0.91", ["'seed' is 'zero'"]),
        (",0,0.91", ",0.5,0.91", ["'seed' is '0.5'"]),
        ("0.91", "nan", ["'nan'; expected a number from 0 to 100"]),
        ("0.91", "-0.1", ["expected a number from 0 to 100"]),
        ("0.91", "much", ["'scores.test metric' is 'much'"]),
        ("extraction,0.1", "extraction,1", ["second run", "line 2", "Keep one row"]),
        ("extraction,0.1", "extraction,0.1,7", ["7 cells", "6"]),
        ("seed", "sed", ["is missing the columns random_seed"]),
        ("test metric", "metric", ["test metric"]),
        ("training_type", "training", ["training_type", "--mode"]),
        ("partition name", "seed", ["column seed twice"]),
    ],
)
def test_bad_files(tmp_path: Path, old: str, new: str, words: list[str]) -> None:
    with pytest.raises(MarsbenchError) as caught:
        bring(tmp_path, PARTITION.replace(old, new, 1))
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace("SwinV2-B", '"SwinV2-B"').replace(",0.1\n", ',"0.1"\n'),
        lambda text: text.replace("seed", "note,seed").replace(",0,", ',"a, ""b""\n",0,'),
        lambda text: text + "\n,,,,,\n",
    ],
    ids=["mark", "windows", "mac", "quotes", "quoted_commas", "empty_lines"],
)
def test_files_of_spreadsheets(tmp_path: Path, change: Callable[[str], str]) -> None:
    file = tmp_path / "results.csv"
    file.write_bytes(change(PARTITION).encode())
    done = import_results([file], tmp_path / "runs")
    scores = {record.subset: record.score for record in done.records}
    assert scores == {"partition_0.10": 0.91, "full": 0.95}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (PARTITION.replace(",", ";").encode(), "separates its columns by ';'; expected commas"),
        (PARTITION.replace(",", "\t").encode(), r"separates its columns by '\\t'"),
        (PARTITION.encode("utf-16"), "cannot be read: 'utf-8' codec"),
        (b"\xef\xbb\xbf", "is missing the columns .* it has none"),
        (b"\n\n", "is missing the columns .* it has none"),
        (b'a,"b\n' + b"x" * 200_000, "cannot be read: field larger than field limit"),
        (PARTITION.replace("seed", "SEED").encode(), "is missing the columns random_seed"),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "results.csv"
    file.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        import_results([file], tmp_path / "runs")


def test_all_or_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"results_1.csv, line 2.*\n.*line 3") as caught:
        bring(tmp_path, CLASSIFICATION, CLASSIFICATION.replace("resnet101", "resnet102"))
    assert "resnet101" in caught.value.remedy
    assert not (tmp_path / "runs").exists()


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv cannot be read: No such file"):
        import_results([tmp_path / "nowhere.csv"], tmp_path / "runs")
    (tmp_path / "picture.csv").write_bytes(b"\x89PNG\xff")
    with pytest.raises(DataError, match="cannot be read"):
        import_results([tmp_path / "picture.csv"], tmp_path / "runs")
    with pytest.raises(DataError, match="it has none"):
        bring(tmp_path, "")


def test_command_and_what_reads_records(tmp_path: Path) -> None:
    file, store = tmp_path / "benchmark_classification_results.csv", tmp_path / "runs"
    file.write_text(CLASSIFICATION)
    done = CliRunner().invoke(app, ["results", "import", str(file), "--store", str(store)])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1]) == {
        "records": 3,
        "there_before": 0,
        "repeated": 0,
        "without_score": 0,
        "store": str(store),
    }
    listed = CliRunner().invoke(app, ["results", str(store), "--task", "frost_cls"])
    (row,) = [json.loads(line) for line in listed.stdout.splitlines()]
    assert (row["test"], row["train s"]) == (0.97, None)
    frame, _ = Store(store).table()
    assert set(frame["record_type"]) == {"imported"}
    study = load_study(store)
    assert {key.protocol for key in study.groups} == {"upstream"}
    (told,) = (p for p in study.problems if "F1 of imported records" in p.message)
    assert (told.trouble, "(1 run of frost_cls)" in told.message) == (Trouble.NOTE, True)
    assert told.run_ids == (row["run_id"],)
    wrong = CliRunner().invoke(
        app, ["results", "import", str(file), "--store", str(store), "--rename", "x"]
    )
    assert wrong.exit_code == 2


def test_completion_offers_the_commands_once_begun() -> None:
    assert [word for word, _ in results_words("im")] == ["import"]
    assert results_words("") == results_words("ru") == []  # the shell completes folders
