"""Learned simulation: particles at the front face to hits by one network evaluation a shower."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from gen2reco.config.block import Block
from gen2reco.config.detector import Detector
from gen2reco.detector.digitise import Deposits
from gen2reco.detector.geometry import Geometry, encode
from gen2reco.detector.propagate import AtFace, enter, light_time
from gen2reco.errors import InputError
from gen2reco.events.one_photon import one_photon
from gen2reco.events.truth import simulated
from gen2reco.run import fallback
from gen2reco.run.model_folder import located, open_model
from gen2reco.run.seeds import streams
from gen2reco.run.stage import Backend, Chunk, Result
from gen2reco.simulate.geant4 import Geant4
from gen2reco.simulate.hits_record import face_facts, hits_table, left_out_line
from gen2reco.simulate.showers.incidence import Incidence, incidence
from gen2reco.simulate.showers.shower_config import Quality, ShowersConfig
from gen2reco.simulate.showers.valid import Range

if TYPE_CHECKING:
    from gen2reco.simulate.showers.shower_model import FamilyModel

RELEASE = Path(__file__).parent / "release"
REMEDY = "simulate them by geant4, or set `outside: geant4` (`--option outside=geant4`) to have it so"


class Learned(Backend):
    """Showers by a learned model; particles outside its range go to Geant4, to the nearest valid point, or nowhere.

    Particles are batched over the events of a chunk, up to `batch` at a time: memory follows the batch, not the event.
    What the reference does not simulate leaves nothing here either.
    """

    name, stage, isolate, needs_detector, chunk_events = "ml", "simulate", True, True, 200
    devices = ("cpu", "cuda")
    version = 2 + Geant4.version  # versions only rise: a sum changes with each

    class Options(Block):
        """The model and its use."""

        model: str = "release"
        """Folder of a shower model; `release`: in the package."""
        evaluations: int = Field(default=1, ge=1, le=100)
        """Evaluations of the flow network a shower; where a family of species is drawn by one pass, it stays one."""
        network: Literal["student", "teacher"] = "student"
        """The network distilled to one step, or the many-step teacher that it learned from, of the families that have
        one."""
        auc_budget: float | None = Field(default=None, gt=0.5, le=1)
        """Instead of `evaluations` and `network`: the fewest evaluations whose classifier AUC on the model's own
        held-out showers does not exceed this."""
        outside: Literal["geant4", "nearest", "refuse"] | None = None
        """Fallback for particles outside the model's range (species, energy, angle): simulated by Geant4, taken as
        the nearest valid particle with energies in proportion, or an error. Left out: by Geant4, but a run in which no
        particle is the model's, all too soft ones left aside, is refused."""
        batch: int = Field(default=2000, ge=1)
        """Particles a network call; bounds memory."""
        keep_deposits: bool = False
        """Keep the noise-free deposits of each cell and particle."""

    options: Options
    detector: Detector

    def __init__(self, options: Options, detector: Detector):
        super().__init__(options, detector)
        self.model = open_model(RELEASE if options.model == "release" else located(options.model), "showers")
        self.model.require_detector(detector)
        config = self.model.parsed(ShowersConfig)
        if config.layers != detector.n_layers:
            raise InputError(
                f"{self.model.folder}: a model of {config.layers} layers, but detector `{detector.name}` has "
                f"{detector.n_layers}; give a model that was trained for it"
            )
        self.layers: dict[str, str] = {family: sizes.layers for family, sizes in config.families.items()}
        self.species = {family: config.species[family] for family in config.families}
        if options.network == "teacher" and "flow" not in self.layers.values():
            ways = ", ".join(sorted(set(self.layers.values())))
            raise InputError(f"{self.model.folder}: a {ways} has no teacher; leave `network` out")
        self.model_digest, self.geometry = self.model.digest, Geometry(detector)
        self.range, self.fallback = Range.of(config), options.outside or "geant4"
        self.network, self.evaluations = _chosen(options, config.quality)
        if self.fallback == "nearest" and (missing := self.range.without_stand_in()):
            raise InputError(
                f"{self.model.folder}: was trained on no {missing}, which stand for others: `outside: nearest` needs "
                "them; train on them too, or set `outside: geant4`"
            )

    def prepare(self) -> None:
        """Load the weights and compile the sampler; set up Geant4 if it is the fallback."""
        import torch

        from gen2reco.simulate.showers.shower_model import load

        torch.set_num_threads(1)
        self.families = load(self.model)
        if self.fallback == "geant4":
            self.reference = Geant4(Geant4.Options(), self.detector)
            self.reference.prepare()
        if self.device == "cpu":  # in the process whose forks make the chunks, so that every chunk starts warm
            self.deposits(enter(one_photon(), self.detector, self.properties), np.random.default_rng(0))

    def run(self, chunk: Chunk, events: pa.Table) -> Result:
        """Simulate the chunk's events; what no simulation takes is counted. Raises InputError for a particle outside
        the range where `outside` is `refuse`."""
        every = enter(events, self.detector, self.properties)
        at_face = every[simulated(every.pdg, every.energy)]
        valid = self.range.valid(incidence(at_face))
        if not valid.all() and self.fallback == "refuse":
            at = int(np.argmin(valid))
            raise InputError(
                f"event {events['event'][int(at_face.event[at])].as_py()}: {self._refusal(at_face[at : at + 1])}"
            )
        shower_stream, reference_stream = streams(chunk.seed)[0].spawn(2)
        inside = at_face if self.fallback == "nearest" else at_face[valid]
        deposits, facts = self.deposits(inside, shower_stream), self._facts(at_face[~valid], inside)
        if self.fallback == "geant4" and not valid.all():
            deposits = deposits.joined(self.reference.deposits(at_face[~valid], reference_stream))
            facts |= self.reference.physics()
        table = hits_table(events, every, deposits.merged(), self.geometry, chunk.seed, self.options.keep_deposits)
        return Result(table, face_facts(events, every, self.properties) | facts)

    def summary(self, infos: list[dict]) -> dict:
        """Numbers summed, also by reason. Raises InputError where no particle was the model's and `outside` is left
        out."""
        total = super().summary(infos)
        if self.options.outside is None:
            hard = {reason: one for reason, one in fallback.reasons_of(total).items() if reason != self.range.soft}
            every = total.get("showers", 0) + fallback.number(hard)
            fallback.refuse_all("simulate ml", "particles", every, hard, REMEDY)
        return total

    def notices(self, facts: dict) -> list[str]:
        """Lines on the particles that fell back and those that were not simulated."""
        reasons, line = fallback.reasons_of(facts), left_out_line(facts.get("not_simulated", {}))
        way = "taken as the nearest that the model knows" if self.fallback == "nearest" else "simulated by Geant4"
        fallen = (
            f"simulate ml: {fallback.number(reasons)} of {facts.get('particles_at_face', 0)} particles "
            f"({fallback.energy(reasons):.4g} of {facts.get('energy_at_face', 0.0):.4g} GeV) {way}, because of "
            f"{fallback.sentence(reasons)}"
        )
        told = [fallen] if reasons else []
        if apart := [family for family in self.layers if self._as_ever(family)]:
            told.append(
                f"simulate ml: {' and '.join(apart)} showers are drawn in one way, whatever `network` and `evaluations`"
            )
        return told + ([line] if line else [])

    def _as_ever(self, family: str) -> bool:
        """Whether the options ask for something that the showers of a family are not drawn by."""
        no_teacher = self.network == "teacher" and self.layers[family] != "flow"
        return no_teacher or self._evaluations(family) != self.evaluations

    def deposits(self, at_face: AtFace, rng: np.random.Generator) -> Deposits:
        """Noise-free, calibrated deposits of particles at the face of either endcap; those outside the range are taken
        as the nearest valid ones."""
        inc, scale = self.range.nearest(incidence(at_face))
        parts = []
        for family in self.families.values():
            family.to(self.device)  # not in `prepare`: CUDA does not outlive the fork of a chunk
            members = np.flatnonzero(np.isin(inc.pdg, family.conditioning.species))
            for first in range(0, len(members), self.options.batch):
                some = members[first : first + self.options.batch]
                parts.append(self._showers(family, some, at_face, inc, scale, rng))
        return Deposits.none().joined(*parts)

    def _showers(
        self,
        family: "FamilyModel",
        some: NDArray,
        at_face: AtFace,
        inc: Incidence,
        scale: NDArray,
        rng: np.random.Generator,
    ) -> Deposits:
        geometry = self.geometry
        cells = family.draw(inc[some], geometry, rng, self.evaluations, self.network)
        which = some[cells.owner]
        side = np.sign(at_face.position[which, 2]).astype(np.int64)
        at = (np.stack([cells.ix, cells.iy], 1) + 0.5) * geometry.detector.cell_size
        z, face = geometry.z[cells.layer - 1], geometry.detector.front_face
        light = light_time(at, z, inc.position[which], inc.time[which], face)
        energy = cells.mips * geometry.gev_per_mip[cells.layer - 1] * scale[which]
        kept = light + cells.delay <= geometry.detector.digitisation.time_window
        cell = encode(side, cells.layer, cells.ix, cells.iy)
        columns = (at_face.event[which], cell, at_face.particle[which], energy, light + cells.delay)
        return Deposits(*(column[kept] for column in columns))

    def _evaluations(self, family: str) -> int:
        """Network evaluations of a shower of a family."""
        from gen2reco.flow.families import FAMILIES

        layers = self.layers[family]
        many = layers == "flow" or (layers in FAMILIES and FAMILIES[layers].iterative)
        return self.evaluations if many else 1

    def _facts(self, outside: AtFace, inside: AtFace) -> dict:
        reasons = self.range.reasons(incidence(outside))
        pdg = self.range.stand_ins(inside.pdg)
        number = {family: int(np.isin(pdg, codes).sum()) for family, codes in self.species.items()}
        return {
            "showers": len(inside),
            f"particles_outside_to_{self.fallback}": len(outside),
            "energy_outside": float(outside.energy.sum()),
            "fallback_reasons": fallback.by_reason(reasons, outside.energy),
            "network_evaluations": sum(n * self._evaluations(family) for family, n in number.items()),
        }

    def _refusal(self, at_face: AtFace) -> str:
        """Why a particle is refused, and what to do."""
        inc = incidence(at_face)
        return (
            f"particle {int(at_face.particle[0])} (pdg {int(inc.pdg[0])}, {inc.energy[0]:.4g} GeV, slope "
            f"{inc.steepness[0]:.3g}) is outside the shower model's range ({self.range}); set `outside: geant4` or "
            "`outside: nearest`"
        )


def _chosen(options: Learned.Options, quality: list[Quality]) -> tuple[str, int]:
    """Network and number of evaluations, looked up in the model's own held-out table where a budget is given."""
    if options.auc_budget is None:
        return options.network, options.evaluations
    fits = [row for row in quality if row.auc <= options.auc_budget]
    if not fits:
        listed = "; ".join(f"{row.network}, {row.evaluations}: {row.auc}" for row in quality) or "no table"
        best = min((row.auc for row in quality), default=None)
        raise InputError(
            f"simulate ml: `auc_budget` = {options.auc_budget}, the model's best is {best} (in {listed}); "
            "raise the budget or use geant4"
        )
    row = min(fits, key=lambda row: row.evaluations)
    return row.network, row.evaluations
