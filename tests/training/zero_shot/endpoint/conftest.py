"""Images and classes of a task behind a local endpoint."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from marsbench.tasks.kinds import Decode, Kind
from marsbench.training.zero_shot.endpoint import pace
from tests.fakes import make_spec, write_folder, write_spec
from tests.services.completions import KEY, Completions, Said

CLASSES = ("crater", "dune", "plain")


def named(number: int) -> str:
    """Answer with the classes in turn."""
    return f'{{"class": "{CLASSES[number % 3]}"}}'


def keys(task: str, store: Path, url: str, **more: Any) -> dict[str, Any]:
    fixed = {"model": "api:toy", "mode": "zero_shot", "api.base_url": url}
    return {"task": task, "store": str(store), **fixed, **more}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, no proxies, and short waits."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MARSBENCH_API_KEY", KEY)
    monkeypatch.setattr(pace, "FIRST_WAIT", 0.02)


@pytest.fixture
def endpoint() -> Iterator[Completions]:
    with Completions(named) as running:
        yield running


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Six test images of three classes."""
    return write(tmp_path_factory.mktemp("small"), 6)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Eight test images with masks."""
    names = ("background", *CLASSES[:2])
    facts: dict[str, Any] = {"name": "masked", "folder": "mb-masked", "decode": Decode.IMAGE_MASK}
    spec = make_spec(Kind.SEGMENTATION, names, **facts)
    folder = write_folder(spec, tmp_path_factory.mktemp("masked"), {"test": 8})
    return str(write_spec(spec, folder / "task.yaml"))


def write(folder: Path, count: int) -> str:
    """Write a task with `count` test images."""
    spec = make_spec(classes=CLASSES)
    place = write_folder(spec, folder, {"test": count})
    return str(write_spec(spec, place / "task.yaml"))


__all__ = ["CLASSES", "Said", "keys", "named", "write"]
