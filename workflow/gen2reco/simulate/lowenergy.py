"""Substitute low-energy tables for Geant4 11.4, from published formulae and xraylib; nothing from the official data.

They hold what FTFP_BERT insists on reading: bremsstrahlung, photo-electric effect, Rayleigh scattering, neutron and
photonuclear cross sections. Everything else it needs is compiled in. Weak: no neutron resonances, no discrete nuclear
gammas, bremsstrahlung uncertain by 5-15 % below 50 MeV.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ELECTRON_MASS = 0.51099895
"""MeV."""
ALPHA = 1 / 137.035999
CLASSICAL_RADIUS = 2.8179403262e-13
"""cm."""
MILLIBARN = 1e-27
"""cm2."""
BARN_IN_MM2 = 1e-22
XRAYLIB_MAX = 0.7
"""MeV; above it the photo-electric effect follows Sauter's shape, Rayleigh scattering 1/E**2."""
ELEMENTS = range(1, 93)

THERMAL_CAPTURE = {
    **{1: 0.333, 6: 0.0035, 7: 1.9, 8: 2e-4, 13: 0.231, 14: 0.171, 24: 3.05, 25: 13.3, 26: 2.56, 27: 37.2, 28: 4.49},
    **{29: 3.78, 30: 1.11, 48: 2520, 50: 0.626, 74: 18.3, 82: 0.171},
}
"""Capture of thermal neutrons, barn, by atomic number; 1 barn elsewhere."""
FIRST_LEVEL = {
    **{6: 4.44, 7: 2.3, 8: 6.05, 13: 0.84, 14: 1.78, 24: 1.43, 25: 0.126, 26: 0.847, 28: 1.33, 29: 0.67, 30: 0.99},
    **{50: 1.17, 74: 0.11, 82: 0.57},
}
"""First excited level, MeV: the threshold of inelastic neutron scattering."""


def write_tables(folder: Path) -> None:
    """Write the four data directories under an empty folder: about 1,000 files, 7 MB, 2 CPU seconds."""
    low = folder / "G4EMLOW"
    bremsstrahlung(_made(low / "brem_SB"))
    photoelectric(_made(low / "epics2017" / "phot"))
    rayleigh(_made(low / "epics2017" / "rayl"))
    neutrons(_made(folder / "G4PARTICLEXS" / "neutron"))
    photonuclear(_made(folder / "G4PARTICLEXS" / "gamma"))
    _made(folder / "PhotonEvaporation")
    (_made(folder / "G4ENSDFSTATE") / "ENSDFSTATE.dat").write_text("")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def bremsstrahlung(folder: Path) -> None:
    """Scaled cross sections beta**2/Z**2 k dsigma/dk in mb over k/T and ln T: Tsai (Rev. Mod. Phys. 46, 815) with
    screening and Coulomb correction above 50 MeV, Koch-Motz 3BN (Rev. Mod. Phys. 31, 920) with the Elwert factor
    below 2 MeV, a logarithmic blend between."""
    inner = np.arange(0.05, 0.96, 0.05)
    ends = [0.925, 0.97, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99995, 0.99999, 1.0]
    kappa = np.unique(np.r_[1e-12, 0.025, inner, ends])
    kinetic = np.logspace(-3, 4, 57)
    head = f"0 {len(kappa)} {len(kinetic)}\n{_row(kappa, '.8g')}\n{_row(np.log(kinetic), '.8g')}\n"
    for z in ELEMENTS:
        rows = [_row(_scaled_bremsstrahlung(z, t, kappa), ".6g") for t in kinetic]
        (folder / f"br{z}").write_text(head + "\n".join(rows) + "\n")


def _scaled_bremsstrahlung(z: int, t: float, kappa: NDArray) -> NDArray:
    beta2 = t * (t + 2 * ELECTRON_MASS) / (t + ELECTRON_MASS) ** 2
    high = _tsai(z, t, np.minimum(kappa, 0.99999)) * beta2
    if t >= 50:
        return high
    k = np.clip(kappa, 1e-3, 0.9999)
    bare, screened = _tsai(z, t, k, coulomb=False, screening=False), _tsai(z, t, k, coulomb=False)
    ratio = np.where(bare > 0, np.clip(screened / np.maximum(bare, 1e-9), 0.05, 1), 1.0)
    ratio = np.clip(ratio, 0.6, 1) if t < 0.5 else ratio
    low = _koch_motz(z, t, k) * beta2 * ratio * (1 + 1 / z)  # atomic electrons: Z(Z+1)
    share = np.clip(np.log(t / 2) / np.log(25), 0, 1)
    return np.exp((1 - share) * np.log(np.maximum(low, 1e-3)) + share * np.log(np.maximum(high, 1e-3)))


