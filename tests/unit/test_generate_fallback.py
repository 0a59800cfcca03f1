"""Events that a learned generator leaves to its reference are the reference's, are counted, said and not silent."""

import awkward as ak
import numpy as np
import pytest

from gen2reco.config.process import LheProcess, Pythia8Process, process_from
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.truth import charge
from gen2reco.generate.ml_hard import HardProcess, Parton
from gen2reco.run.runner import Job, run
from gen2reco.run.sidecar import read_sidecar
from gen2reco.run.stage import Chunk, Result, make_backend
from gen2reco.statistics.classifiers import two_sample_auc
from repository import FULL

LEPTONS = ["Beams:idA = 11", "Beams:idB = -11", "Beams:eCM = 91.2", "PDF:lepton = off"]
Z = Pythia8Process(kind="pythia8", settings=[*LEPTONS, "WeakSingleBoson:ffbar2gmZ = on"])
TO_LEPTONS = Z.model_copy(update={"settings": [*Z.settings, "23:onMode = off", "23:onIfAny = 11 13 15"]})
PROTONS = ["Beams:eCM = 14000.", "HardQCD:all = on", "PhaseSpace:pTHatMin = 30."]
MANY = Pythia8Process(kind="pythia8", settings=PROTONS, filter={"abs_eta": (1.6, 2.8), "pt_min": 30.0})
FEW = MANY.model_copy(update={"mpi": False})
FAILING = TO_LEPTONS.model_copy(update={"settings": [*TO_LEPTONS.settings, "Check:epTolErr = 1e-20"]})
TOPS = MANY.model_copy(update={"settings": ["Beams:eCM = 14000.", "Top:gg2ttbar = on"], "filter": None})
DIJETS = {"model": "pp_dijet_endcap", "outside": "pythia8"}


def made(name: str, process: Pythia8Process | LheProcess, events: int, seed: int = 7, **options) -> Result:
    backend = make_backend("generate", name, {"process": process.model_dump(mode="json"), **options})
    backend.prepare()
    return backend.run(Chunk(0, seed, 0, events))


@pytest.mark.parametrize(
    ("process", "options", "reason"),
    [
        (FEW, DIJETS, "no multiparton interactions, with which the model was trained"),
        (MANY, {**DIJETS, "alpha_s": 0.12}, "alpha_s = 0.12, expected 0.1265 to 0.1465"),
        (TO_LEPTONS, {"outside": "pythia8"}, "hard partons other than a quark and its antiquark (u, d, s, c, b)"),
        (TO_LEPTONS, {}, "hard partons other than a quark and its antiquark (u, d, s, c, b)"),
        (TOPS, DIJETS, "more or fewer than two hard partons"),
        (FAILING, {}, "hard partons other than a quark and its antiquark (u, d, s, c, b)"),
    ],
)
def test_where_no_event_is_known_all_are_the_references_byte_by_byte(process, options, reason):
    more = [f"TimeShower:alphaSvalue = {options['alpha_s']}"] if "alpha_s" in options else []
    reference = made("pythia8", process.model_copy(update={"settings": [*process.settings, *more]}), 12)
    fallen = made("ml", process, 12, **options)
    assert fallen.table.equals(reference.table)
    assert {key: fallen.info[key] for key in reference.info} == reference.info
    assert fallen.info["fallback_reasons"] == {reason: {"count": 12}} and fallen.info["network_evaluations"] == 0


def hard(event: ak.Record) -> HardProcess:
    return tuple(Parton(*(parton[name] for name in Parton._fields)) for parton in event.partons.to_list())


def test_each_event_of_a_mixed_run_has_the_particles_of_its_own_hard_process():
    result = made("ml", Z, 300)
    events, reference = records.awkward(result.table), made("pythia8", Z, 300)
    (reason,) = result.info["fallback_reasons"]
    quarks = ak.to_numpy(ak.any((events.partons.status == 23) & (abs(events.partons.pdg) <= 5), axis=1))
    assert result.info["fallback_reasons"] == {reason: {"count": int((~quarks).sum())}} and 50 < quarks.sum() < 250
    assert result.info["network_evaluations"] == 2 * quarks.sum()
    assert ak.to_list(events.event) == list(range(300))
    np.testing.assert_allclose(ak.sum(events.particles.energy, axis=1), 91.2, rtol=1e-5)
    many = ak.to_numpy(ak.num(events.particles))
    assert many[~quarks].max() < 20 and many[quarks].min() > many[~quarks].mean()
    for name in ("cross_section_pb", "sum_of_weights", "sqrt_s"):
        assert result.info[name] == pytest.approx(reference.info[name], rel=1e-6)


