"""A calibration network at work: batches of like size, and the corrections fitted after the training."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gen2reco.calibrate.features import MAX_POINTS, Inputs
from gen2reco.calibrate.network import CLIP, LOG_SHARE, CalibrationNetwork, Sizes, moments
from gen2reco.campaign import jit
from gen2reco.campaign.models import Model
from gen2reco.events.schemas import IDENTITIES

KIND = "calibration"
BATCH_POINTS = 16384
"""Padded points in a batch, which bounds memory."""
EM = (IDENTITIES.index("photon"), IDENTITIES.index("electron"))


@dataclass(frozen=True)
class Predicted:
    """Answers for n candidates; energies relative to the plain sum."""

    logits: NDArray[np.float64]
    """(n, 5), before the temperature."""
    log_ratio: NDArray[np.float64]
    """Mean of ln(true energy / raw energy): (n,)."""
    sigma: NDArray[np.float64]
    """Its standard deviation: (n,)."""
    shift: NDArray[np.float64]
    """(n, 2): from the barycentre to the particle's direction, mm on the plane of the face."""

    @property
    def em(self) -> NDArray[np.float64]:
        """Probability that it is a photon or electron: (n,)."""
        return softmax(self.logits)[:, EM].sum(axis=1)


@dataclass(frozen=True)
class Corrections:
    """What is fitted on events that the training did not see; of pairs, the first is for photons and electrons."""

    temperature: float
    """Divides the logits, so that probabilities are frequencies."""
    closure: NDArray[np.float64]
    """(2, degree + 1): polynomials in ln(E / 20 GeV) of ln(response), taken off ln E, highest power first."""
    closure_range: NDArray[np.float64]
    """(2,): ln(E / 20 GeV) is held within."""
    sigma_scale: NDArray[np.float64]
    """(2,): factors on the relative uncertainty that give pulls of unit width."""

    @classmethod
    def none(cls) -> "Corrections":
        """No corrections."""
        return cls(1.0, np.zeros((2, 1)), np.array([-10.0, 10.0]), np.ones(2))

    def energy(self, raw: NDArray, predicted: Predicted) -> tuple[NDArray, NDArray]:
        """Calibrated energies and their uncertainties, GeV, from plain sums (n,)."""
        energy = raw * np.exp(predicted.log_ratio)
        at = np.clip(np.log(np.maximum(energy, 1e-6) / 20.0), *self.closure_range)
        off = np.stack([np.polyval(p, at) for p in self.closure])
        share = np.stack([predicted.em, 1 - predicted.em])
        energy = energy * np.exp(-(share * off).sum(axis=0))
        return energy, energy * predicted.sigma * (share * self.sigma_scale[:, None]).sum(axis=0)

    def probabilities(self, predicted: Predicted) -> NDArray[np.float64]:
        """(n, 5)"""
        return softmax(predicted.logits / self.temperature)

    def as_json(self) -> dict:
        """Plain data for the model's config."""
        return {name: np.asarray(getattr(self, name)).tolist() for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, data: dict) -> "Corrections":
        """The inverse of `as_json`."""
        return cls(float(data["temperature"]), *(np.array(data[k]) for k in list(cls.__dataclass_fields__)[1:]))


def softmax(logits: NDArray) -> NDArray[np.float64]:
    """Probabilities of (n, k) logits."""
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def load_network(model: Model) -> CalibrationNetwork:
    """The network of a model folder, ready for use."""
    network = CalibrationNetwork(Sizes.model_validate(model.config["sizes"]))
    network.load_state_dict({name: torch.from_numpy(value) for name, value in model.weights().items()})
    return network.eval()


def batch(network: CalibrationNetwork, inputs: Inputs, chosen: NDArray, device: torch.device | str = "cpu"):
    """Arguments of `CalibrationNetwork.of_scaled` for chosen candidates."""
    width = max(int(np.diff(inputs.offsets)[chosen].max(initial=1)), 1)
    shape = (len(chosen), width)
    points = np.empty((*shape, inputs.points.shape[1]), np.float32)
    share, place, mask = np.empty(shape, np.float32), np.empty((*shape, 2), np.float32), np.empty(shape, np.float32)
    scales = (getattr(network, f"points_{name}").cpu().numpy() for name in ("mean", "std"))
    jit.load("gen2reco.calibrate.kernels.features").pad(
        inputs.offsets, chosen, inputs.points, inputs.place, *scales, CLIP, LOG_SHARE, points, share, place, mask
    )
    whole = (torch.from_numpy(getattr(inputs, name)[chosen]).to(device) for name in ("calorimeter", "track"))
    scaled = (network.scaled(name, values) for name, values in zip(("calorimeter", "track"), whole))
    return (*scaled, *(torch.from_numpy(part).to(device) for part in (points, share, place, mask)))


def batches(inputs: Inputs) -> Iterator[NDArray[np.int64]]:
    """Candidates of like numbers of points, so that little is padded."""
    counts = np.diff(inputs.offsets)
    order, at = np.argsort(counts, kind="stable"), 0
    while at < len(order):
        size = max(BATCH_POINTS // MAX_POINTS, 1)
        for _ in range(2):
            width = max(int(counts[order[min(at + size, len(order)) - 1]]), 1)
            size = max(BATCH_POINTS // width, 1)
        yield order[at : at + size]
        at += size


@torch.inference_mode()
def predict(network: CalibrationNetwork, inputs: Inputs, device: str = "cpu") -> Predicted:
    """Run the network on every candidate."""
    n = len(inputs)
    logits, shift = np.zeros((n, network.sizes.identities)), np.zeros((n, 2))
    mean, sigma = np.zeros(n), np.ones(n)
    for chosen in batches(inputs):
        answer = network.of_scaled(*batch(network, inputs, chosen, device))
        mu, width = moments(answer)
        logits[chosen], shift[chosen] = answer.logits.cpu().numpy(), answer.shift.cpu().numpy()
        mean[chosen], sigma[chosen] = mu.cpu().numpy(), width.cpu().numpy()
    return Predicted(logits, mean, sigma, shift)
