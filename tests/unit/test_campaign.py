"""Campaign files and plans: a table of mistakes, each one clear line; extension and content digests."""

import copy
import json
import re

import pytest
import yaml

from gen2reco.campaign.campaign import comparisons, load_campaign
from gen2reco.campaign.mistakes import check_campaign
from gen2reco.campaign.plan import ensure_plan, make_plan
from gen2reco.errors import InputError, InputErrors
from gen2reco.run.seeds import chunk_seed

GUN = {"kind": "gun", "species": [22], "energy": [5, 100]}
GENERATE, CLUSTER = {"backend": "gun", "process": "gun.yaml"}, {"backend": "clue"}


@pytest.fixture
def campaign(tmp_path, repository, monkeypatch):
    """Write a campaign (changed by a function) into an empty working folder; returns its path."""
    monkeypatch.chdir(tmp_path)
    detector = repository / "configs/detectors/hgcal.yaml"
    (tmp_path / "gun.yaml").write_text(yaml.safe_dump(GUN))

    def write(change=lambda data: None, name="c.yaml"):
        chain = {
            "generate": {"backend": "gun", "process": "gun.yaml", "chunk_events": 5},
            "simulate": {"backend": "geant4"},
            "cluster": {"backend": "clue"},
            "calibrate": {"backend": "raw"},
        }
        sample = {"events": 25, "shard_events": 10, **chain}
        data = {"name": "test", "detector": str(detector), "samples": {"a": sample, "b": {"like": "a"}}}
        change(data)
        path = tmp_path / name
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return path

    return write


def set_in(*path, value):
    def change(data):
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = copy.deepcopy(value)

    return change


