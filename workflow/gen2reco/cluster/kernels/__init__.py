"""Compiled kernels, loaded through `gen2reco.cluster.jit.load` so that parallel jobs share one safe cache."""
