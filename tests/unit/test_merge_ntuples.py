"""Ntuples of a sample as one file: all entries once, with types and counters; what does not fit is refused."""

import awkward as ak
import numpy as np
import pytest
import uproot
from click.testing import CliRunner

from gen2reco.cli import cli
from gen2reco.events.root import make_tree

JETS = "var * {pt: float32, nConstituents: int16}"


def ntuple(folder, shard, first=None, jets=JETS):
    """Two events, the second without jets, and an entry in `Runs`."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = {"run": "uint32", "luminosityBlock": "uint32", "event": "uint64", "genWeight": "float64"}
    numbers = np.arange(2) + (2 * shard if first is None else first)
    with uproot.recreate(folder / f"{shard:05d}.root") as file:
        tree = file.mktree("Events", {**kinds, "Jet": ak.types.from_datashape(jets, highlevel=False)}, title="objects")
        plain = {
            "run": np.ones(2),
            "luminosityBlock": np.full(2, shard + 1),
            "event": numbers,
            "genWeight": [0.5, -2.0],
        }
        names = [field.split(":")[0].strip() for field in jets.removeprefix("var * {").removesuffix("}").split(",")]
        lists = {name: ak.Array([[3, 7 + shard], []]) for name in names}
        typed = {
            name: ak.values_astype(values, kind.split(": ")[1])
            for (name, values), kind in zip(lists.items(), jets.removeprefix("var * {").removesuffix("}").split(", "))
        }
        tree.extend({**{k: np.asarray(v, kinds[k]) for k, v in plain.items()}, "Jet": ak.zip(typed)})
        meant = {"genEventSumw": "sum of the weights of the generated events"}
        make_tree(file, "Runs", {"run": "uint32", "genEventSumw": "float64"}, meant, "runs").extend(
            {"run": np.ones(1, np.uint32), "genEventSumw": np.array([-1.5])}
        )


def merge(*arguments):
    found = CliRunner().invoke(cli, ["merge", *map(str, arguments)])
    return found.exit_code, str(found.exception) if found.exception else found.output


def test_all_entries_stand_once_with_their_types(tmp_path):
    for shard in range(3):
        ntuple(tmp_path / "s/publish", shard)
    code, said = merge(tmp_path / "s", tmp_path / "all.root")
    assert code == 0 and "Events 6 entries, Runs 3 entries" in said
    with uproot.open(tmp_path / "all.root") as file, uproot.open(tmp_path / "s/publish/00000.root") as one:
        events = file["Events"]
        assert events.typenames() == one["Events"].typenames() and events.title == "objects"
        assert events["event"].array().tolist() == list(range(6))
        assert events["luminosityBlock"].array().tolist() == [1, 1, 2, 2, 3, 3]
        assert events["nJet"].array().tolist() == [2, 0] * 3
        assert events["Jet_pt"].array().tolist() == [[3, 7], [], [3, 8], [], [3, 9], []]
        assert file["Runs"]["genEventSumw"].array().tolist() == [-1.5] * 3
        assert file["Runs"]["genEventSumw"].title == "sum of the weights of the generated events"
        assert [branch.title for branch in events.branches] == [branch.title for branch in one["Events"].branches]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"first": 0, "shard": 0}, "holds no ntuples"),
        ({"first": 1}, None),
        ({"jets": "var * {pt: float32}"}, "`Jet` of `Events` is not as in the first"),
        ({"jets": "var * {pt: float64, nConstituents: int16}"}, "`Jet` of `Events` is not as in the first"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_no_file(tmp_path, second, words):
    ntuple(tmp_path / "s/publish", 0)
    shard = second.pop("shard", 1)
    ntuple(tmp_path / "s/publish", shard, **second)
    where = tmp_path / ("t" if words and "no ntuples" in words else "s")
    code, said = merge(where, tmp_path / "all.root")
    assert (code == 0) == (words is None) and (words is None or words in said)
    assert (tmp_path / "all.root").exists() == (words is None)


def test_an_event_that_stands_twice_is_refused(tmp_path):
    for folder, shard in (("s", 0), ("t", 0)):
        ntuple(tmp_path / folder / "publish", shard)
    (tmp_path / "t/publish/00000.root").rename(tmp_path / "s/publish/00001.root")
    assert "stands in two of its ntuples" in merge(tmp_path / "s", tmp_path / "all.root")[1]
    assert not (tmp_path / "all.root").exists()
