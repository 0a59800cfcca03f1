"""Fitted after the training, on events that were not trained on: responses of one, pulls of unit width, frequencies.

Both the uncertainty and the temperature of the probabilities may change with the energy and with how crowded it is:
a network is surer of itself in a jet than it should be.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gen2reco.events.schemas import IDENTITIES
from gen2reco.run.model_folder import Bounds, ModelConfig

EM = (IDENTITIES.index("photon"), IDENTITIES.index("electron"))
REFERENCE = 20.0
"""GeV; energies are held against it."""
ONE_SIGMA = 0.6827
LEAST_IN_BIN = 12
"""Candidates in each bin of a closure fit; fewer bins, and lower degrees, where there are not enough."""
RIDGE = 1e-3
"""Pull of the fitted coefficients to zero, which matters where there is little to fit to."""


@dataclass(frozen=True)
class Predicted:
    """Answers of the network for n candidates, energies relative to the plain sum, and what corrections depend on."""

    logits: NDArray[np.float64]
    """(n, 5), before the temperature."""
    log_ratio: NDArray[np.float64]
    """Mean of ln(true energy / raw energy): (n,)."""
    sigma: NDArray[np.float64]
    """Its standard deviation: (n,)."""
    shift: NDArray[np.float64]
    """(n, 2): from the barycentre to the particle's direction, mm on the plane of the face."""
    log_energy: NDArray[np.float64]
    """ln of the plain sum, GeV: (n,)."""
    crowding: NDArray[np.float64]
    """ln(1 + energy of other candidates near / own energy): (n,)."""

    @property
    def em(self) -> NDArray[np.float64]:
        """Probability that it is a photon or electron: (n,)."""
        return softmax(self.logits)[:, EM].sum(axis=1)


@dataclass(frozen=True)
class Corrections:
    """The fitted numbers; of pairs, the first is for photons and electrons."""

    temperature: NDArray[np.float64]
    """(3,): ln of what divides the logits, linear in 1, ln(E / 20 GeV) and crowding."""
    closure: NDArray[np.float64]
    """(2, degree + 1): polynomials in ln(E / 20 GeV) of ln(response), taken off ln E, highest power first."""
    closure_range: NDArray[np.float64]
    """(2,): ln(E / 20 GeV) is held within."""
    width: NDArray[np.float64]
    """(7,): ln of the factor on the relative uncertainty, linear in the columns of `conditions`."""

    @classmethod
    def none(cls) -> "Corrections":
        """No corrections."""
        return cls(np.zeros(3), np.zeros((2, 1)), np.array([-10.0, 10.0]), np.zeros(7))

    def energy(self, raw: NDArray, predicted: Predicted) -> tuple[NDArray, NDArray]:
        """Calibrated energies and their uncertainties, GeV, from plain sums (n,)."""
        energy, em = raw * np.exp(predicted.log_ratio), predicted.em
        at = np.clip(np.log(np.maximum(energy, 1e-6) / REFERENCE), *self.closure_range)
        off = em * np.polyval(self.closure[0], at) + (1 - em) * np.polyval(self.closure[1], at)
        energy = energy * np.exp(-off)
        return energy, energy * predicted.sigma * np.exp(conditions(predicted, self.closure_range) @ self.width)

    def probabilities(self, predicted: Predicted) -> NDArray[np.float64]:
        """(n, 5)"""
        chosen = conditions(predicted, self.closure_range)[:, [0, 2, 4]]
        return softmax(predicted.logits * np.exp(-chosen @ self.temperature)[:, None])

    def as_json(self) -> dict:
        """Plain data for the model's config."""
        return {name: getattr(self, name).tolist() for name in self.__dataclass_fields__}

    @classmethod
    def of(cls, stated: "CorrectionsConfig") -> "Corrections":
        """The inverse of `as_json`."""
        return cls(*(np.array(getattr(stated, name)) for name in cls.__dataclass_fields__))


