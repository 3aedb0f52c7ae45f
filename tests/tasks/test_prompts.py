"""Words of classes: shipped files, defaults from the catalogue, and files of users."""

import re
from pathlib import Path

import pytest

from marsbench.base.errors import ConfigError
from marsbench.tasks.catalog import TASKS
from marsbench.tasks.kinds import Kind
from marsbench.tasks.prompts import digest_of, prompts_of
from marsbench.tasks.spec import BACKGROUND, ClassInfo, Platform, TaskSpec

FOLDER = Path(__file__).parents[2] / "configs" / "prompt"
FILES = {file.stem: file for file in FOLDER.glob("*.yaml")}

MINE = TaskSpec(
    name="mine",
    kind=Kind.MULTICLASS,
    classes=(
        ClassInfo("open_vent", "A hole in the ground.", ("ove",)),
        ClassInfo("Lava flow"),
        ClassInfo("dust", "Bright."),
    ),
    path=Path("/nowhere/mine.yaml"),
)


def write(folder: Path, text: str) -> Path:
    path = folder / "words.yaml"
    path.write_text(text)
    return path


def named(task: TaskSpec) -> list[str]:
    return [name for name in task.class_names if name != BACKGROUND]


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_every_class_of_the_catalogue_has_words(task: TaskSpec) -> None:
    prompts = prompts_of(task, named(task))
    texts, absent = prompts.texts(), prompts.absent_texts()
    assert len(texts) == len(absent) == len(named(task))
    assert len({row[0] for row in texts}) == len(texts)
    # CLIP reads 77 tokens, about three for two words; what comes later is lost.
    assert all(len(text.split()) <= 40 for row in texts + absent for text in row)
    is_of_images = not task.is_spectra and task.kind is not Kind.DETECTION
    assert (task.name in FILES) == is_of_images
    infos = [info for info in task.classes if info.name != BACKGROUND]
    for info, words in zip(infos, prompts.classes, strict=True):
        assert words.description == info.description
        assert words.phrase != info.description
        assert ("(" in words.phrase) != is_of_images, "a phrase of the file, else the default"


def test_every_file_is_of_a_task_and_every_view_of_a_platform() -> None:
    assert set(FILES) <= set(TASKS)
    views = {file.stem for file in (FOLDER / "views").glob("*.yaml")}
    assert views == {*Platform, "pair"}


def test_templates_follow_the_platform() -> None:
    for name, words in {
        "frost_cls": "orbital image",
        "surface_cls": "rover",
        "change_cls_ctx": "blue and green",
    }.items():
        task = TASKS[name]
        assert words in prompts_of(task, task.class_names).templates[0]


def test_classes_keep_the_order_of_the_data() -> None:
    task = TASKS["frost_cls"]
    names = list(reversed(task.class_names))
    assert [c.name for c in prompts_of(task, names).classes] == names
    assert prompts_of(task, names).texts() == prompts_of(task, task.class_names).texts()[::-1]


def test_defaults_are_the_names_and_descriptions() -> None:
    phrases = [c.phrase for c in prompts_of(MINE, MINE.class_names).classes]
    assert phrases == ["open vent (a hole in the ground)", "Lava flow", "dust (bright)"]


def test_a_file_of_the_users_own(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "templates: ['{} on Mars']\n"
        "phrases: {ove: 'a {x} vent', LAVA_FLOW: a flow}\n"
        "descriptions: {dust: Fine dust.}\n",
    )
    prompts = prompts_of(MINE, MINE.class_names, path)
    assert prompts.texts() == [
        ["a {x} vent on Mars"],
        ["a flow on Mars"],
        ["dust (fine dust) on Mars"],
    ]
    assert [c.description for c in prompts.classes] == ["A hole in the ground.", "", "Fine dust."]
    assert prompts.absent == prompts_of(MINE, MINE.class_names).absent
    assert digest_of(prompts.texts()) != digest_of(prompts_of(MINE, MINE.class_names).texts())


def test_a_file_completes_the_task_that_it_is_like(tmp_path: Path) -> None:
    path = write(tmp_path, "like: frost_cls\nphrases: {frost: ice}\n")
    task = TASKS["frost_cls"]
    shipped, mine = (prompts_of(task, task.class_names, p) for p in (None, path))
    assert [c.phrase for c in mine.classes] == ["ice", shipped.classes[1].phrase]
    # Phrases of classes that the task does not have are left out.
    assert [
        c.phrase for c in prompts_of(MINE, ["dust"], write(tmp_path, "like: frost_cls")).classes
    ]


def test_a_class_named_by_a_code_needs_words(tmp_path: Path) -> None:
    task = TASKS["domars16k"]
    names = ["ael", *task.class_names[1:]]
    with pytest.raises(ConfigError, match=r"by its code alone, 'ael'[^$]*phrases: {ael: PHRASE}"):
        prompts_of(task, names)
    path = write(tmp_path, "like: domars16k\nphrases: {ael: straight dunes}\n")
    assert prompts_of(task, names, path).classes[0].phrase == "straight dunes"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a, b]", "The file is"),
        ("", "The file is empty"),
        ("phrase: {dust: a}", "Unknown key 'phrase'. Did you mean phrases?"),
        ("phrases: {dunes: a}", "'phrases': Unknown class 'dunes'"),
        ("descriptions: {dunes: a}", "'descriptions': Unknown class 'dunes'"),
        ("phrases: {ove: a, open vent: b}", "'ove' and 'open vent' are the same class"),
        ("phrases:\n  dust: a\n  dust: b", "'phrases.dust' is given twice"),
        ("like: a\nlike: b", "'like' is given twice"),
        ("like: frost", "'like': Unknown task 'frost'. Did you mean frost_cls?"),
        ("like: ../tasks/mixed_craters", "'like': Unknown task"),
        ("templates: [a dune]", "text in one line with one {}"),
        ("templates: ['{} and {}']", "text in one line with one {}"),
        ("templates: ['{0.__class__} {}']", "text in one line with one {}"),
        ("absent: {}", "expected a list"),
        ('phrases: {dust: "a\\nb"}', "text in one line"),
        ("phrases: {dust: ' '}", "text in one line"),
        (f"phrases: {{dust: {'a' * 201}}}", "up to 200 characters"),
        ("phrases: {dust: 3}", "put numbers and dates in quotes"),
        ("phrases: {dust: !!python/name:os.system }", "not valid YAML"),
    ],
)
def test_invalid_files(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=re.escape(message)):
        prompts_of(MINE, MINE.class_names, path)


def test_all_problems_of_a_file_are_listed(tmp_path: Path) -> None:
    path = write(tmp_path, "templates: [a]\nphrases: {dust: ''}\nmore: 1\n")
    with pytest.raises(ConfigError) as caught:
        prompts_of(MINE, MINE.class_names, path)
    assert str(caught.value).count("\n- ") == 3


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        prompts_of(MINE, MINE.class_names, tmp_path / "missing.yaml")
