"""The arrays of the ntuple's branches, made of events of the objects record."""

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco.events.lists import flat, sizes, starts
from gen2reco.events.ntuple_branches import EMPTY, LINKS, PROBABILITIES, collections
from gen2reco.events.truth import STANDARD, Properties
from gen2reco.units import wrapped

MATCH = 0.4
"""Largest distance in (eta, phi) of a matched generator jet."""
INCOMING, INTERMEDIATE = 21, 22
_ELECTRON, _MUON, _PHOTON = 11, 13, 22
_MASS = {_ELECTRON: 0.000511, _MUON: 0.10566}
Fields = dict[str, ak.Array]


def branches(
    events: ak.Array, shard: int, columns: list[str], properties: Properties = STANDARD
) -> dict[str, ak.Array]:
    """The branches of some events of the objects record; `partons` as in the particles record, where they are known.

    columns: what the record has. properties: those of the particles.
    """
    one = np.ones(len(events), np.uint32)
    made = {
        "GenPart": _gen_particles(events),
        "GenJet": _jets(events.gen_jets),
        "Jet": _jets(events.jets) | _corrected(events) | {"genJetIdx": nearest(events.jets, events.gen_jets, MATCH)},
        "PFCand": _candidates(events),
        **({"Track": _tracks(events)} if "tracks" in columns else {}),
    }
    kinds = {"Electron": _ELECTRON, "Muon": _MUON, "Photon": _PHOTON}
    made |= {name: _of_kind(events.objects, made["PFCand"], code) for name, code in kinds.items()}
    for name in ("Electron", "Muon"):
        made["Jet"] |= _in_jets(events.jets, made[name]["jetIdx"], name.lower())
    nothing = ak.unflatten(np.zeros(0), np.zeros(len(events), np.int64))
    made |= {name: {} for name in EMPTY}
    return {
        "run": one,
        "luminosityBlock": one * np.uint32(shard + 1),
        "event": ak.to_numpy(events.event).astype(np.uint64),
        "genWeight": ak.to_numpy(events.weight),
        **{name: ak.to_numpy(events[name]) for name in LINKS if name in columns},
        **_missing(events, properties),
        **{
            name: _typed({field: (made[name].get(field, nothing), how[0]) for field, how in fields.items()})
            for name, _, fields in collections(columns)
        },
    }


def nearest(jets: ak.Array, others: ak.Array, limit: float) -> ak.Array:
    """Per jet the index of the nearest of the others in (eta, phi), −1 if none is within `limit`: (events, var) int."""
    pairs = ak.cartesian({"a": jets[["eta", "phi"]], "b": others[["eta", "phi"]]}, nested=True)
    turn = np.abs(pairs.a.phi - pairs.b.phi)
    distance = np.hypot(pairs.a.eta - pairs.b.eta, np.minimum(turn, 2 * np.pi - turn))
    index = ak.argmin(distance, axis=2)
    near = ak.fill_none(ak.min(distance, axis=2) < limit, False)
    return ak.where(near, ak.fill_none(index, -1), -1)


def _missing(events: ak.Array, properties: Properties) -> dict[str, NDArray]:
    """What the objects leave open of the transverse momentum, and the invisible particles' share: (n_events,) each."""
    pt = events.objects.energy / np.cosh(events.objects.eta)
    x, y = (-ak.to_numpy(ak.sum(pt * f(events.objects.phi), axis=1)) for f in (np.cos, np.sin))
    pdg = events.particles.pdg
    dark = ak.unflatten(~properties.visible(flat(pdg)), sizes(pdg))
    gen_x, gen_y = (ak.to_numpy(ak.sum(events.particles[name][dark], axis=1)) for name in ("px", "py"))
    found = {
        "MET_pt": np.hypot(x, y),
        "MET_phi": np.arctan2(y, x),
        "MET_sumEt": ak.to_numpy(ak.sum(pt, axis=1)),
        "GenMET_pt": np.hypot(gen_x, gen_y),
        "GenMET_phi": np.arctan2(gen_y, gen_x),
    }
    return {name: np.asarray(values + 0.0, np.float32) for name, values in found.items()}


def _gen_particles(events: ak.Array) -> Fields:
    """The partons, where they are known, and after them the particles."""
    particles = _momenta(events.particles) | {name: events.particles[name] for name in ("vx", "vy", "vz")}
    one = ak.ones_like(events.particles.pdg)
    particles |= {"pdgId": events.particles.pdg, "status": one, "genPartIdxMother": -one}
    if "partons" not in events.fields:
        return particles
    partons = events.partons
    none = ak.zeros_like(partons.px)
    hard = _momenta(partons) | {"mass": partons.mass, **dict.fromkeys(("vx", "vy", "vz"), none)}
    hard |= {"pdgId": partons.pdg, "status": partons.status, "genPartIdxMother": mothers(partons)}
    return {name: ak.concatenate([hard[name], particles[name]], axis=1) for name in particles}


def mothers(partons: ak.Array) -> ak.Array:
    """The first mother of each parton, its place among them, -1 for none: (events, var).

    Of outgoing partons it is the intermediate one, if there is one alone and its momentum is the sum of theirs to a
    thousandth of its energy, and else, as for intermediate ones, the first incoming parton.
    """
    index, status = ak.local_index(partons.status), partons.status
    incoming = ak.fill_none(ak.firsts(index[status == INCOMING]), -1)
    middle, out = partons[status == INTERMEDIATE], partons[status > INTERMEDIATE]
    apart = [
        abs(ak.sum(out[name], axis=1) - ak.sum(middle[name], axis=1)) > 1e-3 * ak.sum(middle.energy, axis=1)
        for name in ("px", "py", "pz", "energy")
    ]
    single = (ak.num(middle) == 1) & ~np.any([ak.to_numpy(one) for one in apart], axis=0)
    source = ak.where(single, ak.fill_none(ak.firsts(index[status == INTERMEDIATE]), -1), incoming)
    return ak.where(status > INTERMEDIATE, source, ak.where(status == INTERMEDIATE, incoming, -1))


