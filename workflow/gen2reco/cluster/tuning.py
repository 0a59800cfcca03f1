"""Find clustering parameters for a detector from labelled hits: Optuna on half of the events, judged on the other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml

from gen2reco.cluster.columns import clusters_table, flatten
from gen2reco.cluster.reconstruct import reconstruct
from gen2reco.cluster.trackster_scores import Count, counts, score
from gen2reco.config.clustering import Clustering
from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.run.draws import origins
from gen2reco.statistics.binomial import wilson

SPACE: dict[str, tuple[float, float]] = {
    "iterations.density_radius": (0.5, 2.0),
    "iterations.seed_distance": (0.5, 2.0),
    "iterations.min_density": (0.3, 3.0),
    "iterations.kernel": (0.5, 2.0),
    "linking.close_distance": (0.5, 1.6),
    "linking.em_distance": (0.4, 1.6),
    "linking.had_distance": (0.5, 1.6),
    "linking.late_distance": (0.6, 1.8),
    "linking.halo_fraction": (0.3, 3.0),
    "linking.halo_distance": (0.5, 1.6),
    "linking.attach_distance": (0.3, 1.6),
    "linking.em_reach": (0.4, 1.6),
}
"""The search space, as factors on the starting point; `iterations.` stands for each iteration that uses CLUE3D."""
GOOD = ("efficiency", "purity")
BAD = ("split", "absorbed", "merge", "fake", "duplicate", "surplus")


@dataclass(frozen=True)
class Tuned:
    """The best parameters found, with their rates and those of the starting point on the held-out events."""

    clustering: Clustering
    start: dict[str, Count]
    found: dict[str, Count]
    trials: int


def tune(
    paths: Sequence[Path | str],
    detector: Detector,
    start: Clustering | None = None,
    trials: int = 100,
    seed: int = 1,
    report: Callable[[str], None] = lambda line: None,
) -> Tuned:
    """Search around `start` for the parameters of the best mean figure of merit over the files.

    The figure is the mean of efficiency, purity and one minus each of split, absorbed, merge, fake, duplicate, surplus.
    Even events of each file are searched on, odd ones are reported; draws of one event stay together. The same seed
    finds the same parameters.
    Raises InputError if a file holds fewer than two events, or no particle that counts.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    start, geometry = start or Clustering(), Geometry(detector)
    halves = [_halves(path) for path in paths]
    searched, held_out = ([half[k] for half in halves] for k in (0, 1))

    def figure(trial: optuna.Trial) -> float:
        factors = {key: trial.suggest_float(key, *limits, log=True) for key, limits in _searched(start).items()}
        value = float(np.mean([merit(evaluate([events], geometry, scaled(start, factors))) for events in searched]))
        report(f"trial {trial.number + 1}/{trials}: {value:.4f}")
        return value

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True))
    study.enqueue_trial(dict.fromkeys(_searched(start), 1.0))
    study.optimize(figure, n_trials=trials)
    best = scaled(start, study.best_params)
    return Tuned(best, evaluate(held_out, geometry, start), evaluate(held_out, geometry, best), len(study.trials))


def evaluate(samples: Sequence[pa.Table], geometry: Geometry, config: Clustering) -> dict[str, Count]:
    """Counts behind all rates of a clustering, summed over tables of hits."""
    found: dict[str, Count] = {}
    for events in samples:
        flat = flatten(events, geometry)
        result = reconstruct(flat.hits, flat.tracks, geometry, config)
        table = clusters_table(events, flat, result, geometry)
        for name, more in counts(*score(table, geometry.detector.front_face)).items():
            before = found.get(name, Count(0, 0))
            found[name] = Count(before.passed + more.passed, before.tried + more.tried)
    return found


def to_yaml(clustering: Clustering) -> str:
    """The text of a clustering file."""
    head = "# Iterative clustering; lengths in mm, energies in GeV. Found by `gen2reco tune cluster`.\n"
    return head + yaml.safe_dump(clustering.model_dump(mode="json"), sort_keys=False)


def comparison(tuned: Tuned) -> str:
    """Rates at the start and found, on the held-out events."""
    lines = [f"{'held out':12s}{'start':>24s}{'found':>24s}"]
    for name in tuned.found:
        lines.append(f"{name:12s}{_rate(tuned.start[name]):>24s}{_rate(tuned.found[name]):>24s}")
    return "\n".join(lines)


def _rate(count: Count) -> str:
    """Rate with the distances to the ends of its 68 % interval, and the number tried."""
    if not count.tried:
        return "-"
    value, low, high = wilson(np.array(count.passed), np.array(count.tried))
    return f"{value:.3f} -{value - low:.3f} +{high - value:.3f} ({count.tried})"


def merit(found: dict[str, Count]) -> float:
    """Mean of the good rates and one minus the bad ones; a rate without entries counts as the worst."""
    good = [found[name].passed / max(found[name].tried, 1) for name in GOOD]
    bad = [1 - found[name].passed / found[name].tried if found[name].tried else 0.0 for name in BAD]
    return float(np.mean(good + bad))


def scaled(start: Clustering, factors: dict[str, float]) -> Clustering:
    """`start` with its parameters multiplied, shares kept below one; four digits are kept."""
    values = start.model_dump()
    for key, factor in factors.items():
        block, _, name = key.rpartition(".")
        place = values[block] if "." not in block else values["iterations"][_position(start, block)]
        value = float(f"{place[name] * factor:.4g}")
        place[name] = min(value, 1.0) if name.endswith("fraction") else value
    return Clustering.model_validate(values)


def _searched(start: Clustering) -> dict[str, tuple[float, float]]:
    """The search space of this clustering: iterations by name."""
    space = {key: limits for key, limits in SPACE.items() if key.startswith("linking.")}
    for iteration in start.iterations:
        if iteration.seeding == "global":
            for key, limits in SPACE.items():
                if key.startswith("iterations."):
                    space[f"iterations.{iteration.name}.{key.rpartition('.')[2]}"] = limits
    return {key: limits for key, limits in space.items() if _value(start, key) > 0}


def _value(start: Clustering, key: str) -> float:
    block, _, name = key.rpartition(".")
    return getattr(start.linking if block == "linking" else start.iterations[_position(start, block)], name)


def _position(start: Clustering, block: str) -> int:
    return [iteration.name for iteration in start.iterations].index(block.rpartition(".")[2])


def _halves(path: Path | str) -> tuple[pa.Table, pa.Table]:
    events = records.read(path, "hits")
    records.check(events, "hits", str(path))
    if len(events) < 2:
        raise InputError(f"{path}: {len(events)} events; tuning needs two halves, expected a hundred or more")
    number = np.arange(len(events))
    half = np.cumsum(np.diff(origins(events), prepend=origins(events)[:1]) != 0) % 2
    if not len(records.awkward(events)["contributions"].layout.content):
        raise InputError(f"{path}: no hit has a contribution of a particle; tuning needs simulated hits")
    return events.take(number[half == 0]), events.take(number[half == 1])
