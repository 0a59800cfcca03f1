"""The `fused` backend: particles straight to calibrated objects, by one network evaluation an event."""

from contextlib import suppress
from pathlib import Path
from typing import Literal, cast

import awkward as ak
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from gen2reco.calibrate.dnn import Dnn, of_tracks
from gen2reco.calibrate.excess import Split, accompanied, split
from gen2reco.calibrate.jets import object_jets
from gen2reco.calibrate.objects import Links, Summary, object_pdg, objects_table
from gen2reco.config.block import Block
from gen2reco.config.detector import Detector
from gen2reco.detector.propagate import enter
from gen2reco.detector.tracks import make_tracks, tracks_at_origin
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.lists import event_of, flat, flat_index
from gen2reco.events.one_photon import one_photon
from gen2reco.events.schemas import IDENTITIES
from gen2reco.events.truth import simulated
from gen2reco.fuse.chain import SIMULATORS, VERSION, Chain
from gen2reco.fuse.domain import Domain, input_scores
from gen2reco.fuse.fused_config import INPUTS, FusedConfig
from gen2reco.fuse.inputs import VERSION as FEATURES
from gen2reco.fuse.inputs import Entering, entering, features_of
from gen2reco.fuse.object_numbers import Items, object_columns
from gen2reco.run import fallback
from gen2reco.run.model_folder import Model, located, open_model
from gen2reco.run.seeds import streams
from gen2reco.run.stage import Backend, Chunk, Result
from gen2reco.simulate.hits_record import face_facts, left_out_line

RELEASE = Path(__file__).parent / "release"
REMEDY = "take the chain in its place, or set `outside: geant4` (`--option outside=geant4`) to have it so"
REASONS = {
    "particles": "particles at the front face",
    "energy": "GeV at the front face",
    "hardest": "GeV of one particle",
    "density": "GeV in one place",
}
RESPONSE = "objects whose energy does not go with the particles'"


