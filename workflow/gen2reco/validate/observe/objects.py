"""Calibrated objects against true particles and jets: response, resolution, identity, matching rates."""

import awkward as ak
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gen2reco.config.detector import Detector
from gen2reco.config.validation import Validation
from gen2reco.events import records
from gen2reco.events.schemas import IDENTITIES
from gen2reco.events.truth import STANDARD, Properties
from gen2reco.validate import identity
from gen2reco.validate.observable_tables import Classifier, Profile, Quantity, Rate, Response, Sheet
from gen2reco.validate.true_particles import (
    KIND_LABELS,
    KINDS,
    AtFace,
    Flat,
    at_face,
    delta_phi,
    flat,
    kind_of,
    nearest_neighbour,
    true_energy,
)

COLUMNS = ["event", "weight", "particles", "objects", "jets", "gen_jets"]
MATCH, JET_MATCH = 0.1, 0.2
"""Largest eta-phi distance between a particle and its object, a particle jet and its jet."""
ISOLATION = 200.0
"""Response is measured of particles with no other above 1 GeV so near at the face, mm."""
FAINT = 1.0
"""Objects below it are not counted as fake, GeV."""
SPLIT = 0.1
"""Objects with this share of a particle's energy near it count as its parts."""

_KIND_QUANTITIES = [
    Quantity("response", "E / true E"),
    Quantity("raw_response", "raw E / true E"),
    Quantity("pull", "(E − true E) / σ_E"),
    Quantity("sigma", "σ_E / E"),
    Quantity("delta_eta", "η − true η"),
    Quantity("delta_phi", "φ − true φ", "rad"),
    Quantity("p_right", "probability of the true kind"),
]
QUANTITIES = {
    **dict.fromkeys(KINDS, _KIND_QUANTITIES),
    "jets": [
        Quantity("response", "jet pT / true pT"),
        Quantity("mass_response", "jet mass / true mass"),
        Quantity("pt", "jet pT", "GeV", log=True),
        Quantity("mass", "jet mass", "GeV", log=True),
        Quantity("n_constituents", "jet constituents", moments=True),
        Quantity("delta_eta", "η − true η"),
        Quantity("delta_phi", "φ − true φ", "rad"),
    ],
    "events": [
        Quantity("n_objects", "objects per event", moments=True),
        *[Quantity(f"n_{kind}", f"{label} per event", moments=True) for kind, label in KIND_LABELS.items()],
        Quantity("energy_ratio", "ΣE of the objects / true energy in the endcaps"),
        Quantity("met_x", "missing pT in the endcaps, reconstructed − true, x", "GeV"),
        Quantity("met_y", "missing pT in the endcaps, reconstructed − true, y", "GeV"),
        Quantity("n_jets", "jets per event"),
    ],
    "objects": [
        Quantity("energy", "object energy", "GeV", log=True),
        Quantity("abs_eta", "|η|"),
        *[Quantity(f"p_{name}", f"p({name.replace('_', ' ')})") for name in IDENTITIES],
    ],
    identity.NAME: [],
}
PROFILES: dict[str, list[Profile]] = {name: [] for name in QUANTITIES}
TITLES = {
    identity.NAME: "Identities of isolated particles",
    **{kind: f"Isolated {label}" for kind, label in KIND_LABELS.items()},
    "jets": "Jets",
    "events": "Whole events",
    "objects": "All objects",
}
_FOUND = Rate("efficiency", "efficiency", ("energy", "abs_eta"))
_SPLIT = Rate("split", "split rate", ("energy", "abs_eta"))
_IDENTIFIED = Rate("identified", "identified as the true kind", ("energy", "abs_eta"))
RATES = {
    **{kind: [_FOUND, _SPLIT, _IDENTIFIED] for kind in KINDS},
    "jets": [Rate("efficiency", "efficiency", ("energy", "abs_eta"))],
    "objects": [Rate("fake", "fake rate", ("energy", "abs_eta"))],
}
RESPONSES = {
    **{kind: [Response("response", "E / true E", ("energy", "abs_eta"), raw="raw_response")] for kind in KINDS},
    "jets": [Response("response", "pT / true pT", ("energy", "abs_eta"), raw="raw_response")],
}

