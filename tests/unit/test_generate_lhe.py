"""Les Houches files as a sample: cross sections, weights, merging as bare Pythia8 has them, and what is refused."""

import random
from pathlib import Path

import awkward as ak
import lhe_files
import numpy as np
import pytest
import pythia8mc

from gen2reco.config.process import process_from
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.lhe import LheFile, write_clean
from gen2reco.generate import pythia_engine
from gen2reco.run.stage import Chunk, make_backend

CASES = Path(__file__).parents[1] / "data" / "cases" / "lhe"
PARTONS = ("HadronLevel:all = off", "PartonLevel:all = off")
MERGING = ("Merging:Process = pp>mu+mu-", "Merging:nJetMax = 1", "Merging:TMS = 20.", "HadronLevel:all = off")
MLM = ("JetMatching:merge = on", "JetMatching:setMad = off", "JetMatching:nJetMax = 1", "HadronLevel:all = off")


def shower(path, events=None, chunks=1, settings=(), seed=5):
    """The tables of the chunks and the facts of the sample."""
    process = process_from(path).model_dump(mode="json") | {"mpi": False}
    process["settings"] = [*process["settings"], *settings]
    backend = make_backend("generate", "lhe", {"process": process})
    backend.prepare()
    events = len(LheFile(process["file"])) if events is None else events
    edges = np.linspace(0, events, chunks + 1).astype(int)
    results = [backend.run(Chunk(i, seed, *edges[i : i + 2].tolist())) for i in range(chunks)]
    facts = backend.summary([result.info for result in results])
    return [result.table for result in results], facts, backend.notices({**facts, "events_in": events})


def sample(*args, **kwargs):
    (table,), facts, notices = shower(*args, **kwargs)
    return table, facts, notices


@pytest.mark.parametrize(
    ("case", "events", "section", "weights"),
    [
        ("idwtup2.lhe", 10, 25.0, [2.5] * 10),
        ("ml_idwtup_m4.lhe", 6, 140 / 6, [40, -10, 40, 40, -10, 40]),
        ("aa.lhe.gz", 20, 100.0, [1.0] * 20),
        ("groups.lhe", 3, 20.0, [50.0, -30.0, 20.0]),
        ("sherpa_trials.lhe", 4, 2.0, [2.0, 4.0, 6.0, 8.0]),
        ("zero.lhe", 3, 20 / 3, [10.0, 0.0, 10.0]),
        ("declared_code.yaml", 20, 3.0, [1.0] * 20),
    ],
)
def test_cross_section_and_weights_of_the_cases(case, events, section, weights):
    table, facts, _ = sample(CASES / case, settings=PARTONS)
    assert (table.num_rows, facts["cross_section_pb"]) == (events, pytest.approx(section))
    assert table["weight"].to_pylist() == weights
    assert facts["sum_of_weights"] == pytest.approx(sum(weights))


@pytest.mark.parametrize(
    ("case", "names", "first"),
    [
        ("weights.lhe", ["n", "up", "down"], [10.0, 10.0, 11.0, 12.0]),
        ("dup.lhe", ["scales:1", "scales:2", "pdfs:1", "pdfs:2"], [10.0, 11.0, 12.0, 13.0, 14.0]),
        ("zero.lhe", ["a"], [10.0, 11.0]),
        ("ml_plain3.lhe", ["up"], [40.0, 44.0]),
    ],
)
def test_further_weights_of_the_cases(case, names, first):
    table, facts, _ = sample(CASES / case, settings=PARTONS)
    assert facts["weight_names"] == ["Weight", *names]
    assert table["weights"][0].as_py() == pytest.approx(first)
    if case == "zero.lhe":
        assert table["weights"][1].as_py() == [0.0, 5.0]


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("ab.lhe.gz", ("put together of runs that differ", "after 10 events", "4000", "6500")),
        ("unknown.lhe", ("events 0 to 19: 20 of 20 events hold PDG code 9000005", "SLHA", "9000005:new")),
    ],
)
def test_refused_cases(case, words):
    with pytest.raises(InputError) as caught:
        sample(CASES / case)
    assert all(word in str(caught.value) for word in (*words, case))


@pytest.mark.parametrize(
    ("case", "line"),
    [
        ("groups.lhe", "2 events belong to an <eventgroup>"),
        ("sherpa_trials.lhe", "IDWTUP = 3 promises unit weights, but events have |XWGTUP| from 2 to 8"),
    ],
)
def test_cases_with_a_notice(case, line):
    assert any(line in notice for notice in sample(CASES / case, settings=PARTONS)[2])


