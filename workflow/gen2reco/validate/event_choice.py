"""Choose one event that reference and candidates share, and gather its hits with the trackster of each."""

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco.events import records
from gen2reco.validate.figures.display import Hits
from gen2reco.validate.samples import Sample

_SEARCHED = 200
"""Events of a sample among which the one with the most tracksters above 1 GeV is shown."""


def pick(samples: list[Sample]) -> tuple[int, dict[str, Hits]] | None:
    """The event's number and its hits by sample; None where the reference has no hits and clusters together.

    Of a sample in which events were drawn several times, it is the first draw, and the number of the original event.
    """
    holding = [s for s in samples if {"hits", "clusters"} <= set(s.shards)]
    if not holding or holding[0] is not samples[0]:
        return None
    best = (-1, -1, -1)
    for shard in range(len(samples[0].shards["clusters"])):
        clusters = _shard(samples[0], "clusters", shard, ["event", "tracksters"])
        if clusters is not None and len(clusters):
            bright = ak.to_numpy(ak.sum(clusters.tracksters.energy > 1.0, axis=1))
            best = max(best, (int(bright.max()), -shard, -int(bright.argmax())))
    if best[0] < 0:
        return None
    chosen = _shard(samples[0], "clusters", -best[1], ["event"])
    assert chosen is not None, "it was read before"
    number = int(_origin(chosen)[-best[2]])
    found = {s.name: hits for s in holding if (hits := _hits(s, -best[1], number)) is not None}
    return (number, found) if samples[0].name in found else None


def _shard(sample: Sample, record: str, shard: int, columns: list[str]) -> ak.Array | None:
    paths = sample.shards[record]
    if shard >= len(paths):
        return None
    share = max(_SEARCHED // len(paths), 1)
    with records.open_file(paths[shard], record) as file:
        columns = [*columns, *({"source"} & {*file.schema_arrow.names})]
    return records.awkward(records.Source(paths[shard], record, columns).slice(0, share))


def _origin(events: ak.Array) -> NDArray[np.int64]:
    return ak.to_numpy(events["source" if "source" in events.fields else "event"])


def _hits(sample: Sample, shard: int, number: int) -> Hits | None:
    hits = _shard(sample, "hits", shard, ["event", "hits"])
    clusters = _shard(sample, "clusters", shard, ["event", "hit_cluster", "cluster_trackster", "tracksters"])
    if hits is None or clusters is None or not (rows := np.flatnonzero(_origin(hits) == number)).size:
        return None
    same = np.flatnonzero(ak.to_numpy(clusters.event) == int(hits.event[rows[0]]))
    if not same.size:
        return None
    of_event, cluster = hits.hits[rows[0]], clusters[same[0]]
    label = ak.to_numpy(cluster.hit_cluster).astype(np.int64)
    if len(label) != len(of_event):
        return None
    trackster = np.append(ak.to_numpy(cluster.cluster_trackster).astype(np.int64), -1)[label]
    x, y, z, energy = (ak.to_numpy(of_event[name]).astype(np.float64) for name in ("x", "y", "z", "energy"))
    return Hits(x, y, z, energy, trackster, ak.to_numpy(cluster.tracksters.energy).astype(np.float64))
