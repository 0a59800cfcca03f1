"""Mixtures of Gaussians of one number each: their likelihood, draws from them, and their ranks."""

import math

import torch
from torch import Tensor

_NARROWEST, _WIDEST = -4.0, 1.5
"""Bounds of the logarithm of a width."""
_HALVINGS = 30
"""Of the interval that a number of a given rank lies in."""


def log_mixture(out: Tensor, y: Tensor) -> Tensor:
    """Log-likelihood (…) of numbers y (…) under mixtures out (…, 3 n): logits, means, logarithms of widths of n
    Gaussians."""
    logit, mean, log_width = _parts(out)
    z = (y[..., None] - mean) * (-log_width).exp()
    terms = logit.log_softmax(-1) - 0.5 * z.square() - log_width
    return torch.logsumexp(terms, -1) - 0.5 * math.log(2 * math.pi)


def draw_mixture(out: Tensor, uniform: Tensor, normal: Tensor) -> Tensor:
    """Numbers (…) from mixtures out (…, 3 n), by a uniform and a standard normal number (…) each."""
    logit, mean, log_width = _parts(out)
    below = logit.softmax(-1).cumsum(-1)[..., :-1]
    which = (uniform[..., None] > below).sum(-1, keepdim=True)
    return mean.gather(-1, which)[..., 0] + log_width.exp().gather(-1, which)[..., 0] * normal


def two_gaussians(out: Tensor) -> Tensor:
    """Mixtures of two, out (…, 6), as the chance of the first, both means and both widths: (…, 5)."""
    logit, mean, log_width = _parts(out)
    return torch.cat([logit.softmax(-1)[..., :1], mean, log_width.exp()], -1)


def rank_in_mixture(out: Tensor, y: Tensor) -> Tensor:
    """Where numbers y (…) are in mixtures out (…, 3 n): the share below them, between 0 and 1."""
    logit, mean, log_width = _parts(out)
    return (logit.softmax(-1) * torch.special.ndtr((y[..., None] - mean) * (-log_width).exp())).sum(-1)


def at_rank(out: Tensor, rank: Tensor) -> Tensor:
    """The inverse of `rank_in_mixture`, by bisection within six widths of the Gaussians."""
    _, mean, log_width = _parts(out)
    low, high = (mean - 6 * log_width.exp()).amin(-1), (mean + 6 * log_width.exp()).amax(-1)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        above = rank_in_mixture(out, middle) < rank
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return (low + high) / 2


def _parts(out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    logit, mean, log_width = out.float().chunk(3, -1)
    return logit, mean, log_width.clamp(_NARROWEST, _WIDEST)
