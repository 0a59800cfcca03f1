"""Oversampling: several draws of the same events, by hand and by plan, and all that counts them."""

import json

import numpy as np
import pyarrow as pa
import pytest
import uproot
import yaml
from test_root import EMPTY, FULL, objects
from toys import Hits, hits_of, job

from gen2reco.batch.status import verify_sample
from gen2reco.calibrate.jet_training import JetSample
from gen2reco.calibrate.sample import PARTS, Sample
from gen2reco.campaign.plan import make_plan
from gen2reco.campaign.rates import known_rates
from gen2reco.campaign.summary import estimate
from gen2reco.cluster.tuning import _halves
from gen2reco.errors import InputError
from gen2reco.events import records, root
from gen2reco.run.draws import draw, linked
from gen2reco.run.runner import run
from gen2reco.run.sidecar import sidecar_path
from gen2reco.run.stage import Result
from gen2reco.validate.event_choice import pick
from gen2reco.validate.observable_tables import ObservableTable
from gen2reco.validate.samples import open_sample

CLUE = {"backend": "clue", "chunk_events": 50}


@pytest.fixture
def particles(tmp_path):
    """Ten events."""
    run(job(tmp_path))
    return tmp_path / "out.parquet"


class Lossy(Hits):
    """Fails on event 4, and writes the seed of its chunk as weight of all others."""

    def run(self, chunk, events):
        made = super().run(chunk, events).table
        kept = made.filter(pa.array(np.array(made["event"]) != 4))
        return Result(kept, {"seeds": {str(chunk.start): chunk.seed % 1000}})


