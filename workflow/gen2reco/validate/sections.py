"""One section of the report for each record: its sheets measured, drawn and laid side by side."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np

from gen2reco.config.validation import Validation
from gen2reco.run.progress import Progress
from gen2reco.statistics import binomial, response
from gen2reco.validate import identity, measure
from gen2reco.validate.observable_tables import Sheet, concatenate
from gen2reco.validate.samples import Sample
from gen2reco.validate.verdict import Metric, worst

TITLES = {
    "particles": "Generated particles",
    "hits": "Simulated hits",
    "clusters": "Clusters and tracksters",
    "objects": "Calibrated objects",
}


FEWEST_DRAWN = 20
"""Units of the reference below which a part has no figures."""


@dataclass(frozen=True)
class Picture:
    """A figure as data URI, with its title and caption."""

    title: str
    uri: str
    caption: str


@dataclass(frozen=True)
class Part:
    """One sheet of a section: showers of photons, jets, whole events."""

    name: str
    title: str
    counts: list[int]
    pictures: list[Picture]
    metrics: list[Metric]


@dataclass(frozen=True)
class Section:
    """One record of the road; `parts` in the order of their modules, `metrics` of all of them."""

    record: str
    title: str
    parts: list[Part]
    names: list[str | None]
    notes: list[str] = field(default_factory=list)

    @property
    def metrics(self) -> list[Metric]:
        """All metrics of the section."""
        return [metric for part in self.parts for metric in part.metrics]

    @property
    def verdict(self) -> str | None:
        """The gravest verdict among the headlines."""
        return worst(metric.verdict for metric in self.metrics if metric.headline)


def build(record: str, samples: list[Sample], settings: Validation) -> Section:
    """Read a record of all samples that hold it, measure and draw; candidates on the reference's files are left out."""
    module = importlib.import_module(f"gen2reco.validate.observe.{record}")
    first, others = samples[0], samples[1:]
    same = [s.name for s in others if record in s.shards and s.shards[record] == first.shards[record]]
    holding = [s is first or (record in s.shards and s.name not in same) for s in samples]
    if not any(holding[1:]):
        samples, holding = [first], [True]
    names = [sample.name if held else None for sample, held in zip(samples, holding)]
    sheets = [observed(module, record, sample, settings) if held else {} for sample, held in zip(samples, holding)]
    parts = []
    for name, title in module.TITLES.items():
        of_samples = [found.get(name, Sheet.like(sheets, name)) for found in sheets]
        if any(len(sheet) for sheet in of_samples):
            parts.append(_part(module, record, name, title, samples, of_samples, names, settings))
    notes = [] if parts else ["No events to compare at this stage."]
    if same:
        notes.append(f"{', '.join(same)}: the same files as {first.name}, nothing to compare.")
    return Section(record, TITLES[record], parts, names, notes)


def observed(module: ModuleType, record: str, sample: Sample, settings: Validation) -> dict[str, Sheet]:
    """All sheets of a sample at one record, read shard by shard."""
    found: dict[str, list[Sheet]] = {}
    with Progress(f"read {sample.name} {record}", len(sample.shards[record]), "shards") as progress:
        for events in sample.events(record, module.COLUMNS, settings.max_events, getattr(module, "OPTIONAL", ())):
            for name, sheet in module.observe(events, sample.detector, settings, sample.properties).items():
                found.setdefault(name, []).append(sheet)
            progress.advance(1)
    return {name: concatenate(parts) for name, parts in found.items()}


def _part(
    module: ModuleType,
    record: str,
    name: str,
    title: str,
    samples: list[Sample],
    sheets: list[Sheet],
    names: list[str | None],
    settings: Validation,
) -> Part:
    metrics, floors = [], {}
    for sample, sheet in zip(samples, sheets):
        ruler = measure.Ruler(record, (sample.name,), settings)
        metrics += list(measure.absolute(module, ruler, name, sheet))
    for sample, sheet in zip(samples[1:], sheets[1:]):
        ruler = measure.Ruler(record, (samples[0].name, sample.name), settings, floors)
        metrics += list(measure.compared(module, ruler, name, sheets[0], sheet))
    counts = [len(sheet) for sheet in sheets]
    enough = len(sheets[0]) >= FEWEST_DRAWN
    pictures = list(_pictures(module, name, sheets, names, metrics, settings)) if enough else []
    return Part(name, title, counts, pictures, metrics)


