"""What is understood of Slurm's words and of profiles, without a cluster."""

import subprocess

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from gen2reco.batch import lost_jobs, offer, profile, slurm, submit
from gen2reco.batch import slurm_words as words
from gen2reco.batch.profile import Profile, load_profile
from gen2reco.batch.request import Request
from gen2reco.batch.slurm_words import Gres
from gen2reco.campaign.measure_rates import measure_rates
from gen2reco.campaign.rates import JobCost, shard_events
from gen2reco.cli import cli
from gen2reco.errors import InfrastructureError, InputError
from gen2reco.run.devices import idle_gpus
from gen2reco.run.stage import backend_class, backend_names
from gen2reco.run.stage_table import STAGES, rule_name


@pytest.mark.parametrize(
    "text, minutes",
    [
        ("UNLIMITED", None),
        ("INFINITE", None),
        ("60", 60),
        ("0", 0),
        ("60:30", 60.5),
        ("01:30:00", 90),
        ("00:00:30", 0.5),
        ("2-12", 3600),
        ("2-12:30", 3630),
        ("2-12:00:00", 3600),
        ("30-00:00:00", 43200),
    ],
)
def test_times(text, minutes):
    assert words.minutes(text) == minutes


@pytest.mark.parametrize(
    "text, megabytes",
    [
        ("4000", 4000),
        ("4000M", 4000),
        ("4G", 4096),
        ("1T", 2**20),
        ("1P", 2**30),
        ("1000K", 1),
        ("4gb", 4096),
        ("0", 0),
    ],
)
def test_sizes(text, megabytes):
    assert words.megabytes(text) == megabytes


@pytest.mark.parametrize(
    "text, found",
    [
        ("(null)", []),
        ("NONE", []),
        ("gpu", [("gpu", "", 1)]),
        ("gpu:4", [("gpu", "", 4)]),
        ("gpu:a100:1", [("gpu", "a100", 1)]),
        ("gpu:1g.10gb:2", [("gpu", "1g.10gb", 2)]),
        ("gpu:1g.10gb", [("gpu", "1g.10gb", 1)]),
        ("gpu:nvidia_a100_3g.20gb:2", [("gpu", "nvidia_a100_3g.20gb", 2)]),
        ("gpu:rtx-6000:2", [("gpu", "rtx-6000", 2)]),
        ("gpu:a100:4(S:0-1)", [("gpu", "a100", 4)]),
        ("gpu:a100:4(S:0,1),shard:8", [("gpu", "a100", 4), ("shard", "", 8)]),
        ("gpu:a100:1,shard:2", [("gpu", "a100", 1), ("shard", "", 2)]),
        ("gpu:a100:4(IDX:0-3),gpu:t4:2(S:0)", [("gpu", "a100", 4), ("gpu", "t4", 2)]),
        ("mps:100,bandwidth:lustre:no_consume:4G", [("mps", "", 100), ("bandwidth", "lustre", 4 * 2**30)]),
        ("gpu:2K", [("gpu", "", 2048)]),
        ("gres/gpu=2,gres/gpu:t4=1", [("gpu", "", 2), ("gpu", "t4", 1)]),
        ("gres:gpu:t4:2", [("gpu", "t4", 2)]),
    ],
)
def test_generic_resources(text, found):
    assert words.gres(text) == found


@pytest.mark.parametrize(
    "text, found",
    [
        ("2", [("gpu", "", 2)]),
        ("volta:3", [("gpu", "volta", 3)]),
        ("volta:3,kepler:1", [("gpu", "volta", 3), ("gpu", "kepler", 1)]),
        ("1g.10gb:2", [("gpu", "1g.10gb", 2)]),
    ],
)
def test_gpus(text, found):
    assert words.gpus(text) == found


