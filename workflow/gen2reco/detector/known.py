"""The detectors that ship, by the digest of their geometry, and how two detectors differ in words."""

from pathlib import Path

from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.errors import InputError

DETECTORS = Path(__file__).parents[3] / "configs/detectors"


def known_detector(geometry: str) -> Detector | None:
    """The detector of that geometry digest among those of `configs/detectors`; None if none has it."""
    for file in sorted(DETECTORS.glob("*.yaml")):
        try:
            found = load_block(file, Detector)
        except InputError:
            continue
        if found.geometry_digest == geometry:
            return found
    return None


def compared(trained: Detector, used: Detector) -> tuple[str, str]:
    """Layers and cells of two detectors, and what else differs between them: `47 layers of 10 mm`, `41 of 15`."""
    own, other = _facts(trained), _facts(used)
    differ = [name for name in own if own[name] != other[name]]
    more = [", ".join(["", *(f"{name} {facts[name]}" for name in differ)]) for facts in (own, other)]
    same = differ or (trained.n_layers, trained.cell_size) != (used.n_layers, used.cell_size)
    rest = "" if same else ", of other materials or scales"
    return (
        f"{trained.n_layers} layers of {trained.cell_size:g} mm{more[0]}",
        f"{used.n_layers} of {used.cell_size:g}{more[1]}{rest}",
    )


def _facts(detector: Detector) -> dict[str, str]:
    return {
        "electromagnetic": f"{detector.n_em_layers} of them",
        "face": f"at {detector.front_face:g} mm",
        "|eta|": f"{detector.eta_min:g} to {detector.eta_max:g}",
    }
