"""The identity section: confusion table, reliability, calibration error and ROC areas of all kinds together."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from gen2reco.statistics import identities
from gen2reco.statistics.identities import Answers
from gen2reco.validate.observable_tables import Sheet
from gen2reco.validate.true_particles import KIND_LABELS, KINDS

if TYPE_CHECKING:
    from gen2reco.validate.measure import Ruler
    from gen2reco.validate.verdict import Metric

NAME = "identity"
CONFIDENCE = np.linspace(0.2, 1.0, 9)
CAPTION = (
    "Tables: of each true kind, what it was taken for, in per cent (most probable kind of the object with most energy "
    "near it; `none`: no object). Right: how often the most probable kind is right against the probability it states, "
    "with 68 % intervals; good probabilities lie on the diagonal."
)


def answers(sheet: Sheet) -> Answers:
    """What was found of a sheet of particles."""
    probability = np.stack([sheet.values[f"p_{kind}"] for kind in KINDS], axis=1)
    found = np.isfinite(probability).all(axis=1) & (sheet.weight != 0)
    return Answers(probability[found], sheet.values["kind"][found].astype(int), sheet.weight[found])


def metrics(ruler: "Ruler", sheet: Sheet) -> "Iterator[Metric]":
    """Accuracy, expected calibration error, and the ROC area of each kind against the rest."""
    from gen2reco.statistics.binomial import rate

    found = answers(sheet)
    n = len(found.truth)
    if n < identities.FEWEST:
        return
    yield ruler.metric(f"{NAME}/accuracy", "right identities", rate(found.right, found.weight), n)
    error = identities.calibration_error(found, ruler.settings.resamples, ruler.rng(f"{NAME}/calibration_error"))
    title = f"expected calibration error (perfect: {error.floor:.3f})"
    yield ruler.metric(f"{NAME}/calibration_error", title, error, n)
    for index, kind in enumerate(KINDS):
        area = identities.roc_area(found, index)
        if np.isfinite(area.value):
            title = f"ROC area, {KIND_LABELS[kind]} against the rest"
            yield ruler.metric(f"{NAME}/roc_{kind}", title, area, int((found.truth == index).sum()))


def figure(sheets: list[Sheet], names: list[str | None]) -> str:
    """A confusion table a sample, and the reliability of all, as data URI."""
    from gen2reco.validate.figures.identity_figures import draw

    tables, curves = {}, {}
    for i, (sheet, name) in enumerate(zip(sheets, names)):
        if name is not None and len(sheet):
            kind, guessed = sheet.values["kind"], sheet.values["guessed"]
            tables[i] = identities.confusion(kind, guessed, sheet.weight, len(KINDS))
            curves[i] = identities.reliability(answers(sheet), CONFIDENCE)
    return draw(tables, curves, names)
