"""The parts of a simulation that every simulator shares: facts about the particles, and the hits record."""

import numpy as np
import pyarrow as pa

from gen2reco.detector.digitise import Deposits, deposit_lists, digitise
from gen2reco.detector.geometry import Geometry
from gen2reco.detector.propagate import AtFace
from gen2reco.detector.tracks import make_tracks
from gen2reco.events import records
from gen2reco.events.truth import STANDARD, Properties, simulated
from gen2reco.run.seeds import streams

NAMED = 5
"""Codes that a line names."""


def face_facts(events: pa.Table, at_face: AtFace, properties: Properties = STANDARD) -> dict:
    """Facts about the particles of a simulation: how many arrive with how much energy, GeV, and by PDG code those of
    all final particles that no simulation takes, though they would leave a signal."""
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