def test_events_without_particles_are_said():
    line = "4 of 4 events have no final particles: is `PartonLevel:all` off?"
    assert sample(CASES / "tau.lhe", settings=PARTONS)[2] == [line]


def bare(path, settings, events, seed=5, hook=None):
    """Events of bare Pythia8 on the very file: (number, weight, codes, energies) of those that `next` lets pass."""
    pythia = pythia8mc.Pythia("", False)
    lines = ("Beams:frameType = 4", f"Beams:LHEF = {path}", "PartonLevel:MPI = off", "Check:abortIfVeto = on")
    with pythia_engine.engine_output():
        assert all(pythia.readString(line) for line in (*lines, *settings))
        if hook is not None:
            pythia.setUserHooksPtr(hook)
        assert pythia.init()
        pythia_engine.reseed(pythia, seed)
        found = []
        for number in range(events):
            if pythia.next():
                final = [p for p in pythia.event if p.isFinal()]
                info = pythia.infoPython()
                weight = info.weight() * info.mergingWeightNLO()
                found.append((number, weight, [p.id() for p in final], [p.e() for p in final]))
        section = pythia.infoPython().sigmaGen() * pythia_engine.PB_PER_MB
    return found, section


@pytest.mark.parametrize(
    ("case", "settings", "hook"),
    [
        ("merging_ktmerging.yaml", (), None),
        ("merging_ptlund.yaml", (), None),
        ("merging_cutbased.yaml", (), None),
        ("merging_umepstree.yaml", (), None),
        ("zjets.lhe", ("Merging:doUMEPSSubt = on", *MERGING), None),
        ("zjets.lhe", ("Merging:doUNLOPSTree = on", *MERGING), None),
        ("zjets.lhe", ("Merging:doUNLOPSLoop = on", *MERGING), None),
        ("zjets.lhe", ("Merging:doNL3Tree = on", *MERGING), None),
        ("zjets.lhe", ("JetMatching:qCut = 30.", *MLM), pythia8mc.JetMatchingMadgraph),
        ("zjets.lhe", ("JetMatching:qCut = 30.", "JetMatching:doShowerKt = on", *MLM), pythia8mc.JetMatchingMadgraph),
        ("zjets.lhe", ("JetMatching:scheme = 2", *MLM), pythia8mc.JetMatchingAlpgen),
        ("fxfx", ("JetMatching:doFxFx = on", "JetMatching:qCutME = 10.", *MLM), pythia8mc.JetMatchingMadgraph),
        ("pwg.lhe", ("HadronLevel:all = off",), None),
        ("tau.lhe", ("PDF:lepton = off",), None),
    ],
)
def test_merged_matched_and_plain_events_are_those_of_bare_pythia8(tmp_path, case, settings, hook):
    path = CASES / case
    if case == "fxfx":  # as aMC@NLO writes Born multiplicities
        orders = (CASES / "zjets.lhe").read_text().replace(' npNLO=" -1 "', "").replace("npLO", "npNLO")
        path = lhe_files.written(tmp_path, orders)
    process = process_from(path)
    n = len(LheFile(process.file))
    table, facts, _ = sample(path, settings=settings)
    found, _ = bare(process.file, [*process.settings, *settings], n, hook=hook and hook())
    assert table["event"].to_pylist() == [number for number, *_ in found]
    assert facts["events_vetoed"] == n - len(found) and facts["events_failed"] == 0
    np.testing.assert_allclose(table["weight"].to_numpy(), [weight for _, weight, *_ in found], rtol=1e-12)
    for row, (_, weight, codes, energies) in zip(records.awkward(table).particles, found, strict=True):
        if weight:
            assert row.pdg.tolist() == codes
            np.testing.assert_allclose(row.energy.to_numpy(), energies, rtol=1e-6)
        else:
            assert len(row) == 0


@pytest.mark.parametrize(
    ("case", "section", "error"),
    [("ktmerging", 1667, 100), ("ptlund", 1601, 110), ("cutbased", 1667, 100), ("umepstree", 1934, 1)],
)
def test_merged_cross_sections(case, section, error):
    tables, facts, notices = shower(CASES / f"merging_{case}.yaml", chunks=2)
    assert sum(table.num_rows for table in tables) == 60
    weights = np.concatenate([table["weight"].to_numpy() for table in tables])
    assert facts["cross_section_pb"] == pytest.approx(2000 * weights.mean())
    assert facts["cross_section_pb"] == pytest.approx(section, abs=error)
    none = int((weights == 0).sum())
    assert facts["events_unweighted"] == none
    assert notices == ([f"{none} of 60 events have no weight"] if none else [])


