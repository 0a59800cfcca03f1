"""Train the calibration of objects: network, corrections, metrics on held-out events, and what the card says."""

import json
import platform
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from gen2reco.calibrate.calibration_recipe import ObjectRecipe
from gen2reco.calibrate.corrections import Corrections, Predicted
from gen2reco.calibrate.dnn import PLAIN, pins, readout_of
from gen2reco.calibrate.evaluate import LEAST_IDENTIFIED, evaluate, reliability
from gen2reco.calibrate.features import POINT_NAMES, TRACK_NAMES, names
from gen2reco.calibrate.object_training import fit_corrections, train_network
from gen2reco.calibrate.predict import KIND, predict
from gen2reco.calibrate.sample import Sample, read_sample
from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry
from gen2reco.errors import InputError
from gen2reco.events.schemas import IDENTITIES
from gen2reco.flow.training_data import DataFiles
from gen2reco.flow.training_parts import Work
from gen2reco.flow.trainings import Trained


@dataclass(frozen=True)
class ObjectData:
    """Candidates of the training files, and the geometry and pins that all files agree on."""

    geometry: Geometry
    pins: dict[str, str]
    sample: Sample


def load_objects(files: DataFiles) -> ObjectData:
    """Read `clusters` files. Raises InputError if they differ in geometry or clustering."""
    detector, pinned = common_pins(files)
    geometry = Geometry(detector)
    return ObjectData(geometry, pinned, read_sample(files.paths, geometry))


def train_objects(data: ObjectData, files: DataFiles, recipe: ObjectRecipe, work: Work) -> Trained:
    """The calibration of objects; on the held-out files it is only judged, by the name of their sample."""
    sample, device = data.sample, work.device
    began = time.perf_counter()
    network = train_network(sample, files, recipe, work).to(device)
    spent = time.perf_counter() - began
    predicted = predict(network, sample.inputs, device)
    corrections = fit_corrections(sample, predicted)
    test = sample.part("test")
    metrics = evaluate(sample, predicted, corrections, test)
    reliable = {"test": reliability(*_answers(sample, predicted, corrections, test))}
    for label, paths in files.held_out.items():
        other = read_sample(paths, data.geometry)
        every = np.ones(len(other), bool)
        answer = predict(network, other.inputs, device)
        found = evaluate(other, answer, corrections, every)
        metrics += [m | {"name": f"{label}_{m['name']}"} for m in found]
        reliable[label] = reliability(*_answers(other, answer, corrections, every))
    config = {
        "sizes": network.sizes.model_dump(mode="json"),
        "corrections": corrections.as_json(),
        "valid_range": valid_range(sample),
        "features": [*names(data.geometry), *TRACK_NAMES],
        "point_features": list(POINT_NAMES),
        "settings": recipe.model_dump(mode="json"),
        "metrics": metrics,
        "reliability": reliable,
    }
    weights = {name: value.detach().cpu().numpy() for name, value in network.state_dict().items()}
    hardware = torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor() or "CPU"
    text = card(data, metrics, reliable, f"{spent / 60:.1f} min on {hardware}", files.made_by("simulate"))
    return Trained(KIND, config, data.pins, weights, text, "objects")


def _answers(sample: Sample, predicted: Predicted, corrections: Corrections, mask: NDArray) -> tuple[NDArray, NDArray]:
    """Probability of the most likely identity and whether it is right, for the known candidates of a mask."""
    mask = mask & (sample.targets.identity >= 0) & (sample.targets.energy > LEAST_IDENTIFIED)
    probability = corrections.probabilities(predicted)[mask]
    return probability.max(axis=1, initial=0.0), probability.argmax(axis=1) == sample.targets.identity[mask]


def common_pins(files: DataFiles) -> tuple[Detector, dict[str, str]]:
    """The detector and the pins that all files agree on. Raises InputError if they do not."""
    found = {}
    for path, story in zip(files.paths, files.provenance):
        if "detector" not in story.get("cluster", {}):
            raise InputError(f"{path}: does not say how it was clustered; remake it with `gen2reco cluster`")
        detector = Detector.model_validate(story["cluster"]["detector"])
        found[json.dumps(pins(detector, story), sort_keys=True)] = (path, detector)
    if len(found) > 1:
        one, other = list(found.items())[:2]
        raise InputError(
            f"{one[1][0]} was made with {one[0]}, {other[1][0]} with {other[0]}; train on files made alike"
        )
    text, (_, detector) = found.popitem()
    readouts = sorted({readout_of(story) for story in files.provenance})
    return detector, json.loads(text) | ({} if readouts == [PLAIN] else {"readout": "; ".join(readouts)})


def valid_range(sample: Sample) -> dict[str, list[float]]:
    """Least and largest value of each feature in the training part, features of the track after the others."""
    known = sample.part("train") & (sample.targets.identity >= 0)
    values = np.hstack([sample.inputs.calorimeter, sample.inputs.track])[known]
    margin = 0.02 * (values.max(0) - values.min(0)) + 1e-4
    return {"low": (values.min(0) - margin).tolist(), "high": (values.max(0) + margin).tolist()}


def card(data: ObjectData, metrics: list[dict], reliable: dict, cost: str, makers: str) -> str:
    """The model card, in Markdown. makers: who made the showers, in words."""
    sample = data.sample
    kinds = Counter(IDENTITIES[i] for i in sample.targets.identity[sample.part("train")] if i >= 0)
    known = sample.targets.identity >= 0
    energy, eta = sample.targets.energy[known], np.abs(sample.targets.eta[known])
    rows = [f"| {m['name']} | {m['value']:.4f} | {m['uncertainty']:.4f} | {m['n']} |" for m in metrics]
    sure = [
        f"| {label} | {p:.3f} | {f:.3f} | {error:.3f} | {n} |"
        for label, found in reliable.items()
        for p, f, error, n in found
    ]
    return f"""# Calibration of calorimeter objects

Identity, energy with its uncertainty, and direction of candidates (tracksters with their loose layer clusters and
tracks). Energies use the calorimeter alone; the track enters identities, and gives muons their momentum.

- Data: showers made by {makers}; {len(sample)} candidates ({
        ", ".join(f"{n} {k}" for k, n in kinds.items())
    } in training); events are split 70 / 15 / 15 % into training, corrections, and the test below.
- Training: {cost}.
- Valid range: true energies {np.quantile(energy, 0.001):.2f} to {energy.max():.0f} GeV, |eta| {eta.min():.2f} to
  {eta.max():.2f}, behind readout {
        data.pins.get("readout", PLAIN)
    }; every feature within the range that `config.json` states. Candidates outside are flagged
  in `out_of_range` and counted in the sidecar.
- Trained behind: {", ".join(f"{k} `{v}`" for k, v in data.pins.items())}.
- Probabilities hold for the training's mixture of particles.

## Held-out events

Responses are sums over the candidates of a particle over its true energy; `_raw` is the plain dE/dx-weighted sum.
Uncertainties are bootstrap standard deviations.

| metric | value | uncertainty | n |
|---|---|---|---|
{chr(10).join(rows)}

## Reliability of the probabilities

Of the most likely identity, in groups of equal size.

| sample | mean probability | share that is right | uncertainty | n |
|---|---|---|---|---|
{chr(10).join(sure)}
"""