def _tsai(z: int, t: float, kappa: NDArray, coulomb: bool = True, screening: bool = True) -> NDArray:
    """k dsigma/dk / Z**2 in mb with Tsai's screening functions, or without screening."""
    energy = t + ELECTRON_MASS
    k = kappa * t
    y, rest = k / energy, np.maximum(energy - k, ELECTRON_MASS)
    gamma = 100 * ELECTRON_MASS * k / (energy * rest * z ** (1 / 3))
    epsilon = 100 * ELECTRON_MASS * k / (energy * rest * z ** (2 / 3))
    if screening:
        phi = 16.863 - 2 * np.log(1 + 0.311877 * gamma**2) + 2.4 * np.exp(-0.9 * gamma) + 1.6 * np.exp(-1.5 * gamma)
        dphi = 2 / (3 + 19.5 * gamma + 18 * gamma**2)
    else:
        phi = 4 * np.log(2 * energy * rest / (ELECTRON_MASS * np.maximum(k, 1e-30))) - 2 + 4 / 3 * np.log(z)
        dphi = 0 * gamma
    psi = 24.34 - 2 * np.log(1 + 13.111641 * epsilon**2) + 2.8 * np.exp(-8 * epsilon) + 1.2 * np.exp(-29.2 * epsilon)
    dpsi = 2 / (3 + 120 * epsilon + 1200 * epsilon**2)
    f = _coulomb_correction(z) if coulomb and z >= 5 else 0.0
    nuclear, electronic = 0.25 * phi - np.log(z) / 3 - f, (0.25 * psi - 2 * np.log(z) / 3) / z
    value = (1 - y + 0.75 * y**2) * (nuclear + electronic) + 0.125 * (1 - y) * (dphi + dpsi / z)
    return 16 * ALPHA * CLASSICAL_RADIUS**2 / 3 * np.maximum(value, 0) / MILLIBARN


def _coulomb_correction(z: int) -> float:
    a = (ALPHA * z) ** 2
    return a * (1 / (1 + a) + 0.20206 - 0.0369 * a + 0.0083 * a**2 - 0.002 * a**3)


def _koch_motz(z: int, t: float, kappa: NDArray) -> NDArray:
    """k dsigma/dk / Z**2 in mb, formula 3BN times the Elwert factor."""
    e0 = (t + ELECTRON_MASS) / ELECTRON_MASS
    k = np.maximum(kappa, 1e-6) * t / ELECTRON_MASS
    e = np.maximum(e0 - k, 1 + 1e-7)
    p0, p = np.sqrt(e0**2 - 1), np.sqrt(e**2 - 1)
    pp = p0 * p
    big = 2 * np.log((e0 * e + pp - 1) / k)
    eps0, eps = 2 * np.log(e0 + p0), 2 * np.log(e + p)
    bracket = 4 / 3 - 2 * e0 * e * (p**2 + p0**2) / pp**2 + eps0 * e / p0**3 + eps * e0 / p**3 - eps * eps0 / pp
    inner = (e0 * e + p0**2) / p0**3 * eps0 - (e0 * e + p**2) / p**3 * eps + 2 * k * e0 * e / pp**2
    bracket = bracket + big * (8 * e0 * e / (3 * pp) + k**2 * (e0**2 * e**2 + pp**2) / pp**3 + k / (2 * pp) * inner)
    beta0, beta, x = p0 / e0, p / e, 2 * np.pi * ALPHA * z
    elwert = beta0 * (1 - np.exp(-x / beta0)) / (beta * (1 - np.exp(-x / beta)))
    return ALPHA * CLASSICAL_RADIUS**2 * p / p0 * bracket * elwert / MILLIBARN


