"""The report: one HTML file with everything in it, verdict first."""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

from gen2reco import __version__
from gen2reco.config.validation import Validation
from gen2reco.statistics.measured import pull
from gen2reco.validate.compared import compared
from gen2reco.validate.costs import chain_seconds, cost_table
from gen2reco.validate.event_choice import pick
from gen2reco.validate.figures import planes
from gen2reco.validate.figures.display import display
from gen2reco.validate.figures.planes import Point
from gen2reco.validate.samples import Sample
from gen2reco.validate.scan import variants
from gen2reco.validate.sections import Part, Picture, Section
from gen2reco.validate.uses import USES, Answer
from gen2reco.validate.verdict import ATTENTION, FAIL, PASS, TOO_FEW, Metric, excess, worst
from gen2reco.validate.written import measured, number, percent, seconds

TOPICS = {
    "Classifier": ("auc_",),
    "Distributions": ("w1_",),
    "Profiles": ("profile_",),
    "Mean": ("mean_", "shift_response"),
    "Resolution": ("shift_resolution",),
    "Rates": ("shift_",),
}
"""Columns of the verdict table: headline metrics by the start of their names, the first that fits."""


@dataclass(frozen=True)
class Cell:
    """The gravest headline metric of one topic."""

    metric: Metric
    text: str

    @property
    def what(self) -> str:
        """Short name of the metric."""
        return self.metric.name.rpartition("/")[2].replace("_", " ")


@dataclass(frozen=True)
class VerdictRow:
    """One candidate in one part of one section: a cell or None per topic."""

    section: Section
    part: str
    candidate: str
    cells: list[Cell | None]
    first: bool
    first_of_section: bool


@dataclass(frozen=True)
class SideRow:
    """An absolute number of each sample, and each candidate's difference in standard deviations."""

    section: str
    part: str
    title: str
    values: list[Metric | None]
    pulls: list[float | None]


def overview(samples: list[Sample], sections: list[Section]) -> list[Picture]:
    """The figures before the sections: planes of quality against time and evaluations, and the display of an event."""
    return [*_planes(samples, sections), *_display(samples)]


