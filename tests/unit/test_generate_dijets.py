"""The learned generator of dijets: what it conserves whatever its weights, its coordinates, its range, its mistakes."""

import re
from functools import partial
from pathlib import Path

import awkward as ak
import generated_events
import numpy as np
import pytest
import torch
from generated_events import decoded, numbers, sums

from gen2reco.config.process import LheProcess, Pythia8Process
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.flow.training_data import DataFiles
from gen2reco.flow.trainings import make_model
from gen2reco.generate.hadronize import dijet_decoding, dijets
from gen2reco.generate.hadronize.dataset import species_of
from gen2reco.generate.hadronize.dijet_dataset import prepare_dijets, read_dijets
from gen2reco.generate.hadronize.dijet_model import DijetHadronizer
from gen2reco.generate.hadronize.generation_recipe import GenerationRecipe, GenerationSizes
from gen2reco.generate.hadronize.generation_trainer import GenerationTrainer
from gen2reco.generate.hadronize.pair_model import Architecture
from gen2reco.generate.hadronize.species import in_drawing_order
from gen2reco.run.runner import Job, run
from gen2reco.run.stage import Chunk, make_backend

COMMON = {211: 2.0, 111: 2.0, 22: 0.5, 321: 0.4, 130: 0.3, 310: 0.3, 2212: 0.3, 2112: 0.2, 3122: 0.05, 421: 0.02}
MASS = {211: 0.13957, 111: 0.13498, 22: 0.0, 321: 0.49368, 130: 0.49761, 310: 0.49761, 2212: 0.93827, 2112: 0.93957}
MASS |= {3122: 1.11568, 421: 1.86484}
SELF = (111, 22, 130, 310)
SETTINGS = ["Beams:eCM = 14000.", "HardQCD:all = on", "PhaseSpace:pTHatMin = 30."]
DIJETS = Pythia8Process(kind="pythia8", settings=SETTINGS, mpi=False, filter={"abs_eta": (1.6, 2.8), "pt_min": 30.0})
RANGE = {"sqrt_s": [13990, 14010], "alpha_s": [0.1365, 0.1365], "parton_pt": [30, 400], "parton_abs_y": [0, 5]}
RANGE |= {"endcap_abs_eta": [1.6, 2.8]}
generate = partial(generated_events.generate, process=DIJETS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model whose networks know nothing."""
    codes = in_drawing_order([c for code in COMMON for c in ((code,) if code in SELF else (code, -code))])
    torch.manual_seed(1)
    most = [9 if COMMON[abs(c)] > 1 else 3 for c in codes for _ in range(dijets.GROUPS)]
    sizes = {"counts_width": 8, "shapes_width": 8, "width": 8, "depth": 1, "pooled": 8}
    architecture = Architecture(pdg=codes, mass=[MASS[abs(c)] for c in codes], most=most, sqrt_s=14000.0, **sizes)
    model = DijetHadronizer(architecture)
    for p in (*model.shapes.parameters(), *model.particles.parameters()):
        torch.nn.init.normal_(p, std=0.3)
    model.counts.linear[:, -1] = torch.tensor([COMMON[abs(c)] for c in codes]).repeat_interleave(dijets.GROUPS)
    return generated_events.save(model, tmp_path_factory.mktemp("model"), domain="dijet", range=RANGE)


@pytest.mark.parametrize("evaluations", [1, 2])
def test_every_event_conserves_everything(folder, evaluations):
    events, info = generate(folder, evaluations=evaluations)
    p = events.particles
    assert len(events) == 100
    np.testing.assert_array_equal(numbers(p.pdg), np.tile([2, 2, 0, 0, 0], (100, 1)))
    scalar = ak.to_numpy(ak.sum(np.hypot(p.px, p.py), axis=1))
    for name in ("px", "py"):
        assert np.all(np.abs(sums(p, name)) < 1e-6 * scalar)
    np.testing.assert_allclose(sums(p, "pz"), 0, atol=1e-6 * 14000)
    np.testing.assert_allclose(sums(p, "energy"), 14000, rtol=1e-6)
    assert info["network_evaluations"] == 2 * evaluations * 100
    assert info["events_by_pythia8"] == 0 and info["fallback_reasons"] == {}


def test_same_seed_same_bytes_and_chunks_differ(folder):
    first, again, other = (generate(folder, 20, seed)[0] for seed in (1, 1, 2))
    assert first.to_list() == again.to_list()
    assert first.particles[0].to_list() != other.particles[0].to_list()


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """Pythia8's events before the decays of long-lived particles."""
    path = tmp_path_factory.mktemp("pythia8") / "events.parquet"
    settings = [*SETTINGS, *NO_DECAYS]
    process = {**DIJETS.model_dump(mode="json"), "settings": settings}
    run(Job(make_backend("generate", "pythia8", {"process": process}), path, 3, events=range(60)))
    return path


NO_DECAYS = ["ParticleDecays:limitTau0 = on", "ParticleDecays:tau0Max = 1e-5"]
TUNES = {"soft": (0.130, 2.1), "hard": (0.140, 2.5)}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory) -> tuple[Path, list[Path]]:
    """A model in closed form of events with multiparton interactions of two tunes, and its data."""
    folder, files = tmp_path_factory.mktemp("tuned"), []
    for name, (alpha_s, pt0_ref) in TUNES.items():
        tune = [f"TimeShower:alphaSvalue = {alpha_s}", f"MultipartonInteractions:pT0Ref = {pt0_ref}"]
        process = {**DIJETS.model_dump(mode="json"), "mpi": True, "settings": [*SETTINGS, *NO_DECAYS, *tune]}
        files.append(folder / name / "generate" / "00000.parquet")
        run(Job(make_backend("generate", "pythia8", {"process": process}), files[-1], 3, events=range(60)))
    sizes = GenerationSizes(counts_width=8, shapes_width=8, shapes_depth=1, width=8, depth=1, pooled=8)
    recipe = GenerationRecipe(domain="dijet", least_per_event=1e-9, sizes=sizes)
    (model,) = make_model(GenerationTrainer, recipe, DataFiles(files), folder / "model")
    return model.folder, files