PULLS = KINDS
_OWN = ("log_energy", "abs_eta", "response", "raw_response", "sigma", "delta_eta", "delta_phi")
_PROBABILITIES = tuple(f"p_{name}" for name in IDENTITIES)
_WHOLE = ("n_objects", "energy_ratio", "met_x", "met_y", "n_jets", "log_energy", "spread", "hardest", "width")
CLASSIFIERS = {
    **{kind: [Classifier("object", "calibrated objects", _OWN + _PROBABILITIES)] for kind in KINDS},
    "jets": [Classifier("jet", "jets", ("energy", "abs_eta", "response", "mass_response", "n_constituents"))],
    "events": [
        Classifier(
            "event",
            "all objects of an event",
            (*_WHOLE, *(f"{part}_{kind}" for part in ("n", "share") for kind in KINDS)),
        )
    ],
}


def observe(
    table: pa.Table, detector: Detector | None, settings: Validation, properties: Properties = STANDARD
) -> dict[str, Sheet]:
    """Sheets of isolated particles by kind, of `jets`, `objects` and `events`, of a shard of objects."""
    events = records.awkward(table)
    particles, objects = flat(events.particles), flat(events.objects)
    number, weight = (ak.to_numpy(events[name]) for name in ("event", "weight"))
    face, energy = at_face(particles, detector, properties), true_energy(particles, properties)
    kind = kind_of(particles["pdg"], properties)
    low, high = settings.abs_eta
    loud = face.reached & (energy > 1.0) & (kind >= 0)
    isolated = nearest_neighbour(face, particles.row, loud) > ISOLATION
    chosen = loud & isolated & (energy >= settings.min_energy) & (np.abs(face.eta) > low) & (np.abs(face.eta) < high)
    sheet = _particles(particles, objects, face, energy, kind, np.flatnonzero(chosen), number, weight)
    sheets = {name: sheet.select(sheet.values["kind"] == i) for i, name in enumerate(KINDS)}
    sheets = {name: part for name, part in sheets.items() if len(part)}
    sheets |= {identity.NAME: sheet} if len(sheet) else {}
    sheets["objects"] = _objects(particles, objects, face, loud, number, weight)
    jets = _jets(events, objects, settings, number, weight)
    return {**sheets, **({"jets": jets} if jets else {}), "events": _whole(events, particles, objects, energy, kind)}


def match(
    row: NDArray, eta: NDArray, phi: NDArray, other_row: NDArray, other_eta: NDArray, other_phi: NDArray, radius: float
) -> tuple[NDArray, NDArray, NDArray]:
    """All pairs of the same row within the eta-phi distance: indices into both, and the distance."""
    from scipy.spatial import cKDTree

    first = np.stack([50.0 * row, eta, phi], axis=1)
    second = np.stack([50.0 * other_row, other_eta, other_phi], axis=1)
    around = [second + np.array([0, 0, turn]) for turn in (-2 * np.pi, 0.0, 2 * np.pi)]
    if not len(first) or not len(second):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    near = cKDTree(first).sparse_distance_matrix(cKDTree(np.concatenate(around)), radius, output_type="ndarray")
    return near["i"], near["j"] % len(second), near["v"]


def _near(particles: Flat, objects: Flat, face: AtFace, picked: NDArray) -> tuple[NDArray, NDArray]:
    """Pairs (place in `picked`, object) within MATCH of the particle's direction at the face or at the vertex."""
    px, py, pz = (particles[name][picked].astype(np.float64) for name in ("px", "py", "pz"))
    pt = np.maximum(np.hypot(px, py), 1e-9)
    row, other = particles.row[picked], (objects.row, objects["eta"], objects["phi"])
    at_face_pairs = match(row, face.eta[picked], face.phi[picked], *other, MATCH)
    at_vertex_pairs = match(row, np.arcsinh(pz / pt), np.arctan2(py, px), *other, MATCH)
    i, j = (np.concatenate([at_face_pairs[k], at_vertex_pairs[k]]) for k in (0, 1))
    pairs = np.unique(i * max(len(objects.row), 1) + j)
    return pairs // max(len(objects.row), 1), pairs % max(len(objects.row), 1)


