"""Between the records' event lists and the flat arrays of the clustering."""

from typing import NamedTuple

import awkward as ak
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gen2reco.cluster.association import Associations, associate, energy_shares
from gen2reco.cluster.iterations import Tracks
from gen2reco.cluster.layers import Hits
from gen2reco.cluster.reconstruct import Reconstruction
from gen2reco.cluster.tracksters import measure
from gen2reco.detector.geometry import Geometry
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.lists import event_of, offsets, per_event
from gen2reco.events.schemas import SHAPES

LAYER_CLUSTER = ("layer", "x", "y", "z", "energy", "time", "size")
TRACKSTER = ("iteration", "energy", "x", "y", "z", "eta", "phi", "time")
"""Fields of the record, those of a trackster before its shape variables."""


class Flat(NamedTuple):
    """A `hits` table as flat arrays; numbers of hits and particles run over the whole table."""

    n_events: int
    hits: Hits
    tracks: Tracks
    particle_event: NDArray[np.int64]
    """(n_particles,) event of each particle."""
    hit: NDArray[np.int64]
    """(n_contributions,) number of the hit."""
    particle: NDArray[np.int64]
    energy: NDArray[np.float64]
    pileup: NDArray[np.float64] | None = None
    """(n_hits,) energy of pile-up in each hit, GeV; None where there is none."""


def flatten(events: pa.Table, geometry: Geometry, source: str = "hits") -> Flat:
    """Flat arrays of a `hits` table. Raises InputError for a layer that the detector does not have."""
    data = records.awkward(events)
    event = {name: event_of(data[name]) for name in ("hits", "tracks", "particles", "contributions")}
    flat = ak.flatten(data["hits"])
    layer = ak.to_numpy(flat["layer"]).astype(np.int64)
    bad = (layer < 1) | (layer > geometry.n_layers)
    if bad.any():
        at = int(np.argmax(bad))
        number = events["event"][int(event["hits"][at])].as_py()
        raise InputError(
            f"{source}: event {number}: `hits.layer` = {layer[at]}, expected 1 to {geometry.n_layers} as in detector "
            f"`{geometry.detector.name}`; give the detector that the hits were made with"
        )
    fields = {name: ak.to_numpy(flat[name]) for name in ("x", "y", "z", "energy", "time")}
    track = ak.flatten(data["tracks"])
    tracks = Tracks(
        event["tracks"], **{name: ak.to_numpy(track[name]).astype(float) for name in ("px", "py", "pz", "x", "y", "z")}
    )
    contribution = ak.flatten(data["contributions"])
    starts = {name: offsets(data[name]) for name in ("hits", "particles")}
    of = event["contributions"]
    return Flat(
        len(data),
        Hits(event["hits"], layer, **fields),
        tracks,
        event["particles"],
        ak.to_numpy(contribution["hit"]) + starts["hits"][of],
        ak.to_numpy(contribution["particle"]) + starts["particles"][of],
        ak.to_numpy(contribution["energy"]).astype(np.float64),
        ak.to_numpy(ak.flatten(data["hit_pileup"])).astype(np.float64) if "hit_pileup" in data.fields else None,
    )


def clusters_table(events: pa.Table, flat: Flat, found: Reconstruction, geometry: Geometry) -> pa.Table:
    """The `clusters` record of a run of events."""
    n, own, label = flat.n_events, found.clusters, found.cluster_trackster
    shares = energy_shares(found.hit_cluster, flat.hits.energy, own.energy, flat.hit, flat.particle, flat.energy)
    fragment_event, fragment_energy = _fragments(found)
    shape = measure(own, label, int(label.max(initial=-1)) + 1, geometry)
    shape["iteration"] = _iterations(found, fragment_energy, len(shape["event"]))
    first = {
        "clusters": _first(own.event, n),
        "tracksters": _first(shape["event"], n),
        "fragments": _first(fragment_event, n),
        "particles": _first(flat.particle_event, n),
    }
    fragments = {
        "iteration": found.fragments.iteration,
        "trackster": _placed(found.fragment_trackster, first["tracksters"], fragment_event),
        "energy": fragment_energy,
    }
    hit_cluster = _placed(found.hit_cluster, first["clusters"], flat.hits.event)
    deposited = np.bincount(flat.particle, flat.energy, len(flat.particle_event))
    columns = {
        **{name: events[name] for name in ("event", "weight", "particles", "tracks")},
        "layer_clusters": per_event(own.event, n, {name: getattr(own, name) for name in LAYER_CLUSTER}),
        "hit_cluster": per_event(flat.hits.event, n, hit_cluster),
        "tracksters": per_event(shape["event"], n, {name: shape[name] for name in (*TRACKSTER, *SHAPES)}),
        "cluster_trackster": per_event(own.event, n, _placed(label, first["tracksters"], own.event)),
        "associations": _association_lists(associate(label, shares), "trackster", first, flat, n),
        "deposited": per_event(flat.particle_event, n, deposited),
        "fragments": per_event(fragment_event, n, fragments),
        "fragment_associations": _association_lists(
            associate(found.fragments.label, shares), "fragment", first, flat, n
        ),
    }
    if flat.pileup is not None:
        pileup = _pileup(flat.pileup, found, len(shape["event"]))
        columns["trackster_pileup"] = per_event(shape["event"], n, pileup)
    return records.table("clusters", columns)


def _pileup(pileup: NDArray, found: Reconstruction, n_tracksters: int) -> NDArray:
    """Energy of pile-up in each trackster, GeV: (n_tracksters,)."""
    trackster = np.append(found.cluster_trackster, -1)[found.hit_cluster]
    inside = trackster >= 0
    return np.bincount(trackster[inside], pileup[inside], n_tracksters)


def _fragments(found: Reconstruction) -> tuple[NDArray[np.int64], NDArray]:
    """Event and energy (GeV) of each fragment: (n_fragments,) each."""
    fragments, own = found.fragments, found.clusters
    claimed = fragments.label >= 0
    event = np.zeros(fragments.n, np.int64)
    event[fragments.label[claimed]] = own.event[claimed]
    return event, np.bincount(fragments.label[claimed], own.energy[claimed], fragments.n)


def _iterations(found: Reconstruction, energy: NDArray, n_tracksters: int) -> NDArray[np.int64]:
    """The iteration of the fragment of most energy in each trackster: (n_tracksters,)."""
    rising = np.argsort(energy, kind="stable")
    rising = rising[found.fragment_trackster[rising] >= 0]
    iteration = np.zeros(n_tracksters, np.int64)
    iteration[found.fragment_trackster[rising]] = found.fragments.iteration[rising]  # the last, of most energy, stays
    return iteration


def _association_lists(found: Associations, name: str, first: dict, flat: Flat, n: int) -> ak.Array:
    event = flat.particle_event[found.particle]
    order = np.argsort(event, kind="stable")
    event = event[order]
    return per_event(
        event,
        n,
        {
            name: found.trackster[order] - first[f"{name}s"][event],
            "particle": found.particle[order] - first["particles"][event],
            **{field: getattr(found, field)[order] for field in ("reco_to_sim", "sim_to_reco", "shared_energy")},
        },
    )


def _first(event: NDArray, n: int) -> NDArray[np.int64]:
    """Where each event begins in entries sorted by event."""
    return np.searchsorted(event, np.arange(n))


def _placed(index: NDArray, first: NDArray, event: NDArray) -> NDArray[np.int64]:
    """Numbers over all events as places within each event; negative ones become -1."""
    return np.where(index >= 0, index - first[event], -1)
