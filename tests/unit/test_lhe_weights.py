"""Weights of Les Houches files: their names, what contradicts the header, and files put together of several runs."""

import gzip
import re

import lhe_files
import numpy as np
import pytest

from gen2reco.errors import InputError
from gen2reco.events.lhe import LheFile
from gen2reco.events.lhe_weights import WeightNames, distinct

GROUPS = (
    "<initrwgt>\n<weightgroup name='scales'>\n{}</weightgroup>\n"
    "<weightgroup type='pdfs'>\n{}</weightgroup>\n</initrwgt>\n"
)


def announced(*names):
    return "".join(f"<weight id='{name}'> some > text </weight>\n" for name in names)


def named(*weights):
    return "<rwgt>\n" + "".join(f"<wgt id='{name}'> {value} </wgt>\n" for name, value in weights) + "</rwgt>\n"


def listed(*weights):
    return f"<weights> {' '.join(map(str, weights))} </weights>\n"


def of(path, **of_file):
    file = LheFile(lhe_files.written(path, lhe_files.lhe(**of_file)))
    return file, list(file.events(0, len(file)))


@pytest.mark.parametrize(
    ("header", "tail", "expected"),
    [
        (GROUPS.format(announced("a"), announced("b")), listed(1, 2), {"a": 1, "b": 2}),
        (GROUPS.format(announced("a"), announced("b")), named(("b", 2), ("a", "1.5D+00")), {"a": 1.5, "b": 2}),
        (GROUPS.format(announced("1"), announced("1")), named(("1", 3), ("1", 4)), {"scales:1": 3, "pdfs:1": 4}),
        (GROUPS.format(announced("1"), announced("1")), listed(3, 4), {"scales:1": 3, "pdfs:1": 4}),
        (GROUPS.format(announced("a"), announced("b")), named(("z", 1), ("b", 2)), {"b": 2, "z": 1}),
        (GROUPS.format(announced("a"), announced("b")), listed(1, 2, 3), {"0": 1, "1": 2, "2": 3}),
        ("", named(("x", 1), ("x", 2), ("x", 3)), {"x": 1, "x#2": 2, "x#3": 3}),
        ("", listed(7, 8), {"0": 7, "1": 8}),
        ("", "#rwgt 1 2 3\n#new weight,renfact 5.0D0 1 2\n#new weight,renfact 6 1 2\n", {"0": 5, "1": 6}),
        (
            "<initrwgt>\n<weight id = \"a b\" muR='2'>x</weight><weight id=c />\n</initrwgt>",
            listed(1, 2),
            {"a b": 1, "c": 2},
        ),
        ("<initrwgt>\n" + announced("a"), listed(1), {"a": 1}),
        ("", "<mgrwt>\n<rscale> 2 0.1E+03</rscale>\n</mgrwt>\n<clustering>1</clustering>\n", {}),
    ],
)
def test_names_of_further_weights(tmp_path, header, tail, expected):
    _, (event,) = of(tmp_path, events=[lhe_files.event(tail=tail)], header=header)
    assert event.weights == expected and list(event.weights) == list(expected)


def test_weights_that_init_announces_and_version_2(tmp_path):
    text = lhe_files.lhe([lhe_files.event(tail=listed(1, 2))])
    info = "<weightinfo name='central'/>\n<weightgroup name='v'>\n<weightinfo name='up'/>\n</weightgroup>\n</init>"
    for place in (info, "</init>\n<initrwgt>\n" + announced("central", "up") + "</initrwgt>"):
        file = LheFile(lhe_files.written(tmp_path, text.replace("</init>", place)))
        assert next(file.events(0, 1)).weights == {"central": 1, "up": 2}


def test_names_are_distinct_in_any_number():
    assert distinct(["a", "a", "a#2", "b", "a"]) == ["a", "a#2", "a#2#2", "b", "a#3"]
    assert len(set(distinct(["x"] * 20_000))) == 20_000
    assert WeightNames([("1", ""), ("1", "")]).declared == ["1", "1#2"]


@pytest.mark.parametrize(
    ("strategy", "weights", "section", "words"),
    [
        (4, [2.5] * 10, 25.0, "mean weight of 10 events is 2.5 ± 0.01 pb, but XSECUP 25 ± 0.1 pb.*IDWTUP = 3"),
        (-4, [30.0, -10.0] * 50, 1.0, "mean weight of 100 events is 10 "),
        (1, [2.5] * 10, 5.0, "mean weight .* by IDWTUP = 1"),
        (3, [1.0, 1.0, 2.0], 10.0, r"\|XWGTUP\| from 1 to 2"),
        (3, [1.0, -1.0], 10.0, "1 of 2 events have negative ones"),
        (4, [1.0, -1.0, 1.0], 0.0, "1 of 3 events have negative ones"),
        (3, [1.0], 0.0, "takes the cross section from XSECUP, which is 0"),
        (4, [10.0, 10.2, 9.8] * 5, 10.0, None),
        (-4, [30.0, -10.0] * 5, 12.0, None),
        (-4, [1.0, -3.0, 1.0], -0.5, None),
        (4, [2.5] * 10, 0.0, None),
        (3, [2.5, 2.5], 25.0, None),
        (-3, [1.0, -1.0], 25.0, None),
        (2, [1.0, 7.0], 25.0, None),
    ],
)
def test_what_contradicts_the_header_is_a_remark(tmp_path, strategy, weights, section, words):
    events = [lhe_files.event(weight) for weight in weights]
    remarks = of(tmp_path, events=events, strategy=strategy, processes=[(section, 0.1, 9.0, 1)])[0].remarks()
    assert len(remarks) == (words is not None)
    if words:
        assert re.search(words, remarks[0]) and "\n" not in remarks[0]


