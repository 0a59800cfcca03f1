"""Pile-up: deposits of other interactions of the same crossing, drawn from a library, read out with the event's own."""

import math
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from gen2reco.config.block import Name
from gen2reco.config.readout import ReadoutChange
from gen2reco.detector.digitise import read_out
from gen2reco.errors import InputError
from gen2reco.readout.base import Readout
from gen2reco.readout.crossing import joined
from gen2reco.readout.library import Library, check_chain_of_library
from gen2reco.run.draws import origins
from gen2reco.run.stage import Chunk, Result

ENOUGH = 20
"""A library of fewer events than this many times the mean is small: crossings share much of their pile-up."""
FEWEST_PARTS = 5
"""A library that splits into fewer is used as a whole, and uncertainties leave out what crossings share."""
TAIL = 1e-9
"""Chance that a crossing holds more interactions than a library must have."""


class Overlay(Readout):
    """The deposits of `mean` library events are added to those of each event.

    The library is split into as many parts as hold the largest crossing; an event's crossing is of one part, by its
    number (`library_part`), so that statistics know which events share pile-up: those of different parts share none.
    In one crossing each library event is drawn at most once, and turned by 0, 90, 180 or 270 degrees about the beam,
    a symmetry of cells and field. Vertices and times are those that the library was generated with. The tracks are
    those of the event's own particles: the vertices of pile-up are taken as told apart. Samples that share the files
    of the simulation draw the same crossings.
    """

    name, version, chunk_events, takes_library = "overlay", 2, 3, True
    kept = False  # three MB an event at a mean of 200

    class Options(ReadoutChange):
        """The library, how much of it an event gets, and changes of the detector."""

        library: Name | None = None
        """The sample of the campaign whose events are the pile-up; by hand its files: `--library FILES`."""
        mean: float = Field(ge=0, le=1000)
        """Mean number of interactions that are added to an event."""
        profile: Literal["poisson", "fixed"] = "poisson"
        """Whether that number follows a Poisson distribution, or is the same for every event."""

        def largest(self) -> int:
            """Most interactions of a crossing that a library must have."""
            if self.profile == "fixed" or self.mean == 0:
                return math.ceil(self.mean)
            from scipy.special import pdtrik

            return math.ceil(pdtrik(1.0 - TAIL, self.mean))

    options: Options

    def accept(self, story: dict) -> None:
        """Open the library and check that it fits. Raises InputError."""
        super().accept(story)
        if self.options.profile == "fixed" and not self.options.mean.is_integer():
            raise InputError(f"`mean` = {self.options.mean}: `profile: fixed` takes a whole number; or `poisson`")
        if not self.library:
            raise InputError("overlay: no library; give its files: `--library minbias/*.parquet`")
        self.pool = Library(self.library, self.detector, story)
        self.pool.check_holds(self.options.largest())
        parts = len(self.pool) // self.options.largest() if self.options.mean else 1
        self.parts = parts if parts >= FEWEST_PARTS else 1

    @classmethod
    def check_chain(cls, options: dict, stages: dict[str, dict], library: dict | None) -> None:
        """Refuse a library that cannot be pile-up of the sample."""
        super().check_chain(options, stages, library)
        if library is None:
            raise InputError("`library` is missing; name the sample of the campaign whose events are the pile-up")
        check_chain_of_library(options["library"], library, stages, cls.Options.model_validate(options).largest())

    def prepare(self) -> None:
        """Lay the library's deposits flat in a file that is mapped into memory."""
        self.pool.lay_flat(self.options.em_scale)

    def run(self, chunk: Chunk, events: pa.Table) -> Result:
        """Read out the events one by one: memory is that of one event and of the hits of a chunk."""
        tracks = self.tracks(events, np.random.default_rng([chunk.seed, 1]))
        of_event, read_events, drawn = origins(events) % self.parts, [], 0
        for row in range(events.num_rows):
            crossing, noise = (np.random.default_rng(s) for s in np.random.SeedSequence([chunk.seed, row]).spawn(2))
            one = events.slice(row, 1)
            part = int(of_event[row])
            number, pileup = self.pool.crossing(self._interactions(crossing), crossing, part, self.parts)
            read = read_out(joined(self.deposits(one), *pileup), 1, self.other, noise, self.options.dead_cells)
            read_events.append(self.table(one, read, tracks[row : row + 1], pileup=True))
            drawn += number
        made = pa.concat_tables(read_events).combine_chunks()
        if self.parts > 1:
            field = pa.field("library_part", pa.int32(), nullable=False)
            made = made.append_column(field, pa.array(of_event, pa.int32()))
        return Result(made, {"pileup_events": drawn})

    def summary(self, infos: list[dict]) -> dict:
        """How often library events were drawn, and the size of the library."""
        drawn = sum(info["pileup_events"] for info in infos)
        return {
            "pileup_events": drawn,
            "library_events": len(self.pool),
            "library_parts": self.parts,
            "library_reuse": drawn / max(len(self.pool), 1),
            "readout_changes": self.options.stated(),
        }

    def notices(self, facts: dict) -> list[str]:
        """How often the library was used, and whether it is small."""
        events, mean = facts["library_events"], self.options.mean
        lines = [
            f"readout overlay: {facts['pileup_events']} events drawn from a library of {events}, each "
            f"{facts['library_reuse']:.3g} times on average, at most once in a crossing, in four orientations"
        ]
        if facts["library_parts"] == 1 and mean:
            lines.append(
                f"readout overlay: the library is too small for {FEWEST_PARTS} parts with a largest crossing each: "
                "uncertainties leave out what crossings share"
            )
        if events < ENOUGH * mean:
            lines.append(
                f"readout overlay: a library of {events} events is small for a mean of {mean:g}: crossings share their "
                f"pile-up; make at least {ENOUGH} times the mean, {math.ceil(ENOUGH * mean)}"
            )
        return lines

    def _interactions(self, rng: np.random.Generator) -> int:
        return int(rng.poisson(self.options.mean)) if self.options.profile == "poisson" else int(self.options.mean)