@pytest.mark.parametrize(
    "text, names",
    [
        ("c1", {"c1"}),
        ("c1,c2", {"c1", "c2"}),
        ("n[08-10,12],gpu1", {"n08", "n09", "n10", "n12", "gpu1"}),
        ("r[1-2]n[1-2]-ib", {"r1n1-ib", "r1n2-ib", "r2n1-ib", "r2n2-ib"}),
    ],
)
def test_node_names(text, names):
    assert words.hosts(text) == names


FEATURES = {"intel", "ib", "a100", "rack1", "80gb"}


@pytest.mark.parametrize(
    "constraint, has",
    [
        ("intel", True),
        ("amd", False),
        ("intel&ib", True),
        ("intel&amd", False),
        ("intel|amd", True),
        ("[rack1|rack2]", True),
        ("[rack3|rack2]", False),
        ("(amd|intel)&80gb", True),
        ("intel*4", True),
        ("[rack1*2]", True),
        (" intel & ib ", True),
    ],
)
def test_features(constraint, has):
    assert words.has_features(constraint, FEATURES) is has


@pytest.mark.parametrize(
    "text, found",
    [
        ("--signal=USR1@120", [("signal", "USR1@120")]),
        (
            "-C intel --gres gpu:1 --exclusive -G2",
            [("constraint", "intel"), ("gres", "gpu:1"), ("exclusive", ""), ("gpus", "2")],
        ),
        ("'--mem=4G --nodelist=\"n[1-2]\"'", [("mem", "4G"), ("nodelist", "n[1-2]")]),
        ("--comment='a b'", [("comment", "a b")]),
        ("--gpus-per-node=a100:2 --comment 'a b'", [("gpus-per-node", "a100:2"), ("comment", "a b")]),
    ],
)
def test_options(text, found):
    assert words.options(text) == found


UNREADABLE = {
    words.minutes: ["", "1h", "1:2:3:4", "1-", "x", "-5", "1.5", "9" * 400],
    words.megabytes: ["", "4 GiB!", "1.5G", "x", "-1"],
    words.gres: [
        "gpu:",
        "gpu::2",
        ":2",
        "gpu:a:b:2",
        "gpu:a100:two",
        "2",
        "gpu=",
        "gpu:a100:1;rm",
        "gpu:-1",
        "gpu:1.5",
    ],
    words.gpus: ["", "a:b:2", "2;3", "-1"],
    words.hosts: ["", "n[1-", "n[a-b]", "n]1[", "n[1-999999999]", "n[3-1]", "/etc/hosts", "n1,./nodes"],
    lambda text: words.has_features(text, FEATURES): ["a&b|c", "[a*2&b*4]", "(a", "a)", "a&", "!a", "a**2", "(" * 99],
    words.options: ["--", "gpu:1", "--x 'a"],
    words.tres: ["cpu", "cpu=", "=4", "gres/gpu"],
}


@pytest.mark.parametrize("read, text", [(read, text) for read, texts in UNREADABLE.items() for text in texts])
def test_what_cannot_be_read_is_never_nothing(read, text):
    with pytest.raises(ValueError):
        read(text)


READERS = [words.minutes, words.megabytes, words.gres, words.gpus, words.hosts, words.options, words.tres]


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(READERS), st.text("gpu:=,()[]-*&|1209kKMG. '\"/a", max_size=15))
def test_whatever_is_written_is_read_or_refused(read, text):
    try:
        read(text)
        words.has_features(text, FEATURES)
    except ValueError:
        pass


SEVERAL = "tasks `2`: several tasks, whose CPUs may be of several nodes"
GPU, SHARD = Gres("gpu", "t4", 1), Gres("shard", "", 2)