def _particles(
    particles: Flat,
    objects: Flat,
    face: AtFace,
    energy: NDArray,
    kind: NDArray,
    picked: NDArray,
    number: NDArray,
    weight: NDArray,
) -> Sheet:
    n = len(picked)
    place, other = _near(particles, objects, face, picked)
    own = objects["energy"][other].astype(np.float64)
    order = np.lexsort((-own, place))
    first = np.unique(place[order], return_index=True)
    best = np.full(n, -1)
    best[first[0]] = other[order][first[1]]
    found = best >= 0
    true, true_kind = energy[picked], kind[picked]

    def of_best(name: str) -> NDArray:
        return np.where(found, np.append(objects[name].astype(np.float64), np.nan)[best], np.nan)

    parts = np.bincount(place, own >= SPLIT * true[place], n)
    calibrated, sigma = of_best("energy"), of_best("energy_sigma")
    probabilities = np.stack([of_best(f"p_{name}") for name in IDENTITIES], axis=1)
    guessed = np.where(found, np.nan_to_num(probabilities, nan=-1.0).argmax(1), -1)
    px, py, pz = (particles[name][picked].astype(np.float64) for name in ("px", "py", "pz"))
    vertex_phi, vertex_eta = np.arctan2(py, px), np.arcsinh(pz / np.maximum(np.hypot(px, py), 1e-9))
    usable = sigma > 0
    values = {
        "energy": true,
        "log_energy": np.log(true),
        "abs_eta": np.abs(face.eta[picked]),
        "kind": true_kind.astype(np.float64),
        "guessed": guessed.astype(np.float64),
        "efficiency": (found & (np.nan_to_num(calibrated) > 0.3 * true)).astype(np.float64),
        "split": (parts > 1).astype(np.float64),
        "identified": (guessed == true_kind).astype(np.float64),
        "response": calibrated / true,
        "raw_response": of_best("energy_raw") / true,
        "sigma": np.where(usable, sigma, np.nan) / calibrated,
        "pull": (calibrated - true) / np.where(usable, sigma, np.nan),
        "delta_eta": _nearer(of_best("eta") - face.eta[picked], of_best("eta") - vertex_eta),
        "delta_phi": _nearer(delta_phi(of_best("phi"), face.phi[picked]), delta_phi(of_best("phi"), vertex_phi)),
        "p_right": probabilities[np.arange(n), true_kind],
        **{f"p_{name}": probabilities[:, i] for i, name in enumerate(IDENTITIES)},
    }
    return Sheet(number[particles.row[picked]], weight[particles.row[picked]], values)


def _nearer(a: NDArray, b: NDArray) -> NDArray:
    return np.where(np.abs(a) < np.abs(b), a, b)


def _objects(particles: Flat, objects: Flat, face: AtFace, loud: NDArray, number: NDArray, weight: NDArray) -> Sheet:
    _, matched = _near(particles, objects, face, np.flatnonzero(loud))
    fake = np.ones(len(objects.row))
    fake[matched] = 0.0
    energy = objects["energy"].astype(np.float64)
    values = {"energy": energy, "abs_eta": np.abs(objects["eta"]).astype(np.float64), "fake": fake}
    values |= {f"p_{name}": objects[f"p_{name}"].astype(np.float64) for name in IDENTITIES}
    return Sheet(number[objects.row], weight[objects.row], values).select(energy >= FAINT)


def _jets(events: ak.Array, objects: Flat, settings: Validation, number: NDArray, weight: NDArray) -> Sheet | None:
    """Particle jets in acceptance with the reconstructed jet nearest to each; needs events of five particles."""
    crowded = ak.to_numpy(ak.num(events.particles) >= 5)
    jets, true = (_jet_fields(events[name]) for name in ("jets", "gen_jets"))
    raw = _raw_pt(events.jets, objects)
    low, high = settings.abs_eta
    picked = crowded[true.row] & (true["pt"] >= settings.min_jet_pt)
    picked = np.flatnonzero(picked & (np.abs(true["eta"]) > low) & (np.abs(true["eta"]) < high))
    if not len(picked):
        return None
    here = (true.row[picked], true["eta"][picked], true["phi"][picked])
    i, j, distance = match(*here, jets.row, jets["eta"], jets["phi"], JET_MATCH)
    order = np.lexsort((distance, i))
    first = np.unique(i[order], return_index=True)
    best = np.full(len(picked), -1)
    best[first[0]] = j[order][first[1]]
    found = best >= 0

    def of_best(values: NDArray) -> NDArray:
        return np.where(found, np.append(values.astype(np.float64), np.nan)[best], np.nan)

    pt, mass = true["pt"][picked].astype(np.float64), true["mass"][picked].astype(np.float64)
    values = {
        "energy": pt,
        "abs_eta": np.abs(true["eta"][picked]).astype(np.float64),
        "efficiency": found.astype(np.float64),
        "response": of_best(jets["pt"]) / pt,
        "raw_response": of_best(raw) / pt,
        "mass_response": of_best(jets["mass"]) / np.where(mass > 0.1, mass, np.nan),
        "pt": of_best(jets["pt"]),
        "mass": of_best(jets["mass"]),
        "n_constituents": of_best(jets["n_constituents"]),
        "delta_eta": of_best(jets["eta"]) - true["eta"][picked],
        "delta_phi": delta_phi(of_best(jets["phi"]), true["phi"][picked]),
    }
    return Sheet(number[true.row[picked]], weight[true.row[picked]], values)


