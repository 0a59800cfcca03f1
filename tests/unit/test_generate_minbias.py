"""The learned generator of minimum bias: what it conserves, its activities, its range, its beam spot, its mistakes."""

import re
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import torch
from generated_events import decoded, numbers, sums

from gen2reco.config.process import Pythia8Process
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.flow.training_data import DataFiles
from gen2reco.flow.trainings import make_model
from gen2reco.generate import pythia_engine
from gen2reco.generate.hadronize.dataset import species_of
from gen2reco.generate.hadronize.dijets import GROUPS, LEAST_LEFT, leading
from gen2reco.generate.hadronize.generation_recipe import GenerationRecipe, GenerationSizes
from gen2reco.generate.hadronize.generation_trainer import GenerationTrainer
from gen2reco.generate.hadronize.minbias import ACTIVITY, activity, prepare_minimum_bias, read_minimum_bias
from gen2reco.generate.hadronize.minbias_model import MinbiasHadronizer
from gen2reco.generate.hadronize.pair_model import Architecture
from gen2reco.generate.hadronize.species import in_drawing_order
from gen2reco.generate.ml_vertices import VertexSpread
from gen2reco.run.runner import Job, run
from gen2reco.run.stage import Chunk, make_backend

SETTINGS = ["Beams:eCM = 14000.", "SoftQCD:inelastic = on"]
NO_DECAYS = ["ParticleDecays:limitTau0 = on", "ParticleDecays:tau0Max = 1e-5"]
SIZES = GenerationSizes(counts_width=8, shapes_width=8, shapes_depth=1, width=8, depth=1, pooled=8)
RECIPE = GenerationRecipe(domain="minimum_bias", least_per_event=1e-9, sizes=SIZES)
TUNES = {"usual": (0.1365, 2.28), "more": (0.1465, 2.08)}


def made(path: Path, settings: list[str], events: int = 80, **process) -> Path:
    """Pythia8's events of these settings in a file."""
    full = {"kind": "pythia8", "settings": [*settings, *NO_DECAYS], **process}
    run(Job(make_backend("generate", "pythia8", {"process": full}), path, 3, events=range(events)))
    return path


def tune_of(alpha_s: float, pt0_ref: float) -> list[str]:
    return [f"TimeShower:alphaSvalue = {alpha_s}", f"MultipartonInteractions:pT0Ref = {pt0_ref}"]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    """Events of two tunes before the decays of long-lived particles."""
    folder = tmp_path_factory.mktemp("pythia8")
    return [
        made(folder / name / "generate" / "00000.parquet", [*SETTINGS, *tune_of(*tune)]) for name, tune in TUNES.items()
    ]


@pytest.fixture(scope="module")
def folder(files, tmp_path_factory) -> Path:
    """A model in closed form."""
    (model,) = make_model(GenerationTrainer, RECIPE, DataFiles(files), tmp_path_factory.mktemp("model"))
    return model.folder


def architecture(pdg: list[int], mass: list[float], most: list[int]) -> Architecture:
    sizes = SIZES.model_dump()
    return Architecture(pdg=pdg, mass=mass, most=most, sqrt_s=14000.0, tuned=True, **sizes)


def backend(folder: Path, settings: list[str], mpi: bool | None = None, **options):
    process = Pythia8Process(kind="pythia8", settings=settings, mpi=mpi).model_dump(mode="json")
    return make_backend("generate", "ml", {"process": process, "model": str(folder), **options})


def events_of(folder: Path, settings: list[str], n: int = 60, seed: int = 5):
    generator = backend(folder, settings, outside="refuse")
    generator.prepare()
    result = generator.run(Chunk(0, seed, 0, n))
    return records.awkward(result.table), result.info


def test_every_event_conserves_everything(folder):
    events, info = events_of(folder, SETTINGS)
    p = events.particles
    np.testing.assert_array_equal(numbers(p.pdg), np.tile([2, 2, 0, 0, 0], (60, 1)))
    scalar = ak.to_numpy(ak.sum(np.hypot(p.px, p.py), axis=1))
    for name in ("px", "py"):
        assert np.all(np.abs(sums(p, name)) < 1e-6 * scalar + 1e-6)
    np.testing.assert_allclose(sums(p, "pz"), 0, atol=1e-6 * 14000)
    np.testing.assert_allclose(sums(p, "energy"), 14000, rtol=1e-6)
    assert info["events_by_pythia8"] == 0 and ak.all(ak.num(events.partons) == 0)
    assert info["cross_section_pb"] == pytest.approx(7.9e10, rel=0.03)


def test_same_seed_same_bytes_and_chunks_differ(folder):
    first, again, other = (events_of(folder, SETTINGS, 10, seed)[0].to_list() for seed in (1, 1, 2))
    assert first == again and first != other


def test_more_interactions_give_more_particles(folder):
    many = [ak.mean(ak.num(events_of(folder, [*SETTINGS, *tune_of(*t)], 400)[0].particles)) for t in TUNES.values()]
    assert many[1] > 1.03 * many[0]


def test_coordinates_of_pythia8_events_round_trip(files):
    events = read_minimum_bias(files[0])
    species = species_of([events], 1e-9)
    prepared, good = prepare_minimum_bias(events, species)
    assert good.mean() > 0.9
    p, owner = decoded(MinbiasHadronizer, prepared, species)
    for row, event in enumerate(np.flatnonzero(good)):
        true, own = (np.sort(np.hypot(*m[:, :2].T)) for m in (events.momenta[events.event == event], p[owner == row]))
        np.testing.assert_allclose(own, true, atol=1e-4 * true.max())


