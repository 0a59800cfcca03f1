"""Clustering: hits to layer clusters to tracksters, and CLUE as a library call."""

from gen2reco.cluster.clusters import Clusters
from gen2reco.cluster.points import clue

BACKENDS = {"clue": "gen2reco.cluster.clue:Clue"}

__all__ = ["BACKENDS", "Clusters", "clue"]
