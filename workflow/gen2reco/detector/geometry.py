"""Array view of a detector: cell ids and positions, layer depths, and the weights that turn MIPs into GeV.

A cell id packs side, layer (from 1) and the indices of a square grid centred on the beam:
bit 40 is set for z > 0, bits 32-39 hold the layer, bits 16-31 ix + 2**15, bits 0-15 iy + 2**15.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gen2reco.config.detector import Detector, Slab

_HALF = 1 << 15


class Cells(NamedTuple):
    """Decoded cell ids, int64 arrays of one shape: side is +1 or -1, the sign of z."""

    side: NDArray
    layer: NDArray
    ix: NDArray
    iy: NDArray


def encode(side: ArrayLike, layer: ArrayLike, ix: ArrayLike, iy: ArrayLike) -> NDArray[np.uint64]:
    """Cell ids (uint64) from side (sign of z), layer (from 1) and grid indices, broadcast together."""
    up = (np.asarray(side) > 0).astype(np.int64)
    high = (up << 40) | (np.asarray(layer, np.int64) << 32)
    return (high | ((np.asarray(ix, np.int64) + _HALF) << 16) | (np.asarray(iy, np.int64) + _HALF)).astype(np.uint64)


def decode(cell: ArrayLike) -> Cells:
    """The inverse of `encode`."""
    cell = np.asarray(cell).astype(np.int64)
    side = np.where((cell >> 40) & 1, 1, -1)
    return Cells(side, (cell >> 32) & 0xFF, ((cell >> 16) & 0xFFFF) - _HALF, (cell & 0xFFFF) - _HALF)


def layer_of(cell: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The layer, from 1, of each cell id."""
    return ((cell >> np.uint64(32)) & np.uint64(0xFF)).astype(np.int64)


def nearest_plane(z: NDArray, planes: NDArray) -> NDArray[np.int64]:
    """The plane, from 0, that each z is nearest to; planes: rising."""
    return np.searchsorted((planes[1:] + planes[:-1]) / 2, z)


