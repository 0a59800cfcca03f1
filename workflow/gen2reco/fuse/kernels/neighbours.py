"""Neighbours of each particle at the front face, their features, and the order in which particles are decided."""

import numpy as np

from gen2reco.jit import compiled

SOFTENING = 20.0
"""mm; neighbours are ranked by their energy over the square of their distance and this."""


@compiled(["void(i8[::1], f8[:, ::1], f8[::1], b1[::1], f8[::1], i4[:, ::1], f8[:, :, ::1])"])
def neighbours(first, position, energy, electromagnetic, edges, nearest, rings):
    """Most important neighbours of each particle and the energy around it, within its set.

    first: (n_sets + 1,) where each set starts. position: (n, 2) mm. edges: (n_rings,) rising radii, mm. Fills nearest
    (n, k) with indices, -1 where there are fewer, and rings (n, n_rings, 2) with the sums of all and of electromagnetic
    energy at distances below each edge (and above the one before), that of the particle itself left out.
    """
    k = nearest.shape[1]
    score = np.empty(k)
    for s in range(len(first) - 1):
        for i in range(first[s], first[s + 1]):
            nearest[i], score[:], rings[i] = -1, -1.0, 0.0
            for j in range(first[s], first[s + 1]):
                if j == i:
                    continue
                d2 = (position[i, 0] - position[j, 0]) ** 2 + (position[i, 1] - position[j, 1]) ** 2
                for ring in range(len(edges)):
                    if d2 < edges[ring] ** 2:
                        rings[i, ring, 0] += energy[j]
                        if electromagnetic[j]:
                            rings[i, ring, 1] += energy[j]
                        break
                own = energy[j] / (np.sqrt(d2) + SOFTENING) ** 2
                place = k
                while place > 0 and own > score[place - 1]:
                    place -= 1
                if place < k:
                    for m in range(k - 1, place, -1):
                        nearest[i, m], score[m] = nearest[i, m - 1], score[m - 1]
                    nearest[i, place], score[place] = j, own


@compiled(["void(i8[::1], f8[::1], i4[:, ::1], i8[::1])"])
def rounds(order, energy, nearest, found):
    """The round in which each particle can be decided: after all more energetic ones among its neighbours.

    order: particles by falling energy. Fills found (n,), from 0.
    """
    for i in order:
        found[i] = 0
        for j in nearest[i]:
            if j >= 0 and (energy[j] > energy[i] or (energy[j] == energy[i] and j < i)):
                found[i] = max(found[i], found[j] + 1)


@compiled(["void(f8[:, ::1], f8[:, ::1], i4[:, ::1], f8, f8, f4[:, :, ::1])"])
def pairs(state, outward, nearest, depth, scale, found):
    """Features of the neighbours of each particle, in its frame; those of none are left as they are.

    state: (n, 7) x, y, slopes along x and y, log energy, kind (electromagnetic, muon, charged, neutral), tracked.
    outward: (n, 2) unit vectors. found: (n, k, 13) offset outward, across and in all, at the face; the first two once
    more at this depth behind it; log energy, and its difference; one-hot kind; tracked; 1.
    """
    for i in range(len(nearest)):
        c, s = outward[i, 0], outward[i, 1]
        for k in range(nearest.shape[1]):
            j = nearest[i, k]
            if j < 0:
                continue
            x, y = state[j, 0] - state[i, 0], state[j, 1] - state[i, 1]
            found[i, k, 0] = np.arcsinh((c * x + s * y) / scale)
            found[i, k, 1] = np.arcsinh((c * y - s * x) / scale)
            found[i, k, 2] = np.arcsinh(np.sqrt(x * x + y * y) / scale)
            x += depth * (state[j, 2] - state[i, 2])
            y += depth * (state[j, 3] - state[i, 3])
            found[i, k, 3] = np.arcsinh((c * x + s * y) / scale)
            found[i, k, 4] = np.arcsinh((c * y - s * x) / scale)
            found[i, k, 5] = (state[j, 4] - 1.0) / 1.5
            found[i, k, 6] = state[j, 4] - state[i, 4]
            found[i, k, 7 + int(state[j, 5])] = 1.0
            found[i, k, 11] = state[j, 6]
            found[i, k, 12] = 1.0
