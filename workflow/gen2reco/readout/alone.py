"""The readout of the simulation itself, byte for byte, or the same showers and chances in a changed detector."""

import numpy as np
import pyarrow as pa

from gen2reco.config.readout import ReadoutChange
from gen2reco.detector.digitise import digitise
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.readout.base import Readout
from gen2reco.run.seeds import chunk_seed, streams
from gen2reco.run.stage import Chunk, Result


class Plain(Readout):
    """Hits as `simulate` gives them. In a changed detector the deposits are read out again, by the random numbers
    that the simulation drew for the same chunk of events: two readouts differ by the detector alone.

    Deposits are kept as float32, so that an energy that is read out again may differ in its last bit.
    """

    name, version, chunk_events, chunks_of = "plain", 1, 20, "simulate"

    class Options(ReadoutChange):
        """Changes of the detector."""

    def accept(self, story: dict) -> None:
        """Take the chunks of the simulation."""
        super().accept(story)
        if self.made:
            self.chunk_events = self.made.chunk_events

    @classmethod
    def reads_deposits(cls, options: dict) -> bool:
        """Only hits of changed cells are read out again."""
        return not _tracks_alone(cls.Options.model_validate(options))

    def run(self, chunk: Chunk, events: pa.Table) -> Result:
        """Read out the events of a chunk of the simulation."""
        tracks = self.tracks(events, np.random.default_rng([chunk.seed, 1]))
        if self._as_simulated():
            names = ("event", "weight", "particles", "hits", "contributions")
            table = records.table("hits", {name: events[name] for name in names} | {"tracks": tracks})
        else:
            rng = streams(self._seed(chunk))[1]
            read = digitise(self.deposits(events), events.num_rows, self.other, rng, self.options.dead_cells)
            table = self.table(events, read, tracks, pileup=False)
        return Result(table, {"readout_changes": self.options.stated()})

    def _as_simulated(self) -> bool:
        """Whether the hits of the input are what would be read out."""
        before = self.made.detector if self.made and self.made.detector else self.detector
        same = before.digitisation == self.other.detector.digitisation
        return same and self.options.em_scale == 1.0 and self.options.dead_cells == 0.0

    def _seed(self, chunk: Chunk) -> int:
        """The seed that the simulation had for the chunk. Raises InputError for other chunks than it had."""
        if self.made is None:
            return chunk.seed
        if chunk.start != chunk.index * self.made.chunk_events:
            raise InputError(
                f"chunks of {chunk.start // chunk.index} events, expected those of the simulation, "
                f"{self.made.chunk_events}, for the same random numbers; leave `chunk_events` out"
            )
        return chunk_seed(self.made.seed, self.made.sample, "simulate", self.made.shard, chunk.index)

    def summary(self, infos: list[dict]) -> dict:
        """The changes of the detector, the same in every chunk."""
        return {"readout_changes": self.options.stated()}


def _tracks_alone(options: ReadoutChange) -> bool:
    """Whether nothing but tracks is changed."""
    return options.model_copy(update={"tracker": ReadoutChange().tracker}) == type(options)()