def event_cell(event: NDArray, cell: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Event (from 0) and cell id packed into one sortable number: 41 bits hold a cell id."""
    return (event.astype(np.uint64) << np.uint64(41)) | cell


class PlacedSlab(NamedTuple):
    """One plate of an endcap, from the front: layer (from 1), material, front |z| and thickness in mm."""

    layer: int
    material: str
    z: float
    thickness: float
    sensitive: bool


@dataclass(frozen=True)
class Geometry:
    """A detector as arrays, computed on first use; per-layer arrays are indexed by layer - 1."""

    detector: Detector

    @cached_property
    def slabs(self) -> list[PlacedSlab]:
        """All plates of one endcap in order of |z|."""
        placed, z, layer, module = [], self.detector.front_face, 0, self.detector.module
        for section in self.detector.sections:
            for i in range(section.layers):
                layer += 1
                stack: list[Slab] = [*section.absorbers[i % len(section.absorbers)], *module.front]
                for slab in [*stack, module.silicon, *module.back]:
                    placed.append(PlacedSlab(layer, slab.material, z, slab.thickness, slab is module.silicon))
                    z += slab.thickness
        return placed

    @property
    def n_layers(self) -> int:
        """Number of layers in one endcap."""
        return self.detector.n_layers

    @property
    def n_em_layers(self) -> int:
        """Number of layers of the electromagnetic sections of one endcap."""
        return self.detector.n_em_layers

    def covers(self, eta: ArrayLike) -> NDArray[np.bool_]:
        """Whether pseudorapidities, of either sign, lie between the edges of the endcaps."""
        size = np.abs(eta)
        return (size > self.detector.eta_min) & (size < self.detector.eta_max)

    @cached_property
    def z(self) -> NDArray[np.float64]:
        """|z| of the middle of each silicon plane, mm: (n_layers,)."""
        return np.array([slab.z + slab.thickness / 2 for slab in self.slabs if slab.sensitive])

    @cached_property
    def end(self) -> float:
        """|z| of the back of the endcap, mm."""
        return self.slabs[-1].z + self.slabs[-1].thickness

    @cached_property
    def r_min(self) -> NDArray[np.float64]:
        """Inner radius of the cells of each layer, mm: (n_layers,)."""
        return self.z / np.sinh(self.detector.eta_max)

    @cached_property
    def r_max(self) -> NDArray[np.float64]:
        """Outer radius of the cells of each layer, mm: (n_layers,)."""
        return self.z / np.sinh(self.detector.eta_min)

    @cached_property
    def electromagnetic(self) -> NDArray[np.bool_]:
        """Whether each layer belongs to the electromagnetic section: (n_layers,)."""
        return np.concatenate([np.full(s.layers, s.electromagnetic) for s in self.detector.sections])

    @cached_property
    def depth_lambda(self) -> NDArray[np.float64]:
        """Interaction lengths in front of each silicon plane, at normal incidence: (n_layers,)."""
        return self.depth_in("interaction_length")

    def depth_in(self, length: str) -> NDArray[np.float64]:
        """Depth of each silicon plane in units of a length of the materials, at normal incidence: (n_layers,)."""
        depth, at_silicon = 0.0, []
        for slab in self.slabs:
            if slab.sensitive:
                at_silicon.append(depth)
            depth += slab.thickness / getattr(self.detector.materials[slab.material], length)
        return np.array(at_silicon)

    @cached_property
    def dedx(self) -> NDArray[np.float64]:
        """Energy that a MIP loses per layer, GeV: half in front of and half behind each silicon plane, (n_layers,).

        With L_i the loss between planes i-1 and i, the weight is (L_i + L_i+1)/2; the last plane keeps its own L.
        """
        loss = np.zeros(self.n_layers)
        for slab in self.slabs:
            if not slab.sensitive:
                loss[slab.layer - 1] += slab.thickness * self.detector.materials[slab.material].mip_loss * 1e-3
        return (loss + np.append(loss[1:], loss[-1])) / 2

    @cached_property
    def gev_per_mip(self) -> NDArray[np.float64]:
        """Calibrated energy of one MIP in each layer, GeV at the electromagnetic scale: (n_layers,)."""
        return self.dedx * self.detector.digitisation.em_scale

    def index(self, coordinate: ArrayLike) -> NDArray[np.int64]:
        """Grid index of an x or y, mm."""
        return np.floor(np.asarray(coordinate) / self.detector.cell_size).astype(np.int64)

    def position(self, cell: ArrayLike) -> tuple[NDArray, NDArray, NDArray]:
        """Centres (x, y, z) of cells, mm, float64."""
        side, layer, ix, iy = decode(cell)
        size = self.detector.cell_size
        return (ix + 0.5) * size, (iy + 0.5) * size, side * self.z[layer - 1]

    def exists(self, layer: ArrayLike, ix: ArrayLike, iy: ArrayLike) -> NDArray[np.bool_]:
        """Whether the centre of a cell lies in the annulus of its layer."""
        layer = np.asarray(layer)
        known = (layer >= 1) & (layer <= self.n_layers)
        at = np.where(known, layer, 1) - 1
        r = np.hypot(np.asarray(ix) + 0.5, np.asarray(iy) + 0.5) * self.detector.cell_size
        return known & (r >= self.r_min[at]) & (r <= self.r_max[at])

    @cached_property
    def _plane(self) -> tuple[NDArray, NDArray, NDArray]:
        """Grid indices (ix, iy) sorted by radius, and the sorted radii: each layer's cells are one slice of them."""
        n = int(np.ceil(self.r_max[-1] / self.detector.cell_size)) + 1
        ix, iy = (a.ravel() for a in np.meshgrid(np.arange(-n, n), np.arange(-n, n), indexing="ij"))
        r = np.hypot(ix + 0.5, iy + 0.5) * self.detector.cell_size
        order = np.argsort(r, kind="stable")
        return ix[order], iy[order], r[order]

    @cached_property
    def n_cells(self) -> NDArray[np.int64]:
        """Number of cells in each layer of one endcap: (n_layers,)."""
        r = self._plane[2]
        return np.searchsorted(r, self.r_max, side="right") - np.searchsorted(r, self.r_min)

    def nth_cell(self, number: ArrayLike) -> NDArray[np.uint64]:
        """Ids of cells numbered 0 ... 2 sum(n_cells) - 1 over both endcaps, side by side, layer by layer."""
        number = np.asarray(number, np.int64)
        ix, iy, r = self._plane
        per_side = int(self.n_cells.sum())
        side = np.where(number < per_side, -1, 1)
        ends = np.cumsum(self.n_cells)
        within = number % per_side
        at = np.searchsorted(ends, within, side="right")
        k = within - (ends - self.n_cells)[at] + np.searchsorted(r, self.r_min)[at]
        return encode(side, at + 1, ix[k], iy[k])
