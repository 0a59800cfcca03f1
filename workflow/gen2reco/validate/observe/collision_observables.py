"""Observables of generated hadron collisions: charged density, transverse region, energy that the endcaps see,
strangeness, and the response of the leading jet to its hard parton."""

import numpy as np
from numpy.typing import NDArray

from gen2reco.validate.flat_lists import FlatList
from gen2reco.validate.observable_tables import ObservableTable, row_histograms
from gen2reco.validate.observables import PartObservables, Profile, Quantity, Response, Trend
from gen2reco.validate.true_particles import delta_phi, vertex_direction

CENTRAL, SOFTEST = 2.5, 0.5
"""|eta| below and pT in GeV above which charged particles count in the transverse region."""
TRANSVERSE = np.pi / 3, 2 * np.pi / 3
"""Distance in azimuth to the leading charged particle (CDF, Phys. Rev. D 65 (2002) 092002; ATLAS, arXiv:1701.05390)."""
ENDCAP = 1.5, 3.0
"""|eta| that the detector sees."""
FAINT = 0.1
"""GeV; less is no energy in the endcaps: its logarithm is measured."""
BORN_AWAY = 1.0
"""mm from the beam axis beyond which particles count as products of strange hadrons. Of the charged ones in inelastic
events of Pythia8 at 13 TeV, |eta| < 2.5, 4 % of these products are born nearer and 0.1 % of the others farther."""
MATCH = 0.4
"""Largest eta-phi distance between the leading jet and its hard parton."""

_ETA = np.linspace(-5.0, 5.0, 41)
_FLOW = np.linspace(*ENDCAP, 7)
_LEADING = np.array([0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0])
_AXIS = "pT of the leading charged particle [GeV]"

COLLISIONS = PartObservables(
    "collisions",
    "Hadron collisions",
    (
        Quantity("leading_pt", "leading charged pT", "GeV", log=True),
        Quantity("transverse_pt", "Σ pT in the transverse region", "GeV"),
        Quantity("transverse_n", "charged particles in the transverse region"),
        Quantity("endcap_energy", "energy in 1.5 < |η| < 3", "GeV", log=True, moments=True),
        Quantity("endcap_balance", "endcaps: share of the lesser side"),
        Quantity("strange_energy", "energy share of strangeness"),
    ),
    (
        Profile("eta_charged", "charged particles, dN/dη", "η", _ETA),
        Profile("energy_flow", "energy flow, dE/d|η| of both sides [GeV]", "|η|", _FLOW),
    ),
    trends=(
        Trend("transverse_pt", "leading_pt", "Σ pT in the transverse region [GeV]", _AXIS, _LEADING, log=True),
        Trend("transverse_n", "leading_pt", "charged particles in the transverse region", _AXIS, _LEADING, log=True),
    ),
)
LEADING_JET = PartObservables(
    "leading_jet",
    "Leading jets of two hard partons",
    (Quantity("response", "leading jet pT / parton pT"),),
    responses=(Response("response", "jet pT / parton pT", ("energy",), terms=False),),
    energy_axis="parton_pt",
)
"""The column `energy` is the pT of the hard parton."""


def collisions(
    particles: FlatList, basic: dict[str, NDArray], number: NDArray, weight: NDArray, chosen: NDArray
) -> ObservableTable:
    """The chosen events (events,) of a shard; `basic`: pt, charge, code, total and invisible of its particles."""
    eta, phi = vertex_direction(particles)
    energy, charged = particles["energy"].astype(np.float64), basic["charge"] != 0
    seen = ~basic["invisible"] & (np.abs(eta) > ENDCAP[0]) & (np.abs(eta) < ENDCAP[1])
    values = _transverse(particles, basic["pt"], eta, phi, charged) | _endcaps(particles.row, energy, eta, seen, number)
    strange = is_strange(basic["code"]) | from_strange_decay(particles)
    total = np.where(basic["total"] > 0, basic["total"], np.nan)
    values["strange_energy"] = np.bincount(particles.row[strange], energy[strange], len(number)) / total
    blocks = {
        "eta_charged": _density(particles.row[charged], eta[charged], _ETA, len(number)),
        "energy_flow": _density(particles.row[seen], np.abs(eta[seen]), _FLOW, len(number), energy[seen]),
    }
    return ObservableTable(number, weight, values, blocks).select(chosen)


