"""Train the calibration network on `clusters` files and fit its corrections.

`torchrun --nproc-per-node N -m gen2reco.cli train calibration ...` shares the batches out over the GPUs of a node.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from gen2reco.calibrate.calibration_recipe import ObjectRecipe
from gen2reco.calibrate.corrections import (
    EM,
    REFERENCE,
    Corrections,
    Predicted,
    conditions,
    fit_closure,
    fit_temperature,
    fit_width,
)
from gen2reco.calibrate.evaluate import crowded
from gen2reco.calibrate.network import Answer, CalibrationNetwork, Sizes, energy_loss
from gen2reco.calibrate.predict import KIND, batch
from gen2reco.calibrate.sample import Sample
from gen2reco.events.schemas import IDENTITIES
from gen2reco.flow.training import Draw
from gen2reco.flow.training_data import DataFiles
from gen2reco.flow.training_parts import Work

MUON = IDENTITIES.index("muon")
LEAST_ENERGY = 0.5
"""GeV; candidates of less true energy teach no energies."""
PURE = 0.9
"""Directions are learned from candidates of which one particle has at least this share."""
DIRECTION_SCALE = 5.0
"""mm on the plane of the face: where the loss of the direction turns from square to linear."""


class Objective:
    """Batches of training candidates and their loss."""

    def __init__(self, network: CalibrationNetwork, sample: Sample, files: DataFiles, recipe: ObjectRecipe):
        self.network, self.inputs, self.recipe = network, sample.inputs, recipe
        used = sample.part("train") & (sample.targets.identity >= 0) & (sample.targets.energy > 0)
        self.index = np.flatnonzero(used)
        chance = chances(sample, recipe.jet_share)[self.index]
        self.chance = np.cumsum(files.chances(chance, sample.source[self.index]))
        self.truth = {name: torch.from_numpy(value) for name, value in truth(sample).items()}

    def __call__(self, draw: Draw) -> tuple[torch.Tensor, dict[str, float]]:
        """Draw a batch and compute its loss."""
        at = np.searchsorted(self.chance, draw.rng.random(draw.size) * self.chance[-1])
        chosen = np.sort(self.index[np.minimum(at, len(self.index) - 1)])
        torch.manual_seed(int(draw.rng.integers(2**62)))  # dropout
        answer = self.network.of_scaled(*batch(self.network, self.inputs, chosen, draw.device))
        truth = {name: value[chosen].to(draw.device) for name, value in self.truth.items()}
        parts = losses(answer, truth)
        total = parts["energy"] + self.recipe.identity_weight * parts["identity"]
        total = total + self.recipe.direction_weight * parts["direction"]
        return total, {name: float(value.detach()) for name, value in parts.items()}


def truth(sample: Sample) -> dict[str, NDArray]:
    """Targets of the losses, float32 or int64, with masks of the candidates that each loss is for."""
    targets, raw = sample.targets, sample.plain.energy
    shower = (targets.identity >= 0) & (targets.identity != MUON) & (raw > 0) & (targets.energy >= LEAST_ENERGY)
    ratio = np.log(np.where(shower, targets.energy, 1.0) / np.where(shower, raw, 1.0))
    centre = sample.inputs.centre
    r = np.abs(centre[:, 2]) / np.sinh(np.maximum(np.abs(targets.eta), 0.5))
    aim = np.stack([r * np.cos(targets.phi), r * np.sin(targets.phi)], axis=1) - centre[:, :2]
    straight = shower & (sample.inputs.track[:, 0] == 0) & (np.hypot(*aim.T) < 60.0) & (targets.purity > PURE)
    return {
        "identity": np.maximum(targets.identity, 0),
        "ratio": np.clip(ratio, -2.5, 2.5).astype(np.float32),
        "has_energy": shower.astype(np.float32),
        "shift": np.where(straight[:, None], aim, 0.0).astype(np.float32),
        "has_shift": straight.astype(np.float32),
    }


def losses(answer: Answer, truth: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Mean losses over a batch: energy, identity, direction."""
    energy = (energy_loss(answer, truth["ratio"]) * truth["has_energy"]).sum() / (truth["has_energy"].sum() + 1e-6)
    identity = torch.nn.functional.cross_entropy(answer.logits.float(), truth["identity"])
    off = torch.nn.functional.smooth_l1_loss(
        answer.shift / DIRECTION_SCALE, truth["shift"] / DIRECTION_SCALE, reduction="none"
    ).sum(1)
    direction = (off * truth["has_shift"]).sum() / (truth["has_shift"].sum() + 1e-6)
    return {"energy": energy, "identity": identity, "direction": direction}