@pytest.mark.parametrize(
    ("mpi", "tune", "refused"),
    [
        (True, (0.135, 2.3), ""),
        (None, (0.130, 2.5), ""),
        (False, (0.135, 2.28), "no multiparton interactions, with which the model was trained"),
        (True, (0.135, 2.6), "pT0Ref = 2.6, expected 2.1 to 2.5 GeV"),
        (True, (0.12, 2.3), "alpha_s = 0.12, expected 0.13 to 0.14"),
    ],
)
def test_multiparton_interactions_and_their_tune_are_what_a_model_was_trained_with(tuned, mpi, tune, refused):
    settings = [f"TimeShower:alphaSvalue = {tune[0]}", f"MultipartonInteractions:pT0Ref = {tune[1]}"]
    process = {**DIJETS.model_dump(mode="json"), "mpi": mpi, "settings": [*SETTINGS, *settings]}
    backend = make_backend("generate", "ml", {"process": process, "model": str(tuned[0])})
    if refused:
        with pytest.raises(InputError, match=re.escape(refused)):
            backend.prepare()
        return
    backend.prepare()
    made = backend.run(Chunk(0, 5, 0, 10))
    events = records.awkward(made.table)
    assert made.info["events_by_pythia8"] == 0
    np.testing.assert_allclose(ak.sum(events.particles.energy, axis=1), 14000, rtol=1e-6)


def test_samples_with_and_without_multiparton_interactions_are_refused_together(tuned, reference, tmp_path):
    files = DataFiles([*tuned[1], reference])
    with pytest.raises(InputError, match=r"events\.parquet: has no multiparton interactions, other samples have"):
        make_model(GenerationTrainer, GenerationRecipe(domain="dijet"), files, tmp_path)


def test_coordinates_of_pythia8_events_round_trip(reference):
    events = read_dijets(reference)
    species = species_of([events], 1e-9)
    prepared, good = prepare_dijets(events, species)
    assert good.mean() > 0.9
    p, owner = decoded(DijetHadronizer, prepared, species)
    n = len(prepared.counts)
    differ = []
    for row, event in enumerate(np.flatnonzero(good)):
        true = np.sort(np.hypot(*events.momenta[events.event == event, :2].T))
        own = np.sort(np.hypot(*p[owner == row, :2].T))
        differ.append(np.abs(own - true).max() / true.max())
    assert np.quantile(differ, 0.8) < 1e-5
    assert np.max(differ) < 0.05
    total = np.array([p[owner == row].sum(0) for row in range(n)])
    np.testing.assert_allclose(total, np.tile([0, 0, 0, 14000], (n, 1)), atol=1e-6)


