"""Particle gun: single particles in stated ranges, for calibration and training samples."""

import numpy as np
import pyarrow as pa
from particle import Particle, ParticleNotFound

from gen2reco.config.block import Block
from gen2reco.config.process import GunProcess
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.run.stage import Backend, Chunk, Result
from gen2reco.units import C_LIGHT


class Gun(Backend):
    """Draws events of a gun process from the chunk's seed alone."""

    name, stage, chunk_events = "gun", "generate", 1000

    class Options(Block):
        """What to shoot."""

        process: GunProcess
        """Species, energies, directions and vertices."""

    options: Options

    def prepare(self) -> None:
        """Look up the masses. Raises InputError for an unknown species or an energy below its mass."""
        process = self.options.process
        self._mass = np.array([_mass(pdg) for pdg in process.species])
        if process.energy[0] <= (heaviest := self._mass.max()):
            raise InputError(
                f"gun: `energy` = {list(process.energy)} GeV is total energy, expected above {heaviest:.4g}"
            )

    def run(self, chunk: Chunk, events: pa.Table | None = None) -> Result:
        """Draw events [start, stop)."""
        rng, process = np.random.default_rng(chunk.seed), self.options.process
        shape = (chunk.stop - chunk.start, process.particles)
        one_side = {"plus": 1.0, "minus": -1.0}.get(process.side)
        side = np.full(shape[:1], one_side) if one_side else rng.choice([-1.0, 1.0], shape[:1])
        side = side[:, None]
        kind = rng.integers(len(process.species), size=shape)
        energy = _energies(rng, process, shape)
        eta, phi = rng.uniform(*process.abs_eta, shape), rng.uniform(-np.pi, np.pi, shape)
        direction = np.stack([np.cos(phi) / np.cosh(eta), np.sin(phi) / np.cosh(eta), side * np.tanh(eta)], -1)
        vertex, direction, time = _start(rng, process, side, direction)
        momentum = np.sqrt(energy**2 - self._mass[kind] ** 2)[..., None] * direction
        values = {
            "pdg": np.array(process.species, np.int32)[kind],
            **{name: momentum[..., i] for i, name in enumerate(("px", "py", "pz"))},
            "energy": energy,
            **{name: vertex[..., i].astype(np.float32) for i, name in enumerate(("vx", "vy", "vz"))},
            "time": time.astype(np.float32),
        }
        return Result(_table(chunk, shape, values), {"events_accepted": shape[0], "sum_of_weights": float(shape[0])})


def _energies(rng: np.random.Generator, process: GunProcess, shape: tuple[int, ...]) -> np.ndarray:
    if process.spectrum == "flat":
        return rng.uniform(*process.energy, shape)
    low, high = np.log(process.energy)
    return np.exp(rng.uniform(low, high, shape))


def _start(
    rng: np.random.Generator, process: GunProcess, side: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Production vertices (n, k, 3) mm, directions (n, k, 3), times (n, k) ns, of a light ray from the origin."""
    shape = direction.shape[:-1]
    if process.start_z is not None:
        vertex = direction * np.abs(process.start_z / direction[..., 2:])
        if process.separation:
            reach = process.start_z / np.sinh(np.maximum(process.abs_eta, 1e-6))
            vertex[:, 1:, :2] = _neighbours(rng, process.separation, reach, vertex[:, :1, :2], shape[1] - 1)
        length = np.linalg.norm(vertex, axis=-1)
        return vertex, vertex / length[..., None], length / C_LIGHT
    radius, angle = rng.uniform(*process.radius, shape), rng.uniform(-np.pi, np.pi, shape)
    z = side * rng.uniform(*process.vertex_z, shape)
    vertex = np.stack([radius * np.cos(angle), radius * np.sin(angle), z], -1) + 0.0  # no -0.0
    return vertex, direction, np.linalg.norm(vertex, axis=-1) / C_LIGHT


def _neighbours(
    rng: np.random.Generator, separation: tuple[float, float], reach: np.ndarray, first: np.ndarray, most: int
) -> np.ndarray:
    """Points (n, most, 2) in the start plane at drawn distances, mm, from the first (n, 1, 2); the opposite point
    where one lies outside `reach`, the outer and inner radius."""
    shape = (len(first), most)
    away, angle = rng.uniform(*separation, shape), rng.uniform(-np.pi, np.pi, shape)
    step = away[..., None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    outer, inner = reach
    radius = np.linalg.norm(first + step, axis=-1, keepdims=True)
    return np.where((inner <= radius) & (radius <= outer), first + step, first - step)


def _table(chunk: Chunk, shape: tuple[int, int], values: dict[str, np.ndarray]) -> pa.Table:
    events, each = shape
    offsets = np.arange(0, events * each + 1, each)
    columns = {
        "event": np.arange(chunk.start, chunk.stop),
        "weight": np.ones(events),
        "partons": records.no_lists(events),
        "particles": records.structs(offsets, {name: column.reshape(-1) for name, column in values.items()}),
    }
    return records.table("particles", columns)


def _mass(pdg: int) -> float:
    """Mass in GeV. Raises InputError for a code that is not a particle's."""
    try:
        mass = Particle.from_pdgid(pdg).mass
    except (ParticleNotFound, ValueError):
        raise InputError(f"gun: `species` holds {pdg}, which is no particle's PDG code") from None
    return (mass or 0.0) / 1000
