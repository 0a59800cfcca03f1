"""Events of learned generators whose networks know nothing: what holds for them holds for any."""

from pathlib import Path

import awkward as ak
import numpy as np
import torch
from torch import nn

from gen2reco.config.process import AnyProcess, LheProcess
from gen2reco.events import records
from gen2reco.generate.hadronize.dataset import Prepared
from gen2reco.generate.hadronize.dijet_model import DijetHadronizer
from gen2reco.generate.hadronize.pair_model import Architecture
from gen2reco.generate.hadronize.species import Species, quantum_numbers
from gen2reco.generate.learned import Learned
from gen2reco.run.model_folder import save_model
from gen2reco.run.stage import Chunk

LHE = """<LesHouchesEvents version="1.0">
<init>
{beams} 3 1
1.0 0.0 1.0 1
</init>
{events}</LesHouchesEvents>
"""


def save(model: nn.Module, folder: Path, **config) -> Path:
    """Write the model's folder."""
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    config["architecture"] = model.architecture.model_dump(mode="json")
    save_model(folder, "generation", config, {}, weights, "# A test's model")
    return folder


def generate(folder: Path, events: int = 100, seed: int = 5, *, process: AnyProcess, **options):
    """Events of the model in the folder, and what the backend tells of them."""
    backend = Learned(Learned.Options(process=process, model=str(folder), **options))
    backend.prepare()
    result = backend.run(Chunk(0, seed, 0, events))
    records.check(result.table, "particles", "test")
    return records.awkward(result.table), result.info


def sums(particles: ak.Array, name: str) -> np.ndarray:
    """A field summed over the particles of each event, in double precision."""
    return ak.to_numpy(ak.sum(ak.values_astype(particles[name], np.float64), axis=1))


def numbers(pdg: ak.Array) -> np.ndarray:
    """Charge, baryon, electron, muon and tau number of each event: (n, 5)."""
    codes, at = np.unique(ak.to_numpy(ak.flatten(pdg)), return_inverse=True)
    flat = np.array([_numbers(int(code)) for code in codes])[at]
    return np.add.reduceat(flat, np.concatenate([[0], np.cumsum(ak.to_numpy(ak.num(pdg)))[:-1]]))


def _numbers(code: int) -> tuple[int, ...]:
    if abs(code) in (15, 16):
        return (-np.sign(code) * (abs(code) == 15), 0, 0, 0, np.sign(code))
    return (*quantum_numbers(code)[:4], 0)


def lhe(path: Path, beams: str, events: list[str], **options) -> LheProcess:
    """A process of the events in a file written to `path`; `beams`: their codes, energies and PDFs."""
    path.write_text(LHE.format(beams=beams, events="".join(events)))
    return LheProcess(kind="lhe", file=str(path), **options)


class _Straight(nn.Module):
    """Takes coordinates as they are."""

    def outward(self, z, *_):
        return z


def decoded(network: type[DijetHadronizer], prepared: Prepared, species: Species) -> tuple[np.ndarray, np.ndarray]:
    """Four-momenta (n_items, 4) that the networks of hadron collisions at 14 TeV make of encoded events, and the event
    of each (n_items,)."""
    most = (prepared.counts.max(0).T.reshape(-1) + 2).tolist()
    sizes = {"counts_width": 8, "shapes_width": 8, "width": 8, "depth": 1, "pooled": 8, "tuned": True}
    model = network(Architecture(pdg=list(species.pdg), mass=list(species.mass), most=most, sqrt_s=14000.0, **sizes))
    model.particles_start = _Straight()
    counts, shapes, known = (torch.from_numpy(a) for a in (prepared.counts, prepared.shapes, prepared.conditions))
    sets = model.sets(counts, shapes, known)
    energy = torch.full((len(counts),), 14000.0, dtype=torch.float64)
    p = model.decode(torch.from_numpy(prepared.x), sets, counts, shapes, known, energy)
    return p.detach().numpy(), sets.owner.numpy()
