"""Calibrated objects against true particles and jets: response, resolution, identity, matching rates."""

import awkward as ak
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gen2reco.config.detector import Detector
from gen2reco.config.validation import Validation
from gen2reco.detector.geometry import Geometry
from gen2reco.events import records
from gen2reco.events.schemas import IDENTITIES
from gen2reco.events.truth import STANDARD, Properties
from gen2reco.validate.flat_lists import FlatList, flatten
from gen2reco.validate.observable_tables import ObservableTable
from gen2reco.validate.observables import Classifier, PartObservables, Quantity, Rate, RecordObservables, Response
from gen2reco.validate.observe.jet_observables import JETS, jet_table
from gen2reco.validate.observe.object_matching import best_partner, objects_close_to, of_partner, of_the_other_charge
from gen2reco.validate.true_particles import (
    KIND_LABELS,
    MUON,
    FaceState,
    at_face,
    delta_phi,
    kind_of,
    nearest_neighbour,
    true_energy,
    vertex_direction,
)

MATCH = 0.1
"""Largest eta-phi distance between a particle and its object."""
ISOLATION = 200.0
"""Response is measured of particles with no other above 1 GeV within this distance at the face, mm."""
FAINT = 1.0
"""Objects below it are not counted as fake, GeV."""
FOUND = 0.3
"""A particle is found if its object has this share of its energy."""
SPLIT = 0.1
"""Objects close to a particle with this share of its energy count as its parts."""

_KIND_QUANTITIES = (
    Quantity("response", "E / true E"),
    Quantity("raw_response", "raw E / true E"),
    Quantity("pull", "(E − true E) / σ_E"),
    Quantity("sigma", "σ_E / E"),
    Quantity("delta_eta", "η − true η"),
    Quantity("delta_phi", "φ − true φ", "rad"),
    Quantity("p_right", "probability of the true kind"),
)
_EVENT_QUANTITIES = (
    Quantity("n_objects", "objects per event", moments=True),
    *(Quantity(f"n_{kind}", f"{label} per event", moments=True) for kind, label in KIND_LABELS.items()),
    Quantity("energy_ratio", "ΣE of the objects / true energy in the endcaps"),
    Quantity("met_x", "missing pT in the endcaps, reconstructed − true, x", "GeV"),
    Quantity("met_y", "missing pT in the endcaps, reconstructed − true, y", "GeV"),
    Quantity("n_jets", "jets per event"),
    Quantity("n_hard_jets", "jets per event above the least pT", moments=True, drawn=False),
    Quantity("n_hard_jets_corrected", "jets per event above the least pT, corrected", moments=True, optional=True),
)
_OBJECT_QUANTITIES = (
    Quantity("energy", "object energy", "GeV", log=True),
    Quantity("abs_eta", "|η|"),
    *(Quantity(f"p_{name}", f"p({name.replace('_', ' ')})") for name in IDENTITIES),
)
_KIND_RATES = (
    Rate("efficiency", "efficiency", ("energy", "abs_eta")),
    Rate("split", "split rate", ("energy", "abs_eta")),
    Rate("identified", "identified as the true kind", ("energy", "abs_eta")),
)
_KIND_FEATURES = ("log_energy", "abs_eta", "response", "raw_response", "sigma", "delta_eta", "delta_phi")
_PROBABILITIES = tuple(f"p_{name}" for name in IDENTITIES)
_EVENT_FEATURES = (
    *("n_objects", "energy_ratio", "met_x", "met_y", "n_jets", "log_energy", "spread", "hardest", "width"),
    *(f"{part}_{kind}" for part in ("n", "share") for kind in IDENTITIES),
)
PARTS = (
    PartObservables("identity", "Identities of isolated particles", identities=True),
    *(
        PartObservables(
            kind,
            f"Isolated {label}",
            _KIND_QUANTITIES,
            responses=(Response("response", "E / true E", ("energy", "abs_eta"), raw="raw_response"),),
            rates=_KIND_RATES,
            classifiers=(Classifier("object", "calibrated objects", _KIND_FEATURES + _PROBABILITIES),),
            pull=True,
        )
        for kind, label in KIND_LABELS.items()
    ),
    JETS,
    PartObservables(
        "events",
        "Whole events",
        _EVENT_QUANTITIES,
        classifiers=(Classifier("event", "all objects of an event", _EVENT_FEATURES),),
    ),
    PartObservables(
        "objects", "All objects", _OBJECT_QUANTITIES, rates=(Rate("fake", "fake rate", ("energy", "abs_eta")),)
    ),
)


