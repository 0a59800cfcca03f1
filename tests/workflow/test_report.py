"""`gen2reco validate` as a user runs it, and its report as a browser shows it."""

import csv
import json
import math
import os
import re
import shutil
import subprocess
import warnings
from html import escape, unescape

import numpy as np
import pytest
from synthetic_samples import write_sample
from verdict_table import ORDER, expected, shown

from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.config.validation import Validation
from gen2reco.events import records, schemas
from gen2reco.run.stage_table import RECORDS
from gen2reco.validate.all_observables import OBSERVABLES
from gen2reco.validate.costs import CostRow
from gen2reco.validate.run import compare, validate
from gen2reco.validate.samples import Sample, _cost, open_sample, open_samples
from gen2reco.validate.sections import observed

QUICK = Validation(resamples=20, classifier_events=50)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """A reference, a twin that differs by chance alone, and a candidate with wrong energies."""
    folder = tmp_path_factory.mktemp("results")
    write_sample(folder / "reference", events=120, seed=1)
    write_sample(folder / "twin", events=120, seed=2, cpu=3.0, evaluations=8, backend="ml")
    write_sample(folder / "wrong", events=120, seed=3, scale=1.3, cpu=0.3, evaluations=1, backend="ml")
    return folder


@pytest.fixture(scope="module")
def compared(samples):
    """metrics.json and report.html of the three together."""
    out = samples / "report"
    validate([samples / name for name in ("reference", "twin", "wrong")], out, QUICK)
    return out


@pytest.fixture(scope="module")
def metrics(compared):
    return json.loads((compared / "metrics.json").read_text())


def pick(metrics, stage, name, sample):
    found = [m for m in metrics if (m["stage"], m["name"], m["samples"][-1]) == (stage, name, sample)]
    assert len(found) == 1, (stage, name, sample)
    return found[0]


def test_metrics_are_a_flat_list_of_finite_numbers(metrics):
    assert {m["stage"] for m in metrics} >= {"particles", "hits", "clusters", "objects", "simulate"}
    for metric in metrics:
        assert {"stage", "name", "value", "uncertainty", "floor", "n", "samples", "verdict"} <= set(metric)
        assert re.fullmatch(r"[A-Za-z0-9_\-./ ]+", metric["name"])
        assert all(metric[k] is None or math.isfinite(metric[k]) for k in ("value", "uncertainty", "floor"))
    keys = [(m["stage"], m["name"], *m["samples"]) for m in metrics]
    assert len(keys) == len(set(keys))


def test_what_differs_by_chance_never_fails(metrics):
    assert [m["name"] for m in metrics if m["samples"][-1] == "twin" and m["verdict"] == "fail"] == []


@pytest.mark.parametrize(
    ("stage", "name"),
    [("hits", "photon/shift_response"), ("hits", "photon/w1_energy_ratio"), ("objects", "photon/shift_response"),
     ("objects", "charged_hadron/shift_response")],
)  # fmt: skip
def test_wrong_energies_fail(metrics, stage, name):
    assert pick(metrics, stage, name, "wrong")["verdict"] == "fail"


def test_numbers_that_are_known(metrics):
    response = pick(metrics, "hits", "photon/response", "wrong")
    assert response["value"] == pytest.approx(1.3, abs=5 * response["uncertainty"])
    shift = pick(metrics, "objects", "photon/shift_response", "wrong")
    assert shift["value"] == pytest.approx(0.3, abs=5 * shift["uncertainty"])
    assert pick(metrics, "simulate", "cost/speed_up", "wrong")["value"] == pytest.approx(100)
    assert pick(metrics, "particles", "events/w1_scalar_pt", "wrong")["value"] == 0
    assert pick(metrics, "clusters", "particles/efficiency", "twin")["value"] == 1


def test_every_cell_shows_the_gravest_metric_of_its_kind_in_its_colour(metrics, compared):
    cells = shown((compared / "report.html").read_text())
    assert cells == expected(metrics)
    assert {colour for _, _, colour, _ in cells} == set(ORDER), "these samples show every colour"


@pytest.mark.parametrize("candidate", ["twin", "wrong"])
def test_the_summary_is_the_worst_of_a_candidates_headlines(metrics, compared, candidate):
    own = [m["verdict"] for m in metrics if m["headline"] and m["samples"][-1] == candidate and m["verdict"]]
    leads = (compared / "report.html").read_text().split('<p class="lead">')[1:]
    (lead,) = [text.partition("</p>")[0] for text in leads if f"<b>{candidate}</b>" in text]
    assert f'<span class="badge {max(own, key=ORDER.index)}">' in lead
    assert f"{own.count('fail')} fail, {own.count('attention')} attention" in lead


