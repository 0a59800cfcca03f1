"""Choose one event that reference and candidates share, and gather its hits with the trackster of each."""

import awkward as ak
import numpy as np

from gen2reco.validate.figures.display import Hits
from gen2reco.validate.samples import Sample

_SEARCHED = 200
"""Events of the first shard among which the one with the most tracksters above 1 GeV is shown."""


def pick(samples: list[Sample]) -> tuple[int, dict[str, Hits]] | None:
    """The event's number and its hits by sample; None where the reference has no hits and clusters together."""
    holding = [s for s in samples if {"hits", "clusters"} <= set(s.shards)]
    if not holding or holding[0] is not samples[0]:
        return None
    clusters = _first(samples[0], "clusters", ["event", "tracksters"])
    if clusters is None:
        return None
    bright = ak.to_numpy(ak.sum(clusters.tracksters.energy > 1.0, axis=1))
    number = int(clusters.event[int(bright.argmax())])
    found = {s.name: hits for s in holding if (hits := _hits(s, number)) is not None}
    return (number, found) if samples[0].name in found else None


def _first(sample: Sample, record: str, columns: list[str]) -> ak.Array | None:
    return next(sample.events(record, columns, _SEARCHED), None)


def _hits(sample: Sample, number: int) -> Hits | None:
    hits = _first(sample, "hits", ["event", "hits"])
    clusters = _first(sample, "clusters", ["event", "hit_cluster", "cluster_trackster", "tracksters"])
    rows = [np.flatnonzero(ak.to_numpy(a.event) == number) if a is not None else [] for a in (hits, clusters)]
    if not len(rows[0]) or not len(rows[1]):
        return None
    of_event, cluster = hits[int(rows[0][0])].hits, clusters[int(rows[1][0])]
    label = ak.to_numpy(cluster.hit_cluster).astype(np.int64)
    if len(label) != len(of_event):
        return None
    trackster = np.append(ak.to_numpy(cluster.cluster_trackster).astype(np.int64), -1)[label]
    position = (ak.to_numpy(of_event[name]).astype(np.float64) for name in ("x", "y", "z", "energy"))
    return Hits(*position, trackster, ak.to_numpy(cluster.tracksters.energy).astype(np.float64))
