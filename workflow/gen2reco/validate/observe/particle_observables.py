"""Observables of generated events: multiplicities, spectra, event shapes (e+e-) and jets (hadron collisions)."""

import awkward as ak
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gen2reco.config.detector import Detector
from gen2reco.config.validation import Validation
from gen2reco.events import records
from gen2reco.events.truth import STANDARD, Properties
from gen2reco.validate.flat_lists import FlatList, flatten
from gen2reco.validate.observable_tables import ObservableTable, row_histograms
from gen2reco.validate.observables import Classifier, PartObservables, Profile, Quantity, RecordObservables
from gen2reco.validate.observe.collision_observables import COLLISIONS, LEADING_JET, collisions, jet_response
from gen2reco.validate.observe.event_shapes import c_parameter, hemispheres, thrust_axes
from gen2reco.validate.observe.jet_clustering import anti_kt, durham, substructure

SPECIES = {
    "photon": (22,),
    "pion": (211,),
    "kaon": (321,),
    "proton": (2212,),
    "neutron": (2112,),
    "kaon_long": (130,),
    "electron": (11,),
    "muon": (13,),
    "neutrino": (12, 14, 16),
}
_DRAWN = ("photon", "pion", "kaon", "proton")
_SPECTRUM = np.linspace(0.0, 6.4, 33)
_PT = np.geomspace(0.1, 200.0, 31)

BALANCED = 1e-3
"""GeV; less is no sum of transverse momenta: rounding would tell one program's balanced events from another's."""

_EVENT_QUANTITIES = (
    Quantity("n_charged", "charged particles", moments=True),
    Quantity("n_neutral", "neutral particles, no neutrinos", moments=True),
    *[Quantity(f"n_{name}", f"number of {name.replace('_', ' ')}s", drawn=name in _DRAWN) for name in SPECIES],
    Quantity("thrust", "1 − thrust"),
    Quantity("c_parameter", "C-parameter"),
    Quantity("heavy_mass", "heavy-jet mass² / E²"),
    Quantity("light_mass", "light-jet mass² / E²", drawn=False),
    Quantity("y23", "−ln y23 (Durham)"),
    Quantity("y34", "−ln y34 (Durham)", drawn=False),
    Quantity("cos_thrust", "|cos θ| of the thrust axis"),
    Quantity("hemisphere_charge", "|charge| of a hemisphere", drawn=False),
    Quantity("leading_x", "leading momentum fraction"),
    Quantity("leading_charged_x", "leading charged momentum fraction", drawn=False),
    Quantity("charged_energy", "charged share of the energy", drawn=False),
    Quantity("photon_energy", "photon share of the energy", drawn=False),
    Quantity("kaon_energy", "kaon share of the energy", drawn=False),
    Quantity("baryon_energy", "baryon share of the energy", drawn=False),
    Quantity("displaced", "share of particles from displaced vertices", drawn=False),
    Quantity("scalar_pt", "Σ pT", "GeV", log=True),
    Quantity("missing_pt", "|Σ pT| without neutrinos", "GeV", log=True, drawn=False),
    Quantity("mean_pt", "mean charged pT", "GeV", drawn=False),
    Quantity("n_jets", "jets (anti-kT 0.4, pT > 20 GeV)"),
    Quantity("jet_pt_ratio", "second jet pT / leading jet pT"),
    Quantity("jet_delta_phi", "Δφ of the leading jets", "rad"),
)
_JET_QUANTITIES = (
    Quantity("pt", "jet pT", "GeV", log=True, moments=True),
    Quantity("eta", "jet η"),
    Quantity("mass", "jet mass", "GeV", log=True),
    Quantity("n_constituents", "jet constituents", moments=True),
    Quantity("girth", "jet girth Σ pT ΔR / Σ pT", drawn=False),
    Quantity("dispersion", "jet √(Σ pT²) / Σ pT", drawn=False),
)
_EVENT_PROFILES = (
    Profile("xi", "momentum fractions of charged particles", "ln(1/x), x = 2p / E", _SPECTRUM),
    Profile("xi_neutral", "momentum fractions of neutral particles", "ln(1/x), x = 2p / E", _SPECTRUM),
    Profile("pt_charged", "transverse momenta of charged particles", "pT [GeV]", _PT, log=True),
)
_JET_FEATURES = ("pt", "eta", "mass", "n_constituents", "girth", "dispersion")
PARTS = (
    PartObservables(
        "events",
        "Events",
        _EVENT_QUANTITIES,
        _EVENT_PROFILES,
        classifiers=(
            Classifier("event", "event features", tuple(q.name for q in _EVENT_QUANTITIES), ("xi", "xi_neutral")),
        ),
    ),
    PartObservables(
        "jets",
        "Jets of particles",
        _JET_QUANTITIES,
        classifiers=(Classifier("jet", "jet features", _JET_FEATURES, headline=False),),
    ),
    COLLISIONS,
    LEADING_JET,
)