def test_the_report_begins_with_an_answer_for_each_use(compared):
    """yes, no or how many events it takes, with the number that decides; chance is never a no."""
    told = json.loads((compared / "verdict.json").read_text())
    found = {(a["use"], a["candidate"]): a for a in told["uses"]}
    assert {use for use, _ in found} == {"photons", "charged_hadrons", "jets", "whole_events", "shower_shapes"}
    assert [a["answer"] for a in told["uses"] if a["candidate"] == "twin" and a["answer"] == "no"] == []
    assert {found[use, "wrong"]["answer"] for use in ("photons", "charged_hadrons", "shower_shapes")} == {"no"}
    html = unescape((compared / "report.html").read_text())
    assert html.index("May it stand in for reference?") < html.index("<h2>Verdict</h2>")
    for a in told["uses"]:
        assert f"<b>{a['text']}</b> <small>{a['why']}</small>" in html
    assert found["photons", "wrong"]["decided_by"]["value"] is not None


def test_the_report_says_what_was_compared(compared):
    facts = json.loads((compared / "verdict.json").read_text())["compared"]
    assert facts["Detector"]["wrong"].startswith("hgcal, 47 layers, geometry ")
    assert facts["Events"]["twin"] == "120" and "simulate ml" in facts["Chain"]["twin"]
    html = (compared / "report.html").read_text()
    assert 'id="compared"' in html and "<th>Detector</th>" in html


def test_the_table_of_metrics_holds_them_all(metrics, compared):
    with (compared / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["stage"], r["name"], r["samples"]) for r in rows] == [
        (m["stage"], m["name"], " ".join(m["samples"])) for m in metrics
    ]
    assert [float(r["value"]) if r["value"] else None for r in rows] == [m["value"] for m in metrics]


def test_the_start_up_is_no_part_of_the_rate(tmp_path):
    """Shards of 20 events that start for 6 seconds: a million events cost what their events cost."""
    facts = {"backend": "fused", "events_in": 20, "cpu_seconds": 6.05, "device": "cpu", "stage": "fuse"}
    told = [_cost("fuse", [facts | {"startup_seconds": 6.0}] * 3), _cost("fuse", [facts] * 3)]
    rows = [CostRow("fused", cost, None) for cost in told]
    assert [row.hours_per_million for row in rows] == pytest.approx([0.694, 84.0], abs=0.05)
    assert rows[0].cost.startup_per_shard == 6.0 and math.isnan(rows[1].cost.startup_per_shard)


def test_a_candidate_that_a_figure_does_not_show_is_named(tmp_path):
    """Objects alone beside whole samples: the section of hits and the display say that they are not there."""
    paths = [write_sample(tmp_path / name, events=10, seed=seed) for seed, name in enumerate(("reference", "twin"))]
    reference, twin = open_samples(paths)
    objects = Sample("lone", tmp_path, {"objects": twin.shards["objects"]})
    compare([reference, twin, objects], tmp_path / "out", QUICK)
    assert "lone: no hits, so in no figure of this section" in (tmp_path / "out/report.html").read_text()
    told = json.loads((tmp_path / "out/verdict.json").read_text())["uses"]
    assert {a["why"] for a in told if a["candidate"] == "lone" and a["answer"] == "no"} == {"makes no hits"}
    captions = {row["title"]: row["caption"] for row in json.loads((tmp_path / "out/figures.json").read_text())}
    assert captions["An event"].endswith("Not shown, for they hold no hits and clusters of this event: lone.")


def test_identities_have_a_section_of_their_own(metrics, compared):
    found = {m["name"]: m for m in metrics if m["samples"] == ["reference"] and m["name"].startswith("identity/")}
    assert found["identity/accuracy"]["value"] == 1
    error = found["identity/calibration_error"]
    assert error["value"] == pytest.approx(0.2) and 0 < error["floor"] < 0.1  # all are right, at a stated 80 %
    html = (compared / "report.html").read_text()
    assert "Identities of isolated particles" in html and 'alt="Identities"' in html


def test_fits_of_few_events_say_so(metrics, compared):
    terms = [m for m in metrics if m["name"].endswith("/stochastic")]
    few = [m for m in terms if m["value"] is None]
    assert few and all(m["reason"] == "too few events" for m in few)
    assert all(m["value"] >= 5 * m["uncertainty"] for m in terms if m["value"] is not None)
    assert "too few events</td>" in (compared / "report.html").read_text()


