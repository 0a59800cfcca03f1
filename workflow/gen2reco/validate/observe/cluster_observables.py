"""Clustering observables: TICL scores of particles and tracksters, trackster shapes, whole events."""

import awkward as ak
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gen2reco.cluster.trackster_scores import score
from gen2reco.config.detector import Detector
from gen2reco.config.validation import Validation
from gen2reco.events import records
from gen2reco.events.schemas import NO_TIME
from gen2reco.events.truth import STANDARD, Properties
from gen2reco.validate.flat_lists import flatten
from gen2reco.validate.observable_tables import ObservableTable
from gen2reco.validate.observables import Classifier, PartObservables, Quantity, Rate, RecordObservables
from gen2reco.validate.true_particles import MUON, kind_of

_PARTICLE_RATES = tuple(
    Rate(name, label, ("energy", "abs_eta", "distance"))
    for name, label in (
        ("efficiency", "efficiency"),
        ("purity", "purity"),
        ("duplicate", "duplicate rate"),
        ("split", "split rate"),
    )
)
_TRACKSTER_RATES = tuple(Rate(name, f"{name} rate", ("energy", "abs_eta")) for name in ("fake", "merge", "surplus"))
_TRACKSTER_QUANTITIES = (
    Quantity("energy", "trackster energy", "GeV", log=True),
    Quantity("n_layer_clusters", "layer clusters of a trackster", log=True),
    Quantity("sigma_r", "transverse width", "mm"),
    Quantity("sigma_z", "longitudinal width", "mm"),
    Quantity("first_layer", "first layer", "layer"),
    Quantity("shower_max", "layer of the maximum", "layer"),
    Quantity("hadronic", "share of the energy behind the electromagnetic section"),
    Quantity("time", "time", "ns"),
)
_EVENT_QUANTITIES = (
    Quantity("n_tracksters", "tracksters per event", moments=True),
    Quantity("n_layer_clusters", "layer clusters per event", log=True, moments=True),
    Quantity("clustered", "share of layer-cluster energy in tracksters"),
    Quantity("hits_clustered", "share of hits in layer clusters"),
    Quantity("cluster_size", "mean hits per layer cluster"),
)
_FEATURES = (*(quantity.name for quantity in _TRACKSTER_QUANTITIES), "abs_eta")
PARTS = (
    PartObservables(
        "tracksters",
        "Tracksters",
        _TRACKSTER_QUANTITIES,
        rates=_TRACKSTER_RATES,
        classifiers=(Classifier("trackster", "trackster features", _FEATURES),),
    ),
    PartObservables("events", "Whole events", _EVENT_QUANTITIES),
    PartObservables("particles", "True particles", rates=_PARTICLE_RATES),
)


def observe(
    events: pa.Table, detector: Detector | None, settings: Validation, properties: Properties = STANDARD
) -> dict[str, ObservableTable]:
    """Tables `particles` (those that TICL's rates count), `tracksters` and `events` of a shard of clusters.

    Rates need the optional column `deposited` and the detector; a file without either has none.
    """
    data = records.awkward(events)
    number, weight = (ak.to_numpy(data[name]) for name in ("event", "weight"))
    tables = {"tracksters": _tracksters(data, number, weight), "events": _whole(data, number, weight)}
    if "deposited" not in events.schema.names or detector is None:
        return tables
    particles, tracksters = score(events, detector.front_face)
    low, high = settings.abs_eta
    kind, eta = kind_of(particles.pdg, properties), np.abs(particles.eta)
    chosen = particles.counted & (particles.energy >= settings.min_energy) & (eta > low) & (eta < high) & (kind != MUON)
    values = {"energy": particles.energy, "abs_eta": eta, "distance": particles.distance, "kind": kind.astype(float)}
    values |= {rate.name: getattr(particles, rate.name).astype(float) for rate in _PARTICLE_RATES}
    tables["particles"] = ObservableTable(number[particles.event], weight[particles.event], values).select(chosen)
    flags = {rate.name: getattr(tracksters, rate.name).astype(float) for rate in _TRACKSTER_RATES}
    tables["tracksters"].values.update(flags)
    return tables


OBSERVABLES = RecordObservables(
    "clusters",
    "Clusters and tracksters",
    (
        "event", "weight", "particles", "tracks", "layer_clusters", "hit_cluster", "tracksters", "cluster_trackster",
        "associations",
    ),
    PARTS,
    observe,
    optional=("deposited",),
)  # fmt: skip


def _tracksters(data: ak.Array, number: NDArray, weight: NDArray) -> ObservableTable:
    tracksters = flatten(data.tracksters)
    names = ("energy", "n_layer_clusters", "sigma_r", "sigma_z", "first_layer", "shower_max")
    both = (tracksters["energy_em"] + tracksters["energy_had"]).astype(np.float64)
    values = {name: tracksters[name].astype(np.float64) for name in names}
    values |= {
        "abs_eta": np.abs(tracksters["eta"]).astype(np.float64),
        "hadronic": tracksters["energy_had"] / np.where(both > 0, both, np.nan),
        "time": np.where(tracksters["time"] != NO_TIME, tracksters["time"], np.nan).astype(np.float64),
    }
    return ObservableTable(number[tracksters.row], weight[tracksters.row], values)


def _whole(events: ak.Array, number: NDArray, weight: NDArray) -> ObservableTable:
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
    return ObservableTable(number, weight, values)
