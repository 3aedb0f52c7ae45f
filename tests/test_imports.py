"""The import rules of docs/architecture.md, walked."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import marsbench

PACKAGE = Path(marsbench.__file__).parent

FLOORS = (
    {"base"},
    {"tasks"},
    {"config", "metrics", "spectra"},
    {"demo"},
    {"data", "models"},
    {"plan", "results"},
    {"training"},
    {"predict"},
    {"evaluate"},
    {"sweep"},
    {"report"},
    {"leaderboard"},
    {"api", "doctor"},
    {"cli"},
    {"__init__", "__main__"},
)
"""Folders from the ground up; one imports itself and the floors below, never a neighbour."""


@cache
def modules() -> dict[str, Path]:
    paths = {p.relative_to(PACKAGE.parent).with_suffix(""): p for p in PACKAGE.rglob("*.py")}
    return {".".join(p for p in k.parts if p != "__init__"): v for k, v in sorted(paths.items())}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports_of(path: Path) -> Iterator[str]:
    """Modules that a file imports, those inside functions too; of a package the module taken."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                yield module if module in modules() else node.module


def floor(module: str) -> int:
    room = module.split(".")[1] if "." in module else "__init__"
    return next(i for i, rooms in enumerate(FLOORS) if room in rooms)


@cache
def graph() -> dict[str, set[str]]:
    known = modules()
    return {
        name: {i for i in imports_of(path) if i in known and i != "marsbench"}
        for name, path in known.items()
    }


def test_imports_go_down_only() -> None:
    for name, targets in graph().items():
        for target in targets:
            same_room = name.split(".")[1:2] == target.split(".")[1:2]
            assert same_room or floor(target) < floor(name), f"{name} imports {target}"


def test_nothing_imports_the_package_itself() -> None:
    for name, path in modules().items():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ImportFrom) and node.module == "marsbench":
                rooms = {path.stem for path in PACKAGE.iterdir()}
                assert all(alias.name in rooms for alias in node.names), name


def test_no_module_imports_itself_in_a_circle() -> None:
    TopologicalSorter(graph()).prepare()  # raises CycleError, which names the circle


def test_folders_explain_themselves() -> None:
    """At the top are entry points and folders; no file repeats its folder's or a sibling's word."""
    assert {p.stem for p in PACKAGE.glob("*.py")} == {"__init__", "__main__", "api", "doctor"}
    for path in modules().values():
        siblings = {p.stem for p in path.parent.iterdir()} - {path.stem} | {path.parent.name}
        words = path.stem.strip("_").split("_")
        prefixes = {"_".join(words[:i]) for i in range(1, len(words))}
        assert not prefixes & siblings, f"{path} repeats {prefixes & siblings}"


def test_only_the_command_line_imports_hydra() -> None:
    for name, path in modules().items():
        if not name.startswith("marsbench.cli"):
            assert not any(i.startswith(("hydra", "omegaconf")) for i in imports_of(path)), name


def test_modules_named_in_strings_exist() -> None:
    """Type checkers do not see code in strings, such as that of child processes."""
    top = PACKAGE.parent
    texts = [p for d in ("benchmarks", "docs", "scripts", "tests") for p in (top / d).rglob("*.*")]
    for path in texts:
        if path.suffix not in (".py", ".md", ".sh"):
            continue
        for module, name in re.findall(r"from (marsbench[\w.]*) import (\w+)", path.read_text()):
            source = modules().get(module)
            assert source is not None, f"{path.relative_to(top)} imports {module}"
            is_there = f"{module}.{name}" in modules() or name in source.read_text()
            assert is_there, f"{path.relative_to(top)} imports {name} from {module}"


HEAVY = ("torch", "hydra", "pandas", "matplotlib", "sklearn", "timm", "scipy")


def command(*words: str) -> str:
    return f"import sys; sys.argv = {['marsbench', *words]}; from marsbench.cli import main; main()"


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import marsbench", (*HEAVY, "numpy")),
        (command("--help"), (*HEAVY, "numpy")),
        (command("list", "tasks"), (*HEAVY, "numpy")),
        (command("list", "models"), (*HEAVY, "numpy")),
        ("import marsbench.plan.resolve, marsbench.config.notes, marsbench.results.record", HEAVY),
        # Wrong words are reported before torch is loaded.
        (command("predict", "nothing", __file__, "--out", "nowhere"), ("torch", "timm")),
    ],
    ids=["import", "help", "tasks", "models", "plan", "predict"],
)
def test_nothing_heavy_is_loaded(code: str, heavy: tuple[str, ...]) -> None:
    check = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('loaded:', *(m for m in {heavy} if m in sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", check + code], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == "loaded:", done.stderr
    assert done.returncode == (2 if "predict" in code else 0)


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        marsbench.nothing  # type: ignore[attr-defined]  # noqa: B018
    assert set(dir(marsbench)) >= {"run", "load_dataset", "load_records"}
