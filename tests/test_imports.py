"""The import rules of docs/architecture.md, walked."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import marsbench

PACKAGE = Path(marsbench.__file__).parent

PLAIN = {
    "__version__",
    "kinds",
    "config",
    "identity",
    "errors",
    "paths",
    "data.spec",
    "data.catalog",
    "data.tables",
}
PLAIN |= {"models.spec", "models.zoo", "results.record"}

# Part -> parts of ours it may import; `PLAIN` is open to every part.
ALLOWED = {
    "kinds": set(),
    "errors": set(),
    "paths": set(),
    "progress": set(),
    "files": {"errors"},
    "environment": set(),
    "config": {"errors", "config_values"},
    "identity": {"config"},
    "metrics": {"kinds", "errors"},
    "metrics_segmentation": {"data"},
    "metrics_detection": {"data"},
    "key_notes": {"config"},
    "hparams": {"config_values"},
    "data": {"data", "demo", "spectra", "progress", "environment"},
    "demo": {"demo", "spectra"},
    "spectra": {"spectra"},
    "config_values": {"errors"},
    "models": {"models", "progress", "environment"},
    "predict": {
        "predict",
        "data",
        "models",
        "results",
        "training",
        "environment",
        "files",
        "progress",
    },
    "report": {
        "report",
        "results",
        "metrics",
        "metrics_segmentation",
        "progress",
        "environment",
    },
    "results": {"results"},
    "doctor": {"data", "environment"},
    "ensemble": {"data", "ensemble_weights", "results", "metrics", "environment"},
    "ensemble_weights": {"data"},
    "submissions": {"data", "metrics", "results", "spectra", "training", "progress"},
    "sweep": {
        "sweep",
        "config_values",
        "data",
        "environment",
        "hparams",
        "plan",
        "plan_choices",
        "progress",
        "results",
        "training",  # in the functions of a worker alone
    },
    "plan": {"data", "models", "files", "plan_choices"},
    "plan_choices": {"data", "models", "spectra"},
    "training": {
        "training",
        "data",
        "models",
        "metrics",
        "results",
        "plan",
        "plan_choices",
        "spectra",
        "progress",
        "environment",
        "metrics_segmentation",
        "metrics_detection",
        "ensemble_weights",
    },
}
ANYTHING = {"api", "cli", "__init__", "__main__"}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE).with_suffix("")
        yield ".".join(p for p in relative.parts if p != "__init__") or "__init__", path


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    ("name", "path"), list(modules()), ids=lambda v: v if isinstance(v, str) else ""
)
def test_parts_import_only_what_they_may(name: str, path: Path) -> None:
    part = name.partition(".")[0]
    if part in ANYTHING:
        return
    for imported in imports_of(path):
        if not imported.startswith("marsbench."):
            continue
        target = imported.removeprefix("marsbench.")
        if any(target == plain or target.startswith(f"{plain}.") for plain in PLAIN):
            continue
        assert target.partition(".")[0] in ALLOWED[part], f"{name} imports {imported}"


def test_only_the_command_line_imports_hydra() -> None:
    for name, path in modules():
        if not name.startswith("cli"):
            assert not any(i.startswith(("hydra", "omegaconf")) for i in imports_of(path)), name


HEAVY = ("torch", "hydra", "pandas", "matplotlib", "sklearn", "timm")


@pytest.mark.parametrize(
    "code",
    [
        "import marsbench",
        "import sys; sys.argv = ['marsbench', '--help']; from marsbench.cli import main; main()",
        (
            "import sys; sys.argv = ['marsbench', 'list', 'tasks']\n"
            "from marsbench.cli import main; main()"
        ),
        (
            "import sys; sys.argv = ['marsbench', 'list', 'models']\n"
            "from marsbench.cli import main; main()"
        ),
        "import marsbench.plan.resolve",
    ],
    ids=["import", "help", "tasks", "models", "plan"],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    check = (
        "import atexit, sys\n"
        f"atexit.register(lambda: sys.stderr.write(' '.join(m for m in {HEAVY} "
        "if m in sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", check + code], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == ""


def test_unknown_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        marsbench.nothing  # noqa: B018
    assert set(dir(marsbench)) >= {"run", "load_dataset", "load_records"}
