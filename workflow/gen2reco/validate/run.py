"""`validate`: samples in, metrics.json, report.html and its figures out."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

from gen2reco.config.detector import Detector
from gen2reco.config.validation import Validation
from gen2reco.errors import InputError
from gen2reco.files import check_folder, check_output, write_text
from gen2reco.run.stage_table import RECORDS
from gen2reco.validate import report
from gen2reco.validate.compared import compared
from gen2reco.validate.costs import cost_metrics
from gen2reco.validate.figure_files import check_figures, write_figures
from gen2reco.validate.samples import Sample, open_samples
from gen2reco.validate.sections import build
from gen2reco.validate.uses import Answer, answers
from gen2reco.validate.verdict import Metric

VERDICT, TABLE = "verdict.json", "metrics.csv"


def validate(paths: list[Path], out: Path, settings: Validation | None = None) -> list[Metric]:
    """`compare` of the samples at these paths, the first of which is the reference."""
    return compare(open_samples(paths), out, settings)


def compare(
    samples: list[Sample], out: Path, settings: Validation | None = None, detector: Detector | None = None
) -> list[Metric]:
    """Compare samples to the first, which is the reference, at every record it shares with another.

    Writes `metrics.json` (a list of metrics) and the same as `metrics.csv`, `verdict.json` (what each candidate may be
    used for, and what was compared), `report.html` (self-contained), and its figures one by one in `figures` with their
    list `figures.json` into `out`; returns the metrics. `detector` is that of samples whose files name none; without
    it, the one that another sample names. Raises InputError for samples that are missing, empty or have no
    stage in common with the reference.
    """
    settings = settings or Validation()
    stated = detector or next((sample.detector for sample in samples if sample.detector), None)
    samples = [replace(sample, other_detector=stated) for sample in samples]
    first, others = samples[0], samples[1:]
    shared = [r for r in RECORDS if r in first.shards and (not others or any(r in s.shards for s in others))]
    check_folder(out)
    check_output(out / "metrics.json", own=("stage", "name", "value"))
    check_output(out / TABLE)
    check_output(out / VERDICT, own=("reference", "uses"))
    check_output(out / "report.html")
    check_figures(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}; choose another folder with --out") from None
    sections = [build(record, samples, settings) for record in shared]
    metrics = [metric for section in sections for metric in section.metrics] + cost_metrics(samples)
    overview = report.overview(samples, sections)
    write_text(out / "metrics.json", json.dumps([m.as_json() for m in metrics], indent=1, ensure_ascii=False) + "\n")
    write_text(out / TABLE, _table(metrics))
    write_figures(out, overview, sections)
    found = answers(samples, sections, settings)
    write_text(out / VERDICT, json.dumps(verdict_of(samples, found), indent=1, ensure_ascii=False) + "\n")
    write_text(out / "report.html", report.render(samples, sections, metrics, settings, overview, found))
    return metrics


def _table(metrics: list[Metric]) -> str:
    """The metrics as comma-separated values, empty where there is no number."""
    text = io.StringIO()
    columns = ("stage", "name", "title", "samples", "value", "uncertainty", "floor", "limits", "verdict", "reason", "n")
    rows = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    rows.writeheader()
    for metric in metrics:
        plain = metric.as_json()
        limits = " ".join(map(str, plain["limits"] or ()))
        rows.writerow(plain | {"samples": " ".join(plain["samples"]), "limits": limits})
    return text.getvalue()


def verdict_of(samples: list[Sample], found: list[Answer]) -> dict:
    """What `verdict.json` holds: the reference, the answers, and what was compared, by fact and sample."""
    names = [sample.name for sample in samples]
    return {
        "reference": names[0],
        "candidates": names[1:],
        "uses": [answer.as_json() for answer in found],
        "compared": {fact.title: dict(zip(names, fact.values)) for fact in compared(samples)},
    }