def chances(sample: Sample, jet_share: float) -> NDArray[np.float64]:
    """Relative chance of each candidate: single particles and events of many have fixed shares of a batch."""
    crowd = crowded(sample)
    return np.where(crowd, jet_share / max(crowd.sum(), 1), (1 - jet_share) / max((~crowd).sum(), 1))


def train_network(sample: Sample, files: DataFiles, recipe: ObjectRecipe, work: Work) -> CalibrationNetwork:
    """Train a network on the train part of a sample of the files; its checkpoints are kept by `work`, from which it
    resumes."""
    torch.manual_seed(recipe.training.seed)
    inputs = sample.inputs
    sizes = Sizes(
        calorimeter=inputs.calorimeter.shape[1],
        track=inputs.track.shape[1],
        points=inputs.points.shape[1],
        point_width=recipe.point_width,
        width=recipe.width,
        dropout=recipe.dropout,
    )
    network = CalibrationNetwork(sizes)
    known = sample.part("train") & (sample.targets.identity >= 0)
    for name in ("calorimeter", "track"):
        network.standardise(name, torch.from_numpy(getattr(inputs, name)[known]))
    network.standardise("points", torch.from_numpy(inputs.points[np.repeat(known, np.diff(inputs.offsets))]))
    if work.parent:
        earlier = work.parent.model(KIND, "objects")
        work.parent.into(network, earlier, earlier.config, {"sizes": sizes.model_dump(mode="json")})
    work.fit("objects", network, Objective(network, sample, files, recipe), recipe.training)
    return network


def fit_corrections(sample: Sample, predicted: Predicted) -> Corrections:
    """Temperature, closure and widths, from the tune part."""
    tune, targets = sample.part("tune"), sample.targets
    known = tune & (targets.identity >= 0)
    shower = known & (targets.identity != MUON) & (sample.plain.energy > 0) & (targets.energy > 1.0)
    alone = shower & ~crowded(sample)
    em = np.isin(targets.identity, EM)
    energy = sample.plain.energy * np.exp(predicted.log_ratio)
    fits = [fit_closure(energy[k], targets.energy[k]) for k in (alone & em, alone & ~em)]
    closure = np.stack([np.pad(fit, (max(map(len, fits)) - len(fit), 0)) for fit in fits])
    edges = np.log(np.quantile(targets.energy[alone], [0.002, 0.998]) / REFERENCE) if alone.any() else np.zeros(2)
    fitted = replace(Corrections.none(), closure=closure, closure_range=edges)
    energy, sigma = fitted.energy(sample.plain.energy, predicted)
    pull = (energy - targets.energy) / np.maximum(sigma, 1e-9)
    columns, half = conditions(predicted, edges), chances(sample, 0.5)
    weight = {name: half * mask / max((half * mask).sum(), 1e-9) for name, mask in (("w", shower), ("t", known))}
    temperature = fit_temperature(
        predicted.logits[known], targets.identity[known], columns[known][:, [0, 2, 4]], weight["t"][known]
    )
    return replace(fitted, temperature=temperature, width=fit_width(pull[shower], columns[shower], weight["w"][shower]))
