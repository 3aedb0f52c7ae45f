"""Worker processes of a plain script, by each way of starting them."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import marsbench
from tests.fakes import make_spec, write_folder, write_spec

SCRIPT = """
import multiprocessing, sys
if __name__ != "__main__":
    raise SystemExit("the script is executed once more")
multiprocessing.set_start_method(sys.argv[1])
import marsbench
common = {"task": sys.argv[2], "model": "timm:test_resnet", "store": sys.argv[3]}
common |= {"trainer.max_epochs": 1, "optim.batch_size": 8, "trainer.accelerator": "cpu"}
network = marsbench.run(**common, mode="scratch", protocol="online", workers=int(sys.argv[5]))
heads = marsbench.run(**common, mode="frozen", weights=sys.argv[4], workers=int(sys.argv[5]))
assert __file__ == sys.argv[0]
print(network.metrics, heads.metrics)
"""


def executed(script: Path, method: str, workers: int, toy: str, weights: str) -> str:
    script.write_text(SCRIPT)
    store = script.parent / f"{method}-{workers}"
    command = [sys.executable, str(script), method, toy, str(store), weights, str(workers)]
    home = {"MARSBENCH_HOME": str(store / "home")}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=400, env={**os.environ, **home}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_script_without_a_main_guard(method: str, toy: str, weights: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    alone = executed(script, "fork", 0, toy, weights)
    assert "f1_weighted" in alone
    assert executed(script, method, 1, toy, weights) == alone


@pytest.mark.parametrize("source", ["folder", "cache", "demo"])
def test_a_dataset_can_be_sent_to_a_process(source: str, tmp_path: Path) -> None:
    if source == "demo":
        dataset = marsbench.load_dataset("frost_cls", "val", source="demo", size=0.02)
    else:
        folder = write_folder(make_spec(), tmp_path)
        task = str(write_spec(make_spec(), folder / "task.yaml"))
        dataset = marsbench.load_dataset(task, "val", cache=source == "cache")
    first = dataset[0]
    again = pickle.loads(pickle.dumps(dataset))[0]
    assert again["sample_id"] == first["sample_id"]
    assert again["image"].equal(first["image"])
