"""Readouts of a campaign in its plan: libraries, chunks and digests; and the rules that read them."""

import json

import pytest
import yaml
from click.testing import CliRunner

from gen2reco.campaign.plan import Plan, check_release, make_plan, read_plan
from gen2reco.cli import cli
from gen2reco.errors import InputError

GUN = {"kind": "gun", "species": [22], "energy": [5, 100]}
CHAIN = {"generate": {"backend": "gun", "process": GUN}, "simulate": {"backend": "geant4", "keep_deposits": True}}
OVERLAY = {"backend": "overlay", "library": "minbias", "mean": 60}
CAMPAIGN = {
    "name": "crossings",
    "detector": "detector.yaml",
    "samples": {
        "photons_60": {"like": "photons", "readout": OVERLAY},
        "photons": {"events": 20, "shard_events": 10, **CHAIN, "cluster": {"backend": "clue"}},
        "minbias": {"events": 300, "shard_events": 100, **CHAIN},
        "aged": {"like": "photons", "readout": {"backend": "plain", "digitisation": {"noise": 0.22}}},
        "learned": {"like": "aged", "simulate": {"backend": "ml", "keep_deposits": True}},
        "fused": {"like": "photons_60", "fuse": {"backend": "fused"}},
    },
}


@pytest.fixture
def plan(tmp_path, repository, monkeypatch):
    """Plan the campaign after a change, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "detector.yaml").write_text((repository / "configs/detectors/hgcal.yaml").read_text())

    def make(change=lambda samples: None, new_revision=False) -> Plan:
        data = json.loads(json.dumps(CAMPAIGN))  # nothing shared
        change(data["samples"])
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
        return make_plan("c.yaml", new_revision)[0]

    return make


def test_a_plan_knows_the_library_and_the_chunks(plan):
    made = plan()
    assert made.stages("photons_60") == ["generate", "simulate", "readout", "cluster"]
    assert made.owner("photons_60", "simulate") == "photons" and made.owner("photons_60", "cluster") == "photons_60"
    assert made.library("photons_60", "readout") == [("minbias", "simulate", shard) for shard in range(3)]
    assert made.library("photons_60", "simulate") == made.library("aged", "readout") == []
    assert made.stages("fused") == ["generate", "fuse"]
    assert made.choice("aged", "readout")["chunk_events"] == made.choice("aged", "simulate")["chunk_events"] == 20
    assert (
        made.choice("learned", "readout")["chunk_events"] == made.choice("learned", "simulate")["chunk_events"] == 200
    )
    check_release(read_plan(made.folder / "plan.lock.json"))


def test_a_larger_library_changes_what_reads_it_alone(plan):
    before = plan().samples
    with pytest.raises(InputError, match=r"changed since plan revision 1 in samples.photons_60.readout"):
        plan(lambda samples: samples["minbias"].update(events=400))
    after = plan(lambda samples: samples["minbias"].update(events=400), new_revision=True).samples
    changed = {
        f"{name}.{stage}"
        for name, sample in after.items()
        for stage, entry in sample["stages"].items()
        if entry["digest"] != before[name]["stages"][stage]["digest"]
    }
    assert changed == {"photons_60.readout"}


def readout(**change):
    return lambda samples: samples["photons_60"].update(readout={**OVERLAY, **change})


def minbias(stage, **change):
    return lambda samples: samples["minbias"][stage].update(change)


BAD = {
    "unknown": (readout(library="minbas"), "`library` names no sample `minbas`; known: photons_60, photons"),
    "itself": (readout(library="photons_60"), "is the signal sample itself"),
    "like itself": (readout(library="photons"), "is the signal sample itself, or is like it"),
    "none": (lambda samples: samples["photons_60"]["readout"].pop("library"), "`library` is missing"),
    "no deposits": (minbias("simulate", keep_deposits=False), "a library without deposits"),
    "no signal deposits": (
        lambda samples: samples["photons"]["simulate"].update(keep_deposits=False),
        "`simulate` keeps no deposits",
    ),
    "filtered": (
        minbias(
            "generate",
            backend="pythia8",
            process={"kind": "pythia8", "settings": ["SoftQCD:inelastic = on"], "filter": {"pt_min": 30}},
        ),
        "a library of filtered events",
    ),
    "too small": (readout(mean=250), "a library of 300 events is too small: the largest crossing holds 35"),
    "negative": (readout(mean=-1), "`mean` = -1"),
    "chunks": (
        lambda samples: samples["aged"]["readout"].update(chunk_events=7),
        "`chunk_events` = 7: its chunks are those of `simulate`",
    ),
    "showers": (
        lambda samples: samples["aged"].update(readout={"backend": "plain", "digitisation": {"mip_energy": 0.1}}),
        "unknown key `digitisation.mip_energy`",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_readout_that_cannot_be_is_refused_when_it_is_planned(case, plan):
    change, said = BAD[case]
    with pytest.raises(InputError) as error:
        plan(change)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_the_command_takes_all_files_of_a_library(monkeypatch):
    given = {}
    monkeypatch.setattr("gen2reco.commands.stages.execute", lambda stage, output, **rest: given.update(rest))
    words = (
        "readout hits.parquet out.parquet --library a.parquet b.parquet c.parquet --option mean=1 --library d.parquet"
    )
    assert CliRunner().invoke(cli, words.split()).exit_code == 0
    assert [file.name for file in given["library"]] == [f"{name}.parquet" for name in "abcd"]
    assert (given["source"].name, given["options"]) == ("hits.parquet", ("mean=1",))
