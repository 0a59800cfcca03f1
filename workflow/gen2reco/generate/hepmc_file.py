"""Complete events from a HepMC file, as another generator made them."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gen2reco.config.block import Block
from gen2reco.config.process import HepmcProcess, check_unchanged
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.hepmc import HepmcFile
from gen2reco.events.truth import STANDARD
from gen2reco.run.stage import Backend, Chunk, Result

SECTION = ("cross_section_pb", "cross_section_error_pb")


class Hepmc(Backend):
    """Takes events [start, stop) of the file. `event` is the number in the file, counted from 0."""

    name, stage, version, chunk_events = "hepmc", "generate", 2, 200

    class Options(Block):
        """What to read."""

        process: HepmcProcess
        """The event file."""

    options: Options

    def prepare(self) -> None:
        """Index the file. Raises InputError for one that is no HepMC file."""
        check_unchanged(self.options.process)
        self._file = HepmcFile(self.options.process.file)

    def run(self, chunk: Chunk, events: pa.Table | None = None) -> Result:
        """Read events [start, stop). Raises InputError if exhausted, cut off, malformed or unphysical."""
        given, path = self._file.events(chunk.start, chunk.stop), str(self._file.path)
        columns = {"event": np.arange(chunk.start, chunk.stop), "weight": given.weights[:, 0], **given.columns}
        if len(given.weight_names) > 1:
            n_events, each = given.weights.shape
            columns["weights"] = records.lists(np.arange(n_events + 1) * each, given.weights.ravel())
        table = records.table("particles", columns)
        records.check(table, "particles", path)
        check_hadronised(table, path)
        facts = {
            "events_accepted": table.num_rows,
            "sum_of_weights": float(given.weights[:, 0].sum()),
            "weight_names": list(given.weight_names),
            "decayed_particles_of_final_status": given.decayed,
            "unknown_particles": _unknown(table),
        }
        return Result(table, facts | dict(zip(SECTION, given.section or ())))

    def summary(self, infos: list[dict]) -> dict:
        """Counts and weights summed; the cross section is the last one that the file states, if any.

        Raises InputError where the events' numbers of weights differ.
        """
        total = super().summary(infos)
        counts = {len(info["weight_names"]) for info in infos}
        if len(counts) > 1:
            raise InputError(
                f"{self.options.process.file}: its events have {sorted(counts)} weights, expected one number"
            )
        for info in infos:
            total |= {key: info[key] for key in SECTION if key in info}
        return total

    def notices(self, facts: dict) -> list[str]:
        """What was read other than as it stands."""
        lines = []
        if decayed := facts["decayed_particles_of_final_status"]:
            lines.append(f"{decayed} particles of final status (1) have final descendants, which are taken instead")
        if unknown := facts["unknown_particles"]:
            lines.append(f"PDG codes that no table holds: {', '.join(f'{n} of {code}' for code, n in unknown.items())}")
        return lines


def _unknown(table: pa.Table) -> dict[str, int]:
    """How many final particles each PDG code has that no table holds."""
    codes, counts = np.unique(table["particles"].combine_chunks().flatten().field("pdg").to_numpy(), return_counts=True)
    return {str(code): int(n) for code, n, known in zip(codes, counts, STANDARD.known(codes)) if not known}


def check_hadronised(table: pa.Table, source: str) -> None:
    """Raises InputError naming the first event whose final state holds quarks, gluons or clusters but no hadron."""
    column = table["particles"].combine_chunks()
    codes = column.flatten().field("pdg").to_numpy()
    coloured = STANDARD.coloured(codes)
    if not coloured.any():
        return
    rows = pc.list_parent_indices(column).to_numpy()
    parton_level = np.bincount(rows[coloured], minlength=len(column)) > 0
    parton_level &= np.bincount(rows[~coloured & (np.abs(codes) > 100)], minlength=len(column)) == 0
    if parton_level.any():
        row = int(np.argmax(parton_level))
        first = int(codes[coloured & (rows == row)][0])
        raise InputError(
            f"{source}: event {table['event'][row].as_py()} ends in partons (PDG code {first}, "
            f"{STANDARD.name(first)}) and no hadrons; let the generator hadronise, or give its LHE file to "
            "`--backend lhe`, which showers and hadronises"
        )