def render(
    samples: list[Sample],
    sections: list[Section],
    metrics: list[Metric],
    settings: Validation,
    pictures: list[Picture],
    found: list[Answer],
) -> str:
    """The report as HTML text; `pictures` are those of the overview, `found` the answers for each use."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("gen2reco.validate"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(number=number, measured=measured, seconds=seconds, percent=percent)
    candidates = [sample.name for sample in samples[1:]]
    return environment.get_template("report.html").render(
        css=files("gen2reco.validate").joinpath("templates/report.css").read_text(encoding="utf-8"),
        samples=samples,
        candidates=candidates,
        uses=_by_use(found, candidates),
        unjudged=_unjudged(found, sections),
        compared=compared(samples),
        sections=sections,
        topics=list(TOPICS),
        verdicts=[row for section in sections for row in _verdict_rows(section, candidates)],
        summaries=[_summary(samples[0], sample, metrics) for sample in samples[1:]],
        side_by_side=[row for section in sections for row in _side_rows(section, samples)],
        costs=cost_table(samples),
        overview=pictures,
        settings=settings,
        version=__version__,
    )


def _by_use(found: list[Answer], candidates: list[str]) -> list[tuple[str, list[Answer | None]]]:
    """Each use that is judged, by its title, with the answer of each candidate."""
    answer = {(a.use.name, a.candidate): a for a in found}
    uses = [use for use in USES if any(a.use is use for a in found)]
    return [(use.title, [answer.get((use.name, name)) for name in candidates]) for use in uses]


def _unjudged(found: list[Answer], sections: list[Section]) -> list[str]:
    """Titles of the uses of records that are compared, of which the samples hold nothing."""
    records, judged = {section.record for section in sections}, {a.use.name for a in found}
    return [use.title for use in USES if use.record in records - {"particles"} and use.name not in judged]


def _verdict_rows(section: Section, candidates: list[str]) -> list[VerdictRow]:
    rows: list[VerdictRow] = []
    for part in section.parts:
        own = []
        for candidate in candidates:
            mine = [m for m in part.metrics if m.headline and m.samples[-1] == candidate and len(m.samples) == 2]
            if mine:
                own.append((candidate, [_cell(topic, mine) for topic in TOPICS]))
        rows += [
            VerdictRow(section, part.title, name, cells, i == 0, first_of_section=not rows and i == 0)
            for i, (name, cells) in enumerate(own)
        ]
    return rows


def _topic(metric: Metric) -> str | None:
    name = metric.name.rpartition("/")[2]
    return next((topic for topic, starts in TOPICS.items() if name.startswith(starts)), None)


def _cell(topic: str, metrics: list[Metric]) -> Cell | None:
    own = [m for m in metrics if _topic(m) == topic and m.verdict is not None]
    if not own:
        return None
    gravest = worst(m.verdict for m in own)
    metric = max((m for m in own if m.verdict == gravest), key=excess)
    signed = topic in ("Mean", "Resolution")
    text = percent(metric.value, metric.uncertainty) if signed or topic in ("Profiles", "Rates") else measured(metric)
    return Cell(metric, text)


def _summary(reference: Sample, candidate: Sample, metrics: list[Metric]) -> dict:
    """The gravest verdict of one candidate, how many headlines have each, and how much faster its own backends are."""
    own = [m for m in metrics if m.headline and m.samples[-1] == candidate.name and m.verdict is not None]
    boxes = [m for m in metrics if m.name == "cost/speed_up" and m.samples[-1] == candidate.name]
    theirs = {stage: cost.backend for stage, cost in reference.costs.items()}
    boxes = [m for m in boxes if candidate.costs[m.stage].backend != theirs.get(m.stage)]
    return {
        "name": candidate.name,
        "verdict": worst(m.verdict for m in own),
        "counts": {v: sum(m.verdict == v for m in own) for v in (FAIL, ATTENTION, PASS)},
        "too_few": sum(m.reason.startswith(TOO_FEW) for m in own),
        "speed_ups": [(m.stage, m.value) for m in boxes if not 0.8 < m.value < 1.25],
    }


def _side_rows(section: Section, samples: list[Sample]) -> list[SideRow]:
    rows = []
    for part in section.parts:
        alone = {(m.name, m.samples[0]): m for m in part.metrics if len(m.samples) == 1}
        for name in dict.fromkeys(name for name, _ in alone):
            values = [alone.get((name, sample.name)) for sample in samples]
            title = next(m.title for m in values if m is not None)
            rows.append(SideRow(section.title, part.title, title, values, [_pull(values[0], v) for v in values[1:]]))
    return rows


def _pull(a: Metric | None, b: Metric | None) -> float | None:
    if a is None or b is None:
        return None
    found = pull((a.value, a.uncertainty), (b.value, b.uncertainty))
    return found if math.isfinite(found) else None


def _planes(samples: list[Sample], sections: list[Section]) -> Iterator[Picture]:
    """Trade-off planes at hits and objects, and quality against evaluations, where times and AUCs are known."""
    levels, reference, curve = {}, {}, []
    for section in (section for section in sections if section.record in ("hits", "objects")):
        time = chain_seconds(samples[0], section.record)
        points = [p for part in section.parts for p in _points(part, samples, section.record)]
        if points and time is not None:
            levels[section.title], reference[section.title] = points, time
            if section.record == "hits":
                curve = points
    if not any(p.evaluations > 0 for p in curve):
        generated = [section for section in sections if section.record == "particles"]
        curve = [p for section in generated for part in section.parts for p in _points(part, samples, "particles")]
    curve = _named_by_variant([p for p in curve if p.evaluations > 0], variants(samples))
    names = [sample.name for sample in samples]
    if levels:
        caption = (
            "Each point is a candidate for one kind of shower or object: the AUC of a classifier that tells it from "
            "the reference (0.5 is perfect) against the time from particles to this level. Grey band: the same test "
            "between halves of the reference. Dashed: time of the reference, start-up left out."
            + _left_out(samples, {p.sample for points in levels.values() for p in points})
        )
        yield Picture("Quality against time", planes.trade_off(levels, reference, names), caption)
    if len({p.evaluations for p in curve}) > 1:
        caption = "Quality and time of the candidates against the number of network evaluations each of them used."
        caption += _left_out(samples, {p.sample for p in curve})
        yield Picture("Quality against network evaluations", planes.evaluations(curve, names), caption)


def _left_out(samples: list[Sample], shown: Collection[int]) -> str:
    """A sentence that names the candidates that a figure does not show, and says why; often empty."""
    names = [sample.name for i, sample in enumerate(samples) if i and i not in shown]
    return f" Not shown, for nothing was measured of them here: {', '.join(names)}." if names else ""


def _named_by_variant(points: list[Point], variants_of: list[str]) -> list[Point]:
    """Points with what else sets their candidates apart in the names of their series."""
    named = [(p, variants_of[p.sample]) for p in points]
    return [p._replace(series=f"{p.series}, {variant}") if variant else p for p, variant in named]


def _points(part: Part, samples: list[Sample], level: str) -> list[Point]:
    points = []
    stage = "generate" if level == "particles" else "simulate"
    for i, sample in enumerate(samples[1:], start=1):
        cost = sample.costs.get(stage)
        made = cost.seconds_per_event if cost else None
        time = made if level == "particles" else chain_seconds(sample, level)
        aucs = [m for m in part.metrics if "/auc_" in m.name and m.headline and m.samples[-1] == sample.name]
        per_event = cost.network_evaluations / cost.events if cost and cost.events else 0.0
        for m in aucs:
            if time and math.isfinite(m.value):
                what = m.title.removeprefix("classifier AUC, ").rpartition(" (")[0]
                points.append(
                    Point(i, f"{part.title}: {what}", time, m.value, m.uncertainty, m.floor, per_event or np.nan)
                )
    return points


def _display(samples: list[Sample]) -> Iterator[Picture]:
    found, detector = pick(samples), samples[0].detector
    if found is None or detector is None:
        return
    event, hits = found
    picture = display(list(hits.values()), list(hits), f"Event {event}", detector.front_face)
    caption = (
        "Hits coloured by trackster, the brightest first; grey hits belong to none. Size grows with the energy. Left: "
        "along the beam; right: projected from the collision point to the front face."
    )
    if without := [sample.name for sample in samples if sample.name not in hits]:
        caption += f" Not shown, for they hold no hits and clusters of this event: {', '.join(without)}."
    yield Picture("An event", picture, caption)
