"""What the card of a model says of its quality, and whether a generator is experimental."""

import json

import pytest

from gen2reco.errors import InputError
from gen2reco.flow.model_cards import not_validated, write_judgement
from gen2reco.generate.hadronize.load import GenerationConfig, experimental
from gen2reco.generate.learned import RELEASE
from gen2reco.run.model_folder import CARD, EVALUATION, open_model

ROWS = [
    {"name": "events/auc_event", "value": 0.5482, "uncertainty": 0.0128, "floor": 0.5313, "n": 1000},
    {"name": "events/separation_n", "value": 0.001, "uncertainty": 0.0005, "floor": 0.0008, "n": 10000},
    {"name": "events/w1_n", "value": None, "uncertainty": None, "n": 3},
    {"name": "events/mean_n", "value": -0.00384, "uncertainty": 0.00421},
]
OTHERS = {
    "as trained": "# T\n\nTrained on 3.\n{}\n\n## Training data\n\n- `a`.\n\nDigest: `ab`\n",
    "of an earlier training": "# T\n\nTrained on 3. **Not validated**: compare it with\nits reference by `x` before "
    "use, and write the numbers here.\n\nDigest: `ab`\n",
    "of its own": "# T\n\nBy hand.\n",
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_judged_card_holds_what_was_measured_once(what, tmp_path):
    (tmp_path / CARD).write_text(OTHERS[what].format(not_validated("gen2reco validate")))
    for sample in ("first", "held_out"):
        write_judgement(tmp_path, sample, ROWS)
    card = (tmp_path / CARD).read_text()
    assert "Not validated" not in card and card.startswith("# T\n")
    assert card.count("## On held-out events") == 1 and "Sample `held_out`" in card and "Sample `first`" not in card
    assert "| events/auc_event | 0.5482 | 0.0128 | 0.5313 | 1,000 |\n" in card
    assert "| events/mean_n | -0.00384 | 0.00421 | – | – |" in card
    assert "separation_n |" not in card and "w1_n |" not in card
    assert ("Digest: `ab`" in card) == ("Digest" in OTHERS[what])
    assert card.rstrip().endswith("Digest: `ab`") == ("Digest" in OTHERS[what])


@pytest.mark.parametrize(
    ("evaluation", "said"),
    [
        (None, "not validated"),
        ({"sample": {}, "metrics": [{"name": "events/auc_event", "value": 0.7, "n": 2000}]}, "AUC 0.70 of 2000"),
        ({"sample": {}, "metrics": [{"name": "events/auc_event", "value": 0.6, "n": 2000}]}, ""),
        ({"sample": {}, "metrics": []}, ""),
    ],
)
def test_a_generator_is_experimental_until_it_is_judged_and_told_apart_by_little(evaluation, said, tmp_path):
    config = GenerationConfig.model_validate(
        open_model(RELEASE / "ee_qq_91", "generation").config | {"experimental": "not validated"}
    )

    class Opened:
        folder = tmp_path

    if evaluation is not None:
        (tmp_path / EVALUATION).write_text(json.dumps(evaluation))
    found = experimental(Opened(), config)
    assert said in found and bool(said) == bool(found)


def test_a_damaged_evaluation_is_one_line(tmp_path):
    config = GenerationConfig.model_validate(open_model(RELEASE / "ee_qq_91", "generation").config)
    (tmp_path / EVALUATION).write_text("{")

    class Opened:
        folder = tmp_path

    with pytest.raises(InputError, match="damaged"):
        experimental(Opened(), config)
