"""Model folders from anywhere: whatever their config and weights hold, a model or one line that names the file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.errors import Gen2recoError, InputError
from gen2reco.run.model_folder import keep_model, model_files, open_model
from gen2reco.run.stage import make_backend

PACKAGE = Path(__file__).resolve().parents[2] / "workflow/gen2reco"
KINDS = {
    "generation": (PACKAGE / "generate/release/pp_dijet_endcap", ["architecture", "domain", "range", "experimental"]),
    "showers": (PACKAGE / "simulate/release", ["families", "range", "quality", "pins"]),
    "fused": (PACKAGE / "fuse/release", ["sizes", "configurations", "detector", "domain", "pins"]),
    "calibration": (PACKAGE / "calibrate/release", ["sizes", "corrections", "valid_range", "pins"]),
    "jet_calibration": (PACKAGE / "calibrate/release", ["sizes", "closure", "closure_range", "pins"]),
}
"""Kind: the release model, and what of its config is used."""


@pytest.fixture(scope="module")
def detector(request) -> Detector:
    return load_block(request.config.rootpath / "configs/detectors/hgcal.yaml", Detector)


def use(kind: str, folder: Path, detector: Detector) -> None:
    """Build and load what a stage builds and loads of a model, engines left aside."""
    if kind == "generation":
        from gen2reco.generate.hadronize.load import load

        load(open_model(folder, kind))
        return
    stage, backend, more = {
        "showers": ("simulate", "ml", {"outside": "nearest"}),
        "fused": ("fuse", "fused", {"outside": "keep"}),
        "calibration": ("calibrate", "dnn", {}),
        "jet_calibration": ("calibrate", "dnn", {}),
    }[kind]
    make_backend(stage, backend, {"model": str(folder), **more}, detector).prepare()


def copied(kind: str, target: Path) -> tuple[Path, Path]:
    """A copy of the release model, and the part of it that is spoilt."""
    shutil.copytree(KINDS[kind][0], target)
    if kind == "calibration":
        shutil.rmtree(target / "jets")  # pinned to the objects
    return target, target / {"calibration": "objects", "jet_calibration": "jets"}.get(kind, "")


@pytest.mark.parametrize("kind", KINDS)
def test_release_models_load(kind, detector, tmp_path):
    use(kind, copied(kind, tmp_path / "m")[0], detector)


def nan(weights: dict) -> None:
    name = max(weights, key=lambda n: weights[n].size)
    weights[name] = weights[name].copy()
    weights[name].flat[0] = np.nan


def infinite(weights: dict) -> None:
    name = min(weights)
    weights[name] = np.full_like(weights[name], np.inf)


def other_shape(weights: dict) -> None:
    name = max(weights, key=lambda n: weights[n].size)
    weights[name] = weights[name].reshape(-1)


def whole_numbers(weights: dict) -> None:
    name = max(weights, key=lambda n: weights[n].size)
    weights[name] = weights[name].astype(np.int8)[..., :-1]


SPOILT = {
    "NaN": (nan, "holds NaN or infinity"),
    "infinity": (infinite, "holds NaN or infinity"),
    "shape": (other_shape, "weights do not fit"),
    "type": (whole_numbers, "weights do not fit"),
    "missing": (lambda w: w.pop(max(w)), "weights do not fit: Missing key"),
    "extra": (lambda w: w.update(more=np.ones(3, np.float32)), "weights do not fit: Unexpected key"),
    "none": (lambda w: w.clear(), "weights do not fit: Missing key"),
}


@pytest.mark.parametrize("spoil", SPOILT)
@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_are_no_numbers_or_do_not_fit_are_one_line(kind, spoil, detector, tmp_path):
    folder, part = copied(kind, tmp_path / "m")
    change, problem = SPOILT[spoil]
    weights = load_file(part / "weights.safetensors")
    change(weights)
    save_file(weights, part / "weights.safetensors")
    with pytest.raises(InputError, match=problem) as error:
        use(kind, folder, detector)
    assert str(part) in str(error.value)


@pytest.mark.parametrize("content", [b"", b"no", b"\xff" * 64, b"\x00" * 64, (2**62).to_bytes(8, "little") + b"{}"])
@pytest.mark.parametrize("kind", KINDS)
def test_files_that_hold_no_weights_are_one_line(kind, content, detector, tmp_path):
    folder, part = copied(kind, tmp_path / "m")
    (part / "weights.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="damaged weights"):
        use(kind, folder, detector)


VALUES = [None, True, -1, 0, 1.5, 10**9, "x", [], {}, [[]], {"x": 1}, [None], [-1, "y"], float("nan"), float("inf")]


def paths(value: object, where: tuple = (), depth: int = 3) -> list[tuple]:
    """The places of a JSON value, the first entries of its lists."""
    inner: list = []
    if isinstance(value, dict) and depth:
        inner = [(key, item) for key, item in value.items()]
    elif isinstance(value, list) and depth:
        inner = list(enumerate(value[:2]))
    return [where, *(path for key, item in inner for path in paths(item, (*where, key), depth - 1))]


def replaced(value: object, path: tuple, new: object) -> object:
    """A JSON value with another in one place."""
    if not path:
        return new
    key, rest = path[0], path[1:]
    if isinstance(value, dict):
        return {**value, key: replaced(value[key], rest, new)}
    return [replaced(item, rest, new) if i == key else item for i, item in enumerate(value)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_config_of_any_values_is_a_model_or_one_line(kind, detector, tmp_path_factory):
    folder, part = copied(kind, tmp_path_factory.mktemp("any") / "m")
    config = json.loads((part / "config.json").read_text())
    places = [(key, *path) for key in KINDS[kind][1] for path in paths(config[key])]

    @settings(max_examples=40, deadline=None, derandomize=True, database=None)
    @given(place=st.sampled_from(places), value=st.sampled_from(VALUES))
    def check(place, value):
        (part / "config.json").write_text(json.dumps(replaced(config, place, value)))
        try:
            use(kind, folder, detector)
        except Gen2recoError as error:
            assert str(part) in str(error) and "\n" not in str(error) and len(str(error)) < 2000

    check()


TEXTS = {
    "too deep": ('{"kind": ' + "[" * 100_000, "no valid JSON"),
    "NaN": ('{"kind": NaN}', "NaN is no number"),
    "too large": ('{"kind": "' + "x" * (5 << 20) + '"}', "expected at most 4"),
    "no UTF-8": (b"\xff\xfe", "cannot be read as text"),
    "a list": ("[]", "a model of kind `list`"),
    "pins": ('{"kind": "%s", "pins": {"a": 1}}', "`pins.a` = 1"),
}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_configs_that_are_none_are_one_line(kind, text, detector, tmp_path):
    folder, part = copied(kind, tmp_path / "m")
    content, problem = TEXTS[text]
    content = content if isinstance(content, bytes) else content.replace("%s", kind).encode()
    (part / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=problem) as error:
        use(kind, folder, detector)
    assert len(str(error.value)) < 1000


def link_file(folder: Path, away: Path) -> None:
    (folder / "weights.safetensors").rename(away)
    (folder / "weights.safetensors").symlink_to(away)


def link_card(folder: Path, away: Path) -> None:
    away.write_text("secret")
    (folder / "card.md").unlink()
    (folder / "card.md").symlink_to(away)


@pytest.mark.parametrize("spoil", [link_file, link_card])
def test_links_out_of_a_model_are_not_followed(spoil: Callable, tmp_path, monkeypatch):
    monkeypatch.setenv("GEN2RECO_CACHE", str(tmp_path / "cache"))
    folder, _ = copied("fused", tmp_path / "m")
    spoil(folder, tmp_path / "away")
    for read in (keep_model, model_files):
        with pytest.raises(InputError, match="is a link out of the model's folder"):
            read(folder)


@pytest.mark.parametrize("spoil", ["NaN", "infinity"])
def test_weights_that_are_no_numbers_do_not_reach_the_cache(spoil, tmp_path, monkeypatch):
    monkeypatch.setenv("GEN2RECO_CACHE", str(tmp_path / "cache"))
    folder, part = copied("jet_calibration", tmp_path / "m")
    weights = load_file(part / "weights.safetensors")
    SPOILT[spoil][0](weights)
    save_file(weights, part / "weights.safetensors")
    with pytest.raises(InputError, match="holds NaN or infinity") as error:
        keep_model(folder)
    assert str(part) in str(error.value) and not (tmp_path / "cache").exists()


def test_a_part_that_links_out_of_a_model_is_not_followed(detector, tmp_path):
    folder, part = copied("calibration", tmp_path / "m")
    part.rename(tmp_path / "away")
    part.symlink_to(tmp_path / "away")
    with pytest.raises(InputError, match="is a link out of the model's folder"):
        model_files(folder)


def test_a_link_to_a_models_folder_is_that_model(detector, tmp_path):
    folder, _ = copied("fused", tmp_path / "m")
    (tmp_path / "link").symlink_to(folder)
    assert open_model(tmp_path / "link", "fused").digest == open_model(folder, "fused").digest
