"""Compiled kernels, loaded through `cluster.compiled_kernels.load` so that parallel jobs share one safe cache."""
