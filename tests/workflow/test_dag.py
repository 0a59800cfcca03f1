"""The graph of jobs, by the touch executor and dry runs: shapes, extension, content reruns, recovery."""

import copy
import fcntl
import json
import os
import re
import resource
import shutil

import pytest
import yaml

GUN = {"kind": "gun", "species": [22], "energy": [5, 100]}
STAGES = ("generate", "simulate", "cluster", "calibrate", "publish")


CHAIN = {
    "generate": {"backend": "gun", "process": "gun.yaml"},
    "simulate": {"backend": "geant4"},
    "cluster": {"backend": "clue"},
    "calibrate": {"backend": "raw"},
}
SAMPLES = {
    "a": {"events": 20, "shard_events": 10, **CHAIN},
    "b": {"like": "a", "cluster": {"backend": "clue", "chunk_events": 9}},
}


@pytest.fixture
def campaign(tmp_path, repository):
    """Write a campaign of two samples, the second like the first; returns a function that changes and rewrites it."""
    data = {"name": "dag", "detector": "detector.yaml", "samples": copy.deepcopy(SAMPLES)}

    def write(change=lambda data: None):
        change(data)
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
        return "c.yaml"

    shutil.copy(repository / "configs/detectors/hgcal.yaml", tmp_path / "detector.yaml")
    (tmp_path / "gun.yaml").write_text(yaml.safe_dump(GUN))
    write()
    return write


def pretend(snakemake, folder, *force):
    """Make the campaign look done: create what it would make, and let the touch executor mark it."""
    for line in snakemake("c.yaml", "--summary", cwd=folder).stdout.splitlines()[1:]:
        file = folder / line.split("\t")[0]
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            file.touch()
    snakemake("c.yaml", "--touch", *force, cwd=folder)


@pytest.fixture
def done(campaign, snakemake, tmp_path, tmp_path_factory):
    """The campaign, done once and copied: results and Snakemake's own records."""
    made = tmp_path_factory.getbasetemp() / "done"
    if not made.exists():
        pretend(snakemake, tmp_path, "--forceall")
        shutil.copytree(tmp_path, made)
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)


def jobs(run) -> dict[str, int]:
    """Rule → number of jobs, from the statistics a dry run prints."""
    text = run.stdout + run.stderr
    if "Nothing to be done" in text:
        return {}
    block = re.search(r"Job stats:\njob +count\n[- ]+\n(.*?)\n\n", text, re.S)
    counts = dict(line.split() for line in block[1].splitlines())
    return {rule: int(n) for rule, n in counts.items() if rule != "total"}


def test_the_graph_shares_what_samples_agree_on(campaign, snakemake):
    counts = jobs(snakemake(campaign(), "--dry-run"))
    assert {stage: counts.get(stage, 0) for stage in STAGES} == {
        "generate": 2,
        "simulate": 2,
        "cluster": 4,
        "calibrate": 4,
        "publish": 4,
    }
    assert (counts["verify"], counts["validate"], counts["track"]) == (2, 1, 1)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_fused_sample_shares_the_particles_and_skips_the_chain(campaign, snakemake, device):
    fuse = {"backend": "fused", "device": device}
    counts = jobs(snakemake(campaign(lambda data: data["samples"].update(b={"like": "a", "fuse": fuse})), "--dry-run"))
    rule = "fuse" if device == "cpu" else "fuse_gpu"
    assert [counts.get(stage, 0) for stage in (*STAGES, rule)] == [2, 2, 2, 2, 4, 2]


def test_a_stage_on_a_gpu_has_a_rule_of_its_own(campaign, snakemake):
    def on_gpu(data):
        for stage in CHAIN:
            data["samples"]["a"][stage]["device"] = "cuda"

    counts = jobs(snakemake(campaign(on_gpu), "--dry-run"))
    assert {rule: counts.get(rule, 0) for rule in [*(f"{stage}_gpu" for stage in CHAIN), "cluster"]} == {
        "generate_gpu": 2,
        "simulate_gpu": 2,
        "cluster_gpu": 2,
        "calibrate_gpu": 4,
        "cluster": 2,
    }


