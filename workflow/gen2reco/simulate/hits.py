"""What every simulator shares around its showers: input checks, random streams, and the hits record."""

import numpy as np
import pyarrow as pa

from gen2reco.campaign.detector import Detector
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.geometry import Geometry
from gen2reco.events.truth import known
from gen2reco.simulate.digitise import Deposits, deposit_lists, digitise
from gen2reco.simulate.propagate import AtFace, propagate
from gen2reco.simulate.tracks import make_tracks


def streams(seed: int) -> tuple[np.random.Generator, np.random.Generator, np.random.Generator]:
    """A chunk's generators for showers, readout and tracks: a simulator's draws never shift those of the others."""
    return tuple(np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))


def enter(events: pa.Table, detector: Detector) -> AtFace:
    """The particles of a chunk at the front face. Raises InputError naming the event of an invalid PDG code."""
    particles = records.awkward(events.select(["particles"])).particles
    at_face = propagate(particles, detector)
    _check_codes(events)
    return at_face


def _check_codes(events: pa.Table) -> None:
    column = events["particles"].combine_chunks()
    codes = column.flatten().field("pdg").to_numpy()
    bad = ~known(codes)
    if bad.any():
        at = int(np.argmax(bad))
        ends = column.offsets.to_numpy()[1:] - column.offsets[0].as_py()
        event = events["event"][int(np.searchsorted(ends, at, side="right"))].as_py()
        raise InputError(f"event {event}: `particles.pdg` = {codes[at]} is no PDG code; correct or drop the event")


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
