"""One section of the report for each record: its parts measured and drawn."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gen2reco.config.validation import Validation
from gen2reco.errors import InputError
from gen2reco.events.arrow import numbers
from gen2reco.events.schemas import LINKS
from gen2reco.run.draws import library_parts, origins
from gen2reco.run.progress import Progress
from gen2reco.statistics import binomial, response
from gen2reco.validate import identity, measure
from gen2reco.validate.all_observables import OBSERVABLES
from gen2reco.validate.binning import bin_edges
from gen2reco.validate.figures import curves, distributions
from gen2reco.validate.figures.style import Image
from gen2reco.validate.observable_tables import ObservableTable, concatenate
from gen2reco.validate.observables import PartObservables, RecordObservables, Response
from gen2reco.validate.ruler import Ruler
from gen2reco.validate.samples import Sample
from gen2reco.validate.verdict import Metric, worst

FEWEST_DRAWN = 20
"""Units of the reference below which a part has no figures."""


@dataclass(frozen=True)
class Picture:
    """A figure with its title and caption."""

    title: str
    image: Image
    caption: str


@dataclass(frozen=True)
class Part:
    """One kind of unit of a section: showers of photons, jets, whole events."""

    name: str
    title: str
    counts: list[int]
    pictures: list[Picture]
    metrics: list[Metric]


@dataclass(frozen=True)
class Section:
    """One record of the chain; `metrics` are those of all parts."""

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
    """Read a record of all samples that hold it, measure and draw; candidates on the reference's files are left out.

    Raises InputError where a sample does not say its detector, or detectors differ in the number of layers.
    """
    observables = OBSERVABLES[record]
    first, others = samples[0], samples[1:]
    same = [s.name for s in others if record in s.shards and s.shards[record] == first.shards[record]]
    holding = [s is first or (record in s.shards and s.name not in same) for s in samples]
    if not any(holding[1:]):
        samples, holding = [first], [True]
    names = [sample.name if held else None for sample, held in zip(samples, holding)]
    if observables.needs_detector:
        _check_detectors([sample for sample, held in zip(samples, holding) if held])
    found = [observed(observables, sample, settings) if held else {} for sample, held in zip(samples, holding)]
    parts = []
    for part in observables.parts:
        empty = ObservableTable.empty(tables[part.name] for tables in found if part.name in tables)
        of_samples = [tables.get(part.name, empty) for tables in found]
        if any(len(table) for table in of_samples):
            parts.append(_part(part, record, samples, of_samples, names, settings))
    notes = [] if parts else ["No events to compare at this stage."]
    if none := [sample.name for sample in others if record not in sample.shards]:
        notes.append(f"{', '.join(none)}: no {record}, so in no figure of this section.")
    if same:
        notes.append(f"{', '.join(same)}: the same files as {first.name}, nothing to compare.")
    return Section(record, observables.title, parts, names, notes)


def _check_detectors(samples: list[Sample]) -> None:
    for sample in samples:
        if sample.detector is None:
            raise InputError(f"{sample.path}: does not say which detector it was made with; give --detector")
    layers = [sample.detector.n_layers for sample in samples if sample.detector]
    for sample, number in zip(samples, layers):
        if number != layers[0]:
            raise InputError(
                f"{sample.path}: made with a detector of {number} layers, the reference {samples[0].path} with one of "
                f"{layers[0]}; expected samples of one detector"
            )


def observed(observables: RecordObservables, sample: Sample, settings: Validation) -> dict[str, ObservableTable]:
    """Tables by part of a sample at one record, read shard by shard."""
    record = observables.record
    found: dict[str, list[ObservableTable]] = {}
    with Progress(f"read {sample.name} {record}", len(sample.shards[record]), "shards") as progress:
        optional = (*observables.optional, *LINKS)
        for events in sample.events(record, observables.columns, settings.max_events, optional):
            for name, table in observables.observe(events, sample.detector, settings, sample.properties).items():
                by_source = table.of_sources(numbers(events["event"]), origins(events), library_parts(events))
                found.setdefault(name, []).append(by_source)
            progress.advance(1)
    return {name: concatenate(tables) for name, tables in found.items()}


def _part(
    part: PartObservables,
    record: str,
    samples: list[Sample],
    tables: list[ObservableTable],
    names: list[str | None],
    settings: Validation,
) -> Part:
    metrics: list[Metric] = []
    floors: dict[str, dict[int, float]] = {}
    for sample, table in zip(samples, tables):
        metrics += measure.absolute(part, Ruler(record, (sample.name,), settings), table)
    for sample, table in zip(samples[1:], tables[1:]):
        ruler = Ruler(record, (samples[0].name, sample.name), settings, floors)
        metrics += measure.compared(part, ruler, tables[0], table)
    enough = len(tables[0]) >= FEWEST_DRAWN
    pictures = list(_pictures(part, tables, names, metrics, settings)) if enough else []
    return Part(part.name, part.title, [len(table) for table in tables], pictures, metrics)


def _pictures(
    part: PartObservables,
    tables: list[ObservableTable],
    names: list[str | None],
    metrics: list[Metric],
    settings: Validation,
) -> Iterator[Picture]:
    ruler = Ruler("figures", (), settings)
    if part.identities:
        yield Picture("Identities", identity.figure(tables, names), identity.CAPTION)
    for what in part.responses:
        yield from _response_picture(ruler, part, what, tables, names)
    if measure.measured_rates(part, *tables):
        yield _rates_picture(part, tables, names, settings)
    notes = _notes(part.name, metrics, names)
    if quantities := distributions.shown(part.quantities_of(tables), tables):
        picture = distributions.distributions(quantities, tables, names, notes)
        yield Picture("Distributions", picture, _DISTRIBUTIONS + _compared(names))
    if part.profiles:
        picture = distributions.profiles(part.profiles, tables, names, notes)
        yield Picture("Profiles and spectra", picture, _PROFILES + _compared(names))
    if part.trends:
        yield Picture("Trends", distributions.trends(part.trends, tables, names), _TRENDS)


_DISTRIBUTIONS = "Unit area; the outermost bins hold what lies beyond. Bars and bands are statistical uncertainties."
_PROFILES = "Mean per unit; bars and bands from an event bootstrap."
_TRENDS = "Mean of the units in a bin; bars and bands from an event bootstrap."


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


def _response_picture(
    ruler: Ruler, part: PartObservables, what: Response, tables: list[ObservableTable], names: list[str | None]
) -> Iterator[Picture]:
    by_axis: dict[str, list[curves.ResponseCurve]] = {}
    for over in what.over:
        x = tables[0].values[over][np.isfinite(tables[0].values[what.name])]
        if len(x) < 20:
            continue
        edges = bin_edges(over, x, ruler.settings)
        for i, table in enumerate(tables):
            binned = measure.bin_response(ruler, part.name, over, table, what.name, edges) if len(table) else None
            if binned is None:
                continue
            raw = measure.bin_response(ruler, part.name, over, table, what.raw, edges) if what.raw else None
            terms = response.fit_terms(binned) if over == what.energy and what.terms else None
            by_axis.setdefault(_axis(part, over), []).append(curves.ResponseCurve(i, binned, raw, terms))
    if by_axis:
        caption = (
            "Mean of reconstructed over true and its effective width (half the smallest interval that holds 68 %), "
            "with bootstrap uncertainties."
        )
        if what.terms and what.energy in by_axis:
            fitted = any(curve.terms for curve in by_axis[what.energy])
            caption += " Lines: fit of a/√E ⊕ b/E ⊕ c." if fitted else " Too few events to fit a/√E ⊕ b/E ⊕ c."
        if what.raw:
            caption += " Open markers: raw energies, before the calibration."
        drawn = {curve.sample for curve_list in by_axis.values() for curve in curve_list}
        if few := [name for i, name in enumerate(names) if name and i not in drawn]:
            caption += f" Too few to draw: {', '.join(few)}."
        yield Picture("Response and resolution", curves.responses(by_axis, names, what.label), caption)


def _axis(part: PartObservables, over: str) -> str:
    return part.energy_axis if over == "energy" else over


def _binned_rate(table: ObservableTable, name: str, over: str, edges: NDArray) -> binomial.BinnedRate:
    """A rate of the units that have one."""
    tried = table.select(np.isfinite(table.values[name]))
    return binomial.binned_rate(tried.values[name] > 0.5, tried.weight, tried.values[over], edges, [tried.group])


def _rates_picture(
    part: PartObservables, tables: list[ObservableTable], names: list[str | None], settings: Validation
) -> Picture:
    rows = []
    for rate in measure.measured_rates(part, *tables):
        by_axis = {}
        for over in rate.over:
            x = tables[0].values[over][np.isfinite(tables[0].values[over])]
            if len(x):
                edges = bin_edges(over, x, settings)
                by_axis[_axis(part, over)] = [
                    (i, _binned_rate(table, rate.name, over, edges)) for i, table in enumerate(tables) if len(table)
                ]
        rows.append((rate.label, by_axis))
    return Picture("Rates", curves.rates(rows, names), "Bars are 68 % binomial intervals (Wilson).")
