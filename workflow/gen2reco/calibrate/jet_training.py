"""Train the jet calibration on `clusters` files of events with jets, behind a calibration of objects."""

import itertools
import time
from dataclasses import dataclass, replace
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from gen2reco.calibrate.calibration_recipe import JetRecipe
from gen2reco.calibrate.corrections import fit_closure
from gen2reco.calibrate.dnn import Dnn
from gen2reco.calibrate.evaluate import metric
from gen2reco.calibrate.jet_features import CONSTITUENT_NAMES, JET_NAMES, VERSION, JetInputs
from gen2reco.calibrate.jet_network import KIND, PT_REFERENCE, JetNetwork, JetSizes, scales
from gen2reco.calibrate.jets import gen_jets, object_jets
from gen2reco.calibrate.raw import Raw
from gen2reco.calibrate.sample import PARTS
from gen2reco.config.detector import Detector
from gen2reco.events import records
from gen2reco.flow.training import Draw
from gen2reco.flow.training_data import DataFiles
from gen2reco.flow.training_parts import Work
from gen2reco.flow.trainings import Trained
from gen2reco.run.draws import origins
from gen2reco.run.model_folder import open_model
from gen2reco.run.runner import provenance
from gen2reco.statistics.response import resolution
from gen2reco.units import wrapped

FEW = 5
"""Events of at most so many particles are guns, not jets."""
MATCH = 0.2
"""Largest distance in eta and phi of a jet from its generator jet, each the other's nearest."""
LEAST_JETS = 50
"""Fewer jets in training make no jet calibration."""
PT_MIN, ETA = 10.0, (1.6, 2.9)
"""Generator jets used for training: GeV, range of |eta|."""
PT_EDGES, ETA_EDGES = (30.0, 45.0, 70.0, 150.0), (1.7, 2.1, 2.45, 2.8)
"""Bins of the test."""


@dataclass(frozen=True)
class JetSample:
    """Matched jets of several files, flat: n jets made of calibrated objects, and what the plain sums gave."""

    inputs: JetInputs
    true_pt: NDArray[np.float64]
    true_eta: NDArray[np.float64]
    pt: NDArray[np.float64]
    """pT of the jet of calibrated objects."""
    raw_pt: NDArray[np.float64]
    """pT of the matched jet of plain sums, 0 for none."""
    event: NDArray[np.int64]
    """Original event, of which several draws may be in a file."""
    file: NDArray[np.int64]

    @property
    def group(self) -> NDArray[np.int64]:
        """A number for each original event of each file, (n,)."""
        return self.file * (self.event.max(initial=0) + 1) + self.event

    def part(self, name: str) -> NDArray[np.bool_]:
        """Mask of the jets in the events of a part."""
        return np.isin(self.event % 20, list(PARTS[name]))


def read_jets(paths: list[Path], folder: Path, batch: int = 100) -> JetSample | None:
    """Matched jets of `clusters` files by the calibration in `folder`, jets uncalibrated; None if there are none.

    Events of few particles (guns) are left out.
    """
    pieces = []
    for number, path in enumerate(paths):
        story = provenance(path)
        detector = Detector.model_validate(story["cluster"]["detector"])
        dnn, raw = Dnn(Dnn.Options(model=str(folder)), detector), Raw(Raw.Options(), detector)
        dnn.accept(story)
        dnn.prepare()
        table = records.read(path, "clusters")
        table = table.filter(pc.greater(pc.list_value_length(table["particles"]), FEW))
        pieces += [_matched(table.slice(k, batch), dnn, raw, number) for k in range(0, table.num_rows, batch)]
    if not pieces or not sum(len(piece.pt) for piece in pieces):
        return None
    columns = {name: np.concatenate([getattr(p, name) for p in pieces]) for name in list(JetSample.__annotations__)[1:]}
    inputs = JetInputs(*(np.concatenate([getattr(p.inputs, k) for p in pieces]) for k in JetInputs.__annotations__))
    return JetSample(inputs, **columns)


