"""The identity section: confusion table, reliability, calibration error and ROC areas of all kinds together."""

from collections.abc import Iterator

import numpy as np

from gen2reco.events.schemas import IDENTITIES
from gen2reco.statistics import identities
from gen2reco.statistics.binomial import rate
from gen2reco.statistics.identities import Answers
from gen2reco.validate.figures import identity_figures
from gen2reco.validate.figures.style import Image
from gen2reco.validate.observable_tables import ObservableTable
from gen2reco.validate.ruler import Ruler
from gen2reco.validate.true_particles import KIND_LABELS
from gen2reco.validate.verdict import Metric

CONFIDENCE = np.linspace(0.2, 1.0, 9)
CAPTION = (
    "Tables: of each true kind, what it was taken for, in per cent (most probable kind of the object with most energy "
    "close to it; `none`: no object). Right: how often the most probable kind is right against its stated probability, "
    "with 68 % intervals; good probabilities lie on the diagonal."
)


def answers(table: ObservableTable) -> Answers:
    """The identities of the particles of a table that an object was found of."""
    probability = np.stack([table.values[f"p_{kind}"] for kind in IDENTITIES], axis=1)
    found = np.isfinite(probability).all(axis=1) & (table.weight != 0)
    kind = table.values["kind"][found].astype(int)
    return Answers(probability[found], kind, table.weight[found], (table.group[found],))


def metrics(ruler: Ruler, name: str, table: ObservableTable) -> Iterator[Metric]:
    """Accuracy, expected calibration error, and the ROC area of each kind against the rest."""
    if not len(table):
        return
    found = answers(table)
    n = len(found.truth)
    if n < identities.FEWEST:
        return
    yield ruler.metric(f"{name}/accuracy", "right identities", rate(found.right, found.weight, found.groups), n)
    error = identities.calibration_error(found, ruler.settings.resamples, ruler.rng(f"{name}/calibration_error"))
    title = f"expected calibration error (perfect: {error.floor:.3f})"
    yield ruler.metric(f"{name}/calibration_error", title, error, n)
    for index, kind in enumerate(IDENTITIES):
        area = identities.roc_area(found, index)
        if np.isfinite(area.value):
            title = f"ROC area, {KIND_LABELS[kind]} against the rest"
            yield ruler.metric(f"{name}/roc_{kind}", title, area, int((found.truth == index).sum()))


def figure(tables: list[ObservableTable], names: list[str | None]) -> Image:
    """A confusion table a sample, and the reliability of all; no name: a sample without the record."""
    confusions, curves = {}, {}
    for i, (table, name) in enumerate(zip(tables, names)):
        if name is not None and len(table):
            kind, guessed = table.values["kind"], table.values["guessed"]
            confusions[i] = identities.confusion(kind, guessed, table.weight, len(IDENTITIES))
            curves[i] = identities.reliability(answers(table), CONFIDENCE)
    return identity_figures.draw(confusions, curves, names)
