"""Geant4 itself: volumes, sensitive silicon, one primary per Geant4 event. Import only after `Tables.export`.

One endcap is built, at z > 0; the caller reflects particles of the other. There is no magnetic field inside.
Lengths in mm, energies in MeV, times in ns are Geant4's own units.
"""

from array import array
from typing import Any

import geant4_pybind as g4
import numpy as np
from numpy.typing import NDArray

from gen2reco.config.detector import Material
from gen2reco.detector.geometry import Geometry
from gen2reco.detector.propagate import AtFace
from gen2reco.errors import InputError
from gen2reco.units import C_LIGHT

PHYSICS_LIST = "FTFP_BERT"
PRODUCTION_CUT = 0.7
"""Range cut for secondaries, mm."""
_MARGIN = 10.0
_START = 1e-3


class Engine:
    """Owns the run manager: at most one a process, set up once, then `shoot` as often as needed."""

    def __init__(self, geometry: Geometry):
        self.geometry = geometry
        self.shift = (geometry.detector.front_face + geometry.end) / 2
        self.manager = g4.G4RunManagerFactory.CreateRunManager(g4.G4RunManagerType.Serial)
        self.volumes, self.physics = _Volumes(geometry, self.shift), getattr(g4, PHYSICS_LIST)()
        self.physics.SetVerboseLevel(0)
        self.manager.SetUserInitialization(self.volumes)
        self.manager.SetUserInitialization(self.physics)
        self.gun = _Gun()  # Geant4 insists: after the physics list is assigned
        self.actions = _Actions(self.gun)
        self.manager.SetUserInitialization(self.actions)
        apply = g4.G4UImanager.GetUIpointer().ApplyCommand
        for command in ("/process/em/verbose 0", "/process/had/verbose 0", "/run/verbose 0"):
            apply(command)
        apply(f"/run/setCut {PRODUCTION_CUT} mm")
        self.manager.Initialize()
        apply(f"/physics_engine/neutron/timeLimit {self._last():.0f} ns")  # no such command before Initialize
        self._warm_up()

    def _last(self) -> float:
        """Time after which nothing that a neutron leaves can fall into the time window any more, ns."""
        flight = self.geometry.end / np.tanh(self.geometry.detector.eta_min) / C_LIGHT
        return self.geometry.detector.digitisation.time_window + flight

    def _warm_up(self) -> None:
        """Shoot one soft photon, so that the physics tables are built once and not in every fork."""
        x = (self.geometry.r_min[0] + self.geometry.r_max[0]) / 2
        one = np.ones(1, np.int64)
        photon = AtFace(
            *(one, one, 22 * one, one.astype(np.int8), np.full(1, 0.01)),
            *(np.array([[x, 0.0, self.geometry.detector.front_face]]), np.array([[0.0, 0.0, 0.01]]), np.zeros(1)),
        )
        self.shoot(photon, np.array([[1, 2]]))

    def shoot(self, at_face: AtFace, seeds: NDArray) -> tuple[NDArray, NDArray]:
        """Track particles that enter at z > 0, each with its own two seeds: (n, 2), positive, below 2**31.

        Returns the steps in silicon, (n_steps, 5): deposit in MeV, x, y, z of the step's middle in mm, time in ns;
        and which particle each belongs to, (n_steps,).
        """
        if not len(at_face):
            return np.zeros((0, 5)), np.zeros(0, np.int64)
        silicon = self.volumes.silicon
        silicon.steps = array("d")
        self.gun.load(at_face, seeds, self.shift, silicon)
        self.manager.BeamOn(len(at_face))
        steps = np.frombuffer(silicon.steps, np.float64).reshape(-1, 5).copy()
        steps[:, 3] += self.shift
        ends = np.array([*self.gun.starts[1:], len(silicon.steps)]) // 5
        return steps, np.repeat(np.arange(len(at_face)), np.diff(ends, prepend=0))


_MADE: list[Engine] = []


def engine_of(geometry: Geometry) -> Engine:
    """The engine of this process, made when it is first asked for; cells may differ, for Geant4 knows none. Raises
    InputError for a second geometry, for which Geant4 needs another process."""
    if not _MADE:
        _MADE.append(Engine(geometry))
    before, now = _MADE[0].geometry.detector, geometry.detector
    if before.volumes_digest != now.volumes_digest:
        raise InputError(
            f"detector `{now.name}`: Geant4 has built another geometry in this process (`{before.name}`); simulate it "
            "in a process of its own"
        )
    return _MADE[0]