@pytest.mark.parametrize(
    "resources, wanted",
    [
        ({"gpu": 2}, {"gpus": 2}),
        ({"gpu": "2"}, {"gpus": 2}),
        ({"gpu_model": "a100"}, {"gpus": 1, "gpu_type": "a100"}),
        ({"gpu": 2, "gpu_model": "a100"}, {"gpus": 2, "gpu_type": "a100"}),
        ({"gres": "gpu:1g.10gb:2"}, {"gpus": 2, "gpu_type": "1g.10gb"}),
        ({"gres": "'gpu:a100:1'"}, {"gpus": 1, "gpu_type": "a100"}),
        ({"gres": '"gpu:1"'}, {"gpus": 1}),
        ({"gres": "gpu:a100:1,shard:2"}, {"gpus": 1, "gpu_type": "a100", "gres": (SHARD,)}),
        ({"gres": "shard:2"}, {"gres": (SHARD,)}),
        ({"gres": "gpu:a100:2,gpu:t4:1"}, {"gpus": 2, "gpu_type": "a100", "gres": (GPU,)}),
        ({"gres": "gpu:0"}, {}),
        ({"gres": "gpu=x"}, {"unread": ("gres `gpu=x`",)}),
        ({"gpus": 1}, {"unread": ("gpus `1`: not passed on to Slurm; write `gpu`",)}),
        ({"gpu": 2, "cpus_per_gpu": 4}, {"gpus": 2, "cpus": 8}),
        ({"threads": 4, "mem_mb_per_cpu": 100}, {"cpus": 4, "memory_mb": 400}),
        ({"cpus_per_task": -1}, {"cpus": 1}),
        ({"mem_mb": "4G"}, {"memory_mb": 4096}),
        ({"mem_mb": "<TBD>"}, {"unread": ("mem_mb `<TBD>`",)}),
        ({"runtime": "1-00:00:00"}, {"minutes": 1440}),
        ({"runtime": "soon"}, {"unread": ("runtime `soon`",)}),
        ({"slurm_partition": "a,b", "slurm_account": "x, y"}, {"partition": "a,b", "account": "x"}),
        ({"constraint": "'intel&ib'"}, {"constraint": "intel&ib"}),
        ({"nodes": 2}, {"unread": ("nodes `2`: several nodes",)}),
        ({"clusters": "other"}, {"unread": ("clusters `other`: another cluster",)}),
        ({"slurm_extra": "'--gres=gpu:a100:1,shard:2'"}, {"gpus": 1, "gpu_type": "a100", "gres": (SHARD,)}),
        ({"slurm_extra": "--gpus-per-node=a100:2"}, {"gpus": 2, "gpu_type": "a100"}),
        ({"slurm_extra": "--gpus-per-task 2", "tasks": 1}, {"gpus": 2}),
        ({"slurm_extra": "--gpus-per-task 2", "tasks": 2}, {"gpus": 4, "unread": (SEVERAL,)}),
        ({"tasks": 2, "threads": 8}, {"cpus": 8, "unread": (SEVERAL,)}),
        ({"slurm_extra": "-G t4:1 -C ib -t 2-0"}, {"gpus": 1, "gpu_type": "t4", "constraint": "ib", "minutes": 2880}),
        (
            {"slurm_extra": "--tres-per-task=cpu=4,mem=2G,gres/gpu:t4=1"},
            {"gpus": 1, "gpu_type": "t4", "cpus": 4, "memory_mb": 2048},
        ),
        ({"slurm_extra": "--mem-per-cpu=2G", "threads": 2}, {"cpus": 2, "memory_mb": 4096}),
        ({"slurm_extra": "-w n[1-2] -x n3"}, {"nodes": frozenset({"n1", "n2"}), "excluded": frozenset({"n3"})}),
        ({"slurm_extra": "--signal=USR1@120 --requeue --mail-type END"}, {}),
        (
            {"slurm_extra": "--reservation=x -L matlab:1"},
            {"unread": ("slurm_extra `--reservation=x`", "slurm_extra `--licenses=matlab:1`")},
        ),
        ({"slurm_extra": "--gpus-per-socket=1"}, {"unread": ("slurm_extra `--gpus-per-socket=1`",)}),
        ({"slurm_extra": "--gres=gpu:"}, {"unread": ("slurm_extra `--gres=gpu:`",)}),
        ({"slurm_extra": "'unclosed"}, {"unread": ("slurm_extra `'unclosed`",)}),
    ],
)
def test_requests(resources, wanted):
    assert Request.of("rule r", resources) == Request("rule r", **wanted)


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