def test_more_events_add_shards_and_touch_nothing_else(campaign, done, snakemake, tmp_path):
    assert jobs(snakemake("c.yaml", "--dry-run")) == {}
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("results/dag/[ab]/*/*")}
    assert len(before) == 2 * (2 * 2 + 2 * 3 * 2) - 2 * 2

    def longer(data):
        data["samples"]["a"]["events"] = 40

    counts = jobs(snakemake(campaign(longer), "--dry-run"))
    assert [counts[stage] for stage in STAGES] == [2, 2, 4, 4, 4]
    pretend(snakemake, tmp_path)
    assert before == {p: p.stat().st_mtime_ns for p in before}


CHANGES = {
    "process": (lambda d, f: (f / "gun.yaml").write_text(yaml.safe_dump({**GUN, "species": [11]})), STAGES),
    "simulate": (lambda d, f: d["samples"]["a"]["simulate"].update(chunk_events=7), STAGES[1:]),
    "cluster of b": (lambda d, f: d["samples"]["b"]["cluster"].update(chunk_events=8), STAGES[2:]),
    "calibrate": (lambda d, f: d["samples"]["a"]["calibrate"].update(chunk_events=7), STAGES[3:]),
    "detector": (lambda d, f: edit_detector(f), STAGES[1:]),
    "job_minutes": (lambda d, f: d.update(job_minutes=7), ()),
}


def edit_detector(folder):
    text = (folder / "detector.yaml").read_text()
    (folder / "detector.yaml").write_text(text.replace("name: hgcal", "name: hgcal_two"))


@pytest.mark.parametrize("block", CHANGES)
def test_a_changed_block_reruns_the_stages_that_depend_on_it(campaign, done, snakemake, gen2reco, tmp_path, block):
    change, stages = CHANGES[block]
    path = campaign(lambda data: change(data, tmp_path))
    assert gen2reco("plan", path, "--new-revision").returncode == 0
    counts = jobs(snakemake(path, "--dry-run"))
    assert {rule for rule in counts if rule in STAGES} == set(stages)


def test_a_changed_campaign_without_new_revision_is_one_clear_line(campaign, done, snakemake):
    run = snakemake(campaign(lambda d: d.update(seed=9)), "--dry-run", check=False)
    assert run.returncode != 0
    assert "changed since plan revision 1 in seed, samples.a.calibrate" in run.stdout + run.stderr
    assert "run `gen2reco plan c.yaml --new-revision`" in run.stdout + run.stderr


def test_recover_asks_for_failed_shards_only(campaign, done, snakemake, gen2reco, tmp_path):
    lock = json.loads((tmp_path / "results/dag/plan.lock.json").read_text())
    for sidecar in tmp_path.glob("results/dag/[ab]/*/*.json"):
        status = "failed" if sidecar.match("a/cluster/00001.json") else "ok"
        counts = {"events_in": 10, "events_out": 10, "wall_seconds": 1}
        sample, stage, shard = sidecar.parts[-3], sidecar.parts[-2], int(sidecar.stem)
        entry = lock["samples"][sample]["stages"][stage]
        made = {"sample": sample, "stage": stage, "shard": shard, "config_digest": entry["digest"], "sha256": "0" * 64}
        sidecar.write_text(json.dumps({**made, "status": status, **counts}))
    assert "failed: results/dag/a/cluster/00001.parquet" in gen2reco("status", "c.yaml").stdout
    run = gen2reco("recover", "c.yaml", "--", "--cores", "1", "--dry-run", "--rerun-triggers", "params")
    assert jobs(run) == {"cluster": 1, "calibrate": 1}


