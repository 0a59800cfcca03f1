"""Learned parton shower and hadronisation: hard partons in, stable particles out, in one evaluation of each network."""

import logging
import re
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field

from gen2reco.campaign.config import Block
from gen2reco.campaign.models import open_model
from gen2reco.campaign.process import LheProcess, Pythia8Process
from gen2reco.campaign.stage import Backend, Chunk, Result
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.lhe import write_clean
from gen2reco.generate import engine
from gen2reco.generate.hadronize.dataset import ALPHA_S, ALPHA_S_DEFAULT
from gen2reco.generate.hadronize.decays import LIGHT_SPEED, Decays, Particles, joined
from gen2reco.generate.hadronize.models import load
from gen2reco.generate.ml_dijet import Dijet
from gen2reco.generate.ml_hard import Hard, Outgoing, source
from gen2reco.generate.ml_pair import QuarkPair
from gen2reco.generate.pythia8 import merged

logger = logging.getLogger(__name__)
RELEASE = Path(__file__).parent / "release"
KIND = "generation"
BATCH = 500
_PROCESSES = re.compile(
    r"(HardQCD|SoftQCD|Weak\w*|PromptPhoton|PhotonCollision|PhotonParton|Onia|Charmonium|Bottomonium|Top|Higgs\w*|DM"
    r"|FourthBottom|FourthTop|FourthPair|NewGaugeBoson|LeftRightSymmetry|LeptoQuark|ExcitedFermion|ContactInteractions"
    r"|HiddenValley|ExtraDimensions\w*|SUSY|TauPair)[:\w]*|PhaseSpace:.*|Beams:.*",
    re.IGNORECASE,
)


_FOREIGN = re.compile(
    r"(TimeShower(?!:alphaSvalue)|SpaceShower|String\w*|HadronLevel|PartonLevel(?!:MPI)|BeamRemnants|Tune|Diffraction"
    r"|ColourReconnection|FragmentationSystems|MiniStringFragmentation|Ropewalk|PartonShowers|Vincia|Dire)\w*:",
    re.IGNORECASE,
)
"""Settings of shower and hadronisation, which are learned and cannot be changed."""