def observe(
    table: pa.Table, detector: Detector | None, settings: Validation, properties: Properties = STANDARD
) -> dict[str, ObservableTable]:
    """Tables of isolated particles by kind and all together (`identity`), of `jets`, `objects` and `events`.

    table: a shard of objects, made with the detector.
    """
    assert detector is not None  # by OBSERVABLES.needs_detector
    events = records.awkward(table)
    particles, objects = flatten(events.particles), flatten(events.objects)
    number, weight = (ak.to_numpy(events[name]) for name in ("event", "weight"))
    face, energy = at_face(particles, detector, properties), true_energy(particles, properties)
    kind = kind_of(particles["pdg"], properties)
    low, high = settings.abs_eta
    loud = face.reached & (energy > 1.0) & (kind >= 0)
    isolated = nearest_neighbour(face, particles.row, loud) > ISOLATION
    central = (np.abs(face.eta) > low) & (np.abs(face.eta) < high)
    chosen = np.flatnonzero(loud & isolated & central & (energy >= settings.min_energy))
    row = particles.row[chosen]
    found = ObservableTable(number[row], weight[row], _particles(particles, objects, face, energy, kind, chosen))
    tables = {name: found.select(kind[chosen] == i) for i, name in enumerate(IDENTITIES)}
    tables = {name: part for name, part in {"identity": found, **tables}.items() if len(part)}
    values = _objects(particles, objects, face, loud)
    every = ObservableTable(number[objects.row], weight[objects.row], values)
    tables["objects"] = every.select(values["energy"] >= FAINT)
    if jets := jet_table(events, objects, settings, number, weight):
        tables["jets"] = jets
    hard = settings.min_jet_pt
    inside = Geometry(detector).covers(vertex_direction(particles)[0]) & (kind >= 0) & (kind != MUON)
    tables["events"] = ObservableTable(number, weight, _whole(events, particles, objects, energy, inside, hard))
    return tables


OBSERVABLES = RecordObservables(
    "objects",
    "Calibrated objects",
    ("event", "weight", "particles", "objects", "jets", "gen_jets"),
    PARTS,
    observe,
    optional=("jet_pt_corrected",),
    needs_detector=True,
)


def _particles(
    particles: FlatList, objects: FlatList, face: FaceState, energy: NDArray, kind: NDArray, chosen: NDArray
) -> dict[str, NDArray]:
    """Values (n,) of the n chosen particles and of the object with most energy close to each, NaN where none is."""
    n, true, true_kind = len(chosen), energy[chosen], kind[chosen]
    index, close = objects_close_to(particles, objects, face, chosen, MATCH)
    own = ~of_the_other_charge(objects, close, true_kind[index])
    index, close = index[own], close[own]
    energies = objects["energy"][close].astype(np.float64)
    best = best_partner(index, close, -energies, n)

    def of_best(name: str) -> NDArray:
        return of_partner(objects[name], best)

    calibrated, sigma = of_best("energy"), of_best("energy_sigma")
    sigma = np.where(sigma > 0, sigma, np.nan)
    probabilities = np.stack([of_best(f"p_{name}") for name in IDENTITIES], axis=1)
    guessed = np.where(best >= 0, np.nan_to_num(probabilities, nan=-1.0).argmax(1), -1)
    vertex_eta, vertex_phi = (angle[chosen] for angle in vertex_direction(particles))
    parts = np.bincount(index, energies >= SPLIT * true[index], n)
    return {
        "energy": true,
        "log_energy": np.log(true),
        "abs_eta": np.abs(face.eta[chosen]),
        "kind": true_kind.astype(np.float64),
        "guessed": guessed.astype(np.float64),
        "efficiency": ((best >= 0) & (np.nan_to_num(calibrated) > FOUND * true)).astype(np.float64),
        "split": (parts > 1).astype(np.float64),
        "identified": (guessed == true_kind).astype(np.float64),
        "response": calibrated / true,
        "raw_response": of_best("energy_raw") / true,
        "sigma": sigma / calibrated,
        "pull": (calibrated - true) / sigma,
        "delta_eta": _smaller(of_best("eta") - face.eta[chosen], of_best("eta") - vertex_eta),
        "delta_phi": _smaller(delta_phi(of_best("phi"), face.phi[chosen]), delta_phi(of_best("phi"), vertex_phi)),
        "p_right": probabilities[np.arange(n), true_kind],
        **{f"p_{name}": probabilities[:, i] for i, name in enumerate(IDENTITIES)},
    }


