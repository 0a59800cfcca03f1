"""All metrics of one part of a record: tables of the reference against those of each candidate, with verdicts."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gen2reco.statistics import binomial, distances, frechet, profiles, response
from gen2reco.statistics.bootstrap import Units, bootstrap_error, effective_number, shared
from gen2reco.statistics.classifiers import two_sample_auc
from gen2reco.statistics.measured import NOT_MEASURED, Measured, half_normal
from gen2reco.validate import identity
from gen2reco.validate.binning import bin_edges, histogram_edges
from gen2reco.validate.observable_tables import ObservableTable
from gen2reco.validate.observables import PartObservables, Profile, Quantity, Rate, Response, Trend
from gen2reco.validate.ruler import Ruler
from gen2reco.validate.verdict import Metric, excess

FEWEST = 8
"""Units of a table below which nothing is measured."""
TERMS = {"stochastic": "stochastic term, √GeV", "noise": "noise term, GeV", "constant": "constant term"}
TOO_FEW = "too few events"
FEWEST_PULLS = 20
"""Pulls up to which their width is not measured."""
FEWEST_SHIFTED = 20
"""Units below which responses are not compared."""
FEWEST_IN_BIN = 40
"""Units of a bin of energy below which it is not judged: uncertainties of widths need as many."""


def absolute(part: PartObservables, ruler: Ruler, table: ObservableTable) -> Iterator[Metric]:
    """What a sample shows by itself: response, resolution and its terms, width of the pull, rates, identities."""
    enough = len(table) >= FEWEST
    for what in part.responses:
        yield from _own_response(part.name, ruler, what, table) if enough else ()
        if what.terms:
            yield from _terms(ruler, part.name, what, table)
    if part.pull and enough:
        yield from _pull_width(part.name, ruler, table)
    for rate in measured_rates(part, table) if enough else ():
        tried = table.units(rate.name)
        if len(tried.values) >= FEWEST:
            share = binomial.rate(tried.values > 0.5, tried.weight, tried.groups)
            yield ruler.metric(f"{part.name}/{rate.name}", rate.label, share, len(tried.values))
    if part.identities:
        yield from identity.metrics(ruler, part.name, table)


def measured_rates(part: PartObservables, *tables: ObservableTable) -> list[Rate]:
    """The rates that all tables hold: those of clusters need a column that files may lack."""
    return [rate for rate in part.rates if all(rate.name in table.values for table in tables)]


def _own_response(name: str, ruler: Ruler, what: Response, table: ObservableTable) -> Iterator[Metric]:
    for column, tag in ((what.name, ""), (what.raw, "raw_"), (what.corrected, "corrected_")):
        if column is None or (column == what.corrected and column not in table.values):
            continue
        units = table.units(column)
        rng, raw = ruler.rng(f"{name}/{tag}response"), tag.replace("_", " ")
        given = (units.values, units.weight, ruler.settings.resamples)
        mean, width = response.response(*given, rng, units.groups)
        yield ruler.metric(f"{name}/{tag}response", f"{raw}response {what.label}, mean", mean, len(units.values))
        middle = response.median_response(*given, ruler.rng(f"{name}/{tag}median"), units.groups)
        yield ruler.metric(f"{name}/{tag}median", f"{raw}response {what.label}, median", middle, len(units.values))
        yield ruler.metric(f"{name}/{tag}resolution", f"{raw}resolution σ_eff / mean", width, len(units.values))


def _pull_width(name: str, ruler: Ruler, table: ObservableTable) -> Iterator[Metric]:
    pull = table.units("pull")
    values, weight = pull.values, pull.weight
    if len(values) > FEWEST_PULLS:
        width = float(response.sigma_eff(values, weight))
        if shared(pull.groups):
            rng = ruler.rng(f"{name}/pull_width")
            columns = (values, weight)
            error = bootstrap_error(columns, _width_of, ruler.settings.resamples, rng, pull.groups)
        else:
            error = width / np.sqrt(effective_number(np.maximum(weight, 0.0)))
        yield ruler.metric(f"{name}/pull_width", "width of the pull (σ_eff)", Measured(width, error), len(values))


def _width_of(values: NDArray, weight: NDArray) -> float:
    return float(response.sigma_eff(values, weight))


def _terms(ruler: Ruler, name: str, what: Response, table: ObservableTable) -> Iterator[Metric]:
    binned = bin_response(ruler, name, what.energy, table, what.name)
    if binned is None or len(binned.n) < 2:
        return
    terms, n = response.fit_terms(binned), int(binned.n.sum())
    if terms is None:
        found = ruler.metric(f"{name}/stochastic", TERMS["stochastic"], NOT_MEASURED, n)
        yield replace(found, reason=TOO_FEW)
        return
    for term, label in TERMS.items():
        yield ruler.metric(f"{name}/{term}", label, getattr(terms, term), n)


def bin_response(
    ruler: Ruler, name: str, over: str, table: ObservableTable, column: str, edges: NDArray | None = None
) -> response.Binned | None:
    """Response, a column of a table, in bins of its energy or eta; None when it has too few units."""
    ratio, x = table.values[column], table.values[over]
    good = np.isfinite(ratio) & np.isfinite(x) & (table.weight != 0)
    if good.sum() < 20:
        return None
    edges = bin_edges(over, one_draw(x[good], table), ruler.settings) if edges is None else edges
    columns, rng = (ratio[good], table.weight[good], x[good], edges), ruler.rng(f"{name}/{column}/{over}")
    return response.binned_response(*columns, ruler.settings.resamples, rng, [table.group[good]])


def one_draw(x: NDArray, table: ObservableTable) -> NDArray:
    """One draw of each event, of values of units (n,): bins are made for as many events as there are, not draws."""
    return x[:: max(round(table.draws), 1)]


def compared(part: PartObservables, ruler: Ruler, a: ObservableTable, b: ObservableTable) -> Iterator[Metric]:
    """What tells candidate b from reference a: classifiers, distances, moments, profiles, responses, rates."""
    if min(len(a), len(b)) < FEWEST:
        return
    a, b = a.grouped_as(b), b.grouped_as(a)
    yield from _classified(part, ruler, a, b)
    apart = [m for q in part.quantities_of((a, b)) for m in _distances(ruler, part.name, q, a, b)]
    apart += [m for p in part.profiles for m in _profiles(ruler, part.name, p, a, b)]
    apart += [m for t in part.trends for m in _trends(ruler, part.name, t, a, b)]
    yield from _with_headlines(apart)
    for what in part.responses:
        yield from _responses(ruler, part.name, what, a, b)
    for rate in measured_rates(part, a, b):
        yield from _rate_shift(ruler, part.name, rate, a, b)


def _classified(part: PartObservables, ruler: Ruler, a: ObservableTable, b: ObservableTable) -> Iterator[Metric]:
    settings = ruler.settings
    for test in part.classifiers:
        x, y = (table.features(test.values, test.blocks) for table in (a, b))
        varied = (np.ptp(x, axis=0) > 0) | (np.ptp(y, axis=0) > 0)
        if not varied.any():
            continue
        x, y = x[:, varied], y[:, varied]
        label = f"{part.name}/auc_{test.name}"
        floors = ruler.floors.setdefault(label, {})
        auc, n = two_sample_auc(
            x, y, a.group, b.group, a.weight, b.weight, most=settings.classifier_events, seed=settings.seed,
            floors=floors,
        )  # fmt: skip
        title = f"classifier AUC, {test.title} ({n} against {n})"
        yield ruler.metric(label, title, auc, n, settings.auc, headline=test.headline)
        if test is part.classifiers[0]:
            both = (("fpd", frechet.frechet_physics_distance), ("kpd", frechet.kernel_physics_distance))
            for short, distance in both:
                measured, n = frechet.with_floor(distance, x, y, settings.seed, (a.group, b.group))
                yield ruler.metric(f"{part.name}/{short}", f"{short.upper()}, {test.title}", measured, n)


def _distances(ruler: Ruler, name: str, quantity: Quantity, a: ObservableTable, b: ObservableTable) -> Iterator[Metric]:
    units_a, units_b = units = [table.units(quantity.name) for table in (a, b)]
    if min(len(u.values) for u in units) < FEWEST or np.ptp(np.concatenate([u.values for u in units])) == 0:
        return
    settings, n, label = ruler.settings, min(len(u.values) for u in units), f"{name}/{{}}_{quantity.name}"
    scaled_a, scaled_b = (u._replace(values=np.log(np.maximum(u.values, 1e-12))) if quantity.log else u for u in units)
    rng = ruler.rng(label)
    w1 = distances.wasserstein_measured(scaled_a, scaled_b, settings.resamples, rng)
    yield ruler.metric(label.format("w1"), f"W1/σ {quantity.label}", w1, n, settings.wasserstein, above_floor=True)
    bins = histogram_edges(quantity, units)
    apart = distances.separation_measured(units_a, units_b, bins, settings.resamples, rng)
    yield ruler.metric(label.format("separation"), f"separation power {quantity.label}", apart, n)
    if quantity.moments:
        for moment, limits in (("mean", settings.mean), ("width", settings.width)):
            shift = distances.shift_measured(units_a, units_b, moment, settings.resamples, rng)
            title = f"{quantity.label}: {moment}, relative shift"
            yield ruler.metric(label.format(moment), title, shift, n, limits, headline=moment == "mean")


def _profiles(ruler: Ruler, name: str, profile: Profile, a: ObservableTable, b: ObservableTable) -> Iterator[Metric]:
    settings, rng, n = ruler.settings, ruler.rng(f"{name}/{profile.name}"), min(len(a), len(b))
    blocks, units = [table.blocks[profile.name] for table in (a, b)], [table.weighted_events for table in (a, b)]
    edges = profile.edges_of(blocks[0])
    x = np.log(edges[1:] * edges[:-1]) / 2 if profile.log else (edges[1:] + edges[:-1]) / 2
    shape = profiles.shape_measured(blocks[0], units[0], blocks[1], units[1], x, settings.resamples, rng)
    title = f"W1/σ {profile.label}"
    yield ruler.metric(f"{name}/w1_{profile.name}", title, shape, n, settings.wasserstein, above_floor=True)
    if profile.judged:
        size = profiles.deviation_measured(blocks[0], units[0], blocks[1], units[1], settings.resamples, rng)
        title = f"{profile.label}: largest relative deviation in a bin"
        yield ruler.metric(f"{name}/profile_{profile.name}", title, size, n, settings.profile, above_floor=True)


def _trends(ruler: Ruler, name: str, trend: Trend, a: ObservableTable, b: ObservableTable) -> Iterator[Metric]:
    settings, rng, n = ruler.settings, ruler.rng(f"{name}/trend_{trend.name}"), min(len(a), len(b))
    units = [table.weighted_events for table in (a, b)]
    found = profiles.trend_measured(trend.block(a), units[0], trend.block(b), units[1], settings.resamples, rng)
    title = f"{trend.label} against {trend.axis}: largest relative deviation in a bin"
    yield ruler.metric(f"{name}/profile_{trend.name}", title, found, n, settings.profile, above_floor=True)


def _with_headlines(metrics: list[Metric]) -> Iterator[Metric]:
    """The largest distance and the largest profile deviation of a part stand for the rest in the verdict."""
    for group in ("/w1_", "/profile_"):
        own = [m for m in metrics if group in m.name]
        if own:
            top = max(own, key=excess)
            prefix = "largest of the distances: " if group == "/w1_" else ""
            metrics[metrics.index(top)] = replace(top, headline=True, title=prefix + top.title)
    yield from metrics


def _responses(ruler: Ruler, name: str, what: Response, a: ObservableTable, b: ObservableTable) -> Iterator[Metric]:
    settings = ruler.settings
    if what.corrected and all(what.corrected in table.values for table in (a, b)):
        yield from _shifts(ruler, name, what, "corrected_", (a.units(what.corrected), b.units(what.corrected)))
    units = a.units(what.name), b.units(what.name)
    if min(len(u.values) for u in units) < FEWEST_SHIFTED:
        return
    yield from _shifts(ruler, name, what, "", units)
    x = one_draw(a.values[what.energy][np.isfinite(a.values[what.name])], a)
    edges = bin_edges("energy", x, settings)
    bins_a, bins_b = (bin_response(ruler, name, what.energy, table, what.name, edges) for table in (a, b))
    if len(edges) > 2 and bins_a and bins_b:
        sources = np.minimum(bins_a.n / a.draws, bins_b.n / b.draws)
        yield from _worst_bins(ruler, name, bins_a, bins_b, sources)


def _shifts(ruler: Ruler, name: str, what: Response, kind: str, units: tuple[Units, Units]) -> Iterator[Metric]:
    """Relative shifts of response and resolution, the `corrected_` ones no headline."""
    settings, n, rng = ruler.settings, min(len(u.values) for u in units), ruler.rng(f"{name}/{kind}shift")
    if n < FEWEST_SHIFTED:
        return
    units_a, units_b = units
    of_each = [response.response(u.values, u.weight, settings.resamples, rng, u.groups) for u in units]
    same = np.array_equal(np.unique(units_a.event), np.unique(units_b.event))
    errors = response.paired_errors(units_a, units_b, settings.resamples, rng) if same else (None, None)
    for i, (tag, title, limits) in enumerate(
        (
            ("response", f"{kind.replace('_', ' ')}response {what.label}, relative shift", settings.mean),
            ("resolution", f"{kind.replace('_', ' ')}resolution σ_eff / mean, relative shift", settings.width),
        )
    ):
        shift = _relative(of_each[1][i], of_each[0][i], errors[i])
        yield ruler.metric(f"{name}/{kind}shift_{tag}", title, shift, n, limits, headline=not kind)


def _worst_bins(ruler: Ruler, name: str, a: response.Binned, b: response.Binned, sources: NDArray) -> Iterator[Metric]:
    settings = ruler.settings
    for tag, limits in (("response", settings.mean), ("resolution", settings.width)):
        ratio = getattr(b, tag) / getattr(a, tag)
        relative = (getattr(binned, f"{tag}_error") / getattr(binned, tag) for binned in (a, b))
        value, error = ratio - 1, np.abs(ratio) * np.hypot(*relative)
        good = np.isfinite(value) & (error > 0) & (sources >= FEWEST_IN_BIN)
        if not good.any():
            continue
        at = np.flatnonzero(good)[np.abs(value[good]).argmax()]
        chance = np.abs(ruler.rng(f"{name}/bins").normal(size=(500, good.sum())) * error[good]).max(1)
        worst_bin = Measured(float(value[at]), float(error[at]), float(chance.mean()), float(chance.std()))
        title = f"{tag}: largest relative shift in a bin of energy ({a.low[at]:.3g}–{a.high[at]:.3g} GeV)"
        n = int(min(a.n[at], b.n[at]))
        yield ruler.metric(f"{name}/bins_{tag}", title, worst_bin, n, limits, above_floor=True)


def _rate_shift(ruler: Ruler, name: str, rate: Rate, a: ObservableTable, b: ObservableTable) -> Iterator[Metric]:
    units = [table.units(rate.name) for table in (a, b)]
    n = min(len(u.values) for u in units)
    if n < FEWEST:
        return
    of_each = [binomial.rate(u.values > 0.5, u.weight, u.groups) for u in units]
    error = float(np.hypot(of_each[0].uncertainty, of_each[1].uncertainty))
    shift = Measured(of_each[1].value - of_each[0].value, error, *half_normal(error))
    yield ruler.metric(
        f"{name}/shift_{rate.name}", f"{rate.label}, shift", shift, n, ruler.settings.rate, headline=True
    )


def _relative(b: Measured, a: Measured, error: float | None) -> Measured:
    """b / a - 1 with the uncertainties of both unless `error` is given; floor: mean absolute shift of equal samples."""
    if not (np.isfinite(a.value) and np.isfinite(b.value) and a.value):
        return NOT_MEASURED
    ratio = b.value / a.value
    if error is None:
        error = float(ratio * np.hypot(a.uncertainty / a.value, b.uncertainty / b.value)) if b.value else a.uncertainty
    return Measured(float(ratio - 1), abs(error), *half_normal(abs(error)))
