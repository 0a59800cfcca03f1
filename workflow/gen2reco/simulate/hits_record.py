"""What every simulator shares around its showers: what enters, random streams, the hits record, what is left out."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry
from gen2reco.detector.propagate import AtFace, propagate
from gen2reco.detector.tracks import make_tracks
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.truth import STANDARD, Properties, simulated
from gen2reco.simulate.digitise import Deposits, deposit_lists, digitise

HEAVY = 0.01
"""Excess of energy over that of a particle's mass and momentum, as a share and in GeV, that event files may have."""
NAMED = 5
"""Codes that a line names."""


def streams(seed: int) -> tuple[np.random.Generator, np.random.Generator, np.random.Generator]:
    """A chunk's generators for showers, readout and tracks: a simulator's draws never shift those of the others."""
    return tuple(np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))


def enter(events: pa.Table, detector: Detector, properties: Properties = STANDARD) -> AtFace:
    """The particles of a chunk at the front face, also those that no simulation takes (see `truth.simulated`). Raises
    InputError naming a particle whose energy and momentum are not those of its code."""
    _check_masses(events, properties)
    return propagate(records.awkward(events.select(["particles"])).particles, detector, properties)


def _check_masses(events: pa.Table, properties: Properties) -> None:
    column = events["particles"].combine_chunks()
    flat = column.flatten()
    pdg = flat.field("pdg").to_numpy()
    px, py, pz, energy = (flat.field(name).to_numpy().astype(float) for name in ("px", "py", "pz", "energy"))
    momentum = np.hypot(np.hypot(px, py), pz)
    wrong = energy - np.hypot(momentum, properties.mass(pdg)) > HEAVY * energy + HEAVY
    wrong &= simulated(pdg, energy)
    if wrong.any():
        at = int(np.argmax(wrong))
        event = events["event"][int(pc.list_parent_indices(column)[at].as_py())].as_py()
        name, mass = properties.name(int(pdg[at])), properties.mass([pdg[at]])[0]
        raise InputError(
            f"event {event}: a particle of code {pdg[at]} ({name}) has energy {energy[at]:.4g} GeV and momentum "
            f"{momentum[at]:.4g} GeV, expected a mass of {mass:.4g} GeV; remake or drop the event"
        )


def face_facts(events: pa.Table, at_face: AtFace, properties: Properties = STANDARD) -> dict:
    """What a simulator's facts say of its particles: how many arrive with how much energy, GeV, and by PDG code those
    of all final particles that no simulation takes, though they would leave a signal."""
    flat = events["particles"].combine_chunks().flatten()
    pdg, energy = (flat.field(name).to_numpy().astype(kind) for name, kind in (("pdg", np.int64), ("energy", float)))
    lost = ~properties.unseen(pdg) & ~simulated(pdg, energy)
    missed = ~simulated(at_face.pdg, at_face.energy)
    codes, which = np.unique(pdg[lost], return_inverse=True)
    arrived = [float(at_face.energy[missed & (at_face.pdg == code)].sum()) for code in codes]
    columns = zip(codes, np.bincount(which), np.bincount(which, energy[lost]), arrived)
    left_out = {
        str(code): {"name": properties.name(code), "particles": int(n), "energy": float(e), "energy_at_face": face}
        for code, n, e, face in columns
    }
    return {
        "particles_at_face": len(at_face),
        "energy_at_face": float(at_face.energy.sum()),
        "not_simulated": left_out,
    }


def left_out_line(left_out: dict[str, dict]) -> str | None:
    """One line that says what was not simulated (`not_simulated`), most energy first; None if all was."""
    if not left_out:
        return None
    order = sorted(left_out.items(), key=lambda item: -item[1]["energy"])
    parts = [f"{one['particles']} {one['name']} ({code}, {one['energy']:.4g} GeV)" for code, one in order[:NAMED]]
    parts += [f"{len(order) - NAMED} other codes"] if len(order) > NAMED else []
    face = sum(one["energy_at_face"] for one in left_out.values())
    return f"not simulated: {', '.join(parts)}; {face:.4g} GeV of it at the front face"


def hits_table(
    events: pa.Table, at_face: AtFace, deposits: Deposits, geometry: Geometry, seed: int, keep_deposits: bool
) -> pa.Table:
    """The hits record of a chunk: its events and particles, tracks, digitised hits and, on demand, the deposits."""
    _, readout, tracking = streams(seed)
    n_events = events.num_rows
    read = digitise(deposits, n_events, geometry, readout)
    particles = records.awkward(events.select(["particles"])).particles
    columns = {
        "event": events["event"],
        "weight": events["weight"],
        "particles": events["particles"],
        "tracks": make_tracks(at_face, particles, geometry.detector, tracking),
        "hits": read.hits,
        "contributions": read.contributions,
    }
    if keep_deposits:
        columns["deposits"] = deposit_lists(deposits, n_events)
    return records.table("hits", columns)