def test_the_profiles_differ_in_how_gpus_are_asked_for(repository):
    profiles = repository / "profiles"
    script, source = profiles / "slurm-gres/difference.sed", profiles / "slurm/profile.yaml"
    made = subprocess.run(["sed", "-f", script, source], capture_output=True, text=True, check=True).stdout
    assert (profiles / "slurm-gres/profile.yaml").read_text() == made, "profiles/slurm-gres is stale; run `make docs`"
    by_gpus, by_gres = (load_profile(name).settings for name in ("slurm", "slurm-gres"))
    for resources in by_gpus["set-resources"].values():
        if resources.pop("gpu", None):
            resources["gres"] = "'gpu:1'"
    assert by_gpus == by_gres


@pytest.mark.parametrize("name", ["slurm", "slurm-gres"])
def test_a_shipped_profile_knows_the_rules_of_all_stages(name):
    shipped = load_profile(name)
    on_gpu = {rule_name(name, "cuda") for name in (*STAGES, "train")}
    assert shipped.set_resources.keys() == {"simulate", "train", "judge", *on_gpu}
    assert {Request.of(rule, shipped.resources(rule)).gpus for rule in on_gpu} == {1}
    assert shipped.groups == dict.fromkeys([*STAGES, "publish"], "shard")


@pytest.mark.parametrize("name", ["slurm", "slurm-gres"])
def test_a_shipped_profile_trains_and_judges_in_jobs_of_their_own(name):
    wanted = profile.requests(load_profile(name), [CPU_CHAIN], submit.model_rules(["cuda", "cpu", "cuda"]))
    assert [one.rules for one in wanted[1:]] == ["rule train_gpu", "rule train", "rule judge"]
    assert [one.gpus for one in wanted] == [0, 1, 0, 0] and wanted[2].minutes >= 720
    assert submit.model_rules([]) == []


@pytest.mark.parametrize("name", ["slurm", "slurm-gres"])
def test_shipped_profiles_use_no_arrays(name):
    settings = load_profile(name).settings
    assert not [key for key in settings if "array" in key]
    assert settings["retries"] >= 2 and settings["slurm-requeue"] is True


def test_unknown_profile_names_the_known_ones():
    with pytest.raises(InputError, match=r"known: .*slurm"):
        load_profile("slrum")


