"""How well generated events agree with Pythia8's and with LEP or LHC data: the tables of a model card.

    python benchmarks/generation_quality.py PYTHIA8.parquet MODEL.parquet --classifier 15000

Both are particles of the same process; every number comes with its floor, the same between two parts of PYTHIA8.
"""

import argparse
from pathlib import Path

import awkward as ak
import numpy as np

from gen2reco.config.validation import Validation
from gen2reco.events import records
from gen2reco.events.truth import STANDARD
from gen2reco.validate import lep, lhc, measure
from gen2reco.validate.measurements import Comparison
from gen2reco.validate.observable_tables import ObservableTable
from gen2reco.validate.observables import PartObservables
from gen2reco.validate.observe.particle_observables import OBSERVABLES
from gen2reco.validate.ruler import Ruler

_PRINTED = ("pd", "/mean_n_charged", "/width_n_charged")
BINS = 37
"""Bins of equal probability in which thrust is compared."""


def main() -> None:
    """Read both and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("candidate", type=Path)
    parser.add_argument("--events", type=int, default=50_000, help="most events of each")
    parser.add_argument("--classifier", type=int, default=15_000, help="events of each for the classifier")
    parser.add_argument("--resamples", type=int, default=20, help="resamples behind each uncertainty and floor")
    given = parser.parse_args()
    settings = Validation(classifier_events=given.classifier, resamples=given.resamples)
    tables = [records.read(path, "particles").slice(0, given.events) for path in (given.reference, given.candidate)]
    both = [OBSERVABLES.observe(table, None, settings, STANDARD) for table in tables]
    n = min(table.num_rows for table in tables)
    print(f"{tables[1].num_rows:,} events against {tables[0].num_rows:,} of Pythia8\n")
    for part in OBSERVABLES.parts:
        if part.name in both[0]:
            distances(part, both[0][part.name], both[1][part.name], settings)
    events = [records.awkward(table) for table in tables]
    of_events = [tables["events"] for tables in both]
    if np.isfinite(of_events[0].values["thrust"]).mean() > 0.5:
        chi2, floor = thrust(*(t.values["thrust"] for t in of_events), n)
        print(f"thrust χ²/ndf ({BINS - 1}): {chi2:.2f}, between halves of Pythia8 {floor:.2f}\n")
        flavours(events, of_events, {"u d s": (1, 2, 3), "c": (4,), "b": (5,)})
        against_data(*(lep.compare(lep.observe(e)) for e in events))
    elif all(ak.all(ak.num(e.partons) > 0) for e in events):
        flavours(events, of_events, {"quark": (1, 2, 3, 4, 5), "gluons only": ()})
    if all(lhc.are_inelastic(records.Source(path, "particles").story) for path in (given.reference, given.candidate)):
        against_data(*(lhc.compare(e, lhc.SQRT_S) for e in events))


def distances(part: PartObservables, a: ObservableTable, b: ObservableTable, settings: Validation) -> None:
    """Classifier, FPD, KPD, and the distance of every observable."""
    ruler = Ruler("particles", ("pythia8", "ml"), settings)
    metrics = list(measure.compared(part, ruler, a, b))
    for m in metrics:
        if any(kind in m.name for kind in ("/auc", "/shift_", "/profile_")) or m.name.endswith(_PRINTED):
            print(f"{m.title}: {m.value:.4f} ± {m.uncertainty:.4f}, floor {m.floor:.4f}")
    print("\n| observable | W1 | floor | mean | standard deviation |\n|---|---|---|---|---|")
    for m in metrics:
        if "/w1_" not in m.name:
            continue
        column = m.name.partition("/w1_")[2]
        if column in a.values:
            x, y = (s.values[column][np.isfinite(s.values[column])] for s in (a, b))
            moments = f"{y.mean():.4g} / {x.mean():.4g} | {y.std():.4g} / {x.std():.4g}"
        else:
            moments = f"{b.blocks[column].sum(1).mean():.4g} / {a.blocks[column].sum(1).mean():.4g} | "
        print(f"| {column} | {m.value:.3f} | {m.floor:.3f} | {moments} |")
    print()


def thrust(a: np.ndarray, b: np.ndarray, n: int) -> tuple[float, float]:
    """χ²/ndf of n values each in bins of equal probability, and the same between halves of the reference."""
    a, b = a[np.isfinite(a)][:n], b[np.isfinite(b)][:n]
    edges = np.quantile(a, np.linspace(0, 1, BINS + 1))
    edges[0], edges[-1] = -np.inf, np.inf
    return chi2(a, b, edges), chi2(a[::2], a[1::2], edges)


def chi2(a: np.ndarray, b: np.ndarray, edges: np.ndarray) -> float:
    """χ²/ndf between two histograms of unit area."""
    p, q = (np.histogram(x, edges)[0] for x in (a, b))
    return float(((p / len(a) - q / len(b)) ** 2 / (p / len(a) ** 2 + q / len(b) ** 2)).sum() / (len(p) - 1))


def flavours(events: list[ak.Array], tables: list[ObservableTable], chosen: dict[str, tuple[int, ...]]) -> None:
    """Means by the flavours of the outgoing hard partons, model / Pythia8."""
    columns = ("n_charged", "n_kaon", "n_electron", "displaced", "leading_charged_x", "scalar_pt")
    print("| hard partons | " + " | ".join(columns) + " |\n|---" * 1 + "|---" * len(columns) + "|")
    for name, codes in chosen.items():
        cells = []
        masks = [_made_of(e, codes) for e in events]
        for column in columns:
            y, x = (s.values[column][mask] for s, mask in zip(reversed(tables), reversed(masks)))
            error = np.hypot(y.std() / np.sqrt(len(y)), x.std() / np.sqrt(len(x)))
            cells.append(f"{y.mean():.4g} / {x.mean():.4g} ± {error:.2g}")
        print(f"| {name} ({masks[1].sum()}) | " + " | ".join(cells) + " |")
    print()


def _made_of(events: ak.Array, codes: tuple[int, ...]) -> np.ndarray:
    """Events with an outgoing hard quark of one of these flavours; with none of any, where no code is given."""
    outgoing = abs(events.partons.pdg[events.partons.status == 23])
    if not codes:
        return ak.to_numpy(ak.all(outgoing == 21, axis=1))
    return ak.to_numpy(ak.any(sum(outgoing == code for code in codes) > 0, axis=1))


def against_data(reference: list[Comparison], candidate: list[Comparison]) -> None:
    """χ²/ndf against the measured distributions, and ratios of integrals: 1 of what is normalised."""
    print("| | model | Pythia8 | ndf | model / data | Pythia8 / data |\n|---|---|---|---|---|---|")
    for x, y in zip(reference, candidate):
        m = y.measurement
        chi2 = f"{y.chi2 / y.ndf:.2f} | {x.chi2 / x.ndf:.2f} | {y.ndf}"
        print(f"| {m.experiment} {m.observable} | {chi2} | {_yield(y):.3f} | {_yield(x):.3f} |")


def _yield(found: Comparison) -> float:
    """Integral of the sample over that of the data, in the bins that are compared."""
    m, kept = found.measurement, np.isfinite(found.value)
    width = (m.high - m.low)[kept]
    return float(found.value[kept] @ width / (m.value[kept] @ width))


if __name__ == "__main__":
    main()