@pytest.mark.parametrize("arguments", [(), ("--delete-all-output",)])
def test_a_second_driver_or_a_clean_is_refused(campaign, done, snakemake, tmp_path, arguments):
    before = sorted(tmp_path.glob("results/dag/**/*.parquet"))
    with (tmp_path / "results/dag/.driver").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        run = snakemake("c.yaml", *arguments, check=False)
        assert jobs(snakemake("c.yaml", "--dry-run")) == {}
    assert run.returncode == 75 and run.stderr.splitlines()[-1].startswith(
        "gen2reco: error: results/dag: another process"
    )
    assert before and sorted(tmp_path.glob("results/dag/**/*.parquet")) == before


def sidecars(folder, **given):
    """Give the sidecars of the campaign the facts of its plan, at the times that they have."""
    lock = json.loads((folder / "results/dag/plan.lock.json").read_text())
    for file in folder.glob("results/dag/[a-z]/*/*.json"):
        sample, stage, shard = file.parts[-3], file.parts[-2], int(file.stem)
        entry, when = lock["samples"][sample]["stages"][stage], file.stat()
        made = {"sample": sample, "stage": stage, "shard": shard, "config_digest": entry["digest"], "sha256": "0" * 64}
        file.write_text(json.dumps({**made, "status": "ok", "events_in": 10, "events_out": 10, **given}))
        os.utime(file, ns=(when.st_atime_ns, when.st_mtime_ns))


def records_left(folder) -> set[str]:
    return {f"{file.parts[-3]} {file.parts[-2]}" for file in folder.glob("results/dag/[a-z]/*/*.parquet")}


def test_what_is_not_kept_goes_and_is_made_again_only_where_it_is_needed(campaign, snakemake, gen2reco, tmp_path):
    path = campaign(lambda data: data["samples"]["a"].update(keep=["publish", "calibrate"]))
    pretend(snakemake, tmp_path, "--forceall")
    sidecars(tmp_path)
    assert records_left(tmp_path) == {"a calibrate", "b calibrate"}  # what b is like is not kept there either
    assert jobs(snakemake(path, "--dry-run")) == {}
    assert "a: made and removed: generate 2 of 2, simulate 2 of 2, cluster 2 of 2" in gen2reco("plan", path).stdout
    longer = campaign(lambda data: data["samples"]["a"].update(events=40))
    counts = jobs(snakemake(longer, "--dry-run"))
    assert [counts[stage] for stage in STAGES] == [2, 2, 4, 4, 4]
    campaign(lambda data: data["samples"]["a"].update(events=20))
    (tmp_path / "results/dag/plan.lock.json").unlink()
    more = campaign(
        lambda data: data["samples"].update(c={"like": "a", "cluster": {"backend": "clue", "chunk_events": 5}})
    )
    counts = jobs(snakemake(more, "--dry-run"))
    assert [counts[stage] for stage in STAGES] == [2, 2, 2, 2, 2]  # of a and b, what c reads alone
    campaign(lambda data: data["samples"].pop("c"))
    changed = campaign(lambda data: data["samples"]["a"]["calibrate"].update(chunk_events=7))
    assert gen2reco("plan", changed, "--new-revision").returncode == 0
    counts = jobs(snakemake(changed, "--dry-run"))
    assert [counts[stage] for stage in STAGES] == [2, 2, 4, 4, 4]