def test_hard_processes_come_out_in_the_frame_of_the_beams():
    settings = [line for line in TO_LEPTONS.settings if "eCM" not in line and "23:" not in line]
    settings += ["Beams:frameType = 2", "Beams:eA = 60.", "Beams:eB = 34.656"]
    events = records.awkward(made("ml", Z.model_copy(update={"settings": settings}), 60).table)
    out = events.partons[events.partons.status == 23]
    for partons in (out, events.particles):
        np.testing.assert_allclose(ak.sum(partons.pz, axis=1), 60 - 34.656, atol=1e-4)
        np.testing.assert_allclose(ak.sum(partons.energy, axis=1), 60 + 34.656, rtol=1e-6)


def test_the_cross_section_counts_events_that_are_stopped_behind_the_hard_process():
    process = MANY.model_copy(update={"filter": None})
    mixed = made("ml", process, 400, **DIJETS).info
    reference = made("pythia8", process, 400, seed=8).info
    assert 0 < mixed["events_by_pythia8"] < 400
    error = np.hypot(mixed["cross_section_error_pb"], reference["cross_section_error_pb"])
    assert abs(mixed["cross_section_pb"] - reference["cross_section_pb"]) < 4 * error
    assert error < 0.1 * reference["cross_section_pb"]


def test_events_keep_the_weight_of_their_hard_process():
    settings = [*MANY.settings, "PhaseSpace:bias2Selection = on", "PhaseSpace:bias2SelectionRef = 30."]
    table = made("ml", MANY.model_copy(update={"settings": settings}), 40, **DIJETS).table
    out = records.awkward(table).partons
    out = out[out.status == 23]
    pt = ak.to_numpy(np.hypot(out.px, out.py)[:, 0])
    np.testing.assert_allclose(table["weight"].to_numpy() * (pt / 30) ** 4, 1, rtol=1e-3)


def test_a_filter_of_pythia8s_own_beside_ours():
    names = {"filter": "on", "mothers": "23", "daughters": "5 13"}
    lines = [f"ResonanceDecayFilter:{name} = {value}" for name, value in names.items()]
    process = Z.model_copy(update={"settings": [*Z.settings, *lines]})
    mixed, reference = (made(name, process, 30) for name in ("ml", "pythia8"))
    assert set(mixed.info["fallback_reasons"]) <= {"hard partons other than a quark and its antiquark (u, d, s, c, b)"}
    assert mixed.info["cross_section_pb"] == pytest.approx(reference.info["cross_section_pb"])


def observables(particles: ak.Array) -> np.ndarray:
    """Of each event: particles, charged ones, pions, photons; energy and scalar pt of the endcaps and in between."""
    pdg, energy = abs(particles.pdg), particles.energy
    pt = np.hypot(particles.px, particles.py)
    eta = abs(np.arcsinh(particles.pz / np.maximum(pt, 1e-9)))
    charged = ak.unflatten(charge(ak.to_numpy(ak.flatten(particles.pdg))) != 0, ak.num(pdg))
    endcap, barrel = (eta > 1.5) & (eta < 3), eta < 1.5
    columns = [charged, pdg == 211, pdg == 22, energy * endcap, energy * barrel, pt * endcap, pt * barrel]
    return np.stack([ak.to_numpy(ak.num(pdg)), *(ak.to_numpy(ak.sum(column, axis=1)) for column in columns)], 1)


