"""The particles that a model knows, and the numbers that the strong interaction conserves."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

NUMBERS = ("charge", "baryon", "electron", "muon", "charm", "bottom")
"""Conserved numbers, charge first; strangeness is left out, because K0 mixing hides it."""
_QUARK_CHARGE = {1: -1, 2: 2, 3: -1, 4: 2, 5: -1}  # thirds


def quantum_numbers(pdg: int) -> tuple[int, ...]:
    """Charge, baryon, electron, muon number, charm and bottomness of a PDG code (PDG Review, numbering scheme).

    Raises ValueError for a code that is no photon, lepton or hadron of five flavours.
    """
    code, sign = abs(pdg), 1 if pdg > 0 else -1
    if code in (22, 130, 310):
        return (0, 0, 0, 0, 0, 0)
    if code in (11, 12, 13, 14):
        charged = code % 2
        return (-sign * charged, 0, sign * (code < 13), sign * (code > 12), 0, 0)
    quarks = _quarks(code)
    thirds = sum(np.sign(q) * _QUARK_CHARGE[abs(q)] for q in quarks)
    baryon = len(quarks) == 3
    charm = quarks.count(4) - quarks.count(-4)
    bottom = quarks.count(-5) - quarks.count(5)
    return (sign * int(thirds) // 3, sign * int(baryon), 0, 0, sign * charm, sign * bottom)


def _quarks(code: int) -> tuple[int, ...]:
    """Valence quarks of a hadron's positive code; antiquarks negative."""
    first, second, third = code // 1000 % 10, code // 100 % 10, code // 10 % 10
    if not (0 < third <= 5 and 0 < second <= 5 and first <= 5 and code < 10_000):
        raise ValueError(f"{code} is no photon, lepton or ground-state hadron")
    if first:
        return (first, second, third)
    return (second, -third) if second % 2 == 0 else (third, -second)


@dataclass(frozen=True)
class Species:
    """The kinds of a model, in the order in which their counts are drawn.

    pdg: (n_kinds,). mass: (n_kinds,) GeV.
    """

    pdg: tuple[int, ...]
    mass: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.pdg)

    @cached_property
    def masses(self) -> np.ndarray:
        """(n_kinds,) float64, GeV."""
        return np.array(self.mass)

    @cached_property
    def numbers(self) -> np.ndarray:
        """Conserved numbers of each kind: (n_kinds, 6) int64."""
        return np.array([quantum_numbers(code) for code in self.pdg]).reshape(-1, len(NUMBERS))

    def baryons(self, kinds: np.ndarray) -> np.ndarray:
        """Whether kinds (n,), -1 where unknown, are baryons: (n,) bool."""
        return (self.numbers[kinds, NUMBERS.index("baryon")] != 0) & (kinds >= 0)

    def kinds(self, pdg: np.ndarray) -> np.ndarray:
        """The kind of each PDG code, -1 where unknown."""
        codes = np.array(self.pdg)
        order = np.argsort(codes)
        at = np.searchsorted(codes[order], pdg).clip(max=len(codes) - 1)
        return np.where(codes[order[at]] == pdg, order[at], -1)

    @cached_property
    def closing(self) -> dict[int, int]:
        """For each conserved number (by its place in NUMBERS) the last kind that carries it, which balances it."""
        return {i: int(np.flatnonzero(column)[-1]) for i, column in enumerate(self.numbers.T) if column.any()}


def in_drawing_order(codes: list[int]) -> list[int]:
    """PDG codes so that each conserved number can be closed by a common kind: baryons to antineutrons, beauty, charm,
    leptons, strange mesons, photons, then pions, the negative last."""
    last = {-2112: 1, -421: 2, -511: 2, -11: 2, -13: 2, -211: 3}

    def key(code: int) -> tuple:
        charge, baryon, electron, muon, charm, bottom = quantum_numbers(code)
        room = 0 if baryon else 1 if bottom else 2 if charm else 3 if muon else 4 if electron else 5
        common = {321: 0, -321: 1, 310: 2, 130: 3, 22: 4, 111: 5, 211: 6, -211: 7}.get(code, -1)
        return (room, last.get(code, 0), common, -abs(code), code < 0, charge)

    return sorted(codes, key=key)
