"""The straight probability path from Gaussian noise to data, and the solvers that follow its velocity field.

Flow matching (arXiv:2210.02747) with the linear path of rectified flow (arXiv:2209.03003): x_t = (1 - t) x_0 + t x_1,
whose velocity is x_1 - x_0.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from gen2reco.flow.sets import Sets

Condition: TypeAlias = "Tensor | Sets"
Network = Callable[[Tensor, Tensor, Condition], Tensor]


def size(condition: Condition) -> int:
    """Number of vectors or sets that a condition describes."""
    return condition.n_sets if isinstance(condition, Sets) else len(condition)


def spread(values: Tensor, condition: Condition) -> Tensor:
    """One number per vector or set as a column, aligned with the rows of x."""
    return (condition.spread(values) if isinstance(condition, Sets) else values)[:, None]


def flow_matching_loss(network: Network, x_0: Tensor, x_1: Tensor, t: Tensor, condition: Condition) -> Tensor:
    """Mean squared error of the velocity on the line from x_0 to x_1."""
    along = spread(t, condition)
    x_t = (1 - along) * x_0 + along * x_1
    return (network(x_t, t, condition) - (x_1 - x_0)).square().mean()


def sample(network: Network, x_0: Tensor, condition: Condition, evaluations: int, solver: str = "euler") -> Tensor:
    """Follow the velocity from noise x_0 at t = 0 to data at t = 1 with that number of network evaluations.

    `solver`: `euler`, or `midpoint` (two evaluations a step, an even number of evaluations).
    """
    steps = evaluations if solver == "euler" else evaluations // 2
    ones = torch.ones(size(condition), device=x_0.device)
    x, width = x_0, 1 / steps
    for step in range(steps):
        t = ones * (step * width)
        v = network(x, t, condition)
        if solver == "midpoint":
            v = network(x + 0.5 * width * v, t + 0.5 * width, condition)
        x = x + width * v
    return x