def _matched(part: pa.Table, dnn: Dnn, raw: Raw, file: int) -> JetSample:
    data = records.awkward(part)
    made = dnn.reconstruct(data)
    jets, plain, true = (
        object_jets(made.objects),
        object_jets(raw.reconstruct(data, made.candidates)),
        gen_jets(data.particles, dnn.properties),
    )
    true = true[(true.pt > PT_MIN) & (abs(true.eta) > ETA[0]) & (abs(true.eta) < ETA[1])]
    which, to_raw = match(true, jets), match(true, plain)
    index, at_raw = (flat_places(*pair) for pair in ((which, jets), (to_raw, plain)))
    found = index >= 0
    index, inputs = index[found], made.jet_inputs(jets, data)
    raw_pt = np.append(ak.to_numpy(ak.flatten(plain.pt)), 0.0)[at_raw]
    event = np.repeat(origins(part), ak.to_numpy(ak.num(true)))
    return JetSample(
        JetInputs(*(getattr(inputs, name)[index] for name in JetInputs.__annotations__)),
        ak.to_numpy(ak.flatten(true.pt))[found],
        ak.to_numpy(ak.flatten(true.eta))[found],
        ak.to_numpy(ak.flatten(jets.pt))[index],
        raw_pt[found],
        event[found],
        np.full(int(found.sum()), file),
    )


def flat_places(place: ak.Array, jets: ak.Array) -> NDArray[np.int64]:
    """(events, var) places in the jets of an event as places in all of them, flat; -1 stays."""
    counts = ak.to_numpy(ak.num(jets)).astype(np.int64)
    flat = ak.flatten(ak.where(place >= 0, place + (np.cumsum(counts) - counts), -1))
    return ak.to_numpy(flat).astype(np.int64)


def match(true: ak.Array, jets: ak.Array) -> ak.Array:
    """For each generator jet the jet within `MATCH` of which it is the nearest and that is its nearest, -1 for none."""
    pairs = ak.cartesian({"t": true[["eta", "phi"]], "j": jets[["eta", "phi"]]}, nested=True)
    distance = np.hypot(pairs.t.eta - pairs.j.eta, wrapped(pairs.t.phi - pairs.j.phi))
    nearest = ak.fill_none(ak.argmin(distance, axis=2), -1)
    least = ak.fill_none(ak.min(distance, axis=2), np.inf)
    rivals = (nearest[:, :, None] == nearest[:, None, :]) & (least[:, None, :] < least[:, :, None])
    return ak.where((least < MATCH) & ~ak.any(rivals, axis=2), nearest, -1)


def train_jets(files: DataFiles, folder: Path, recipe: JetRecipe, work: Work) -> Trained | None:
    """The calibration of jets behind that of objects in `folder`; None if the files hold too few jets.

    On the held-out files the result is only judged, by the name of their sample.
    """
    sample = read_jets(files.paths, folder)
    if sample is None or sample.part("train").sum() < LEAST_JETS:
        return None
    began = time.perf_counter()
    network = _train(sample, files, recipe, work)
    spent = time.perf_counter() - began
    none, limits = np.zeros(1), np.log(np.quantile(sample.pt, [0.01, 0.995]) / PT_REFERENCE)
    factor = scales(network, sample.inputs, none, limits)
    fitted = sample.part("tune") & (sample.true_pt > 20)
    if fitted.sum() < LEAST_JETS:
        fitted |= sample.part("train") & (sample.true_pt > 20)
    closure = fit_closure((sample.pt * factor)[fitted], sample.true_pt[fitted], PT_REFERENCE, degree=2, bins=6)
    metrics = judge(sample, scales(network, sample.inputs, closure, limits), sample.part("test"))
    for label, paths in files.held_out.items():
        if other := read_jets(paths, folder):
            found = judge(other, scales(network, other.inputs, closure, limits), np.ones(len(other.pt), bool))
            metrics += [m | {"name": f"{label}_{m['name']}"} for m in found]
    config = {
        "sizes": network.sizes.model_dump(mode="json"),
        "closure": closure.tolist(),
        "closure_range": limits.tolist(),
        "jet_features": list(JET_NAMES),
        "constituent_features": list(CONSTITUENT_NAMES),
        "settings": recipe.model_dump(mode="json"),
        "metrics": metrics,
    }
    objects = open_model(folder / "objects", "calibration")
    pinned = {**objects.pins, "objects": objects.digest, "jet_features": VERSION}
    weights = {name: value.detach().numpy() for name, value in network.state_dict().items()}
    return Trained(KIND, config, pinned, weights, _card(sample, metrics, spent, pinned), "jets")