def test_each_event_is_drawn_k_times(particles, tmp_path):
    facts = run(hits_of(particles, tmp_path / "h.parquet", oversample=3))
    given, made = records.read(particles), records.read(tmp_path / "h.parquet")
    assert made["event"].to_pylist() == list(range(30)) and made["source"].to_pylist() == [e // 3 for e in range(30)]
    assert np.allclose(made["weight"], np.repeat(given["weight"], 3) / 3)
    assert {k: facts[k] for k in ("events_in", "events_out", "oversample")} == {
        "events_in": 30, "events_out": 30, "oversample": 3,
    }  # fmt: skip
    (cost,) = open_sample(tmp_path / "h.parquet").costs.values()
    assert cost.events == 30
    other = run(hits_of(particles, tmp_path / "again.parquet", oversample=3))
    assert other["sha256"] == facts["sha256"]
    plain = [
        run(hits_of(particles, tmp_path / f"p{k}.parquet", **more)) for k, more in enumerate(({}, {"oversample": 1}))
    ]
    assert plain[0]["sha256"] == plain[1]["sha256"] and "oversample" not in plain[1]
    assert "source" not in records.read(tmp_path / "p1.parquet").schema.names


def test_draws_have_seeds_of_their_chunks_and_failures_are_counted(particles, tmp_path):
    lossy = hits_of(particles, tmp_path / "h.parquet", oversample=2, failed_events_allowed=0.1)
    lossy.backend = Lossy(Lossy.Options())
    facts = run(lossy)
    assert len(facts["seeds"]) == len(set(facts["seeds"].values())) == 5
    assert (facts["events_in"], facts["events_out"], facts["events_failed"]) == (20, 19, 1)
    made = records.read(tmp_path / "h.parquet")
    assert (np.array(made["source"]) == np.array(made["event"]) // 2).all() and 4 not in made["event"].to_pylist()
    lossy.failed_events_allowed, lossy.output = 0.0, tmp_path / "failed.parquet"
    assert run(lossy)["status"] == "failed"
    empty = records.read(lossy.output)
    assert empty.num_rows == 0 and "source" in empty.schema.names  # an empty shard has the columns of the others


def test_later_stages_carry_the_source_on(particles, tmp_path):
    run(hits_of(particles, tmp_path / "h.parquet", oversample=2))
    hits = records.Source(tmp_path / "h.parquet")
    events = hits.slice(3, 9)
    made = events.drop_columns(["source"]).filter(pa.array([True, False, True, True, True, True]))
    assert linked(made, events, "hits")["source"].to_pylist() == [1, 2, 3, 3, 4]
    assert linked(made, events, "particles") is made  # a record that holds no such column
    assert draw(hits, 0, 4, 2)["source"].to_pylist() == [0, 0, 0, 0]  # the first event, drawn again, and the second
    assert draw(hits, 0, 4, 2)["event"].to_pylist() == [0, 1, 2, 3]


def test_the_ntuple_has_the_source(tmp_path):
    made = objects(FULL, FULL).append_column("source", pa.array([3, 3]))
    for name, tables, there in (("a", [made], True), ("b", [made.slice(0, 0)], True), ("c", [objects(EMPTY)], False)):
        root.write_root(iter(tables), tmp_path / f"{name}.root")
        with uproot.open(tmp_path / f"{name}.root") as file:
            assert ("source" in set(file["Events"].keys())) is there
    with uproot.open(tmp_path / "a.root") as file:
        assert file["Events"]["source"].array().tolist() == [3, 3]


def test_event_numbers_too_large_are_refused(tmp_path):
    table = records.table("particles", {"event": [2**62], "weight": [1.0], "partons": [[]], "particles": [[]]})
    records.write(tmp_path / "p.parquet", table, "particles")
    with pytest.raises(InputError, match="event number 4611686018427387904 is too large for 3 draws") as refused:
        run(hits_of(tmp_path / "p.parquet", tmp_path / "h.parquet", oversample=3))
    assert "\n" not in str(refused.value) and not (tmp_path / "h.parquet").exists()


@pytest.fixture
def plan(tmp_path, repository, monkeypatch):
    """Plan a campaign of plain and oversampled samples in an empty folder; the stages may be changed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rates.json").write_text(json.dumps({
        f"{stage}/{backend}/cpu": {"cpu_seconds": seconds, "startup_seconds": 0.0, "bytes": 1000.0}
        for stage, backend, seconds in (("generate", "gun", 1), ("simulate", "geant4", 10), ("cluster", "clue", 2))
    }))  # fmt: skip
    monkeypatch.setenv("GEN2RECO_RATES", str(tmp_path / "rates.json"))
    known_rates.cache_clear()

    def make(**stages):
        gun = {"backend": "gun", "chunk_events": 10, "process": {"kind": "gun", "species": [22], "energy": [5, 100]}}
        plain = {"events": 360, "generate": gun, "simulate": {"backend": "geant4"}, "cluster": CLUE}
        often = {"like": "plain", "simulate": {"backend": "geant4", "oversample": 5}}
        campaign = {"name": "often", "seed": 1, "detector": str(repository / "configs/detectors/hgcal.yaml")}
        samples = {"plain": plain, "often": often, "again": {"like": "often", "cluster": CLUE}}
        samples |= {"alone": {**plain, "simulate": {"backend": "geant4", "oversample": 5}}}
        samples["often"] |= stages
        (tmp_path / "c.yaml").write_text(yaml.safe_dump({**campaign, "samples": samples}))
        return make_plan(tmp_path / "c.yaml")[0]

    yield make
    known_rates.cache_clear()


def test_a_plan_counts_draws(plan):
    made = plan()
    rows = {row["sample"]: row for row in estimate(made)}
    assert rows["plain"]["cpu_hours"] == pytest.approx(360 * (1 + 10 + 2) / 3600)
    assert rows["often"]["cpu_hours"] == pytest.approx(360 * 5 * (10 + 2) / 3600)  # particles are those of `plain`
    assert rows["often"]["gigabytes"] == pytest.approx(360 * 10 * 1000 / 1e9)
    assert rows["alone"]["cpu_hours"] == pytest.approx(360 * (1 + 5 * (10 + 2)) / 3600)
    assert (rows["plain"]["shard_events"], rows["alone"]["shard_events"]) == (200, 40)  # 45 minutes, in whole chunks
    assert rows["often"]["backends"] == "gun -> geant4 ×5 -> clue"
    assert made.owner("often", "generate") == "plain" and made.owner("often", "cluster") == "often"
    assert made.owner("again", "cluster") == "often"  # what is like it is drawn as often
    assert "oversample" not in made.choice("plain", "simulate")


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ({"simulate": {"backend": "geant4", "oversample": 0}}, "oversample"),
        ({"simulate": {"backend": "geant4", "oversample": 2.5}}, "oversample"),
        ({"simulate": {"backend": "geant4", "oversample": 10**6}}, "oversample"),
        ({"cluster": {"backend": "clue", "oversample": 2}}, "does not draw at random; give it to simulate, fuse, or"),
        ({"generate": {"backend": "gun", "oversample": 2}}, "generate does not draw at random"),
    ],
)  # fmt: skip
def test_bad_oversampling_is_one_line(plan, stages, words):
    with pytest.raises(InputError, match=words) as refused:
        plan(**stages)
    assert "\n" not in str(refused.value) and "c.yaml" in str(refused.value)


def test_verify_counts_draws(plan):
    """Files of toys under a plan's names: right ones pass, those drawn too seldom do not."""
    made = plan()
    choice = made.lock["samples"]["often"]["stages"]
    del choice["cluster"]
    for shard in range(made.shards("often")):
        source, hits = (made.file("often", stage, shard) for stage in choice)
        for stage, file in (("generate", source), ("simulate", hits)):
            file.parent.mkdir(parents=True, exist_ok=True)
            owner, digest = made.owner("often", stage), made.choice("often", stage)["digest"]
            facts = {"facts": {"config_digest": digest}, "sample": owner, "shard": shard, "chunk_events": 500}
            if stage == "generate":
                run(job(source.parent, events=made.events("often", shard), **facts))
                for path in (source.with_name("out.parquet"), source.with_name("out.json")):
                    path.rename(source.with_suffix(path.suffix))
            else:
                run(hits_of(source, hits, oversample=5, **facts))
    assert verify_sample(made, "often")["failed"] == 0
    facts = json.loads(sidecar_path(hits).read_text())
    for change, words in (
        ({"oversample": 1}, "drawn 1 times, planned are 5"),
        ({"events_in": 7}, "each drawn 5 times"),
    ):
        sidecar_path(hits).write_text(json.dumps(facts | change))
        with pytest.raises(InputError, match=words):
            verify_sample(made, "often")


def test_no_part_of_a_training_splits_a_source():
    event = np.arange(400)
    origin = event // 5
    sample = Sample(None, None, None, np.zeros(400, int), event, event, origin)
    jets = JetSample(None, *[event] * 4, origin, np.zeros(400, int))
    for name in PARTS:
        for mask in (sample.part(name), jets.part(name)):
            assert (mask.reshape(-1, 5) == mask[::5, None]).all() and mask.any()


def test_halves_of_tuning_split_no_source(tmp_path):
    hit = {"cell": 1, "layer": 1, "x": 0.0, "y": 0.0, "z": 1.0, "energy": 1.0, "time": 0.0}
    lists = {"tracks": [[]] * 6, "hits": [[hit]] * 6, "contributions": [[{"hit": 0, "particle": 0, "energy": 1.0}]] * 6}
    particle = [FULL[0][:1]] * 6
    columns = {
        "event": np.arange(6),
        "weight": np.ones(6),
        "particles": particle,
        **lists,
        "source": [0, 0, 1, 1, 2, 2],
    }
    kinds = {**records.COLUMNS["hits"]}
    made = {
        name: pa.array(values, kinds[name]) if name in kinds else pa.array(values) for name, values in columns.items()
    }
    records.write(tmp_path / "h.parquet", records.table("hits", made), "hits")
    assert [half["event"].to_pylist() for half in _halves(tmp_path / "h.parquet")] == [[0, 1, 4, 5], [2, 3]]


def test_units_belong_to_the_source_of_their_event():
    table = ObservableTable(np.array([12, 10, 10, 13]), np.ones(4), {"x": np.arange(4.0)})
    by_source = table.of_sources(np.array([10, 11, 12, 13]), np.array([5, 5, 6, 6]))
    assert by_source.event.tolist() == [6, 5, 5, 6] and by_source.draws == 2.0
    units = by_source.select(np.array([True, True, False, True])).units("x")
    assert units.n_events == 2 and units.draws == 2.0


def test_the_event_that_is_shown_is_one_source(tmp_path):
    """Row 3 of the oversampled candidate is of source 1; its row 1, which has the number 1, is of source 0."""
    hit = {"cell": 1, "layer": 1, "x": 0.0, "y": 0.0, "z": 1.0, "energy": 0.0, "time": 0.0}
    kinds = {**records.COLUMNS["hits"], **records.COLUMNS["clusters"]}
    trackster = {field.name: 0 for field in kinds["tracksters"].value_type} | {"energy": 0.0}
    samples = []
    for name, draws in (("plain", 1), ("often", 3)):
        number = np.arange(2 * draws)
        bright = [[{**trackster, "energy": 9.0 * (n // draws)}] for n in number]
        hits = [[{**hit, "energy": n + 0.5}] for n in number]
        none = ("particles", "tracks", "contributions", "layer_clusters", "associations", "cluster_trackster")
        lists = dict.fromkeys(none, [[]] * len(number))
        lists |= {"hits": hits, "hit_cluster": [[-1]] * len(number), "tracksters": bright}
        columns = {key: pa.array(values, kinds[key]) for key, values in lists.items()}
        columns |= {"event": number, "weight": np.ones(len(number))} | (
            {"source": number // draws} if draws > 1 else {}
        )
        for stage, record in (("simulate", "hits"), ("cluster", "clusters")):
            (tmp_path / name / stage).mkdir(parents=True)
            own = {key: columns[key] for key in columns if key in {*records.COLUMNS[record], "source"}}
            records.write(tmp_path / name / stage / "00000.parquet", records.table(record, own), record)
        samples.append(open_sample(tmp_path / name))
    number, found = pick(samples)
    assert number == 1 and [found[name].energy.tolist() for name in ("plain", "often")] == [[1.5], [3.5]]
