"""Jets of particles against the reconstructed jets closest to them."""

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco.config.validation import Validation
from gen2reco.validate.flat_lists import FlatList, flatten
from gen2reco.validate.observable_tables import ObservableTable
from gen2reco.validate.observables import Classifier, PartObservables, Quantity, Rate, Response
from gen2reco.validate.observe.object_matching import best_partner, close_pairs, of_partner
from gen2reco.validate.true_particles import delta_phi

MATCH = 0.2
"""Largest eta-phi distance between a jet of particles and its reconstructed jet."""
JETS = PartObservables(
    "jets",
    "Jets",
    (
        Quantity("response", "jet pT / true pT"),
        Quantity("mass_response", "jet mass / true mass"),
        Quantity("pt", "jet pT", "GeV", log=True),
        Quantity("mass", "jet mass", "GeV", log=True),
        Quantity("n_constituents", "jet constituents", moments=True),
        Quantity("delta_eta", "η − true η"),
        Quantity("delta_phi", "φ − true φ", "rad"),
    ),
    responses=(
        Response(
            "response",
            "pT / true pT",
            ("energy", "abs_eta"),
            raw="raw_response",
            corrected="corrected_response",
            terms=False,
        ),
    ),
    rates=(Rate("efficiency", "efficiency", ("energy", "abs_eta")),),
    classifiers=(Classifier("jet", "jets", ("energy", "abs_eta", "response", "mass_response", "n_constituents")),),
    energy_axis="pt",
)
"""Of jets the column `energy` is the true pT."""


def jet_table(
    events: ak.Array, objects: FlatList, settings: Validation, number: NDArray, weight: NDArray
) -> ObservableTable | None:
    """Particle jets in acceptance with the reconstructed jet closest to each; None without any.

    Events of fewer than five particles (guns) have no jets.
    """
    crowded = ak.to_numpy(ak.num(events.particles) >= 5)
    jets, true = (_jet_fields(events[name]) for name in ("jets", "gen_jets"))
    low, high = settings.abs_eta
    chosen = crowded[true.row] & (true["pt"] >= settings.min_jet_pt)
    chosen = np.flatnonzero(chosen & (np.abs(true["eta"]) > low) & (np.abs(true["eta"]) < high))
    if not len(chosen):
        return None
    directions = (true.row[chosen], true["eta"][chosen], true["phi"][chosen])
    i, j, distance = close_pairs(directions, (jets.row, jets["eta"], jets["phi"]), MATCH)
    best = best_partner(i, j, distance, len(chosen))
    pt, mass = true["pt"][chosen].astype(np.float64), true["mass"][chosen].astype(np.float64)
    values = {
        "energy": pt,
        "abs_eta": np.abs(true["eta"][chosen]).astype(np.float64),
        "efficiency": (best >= 0).astype(np.float64),
        "response": of_partner(jets["pt"], best) / pt,
        **_corrected(events, best, pt),
        "raw_response": of_partner(_raw_pt(events.jets, objects), best) / pt,
        "mass_response": of_partner(jets["mass"], best) / np.where(mass > 0.1, mass, np.nan),
        "pt": of_partner(jets["pt"], best),
        "mass": of_partner(jets["mass"], best),
        "n_constituents": of_partner(jets["n_constituents"], best),
        "delta_eta": of_partner(jets["eta"], best) - true["eta"][chosen],
        "delta_phi": delta_phi(of_partner(jets["phi"], best), true["phi"][chosen]),
    }
    return ObservableTable(number[true.row[chosen]], weight[true.row[chosen]], values)


def _corrected(events: ak.Array, best: NDArray, pt: NDArray) -> dict[str, NDArray]:
    """pT less the density of pile-up times the area, over the true pT, where the file holds it."""
    if "jet_pt_corrected" not in events.fields:
        return {}
    corrected = ak.to_numpy(ak.flatten(events.jet_pt_corrected)).astype(np.float64)
    return {"corrected_response": of_partner(corrected, best) / pt}


def _jet_fields(jets: ak.Array) -> FlatList:
    columns = {name: jets[name] for name in ("pt", "eta", "phi", "mass")}
    return flatten(ak.zip({**columns, "n_constituents": ak.num(jets.constituents, axis=2)}))


def _raw_pt(jets: ak.Array, objects: FlatList) -> NDArray:
    """pT of each jet from the raw energies of its constituents, taken as massless."""
    counts = ak.to_numpy(ak.flatten(ak.num(jets.constituents, axis=2)))
    row = np.repeat(np.arange(len(jets)), ak.to_numpy(ak.sum(ak.num(jets.constituents, axis=2), axis=1)))
    member = ak.to_numpy(ak.flatten(ak.flatten(jets.constituents, axis=2))) + objects.starts[row]
    jet = np.repeat(np.arange(len(counts)), counts)
    pt = objects["energy_raw"][member].astype(np.float64) / np.cosh(objects["eta"][member])
    phi = objects["phi"][member]
    return np.hypot(*(np.bincount(jet, pt * turn(phi), len(counts)) for turn in (np.cos, np.sin)))
