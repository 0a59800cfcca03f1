"""Pythia8's lines are read as Pythia8 reads them; none opens a file or loads a library, and a slip gets one line."""

import math
from pathlib import Path

import pytest
import pythia8mc
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gen2reco.config.process import card_lines
from gen2reco.errors import InputError
from gen2reco.generate import hooks, pythia_engine
from gen2reco.generate.hooks import HOOKS, MISSING, value_of
from gen2reco.generate.settings import KINDS, entries, read

ZJETS = Path(__file__).parents[1] / "data" / "cases" / "lhe" / "zjets.lhe"
FILE = ["Beams:frameType = 4", f"Beams:LHEF = {ZJETS}"]
OPENS_FILES = [
    "SLHA:file = /etc/passwd",
    "slha:FILE = x",
    "SLHA:readFrom = 2",
    "Beams:LHEF = events.lhe",
    "Beams:LHEFheader = h",
    "Beams:frameType = 4",
    "Beams:frameType 5",
    "Beams:newLHEFsameInit = on",
    "Beams::LHEF = events.lhe",
    "Beams:X::LHEF = events.lhe",
    "BEAMS:lhef=events.lhe",
    "\tBeams:LHEF\tevents.lhe",
    "Alpgen:file = x",
    "include = other.cmnd",
    "  INCLUDE other.cmnd",
    "Init:plugins = {libevil.so::Evil}",
    "Init:plugins += {libevil.so::Evil}",
    "Init:reuseMpiIdiffSys0 = {a}",
    "Vincia:MEplugin = evil",
    "MultipartonInteractions:reuseInit = 3",
    "MultipartonInteractions:initFile = x",
    "HIMultipartonInteractions:reuseInit force = 3",
    "HeavyIon:SigFitReuseInit = 2",
    "HeavyIon:SigFitInitFile = x",
    "HeavyIon:SasdMpiInitFile = x",
    "HeavyIonA:externalNucleusFile = x",
    "PDF:pSet = LHAPDF6:NNPDF31",
    "PDF:pSet = {LHAGrid1:/tmp/grid}",
    "Tune:pp = 11",
    "PDF:pHardSetB = LHAGrid1:x",
    "PDF:piSet = LHAGrid1:x",
    "PDF:PomSet = LHAGrid1:x",
    "PDF:GammaHardSet = LHAGrid1:x",
    "LHAHDF5:version = 1",
    "xmlPath = /tmp",
]


def bare(lines: list[str]) -> pythia8mc.Pythia:
    pythia = pythia8mc.Pythia("", False)
    assert all(pythia.readString(line) for line in lines)
    return pythia


def same(a: pythia8mc.Pythia, b: pythia8mc.Pythia) -> bool:
    """Whether two hold the same settings, but those that the plan fixes, and the same particle data."""
    ours = ("Random:", "Main:", "Print:", "Next:", "Stat:", "Parallelism:", "Init:show")
    values = [{n: str(e.valNow) for _, n, e in entries(p.settings) if not n.startswith(ours)} for p in (a, b)]
    histories = [[line.split() for line in p.particleData.getReadHistory()] for p in (a, b)]
    return values[0] == values[1] and histories[0] == histories[1]


@pytest.mark.parametrize("line", OPENS_FILES)
def test_what_opens_files_is_refused(line):
    with pytest.raises(InputError, match="opens files") as caught:
        pythia_engine.settings_of(["Beams:eCM = 91.2", line])
    assert line.strip() in str(caught.value)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int | float | str):
        return repr(value) if isinstance(value, float) else str(value)
    return "{" + ",".join(_text(one) for one in value) + "}"


def test_every_name_of_pythia8_is_read():
    """All 1998 settings with their default values, in lower case and as documented."""
    pythia = pythia8mc.Pythia("", False)
    lines = [(kind, name, _text(entry.valNow)) for kind, name, entry in entries(pythia.settings)]
    assert len(lines) == 1998
    assert {kind for kind, *_ in lines} == set(KINDS)
    out_of_its_range = {"Vincia:nPointsCheck"}  # by its own default, so that Pythia8 refuses the line
    pairs = [(name, value) for _, name, value in lines if name not in {"include", "Main:subrun", *out_of_its_range}]
    for style in ("{} = {}", "{}\t{}"):
        given_lines = [style.format(name.lower() if "\t" in style else name, value) for name, value in pairs]
        assert same(pythia_engine.settings_of(given_lines), bare(given_lines))


