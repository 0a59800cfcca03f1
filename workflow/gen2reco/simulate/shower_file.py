"""Anybody's showers: each particle at the front face gets one of a file or of a sample, nearest in energy and angle."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import model_validator

from gen2reco.config.block import Block, Name
from gen2reco.config.detector import Detector
from gen2reco.detector.made_with import simulated_in
from gen2reco.detector.propagate import enter
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.truth import Properties, simulated
from gen2reco.exchange.opening import open_showers
from gen2reco.exchange.point_files import PointFile
from gen2reco.exchange.shower_points import Showers, joined, of_hits
from gen2reco.exchange.voxel_binning import read_binning
from gen2reco.exchange.voxel_files import VoxelFile, check_unit
from gen2reco.files import file_digest
from gen2reco.run import fallback
from gen2reco.run.seeds import streams
from gen2reco.run.stage import Chunk, Result
from gen2reco.simulate.geant4 import Geant4
from gen2reco.simulate.own_showers import OwnShowers
from gen2reco.simulate.placing import choose
from gen2reco.simulate.showers.incidence import Incidence, incidence

FAR = 2.0
"""Factor in energy up to which a shower is scaled."""
READ = 500
"""Events of a library that are read at once."""
JUDGED = 500
"""Showers by which the unit of a file is checked."""


class ShowerFile(OwnShowers):
    """Each particle gets a shower of its species from a file or a sample, nearest in energy and angle, scaled to its
    energy and placed at its entry and direction. In a chunk none is taken twice until all are used."""

    name, isolate, chunk_events, version, takes_library = "showers", True, 10_000, 1, True

    class Options(Block):
        """The file and its use."""

        file: str | None = None
        """HDF5 file of points (ShowerData) or of voxels (CaloChallenge); relative to the campaign."""
        library: Name | None = None
        """Instead of a file: the sample of the campaign, with deposits, whose showers are taken; by hand its files:
        `--library FILES`."""
        sha256: str | None = None
        """Digest of the file, filled in when it is read; a file that has changed since is refused."""
        binning: str | None = None
        """XML file of the voxels; points need none."""
        outside: Literal["geant4", "refuse"] = "refuse"
        """What becomes of particles whose species or energy, within a factor of two, the file has not: simulated by
        Geant4, or an error."""
        keep_deposits: bool = False
        """Keep the noise-free deposits of each cell and particle."""

        @model_validator(mode="before")
        @classmethod
        def _digest(cls, given: Any) -> Any:
            if not isinstance(given, dict) or not isinstance(given.get("file"), str) or given.get("sha256"):
                return given
            if given.get("library"):
                raise ValueError("`file` and `library`: expected one of them")
            try:
                return {**given, "sha256": file_digest(given["file"])}
            except OSError as error:
                raise ValueError(f"{given['file']}: cannot be read: {error.strerror}; check the path") from None

    options: Options

    @classmethod
    def check_chain(cls, options: dict, stages: dict[str, dict], library: dict | None) -> None:
        """Refuse a planned sample without file or library, and a library that keeps no deposits or is the sample."""
        if library is None:
            if options.get("file") is None:
                raise InputError("`file` is missing; name a file of showers, or a sample by `library`")
            return
        what, made = f"`library: {options['library']}`", library["stages"]
        if not made.get("simulate", {}).get("options", {}).get("keep_deposits"):
            raise InputError(f"{what}: no deposits to take showers from; set `keep_deposits: true` in its `simulate`")
        if made["generate"]["owner"] == stages["generate"]["owner"]:
            raise InputError(f"{what}: its particles are those of the sample itself; name a sample of others")

    def prepare(self) -> None:
        """Open the file or the library, and set up Geant4 if it is the fallback. Raises InputError for what does not
        fit."""
        self.file = self._opened()
        self.source = str(self.file.path)
        if not len(self.file):
            raise InputError(f"{self.source}: holds no showers")
        some = self._read(np.unique(np.linspace(0, len(self.file) - 1, JUDGED).astype(np.int64)))
        check_unit(some.points[:, 3], some.energy, self.file.path)
        if self.options.outside == "geant4":
            self.reference = Geant4(Geant4.Options(), self.detector)
            self.reference.prepare()

    def run(self, chunk: Chunk, events: pa.Table) -> Result:
        """Place a shower for each particle of the chunk. Raises InputError for a particle that the file has none for,
        where `outside` is `refuse`."""
        every = enter(events, self.detector, self.properties)
        at_face = every[simulated(every.pdg, every.energy)]
        inc = incidence(at_face)
        reasons = self._reasons(inc)
        known = reasons == ""
        if not known.all() and self.options.outside == "refuse":
            at = int(np.argmin(known))
            raise InputError(
                f"event {events['event'][int(at_face.event[at])].as_py()}: {self.source} has no shower for "
                f"{reasons[at]} ({inc.energy[at]:.4g} GeV); set `outside: geant4`, or give more showers"
            )
        own, reference = streams(chunk.seed)[0].spawn(2)
        chosen, again = self._chosen(inc[known], own)
        deposits, facts = self.placed(at_face[known], lambda _, some: self._read(chosen[some]))
        facts["showers_taken_again"] = again
        if not known.all():
            deposits = deposits.joined(self.reference.deposits(at_face[~known], reference))
            facts |= self.reference.physics()
        facts["fallback_reasons"] = fallback.by_reason(reasons[~known], at_face.energy[~known])
        return self.result(chunk, events, every, deposits, facts)

    def notices(self, facts: dict) -> list[str]:
        """What fell back, was taken again, was not simulated, or fell out of the calorimeter."""
        reasons, lines = fallback.reasons_of(facts), super().notices(facts)
        if reasons:
            lines.append(
                f"simulate showers: {fallback.number(reasons)} of {facts['particles_at_face']} particles "
                f"({fallback.energy(reasons):.4g} GeV) simulated by Geant4, for the file has no "
                f"{fallback.sentence(reasons)}"
            )
        if again := facts.get("showers_taken_again", 0):
            lines.append(f"simulate showers: {again} of {facts['showers']} showers were taken before in their chunk")
        return lines

    def _chosen(self, inc: Incidence, rng: np.random.Generator) -> tuple[NDArray[np.int64], int]:
        """The shower of each particle, by index, and how many were taken again."""
        held, chosen, again = self.file, np.full(len(inc), -1, np.int64), 0
        lean = np.hypot(*(held.direction[:, :2] / held.direction[:, 2:]).T)
        for code in np.unique(inc.pdg):
            own, those = np.flatnonzero(inc.pdg == code), np.flatnonzero(held.pdg == code)
            found, more = choose(inc.energy[own], inc.steepness[own], held.energy[those], lean[those], rng)
            chosen[own], again = those[found], again + more
        return chosen, int(again)

    def _opened(self) -> "PointFile | VoxelFile | Held":
        if self.library:
            return Held.of(self.library, self.detector)
        if self.options.file is None:
            raise InputError("simulate showers: no showers; give `--option file=FILE` or `--library FILES`")
        if file_digest(self.options.file) != self.options.sha256:
            raise InputError(f"{self.options.file}: has changed since it was planned; plan again, or put it back")
        binning = None
        if self.options.binning is not None:
            binning = read_binning(self.options.binning)
            binning.check_layers(self.detector, self.options.binning)
        return open_showers(Path(self.options.file), binning)

    def _read(self, chosen: NDArray) -> Showers:
        return self.file.read(chosen, self.planes) if isinstance(self.file, VoxelFile) else self.file.read(chosen)

    def _reasons(self, inc: Incidence) -> NDArray:
        """Why the file has no shower for each particle, (n,) text; empty where it has."""
        reasons = np.full(len(inc), "", object)
        for code in np.unique(inc.pdg):
            own, energy = np.flatnonzero(inc.pdg == code), self.file.energy[self.file.pdg == code]
            name = self.properties.name(int(code))
            if not len(energy):
                reasons[own] = name
                continue
            reasons[own[inc.energy[own] > FAR * energy.max()]] = f"{name} above {FAR * energy.max():.4g} GeV"
            reasons[own[inc.energy[own] < energy.min() / FAR]] = f"{name} below {energy.min() / FAR:.4g} GeV"
        return reasons


@dataclass(frozen=True)
class Held:
    """Showers of hits files with deposits, in memory."""

    path: Path
    showers: Showers

    @classmethod
    def of(cls, files: Sequence[Path], detector: Detector) -> Self:
        """Those of all files. Raises InputError for one without deposits or of another geometry."""
        parts = []
        for file in files:
            source = records.Source(file, "hits", ["event", "particles", "deposits"])
            made = simulated_in(source.story, f"metadata of {file}") or detector
            if made.volumes_digest != detector.volumes_digest:  # points may lie closer than cells
                raise InputError(f"{file}: showers of another geometry than that of detector `{detector.name}`")
            properties = Properties.of(source.story)
            parts += [of_hits(events, made, str(file), properties) for events in source.tables(READ)]
        return cls(Path(files[0]), joined(parts))

    def __len__(self) -> int:
        return len(self.showers)

    pdg = property(lambda self: self.showers.pdg)
    energy = property(lambda self: self.showers.energy)
    direction = property(lambda self: self.showers.direction)

    def read(self, chosen: NDArray) -> Showers:
        """The chosen showers, by index."""
        return self.showers.take(chosen)
