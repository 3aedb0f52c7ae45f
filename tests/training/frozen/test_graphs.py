"""Steps as CUDA graphs; `tests/device/test_heads.py` plays them without a GPU."""

import pytest
import torch

from marsbench.config.schema import OptimName
from marsbench.training.frozen import graphs
from marsbench.training.frozen.samples import Samples
from marsbench.training.frozen.turns import fit_heads
from tests.training.frozen.test_block import CPU, head_of, objective_of, samples_of


def test_other_devices_step_eagerly() -> None:
    def step(*_: torch.Tensor) -> None:
        """Nothing to compute."""

    assert graphs.captured(step, CPU) is step


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("on_host", [False, True])
@pytest.mark.parametrize("optimizer", [OptimName.ADAM, OptimName.ADAMW, OptimName.SGD])
def test_replayed_steps_equal_eager_steps(
    optimizer: OptimName, on_host: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = torch.device("cuda")
    samples = {
        split: Samples(s.features if on_host else s.features.to(gpu), s.labels.to(gpu))
        for split, s in samples_of("multiclass").items()
    }
    heads = [
        head_of(objective_of("multiclass"), seed=seed, lr=lr, optimizer=optimizer, clip=0.5)
        for seed in range(3)
        for lr in (0.1, 0.01)
    ]
    replays = []
    replay = torch.cuda.CUDAGraph.replay

    def counted(graph: torch.cuda.CUDAGraph) -> None:
        replays.append(graph)
        replay(graph)

    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", counted)
    replayed = fit_heads(heads, samples, dtype=torch.float64)
    assert replays
    monkeypatch.setattr(graphs, "EAGER", 10**9)
    eager = fit_heads(heads, samples, dtype=torch.float64)
    for own, other in zip(replayed, eager, strict=True):
        assert own.epoch == other.epoch
        torch.testing.assert_close(own.weight, other.weight, rtol=0, atol=1e-12)
