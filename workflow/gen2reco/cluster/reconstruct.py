"""The whole clustering of a run of events, from flat hits to linked tracksters."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gen2reco.cluster.iterations import Fragments, Tracks, iterate
from gen2reco.cluster.layers import Hits, LayerClusters, RunClue, cluster_layers
from gen2reco.cluster.linking import link
from gen2reco.cluster.numba_points import clue_groups
from gen2reco.config.clustering import Clustering
from gen2reco.detector.geometry import Geometry


@dataclass(frozen=True)
class Reconstruction:
    """Numbers run over the whole run of events; -1 is none."""

    clusters: LayerClusters
    hit_cluster: NDArray
    """(n_hits,) layer cluster of each hit."""
    fragments: Fragments
    cluster_trackster: NDArray
    """(n_clusters,) trackster of each layer cluster, after linking; numbered by event, then falling energy."""
    fragment_trackster: NDArray
    """(n_fragments,) trackster that each fragment became part of."""


def reconstruct(
    hits: Hits,
    tracks: Tracks,
    geometry: Geometry,
    config: Clustering,
    run_clue: RunClue = clue_groups,
    kept: NDArray | None = None,
) -> Reconstruction:
    """Layer clusters, iterations, linking; any number of events at once. kept: mask of the hits that take part."""
    if kept is None:
        clusters, hit_cluster = cluster_layers(hits, geometry, config.layers, run_clue)
    else:
        hit_cluster = np.full(len(hits), -1, np.int64)
        clusters, hit_cluster[kept] = cluster_layers(hits.take(kept), geometry, config.layers, run_clue)
    fragments = iterate(clusters, tracks, geometry, config)
    cluster_trackster, fragment_trackster = link(clusters, fragments, tracks, geometry, config.linking)
    return Reconstruction(clusters, hit_cluster, fragments, cluster_trackster, fragment_trackster)