def photoelectric(folder: Path) -> None:
    """Total and shell cross sections (E**3 sigma, barn MeV**3) from xraylib; Geant4's own fits are switched off."""
    for z in ELEMENTS:
        edges = _edges(z)
        k_edge = edges[0]
        high = np.logspace(np.log10(max(k_edge, 1.2e-4) * 1.0005), 5, 260)
        _write_vector(folder / f"pe-cs-{z}.dat", high, high**3 * _photo(z, high))
        around = [edge * side for edge in edges for side in (0.9995, 1.0005) if edge > 1.1e-4]
        top = max(k_edge, 1.3e-4)
        low = np.unique(np.r_[np.logspace(-4, np.log10(top), 200), around])
        low = low[low <= top]
        _write_vector(folder / f"pe-le-cs-{z}.dat", low, low**3 * _photo(z, low))
        fits = f"{len(edges)} {len(edges)} 1e9\n" + "".join(f"{edge:.9g} 0 0 0 0 0 0\n" for edge in edges)
        for name in ("high", "low"):
            (folder / f"pe-{name}-{z}.dat").write_text(fits)
        if len(edges) > 1:
            (folder / f"pe-ss-cs-{z}.dat").write_text(_shells(z, edges))


def _edges(z: int) -> list[float]:
    """Binding energies of the main shells, MeV, from the K shell down."""
    import xraylib as xl

    shells = (xl.K_SHELL, xl.L1_SHELL, xl.L2_SHELL, xl.L3_SHELL, xl.M1_SHELL, xl.M3_SHELL, xl.M5_SHELL, xl.N1_SHELL)
    edges: list[float] = []
    for shell in shells:
        edge = _or_zero(xl.EdgeEnergy, z, shell) * 1e-3
        if edge > 15e-6 and (not edges or edge < edges[-1] * 0.98):
            edges.append(edge)
    return edges or [13.6e-6]


def _shells(z: int, edges: list[float]) -> str:
    """Shell cross sections: the total is shared out by the jumps at the edges."""

    def jump(edge: float) -> float:
        at = max(edge, 1.1e-4)
        above, below = _photo(z, np.array([at * 1.001, at * 0.999]))
        return above / below

    jumps, text = [jump(edge) for edge in edges], ""
    for i, edge in enumerate(edges):
        energy = np.logspace(np.log10(max(edge, 1.05e-4) * 1.0005), 5, 150)
        share = np.ones(len(energy))
        for inner, ratio in zip(edges[:i], jumps[:i]):
            share *= np.where(energy > inner, 1 / max(ratio, 1.0), 1)
        if i < len(edges) - 1:
            share *= 1 - 1 / max(jumps[i], 1.02)
        text += f"{energy[0]:.9g} {energy[-1]:.9g} {len(energy)} {i}\n"
        text += _pairs(energy, energy**3 * _photo(z, energy) * share)
    return text


def _photo(z: int, energy: NDArray) -> NDArray:
    """Photo-electric cross section, barn, of energies in MeV."""
    import xraylib as xl

    low = np.array([_or_zero(xl.CSb_Photo, z, max(e * 1e3, 0.1)) for e in np.minimum(energy, XRAYLIB_MAX)])
    shape = np.where(energy > XRAYLIB_MAX, _sauter(np.maximum(energy, XRAYLIB_MAX)) / _sauter(XRAYLIB_MAX), 1.0)
    return np.maximum(low, 1e-30) * shape


def _sauter(energy: float | NDArray) -> float | NDArray:
    """Energy dependence of the K-shell cross section in Born approximation (Sauter 1931)."""
    g = 1 + energy / ELECTRON_MASS
    s = np.sqrt(g**2 - 1)
    logarithm = 1 - 1 / (2 * g * s) * np.log((g + s) / (g - s))
    return (ELECTRON_MASS / energy) ** 5 * s**3 * (4 / 3 + g * (g - 2) / (g + 1) * logarithm)


def rayleigh(folder: Path) -> None:
    """E**2 sigma in MeV**2 mm2, from xraylib."""
    import xraylib as xl

    energy = np.logspace(-4, 3, 200)
    fall = np.minimum(XRAYLIB_MAX / energy, 1.0) ** 2
    for z in ELEMENTS:
        low = [_or_zero(xl.CSb_Rayl, z, max(e * 1e3, 0.1)) for e in np.minimum(energy, XRAYLIB_MAX)]
        _write_vector(folder / f"re-cs-{z}.dat", energy, energy**2 * np.maximum(low, 1e-30) * fall * BARN_IN_MM2)


