"""Clustering observables: TICL scores of particles and tracksters from their associations, and shapes."""

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco.campaign.detector import Detector
from gen2reco.campaign.validation import Validation
from gen2reco.validate.sheets import Classifier, Profile, Quantity, Rate, Sheet
from gen2reco.validate.truth import Flat, at_face, flat, kind_of, nearest_neighbour, true_energy

COLUMNS = [
    "event",
    "weight",
    "particles",
    "layer_clusters",
    "hit_cluster",
    "tracksters",
    "cluster_trackster",
    "associations",
]
RELATED, PURE, SHARED, PART = 0.6, 0.2, 0.5, 0.1
"""TICL: scores below RELATED link, below PURE are pure; SHARED of the energy makes efficient; PART makes a split."""
FAINT = 1.0
"""Tracksters below it are not counted as fake or merged, GeV."""

QUANTITIES = {
    "tracksters": [
        Quantity("energy", "trackster energy", "GeV", log=True),
        Quantity("n_layer_clusters", "layer clusters of a trackster", log=True),
        Quantity("sigma_r", "transverse width", "mm"),
        Quantity("sigma_z", "longitudinal width", "mm"),
        Quantity("first_layer", "first layer", "layer"),
        Quantity("shower_max", "layer of the maximum", "layer"),
        Quantity("hadronic", "share of the energy behind the electromagnetic section"),
        Quantity("time", "time", "ns", feature=False),
    ],
    "events": [
        Quantity("n_tracksters", "tracksters per event", moments=True),
        Quantity("n_layer_clusters", "layer clusters per event", log=True, moments=True),
        Quantity("clustered", "share of layer-cluster energy in tracksters"),
        Quantity("hits_clustered", "share of hits in layer clusters"),
        Quantity("cluster_size", "mean hits per layer cluster"),
    ],
    "particles": [],
}
PROFILES: dict[str, list[Profile]] = {"tracksters": [], "events": [], "particles": []}
TITLES = {"tracksters": "Tracksters", "events": "Whole events", "particles": "True particles"}
_OWN = ("energy", "n_layer_clusters", "sigma_r", "sigma_z", "first_layer", "shower_max", "hadronic", "time", "abs_eta")
CLASSIFIERS = {"tracksters": [Classifier("trackster", "trackster features", _OWN)]}
RATES = {
    "particles": [
        Rate("efficiency", "efficiency", ("energy", "abs_eta", "distance")),
        Rate("duplicate", "duplicate rate", ("energy", "abs_eta", "distance")),
        Rate("split", "split rate", ("energy", "abs_eta", "distance")),
    ],
    "tracksters": [
        Rate("purity", "purity", ("energy", "abs_eta")),
        Rate("fake", "fake rate", ("energy", "abs_eta")),
        Rate("merge", "merge rate", ("energy", "abs_eta")),
    ],
}


def observe(events: ak.Array, detector: Detector | None, settings: Validation) -> dict[str, Sheet]:
    """Sheets `particles` (judged true particles), `tracksters` and `events` of a shard of clusters."""
    particles, tracksters, links = (flat(events[name]) for name in ("particles", "tracksters", "associations"))
    number, weight = (ak.to_numpy(events[name]) for name in ("event", "weight"))
    face, energy, kind = at_face(particles, detector), true_energy(particles), kind_of(particles["pdg"])
    low, high = settings.abs_eta
    chosen = face.reached & (np.abs(face.eta) > low) & (np.abs(face.eta) < high)
    chosen &= (energy >= settings.min_energy) & (kind >= 0) & (kind != 2)
    loud = face.reached & (energy > 1.0) & (kind >= 0)
    distance = nearest_neighbour(face, particles.row, loud)
    of_particle, of_trackster = scores(particles, tracksters, links, energy)
    own = {"energy": energy, "abs_eta": np.abs(face.eta), "distance": distance, "kind": kind.astype(float)}
    sheet = Sheet(number[particles.row], weight[particles.row], {**own, **of_particle}).select(chosen)
    return {
        "particles": sheet,
        "tracksters": _tracksters(tracksters, of_trackster, number, weight),
        "events": _whole(events, number, weight),
    }


def scores(
    particles: Flat, tracksters: Flat, links: Flat, energy: NDArray
) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
    """TICL flags, 0 or 1, of particles (efficiency, duplicate, split) and tracksters (purity, fake, merge).

    `energy` (n_particles,) is that of which a trackster must share half to find a particle, GeV.
    """
    particle = links["particle"] + particles.starts[links.row]
    trackster = links["trackster"] + tracksters.starts[links.row]
    share = links["shared_energy"] / np.maximum(energy[particle], 1e-9)

    def count(index: NDArray, mask: NDArray, size: int) -> NDArray:
        return np.bincount(index[mask], minlength=size)

    n, m = len(energy), len(tracksters.row)
    related = count(trackster, links["reco_to_sim"] < RELATED, m)
    of_particle = {
        "efficiency": count(particle, share >= SHARED, n) > 0,
        "duplicate": count(particle, links["sim_to_reco"] < PURE, n) > 1,
        "split": count(particle, share >= PART, n) > 1,
    }
    of_trackster = {
        "purity": count(trackster, links["reco_to_sim"] < PURE, m) > 0,
        "fake": related == 0,
        "merge": related > 1,
    }
    return tuple({k: v.astype(np.float64) for k, v in flags.items()} for flags in (of_particle, of_trackster))


def _tracksters(tracksters: Flat, flags: dict, number: NDArray, weight: NDArray) -> Sheet:
    energy = tracksters["energy"].astype(np.float64)
    names = ("energy", "n_layer_clusters", "sigma_r", "sigma_z", "first_layer", "shower_max")
    both = tracksters["energy_em"] + tracksters["energy_had"]
    values = {name: tracksters[name].astype(np.float64) for name in names}
    values |= {
        "abs_eta": np.abs(tracksters["eta"]).astype(np.float64),
        "hadronic": tracksters["energy_had"] / np.where(both > 0, both, np.nan),
        "time": np.where(tracksters["time"] >= 0, tracksters["time"], np.nan),
        **flags,
    }
    return Sheet(number[tracksters.row], weight[tracksters.row], values).select(energy >= FAINT)


def _whole(events: ak.Array, number: NDArray, weight: NDArray) -> Sheet:
    clusters, label = events.layer_clusters, events.hit_cluster
    total = ak.to_numpy(ak.sum(clusters.energy, axis=1)).astype(np.float64)
    inside = ak.to_numpy(ak.sum(clusters.energy[events.cluster_trackster >= 0], axis=1)).astype(np.float64)
    hits, n = ak.to_numpy(ak.num(label)).astype(np.float64), ak.to_numpy(ak.num(clusters)).astype(np.float64)
    labelled = ak.to_numpy(ak.sum(label >= 0, axis=1)).astype(np.float64)
    values = {
        "n_tracksters": ak.to_numpy(ak.num(events.tracksters)).astype(np.float64),
        "n_layer_clusters": n,
        "clustered": inside / np.where(total > 0, total, np.nan),
        "hits_clustered": labelled / np.where(hits > 0, hits, np.nan),
        "cluster_size": ak.to_numpy(ak.sum(clusters["size"], axis=1)) / np.where(n > 0, n, np.nan),
    }
    return Sheet(number, weight, values)
