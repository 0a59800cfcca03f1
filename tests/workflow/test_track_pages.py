"""MLflow's pages, looked at in headless Chromium: the campaign, its samples, its figures are there."""

import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from mlflow_server import free_port, need
from track_campaign import campaign, training

from gen2reco.track.sync import sync


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """`gen2reco track ui` on a replayed campaign; its address."""
    need("chromium")
    folder = tmp_path_factory.mktemp("pages")
    results = campaign(folder / "results")
    training(results)
    sync(results, f"sqlite:///{folder / 'results' / 'mlflow.db'}")
    port = free_port()
    command = [sys.executable, "-m", "gen2reco.cli", "track", "ui", "--port", str(port)]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 200
        while time.monotonic() < deadline and server.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail((folder / "log").read_text())
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


def look(address: str, folder, wanted: str) -> str:
    """The page's text once it shows `wanted`, else what it shows at last."""
    for _ in range(3):
        shutil.rmtree(folder / "profile", ignore_errors=True)
        flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
        flags += " --disable-component-update --disable-sync --virtual-time-budget=30000 --dump-dom"
        command = [need("chromium"), *flags.split(), f"--user-data-dir={folder / 'profile'}", address]
        html = subprocess.run(command, capture_output=True, text=True, timeout=180).stdout
        if wanted in html:
            break
    return html


def test_campaign_samples_and_figures(pages, tmp_path):
    overview = look(f"{pages}/#/experiments/1/runs", tmp_path, "pilot revision 1")
    assert "pilot revision 1" in overview and "photons/calibrate" in overview
    run = re.search(r"/experiments/1/runs/([0-9a-f]{32})", overview)
    assert run, overview[-2000:]
    top = look(f"{pages}/#/experiments/1/runs/{run[1]}", tmp_path, "photons simulate")
    for text in ("photons simulate", "pions calibrate", "training showers", "response", "core hours"):
        assert text in top
    figure = "report/photons/figures/01_hits_photon_profiles.png"
    shown = look(f"{pages}/#/experiments/1/runs/{run[1]}/artifacts/{figure}", tmp_path, "<canvas")
    assert figure in shown and "Failed to load" not in shown and "Loading Artifact Failed" not in shown
    report = look(f"{pages}/#/experiments/1/runs/{run[1]}/artifacts/report/photons/report.html", tmp_path, "<iframe")
    assert "<iframe" in report


def test_the_pages_listen_on_the_loopback_address_only(pages):
    port = int(pages.rpartition(":")[2])
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port]
    assert listening == [f"0100007F:{port:04X}"]
