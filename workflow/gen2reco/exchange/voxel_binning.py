"""The voxels of CaloChallenge (https://calochallenge.github.io/homepage, arXiv:2410.21611): rings about the axis of the
shower, cut into sectors, in each layer; read from its XML file."""

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gen2reco.config.detector import Detector
from gen2reco.errors import InputError
from gen2reco.files import read_text

MAX_VOXELS = 1_000_000
MAX_TEXT = 4 << 20


@dataclass(frozen=True)
class Binning:
    """Voxels in the order of the files: layer after layer, in a layer sector after sector (from -pi on), in a sector
    from the axis outwards."""

    name: str
    """What the file calls the particle."""
    pdg: int
    layers: tuple[int, ...]
    """Number of each layer that has voxels, from 0: (k,)."""
    edges: tuple[NDArray[np.float64], ...]
    """Radii of its rings, mm."""
    sectors: tuple[int, ...]
    n_layers: int
    """Layers in all."""

    def check_layers(self, detector: Detector, path: Path | str) -> None:
        """Raises InputError for voxels of other layers than the detector has."""
        if self.n_layers != detector.n_layers:
            raise InputError(
                f"{path}: voxels of {self.n_layers} layers, detector `{detector.name}` has {detector.n_layers}: "
                "showers of another geometry"
            )

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """First voxel of each layer that has some, and the number of all: (k + 1,)."""
        counts = [(len(edges) - 1) * n for edges, n in zip(self.edges, self.sectors)]
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.first[-1])

    def voxel(self, layer: NDArray, off: NDArray) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The voxel of points (m, 2) about the axis in layers (m,), from 0, and whether each lies in it: what lies
        beyond the last ring counts to it, -1 in a layer without voxels."""
        radius, angle = np.hypot(*off.T), np.arctan2(off[:, 1], off[:, 0])
        found, inside = np.full(len(layer), -1, np.int64), np.zeros(len(layer), bool)
        for k, number in enumerate(self.layers):
            at = np.flatnonzero(layer == number)
            rings = len(self.edges[k]) - 1
            ring = np.searchsorted(self.edges[k], radius[at], side="right") - 1
            sector = np.floor((angle[at] + np.pi) / (2 * np.pi) * self.sectors[k]).astype(np.int64) % self.sectors[k]
            found[at] = self.first[k] + sector * rings + np.clip(ring, 0, rings - 1)
            inside[at] = (ring >= 0) & (ring < rings)
        return found, inside

    @cached_property
    def layer(self) -> NDArray[np.int64]:
        """The layer of each voxel, from 0: (n,)."""
        return np.repeat(self.layers, np.diff(self.first))

    @cached_property
    def bounds(self) -> NDArray[np.float64]:
        """(n, 4): radii and angles between which each voxel lies, mm and rad."""
        parts = []
        for edges, sectors in zip(self.edges, self.sectors):
            rings = len(edges) - 1
            angles = np.linspace(-np.pi, np.pi, sectors + 1)
            low, high = (np.tile(one, sectors) for one in (edges[:-1], edges[1:]))
            parts.append(np.column_stack([low, high, np.repeat(angles[:-1], rings), np.repeat(angles[1:], rings)]))
        return np.concatenate([np.zeros((0, 4)), *parts])

    @cached_property
    def area(self) -> NDArray[np.float64]:
        """(n,) mm2."""
        low, high, start, end = self.bounds.T
        return (high**2 - low**2) * (end - start) / 2

    @cached_property
    def centre(self) -> NDArray[np.float64]:
        """(n, 2) mm: middle of the radii and of the angles, as CaloChallenge has it."""
        low, high, start, end = self.bounds.T
        radius, angle = (low + high) / 2, (start + end) / 2
        return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def read_binning(path: Path | str, pdg: int | None = None) -> Binning:
    """The binning in an XML file; of several particles that of code `pdg`. Raises InputError."""
    text = read_text(path, MAX_TEXT)
    if "<!" in text.replace("<!--", ""):
        raise InputError(f"{path}: a document type or entities; expected `<Bins>` alone")
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise InputError(f"{path}: no XML: {error}") from None
    found = {_whole(particle.get("pid"), f"{path}: `pid`"): particle for particle in root}
    if not found:
        raise InputError(f"{path}: no `<Bin pid=…>` in `<{root.tag}>`; expected the binning of CaloChallenge")
    if pdg is None and len(found) > 1:
        raise InputError(f"{path}: binnings of {len(found)} particles ({', '.join(map(str, found))}); name one")
    code = next(iter(found)) if pdg is None else pdg
    if code not in found:
        raise InputError(f"{path}: no binning of particle {code}; it has {', '.join(map(str, found))}")
    return _binning(found[code], code, str(path))


def _binning(particle: ET.Element, pdg: int, path: str) -> Binning:
    layers, edges, sectors = [], [], []
    for number, layer in enumerate(particle):
        where = f"{path}: layer {number}"
        if _whole(layer.get("id"), f"{where}: `id`") != number:
            raise InputError(f"{where}: `id` is {layer.get('id')}; expected all layers in order, from 0")
        radii = _radii(layer.get("r_edges"), where)
        cut = _whole(layer.get("n_bin_alpha"), f"{where}: `n_bin_alpha`")
        if not 1 <= cut <= 10_000:
            raise InputError(f"{where}: `n_bin_alpha` = {cut}, expected 1 to 10000")
        if len(radii) > 1:
            layers.append(number)
            edges.append(radii)
            sectors.append(cut)
    made = Binning(particle.get("name") or str(pdg), pdg, tuple(layers), tuple(edges), tuple(sectors), len(particle))
    if not 1 <= len(made) <= MAX_VOXELS:
        raise InputError(f"{path}: {len(made)} voxels, expected 1 to {MAX_VOXELS}")
    return made


def _radii(text: str | None, where: str) -> NDArray[np.float64]:
    try:
        radii = np.array([float(part) for part in (text or "").split(",")])
    except ValueError:
        raise InputError(f"{where}: `r_edges` = {text!r}, expected radii in mm, `0,5,10`") from None
    if not np.isfinite(radii).all() or (radii < 0).any() or (np.diff(radii) <= 0).any():
        raise InputError(f"{where}: `r_edges` = {text!r}, expected finite radii that rise from 0 on")
    return radii


def _whole(text: str | None, where: str) -> int:
    try:
        return int(text or "")
    except ValueError:
        raise InputError(f"{where} = {text!r}, expected a whole number") from None
