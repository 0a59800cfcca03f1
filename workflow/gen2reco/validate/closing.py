"""The last lines of a campaign on the terminal: what was made, what the candidates may be used for, where to look."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from gen2reco.config.block import load_json
from gen2reco.errors import InputError
from gen2reco.files import MAX_TEXT
from gen2reco.paths import report_folder

if TYPE_CHECKING:
    from gen2reco.campaign.plan import Plan

_ORDER = ("yes", "no", "cannot tell")


def closing_lines(plan: "Plan") -> list[str]:
    """Lines on a campaign that has run to its end; none where it made no reports."""
    reports = [report_folder(plan.folder, entry["reference"]) for entry in plan.lock["compare"]]
    written = [folder / "report.html" for folder in reports if (folder / "report.html").is_file()]
    if not written:
        return []
    events = sum(entry["events"] for entry in plan.samples.values())
    lines = [f"{plan.folder.name}: {len(plan.samples)} samples of {events:,} events in {plan.folder}, ntuples in "]
    lines[0] += f"{plan.folder}/<sample>/publish"
    for folder in reports:
        lines += _answers(folder / "verdict.json")
    lines += [f"{'reports, with all figures:' if i == 0 else '':26} {path}" for i, path in enumerate(written)]
    return [*lines, "`make ui` (gen2reco track ui) opens the campaign in MLflow"]


def _answers(path: Path) -> Iterator[str]:
    """One line for each candidate of a report; none where the report has no answers."""
    try:
        found = load_json(path, MAX_TEXT)
        uses = [(a["candidate"], a["answer"], a["use"].replace("_", " "), a["events_needed"]) for a in found["uses"]]
        reference, candidates = found["reference"], found["candidates"]
    except (InputError, KeyError, TypeError):  # of another release, or none
        return
    for candidate in candidates if uses else ():
        told = []
        for answer in _ORDER:
            if own := [(use, needed) for name, given, use, needed in uses if (name, given) == (candidate, answer)]:
                needed = max((needed or float("inf") for _, needed in own), default=0.0)
                about = f" (needs about {needed:,.0f} events)" if answer == _ORDER[-1] and needed < float("inf") else ""
                told.append(f"{answer}: {', '.join(use for use, _ in own)}{about}")
        yield f"{candidate} in place of {reference}: {'; '.join(told) or 'nothing to compare'}"
