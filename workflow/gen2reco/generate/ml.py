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
from gen2reco.generate.hadronize.dataset import ALPHA_S, ALPHA_S_DEFAULT, conditions
from gen2reco.generate.hadronize.decays import LIGHT_SPEED, Decays, Particles
from gen2reco.generate.hadronize.model import Drawn, Hadronizer, load
from gen2reco.generate.ml_hard import Hard, source
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


class Learned(Backend):
    """Showers and hadronises hard partons by a learned model; what the model does not know goes to Pythia8.

    Every event conserves four-momentum, charge, baryon and lepton numbers and heavy flavour. Long-lived particles
    decay afterwards, with Pythia8's decay tables, so production vertices are those of real decays.
    """

    name, stage, isolate, chunk_events = "ml", "generate", True, 2000

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
        self._model: Hadronizer = load(self._opened)
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
        event = np.repeat(np.arange(n), hard.counts)
        final = hard.partons["status"] == 23
        pdg, at = hard.partons["pdg"][final], event[final]
        p = np.column_stack([hard.partons[k][final] for k in ("px", "py", "pz", "energy")])
        total = np.stack([np.bincount(at, p[:, i], n) for i in range(4)], 1)
        mass = np.sqrt(np.maximum(total[:, 3] ** 2 - (total[:, :3] ** 2).sum(1), 0))
        incoming = hard.partons["status"] == 21
        start = np.stack(
            [np.bincount(event[incoming], hard.partons[k][incoming], n) for k in ("px", "py", "pz", "energy")], 1
        )
        low, high = self._range["sqrt_s"]
        a_low, a_high = self._range["alpha_s"]
        quarks = np.bincount(at, (np.abs(pdg) <= 5) & (pdg != 0), n)
        coloured_in = np.bincount(event[incoming], np.abs(hard.partons["pdg"][incoming]) < 11, n) > 0
        tests = {
            "two hard partons expected": np.bincount(at, minlength=n) != 2,
            "a quark and its antiquark (u, d, s, c, b) expected": (quarks != 2) | (np.bincount(at, pdg, n) != 0),
            "incoming coloured partons": coloured_in,
            f"mass of the hard partons outside {low:.4g} to {high:.4g} GeV": (mass < low) | (mass > high),
            "hard partons do not balance the incoming ones": np.abs(total - start).max(1)
            > 1e-3 * np.maximum(total[:, 3], 1),
            f"alpha_s outside {a_low} to {a_high}": np.full(n, not a_low <= self._alpha_s <= a_high),
        }
        known, reason = np.ones(n, bool), [""] * n
        for text, wrong in tests.items():
            for i in np.flatnonzero(known & wrong):
                reason[i] = text
            known &= ~wrong
        return known, reason

    def _learned(self, hard: Hard, rows: np.ndarray, rng: np.random.Generator) -> tuple[Particles, int]:
        """Stable particles of these events, numbered by row of the table, and how many counts were drawn again."""
        first = np.concatenate([[0], np.cumsum(hard.counts)])
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        hadrons, again = [], 0
        for start in range(0, len(rows), BATCH):
            some = rows[start : start + BATCH]
            quark, total, flavour = _quarks(hard, first, some)
            known = torch.from_numpy(conditions(flavour, np.full(len(some), self._alpha_s)))
            drawn, more = self._model.draw(known, noise, self.options.evaluations)
            hadrons.append(_placed(self._model, drawn, quark, total, some, rng))
            again += more
        if not hadrons:
            return _nothing(), again
        merged_parts = Particles(
            *(np.concatenate([getattr(h, f) for h in hadrons]) for f in ("pdg", "event", "p", "vertex"))
        )
        return self._decays(merged_parts, rng), again

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


def _key(line: str) -> str:
    return _name(line).lower()


def _name(line: str) -> str:
    return re.split(r"[=\s]", line.strip(), maxsplit=1)[0]