def test_no_word_of_pythia_escapes():
    """Words and vectors of words are paths unless known as safe, also those that a later Pythia8 brings."""
    pythia = pythia8mc.Pythia("", False)
    pythia.settings.addWord("New:path", "void")
    pythia.settings.addWVec("New:paths", [])
    for line in ("New:path = /etc/passwd", "new:PATHS = {/etc/passwd}"):
        with pytest.raises(InputError, match="New:path"):
            read(pythia, [line])


@pytest.mark.parametrize(
    "line",
    [
        "Random:seed = 5",
        "Main:numberOfEvents = 10",
        "Print:quiet = on",
        "Next:numberCount = 5",
        "Init:showProcesses = off",
    ],
)
def test_what_the_plan_fixes_has_no_effect(line):
    assert same(pythia_engine.settings_of([line]), bare([]))
    fixed = pythia_engine.settings_of([line]).settings
    assert all(
        str(entry.valNow) == str(entry.valDefault)
        for _, name, entry in entries(fixed)
        if name.startswith(("Random:", "Main:", "Print:", "Next:", "Init:show"))
    )


@pytest.mark.parametrize(
    "lines",
    [
        ["PDF:pSet = 13", "PDF:lepton = off", "Tune:pp 14", "Merging:Process = pp>e+e-"],
        ["HardQCD:all on", "hardqcd:ALL\ton", "  HardQCD:all=on", "HardQCD::all = = on # why", "HardQCD:all = on !x"],
        ["PartonLevel:MPI=off!x", "PartonLevel:MPI = No", "PartonLevel:MPI = 0", "PartonLevel:MPI = DEFAULT"],
        ["! a comment", "# another", "", "  ", "-Beams:eCM = 3", "/* also none */", "= 3"],
        ["HiggsSM:ff2Hff(t:WW) = on", "WeakBosonExchange:ff2ff(t:gmZ) on", "ExtraDimensionsG*:all = on"],
        ["Charmonium:gg2ccbar(3S1)[3S1(1)]g = on,off", "Charmonium:O(3S1)[3S1(1)] = {1.2,", "0.8}"],
        ["UncertaintyBands:List = {", " up fsr:muRfac=0.5,", "", " down fsr:muRfac=2.0 }", "Beams:eCM = 91.2"],
        ["EnhancedSplittings:List += {fsr:G2GG=2}"],
        ["25:m0 = 125.", "25:onMode = off", "25:onIfMatch = 22 22", "9000005:new = a0 a0 1 0 0 20. 0 0 0 0"],
        [
            "111:addChannel = 1 0.1 0 22 22",
            "111:0:bRatio 0.9 # much",
            "25:m0=125 GeV",
            "111:0:onMode 3",
            "25:name = H",
            "9000005:all a0",
            "25:mayDecay no",
        ],
        ["Beams:frameType = 2", "Beams:eA = 920.", "Beams:eB=27.5", "Beams:idB=11"],
        ["Beams:frameType = 3", "Beams:pzA = 100.", "Tune:ee = 7", "Tune:pp = 21", "Beams:eCM force = 1."],
    ],
)
def test_lines_as_pythia8_reads_them(lines):
    assert same(pythia_engine.settings_of(lines), bare(lines))


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (["Beams:eCN = 91.2"], "no such setting; did you mean `Beams:eCM`"),
        (["Beams:eCM = many"], "`Beams:eCM = many` has a value not accepted, expected a number"),
        (["Beams:eCM = 13TeV"], "expected a number"),
        (["Beams:eCM = 1d3"], "expected a number"),
        (["Beams:eCM"], "value not accepted, expected a number"),
        (["Tune:pp = 999"], "expected a whole number in its range"),
        (["HardQCD:all = onn"], "expected on or off"),
        (["HardQCD:all = on!comment"], "is read as off by Pythia8; put a blank"),
        (["99999:m0 = 3"], "no such particle"),
        (["25:m0 = heavy"], "expected a number"),
        (["25:m0 ! nothing"], "expected a number"),
        (["25:mayDecay = of"], "expected on or off"),
        (["25:onMode = of"], "expected on or off"),
        (["25:3:bRatio = x"], "expected a number"),
        (["25:3:onMode"], "expected on or off"),
        (["9000005:new = a0 a0 1 0 0 2O.0 0 0 0 0"], "expected a number"),
        (["25:nothing = 3"], "no such particle or particle property"),
        (["521:doExternalDecay = on"], "acts only through a program for decays"),
        (["Beams:eCM = 1\nSLHA:file = x"], "expected one line"),
        (["\x00a = b"], "expected one line"),
        (["Beams:eCM = 1" + " " * 20_000], "expected one line"),
        (["Beams:eCM = 1"] * 20_001, "expected at most 20000"),
        (["UncertaintyBands:List = {a fsr:muRfac=2"], "unclosed {"),
        (["Tune:pp = -1"], "did not find file"),
        (["Beams:eCM = 91.", "Main:subrun = 1", "Beams:eCM = 92."], "`Main:subrun = 1` begins another subrun"),
    ],
)
def test_mistakes_are_one_line(lines, match):
    with pytest.raises(InputError, match=match) as caught:
        pythia_engine.settings_of(lines)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (["Beams:eCM = 1.", "HardQCD:all = on"], "does not start.*too low energy"),
        (["HardQCD:all = on", "POWHEG:veto = 1"], "`POWHEG:veto` acts only on the events of an LHE file"),
        (["HardQCD:all = on", "JetMatching:merge on"], "`JetMatching:merge` acts only on the events of an LHE file"),
        (["HardQCD:all = on", "merging:dokTmerging = on"], "`Merging:do…` act only on the events of an LHE file"),
    ],
)
def test_what_does_not_start(lines, match, capfd):
    with pytest.raises(InputError, match=match) as caught:
        pythia_engine.start(lines, None)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("row", MISSING, ids=lambda row: row.setting)
