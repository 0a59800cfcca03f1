"""What is told of a results folder that came from elsewhere: understood, or left out with a line."""

import json
import shutil

import pytest
from track_campaign import PNG, REPORT, campaign

from gen2reco.errors import InputError
from gen2reco.track.database import locked
from gen2reco.track.runs import campaign_runs
from gen2reco.track.spool import Spool


@pytest.mark.parametrize("link", [".spool", ".spool/files"])
def test_a_spool_that_is_a_link_tells_nothing_and_gets_nothing(tmp_path, link):
    """Of another's folder, put where a spool would be."""
    outside, results = tmp_path / "outside", tmp_path / "results"
    with Spool(outside, "showers", live=False) as log:
        log.metrics({"loss": 1.0}, 7)
        log.artifact(__file__)
    results.mkdir()
    if link != ".spool":
        shutil.copytree(outside / ".spool", results / ".spool")
        shutil.rmtree(results / link)
    (results / link).symlink_to(outside / link)
    (results / "report" / "a").mkdir(parents=True)
    (results / "report" / "a" / "report.html").write_text(REPORT)
    before = sorted(outside.rglob("*"))
    runs = campaign_runs(results).runs
    assert [run.artifacts for run in runs[1:]] == ([] if link == ".spool" else [[]])
    assert [path.name for path, _ in runs[0].artifacts] == ["report.html"]
    assert sorted(outside.rglob("*")) == before


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../evil"},
        {"name": "a" * 101},
        {"revision": "1"},
        {"samples": {"../x": {"stages": {}}}},
        {"samples": {"a": {"stages": {"../../x": {}}}}},
        {"samples": {"a": {"stages": {"generate": {"owner": "../b"}}}}},
        {"samples": {"a": {"events": 10**30}}},
        {"samples": {"a": {"events": 10, "shard_events": 0}}},
        {"files": {"a": "no digest"}},
        {"checksum": "0" * 64},
    ],
)
def test_a_plan_that_names_what_no_plan_would_is_one_line(tmp_path, change):
    results = campaign(tmp_path, shards=1, samples=("photons",))
    lock = results / "plan.lock.json"
    lock.write_text(json.dumps(json.loads(lock.read_text()) | change))
    with pytest.raises(InputError, match="damaged plan") as caught:
        campaign_runs(results)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_plan_has_a_plain_name(tmp_path):
    folder = tmp_path / "Föö Bar's.results"
    folder.mkdir()
    assert campaign_runs(folder).campaign == "f_bar_s_results"


def test_a_lock_that_is_a_link_is_not_written_through(tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("precious")
    (tmp_path / "lock").symlink_to(kept)
    with locked(tmp_path / "lock") as held:
        assert not held
    assert kept.read_text() == "precious"


@pytest.mark.parametrize(
    "rows",
    [
        [{"stage": 1, "name": "a", "value": 1}],
        [{"stage": "a", "name": "a", "value": "1"}],
        [{"stage": "a", "name": "a", "value": 1, "samples": {"a": 1}}],
        {"metrics": 5},
        5,
    ],
)
def test_damaged_metrics_of_a_report_are_left_out(tmp_path, caplog, rows):
    results = campaign(tmp_path, shards=1, samples=("photons",))
    (results / "report" / "photons" / "metrics.json").write_text(json.dumps(rows))
    assert not [point for point in campaign_runs(results).runs[0].points if "photons" in point.key]
    assert "metrics.json: damaged metrics, left out" in caplog.text


def test_a_link_in_place_of_a_figure_is_left_out(tmp_path, caplog):
    results = campaign(tmp_path, shards=1, samples=("photons",))
    ((figure, place),) = [(p, place) for p, place in campaign_runs(results).runs[0].artifacts if p.suffix == ".png"]
    assert place == "report/photons/figures" and figure.read_bytes() == PNG
    secret = tmp_path / "secret.png"
    secret.write_text("precious")
    figure.unlink()
    figure.symlink_to(secret)
    assert not [path for path, _ in campaign_runs(results).runs[0].artifacts if path.suffix == ".png"]
    assert "left out: is a link" in caplog.text