def _quarks(hard: Hard, first: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four-momenta of the quark and of both partons, (n, 4), and the flavour (n,)."""
    counts = first[rows + 1] - first[rows]
    at = np.repeat(first[rows] - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(counts.sum())
    event = np.repeat(np.arange(len(rows)), counts)
    final = hard.partons["status"][at] == 23
    at, event = at[final], event[final]
    p = np.column_stack([hard.partons[k][at] for k in ("px", "py", "pz", "energy")])
    total = np.stack([np.bincount(event, p[:, i], len(rows)) for i in range(4)], 1)
    quark = hard.partons["pdg"][at] > 0
    return p[quark], total, hard.partons["pdg"][at][quark].astype(int)


def _placed(
    model: Hadronizer, drawn: Drawn, quark: np.ndarray, total: np.ndarray, rows: np.ndarray, rng: np.random.Generator
) -> Particles:
    """Turn drawn events so that their quark flies along the hard one, at random azimuth, and boost to its frame.

    quark, total: (n, 4) hard quark and sum of the hard partons, GeV.
    """
    n = len(rows)
    event = drawn.group.numpy() // 2
    p = drawn.momenta.numpy()
    m = model.species.masses[drawn.kinds.numpy()]
    scale = np.sqrt(np.maximum(total[:, 3] ** 2 - (total[:, :3] ** 2).sum(1), 0))
    velocity = total[:, :3] / total[:, 3:]
    at_rest = _boost(quark, -velocity)[:, :3]
    turn = _frame(at_rest, rng.uniform(-np.pi, np.pi, n)) @ _frame(model.quark_direction(drawn), np.zeros(n)).transpose(
        0, 2, 1
    )
    mirror = rng.integers(0, 2, n) * 2.0 - 1.0
    turn = _mirrored(turn, at_rest, mirror)
    momentum = np.einsum("nij,nj->ni", turn[event], p[:, :3])
    four = np.column_stack([momentum, np.sqrt((momentum**2).sum(1) + m**2)])
    four = _rescaled(four, m, event, scale, n)
    four = _boost(four, velocity[event])
    four[:, 3] = np.sqrt((four[:, :3] ** 2).sum(1) + m**2)
    pdg = np.array(model.species.pdg)[drawn.kinds.numpy()]
    return Particles(pdg.astype(np.int64), rows[event], four, np.zeros_like(four))


def _mirrored(turn: np.ndarray, quark: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Reflect half of the events in a plane that holds the quark: drawn events have one handedness only."""
    q = quark / np.linalg.norm(quark, axis=1, keepdims=True)
    helper = np.where(np.abs(q[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
    normal = np.cross(q, helper)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    reflect = np.eye(3) - (1 - mirror)[:, None, None] * normal[:, :, None] * normal[:, None, :]
    return reflect @ turn


def _frame(axis: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Rotation matrices (n, 3, 3) whose third column is the direction of `axis`, turned about it by `angle`."""
    z = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    helper = np.where(np.abs(z[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
    x = np.cross(helper, z)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = np.cross(z, x)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.stack([x * cos + y * sin, y * cos - x * sin, z], 2)


def _rescaled(four: np.ndarray, mass: np.ndarray, event: np.ndarray, energy: np.ndarray, n: int) -> np.ndarray:
    """Scale momenta so that each event's energy is exactly that of its hard partons (a change of parts in 1e5)."""
    k2 = (four[:, :3] ** 2).sum(1)
    scale = np.ones(n)
    for _ in range(6):
        e = np.sqrt(k2 * scale[event] ** 2 + mass**2)
        slope = np.bincount(event, scale[event] * k2 / e, n)
        scale -= (np.bincount(event, e, n) - energy) / slope
    moved = four[:, :3] * scale[event][:, None]
    return np.column_stack([moved, np.sqrt((moved**2).sum(1) + mass**2)])


def _boost(p: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    """Boost four-momenta (n, 4) by velocities (n, 3)."""
    b2 = (velocity**2).sum(1)
    gamma = 1 / np.sqrt(1 - b2)
    along = (velocity * p[:, :3]).sum(1)
    factor = gamma**2 / (1 + gamma) * along + gamma * p[:, 3]
    return np.column_stack([p[:, :3] + factor[:, None] * velocity, gamma * (p[:, 3] + along)])


def _nothing() -> Particles:
    return Particles(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 4)), np.empty((0, 4)))


def _lists(particles: Particles, n: int) -> pa.Array:
    """The column `particles` of n events; particles are ordered by event."""
    offsets = np.concatenate([[0], np.cumsum(np.bincount(particles.event, minlength=n))]).astype(np.int32)
    values = {
        "pdg": particles.pdg.astype(np.int32),
        **{name: particles.p[:, i].astype(np.float32) for i, name in enumerate(("px", "py", "pz", "energy"))},
        **{name: particles.vertex[:, i].astype(np.float32) for i, name in enumerate(("vx", "vy", "vz"))},
        "time": (particles.vertex[:, 3] / LIGHT_SPEED).astype(np.float32),
    }
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(list(values.values()), list(values)))
