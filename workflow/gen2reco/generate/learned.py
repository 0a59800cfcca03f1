"""Learned parton shower and hadronisation: hard partons in, stable particles out, in one evaluation of each network."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field

from gen2reco.config.block import Block
from gen2reco.config.process import LheProcess, Pythia8Process
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.generate import pythia_engine
from gen2reco.generate.hadronize.dataset import ALPHA_S
from gen2reco.generate.hadronize.decays import Decays, Particles, joined
from gen2reco.generate.hadronize.dijet_model import DijetHadronizer
from gen2reco.generate.hadronize.load import GenerationConfig, experimental, load
from gen2reco.generate.hadronize.minbias_model import MinbiasHadronizer
from gen2reco.generate.lhe_file import Lhe
from gen2reco.generate.ml_dijet import Dijet
from gen2reco.generate.ml_foreign import foreign_settings
from gen2reco.generate.ml_hard import Beams, Hard, HardProcess
from gen2reco.generate.ml_lhe import FromLhe, beams_of_file
from gen2reco.generate.ml_minbias import MinimumBias
from gen2reco.generate.ml_pair import QuarkPair
from gen2reco.generate.ml_pythia8 import FromPythia8, beams_of
from gen2reco.generate.ml_vertices import VertexSpread
from gen2reco.generate.pythia8 import Pythia8
from gen2reco.run import fallback
from gen2reco.run.model_folder import open_model
from gen2reco.run.stage import Backend, Chunk, Result
from gen2reco.units import C_LIGHT

if TYPE_CHECKING:
    import pythia8mc

    from gen2reco.config.detector import Detector

logger = logging.getLogger(__name__)
RELEASE = Path(__file__).parent / "release"
SHIPPED = {(11, -11): "ee_qq_91", (2212, 2212): "pp_dijet_endcap"}
"""The shipped model of the hard processes of each pair of beams, by their PDG codes."""
SHIPPED_SOFT = {(2212, 2212): "pp_minbias"}
"""The same of soft collisions."""
KIND = "generation"
BATCH = 500
REMEDY = (
    "choose a model or process that fit, or set `outside: pythia8` (`--option outside=pythia8`) to let Pythia8 make "
    "such events"
)


class Learned(Backend):
    """Showers and hadronises hard partons by a learned model; what the model does not know, the reference makes.

    Every event conserves four-momentum, charge, baryon and lepton numbers and heavy flavour; in hadron collisions what
    the beams leave is among the particles. Long-lived particles
    decay afterwards, with Pythia8's decay tables, so production vertices are those of real decays.
    """

    name, stage, isolate, chunk_events = "ml", "generate", True, 2000
    devices = ("cpu", "cuda")
    version = 3 + Pythia8.version + Lhe.version  # versions only rise: a sum changes with each

    class Options(Block):
        """What to generate and by which model."""

        process: Annotated[Pythia8Process | LheProcess, Field(discriminator="kind")]
        """The hard process: Pythia8's process level, or an LHE file."""
        model: str = "release"
        """A shipped model by name, or the folder of another; `release`: the shipped one of the process's beams."""
        evaluations: int = Field(default=1, ge=1, le=64)
        """Evaluations of each of the two networks (event shapes, particles) per event."""
        alpha_s: float | None = Field(default=None, gt=0)
        """Strong coupling of final-state showers at the Z mass; left out: that of the process, else Pythia8's."""
        outside: Literal["pythia8", "refuse"] | None = None
        """Fallback for events outside the model's range: the reference makes them (`pythia8`), or an error. Left out:
        the reference makes single events, but a run in which no event is the model's is refused."""

    options: Options

    def __init__(self, options: Options, detector: "Detector | None" = None):
        super().__init__(options, detector)
        name = _shipped(options.process) if options.model == "release" else options.model
        self._opened = open_model(RELEASE / name if (RELEASE / name).is_dir() else name, KIND)
        self.model_digest, self._config = self._opened.digest, self._opened.parsed(GenerationConfig)
        self._process = _with_alpha_s(options)
        self.reference = _reference(self._process)

    def prepare(self) -> None:
        """Load the model, start Pythia8 and the decays. Raises InputError for what does not fit."""
        torch.set_num_threads(1)
        if reason := experimental(self._opened, self._config):
            logger.warning("generate ml: model `%s` is experimental: %s", self._opened.folder.name, reason)
        settings = pythia_engine.settings_of(self._process.settings)
        beams = _beams(self._process, settings)
        self._domain, self._fresh = self._networks(beams, settings), True
        self._foreign = self._foreign_run(beams, settings)
        if self._foreign and self.options.outside != "pythia8":
            raise InputError(f"generate ml: the model knows no event of this run, because of {self._foreign}; {REMEDY}")
        if self._foreign:
            return self.reference.prepare()
        self._source, self._decays, self._spread = _source(self._process), Decays(), VertexSpread.of(settings)

    def _networks(self, beams: Beams, settings: "pythia8mc.Pythia") -> Dijet | MinimumBias | QuarkPair:
        model, alpha_s = load(self._opened), settings.parm(ALPHA_S)
        pt0_ref = pythia_engine.pt0_ref(settings, self._process.mpi)
        if isinstance(model, MinbiasHadronizer):
            processes = pythia_engine.hard_processes(settings)
            return MinimumBias(model, self._config.range, processes, beams.sqrt_s, alpha_s, pt0_ref)
        if isinstance(model, DijetHadronizer):
            return Dijet(model, self._config.range, beams.sqrt_s, alpha_s, pt0_ref)
        return QuarkPair(model, self._config.range, alpha_s)

    def _foreign_run(self, beams: Beams, settings: "pythia8mc.Pythia") -> str | None:
        """Why the model knows no event of these settings and beams, if so."""
        if foreign := foreign_settings(settings):
            return f"{foreign[0]}, with which the model was not trained"
        (low, high), alpha_s = self._config.range.alpha_s, settings.parm(ALPHA_S)
        if not low <= alpha_s <= high:
            return f"alpha_s = {alpha_s:g}, expected {low} to {high}"
        return self._domain.foreign(beams)

    def run(self, chunk: Chunk, events: pa.Table | None = None) -> Result:
        """Generate events [start, stop). Raises InputError for events outside the range that `outside` refuses."""
        if not self._fresh:
            self.prepare()
        self._fresh = False
        if self._foreign:
            made = self.reference.run(chunk)
            return Result(made.table, made.info | _facts([self._foreign] * made.table.num_rows))
        rng, learned = np.random.default_rng(chunk.seed), Counter[str]()
        self._decays.reseed(chunk.seed)

        def learn(hard: Sequence[HardProcess]) -> pa.Array:
            column, again = self._particles(hard, rng)
            learned.update(evaluations=2 * self.options.evaluations * len(hard), again=again)
            return column

        made, reasons = self._source.events(chunk, self._unknown, learn)
        return Result(made.table, made.info | _facts(reasons, learned["evaluations"], learned["again"]))

    def summary(self, infos: list[dict]) -> dict:
        """Cross section and weights of the shard, as of the reference, and the events that it made, by reason. Raises
        InputError where it made them all and `outside` is left out."""
        reasons = super().summary([{"fallback_reasons": info["fallback_reasons"]} for info in infos])
        total = self.reference.summary(infos) | reasons
        if self.options.outside is None:
            every = total.get("events_accepted", 0)
            fallback.refuse_all("generate ml", "events", every, fallback.reasons_of(total), REMEDY)
        return total

    def notices(self, facts: dict) -> list[str]:
        """What the reference made, and why."""
        reasons, every = fallback.reasons_of(facts), facts.get("events_accepted", 0)
        line = f"{fallback.number(reasons)} of {every} events by Pythia8, because of {fallback.sentence(reasons)}"
        return [*self.reference.notices(facts), *([f"generate ml: {line}"] if reasons else [])]

    def _unknown(self, number: int, event: HardProcess) -> str | None:
        """Why the model does not know this event. Raises InputError if that is not wanted."""
        reason = self._domain.unknown(event)
        if reason and self.options.outside == "refuse":
            raise InputError(f"generate ml: event {number}: outside the model's range, because of {reason}; {REMEDY}")
        return reason

    def _particles(self, events: Sequence[HardProcess], rng: np.random.Generator) -> tuple[pa.Array, int]:
        """The column `particles` of these events, and how many counts were drawn again."""
        self._domain.model.to(self.device)  # not in `prepare`: CUDA does not outlive the fork of a chunk
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        hadrons, total = [], 0
        for start in range(0, len(events), BATCH):
            hard = Hard.of(events[start : start + BATCH])
            try:
                drawn, again = self._domain.draw(hard, rng, noise, self.options.evaluations)
            except ArithmeticError as error:
                raise InputError(
                    f"generate ml: model `{self._opened.folder.name}`: {error}; train it on such events"
                ) from None
            drawn.event = drawn.event + start
            hadrons.append(drawn)
            total += again
        particles = joined(hadrons)
        particles.vertex = particles.vertex + self._spread.draw(len(events), rng)[particles.event]
        return _lists(self._decays(particles, rng), len(events)), total


