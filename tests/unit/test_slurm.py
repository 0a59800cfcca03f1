"""What is understood of Slurm's words and of profiles, without a cluster."""

import re

import pytest
import yaml

from gen2reco.campaign import profile, reasons, slurm
from gen2reco.campaign.measure import measure_rates
from gen2reco.campaign.profile import Profile, Request, load_profile
from gen2reco.campaign.rates import known_rates, shard_events, unmeasured
from gen2reco.errors import InfrastructureError, InputError


@pytest.mark.parametrize(
    "text, minutes",
    [("UNLIMITED", None), ("30:00", 1800), ("01:30:00", 90), ("2-12:00:00", 3600), ("00:00:30", 0.5)],
)
def test_times(text, minutes):
    assert slurm._minutes(text) == minutes


@pytest.mark.parametrize(
    "text, gpus",
    [
        ("(null)", {}),
        ("gpu:4", {"": 4}),
        ("gpu:a100:4(S:0-1)", {"a100": 4}),
        ("gpu:a100:4(S:0-1),gpu:t4:2(S:0),shard:8", {"a100": 4, "t4": 2}),
    ],
)
def test_gpus_of_a_node(text, gpus):
    assert slurm._gres(text) == gpus


@pytest.mark.parametrize(
    "tres, gpus",
    [
        ("billing=1,cpu=4,mem=2G,node=1", 0),
        ("cpu=4,gres/gpu=2,node=1", 2),
        ("gres/gpu:a100=2,gres/gpu=2", 2),
        ("gres/gpu:a100=1,gres/gpu:t4=2", 3),
    ],
)
def test_gpus_of_a_job(tres, gpus):
    assert slurm._gpus_in(tres) == gpus


def test_job_names_are_short_and_tell_campaigns_apart():
    long = slurm.job_prefix("a" * 60), slurm.job_prefix("a" * 59 + "b")
    assert long[0] != long[1] and max(map(len, long)) <= 50
    assert slurm.job_prefix("quickstart") == "g2r-quickstart"


SHIPPED = [("slurm", {"gpus": 1}), ("slurm-gres", {"gpus": 1})]


@pytest.mark.parametrize("name, gpu", SHIPPED)
def test_shipped_profiles_ask_for_gpus_in_gpu_rules_alone(name, gpu):
    shipped = load_profile(name)
    assert shipped.on_slurm
    cpu = Request.of("simulate", shipped.resources("simulate"))
    cuda = Request.of("simulate_gpu", shipped.resources("simulate_gpu"))
    assert (cpu.partition, cpu.gpus, cuda.partition, cuda.gpus) == ("cpu", 0, "gpu", gpu["gpus"])
    assert cpu.memory_mb >= 1000 and cpu.minutes >= 60


@pytest.mark.parametrize("name", ["slurm", "slurm-gres"])
def test_every_gpu_rule_has_its_resources_in_the_profiles(name, repository):
    rules = "".join(file.read_text() for file in (repository / "workflow/rules").glob("*.smk"))
    names = re.findall(r"^use rule \w+ as (\w+_gpu) with", rules, re.M)
    assert len(names) == 5
    shipped = load_profile(name)
    assert {Request.of(rule, shipped.resources(rule)).gpus for rule in names} == {1}


@pytest.mark.parametrize("name", ["slurm", "slurm-gres"])
def test_shipped_profiles_group_no_gpu_rule_and_use_no_arrays(name):
    settings = load_profile(name).settings
    assert not [rule for rule in settings["groups"] if rule.endswith("_gpu")]
    assert not [key for key in settings if "array" in key]
    assert settings["retries"] >= 2 and settings["slurm-requeue"] is True


def test_unknown_profile_names_the_known_ones():
    with pytest.raises(InputError, match=r"known: .*slurm"):
        load_profile("slrum")