@pytest.mark.parametrize(
    ("y", "phi", "turned"),
    [(2.1, 0.1, True), (2.0, -0.3, True), (2.3, 0.2, False), (2.0, 0.4, False), (-2.0, 0.0, False), (1.0, 2.4, True)],
)
def test_what_a_jet_would_swallow_is_turned_out_of_it(y, phi, turned):
    """One jet at y = 2, azimuth 0; another at y = 1, azimuth 2.4; two that are not there."""
    axes = [(2.0, 0.0), (1.0, 2.4)]
    jets = [[30 * np.cos(f), 30 * np.sin(f), 30 * np.sinh(r), 30 * np.cosh(r)] for r, f in axes] + [[0.0] * 4] * 2
    x = torch.tensor([[abs(y), 0.5 * np.cos(phi), 0.5 * np.sin(phi)]])
    side = torch.tensor([np.sign(y)])
    (found,) = dijet_decoding.out_of_jets(x, side, torch.tensor([0]), torch.tensor([jets])).numpy()
    assert found[0] == abs(y) and np.hypot(*found[1:]) == pytest.approx(0.5)
    assert (abs(np.arctan2(found[2], found[1]) - phi) > 0.1) == turned
    for r, f in axes:
        apart = np.angle(np.exp(1j * (np.arctan2(found[2], found[1]) - f)))
        assert np.hypot(np.sign(y) * found[0] - r, apart) > dijet_decoding.SWALLOWED


@pytest.mark.parametrize(
    ("numbers", "is_baryon", "leads"),
    [
        ([1, 1, 1, 1, 1], [1, 1], [0, 3]),
        ([0, 1, 1, 1, 0], [1, 0], [1, 4]),
        ([0, 0, 1, 0, 0], [1, 1], [2, 3]),  # no baryon backward: the hardest
        ([1, -1, 0, -1, 1], [0, 1], [2, 4]),
    ],
)
def test_the_leading_particle_of_either_side_takes_its_share(numbers, is_baryon, leads):
    """Three far particles forward and two backward, which are moved far from where they were drawn."""
    x = torch.tensor([[8.0, 0.2, 0.1], [7.0, 0.1, 0.3], [6.0, -0.2, 0.2], [8.5, 0.1, -0.1], [7.5, 0.2, 0.0]]).double()
    side, event = torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0]).double(), torch.zeros(5, dtype=torch.long)
    mass, sqrt_s = torch.full((5,), 0.94).double(), torch.tensor([14000.0]).double()
    shares = torch.tensor([[0.6, 0.7]]).double()
    leading = dijet_decoding.Leading(shares, torch.tensor([is_baryon]).bool(), torch.tensor(numbers))
    p = dijet_decoding.balance(x, mass, side, event, torch.zeros(1, 4).double(), sqrt_s, leading).numpy()
    np.testing.assert_allclose(p.sum(0), [0, 0, 0, 14000], atol=1e-6)
    light = p[:, 3] + np.abs(p[:, 2])
    np.testing.assert_allclose(light[leads] / 14000, [0.6, 0.7], rtol=1e-6)
    others = [light[i] for i in range(3) if i != leads[0]]
    assert light[:3].argmax() == leads[0] and light[3:].argmax() == leads[1] - 3 and others[0] > others[1]


def test_events_that_cannot_be_balanced_are_drawn_again(folder, monkeypatch):
    balance, calls = dijet_decoding.balance, []

    def fails_once(x, mass, side, event, jets, *others):
        p = balance(x, mass, side, event, jets, *others)
        calls.append(len(jets))
        return torch.where((event == 3)[:, None], torch.nan, p) if len(calls) == 1 else p

    monkeypatch.setattr(dijet_decoding, "balance", fails_once)
    events, info = generate(folder, 20)
    assert calls == [20, 1]
    assert info["counts_drawn_again"] >= 1
    np.testing.assert_allclose(sums(events.particles, "energy"), 14000, rtol=1e-6)
    np.testing.assert_array_equal(numbers(events.particles.pdg), np.tile([2, 2, 0, 0, 0], (20, 1)))


GLUONS = """<event>
{n} 1 1.0 {pt} 0.0078 0.118
21 -1 0 0 501 502 0 0 {up} {up} 0 0 9
21 -1 0 0 503 501 0 0 -{down} {down} 0 0 9
{id} 1 1 2 {color} 504 {pt} 0 {pz1} {e1} 0 0 9
{id} 1 1 2 504 502 -{px2} 0 {pz2} {e2} 0 0 9
{more}</event>
"""


