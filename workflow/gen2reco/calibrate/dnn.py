"""The `dnn` backend: calibrated energies with uncertainties, identities and directions by the calibration network."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import awkward as ak
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import model_validator

from gen2reco import jit
from gen2reco.calibrate import candidates as cand
from gen2reco.calibrate.candidates import Candidates
from gen2reco.calibrate.corrections import Corrections, CorrectionsConfig
from gen2reco.calibrate.excess import Split, accompanied, split, track_spread
from gen2reco.calibrate.features import POINT_NAMES, TRACK_NAMES, VERSION, Inputs, make_inputs, names
from gen2reco.calibrate.jet_features import JetInputs
from gen2reco.calibrate.jets import object_jets
from gen2reco.calibrate.objects import Links, Summary, object_pdg, objects_table, summarise
from gen2reco.calibrate.pileup import jet_columns, pileup_share
from gen2reco.config.block import Block, digest
from gen2reco.config.detector import Detector, Tracker
from gen2reco.detector.geometry import Geometry
from gen2reco.detector.tracks import tracks_at_origin
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.lists import columns as columns_of
from gen2reco.events.lists import event_of, flat_index
from gen2reco.events.schemas import IDENTITIES
from gen2reco.run.model_folder import ModelConfig, combined, located, open_model
from gen2reco.run.stage import Backend, Chunk, Result

if TYPE_CHECKING:
    from gen2reco.calibrate.network import Sizes

RELEASE = Path(__file__).parent / "release"
PLAIN = "plain"
"""The readout of the simulation."""
MUON = IDENTITIES.index("muon")


class Dnn(Backend):
    """The release weights, or those of another model folder."""

    name, stage, version, needs_detector, chunk_events = "dnn", "calibrate", 3, True, 500
    devices = ("cpu", "cuda")

    class Options(Block):
        """Which weights."""

        model: str = "release"
        """Folder of a calibration (`objects` and, for calibrated jets, `jets` in it); `release`: in the package."""
        jet_areas: bool = False
        """Add each jet's active area and its pT less the event's median density times it (pile-up), and the density."""

    options: Options
    detector: Detector

    def __init__(self, options: Options, detector: Detector):
        super().__init__(options, detector)
        folder = RELEASE if options.model == "release" else located(options.model)
        self.model = open_model(folder / "objects", "calibration")
        self.model.require_detector(detector)
        self.model_digest, self.jet_model = self.model.digest, None
        if (folder / "jets").is_dir():
            self.jet_model = open_model(folder / "jets", "jet_calibration")
            self.jet_model.require("calibrate", objects=self.model.digest)
            self.model_digest = combined([self.model.digest, self.jet_model.digest])
        self.geometry = Geometry(detector)

    def accept(self, story: dict) -> None:
        """Refuse input made with another geometry or clustering than the model was trained behind."""
        super().accept(story)
        self.model.require("input of calibrate", **pins(self.detector, story))
        self.other_readout = not_trained_for(story, self.model.pins)

    def prepare(self) -> None:
        """Import torch, load the weights and the kernels."""
        import torch

        from gen2reco.calibrate.jet_network import JetScale
        from gen2reco.calibrate.predict import load_network

        torch.set_num_threads(1)
        for kernels in ("candidate_neighbours", "feature_sums"):
            jit.load(f"gen2reco.calibrate.kernels.{kernels}")
        self.network = load_network(self.model).to(self.device)
        config = self.model.parsed(CalibrationConfig)
        self.corrections, self.valid = Corrections.of(config.corrections), ValidRange.of(config.valid_range)
        self._check_features(self.network.sizes)
        self.jet_scale = JetScale(self.jet_model) if self.jet_model else None

    def notices(self, facts: dict) -> list[str]:
        """A line where the model was trained behind another readout."""
        return [f"calibrate dnn: {facts['other_readout']}"] if facts.get("other_readout") else []

    def summary(self, infos: list[dict]) -> dict:
        """Numbers summed, and what the readout has that the training had not."""
        return super().summary(infos) | ({"other_readout": self.other_readout} if self.other_readout else {})

    def _check_features(self, sizes: "Sizes") -> None:
        expected = (len(names(self.geometry)), len(TRACK_NAMES), len(POINT_NAMES), len(IDENTITIES))
        found = (sizes.calorimeter, sizes.track, sizes.points, sizes.identities)
        if found != expected or len(self.valid.low) != expected[0] + expected[1]:
            raise InputError(
                f"{self.model.folder}: `sizes` of features (calorimeter, track, points, identities) {found}, expected "
                f"{expected} and as many limits in `valid_range`; fetch the model anew"
            )

    def run(self, chunk: Chunk, events: pa.Table | None) -> Result:
        """Objects and jets of one chunk."""
        data = records.awkward(events)
        made = self.reconstruct(data)
        jets = plain = object_jets(made.objects)
        if self.jet_scale:
            jets = self.jet_scale.apply(jets, made.jet_inputs(jets, data))
        more = jet_columns(made.objects, jets, plain, self.detector) if self.options.jet_areas else {}
        if "trackster_pileup" in data.fields:
            more["object_pileup"] = ak.unflatten(
                pileup_share(data, made.candidates)[made.split.of], ak.num(made.objects)
            )
        facts = {
            "objects": len(made.split.of),
            "objects_left_over_by_tracks": int(made.split.left_over.sum()),
            "objects_out_of_range": int(made.out_of_range.sum()),
            "network_evaluations": len(made.candidates),
        }
        links = Links.of(data, made.candidates).of_parts(made.split.of, made.split.left_over)
        table = objects_table(events, data, made.objects, jets, links, made.out_of_range, self.properties, more)
        return Result(table, facts)

    def reconstruct(self, data: ak.Array) -> "Reconstructed":
        """Calibrated objects of `clusters` events, jets not yet made."""
        from gen2reco.calibrate.predict import predict

        candidates = cand.build(data, self.detector.front_face)
        plain = summarise(data, candidates, self.geometry)
        inputs = make_inputs(data, candidates, plain, self.geometry)
        answer = predict(self.network, inputs, self.device)
        probabilities = self.corrections.probabilities(answer)
        identity = probabilities.argmax(axis=1) if len(candidates) else np.zeros(0, np.int64)
        energy, sigma = self.corrections.energy(plain.energy, answer)
        energy, sigma = of_tracks(energy, sigma, identity, plain, self.detector.tracker)
        tracked, (eta, phi) = candidates.track >= 0, directions(inputs, answer.shift)
        columns: dict[str, NDArray] = {
            "pdg": object_pdg(identity, plain.charge),
            **{f"p_{name}": probabilities[:, i] for i, name in enumerate(IDENTITIES)},
            "energy_raw": plain.energy,
            "energy": energy,
            "energy_sigma": sigma,
            "eta": np.where(tracked, plain.eta, eta),
            "phi": np.where(tracked, plain.phi, phi),
            "trackster": candidates.trackster,
        }
        gathering = _accompanied(data, candidates, inputs.centre)
        made = split(columns, plain, self.detector.tracker, (eta, phi), candidates.event, len(data), gathering)
        return Reconstructed(candidates, made, self.valid.outside(inputs)[made.of])


def _accompanied(data: ak.Array, candidates: Candidates, centre: NDArray) -> NDArray[np.bool_]:
    """Candidates (n,) that have others, or tracks that are not their own, near their centre (n, 3) on the face."""
    track, event = columns_of(data.tracks, ("x", "y", "z")), event_of(data.tracks)
    places = np.column_stack([centre[:, :2], 2 * candidates.event + (centre[:, 2] > 0)])
    others = np.column_stack([track["x"], track["y"], 2 * event + (track["z"] > 0)])
    own = flat_index(candidates.track.astype(np.int64), data.tracks, candidates.event)
    return accompanied(places, others, np.where(candidates.track >= 0, own, -1))


@dataclass(frozen=True)
class Reconstructed:
    """Calibrated objects of a run of events and what they were made of."""

    candidates: Candidates
    split: Split
    out_of_range: NDArray[np.bool_]
    """(m,) objects of candidates with a feature outside the training's range."""

    @property
    def objects(self) -> ak.Array:
        """(events, var) records as in the objects record."""
        return self.split.objects

    def jet_inputs(self, jets: ak.Array, data: ak.Array) -> JetInputs:
        """Inputs of the jet calibration for (events, var) jets of these objects."""
        return self.split.jet_inputs(jets, tracks_at_origin(data.tracks))


