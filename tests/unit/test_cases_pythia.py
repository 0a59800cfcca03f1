"""The table of small cases, row by row: Pythia8 cards, and POWHEG events with and without their veto."""

from pathlib import Path

import numpy as np
import pytest
import pythia8mc

from gen2reco.config.process import process_from
from gen2reco.errors import InputError
from gen2reco.generate import pythia_engine
from gen2reco.generate.powheg import PowhegVeto
from gen2reco.run.stage import Chunk, make_backend

CASES = Path(__file__).parents[1] / "data" / "cases"
SCALE = 10.0  # GeV: SCALUP of the events of pwg.lhe
POWHEG = [
    "SpaceShower:pTmaxMatch = 2",
    "TimeShower:pTmaxMatch = 2",
    "HadronLevel:all = off",
    "POWHEG:nFinal = 2",
    "POWHEG:vetoCount = 100000",
]


def made(path: Path, events: int):
    process = process_from(path)
    backend = make_backend("generate", process.kind, {"process": process.model_dump(mode="json")})
    backend.prepare()
    return backend.run(Chunk(index=0, start=0, stop=events, seed=1))


@pytest.mark.parametrize(("name", "beams"), [("hera", (318.12, 2212, 11)), ("vbf", (13e3, 2212, 2212)), ("jpsi", None)])
def test_cards(name, beams):
    """As bare Pythia8 starts from the same card: beams, energy, and the cross section within its error."""
    result = made(CASES / "cards" / f"{name}.cmnd", 20)
    bare = pythia8mc.Pythia("", False)
    with pythia_engine.engine_output():
        assert bare.readFile(str(CASES / "cards" / f"{name}.cmnd"))
        bare.readString("Print:quiet = on")
        assert bare.init()
        bare.nextBatch(20, 10.0)
    info, facts = bare.infoPython(), result.info
    assert result.table.num_rows == 20
    assert facts["sqrt_s"] == pytest.approx(info.eCM(), rel=1e-9)
    off = abs(facts["cross_section_pb"] - info.sigmaGen() * pythia_engine.PB_PER_MB)
    assert off < 5 * np.hypot(facts["cross_section_error_pb"], info.sigmaErr() * pythia_engine.PB_PER_MB)
    if beams:
        assert facts["sqrt_s"] == pytest.approx(beams[0], rel=1e-4)
        assert [beam[0] for beam in facts["beams"]] == list(beams[1:])


def test_a_card_of_several_subruns_is_refused():
    with pytest.raises(InputError, match="`Main:subrun = 1` begins another subrun"):
        made(CASES / "cards" / "subruns.cmnd", 2)


def hardest(lines: list[str], events: int = 60) -> np.ndarray:
    """The hardest emission of each event by POWHEG's measure, read off the record: (n_events,), GeV."""
    own = ["Beams:frameType = 4", f"Beams:LHEF = {CASES / 'lhe' / 'pwg.lhe'}"]
    pythia = pythia_engine.start([*POWHEG, *lines], False, own=own)
    found = []
    for _ in range(events):
        assert pythia.next()
        found.append(_hardest(pythia.event))
    return np.array(found)


def _hardest(event) -> float:
    size, best = event.size(), 0.0
    status = [event[i].status() for i in range(size)]
    for i in range(size - 2):
        if status[i] in (-41, -42) and abs(status[i + 1]) in (41, 42):
            first = next(j for j in range(i, size) if abs(status[j]) == 43)
            best = max(best, event[first].pT())
        if abs(status[i]) == abs(status[i + 1]) == 51 and event[i].mother1() == event[i + 1].mother1():
            p, q = event[event[i].mother1()].p(), event[i + 1].p()
            a, b = p.e(), q.e()
            mass = max((p + q).m2Calc(), 0)
            best = max(best, (mass * a * b) ** 0.5 / (a + b))
    return best


def test_the_powheg_veto_leaves_no_emission_above_powheg():
    without, with_veto = hardest([]), hardest(["POWHEG:veto = 1", "POWHEG:pTdef = 1"])
    assert (without > 2 * SCALE).mean() > 0.8
    assert with_veto.max() < 1.3 * SCALE  # frames of the record are not quite those of the emission
    assert np.median(with_veto) > 0.3 * SCALE


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("POWHEG:pTdef = 0", 8),
        ("POWHEG:pTdef = 2", 3),
        ("POWHEG:pTemt = 1", 8),
        ("POWHEG:pTemt = 2", 15),
        ("POWHEG:emitted = 2", 15),
        ("POWHEG:nFinal = -1", 3),
        ("POWHEG:QEDveto = 2", 3),
    ],
)
def test_other_definitions_of_hardness_veto_too(name, factor):
    assert hardest(["POWHEG:veto = 1", "POWHEG:pTdef = 1", name], 8).max() < factor * SCALE


def test_powheg_cases():
    """Rows differ with and without the veto, which counts in the facts of neither: the sums of weights are equal."""
    plain, vetoed = (made(CASES / "lhe" / f"powheg_{name}.yaml", 60) for name in ("no_veto", "veto"))
    assert plain.table.num_rows == vetoed.table.num_rows == 60
    assert not plain.table["particles"].equals(vetoed.table["particles"])
    assert len(vetoed.table["particles"].combine_chunks().flatten()) != len(
        plain.table["particles"].combine_chunks().flatten()
    )
    assert plain.info["sum_of_weights"] == vetoed.info["sum_of_weights"]


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("POWHEG:nFinal = 4", "POWHEG:nFinal = 4, but an event has 2 outgoing particles"),
        ("PartonShowers:model = 2", "offered for PartonShowers:model = 1 alone"),
        ("POWHEG:nFinal = -1", "POWHEG:pThard = 1 or 2 needs POWHEG:nFinal"),
    ],
)
def test_what_the_veto_does_not_offer(line, match):
    own = ["Beams:frameType = 4", f"Beams:LHEF = {CASES / 'lhe' / 'pwg.lhe'}"]
    lines = [*POWHEG, "POWHEG:veto = 1", "POWHEG:pThard = 2", line]
    with pytest.raises(InputError, match=match):
        list(pythia_engine.batches(pythia_engine.start(lines, False, own=own), 3))


class Noted(PowhegVeto):
    """Notes the hardness of each event and the transverse momentum of its last parton."""

    def doVetoMPIStep(self, interactions: int, event) -> bool:
        vetoed = super().doVetoMPIStep(interactions, event)
        self.noted = (self._hardness, event[event.size() - 1].pT())
        return vetoed


@pytest.mark.parametrize("definition", ["pTdef = 0", "pTdef = 1", "pTdef = 2"])
def test_an_event_with_an_emission_has_its_hardness(definition):
    """Against incoming and outgoing partons: of two back to back, by pT or by d_ij, which is half their mass."""
    own = ["Beams:frameType = 4", f"Beams:LHEF = {CASES / 'lhe' / 'pwg.lhe'}"]
    lines = [*POWHEG, "POWHEG:nFinal = 1", f"POWHEG:{definition}", "POWHEG:pThard = 1", "POWHEG:veto = 1"]
    pythia = pythia_engine.settings_of(lines, own)
    hook = Noted(pythia)
    pythia.addUserHooksPtr(hook)
    with pythia_engine.engine_output():
        assert pythia.init()
    for _ in range(4):
        assert pythia.next()
        hardness, pt = hook.noted
        assert hardness == pytest.approx(pt if definition != "pTdef = 2" else hardness)
        assert 0 < hardness <= 400.001
