"""Calibrated objects as a ROOT ntuple: a TTree `Events` with NanoAOD-like branches, GeV and radians."""

from collections.abc import Iterable
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa

from gen2reco.events import records
from gen2reco.events.schemas import IDENTITIES
from gen2reco.files import whole

MATCH = 0.4  # largest distance in (eta, phi) of a matched generator jet
_P4 = "pt: float32, eta: float32, phi: float32, mass: float32"
_PROBABILITIES = {name: "p" + name.title().replace("_", "") for name in IDENTITIES}
BRANCHES = {
    "run": "uint32",
    "luminosityBlock": "uint32",
    "event": "uint64",
    "genWeight": "float64",
    "GenPart": f"var * {{{_P4}, vx: float32, vy: float32, vz: float32, pdgId: int32, status: int32, "
    "genPartIdxMother: int16}",
    "GenJet": f"var * {{{_P4}, nConstituents: int32}}",
    "Jet": f"var * {{{_P4}, nConstituents: int32, genJetIdx: int32}}",
    "PFCand": "var * {pt: float32, eta: float32, phi: float32, energy: float32, energyRaw: float32, "
    "energySigma: float32, pdgId: int32, jetIdx: int32, tracksterIdx: int32, "
    + ", ".join(f"{name}: float32" for name in _PROBABILITIES.values())
    + "}",
}
"""Branch or collection and its type: `Jet` gives `nJet`, `Jet_pt`, … `PFCand` are the objects."""


def write_root(events: pa.Table | Iterable[pa.Table], path: Path | str, shard: int = 0) -> None:
    """Write an objects table, or several, as one TTree (not an RNTuple), atomically; `luminosityBlock` is shard + 1.

    Raises InfrastructureError when the folder or disk refuses.
    """
    import uproot

    types = {name: ak.types.from_datashape(kind, highlevel=False) for name, kind in BRANCHES.items()}
    with whole(Path(path)) as temporary, uproot.recreate(temporary, compression=uproot.ZSTD(3)) as file:
        tree = file.mktree("Events", types, title="gen2reco objects")
        for table in [events] if isinstance(events, pa.Table) else events:
            if table.num_rows:
                tree.extend(branches(records.awkward(table), shard))


def branches(events: ak.Array, shard: int) -> dict[str, ak.Array]:
    """The branches of `BRANCHES` of some events."""
    count = np.ones(len(events), np.uint32)
    jets, gen_jets = events.jets, events.gen_jets
    return {
        "run": count,
        "luminosityBlock": count * np.uint32(shard + 1),
        "event": ak.to_numpy(events.event).astype(np.uint64),
        "genWeight": ak.to_numpy(events.weight),
        "GenPart": _typed("GenPart", _gen_particles(events.particles)),
        "GenJet": _typed("GenJet", _jets(gen_jets)),
        "Jet": _typed("Jet", _jets(jets) | {"genJetIdx": nearest(jets, gen_jets, MATCH)}),
        "PFCand": _typed("PFCand", _candidates(events.objects, jets)),
    }


def nearest(jets: ak.Array, others: ak.Array, limit: float) -> ak.Array:
    """Per jet the index of the nearest of the others in (eta, phi), −1 if none is within `limit`: (events, var) int."""
    pairs = ak.cartesian({"a": jets[["eta", "phi"]], "b": others[["eta", "phi"]]}, nested=True)
    turn = np.abs(pairs.a.phi - pairs.b.phi)
    distance = np.hypot(pairs.a.eta - pairs.b.eta, np.minimum(turn, 2 * np.pi - turn))
    index = ak.argmin(distance, axis=2)
    near = ak.fill_none(ak.min(distance, axis=2) < limit, False)
    return ak.where(near, ak.fill_none(index, -1), -1)


def _gen_particles(particles: ak.Array) -> dict[str, ak.Array]:
    pt = np.hypot(particles.px, particles.py)
    energy, momentum = ak.values_astype(particles.energy, np.float64), ak.values_astype(particles.pz, np.float64)
    square = energy**2 - momentum**2 - ak.values_astype(pt, np.float64) ** 2
    one = ak.ones_like(particles.pdg)
    return {
        "pt": pt,
        "eta": np.arcsinh(particles.pz / ak.where(pt > 1e-9, pt, 1e-9)),
        "phi": np.arctan2(particles.py, particles.px),
        "mass": np.sqrt(ak.where(square > 0, square, 0)),
        **{name: particles[name] for name in ("vx", "vy", "vz")},
        "pdgId": particles.pdg,
        "status": one,
        "genPartIdxMother": -one,
    }


def _jets(jets: ak.Array) -> dict[str, ak.Array]:
    return {name: jets[name] for name in ("pt", "eta", "phi", "mass")} | {
        "nConstituents": ak.num(jets.constituents, axis=2)
    }


def _candidates(objects: ak.Array, jets: ak.Array) -> dict[str, ak.Array]:
    return {
        "pt": objects.energy / np.cosh(objects.eta),
        **{name: objects[name] for name in ("eta", "phi", "energy")},
        "energyRaw": objects.energy_raw,
        "energySigma": objects.energy_sigma,
        "pdgId": objects.pdg,
        "jetIdx": _jet_of(objects, jets),
        "tracksterIdx": objects.trackster,
        **{branch: objects[f"p_{name}"] for name, branch in _PROBABILITIES.items()},
    }


def _jet_of(objects: ak.Array, jets: ak.Array) -> ak.Array:
    """Per object the index of the jet that holds it, −1 if none."""
    counts = ak.to_numpy(ak.num(objects))
    start = np.cumsum(counts) - counts
    owner = np.full(int(counts.sum()), -1, np.int32)
    at = ak.flatten(jets.constituents + start, axis=None)
    owner[ak.to_numpy(at)] = ak.to_numpy(
        ak.flatten(ak.broadcast_arrays(ak.local_index(jets.pt), jets.constituents)[0], axis=None)
    )
    return ak.unflatten(owner, counts)


def _typed(collection: str, fields: dict[str, ak.Array]) -> ak.Array:
    """Fields zipped and cast to the types of the collection's branches."""
    kinds = dict(
        field.split(": ") for field in BRANCHES[collection].removeprefix("var * {").removesuffix("}").split(", ")
    )
    return ak.zip({name: ak.values_astype(fields[name], kind) for name, kind in kinds.items()}, depth_limit=2)
