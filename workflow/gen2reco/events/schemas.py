"""The Arrow schemas of the records, one row an event; units GeV, mm, ns, radians; names EDM4hep's where it has one.

Lists are Arrow's large ones: awkward sorts no lists of 32-bit offsets.
"""

import pyarrow as pa

VERSIONS = {"particles": 2, "hits": 2, "clusters": 2, "objects": 2}
"""The version of each record that is written. Older ones are read and converted: version 1 held the momenta and
energies of `particles` as float32, in every record."""

_i8, _i16, _i32, _i64, _u64 = pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint64()
_f32, _f64 = pa.float32(), pa.float64()

SHAPES = (
    "sigma_r",
    "sigma_z",
    "eigenvalue_1",
    "eigenvalue_2",
    "eigenvalue_3",
    "axis_x",
    "axis_y",
    "axis_z",
    "energy_em",
    "energy_had",
    "first_layer",
    "last_layer",
    "shower_max",
    "n_layer_clusters",
)
"""Trackster shape variables, all float32; how each is computed stands in `cluster/tracksters.py`."""

NO_TIME = -1.0
"""ns; of hits, clusters and tracksters that have no time. Others have theirs minus |r|/c, which smearing may make
negative."""
IDENTITIES = ("photon", "electron", "muon", "charged_hadron", "neutral_hadron")
"""The kinds of particle that an object may be, in the order of the probabilities `p_…`."""


def _list(**fields: pa.DataType) -> pa.DataType:
    return _list_of(pa.struct([pa.field(name, kind, nullable=False) for name, kind in fields.items()]))


def _list_of(kind: pa.DataType) -> pa.DataType:
    return pa.large_list(pa.field("item", kind, nullable=False))


def _same(kind: pa.DataType, names: tuple[str, ...] | str) -> dict[str, pa.DataType]:
    return dict.fromkeys(names.split() if isinstance(names, str) else names, kind)


PARTICLE = _list(pdg=_i32, **_same(_f64, "px py pz energy"), **_same(_f32, "vx vy vz time"))
PARTON = _list(pdg=_i32, status=_i32, **_same(_f64, "px py pz energy mass"), color=_i32, anticolor=_i32)
TRACK = _list(**_same(_f32, "px py pz x y z"), charge=_i8, particle=_i32)
HIT = _list(cell=_u64, layer=_i16, **_same(_f32, "x y z energy time"))
CONTRIBUTION = _list(hit=_i32, particle=_i32, energy=_f32)
DEPOSIT = _list(cell=_u64, particle=_i32, energy=_f32, time=_f32)
LAYER_CLUSTER = _list(layer=_i16, **_same(_f32, "x y z energy time"), size=_i32)
TRACKSTER = _list(iteration=_i8, **_same(_f32, "energy x y z eta phi time"), **_same(_f32, SHAPES))
ASSOCIATION = _list(trackster=_i32, particle=_i32, **_same(_f32, "reco_to_sim sim_to_reco shared_energy"))
FRAGMENT = _list(iteration=_i8, trackster=_i32, energy=_f32)
"""Tracksters before linking: what each iteration found, and the trackster that it became part of."""
FRAGMENT_ASSOCIATION = _list(fragment=_i32, particle=_i32, **_same(_f32, "reco_to_sim sim_to_reco shared_energy"))
OBJECT = _list(
    pdg=_i32,
    **_same(_f32, tuple(f"p_{name}" for name in IDENTITIES)),
    **_same(_f32, "energy_raw energy energy_sigma eta phi"),
    trackster=_i32,
)
JET = _list(**_same(_f32, "pt eta phi mass"), constituents=_list_of(_i32))

