"""The calibration network as ONNX, for use outside Python: `onnxruntime` gives the same numbers."""

from pathlib import Path

import torch

from gen2reco.calibrate.network import LOG_SHARE, Answer, CalibrationNetwork
from gen2reco.calibrate.predict import KIND, load_network
from gen2reco.errors import InfrastructureError
from gen2reco.files import whole
from gen2reco.run.model_folder import open_model

INPUTS = ("calorimeter", "track", "points", "place", "mask")


def export_onnx(folder: Path | str, output: Path | str) -> None:
    """Write the network of a calibration model folder as an ONNX file.

    Inputs are those of `CalibrationNetwork.forward`, outputs the fields of `Answer`; the numbers of candidates and of
    points are free. Raises InputError for no such model, InfrastructureError where ONNX is not installed.
    """
    network = load_network(open_model(folder, KIND))
    example = example_inputs(network, 3, 7)
    free = {name: {0: "candidates", **({1: "points_each"} if name in INPUTS[2:] else {})} for name in INPUTS}
    free |= {name: {0: "candidates"} for name in Answer._fields}
    names = {"input_names": INPUTS, "output_names": Answer._fields, "dynamic_axes": free}
    try:
        with whole(Path(output)) as temporary:
            torch.onnx.export(network, example, str(temporary), dynamo=False, **names)
    except ImportError as error:
        raise InfrastructureError(f"ONNX export needs the onnx package: {error}; pip install onnx") from None


def example_inputs(network: CalibrationNetwork, n: int, points: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Random inputs of n candidates with that many points."""
    noise, sizes = torch.Generator().manual_seed(seed), network.sizes
    shapes = [(n, sizes.calorimeter), (n, sizes.track), (n, points, sizes.points), (n, points, 2)]
    mask = (torch.rand(n, points, generator=noise) < 0.7).float()
    drawn = [torch.randn(shape, generator=noise) for shape in shapes]
    drawn[2][..., LOG_SHARE] = drawn[2][..., LOG_SHARE].log_softmax(1)
    return (*drawn, mask)
