"""Observables of showers: the hits each particle above threshold made, about its own axis; and of whole events."""

import awkward as ak
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gen2reco.config.detector import Detector
from gen2reco.config.validation import Validation
from gen2reco.detector.geometry import Geometry
from gen2reco.events import records
from gen2reco.events.schemas import IDENTITIES, NO_TIME
from gen2reco.events.truth import STANDARD, Properties
from gen2reco.validate.flat_lists import FlatList, flatten
from gen2reco.validate.observable_tables import ObservableTable, row_histograms
from gen2reco.validate.observables import Classifier, PartObservables, Profile, Quantity, RecordObservables, Response
from gen2reco.validate.observe.shower_features import RINGS, SPECTRUM, TIMES, layer_edges, make_cells, shower_features
from gen2reco.validate.true_particles import KIND_LABELS, MUON, at_face, kind_of, true_energy

_SHOWER_QUANTITIES = (
    Quantity("energy_ratio", "ΣE of the hits / true energy"),
    Quantity("n_hits", "hits", log=True, moments=True),
    Quantity("depth", "longitudinal centre", "layer"),
    Quantity("depth_width", "longitudinal width", "layers"),
    Quantity("start", "first layer with 2 % of the energy", "layer"),
    Quantity("radius", "radial centre", "mm", log=True),
    Quantity("radial_width", "radial width", "mm", log=True),
    Quantity("offset_x", "barycentre off the axis, x", "mm"),
    Quantity("hadronic", "share of the energy behind the electromagnetic section"),
    Quantity("hottest", "share of the hottest cell"),
    Quantity("cells_half", "cells that hold half of the energy"),
    Quantity("time", "energy-weighted t − |r|/c", "ns"),
)
_EVENT_QUANTITIES = (
    Quantity("energy_ratio", "ΣE of the hits / true energy in the endcaps"),
    Quantity("n_hits", "hits per event", log=True, moments=True),
    Quantity("n_unlinked", "hits without a particle (noise)", log=True),
    Quantity("mean_layer", "mean layer of the hits", "layer"),
    Quantity("first_time", "earliest t − |r|/c above 1 GeV", "ns"),
)
_SPECTRUM = Profile("spectrum", "hit energies", "E [GeV]", SPECTRUM, log=True)
_TIMES = Profile("times", "hit times", "t − |r|/c [ns]", TIMES, judged=False)
_SHOWER_PROFILES = (
    Profile("layers", "energy per layer / true energy", "layer"),
    Profile("rings", "energy per ring / true energy", "distance to the axis [mm]", RINGS, log=True),
    Profile("layer_hits", "hits per layer", "layer"),
    _SPECTRUM,
    _TIMES,
)
_EVENT_PROFILES = (Profile("layers", "energy per layer", "layer"), _SPECTRUM, _TIMES)
_HIGH_LEVEL = (
    "log_energy", "energy_ratio", "n_hits", "depth", "depth_width", "depth_skew", "radius", "radial_width", "offset_x",
    "offset_y", "width_x", "width_y", "hadronic", "hottest", "start", "last", "time",
)  # fmt: skip
_SUMMARIES = (
    "log_energy", "energy_ratio", "n_hits", "hottest", "second", "cells_half", "cells_most", "pairs", "pair_product",
    "next_layer", "time", "time_width",
)  # fmt: skip
_SHOWER_CLASSIFIERS = (
    Classifier("high_level", "high-level shower features", _HIGH_LEVEL, ("layer_groups",)),
    Classifier("cells", "cell summaries", _SUMMARIES, ("layers", "layer_hits", "rings", "spectrum")),
)
_EVENT_FEATURES = ("energy_ratio", "n_hits", "mean_layer")
PARTS = (
    *(
        PartObservables(
            kind,
            f"Showers of {label}",
            _SHOWER_QUANTITIES,
            _SHOWER_PROFILES,
            responses=(Response("energy_ratio", "ΣE / true E", ("energy", "abs_eta")),),
            classifiers=_SHOWER_CLASSIFIERS,
        )
        for kind, label in KIND_LABELS.items()
    ),
    PartObservables(
        "events",
        "Whole events",
        _EVENT_QUANTITIES,
        _EVENT_PROFILES,
        classifiers=(Classifier("event", "event features", _EVENT_FEATURES, ("layers", "spectrum"), headline=False),),
    ),
)


