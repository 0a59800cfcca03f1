"""Do learned showers repeat their training showers? Distances to the nearest one, learned against held-out Geant4.

    python benchmarks/shower_memory.py --model MODEL --training HITS.parquet ... --held-out HITS.parquet ...

The distance is between showers of one species as vectors (square root of the cells, logarithm of the energy of each
layer, response, radii), in units of their spread. A ratio of medians below one would be memory; the floor is the same
ratio of one half of the held-out showers to the other.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry
from gen2reco.flow.training_data import DataFiles
from gen2reco.run.model_folder import open_model
from gen2reco.simulate.learned_showers import RELEASE
from gen2reco.simulate.showers.layer_model import true_whole
from gen2reco.simulate.showers.shower_model import load
from gen2reco.simulate.showers.shower_training import load_showers


def flat(whole, energy, geometry) -> np.ndarray:
    """Vectors to compare: (n, 2 n_layers + 3)."""
    response = whole.mips @ geometry.gev_per_mip / energy
    return np.concatenate(
        [np.sqrt(whole.cells), np.log1p(whole.mips), np.log(response + 1e-3)[:, None], whole.radii], 1
    )


def nearest(some: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Distance of each to the nearest in training."""
    return torch.cdist(torch.from_numpy(some), torch.from_numpy(training)).min(1).values.numpy()


def main() -> None:
    """Print a line a species."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=RELEASE)
    parser.add_argument("--training", type=Path, nargs="+", required=True)
    parser.add_argument("--held-out", type=Path, nargs="+", required=True)
    parser.add_argument("--detector", default="configs/detectors/hgcal.yaml")
    given = parser.parse_args()
    detector = load_block(given.detector, Detector)
    geometry = Geometry(detector)
    training, held_out = (load_showers(DataFiles(paths)) for paths in (given.training, given.held_out))
    families = load(open_model(given.model, "showers"))
    for pdg, family in ((22, "electromagnetic"), (211, "hadron")):
        of = [s.take(np.flatnonzero(np.abs(s.incidence.pdg) == pdg)) for s in (training, held_out)]
        seen, new = (flat(true_whole(s, geometry), s.incidence.energy, geometry) for s in of)
        inc, rng = of[1].incidence, np.random.default_rng(1)
        model = families[family]
        drawn = model.layers.draw(torch.from_numpy(model.conditioning.context(inc)), inc.energy, geometry, rng)
        made = flat(drawn, inc.energy, geometry)
        scale = seen.std(0) + 1e-9
        theirs, ours = (nearest(v / scale, seen / scale) for v in (new, made))
        again = [
            np.median(rng.choice(ours, len(ours))) / np.median(rng.choice(theirs, len(theirs))) for _ in range(200)
        ]
        halves = [np.median(half) for half in np.array_split(rng.permutation(theirs), 2)]
        ratio = f"{np.median(ours) / np.median(theirs):.3f} ± {np.std(again):.3f}"
        print(f"{pdg}: {len(seen)} training, {len(new)} held out; ratio {ratio} (halves {halves[0] / halves[1]:.3f})")


if __name__ == "__main__":
    main()
