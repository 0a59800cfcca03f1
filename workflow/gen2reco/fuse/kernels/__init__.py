"""Compiled kernels, loaded through `campaign.jit.load` so that parallel jobs share one safe cache."""