class _Volumes(g4.G4VUserDetectorConstruction):
    """The slabs of one endcap as rings in a box of air whose middle lies at z = shift."""

    def __init__(self, geometry: Geometry, shift: float):
        super().__init__()
        self.geometry, self.shift = geometry, shift
        self.kept: list[Any] = []  # Geant4 does not own what Python made
        self.sensitive: list[Any] = []

    def Construct(self) -> Any:
        g, half = self.geometry, float(self.geometry.r_max[-1]) + 50.0
        materials = {name: _material(name, m) for name, m in g.detector.materials.items()}
        depth = (g.end - g.detector.front_face) / 2 + _MARGIN
        air = g4.G4NistManager.Instance().FindOrBuildMaterial("G4_AIR")
        world = g4.G4LogicalVolume(g4.G4Box("world", half, half, depth), air, "world")
        placed = g4.G4PVPlacement(None, g4.G4ThreeVector(), world, "world", None, False, 0, False)
        self.kept += [world, placed]
        for slab in g.slabs:
            if g.detector.materials[slab.material].geant4 == "G4_AIR":
                continue
            inner, outer = g.r_min[slab.layer - 1] - _MARGIN, g.r_max[slab.layer - 1] + _MARGIN
            ring = g4.G4Tubs(slab.material, inner, outer, slab.thickness / 2, 0.0, 2 * np.pi)
            volume = g4.G4LogicalVolume(ring, materials[slab.material], slab.material)
            at = g4.G4ThreeVector(0.0, 0.0, slab.z + slab.thickness / 2 - self.shift)
            self.kept += [volume, g4.G4PVPlacement(None, at, volume, slab.material, world, False, slab.layer, False)]
            if slab.sensitive:
                self.sensitive.append(volume)
        return placed

    def ConstructSDandField(self) -> None:
        self.silicon = _Silicon()
        g4.G4SDManager.GetSDMpointer().AddNewDetector(self.silicon)
        for volume in self.sensitive:
            self.SetSensitiveDetector(volume, self.silicon)


def _material(name: str, material: Material) -> Any:
    nist = g4.G4NistManager.Instance()
    if material.geant4 is not None:
        return nist.FindOrBuildMaterial(material.geant4)
    mixture = g4.G4Material(name, material.density * g4.g / g4.cm3, len(material.composition))
    for element, fraction in material.composition.items():
        mixture.AddElement(nist.FindOrBuildElement(element), fraction)
    return mixture


class _Silicon(g4.G4VSensitiveDetector):
    """Appends deposit, middle and time of every step to one flat buffer: the only Python called for each step."""

    def __init__(self) -> None:
        super().__init__("silicon")
        self.steps = array("d")

    def ProcessHits(self, step: Any, history: Any) -> bool:
        deposit = step.GetTotalEnergyDeposit()
        if deposit > 0.0:
            before = step.GetPreStepPoint()
            a, b = before.GetPosition(), step.GetPostStepPoint().GetPosition()
            middle = (0.5 * (a.x + b.x), 0.5 * (a.y + b.y), 0.5 * (a.z + b.z))
            self.steps.extend((deposit, *middle, before.GetGlobalTime()))
        return True


class _Gun(g4.G4VUserPrimaryGeneratorAction):
    """Shoots the loaded particles one after the other and notes where the steps of each begin."""

    def __init__(self) -> None:
        super().__init__()
        self.gun = g4.G4ParticleGun(1)

    def load(self, at_face: AtFace, seeds: NDArray, shift: float, silicon: _Silicon) -> None:
        table = g4.G4ParticleTable.GetParticleTable()
        kinds = {int(code): table.FindParticle(int(code)) for code in np.unique(at_face.pdg)}
        self.silicon, self.starts = silicon, list[int]()
        columns = (at_face.pdg, at_face.position, at_face.momentum * 1e3, at_face.time, seeds)
        rows = zip(*(column.tolist() for column in columns))
        self.queue = ((kinds[pdg], x, y, z - shift - _START, p, time, s) for pdg, (x, y, z), p, time, s in rows)

    def GeneratePrimaries(self, event: Any) -> None:
        kind, x, y, z, momentum, time, seeds = next(self.queue)
        g4.G4Random.setTheSeeds([*seeds, 0])  # zero ends the list
        self.starts.append(len(self.silicon.steps))
        p, m = np.linalg.norm(momentum), kind.GetPDGMass()
        self.gun.SetParticleDefinition(kind)
        self.gun.SetParticlePosition(g4.G4ThreeVector(x, y, z))
        self.gun.SetParticleTime(time)
        self.gun.SetParticleMomentumDirection(g4.G4ThreeVector(*momentum).unit())
        self.gun.SetParticleEnergy(float(np.hypot(p, m) - m))
        self.gun.GeneratePrimaryVertex(event)


class _Actions(g4.G4VUserActionInitialization):
    def __init__(self, gun: _Gun):
        super().__init__()
        self.gun = gun

    def Build(self) -> None:
        self.SetUserAction(self.gun)
