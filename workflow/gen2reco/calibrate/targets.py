"""What a candidate truly is: the energy, identity and direction that its calibration is trained and judged on.

A particle's true energy is shared out among the candidates in proportion to the energy of its that they hold (the
tracksters' associations), so the candidates of a particle add up to it whatever the clustering split.
"""

from dataclasses import dataclass

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco.calibrate.candidates import Candidates
from gen2reco.events.lists import event_of, flat_index
from gen2reco.events.schemas import IDENTITIES
from gen2reco.events.truth import charge, incident_energy

_BARE = {22: "photon", 11: "electron", 13: "muon"}


@dataclass(frozen=True)
class Targets:
    """Truth of n candidates; all (n,)."""

    energy: NDArray[np.float64]
    """True energy, GeV; 0 where no particle is known to be in it."""
    identity: NDArray[np.int64]
    """Index in `IDENTITIES` of the particle of most energy in it, -1 for none."""
    purity: NDArray[np.float64]
    """Share of the true energy that is that particle's."""
    particle: NDArray[np.int64]
    """That particle's place in the event, -1 for none."""
    eta: NDArray[np.float64]
    """Direction of that particle's momentum at its vertex."""
    phi: NDArray[np.float64]


def identity_of(pdg: NDArray) -> NDArray[np.int64]:
    """Index in `IDENTITIES` of particles by their PDG codes."""
    pdg = np.asarray(pdg)
    hadron = np.where(charge(pdg) != 0, IDENTITIES.index("charged_hadron"), IDENTITIES.index("neutral_hadron"))
    known = [np.abs(pdg) == code for code in _BARE]
    return np.select(known, [IDENTITIES.index(name) for name in _BARE.values()], hadron)


def make_targets(events: ak.Array, candidates: Candidates) -> Targets:
    """Truth of the candidates of `clusters` events, from their associations; of tracks alone, from their particles."""
    particles = ak.flatten(events.particles)
    incident = incident_energy(ak.to_numpy(particles.pdg), ak.to_numpy(particles.energy))
    owner, particle, energy = _shares(events, candidates, incident)
    n = len(candidates)
    total = np.bincount(owner, energy, n)
    order = np.lexsort((particle, -energy, owner))
    first = order[np.unique(owner[order], return_index=True)[1]]
    leading, most = np.full(n, -1, np.int64), np.zeros(n)
    leading[owner[first]], most[owner[first]] = particle[first], energy[first]
    column = {name: np.append(ak.to_numpy(particles[name]), 0)[leading] for name in ("pdg", "px", "py", "pz")}
    pt = np.hypot(column["px"], column["py"])
    counts = ak.to_numpy(ak.num(events.particles))
    found = leading >= 0
    return Targets(
        np.asarray(total, np.float64),
        np.where(found, identity_of(column["pdg"]), -1),
        most / np.where(total > 0, total, 1.0),
        np.where(found, leading - (np.cumsum(counts) - counts)[candidates.event], -1),
        np.arcsinh(column["pz"] / np.where(pt > 0, pt, 1.0)),
        np.arctan2(column["py"], column["px"]),
    )


def _shares(events: ak.Array, candidates: Candidates, incident: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Flat (candidate, particle, true energy): how each particle's energy is shared out."""
    a = ak.flatten(events.associations)
    event = event_of(events.associations)
    trackster = flat_index(ak.to_numpy(a.trackster).astype(np.int64), events.tracksters, event)
    particle = flat_index(ak.to_numpy(a.particle).astype(np.int64), events.particles, event)
    shared = ak.to_numpy(a.shared_energy).astype(np.float64)
    held = np.bincount(particle, shared, len(incident))
    energy = shared / np.where(held > 0, held, 1.0)[particle] * incident[particle]
    alone = np.flatnonzero(candidates.trackster < 0)
    track = flat_index(candidates.track[alone].astype(np.int64), events.tracks, candidates.event[alone])
    tracked = ak.to_numpy(ak.flatten(events.tracks.particle)).astype(np.int64)[track]
    tracked = flat_index(tracked, events.particles, candidates.event[alone])
    unclaimed = held[tracked] <= 0
    return (
        np.concatenate([candidates.of_trackster[trackster], alone[unclaimed]]),
        np.concatenate([particle, tracked[unclaimed]]),
        np.concatenate([energy, incident[tracked[unclaimed]]]),
    )
