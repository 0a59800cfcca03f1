"""Process files, Pythia8 cards and event files: what is accepted, and the one line that a mistake gets."""

from pathlib import Path

import pytest

from gen2reco.config.process import (
    GunProcess,
    HepmcProcess,
    LheProcess,
    Pythia8Process,
    card_lines,
    check_unchanged,
    options_for,
    process_from,
)
from gen2reco.errors import InputError
from gen2reco.run.stage import make_backend

REPOSITORY = Path(__file__).parents[2]
PROCESSES = sorted((REPOSITORY / "configs" / "processes").glob("*.yaml"))
GUN = "kind: gun\nspecies: [22]\nenergy: [5, 100]\n"


@pytest.mark.parametrize("path", PROCESSES, ids=lambda path: path.stem)
def test_shipped_processes_make_a_backend(path):
    name, options = options_for(path, "pythia8", {})
    assert make_backend("generate", name, options).options.process == process_from(path)


def test_what_ships():
    assert {"ee_qq_91", "pp_dijet_endcap", "pp_ttbar", "gun_photon", "gun_pion"} <= {path.stem for path in PROCESSES}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.lhe", LheProcess),
        ("a.lhe.gz", LheProcess),
        ("a.hepmc", HepmcProcess),
        ("a.hepmc3.gz", HepmcProcess),
        ("a.hepmc2", HepmcProcess),
    ],
)
def test_event_files(tmp_path, name, kind):
    (tmp_path / name).write_text("anything")
    process = process_from(tmp_path / name)
    assert isinstance(process, kind)
    assert process.file == str(tmp_path / name)


def test_a_file_in_a_process_file_is_relative_to_it(tmp_path):
    (tmp_path / "hard.lhe").write_text("anything")
    (tmp_path / "p.yaml").write_text("kind: lhe\nfile: hard.lhe\n")
    assert process_from(tmp_path / "p.yaml").file == str(tmp_path / "hard.lhe")


def test_an_event_file_that_changed_is_refused(tmp_path):
    (tmp_path / "hard.lhe").write_text("anything")
    process = process_from(tmp_path / "hard.lhe")
    check_unchanged(process)
    (tmp_path / "hard.lhe").write_text("other")
    with pytest.raises(InputError, match=r"hard\.lhe: has changed since"):
        check_unchanged(process)


def test_cards(tmp_path):
    card = tmp_path / "a.cmnd"
    card.write_text(
        "! comment\n# comment\n/* long\nBeams:eCM = 1.\n*/ end\nBeams:eCM = 91.2 ! note\n"
        "UncertaintyBands:List = {\n  up fsr:muRfac=0.5,\n  down fsr:muRfac=2.0 }\n23:onMode = off\n"
    )
    assert card_lines(card) == [
        "Beams:eCM = 91.2 ! note",
        "UncertaintyBands:List = {  up fsr:muRfac=0.5,  down fsr:muRfac=2.0 }",
        "23:onMode = off",
    ]
    assert isinstance(process_from(card), Pythia8Process)


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("a.yaml", None, "no such file"),
        ("a.txt", "x", r"not a process; expected \.yaml, \.cmnd"),
        ("a.yaml.gz", "x", "not a process"),
        ("a.cmnd", "! only a comment\n", "no settings"),
        ("a.cmnd", "UncertaintyBands:List = {\n up\n", "unclosed {"),
        ("a.yaml", "kind: nothing\n", r"`kind` = 'nothing', expected one of pythia8, gun, lhe, hepmc"),
        ("a.yaml", GUN + "specis: [11]\n", r"unknown key `specis`; did you mean `species`"),
        ("a.yaml", GUN.replace("[5, 100]", "[100, 5]"), r"`energy` = \[100.0, 5.0\], expected \[low, high\]"),
        ("a.yaml", GUN.replace("[5, 100]", "[-5, 100]"), r"greater than 0"),
        ("a.yaml", GUN.replace("[5, 100]", "[.nan, 100]"), r"finite number|greater than 0"),
        ("a.yaml", GUN + "separation: [3, 30]\n", "`separation` needs `start_z`"),
        ("a.yaml", GUN + "start_z: 3000\nradius: [0, 3]\n", "one or the other"),
        ("a.yaml", GUN.replace("[22]", "[]"), "at least 1 item"),
        ("a.yaml", "kind: lhe\nfile: none.lhe\n", r"none\.lhe: cannot be read"),
        ("a.yaml", "kind: pythia8\nsettings: []\n", "at least 1 item"),
    ],
)
def test_mistakes_are_one_line(tmp_path, name, text, match):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=match) as caught:
        process_from(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value) or "none.lhe" in str(caught.value)


def test_a_folder_is_no_process(tmp_path):
    (tmp_path / "a.yaml").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        process_from(tmp_path / "a.yaml")


@pytest.mark.parametrize(("backend", "expected"), [("pythia8", "gun"), ("gun", "gun"), ("ml", "ml")])
def test_the_kind_chooses_the_backend(tmp_path, backend, expected):
    (tmp_path / "gun.yaml").write_text(GUN)
    name, options = options_for(tmp_path / "gun.yaml", backend, {"process": {"particles": 3}})
    assert name == expected
    assert GunProcess.model_validate(options["process"]).particles == 3


def test_a_backend_of_another_kind_is_refused(tmp_path):
    (tmp_path / "gun.yaml").write_text(GUN)
    with pytest.raises(InputError, match="kind `gun`, which backend `lhe` does not take"):
        options_for(tmp_path / "gun.yaml", "lhe", {})
