"""Records to the formats that others read: ROOT for objects, HepMC3 for generated events; the suffix decides."""

import tempfile
from pathlib import Path

import pyarrow as pa

from gen2reco.errors import InfrastructureError, InputError
from gen2reco.events import records

FORMATS = {"objects": (".root",), "particles": (".hepmc", ".hepmc3", ".hepmc.gz", ".hepmc3.gz")}


def publish_file(source: Path, output: Path, shard: int = 0) -> int:
    """Write a record file in the format of the output's suffix; returns the number of events. Raises InputError."""
    record = records.record_of(source)
    if not str(output).endswith(FORMATS.get(record, ())):
        expected = ", ".join(FORMATS.get(record, ())) or "an objects or particles record as input"
        raise InputError(f"{output}: cannot publish {record} there; expected {expected}")
    table = records.read(source, record)
    try:
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
            draft = Path(folder) / output.name  # writers keep the name; it appears whole or not at all
            _write(record, table, source, draft, shard)
            draft.replace(output)
    except OSError as error:
        raise InfrastructureError(f"{output}: cannot be written: {error.strerror or error}") from None
    return table.num_rows


def _write(record: str, table: pa.Table, source: Path, output: Path, shard: int) -> None:
    if record == "objects":
        from gen2reco.events.root import write_root

        write_root(table, output, shard)
    else:
        from gen2reco.events.hepmc_export import write_hepmc

        with records.open_file(source) as file:
            write_hepmc(table, output, records.metadata(file))
