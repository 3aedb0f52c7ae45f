"""A head fitted to convergence: the optimum of a convex problem, without learning rate or order."""

import math
import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marsbench.training.frozen.heads import FittedHead, Head, Samples

MOST_ITERATIONS = 10_000
"""After which a head counts as one that does not converge."""

_TOLERANCE = 1e-9
"""Change of the loss, as a share of it, at which it counts as settled."""

_SMALL = 1e-4
"""Largest derivative of the loss by a weight at an optimum, where rounding ended the search."""


def fit_to_convergence(
    head: Head, samples: dict[str, Samples], dtype: torch.dtype = torch.float32
) -> FittedHead:
    """Fit a head by L-BFGS over all its samples at once.

    Minimises the mean loss of the draws plus half the weight decay times the sum of the squared
    weights, biases left alone. Computed in double precision.

    Args:
        head: What to fit.
        samples: The splits it refers to.
        dtype: Type of the weights that are returned.
    """
    from scipy.optimize import minimize

    started = time.perf_counter()
    train = samples["train"]
    rows = torch.from_numpy(head.train[head.draws])
    x = train.features[0][rows.to(train.features.device)].to(train.labels.device, torch.float64)
    labels = train.labels[rows.to(train.labels.device)]
    loss, outputs, num_features = head.loss, head.loss.num_outputs, x.shape[1]
    objective = loss.objective.to(x.device).double()
    wanted = labels.double() if labels.is_floating_point() else labels
    target = objective.one_hot(labels).double()[None]
    weights = loss.stacked([loss], x.device, torch.float64)

    def value(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        both = torch.from_numpy(flat).to(x.device).view(num_features + 1, outputs)
        weight, bias = both[:-1], both[-1]
        logits = torch.addmm(bias, x, weight)
        total = objective(logits, wanted).mean() + head.weight_decay / 2 * weight.square().sum()
        slope = loss.slope(logits[None, :, None, :], labels[None], weights, target)[0, :, 0]
        slope = slope / len(x)
        gradient = torch.empty_like(both)
        gradient[:-1] = x.T @ slope + head.weight_decay * weight
        gradient[-1] = slope.sum(dim=0)
        return float(total), gradient.flatten().cpu().numpy()

    options = {"maxiter": MOST_ITERATIONS, "maxfun": 10 * MOST_ITERATIONS, "ftol": _TOLERANCE}
    start = np.zeros((num_features + 1) * outputs)
    optimum = minimize(value, start, jac=True, method="L-BFGS-B", options=options)
    both: Tensor = torch.from_numpy(optimum.x).view(num_features + 1, outputs)
    both = both.to(x.device, dtype)
    return FittedHead(
        weight=both[:-1].T.contiguous(),
        bias=both[-1].clone(),
        epoch=int(optimum.nit),
        epochs_trained=int(optimum.nit),
        losses=[],
        rates=[],
        broken=None if math.isfinite(float(optimum.fun)) else int(optimum.nit),
        # The line search also ends where rounding leaves nothing to gain.
        converged=bool(optimum.success) or float(np.abs(optimum.jac).max()) < _SMALL,
        seconds=time.perf_counter() - started,
    )