def _pictures(
    module: ModuleType,
    name: str,
    sheets: list[Sheet],
    names: list[str | None],
    metrics: list[Metric],
    settings: Validation,
) -> Iterator[Picture]:
    from gen2reco.validate.figures import distributions

    ruler = measure.Ruler("figures", (), settings)
    if name == identity.NAME:
        yield Picture("Identities", identity.figure(sheets, names), identity.CAPTION)
    for what in getattr(module, "RESPONSES", {}).get(name, []):
        yield from _response_picture(ruler, name, what, sheets, names)
    if wanted := getattr(module, "RATES", {}).get(name, []):
        yield _rates_picture(name, wanted, sheets, names, settings)
    quantities = distributions.shown(module.QUANTITIES[name], sheets)
    if quantities:
        uri = distributions.distributions(quantities, sheets, names, _notes(name, metrics, names))
        yield Picture("Distributions", uri, _DISTRIBUTIONS + _compared(names))
    profiles = [p for p in module.PROFILES[name] if p.name in sheets[0].blocks]
    if profiles:
        uri = distributions.profiles(profiles, sheets, names, _notes(name, metrics, names))
        yield Picture("Profiles and spectra", uri, _PROFILES + _compared(names))


_DISTRIBUTIONS = "Unit area; the outermost bins hold what lies beyond. Bars and bands are statistical uncertainties."
_PROFILES = "Mean per unit; bars and bands from an event bootstrap."


def _compared(names: list[str | None]) -> str:
    if len(names) < 2:
        return ""
    return (
        f" Below: ratio to {names[0]}, arrows where it leaves the frame. W1/σ: Wasserstein distance over the standard "
        "deviation of the reference; in brackets what two reference samples of these sizes give."
    )


def _notes(name: str, metrics: list[Metric], names: list[str | None]) -> dict[str, str]:
    """W1 with its floor, by quantity; with several candidates the largest."""
    found: dict[str, Metric] = {}
    for metric in metrics:
        if metric.name.startswith(f"{name}/w1_"):
            key = metric.name.removeprefix(f"{name}/w1_")
            if key not in found or metric.value > found[key].value:
                found[key] = metric
    prefix = "W1/σ" if len(names) < 3 else "largest W1/σ"
    return {key: f"{prefix} = {m.value:.3f} ({m.floor:.3f})" for key, m in found.items() if np.isfinite(m.value)}


def _response_picture(ruler, name, what, sheets, names) -> Iterator[Picture]:
    from gen2reco.validate.figures.curves import ResponseCurve, responses

    curves: dict[str, list[ResponseCurve]] = {}
    for over in what.over:
        good = sheets[0].values[over][np.isfinite(sheets[0].values[what.name])]
        if len(good) < 20:
            continue
        edges = measure.bin_edges(over, good, ruler.settings)
        for i, sheet in enumerate(sheets):
            binned = measure.bin_response(ruler, name, what, over, sheet, what.name, edges) if len(sheet) else None
            if binned is None:
                continue
            raw = measure.bin_response(ruler, name, what, over, sheet, what.raw, edges) if what.raw else None
            terms = response.fit_terms(binned) if over == "energy" and name != "jets" else None
            axis = "pt" if name == "jets" and over == "energy" else over
            curves.setdefault(axis, []).append(ResponseCurve(i, binned, raw, terms))
    if curves:
        caption = (
            "Mean of reconstructed over true and its effective width (half the smallest interval that holds 68 %), "
            "with bootstrap uncertainties."
        )
        if "energy" in curves:
            fitted = any(curve.terms for curve in curves["energy"])
            caption += " Lines: fit of a/√E ⊕ b/E ⊕ c." if fitted else " Too few events to fit a/√E ⊕ b/E ⊕ c."
        if what.raw:
            caption += " Open markers: raw energies, before the calibration."
        yield Picture("Response and resolution", responses(curves, names, what.label), caption)


def _binned_rate(sheet: Sheet, name: str, over: str, edges: np.ndarray) -> binomial.BinnedRate:
    """A rate of the units that have one."""
    tried = sheet.select(np.isfinite(sheet.values[name]))
    return binomial.binned_rate(tried.values[name] > 0.5, tried.weight, tried.values[over], edges)


def _rates_picture(name, wanted, sheets, names, settings) -> Picture:
    from gen2reco.validate.figures import curves

    table = []
    for rate in wanted:
        of_variables = {}
        for over in rate.over:
            x = sheets[0].values[over][np.isfinite(sheets[0].values[over])]
            if not len(x):
                continue
            edges = measure.bin_edges(over, x, settings)
            of_variables["pt" if name == "jets" and over == "energy" else over] = [
                (i, _binned_rate(sheet, rate.name, over, edges)) for i, sheet in enumerate(sheets) if len(sheet)
            ]
        table.append((rate.label, of_variables))
    caption = "Bars are 68 % binomial intervals (Wilson)."
    return Picture("Rates", curves.rates(table, names), caption)
