"""The learned generator: what it conserves whatever its weights, its frames, its range, and its mistakes."""

from functools import partial
from pathlib import Path

import awkward as ak
import generated_events
import numpy as np
import pytest
import torch
from generated_events import numbers, sums

from gen2reco.config.process import LheProcess, Pythia8Process
from gen2reco.errors import InputError
from gen2reco.generate.hadronize import hemispheres
from gen2reco.generate.hadronize.group_sums import thrust_axes
from gen2reco.generate.hadronize.pair_model import Architecture, Hadronizer
from gen2reco.generate.hadronize.species import NUMBERS, in_drawing_order, quantum_numbers
from gen2reco.generate.learned import Learned

CODES = [5122, -5122, 3122, -3122, 2212, -2212, 2112, -2112, 511, -511, 421, -421, 11, -11, 321, -321]
CODES += [310, 130, 22, 111, 211, -211]
MASS = {5122: 5.6194, 3122: 1.11568, 2212: 0.93827, 2112: 0.93957, 511: 5.27963, 421: 1.86483, 11: 0.000511}
MASS |= {321: 0.49368, 310: 0.49761, 130: 0.49761, 22: 0.0, 111: 0.13498, 211: 0.13957}
SETTINGS = [
    "Beams:idA = 11",
    "Beams:idB = -11",
    "Beams:eCM = 91.2",
    "PDF:lepton = off",
    "WeakSingleBoson:ffbar2gmZ = on",
    "23:onMode = off",
    "23:onIfAny = 1 2 3 4 5",
]
QUARKS = Pythia8Process(kind="pythia8", settings=SETTINGS)
generate = partial(generated_events.generate, process=QUARKS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A model whose networks know nothing."""
    codes = in_drawing_order(CODES)
    torch.manual_seed(1)
    architecture = Architecture(
        pdg=codes,
        mass=[MASS[abs(c)] for c in codes],
        most=[9 if abs(c) in (211, 111) else 2 for c in codes for _ in range(2)],
        sqrt_s=91.2,
        counts_width=8,
        shapes_width=8,
        width=8,
        depth=1,
        pooled=8,
    )
    model = Hadronizer(architecture)
    for p in (*model.shapes.parameters(), *model.particles.parameters()):
        torch.nn.init.normal_(p, std=0.2)
    model.shapes_start.mean[0, -1, :2] = 2.5
    known = {"sqrt_s": [91.1, 91.3], "alpha_s": [0.115, 0.159]}
    return generated_events.save(model, tmp_path_factory.mktemp("model"), range=known)


@pytest.mark.parametrize("evaluations", [1, 3])
def test_every_event_conserves_everything(folder, evaluations):
    events, info = generate(folder, 200, evaluations=evaluations)
    p = events.particles
    assert len(events) == 200
    assert np.all(numbers(p.pdg) == 0)
    for name in ("px", "py", "pz"):
        assert np.max(np.abs(sums(p, name))) < 1e-6 * 91.2 * 3
    np.testing.assert_allclose(sums(p, "energy"), 91.2, rtol=1e-6)
    assert info["network_evaluations"] == 2 * evaluations * 200
    assert info["events_by_pythia8"] == 0 and info["fallback_reasons"] == {}


def test_particles_are_on_their_mass_shell_and_stable(folder):
    events, _ = generate(folder, 200)
    p = events.particles
    mass2 = p.energy**2 - p.px**2 - p.py**2 - p.pz**2
    pions = abs(p.pdg) == 211
    assert np.all(abs(mass2[pions] - 0.13957**2) < 1e-4 * (1 + p.energy[pions] ** 2))
    stable = {22, 11, 12, 13, 14, 16, 130, 211, 321, 2112, 2212}
    assert set(np.unique(np.abs(ak.flatten(p.pdg)))) <= stable


def test_decays_happen_where_the_mother_had_flown(folder):
    events, _ = generate(folder, 300)
    p = events.particles
    displaced = np.sqrt(p.vx**2 + p.vy**2 + p.vz**2)
    assert 0.02 < ak.mean(displaced > 1) < 0.9
    assert np.all(p.time[displaced > 1] > 0.9 * displaced[displaced > 1] / 299.8)
    assert np.all(p.time[displaced == 0] == 0)


def test_same_seed_same_bytes_and_chunks_differ(folder):
    first, again, other = (generate(folder, 50, seed)[0] for seed in (1, 1, 2))
    assert first.to_list() == again.to_list()
    assert first.particles[0].to_list() != other.particles[0].to_list()


def test_the_drawn_quark_becomes_the_hard_one(folder):
    backend = Learned(Learned.Options(process=QUARKS, model=str(folder)))
    backend.prepare()
    model, known = backend._domain.model, torch.zeros(400, 6)
    drawn, _ = model.draw(known, torch.Generator().manual_seed(1))
    event = drawn.group.numpy() // 2
    _, axis = thrust_axes(drawn.momenta[:, :3].numpy(), event, 400)
    cosine = np.abs(np.einsum("ij,ij->i", axis, model.quark_direction(drawn)))
    events, _ = generate(folder, 400)
    quark = events.partons[(events.partons.status == 23) & (events.partons.pdg > 0)]
    q = np.stack([ak.to_numpy(quark[n][:, 0]) for n in ("px", "py", "pz")], 1)
    p = np.stack([ak.to_numpy(ak.flatten(events.particles[n])).astype(float) for n in ("px", "py", "pz")], 1)
    _, axis = thrust_axes(p, np.repeat(np.arange(400), ak.num(events.particles.pdg)), 400)
    after = np.abs(np.einsum("ij,ij->i", axis, q)) / np.linalg.norm(q, axis=1)
    assert abs(np.mean(cosine) - np.mean(after)) < 0.06


@pytest.mark.parametrize("code", [211, -211, 2212, -2112, 421, -511, 521, -11, 3334, 4132, -5232, 111])
def test_quantum_numbers_agree_with_the_particle_tables(code):
    from particle import Particle
    from particle.pdgid import is_baryon

    own = dict(zip(NUMBERS, quantum_numbers(code)))
    assert own["charge"] == Particle.from_pdgid(code).charge
    assert abs(own["baryon"]) == is_baryon(code)
    anti = dict(zip(NUMBERS, quantum_numbers(-code))) if code != 111 else own
    assert all(anti[n] == -own[n] for n in NUMBERS)


def test_coordinates_round_trip():
    rng = np.random.default_rng(1)
    mass = rng.choice([0.0, 0.13957, 0.938, 5.28], 500)
    local = rng.normal(size=(500, 3)) * [0.5, 0.5, 0] + [0, 0, 1] * rng.exponential(5, (500, 1))
    x = torch.from_numpy(hemispheres.coordinates(local, mass))
    back = hemispheres.momenta(x, torch.from_numpy(mass))
    np.testing.assert_allclose(back[:, :3].numpy(), local, atol=1e-3)
    np.testing.assert_allclose(hemispheres.stretched(back).numpy(), x.numpy(), atol=1e-4)


def test_projection_is_exact_and_leaves_balanced_hemispheres_alone():
    rng = np.random.default_rng(2)
    mass = torch.full((12,), 0.13957, dtype=torch.float64)
    group = torch.tensor([0] * 5 + [1] * 6 + [2])
    raw = torch.from_numpy(np.abs(rng.normal(size=(12, 3))) + np.array([0, 0, 2.0]))
    raw = torch.cat([raw, (raw.square().sum(1) + mass**2).sqrt()[:, None]], 1)
    group, mass, raw = group[:11], mass[:11], raw[:11]
    target = torch.tensor([[4.0, 9.0]], dtype=torch.float64)
    out, _ = hemispheres.project(raw, mass, group, target, 91.2)
    np.testing.assert_allclose(out.sum(0).numpy(), [0, 0, 0, 91.2], atol=1e-9)
    inward = torch.where(group == 0, 1.0, -1.0)[:, None] * torch.tensor([0.0, 0, 1, 0]) + torch.tensor([1.0, 1, 0, 1])
    again, scale = hemispheres.project(out * inward, mass, group, target, 91.2)
    np.testing.assert_allclose(again.numpy(), out.numpy(), atol=1e-9)
    assert scale.abs().max() < 1e-9


EVENT = """<event>
4 1 1.0 91.2 0.0078 0.118
11 -1 0 0 0 0 0 0 {a} {a} 0 0 9
-11 -1 0 0 0 0 0 0 -{b} {b} 0 0 9
{id} 1 1 2 501 0 {px} 0 {pz1} {e1} 0 0 9
-{id} 1 1 2 0 501 -{px} 0 {pz2} {e2} 0 0 9
</event>
"""


def lhe(path: Path, events: list[str], beam=45.6) -> LheProcess:
    return generated_events.lhe(path, f"11 -11 {beam} {beam} 0 0 0 0", events)


def quarks(flavour=1, a=45.6, b=45.6, balanced=True) -> str:
    """Massless quarks at right angles to the beams in their centre of mass, which moves along z."""
    mass, gamma_beta = 2 * np.sqrt(a * b), (a - b) / (2 * np.sqrt(a * b))
    px = mass / 2
    e, pz = np.sqrt(1 + gamma_beta**2) * mass / 2, gamma_beta * mass / 2
    a = a if balanced else 1.01 * a
    return EVENT.format(a=a, b=b, id=flavour, px=px, pz1=pz, pz2=pz, e1=e, e2=e)


def test_lhe_events_come_out_in_the_frame_of_their_partons(folder, tmp_path):
    process = lhe(tmp_path / "moving.lhe", [quarks(2, 60.0, 34.656)] * 40, beam=60.0)
    events, info = generate(folder, 40, process=process, outside="refuse")
    p = events.particles
    np.testing.assert_allclose(sums(p, "energy"), 60 + 34.656, rtol=1e-6)
    np.testing.assert_allclose(sums(p, "pz"), 60 - 34.656, atol=1e-4)
    assert info["sum_of_weights"] == 40


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (quarks(6), "a quark and its antiquark"),
        (quarks(1, 50.0, 50.0), "a mass of the hard partons outside 91.1 to 91.3"),
        (quarks(1, balanced=False), "do not balance"),
    ],
)
def test_what_the_model_does_not_know_is_refused(folder, tmp_path, event, message):
    process = lhe(tmp_path / "strange.lhe", [quarks(1), event])
    with pytest.raises(InputError, match=f"event 1: .*({message})"):
        generate(folder, 2, process=process, outside="refuse")


def test_or_sent_to_pythia8_and_counted(folder, tmp_path):
    process = lhe(tmp_path / "mixed.lhe", [quarks(1), quarks(3, 50.0, 50.0), quarks(2)], beam=50.0)
    events, info = generate(folder, 3, process=process)
    assert info["events_by_pythia8"] == 1
    assert info["network_evaluations"] == 4
    assert ak.to_list(events.event) == [0, 1, 2]
    np.testing.assert_allclose(sums(events.particles, "energy"), [91.2, 100, 91.2], rtol=1e-5)


def test_alpha_s_outside_the_range(folder):
    with pytest.raises(InputError, match=r"alpha_s = 0.2, expected 0.115 to 0.159"):
        generate(folder, 2, alpha_s=0.2)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "weights.safetensors").write_bytes(b"no"), "damaged weights"),
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
    ],
)
def test_damaged_models_are_told_on_one_line(folder, tmp_path, spoil, message):
    import shutil

    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    spoil(copy)
    with pytest.raises(InputError, match=message):
        generate(copy, 2)