class CorrectionsConfig(ModelConfig):
    """The fitted numbers, as a model's config states them."""

    temperature: list[float] = Field(min_length=3, max_length=3)
    closure: list[Annotated[list[float], Field(min_length=1, max_length=32)]] = Field(min_length=2, max_length=2)
    closure_range: Bounds
    width: list[float] = Field(min_length=7, max_length=7)

    @model_validator(mode="after")
    def _square(self) -> Self:
        if len(self.closure[0]) != len(self.closure[1]):
            raise ValueError("expected both polynomials of `closure` of one degree")
        return self


def conditions(predicted: Predicted, limits: NDArray) -> NDArray[np.float64]:
    """(n, 7): 1, em, x, x**2, crowding, em x, em crowding; x = ln(E / 20 GeV) within limits, em the probability."""
    x = np.clip(predicted.log_energy + predicted.log_ratio - np.log(REFERENCE), *limits)
    em, crowding = predicted.em, predicted.crowding
    return np.stack([np.ones(len(x)), em, x, x**2, crowding, em * x, em * crowding], axis=1)


def softmax(logits: NDArray) -> NDArray[np.float64]:
    """Probabilities of (n, k) logits."""
    e = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
    return e / e.sum(axis=1, keepdims=True)


def fit_closure(
    energy: NDArray, true: NDArray, reference: float = REFERENCE, degree: int = 2, bins: int = 12
) -> NDArray[np.float64]:
    """Polynomial in ln(E / reference) of ln(mean response) at the mean reconstructed energy (numerical inversion)."""
    bins = min(bins, len(true) // LEAST_IN_BIN)
    if not bins:
        return np.zeros(1)
    groups = np.array_split(np.argsort(true), bins)
    ratio = energy / true
    response = np.array([np.mean(ratio[g]) for g in groups])
    error = np.array([np.std(ratio[g]) / np.sqrt(len(g)) for g in groups])
    at = np.array([np.mean(np.log(true[g] / reference)) for g in groups]) + np.log(response)
    return np.polyfit(at, np.log(response), min(degree, bins // 3), w=1 / np.maximum(error, 1e-4))


def fit_width(pull: NDArray, columns: NDArray, weight: NDArray) -> NDArray[np.float64]:
    """Coefficients (k,) of ln(half width of the pulls): the 68.27 % quantile of ln|pull|, linear in columns (n, k).

    Quantile regression (Koenker, Bassett, Econometrica 46 (1978) 33), its corner rounded.
    """
    log_pull, rounding = np.log(np.maximum(np.abs(pull), 1e-3)), 0.05

    def loss(w: NDArray) -> tuple[float, NDArray]:
        above = log_pull - columns @ w
        below = 1 / (1 + np.exp(np.clip(above / rounding, -60, 60)))
        value = ONE_SIGMA * above + rounding * np.logaddexp(0, -above / rounding)
        return weight @ value + RIDGE * w @ w, columns.T @ (weight * (below - ONE_SIGMA)) + 2 * RIDGE * w

    return _least(loss, columns.shape[1])


def fit_temperature(logits: NDArray, identity: NDArray, columns: NDArray, weight: NDArray) -> NDArray[np.float64]:
    """Coefficients (k,) of ln(temperature), linear in columns (n, k), of greatest likelihood (arXiv:1706.04599)."""
    rows = np.arange(len(identity))

    def loss(w: NDArray) -> tuple[float, NDArray]:
        scaled = logits * np.exp(-np.clip(columns @ w, -2, 3))[:, None]
        p = softmax(scaled)
        slope = scaled[rows, identity] - (p * scaled).sum(axis=1)
        value = -np.log(np.maximum(p[rows, identity], 1e-12))
        return weight @ value + RIDGE * w @ w, columns.T @ (weight * slope) + 2 * RIDGE * w

    return _least(loss, columns.shape[1])


def _least(loss: Callable[[NDArray], tuple[float, NDArray]], n: int) -> NDArray[np.float64]:
    """Where a convex loss (value, gradient) of n numbers is least."""
    from scipy.optimize import minimize

    return minimize(loss, np.zeros(n), jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
