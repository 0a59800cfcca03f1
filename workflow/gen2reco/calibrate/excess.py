"""Energy that a track does not explain becomes a neutral object of its own, as in particle flow.

A candidate gathers what lies near its shower: charged neighbours that the field bent there, photons, the underlying
event. A calorimeter cannot tell, a track can (CMS, JINST 12 (2017) P10003, section 4.3): where a candidate has more
than a hadron of the track's momentum leaves, the hadron has that momentum and the rest is neutral. Energies that agree
with the track stay the calorimeter's own, so that they go on telling one simulation of showers from another.
"""

from dataclasses import dataclass

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco.calibrate.jet_features import JetInputs, jet_inputs
from gen2reco.calibrate.objects import Summary, object_pdg, objects_of
from gen2reco.config.detector import Tracker
from gen2reco.events.schemas import IDENTITIES

REACH = 350.0
"""Clustering and candidates gather from within this distance on the face, mm; what is alone has gathered nothing."""
LARGEST = 2.0
"""An energy above the track's momentum by more standard deviations of a hadron's measurement is split."""
STOCHASTIC, CONSTANT = 0.53, 0.04
"""Resolution of single charged pions, sqrt(GeV) and relative (`docs/calibration.md`)."""
CHARGED = tuple(IDENTITIES.index(name) for name in ("electron", "muon", "charged_hadron"))
NEUTRAL = tuple(IDENTITIES.index(name) for name in ("photon", "neutral_hadron"))
_WHOLE = tuple(IDENTITIES.index(name) for name in ("electron", "muon"))


def track_spread(plain: Summary, tracker: Tracker) -> NDArray[np.float64]:
    """Standard deviation of the momentum of each candidate's track, GeV, 0 for none: (n,)."""
    pt = plain.momentum / np.cosh(plain.eta)
    return plain.momentum * np.hypot(tracker.sigma_constant, tracker.sigma_linear * pt)


def accompanied(places: NDArray, others: NDArray, own: NDArray) -> NDArray[np.bool_]:
    """Whether any place (n, 3) has another of them, or of the others (m, 3), within `REACH`.

    places, others: x and y on the face, mm, and the number of the endcap of the event. own: (n,) index of the other
    that is a place's own, -1 for none.
    """
    from scipy.spatial import cKDTree

    apart, has = np.array([1.0, 1.0, 4 * REACH]), own >= 0
    beside, around = np.zeros(len(places), np.int64), np.zeros(len(places), np.int64)
    for points, found in ((places, beside), (others, around)):
        if len(places) and len(points):
            found[:] = cKDTree(points * apart).query_ball_point(places * apart, REACH, return_length=True)
    mine = others[own[has]] - places[has]
    around[has] -= (mine[:, 2] == 0) & (np.hypot(mine[:, 0], mine[:, 1]) <= REACH)
    return (beside > 1) | (around > 0)


def exceeds(energy: NDArray, identity: NDArray, plain: Summary) -> NDArray[np.bool_]:
    """Which candidates have more energy than their track explains; electrons and muons never do: (n,).

    energy: (n,) calibrated, GeV. identity: (n,) index in `IDENTITIES`. plain: sums and tracks of the candidates.
    """
    momentum = plain.momentum
    spread = np.hypot(STOCHASTIC * np.sqrt(momentum), CONSTANT * momentum)
    hadron = (momentum > 0) & ~np.isin(identity, _WHOLE)
    return hadron & (energy > momentum + LARGEST * spread)