@pytest.mark.parametrize(
    ("pz", "baryon", "expected"),
    [
        ([6999.9999, -1.0, -2.0, -6997.0], [1, 1, 1, 0], [1, 3, 1, LEAST_LEFT, 3 / 7000, 1, -1]),
        ([3500.1, 3499.9, -0.5, -6999.0], [0, 1, 0, 1], [2, 2, 1, 0.5, 1 / 7000, -1, 1]),
    ],
)
def test_activities_of_events_by_hand(pz, baryon, expected):
    p = np.column_stack([np.full(len(pz), 0.3), np.zeros(len(pz)), pz])
    event = np.zeros(len(pz), int)
    (found,) = activity(p, np.zeros(len(pz)), event, 1)
    forward, backward, central, *shares, first, second = expected
    np.testing.assert_allclose(np.expm1(found[:3]), [forward, backward, central], rtol=1e-5)
    np.testing.assert_allclose(np.expm1(found[3]), 0.3 * len(pz), rtol=1e-5)
    rng = np.random.default_rng(1)
    (found,) = leading(p, np.zeros(len(pz)), np.array(baryon, bool), event, np.array([14000.0]), rng)
    np.testing.assert_allclose(np.exp(found[:2]), [shares[0], shares[1] + LEAST_LEFT], rtol=0.05)
    assert (np.sign(found[2:]) == [first, second]).all() and np.abs(found[2:]).max() < 1


def test_activities_are_those_of_the_data_moved_with_the_tune():
    codes = in_drawing_order([211, -211, 111, 22, 2212, -2212, 2112, -2112])
    model = MinbiasHadronizer(architecture(codes, [0.1] * len(codes), [3] * len(codes) * GROUPS))
    noise = torch.Generator().manual_seed(2)
    tune = torch.tensor([[0.0, 0.0]] * 3000 + [[1.0, -1.0]] * 1000 + [[-1.0, -1.0]] * 1000)
    base = torch.randn(len(tune), len(ACTIVITY), generator=noise)
    model.fit_range(torch.cat([base + tune @ torch.tensor([[0.2] * len(ACTIVITY), [-0.5] * len(ACTIVITY)]), tune], 1))
    for chosen in ([0.0, 0.0], [0.5, -0.5]):
        known = model.draw_known(torch.tensor([chosen] * 20000), noise)
        expected = 0.2 * chosen[0] - 0.5 * chosen[1]
        np.testing.assert_allclose(known[:, : len(ACTIVITY)].mean(0), np.full(len(ACTIVITY), expected), atol=0.1)
        np.testing.assert_allclose(known[:, : len(ACTIVITY)].std(0), np.ones(len(ACTIVITY)), atol=0.05)


@pytest.mark.parametrize(
    ("settings", "mpi", "message"),
    [
        (
            ["Beams:eCM = 14000.", "SoftQCD:nonDiffractive = on"],
            None,
            "SoftQCD:nonDiffractive, expected SoftQCD:inelas",
        ),
        (["Beams:eCM = 13000.", "SoftQCD:inelastic = on"], None, "two protons of 6993 to 7007 GeV each"),
        ([*SETTINGS, "MultipartonInteractions:pT0Ref = 2.4"], None, "pT0Ref = 2.4, expected 2.08 to 2.28 GeV"),
        ([*SETTINGS, "ColourReconnection:mode = 1"], None, "setting `ColourReconnection:mode = 1`"),
        (
            ["Beams:eCM = 14000.", "HardQCD:all = on", "PhaseSpace:pTHatMin = 30."],
            True,
            "HardQCD:all, expected Soft",
        ),
    ],
)
def test_a_run_of_other_physics_than_learned_is_refused(folder, settings, mpi, message):
    with pytest.raises(InputError, match=re.escape(message)):
        backend(folder, settings, mpi).prepare()


@pytest.mark.parametrize(
    ("settings", "process"),
    [
        (["Beams:eCM = 14000.", "SoftQCD:nonDiffractive = on"], {}),
        (["Beams:eCM = 14000.", "HardQCD:all = on", "PhaseSpace:pTHatMin = 30."], {"mpi": False}),
    ],
)
def test_other_events_are_not_trained_on(tmp_path, settings, process):
    path = made(tmp_path / "events.parquet", settings, 5, **process)
    with pytest.raises(InputError, match=r"events\.parquet: was not made as minimum bias, by Pythia8 with `Soft"):
        make_model(GenerationTrainer, RECIPE, DataFiles([path]), tmp_path / "work")


SPREAD = [
    "Beams:allowVertexSpread = on",
    "Beams:sigmaVertexZ = 45.",
    "Beams:sigmaTime = 54.",
    "Beams:offsetVertexX = 2.",
]


def test_collisions_are_spread_as_pythia8_spreads_them(folder):
    events, _ = events_of(folder, [*SETTINGS, *SPREAD], 300)
    prompt = events.particles[:, 0]  # the first particles are stable ones of the collision
    z, t = ak.to_numpy(prompt.vz), ak.to_numpy(prompt.time)
    assert np.std(z) == pytest.approx(45, rel=0.15) and np.std(t) == pytest.approx(54 / 299.79, rel=0.15)
    np.testing.assert_allclose(ak.to_numpy(prompt.vx), 2, atol=1e-4)
    settings = pythia_engine.settings_of([*SETTINGS, *SPREAD, "Beams:maxDevVertex = 1."])
    drawn = VertexSpread.of(settings).draw(5000, np.random.default_rng(1))
    assert np.abs(drawn[:, 2]).max() <= 45 and np.abs(drawn[:, 3]).max() > 100
    off = VertexSpread.of(pythia_engine.settings_of(SPREAD[1:])).draw(3, np.random.default_rng(1))
    np.testing.assert_array_equal(off, np.zeros((3, 4)))