class Limits(ModelConfig):
    """Smallest and largest value of each feature in the training."""

    low: list[float]
    high: list[float]

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if len(self.low) != len(self.high):
            raise ValueError("expected as many numbers in `low` as in `high`")
        return self


class CalibrationConfig(ModelConfig):
    """What of a calibration's config is used, but the sizes of its network."""

    corrections: CorrectionsConfig
    valid_range: Limits


class ValidRange:
    """The range of each feature that the network was trained in."""

    def __init__(self, low: NDArray, high: NDArray):
        self.low, self.high = low, high

    @classmethod
    def of(cls, stated: "Limits") -> "ValidRange":
        """As the model's config states it."""
        return cls(np.array(stated.low, np.float32), np.array(stated.high, np.float32))

    def outside(self, inputs: Inputs) -> NDArray[np.bool_]:
        """Candidates with any feature outside: (n,)."""
        found = np.hstack([inputs.calorimeter, inputs.track])
        return np.any((found < self.low) | (found > self.high), axis=1)


def pins(detector: Detector, story: dict) -> dict[str, str | None]:
    """What a calibration depends on, by digest; the clustering is None where the provenance does not say.

    Whether spikes were left out is no part of it: few showers have one.
    """
    made = story.get("cluster")
    if made:
        options = {name: value for name, value in made["options"].items() if name != "clean_spikes"}
        made = {"backend": made["backend"], "version": made["version"], "options": options}
    clustering = digest(made) if made else None
    return {"features": VERSION, "geometry": detector.geometry_digest, "clustering": clustering}