def observe(
    table: pa.Table, detector: Detector | None, settings: Validation, properties: Properties = STANDARD
) -> dict[str, ObservableTable]:
    """Tables of a shard of particles: `events`; of hadronic ones `collisions`, `jets` (three hardest of each), and
    `leading_jet`, where partons are given."""
    events = records.awkward(table)
    particles = flatten(events.particles)
    number, weight = (ak.to_numpy(events[name]) for name in ("event", "weight"))
    basic = _basics(particles, properties)
    annihilation = _annihilation(particles, len(events))
    values = {**_multiplicities(particles, basic, len(events)), **_sums(particles, basic, len(events))}
    values |= _shapes(events, particles, basic, annihilation)
    hadronic = ~annihilation & (particles.counts >= 5)
    jets, of_events = _jets(events, basic, hadronic, settings)
    found = {"events": ObservableTable(number, weight, values | of_events, _spectra(particles, basic, len(events)))}
    if hadronic.any():
        found["collisions"] = collisions(particles, basic, number, weight, hadronic)
    if jets:
        found["jets"] = _by_event(jets, number, weight)
    if jets and "partons" in events.fields:
        found["leading_jet"] = _by_event(jet_response(jets, flatten(events.partons)), number, weight)
    return found


def _by_event(columns: dict[str, NDArray], number: NDArray, weight: NDArray) -> ObservableTable:
    """A table of units in the events `row`."""
    row = columns["row"]
    return ObservableTable(number[row], weight[row], {name: v for name, v in columns.items() if name != "row"})


OBSERVABLES = RecordObservables(
    "particles", "Generated particles", ("event", "weight", "particles"), PARTS, observe, optional=("partons",)
)


def _basics(particles: FlatList, properties: Properties) -> dict[str, NDArray]:
    momenta = particles.vectors("px", "py", "pz")
    pdg = particles["pdg"]
    total = np.bincount(particles.row, particles["energy"].astype(np.float64), len(particles.counts))
    p = np.linalg.norm(momenta, axis=1)
    return {
        "momenta": momenta,
        "p": p,
        "pt": np.hypot(momenta[:, 0], momenta[:, 1]),
        "x": 2 * p / total[particles.row],
        "charge": properties.charge(pdg).astype(np.float64),
        "invisible": ~properties.visible(pdg),
        "code": np.abs(pdg),
        "total": total,
    }


