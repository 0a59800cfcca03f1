"""Parametric tracks of charged particles that reach the front face."""

import awkward as ak
import numpy as np

from gen2reco.config.detector import Detector
from gen2reco.detector.propagate import AtFace
from gen2reco.events.lists import flat, flat_index, per_event
from gen2reco.events.truth import HIGHEST_ENERGY
from gen2reco.units import wrapped


def make_tracks(at_face: AtFace, particles: ak.Array, detector: Detector, rng: np.random.Generator) -> ak.Array:
    """One list of track records an event: position and momentum at the front face, charge, particle.

    A charged particle whose momentum at the vertex lies in the tracker's acceptance has a track with the stated
    efficiency, also where no simulation takes it. Its momentum is scaled by 1 + sigma(pT)/pT times a Gaussian, with the
    direction kept.
    """
    tracker = detector.tracker
    at = flat_index(at_face.particle, particles, at_face.event)
    px, py, pz = (flat(particles[name]).astype(np.float64)[at] for name in ("px", "py", "pz"))
    pt = np.hypot(px, py)
    eta = np.abs(np.arcsinh(pz / np.maximum(pt, 1e-12)))
    measured = (at_face.charge != 0) & (pt >= tracker.pt_min) & (eta >= tracker.eta_min) & (eta <= tracker.eta_max)
    measured &= (rng.random(len(at_face)) < tracker.efficiency) & (at_face.energy <= HIGHEST_ENERGY)
    sigma = np.hypot(tracker.sigma_constant, tracker.sigma_linear * pt)
    scale = np.maximum(1.0 + sigma * rng.normal(size=len(at_face)), 0.01)
    found = at_face[measured]
    columns = np.concatenate([found.momentum * scale[measured, None], found.position], axis=1)
    fields = dict(zip(("px", "py", "pz", "x", "y", "z"), np.ascontiguousarray(columns.T)))
    fields |= {"charge": found.charge, "particle": found.particle}
    return per_event(found.event, len(particles), fields)


def tracks_at_origin(tracks: ak.Array) -> ak.Array:
    """(events, var) records pt, eta, phi of tracks (events, var), turned back from the face to the beam line."""
    phi = 2 * np.arctan2(tracks.y, tracks.x) - np.arctan2(tracks.py, tracks.px)
    pt = np.hypot(tracks.px, tracks.py)
    return ak.zip({"pt": pt, "eta": np.arcsinh(tracks.pz / pt), "phi": wrapped(phi)})
