"""Launchers and their settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Protocol, TypedDict

from marsbench.base import lazy, paths
from marsbench.base.documents import read_yaml
from marsbench.base.errors import ConfigError, unknown_name
from marsbench.base.paths import expanded
from marsbench.base.values import Limit, Problem, build

LAUNCHERS = {
    "local": "marsbench.sweep.launchers.local:LocalLauncher",
    "slurm": "marsbench.sweep.launchers.slurm:SlurmLauncher",
    "ray": "marsbench.sweep.launchers.ray:RayLauncher",
}
"""Launcher classes by name, imported on use since each needs packages of its own."""

AUTO = "auto"

Count = Annotated[int, Limit(low=1)]


@dataclass(frozen=True)
class LauncherSettings:
    """Settings of launchers; each launcher uses some of them."""

    name: str = "local"
    """local, slurm or ray."""
    jobs: Count | None = None
    """Most concurrent workers (local, ray); by default half the cores, or `per_gpu` per GPU."""
    per_gpu: Count | None = 1
    """Most workers that share a GPU, as far as its memory suffices (local); None, or auto on the
    command line, goes by the cores."""
    throttle: Count | None = None
    """Concurrent tasks of all arrays together (slurm); at least one per array."""
    chunk: Count = 500
    """Tasks per array (slurm)."""
    partition: str | None = None
    """Partition of the cluster (slurm)."""
    time: Count = 240
    """Time limit of an array task in minutes (slurm)."""
    mem_gb: Annotated[float, Limit(above=0)] | None = None
    """Memory of a worker in GB; by default the scheduler's."""
    cpus: Count | None = None
    """Cores of a worker; by default an equal share (local), or the share of its GPUs (ray)."""
    gpus: Annotated[float, Limit(low=0)] | None = None
    """GPUs of a worker, a fraction with ray; by default one each if any is visible (local)."""
    setup: str = ""
    """Shell lines run before the worker, such as `module load` (slurm)."""
    max_retries: Annotated[int, Limit(low=0)] = 10
    """Retries of a unit after preemption, a time limit or a lost worker."""
    units_per_job: Count = 1
    """Units per array task, for many small units (slurm)."""
    address: str | None = None
    """Address of the ray cluster; by default a new one on this machine."""

    @property
    def setup_lines(self) -> list[str]:
        """Non-empty lines of `setup`."""
        return [line for line in self.setup.splitlines() if line.strip()]


class LauncherKeys(TypedDict, total=False):
    """Keys of `LauncherSettings` as typed keyword arguments; see `marsbench.config.keywords`."""

    jobs: int | None
    per_gpu: int | None
    throttle: int | None
    chunk: int
    partition: str | None
    time: int
    mem_gb: float | None
    cpus: int | None
    gpus: float | None
    setup: str
    max_retries: int
    units_per_job: int
    address: str | None


class Launcher(Protocol):
    """Interface of launchers."""

    def launch(self, folder: Path, units: Sequence[Path]) -> None:
        """Train units, or submit them to a scheduler and return.

        Args:
            folder: The sweep's folder, ``STORE/.sweeps/NAME``.
            units: Its unit files, most expensive first.

        Raises:
            MarsbenchError: If the launcher is not available or rejects a unit.
        """


def get_launcher(name: str, settings: LauncherSettings) -> Launcher:
    """Make a launcher by name.

    Raises:
        UnknownNameError: If the name is not in `LAUNCHERS`.
        NotAvailableError: If a package of the launcher is not installed.
    """
    if name not in LAUNCHERS:
        raise unknown_name("launcher", name, LAUNCHERS)
    launcher: Launcher = lazy.load(LAUNCHERS[name])(settings)
    return launcher


def load_settings(choice: str, changes: Mapping[str, Any]) -> LauncherSettings:
    """Read the settings of a launcher.

    Args:
        choice: Name of a file in configs/launcher, or path of a YAML file.
        changes: Values by key; they override values of the file.

    Raises:
        ConfigError: If the file, a key or a value is invalid; names all of them.
    """
    path = expanded(choice) if choice.endswith((".yaml", ".yml")) else None
    if path is None:
        shipped = {file.stem: file for file in (paths.configs() / "launcher").glob("*.yaml")}
        if choice not in shipped:
            raise unknown_name(
                "launcher", choice, shipped, "Or give the path of a YAML file: ./my_cluster.yaml."
            )
        path = shipped[choice]
    values = read_yaml(path).values or {}
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path} is not a mapping of keys to values.", "Write KEY: VALUE lines.")
    merged = {str(key): value for key, value in {**values, **changes}.items()}
    if merged.get("per_gpu") == AUTO:
        merged["per_gpu"] = None
    problems: list[Problem] = []
    settings = build(LauncherSettings, merged, problems, prefix="launcher.")
    if settings is None:
        raise ConfigError("\n".join(p.message for p in problems), f"The keys are in {path}.")
    if settings.name not in LAUNCHERS:
        raise unknown_name("launcher.name", settings.name, LAUNCHERS)
    return replace(settings, setup=settings.setup.replace("\\n", "\n"))