MIG = (
    "NodeName=m1 CPUEfctv=64 CPUTot=64 AvailableFeatures=intel,ib,80gb ActiveFeatures=intel,ib RealMemory=512000 "
    "Gres=gpu:1g.10gb:7(S:0,1),gpu:3g.40gb:2,shard:8 State=MIXED+PLANNED Partitions=mig,all "
    "Reason=Gres=gpu:9 State=DOWN by x [root@2026-01-01T00:00:00] Comment=RealMemory=1"
)
LIMITED = (
    "PartitionName=mig AllowGroups=ALL DenyAccounts=chemistry AllowQos=normal,long Default=NO DefaultTime=NONE "
    "MaxTime=2-00:00:00 MaxCPUsPerNode=32 State=UP DefMemPerCPU=4000 MaxMemPerNode=256000"
)
CLUSTER = {
    "partitions": {
        "cpu": slurm.Partition("cpu", True, True, 1440, None),
        "gpu": slurm.Partition("gpu", True, False, None, frozenset({"physics"})),
        "old": slurm.Partition("old", False, False, None, None),
        "mig": slurm._partition(slurm._fields(LIMITED)),
        "drained": slurm.Partition("drained", True, False, None, None),
        "odd": slurm._partition(slurm._fields("PartitionName=odd State=UP MaxTime=soon")),
    },
    "nodes": [
        slurm.Node("c1", frozenset({"cpu"}), 8, 16000, {}),
        slurm.Node("c2", frozenset({"cpu"}), 2, 64000, {}),
        slurm.Node("g1", frozenset({"gpu"}), 8, 16000, {"a100": 2}),
        slurm._node(slurm._fields(MIG)),
        slurm._node(slurm._fields("NodeName=d1 Partitions=drained State=IDLE+DRAIN CPUTot=8 RealMemory=16000")),
        slurm._node(slurm._fields("NodeName=o1 Partitions=odd State=IDLE CPUTot=8 RealMemory=9000 Gres=gpu::4")),
    ],
    "associations": ({"physics", "chemistry"}, {"normal"}),
}
BAD = {
    "partition": (
        Request("rule r", partition="cpus"),
        "partition `cpus` does not exist on this cluster; it has cpu, drained, gpu, mig, odd, old",
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
    "one of two partitions": (Request("rule r", partition="cpu,nowhere"), "partition `nowhere` does not exist"),
    "neither partition": (Request("rule r", partition="cpu,gpu", gpus=3), "more than any node of partition `gpu` has"),
    "MIG type": (Request("rule r", partition="mig", gpus=1, gpu_type="2g.20gb"), "it has 1g.10gb, 3g.40gb"),
    "MIGs": (Request("rule r", partition="mig", gpus=3, gpu_type="3g.40gb"), "more than any node"),
    "shards": (Request("rule r", partition="mig", gres=(Gres("shard", "", 9),)), "9 shard are more than any node"),
    "no shards": (Request("rule r", partition="cpu", gres=(Gres("shard", "", 1),)), "has no `shard`"),
    "two types": (
        Request("rule r", partition="mig", gpus=7, gpu_type="1g.10gb", gres=(Gres("gpu", "a100", 1),)),
        "no `gpu:a100`",
    ),
    "denied account": (Request("rule r", partition="mig", account="chemistry"), "takes no account `chemistry`"),
    "CPUs of a node": (Request("rule r", partition="mig", cpus=33), "33 CPU are more than the 32 CPU a node"),
    "memory of a node": (Request("rule r", partition="mig", memory_mb=256001), "more than the 256000 MB a node"),
    "memory by default": (Request("rule r", partition="mig", cpus=32, minutes=2881), "beyond the 2880 min"),
    "features": (
        Request("rule r", partition="mig", constraint="amd|[ib&arm]"),
        "features `amd|[ib&arm]`; there are 80gb",
    ),
    "nodes": (Request("rule r", partition="mig", nodes=frozenset({"m2"})), "partition `mig` has no node m2"),
}


@pytest.fixture
def cluster(monkeypatch):
    for name, value in CLUSTER.items():
        monkeypatch.setattr(slurm, name, lambda value=value: value)


@pytest.mark.parametrize("what", BAD)
def test_what_a_cluster_lacks_is_named_in_one_line(cluster, what):
    request, said = BAD[what]
    found = offer.problems([request])
    assert len(found) == 1 and said in found[0] and "\n" not in found[0] and found[0].startswith("rule r: ")


def test_what_a_cluster_has_is_no_problem(cluster):
    wanted = [
        Request("simulate", None, "physics", "normal", 8, 16000, 1440),
        Request("simulate_gpu", "gpu", "physics", cpus=1, memory_mb=16000, gpus=2, gpu_type="a100"),
    ]
    assert offer.problems(wanted) == []


def test_what_is_not_understood_or_has_to_wait_is_a_line(cluster):
    wanted = [
        Request("rule a", partition="mig", gpus=1, gpu_type="1g.10gb", gres=(SHARD,), constraint="intel&80gb"),
        Request("rule b", partition="drained"),
        Request("rule c", partition="odd", gpus=4, constraint="a&b|c"),
        Request("rule d", partition="cpu,drained", unread=("gres `gpu=x`",)),
    ]
    assert offer.problems(wanted) == []
    assert offer.remarks(wanted) == [
        "rule b: will wait: the nodes that could take it are down or draining: d1",
        "rule c: not checked: constraint `&` and `|` without brackets",
        "rule c: not checked: partition `odd` has MaxTime=soon",
        "rule c: not checked: node o1 has Gres=gpu::4",
        "rule d: not checked: gres `gpu=x`",
    ]


@pytest.mark.parametrize(
    "state, usable",
    [
        ("IDLE", True),
        ("MIXED", True),
        ("ALLOCATED+PLANNED", True),
        ("IDLE~", True),
        ("IDLE+CLOUD+POWERED_DOWN", True),
        ("MAINT", True),
        ("idle*", False),
        ("mixed+drain", False),
        ("DOWN*+DRAIN", False),
        ("FUTURE", False),
        ("", True),
    ],
)
def test_states_of_nodes(state, usable):
    assert slurm._usable(state) is usable


def test_a_node_is_read_from_its_own_fields_not_from_free_text():
    node = slurm._node(slurm._fields(MIG))
    assert (node.cpus, node.memory_mb, node.gpus) == (64, 512000, {"1g.10gb": 7, "3g.40gb": 2})
    assert (node.gres, node.usable, node.unread) == ((Gres("shard", "", 8),), True, ())
    assert node.features == {"intel", "ib", "80gb"}


def test_one_mistake_in_many_rules_is_one_line(cluster):
    found = offer.problems([Request("rule a", partition="x"), Request("rule b", partition="x")])
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
    wanted = profile.requests(grouped(), [GPU_CHAIN])
    assert [(one.rules.split(", as")[0], one.gpus) for one in wanted] == [
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
def test_groups_that_cannot_run_are_an_error(settings, road, said):
    with pytest.raises(InputError) as caught:
        profile.requests(grouped(**settings), [road])
    assert said in str(caught.value) and str(caught.value).startswith("site: ")


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
    assert lost_jobs._reason(log, None, state) == reason


def test_shards_are_sized_by_the_longest_job(monkeypatch):
    costs = {stage: JobCost(rate, 1.0, 0, 0, "measured") for stage, rate in (("generate", 0.1), ("simulate", 1.0))}
    monkeypatch.setattr("gen2reco.campaign.rates.job_costs", lambda stages, detector: costs)
    entry = {"device": "cpu", "chunk_events": 10}
    assert shard_events(dict.fromkeys(costs, entry), 45, "") == 2450  # two seconds of 2700 to start
    on_gpu = dict.fromkeys(costs, entry) | {"simulate": {"device": "cuda", "chunk_events": 10}}
    assert shard_events(on_gpu, 45, "") == 2690


@pytest.fixture
def gun_on_gpu(tmp_path, repository, monkeypatch):
    """A campaign whose generator wants a GPU, on a machine without one; returns a function that writes it."""
    monkeypatch.setattr("gen2reco.run.devices.gpu_visible", lambda: False)
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


@pytest.mark.parametrize("command", ["check", "plan"])
def test_a_gpu_that_a_backend_leaves_idle_is_said(gun_on_gpu, command, monkeypatch, tmp_path):
    file = gun_on_gpu()
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(cli, [command, str(file)], catch_exceptions=False).output
    assert "`device: cuda` asks for a GPU that generate gun will not use; leave it out there" in said


def test_backends_that_use_a_gpu():
    using = {(s, b) for s in STAGES for b in backend_names(s) if "cuda" in backend_class(s, b).devices}
    learned = {("generate", "ml"), ("simulate", "ml"), ("calibrate", "dnn"), ("fuse", "fused")}
    assert using == learned | {("cluster", "clue")}
    assert idle_gpus((stage, backend, "cuda") for stage, backend in using) is None
