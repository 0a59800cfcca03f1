"""What was compared: how each sample was made, from the provenance of its files and its sidecars."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from gen2reco.run import fallback
from gen2reco.run.stage_table import RECORDS, STAGES
from gen2reco.validate.samples import Sample

_DIGITS = 12
"""Of a digest."""


class Fact(NamedTuple):
    """One fact of each sample as text, in the order of the samples."""

    title: str
    values: list[str]

    @property
    def same(self) -> bool:
        """Whether it is the same of all."""
        return len(set(self.values)) == 1


def compared(samples: list[Sample]) -> list[Fact]:
    """What was compared, the facts that any sample states: process, events, detector, chain, seeds, versions, data
    tables, models, share of fallbacks."""
    stories = [_story(sample) for sample in samples]
    facts = [Fact(title, [of(*each) for each in zip(samples, stories)]) for title, of in _FACTS]
    return [fact for fact in facts if any(value != "–" for value in fact.values)]


def fallen_back(sample: Sample) -> dict[str, str]:
    """Stage → the share of its events or particles that fell back to another backend, for stages that can."""
    found = {}
    for stage, sidecars in sample.sidecars.items():
        counting = [facts for facts in sidecars if "fallback_reasons" in facts]
        if not counting:
            continue
        particles = all("particles_at_face" in facts for facts in counting) and STAGES[stage].writes == "hits"
        every = sum(facts["particles_at_face" if particles else "events_in"] for facts in counting)
        fallen = sum(fallback.number(fallback.reasons_of(facts)) for facts in counting)
        text = f"{100 * fallen / max(every, 1):.3g} % of {'particles' if particles else 'events'}"
        energy = sum(facts.get("energy_at_face", 0.0) for facts in counting)
        if particles and fallen and energy:
            share = sum(fallback.energy(fallback.reasons_of(facts)) for facts in counting) / energy
            text += f", {100 * share:.2g} % of the energy"
        found[stage] = text
    return found


def _story(sample: Sample) -> dict[str, dict]:
    """Facts by stage from the files of the sample's last record."""
    from gen2reco.run.runner import provenance

    last = next((sample.shards[record] for record in reversed(RECORDS) if sample.shards.get(record)), [])
    return provenance(last[0]) if last else {}


def _process(_: Sample, story: dict) -> str:
    process = story.get("generate", {}).get("options", {}).get("process")
    if not isinstance(process, dict):
        return str(process or "–")
    if process.get("kind") == "gun":
        low, high = process["energy"]
        return f"gun, PDG {', '.join(map(str, process['species']))}, {low:g} to {high:g} GeV"
    if process.get("file"):
        return f"{process['kind']}, {Path(process['file']).name}"
    return ", ".join([process.get("kind", "?"), *process.get("settings", [])])


def _events(sample: Sample, _: dict) -> str:
    numbers = {record: sample.number(record, 10**12) for record in sample.shards}
    return " / ".join(str(n) for n in dict.fromkeys(numbers.values())) or "–"


def _detector(sample: Sample, _: dict) -> str:
    found = sample.detector
    return f"{found.name}, {found.n_layers} layers, geometry {found.geometry_digest[:_DIGITS]}" if found else "–"


def _chain(sample: Sample, story: dict) -> str:
    named = {stage: f"{stage} {facts['backend']}" for stage, facts in story.items() if facts.get("backend")}
    named |= {stage: f"{stage} {cost.backend}" for stage, cost in sample.costs.items()}
    return " → ".join(named[stage] for stage in STAGES if stage in named) or "–"


def _seeds(_: Sample, story: dict) -> str:
    by_stage = {stage: facts["seed"] for stage, facts in story.items() if "seed" in facts}
    return ", ".join(str(seed) for seed in dict.fromkeys(by_stage.values())) or "–"


def _of_sidecars(key: str) -> Callable[[Sample, dict], str]:
    """The values of a key in a sample's sidecars, each once."""

    def values(sample: Sample, _: dict) -> str:
        found = {str(facts[key]) for sidecars in sample.sidecars.values() for facts in sidecars if facts.get(key)}
        return ", ".join(sorted(found)) or "–"

    return values


def _tables(_: Sample, story: dict) -> str:
    infos = [facts.get("info", {}) for facts in story.values()]
    found = [f"{i['physics']}, tables {str(i['tables_digest'])[:_DIGITS]}" for i in infos if "tables_digest" in i]
    return "; ".join(dict.fromkeys(found)) or "–"


def _models(_: Sample, story: dict) -> str:
    found = [f"{stage} {str(facts['model'])[:_DIGITS]}" for stage, facts in story.items() if facts.get("model")]
    return ", ".join(found) or "–"


def _fallen(sample: Sample, _: dict) -> str:
    return "; ".join(f"{stage}: {text}" for stage, text in fallen_back(sample).items()) or "–"


_FACTS: tuple[tuple[str, Callable[[Sample, dict], str]], ...] = (
    ("Process", _process),
    ("Events", _events),
    ("Detector", _detector),
    ("Chain", _chain),
    ("Seed", _seeds),
    ("Data tables", _tables),
    ("Models", _models),
    ("Fell back to another backend", _fallen),
    ("Version of gen2reco", _of_sidecars("code_version")),
    ("Devices", _of_sidecars("device")),
)