@dataclass(frozen=True)
class Split:
    """m objects of n candidates: in each event those of the candidates first, then what their tracks left over."""

    objects: ak.Array
    """(events, var) records as in the objects record."""
    whole: ak.Array
    """(events, var) records of the candidates before."""
    of: NDArray[np.int64]
    """(m,) candidate of each object."""
    left_over: NDArray[np.bool_]
    """(m,) which are what a track left over."""
    momentum: NDArray[np.float64]
    """(m,) momentum of the track of each object, GeV, 0 for none."""

    def jet_inputs(self, jets: ak.Array, tracks: ak.Array) -> JetInputs:
        """Inputs of the calibration of (events, var) jets of the objects, as it was trained.

        It knows no split: the parts of a candidate that are in one jet are one constituent again. tracks: (events,
        var) records pt, eta, phi at the origin.
        """
        counts, whole = ak.to_numpy(ak.num(self.objects)), ak.to_numpy(ak.num(self.whole))
        pool = ak.concatenate([self.objects, self.whole], axis=1)
        momentum = [ak.unflatten(self.momentum, counts), ak.unflatten(self.momentum[~self.left_over], whole)]
        per_jet = ak.to_numpy(ak.num(ak.flatten(jets.constituents)))
        event = np.repeat(np.repeat(np.arange(len(jets)), ak.to_numpy(ak.num(jets))), per_jet)
        place = ak.to_numpy(ak.flatten(ak.flatten(jets.constituents))).astype(np.int64)
        jet, at = np.repeat(np.arange(len(per_jet)), per_jet), place + (np.cumsum(counts) - counts)[event]
        _, part, parts = np.unique(jet * (len(self.of) + 1) + self.of[at], return_inverse=True, return_counts=True)
        both = parts[part] == 2
        kept = ~(both & self.left_over[at])
        candidate = self.of[at] - (np.cumsum(whole) - whole)[event]
        place = np.where(both, counts[event] + candidate, place)[kept]
        constituents = ak.unflatten(place, np.bincount(jet[kept], minlength=len(per_jet)))
        rejoined = ak.with_field(jets, ak.unflatten(constituents, ak.num(jets)), "constituents")
        return jet_inputs(rejoined, pool, ak.concatenate(momentum, axis=1), tracks)


def split(
    columns: dict[str, NDArray],
    plain: Summary,
    tracker: Tracker,
    direction: tuple[NDArray, NDArray],
    event: NDArray,
    n_events: int,
    gathering: NDArray,
) -> Split:
    """Objects of the columns (n,) of candidates; energies are shared out, so that no sum changes.

    direction: eta and phi (n,) of the candidates by the calorimeter alone. event: (n,) from 0, rising. gathering: (n,)
    candidates that may hold energy of others; the others stay whole.
    """
    probabilities = np.stack([columns[f"p_{name}"] for name in IDENTITIES], axis=1)
    identity = probabilities.argmax(axis=1) if len(event) else np.zeros(0, np.int64)
    chosen = np.flatnonzero(exceeds(columns["energy"], identity, plain) & gathering)
    own = {name: np.array(values) for name, values in columns.items()}
    rest = {name: np.array(values[chosen]) for name, values in columns.items()}
    momentum, spread, energy = plain.momentum[chosen], track_spread(plain, tracker)[chosen], columns["energy"][chosen]
    share = momentum / energy
    own["energy"][chosen], own["energy_sigma"][chosen] = momentum, spread
    own["energy_raw"][chosen] *= share
    rest["energy"], rest["energy_raw"] = energy - momentum, rest["energy_raw"] * (1 - share)
    rest["energy_sigma"] = np.hypot(rest["energy_sigma"], spread)
    rest["eta"], rest["phi"] = (angle[chosen] for angle in direction)
    _name(own, chosen, probabilities[chosen], CHARGED, plain.charge[chosen])
    _name(rest, np.arange(len(chosen)), probabilities[chosen], NEUTRAL, np.zeros(len(chosen), np.int64))
    of = np.concatenate([np.arange(len(event)), chosen])
    order = np.argsort(event[of], kind="stable")
    made, of, left_over = {k: np.concatenate([own[k], rest[k]])[order] for k in own}, of[order], order >= len(event)
    return Split(
        objects_of(made, event[of], n_events),
        objects_of(columns, event, n_events),
        of,
        left_over,
        np.where(left_over, 0.0, plain.momentum[of]),
    )


def _name(
    part: dict[str, NDArray], rows: NDArray, probabilities: NDArray, kinds: tuple[int, ...], charge: NDArray
) -> None:
    """Set probabilities, given that it is one of some kinds, and codes of rows of the columns."""
    kept = np.zeros(probabilities.shape)
    kept[:, kinds] = probabilities[:, kinds] + 1e-12
    kept /= kept.sum(axis=1, keepdims=True)
    for i, name in enumerate(IDENTITIES):
        part[f"p_{name}"][rows] = kept[:, i]
    if len(rows):
        part["pdg"][rows] = object_pdg(kept.argmax(axis=1), charge)
