"""A calibration network at work, in batches of candidates of like size."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from gen2reco import jit
from gen2reco.calibrate.corrections import Predicted
from gen2reco.calibrate.features import CROWDING, MAX_POINTS, Inputs
from gen2reco.calibrate.network import CLIP, LOG_SHARE, CalibrationNetwork, Sizes, moments
from gen2reco.flow.weights import fill
from gen2reco.run.model_folder import Model, ModelConfig

KIND = "calibration"
BATCH_POINTS = 16384
"""Padded points in a batch, which bounds memory."""


class _Networks(ModelConfig):
    """What of a calibration's config makes its network."""

    sizes: Sizes


def load_network(model: Model) -> CalibrationNetwork:
    """The network of a model folder, ready for use. Raises InputError if its weights do not fit its config."""
    network = CalibrationNetwork(model.parsed(_Networks).sizes)
    fill(network, model.weights(), str(model.folder))
    return network.eval()


def batch(
    network: CalibrationNetwork, inputs: Inputs, chosen: NDArray, device: torch.device | str = "cpu"
) -> tuple[torch.Tensor, ...]:
    """Arguments of `CalibrationNetwork.of_scaled` for chosen candidates."""
    width = max(int(np.diff(inputs.offsets)[chosen].max(initial=1)), 1)
    shape = (len(chosen), width)
    points = np.empty((*shape, inputs.points.shape[1]), np.float32)
    share, place, mask = np.empty(shape, np.float32), np.empty((*shape, 2), np.float32), np.empty(shape, np.float32)
    scales = (getattr(network, f"points_{name}").cpu().numpy() for name in ("mean", "std"))
    jit.load("gen2reco.calibrate.kernels.feature_sums").pad(
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
    about = (inputs.calorimeter[:, column].astype(np.float64) for column in (0, CROWDING))
    return Predicted(logits, mean, sigma, shift, *about)
