"""The reference: hard process, parton shower, hadronisation and decays by Pythia8 (arXiv:2203.11601)."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pythia8mc

from gen2reco.config.block import Block
from gen2reco.config.process import PartonFilter, Pythia8Process
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.truth import as_shipped
from gen2reco.generate import pythia_engine
from gen2reco.run.stage import Backend, Chunk, Result
from gen2reco.units import C_LIGHT

HOPELESS = 100_000  # hard processes in a row that the filter drops before it is called wrong


class HardPartonFilter(pythia8mc.UserHooks):
    """Vetoes hard processes without a parton in the range, before they cost a shower; counts tried and passed."""

    def __init__(self, wanted: PartonFilter):
        super().__init__()
        self.wanted, self.tried, self.passed, self._misses = wanted, 0, 0, 0

    def canVetoProcessLevel(self) -> bool:
        """Pythia8's switch for the next method."""
        return True

    def doVetoProcessLevel(self, process: "pythia8mc.Event") -> bool:
        """True to drop the hard process. Raises InputError when nothing ever passes."""
        self.tried += 1
        if any(self._accepts(process[i]) for i in range(5, process.size())):
            self.passed, self._misses = self.passed + 1, 0
            return False
        self._misses += 1
        if self._misses >= HOPELESS:
            raise InputError(f"filter: none of {HOPELESS} hard processes has a parton in {self.wanted}; widen it")
        return True

    def _accepts(self, parton: "pythia8mc.Particle") -> bool:
        low, high = self.wanted.abs_eta
        coloured = parton.isFinal() and (parton.idAbs() <= 6 or parton.id() == 21)
        return coloured and parton.pT() >= self.wanted.pt_min and low <= abs(parton.eta()) <= high


class Pythia8(Backend):
    """Generates accepted events of a Pythia8 process. The engine is initialised once with a fixed seed, then seeded
    from the chunk: the same bytes whichever process runs the chunk."""

    name, stage, isolate, chunk_events = "pythia8", "generate", True, 2000

    class Options(Block):
        """What to generate."""

        process: Pythia8Process
        """The hard process and its filter."""

    options: Options

    def prepare(self) -> None:
        """Initialise Pythia8. Raises InputError for settings that it does not take."""
        process = self.options.process
        self._hook = HardPartonFilter(process.filter) if process.filter else None
        self._pythia, self._fresh = pythia_engine.start(process.settings, process.mpi, self._hook), True

    def run(self, chunk: Chunk, events: pa.Table | None = None) -> Result:
        """Generate events [start, stop). Raises InputError when Pythia8 or the filter cannot deliver them."""
        if not self._fresh:
            self.prepare()
        self._fresh = False
        pythia_engine.reseed(self._pythia, chunk.seed)
        parts = [
            pythia_engine.columns(batch) for batch in pythia_engine.batches(self._pythia, chunk.stop - chunk.start)
        ]
        table = assemble(parts, np.arange(chunk.start, chunk.stop), pythia_engine.weight_names(self._pythia))
        facts = run_facts(self._pythia, table)
        if self._hook:
            facts |= {"filter_tried": self._hook.tried, "filter_passed": self._hook.passed}
        return Result(table, facts)

    def summary(self, infos: list[dict]) -> dict:
        """Cross section, weights and filter efficiency of the shard."""
        return merged(infos)

    def notices(self, facts: dict) -> list[str]:
        """Events without particles, or without a cross section, which later stages would pass on in silence."""
        none = facts.get("events_accepted", 0) and not facts["cross_section_pb"]
        lines = ["Pythia8 gives no cross section for this process: 0 pb stands for unknown"] if none else []
        return lines + empty_events(facts, facts.get("events_without_particles", 0))


def empty_events(facts: dict, count: int) -> list[str]:
    """What to say of so many events in which no particle is final."""
    every = facts.get("events_accepted", 0)
    return [f"{count} of {every} events have no final particles: is `PartonLevel:all` off?"] if count > 0 else []


