"""The base class of simulations that know how to make a shower, and leave the rest to this one: particles at the face,
placing, cells, readout, tracks, and what is counted."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gen2reco.config.block import Block
from gen2reco.config.detector import Detector
from gen2reco.detector.digitise import Deposits
from gen2reco.detector.geometry import Geometry
from gen2reco.detector.propagate import AtFace, enter
from gen2reco.events.truth import simulated
from gen2reco.exchange.shower_points import Showers
from gen2reco.run.seeds import streams
from gen2reco.run.stage import Backend, Chunk, Result
from gen2reco.simulate.hits_record import face_facts, hits_table, left_out_line
from gen2reco.simulate.placing import place
from gen2reco.simulate.showers.incidence import Incidence, incidence

BATCH = 2000
"""Showers that are placed at once; bounds memory."""


class OwnShowers(Backend):
    """Subclasses implement `showers`. Their options may have `keep_deposits`."""

    stage, needs_detector, chunk_events = "simulate", True, 1000

    detector: Detector

    def __init__(self, options: Block, detector: Detector):
        super().__init__(options, detector)
        self.geometry = Geometry(detector)
        self.planes = self.geometry.z - detector.front_face

    def showers(self, particles: Incidence, rng: np.random.Generator) -> Showers:
        """One shower for each of n particles, in their order. A shower's own energy may differ from its particle's: it
        is scaled; it is turned from its direction into the particle's, and placed where that enters."""
        raise NotImplementedError

    def run(self, chunk: Chunk, events: pa.Table) -> Result:
        """Simulate the chunk's events."""
        every = enter(events, self.detector, self.properties)
        at_face = every[simulated(every.pdg, every.energy)]
        deposits, facts = self.deposits(at_face, streams(chunk.seed)[0])
        return self.result(chunk, events, every, deposits, facts)

    def result(self, chunk: Chunk, events: pa.Table, every: AtFace, deposits: Deposits, facts: dict) -> Result:
        """The hits of a chunk's deposits, and the facts of all its particles."""
        keep = bool(getattr(self.options, "keep_deposits", False))
        table = hits_table(events, every, deposits.merged(), self.geometry, chunk.seed, keep)
        return Result(table, face_facts(events, every, self.properties) | facts)

    def deposits(self, at_face: AtFace, rng: np.random.Generator) -> tuple[Deposits, dict]:
        """Deposits of particles at the face, and what was counted."""
        return self.placed(at_face, lambda inc, some: self.showers(inc[some], rng))

    def placed(self, at_face: AtFace, draw: Callable[[Incidence, slice], Showers]) -> tuple[Deposits, dict]:
        """The same of showers that are drawn for some of the particles at a time."""
        inc, parts, lost = incidence(at_face), [], 0.0
        for start in range(0, len(inc), BATCH):
            some = slice(start, start + BATCH)
            made = draw(inc, some)
            placed, out = place(made, at_face[some], inc[some], _scale(inc.energy[some], made.energy), self.geometry)
            parts.append(placed)
            lost += out
        return Deposits.none().joined(*parts), {"showers": len(inc), "energy_out_of_cells": lost}

    def notices(self, facts: dict) -> list[str]:
        """What was not simulated, and what fell out of the calorimeter."""
        line, lost = left_out_line(facts.get("not_simulated", {})), facts.get("energy_out_of_cells", 0.0)
        told = [f"simulate {self.name}: {lost:.4g} GeV fell into no cell"] if lost else []
        return told if line is None else [line, *told]


def _scale(energy: NDArray, own: NDArray) -> NDArray[np.float64]:
    scale = energy / own
    return np.where(np.abs(scale - 1) < 1e-6, 1.0, scale)  # the same energy, kept as float32