def test_weights_of_another_number_than_announced_are_remarked(tmp_path):
    file, _ = of(
        tmp_path, events=[lhe_files.event(tail=listed(1, 2))], header=f"<initrwgt>\n{announced('a')}</initrwgt>\n"
    )
    assert file.remarks() == ["<weights> holds 2 numbers, but <initrwgt> announces 1: they are named by their place"]


@pytest.mark.parametrize(
    ("processes", "number", "words"),
    [
        ([(1.0, 0.0, 0.0, 1), (1.0, 0.0, 2.0, 2)], 1, "XMAXUP = 0 of process 1"),
        ([(1.0, 0.0, 1.0, 1), (1.0, 0.0, 2.0, 2)], 7, "events of process 7, which <init> does not list"),
    ],
)
def test_processes_that_cannot_be_mixed_are_refused(tmp_path, processes, number, words):
    file, _ = of(tmp_path, events=[lhe_files.event(process=number)], strategy=2, processes=processes)
    with pytest.raises(InputError, match=f"events.lhe: {words}"):
        _ = file.nominal


def test_trials_and_groups_share_attempts(tmp_path):
    tags = [" trials='3'", ' trials="2" npLO="1"', " trials=''", " trials='-1'", " trials='nan'", ""]
    file, _ = of(tmp_path, events=[lhe_files.event(tag=tag) for tag in tags])
    assert file.heads.trials.tolist() == [3, 2, 1, 1, 1, 1]
    grouped = ["<eventgroup n='2'>\n", lhe_files.event(), lhe_files.event(), "</eventgroup>\n", lhe_files.event()]
    file, _ = of(tmp_path, events=[*grouped, *grouped])
    assert file.heads.trials.tolist() == [0.5, 0.5, 1, 0.5, 0.5, 1]


A = {"events": [lhe_files.event(1), lhe_files.event(1)], "header": "<slha>\nBLOCK MASS\n</slha>\n"}
OTHER = {
    "beam energies": {"beams": "2212 2212 4000. 4000. 0 0 247000 247000"},
    "beams": {"beams": "2212 -2212 6500. 6500. 0 0 247000 247000"},
    "PDFs": {"beams": "2212 2212 6500. 6500. 0 0 1 1"},
    "IDWTUP": {"strategy": 4},
    "processes": {"processes": [(10.1, 0.1, 1.0, 1)]},
    "other weights": {"header": A["header"] + f"<initrwgt>\n{announced('a')}</initrwgt>\n"},
    "slha": {"header": "<slha>\nBLOCK MASS # other\n</slha>\n"},
}


@pytest.mark.parametrize("put_together", [str.__add__, lambda a, b: a.replace("</LesHouchesEvents>\n", "") + b])
@pytest.mark.parametrize("difference", OTHER)
def test_files_of_different_runs_are_refused(tmp_path, put_together, difference):
    text = put_together(lhe_files.lhe(**A), lhe_files.lhe(**{**A, **OTHER[difference]}))
    with pytest.raises(InputError, match=f"put together of runs that differ: after 2 events .*{difference}"):
        LheFile(lhe_files.written(tmp_path, text))


def test_another_generator_is_another_run(tmp_path):
    text = lhe_files.lhe(**A)
    second = text.replace("</init>", "<generator name='g' version='2'></generator>\n</init>")
    with pytest.raises(InputError, match="<generator>"):
        LheFile(lhe_files.written(tmp_path, text + second))


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("comment", ["", "<!-- as in\n<event>\n1 2 3\n</event>\n-->\n", "<event> 5 </event>\n"])
def test_runs_that_agree_are_one_file(tmp_path, zipped, comment):
    first, second = lhe_files.lhe(**A), lhe_files.lhe(**A | {"header": comment + A["header"]})
    runs = [first, second, second]
    data = b"".join(gzip.compress(run.encode()) if zipped else run.encode() for run in runs)
    (tmp_path / "x.lhe").write_bytes(data)
    file = LheFile(tmp_path / "x.lhe")
    assert len(file) == 6 and len(list(file.events(0, 6))) == 6
    np.testing.assert_array_equal(file.heads.weight, np.ones(6))
