"""What the layers of learned hadron showers tell a calibration: the width of the response before and after it.

    python benchmarks/layers.py --calibration HITS.parquet ... --held-out HITS.parquet ... --model NAME=FOLDER ...

A boosted regression of the response on sums of the layers (and on the share of the energy in hot cells) is trained on
Geant4 showers of charged pions (`--calibration`), and corrects held-out ones, of Geant4 and of each model for the same
particles. Where a model loses the correlation of shape and response, its showers stay wide. Beside it classifiers of
the sums and of all layers; every number with its uncertainty, areas with their floor.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry
from gen2reco.events.lists import starts
from gen2reco.flow.training_data import DataFiles
from gen2reco.run.model_folder import open_model
from gen2reco.simulate.showers.data import Showers
from gen2reco.simulate.showers.shower_model import load
from gen2reco.simulate.showers.shower_training import load_showers
from gen2reco.statistics.classifiers import two_sample_auc
from gen2reco.statistics.response import response

SPECIES = {"charged pions": (211, -211), "neutral hadrons": (130, 2112, -2112)}
HOT = 6.0
"""MIP from which a cell is hot."""
LEAST = 0.05
"""Response above which a shower is corrected."""
MOST = 2000
"""Showers of each class of a classifier."""
TAIL = (0.95, 0.99, 0.995)
"""Points of the response."""


def shapes(showers: Showers, geometry: Geometry) -> tuple[NDArray, NDArray, NDArray]:
    """Response (n,), sums of the layers with the share in hot cells last (n, 9), and all layers (n, 2 n_layers)."""
    cells, mips = showers.per_layer(geometry.n_layers)
    of_layer = mips * geometry.gev_per_mip
    total, depth = np.maximum(of_layer.sum(1), 1e-9), np.arange(geometry.n_layers)
    n_em = geometry.detector.n_em_layers
    edges = [0, n_em // 2, n_em, n_em + (geometry.n_layers - n_em) // 2]
    shares = np.add.reduceat(of_layer, edges, axis=1) / total[:, None]
    centre = of_layer @ depth / total
    width = np.sqrt(np.maximum(of_layer @ depth**2 / total - centre**2, 0))
    gev = showers.mips * geometry.gev_per_mip[showers.layer - 1]
    hot = np.bincount(showers.owner, gev * (showers.mips >= HOT), len(showers)) / total
    sums = np.stack([np.log(total), *shares.T, centre, width, np.log1p(cells.sum(1)), hot], 1)
    layers = np.concatenate([np.log1p(cells), np.log1p(mips)], 1)
    return total / showers.incidence.energy, sums, layers


def drawn(family, showers: Showers, geometry: Geometry, seed: int) -> Showers:
    """A model's showers of the same particles."""
    cells = family.draw(showers.incidence, geometry, np.random.default_rng(seed))
    order = np.lexsort((cells.layer, cells.owner))
    first = starts(np.bincount(cells.owner, minlength=len(showers)))
    columns = (getattr(cells, name)[order] for name in ("layer", "ix", "iy", "mips", "delay"))
    return Showers(showers.incidence, first, *columns)


def corrections(calibration: Showers, geometry: Geometry):
    """Two regressions of ln(response): of the sums alone, and with the hot share."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    ratio, sums, _ = shapes(calibration, geometry)
    some = ratio > LEAST
    for chosen in (slice(0, -1), slice(None)):
        model = HistGradientBoostingRegressor(max_iter=150, learning_rate=0.06, max_leaf_nodes=12, random_state=1)
        yield chosen, model.fit(sums[some][:, chosen], np.log(ratio[some]))


def row(name: str, showers: Showers, fits: list, reference: tuple | None, geometry: Geometry) -> str:
    """A line of the table."""
    ratio, sums, layers = shapes(showers, geometry)
    rng, some = np.random.default_rng(1), ratio > LEAST
    widths = [response(ratio[some], np.ones(some.sum()), 300, rng)]
    for chosen, fit in fits:
        widths.append(response(ratio[some] / np.exp(fit.predict(sums[some][:, chosen])), np.ones(some.sum()), 300, rng))
    told = [f"{widths[0][0].value:.3f} ± {widths[0][0].uncertainty:.3f}"]
    told += [f"{width.value:.3f} ± {width.uncertainty:.3f}" for _, width in widths]
    told.append(", ".join(f"{np.quantile(ratio, at):.3f}" for at in TAIL))
    if reference is None:
        return " | ".join([name, *told, "–", "–"])
    events = np.arange(len(ratio))
    for a, b in ((reference[1], sums[:, :-1]), (reference[2], layers)):
        found, _ = two_sample_auc(a, b, events, events, most=MOST, seed=1)
        told.append(f"{found.value:.3f} ± {found.uncertainty:.3f} ({found.floor:.3f})")
    return " | ".join([name, *told])


def main() -> None:
    """Print a table a group of species."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibration", type=Path, nargs="+", required=True)
    parser.add_argument("--held-out", type=Path, nargs="+", required=True)
    parser.add_argument("--model", nargs="+", default=[], help="NAME=FOLDER")
    parser.add_argument("--energy", type=float, nargs=2, default=(8.0, 100.0), help="GeV")
    parser.add_argument("--detector", default="configs/detectors/hgcal.yaml")
    given = parser.parse_args()
    geometry = Geometry(load_block(given.detector, Detector))
    calibration, held_out = (load_showers(DataFiles(paths)) for paths in (given.calibration, given.held_out))
    models = {name: load(open_model(folder, "showers")) for name, folder in (one.split("=", 1) for one in given.model)}
    low, high = given.energy
    for group, species in SPECIES.items():
        some = []
        for showers, margin in ((calibration, 1.3), (held_out, 1.0)):
            energy = showers.incidence.energy
            inside = (energy > low / margin) & (energy < high * margin) & np.isin(showers.incidence.pdg, species)
            some.append(showers.take(np.flatnonzero(inside)))
        if min(map(len, some)) < 100:
            continue
        fits = list(corrections(some[0], geometry))
        reference = shapes(some[1], geometry)
        print(f"\n{group}, {low:g} to {high:g} GeV: {len(some[0])} for the calibration, {len(some[1])} held out\n")
        print("| | response | σ_eff raw | after sums | with hot share | 95, 99, 99.5 % | AUC sums | AUC layers |")
        print("|---|---|---|---|---|---|---|---|")
        print(f"| {row('Geant4', some[1], fits, None, geometry)} |")
        for name, families in models.items():
            made = drawn(families["hadron"], some[1], geometry, 1)
            print(f"| {row(name, made, fits, (None, reference[1][:, :-1], reference[2]), geometry)} |")


if __name__ == "__main__":
    main()