def test_clean_removes_what_is_no_longer_kept_and_says_how_much(campaign, done, snakemake, gen2reco, tmp_path):
    sidecars(tmp_path)
    for file in tmp_path.glob("results/dag/[ab]/*/*.parquet"):
        when = file.stat()
        file.write_bytes(b"x" * 1000)
        os.utime(file, ns=(when.st_atime_ns, when.st_mtime_ns))
    before = records_left(tmp_path)
    path = campaign(lambda data: data["samples"]["b"].update(keep=["publish", "calibrate"]))
    run = gen2reco("clean", path, "--dry-run")
    assert run.stdout.splitlines() == [
        "b cluster: would remove 2 files, made, used and not kept: 2,000 bytes",
        "2,000 bytes would be freed; sidecars stay",
    ]
    assert records_left(tmp_path) == before
    with (tmp_path / "results/dag/.driver").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert gen2reco("clean", path).returncode == 75
    assert records_left(tmp_path) == before
    assert "2,000 bytes freed" in gen2reco("clean", path).stdout
    assert records_left(tmp_path) == before - {"b cluster"}
    assert gen2reco("clean", path).stdout == "nothing to remove\n"
    assert not {*jobs(snakemake(path, "--dry-run"))} & {*STAGES}


def test_a_wrong_keep_is_one_line(campaign, gen2reco):
    def keep(data, value):
        data["samples"]["a"]["keep"] = value

    for value, words in (
        (["hits"], "`hits` is no stage of this sample; expected `all`, or some of generate"),
        ([], "nothing"),
    ):
        run = gen2reco("check", campaign(lambda data, value=value: keep(data, value)))
        assert run.returncode == 2 and words in run.stderr and "samples.a.keep" in run.stderr


def with_models(data, names=("showers_one",), used="showers_one"):
    """Have the campaign train models on sample `a` and judge them on `held`, and `b` use one of them."""
    own = {"events": 10, "shard_events": 10, **copy.deepcopy(CHAIN)}
    data["samples"] = {"a": data["samples"]["a"], "held": own, "b": {"like": "a"}}
    data["samples"]["b"]["simulate"] = {"backend": "ml", "model": used}
    model = {"train": "showers", "recipe": "recipe.yaml", "data": ["a"], "held_out": ["held"]}
    data["models"] = dict.fromkeys(names, model)


@pytest.fixture
def trains(campaign, tmp_path):
    """The campaign with a model, and its recipe."""
    (tmp_path / "recipe.yaml").write_text("teacher: {steps: 3}\n")
    return campaign(with_models)


def test_a_model_is_trained_on_verified_samples_and_used_once_it_is_trained(trains, snakemake):
    run = snakemake(trains, "--dry-run")
    counts = jobs(run)
    assert (counts["train"], counts["judge"], counts["simulate"], counts["verify"]) == (1, 1, 2 + 1 + 2, 3)
    inputs = re.findall(r"^rule (\w+):\n((?:    .*\n)+)", run.stdout, re.M)
    train = next(block for rule, block in inputs if rule == "train")
    judge = next(block for rule, block in inputs if rule == "judge")
    assert "input: results/dag/a/verified.json\n" in train
    assert "input: results/dag/models/showers_one/trained.json, results/dag/held/verified.json\n" in judge
    users = [block for rule, block in inputs if rule == "simulate" and "sample=b" in block]
    assert len(users) == 2 and all("results/dag/models/showers_one/trained.json" in block for block in users)


def test_a_model_that_starts_from_another_waits_for_it_and_what_is_replayed(trains, campaign, snakemake, tmp_path):
    """Until it was trained from the present one: then a newer receipt of the same model trains nothing anew."""

    def warm(data):
        data["models"]["warm"] = {**data["models"]["showers_one"], "data": ["more"]}
        data["models"]["warm"]["from"] = {"model": "showers_one", "replay": 0.3}
        data["samples"]["more"] = copy.deepcopy(data["samples"]["held"])

    path = campaign(warm)
    run = snakemake(path, "--dry-run")
    trained = "results/dag/models/showers_one/trained.json"
    block = re.search(
        r"^rule train:\n    input: (.*)\n    output: results/dag/models/warm/trained.json", run.stdout, re.M
    )
    assert block[1].split(", ") == ["results/dag/more/verified.json", "results/dag/a/verified.json", trained]
    pretend(snakemake, tmp_path, "--forceall")
    lock = json.loads((tmp_path / "results/dag/plan.lock.json").read_text())
    facts = {"model_digest": "a" * 64, "kinds": {".": "showers"}, "wall_seconds": 1.0, "cpu_seconds": 1.0}
    for name, parent in (("warm", {"parent": "a" * 64}), ("showers_one", {})):
        receipt = {**facts, "model": name, "planned": lock["models"][name]["digest"], **parent}
        (tmp_path / f"results/dag/models/{name}/trained.json").write_text(json.dumps(receipt))
    assert jobs(snakemake(path, "--dry-run", "results/dag/models/warm/trained.json")) == {}
    other = json.loads((tmp_path / trained).read_text()) | {"model_digest": "b" * 64}
    (tmp_path / trained).write_text(json.dumps(other))
    assert jobs(snakemake(path, "--dry-run", "results/dag/models/warm/trained.json")) == {"train": 1}