def test_fallback_events_of_a_mixed_run_cannot_be_told_from_the_references():
    """A classifier between fallback events and those of the reference that the model would not have known either."""
    process, events = MANY.model_copy(update={"filter": None}), 4000 if FULL else 500
    backend = make_backend("generate", "ml", {"process": process.model_dump(mode="json"), **DIJETS})
    backend.prepare()
    tables = [backend.run(Chunk(0, 11, 0, events)).table, made("pythia8", process, 2 * events, seed=12).table]
    values = []
    for table in map(records.awkward, tables):
        unknown = np.array([backend._domain.unknown(hard(event)) is not None for event in table])
        values.append(observables(table.particles[unknown]))
    fallen, reference = values
    auc, n = two_sample_auc(reference, fallen, *map(np.arange, map(len, (reference, fallen))), most=events, seed=1)
    assert n > 0.4 * events
    assert abs(auc.value - 0.5) < 3 * auc.uncertainty


PAIR = """<event>
5 {process} {weight} {scale} 0.0078 0.118
11 -1 0 0 0 0 0 0 45.6 45.6 0 0 1
-11 -1 0 0 0 0 0 0 -45.6 45.6 0 0 -1
23 2 1 2 0 0 0 0 0 91.2 91.2 0 9
{id} 1 3 3 {colour} 0 45.6 0 0 45.6 0 0 1
-{id} 1 3 3 0 {colour} -45.6 0 0 45.6 0 0 -1
<rwgt><wgt id='up'> {up} </wgt></rwgt>
</event>
"""


def pair(code: int, weight: float, scale: float = 91.2, process: int = 1) -> str:
    colour = 501 if code < 7 else 0
    return PAIR.format(id=code, weight=weight, scale=scale, process=process, colour=colour, up=2 * weight)


def lhe_file(path, events: list[str], strategy: int = -4) -> LheProcess:
    header = "<header><initrwgt><weight id='up'>up</weight></initrwgt></header>"
    init = f"<init>\n11 -11 45.6 45.6 0 0 0 0 {strategy} 2\n1. 0.1 9. 1\n2. 0.1 9. 7\n</init>"
    path.write_text(f'<LesHouchesEvents version="3.0">\n{header}\n{init}\n{"".join(events)}</LesHouchesEvents>\n')
    return LheProcess(kind="lhe", file=str(path))


MUONS = [pair(13, -3.0, 10.0 + i, 7) for i in range(4)]


@pytest.mark.parametrize("strategy", [-4, 3, -3, 4, 2])
def test_events_of_a_file_that_are_not_known_are_those_of_the_backend_lhe(tmp_path, strategy):
    """Also in a mixed run: with the scale, weight, process, spins and resonances that stand in the file."""
    quarks = [pair(code, 5.0) for code in (1, 2, 3)]
    mixed = lhe_file(tmp_path / "mixed.lhe", [MUONS[0], quarks[0], *MUONS[1:3], *quarks[1:], MUONS[3]], strategy)
    alone = lhe_file(tmp_path / "alone.lhe", MUONS, strategy)
    fallen, reference, whole = made("ml", mixed, 7), made("lhe", alone, 4), made("lhe", mixed, 7)
    table = fallen.table
    assert table.select(["event", "weight", "weights"]).equals(whole.table.select(["event", "weight", "weights"]))
    for column in ("partons", "particles"):
        assert table.take([0, 2, 3, 6])[column].combine_chunks().equals(reference.table[column].combine_chunks())
    assert ak.to_list(ak.num(records.awkward(table).partons)) == [5] * 7
    for name in whole.info:
        assert fallen.info[name] == whole.info[name], name
    assert fallen.info["events_by_pythia8"] == 4


def test_a_file_of_nothing_but_unknown_events_is_refused_or_the_references(tmp_path):
    process = lhe_file(tmp_path / "muons.lhe", MUONS)
    given = {"process": process.model_dump(mode="json")}
    with pytest.raises(InputError, match="none of 4 events, because of hard partons other than"):
        run(Job(make_backend("generate", "ml", given), tmp_path / "x.parquet", 1, events=range(4)))
    assert made("ml", process, 4, outside="pythia8").table.equals(made("lhe", process, 4).table)


