"""Properties of particles by PDG code: the same answer as Pythia8's table for every code that it holds."""

import locale

import numpy as np
import pytest

from gen2reco.errors import InputError
from gen2reco.events.truth import (
    HIGHEST_ENERGY,
    STANDARD,
    TRACKED,
    Properties,
    charge,
    incident_energy,
    new_pythia,
    simulated,
    visible,
)


@pytest.fixture(scope="module")
def pythia8_table():
    """Each code of Pythia8's table but the generator's own 81 to 100, with its entry."""
    import pythia8mc

    pythia = pythia8mc.Pythia("", False)
    table, codes, code = pythia.particleData, [], 1
    while code:
        codes += [code, -code] if table.hasAnti(code) else [code]
        code = table.nextId(code)
    rows = {
        code: (table.chargeType(code), table.colType(code) != 0, table.isVisible(code), table.m0(code))
        for code in codes
        if not 81 <= abs(code) <= 100
    }
    return np.array(list(rows)), np.array(list(rows.values()))


def test_charge_and_colour_are_pythia8s_for_every_code(pythia8_table):
    codes, (three_charge, coloured, _, mass) = pythia8_table[0], pythia8_table[1].T
    assert len(codes) > 1200 and STANDARD.known(codes).all()
    assert charge(codes).tolist() == np.where(three_charge % 3 == 0, three_charge // 3, 0).tolist()
    assert STANDARD.coloured(codes).tolist() == (coloured != 0).tolist()
    tracked = np.isin(codes, list(TRACKED))
    assert STANDARD.mass(codes[tracked]) == pytest.approx(mass[tracked], rel=0.005)


def test_what_pythia8_cannot_see_is_invisible_here_unless_it_is_charged(pythia8_table):
    codes, (three_charge, coloured, theirs, _) = pythia8_table[0], pythia8_table[1].T
    ours = visible(codes)
    assert codes[ours & (theirs == 0) & (three_charge == 0)].tolist() == []
    neutral = codes[~ours & (theirs != 0)]  # Pythia8 takes every neutral particle that it does not list as visible
    assert set(np.abs(neutral)) & (TRACKED | {code for code in codes if 100 < abs(code) < 10**5}) == set()
    assert not coloured[np.isin(codes, neutral)].any() and not STANDARD.unseen(neutral).any()


@pytest.mark.parametrize(
    ("code", "q", "shown", "unseen", "known"),
    [
        (22, 0, True, False, True),
        (-211, -1, True, False, True),
        (3334, -1, True, False, True),
        (5122, 0, True, False, True),
        (2203, 0, True, False, True),  # diquarks and quarks: of fractional charge
        (2, 0, True, False, True),
        (24, 1, True, False, True),
        (23, 0, False, False, True),
        (12, 0, False, True, True),
        (52, 0, False, True, True),
        (1000022, 0, False, True, True),
        (1000039, 0, False, True, True),
        (4900111, 0, False, True, True),
        (4900211, 0, False, True, True),
        (9900012, 0, False, True, True),
        (1000015, -1, True, False, True),
        (-1000024, -1, True, False, True),
        (1000522, -1, True, False, True),
        (1000993, 0, True, False, True),
        (1009213, 1, True, False, True),
        (9900041, 2, True, False, True),
        (1000822080, 82, True, False, True),
        (1010010030, 1, True, False, True),
        (92, 0, True, False, True),
        (9000005, 0, False, False, False),
        (9000011, 0, False, False, False),
        (999999, 0, False, False, False),
        (0, 0, False, False, False),
        (-(2**31), 0, False, False, False),
    ],
)
def test_answers_by_code(code, q, shown, unseen, known):
    found = (STANDARD.charge([code])[0], *(f([code])[0] for f in (STANDARD.visible, STANDARD.unseen, STANDARD.known)))
    assert found == (q, shown, unseen, known)
    assert (incident_energy([code], [1e4])[0] > 0) == shown
    assert STANDARD.charge([-code])[0] == -q


DECLARED = {"name": "X", "charge": 0.0, "coloured": False, "visible": True, "mass": 50.0, "lifetime": 0.0}


@pytest.mark.parametrize(
    ("code", "stated", "q", "shown", "unseen"),
    [
        (9000005, {}, 0, False, False),  # neutral and colourless, by default visible for Pythia8: counted, not seen
        (9000005, {"visible": False}, 0, False, True),
        (9000005, {"charge": 1.0}, 1, True, False),
        (9000005, {"charge": -1 / 3}, 0, True, False),
        (9000005, {"coloured": True}, 0, True, False),
        (52, {"charge": 2.0, "visible": False}, 2, True, False),
        (130, {"visible": False}, 0, False, True),
    ],
)
def test_the_generators_own_properties_come_first(code, stated, q, shown, unseen):
    story = {"generate": {"info": {"particle_properties": {str(code): DECLARED | stated}, "events": 3}}}
    own = Properties.of(story)
    assert (own.charge([code])[0], own.visible([code])[0], own.unseen([code])[0]) == (q, shown, unseen)
    assert own.known([code, -code]).all() and own.charge([-code, 211]).tolist() == [-q, 1]
    assert (own.name(code), own.name(-code), own.name(211)) == ("X", "anti-X", "pi+")


@pytest.mark.parametrize(
    "stated", [[], {"x": DECLARED}, {"5": 3}, {"5": DECLARED | {"charge": "many"}}, {"5": DECLARED | {"mass": -1}}]
)
def test_metadata_that_hold_no_properties_are_refused(stated):
    with pytest.raises(InputError, match=r"metadata of the input: `generate\.info\.particle_properties"):
        Properties.of({"generate": {"info": {"particle_properties": stated}}})


def test_what_is_simulated():
    assert simulated([22, -13, 3122, 1000020040], [1.0] * 4).all() and not simulated([21, 1000015, 0], [1.0] * 3).any()
    assert simulated([211, 211], [HIGHEST_ENERGY, HIGHEST_ENERGY * 1.1]).tolist() == [True, False]
    assert STANDARD.known(sorted(TRACKED)).all() and visible(sorted(TRACKED)).all()
    assert not STANDARD.unseen(sorted(TRACKED)).any() and charge(np.zeros(0, int)).shape == (0,)


def test_pythia8_reads_names_in_english_letters_whatever_the_locale():
    """In Turkish the small letter of I is none of i."""
    installed = [name for name in ("tr_TR.UTF-8", "tr_TR.utf8", "C") if _sets(name)]
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, installed[0])
        pythia = new_pythia()
        assert locale.setlocale(locale.LC_CTYPE) == "C.UTF-8"
        assert pythia.readString("23:onIfAny = 1 2 3 4 5")
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


def _sets(name):
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, name)
    except locale.Error:
        return False
    locale.setlocale(locale.LC_CTYPE, before)
    return True