def test_the_same_seed_gives_the_same_metrics(samples, tmp_path):
    paths = [samples / "reference" / "calibrate/00000.parquet", samples / "twin" / "calibrate/00000.parquet"]
    texts = []
    for name in ("one", "two"):
        validate(paths, tmp_path / name, QUICK)
        texts.append([(tmp_path / name / file).read_text() for file in ("metrics.json", "report.html")])
    assert texts[0] == texts[1]


def test_one_sample_alone_from_the_command_line(samples, gen2reco, tmp_path):
    done = gen2reco("validate", samples / "reference", "--out", tmp_path / "alone")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "alone/metrics.json").read_text())
    assert {m["samples"][0] for m in found} == {"reference"}
    html = (tmp_path / "alone/report.html").read_text()
    assert 'id="verdict"' not in html and "<img" in html


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere: no such sample"),
        (["{reference}", "--settings", "{typo}"], "did you mean `auc`"),
        (["{reference}", "--plan", "no.json"], "no.json: no such plan"),
        (["{particles}", "{hits}"], "expected a stage that both have"),
    ],
)
def test_mistakes_are_one_line(samples, gen2reco, tmp_path, arguments, said):
    (tmp_path / "typo.yaml").write_text("acu: [0.5, 0.6]\n")
    reference = samples / "reference"
    places = {"reference": reference, "typo": tmp_path / "typo.yaml", "particles": reference / "generate/00000.parquet",
              "hits": reference / "simulate/00000.parquet"}  # fmt: skip
    done = gen2reco("validate", *(a.format(**places) for a in arguments), "--out", tmp_path / "out")
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_quality_against_evaluations(samples, tmp_path, monkeypatch):
    """The particles of the reference go through the simulation once per setting."""
    from gen2reco import simulate
    from gen2reco.commands.validate import validate as command

    monkeypatch.setitem(simulate.BACKENDS, "toy", "synthetic_samples:LearnedSimulation")
    limits = tmp_path / "limits.yaml"
    limits.write_text("{resamples: 10, classifier_events: 60, max_events: 100}\n")
    arguments = [
        "showers",
        samples / "reference",
        "--backend",
        "toy",
        "--vary",
        "evaluations=1,30",
        "--settings",
        limits,
    ]
    command.main([*map(str, arguments), "--out", str(tmp_path / "out")], standalone_mode=False)
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    shift = [pick(metrics, "hits", "photon/shift_response", f"toy_{n}")["value"] for n in (1, 30)]
    assert shift[0] > 0.2 > shift[1]
    assert pick(metrics, "simulate", "cost/evaluations_per_event", "toy_30")["value"] == 30
    assert "Quality against network evaluations" in (tmp_path / "out/report.html").read_text()


def test_stages_on_shared_files_are_not_compared(samples, tmp_path):
    reference, twin = open_samples([samples / "reference", samples / "twin"])
    twin.shards["particles"] = reference.shards["particles"]
    only = [Sample(s.name, s.path, {r: s.shards[r] for r in ("particles", "hits")}) for s in (reference, twin)]
    found = compare(only, tmp_path / "out", QUICK)
    assert {m.stage for m in found if len(m.samples) == 2 and m.verdict} == {"hits"}
    assert "the same files as reference" in (tmp_path / "out/report.html").read_text()


def test_nothing_is_fetched_from_elsewhere(compared):
    html = (compared / "report.html").read_text()
    targets = re.findall(r'(?:src|href)="([^"]*)"', html) + re.findall(
        r"url\(([^)]*)\)", re.sub(r'src="[^"]*"', "", html)
    )
    assert targets
    assert [t[:60] for t in targets if not t.startswith(("data:", "#"))] == []
    assert "<script" not in html


@pytest.mark.parametrize("record", RECORDS)
def test_what_is_measured_is_what_the_tables_hold(samples, record):
    """Columns are the record's; a quantity, rate, response, profile or classifier names what `observe` gives."""
    observables = OBSERVABLES[record]
    assert {*observables.columns, *observables.optional} <= {
        *schemas.COLUMNS[record],
        *schemas.OPTIONAL.get(record, {}),
    }
    tables = observed(observables, open_sample(samples / "reference"), QUICK)
    assert tables.keys() <= {part.name for part in observables.parts}
    for part in (part for part in observables.parts if part.name in tables):
        values, blocks = tables[part.name].values, tables[part.name].blocks
        for named in (part.quantities, part.profiles, part.rates, part.responses, part.classifiers):
            assert len({one.name for one in named}) == len(named)
        quantities = [one for one in part.quantities if not one.optional]
        assert {one.name for one in (*quantities, *part.rates, *part.responses)} <= values.keys()
        assert {over for one in (*part.rates, *part.responses) for over in one.over} <= values.keys()
        assert {name for one in part.classifiers for name in one.values} <= values.keys()
        assert {name for one in part.classifiers for name in one.blocks} <= blocks.keys()
        assert {one.name for one in part.profiles} <= blocks.keys()