@pytest.mark.parametrize("case", ["ml_idwtup_m4", "ml_plain3"])
def test_weights_and_cross_sections_of_a_file_are_as_the_backend_lhe_has_them(repository, case):
    process = process_from(repository / f"tests/data/cases/lhe/{case}.lhe")
    learned, whole = made("ml", process, 6), made("lhe", process, 6)
    assert learned.info["network_evaluations"] == 12 and learned.info["weight_names"] == ["Weight", "up"]
    assert learned.table.select(["weight", "weights"]).equals(whole.table.select(["weight", "weights"]))
    assert {name: learned.info[name] for name in whole.info} == whole.info


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (["Beams:idA = 11", "Beams:idB = -11", "Beams:eCM = 91.2", "WeakSingleBoson:ffbar2gmZ = on"], "ee_qq_91"),
        (["Beams:idA = -11", "Beams:idB = 11", "Beams:eCM = 91.2", "WeakSingleBoson:ffbar2gmZ = on"], "ee_qq_91"),
        (["Beams:eCM = 14000.", "HardQCD:all = on"], "pp_dijet_endcap"),
        (["Beams:idB = -2212", "Beams:eCM = 1960.", "HardQCD:all = on"], None),
        (["Beams:eCM = 14000.", "SoftQCD:inelastic = on"], "pp_minbias"),
        (["Beams:idB = -2212", "Beams:eCM = 1960.", "SoftQCD:inelastic = on"], None),
    ],
)
def test_the_shipped_model_of_the_beams_is_taken_where_none_is_named(settings, name):
    process = {"kind": "pythia8", "settings": settings}
    if name is None:
        with pytest.raises(
            InputError, match=r"no model ships for (soft collisions of )?beams 2212, -2212; give one by `model`"
        ):
            make_backend("generate", "ml", {"process": process})
        return
    named, left_out = (make_backend("generate", "ml", {"process": process, **m}) for m in ({"model": name}, {}))
    assert named.model_digest == left_out.model_digest


@pytest.mark.parametrize(
    ("process", "options", "problem"),
    [
        (FEW, {"model": "pp_dijet_endcap"}, "no event of this run, because of no multiparton interactions"),
        (TOPS, {"model": "pp_dijet_endcap"}, "none of 5 events, because of more or fewer than two"),
        (TO_LEPTONS, {}, "none of 5 events, because of hard partons other than a quark"),
        (MANY, {"model": "ee_qq_91"}, r"no event of this run, because of beams of hadrons \(2212, 2212\)"),
    ],
)
def test_a_run_of_nothing_but_fallback_events_is_refused_unless_asked_for(tmp_path, process, options, problem):
    given, output = {"process": process.model_dump(mode="json")}, tmp_path / "x.parquet"
    with pytest.raises(InputError, match=f"{problem}.*set `outside: pythia8`"):
        run(Job(make_backend("generate", "ml", given | options), output, 1, events=range(5)))
    assert list(tmp_path.iterdir()) == []
    backend = make_backend("generate", "ml", given | options | {"outside": "pythia8"})
    run(Job(backend, output, 1, events=range(5)))
    facts = read_sidecar(output)
    (line,) = backend.notices(facts)
    assert line.startswith("generate ml: 5 of 5 events by Pythia8, because of ")
    assert records.read(output, "particles").num_rows == facts["events_by_pythia8"] == 5


def test_single_events_fall_back_without_being_asked_for_and_are_said(tmp_path):
    backend = make_backend("generate", "ml", {"process": Z.model_dump(mode="json")})
    run(Job(backend, tmp_path / "x.parquet", 1, events=range(40), chunk_events=15))
    facts = read_sidecar(tmp_path / "x.parquet")
    fallen = facts["events_by_pythia8"]
    assert 0 < fallen < 40 and sum(one["count"] for one in facts["fallback_reasons"].values()) == fallen
    assert backend.notices(facts)[0].startswith(f"generate ml: {fallen} of 40 events by Pythia8, because of hard")


def test_the_process_of_the_release_is_the_models_own():
    result = made("ml", process_from("configs/processes/ee_qq_91.yaml"), 50)
    assert result.info["fallback_reasons"] == {} and result.info["events_by_pythia8"] == 0
