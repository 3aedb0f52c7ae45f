"""Heads fitted to convergence are at the optimum, by independent oracles."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from marsbench.training.frozen.optimum import fit_to_convergence
from marsbench.training.frozen.samples import Samples
from tests.training.frozen.test_block import OBJECTIVES, F, N, head_of, objective_of, samples_of


def ill_conditioned(name: str, num_features: int = F) -> dict[str, Samples]:
    """Features of scales from 1 to 1000, correlated and away from zero, with their labels."""
    labels = samples_of(name)["train"].labels
    rng = torch.Generator().manual_seed(3)
    mixed = torch.randn(1, N, num_features, generator=rng) @ torch.randn(
        num_features, num_features, generator=rng
    )
    features = mixed * torch.logspace(-2, 1, num_features) + 5.0
    return {"train": Samples(features, labels)}


@pytest.mark.parametrize("decay", [0.05, 1e-5])
@pytest.mark.parametrize("weighed", [False, True], ids=["plain", "weighed"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_gradient_vanishes(name: str, weighed: bool, decay: float) -> None:
    objective = objective_of(name, weighed=weighed)
    samples = ill_conditioned(name)
    fitted = fit_to_convergence(
        head_of(objective, weight_decay=decay), samples, dtype=torch.float64
    )
    assert fitted.converged
    weight, bias = fitted.weight.requires_grad_(), fitted.bias.requires_grad_()
    x, labels = samples["train"].features[0].double(), samples["train"].labels
    wanted = labels.double() if labels.is_floating_point() else labels
    loss = objective(x @ weight.T + bias, wanted).mean() + decay / 2 * weight.square().sum()
    loss.backward()
    assert weight.grad is not None
    assert bias.grad is not None
    size = max(1.0, float(weight.detach().norm()))
    assert float(weight.grad.norm()) <= 1.1e-6 * decay * size
    assert float(bias.grad.norm()) <= 1.1e-6 * decay * size


@pytest.mark.parametrize("num_features", [F, 2 * N], ids=["many samples", "few samples"])
@pytest.mark.parametrize("decay", [0.05, 1e-5])
def test_as_scikit_learn(num_features: int, decay: float) -> None:
    samples = ill_conditioned("multiclass", num_features)
    x, labels = samples["train"].features[0].double(), samples["train"].labels
    fitted = fit_to_convergence(
        head_of(objective_of("multiclass"), weight_decay=decay), samples, dtype=torch.float64
    )
    assert fitted.converged
    oracle = LogisticRegression(
        C=1 / (decay * N), solver="newton-cholesky", tol=1e-12, max_iter=1000
    ).fit(x.numpy(), labels.numpy())
    chances = (x @ fitted.weight.T + fitted.bias).softmax(dim=1).numpy()
    np.testing.assert_allclose(chances, oracle.predict_proba(x.numpy()), atol=1e-7)


def test_an_optimum_out_of_reach_is_not_called_one() -> None:
    samples = ill_conditioned("multiclass", 2 * N)  # more features than samples: separable
    head = head_of(objective_of("multiclass"), weight_decay=1e-30)
    assert not fit_to_convergence(head, samples).converged