CLUSTER = {
    "partitions": {
        "cpu": slurm.Partition("cpu", True, True, 1440, None),
        "gpu": slurm.Partition("gpu", True, False, None, frozenset({"physics"})),
        "old": slurm.Partition("old", False, False, None, None),
    },
    "nodes": [
        slurm.Node("c1", frozenset({"cpu"}), 8, 16000, {}),
        slurm.Node("c2", frozenset({"cpu"}), 2, 64000, {}),
        slurm.Node("g1", frozenset({"gpu"}), 8, 16000, {"a100": 2}),
    ],
    "associations": ({"physics", "chemistry"}, {"normal"}),
}
BAD = {
    "partition": (
        Request("rule r", partition="cpus"),
        "partition `cpus` does not exist on this cluster; it has cpu, gpu, old",
    ),
    "partition down": (Request("rule r", partition="old"), "not up"),
    "account": (
        Request("rule r", account="biology"),
        "account `biology` is not one of yours; you have chemistry, physics",
    ),
    "account not here": (Request("rule r", partition="gpu", account="chemistry"), "takes no account `chemistry`"),
    "qos": (Request("rule r", qos="high"), "QoS `high`"),
    "GPU type": (Request("rule r", partition="gpu", gpus=1, gpu_type="h100"), "no GPU of type `h100`; it has a100"),
    "no GPU": (Request("rule r", partition="cpu", gpus=1), "partition `cpu` has no GPU"),
    "GPUs": (Request("rule r", partition="gpu", gpus=3), "more than any node of partition `gpu` has"),
    "memory": (Request("rule r", memory_mb=65000), "65000 MB are more than any node"),
    "CPUs and memory, each had by another": (Request("rule r", cpus=4, memory_mb=32000), "more than any node"),
    "runtime": (Request("rule r", minutes=1441), "beyond the 1440 min"),
}


@pytest.fixture
def cluster(monkeypatch):
    for name, value in CLUSTER.items():
        monkeypatch.setattr(slurm, name, lambda value=value: value)


@pytest.mark.parametrize("what", BAD)
def test_what_a_cluster_lacks_is_named_in_one_line(cluster, what):
    request, said = BAD[what]
    found = profile.problems([request])
    assert len(found) == 1 and said in found[0] and "\n" not in found[0] and found[0].startswith("rule r: ")


def test_what_a_cluster_has_is_no_problem(cluster):
    asked = [
        Request("simulate", None, "physics", "normal", 8, 16000, 1440),
        Request("simulate_gpu", "gpu", "physics", cpus=1, memory_mb=16000, gpus=2, gpu_type="a100"),
    ]
    assert profile.problems(asked) == []


def test_one_mistake_in_many_rules_is_one_line(cluster):
    found = profile.problems([Request("rule a", partition="x"), Request("rule b", partition="x")])
    assert len(found) == 1 and found[0].startswith("rule a, rule b: ")


CPU_CHAIN = [(stage, "cpu") for stage in ("generate", "simulate", "cluster", "calibrate")]
GPU_CHAIN = [(stage, "cuda" if stage == "simulate" else "cpu") for stage, _ in CPU_CHAIN]


def grouped(**settings):
    """The shipped profile with a few more settings."""
    return Profile("site", load_profile("slurm").settings | settings)


def test_rules_of_a_group_are_asked_for_as_one_job():
    (request,) = profile.requests(grouped(), [CPU_CHAIN, CPU_CHAIN])
    assert request.rules == "rules generate, simulate, cluster, calibrate, publish, as one job"
    assert (request.cpus, request.memory_mb, request.minutes) == (1, 3000, 4 * 60 + 120)
    (request,) = profile.requests(grouped(**{"group-components": ["shard=20"]}), [CPU_CHAIN])
    assert (request.cpus, request.memory_mb, request.minutes) == (20, 60000, 360)
    assert "up to 20 of each" in request.rules


def test_a_gpu_rule_is_a_job_of_its_own():
    asked = profile.requests(grouped(), [GPU_CHAIN])
    assert [(one.rules.split(", as")[0], one.gpus) for one in asked] == [
        ("rule generate", 0),
        ("rule simulate_gpu", 1),
        ("rules cluster, calibrate, publish", 0),
    ]


SPLIT = {"default-resources": {"slurm_partition": "cpu"}, "set-resources": {"cluster": {"slurm_partition": "long"}}}


