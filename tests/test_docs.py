"""What the documents show works as shown."""

import dataclasses
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch

import marsbench
from marsbench.cli.compose import compose
from marsbench.data.corruptions.table import CORRUPTIONS, Corruption
from marsbench.data.tools.verify.folder import verify_folder
from marsbench.tasks.custom import load_task
from tests.fakes import write_folder

TOP = Path(__file__).parents[1]
RUNS = re.findall(r"marsbench run ([^\n#`]*)", (TOP / "README.md").read_text())


def test_the_custom_task_of_the_docs(tmp_path: Path) -> None:
    text = (TOP / "docs" / "custom_task.md").read_text()
    example = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    (tmp_path / "task.yaml").write_text(example[1])
    spec = load_task(tmp_path)
    folder = write_folder(dataclasses.replace(spec, folder="my_rocks"), tmp_path)
    assert verify_folder(spec, folder).problems == []


def test_the_encoder_of_the_docs(toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five lines, executed; the weights of the hub are replaced by random ones."""
    import timm

    text = (TOP / "docs" / "own_encoder.md").read_text()
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert example is not None
    assert len([line for line in example[1].splitlines() if line]) == 5
    (tmp_path / "my_encoder.py").write_text(example[1])
    create = timm.create_model

    def without_hub(name: str, pretrained: bool, **options: Any) -> Any:
        torch.manual_seed(pretrained)
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", without_hub)
    record = marsbench.run(
        task=toy,
        model=str(tmp_path / "my_encoder.py"),
        store=str(tmp_path / "runs"),
        trainer={"max_epochs": 1},
        workers=0,
    )
    assert (record.model, record.mode) == ("own:my_encoder", "frozen")


@pytest.mark.parametrize("document", ["README.md", "docs/python.md"])
def test_python_of_the_docs(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Executed from top to bottom, with a smaller model and less data."""
    monkeypatch.chdir(tmp_path)
    text = (TOP / document).read_text().replace('"resnet18"', '"timm:test_resnet"')
    text = text.replace('source="demo",\n', 'source="demo", size=0.1,\n')
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, document, "exec"), names)
    assert isinstance(names["record"].score, float)
    assert len(names["table"]) > 0


@pytest.mark.parametrize("words", RUNS)
def test_every_run_of_the_readme_composes(words: str) -> None:
    # What was tuned is on the reader's machine.
    given = [w for w in shlex.split(words) if not w.startswith(("-", "hparams="))]
    compose(given)


def test_documents_that_are_linked_exist() -> None:
    for document in [*TOP.glob("*.md"), *(TOP / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name} links {link}"


@pytest.mark.parametrize("entry", CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_documents_list_every_corruption(entry: Corruption) -> None:
    text = (TOP / "docs" / "robustness.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith(f"| `{entry.name}` |")]
    _, _, title, parameters, source, _ = (cell.strip() for cell in line.split("|"))
    assert (title, source) == (entry.title, entry.source)
    for values in entry.parameters.values():
        assert ", ".join(f"{value:g}" for value in values) in parameters
