from pathlib import Path

import pytest
import torch

from marsbench.base import environment
from marsbench.base.errors import ConfigError, NotAvailableError
from marsbench.sweep.launchers import gpus
from marsbench.sweep.launchers.gpus import memory_of, most_per_gpu, sets_of, visible_gpus
from marsbench.sweep.launchers.packing import Memory
from marsbench.sweep.launchers.settings import LauncherSettings

VISIBLE = {
    "": [],
    "0,3": ["0", "3"],
    " 1 , 0": ["1", "0"],
    "-1": [],
    "NoDevFiles": [],
    "none": [],
    "0,-1,1": ["0"],
    "0,,1": ["0"],
    "1,x,0": ["1"],
    "2gpu,+1": ["2", "1"],
    "0,1,0": [],
    "1,01": [],
    "GPU-8932f937": ["GPU-8932f937"],
    "GPU-a,GPU-b": ["GPU-a", "GPU-b"],
    "GPU-a,0,GPU-b": ["GPU-a"],
    "GPU-a, GPU-b": ["GPU-a"],
    "GPU-a,MIG-b": ["GPU-a"],
    "GPU-a,GPU-a": [],
    "MIG-41b3,MIG-52c4": ["MIG-41b3", "MIG-52c4"],
    "MIG-GPU-8932f937/1/0": ["MIG-GPU-8932f937/1/0"],
    "0,GPU-a": ["0"],
}


@pytest.mark.parametrize("given", VISIBLE)
def test_visible_gpus(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_installed", list)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == VISIBLE[given]
    # Torch imitates CUDA without a GPU.
    seen = torch.cuda._parse_visible_devices()
    assert [str(name) for name in seen] == VISIBLE[given]


def test_gpus_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=None)
    assert visible_gpus() == []
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 0\necho 1\n")
    program.chmod(0o755)
    assert visible_gpus() == ["0", "1"]
    # A missing GPU is invalid too.
    for given, seen in {"1,2,0": ["1"], "7": [], "GPU-a": ["GPU-a"]}.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
        assert visible_gpus() == seen
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    program.write_text("#!/bin/sh\necho 'no driver'\nexit 9\n")
    assert visible_gpus() == []


def test_sets_of_gpus() -> None:
    names = ["0", "1", "2"]
    assert sets_of(LauncherSettings(), names) == names
    assert sets_of(LauncherSettings(gpus=2), names) == ["0,1"]
    assert sets_of(LauncherSettings(gpus=0), names) == []
    assert sets_of(LauncherSettings(), []) == []
    assert sets_of(LauncherSettings(gpus=0), []) == []


@pytest.mark.parametrize(
    ("each", "said"), [(0.5, "a whole number"), (1.5, "a whole number"), (4, "3 GPUs are visible")]
)
def test_gpus_that_no_worker_can_have(each: float, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        sets_of(LauncherSettings(gpus=each), ["0", "1", "2"])


FAKE_TORCH = """
import os
class cuda:
    def device_count():
        return len(os.environ["CUDA_VISIBLE_DEVICES"].split(","))
    def mem_get_info(i):
        name = os.environ["CUDA_VISIBLE_DEVICES"].split(",")[i]
        if name == "9":
            raise RuntimeError("CUDA error: device busy")
        return int(name) * 2**30, 10 * 2**30
"""


def test_memory_of_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text(FAKE_TORCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    gib = 2**30
    assert memory_of(["3", "5"]) == [Memory(3 * gib, 10 * gib), Memory(5 * gib, 10 * gib)]
    # A run on several GPUs has the room of the fullest.
    assert memory_of(["8,2", "4,6"]) == [Memory(2 * gib, 10 * gib), Memory(4 * gib, 10 * gib)]
    with pytest.raises(NotAvailableError, match=r"GPUs 3,9 is unknown: .*device busy\.\n.*per_gpu"):
        memory_of(["3", "9"])
    (tmp_path / "torch.py").write_text("class cuda: device_count = lambda: 0")
    with pytest.raises(NotAvailableError, match="torch sees 0 of 2 GPUs"):
        memory_of(["3", "5"])


@pytest.mark.parametrize(
    ("per_gpu", "cores", "expected"), [(3, 1, 3), (None, 16, 4), (None, 2, 1), (None, 256, 8)]
)
def test_most_workers_of_a_gpu(
    per_gpu: int | None, cores: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "usable_cores", lambda: cores)
    assert most_per_gpu(LauncherSettings(per_gpu=per_gpu), ["0", "1"]) == expected
