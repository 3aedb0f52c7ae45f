import time

from marsbench.report.statistics.modes import _widest
from marsbench.report.study.scores import study_of
from tests.report.fake_store import CLASSIFIERS, Fake, fake_record


def test_many_odd_modes_take_no_time() -> None:
    """All combinations of 20 groups took 9 s, and each further group doubled the time."""
    tasks = ("frost_cls", "landmark_cls")
    records = [
        fake_record(Fake(task, model, mode))
        for task in tasks
        for model in CLASSIFIERS
        for mode in ("frozen", "finetune")
    ]
    odd = [fake_record(Fake(tasks[0], CLASSIFIERS[0]), mode=f"odd {n}") for n in range(18)]
    groups = list(study_of([*odd, *records]).groups.values())
    assert len(groups) == 20
    started = time.monotonic()
    chosen, shared = _widest(groups)
    assert time.monotonic() - started < 1
    assert {"frozen", "finetune"} < {group.key.mode for group in chosen}
    assert (len(chosen), shared) == (10, tasks[:1])
