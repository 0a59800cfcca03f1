"""The branches of the ntuple: type and meaning with unit of each; names are those of NanoAOD where it has one."""

from collections.abc import Collection, Iterator

from gen2reco.events.schemas import IDENTITIES

Branches = dict[str, tuple[str, str]]
"""Name → (type, meaning)."""


def _p4(of: str = "") -> Branches:
    return {
        "pt": ("float32", f"transverse momentum{of}, GeV"),
        "eta": ("float32", f"pseudorapidity{of}"),
        "phi": ("float32", f"azimuth{of}, radians"),
        "mass": ("float32", f"mass{of}, GeV"),
    }


def _index(into: str, of: str = "") -> tuple[str, str]:
    return "int32", f"{of}{', ' if of else ''}index into {into}, -1 for none"


_GEN_PART = _index("GenPart", "the particle of most energy in it")
_OBJECT = {
    **{name: kind for name, kind in _p4(" at the origin").items() if name != "mass"},
    "energyErr": ("float32", "uncertainty of the energy, GeV"),
    "jetIdx": _index("Jet", "the jet that holds it"),
    "genPartIdx": _GEN_PART,
    "pfCandIdx": ("int32", "the same object: index into PFCand"),
}
_CHARGED = {
    **_OBJECT,
    "mass": ("float32", "mass, GeV"),
    "charge": ("int32", "electric charge, e"),
    "pdgId": ("int32", "PDG code"),
}
PROBABILITIES = {f"p_{name}": "p" + name.title().replace("_", "") for name in IDENTITIES}
"""Field of an object in the record → branch."""

EVENT: Branches = {
    "run": ("uint32", "number of the run, always 1"),
    "luminosityBlock": ("uint32", "number of the shard, counted from 1"),
    "event": ("uint64", "number of the event, unique in the sample"),
    "genWeight": ("float64", "weight; in pb: genWeight * crossSection / sum of genEventSumw (tree Runs)"),
    "MET_pt": ("float32", "missing transverse momentum, GeV: of the objects, which the calorimeters' range bounds"),
    "MET_phi": ("float32", "azimuth of the missing transverse momentum, radians"),
    "MET_sumEt": ("float32", "sum of the objects' transverse energies, GeV"),
    "GenMET_pt": ("float32", "transverse momentum of the invisible particles (neutrinos and the like), GeV"),
    "GenMET_phi": ("float32", "azimuth of the transverse momentum of the invisible particles, radians"),
}
LINKS: Branches = {
    "source": ("int64", "number of the original event, where each was drawn several times"),
    "library_part": ("int32", "part of the library that the pile-up comes from: events of different parts share none"),
    "rho": ("float32", "median density of transverse momentum, GeV per unit of eta and phi"),
}
"""Branches of events that are written where the record has the column."""
_COLLECTIONS: dict[str, tuple[str, Branches]] = {
    "GenPart": (
        "partons of the hard process, then the stable particles",
        {
            **_p4(),
            **{name: ("float32", f"production vertex, {name[1]}, mm (0 for partons)") for name in ("vx", "vy", "vz")},
            "pdgId": ("int32", "PDG code"),
            "status": ("int32", "1: stable; of partons 21 incoming, 22 intermediate, 23 and above outgoing"),
            "genPartIdxMother": ("int16", "first mother of a parton, index into GenPart; -1 where there is none or "
                                 "the record does not hold it, as for stable particles"),
        },
    ),
    "GenJet": (
        "anti-kt jets, R = 0.4, of the visible stable particles above 5 GeV",
        {**_p4(), "nConstituents": ("int32", "particles in the jet")},
    ),
    "Jet": (
        "calibrated anti-kt jets, R = 0.4, of the objects (PFCand) above 5 GeV",
        {
            **_p4(),
            "area": ("float32", "active area in (eta, phi)"),
            "ptCorrected": ("float32", "transverse momentum without the pile-up of the median density, GeV"),
            "nConstituents": ("int32", "objects in the jet"),
            "genJetIdx": _index("GenJet", "nearest in (eta, phi), within 0.4"),
            **{f"{kind}Idx{n}": _index(kind.title(), f"{kind} {n} in the jet, by falling pt")
               for kind in ("electron", "muon") for n in (1, 2)},
        },
    ),
    "PFCand": (
        "all reconstructed objects: calibrated showers and tracks",
        {
            **{name: kind for name, kind in _p4(" at the origin").items() if name != "mass"},
            "energy": ("float32", "calibrated energy, GeV"),
            "energyRaw": ("float32", "sum of its layer clusters before calibration, GeV"),
            "energySigma": ("float32", "uncertainty of the calibrated energy, GeV"),
            "pdgId": ("int32", "PDG code of the most probable identity"),
            "jetIdx": _index("Jet", "the jet that holds it"),
            "tracksterIdx": ("int32", "leading trackster, its place in the clusters record, -1 for none"),
            "pileup": ("float32", "share of pile-up in the energy of its tracksters"),
            "genPartIdx": _GEN_PART,
            "trackIdx": _index("Track", "its track"),
            **{branch: ("float32", f"probability that it is a {field[2:].replace('_', ' ')}")
               for field, branch in PROBABILITIES.items()},
        },
    ),
    "Track": (
        "parametric tracks of charged particles that reach the calorimeter",
        {
            **{name: kind for name, kind in _p4(" at the beam line").items() if name != "mass"},
            "charge": ("int32", "electric charge, e"),
            **{name: ("float32", f"{name} on the calorimeter's front face, mm") for name in "xyz"},
            "genPartIdx": _index("GenPart", "its particle"),
        },
    ),
    "Electron": ("objects whose most probable identity is electron, by falling pt",
                 {**_CHARGED, "photonIdx": _index("Photon", "never one")}),
    "Muon": ("objects whose most probable identity is muon, by falling pt",
             {**_CHARGED, "fsrPhotonIdx": _index("FsrPhoton", "never one")}),
    "Photon": ("objects whose most probable identity is photon, by falling pt",
               {**_OBJECT, "electronIdx": _index("Electron", "never one")}),
}  # fmt: skip
EMPTY: dict[str, tuple[str, ...]] = {
    "LowPtElectron": ("electronIdx", "genPartIdx", "photonIdx"),
    "FatJet": ("genJetAK8Idx", "subJetIdx1", "subJetIdx2"),
    "SubJet": (),
    "GenJetAK8": (),
    "FsrPhoton": ("muonIdx",),
    "GenVisTau": ("genPartIdxMother",),
    "Tau": ("genPartIdx", "jetIdx"),
}
"""Collections that readers of NanoAOD look for and that are not made here, with their indices: always empty."""
for _name, _indices in EMPTY.items():
    _COLLECTIONS[_name] = (
        f"{_name} is not reconstructed: always empty",
        {**_p4(), **dict.fromkeys(_indices, ("int32", "index; the collection is always empty"))},
    )