def test_a_run_card_that_sets_the_matching_says_so(tmp_path):
    text = (CASES / "zjets.lhe").read_text().replace("10.0 = xqcut", "10.0 = xqcut\n 1.0 = alpsfact")
    path = lhe_files.written(tmp_path, text)
    settings = [line for line in MLM if "setMad" not in line]
    assert any(
        "run card sets JetMatching:qCut = 10.0" in line
        for line in sample(path, 2, settings=[*settings, "JetMatching:qCut = 30."])[2]
    )
    assert not any("run card" in line for line in sample(path, 2, settings=[*MLM, "JetMatching:qCut = 30."])[2])


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (("Merging:doMGMerging = on", *MERGING), "Merging:doMGMerging"),
        (("Merging:doUserMerging = on", *MERGING), "Merging:doUserMerging"),
        (("Merging:doKTMerging = on",), "Merging:Process = void"),
        (("Merging:doDynamicMerging = on",), "Merging:Process = void"),
        (("Merging:doUMEPSTree = on", "Merging:Process = guess"), "Merging:Process = guess"),
        (("Beams:nSkipLHEFatInit = 3",), "Beams:nSkipLHEFatInit"),
    ],
)
def test_settings_that_pythia8_would_crash_or_hang_on_are_refused(lines, words):
    with pytest.raises(InputError, match=words):
        sample(CASES / "zjets.lhe", settings=lines)


@pytest.mark.parametrize(
    ("strategy", "weights", "processes", "section", "error", "nominal"),
    [
        (3, [1, 1, 1, 1], [(10.0, 0.1, 1.0, 1)], 10.0, 0.1, [1, 1, 1, 1]),
        (3, [2.5, 2.5], [(10.0, 0.1, 1.0, 1)], 10.0, 0.1, [1, 1]),
        (-3, [1, -1, 1, 1], [(10.0, 0.1, 1.0, 1)], 10.0, 0.1, [1, -1, 1, 1]),
        (-3, [7, 7, -7], [(8.0, 0.3, 7.0, 1), (-2.0, 0.4, 7.0, 2)], 6.0, 0.5, [1, 1, -1]),
        (4, [1, 2, 3, 4], [(0.0, 0.0, 0.0, 1)], 2.5, 5**0.5 / 4, [1, 2, 3, 4]),
        (-4, [30, -10], [(10.0, 0.1, 1.0, 1)], 10.0, 20 / 2**0.5, [30, -10]),
        (4, [5, 5], [(10.0, 0.1, 1.0, 1)], 5.0, 0.05, [5, 5]),
        (1, [1, 2, 3, 4], [(2.5, 0.1, 4.0, 1)], 2.5, 5**0.5 / 4, [1, 2, 3, 4]),
        (-1, [3, -1], [(1.0, 0.1, 4.0, 1)], 1.0, 2 / 2**0.5, [3, -1]),
        (2, [1, 2, 3, 4], [(25.0, 0.2, 4.0, 1)], 25.0, 0.2, [1, 2, 3, 4]),
        (-2, [1, -2, 4], [(25.0, 0.2, 4.0, 1)], 25.0, 0.2, [1, -2, 4]),
        (1, [1, 1, 3, 3], [(1.0, 0.0, 1.0, 1), (3.0, 0.0, 3.0, 2)], 4.0, 0.0, [4, 4, 4, 4]),
        (2, [1, 1, 3, 3], [(25.0, 3.0, 2.0, 1), (5.0, 4.0, 6.0, 2)], 30.0, 5.0, [4, 4, 4, 4]),
    ],
)
def test_each_idwtup_by_the_accord_s_definition(tmp_path, strategy, weights, processes, section, error, nominal):
    number = [processes[-1][3] if i >= 2 and len(processes) > 1 else 1 for i in range(len(weights))]
    events = [lhe_files.event(weight, process=of) for weight, of in zip(weights, number, strict=True)]
    path = lhe_files.written(tmp_path, lhe_files.lhe(events, strategy, processes))
    tables, facts, _ = shower(path, settings=PARTONS, chunks=2)
    assert [w for table in tables for w in table["weight"].to_pylist()] == pytest.approx(nominal)
    assert facts["cross_section_pb"] == pytest.approx(section)
    assert facts["cross_section_error_pb"] == pytest.approx(error)