def _smaller(a: NDArray, b: NDArray) -> NDArray:
    """The one of smaller size."""
    return np.where(np.abs(a) < np.abs(b), a, b)


def _objects(particles: FlatList, objects: FlatList, face: FaceState, loud: NDArray) -> dict[str, NDArray]:
    """Values (n,) of all n objects; fake are those close to none of the `loud` particles."""
    _, matched = objects_close_to(particles, objects, face, np.flatnonzero(loud), MATCH)
    fake = np.ones(len(objects.row))
    fake[matched] = 0.0
    energy = objects["energy"].astype(np.float64)
    values = {"energy": energy, "abs_eta": np.abs(objects["eta"]).astype(np.float64), "fake": fake}
    return values | {f"p_{name}": objects[f"p_{name}"].astype(np.float64) for name in IDENTITIES}


def _whole(
    events: ak.Array, particles: FlatList, objects: FlatList, energy: NDArray, inside: NDArray, hard: float
) -> dict[str, NDArray]:
    """Values (n_events,) of events; inside: mask of the particles that the endcaps should measure, by direction;
    hard: GeV, pT from which jets are hard."""
    n, row = len(events), particles.row[inside]
    truth = [np.bincount(row, particles[name][inside].astype(np.float64), n) for name in ("px", "py")]
    incident = np.bincount(row, energy[inside], n)
    pt = objects["energy"].astype(np.float64) / np.cosh(objects["eta"])
    found = [np.bincount(objects.row, pt * turn(objects["phi"]), n) for turn in (np.cos, np.sin)]
    energies = objects["energy"].astype(np.float64)
    total = np.bincount(objects.row, energies, n)
    return {
        "n_objects": objects.counts.astype(np.float64),
        "energy_ratio": total / np.where(incident > 0, incident, np.nan),
        "met_x": truth[0] - found[0],
        "met_y": truth[1] - found[1],
        "n_jets": ak.to_numpy(ak.num(events.jets)).astype(np.float64),
        **{name: ak.to_numpy(ak.sum(pt >= hard, axis=1)).astype(np.float64) for name, pt in _jet_pt(events).items()},
        **_make_up(objects, energies, total, n),
    }


def _jet_pt(events: ak.Array) -> dict[str, ak.Array]:
    corrected = {"n_hard_jets_corrected": events.jet_pt_corrected} if "jet_pt_corrected" in events.fields else {}
    return {"n_hard_jets": events.jets.pt, **corrected}


def _make_up(objects: FlatList, energy: NDArray, total: NDArray, n: int) -> dict[str, NDArray]:
    """What the objects of each event are: number and share of the energy by kind, and how they spread; all (n,)."""
    kind = np.stack([objects[f"p_{name}"] for name in IDENTITIES], axis=1).argmax(1) if len(energy) else energy
    some, log_energy = np.maximum(objects.counts, 1), np.log(np.maximum(energy, 1e-3))

    def mean(values: NDArray) -> NDArray:
        return np.bincount(objects.row, values, n) / some

    hardest = np.zeros(n)
    np.maximum.at(hardest, objects.row, energy)
    eta, whole = np.abs(objects["eta"]).astype(np.float64), np.maximum(total, 1e-9)
    own = {name: (kind == i).astype(np.float64) for i, name in enumerate(IDENTITIES)}
    return {
        **{f"n_{name}": np.bincount(objects.row, mask, n) for name, mask in own.items()},
        **{f"share_{name}": np.bincount(objects.row, mask * energy, n) / whole for name, mask in own.items()},
        "log_energy": mean(log_energy),
        "spread": np.sqrt(np.maximum(mean(log_energy**2) - mean(log_energy) ** 2, 0.0)),
        "hardest": hardest / whole,
        "width": np.sqrt(np.maximum(mean(eta**2) - mean(eta) ** 2, 0.0)),
    }
