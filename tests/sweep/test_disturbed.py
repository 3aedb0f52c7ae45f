"""A sweep on this machine that is killed and stopped in every way, and in the end is whole."""

import os
import signal
from pathlib import Path

import pytest

from tests.sweep.rough import Sweep, check_same, ended, wait_until, write_suite

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

ONLINE, CACHED = 12, 12


def test_local(tmp_path: Path) -> None:
    suite = write_suite(tmp_path / "suite.yaml", online=ONLINE, cached=CACHED)
    home = tmp_path / "home"
    words = ("launcher=local", "launcher.jobs=2", "launcher.gpus=0")
    calm = Sweep(suite, tmp_path / "calm", *words, home=home)
    assert calm.finish() == 1

    rough = Sweep(suite, tmp_path / "rough", *words, home=home)
    with ended(rough.start()) as launcher:
        rough.wait_for_done(1)
        rough.kill_worker()
        done = rough.done
        rough.wait_for_done(done + 1)
        # Ctrl-C, as a terminal sends it to all that run in it.
        rough.worker()
        os.killpg(launcher.pid, signal.SIGINT)
        said, _ = launcher.communicate(timeout=120)
        assert launcher.returncode == 130, said
        assert "The sweep has stopped" in said
        assert "Traceback" not in said
    assert not rough.has_workers()
    assert rough.done < ONLINE + CACHED

    with ended(rough.start()) as launcher:
        rough.worker()
        launcher.kill()
        launcher.wait()
    # Its workers go on, and the same command meets them at their runs.
    with ended(rough.start()) as launcher:
        rough.wait_for_done(rough.done + 1)
        launcher.send_signal(signal.SIGTERM)
        launcher.wait(120)
    wait_until(lambda: not rough.has_workers(), "the workers to end")
    assert rough.finish() >= 1
    check_same(rough, calm, ONLINE + CACHED)
