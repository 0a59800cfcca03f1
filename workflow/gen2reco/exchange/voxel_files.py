"""Showers in the layout of CaloChallenge: `incident_energies` (n, 1) and `showers` (n, voxels), MeV.

Species and directions, which that layout has not, are kept beside in `pdg` and `directions`; other readers ignore them.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gen2reco.detector.geometry import nearest_plane
from gen2reco.errors import InputError
from gen2reco.events.lists import members, starts
from gen2reco.exchange import hdf5
from gen2reco.exchange.shower_points import Showers, azimuth, check_incidence, rotated
from gen2reco.exchange.voxel_binning import Binning
from gen2reco.files import whole

if TYPE_CHECKING:
    import h5py

MEV = 1000.0
"""MeV in a GeV."""
FINEST, MOST = 100.0, 16
"""mm2 of a voxel for each point that it is made into, and the most points of one."""
ROWS = 256
"""Showers of a chunk of the file, and of a step of reading."""
RESPONSE = 3.0
"""A mean response further off than this factor is taken for a mistaken unit."""


def is_voxel_file(file: "h5py.File") -> bool:
    """Whether an HDF5 file holds voxels."""
    return "showers" in file and "incident_energies" in file


def voxelise(showers: Showers, binning: Binning, planes: NDArray) -> tuple[NDArray[np.float64], float]:
    """Energy of each voxel, GeV: (n, voxels), and how much of it lies beyond the last ring, where it is put. Raises
    InputError for energy in a layer without voxels."""
    layer = nearest_plane(showers.points[:, 2], planes)
    energy = showers.points[:, 3].astype(np.float64)
    at, inside = binning.voxel(layer, showers.about_axis())
    if (at < 0).any() and energy[at < 0].sum() > 0:
        raise InputError(
            f"{energy[at < 0].sum():.4g} GeV in layers without voxels ({int(layer[at < 0][0])} from 0 on); give a "
            "binning of all layers"
        )
    place = showers.owner * len(binning) + at
    filled = np.bincount(place[at >= 0], energy[at >= 0], len(showers) * len(binning)).astype(np.float64)
    return filled.reshape(len(showers), len(binning)), float(energy[~inside].sum())


def write(parts: Iterable[Showers], path: Path, binning: Binning, planes: NDArray, about: str) -> dict[str, float]:
    """Write showers, part by part; returns how many, their energy and that beyond the last rings, GeV."""
    import h5py

    count, energy, beyond = 0, 0.0, 0.0
    shapes = {"incident_energies": (1,), "showers": (len(binning),), "directions": (3,), "pdg": ()}
    with whole(path) as temporary, h5py.File(temporary, "w") as file:
        for name, inner in shapes.items():
            kind = "i4" if name == "pdg" else "f4"
            chunks, packed = (ROWS, *inner), {"compression": "gzip", "compression_opts": 1, "shuffle": True}
            file.create_dataset(name, (0, *inner), kind, maxshape=(None, *inner), chunks=chunks, **packed)
        for part in parts:
            for start in range(0, len(part), ROWS):
                some = part.take(np.arange(start, min(start + ROWS, len(part))))
                filled, outside = voxelise(some, binning, planes)
                values = {"incident_energies": MEV * some.energy[:, None], "showers": MEV * filled,
                          "directions": some.direction, "pdg": some.pdg}  # fmt: skip
                for name, column in values.items():
                    file[name].resize(count + len(some), axis=0)
                    file[name][count:] = column
                count, energy, beyond = count + len(some), energy + float(filled.sum()), beyond + outside
        file.attrs["gen2reco"] = about
    return {"showers": count, "energy": energy, "beyond": beyond}


class VoxelFile:
    """A file of voxels: energy, species and direction of all showers at once, voxels on demand. Raises InputError."""

    def __init__(self, path: Path | str, binning: Binning):
        self.path, self.binning = Path(path), binning
        with hdf5.opened(path) as file:
            self.energy = hdf5.numbers(file, "incident_energies", (None, 1))[:, 0] / MEV
            n = len(self.energy)
            voxels = hdf5.dataset(file, "showers")
            if voxels.shape != (n, len(binning)):
                raise InputError(
                    f"{path}: `showers` has shape {voxels.shape}, expected ({n}, {len(binning)}) by the binning of "
                    f"`{binning.name}`; give the binning that the file was made with"
                )
            self.pdg = hdf5.integers(file, "pdg", (n,)) if "pdg" in file else np.full(n, binning.pdg)
            along = np.tile([0.0, 0.0, 1.0], (n, 1))
            self.direction = hdf5.numbers(file, "directions", (n, 3)) if "directions" in file else along
        check_incidence(self.energy, self.direction, self.path)

    def __len__(self) -> int:
        return len(self.energy)

    def voxels(self, chosen: NDArray) -> NDArray[np.float64]:
        """(k, voxels) of the chosen showers, by index, GeV. Raises InputError for energies that are none."""
        order = np.unique(chosen)
        with hdf5.opened(self.path) as file:
            found = hdf5.dataset(file, "showers")
            parts = [found[order[k : k + ROWS]] for k in range(0, len(order), ROWS)]
        rows = np.concatenate([np.zeros((0, len(self.binning))), *parts]).astype(np.float64) / MEV
        hdf5.finite(rows, f"{self.path}: `showers`")
        if rows.size and rows.min() < 0:
            raise InputError(f"{self.path}: a voxel of {MEV * rows.min():.4g} MeV, expected none below 0")
        return rows[np.searchsorted(order, chosen)]

    def read(self, chosen: NDArray, planes: NDArray) -> Showers:
        """The chosen showers as points: the energy of a voxel is spread evenly over points in it, as many as its area
        takes (`FINEST`), always at the same places. Raises InputError for energies that are none."""
        rows = self.voxels(chosen)
        shower, voxel = np.nonzero(rows)
        many = np.clip(np.ceil(self.binning.area / FINEST), 1, MOST).astype(np.int64)
        at, each = members(starts(many), voxel)
        depth = planes[np.repeat(self.binning.layer[voxel], each)]
        slope = (self.direction[:, :2] / self.direction[:, 2:])[chosen]
        owner = np.repeat(shower, each)
        place = rotated(self._places(many)[at], azimuth(slope)[owner]) + slope[owner] * depth[:, None]
        energy = np.repeat(rows[shower, voxel] / each, each)
        points = np.column_stack([place, depth, energy, np.zeros(len(place))]).astype(np.float32)
        first = starts(np.bincount(owner, minlength=len(chosen)))
        return Showers(self.pdg[chosen], self.energy[chosen], self.direction[chosen], first, points)

    def _places(self, many: NDArray) -> NDArray[np.float64]:
        """(sum of many, 2) places about the axis, so many in each voxel, evenly over its area."""
        rng = np.random.default_rng(0)
        low, high, start, end = np.repeat(self.binning.bounds, many, axis=0).T
        radius = np.sqrt(low**2 + rng.random(len(low)) * (high**2 - low**2))
        angle = start + rng.random(len(low)) * (end - start)
        return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def check_unit(deposited: NDArray, incident: NDArray, path: Path) -> None:
    """Raises InputError where the mean response is off by more than a factor `RESPONSE`: GeV for MeV, or the other way
    round."""
    mean = float(deposited.sum() / max(incident.sum(), 1e-300))
    if len(incident) and not 1 / RESPONSE < mean < RESPONSE:
        raise InputError(
            f"{path}: the showers hold {mean:.3g} times the energy of their particles on average, expected about 1; "
            "are these GeV for MeV, or energies of the active material alone? Scale them to the particles' energies"
        )
