"""Every computation on an accelerator checked against the CPU, then its speed beside the CPU's in the same run.

    python benchmarks/gpu.py [--device cuda] [--events 400] [--repeats 3] [--points 1000000]
    python benchmarks/gpu.py --device cpu --events 40 --repeats 1 --points 20000

Meant to take less than eight minutes on one accelerator; ends with 1 where a check fails. On the CPU the same checks
run: CLUE on points by torch against the compiled code, the others against a second run. Stages run as jobs do, forks of
chunks included. The table of speed leaves start-up out; rates are per second of wall time, of one core of the CPU and
of the device with one core.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import awkward as ak
import numpy as np
import torch
from torch import nn

from cluster import MIN_DENSITY, RADIUS, blobs
from gen2reco.cluster import clue
from gen2reco.config.block import load_block, load_yaml
from gen2reco.config.detector import Detector
from gen2reco.events import records
from gen2reco.events.truth import STANDARD
from gen2reco.flow.networks import VectorNetwork
from gen2reco.flow.objectives import VectorData, matching
from gen2reco.flow.recipes import Training
from gen2reco.flow.training import Part, train
from gen2reco.flow.training_data import DataFiles
from gen2reco.flow.trainings import make_model, trainer_class
from gen2reco.run.devices import usable_device
from gen2reco.run.runner import Job, run
from gen2reco.run.stage import Chunk, make_backend
from gen2reco.run.training_kind import TRAININGS

UNDECAYED = ["ParticleDecays:limitTau0 = on", "ParticleDecays:tau0Max = 1e-5"]
EE, DIJET = (load_yaml(f"configs/processes/{name}.yaml") for name in ("ee_qq_91", "pp_dijet_endcap"))
GUN = {"kind": "gun", "species": [22, 211, 130, 13], "energy": [2, 20], "abs_eta": [1.7, 2.7], "particles": 40}
SHOWERS = {"outside": "nearest", "keep_deposits": True}
STAGES = {
    "generate": ("generate", "gun", {"process": GUN}, ""),
    "photons": ("generate", "gun", {"process": {**GUN, "species": [22], "particles": 1}}, ""),
    "single_showers": ("simulate", "ml", SHOWERS, "photons"),
    "undecayed": ("generate", "pythia8", {"process": {**EE, "settings": [*EE["settings"], *UNDECAYED]}}, ""),
    "quark_pairs": ("generate", "ml", {"process": EE}, ""),
    "dijets": ("generate", "ml", {"process": DIJET, "model": "pp_dijet_endcap"}, ""),
    "simulate": ("simulate", "ml", SHOWERS, "generate"),
    "fuse": ("fuse", "fused", {"outside": "keep"}, "generate"),
    "cluster": ("cluster", "clue", {}, "simulate"),
    "calibrate": ("calibrate", "dnn", {}, "cluster"),
}
"""Stage, backend, options and the files read, by the name of the files made. What CUDA does not outlive, the forks of
chunks, comes before what starts CUDA in this process."""
SHORT = {"steps": 1, "batch": 16, "warmup": 1, "checkpoint_every": 1}
FAMILY = {"teacher": SHORT, "student": SHORT, "pairs": 64, "evaluations": 2}
TRAINED = {
    "calibration": ("cluster", {"objects": {"training": SHORT}}),
    "generation": ("undecayed", {"counts": SHORT, "shapes": SHORT, "particles": SHORT}),
    "showers": (
        "single_showers",
        {**FAMILY, "families": ["electromagnetic"], "start": SHORT, "quantiles": SHORT, "rows": 200, "cells": SHORT},
    ),
    "fused": ("calibrate", {**FAMILY, "choice": SHORT, "marginals": SHORT, "rarest": 2}),
}
"""The files that each training reads, and its recipe."""
Check = tuple[str, bool, str]
"""What was checked, whether it holds, and the number that says so."""


@dataclass
class Runs:
    """Makes files of STAGES as jobs, on the CPU and on the device, from the same input and seed."""

    folder: Path
    detector: Detector
    device: str
    events: int

    def path(self, name: str, where: str = "reference") -> Path:
        """The file of that name."""
        return self.folder / where / name / "00000.parquet"

    def make(self, name: str, where: str, device: str) -> ak.Array:
        """Run the stage in chunks of half the events; returns its record."""
        stage, backend, options, source = STAGES[name]
        made = make_backend(stage, backend, options, None if stage == "generate" else self.detector)
        made.device, output = device, self.path(name, where)
        output.parent.mkdir(parents=True)
        many = 4 * self.events if name == "photons" else self.events  # a training of showers needs a hundred
        given = {"source": self.path(source)} if source else {"events": range(many)}
        run(Job(made, output, 7, chunk_events=max(self.events // 2, 1), **given))
        return records.awkward(records.read(output))

    def both(self, name: str) -> tuple[ak.Array, ak.Array]:
        """The record made on the CPU and on the device."""
        return self.make(name, "reference", "cpu"), self.make(name, "device", self.device)


def generated(runs: Runs, name: str, energy: float, charge: int) -> list[Check]:
    """Conservation in each event on the device; its mean multiplicity against the CPU's."""
    reference, made = (record.particles for record in runs.both(name))
    total = [ak.to_numpy(ak.sum(made[k], axis=1)) for k in ("px", "py", "pz", "energy")]
    worst = max(np.abs(values - due).max() for values, due in zip(total, (0, 0, 0, energy))) / energy
    charges = ak.sum(ak.unflatten(STANDARD.charge(ak.to_numpy(ak.flatten(made.pdg))), ak.num(made)), axis=1)
    counts = [ak.to_numpy(ak.num(particles)) for particles in (reference, made)]
    error = np.hypot(*(n.std() / np.sqrt(len(n)) for n in counts))
    pull = (counts[1].mean() - counts[0].mean()) / max(error, 1e-9)
    return [
        (f"generate ml, {name}: four-momentum", bool(worst < 1e-7), f"off by {worst:.1e} of the energy"),
        (f"generate ml, {name}: charge", bool(ak.all(charges == charge)), f"{charge} in each event"),
        (f"generate ml, {name}: multiplicity", bool(abs(pull) < 3), f"{counts[1].mean():.2f}, {pull:+.2f} errors off"),
    ]


