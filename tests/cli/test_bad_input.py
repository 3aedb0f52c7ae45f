"""Bad input: one message, exit code 2, nothing lost; full disks in processes of their own."""

import json
import os
import pickle
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from typer.testing import CliRunner

import marsbench
from marsbench.cli import app
from marsbench.tasks.kinds import Decode, Kind
from marsbench.tasks.spec import TaskSpec
from tests.fakes import make_spec, read_rows, write_folder, write_rows, write_spec
from tests.hub_data import zip_of
from tests.training.test_runner import WRITING

PAIRS = {"kind": Kind.BINARY, "classes": ("Change", "No change"), "decode": Decode.PAIR_LABEL}


@dataclass
class Place:
    """An empty working folder with data, a store with a finished run, and room for mischief.

    Attributes:
        path: The working folder.
        spec: A small task.
        data: Its folder.
    """

    path: Path
    spec: TaskSpec
    data: Path

    def image(self, name: str) -> Path:
        """Path of an image of the folder."""
        return next(self.data.rglob(name))

    def change_rows(self, change: Callable[[list[tuple[str, ...]]], object]) -> None:
        """Edit annotation.csv."""
        rows = read_rows(self.data / "annotation.csv")
        change(rows)
        write_rows(self.data / "annotation.csv", rows)

    def set_row(self, index: int, *, label: str | None = None, split: str | None = None) -> None:
        """Change a cell of annotation.csv."""

        def change(rows: list[tuple[str, ...]]) -> None:
            file_id, old_split, feature, old_label = rows[index]
            rows[index] = (file_id, split or old_split, feature, label or old_label)

        self.change_rows(change)


RUN = ["model=timm:test_resnet", "mode=scratch", "trainer.max_epochs=1", "workers=0"]
RUN += ["trainer.accelerator=cpu"]
TOY = ["run", "task=mb-toy", *RUN]

Setup = Callable[[Place], object]


@dataclass
class Case:
    """A bad input.

    Attributes:
        name: What is bad.
        words: The command line, without the program.
        says: What the one message has to name.
        setup: What to spoil first.
        task: How the task differs from the plain one.
        tmpfs: A folder of this many kilobytes is mounted at ``small``.
    """

    name: str
    words: list[str]
    says: list[str]
    setup: Setup = lambda place: None
    task: Mapping[str, object] | None = None
    tmpfs: int | None = None


def grey(*shape: int, dtype: type = np.uint8) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, shape).astype(dtype))


def empty_file(place: Place) -> None:
    place.image("val_0003.png").write_bytes(b"")


def cut_file(place: Place) -> None:
    path = place.image("val_0003.png")
    path.write_bytes(path.read_bytes()[:90])


