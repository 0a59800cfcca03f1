"""`validate`: samples in, metrics.json, report.html and its figures out."""

import json
from dataclasses import replace
from pathlib import Path

from gen2reco.config.detector import Detector
from gen2reco.config.validation import Validation
from gen2reco.errors import InputError
from gen2reco.files import check_folder, check_output, write_text
from gen2reco.run.stage_table import RECORDS
from gen2reco.validate import report
from gen2reco.validate.costs import cost_metrics
from gen2reco.validate.figure_files import check_figures, write_figures
from gen2reco.validate.samples import Sample, open_samples
from gen2reco.validate.sections import build
from gen2reco.validate.verdict import Metric


def validate(paths: list[Path], out: Path, settings: Validation | None = None) -> list[Metric]:
    """`compare` of the samples at these paths, the first of which is the reference."""
    return compare(open_samples(paths), out, settings)


def compare(
    samples: list[Sample], out: Path, settings: Validation | None = None, detector: Detector | None = None
) -> list[Metric]:
    """Compare samples to the first, which is the reference, at every record it shares with another.

    Writes `metrics.json` (a list of metrics), `report.html` (self-contained), and its figures one by one in `figures`
    with their list `figures.json` into `out`; returns the metrics. `detector` is that of samples whose files name none;
    without it, the one that another sample names. Raises InputError for samples that are missing, empty or have no
    stage in common with the reference.
    """
    settings = settings or Validation()
    stated = detector or next((sample.detector for sample in samples if sample.detector), None)
    samples = [replace(sample, other_detector=stated) for sample in samples]
    first, others = samples[0], samples[1:]
    shared = [r for r in RECORDS if r in first.shards and (not others or any(r in s.shards for s in others))]
    check_folder(out)
    check_output(out / "metrics.json", own=("stage", "name", "value"))
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
    write_figures(out, overview, sections)
    write_text(out / "report.html", report.render(samples, sections, metrics, settings, overview))
    return metrics