def test_figures_are_files_listed_with_their_captions(compared):
    listed = json.loads((compared / "figures.json").read_text())
    html = (compared / "report.html").read_text()
    assert {(row["section"], row["part"]) for row in listed} >= {("overview", None), ("hits", "photon")}
    titles = re.findall(r'<img src="data:[^"]*" alt="([^"]*)"', html)
    assert [row["title"] for row in listed] == [unescape(title) for title in titles]
    assert all(escape(row["caption"], quote=False)[:60] in html for row in listed)
    files = {str(path.relative_to(compared)) for path in (compared / "figures").iterdir()}
    assert files == {row["file"] for row in listed}
    starts = {".svg": b"<?xml", ".png": b"\x89PNG"}
    for row in listed:
        path = compared / row["file"]
        assert path.read_bytes().startswith(starts[path.suffix])


def test_figures_of_an_earlier_report_go_and_other_files_stay(samples, tmp_path):
    out = tmp_path / "out"
    validate([samples / "reference"], out, QUICK)
    before = {row["file"] for row in json.loads((out / "figures.json").read_text())}
    (out / "figures" / "99_mine.svg").write_text("mine")
    validate([samples / "reference" / "generate"], out, QUICK)
    after = {row["file"] for row in json.loads((out / "figures.json").read_text())}
    assert len(after) < len(before)
    assert {f"figures/{path.name}" for path in (out / "figures").iterdir()} == {*after, "figures/99_mine.svg"}


def test_a_list_of_figures_that_is_not_ours_is_kept(samples, gen2reco, tmp_path):
    (tmp_path / "figures.json").write_text('{"mine": 1}')
    done = gen2reco("validate", samples / "reference/generate", "--out", tmp_path)
    assert done.returncode == 2 and "figures.json: no file of gen2reco" in done.stderr
    assert (tmp_path / "figures.json").read_text() == '{"mine": 1}' and not (tmp_path / "metrics.json").exists()


@pytest.fixture(scope="module")
def another_detector(repository):
    """Fewer layers, another face, another field."""
    hgcal = load_block(repository / "configs/detectors/hgcal.yaml", Detector)
    em, had = hgcal.sections[0].model_copy(update={"layers": 9}), hgcal.sections[-1].model_copy(update={"layers": 6})
    solenoid = hgcal.solenoid.model_copy(update={"field": 2.0})
    return hgcal.model_copy(update={"sections": [em, had], "front_face": 2600.0, "solenoid": solenoid})


def test_a_report_of_another_detector(samples, another_detector, gen2reco, tmp_path):
    """Its layers, axes at its face and its display; samples of different numbers of layers are not compared."""
    for seed in (1, 2):
        write_sample(tmp_path / f"small_{seed}", events=60, seed=seed, detector=another_detector)
    found = compare(open_samples([tmp_path / "small_1", tmp_path / "small_2"]), tmp_path / "out", QUICK)
    response = next(m for m in found if m.name == "photon/response" and m.stage == "hits")
    assert response.value == pytest.approx(1, abs=5 * response.uncertainty)
    assert [m.name for m in found if m.samples[-1] == "small_2" and m.verdict == "fail"] == []
    assert "An event" in {row["title"] for row in json.loads((tmp_path / "out/figures.json").read_text())}
    tables = observed(OBSERVABLES["hits"], open_sample(tmp_path / "small_1"), QUICK)
    assert tables["photon"].blocks["layers"].shape[1] == 15
    assert np.median(tables["photon"].values["radius"]) < 30
    mixed = gen2reco("validate", samples / "reference", tmp_path / "small_1", "--out", tmp_path / "mixed")
    assert mixed.returncode == 2 and "a detector of 15 layers" in mixed.stderr


def without_provenance(path, target):
    """The same record in a file that says nothing about how it was made."""
    record = records.record_of(path)
    target.parent.mkdir(parents=True)
    records.write(target, records.read(path, record), record)
    return target