def test_what_is_not_installed_is_refused_by_name(row):
    value = _text(row.values[0])
    switches = ["JetMatching:merge = on"] if "JetMatching" in row.setting else []
    switches += ["PartonShowers:model = 2"] if "Vincia" in row.setting else []
    merging = ["Beams:frameType = 4"] if row.setting.startswith("Merging:do") else []
    lines = [*switches, f"{row.setting} = {value}"]
    with pytest.raises(InputError, match=f"`{row.setting}` acts only through"):
        pythia_engine.start(lines, None, own=merging)


def test_settings_of_the_tables_exist_and_are_off_by_default():
    pythia = pythia8mc.Pythia("", False)
    assert not any(value_of(pythia, row.setting) in row.values for row in MISSING)
    assert not any(value_of(pythia, name) for hook in HOOKS for name in hook.settings)


def test_a_filter_of_decays_acts():
    hard = ["Beams:eCM = 13000.", "WeakDoubleBoson:ffbar2WW = on", "PartonLevel:all = off"]
    wanted = [f"ResonanceDecayFilter:{line}" for line in ("filter = on", "mothers = {24}", "daughters = {11,13}")]
    for lines, all_pass in ((hard, False), ([*hard, *wanted], True)):
        pythia, passed = pythia_engine.start(lines, False), []
        for _ in range(12):
            assert pythia.next()
            codes = {abs(pythia.process[i].id()) for i in range(pythia.process.size())}
            passed.append({11, 13} <= codes)
        assert all(passed) == all_pass


@pytest.mark.parametrize("own", [["WeakSingleBoson:ffbar2gmZ = on"], FILE])
def test_a_filter_that_no_decay_passes_ends(own, monkeypatch):
    """Pythia8 itself would draw decays without end."""
    monkeypatch.setattr(hooks, "HOPELESS", 100)
    wanted = [f"ResonanceDecayFilter:{line}" for line in ("filter = on", "mothers = {23}", "daughters = {25}")]
    pythia = pythia_engine.start(["PartonLevel:all = off", *wanted], False, own=["Beams:eCM = 13000.", *own])
    with pytest.raises(InputError, match="`ResonanceDecayFilter:filter`: none of 100 decays"):
        list(pythia_engine.batches(pythia, 1))


