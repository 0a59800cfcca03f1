"""Units of the records: constants of nature in GeV, mm and ns; angles in radians, in one turn."""

from typing import Any

C_LIGHT = 299.792458
"""Speed of light, mm/ns (exact)."""
_TURN = 6.283185307179586


def wrapped(angle: Any) -> Any:
    """The same angles in [-pi, pi): numbers, or NumPy or awkward arrays of any shape."""
    return (angle + _TURN / 2) % _TURN - _TURN / 2