class Learned(Backend):
    """Showers and hadronises hard partons by a learned model; what the model does not know goes to Pythia8.

    Every event conserves four-momentum, charge, baryon and lepton numbers and heavy flavour; in hadron collisions what
    the beams leave is among the particles. Long-lived particles
    decay afterwards, with Pythia8's decay tables, so production vertices are those of real decays.
    """

    name, stage, version, isolate, chunk_events = "ml", "generate", 2, True, 2000

    class Options(Block):
        """What to generate and by which model."""

        process: Annotated[Pythia8Process | LheProcess, Field(discriminator="kind")]
        """The hard process: Pythia8's process level, or an LHE file."""
        model: str = "ee_qq_91"
        """A release model by name, or the folder of another."""
        evaluations: int = Field(default=1, ge=1, le=64)
        """Evaluations of each of the two networks (event shapes, particles) per event."""
        alpha_s: float | None = Field(default=None, gt=0)
        """Strong coupling of final-state showers at the Z mass; left out: that of the process, else Pythia8's."""
        outside: Literal["pythia8", "refuse"] = "pythia8"
        """What becomes of hard processes outside the model's range: showered by Pythia8, or an error."""

    def __init__(self, options: Options, detector: object = None):
        super().__init__(options, detector)
        named = RELEASE / options.model
        self._opened = open_model(named if named.is_dir() else options.model, KIND)
        self.model_digest = self._opened.digest

    def prepare(self) -> None:
        """Load the model, start Pythia8's process level and decays. Raises InputError for what does not fit."""
        torch.set_num_threads(1)
        self._range = self._opened.config["range"]
        if note := self._opened.config.get("experimental"):
            logger.warning("generate ml: model `%s` is experimental: %s", self.options.model, note)
        self._alpha_s = self._coupling()
        model = load(self._opened)
        self._foreign = [line for line in self.options.process.settings if _FOREIGN.match(line.strip())]
        if self._opened.config.get("domain") == "dijet":
            self._domain = Dijet(model, self._range, _interactions(self.options.process))
        else:
            self._domain = QuarkPair(model, self._range)
        self._hard, self._decays, self._fresh = source(self.options.process), Decays(), True

    def _coupling(self) -> float:
        """The alpha_s asked for. Raises InputError outside the model's range."""
        given = [
            float(line.partition("=")[2]) for line in self.options.process.settings if _key(line) == ALPHA_S.lower()
        ]
        value = self.options.alpha_s or (given[-1] if given else ALPHA_S_DEFAULT)
        low, high = self._range["alpha_s"]
        if not low <= value <= high and self.options.outside == "refuse":
            raise InputError(
                f"generate ml: alpha_s = {value}, expected {low} to {high} (the range of {self.options.model})"
            )
        return value

    def run(self, chunk: Chunk, events: pa.Table | None = None) -> Result:
        """Generate events [start, stop). Raises InputError for hard processes outside the range, if so asked."""
        if not self._fresh:
            self.prepare()
        self._fresh = False
        hard = self._hard.draw(chunk)
        known, reason = self._known(hard)
        if not known.all() and self.options.outside == "refuse":
            at = int(np.argmin(known))
            raise InputError(
                f"generate ml: event {chunk.start + at}: {reason[at]}; model `{self.options.model}` does not know "
                "such events, set `outside: pythia8` to let Pythia8 shower them"
            )
        rng = np.random.default_rng(chunk.seed)
        self._decays.reseed(chunk.seed)
        particles, again = self._learned(hard, np.flatnonzero(known), rng)
        column = _lists(particles, len(known))
        failed = 0
        if not known.all():
            column, failed, kept = self._with_pythia8(hard, np.flatnonzero(~known), column, chunk.seed)
        else:
            kept = np.arange(len(known))
        at = hard.table.schema.get_field_index("particles")
        empty = records.empty("particles")["particles"]
        table = hard.table.take(kept).set_column(at, hard.table.schema.field(at), column.cast(empty.type))
        n_known = int(known.sum())
        facts = hard.facts | {
            "network_evaluations": 2 * self.options.evaluations * n_known,
            "events_by_pythia8": len(known) - n_known - failed,
            "events_failed": failed,
            "counts_drawn_again": again,
        }
        return Result(table, facts)

    def summary(self, infos: list[dict]) -> dict:
        """Cross section and weights of the shard, and what the model did not do."""
        return merged(infos)

    def _known(self, hard: Hard) -> tuple[np.ndarray, list[str]]:
        """Which events the model knows, (n,) bool, and what is wrong with each of the others."""
        n = len(hard.counts)
        out = Outgoing.of(hard)
        low, high = self._range["alpha_s"]
        tests = {f"setting `{line}`, with which the model was not trained": np.ones(n, bool) for line in self._foreign}
        tests |= self._domain.wrong(hard)
        tests |= {
            "hard partons do not balance the incoming ones": np.abs(out.total - hard.incoming()).max(1)
            > 1e-3 * np.maximum(out.total[:, 3], 1),
            f"alpha_s outside {low} to {high}": np.full(n, not low <= self._alpha_s <= high),
        }
        known, reason = np.ones(n, bool), [""] * n
        for text, wrong in tests.items():
            for i in np.flatnonzero(known & wrong):
                reason[i] = text
            known &= ~wrong
        return known, reason

    def _learned(self, hard: Hard, rows: np.ndarray, rng: np.random.Generator) -> tuple[Particles, int]:
        """Stable particles of these events, numbered by row of the table, and how many counts were drawn again."""
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        hadrons, again = [_nothing()], 0
        for start in range(0, len(rows), BATCH):
            some = rows[start : start + BATCH]
            try:
                drawn, more = self._domain.draw(hard, some, self._alpha_s, rng, noise, self.options.evaluations)
            except ArithmeticError as error:
                raise InputError(
                    f"generate ml: model `{self.options.model}`: {error}; train it on such events"
                ) from None
            hadrons.append(drawn)
            again += more
        return self._decays(joined(hadrons), rng), again

    def _with_pythia8(
        self, hard: Hard, rows: np.ndarray, column: pa.Array, seed: int
    ) -> tuple[pa.Array, int, np.ndarray]:
        """Fill in the particles of these events by Pythia8; returns the column of all that came out, the number of
        failures, and the rows that are left."""
        settings = [line for line in self.options.process.settings if not _PROCESSES.fullmatch(_name(line))]
        if self.options.alpha_s:
            settings.append(f"{ALPHA_S} = {self.options.alpha_s}")
        with tempfile.NamedTemporaryFile(suffix=".lhe") as file:
            write_clean(file.name, hard.run, hard.lhe(rows))
            leptons = ["PDF:lepton = off"] if hard.run.unresolved_beams else []
            own = ["Beams:frameType = 4", f"Beams:LHEF = {file.name}", *leptons]
            pythia = engine.start(settings, self.options.process.mpi, own=own)
            engine.reseed(pythia, seed)
            present, parts = [], []
            for batch in engine.batches(pythia, len(rows), "none"):
                made, batch = engine.without_missing(batch)
                present.append(made)
                if len(batch):
                    parts.append(engine.columns(batch)["particles"])
        made = np.concatenate(present)
        column = pa.concat_arrays([column, *(part.cast(column.type) for part in parts)])
        place = np.arange(len(hard.counts))
        place[rows[made]] = len(hard.counts) + np.arange(made.sum())
        kept = np.setdiff1d(np.arange(len(hard.counts)), rows[~made])
        return column.take(pa.array(place[kept])), int((~made).sum()), kept


def _interactions(process: Pythia8Process | LheProcess) -> bool:
    """Whether the process asks for multiparton interactions (Pythia8's default)."""
    if process.mpi is not None:
        return process.mpi
    given = [line.partition("=")[2].strip() for line in process.settings if _key(line) == "partonlevel:mpi"]
    return given[-1].lower() not in ("off", "false", "no", "0") if given else True


def _key(line: str) -> str:
    return _name(line).lower()


def _name(line: str) -> str:
    return re.split(r"[=\s]", line.strip(), maxsplit=1)[0]


def _nothing() -> Particles:
    return Particles(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 4)), np.empty((0, 4)))


def _lists(particles: Particles, n: int) -> pa.Array:
    """The column `particles` of n events; particles are ordered by event."""
    offsets = np.concatenate([[0], np.cumsum(np.bincount(particles.event, minlength=n))])
    values = {
        "pdg": particles.pdg.astype(np.int32),
        **{name: particles.p[:, i] for i, name in enumerate(("px", "py", "pz", "energy"))},
        **{name: particles.vertex[:, i].astype(np.float32) for i, name in enumerate(("vx", "vy", "vz"))},
        "time": (particles.vertex[:, 3] / LIGHT_SPEED).astype(np.float32),
    }
    return records.structs(offsets, values)
