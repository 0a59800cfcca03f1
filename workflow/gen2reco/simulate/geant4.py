"""The reference simulation: Geant4 FTFP_BERT showers of every particle that reaches the calorimeter."""

import itertools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from gen2reco.config.block import Block
from gen2reco.config.detector import Detector
from gen2reco.detector.digitise import Deposits
from gen2reco.detector.geometry import Geometry, encode, nearest_plane
from gen2reco.detector.propagate import AtFace, enter
from gen2reco.errors import InfrastructureError, InputError
from gen2reco.events.truth import simulated
from gen2reco.run.seeds import streams
from gen2reco.run.stage import Backend, Chunk, Result
from gen2reco.simulate.hits_record import face_facts, hits_table, left_out_line
from gen2reco.simulate.tables import find_tables
from gen2reco.stdout import quiet
from gen2reco.units import C_LIGHT

SMALLEST_CELL = 0.1
"""mm: indices of smaller cells do not fit their ids."""
BATCH_ENERGY = 1000.0
"""Particles tracked between two reductions of steps to cells, GeV in all: bounds memory to some 10 MB."""


class Geant4(Backend):
    """Geant4 11.4. The run manager is set up once a process; each chunk runs in a fork of it, so it starts fresh.

    Every particle is a Geant4 event of its own with its own seeds: its shower does not depend on its neighbours, and
    all that it leaves, through any secondary, is credited to it.
    """

    name = "geant4"
    stage = "simulate"
    version = 2
    isolate = True
    needs_detector = True
    chunk_events = 20

    class Options(Block):
        """Settings of the Geant4 simulation."""

        keep_deposits: bool = False
        """Keep the noise-free deposits of each cell and particle, the training data of learned simulations."""
        cell_size: float | None = Field(default=None, ge=SMALLEST_CELL, exclude_if=lambda size: size is None)
        """Side of cells smaller than the detector's, mm: for showers that are placed elsewhere, as a library of the
        backend `showers` or as a file. Hits of such cells are not clustered."""

    options: Options
    detector: Detector

    def __init__(self, options: Options, detector: Detector):
        if options.cell_size is not None:
            if options.cell_size > detector.cell_size:
                raise InputError(
                    f"`cell_size` = {options.cell_size:g}: expected at most {detector.cell_size:g}, that of detector "
                    f"`{detector.name}`; leave it out for the detector's own"
                )
            detector = detector.model_copy(update={"cell_size": options.cell_size})
        super().__init__(options, detector)
        self.geometry = Geometry(detector)

    @classmethod
    def check_chain(cls, options: dict, stages: dict[str, dict], library: dict | None) -> None:
        """Refuse cells that are not the detector's where a later stage reads them."""
        later = next((stage for stage in stages if stage not in ("generate", cls.stage)), None)
        if options.get("cell_size") is not None and later:
            raise InputError(
                f"`cell_size` = {options['cell_size']:g}: `{later}` reads cells of the detector; leave `cell_size` "
                f"out, or `{later}`, and use the sample as a library of showers"
            )

    def prepare(self) -> None:
        """Find or make the data tables, import Geant4 and initialise its run manager: about one second."""
        self.tables = find_tables()
        self.tables.export()
        with quiet():
            try:
                from gen2reco.simulate.geant4_engine import engine_of
            except ImportError as error:
                raise InfrastructureError(f"geant4_pybind cannot be imported: {error}; install gen2reco anew") from None
            self.engine = engine_of(self.geometry)

    def run(self, chunk: Chunk, events: pa.Table) -> Result:
        """Simulate the chunk's events; particles that Geant4 does not track are counted."""
        at_face = enter(events, self.detector, self.properties)
        taken = at_face[simulated(at_face.pdg, at_face.energy)]
        deposits = self.deposits(taken, streams(chunk.seed)[0])
        table = hits_table(events, at_face, deposits, self.geometry, chunk.seed, self.options.keep_deposits)
        return Result(table, face_facts(events, at_face, self.properties) | self.physics())

    def physics(self) -> dict[str, str]:
        """Name of the physics for the sidecar, and the digest of its tables."""
        return {"physics": self.tables.label, "tables_digest": self.tables.digest}

    def notices(self, facts: dict) -> list[str]:
        """Line on the particles that were not simulated."""
        line = left_out_line(facts["not_simulated"])
        return [line] if line else []

    def deposits(self, at_face: AtFace, rng: np.random.Generator) -> Deposits:
        """Noise-free, calibrated deposits of particles at the face of either endcap."""
        seeds = rng.integers(1, 2**31 - 1, size=(len(at_face), 2))
        mirrored, side = at_face.mirrored(), np.sign(at_face.position[:, 2]).astype(np.int64)
        parts = []
        for batch in _batches(at_face.energy):
            steps, which = self.engine.shoot(mirrored[batch], seeds[batch])
            parts.append(self._cells(steps, which, at_face[batch], side[batch]))
        return Deposits.none().joined(*parts)

    def _cells(self, steps: NDArray, which: NDArray, at_face: AtFace, side: NDArray) -> Deposits:
        """Steps in silicon, (n, 5) as of `Engine.shoot`, merged per cell and particle, within the time window."""
        deposit, x, y, z, time = steps.T
        layer = nearest_plane(z, self.geometry.z) + 1
        ix, iy = self.geometry.index(x), self.geometry.index(y)
        cell = encode(side[which], layer, ix, iy)
        time = time - np.linalg.norm(self.geometry.position(cell), axis=0) / C_LIGHT
        readout = self.geometry.detector.digitisation
        kept = self.geometry.exists(layer, ix, iy) & (time <= readout.time_window)
        energy = deposit / readout.mip_energy * self.geometry.gev_per_mip[layer - 1]
        event, particle = at_face.event[which], at_face.particle[which]
        return Deposits(event[kept], cell[kept], particle[kept], energy[kept], time[kept]).merged()


def _batches(energy: NDArray) -> Iterator[slice]:
    """Consecutive ranges of particles of up to about BATCH_ENERGY each."""
    edges = np.flatnonzero(np.diff(np.cumsum(energy) // BATCH_ENERGY)) + 1
    bounds = [0, *edges.tolist(), len(energy)]
    return (slice(a, b) for a, b in itertools.pairwise(bounds) if b > a)
