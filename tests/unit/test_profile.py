"""Profiles in all the forms that Snakemake reads, and expressions that are worked out without being run."""

import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gen2reco.batch.expressions import evaluate
from gen2reco.batch.profile import Profile, Request, load_profile
from gen2reco.batch.resources import first_attempt
from gen2reco.errors import InputError

NAMES = {"attempt": 2, "threads": 4}

WORKED_OUT = [
    ("2000 * attempt", 4000),
    ("max(10, 20 * attempt)", 40),
    ("min(8000, 2 ** attempt * 1000)", 4000),
    ("60 if attempt < 2 else 120", 120),
    ("int(1.5 * threads) // 4 % 3 - -1", 2),
    ("'--signal=USR1@120'", "--signal=USR1@120"),
    ('"gpu:1"', "gpu:1"),
    (" 5 ", 5),
]
NOT_RUN = [
    "gpu",
    "n1-standard-4",
    "max(2 * input.size_mb, 1000)",
    "wildcards.sample",
    "system_tmpdir",
    "__import__('os').system('touch run')",
    "[open('run', 'w') for _ in '1']",
    "(lambda: 1)()",
    "(1).__class__.__mro__",
    "attempt.real",
    "f'{attempt}'",
    "exec('1')",
    "max(*[1], key=print)",
    "9 ** 9 ** 9",
    "10 ** 60",
    "2 ** 1000",
    "'a' * 10 ** 9",
    "1 / 0",
    "1e400",
    "int('9' * 4000)",
    "(" * 300 + "1" + ")" * 300,
    "1 + " * 1000 + "1",
    "1\x00",
    "",
]


@pytest.mark.parametrize(("text", "value"), WORKED_OUT)
def test_arithmetic_is_worked_out(text, value):
    assert evaluate(text, NAMES) == value


@pytest.mark.parametrize("text", NOT_RUN)
def test_no_text_is_run(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert evaluate(text, NAMES) is None
    assert not list(tmp_path.iterdir())


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text("attemp3hr0(),*+-/%<>=. '\"if_[]{}:@", max_size=30))
def test_any_text_is_a_value_or_text(text):
    value = evaluate(text, NAMES)
    assert value is None or isinstance(value, (int, float, str))


FORMS = {
    "mappings": """
        default-resources: {mem_mb: 1000 * attempt, slurm_partition: cpu, runtime: 30}
        set-resources: {simulate: {mem_mb: 3000 * attempt, slurm_account: $ACCOUNT}}
        set-threads: {simulate: 4}
        groups: {generate: shard}
        group-components: {shard: 3}
        """,
    "lists": """
        default-resources: [mem_mb=1000 * attempt, slurm_partition=cpu, runtime=30]
        set-resources: ["simulate:mem_mb=3000 * attempt", "simulate:slurm_account=$ACCOUNT"]
        set-threads: [simulate=4]
        groups: [generate=shard]
        group-components: [shard=3]
        """,
    "sizes and times": """
        default-resources: {mem: 1GB, slurm_partition: "'cpu'", runtime: 30m}
        set-resources: {simulate: {mem: "'3 GB'", slurm_account: $ACCOUNT}}
        set-threads: simulate=2 * 2
        groups: generate=shard
        group-components: shard=3
        """,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_profile_asks_for_the_same(tmp_path, monkeypatch, form):
    monkeypatch.setenv("ACCOUNT", "physics")
    (tmp_path / "profile.yaml").write_text(FORMS[form])
    profile = load_profile(str(tmp_path))
    request = Request.of("simulate", profile.resources("simulate"))
    assert (request.memory_mb, request.partition, request.minutes, request.cpus) == (3000, "cpu", 30, 4)
    assert request.account == "physics" and profile.groups == {"generate": "shard"}
    assert profile.shards_at_once("shard") == 3 and profile.shards_at_once("other") == 1
    assert Request.of("generate", profile.resources("generate")).memory_mb == 1000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"default-resources": ["mem_mb"]}, "p: default-resources: 'mem_mb': expected"),
        ({"default-resources": 5}, "p: default-resources: '5': expected"),
        ({"set-resources": {"simulate": 5}}, "p: set-resources: simulate: '5': expected"),
        ({"set-resources": ["mem_mb=5"]}, "p: set-resources: 'mem_mb': expected `rule:name=value`"),
        ({"set-threads": [["simulate", 4]]}, "p: set-threads: "),
    ],
)
def test_a_form_that_snakemake_does_not_read_is_one_line(settings, message):
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        Profile("p", settings).resources("simulate")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [0, "many", -1])
def test_groups_of_no_number(number):
    with pytest.raises(InputError, match="group-components: shard = "):
        Profile("p", {"group-components": {"shard": number}}).shards_at_once("shard")


def test_a_template_is_refused(tmp_path):
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump({"__use_yte__": True, "?open('x', 'w')": 1}))
    with pytest.raises(InputError, match="a template"):
        load_profile(str(tmp_path))


AS_SNAKEMAKE = [("mem", w) for w in ("1000", 1000, "2 * 500", "1.5GB", "1GiB", "500 MB", 1.4)]
AS_SNAKEMAKE += [("runtime", w) for w in ("1000", 1000, "2 * 500", "90m", "3 hours", "0.5h", "2d", 1.4)]
AS_SNAKEMAKE += [("mem_mb", "max(1000, 1500 * attempt)"), ("gres", "'gpu:1'"), ("slurm_partition", "cpu")]


@pytest.mark.parametrize(("name", "written"), AS_SNAKEMAKE)
def test_resources_are_as_snakemake_works_them_out(name, written):
    from snakemake.resources import Resources

    (theirs,) = Resources.parse([f"{name}={written}"], allow_expressions=True).values()
    theirs = theirs.evaluate(wildcards={}, input=[], attempt=1, threads=1, rulename="r", async_run=None).value
    assert first_attempt({name: written}, 1)["mem_mb" if name == "mem" else name] == theirs
