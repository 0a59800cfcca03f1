"""The smallest module of compiled kernels, for tests of their cache."""

from numba import types

from gen2reco.jit import compiled


@compiled([types.int64(types.int64)])
def twice(x):
    """Twice x."""
    return 2 * x
