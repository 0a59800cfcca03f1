"""Azimuths: differences and sums brought back into one turn."""

from typing import TypeVar

import numpy as np

Angles = TypeVar("Angles")


def wrapped(angle: Angles) -> Angles:
    """The same angles in [-pi, pi), rad: numbers, or NumPy or awkward arrays of any shape."""
    return (angle + np.pi) % (2 * np.pi) - np.pi
