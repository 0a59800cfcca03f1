"""Energies of a layer's hits: one after the other, given what the layer has left."""

import numpy as np

from gen2reco.simulate.showers.kernels.maths import behind, first_layer, inner, ln, normal, uniform
from gen2reco.simulate.showers.kernels.window import N_FEATURES, hit_features

MIXTURE = 4
"""Gaussians of the logarithm of a cell's energy."""
TRIES = 16
"""A hit's energy is drawn so many times at most, until it leaves some to each hit after it."""
N_LEFT = 2
"""Numbers of what a layer has left, of energy and of hits, when the energy of one of them is drawn."""
LEAST = np.float32(0.02)
"""MIP that are left to a hit at least."""
_ONE = np.float32(1)


@inner
def weigh(mix, h):
    """Bring a mixture mix[h], logits, means, logarithms of the widths, to weights, means, widths."""
    top = mix[h, 0]
    for m in range(1, MIXTURE):
        top = max(top, mix[h, m])
    for m in range(MIXTURE):
        mix[h, m] = np.exp(mix[h, m] - top)
        mix[h, 2 * MIXTURE + m] = np.exp(min(max(mix[h, 2 * MIXTURE + m], np.float32(-4)), np.float32(1.5)))


@inner
def energy_of(mix, h, state):
    """Draw from a mixture of Gaussians of the logarithm, mix[h]: weights, means, widths."""
    total = np.float32(0)
    for m in range(MIXTURE):
        total += mix[h, m]
    u, which = uniform(state) * total - mix[h, 0], 0
    while u > 0 and which < MIXTURE - 1:
        which += 1
        u -= mix[h, which]
    return np.exp(mix[h, MIXTURE + which] + mix[h, 2 * MIXTURE + which] * normal(state))


@inner
def hottest_first(x, n, keys, order):
    """Bring hits [0, n) with features x (n, N_FEATURES) into `order`: those where earlier layers have more energy
    first, among equals those nearer to the axis. keys: room."""
    for h in range(n):
        key, at = x[h, 2] + x[h, 4] - np.float32(0.01) * x[h, 0], h
        while at > 0 and keys[at - 1] < key:
            keys[at], order[at] = keys[at - 1], order[at - 1]
            at -= 1
        keys[at], order[at] = key, h


@inner
def what_is_left(energy, hits, mean):
    """The N_LEFT numbers of a layer that has so much energy (MIP) left for so many hits, which had `mean` each at
    first."""
    return ln(max(energy / hits, LEAST) / max(mean, LEAST)), _ONE / hits


@inner
def draw_energies(window, place, bias, weights, ix, iy, mips, start, stop, target, room, state):
    """Energies of a layer's hits [start, stop), which add up to `target` MIP: one after the other, the probably hottest
    first, each given what is left; the last one takes it all."""
    n, left, order = stop - start, np.float32(target), room.order
    if n == 0:
        return
    features, mix, hidden = room.features[:n], room.mixture, room.hidden
    hit_features(window, place, ix, iy, start, stop, features)
    first_layer(features, weights, hidden)
    hottest_first(features, n, room.keys, order)
    mean = left / np.float32(n)
    for q in range(n - 1):
        h, after = order[q], np.float32(n - q)
        richness, rest = what_is_left(left, after, mean)
        for i in range(len(bias)):
            hidden[0, h, i] += richness * weights[0][N_FEATURES, i] + rest * weights[0][N_FEATURES + 1, i]
        behind(hidden, h, bias, weights, mix)
        weigh(mix, 0)
        most = left - LEAST * (after - _ONE)
        energy = energy_of(mix, 0, state)
        for _ in range(TRIES):
            if energy < most:
                break
            energy = energy_of(mix, 0, state)
        mips[start + h] = min(energy, max(most, left / after))
        left -= mips[start + h]
    mips[start + order[n - 1]] = left
