"""Records to the formats that others read: ROOT for objects, HepMC3 for generated events; the suffix decides."""

import tempfile
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gen2reco.errors import InfrastructureError, InputError
from gen2reco.events import records
from gen2reco.events.arrow import array, numbers
from gen2reco.events.truth import Properties
from gen2reco.files import put_in_place

if TYPE_CHECKING:
    from gen2reco.events.root import Generated

FORMATS = {"objects": (".root",), "particles": (".hepmc", ".hepmc3", ".hepmc.gz", ".hepmc3.gz")}


def publish_file(source: Path, output: Path, shard: int = 0, particles: Path | None = None) -> tuple[int, list[str]]:
    """Write a record file in the format of the output's suffix; returns the number of events, and what to tell of it.

    particles: the particles that objects were made of, for partons and the weights of events that were lost.
    Memory does not grow with the number of events. Raises InputError for a record that is not valid or has no such
    format, and for particles that are not those of the objects.
    """
    given = records.Source(source)
    if not str(output).endswith(FORMATS.get(given.record, ())):
        expected = ", ".join(FORMATS.get(given.record, ())) or "an objects or particles record as input"
        raise InputError(f"{output}: cannot publish {given.record} there; expected {expected}")
    if particles is not None and given.record != "objects":
        raise InputError(f"{source}: holds {given.record}; --particles goes with objects alone, leave it out")
    made_of = _Particles(particles) if particles else None
    given.check()
    try:
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
            draft = Path(folder) / output.name  # writers keep the name; it appears whole or not at all
            told = _write(given, draft, shard, made_of)
            put_in_place(draft, output)
    except OSError as error:
        raise InfrastructureError(f"{output}: cannot be written: {error.strerror or error}") from None
    return given.num_rows, told


def _write(given: records.Source, output: Path, shard: int, made_of: "_Particles | None") -> list[str]:
    if given.record == "objects":
        from gen2reco.events.root import write_root

        tables = chain([given.slice(0, 0)], given.tables(2000))  # the first has all columns
        generated, told = _generated(given, made_of)
        joined = (made_of.joined(table) for table in tables) if made_of else tables
        write_root(joined, output, shard, generated, Properties.of(given.story))
        return told
    from gen2reco.events.hepmc_export import write_hepmc

    write_hepmc(given.tables(), output, given.metadata)
    return []


class _Particles:
    """The particles record that objects were made of. Raises InputError for a file that is none."""

    def __init__(self, path: Path):
        weights = records.read(path, "particles", ["event", "weight"])
        self.event, self.weight = (numbers(weights[name]) for name in ("event", "weight"))
        self._source, self._order = records.Source(path, "particles", ["event", "partons"]), np.argsort(self.event)

    def joined(self, objects: pa.Table) -> pa.Table:
        """Objects with the partons of their events. Raises InputError for an event that is not among the particles."""
        wanted = numbers(objects["event"])
        at = np.searchsorted(self.event, wanted, sorter=self._order)
        rows = np.append(self._order, -1)[np.minimum(at, len(self.event))]
        if (bad := (rows < 0) | (np.append(self.event, 0)[rows] != wanted)).any():
            raise InputError(
                f"{self._source.path}: has no event {wanted[np.argmax(bad)]}; give the particles that the objects were "
                "made of"
            )
        first, last = (int(rows.min()), int(rows.max()) + 1) if len(rows) else (0, 0)
        partons = self._source.slice(first, last)["partons"].take(array(rows - first))
        return objects.append_column(pa.field("partons", partons.type, nullable=False), partons)


def _generated(given: records.Source, made_of: _Particles | None) -> "tuple[Generated, list[str]]":
    """The events before any was lost, by the particles or else by what the objects' file says of them; and what to tell
    where that does not say all. A file without events is that of a failed shard, which counts for nothing."""
    from gen2reco.events.root import Generated

    facts = given.story.get("generate", {}).get("info", {})
    weight = made_of.weight if made_of else _weights(given)
    weight = weight if given.num_rows else weight[:0]
    count = len(weight) if made_of or not given.num_rows else int(facts.get("events_accepted", len(weight)))
    known = count == len(weight)
    total = float(weight.sum()) if known else float(facts.get("sum_of_weights", np.nan))
    told = f"{count - len(weight)} of {count} generated events have no objects, so genEventSumw2 is not known (NaN): "
    return Generated(
        events=count,
        sum_of_weights=total,
        sum_of_squares=float((weight**2).sum()) if known else np.nan,
        cross_section_pb=float(facts.get("cross_section_pb", 0.0)),
        cross_section_error_pb=float(facts.get("cross_section_error_pb", 0.0)),
        filter_efficiency=float(facts.get("filter_efficiency", 1.0)),
        sqrt_s=float(facts.get("sqrt_s", 0.0)),
    ), [] if known else [f"{told}give --particles"]


def _weights(given: records.Source) -> NDArray[np.float64]:
    """The weights of the events that the record holds; draws of the same event count once, with their sum."""
    drawn = "source" in given.slice(0, 0).schema.names
    table = records.read(given.path, given.record, ["weight", *(["source"] if drawn else [])])
    weight: NDArray[np.float64] = numbers(table["weight"])
    if not drawn:
        return weight
    source = np.unique(numbers(table["source"]), return_inverse=True)[1]
    totals: NDArray[np.float64] = np.bincount(source, weight).astype(np.float64)
    return totals
