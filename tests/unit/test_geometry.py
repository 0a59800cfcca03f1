"""Cells, depths, weights and true energies of the reference detector."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen2reco.config.block import load_block, parse_block
from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry, decode, encode
from gen2reco.errors import InputError
from gen2reco.events.truth import charge, incident_energy

HGCAL = "configs/detectors/hgcal.yaml"


@pytest.fixture(scope="module")
def geometry(request) -> Geometry:
    return Geometry(load_block(request.config.rootpath / HGCAL, Detector))


index = st.integers(-(2**15), 2**15 - 1)


@given(st.sampled_from([-1, 1]), st.integers(1, 255), index, index)
def test_cell_ids_come_back(side, layer, ix, iy):
    cell = encode(side, layer, ix, iy)
    assert cell.dtype == np.uint64
    assert tuple(int(v) for v in decode(cell)) == (side, layer, ix, iy)


def test_cells_are_all_different_and_lie_in_their_annulus(geometry):
    total = 2 * int(geometry.n_cells.sum())
    number = np.unique(
        np.concatenate([np.arange(1000), np.random.default_rng(1).integers(0, total, 50_000), [total - 1]])
    )
    cells = geometry.nth_cell(number)
    assert len(np.unique(cells)) == len(number)
    side, layer, ix, iy = decode(cells)
    assert geometry.exists(layer, ix, iy).all()
    x, y, z = geometry.position(cells)
    eta = np.arcsinh(np.abs(z) / np.hypot(x, y))
    assert eta.min() >= 1.5 and eta.max() <= 3.0
    assert (np.sign(z) == side).all()
    assert np.array_equal(geometry.index(x), ix) and np.array_equal(geometry.index(y), iy)


def test_number_of_cells_is_the_area_of_the_annulus(geometry):
    area = np.pi * (geometry.r_max**2 - geometry.r_min**2) / geometry.detector.cell_size**2
    assert geometry.n_cells == pytest.approx(area, rel=2e-3)


def test_no_cell_outside_the_layers_or_the_annulus(geometry):
    assert not geometry.exists([0, 48, 1, 1], [50, 50, 0, 400], [50, 50, 0, 0]).any()


def test_depths_and_weights_of_the_hgcal_stack(geometry):
    assert geometry.n_layers == 47 and geometry.electromagnetic.sum() == 26
    assert (np.diff(geometry.z) > 0).all() and geometry.z[0] > 3200.0
    assert (
        24.0 < geometry.depth_in("radiation_length")[25] < 27.0
    )  # CMS-TDR-019: 25-27 X0, 1.3-1.7 lambda, 8.5-10 lambda
    assert 1.3 < geometry.depth_lambda[25] < 1.7
    assert 8.5 < geometry.depth_lambda[-1] < 10.0
    assert geometry.dedx[26:].min() > 3 * geometry.dedx[:25].max()
    assert geometry.gev_per_mip == pytest.approx(geometry.dedx * geometry.detector.digitisation.em_scale)


def test_a_weight_is_half_the_loss_on_either_side(geometry):
    materials = geometry.detector.materials
    loss = dict.fromkeys(range(1, 48), 0.0)
    for slab in geometry.slabs:
        loss[slab.layer] += 0.0 if slab.sensitive else slab.thickness * materials[slab.material].mip_loss / 1e3
    assert geometry.dedx[25] == pytest.approx((loss[26] + loss[27]) / 2)
    assert geometry.dedx[46] == pytest.approx(loss[47])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell_size": -1.0}, "cell_size"),
        ({"cellsize": 10.0}, "did you mean `cell_size`"),
        ({"eta_min": 3.5}, "eta_min < eta_max"),
        ({"module": {"silicon": {"material": "unobtainium", "thickness": 0.3}}}, "unknown material `unobtainium`"),
        ({"materials": {"silicon": {"radiation_length": 1, "interaction_length": 1, "mip_loss": 1}}}, "geant4"),
    ],
)
def test_a_wrong_detector_is_refused_in_one_line(geometry, change, message):
    data = geometry.detector.model_dump(mode="json") | change
    with pytest.raises(InputError, match="(?s)" + message.replace("(", r"\(")) as error:
        parse_block(data, Detector, "detector.yaml")
    assert str(error.value).startswith("detector.yaml: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("pdg", "expected"),
    [
        (22, 10.0),
        (11, 10.0),
        (-211, 10.0),
        (130, 10.0),
        (13, 10.0),
        (2212, 10.0 - 0.93827209),
        (2112, 10.0 - 0.93956542),
        (-2212, 10.0 + 0.93827209),
        (-2112, 10.0 + 0.93956542),
        (3122, 10.0 - 0.9389187),
        (1000010020, 10.0 - 2 * 0.9389187),
        (-14, 0.0),
    ],
)
def test_true_energy(pdg, expected):
    assert incident_energy([pdg], [10.0])[0] == pytest.approx(expected, abs=1e-6)


def test_charges_and_kinds_follow_the_pdg_code():
    pdg = np.array([[22, 11, -11], [2212, -2212, 3334]])
    assert charge(pdg).tolist() == [[0, -1, 1], [1, -1, -1]]
    assert charge(np.zeros(0, int)).shape == (0,)
