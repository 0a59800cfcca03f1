"""What a candidate may be used for in place of the reference: yes, no, or about how many events it takes to tell."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from gen2reco.config.validation import Validation
from gen2reco.validate.samples import Sample
from gen2reco.validate.sections import Part, Section
from gen2reco.validate.verdict import PASS, Metric, scale_of
from gen2reco.validate.written import written

YES, NO, UNKNOWN = "yes", "no", "cannot tell"
MOST = 1e7
"""Events above which no number is given."""
WANTED = 40
"""Units of a kind (particles, jets) that a first answer takes."""


@dataclass(frozen=True)
class Use:
    """A use, and the parts of a record whose headline numbers decide it; all parts where none are named."""

    name: str
    title: str
    record: str
    parts: tuple[str, ...] = ()

    def parts_of(self, section: Section) -> list[Part]:
        """The parts of a section that decide this use."""
        return [part for part in section.parts if not self.parts or part.name in self.parts]


USES = (
    Use("photons", "Photons", "objects", ("photon",)),
    Use("charged_hadrons", "Charged hadrons", "objects", ("charged_hadron",)),
    Use("jets", "Jets", "objects", ("jets",)),
    Use("whole_events", "Whole events", "objects", ("events", "objects")),
    Use("shower_shapes", "Shower shapes, for those who tune", "hits"),
    Use("generated", "Generated events", "particles"),
)


@dataclass(frozen=True)
class Answer:
    """Whether a candidate serves a use, the number that decides, and the events that it takes to tell (inf: beyond
    MOST)."""

    use: Use
    candidate: str
    answer: str
    why: str
    metric: Metric | None = None
    events: float | None = None

    @property
    def text(self) -> str:
        """The answer in words: `cannot tell, needs about 900 events`."""
        return f"{self.answer}, needs {_about(self.events)}" if self.events else self.answer

    def as_json(self) -> dict:
        """Plain data, `events` null where there is no number."""
        plain = self.metric.as_json() if self.metric else {}
        number = {key: plain[key] for key in ("stage", "value", "uncertainty")} if plain else {}
        number |= {"metric": plain["name"], "limit": plain["limits"][0]} if plain and plain["limits"] else {}
        events = self.events
        return {
            "use": self.use.name,
            "candidate": self.candidate,
            "answer": self.answer,
            "text": self.text,
            "why": self.why,
            "events_needed": events if events and math.isfinite(events) else None,
            "decided_by": number,
        }


def answers(samples: list[Sample], sections: list[Section], settings: Validation) -> list[Answer]:
    """The answer for each use that the samples have something of, and each candidate, in the order of USES."""
    by_record = {section.record: section for section in sections}
    found: list[Answer] = []
    for use in USES:
        section = by_record.get(use.record)
        parts = use.parts_of(section) if section else []
        if section and any(part.counts[0] for part in parts):
            for candidate in samples[1:]:
                found += _answer(use, section, parts, samples[0], candidate, settings)
    return found


def _answer(
    use: Use, section: Section, parts: list[Part], reference: Sample, candidate: Sample, settings: Validation
) -> Iterator[Answer]:
    if use.record == "particles" and _generator(candidate) in (None, _generator(reference)):
        return
    if use.record not in candidate.shards:
        yield Answer(use, candidate.name, NO, f"makes no {use.record}")
        return
    if candidate.name not in section.names:
        yield Answer(use, candidate.name, YES, f"the same {use.record} as {reference.name}")
        return
    events = min(sample.number(use.record, settings.max_events) for sample in (reference, candidate))
    own = [m for part in parts for m in part.metrics if m.headline and m.samples[-1] == candidate.name]
    judged = [m for m in own if m.verdict is not None and m.limits]
    if not own:
        fewest = max(min(part.counts[0], part.counts[section.names.index(candidate.name)]) for part in parts)
        needed = _rounded(events * WANTED / fewest) if fewest else math.inf
        yield Answer(use, candidate.name, UNKNOWN, f"too few to measure: {fewest}", None, needed)
    elif beyond := [m for m in judged if _over(m, 2.0) > 0]:
        deciding = max(beyond, key=lambda m: _over(m, 2.0))
        yield Answer(use, candidate.name, NO, written(deciding), deciding)
    elif undecided := [m for m in own if m.verdict != PASS and m.limits]:
        deciding = max(undecided, key=lambda m: needed_events(m, events))
        why = written(deciding) if deciding.verdict else f"{deciding.title}: too few to measure"
        yield Answer(use, candidate.name, UNKNOWN, why, deciding, _rounded(needed_events(deciding, events)))
    else:
        deciding = max(judged, key=lambda m: _over(m, 0.0))
        yield Answer(use, candidate.name, YES, written(deciding), deciding)


def _generator(sample: Sample) -> str | None:
    """The backend that generated a sample, None where nothing tells."""
    return sample.costs["generate"].backend if "generate" in sample.costs else None


def needed_events(metric: Metric, events: int) -> float:
    """About how many events let a number be told from its limit, or known as well as the limit asks.

    The uncertainty falls as 1/√N: it has to reach half the distance from the limit where the number is beyond it, the
    scale of the limit where it is within; a quarter of that scale is as fine as anybody asks. What is not measured yet
    takes WANTED of its units.
    """
    if not math.isfinite(metric.judged):
        return events * WANTED / metric.n if metric.n else math.inf
    limit = metric.limits[0] if metric.limits else 0.0
    scale = max(scale_of(limit), 1e-12)
    target = max((metric.judged - limit) / 2, scale / 4) if metric.judged > limit else scale
    return events * max(metric.judged_uncertainty / target, 1.0) ** 2


def _over(metric: Metric, sigmas: float) -> float:
    """How far a number, less so many uncertainties, is beyond its first limit, in units of the limit's scale."""
    limit = metric.limits[0] if metric.limits else math.inf
    return (metric.judged - sigmas * metric.judged_uncertainty - limit) / max(scale_of(limit), 1e-12)


def _rounded(events: float) -> float:
    if not events < MOST:
        return math.inf
    step = 10 ** max(math.floor(math.log10(events)) - 1, 1)
    return math.ceil(events / step - 1e-6) * step


def _about(events: float | None) -> str:
    return f"about {events:,.0f} events" if events and math.isfinite(events) else f"more than {MOST:,.0f} events"