@pytest.mark.parametrize(
    "settings, road, said",
    [
        ({"group-components": {"shard": 2}}, GPU_CHAIN, "where simulate_gpu comes between the rules of `shard`"),
        (SPLIT, CPU_CHAIN, "slurm_partition: the rules of a group go as one job, but ask for generate `cpu`"),
    ],
)
def test_groups_that_cannot_be_are_told(settings, road, said):
    with pytest.raises(InputError) as told:
        profile.requests(grouped(**settings), [road])
    assert said in str(told.value) and str(told.value).startswith("site: ")


def test_resources_are_those_of_the_first_attempt():
    settings = {
        "executor": "slurm",
        "default-resources": {"mem_mb": "1000 * attempt", "slurm_partition": "cpu", "runtime": "max(10, 20 * attempt)"},
        "set-resources": {"simulate": {"mem_mb": "3000 * attempt"}},
        "set-threads": {"simulate": 4},
    }
    request = Request.of("simulate", Profile("p", settings).resources("simulate"))
    assert (request.memory_mb, request.cpus, request.minutes, request.partition) == (3000, 4, 20, "cpu")


@pytest.mark.parametrize(
    "log, state, reason",
    [
        ("", "OUT_OF_MEMORY", "out of memory"),
        ("slurmstepd: error: Exceeded job memory limit", "FAILED", "out of memory"),
        ("gen2reco: error: the process of chunk 3 died (signal 9); out of memory? run it again", "", "out of memory"),
        ("gen2reco: error: x.parquet: stopped by SIGUSR1 after 2 of 3 chunks", "FAILED", "time limit"),
        ("", "NODE_FAIL", "node lost"),
        ("gen2reco: error: x.parquet: empty file", "FAILED", "x.parquet: empty file"),
        ("generate gun: 5/10 events", "FAILED", "killed"),
        ("generate gun: 5/10 events", "", ""),
    ],
)
def test_reasons(log, state, reason):
    assert reasons._reason(log, None, state) == reason


def test_shards_are_sized_by_the_longest_job(monkeypatch):
    rates = {"generate": 0.1, "simulate": 1.0, "cluster": 0.1}
    monkeypatch.setattr("gen2reco.campaign.rates.seconds_per_event", lambda stages: {s: rates[s] for s in stages})
    entry = {"device": "cpu", "chunk_events": 10}
    assert shard_events(dict.fromkeys(rates, entry), 45) == 2240
    on_gpu = dict.fromkeys(rates, entry) | {"simulate": {"device": "cuda", "chunk_events": 10}}
    assert shard_events(on_gpu, 45) == 2700


def test_stages_that_nobody_measured_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("GEN2RECO_RATES", str(tmp_path / "none.json"))
    known_rates.cache_clear()
    generate = {"backend": "gun", "device": "cpu", "options": {"process": {"kind": "gun"}}}
    stages = {"generate": generate, "simulate": {"backend": "geant4", "device": "cuda", "options": {}}}
    assert unmeasured(stages) == ["simulate geant4 on cuda"]
    assert unmeasured(stages | {"simulate": {"backend": "geant4", "device": "cpu", "options": {}}}) == []


@pytest.fixture
def gun_on_gpu(tmp_path, repository, monkeypatch):
    """A campaign whose generator wants a GPU, on a machine without one; returns a function that writes it."""
    monkeypatch.setattr("gen2reco.campaign.device.gpu_visible", lambda: False)
    monkeypatch.setenv("GEN2RECO_RATES", str(tmp_path / "rates.json"))
    (tmp_path / "gun.yaml").write_text(yaml.safe_dump({"kind": "gun", "species": [22], "energy": [5, 50]}))
    sample = {"events": 1000, "generate": {"backend": "gun", "process": "gun.yaml", "device": "cuda"}}
    data = {"name": "rates", "detector": str(repository / "configs/detectors/hgcal.yaml"), "samples": {"one": sample}}

    def write(**changed):
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(data | changed))
        return tmp_path / "c.yaml"

    return write


def test_rates_of_a_gpu_stage_are_measured_on_a_gpu(gun_on_gpu):
    with pytest.raises(InfrastructureError, match="generate of `one` runs on a GPU and none can be used here"):
        measure_rates(gun_on_gpu(), 0.0)


def test_rates_where_the_cpu_may_do_instead(gun_on_gpu):
    (key,) = measure_rates(gun_on_gpu(allow_cpu=True), 0.0)
    assert key.startswith("generate/gun/cpu/")
