"""The second way to the same answer: a bounding-volume tree for crowds in which tiles would look at too many points.

Boxes whose farthest corner is within the radius are summed whole, and float32 rounding is monotone, so the bounds
are exact and the result equals the tiles'. Any distribution of points, duplicates included, costs about n log n.
Load through `compiled_kernels.load`.
"""

import numpy as np
from numba import njit

from gen2reco.cluster.kernels.tiles import span_higher, span_weight, square2, square3

LEAF = 16
STACK = 128


@njit
def dense_ranks(values):
    """Rank of each value among the distinct ones."""
    order = np.argsort(values)
    ranks = np.zeros(len(values), np.uint64)
    rank = np.uint64(0)
    for k in range(1, len(values)):
        if values[order[k]] != values[order[k - 1]]:
            rank += np.uint64(1)
        ranks[order[k]] = rank
    return ranks


@njit
def morton_order(x, y, z):
    """Points along the Z-order curve of their ranks."""
    n = len(x)
    keys = np.zeros(n, np.uint64)
    one = np.uint64(1)
    axes = 2 if z is None else 3
    for axis in range(axes):
        if axis == 0:
            ranks = dense_ranks(x)
        elif axis == 1:
            ranks = dense_ranks(y)
        else:
            if z is not None:
                ranks = dense_ranks(z)
        for i in range(n):
            key, r = keys[i], ranks[i]
            for bit in range(21):
                key |= ((r >> np.uint64(bit)) & one) << np.uint64(axes * bit + axis)
            keys[i] = key
    return np.argsort(keys).astype(np.int32)


@njit
def build_boxes(x, y, z, w):
    """Boxes (nodes, 6) and summed weights of an implicit binary tree over sorted points; node 1 is the root."""
    n = len(x)
    leaves = 1
    while leaves * LEAF < n:
        leaves *= 2
    boxes = np.empty((2 * leaves, 6), np.float32)
    boxes[:, :3] = np.inf
    boxes[:, 3:] = -np.inf
    weights = np.zeros(2 * leaves)
    for j in range(n):
        box = boxes[leaves + j // LEAF]
        box[0], box[3] = min(box[0], x[j]), max(box[3], x[j])
        box[1], box[4] = min(box[1], y[j]), max(box[4], y[j])
        if z is not None:
            box[2], box[5] = min(box[2], z[j]), max(box[5], z[j])
        weights[leaves + j // LEAF] += w[j]
    for k in range(leaves - 1, 0, -1):
        weights[k] = weights[2 * k] + weights[2 * k + 1]
        for a in range(3):
            boxes[k, a] = min(boxes[2 * k, a], boxes[2 * k + 1, a])
            boxes[k, 3 + a] = max(boxes[2 * k, 3 + a], boxes[2 * k + 1, 3 + a])
    return boxes, weights


@njit
def build_highest(rho, order, nodes):
    """Per node the position of its highest (density, index), -1 if empty."""
    highest = np.full(nodes, -1, np.int32)
    leaves = nodes // 2
    for j in range(len(rho)):
        k = leaves + j // LEAF
        if highest[k] < 0 or is_above(j, highest[k], rho, order):
            highest[k] = j
    for k in range(leaves - 1, 0, -1):
        a, b = highest[2 * k], highest[2 * k + 1]
        highest[k] = b if a < 0 or (b >= 0 and is_above(b, a, rho, order)) else a
    return highest


@njit
def is_above(j, i, rho, order):
    """Whether sorted point j has the higher density, or, of equal ones, the higher index."""
    return rho[j] > rho[i] or (rho[j] == rho[i] and order[j] > order[i])


@njit
def axis_bounds(v, low, high, period):
    """Least and greatest folded |v - u| for u in [low, high], float32."""
    a, b = abs(v - low), abs(v - high)
    least = np.float32(0) if low <= v <= high else min(a, b)
    most = max(a, b)
    if period < np.float32(np.inf):
        folded = min(min(least, period - least), min(most, period - most))
        if most <= period - most:
            return folded, most
        if least >= period - least:
            return folded, period - least
        return folded, period * np.float32(0.5000002)
    return least, most


@njit
def box_bounds(xi, yi, zi, box, z, period):
    """Least and greatest squared distance from a point to a box."""
    px, py, pz = np.float32(np.inf), np.float32(np.inf), np.float32(np.inf)
    if period is not None:
        px, py, pz = period[0], period[1], period[2]
    ax, bx = axis_bounds(xi, box[0], box[3], px)
    ay, by = axis_bounds(yi, box[1], box[4], py)
    if z is None:
        return square2(ax, ay), square2(bx, by)
    else:
        az, bz = axis_bounds(zi, box[2], box[5], pz)
        return square3(ax, ay, az), square3(bx, by, bz)


@njit
def tree_density(i, x, y, z, w, boxes, weights, limit, period, stack):
    """Weight within the limit around sorted point i, itself included."""
    xi, yi, zi = x[i], y[i], np.float32(0)
    if z is not None:
        zi = z[i]
    leaves, n = len(boxes) // 2, len(x)
    total, top = 0.0, 1
    stack[0] = 1
    while top > 0:
        top -= 1
        k = stack[top]
        if boxes[k, 0] > boxes[k, 3]:
            continue
        least, most = box_bounds(xi, yi, zi, boxes[k], z, period)
        if least > limit:
            continue
        if most <= limit:
            total += weights[k]
        elif k >= leaves:
            a = (k - leaves) * LEAF
            total += span_weight(a, min(a + LEAF, n), xi, yi, zi, x, y, z, w, limit, period)
        else:
            stack[top], stack[top + 1] = 2 * k, 2 * k + 1
            top += 2
    return total


@njit
def tree_higher(i, x, y, z, rho, order, boxes, highest, limit, period, stack):
    """Sorted position of the nearest point above sorted point i within the limit, or -1."""
    xi, yi, zi = x[i], y[i], np.float32(0)
    if z is not None:
        zi = z[i]
    leaves, n = len(boxes) // 2, len(x)
    best, near, top = -1, np.float32(np.inf), 1
    stack[0] = 1
    while top > 0:
        top -= 1
        k = stack[top]
        candidate = highest[k]
        if candidate < 0 or not is_above(candidate, i, rho, order):
            continue
        least, most = box_bounds(xi, yi, zi, boxes[k], z, period)
        if least > limit:
            continue
        distance = np.sqrt(least)
        if best >= 0 and (distance > near or (distance == near and not is_above(candidate, best, rho, order))):
            continue
        if k >= leaves:
            a = (k - leaves) * LEAF
            best, near = span_higher(a, min(a + LEAF, n), i, x, y, z, rho, order, best, near, limit, period)
        elif least == most:
            best, near = span_higher(candidate, candidate + 1, i, x, y, z, rho, order, best, near, limit, period)
        else:
            left, _ = box_bounds(xi, yi, zi, boxes[2 * k], z, period)
            right, _ = box_bounds(xi, yi, zi, boxes[2 * k + 1], z, period)
            nearer_right = highest[2 * k] < 0 or (highest[2 * k + 1] >= 0 and right < left)
            stack[top] = 2 * k if nearer_right else 2 * k + 1
            stack[top + 1] = 2 * k + 1 if nearer_right else 2 * k
            top += 2
    return best, near
