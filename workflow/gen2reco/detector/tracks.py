"""Parametric tracks of charged particles that reach the front face."""

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco.config.detector import Detector, Tracker
from gen2reco.detector.propagate import AtFace
from gen2reco.events.lists import event_of, flat, flat_index, per_event
from gen2reco.events.truth import HIGHEST_ENERGY
from gen2reco.units import wrapped


def make_tracks(at_face: AtFace, particles: ak.Array, detector: Detector, rng: np.random.Generator) -> ak.Array:
    """One list of track records an event: position and momentum at the front face, charge, particle.

    A charged particle whose momentum at the vertex lies in the tracker's acceptance has a track with the stated
    efficiency, also where no simulation takes it. Its momentum is scaled by 1 + sigma(pT)/pT times a Gaussian, with the
    direction kept.
    """
    chance, spread = rng.random(len(at_face)), rng.normal(size=len(at_face))
    return _tracks(at_face, particles, detector.tracker, chance, spread)


def remake_tracks(
    tracks: ak.Array, at_face: AtFace, particles: ak.Array, before: Tracker, after: Tracker, rng: np.random.Generator
) -> ak.Array:
    """The tracks that another tracker has of the same particles, by the same chance: tracks (events, var) of the
    tracker `before` tell what was drawn for them, and the rest is drawn within what they leave open.

    So a better tracker keeps all tracks, and a momentum is off by as many standard deviations as it was.
    """
    chance, spread = rng.random(len(at_face)), rng.normal(size=len(at_face))
    row = np.full(int(ak.sum(ak.num(particles))), -1)
    row[flat_index(flat(tracks.particle).astype(np.int64), particles, event_of(tracks))] = np.arange(
        ak.sum(ak.num(tracks))
    )
    row = row[flat_index(at_face.particle, particles, at_face.event)]
    tracked = row >= 0
    accepted, sigma = _accepted(at_face, particles, before)
    missed = before.efficiency + chance * (1.0 - before.efficiency)
    chance = np.where(tracked, chance * before.efficiency, np.where(accepted, missed, chance))
    measured = np.sqrt(sum(flat(tracks[name]).astype(np.float64) ** 2 for name in ("px", "py", "pz")))[row[tracked]]
    known = tracked & (sigma > 0)
    pull = measured / np.linalg.norm(at_face.momentum[tracked], axis=1) - 1.0
    spread[known] = pull[known[tracked]] / sigma[known]
    return _tracks(at_face, particles, after, chance, spread)


def _tracks(at_face: AtFace, particles: ak.Array, tracker: Tracker, chance: NDArray, spread: NDArray) -> ak.Array:
    """Tracks of the particles whose `chance` lies below the efficiency; `spread` counts standard deviations."""
    accepted, sigma = _accepted(at_face, particles, tracker)
    measured = accepted & (chance < tracker.efficiency)
    scale = np.maximum(1.0 + sigma * spread, 0.01)
    found = at_face[measured]
    columns = np.concatenate([found.momentum * scale[measured, None], found.position], axis=1)
    fields = dict(zip(("px", "py", "pz", "x", "y", "z"), np.ascontiguousarray(columns.T)))
    fields |= {"charge": found.charge, "particle": found.particle}
    return per_event(found.event, len(particles), fields)


def _accepted(at_face: AtFace, particles: ak.Array, tracker: Tracker) -> tuple[NDArray[np.bool_], NDArray]:
    """Whether each particle is in the tracker's acceptance, and its sigma(pT)/pT: (n,) each."""
    at = flat_index(at_face.particle, particles, at_face.event)
    px, py, pz = (flat(particles[name]).astype(np.float64)[at] for name in ("px", "py", "pz"))
    pt = np.hypot(px, py)
    eta = np.abs(np.arcsinh(pz / np.maximum(pt, 1e-12)))
    accepted = (at_face.charge != 0) & (pt >= tracker.pt_min) & (eta >= tracker.eta_min) & (eta <= tracker.eta_max)
    return accepted & (at_face.energy <= HIGHEST_ENERGY), np.hypot(tracker.sigma_constant, tracker.sigma_linear * pt)


def tracks_at_origin(tracks: ak.Array) -> ak.Array:
    """(events, var) records pt, eta, phi of tracks (events, var), turned back from the face to the beam line."""
    phi = 2 * np.arctan2(tracks.y, tracks.x) - np.arctan2(tracks.py, tracks.px)
    pt = np.hypot(tracks.px, tracks.py)
    return ak.zip({"pt": pt, "eta": np.arcsinh(tracks.pz / pt), "phi": wrapped(phi)})