def _train(sample: JetSample, files: DataFiles, recipe: JetRecipe, work: Work) -> JetNetwork:
    torch.manual_seed(recipe.training.seed)
    sizes = JetSizes(
        jet=len(JET_NAMES),
        constituents=len(CONSTITUENT_NAMES),
        **{name: getattr(recipe, name) for name in ("constituent_width", "width", "dropout")},
    )
    network, used = JetNetwork(sizes), np.flatnonzero(sample.part("train"))
    network.standardise("jet", torch.from_numpy(sample.inputs.jet[used]))
    inside = sample.inputs.mask[used] > 0
    network.standardise("constituents", torch.from_numpy(sample.inputs.constituents[used][inside]))
    arrays = [torch.from_numpy(getattr(sample.inputs, name)) for name in JetInputs.__annotations__]
    target = torch.from_numpy(np.clip(np.log(sample.true_pt / sample.pt), -1.5, 1.5).astype(np.float32))
    chance = np.cumsum(files.chances(_flat(np.log(sample.true_pt[used])), sample.file[used]))
    if work.parent:
        earlier = work.parent.model(KIND, "jets")
        work.parent.into(network, earlier, earlier.config, {"sizes": sizes.model_dump(mode="json")})

    def objective(draw: Draw) -> tuple[torch.Tensor, dict[str, float]]:
        chosen = used[np.minimum(np.searchsorted(chance, draw.rng.random(draw.size) * chance[-1]), len(used) - 1)]
        torch.manual_seed(int(draw.rng.integers(2**62)))  # dropout
        mean, log_sigma = network(*(a[chosen] for a in arrays))
        loss = (0.5 * ((target[chosen] - mean) * torch.exp(-log_sigma)) ** 2 + log_sigma).mean()
        return loss, {"likelihood": float(loss.detach())}

    replace(work, device="cpu").fit("jets", network, objective, recipe.training)
    return network


def _flat(values: NDArray, bins: int = 12) -> NDArray[np.float64]:
    """Weights that make the distribution of values flat over its range, at most 10 times the least."""
    counts, edges = np.histogram(values, bins)
    weights = 1 / np.maximum(counts, 1)[np.clip(np.digitize(values, edges) - 1, 0, bins - 1)]
    return np.minimum(weights, 10 * weights.min())


def judge(sample: JetSample, factor: NDArray, chosen: NDArray) -> list[dict]:
    """Response and width of the jets of plain sums, of calibrated objects, and after the jet calibration, by bin."""
    columns = {"raw": sample.raw_pt, "objects": sample.pt, "calibrated": sample.pt * factor}
    eta = np.abs(sample.true_eta)
    good = chosen & (sample.true_pt > PT_EDGES[0]) & (eta > ETA_EDGES[0]) & (eta < ETA_EDGES[-1]) & (sample.raw_pt > 0)
    bins = {"all": good}
    for variable, edges, values in (("pt", PT_EDGES, sample.true_pt), ("eta", ETA_EDGES, eta)):
        for low, high in itertools.pairwise(edges):
            bins[f"{variable}_{low:g}_{high:g}"] = good & (values >= low) & (values < high)
    found = []
    for label, inside in bins.items():
        if inside.sum() < 15:
            continue
        for name, pt in columns.items():
            ratio = pt[inside] / sample.true_pt[inside]
            group = sample.group[inside]
            found.append(metric(f"jet_{label}_response_{name}", (ratio,), lambda r: float(r.mean()), group))
            found.append(metric(f"jet_{label}_sigma_eff_{name}", (ratio,), resolution, group))
    return found


def _card(sample: JetSample, metrics: list[dict], spent: float, pinned: dict) -> str:
    rows = [f"| {m['name']} | {m['value']:.4f} | {m['uncertainty']:.4f} | {m['n']} |" for m in metrics]
    return f"""# Jet calibration

Scale of anti-kt (R = 0.4) jets of calibrated objects to generator jets without neutrinos, by a network on the
constituents and the tracks in the cone.

- Data: {len(sample.pt)} matched jets of pT > {PT_MIN:g} GeV, {ETA[0]:g} < |eta| < {ETA[1]:g}, split
  70 / 15 / 15 % by event into training, closure and the test below.
- Training: {spent / 60:.1f} min on a CPU.
- Valid range: pT {np.quantile(sample.pt, 0.01):.0f} to {sample.pt.max():.0f} GeV, {ETA[0]:g} < |eta| < {ETA[1]:g},
  no pile-up.
- Trained behind: {", ".join(f"{k} `{v}`" for k, v in pinned.items())}.

## Held-out jets

`raw`: jets of plain sums; `objects`: of calibrated objects; `calibrated`: after this model. Other
prefixes: samples that were not trained on. Bins of the generator jet's pT in GeV and |eta|; uncertainties are
bootstrap standard deviations.

| metric | value | uncertainty | n |
|---|---|---|---|
{chr(10).join(rows)}
"""