def _beams(process: Pythia8Process | LheProcess, settings: "pythia8mc.Pythia") -> Beams:
    """The beams of a process, with its settings read."""
    return beams_of_file(process) if isinstance(process, LheProcess) else beams_of(settings)


def _shipped(process: Pythia8Process | LheProcess) -> str:
    """The name of the shipped model of a process's beams. Raises InputError where there is none."""
    settings = pythia_engine.settings_of(process.settings)
    pdg = _beams(process, settings).pdg
    soft = pythia_engine.soft(settings)
    if name := (SHIPPED_SOFT if soft else SHIPPED).get((max(pdg), min(pdg))):
        return name
    of = f"{'soft collisions of ' if soft else ''}beams {pdg[0]}, {pdg[1]}"
    raise InputError(f"generate ml: no model ships for {of}; give one by `model` (--option model=)")


def _with_alpha_s(options: Learned.Options) -> Pythia8Process | LheProcess:
    """The process with the option `alpha_s` among its settings."""
    if options.alpha_s is None:
        return options.process
    return options.process.model_copy(
        update={"settings": [*options.process.settings, f"{ALPHA_S} = {options.alpha_s}"]}
    )


def _reference(process: Pythia8Process | LheProcess) -> Pythia8 | Lhe:
    """The backend that makes whole events of a process."""
    cls = Lhe if isinstance(process, LheProcess) else Pythia8
    return cls(cls.Options(process=process))


def _source(process: Pythia8Process | LheProcess) -> FromLhe | FromPythia8:
    """Where the hard processes come from."""
    return FromLhe(process) if isinstance(process, LheProcess) else FromPythia8(process)


def _facts(reasons: list[str], evaluations: int = 0, again: int = 0) -> dict:
    """What the sidecar says of the model, and of the events that the reference made."""
    return {
        "network_evaluations": evaluations,
        "counts_drawn_again": again,
        "events_by_pythia8": len(reasons),
        "fallback_reasons": fallback.by_reason(reasons),
    }


def _lists(particles: Particles, n: int) -> pa.Array:
    """The column `particles` of n events; particles are ordered by event."""
    fields = {
        "pdg": particles.pdg.astype(np.int32),
        **dict(zip(("px", "py", "pz", "energy"), particles.p.T)),
        **dict(zip(("vx", "vy", "vz"), particles.vertex[:, :3].astype(np.float32).T)),
        "time": (particles.vertex[:, 3] / C_LIGHT).astype(np.float32),
    }
    return records.structs(np.concatenate([[0], np.cumsum(np.bincount(particles.event, minlength=n))]), fields)