def test_a_model_on_a_gpu_has_a_rule_of_its_own(trains, campaign, snakemake):
    counts = jobs(snakemake(campaign(lambda data: data["models"]["showers_one"].update(device="cuda")), "--dry-run"))
    assert (counts["train_gpu"], counts.get("train", 0)) == (1, 0)


def test_a_model_made_by_touch_leaves_nothing_to_do_and_reruns_by_content(trains, snakemake, gen2reco, tmp_path):
    path = trains
    pretend(snakemake, tmp_path, "--forceall")
    (tmp_path / "recipe.yaml").write_text("# the same\nteacher: {steps: 3}\n")
    assert jobs(snakemake(path, "--dry-run")) == {}
    (tmp_path / "recipe.yaml").write_text("teacher: {steps: 4}\n")
    assert gen2reco("plan", path, "--new-revision").returncode == 0
    counts = jobs(snakemake(path, "--dry-run"))
    kinds = ("train", "judge", "generate", "simulate", "cluster", "calibrate", "publish")
    assert [counts.get(kind, 0) for kind in kinds] == [1, 1, 0, 2, 2, 2, 2]


def test_a_model_of_other_bytes_has_its_users_made_again_and_one_of_the_same_does_not(trains, snakemake, tmp_path):
    pretend(snakemake, tmp_path, "--forceall")
    results = tmp_path / "results/dag"
    lock = json.loads((results / "plan.lock.json").read_text())
    receipt = {"model": "showers_one", "planned": lock["models"]["showers_one"]["digest"], "model_digest": "a" * 64}
    receipt |= {"kinds": {".": "showers"}, "wall_seconds": 1.0, "cpu_seconds": 1.0}
    for shard, digest in (("00000", "a"), ("00001", "b")):
        facts = {"status": "ok", "stage": "simulate", "sha256": "0" * 64, "events_in": 10, "events_out": 10}
        sidecar = results / f"b/simulate/{shard}.json"
        when = sidecar.stat()
        sidecar.write_text(json.dumps({**facts, "model_digest": digest * 64}))
        os.utime(sidecar, ns=(when.st_atime_ns, when.st_mtime_ns))
    (results / "models/showers_one/trained.json").write_text(json.dumps(receipt))
    counts = jobs(snakemake("c.yaml", "--dry-run"))
    assert (counts["simulate"], counts["cluster"], counts.get("train", 0)) == (1, 1, 0)
    assert jobs(snakemake("c.yaml", "--dry-run", "--forcerun", "train"))["simulate"] == 1


def test_a_dry_run_of_ten_models_is_quick(trains, campaign, snakemake):
    """Beside one of a single model, in the same run: machines and their load differ."""
    seconds = {}
    for number in (1, 10):
        path = campaign(lambda data, n=number: with_models(data, [f"model_{k}" for k in range(n)], "model_0"))
        snakemake(path, "--dry-run")
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        assert jobs(snakemake(path, "--dry-run"))["train"] == number
        seconds[number] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert seconds[10] < 1.5 * seconds[1], seconds
