"""Pile-up in jets: the active area of each, the density of transverse momentum, and the pT without their product.

Area subtraction (Cacciari, Salam, Phys. Lett. B659 (2008) 119): pT - rho A. Areas are active ones (arXiv:0802.1188):
the jets are made once more with ghosts, and each counts those it holds; the ghosts stand on a regular grid, so that the
same events give the same bytes. rho is the median, over the cells of a grid in both endcaps, of the pT in each, as of
FastJet's `GridMedianBackgroundEstimator`.
"""

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco import stdout
from gen2reco.calibrate.candidates import Candidates
from gen2reco.calibrate.jets import PT_MIN, RADIUS, massless
from gen2reco.config.detector import Detector

CELL = 0.5
"""Cells of the grid are at most so wide in eta and phi."""
GHOST_AREA, GHOST_PT = 0.01, 1e-50
"""Of each ghost, in eta and phi, and GeV: infrared-safe jets do not change by it."""


def density(objects: ak.Array, detector: Detector) -> NDArray[np.float64]:
    """rho of each event, GeV per unit of eta and phi: (n_events,). objects: (events, var) energy, eta, phi."""
    low, high = detector.eta_min, detector.eta_max
    n_eta, n_phi = int(np.ceil((high - low) / CELL)), int(np.ceil(2 * np.pi / CELL))
    counts = ak.to_numpy(ak.num(objects))
    energy, eta, phi = (ak.to_numpy(ak.flatten(objects[name])).astype(np.float64) for name in ("energy", "eta", "phi"))
    size = np.abs(eta)
    row = np.minimum(((size - low) / (high - low) * n_eta).astype(np.int64), n_eta - 1)
    column = np.minimum((np.mod(phi, 2 * np.pi) / (2 * np.pi) * n_phi).astype(np.int64), n_phi - 1)
    event, cells = np.repeat(np.arange(len(counts)), counts), 2 * n_eta * n_phi
    inside = (size >= low) & (size <= high)
    cell = ((event * 2 + (eta > 0)) * n_eta + row) * n_phi + column
    pt = np.bincount(cell[inside], (energy / np.cosh(eta))[inside], len(counts) * cells)
    area = (high - low) / n_eta * 2 * np.pi / n_phi
    return np.median(pt.reshape(len(counts), cells), axis=1) / area


def active_areas(objects: ak.Array, jets: ak.Array, detector: Detector) -> ak.Array:
    """Active area of each jet: (events, var). jets: those of the objects, whatever their order and scale."""
    fastjet = stdout.fastjet()
    momenta, place = massless(objects.energy, objects.eta, objects.phi), ak.local_index(objects.energy)
    used = momenta.E > 0
    momenta, place = momenta[used], place[used]
    ghosts = _ghosts(detector)
    every = {name: ak.from_regular(np.tile(ghosts[name], (len(objects), 1))) for name in ghosts}
    both = ak.concatenate([ak.values_astype(momenta, np.float64), ak.zip(every)], axis=1)
    sequence = fastjet.ClusterSequence(ak.to_packed(both), fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS))
    members = sequence.constituent_index(min_pt=0.99 * PT_MIN)
    real = members < ak.num(momenta)
    area = GHOST_AREA * ak.sum(~real, axis=2)
    members, counts = members[real], ak.to_numpy(ak.num(objects)).astype(np.int64)
    of_member = ak.flatten(ak.broadcast_arrays(area, members)[0], axis=2)
    at = place[ak.flatten(members, axis=2)] + (np.cumsum(counts) - counts)
    of_object = np.full(counts.sum(), np.nan)
    of_object[ak.to_numpy(ak.flatten(at))] = ak.to_numpy(ak.flatten(of_member))
    first = ak.firsts(jets.constituents, axis=2) + (np.cumsum(counts) - counts)
    return ak.unflatten(of_object[ak.to_numpy(ak.flatten(first)).astype(np.int64)], ak.num(jets))


def _ghosts(detector: Detector) -> dict[str, NDArray[np.float64]]:
    """Momenta px, py, pz, E of a regular grid of ghosts, one a `GHOST_AREA`, over both endcaps and `RADIUS` more."""
    low, high = detector.eta_min - RADIUS, detector.eta_max + RADIUS
    n_phi = round(2 * np.pi / np.sqrt(GHOST_AREA))
    step = GHOST_AREA / (2 * np.pi / n_phi)
    eta = np.arange(low + step / 2, high, step)
    eta, phi = np.meshgrid(np.concatenate([-eta, eta]), np.arange(n_phi) * 2 * np.pi / n_phi)
    eta, phi = eta.ravel(), phi.ravel()
    x, y, z, e = np.cos(phi), np.sin(phi), np.sinh(eta), np.cosh(eta)
    return dict(zip(("px", "py", "pz", "E"), (GHOST_PT * p for p in (x, y, z, e))))


def jet_columns(objects: ak.Array, jets: ak.Array, plain: ak.Array, detector: Detector) -> dict[str, ak.Array]:
    """Optional columns of the objects record: `rho`, and `jet_area` and `jet_pt_corrected` of each jet.

    plain: the jets before their calibration, in any order; the share of the pT that is pile-up is taken there.
    """
    area, rho = active_areas(objects, jets, detector), density(objects, detector)
    first, before = (ak.firsts(one.constituents, axis=2) for one in (jets, plain))
    same = ak.argsort(ak.argsort(first, axis=1), axis=1)
    pt = plain.pt[ak.argsort(before, axis=1)][same]
    left = 1 - rho[:, None] * area / pt
    return {"rho": rho, "jet_area": area, "jet_pt_corrected": jets.pt * ak.where(left > 0, left, 0.0)}


def pileup_share(events: ak.Array, candidates: Candidates) -> NDArray[np.float64]:
    """Share of pile-up in the energy of the tracksters of each candidate, 0 where it has none: (n,).

    events: `clusters` with the energy of pile-up in each trackster, `trackster_pileup`, GeV.
    """
    own = [
        ak.to_numpy(ak.flatten(part)).astype(np.float64) for part in (events.trackster_pileup, events.tracksters.energy)
    ]
    pileup, energy = (np.bincount(candidates.of_trackster, part, len(candidates)) for part in own)
    return np.clip(pileup / np.where(energy > 0, energy, 1.0), 0.0, 1.0)
