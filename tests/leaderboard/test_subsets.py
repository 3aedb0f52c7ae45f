"""Train samples of runs on data of the hub, which publishes each subset as a split of its own."""

from pathlib import Path

import numpy as np

from marsbench.config.schema import parse_subset
from marsbench.data.subsets import select
from marsbench.leaderboard.findings import Findings
from marsbench.leaderboard.labels import Labels
from marsbench.leaderboard.runs import Run
from marsbench.leaderboard.subsets import with_samples
from tests.hub import opened, publish
from tests.report.fake_store import Fake, fake_record
from tests.server import Server

SUBSET = "few_shot_2"


def test_subsets_of_the_hub(server: Server, tmp_path: Path) -> None:
    spec, _ = publish(server, tmp_path, None, SUBSET)
    source = opened(spec, splits=("test",))
    truth = Labels(spec, source, "test", np.arange(len(spec.classes)))

    def checked(digest: str) -> tuple[int, list[str]]:
        findings = Findings()
        record = fake_record(
            Fake("landmark_cls", "resnet101"),
            subset=SUBSET,
            identity={"subset_digest": digest},
            data={"revision": source.revision},
        )
        kept = with_samples([Run("runs/x", record, spec, [])], truth, findings)
        return len(kept), [finding.problem for finding in findings.all]

    (count, (flag,)) = checked("x")
    assert count == 1
    assert flag.startswith("The train samples of toy are not checked: The split 'few_shot")
    assert "is not downloaded" in flag
    few = opened(spec, SUBSET)
    digest = select(few, parse_subset(SUBSET)).digest
    assert checked(digest) == (1, [])
    (count, (error,)) = checked("x")
    assert count == 0
    assert f"their digest is 'x'; expected {digest}" in error