_EVENT = {"event": _i64, "weight": _f64, "particles": PARTICLE}
COLUMNS: dict[str, dict[str, pa.DataType]] = {
    "particles": {"event": _i64, "weight": _f64, "partons": PARTON, "particles": PARTICLE},
    "hits": {**_EVENT, "tracks": TRACK, "hits": HIT, "contributions": CONTRIBUTION},
    "clusters": {
        **_EVENT,
        "tracks": TRACK,
        "layer_clusters": LAYER_CLUSTER,
        "hit_cluster": _list_of(_i32),
        "tracksters": TRACKSTER,
        "cluster_trackster": _list_of(_i32),
        "associations": ASSOCIATION,
    },
    "objects": {**_EVENT, "objects": OBJECT, "jets": JET, "gen_jets": JET},
}
LINKS = ("source", "library_part")
"""Optional columns that tell where an event comes from; each stage carries those of its input on (`run/draws.py`).
`source`: the original event of one that was drawn several times; `library_part`: where in the library its pile-up comes
from, by which alone events that share pile-up can be told."""
_LINKS = {"source": _i64, "library_part": _i32}
OPTIONAL: dict[str, dict[str, pa.DataType]] = {
    "particles": {"weights": _list_of(_f64)},
    "hits": {**_LINKS, "deposits": DEPOSIT, "hit_pileup": _list_of(_f32)},
    "clusters": {
        **_LINKS,
        "deposited": _list_of(_f32),
        "fragments": FRAGMENT,
        "fragment_associations": FRAGMENT_ASSOCIATION,
        "trackster_pileup": _list_of(_f32),
    },
    "objects": {
        **_LINKS,
        "out_of_range": _list_of(pa.bool_()),
        "tracks": TRACK,
        "object_track": _list_of(_i32),
        "object_particle": _list_of(_i32),
        "rho": _f32,
        **_same(_list_of(_f32), "jet_area jet_pt_corrected object_pileup"),
    },
}
SCHEMAS: dict[str, pa.Schema] = {
    record: pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])
    for record, columns in COLUMNS.items()
}
"""Required columns of each record, in order; optional ones follow them."""

INDICES: dict[str, tuple[tuple[str, str, int], ...]] = {
    "particles": (),
    "hits": (
        ("tracks.particle", "particles", 0),
        ("contributions.hit", "hits", 0),
        ("contributions.particle", "particles", 0),
        ("deposits.particle", "particles", 0),
    ),
    "clusters": (
        ("tracks.particle", "particles", 0),
        ("hit_cluster", "layer_clusters", -1),
        ("cluster_trackster", "tracksters", -1),
        ("associations.trackster", "tracksters", 0),
        ("associations.particle", "particles", 0),
        ("fragments.trackster", "tracksters", -1),
        ("fragment_associations.fragment", "fragments", 0),
        ("fragment_associations.particle", "particles", 0),
    ),
    "objects": (
        ("jets.constituents", "objects", 0),
        ("gen_jets.constituents", "particles", 0),
        ("tracks.particle", "particles", 0),
        ("object_track", "tracks", -1),
        ("object_particle", "particles", -1),
    ),
}
"""Per record: (index column, column it points into, smallest allowed value)."""

LENGTHS: dict[str, tuple[tuple[str, str], ...]] = {
    "particles": (),
    "hits": (("hit_pileup", "hits"),),
    "clusters": (
        ("cluster_trackster", "layer_clusters"),
        ("deposited", "particles"),
        ("trackster_pileup", "tracksters"),
    ),
    "objects": (
        ("out_of_range", "objects"),
        ("object_track", "objects"),
        ("object_particle", "objects"),
        ("jet_area", "jets"),
        ("jet_pt_corrected", "jets"),
        ("object_pileup", "objects"),
    ),
}
"""Per record: (list column, column whose entries it has one value each for)."""

NOT_NEGATIVE = {
    *(f"{column}.energy" for column in ("particles", "hits", "contributions", "deposits", "layer_clusters")),
    *(f"{column}.energy" for column in ("tracksters", "fragments", "objects")),
    *(f"{column}.shared_energy" for column in ("associations", "fragment_associations")),
    *("objects.energy_raw", "objects.energy_sigma", "deposited"),
    *("hit_pileup", "trackster_pileup"),
}
"""Energies, GeV; those of partons may be negative in an intermediate state."""