def energies(runs: Runs, name: str, what: str, limit: float) -> Check:
    """The energy of each event, by the same seeds: the median difference, and that of all together."""
    sums = [ak.to_numpy(ak.sum(record[what].energy, axis=1)) for record in runs.both(name)]
    median = float(np.median(np.abs(sums[1] - sums[0]) / np.maximum(sums[0], 1e-3)))
    total = float(sums[1].sum() / sums[0].sum() - 1)
    words = f"median difference {median:.1e} an event, {total:+.1e} in all"
    return f"{' '.join(STAGES[name][:2])}: energy of {what}", median < limit and abs(total) < limit, words


def points(runs: Runs, axes: int, n: int) -> Check:
    """CLUE's labels by torch against those of the compiled code."""
    found = blobs(n, axes)
    labels = [_clue(found, device) for device in (None, runs.device)]
    return f"clue, {n:,} points in {axes}D", bool((labels[0] == labels[1]).all()), f"{labels[0].max() + 1:,} clusters"


def clusters(runs: Runs) -> Check:
    """The layer cluster of every hit."""
    one, other = (ak.flatten(record.hit_cluster) for record in runs.both("cluster"))
    return "cluster clue: layer clusters of hits", bool(ak.all(one == other)), f"{len(one):,} hits"


def calibrated(runs: Runs) -> Check:
    """The energy of every object."""
    one, other = (ak.to_numpy(ak.flatten(record.objects.energy)) for record in runs.both("calibrate"))
    worst = float(np.max(np.abs(other / one - 1), initial=0)) if len(one) == len(other) else np.inf
    return "calibrate dnn: energy of objects", worst < 1e-3, f"off by {worst:.1e} at most, {len(one)} objects"


def trained(runs: Runs, name: str) -> Check:
    """One step of each part of a training on the device, in the precision of its recipe; the weights must be finite."""
    trainer, (files, recipe) = trainer_class(name), TRAINED[name]
    made = make_model(
        trainer,
        trainer.Recipe.model_validate(recipe),
        DataFiles([runs.path(files)]),
        runs.folder / f"model_{name}",
        device=runs.device,
    )
    finite = all(np.isfinite(values).all() for model in made for values in model.weights().values())
    return f"train {name}: one step", finite, ", ".join(model.digest[:12] for model in made)


def stepped(runs: Runs, mixed: bool) -> Check:
    """A few steps of one network on the device against the same on the CPU in single precision."""
    rng = np.random.default_rng(1)
    data = VectorData(*(rng.normal(size=(500, n)).astype(np.float32) for n in (3, 2)))
    weights = []
    for where, device, precision in (("reference", "cpu", False), ("device", runs.device, mixed)):
        torch.manual_seed(1)
        network = VectorNetwork(3, 2, 32, 2)
        settings = Training(steps=5, batch=64, warmup=1, average=0.0, mixed_precision=precision)
        folder = runs.folder / where / f"steps_{mixed}"
        folder.mkdir()
        train([Part(network, matching(network, data))], settings, folder, device=device)
        weights.append(nn.utils.parameters_to_vector(network.parameters()).detach().cpu())
    off = float((weights[1] - weights[0]).norm() / weights[0].norm())
    name = "bfloat16" if mixed else "float32"
    return f"train, five steps in {name}", off < (3e-2 if mixed else 1e-3), f"weights off by {off:.1e}"