def lhe(path: Path, events: list[str], beam=7000.0) -> LheProcess:
    return generated_events.lhe(path, f"2212 2212 {beam} {beam} 0 0 247000 247000", events, mpi=False)


def gluons(pt=40.0, y=(2.0, 1.0), flavour=21, color=503, missing=0.0, more="") -> str:
    z, e = pt * np.sinh(y), pt * np.cosh(y)
    up, down = (e.sum() + z.sum()) / 2, (e.sum() - z.sum()) / 2
    own = {"pz1": z[0], "pz2": z[1], "e1": e[0], "e2": e[1], "up": up + missing, "down": down, "px2": pt}
    return GLUONS.format(n=4 + bool(more), pt=pt, id=flavour, color=color, more=more, **own)


THIRD = "21 1 1 2 0 0 0 0 0 0 0 0 9\n"


def test_lhe_events_are_showered(folder, tmp_path):
    events, info = generate(folder, 6, process=lhe(tmp_path / "gg.lhe", [gluons()] * 6), outside="refuse")
    assert info["network_evaluations"] == 12
    np.testing.assert_allclose(sums(events.particles, "energy"), 14000, rtol=1e-6)


@pytest.mark.parametrize(
    ("event", "beam", "message"),
    [
        (gluons(flavour=6), 7000.0, "gluons and quarks up to beauty"),
        (gluons(pt=20.0), 7000.0, "a hard parton of pt outside 30 to 400 GeV"),
        (gluons(y=(0.5, 0.1)), 7000.0, r"no hard parton at \|eta\| of 1.6 to 2.8"),
        (gluons(missing=5.0), 7000.0, "do not balance"),
        (gluons(color=0), 7000.0, "a parton without its colour line"),
        (gluons(more=THIRD), 7000.0, "more or fewer than two hard partons"),
    ],
)
def test_what_the_model_does_not_know_is_refused(folder, tmp_path, event, beam, message):
    process = lhe(tmp_path / "strange.lhe", [event], beam)
    with pytest.raises(InputError, match=f"event 0: .*({message})"):
        generate(folder, 1, process=process, outside="refuse")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mpi": True}, "multiparton interactions"),
        ({"mpi": None}, "multiparton interactions"),
        ({"mpi": None, "settings": [*SETTINGS, "partonlevel:mpi on"]}, "multiparton interactions"),
        ({"settings": [*SETTINGS, "SpaceShower:alphaSvalue = 0.12"]}, "SpaceShower:alphaSvalue = 0.12"),
        ({"settings": [*SETTINGS, "stringZ:ALund 0.5"]}, "StringZ:aLund = 0.5"),
        ({"settings": [*SETTINGS, "timeshower:alphasvalue 0.13"]}, "alpha_s = 0.13, expected 0.1365"),
        ({"settings": [*SETTINGS, "PDF:pSet = 7"]}, "PDF:pSet = 7"),
        ({"settings": [*SETTINGS, "Tune:pp = 5"]}, "Tune:pp = 5"),
        ({"settings": [*SETTINGS, "111:mayDecay = off"]}, "another `111` than Pythia8's"),
        ({"settings": [*SETTINGS, "421:onMode = off", "421:onIfAny = 13"]}, "another `421` than Pythia8's"),
        ({"settings": [*SETTINGS, "Beams:eCM = 13000."]}, "2212, 2212 of 6500 and 6500 GeV"),
    ],
)
@pytest.mark.parametrize("outside", [None, "refuse"])
def test_a_run_of_other_physics_than_learned_is_refused(folder, change, message, outside):
    with pytest.raises(InputError, match=f"knows no event of this run, because of .*{message}.*outside: pythia8"):
        generate(folder, 2, process=DIJETS.model_copy(update=change), outside=outside)


def test_beams_of_a_file_are_judged_before_its_events(folder, tmp_path):
    with pytest.raises(InputError, match=r"knows no event of this run.*expected two protons of 6995 to 7005 GeV"):
        generate(folder, 1, process=lhe(tmp_path / "x.lhe", [gluons()], 6500.0))


def test_or_sent_to_pythia8_and_counted(folder, tmp_path):
    process = lhe(tmp_path / "mixed.lhe", [gluons(), gluons(pt=20.0), gluons()])
    events, info = generate(folder, 3, process=process)
    assert info["events_by_pythia8"] + info["events_failed"] == 1
    assert info["network_evaluations"] == 4
    np.testing.assert_allclose(sums(events.particles, "energy"), 14000, rtol=1e-5)