def is_strange(code: NDArray) -> NDArray[np.bool_]:
    """Whether absolute PDG codes (n,) are hadrons with a strange quark."""
    quarks = np.stack([(code // place) % 10 for place in (10, 100, 1000)])
    return (code > 100) & (code < 10_000) & (quarks == 3).any(0)


def from_strange_decay(particles: FlatList) -> NDArray[np.bool_]:
    """Whether particles (n,) are born as far from the beam axis as hardly any but products of K0S and hyperons."""
    return np.hypot(*particles.vectors("vx", "vy").T) > BORN_AWAY


def jet_response(jets: dict[str, NDArray], partons: FlatList) -> dict[str, NDArray]:
    """Response of the leading jet to the nearest of two outgoing hard partons (status 23), which has the pT `energy`.

    jets: row (the event), pt, eta, phi of each jet, hardest of an event first. One value an event, with its `row`;
    events with another number of hard partons, or none as near as MATCH, have none.
    """
    first = np.unique(jets["row"], return_index=True)[1]
    hard = partons["status"] == 23
    two = np.bincount(partons.row[hard], minlength=len(partons.counts)) == 2
    row, pt, eta, phi = (jets[name][first][two[jets["row"][first]], None] for name in ("row", "pt", "eta", "phi"))
    pairs = np.flatnonzero(hard & two[partons.row]).reshape(-1, 2)[(np.cumsum(two) - 1)[row[:, 0]]]
    px, py, pz = np.moveaxis(partons.vectors("px", "py", "pz")[pairs], 2, 0)
    parton_pt = np.maximum(np.hypot(px, py), 1e-9)
    distance = np.hypot(np.arcsinh(pz / parton_pt) - eta, delta_phi(np.arctan2(py, px), phi))
    nearest = np.arange(2) == distance.argmin(1)[:, None]
    matched = nearest & (distance < MATCH)
    energy = parton_pt[matched]
    return {"row": row[matched.any(1), 0], "response": pt[matched.any(1), 0] / energy, "energy": energy}


def _transverse(particles: FlatList, pt: NDArray, eta: NDArray, phi: NDArray, charged: NDArray) -> dict[str, NDArray]:
    """pT of the leading charged particle, and Σ pT and number transverse to it; NaN of events without."""
    kept = charged & (np.abs(eta) < CENTRAL) & (pt > SOFTEST)
    row, pt, phi, events = particles.row[kept], pt[kept], phi[kept], len(particles.counts)
    order = np.lexsort((pt, row))
    leading = order[np.flatnonzero(np.diff(row[order], append=-1))]  # the last of each event
    leading_pt, leading_phi = np.full((2, events), np.nan)
    leading_pt[row[leading]], leading_phi[row[leading]] = pt[leading], phi[leading]
    away = np.abs(delta_phi(phi, leading_phi[row]))
    inside = (away > TRANSVERSE[0]) & (away < TRANSVERSE[1])
    total, n = np.bincount(row[inside], pt[inside], events), np.bincount(row[inside], minlength=events)
    none = np.isnan(leading_pt)
    return {
        "leading_pt": leading_pt,
        "transverse_pt": np.where(none, np.nan, total),
        "transverse_n": np.where(none, np.nan, n),
    }


def _endcaps(row: NDArray, energy: NDArray, eta: NDArray, seen: NDArray, number: NDArray) -> dict[str, NDArray]:
    back, front = (np.bincount(row[mask], energy[mask], len(number)) for mask in (seen & (eta < 0), seen & (eta > 0)))
    both = back + front
    balance = np.minimum(back, front) / np.where(both > 0, both, np.nan)
    return {"endcap_energy": np.maximum(both, FAINT), "endcap_balance": balance}


def _density(
    row: NDArray, values: NDArray, edges: NDArray, events: int, weights: NDArray | None = None
) -> NDArray[np.float64]:
    """Content of each event per unit of the values: (events, bins)."""
    return row_histograms(row, values, edges, events, weights) / np.diff(edges)
