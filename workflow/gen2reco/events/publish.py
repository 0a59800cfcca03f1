"""Records to the formats that others read: ROOT for objects, HepMC3 for generated events; the suffix decides."""

from pathlib import Path

from gen2reco.errors import InputError
from gen2reco.events import records

FORMATS = {"objects": (".root",), "particles": (".hepmc", ".hepmc3", ".hepmc.gz", ".hepmc3.gz")}


def publish_file(source: Path, output: Path, shard: int = 0) -> int:
    """Write a record file in the format of the output's suffix; returns the number of events. Raises InputError."""
    record = records.record_of(source)
    if not str(output).endswith(FORMATS.get(record, ())):
        expected = ", ".join(FORMATS.get(record, ())) or "an objects or particles record as input"
        raise InputError(f"{output}: cannot publish {record} there; expected {expected}")
    table = records.read(source, record)
    if record == "objects":
        from gen2reco.events.root import write_root

        write_root(table, output, shard)
    else:
        from gen2reco.events.hepmc_export import write_hepmc

        with records.open_file(source) as file:
            write_hepmc(table, output, records.metadata(file))
    return table.num_rows