MISTAKES = {
    "misspelt key": (set_in("sead", value=1), "unknown key `sead`; did you mean `seed`"),
    "misspelt key in a sample": (set_in("samples", "a", "event", value=1), "did you mean `events`"),
    "misspelt option": (set_in("samples", "a", "generate", "proces", value="x"), "did you mean `process`"),
    "wrong type": (set_in("samples", "a", "events", value="many"), "`samples.a.events` = 'many': expected a valid int"),
    "negative": (set_in("seed", value=-1), "`seed` = -1: expected greater than or equal to 0"),
    "bad name": (set_in("name", value="My Campaign"), "lower-case letters, digits and underscores"),
    "no detector": (set_in("detector", value="none.yaml"), "none.yaml: no such file"),
    "no backend": (lambda d: d["samples"]["a"].pop("generate"), "`generate` names no backend"),
    "a gap": (lambda d: d["samples"]["a"].pop("cluster"), "`cluster` has no backend but `calibrate` has one"),
    "a gap in what another is like": (
        set_in("samples", value={"a": {"events": 9, "generate": GENERATE}, "b": {"like": "a", "cluster": CLUSTER}}),
        "samples.b: `simulate` has no backend but `cluster` has one",
    ),
    "two ways": (
        set_in("samples", "b", value={"like": "a", "cluster": CLUSTER, "fuse": {"backend": "fused"}}),
        "`fuse` spans simulate to calibrate; give one or the other",
    ),
    "unknown backend": (
        set_in("samples", "a", "simulate", "backend", value="fluka"),
        "a.simulate: `simulate` has no backend `fluka`",
    ),
    "no events": (lambda d: d["samples"]["a"].pop("events"), "`events` is missing"),
    "like nothing": (set_in("samples", "b", "like", value="z"), "`b` is like `z`, which is no sample"),
    "like itself": (set_in("samples", "b", "like", value="b"), "like itself"),
    "missing process": (set_in("samples", "a", "generate", "process", value="x.yaml"), "x.yaml: no such file"),
    "compare nothing": (set_in("compare", value=[{"reference": "z"}]), "names no sample `z`"),
    "no samples": (set_in("samples", value={}), "`samples`"),
    "a name of many letters": (set_in("name", value="x" * 300), "`name` = 'xxx"),
    "a sample's name of many letters": (set_in("samples", value={"x" * 65: {}}), "at most 64 characters"),
    "a sample called as a folder": (set_in("samples", "report", value={"like": "a"}), "the campaign itself uses"),
    "a path as a name": (set_in("name", value="../x"), "lower-case letters, digits and underscores"),
    "true events": (set_in("samples", "a", "events", value=True), "`events` = True: expected a number"),
    "no end of events": (set_in("samples", "a", "events", value=10**18), "less than or equal to 1000000000000"),
    "events as a word": (set_in("samples", "a", "events", value="ten"), "`samples.a.events` = 'ten'"),
    "infinite": (set_in("samples", "a", "events", value=float("inf")), "line 5: `events` = .inf: expected a finite"),
    "events in quotes": (set_in("samples", "a", "events", value="0100"), "`events` = '0100': expected a number"),
    "seed in quotes": (set_in("seed", value="1_000"), "`seed` = '1_000': expected a number"),
    "no end of shards": (set_in("samples", "a", "events", value=10**9), "100000000 shards; expected at most 1000000"),
    "no end of samples": (
        lambda d: d["samples"].update({f"s{n}": {"like": "a"} for n in range(1000)}),
        "at most 1000 items",
    ),
    "a long circle": (
        lambda d: d["samples"].update({f"s{n}": {"like": f"s{(n + 1) % 900}"} for n in range(900)}),
        "like itself (s0 -> s1",
    ),
    "two reports of one": (
        set_in("compare", value=[{"reference": "a"}, {"reference": "a", "candidates": ["b"]}]),
        "reference `a` twice",
    ),
    "no licence": (set_in("licence", value=""), "`licence` = ''"),
    "misspelt criterion": (set_in("promotion", value=[{"metric": "a", "beter": "lower"}]), "did you mean `better`"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_file_and_field(campaign, mistake):
    change, message = MISTAKES[mistake]
    with pytest.raises(InputError) as caught:
        load_campaign(campaign(change))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "line 2: not valid YAML"),
        ("- a\n", "expected `key: value` pairs"),
        ("name: x\ndetector: d\nsamples:\n  a: {}\n  a: {}\n", "line 5: key `a` stands here and in line 4"),
    ],
)
def test_broken_yaml(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_campaign(path)


def test_the_command_prints_one_line_and_fails(campaign, gen2reco):
    done = gen2reco("check", campaign(MISTAKES["misspelt key"][0]))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "did you mean `seed`" in done.stderr


CASES = {
    "dup_events": "dup_events.yaml: line 11: key `events`",
    "dup_samples": "dup_samples.yaml: line 7: key `samples`",
    "octal": "octal.yaml: line 5: `events` = 0100 is no decimal number",
    "sexa": "sexa.yaml: line 5: `events` = 10:00 is no decimal number",
    "longname": "expected at most 64 characters",
    "tiny": None,
}


@pytest.mark.parametrize("case", CASES)
def test_the_cases_of_campaign_files(tmp_path, repository, case):
    for file in (repository / "tests/data/cases/yaml").iterdir():
        text = file.read_text().replace("DETECTOR", str(repository / "configs/detectors/hgcal.yaml"))
        (tmp_path / file.name).write_text(text)
    if CASES[case] is None:
        assert load_campaign(tmp_path / f"{case}.yaml")[0].samples["a"].events == 20
        return
    with pytest.raises(InputError) as caught:
        load_campaign(tmp_path / f"{case}.yaml")
    assert CASES[case] in str(caught.value) and "\n" not in str(caught.value)


def test_a_long_chain_of_samples_is_read(campaign):
    def chain(data):
        data["samples"] |= {f"s{n}": {"like": f"s{n - 1}" if n else "a"} for n in range(900)}
        data["samples"] = dict(reversed(data["samples"].items()))

    loaded, _, chains = load_campaign(campaign(chain))
    assert chains["s899"].keys() == chains["a"].keys()
    assert {c.reference: len(c.candidates) for c in comparisons(loaded)} == {"a": 901}


def test_samples_that_agree_share_their_stages(campaign):
    plan, _ = make_plan(campaign(set_in("samples", "b", "calibrate", value={"backend": "raw", "chunk_events": 7})))
    assert [plan.owner("b", stage) for stage in plan.stages("b")] == ["a", "a", "a", "b"]
    assert plan.shards("a") == 3
    assert plan.events("a", 2) == range(20, 25)


def test_more_events_extend_the_plan_and_keep_everything_else(campaign):
    before = make_plan(campaign())[0].lock
    after = make_plan(campaign(set_in("samples", "a", "events", value=50)))[0].lock
    assert after["revision"] == before["revision"]
    assert after["samples"]["a"]["stages"] == before["samples"]["a"]["stages"]
    assert (after["samples"]["a"]["events"], after["samples"]["a"]["shard_events"]) == (50, 10)


def test_licence_and_promotion_touch_no_digest_and_need_no_new_revision(campaign):
    before = make_plan(campaign())[0].lock
    criterion = {"metric": "auc", "limit": 0.6}

    def change(data):
        data |= {"licence": "CC0-1.0", "promotion": [criterion]}

    after = make_plan(campaign(change))[0].lock
    assert after["licence"] == "CC0-1.0"
    assert {**after, "licence": "CC-BY-4.0", "files": 0, "checksum": 0} == {**before, "files": 0, "checksum": 0}


BLOCKS = {
    "generate": (set_in("samples", "a", "generate", "chunk_events", value=7), ["generate"]),
    "process": (set_in("samples", "a", "generate", "process", value={**GUN, "species": [11]}), ["generate"]),
    "simulate": (set_in("samples", "a", "simulate", "chunk_events", value=7), ["simulate"]),
    "cluster": (set_in("samples", "a", "cluster", "chunk_events", value=7), ["cluster"]),
    "calibrate": (set_in("samples", "a", "calibrate", "chunk_events", value=7), ["calibrate"]),
    "job_minutes": (set_in("job_minutes", value=9.0), []),
}


@pytest.mark.parametrize("block", BLOCKS)
def test_a_changed_block_changes_the_digests_of_its_stages_only(campaign, block):
    change, stages = BLOCKS[block]
    before = make_plan(campaign())[0].lock["samples"]["a"]["stages"]
    if stages:
        with pytest.raises(InputError, match="changed since plan revision 1"):
            make_plan(campaign(change))
    plan, _ = make_plan(campaign(change), new_revision=True)
    after = plan.lock["samples"]["a"]["stages"]
    assert [stage for stage in after if after[stage]["digest"] != before[stage]["digest"]] == stages
    assert plan.lock["revision"] == (2 if stages else 1)


def test_of_many_changes_the_first_are_named_and_the_rest_counted(campaign):
    others = {f"s{n}": {"like": "a"} for n in range(9)}
    make_plan(campaign(lambda data: data["samples"].update(others)))

    def shards(data):
        data["samples"].update(copy.deepcopy(others))
        data["samples"]["a"]["shard_events"] = 5

    with pytest.raises(InputError, match=r"in samples.a.shard_events, .* and 5 more; run `gen2reco plan"):
        make_plan(campaign(shards))


def test_ensure_plan_notices_a_changed_file(campaign, tmp_path):
    path = campaign()
    first = ensure_plan(path)
    assert ensure_plan(path).lock == first.lock
    (tmp_path / "gun.yaml").write_text(yaml.safe_dump({**GUN, "species": [11]}))
    with pytest.raises(InputError, match=r"samples\.a\.generate"):
        ensure_plan(path)


def test_a_lock_of_another_version_or_campaign_is_refused(campaign, tmp_path):
    path = campaign()
    folder = make_plan(path)[0].folder
    with pytest.raises(InputError, match="holds the results of another campaign"):
        make_plan(campaign(name="other.yaml"))
    lock = json.loads((folder / "plan.lock.json").read_text())
    (folder / "plan.lock.json").write_text(json.dumps({**lock, "version": 99}))
    with pytest.raises(InputError, match="plan version 99, expected 2"):
        make_plan(path)


def test_seeds_differ_by_every_part_of_the_name():
    names = [(1, "a", "generate", 0, 0), (2, "a", "generate", 0, 0), (1, "b", "generate", 0, 0)]
    names += [(1, "a", "simulate", 0, 0), (1, "a", "generate", 1, 0), (1, "a", "generate", 0, 1)]
    seeds = {chunk_seed(*name) for name in names}
    assert len(seeds) == len(names) and all(0 <= seed < 2**63 for seed in seeds)
    assert chunk_seed(1, "a", "generate", 0, 0) == 4857108645053406794


def test_check_tells_every_mistake_at_once(campaign, repository, capsys):
    def change(data):
        data |= {"sead": 1, "detector": str(repository / "tests/data/small_detector.yaml")}
        data["compare"] = [{"reference": "q"}]
        data["models"] = {"m": {"train": "nothing", "data": ["a", "k"]}, "f": {"train": "fused", "data": ["a"]}}
        data["samples"]["a"] |= {"simulate": {"backend": "ml"}, "cluster": {"backend": "clue", "clustering": "no.yaml"}}
        data["samples"]["b"] |= {"simulate": {"backend": "fluka"}, "calibrate": {"backend": "raw", "rad": 1}}
        data["samples"]["c"] = {"like": "z"}
        data["samples"]["d"] = {"events": -1, "generate": GENERATE}

    with pytest.raises(InputErrors) as caught:
        check_campaign(campaign(change))
    expected = [
        "c.yaml: unknown key `sead`",
        "c.yaml: `samples.d.events` = -1",
        "c.yaml: sample `c` is like `z`, which is no sample",
        "c.yaml: `compare` names no sample `q`",
        "c.yaml: `models.m` names no sample `k`",
        "c.yaml: samples.a.simulate: the showers model ",
        "c.yaml: samples.a.cluster.clustering: ",
        "c.yaml: samples.b.simulate: `simulate` has no backend `fluka`",
        "c.yaml: samples.b.calibrate: unknown key `rad`",
        "c.yaml: models.m: there is no training `nothing`",
    ]
    lines = caught.value.lines
    assert all(any(part in line for line in lines) for part in expected), lines
    assert len(lines) == len(expected) and not any("samples.c.events" in line for line in lines)
    (model,) = [line for line in lines if "showers model" in line]
    assert re.search(
        r"trained at 47 layers of 10 mm, .*`small` has 12 of 20, .*release_showers.yaml .* about [\d.]+ CPU", model
    )


def test_check_tells_what_only_a_plan_finds_of_all_samples(campaign):
    def change(data):
        data["samples"]["b"]["events"] = 3
        data["samples"]["c"] = {"like": "a", "events": 30}

    with pytest.raises(InputErrors) as caught:
        check_campaign(campaign(change))
    found = [("samples.b.events: 3 are no whole" in line, "samples.c: expected" in line) for line in caught.value.lines]
    assert found == [(True, False), (False, True)]