def neutrons(folder: Path) -> None:
    """Elastic, inelastic and capture cross sections in mm2: black-disc radii at low energy, Letaw's (ApJS 51, 271)
    parametrisation of the reaction cross section at high energy, 1/v capture from the thermal values."""
    import xraylib as xl

    energy, slow = np.logspace(-11, 8, 381), np.logspace(-11, np.log10(20), 200)
    for z in ELEMENTS:
        a = xl.AtomicWeight(z)
        inelastic, elastic = _neutron_hydrogen(energy) if z == 1 else _neutron_nucleus(z, a, energy)
        epithermal = np.where(slow > 1e-4, 0.002 * a**0.5 / (1 + slow * 3), 0) * min(1, a / 60)
        capture = THERMAL_CAPTURE.get(z, 1.0) * np.sqrt(2.53e-8 / slow) + epithermal
        _write_vector(folder / f"inel{z}", energy, np.maximum(inelastic, 1e-12) * BARN_IN_MM2)
        _write_vector(folder / f"el{z}", energy, elastic * BARN_IN_MM2)
        _write_vector(folder / f"cap{z}", slow, capture * BARN_IN_MM2)


def _neutron_hydrogen(energy: NDArray) -> tuple[NDArray, NDArray]:
    inelastic = np.where(energy > 290, 0.030 * (1 - np.exp(-(energy - 290) / 400)), 1e-12)
    return inelastic, np.clip(20.4 / (1 + energy / 0.35) + 0.02, 0.008, 20.4)


def _neutron_nucleus(z: int, a: float, energy: NDArray) -> tuple[NDArray, NDArray]:
    fast = np.maximum(energy, 8.0)
    letaw = 0.045 * a**0.7 * (1 + 0.016 * np.sin(5.3 - 2.63 * np.log(a)))
    letaw = letaw * (1 - 0.62 * np.exp(-fast / 200) * np.sin(10.9 * fast**-0.28))
    at_14 = np.pi * (0.12 * a ** (1 / 3) + 0.21) ** 2
    threshold = FIRST_LEVEL.get(z, 0.3 if a > 100 else 1.0) * (a + 1) / a
    rise = 1 - np.exp(-np.maximum(energy - threshold, 0) / (1.2 + 0.25 * threshold))
    high = _log_share(energy, 14, 40)
    inelastic = (1 - high) * at_14 * rise + high * letaw
    slow_elastic, mid_elastic = 4 * np.pi * (0.135 * a ** (1 / 3)) ** 2, 0.95 * at_14
    fast_elastic = (0.075 + 0.155 * a ** (1 / 3)) * letaw
    mid, top = _log_share(energy, 0.5, 14), _log_share(energy, 14, 200)
    elastic = (1 - mid) * np.log(slow_elastic) + mid * np.log(mid_elastic)
    return inelastic, np.exp((1 - top) * elastic + top * np.log(fast_elastic))


def _log_share(energy: NDArray, start: float, stop: float) -> NDArray:
    return np.clip(np.log(energy / start) / np.log(stop / start), 0, 1)


def photonuclear(folder: Path) -> None:
    """Giant dipole resonance (Lorentzian, Thomas-Reiche-Kuhn sum) and quasi-deuteron absorption, mm2."""
    import xraylib as xl

    energy = np.linspace(1, 130, 259)
    for z in range(1, 95):
        a = xl.AtomicWeight(z) if z in ELEMENTS else 2.5 * z
        centre, width = 31.2 * a ** (-1 / 3) + 20.6 * a ** (-1 / 6), 5.0 if a > 40 else 7.0
        peak = 2 / (np.pi * width) * 72 * (a - z) * z / a * 1e-3
        dipole = peak / (1 + ((energy**2 - centre**2) / (energy * width)) ** 2)
        deuteron = 6.5 * (a - z) * z / a * 7e-5 * np.clip((energy - 20) / 20, 0, 1) * np.exp(-energy / 90)
        sigma = np.where(energy > 7.5, np.maximum(dipole + deuteron, 1e-9), 1e-9)
        _write_vector(folder / f"inel{z}", energy, sigma * BARN_IN_MM2)


def _or_zero(function: Callable[..., float], *arguments: float) -> float:
    """xraylib raises where an element has no such shell or energy."""
    try:
        return function(*arguments)
    except ValueError:
        return 0.0


def _row(values: NDArray, form: str) -> str:
    return " ".join(format(value, form) for value in values)


def _pairs(energy: NDArray, values: NDArray) -> str:
    return "".join(f"{e:.9g} {v:.7g}\n" for e, v in zip(energy, values))


def _write_vector(path: Path, energy: NDArray, values: NDArray) -> None:
    """Geant4's format of a free vector."""
    path.write_text(f"{energy[0]:.9g} {energy[-1]:.9g} {len(energy)}\n{len(energy)}\n{_pairs(energy, values)}")