del _COLLECTIONS["FsrPhoton"][1]["mass"]

RUNS: Branches = {
    "run": ("uint32", "number of the run, always 1"),
    "genEventCount": ("int64", "generated events of this file; 0 where its shard failed and holds none"),
    "genEventSumw": ("float64", "sum of the weights of the generated events"),
    "genEventSumw2": ("float64", "sum of the squared weights of the generated events; NaN: not known"),
    "crossSection": ("float64", "cross section after the filter, pb; 0: not known. Of several files: their mean, "
                     "weighted by genEventCount"),
    "crossSectionError": ("float64", "its uncertainty, pb"),
    "filterEfficiency": ("float64", "share of the hard processes that pass the generator's filter"),
    "sqrtS": ("float64", "energy of the collisions in their centre of mass, GeV; 0: not known"),
}  # fmt: skip
"""Branches of the tree `Runs`, one entry a file."""

_NEEDS = {
    "Jet_area": "jet_area",
    "Jet_ptCorrected": "jet_pt_corrected",
    "PFCand_pileup": "object_pileup",
    "PFCand_genPartIdx": "object_particle",
    "PFCand_trackIdx": "object_track",
    "Electron_genPartIdx": "object_particle",
    "Muon_genPartIdx": "object_particle",
    "Photon_genPartIdx": "object_particle",
}
"""Branches that are written only where the record has this column; `Track` where it has `tracks`."""


def collections(columns: Collection[str]) -> Iterator[tuple[str, str, Branches]]:
    """(name, meaning, branches) of the collections that a record with these columns fills."""
    for name, (meaning, fields) in _COLLECTIONS.items():
        if name != "Track" or "tracks" in columns:
            found = {field: how for field, how in fields.items() if _NEEDS.get(f"{name}_{field}") in (None, *columns)}
            yield name, meaning, found


def event_branches(columns: Collection[str]) -> Branches:
    """The branches of events, not of collections."""
    return EVENT | {name: how for name, how in LINKS.items() if name in columns}


def types(columns: Collection[str]) -> dict[str, str]:
    """Branch or collection → its type as awkward writes it."""
    each = {name: ", ".join(f"{field}: {how[0]}" for field, how in fields.items())
            for name, _, fields in collections(columns)}  # fmt: skip
    return {name: how[0] for name, how in event_branches(columns).items()} | {
        name: f"var * {{{each[name]}}}" for name in each
    }


def titles(columns: Collection[str]) -> dict[str, str]:
    """Branch → its meaning; that of a collection stands at its counter."""
    found = {name: how[1] for name, how in event_branches(columns).items()}
    for name, meaning, fields in collections(columns):
        found |= {f"n{name}": meaning} | {f"{name}_{field}": how[1] for field, how in fields.items()}
    return found