def _baryon_number(pdg: NDArray) -> NDArray:
    """+1 of baryons, -1 of antibaryons: four-digit codes with three quarks."""
    code = np.abs(pdg)
    baryon = (code > 1000) & (code < 10000) & ((code // 10) % 10 > 0) & ((code // 1000) % 10 > 0)
    return np.where(baryon, np.sign(pdg), 0)


def _annihilation(particles: FlatList, events: int) -> NDArray[np.bool_]:
    """Whether events are balanced in momentum and hold no net baryon number: e+e- rather than pp or a gun."""
    sums = [np.bincount(particles.row, particles[name].astype(np.float64), events) for name in ("px", "py", "pz")]
    energy = np.bincount(particles.row, particles["energy"].astype(np.float64), events)
    baryons = np.bincount(particles.row, _baryon_number(particles["pdg"]), events)
    balanced = np.sqrt(sum(s**2 for s in sums)) < 0.02 * energy
    return balanced & (np.abs(baryons) < 0.5) & (particles.counts >= 4)


def _multiplicities(particles: FlatList, basic: dict, events: int) -> dict[str, NDArray]:
    def count(mask: NDArray) -> NDArray:
        return np.bincount(particles.row[mask], minlength=events).astype(np.float64)

    counts = {f"n_{name}": count(np.isin(basic["code"], codes)) for name, codes in SPECIES.items()}
    charged = basic["charge"] != 0
    return {"n_charged": count(charged), "n_neutral": count(~charged & ~basic["invisible"]), **counts}


def _sums(particles: FlatList, basic: dict, events: int) -> dict[str, NDArray]:
    row, code, charged = particles.row, basic["code"], basic["charge"] != 0
    energy = particles["energy"].astype(np.float64)
    total = np.where(basic["total"] > 0, basic["total"], np.nan)

    def share(mask: NDArray) -> NDArray:
        return np.bincount(row[mask], energy[mask], events) / total

    def largest(mask: NDArray) -> NDArray:
        out = np.zeros(events)
        np.maximum.at(out, row[mask], basic["x"][mask])
        return out

    visible = ~basic["invisible"]
    vector = [np.bincount(row[visible], basic["momenta"][visible, i], events) for i in (0, 1)]
    n_charged = np.bincount(row[charged], minlength=events)
    vertex = np.linalg.norm(particles.vectors("vx", "vy", "vz"), axis=1)
    return {
        "leading_x": largest(visible),
        "leading_charged_x": largest(charged),
        "charged_energy": share(charged),
        "photon_energy": share(code == 22),
        "kaon_energy": share(np.isin(code, (321, 130))),
        "baryon_energy": share(_baryon_number(particles["pdg"]) != 0),
        "displaced": np.bincount(row[vertex > 0.1], minlength=events) / np.maximum(particles.counts, 1),
        "scalar_pt": np.bincount(row, basic["pt"], events),
        "missing_pt": np.maximum(np.hypot(*vector), BALANCED),
        "mean_pt": np.bincount(row[charged], basic["pt"][charged], events) / np.where(n_charged, n_charged, np.nan),
    }


def _shapes(events: ak.Array, particles: FlatList, basic: dict, chosen: NDArray) -> dict[str, NDArray]:
    """Event shapes of the chosen events; NaN of the others."""
    names = ("thrust", "c_parameter", "heavy_mass", "light_mass", "y23", "y34", "cos_thrust", "hemisphere_charge")
    out = {name: np.full(len(events), np.nan) for name in names}
    if not chosen.any():
        return out
    mine = chosen[particles.row] & ~basic["invisible"]
    row = (np.cumsum(chosen) - 1)[particles.row[mine]]
    momenta, energy, n = basic["momenta"][mine], particles["energy"][mine].astype(np.float64), int(chosen.sum())
    starts = np.append(0, np.cumsum(np.bincount(row, minlength=n)))
    thrust = thrust_axes(np.ascontiguousarray(momenta), starts)
    heavy, light = hemispheres(momenta, energy, row, thrust[:, 1:])
    up = np.einsum("ij,ij->i", momenta, thrust[row, 1:]) > 0
    y23, y34 = durham(_momenta(momenta, energy, np.diff(starts)))
    with np.errstate(divide="ignore"):
        computed = {
            "thrust": 1 - thrust[:, 0],
            "c_parameter": c_parameter(momenta, row, n),
            "heavy_mass": heavy,
            "light_mass": light,
            "y23": -np.log(np.maximum(y23, 1e-9)),
            "y34": -np.log(np.maximum(y34, 1e-9)),
            "cos_thrust": np.abs(thrust[:, 3]),
            "hemisphere_charge": np.abs(np.bincount(row[up], basic["charge"][mine][up], n)),
        }
    for name, value in computed.items():
        out[name][chosen] = value
    return out


def _jets(events: ak.Array, basic: dict, chosen: NDArray, settings: Validation) -> tuple[dict, dict]:
    """Jets of the chosen events: values of the three hardest with the `row` of their event, and of the events."""
    of_events = {name: np.full(len(events), np.nan) for name in ("n_jets", "jet_pt_ratio", "jet_delta_phi")}
    particles = events.particles
    rows = np.flatnonzero(chosen)
    if not len(rows):
        return {}, of_events
    clustered = ak.unflatten(~basic["invisible"] & (basic["pt"] > 0), ak.num(particles))
    own = particles[clustered][rows]
    eta = np.arcsinh(own.pz / np.hypot(own.px, own.py))
    own = own[abs(eta) < 5]
    momenta = ak.zip({"px": own.px, "py": own.py, "pz": own.pz, "E": own.energy})
    momenta = ak.values_astype(ak.to_packed(momenta), np.float64)
    jets, members = anti_kt(momenta, 0.4, settings.min_jet_pt)
    girth, dispersion = substructure(momenta, jets, members)
    pt, phi = np.hypot(jets.px, jets.py), np.arctan2(jets.py, jets.px)
    of_events["n_jets"][rows] = ak.to_numpy(ak.num(jets))
    two = ak.to_numpy(ak.num(jets) >= 2)
    of_events["jet_pt_ratio"][rows[two]] = ak.to_numpy(pt[two, 1] / pt[two, 0])
    of_events["jet_delta_phi"][rows[two]] = np.abs(np.angle(np.exp(1j * ak.to_numpy(phi[two, 0] - phi[two, 1]))))
    first = ak.local_index(pt) < 3
    mass = np.sqrt(np.maximum(jets.E**2 - jets.px**2 - jets.py**2 - jets.pz**2, 0))
    columns = {"pt": pt, "eta": np.arcsinh(jets.pz / pt), "phi": phi, "mass": mass}
    columns |= {"n_constituents": ak.num(members, axis=2), "girth": girth, "dispersion": dispersion}
    values = {name: ak.to_numpy(ak.flatten(value[first])).astype(np.float64) for name, value in columns.items()}
    row = np.repeat(rows, ak.to_numpy(ak.sum(first, axis=1)))
    return ({**values, "row": row} if len(row) else {}), of_events


def _spectra(particles: FlatList, basic: dict, events: int) -> dict[str, NDArray]:
    charged = basic["charge"] != 0
    with np.errstate(divide="ignore"):
        xi = -np.log(np.maximum(basic["x"], 1e-30))

    def spectrum(mask: NDArray, values: NDArray, edges: NDArray) -> NDArray:
        return row_histograms(particles.row[mask], values[mask], edges, events)

    return {
        "xi": spectrum(charged, xi, _SPECTRUM),
        "xi_neutral": spectrum(~charged & ~basic["invisible"], xi, _SPECTRUM),
        "pt_charged": spectrum(charged, basic["pt"], _PT),
    }


def _momenta(momenta: NDArray, energy: NDArray, counts: NDArray) -> ak.Array:
    fields = {"px": momenta[:, 0], "py": momenta[:, 1], "pz": momenta[:, 2], "E": energy}
    return ak.unflatten(ak.zip(fields), counts)