class Fused(Backend):
    """Objects of all particles of an event at once; events outside the model's domain go through the chain, are kept
    and marked, or refused."""

    name, stage, isolate, needs_detector, chunk_events = "fused", "fuse", True, True, 250
    devices = ("cpu", "cuda")
    version = 1 + VERSION

    class Options(Block):
        """The model and its use."""

        model: str = "release"
        """Folder of a fused model; `release`: in the package."""
        calibration: str = "release"
        """Folder of the calibration that the model was trained behind; its jets are made."""
        evaluations: int = Field(default=1, ge=1, le=100)
        """Evaluations of the flow network an event."""
        network: Literal["student", "teacher"] = "student"
        """The network distilled to one step, or the many-step teacher that it learned from."""
        outside: Literal["geant4", "ml", "keep", "refuse"] | None = None
        """Fallback for events outside the model's domain, by their particles or by the objects drawn: through
        clustering and calibration behind Geant4 or the learned showers, kept with their objects marked `out_of_range`,
        or an error. Left out: behind Geant4, but a run in which no event is the model's is refused."""

    options: Options
    detector: Detector

    def __init__(self, options: Options, detector: Detector):
        super().__init__(options, detector)
        self.model = _opened(options)
        self.model.require_detector(detector)
        self.calibration = Dnn(Dnn.Options(model=options.calibration), detector)
        self.config = self.model.parsed(FusedConfig)
        found = {"inputs": FEATURES, "calibration": self.calibration.model_digest}
        self.model.require("fuse", **found)
        self.fallback = options.outside or "geant4"
        self.chain = Chain(self.fallback, self.calibration, detector) if self.fallback in SIMULATORS else None
        self.model_digest, self.domain = self.model.digest, Domain.of(self.config.domain)

    @classmethod
    def own_detector(cls, options: Block) -> Detector:
        """The detector that the model was trained for."""
        return _opened(cast(Fused.Options, options)).parsed(FusedConfig).detector

    def prepare(self) -> None:
        """Import torch, load weights and kernels."""
        import torch

        from gen2reco.calibrate.jet_network import JetScale
        from gen2reco.fuse.fused_model import load

        torch.set_num_threads(1)
        self.network = load(self.model)
        jets = self.calibration.jet_model
        self.jet_scale = JetScale(jets) if jets else None
        if self.device == "cpu":
            self._warm_up()

    def _warm_up(self) -> None:
        """Draw one photon in the process whose forks make the chunks, so that every chunk starts warm."""
        chain, self.chain = self.chain, None
        with suppress(InputError):  # a lone photon may be outside the domain
            self.run(Chunk(0, 0, 0, 1), one_photon())
        self.chain = chain

    def run(self, chunk: Chunk, events: pa.Table) -> Result:
        """Objects and jets of one chunk; what no simulation takes is counted. Raises InputError for an event outside
        the domain where `outside` is `refuse`."""
        data = records.awkward(events.select(["particles"]))
        every = enter(events, self.detector, self.properties)
        drawing, _, tracking = streams(chunk.seed)
        tracks = make_tracks(every, data.particles, self.detector, tracking)
        e = entering(every[simulated(every.pdg, every.energy)], tracks)
        inputs = features_of(e, self.config.features)
        self.network.to(self.device)  # not in `prepare`: CUDA does not outlive the fork of a chunk
        items = self.network.draw(inputs, e.energy, drawing, self.options.network, self.options.evaluations)
        made, owner = self._objects(items, e, len(data))
        objects = made.objects
        scores = input_scores(e, inputs.around, e.event, len(data))
        outside = self._outside(scores, objects)
        if outside.any() and self.fallback == "refuse":
            at = int(np.argmax(outside.any(1)))
            raise InputError(f"event {events['event'][at].as_py()}: {self._refusal(scores[at], outside[at])}")
        jets = object_jets(objects)
        if self.jet_scale:
            jets = self.jet_scale.apply(jets, made.jet_inputs(jets, tracks_at_origin(tracks)))
        marks = np.repeat(outside.any(1), ak.to_numpy(ak.num(objects)))
        tracked = made.momentum[~made.left_over] > 0
        links = _links(data, e, owner, tracked, tracks).of_parts(made.of, made.left_over)
        table = objects_table(events, data, objects, jets, links, marks, self.properties)
        facts = face_facts(events, every, self.properties) | self._facts(scores, outside)
        if self.chain and outside.any():
            rows = np.flatnonzero(outside.any(1))
            made, more = self.chain.run(chunk, events.take(rows), self.properties)
            table, facts = _replaced(table, rows, made), facts | more
        return Result(table, facts)

    def summary(self, infos: list[dict]) -> dict:
        """Numbers summed, also by reason. Raises InputError where no event was the model's and `outside` is left
        out."""
        total = super().summary(infos)
        if self.options.outside is None:
            every = total.get("network_evaluations", 0) // self.options.evaluations
            fallback.refuse_all("fuse", "events", every, fallback.reasons_of(total), REMEDY)
        return total

    def notices(self, facts: dict) -> list[str]:
        """Lines on the events that fell back and the particles that were not simulated."""
        reasons, line = fallback.reasons_of(facts), left_out_line(facts.get("not_simulated", {}))
        way = "kept, marked out_of_range" if self.fallback == "keep" else f"through the chain behind {self.fallback}"
        many, energy = fallback.number(reasons), fallback.energy(reasons)
        fallen = (
            f"fuse: {many} of {facts.get('events_in', 0)} events ({energy:.4g} GeV at the front face) {way}, because "
            f"of {fallback.sentence(reasons)}"
        )
        return ([fallen] if reasons else []) + ([line] if line else [])

    def _objects(self, items: Items, e: Entering, n_events: int) -> tuple[Split, NDArray]:
        """Objects, in the order of falling energy before tracks split it, then what these left over, which lies where
        the particle enters; and the particle of each whole object (n,), an index of `e`."""
        columns, plain = object_columns(items, e, self.detector, self.config.features.object_offset)
        identity = items.kind % len(IDENTITIES)
        energy, sigma = of_tracks(columns["energy"], columns["energy_sigma"], identity, plain, self.detector.tracker)
        columns |= {"energy": energy, "energy_sigma": sigma, "pdg": object_pdg(identity, plain.charge)}
        event = e.event[items.owner]
        order = np.lexsort((-energy, event))
        columns = {name: np.ascontiguousarray(values[order]) for name, values in columns.items()}
        plain = Summary(*(getattr(plain, name)[order] for name in Summary.__annotations__))
        side, (x, y) = e.side[items.owner[order]], e.position[items.owner[order]].T
        direction = side * np.arcsinh(self.detector.front_face / np.hypot(x, y)), np.arctan2(y, x)
        places = np.column_stack([e.position, 2 * e.event + (e.side > 0)])
        near = accompanied(places, places[:0], np.full(len(e), -1))[items.owner[order]]
        made = split(columns, plain, self.detector.tracker, direction, event[order], n_events, near)
        return made, items.owner[order]

    def _outside(self, scores: NDArray, objects: ak.Array) -> NDArray[np.bool_]:
        """Which scores of each event leave the domain: those of its particles, and the objects' energy."""
        total = ak.to_numpy(ak.sum(objects.energy, axis=1))
        response = self.domain.response_outside(scores[:, INPUTS.index("energy")], total)
        return np.column_stack([self.domain.inputs_outside(scores), response])

    def _facts(self, scores: NDArray, outside: NDArray) -> dict:
        names = [
            *(f"more than {most:.4g} {REASONS[name]}" for name, most in zip(INPUTS, self.domain.largest)),
            RESPONSE,
        ]
        some = outside.any(1)
        reasons = fallback.by_reason((names[i] for i in outside.argmax(1)[some]), scores[some, INPUTS.index("energy")])
        return {
            **{f"events_outside_by_{name}": int(o.sum()) for name, o in zip((*INPUTS, "response"), outside.T)},
            f"events_outside_to_{self.fallback}": int(outside.any(1).sum()),
            "fallback_reasons": reasons,
            "network_evaluations": len(outside) * self.options.evaluations,
        }

    def _refusal(self, scores: NDArray, outside: NDArray) -> str:
        """Why an event is refused, and what to do."""
        reasons = [
            f"{s:.4g} {REASONS[n]}, more than {m:.4g}"
            for n, s, m, o in zip(INPUTS, scores, self.domain.largest, outside)
            if o
        ]
        reasons += [RESPONSE] if outside[-1] else []
        return (
            f"outside the fused model's domain ({'; '.join(reasons)}); set `outside: geant4`, `outside: ml` or "
            "`outside: keep`"
        )


def _opened(options: Fused.Options) -> Model:
    return open_model(RELEASE if options.model == "release" else located(options.model), "fused")


def _links(data: ak.Array, e: Entering, owner: NDArray, tracked: NDArray, tracks: ak.Array) -> Links:
    """Particles of objects (n,), by their index `owner` of `e`, and their tracks where the objects are `tracked`."""
    particle, event = e.particle[owner], e.event[owner]
    place = np.full(int(ak.sum(ak.num(data.particles))) + 1, -1, np.int64)
    place[flat_index(flat(tracks.particle), data.particles, event_of(tracks))] = flat(ak.local_index(tracks.particle))
    return Links(tracks, np.where(tracked, place[flat_index(particle, data.particles, event)], -1), particle)


def _replaced(table: pa.Table, rows: NDArray, by: pa.Table) -> pa.Table:
    """The table with these rows taken from another."""
    order = np.arange(len(table))
    order[rows] = len(table) + np.arange(len(rows))
    return pa.concat_tables([table, by.select(table.column_names).cast(table.schema)]).take(order).combine_chunks()