def readout_of(story: dict) -> str:
    """What the readout of the events was, in words: `plain` where it is that of the simulation."""
    made = story.get("readout") or {}
    options = made.get("options") or {}
    parts = [
        f"{key} = {options[key]:g}" for key in ("mean", "em_scale", "dead_cells") if _changed(options.get(key), key)
    ]
    for block in ("digitisation", "tracker"):
        parts += [f"{block}.{k} = {v:g}" for k, v in (options.get(block) or {}).items() if v is not None]
    return f"{made['backend']} ({', '.join(parts)})" if parts else PLAIN


def _changed(value: float | None, key: str) -> bool:
    return value is not None and value != (1.0 if key == "em_scale" else 0.0)


def not_trained_for(story: dict, pinned: dict[str, str]) -> str | None:
    """A line where a calibration was trained behind another readout than that of the events; None if it was not."""
    now, trained = readout_of(story), pinned.get("readout", PLAIN)
    if now in trained.split("; "):
        return None
    return f"the model was trained behind readout {trained}, these hits are of {now}: its energies are not made for it"


def of_tracks(
    energy: NDArray, sigma: NDArray, identity: NDArray, plain: Summary, tracker: Tracker
) -> tuple[NDArray, NDArray]:
    """Energy and uncertainty (n,), those of the track for muons and for tracks without a shower."""
    own = (plain.momentum > 0) & ((identity == MUON) | (plain.energy <= 0))
    return np.where(own, plain.momentum, energy), np.where(own, track_spread(plain, tracker), sigma)


def directions(inputs: Inputs, shift: NDArray) -> tuple[NDArray, NDArray]:
    """Eta and phi (n,) at the origin of the learned barycentre."""
    at = inputs.centre[:, :2] + shift
    r = np.maximum(np.hypot(at[:, 0], at[:, 1]), 1.0)
    return np.arcsinh(inputs.centre[:, 2] / r), np.arctan2(at[:, 1], at[:, 0])
