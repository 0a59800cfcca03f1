"""What both readouts share: the changed detector, its tracks, and the hits record of what was read out."""

from dataclasses import replace

import awkward as ak
import numpy as np
import pyarrow as pa

from gen2reco.config.block import Block
from gen2reco.config.detector import Detector
from gen2reco.config.readout import OtherTracker, ReadoutChange
from gen2reco.detector.digitise import Deposits, Hits, deposits_of
from gen2reco.detector.geometry import Geometry
from gen2reco.detector.made_with import check_geometry
from gen2reco.detector.propagate import enter
from gen2reco.detector.tracks import remake_tracks
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.readout.simulated import Simulated, simulated
from gen2reco.run.stage import Backend

NO_DEPOSITS = "no deposits to read out; simulate with `keep_deposits: true` (`--option keep_deposits=true`)"


class Readout(Backend):
    """A readout with changes to the detector. `made` tells how the input was simulated, `other` is the detector as
    changed."""

    stage, needs_detector, seeded_by = "readout", True, "simulate"

    options: ReadoutChange
    detector: Detector

    def __init__(self, options: Block, detector: Detector):
        super().__init__(options, detector)
        self.other = Geometry(self.options.applied(detector))
        self.made: Simulated | None = None

    def accept(self, story: dict) -> None:
        """Refuse input of another geometry, and hits that were read out before."""
        super().accept(story)
        if "readout" in story:
            raise InputError("these hits were read out before; give the ones that simulate wrote")
        self.made = simulated(story)
        check_geometry(self.made.detector if self.made else None, self.detector)

    @classmethod
    def check_chain(cls, options: dict, stages: dict[str, dict], library: dict[str, dict] | None) -> None:
        """Refuse a sample whose simulation keeps no deposits."""
        made = stages.get("simulate", {}).get("options", {})
        if cls.reads_deposits(options) and made.get("keep_deposits") is False:
            raise InputError("`simulate` keeps no deposits to read out; set `keep_deposits: true` there")

    @classmethod
    def reads_deposits(cls, options: dict) -> bool:
        """Whether these options need the deposits."""
        return True

    def deposits(self, events: pa.Table) -> Deposits:
        """The deposits of a run of events, with the signal that is left. Raises InputError where there are none."""
        if "deposits" not in events.schema.names:
            raise InputError(NO_DEPOSITS)
        found = deposits_of(records.awkward(events.select(["deposits"])).deposits)
        if self.options.em_scale == 1.0:
            return found
        return replace(found, energy=found.energy * self.options.em_scale)

    def tracks(self, events: pa.Table, rng: np.random.Generator) -> "pa.ChunkedArray | ak.Array":
        """The tracks of the events, by the changed tracker if it is changed."""
        if self.options.tracker == OtherTracker():
            return events["tracks"]
        data = records.awkward(events.select(["particles", "tracks"]))
        before = self.made.detector if self.made and self.made.detector else self.detector
        at_face = enter(events, before, self.properties)
        return remake_tracks(data.tracks, at_face, data.particles, before.tracker, self.other.detector.tracker, rng)

    def table(self, events: pa.Table, read: Hits, tracks: "pa.ChunkedArray | ak.Array", pileup: bool) -> pa.Table:
        """The hits record of what was read out; the energy of pile-up in each hit is a column where there is any."""
        columns = {name: events[name] for name in ("event", "weight", "particles")}
        columns |= {"tracks": tracks, "hits": read.hits, "contributions": read.contributions}
        return records.table("hits", columns | ({"hit_pileup": read.pileup} if pileup else {}))