def test_a_detector_is_the_files_the_references_or_the_one_given(samples, gen2reco, tmp_path, repository):
    hits = without_provenance(samples / "twin/simulate/00000.parquet", tmp_path / "foreign/simulate/00000.parquet")
    alone = gen2reco("validate", hits, "--out", tmp_path / "alone")
    assert alone.returncode == 2
    assert "does not say which detector it was made with; give --detector" in alone.stderr
    detector = repository / "configs/detectors/hgcal.yaml"
    given = gen2reco("validate", hits, "--out", tmp_path / "given", "--detector", detector)
    assert given.returncode == 0, given.stderr
    reference = samples / "reference/simulate"
    found = [compare(open_samples([reference, path]), tmp_path / "out", QUICK) for path in (hits, hits.parent)]
    assert [m.value for m in found[0] if m.samples[-1] == "00000"]


def test_names_of_samples_are_escaped(samples, tmp_path):
    evil = tmp_path / "a<img src=x onerror=alert(1)>"
    shutil.copytree(samples / "reference/generate", evil / "generate")
    validate([evil], tmp_path / "out", QUICK)
    assert "<img src=x" not in (tmp_path / "out/report.html").read_text()


# --- in the browser


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """Run headless Chromium; returns its standard output and error."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        message = "no chromium: the report is not looked at (Debian: apt-get install chromium)"
        assert not os.environ.get("CI"), message
        warnings.warn(message, stacklevel=1)
        pytest.skip(message)
    profile = tmp_path_factory.mktemp("chromium")
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
             "--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--disable-dev-shm-usage", "--enable-logging=stderr", f"--user-data-dir={profile}"]  # fmt: skip

    def run(*arguments):
        done = subprocess.run([program, *quiet, *arguments], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        return done

    return run


PROBE = """<script>addEventListener("load", () => {
  const images = [...document.images];
  const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth;
  const probe = parent.document.createElement("meta");
  probe.name = "probe";
  probe.content = JSON.stringify({
    view: "VIEW",
    images: images.length, missing: images.filter(i => !(i.complete && i.naturalWidth > 0)).length,
    unnamed: images.filter(i => !i.alt).length, wide: wide, width: document.documentElement.clientWidth,
    rows: document.querySelectorAll("table.verdict tbody tr").length,
  });
  parent.document.head.append(probe);
});</script></body>"""


PAPER = 703  # pixels between the margins of an A4 page
WIDE_FONT = "<style>body, table { font-family: monospace !important; font-size: 20px !important; }</style></head>"
VIEWS = {
    "desk": (1300, lambda html: html),
    "desk, wide letters": (1300, lambda html: html.replace("</head>", WIDE_FONT)),
    "telephone": (400, lambda html: html),
    "A4": (PAPER, lambda html: html.replace("@media print", "@media all")),
}


@pytest.fixture(scope="module")
def views(compared, chromium, tmp_path_factory):
    """What a probe finds in the report at each width: view → facts."""
    frames, html = [], (compared / "report.html").read_text()
    for view, (width, change) in VIEWS.items():
        open_page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", change(html))
        probed = open_page.replace("</body>", PROBE.replace("VIEW", view))
        frames.append(
            f'<iframe style="width: {width}px; height: 2000px; border: 0" srcdoc="{escape(probed)}"></iframe>'
        )
    page = tmp_path_factory.mktemp("views") / "views.html"
    page.write_text(f'<!DOCTYPE html><meta charset="utf-8"><body>{"".join(frames)}</body>')
    dom = chromium("--window-size=1400,2100", "--dump-dom", f"file://{page}").stdout
    found = re.findall(r'<meta name="probe" content="([^"]*)"', dom)
    return {fact["view"]: fact for fact in (json.loads(unescape(text)) for text in found)}


@pytest.mark.parametrize("view", VIEWS)
def test_the_browser_shows_every_figure(views, view):
    found = views[view]
    assert found["width"] == VIEWS[view][0]
    assert found["images"] > 15
    assert (found["missing"], found["unnamed"], found["wide"]) == (0, 0, False)
    assert found["rows"] >= 10


def test_the_browser_has_nothing_to_complain_about(compared, chromium, tmp_path):
    """The report as it is, its content policy on: no refused resource, no script error, and it is not blank."""
    picture = tmp_path / "report.png"
    done = chromium("--window-size=1300,1600", f"--screenshot={picture}", f"file://{compared / 'report.html'}")
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    from PIL import Image

    image = Image.open(picture).convert("RGB")
    assert image.size == (1300, 1600)
    assert len(image.resize((130, 160)).getcolors(130 * 160)) > 50
