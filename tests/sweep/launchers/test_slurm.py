"""Handing units to SLURM, with stand-ins for its commands; tests/slurm has the real ones."""

import json
import os
import pickle
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from marsbench.base.errors import ConfigError, DeviceLostError, NotAvailableError, StoreError
from marsbench.sweep import worker
from marsbench.sweep.launchers.settings import LauncherSettings, get_launcher, load_settings
from marsbench.sweep.launchers.slurm import JOBS, SlurmLauncher, Task, make_arrays, throttles

submitit = pytest.importorskip("submitit")

SETTINGS = LauncherSettings(name="slurm")

SBATCH = """#!/bin/sh
here=$(dirname "$0")
number=$(($(cat "$here/count" 2>/dev/null || echo 6) + 1))
if [ -e "$here/refuse-$number" ]; then cat "$here/refuse-$number" >&2; exit 1; fi
echo $number >"$here/count"
cp "$1" "$here/$number.sh"
env >"$here/$number.env"
echo "Submitted batch job $number"
"""


@pytest.fixture(autouse=True)
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that stand in for those of a cluster, and keep what they were told."""
    folder = tmp_path / "bin"
    folder.mkdir()
    programs = {
        "sbatch": SBATCH,
        "srun": "#!/bin/sh\n",
        "squeue": f'#!/bin/sh\necho "$@" >>{folder}/asked\ncat {folder}/queue\n',
        "scontrol": f'#!/bin/sh\necho "$@" >>{folder}/told\n',
    }
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "queue").touch()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    for name in list(os.environ):
        if name.startswith(("SLURM_", "SBATCH_")):
            monkeypatch.delenv(name)
    return folder


def make_units(folder: Path, count: int) -> list[Path]:
    (folder / "units").mkdir(parents=True)
    return [folder / "units" / f"{i:05d}.json" for i in range(count)]


def test_settings() -> None:
    """The file that is shipped names what the engine heeds, and can be overridden."""
    settings = load_settings("slurm", {"max_retries": "3"})
    assert (settings.name, settings.max_retries) == ("slurm", 3)


def test_without_submitit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(NotAvailableError, match=r"submitit.*\n.*pip install 'marsbench\[slurm\]'"):
        get_launcher("slurm", SETTINGS)


@pytest.mark.parametrize("program", ["sbatch", "srun"])
def test_without_slurm(cluster: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    (cluster / program).unlink()
    monkeypatch.setenv("PATH", str(cluster))
    with pytest.raises(NotAvailableError, match=f"{program} was not found.*\n.*login node"):
        SlurmLauncher(SETTINGS)


def test_gpus_are_whole() -> None:
    with pytest.raises(ConfigError, match=r"launcher\.gpus is 0\.5"):
        SlurmLauncher(replace(SETTINGS, gpus=0.5))


@pytest.mark.parametrize(
    ("count", "per_job", "chunk", "sizes"),
    [
        (0, 1, 5, []),
        (1, 1, 5, [1]),
        (5, 1, 5, [5]),
        (6, 1, 5, [3, 3]),
        (20, 3, 3, [3, 2, 2]),
        (3, 10, 5, [1]),
    ],
)
def test_arrays(tmp_path: Path, count: int, per_job: int, chunk: int, sizes: list[int]) -> None:
    units = [tmp_path / f"{i}.json" for i in range(count)]
    arrays = make_arrays(units, replace(SETTINGS, units_per_job=per_job, chunk=chunk))
    assert [len(array) for array in arrays] == sizes
    dealt = [len(task.units) for array in arrays for task in array]
    assert all(1 <= size <= per_job for size in dealt)
    assert sorted(unit for array in arrays for task in array for unit in task.units) == sorted(
        map(str, units)
    )


def test_expensive_units_are_dealt_out(tmp_path: Path) -> None:
    units = [tmp_path / f"{i}.json" for i in range(4)]
    ((first, second),) = make_arrays(units, replace(SETTINGS, units_per_job=2))
    assert [Path(unit).stem for unit in first.units] == ["0", "2"]
    assert first.max_restarts == SETTINGS.max_retries
    assert [Path(unit).stem for unit in second.units] == ["1", "3"]


def test_a_unit_with_a_fault_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, asked = [worker.FAULT, 0, worker.FAULT, worker.FAULT, 0], list[str]()

    def run_unit(path: Path) -> int:
        asked.append(path.name)
        return codes.pop(0)

    monkeypatch.setattr(worker, "run_unit", run_unit)
    with pytest.raises(SystemExit) as ended:
        Task(("a", "b", "c"), str(Path.cwd()))()
    assert ended.value.code == worker.FAULT
    assert asked == ["a", "a", "b", "b", "c"]


def test_throttles() -> None:
    assert throttles(None, [3, 2]) == [3, 2]
    assert throttles(7, [9, 9, 9]) == [3, 2, 2]
    assert throttles(1, [9, 9]) == [1, 1]


def test_launch(
    tmp_path: Path,
    cluster: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("runs/.sweeps/first")  # relative, as a store often is
    settings = replace(
        SETTINGS,
        chunk=3,
        throttle=3,
        units_per_job=2,
        partition="gpu",
        time=30,
        mem_gb=1.5,
        cpus=4,
        gpus=1,
        setup="module load cuda\n\nulimit -n 4096",
        max_retries=7,
    )
    get_launcher("slurm", settings).launch(folder, make_units(folder, 8))
    said = json.loads((folder / JOBS).read_text())
    assert said["jobs"] == ["7", "8"]
    dealt = [unit for tasks in said["units"].values() for task in tasks for unit in task]
    assert sorted(dealt) == [f"{i:05d}.json" for i in range(8)]
    assert "Submitted as SLURM jobs 7, 8: 8 units, array tasks 4." in capsys.readouterr().err

    script = (cluster / "7.sh").read_text()
    options = dict(re.findall(r"#SBATCH --([\w-]+)=?(.*)", script))
    expected = {
        "array": "0-1%2",
        "job-name": "first",
        "partition": "gpu",
        "time": "30",
        "mem": "1536M",
        "cpus-per-task": "4",
        "gpus-per-node": "1",
        "requeue": "",
        "open-mode": "append",
    }
    assert {key: options.get(key) for key in expected} == expected
    assert "wckey" not in options
    assert options["output"].startswith(str(tmp_path / folder))
    assert "module load cuda\nulimit -n 4096\n" in script
    assert f"--export=ALL --cpus-per-task=4 {sys.executable} -u -m submitit" in script
    assert "%1" in (cluster / "8.sh").read_text()

    with (folder / "slurm" / "7_0_submitted.pkl").open("rb") as file:
        submission = pickle.load(file)
    assert submission._timeout_countdown == 7
    task = submission.function
    assert isinstance(task, Task)
    assert task.directory == str(tmp_path)
    assert all(Path(unit).is_absolute() for unit in task.units)
    again = task.checkpoint()
    assert isinstance(again, submitit.helpers.DelayedSubmission)
    assert again.function == task
    assert pickle.loads(pickle.dumps(task)) == task


def test_one_task_is_no_array(tmp_path: Path, cluster: Path) -> None:
    SlurmLauncher(SETTINGS).launch(tmp_path / "s", make_units(tmp_path / "s", 1))
    assert "--array" not in (cluster / "7.sh").read_text()
    assert json.loads((tmp_path / "s" / JOBS).read_text())["jobs"] == ["7"]
    assert (tmp_path / "s" / "slurm" / "7_submitted.pkl").exists()


def test_nothing_to_do(tmp_path: Path, cluster: Path) -> None:
    SlurmLauncher(SETTINGS).launch(tmp_path / "s", [])
    assert not (cluster / "count").exists()


def test_what_jobs_inherit(tmp_path: Path, cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"lib:{tmp_path}/my other")
    monkeypatch.setenv("MARSBENCH_HOME", "/data/it's here")
    # As within a job, from which sweeps may be started too.
    monkeypatch.setenv("SLURM_JOB_ID", "3")
    monkeypatch.setenv("SLURM_MEM_PER_CPU", "100")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    monkeypatch.setenv("SBATCH_ACCOUNT", "mars")
    SlurmLauncher(SETTINGS).launch(tmp_path / "s", make_units(tmp_path / "s", 2))
    script = (cluster / "7.sh").read_text()
    assert f"export PYTHONPATH='{tmp_path}/lib:{tmp_path}/my other'\n" in script
    assert """export MARSBENCH_HOME='/data/it'"'"'s here'\n""" in script
    inherited = dict(line.split("=", 1) for line in (cluster / "7.env").read_text().splitlines())
    assert not {"SLURM_JOB_ID", "SLURM_MEM_PER_CPU", "LOCAL_RANK"} & set(inherited)
    assert inherited["SLURM_CONF"] == "/etc/slurm.conf"
    assert inherited["SBATCH_ACCOUNT"] == "mars"
    assert os.environ["SLURM_JOB_ID"] == "3"


def test_refused(tmp_path: Path, cluster: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (cluster / "refuse-8").write_text(
        "sbatch: error: AssocMaxSubmitJobLimit\n"
        "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy\n"
    )
    with pytest.raises(ConfigError) as refused:
        SlurmLauncher(replace(SETTINGS, chunk=2)).launch(
            tmp_path / "s", make_units(tmp_path / "s", 4)
        )
    assert refused.value.problem == (
        "SLURM rejected the job: AssocMaxSubmitJobLimit; Batch job submission failed: "
        "Job violates accounting/QOS policy"
    )
    assert "Already submitted: job 7" in refused.value.remedy
    assert json.loads((tmp_path / "s" / JOBS).read_text())["jobs"] == ["7"]
    assert "AssocMax" not in capfd.readouterr().err  # said once, by the error


def test_earlier_jobs_are_named(
    tmp_path: Path, cluster: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    launcher = SlurmLauncher(SETTINGS)
    launcher.launch(tmp_path / ".sweeps" / "a", make_units(tmp_path / ".sweeps" / "a", 2))
    assert "Still queued" not in capsys.readouterr().err
    (cluster / "queue").write_text("7\n5\n7\n")
    launcher.launch(tmp_path / ".sweeps" / "b", make_units(tmp_path / ".sweeps" / "b", 2))
    told = capsys.readouterr().err
    assert "earlier sweeps of this store: job 7. " in told
    assert "`scancel 7`" in told


class TestTask:
    """What an array task does with its units, and with signals."""

    @pytest.fixture(autouse=True)
    def _job(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SLURM_JOB_ID", "30")
        monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "27")
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
        monkeypatch.setenv("SLURM_JOB_NAME", "sweep")
        monkeypatch.chdir(Path.cwd())
        self.task = Task(("a.json", "b.json", "c.json"), str(tmp_path))
        self.carried_out: list[str] = []

    def run_as(self, monkeypatch: pytest.MonkeyPatch, act: Callable[[str], int]) -> None:
        def run_unit(path: Path) -> int:
            self.carried_out.append(path.stem)
            return act(path.stem)

        monkeypatch.setattr(worker, "run_unit", run_unit)
        self.task()

    def test_all_units(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run_as(monkeypatch, lambda _: 0)
        assert self.carried_out == ["a", "b", "c"]
        assert Path.cwd() == tmp_path

    def test_a_unit_that_cannot_be_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def act(name: str) -> int:
            if name == "b":
                raise StoreError("gone")
            return 0

        with pytest.raises(SystemExit) as ended:
            self.run_as(monkeypatch, act)
        assert ended.value.code == 2
        assert self.carried_out == ["a", "b", "c"]

    @pytest.mark.parametrize(
        ("state", "told"), [("RUNNING", "requeue 27_3\n"), ("COMPLETING", None), ("", None)]
    )
    def test_stopped(
        self, monkeypatch: pytest.MonkeyPatch, cluster: Path, state: str, told: str | None
    ) -> None:
        """To make room it is queued again; once it is cancelled it is not."""
        (cluster / "queue").write_text(f"{state}\n")

        def act(name: str) -> int:
            if name == "b":
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            return 0

        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            self.run_as(monkeypatch, act)
        assert ended.value.code == 75
        assert self.carried_out == ["a", "b"]
        assert signal.getsignal(signal.SIGTERM) == before
        assert (cluster / "told").exists() == (told is not None)
        assert told is None or (cluster / "told").read_text() == told

    @pytest.mark.parametrize("restarts", [None, 1, 2])
    def test_a_lost_gpu_requeues_the_task_a_few_times(
        self, monkeypatch: pytest.MonkeyPatch, cluster: Path, restarts: int | None
    ) -> None:
        (cluster / "queue").write_text("RUNNING\n")
        if restarts is not None:
            monkeypatch.setenv("SLURM_RESTART_COUNT", str(restarts))
        self.task = replace(self.task, max_restarts=2)

        def act(name: str) -> int:
            if name == "b":
                raise DeviceLostError("The GPU failed.")
            return 0

        with pytest.raises(SystemExit) as ended:
            self.run_as(monkeypatch, act)
        assert ended.value.code == worker.FAULT
        assert self.carried_out == ["a", "b"]
        assert (cluster / "told").exists() == (restarts != 2)

    @pytest.mark.parametrize("refused", [False, True])
    def test_preempted(self, monkeypatch: pytest.MonkeyPatch, cluster: Path, refused: bool) -> None:
        """What submitit raises must not be taken for a fault of the run."""
        (cluster / "queue").write_text("RUNNING\n")

        def theirs(*_: object) -> None:
            if refused:
                raise submitit.core.utils.UncompletedJobError("timed-out too many times")
            sys.exit(-1)

        def act(_: str) -> int:
            try:
                os.kill(os.getpid(), signal.SIGUSR2)
                time.sleep(5)
            except Exception:
                return 0
            return 0

        before = signal.signal(signal.SIGUSR2, theirs)
        try:
            with pytest.raises(SystemExit):
                self.run_as(monkeypatch, act)
        finally:
            signal.signal(signal.SIGUSR2, before)
        assert self.carried_out == ["a"]
        assert not (cluster / "told").exists()
