"""A worker that trains nothing: it makes a unit's records at once, or misbehaves as its size says.

Demo data of size 0.02 make records; 0.03 kills itself at the second run, once; 0.04 always; 0.05
works until it is stopped.
"""

import os
import signal
import sys
import time
from pathlib import Path

from marsbench.base.errors import TrainingError
from marsbench.plan.resolve import Resolver
from marsbench.results.store import Store
from marsbench.sweep.heartbeat import beating
from marsbench.sweep.units import read_unit, sweep_of
from marsbench.sweep.worker import INTERRUPTED
from tests.sweep.records import finish, record_of


def main(path: Path) -> int:
    unit, resolver = read_unit(path), Resolver()
    marker = path.with_suffix(".killed")
    with beating(sweep_of(path), path, unit.ids):
        for i, (config, run_id) in enumerate(zip(unit.runs, unit.ids, strict=True)):
            store = Store(config.store)
            if store.find(run_id) is not None:
                continue
            if config.seed == 13:
                with store.claim(run_id):
                    store.fail(run_id, TrainingError("The loss became no number."))
                continue
            last = i == len(unit.runs) - 1
            if last and (config.size == 0.04 or (config.size == 0.03 and not marker.exists())):
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if config.size == 0.05 and last:
                try:
                    time.sleep(60)
                except KeyboardInterrupt:
                    return INTERRUPTED
            finish(store, record_of(config, resolver))
    return 0


def stop(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    sys.exit(main(Path(sys.argv[1])))
