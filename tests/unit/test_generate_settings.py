"""Pythia8 settings: no card opens a file or loads a library, and a slip of the pen gets one clear line."""

import pytest

from gen2reco.errors import InputError
from gen2reco.generate import engine
from gen2reco.generate.settings import checked

OPENS_FILES = [
    "SLHA:file = /etc/passwd",
    "slha:FILE = x",
    "SLHA:readFrom = 2",
    "Beams:LHEF = events.lhe",
    "Beams:LHEFheader = h",
    "Beams:frameType = 4",
    "Beams:newLHEFsameInit = on",
    "Beams::LHEF = events.lhe",
    "BEAMS:lhef=events.lhe",
    "Alpgen:file = x",
    "include = other.cmnd",
    "include other.cmnd",
    "Init:plugins = {libevil.so::Evil}",
    "Init:reuseMpiInitFiles = x",
    "Init:reuseMpiIdiffSys0 = {a}",
    "Vincia:MEplugin = evil",
    "MultipartonInteractions:reuseInit = 3",
    "MultipartonInteractions:initFile = x",
    "HeavyIon:SigFitReuseInit = 2",
    "HeavyIon:SigFitInitFile = x",
    "HeavyIon:SasdMpiInitFile = x",
    "HeavyIonA:externalNucleusFile = x",
    "PDF:pSet = LHAPDF6:NNPDF31",
    "PDF:pSet = LHAGrid1:/tmp/grid",
    "PDF:pHardSetB = LHAGrid1:x",
    "PDF:piSet = LHAGrid1:x",
    "PDF:PomSet = LHAGrid1:x",
    "PDF:GammaHardSet = LHAGrid1:x",
    "LHAHDF5:version = 1",
    "xmlPath = /tmp",
]


@pytest.mark.parametrize("line", OPENS_FILES)
def test_what_opens_files_is_refused(line):
    with pytest.raises(InputError, match="opens files or loads libraries") as caught:
        checked([line])
    assert line in str(caught.value)


def test_no_word_of_pythia_escapes():
    """Words and vectors of words are paths unless known as safe, also those that a later Pythia8 brings."""
    from gen2reco.generate.settings import apply

    class Taken:
        class settings:
            getWordMap = staticmethod(lambda _: ["new:path"])
            getWVecMap = staticmethod(lambda _: [])
            getFVecMap = getMVecMap = getPVecMap = getFlagMap = getModeMap = getParmMap = getWVecMap
            isFlag = isMode = isParm = staticmethod(lambda _: False)
            isWord = staticmethod(lambda _: True)

        def readString(self, line):
            raise AssertionError(line)

    with pytest.raises(InputError, match="New:path = /etc/passwd"):
        apply(Taken(), ["New:path = /etc/passwd"])


@pytest.mark.parametrize(
    "line",
    [
        "Random:seed = 5",
        "Main:numberOfEvents = 10",
        "Print:quiet = on",
        "Next:numberCount = 5",
        "Init:showProcesses = on",
    ],
)
def test_what_the_plan_fixes_is_left_out(line):
    assert checked(["Beams:eCM = 91.2", line]) == ["Beams:eCM = 91.2"]


@pytest.mark.parametrize(
    "line", ["PDF:pSet = 13", "PDF:lepton = off", "25:m0 = 125.", "Tune:pp 14", "Merging:Process = pp>e+e-"]
)
def test_ordinary_lines_pass(line):
    assert checked([line]) == [line]


@pytest.mark.parametrize("line", ["", "Beams:eCM", "Beams:eCM = 1\nSLHA:file = x", "= 3", "\x00a = b"])
def test_what_is_no_setting(line):
    with pytest.raises(InputError, match="expected one line"):
        checked([line])


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (["Beams:eCN = 91.2"], "no such setting; did you mean `beams:ecm`"),
        (["Beams:eCM = many"], "`Beams:eCM = many`: value not accepted, expected a number"),
        (["Tune:pp = 999"], "expected a whole number in its range"),
        (["99999:m0 = 3"], "no such particle"),
        (["Beams:eCM = 1.", "HardQCD:all = on"], "does not start.*too low energy"),
    ],
)
def test_pythia_says_what_is_wrong(lines, match, capfd):
    with pytest.raises(InputError, match=match) as caught:
        engine.start(lines, None)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().out == ""
