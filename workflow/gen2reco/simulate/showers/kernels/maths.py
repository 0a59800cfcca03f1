"""Small mathematics of the sampler, in single precision: random numbers, a logarithm, perceptrons, selection."""

import numpy as np
from numba import float32, njit, none, types

from gen2reco.jit import compiled

inner = njit(fastmath=True, error_model="numpy", _nrt=False)
"""Decorator of what compiled loops call: it makes no arrays, so that none need be counted, which costs more than it."""
_MATRIX = float32[:, ::1]
HEAD = types.Tuple((_MATRIX, _MATRIX, float32[::1], _MATRIX, float32[::1]))
"""Weights of a perceptron: of the first layer, of the second and its bias, of the last and its bias."""
_WEYL, _FIRST, _SECOND = (np.uint64(k) for k in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_30, _27, _31, _40 = (np.uint64(k) for k in (30, 27, 31, 40))
_ONE, _HALF, _UNIT = np.float32(1), np.float32(0.5), np.float32(2.0**-24)
_FAR = np.float32(1e9)
_LN2, _SQRT2, _TURN = np.float32(np.log(2)), np.float32(np.sqrt(2)), np.float32(2 * np.pi)
_LOG2E = np.float32(np.log2(np.e))


@inner
def bits(state):
    """64 random bits by SplitMix64 (Steele et al., OOPSLA 2014, 453): state (1,) uint64."""
    state[0] += _WEYL
    z = state[0]
    z = (z ^ (z >> _30)) * _FIRST
    z = (z ^ (z >> _27)) * _SECOND
    return z ^ (z >> _31)


@inner
def uniform(state):
    """A number strictly between 0 and 1."""
    return (np.float32(bits(state) >> _40) + _HALF) * _UNIT


@inner
def ln(x):
    """Natural logarithm of a positive, normal number, to 2e-7: float32 to float32."""
    bits = np.float32(x).view(np.int32)
    exponent = (bits >> 23) - 127
    m = np.int32((bits & 0x7FFFFF) | 0x3F800000).view(np.float32)
    if m > _SQRT2:
        m, exponent = m * _HALF, exponent + 1
    t = (m - _ONE) / (m + _ONE)  # ln m = 2 artanh t, |t| < 0.172
    s = t * t
    series = _ONE + s * (np.float32(1 / 3) + s * (np.float32(1 / 5) + s * (np.float32(1 / 7) + s * np.float32(1 / 9))))
    return np.float32(exponent) * _LN2 + np.float32(2) * t * series


@inner
def exponential(x):
    """The exponential of a number between -80 and 80, to 1e-5: float32 to float32."""
    t = x * _LOG2E
    whole = np.floor(t)
    f = t - whole
    series = _ONE + f * (
        np.float32(0.6931472)
        + f
        * (
            np.float32(0.2402265)
            + f * (np.float32(0.0555041) + f * (np.float32(0.0096181) + f * np.float32(0.0013333)))
        )
    )  # of 2 ** f
    return series * np.int32((np.int32(whole) + 127) << 23).view(np.float32)


@inner
def add_logistic(values, n, state):
    """Add a logistic number to each of values[:n]: scores of uniform ones, within ±17, from a 32-bit hash of its place
    (Wellons, hash prospector) that the compiler can take many of at a time."""
    key = np.uint32(bits(state) >> _31)
    for k in range(n):
        h = np.uint32(key + np.uint32(k) * np.uint32(0x9E3779B9))
        h = np.uint32(np.uint32(h ^ (h >> np.uint32(16))) * np.uint32(0x21F0AAAD))
        h = np.uint32(np.uint32(h ^ (h >> np.uint32(15))) * np.uint32(0x735A2D97))
        u = (np.float32(np.int32((h ^ (h >> np.uint32(15))) >> np.uint32(8))) + _HALF) * _UNIT
        values[k] += ln(u / max(_ONE - u, _UNIT * _HALF))


@inner
def normal(state):
    """A standard normal number (Box and Muller)."""
    r = np.sqrt(np.float32(-2) * ln(uniform(state)))
    return r * np.cos(_TURN * uniform(state))


@inner
def log_factorial(n):
    """ln n! by Stirling's series, to 4e-4."""
    if n < 2:
        return np.float32(0)
    x = np.float32(n)
    return (x + _HALF) * ln(x) - x + np.float32(0.9189385) + _ONE / (np.float32(12) * x)


@inner
def some_of(special, every, k, state):
    """How many of k random ones of `every` are among the special ones."""
    found = 0
    for i in range(k):
        found += uniform(state) * (every - i) < special - found
    return found


@inner
def shuffle_first(values, n, k, state):
    """Bring k random ones of values[:n] to the front."""
    for i in range(k):
        j = min(i + int(uniform(state) * (n - i)), n - 1)
        values[i], values[j] = values[j], values[i]


@inner
def at_least(values, n, limit):
    """How many of values[:n] are not below the limit."""
    m = np.int32(0)
    for k in range(n):
        m += np.int32(values[k] >= limit)
    return m


@inner
def largest(values, n, k, order):
    """Put the indices of the k largest of values[:n], of at most 1e9, in order, by bisection; returns their number."""
    low, high = np.float32(-16), np.float32(16)
    while at_least(values, n, low) < k and low > -_FAR:
        low, high = np.float32(4) * low, low
    while at_least(values, n, high) > k and high < _FAR:
        low, high = high, np.float32(4) * high
    for _ in range(40):
        middle = _HALF * (low + high)
        m = at_least(values, n, middle)
        if m >= k:
            low = middle
        else:
            high = middle
        if m == k:
            break
    m = 0
    for i in range(n):
        if values[i] >= low and m < k:
            order[m] = i
            m += 1
    return m


@inner
def relu(h, bias):
    """Add the bias to each row and cut at zero."""
    for i in range(h.shape[0]):
        for j in range(h.shape[1]):
            h[i, j] = max(h[i, j] + bias[j], np.float32(0))


@compiled([none(_MATRIX, float32[::1], HEAD, float32[:, :, ::1], _MATRIX)], fastmath=True)
def head(x, bias, weights, hidden, out):
    """Two hidden layers: x (n, n_in) to out (n, n_out); the bias of the first is an argument, hidden
    (2, n, width) holds the layers."""
    first, second, second_bias, last, last_bias = weights
    n, width = len(x), second.shape[1]
    h, g = hidden[0, :n], hidden[1].reshape(-1)[: n * width].reshape(n, width)
    np.dot(x, first, h)
    relu(h, bias)
    np.dot(h, second, g)
    relu(g, second_bias)
    np.dot(g, last, out)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] += last_bias[j]


@compiled([none(_MATRIX, HEAD, float32[:, :, ::1])], fastmath=True)
def first_layer(x, weights, hidden):
    """The first layer of a perceptron without its bias, by the inputs x (n, n_in) alone of which it may have more:
    hidden (2, most, width) receives it."""
    np.dot(x, weights[0][: x.shape[1]], hidden[0, : len(x)])


@inner
def behind(hidden, row, bias, weights, out):
    """What comes behind the first layer, of one row of it, which `first_layer` made: out[0] (n_out,)."""
    _, second, second_bias, last, last_bias = weights
    for j in range(second.shape[1]):
        hidden[1, 0, j] = second_bias[j]
    for i in range(second.shape[0]):
        value = hidden[0, row, i] + bias[i]
        if value > 0:
            for j in range(second.shape[1]):
                hidden[1, 0, j] += value * second[i, j]
    for j in range(last.shape[1]):
        out[0, j] = last_bias[j]
    for i in range(last.shape[0]):
        value = hidden[1, 0, i]
        if value > 0:
            for j in range(last.shape[1]):
                out[0, j] += value * last[i, j]