def test_a_hard_process_that_cannot_be_constructed_leaves_the_others_their_weights(tmp_path):
    events = [lhe_files.event(i + 1, energy=7000.0 if i in (1, 4) else 100.0 + i) for i in range(6)]
    path = lhe_files.written(tmp_path, lhe_files.lhe(events, -4))
    table, facts, _ = sample(path, settings=["PartonLevel:ISR = off", "HadronLevel:all = off"])
    assert table["event"].to_pylist() == [0, 2, 3, 5]
    assert table["weight"].to_pylist() == [1, 3, 4, 6]
    partons = records.awkward(table).partons
    assert ak.max(partons.energy[partons.status == 23], axis=1).tolist() == pytest.approx([100, 102, 103, 105])
    assert facts["events_failed"] == 2 and facts["cross_section_pb"] == pytest.approx(14 / 4)


def test_a_vetoed_event_is_not_showered_again():
    settings = ("JetMatching:qCut = 30.", *MLM)
    process = {"kind": "lhe", "file": str(CASES / "zjets.lhe"), "settings": settings, "mpi": False}
    backend = make_backend("generate", "lhe", {"process": process})
    backend.prepare()
    started = []
    start = backend.shower._start
    backend.shower._start = lambda events: (started.append(len(events)), start(events))
    info = backend.run(Chunk(0, 5, 0, 60)).info
    assert info["events_vetoed"] > 0 and started == [60]


def ee(energies, path, shares=None):
    """e+e- → u ubar at rest, all with incoming particles of these energies, GeV."""
    row = "{} {} {} {} {} {} 0. 0. {pz!r} {e!r} 0. 0 9\n"
    events = []
    for up, down in energies:
        total, along = up + down, up - down
        events.append(
            "<event>\n4 1 1. 91.2 0.0075 0.118\n"
            + row.format(11, -1, 0, 0, 0, 0, pz=up, e=up)
            + row.format(-11, -1, 0, 0, 0, 0, pz=-down, e=down)
            + row.format(2, 1, 1, 2, 501, 0, pz=(total + along) / 2, e=(total + along) / 2)
            + row.format(-2, 1, 1, 2, 0, 501, pz=-(total - along) / 2, e=(total - along) / 2)
            + "</event>\n"
        )
    return lhe_files.written(path, lhe_files.lhe(events, beams="11 -11 45.6 45.6 0 0 0 0"))


FULL, RADIATED = (45.6, 45.6), (45.6, 30.0)
SPREAD = (45.65, 45.58)


@pytest.mark.parametrize("first", [FULL, RADIATED])
def test_radiation_in_the_file_is_judged_by_all_events(tmp_path, first):
    events = [first, *[RADIATED, FULL] * 5]
    table, facts, _ = sample(ee(events, tmp_path))
    assert (table.num_rows, facts["events_failed"]) == (11, 0)
    energy = ak.to_numpy(ak.sum(records.awkward(table).particles.energy, axis=1))
    np.testing.assert_allclose(energy, 91.2, rtol=1e-5)


@pytest.mark.parametrize("first", [FULL, SPREAD])
def test_a_spread_of_the_beams_in_the_file_is_judged_by_all_events(tmp_path, first):
    events = [first, *[SPREAD, FULL, SPREAD[::-1]] * 3]
    table, facts, notices = sample(ee(events, tmp_path))
    assert (table.num_rows, facts["events_failed"]) == (10, 0)
    energy = ak.to_numpy(ak.sum(records.awkward(table).particles.energy, axis=1))
    np.testing.assert_allclose(energy, [sum(event) for event in events], rtol=1e-6)
    assert facts["sqrt_s"] == pytest.approx(91.2) and facts["beams"][0][1] == 45.6
    assert any("times the energy of their beams" in line for line in notices)


def test_shuffled_events_are_treated_alike(tmp_path):
    rng = random.Random(1)
    file = LheFile(CASES / "ml_idwtup_m4.lhe")
    events = list(file.events(0, 6))
    for _ in range(2):
        rng.shuffle(events)
        write_clean(tmp_path / "shuffled.lhe", file.run, events)
        table, facts, _ = sample(tmp_path / "shuffled.lhe", settings=PARTONS)
        assert facts["cross_section_pb"] == pytest.approx(140 / 6)
        assert table["weight"].to_pylist() == [event.weight for event in events]


def test_an_event_without_the_others_weights_is_refused(tmp_path):
    tails = ["<weights> 1. 2. </weights>\n", "<weights> 1. </weights>\n"]
    for order in (tails, tails[::-1]):
        text = lhe_files.lhe([lhe_files.event(tail=tail) for tail in order])
        with pytest.raises(InputError, match=r"event 1 has (no|a) weight.*unlike event 0"):
            sample(lhe_files.written(tmp_path, text), settings=PARTONS)
