"""The tables of families: ranks that hang together are found with their errors, others are not; nothing is made up."""

import importlib.util
import json
import sys

import numpy as np
import pytest

from repository import REPOSITORY

NAMES = ("flow", "gan", "vae", "spline", "copula", "diffusion", "meanflow")


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("families_table", REPOSITORY / "benchmarks/families.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_ranks_that_agree_in_each_species_and_ranks_that_do_not(script):
    rng, x, none = np.random.default_rng(1), np.arange(8.0), np.full(8, 0.01)
    same = [(x, none), (x[::-1] * 9, none)]
    value, error, chance = script.rank_correlation(same, [(x**2, none), (x[::-1], none)], rng)
    assert value == pytest.approx(1) and error < 0.05 and chance < 0.01
    value, error, chance = script.rank_correlation(same, [(rng.permutation(x), none) for _ in "ab"], rng)
    assert abs(value) < 0.7 and error > 0.15 and chance > 0.05


def test_an_error_larger_than_the_differences_leaves_a_rank_unknown(script):
    rng, x = np.random.default_rng(2), np.arange(8.0)
    value, error, _ = script.rank_correlation([(x, x * 0 + 20)], [(x, x * 0)], rng)
    assert value == pytest.approx(1) and error > 0.25


def test_tables_and_figure_of_a_campaign(script, tmp_path, monkeypatch, capsys):
    """The features' AUC goes with the response by construction; what has no number has no row made up."""
    for sample, particle in (("photons", "photon"), ("pions", "charged_hadron"), ("dijets", "jets")):
        rows = []
        for at, name in enumerate(NAMES):
            samples = [sample, f"{sample}_learned_{name}"]
            of = {"samples": samples, "uncertainty": 0.001, "floor": 0.002}
            rows.append({**of, "stage": "hits", "name": f"{particle}/auc_high_level", "value": 0.55 + at / 20})
            rows.append({**of, "stage": "objects", "name": f"{particle}/shift_response", "value": at * (-1) ** at / 50})
        folder = tmp_path / "report" / sample
        folder.mkdir(parents=True)
        (folder / "metrics.json").write_text(json.dumps(rows))
    figure = tmp_path / "figures/families.png"
    monkeypatch.setattr(sys, "argv", ["families.py", str(tmp_path), "--figure", str(figure)])
    script.main()
    out = capsys.readouterr().out
    (line,) = [row for row in out.splitlines() if row.startswith("| AUC, features | **")]
    assert line.split("|")[2].strip().startswith("**+1.00 ± 0.0") and line.count("–") == 6
    assert "| gan | 0.600 ± 0.001 |" in out and "| floor | 0.002 |" in out
    assert figure.stat().st_size > 10_000