def cut_archive(place: Place) -> None:
    whole = zip_of(place.data)
    (place.path / "cut.zip").write_bytes(whole[: len(whole) // 2])


def evil_archive(place: Place) -> None:
    with zipfile.ZipFile(place.path / "out.zip", "w") as archive:
        archive.writestr("../evil.txt", "x")


def web_page(place: Place) -> None:
    (place.path / "page.zip").write_text("<!DOCTYPE html><html>log in</html>")


def drop_split(place: Place) -> None:
    def change(rows: list[tuple[str, ...]]) -> None:
        rows[:] = [r for r in rows if r[1] != "test"]

    place.change_rows(change)


def drop_class_from_train(place: Place) -> None:
    def change(rows: list[tuple[str, ...]]) -> None:
        rows[:] = [r for r in rows if (r[1], r[3]) != ("train", "1")]

    place.change_rows(change)


def repeat_row(place: Place) -> None:
    place.change_rows(lambda rows: rows.append(rows[0]))


def one_column_less(place: Place) -> None:
    (place.data / "annotation.csv").write_text("file_id,split\na.png,train\n")


def publish_unknown_sample(place: Place) -> None:
    write_rows(place.data / "few_shot" / "2_shot.csv", [("gone.png", "train", "", "0")])


def other_models_checkpoint(place: Place) -> None:
    torch.save(timm.create_model("test_vit").state_dict(), place.path / "other.pth")


class Evil:
    """Writes a file when unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return Path.write_text, (Path("executed"), "owned")  # type: ignore[return-value]


def evil_pickle(place: Place) -> None:
    (place.path / "evil.pth").write_bytes(pickle.dumps({"weight": Evil()}))


def cut_checkpoint(place: Place) -> None:
    torch.save(timm.create_model("test_resnet").state_dict(), place.path / "cut.pth")
    content = (place.path / "cut.pth").read_bytes()
    (place.path / "cut.pth").write_bytes(content[: len(content) // 2])


def break_record(place: Place) -> None:
    path = next((place.path / "runs").rglob("record.json"))
    path.with_name("record.json").rename(path.with_name("whole.json"))
    path.write_text(path.with_name("whole.json").read_text()[:200])


def fill(place: Place) -> None:
    """Leave little of the small folder."""
    (place.path / "small" / "filler").write_bytes(bytes(2**20))


WEIGHTS = ["run", "task=mb-toy", "model=timm:test_resnet", "mode=frozen", "workers=0"]

CASES = [
    # Names and values.
    Case("unknown task", ["run", "task=frost", *RUN], ["task 'frost'", "frost_cls"]),
    Case("unknown model", [*TOY[:2], "model=vitt"], ["model 'vitt'", "vit"]),
    Case("unknown timm model", [*TOY[:2], "model=timm:resnt18"], ["resnt18"]),
    Case("unknown mode", [*TOY[:3], "mode=frozn"], ["mode 'frozn'", "frozen"]),
    Case("mode of other models", [*TOY[:3], "mode=zero_shot"], ["zero_shot", "api:NAME"]),
    Case("unknown key", [*TOY, "learning_rate=1"], ["key 'learning_rate'", "list keys"]),
    Case("key without its group", [*TOY, "lr=1"], ["'lr'", "optim.lr"]),
    Case("key twice", [*TOY, "seed=1", "seed=2"], ["'seed' is given twice"]),
    Case("no key=value", ["run", "frost_cls", "vit"], ["'frost_cls'", "key=value"]),
    Case("unknown choice of a group", [*TOY, "optim=sdg"], ["sdg", "sgd"]),
    Case("text for a number", [*TOY, "seed=many"], ["'seed' is 'many'", "a whole number"]),
    Case("number out of range", [*TOY, "optim.batch_size=0"], ["optim.batch_size", "at least 1"]),
    Case("NaN for a number", [*TOY, "optim.lr=nan"], ["optim.lr", "nan"]),
    Case("unknown subset", [*TOY, "subset=half"], ["subset 'half'", "partition_P"]),
    Case("unknown strategy", [*TOY, "imbalance=smote"], ["smote", "oversample"]),
    Case("nodes of a multiclass task", [*TOY, "outputs=1"], ["outputs=1", "binary"]),
    Case(
        "two nodes for one label",
        [*TOY, "loss=cross_entropy", "outputs=1"],
        ["cross_entropy", "outputs=2"],
        task={"kind": Kind.BINARY, "classes": ("yes", "no")},
    ),
    Case(
        "one label per sample",
        [*TOY, "loss=cross_entropy"],
        ["cross_entropy", "multilabel"],
        task={"kind": Kind.MULTILABEL},
    ),
    Case(
        "undersampling several labels",
        [*TOY, "imbalance=undersample"],
        ["imbalance=undersample", "loss_weight"],
        task={"kind": Kind.MULTILABEL},
    ),
    Case(
        "repeats that do not differ",
        [*TOY, "imbalance=oversample", "augment=none"],
        ["imbalance=oversample", "augment=d4"],
    ),
    Case("spectra that are not here", ["run", "task=ega_ms", *RUN], ["ega_ms", "metadata.csv"]),
    Case("spectra from a hub", ["run", "task=ega_ms", *RUN, "source=zenodo"], ["challenge's site"]),
    Case(
        "raster of other spectra",
        ["run", "task=gcms", *RUN, "source=demo", "raster=ega_benchmark"],
        ["raster=ega_benchmark", "gcms_benchmark"],
    ),
    Case("model of another kind", ["run", "task=frost_cls", "model=unet"], ["unet", "frost_cls"]),
    Case("detector without boxes", [*TOY[:2], "model=ssdlite"], ["ssdlite", "toy"]),
    Case("task that is not published", [*TOY, "source=zenodo"], ["toy", "Zenodo"]),
    Case("task on no hub", [*TOY, "source=huggingface"], ["toy", "hub_id"]),
    Case("revision of a folder", [*TOY, "revision=v1", "root=."], ["revision=v1", "huggingface"]),
    Case("device that is not there", [*TOY, "trainer.accelerator=tpu"], ["trainer.accelerator"]),
    # Folders and files.
    Case("missing folder", [*TOY, "root=nowhere"], ["root=nowhere", "not a folder"]),
    Case("no data", ["run", "task=frost_cls", *RUN], ["frost_cls", "data", "source=demo"]),
    Case("archive cut short", [*TOY, "root=cut.zip"], ["cut.zip"], cut_archive),
    Case("archive that leads out", [*TOY, "root=out.zip"], ["out.zip", "../evil"], evil_archive),
    Case("web page for an archive", [*TOY, "root=page.zip"], ["page.zip", "page"], web_page),
    Case("unknown kind of URL", [*TOY, "root=gopher://x/y"], ["gopher"]),
    Case("root for demo data", [*TOY, "source=demo", "root=."], ["source=demo", "root"]),
    Case(
        "demo data of no recipe", [*TOY, "source=demo"], ["Task toy has no demo data", "frost_cls"]
    ),
    Case("missing task file", ["run", "task=./mine.yaml", *RUN], ["mine.yaml"]),
    Case(
        "task file with mistakes",
        ["run", "task=bad.yaml", *RUN],
        ["bad.yaml", "kind", "classes"],
        lambda p: (p.path / "bad.yaml").write_text("name: mine\nkind: colour\n"),
    ),
    Case(
        "task file that is none",
        ["run", "task=bad.yaml", *RUN],
        ["bad.yaml"],
        lambda p: (p.path / "bad.yaml").write_text("{name: [mine"),
    ),
    Case(
        "row without its file",
        TOY,
        ["annotation.csv", "val_0003.png"],
        lambda p: p.image("val_0003.png").unlink(),
    ),
    Case("image of no bytes", TOY, ["val_0003.png", "0 bytes"], empty_file),
    Case("truncated image", TOY, ["val_0003.png", "damaged"], cut_file),
    Case(
        "file that is no image",
        TOY,
        ["val_0003.png", "no known image format"],
        lambda p: p.image("val_0003.png").write_text("<html>404</html>"),
    ),
    Case(
        "image of another size",
        TOY,
        ["val_0003.png", "20 x 24", "32 x 32"],
        lambda p: grey(20, 24).save(p.image("val_0003.png")),
        {"image_size": (32, 32)},
    ),
    Case(
        "image of another mode",
        TOY,
        ["val_0003.png", "3 bands of different values"],
        lambda p: grey(32, 32, 3).save(p.image("val_0003.png")),
    ),
    Case(
        "image in CMYK",
        TOY,
        ["val_0003.png", "CMYK"],
        lambda p: grey(32, 32, 3).convert("CMYK").save(p.image("val_0003.png"), "JPEG"),
    ),
    Case(
        "pair without its second image",
        TOY,
        ["val_0003_after.png"],
        lambda p: p.image("val_0003_after.png").unlink(),
        PAIRS,
    ),
    Case(
        "pair of two sizes",
        TOY,
        ["val_0003_before.png", "val_0003_after.png", "20 x 24"],
        lambda p: grey(20, 24).save(p.image("val_0003_after.png")),
        PAIRS,
    ),
    # The index.
    Case("label outside the classes", TOY, ["line 6", "'7'"], lambda p: p.set_row(4, label="7")),
    Case("label that is none", TOY, ["line 6", "mesa"], lambda p: p.set_row(4, label="mesa")),
    Case("unknown split", TOY, ["line 6", "testing"], lambda p: p.set_row(4, split="testing")),
    Case("row twice", TOY, ["train_0000.png", "twice"], repeat_row),
    Case("missing column", TOY, ["annotation.csv", "label"], one_column_less),
    Case("missing split", TOY, ["annotation.csv", "test"], drop_split),
    Case("class without train samples", TOY, ["no train sample of: dune"], drop_class_from_train),
    Case(
        "mapping that contradicts the task",
        TOY,
        ["mapping.json", "spider", "dune"],
        lambda p: (p.data / "mapping.json").write_text('{"0":"plain","1":"spider","2":"crater"}'),
    ),
    Case("missing mapping", TOY, ["mapping.json"], lambda p: (p.data / "mapping.json").unlink()),
    Case(
        "mapping that is no JSON",
        TOY,
        ["mapping.json", "JSON"],
        lambda p: (p.data / "mapping.json").write_text("{"),
    ),
    Case("few-shot larger than a class", [*TOY, "subset=few_shot_20"], ["(8)", "few_shot_8"]),
    Case("partition of no sample", [*TOY, "subset=partition_0.01"], ["partition_0.05"]),
    Case(
        "published subset of unknown samples",
        [*TOY, "subset=few_shot_2"],
        ["few_shot_2", "gone.png"],
        publish_unknown_sample,
    ),
    # Weights.
    Case("no weights to be had", WEIGHTS, ["timm:test_resnet"]),
    Case("weights that are not there", [*WEIGHTS, "weights=no.pth"], ["no.pth", "No such file"]),
    Case(
        "checkpoint of another model",
        [*WEIGHTS, "weights=other.pth"],
        ["other.pth", "another model"],
        other_models_checkpoint,
    ),
    Case("malicious pickle", [*WEIGHTS, "weights=evil.pth"], ["evil.pth", "refused"], evil_pickle),
    Case("cut checkpoint", [*WEIGHTS, "weights=cut.pth"], ["cut.pth"], cut_checkpoint),
    # Training and writing.
    Case("loss that is NaN", [*TOY, "optim.lr=1e30", "optim=sgd"], ["loss became", "optim.lr"]),
    Case(
        "store that is a file",
        [*TOY, "store=full"],
        ["full", "store=FOLDER"],
        lambda p: (p.path / "full").write_text(""),
    ),
    Case("store that cannot be written", [*TOY, "store=/proc/runs"], ["/proc/runs", "store="]),
    Case(
        "disk full while training",
        [*TOY, "store=small"],
        ["small", "Free space"],
        fill,
        tmpfs=1100,
    ),
    Case(
        "disk full while decoding",
        [*TOY, "seed=1"],
        ["small", "MARSBENCH_HOME"],
        fill,
        tmpfs=1040,
    ),
    Case("half-written record", [*TOY[:2], *RUN], ["record.json", "run it again"], break_record),
    # Other commands.
    Case("no store", ["results", "nowhere"], ["nowhere"]),
    Case("unknown task of results", ["results", "runs", "--task", "tooy"], ["tooy", "toy"]),
    Case("picture nowhere", ["data", "info", "mb-toy", "--samples", "no/x.png"], ["no/x.png"]),
    Case("unknown key of data", ["data", "info", "mb-toy", "size=x"], ["size", "x"]),
    Case("verify", ["data", "verify", "mb-toy"], ["val_0003.png"], empty_file),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one finished run of the plain task."""
    folder = write_folder(make_spec(), tmp_path_factory.mktemp("data"))
    task = write_spec(make_spec(), folder / "task.yaml")
    store = tmp_path_factory.mktemp("finished") / "runs"
    keys: dict[str, Any] = dict(word.split("=") for word in RUN)
    marsbench.run(task=str(task), store=str(store), **keys)
    return store


@contextmanager
def mounted(folder: Path, kilobytes: int | None) -> Iterator[None]:
    """A small file system of its own."""
    if kilobytes is None:
        yield
        return
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input(
    case: Case,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    spec = make_spec(**(case.task or {}))  # type: ignore[arg-type]
    data = write_folder(spec, tmp_path)
    write_spec(spec, data / "task.yaml")
    shutil.copytree(finished, tmp_path / "runs")
    home = "small" if case.name == "disk full while decoding" else "home"
    monkeypatch.setenv("MARSBENCH_HOME", str(tmp_path / home))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.chdir(tmp_path)
    with mounted(tmp_path / "small", case.tmpfs):
        case.setup(Place(tmp_path, spec, data))
        before = contents(tmp_path / "runs")
        python = None if case.tmpfs is None else request.getfixturevalue("python")
        code, stdout, stderr = call(case.words, python)
    said = stderr + (stdout if case.words[:2] == ["data", "verify"] else "")
    assert code == 2, said
    assert "Traceback" not in said
    assert said.count("Error:") == (0 if case.words[:2] == ["data", "verify"] else 1)
    for word in case.says:
        assert word in said, f"{word!r} is not in: {said}"
    after = contents(tmp_path / "runs")
    assert before.items() <= after.items()
    assert not (tmp_path / "executed").exists()


def call(words: list[str], python: str | None) -> tuple[int, str, str]:
    """Carry out a command, here or in a process; returns its exit code and standard streams."""
    if python is None:
        result = CliRunner().invoke(app, words)
        return result.exit_code, result.stdout, result.stderr
    command = [python, "-m", "marsbench", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def test_the_list_is_long_enough() -> None:
    assert len(CASES) >= 40
    assert len({case.name for case in CASES}) == len(CASES)


def test_a_run_stopped_by_a_full_disk_goes_on_when_there_is_room(
    tmp_path: Path, python: str
) -> None:
    spec = make_spec()
    data = write_folder(spec, tmp_path)
    write_spec(spec, data / "task.yaml")
    command = [python, "-c", WRITING, *TOY, "store=small", "trainer.max_epochs=3"]
    command.remove("trainer.max_epochs=1")
    environment = {**os.environ, "MARSBENCH_HOME": str(tmp_path / "home")}
    small = tmp_path / "small"
    with mounted(small, 40 * 1024):
        filler = small / "filler"
        filler.write_bytes(bytes(37 * 2**20))
        first = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert first.returncode == 2, first.stderr
        assert "Free space" in first.stderr
        filler.unlink()
        second = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert second.returncode == 0, second.stderr
        assert json.loads(second.stdout)["status"] == "done"


def test_a_sweep_on_a_full_disk_continues_later(tmp_path: Path, python: str) -> None:
    """The first run fits, the second does not."""
    data = write_folder(make_spec(), tmp_path)
    task = write_spec(make_spec(), data / "task.yaml")
    suite = tmp_path / "suite.yaml"
    grid = {"name": "g", "task": [str(task)], "model": ["timm:test_resnet"], "mode": "scratch"}
    keys = {"trainer.max_epochs": 1, "optim.batch_size": 8, "workers": 0}
    grids = [{**grid, "seed": [0, 1]}]
    suite.write_text(json.dumps({"description": "x", "set": keys, "grids": grids}))
    small = tmp_path / "small"
    environment = {**os.environ, "MARSBENCH_HOME": str(tmp_path / "home")}

    def call(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [python, "-m", "marsbench", *words]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )

    sweep = ["sweep", f"suite={suite}", "launcher.jobs=1", f"store={small / 'runs'}"]
    with mounted(small, 40 * 1024):
        assert call(*sweep, "seed=0").returncode == 0
        (record,) = small.rglob("record.json")
        filler = small / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(small).free - 300_000))
        full = call(*sweep)
        assert full.returncode == 2, full.stderr
        assert full.stderr.count("Error: The disk is full, or a quota is exceeded") == 1
        summary = json.loads(full.stdout)
        assert (summary["done"], summary["failed"], summary["left"]) == (1, 0, 1)
        assert not list(small.rglob("failed.json"))
        with filler.open("ab") as file:
            file.write(bytes(shutil.disk_usage(small).free - 8192))
        report = call("report", str(small / "runs"), "--out", str(small / "report"))
        assert report.returncode == 2
        assert report.stderr.count("Error:") == 1
        assert "Traceback" not in report.stderr
        assert "No space left on device" in report.stderr
        filler.unlink()
        again = call(*sweep)
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout)["done"] == 2
        assert record.exists()
