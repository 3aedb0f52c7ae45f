"""Fit a head to the optimum of its convex problem, without learning rate or sample order."""

import math
import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marsbench.training.frozen.heads import FittedHead, Head, Samples

MOST_ITERATIONS = 10_000
"""Largest number of iterations."""

_TOLERANCE = 1e-9
"""Relative change of the loss at convergence."""

_SMALL = 1e-4
"""Largest derivative of the loss at an optimum if rounding ended the line search."""


def fit_to_convergence(
    head: Head, samples: dict[str, Samples], dtype: torch.dtype = torch.float32
) -> FittedHead:
    """Fit a head by L-BFGS on all samples.

    Minimises the mean loss of the draws plus half the weight decay times the sum of the squared
    weights, without biases, in double precision.

    Args:
        head: The head.
        samples: Its splits by name.
        dtype: Type of the returned weights.
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
        # Rounding may end the line search at the optimum.
        converged=bool(optimum.success) or float(np.abs(optimum.jac).max()) < _SMALL,
        seconds=time.perf_counter() - started,
    )
