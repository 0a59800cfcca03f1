"""Model folders: what is saved comes back, and anything else is refused in one line."""

import json

import numpy as np
import pytest

from gen2reco.errors import InputError
from gen2reco.run.model_folder import open_model, save_model

WEIGHTS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float32)}


@pytest.fixture
def model(tmp_path):
    return save_model(tmp_path / "m", "calibration", {"width": 8}, {"geometry": "abc"}, WEIGHTS, "# Card")


def test_a_model_comes_back(model):
    again = open_model(model.folder, "calibration", model.digest)
    assert again == model and again.config == {"width": 8} and again.pins == {"geometry": "abc"}
    assert all(np.array_equal(again.weights()[name], value) for name, value in WEIGHTS.items())
    assert (model.folder / "card.md").read_text() == f"# Card\n\nDigest: `{model.digest}`\n"
    assert sorted(p.name for p in model.folder.iterdir()) == ["card.md", "config.json", "weights.safetensors"]


def test_the_digest_follows_the_content(model, tmp_path):
    same = save_model(tmp_path / "n", "calibration", {"width": 8}, {"geometry": "abc"}, WEIGHTS, "# Another card")
    other = save_model(tmp_path / "o", "calibration", {"width": 8}, {"geometry": "abd"}, WEIGHTS, "# Card")
    assert same.digest == model.digest != other.digest


def cut(folder):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:50])


@pytest.mark.parametrize(
    ("spoil", "text"),
    [
        (lambda f: (f / "config.json").unlink(), "config.json is missing"),
        (lambda f: (f / "weights.safetensors").unlink(), "weights.safetensors is missing"),
        (lambda f: (f / "config.json").write_text("{"), "damaged model"),
        (lambda f: (f / "config.json").write_text(json.dumps({"kind": "shower"})), "kind `shower`"),
        (lambda f: (f / "config.json").write_text("[]"), "kind `list`"),
        (cut, "digest is"),
    ],
)
def test_what_is_no_such_model_is_refused(model, spoil, text):
    spoil(model.folder)
    with pytest.raises(InputError, match=text):
        open_model(model.folder, "calibration", model.digest)


def test_damaged_weights_are_refused(model):
    cut(model.folder)
    with pytest.raises(InputError, match="damaged weights"):
        open_model(model.folder, "calibration").weights()


def test_weights_of_a_training_that_diverged_are_not_written(tmp_path):
    weights = {"a": np.array([1.0, np.nan], np.float32)}
    with pytest.raises(InputError, match="`a` holds NaN or infinity"):
        save_model(tmp_path / "m", "calibration", {}, {}, weights, "# Card")
    assert not (tmp_path / "m").exists()


def test_pins_name_both_digests(model):
    model.require("hits.parquet", geometry="abc", clustering="anything")
    model.require("hits.parquet", geometry=None)
    with pytest.raises(InputError, match=r"hits.parquet: geometry is xyz, .* geometry abc"):
        model.require("hits.parquet", geometry="xyz")