def _momenta(particles: ak.Array) -> Fields:
    pt = np.hypot(particles.px, particles.py)
    energy, momentum = (ak.values_astype(particles[name], np.float64) for name in ("energy", "pz"))
    square = energy**2 - momentum**2 - ak.values_astype(pt, np.float64) ** 2
    return {
        "pt": pt,
        "eta": np.arcsinh(particles.pz / ak.where(pt > 1e-9, pt, 1e-9)),
        "phi": np.arctan2(particles.py, particles.px),
        "mass": np.sqrt(ak.where(square > 0, square, 0)),
    }


def _jets(jets: ak.Array) -> Fields:
    """The fields of jets but their constituents, of which there is the number."""
    return {name: jets[name] for name in jets.fields if name != "constituents"} | {
        "nConstituents": ak.num(jets.constituents, axis=2)
    }


def _corrected(events: ak.Array) -> Fields:
    """Area and corrected transverse momentum of the jets, where they are known."""
    known = {"area": "jet_area", "ptCorrected": "jet_pt_corrected"}
    return {branch: events[column] for branch, column in known.items() if column in events.fields}


def _in_jets(jets: ak.Array, owner: ak.Array, kind: str) -> Fields:
    """The first two of these objects in each jet, −1 for none. owner: (events, var) index of their jet."""
    pairs = ak.cartesian([ak.local_index(jets.pt), owner], nested=True)
    inside = ak.local_index(pairs, axis=2)[pairs["0"] == pairs["1"]]
    padded = ak.fill_none(ak.pad_none(inside, 2, axis=2), -1)
    return {f"{kind}Idx{n + 1}": padded[:, :, n] for n in (0, 1)}


def _candidates(events: ak.Array) -> Fields:
    objects = events.objects
    found = {
        "pt": objects.energy / np.cosh(objects.eta),
        **{name: objects[name] for name in ("eta", "phi", "energy")},
        "energyRaw": objects.energy_raw,
        "energySigma": objects.energy_sigma,
        "pdgId": objects.pdg,
        "jetIdx": _jet_of(objects, events.jets),
        "tracksterIdx": objects.trackster,
        **{branch: objects[field] for field, branch in PROBABILITIES.items()},
    }
    if "object_track" in events.fields:
        found["trackIdx"] = events.object_track
    if "object_pileup" in events.fields:
        found["pileup"] = events.object_pileup
    if "object_particle" in events.fields:
        found["genPartIdx"] = _in_gen_part(events, events.object_particle)
    return found


def _in_gen_part(events: ak.Array, particle: ak.Array) -> ak.Array:
    """Places among the particles as places in GenPart, where the partons come first; −1 stays."""
    before = ak.num(events.partons) if "partons" in events.fields else 0
    return ak.where(particle >= 0, particle + before, particle)


def _of_kind(objects: ak.Array, candidates: Fields, code: int) -> Fields:
    """The objects of this code, particle or antiparticle, by falling transverse momentum, as fields of their own."""
    place = ak.local_index(objects.pdg)[abs(objects.pdg) == code]
    place = place[ak.argsort(candidates["pt"][place], axis=1, ascending=False)]
    pdg = objects.pdg[place]
    names = {"pt", "eta", "phi", "jetIdx", "genPartIdx"} & {*candidates}
    none = -ak.ones_like(place)
    return {name: candidates[name][place] for name in names} | {
        "energyErr": candidates["energySigma"][place],
        "pfCandIdx": place,
        "mass": ak.full_like(objects.energy[place], _MASS.get(code, 0.0)),
        "charge": -np.sign(pdg),
        "pdgId": pdg,
        **dict.fromkeys(("photonIdx", "electronIdx", "fsrPhotonIdx"), none),
    }


def _tracks(events: ak.Array) -> Fields:
    """Tracks, turned back from the calorimeter's face to the beam line."""
    tracks = events.tracks
    pt = np.hypot(tracks.px, tracks.py)
    turned_back = 2 * np.arctan2(tracks.y, tracks.x) - np.arctan2(tracks.py, tracks.px)
    return {
        "pt": pt,
        "eta": np.arcsinh(tracks.pz / pt),
        "phi": wrapped(turned_back),
        **{name: tracks[name] for name in ("x", "y", "z", "charge")},
        "genPartIdx": _in_gen_part(events, tracks.particle),
    }


def _jet_of(objects: ak.Array, jets: ak.Array) -> ak.Array:
    """Per object the index of the jet that holds it, −1 if none."""
    counts = sizes(objects)
    owner = np.full(int(counts.sum()), -1, np.int32)
    at = ak.flatten(jets.constituents + starts(counts)[:-1], axis=None)
    owner[ak.to_numpy(at)] = ak.to_numpy(
        ak.flatten(ak.broadcast_arrays(ak.local_index(jets.pt), jets.constituents)[0], axis=None)
    )
    return ak.unflatten(owner, counts)


def _typed(fields: dict[str, tuple[ak.Array, str]]) -> ak.Array:
    """Values of these types zipped into one collection."""
    return ak.zip({name: ak.values_astype(values, kind) for name, (values, kind) in fields.items()}, depth_limit=2)
