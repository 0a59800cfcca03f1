"""The chain that makes the events outside a fused model's domain: simulation, clustering, calibration."""

import pyarrow as pa

from gen2reco.calibrate.dnn import Dnn, pins
from gen2reco.cluster.clue import Clue
from gen2reco.config.detector import Detector
from gen2reco.events.truth import Properties
from gen2reco.run.stage import Backend, Chunk
from gen2reco.simulate.geant4 import Geant4
from gen2reco.simulate.learned_showers import Learned

SIMULATORS: dict[str, type[Backend]] = {"geant4": Geant4, "ml": Learned}
VERSION = Geant4.version + Learned.version + Clue.version + Dnn.version
"""Of all that a chain may do: versions only rise, so the sum changes with each."""


class Chain:
    """The backends as a sample without `fuse` has them, behind one simulator.

    Raises InputError where the calibration is not of objects behind this clustering.
    """

    def __init__(self, simulator: str, calibration: Dnn, detector: Detector):
        self._simulate, self._cluster = (cls(cls.Options(), detector) for cls in (SIMULATORS[simulator], Clue))
        self._calibrate = calibration
        calibration.model.require("the chain of fuse", **pins(detector, {"cluster": _made(self._cluster)}))

    def run(self, chunk: Chunk, events: pa.Table, properties: Properties) -> tuple[pa.Table, dict]:
        """The objects record of these events, and facts by stage about how it was made."""
        facts = {}
        for backend in (self._simulate, self._cluster, self._calibrate):
            backend.properties = properties
            backend.prepare()
            made = backend.run(chunk, events)
            events, facts[backend.stage] = made.table, f"{backend.name} {backend.version}"
            facts |= {key: made.info[key] for key in ("physics", "tables_digest") if key in made.info}
        return events, {"chain": facts}


def _made(backend: Backend) -> dict:
    """How a backend's output says that it was made."""
    options = backend.options.model_dump(mode="json")
    return {"backend": backend.name, "version": backend.version, "options": options}
