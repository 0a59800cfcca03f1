"""Which measure of showers tells how good the physics is: the tables and the figure of docs/families.md.

    python benchmarks/families.py results/families [--figure docs/figures/families.png]

Reads the reports and receipts of configs/campaigns/families.yaml; every number comes with its uncertainty.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from gen2reco.campaign.model_receipts import read_trained

SPECIES = {"photons": "photon", "pions": "charged_hadron"}
"""Samples, and the name of their particles in the metrics."""
SHOWERS = {
    "AUC, features": "hits/{}/auc_high_level",
    "AUC, cells": "hits/{}/auc_cells",
    "FPD": "hits/{}/fpd",
    "KPD": "hits/{}/kpd",
    "response of the hits": "hits/{}/shift_response",
    "width of it": "hits/{}/shift_resolution",
    "W1 of the depth": "hits/{}/w1_depth",
    "W1 of the layers": "hits/{}/w1_layers",
    "W1 of the cells' spectrum": "hits/{}/w1_spectrum",
}
"""Measures of showers, by their titles."""
PHYSICS = {
    "response": "objects/{}/shift_response",
    "resolution": "objects/{}/shift_resolution",
    "split": "objects/{}/shift_split",
    "identified": "objects/{}/shift_identified",
    "AUC, objects": "objects/{}/auc_object",
    "efficiency of tracksters": "clusters/particles/shift_efficiency",
    "AUC, tracksters": "clusters/tracksters/auc_trackster",
}
"""What a user of the objects sees: shifts after calibration, and what clustering makes of the showers."""
JETS = {
    "jets' response": "objects/jets/shift_response",
    "resolution": "objects/jets/shift_resolution",
    "efficiency": "objects/jets/shift_efficiency",
    "objects an event": "objects/events/mean_n_objects",
    "efficiency of tracksters": "clusters/particles/shift_efficiency",
    "split": "clusters/particles/shift_split",
    "AUC, tracksters": "clusters/tracksters/auc_trackster",
}
FEWEST = 5
"""Families of which ranks are correlated."""


@dataclass(frozen=True)
class Number:
    """A metric: its value, its uncertainty and its floor; NaN where it is not known."""

    value: float = np.nan
    uncertainty: float = np.nan
    floor: float = np.nan

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return "–"
        places = 3 if abs(self.value) < 10 else 1
        error = f" ± {self.uncertainty:.{places}f}" if np.isfinite(self.uncertainty) else ""
        return f"{self.value:.{places}f}{error}"


def numbers(folder: Path, reference: str) -> dict[str, dict[str, Number]]:
    """Metrics of each candidate of a report, by `<record>/<name>`."""
    found: dict[str, dict[str, Number]] = {}
    for row in json.loads((folder / "report" / reference / "metrics.json").read_text()):
        if len(row["samples"]) == 2 or row["name"].startswith("cost/"):
            known = (np.nan if row[key] is None else row[key] for key in ("value", "uncertainty", "floor"))
            found.setdefault(row["samples"][-1], {})[f"{row['stage']}/{row['name']}"] = Number(*known)
    return found


def family_of(candidate: str, reference: str) -> str:
    """`photons_learned_gan` is `gan`, `photons_ideal` is `ideal sampler`."""
    rest = candidate.removeprefix(f"{reference}_")
    return "ideal sampler" if rest == "ideal" else rest.removeprefix("learned_").replace("_", ", evaluations ")


def table(title: str, wanted: dict[str, str], of: dict[str, dict[str, Number]], reference: str, particle: str) -> None:
    """Print a table, one row a candidate."""
    print(f"\n### {title}\n\n| | {' | '.join(wanted)} |\n|---{'|---' * len(wanted)}|")
    for candidate, metrics in of.items():
        if candidate != reference:
            row = (str(metrics.get(key.format(particle), Number())) for key in wanted.values())
            print(f"| {family_of(candidate, reference)} | {' | '.join(row)} |")
    floors = {
        title: next((m[k.format(particle)].floor for m in of.values() if k.format(particle) in m), np.nan)
        for title, k in wanted.items()
    }
    print(f"| floor | {' | '.join(f'{f:.3f}' if np.isfinite(f) else '–' for f in floors.values())} |")


def costs(folder: Path, reports: dict[str, dict[str, dict[str, Number]]]) -> None:
    """Print what a shower costs, and the training."""
    print("\n### Cost\n\n| | ms a photon | ms a pion | training, CPU min |\n|---|---|---|---|")
    key = "simulate/cost/seconds_per_event"
    rows = {family_of(c, "photons"): c for c in reports["photons"]}
    for family, candidate in rows.items():
        pion = candidate.replace("photons", "pions")
        times = (
            1e3 * reports[s].get(c, {}).get(key, Number()).value for s, c in (("photons", candidate), ("pions", pion))
        )
        trained = read_trained(folder, f"family_{family}")
        minutes = f"{trained.cpu_seconds / 60:.1f}" if trained else "–"
        name = "Geant4" if candidate == "photons" else family
        print(f"| {name} | {' | '.join(f'{t:.2f}' for t in times)} | {minutes} |")


def rank_correlation(
    x: list[tuple[NDArray, NDArray]], y: list[tuple[NDArray, NDArray]], rng: np.random.Generator, n: int = 400
) -> tuple[float, float, float]:
    """Spearman's correlation of values with uncertainties, x and y one pair of arrays a species, averaged over species:
    its value, its uncertainty (candidates drawn anew, values moved by their uncertainties), and the chance to find as
    much where x and y have nothing to do with each other (ranks dealt anew)."""

    def mean(pairs: list[tuple[NDArray, NDArray]]) -> float:
        return float(np.mean([spearmanr(a, b).statistic for a, b in pairs if np.ptp(a) > 0 and np.ptp(b) > 0]))

    found = mean([(a, b) for (a, _), (b, _) in zip(x, y)])
    moved, dealt = [], []
    for _ in range(n):
        drawn, mixed = [], []
        for (a, da), (b, db) in zip(x, y):
            at = rng.integers(len(a), size=len(a))
            drawn.append(tuple(np.abs(v[at] + d[at] * rng.standard_normal(len(a))) for v, d in ((a, da), (b, db))))
            mixed.append((a, rng.permutation(b)))
        moved.append(mean(drawn))
        dealt.append(mean(mixed))
    return found, float(np.nanstd(moved)), float(np.mean(np.abs(dealt) >= abs(found) - 1e-9))


def columns(of: dict[str, dict[str, Number]], reference: str, key: str) -> tuple[NDArray, NDArray]:
    """Size and uncertainty of a metric of the learned candidates."""
    own = [m.get(key, Number()) for c, m in of.items() if c not in (reference, f"{reference}_ideal")]
    return np.abs([one.value for one in own]), np.nan_to_num(np.array([one.uncertainty for one in own]))


def correlations(reports: dict[str, dict[str, dict[str, Number]]]) -> None:
    """Print the rank correlations of what is measured of showers with what becomes of the physics."""
    print("\n### Rank correlations\n\n| |", " | ".join(PHYSICS), f"|\n|---{'|---' * len(PHYSICS)}|")
    rng = np.random.default_rng(1)
    for title, shower in SHOWERS.items():
        cells = []
        for physics in PHYSICS.values():
            pairs = [
                [columns(reports[s], s, key.format(particle)) for key in (shower, physics)]
                for s, particle in SPECIES.items()
            ]
            good = [np.isfinite(a[0]) & np.isfinite(b[0]) for a, b in pairs]
            kept = [
                [(values[g], errors[g]) for values, errors in both]
                for both, g in zip(pairs, good)
                if g.sum() >= FEWEST and all(np.ptp(values[g]) > 0 for values, _ in both)
            ]
            if not kept:
                cells.append("–")
                continue
            value, error, chance = rank_correlation([k[0] for k in kept], [k[1] for k in kept], rng)
            mark = "**" if chance < 0.01 else ""
            cells.append(f"{mark}{value:+.2f} ± {error:.2f}{mark}")
        print(f"| {title} | {' | '.join(cells)} |")


def draw(reports: dict[str, dict[str, dict[str, Number]]], path: Path) -> None:
    """The figure: the AUC of shower features against what becomes of the physics, a point a family and species."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown = ("response", "resolution", "identified", "split", "AUC, objects", "AUC, tracksters")
    figure, axes = plt.subplots(2, 3, figsize=(12, 7.5), layout="constrained")
    marks = {}
    for ax, title in zip(axes.flat, shown):
        for colour, (sample, particle) in zip(("#0072b2", "#d55e00"), SPECIES.items()):
            keys = [key.format(particle) for key in (SHOWERS["AUC, features"], PHYSICS[title])]
            for candidate, metrics in reports[sample].items():
                if candidate == sample:
                    continue
                family = family_of(candidate, sample)
                mark = marks.setdefault(family, "o^svDP*Xp<>"[len(marks) % 11])
                x, y = (metrics.get(key, Number()) for key in keys)
                ax.errorbar(
                    x.value, y.value, y.uncertainty, x.uncertainty, fmt=mark, color=colour, ms=7, elinewidth=0.8,
                    label=f"{family}, {sample}",
                )  # fmt: skip
        ax.axhline(0.5 if "AUC" in title else 0.0, color="0.6", lw=0.8)
        ax.set_xlabel("AUC of shower features, hits")
        ax.set_ylabel(title if "AUC" in title else f"shift of {title}, calibrated")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Print all tables and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    reports = {sample: numbers(given.folder, sample) for sample in (*SPECIES, "dijets")}
    for sample, particle in SPECIES.items():
        table(f"Showers: {sample}", SHOWERS, reports[sample], sample, particle)
        table(f"After clustering and calibration: {sample}", PHYSICS, reports[sample], sample, particle)
    table("Dijets", JETS, reports["dijets"], "dijets", "jets")
    costs(given.folder, reports)
    correlations(reports)
    if given.figure:
        draw(reports, given.figure)


if __name__ == "__main__":
    main()