def _jet_fields(jets: ak.Array) -> Flat:
    columns = {name: jets[name] for name in ("pt", "eta", "phi", "mass")}
    return flat(ak.zip({**columns, "n_constituents": ak.num(jets.constituents, axis=2)}))


def _raw_pt(jets: ak.Array, objects: Flat) -> NDArray:
    """pT of each jet from the raw energies of its constituents, taken as massless."""
    counts = ak.to_numpy(ak.flatten(ak.num(jets.constituents, axis=2)))
    row = np.repeat(np.arange(len(jets)), ak.to_numpy(ak.sum(ak.num(jets.constituents, axis=2), axis=1)))
    member = ak.to_numpy(ak.flatten(ak.flatten(jets.constituents, axis=2))) + objects.starts[row]
    jet = np.repeat(np.arange(len(counts)), counts)
    pt = objects["energy_raw"][member].astype(np.float64) / np.cosh(objects["eta"][member])
    phi = objects["phi"][member]
    return np.hypot(*(np.bincount(jet, pt * turn(phi), len(counts)) for turn in (np.cos, np.sin)))


def _whole(events: ak.Array, particles: Flat, objects: Flat, energy: NDArray, kind: NDArray) -> Sheet:
    n = len(events)
    px, py, pz = (particles[name].astype(np.float64) for name in ("px", "py", "pz"))
    eta = np.abs(np.arcsinh(pz / np.maximum(np.hypot(px, py), 1e-9)))
    used = (eta > 1.5) & (eta < 3.0) & (kind >= 0) & (kind != KINDS.index("muon"))
    truth = [np.bincount(particles.row[used], p[used], n) for p in (px, py)]
    incident = np.bincount(particles.row[used], energy[used], n)
    pt = objects["energy"].astype(np.float64) / np.cosh(objects["eta"])
    found = [np.bincount(objects.row, pt * turn(objects["phi"]), n) for turn in (np.cos, np.sin)]
    energies = objects["energy"].astype(np.float64)
    total = np.bincount(objects.row, energies, n)
    values = {
        "n_objects": objects.counts.astype(np.float64),
        "energy_ratio": total / np.where(incident > 0, incident, np.nan),
        "met_x": truth[0] - found[0],
        "met_y": truth[1] - found[1],
        "n_jets": ak.to_numpy(ak.num(events.jets)).astype(np.float64),
        **_make_up(objects, energies, total, n),
    }
    return Sheet(ak.to_numpy(events.event), ak.to_numpy(events.weight), values)


def _make_up(objects: Flat, energy: NDArray, total: NDArray, n: int) -> dict[str, NDArray]:
    """What the objects of each event are: number and share of the energy by kind, and how they spread; all (n,)."""
    kind = np.stack([objects[f"p_{name}"] for name in IDENTITIES], axis=1).argmax(1) if len(energy) else energy
    some, log_energy = np.maximum(objects.counts, 1), np.log(np.maximum(energy, 1e-3))

    def mean(values: NDArray) -> NDArray:
        return np.bincount(objects.row, values, n) / some

    hardest = np.zeros(n)
    np.maximum.at(hardest, objects.row, energy)
    eta, whole = np.abs(objects["eta"]).astype(np.float64), np.maximum(total, 1e-9)
    own = {name: (kind == i).astype(np.float64) for i, name in enumerate(KINDS)}
    return {
        **{f"n_{name}": np.bincount(objects.row, mask, n) for name, mask in own.items()},
        **{f"share_{name}": np.bincount(objects.row, mask * energy, n) / whole for name, mask in own.items()},
        "log_energy": mean(log_energy),
        "spread": np.sqrt(np.maximum(mean(log_energy**2) - mean(log_energy) ** 2, 0.0)),
        "hardest": hardest / whole,
        "width": np.sqrt(np.maximum(mean(eta**2) - mean(eta) ** 2, 0.0)),
    }
