"""What every calibration puts into the objects record: plain sums, directions, codes, jets."""

from dataclasses import dataclass

import awkward as ak
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gen2reco import jit
from gen2reco.calibrate.candidates import Candidates
from gen2reco.calibrate.jets import gen_jets
from gen2reco.calibrate.targets import make_targets
from gen2reco.detector.geometry import Geometry
from gen2reco.events import records
from gen2reco.events.lists import columns, flat_index
from gen2reco.events.schemas import IDENTITIES
from gen2reco.events.truth import STANDARD, Properties
from gen2reco.units import wrapped

PDG = {"photon": 22, "electron": 11, "muon": 13, "charged_hadron": 211, "neutral_hadron": 130}
"""Code given to an object of each identity; that of a charged one follows the charge of its track."""


@dataclass(frozen=True)
class Summary:
    """Plain sums of each candidate and its direction at the origin; all (n,)."""

    energy: NDArray[np.float64]
    """Sum of the dE/dx-weighted energies of its layer clusters, GeV."""
    em_energy: NDArray[np.float64]
    """The part of it in the electromagnetic section."""
    layers_behind: NDArray[np.int64]
    """Layers hit behind the electromagnetic section."""
    eta: NDArray[np.float64]
    phi: NDArray[np.float64]
    momentum: NDArray[np.float64]
    """Momentum of its track, GeV; 0 for none."""
    charge: NDArray[np.int64]
    """Charge of its track; 0 for none."""


def summarise(events: ak.Array, candidates: Candidates, geometry: Geometry) -> Summary:
    """Sums over the layer clusters of each candidate.

    The direction is that of the track, turned back to the beam line, or else that of the leading trackster.
    """
    sums, behind = np.zeros((len(candidates), 2)), np.zeros((len(candidates), geometry.n_layers), bool)
    clusters = columns(events.layer_clusters, ("energy", "layer"))
    kernels = jit.load("gen2reco.calibrate.kernels.feature_sums")
    kernels.plain_sums(candidates.of_cluster, *clusters.values(), geometry.electromagnetic.astype(bool), sums, behind)
    track = take(events.tracks, candidates.track, candidates.event, ("px", "py", "pz", "x", "y", "charge"))
    leading = take(events.tracksters, candidates.trackster, candidates.event, ("eta", "phi"))
    pt = np.hypot(track["px"], track["py"])
    turned_back = 2 * np.arctan2(track["y"], track["x"]) - np.arctan2(track["py"], track["px"])
    has = candidates.track >= 0
    return Summary(
        sums[:, 0],
        sums[:, 1],
        behind.sum(axis=1),
        np.where(has, np.arcsinh(track["pz"] / np.where(pt > 0, pt, 1.0)), leading["eta"]),
        np.where(has, wrapped(turned_back), leading["phi"]),
        np.hypot(pt, track["pz"]),
        track["charge"].astype(np.int64),
    )


def object_pdg(identity: NDArray, charge: NDArray) -> NDArray[np.int32]:
    """PDG codes from the index in `IDENTITIES` and the charge of the track (0: as for a particle, not its anti)."""
    code = np.array([PDG[name] for name in IDENTITIES], np.int32)[identity]
    negative = np.where(np.isin(code, (11, 13)), charge > 0, (charge < 0) & (code == PDG["charged_hadron"]))
    return np.where(negative, -code, code).astype(np.int32)


def objects_of(columns: dict[str, NDArray], event: NDArray, n_events: int) -> ak.Array:
    """(events, var) records of columns (n,); event: (n,) from 0, rising."""
    columns = {name: np.ascontiguousarray(values) for name, values in columns.items()}
    return ak.unflatten(ak.Array(columns), np.bincount(event, minlength=n_events))


@dataclass(frozen=True)
class Links:
    """The track and the particle of each of n objects: (n,) places in their event's lists, -1 for none."""

    tracks: ak.Array
    """(events, var) as in the record."""
    track: NDArray[np.int64]
    particle: NDArray[np.int64]
    """The particle of most true energy in the object."""

    @classmethod
    def of(cls, events: ak.Array, candidates: Candidates) -> "Links":
        """Those of the candidates of `clusters` events."""
        particle = make_targets(events, candidates).particle
        return cls(events.tracks, candidates.track.astype(np.int64), particle)

    def of_parts(self, whole: NDArray, left_over: NDArray) -> "Links":
        """Those of m parts of objects: `whole` (m,) is the object of each; what a track left over has neither."""
        track, particle = (np.where(left_over, -1, links[whole]) for links in (self.track, self.particle))
        return Links(self.tracks, track, particle)

    def columns(self, counts: ak.Array) -> dict[str, ak.Array]:
        """The columns of the objects record of events with so many objects."""
        places = {"object_track": self.track, "object_particle": self.particle}
        return {"tracks": self.tracks} | {name: ak.unflatten(place, counts) for name, place in places.items()}


def objects_table(
    events: pa.Table,
    data: ak.Array,
    objects: ak.Array,
    jets: ak.Array,
    links: Links,
    out_of_range: NDArray | None = None,
    properties: Properties = STANDARD,
    more: dict[str, ak.Array | NDArray] | None = None,
) -> pa.Table:
    """The objects record of a chunk: its events, objects, their jets, tracks and particles, and jets of the particles.

    `out_of_range`: (n,) objects outside the range that their calibration was trained in.
    `properties`: those of the particles. `more`: further optional columns.
    """
    made: dict = {"objects": objects, "jets": jets, "gen_jets": gen_jets(data.particles, properties)}
    made |= links.columns(ak.num(objects))
    if out_of_range is not None:
        made["out_of_range"] = ak.unflatten(ak.Array(out_of_range), ak.num(objects))
    made |= more or {}
    return records.table("objects", {**{name: events[name] for name in ("event", "weight", "particles")}, **made})


def take(lists: ak.Array, place: NDArray, event: NDArray, names: tuple[str, ...]) -> dict[str, NDArray[np.float64]]:
    """Fields of the records at `place` in the lists of `event`; zeros where the place is negative. All (n,)."""
    index = flat_index(place, lists, event)
    flat = ak.flatten(lists)
    return {name: np.append(ak.to_numpy(flat[name]).astype(np.float64), 0.0)[index] for name in names}