def checks(runs: Runs, most: int) -> Iterator[Check]:
    """All checks, in the order that forks and CUDA need; one that ends with an error has failed."""
    for name in ("generate", "photons", "single_showers", "undecayed"):
        runs.make(name, "reference", "cpu")
    every: dict[str, Callable[[], Check | list[Check]]] = {
        "generate ml, quark_pairs": lambda: generated(runs, "quark_pairs", 91.2, 0),
        "generate ml, dijets": lambda: generated(runs, "dijets", 14000.0, 2),
        "simulate ml": lambda: energies(runs, "simulate", "hits", 1e-2),
        "fuse fused": lambda: energies(runs, "fuse", "objects", 1e-2),
        "cluster clue": lambda: clusters(runs),
        "calibrate dnn": lambda: calibrated(runs),
        **{f"clue, {axes}D": partial(points, runs, axes, most // 10) for axes in (2, 3)},
        **{f"train, mixed precision {mixed}": partial(stepped, runs, mixed) for mixed in (False, True)},
        **{f"train {name}": partial(trained, runs, name) for name in TRAININGS},
    }
    for name, call in every.items():
        try:
            found = call()
        except Exception as error:
            found = (name, False, f"{type(error).__name__}: {error}")
        yield from found if isinstance(found, list) else [found]


def calls(runs: Runs, most: int) -> dict[str, tuple[int, Callable[[str], Callable[[], object]]]]:
    """What is timed: how many of it, and a function of the device that makes the call."""

    def stage(name: str) -> Callable[[str], Callable[[], object]]:
        kind, backend, options, source = STAGES[name]

        def on(device: str) -> Callable[[], object]:
            made = make_backend(kind, backend, options, None if kind == "generate" else runs.detector)
            made.device = device
            made.prepare()
            table = records.read(runs.path(source)) if source else None
            return lambda: made.run(Chunk(0, 1, 0, runs.events), table)

        return on

    found = blobs(most, 2)
    named = {"showers": "simulate", "fused": "fuse", "generation": "quark_pairs", "generation, dijets": "dijets"}
    events = {name: (runs.events, stage(file)) for name, file in named.items()}
    return {**events, "clustering": (most, lambda device: lambda: _clue(found, None if device == "cpu" else device))}


def _clue(found: np.ndarray, device: str | None) -> np.ndarray:
    weights = np.ones(len(found), np.float32)
    lengths = {"density_radius": RADIUS, "outlier_distance": 2 * RADIUS}
    return clue(found, weights, min_density=MIN_DENSITY, device=device, **lengths).labels


def per_second(call: Callable[[], object], n: int) -> float:
    """Rate of one call."""
    start = time.perf_counter()
    call()
    return n / (time.perf_counter() - start)


def print_speed(runs: Runs, most: int, repeats: int) -> None:
    """Rates on the CPU and on the device, and their ratio, each with its spread over the repeats."""
    print(f"\n{'per second':20s} {'CPU':>22s} {runs.device:>22s} {'ratio':>18s}")
    for name, (n, on) in calls(runs, most).items():
        rounds = [[per_second(on(device), n) for device in ("cpu", runs.device)] for _ in range(repeats + 1)]
        rates = np.array(rounds[1:])  # the first round compiles and warms up
        ratio = rates[:, 1] / rates[:, 0]
        columns = " ".join(f"{rate.mean():12,.0f} ± {rate.std():7,.0f}" for rate in rates.T)
        print(f"{name:20s} {columns} {ratio.mean():10.2f} ± {ratio.std():5.2f}", flush=True)


def main() -> None:
    """Print the table of checks, then that of speed; ends with 1 where a check failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--events", type=int, default=400, help="events of each stage")
    parser.add_argument("--points", type=int, default=1_000_000, help="points of the clustering; a tenth is checked")
    parser.add_argument("--repeats", type=int, default=3, help="repeats of each time; 0 leaves the speed out")
    given = parser.parse_args()
    usable_device(given.device, False, "benchmarks/gpu.py")
    torch.set_num_threads(1)
    detector = load_block("configs/detectors/hgcal.yaml", Detector)
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder), detector, given.device, given.events)
        failed = 0
        for what, holds, number in checks(runs, given.points):
            print(f"{'pass' if holds else 'FAIL'}  {what:48s} {number}", flush=True)
            failed += not holds
        if given.repeats:
            print_speed(runs, given.points, given.repeats)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
