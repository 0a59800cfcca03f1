"""Showers in the layout of ShowerData (https://pypi.org/project/showerdata): a list of points for each shower.

`showers`: one list of numbers each, point after point (x, y, z in mm, energy in GeV, time in ns); `energies` (n, 1),
GeV, `directions` (n, 3), `pdg`, `shower_ids`, `num_points` (n,), `shape` (3,). `shower_points.py` says what a point's
numbers are.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gen2reco.errors import InputError
from gen2reco.events.lists import starts
from gen2reco.exchange import hdf5
from gen2reco.exchange.shower_points import Showers, check_incidence
from gen2reco.files import whole

if TYPE_CHECKING:
    import h5py

LAYOUT = "0.7.0"
"""The version of ShowerData that is written."""
TIMELESS, COLUMNS = 4, 5
"""Numbers of a point without and with a time."""
MAX_POINTS = 10_000_000
"""Points of one shower."""


def is_point_file(file: "h5py.File") -> bool:
    """Whether an HDF5 file holds lists of points."""
    return "showers" in file and "num_points" in file


def write(parts: Iterable[Showers], path: Path, planes: NDArray, about: str) -> dict[str, int]:
    """Write showers, part by part; returns how many showers and points. planes: depths of the layers, mm, and about:
    text, are kept in the file; other readers ignore them."""
    import h5py

    count, most, points = 0, 0, 0
    lists = h5py.vlen_dtype(np.dtype("float32"))
    shapes = {"energies": ((1,), "f4"), "directions": ((3,), "f4"), "pdg": ((), "i4"), "shower_ids": ((), "i4")}
    shapes |= {"num_points": ((), "i4"), "showers": ((), lists)}
    with whole(path) as temporary, h5py.File(temporary, "w", libver=("v108", "latest")) as file:
        for name, (inner, kind) in shapes.items():
            file.create_dataset(name, (0, *inner), kind, maxshape=(None, *inner), chunks=(1024, *inner))
        for part in parts:
            held = np.diff(part.first)
            values = {
                "energies": part.energy[:, None], "directions": part.direction, "pdg": part.pdg,
                "shower_ids": np.arange(count, count + len(part)), "num_points": held,
            }  # fmt: skip
            for name in shapes:
                file[name].resize(count + len(part), axis=0)
                if name in values and len(part):
                    file[name][count:] = values[name]
            lists_of = file["showers"]
            for i, (a, b) in enumerate(zip(part.first[:-1], part.first[1:])):  # h5py stacks lists of one length
                lists_of[count + i] = part.points[a:b].reshape(-1)
            count, points = count + len(part), points + int(held.sum())
            most = max(most, int(held.max(initial=0)))
        file.create_dataset("shape", data=np.array([count, most, COLUMNS], np.int32))
        file.create_dataset("planes", data=planes)
        file.attrs["showerdata_version"], file.attrs["gen2reco"] = LAYOUT, about
    return {"showers": count, "points": points}


class PointFile:
    """A file of points: species, energy and direction of all showers at once, points on demand. Raises InputError.

    `planes`: depths of the layers, mm, where the file says them.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        with hdf5.opened(path) as file:
            shape = hdf5.integers(file, "shape", (3,))
            if shape[2] not in (TIMELESS, COLUMNS):
                raise InputError(f"{path}: points of {shape[2]} numbers, expected x, y, z, energy and maybe time")
            self.columns = int(shape[2])
            self.energy = hdf5.numbers(file, "energies", (None, 1))[:, 0]
            n = len(self.energy)
            self.direction = hdf5.numbers(file, "directions", (n, 3))
            self.pdg = hdf5.integers(file, "pdg", (n,))
            self.held = hdf5.integers(file, "num_points", (n,))
            self.planes = hdf5.numbers(file, "planes", (None,)) if "planes" in file else None
            rows = hdf5.dataset(file, "showers", lists=True)
            if rows.shape != (n,):
                raise InputError(f"{path}: `showers` has shape {rows.shape}, expected ({n},), one list for each energy")
        if len(self.held) and not 0 <= self.held.min() <= self.held.max() <= MAX_POINTS:
            raise InputError(f"{path}: `num_points` from {self.held.min()} to {self.held.max()}")
        check_incidence(self.energy, self.direction, self.path)
        self.direction = self.direction / np.linalg.norm(self.direction, axis=1, keepdims=True)

    def __len__(self) -> int:
        return len(self.energy)

    def read(self, chosen: NDArray) -> Showers:
        """The chosen showers, by index. Raises InputError for points that are none."""
        order = np.unique(chosen)
        with hdf5.opened(self.path) as file:
            rows = list(hdf5.dataset(file, "showers", lists=True)[order]) if len(order) else []
        for i, row in zip(order, rows):
            if len(row) != self.held[i] * self.columns:
                raise InputError(
                    f"{self.path}: shower {i} has {len(row)} numbers, expected {self.columns} for each of its "
                    f"{self.held[i]} points"
                )
        flat = np.concatenate([np.zeros(0, np.float32), *rows]).astype(np.float32).reshape(-1, self.columns)
        _check_points(flat, self.path)
        points = flat if self.columns == COLUMNS else np.column_stack([flat, np.zeros(len(flat), np.float32)])
        held = Showers(self.pdg[order], self.energy[order], self.direction[order], starts(self.held[order]), points)
        return held.take(np.searchsorted(order, chosen))


def _check_points(points: NDArray, path: Path) -> None:
    hdf5.finite(points, f"{path}: points")
    if len(points) and points[:, 3].min() < 0:
        raise InputError(f"{path}: a point of energy {points[:, 3].min():.4g} GeV, expected none below 0")
