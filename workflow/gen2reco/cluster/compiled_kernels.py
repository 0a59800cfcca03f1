"""The kernels of the clustering, compiled once a machine kind (`jit.py`)."""

from types import ModuleType

from gen2reco import jit
from gen2reco.jit import compiled

_SOURCES = {
    "plain": ("groups", "tree", "tiles"),
    "plain3": ("groups", "tree", "tiles"),
    "cyclic": ("groups", "tree", "tiles"),
    "clue3d": ("tiles",),
    "shapes": (),
    "near": (),
}
"""Kernel module: the modules in `kernels/` that its compiled code comes from."""


def load(name: str) -> ModuleType:
    """Import gen2reco.cluster.kernels.<name>, compiled code taken from the shared cache or put there."""
    return jit.load(f"gen2reco.cluster.kernels.{name}", _SOURCES[name])


__all__ = ["compiled", "load"]
