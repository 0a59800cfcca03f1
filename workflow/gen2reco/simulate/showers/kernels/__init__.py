"""Compiled kernels, loaded through `gen2reco.jit.load` so that parallel jobs share one safe cache."""