def observe(
    table: pa.Table, detector: Detector | None, settings: Validation, properties: Properties = STANDARD
) -> dict[str, ObservableTable]:
    """Tables of showers by kind of particle, and `events`, of a shard of hits made with the detector.

    A shower is a particle above `min_energy` whose state at the face lies in `abs_eta`, with its contributions;
    one without any has zero energy and no position (NaN).
    """
    assert detector is not None  # by OBSERVABLES.needs_detector
    events, geometry = records.awkward(table), Geometry(detector)
    particles, hits, links = (flatten(events[name]) for name in ("particles", "hits", "contributions"))
    number, weight = (ak.to_numpy(events[name]) for name in ("event", "weight"))
    face, energy = at_face(particles, detector, properties), true_energy(particles, properties)
    kind = kind_of(particles["pdg"], properties)
    low, high = settings.abs_eta
    chosen = face.reached & (np.abs(face.eta) > low) & (np.abs(face.eta) < high)
    chosen &= (energy >= settings.min_energy) & (kind >= 0)
    shower = np.where(chosen, np.cumsum(chosen) - 1, -1)
    picked = np.flatnonzero(chosen)
    cells = make_cells(hits, links, particles, face, shower)
    values, blocks = shower_features(cells, energy[picked], geometry)
    values |= {"energy": energy[picked], "abs_eta": np.abs(face.eta[picked])}
    row = particles.row[picked]
    showers = ObservableTable(number[row], weight[row], values, blocks)
    tables = {name: showers.select(kind[picked] == i) for i, name in enumerate(IDENTITIES) if (kind[picked] == i).any()}
    inside = face.reached & geometry.covers(face.eta) & (kind >= 0) & (kind != MUON)
    incident = np.bincount(particles.row[inside], energy[inside], len(events))
    values, blocks = _whole(hits, links, incident, geometry)
    return {**tables, "events": ObservableTable(number, weight, values, blocks)}


OBSERVABLES = RecordObservables(
    "hits",
    "Simulated hits",
    ("event", "weight", "particles", "hits", "contributions"),
    PARTS,
    observe,
    needs_detector=True,
)


def _whole(
    hits: FlatList, links: FlatList, incident: NDArray, geometry: Geometry
) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
    """Values (n_events,) and blocks (n_events, bins) of events; incident: true energy in the endcaps, GeV."""
    n = len(hits.counts)
    energy, layer = hits["energy"].astype(np.float64), hits["layer"].astype(np.int64)
    linked = np.zeros(len(energy), bool)
    linked[links["hit"] + hits.starts[links.row]] = True
    timed = hits["time"] != NO_TIME
    first = np.full(n, np.inf)
    bright = timed & (energy > 1)
    np.minimum.at(first, hits.row[bright], hits["time"][bright])
    total = np.bincount(hits.row, energy, n)
    values = {
        "energy_ratio": total / np.where(incident > 0, incident, np.nan),
        "n_hits": hits.counts.astype(float),
        "n_unlinked": np.bincount(hits.row[~linked], minlength=n).astype(float),
        "mean_layer": np.bincount(hits.row, layer, n) / np.where(hits.counts > 0, hits.counts, np.nan),
        "first_time": np.where(np.isfinite(first), first, np.nan),
    }
    blocks = {
        "layers": row_histograms(hits.row, layer, layer_edges(geometry), n, energy),
        "spectrum": row_histograms(hits.row, energy, SPECTRUM, n),
        "times": row_histograms(hits.row[timed], hits["time"][timed], TIMES, n),
    }
    return values, blocks
