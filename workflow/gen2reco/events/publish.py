"""Records to the formats that others read: ROOT for objects, HepMC3 for generated events; the suffix decides."""

import tempfile
from pathlib import Path

from gen2reco.errors import InfrastructureError, InputError
from gen2reco.events import records
from gen2reco.files import put_in_place

FORMATS = {"objects": (".root",), "particles": (".hepmc", ".hepmc3", ".hepmc.gz", ".hepmc3.gz")}


def publish_file(source: Path, output: Path, shard: int = 0) -> int:
    """Write a record file in the format of the output's suffix; returns the number of events.

    Memory does not grow with their number. Raises InputError for a record that is not valid or has no such format.
    """
    given = records.Source(source)
    if not str(output).endswith(FORMATS.get(given.record, ())):
        expected = ", ".join(FORMATS.get(given.record, ())) or "an objects or particles record as input"
        raise InputError(f"{output}: cannot publish {given.record} there; expected {expected}")
    given.check()
    try:
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
            draft = Path(folder) / output.name  # writers keep the name; it appears whole or not at all
            _write(given, draft, shard)
            put_in_place(draft, output)
    except OSError as error:
        raise InfrastructureError(f"{output}: cannot be written: {error.strerror or error}") from None
    return given.num_rows


def _write(given: records.Source, output: Path, shard: int) -> None:
    if given.record == "objects":
        from gen2reco.events.root import write_root

        write_root(given.tables(2000), output, shard)
    else:
        from gen2reco.events.hepmc_export import write_hepmc

        write_hepmc(given.tables(), output, given.metadata)