def test_questions_to_pythia8():
    lines = ["partonlevel:MPI off", "JETMATCHING:MERGE = on", "Merging:doDynamicMerging = on", "Tune:pp = 14"]
    pythia = pythia_engine.settings_of([*lines, "HiggsSM:ff2Hff(t:WW) = on", "TimeShower:alphaSvalue = 0.12"])
    assert not pythia_engine.interactions(pythia)
    assert not pythia_engine.merges(pythia)
    assert pythia_engine.hard_processes(pythia) == ["HiggsSM:ff2Hff(t:WW)"]
    assert pythia_engine.changed(pythia) == {
        "HiggsSM:ff2Hff(t:WW)": True,
        "JetMatching:merge": True,
        "Merging:doDynamicMerging": True,
        "PartonLevel:MPI": False,
        "TimeShower:alphaSvalue": 0.12,
    }
    assert pythia_engine.merges(pythia_engine.settings_of(["merging:doUNLOPStree on"]))
    assert pythia_engine.changed(pythia_engine.settings_of(["TimeShower:alphaSvalue = 0.1365"])) == {}


def test_a_file_has_the_hard_processes_and_beams():
    with pytest.raises(InputError, match="`HardQCD:gg2gg`: the event file has the hard processes already"):
        pythia_engine.start(["HardQCD:gg2gg = on"], None, own=["Beams:frameType = 4"])
    with pytest.raises(InputError, match="`Beams:frameType = 1` is about beams, which are those of the event file"):
        pythia_engine.start(["Beams:frameType = 1"], None, own=["Beams:frameType = 4"])
    with pytest.raises(InputError, match="`Beams:nSkipLHEFatInit`: the plan says which events"):
        pythia_engine.start(["Beams:nSkipLHEFatInit = 3"], None, own=["Beams:frameType = 4"])


NAMES = ["Beams:eCM", "PartonLevel::MPI", "hardqcd:ALL", "Tune:pp", "Main:subrun", "PDF:pSet", "Merging:Process"]
NAMES += ["25:m0", "7:new", "25:onMode", "Charmonium:O(3S1)[3S1(1)]", "UncertaintyBands:List", "x:y::z", "include"]
VALUES = ["on", "off", "7", "1e2", "13", "{7,8}", "{a b,", "c}", "DEFAULT", "force 3", "?", "pp>e+e-", "-1", ""]
LINES = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "", "", " ", "\t", "!", "# ", "/* ", "*/ ", "/*", "*/"]),
        st.sampled_from(NAMES),
        st.sampled_from([" = ", " ", "\t", "=", " += ", "= ="]),
        st.sampled_from(VALUES),
        st.sampled_from(["", "", " ! why", "!", " # {", " }", "\r", " ü"]),
    ),
)
TEXTS = st.lists(st.one_of(LINES, LINES, LINES, st.text(max_size=4)), max_size=6).map("\n".join)


@given(TEXTS)
@example("Beams:eCM = 91.2\n/* x\nBeams:eCM = 2\n*/ y\n25:m0=126\r\n")
@example("Beams:eCM = 91.2\n/*\nBeams:eCM = 2\n*/\n")
@example("UncertaintyBands:List = {a\n/* b\n c */ \n*/ d\n! e }\nPartonLevel:MPI=off\n")
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_card_is_read_as_by_pythia8_or_refused(tmp_path_factory, text):
    card = tmp_path_factory.getbasetemp() / "any.cmnd"
    card.write_bytes(text.encode("utf-8", errors="ignore"))
    try:
        mine = pythia_engine.settings_of(card_lines(card))
    except InputError as error:
        assert "\n" not in str(error)
        return
    pythia = pythia8mc.Pythia("", False)
    assert pythia.readFile(str(card))
    assert same(mine, pythia)
    assert math.isfinite(mine.parm("Beams:eCM"))