def assemble(parts: list[dict], numbers: np.ndarray, names: list[str]) -> pa.Table:
    """Batches of columns as one particles table; `weight` is the first of its weights, which have these names."""
    data = {name: pa.concat_arrays([part[name] for part in parts]) for name in ("partons", "particles") if parts}
    weights = np.concatenate([part["weights"] for part in parts]) if parts else np.empty((0, len(names)))
    empty = records.empty("particles")
    columns = {
        "event": numbers,
        "weight": weights[:, 0],
        **{name: data.get(name, empty[name]) for name in ("partons", "particles")},
    }
    if len(names) > 1:
        columns["weights"] = records.lists(np.arange(0, weights.size + 1, len(names)), weights.ravel())
    return records.table("particles", columns)


def run_facts(pythia: "pythia8mc.Pythia", table: pa.Table) -> dict:
    """Cross section (pb, after the filter), sum of weights, and sqrt(s) of what the engine has made so far."""
    info, stated = pythia.infoPython(), particle_properties(pythia, table)
    return {
        "events_accepted": table.num_rows,
        "events_without_particles": int((pc.list_value_length(table["particles"]).to_numpy() == 0).sum()),
        "hard_processes_tried": info.nTried(),
        "cross_section_pb": info.sigmaGen() * pythia_engine.PB_PER_MB,
        "cross_section_error_pb": info.sigmaErr() * pythia_engine.PB_PER_MB,
        "sum_of_weights": float(pc.sum(table["weight"]).as_py() or 0.0),
        "sqrt_s": info.eCM(),
        "beams": [[info.idA(), info.eA(), info.mA()], [info.idB(), info.eB(), info.mB()]],
        "weight_names": pythia_engine.weight_names(pythia),
        **({"particle_properties": stated} if stated else {}),
    }


def particle_properties(pythia: "pythia8mc.Pythia", table: pa.Table) -> dict[str, dict]:
    """Properties of the final particles whose entry in Pythia8's table is not as shipped, by code (as text).

    The entries differ by lines of particle data (`9000005:new = …`) and by SLHA blocks of an event file.
    """
    data, shipped = pythia.particleData, as_shipped().particleData
    codes = np.unique(np.abs(pc.list_flatten(table["particles"]).combine_chunks().field("pdg").to_numpy()))
    now, before = ({int(c): _properties(source, int(c)) for c in codes} for source in (data, shipped))
    return {str(code): stated for code, stated in now.items() if stated and stated != before[code]}


def _properties(data: "pythia8mc.ParticleData", code: int) -> dict | None:
    """Charge in units of e, mass in GeV, lifetime in ns; None for a code that is not in the table."""
    if not data.isParticle(code):
        return None
    return {
        "name": data.name(code),
        "charge": data.chargeType(code) / 3,
        "coloured": data.colType(code) != 0,
        "visible": data.isVisible(code),
        "mass": data.m0(code),
        "lifetime": data.tau0(code) / C_LIGHT,
    }


def merged(infos: list[dict]) -> dict:
    """One shard's facts from its chunks': counts summed, cross sections averaged by the hard processes tried."""
    if not infos:
        return {}
    total = {key: sum(i[key] for i in infos) for key, value in infos[0].items() if isinstance(value, int)}
    tried = np.array([max(i["hard_processes_tried"], 1) for i in infos]) / sum(
        max(i["hard_processes_tried"], 1) for i in infos
    )
    total["cross_section_pb"] = float(tried @ [i["cross_section_pb"] for i in infos])
    total["cross_section_error_pb"] = float(np.hypot.reduce(tried * [i["cross_section_error_pb"] for i in infos]))
    total["sum_of_weights"] = float(sum(i["sum_of_weights"] for i in infos))
    total |= {key: infos[0][key] for key in ("sqrt_s", "beams", "weight_names")}
    if stated := {code: p for info in infos for code, p in info.get("particle_properties", {}).items()}:
        total["particle_properties"] = stated
    tried_by_filter = total.get("filter_tried", 0)
    total["filter_efficiency"] = total["filter_passed"] / tried_by_filter if tried_by_filter else 1.0
    return total
