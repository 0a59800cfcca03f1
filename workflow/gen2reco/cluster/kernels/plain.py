"""CLUE on groups of points in two dimensions with plain coordinates. Load through `compiled_kernels.load`."""

from numba import types

from gen2reco.cluster.compiled_kernels import compiled
from gen2reco.cluster.kernels import groups


@compiled(groups.signatures(types.none, [types.none]))
def cluster_groups(
    x, y, z, w, offsets, dc, min_density, outlier, seeding, period, method, density, higher, seed, label, counts
):
    """See `groups.cluster_groups`."""
    groups.cluster_groups(
        x, y, z, w, offsets, dc, min_density, outlier, seeding, period, method, density, higher, seed, label, counts
    )
