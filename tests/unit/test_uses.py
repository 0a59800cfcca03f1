"""What a candidate may be used for: each answer, the number that decides it, and the events that it takes to tell."""

import json
import math
from dataclasses import dataclass, field

import pytest

from gen2reco.config.validation import Validation
from gen2reco.statistics.measured import Measured
from gen2reco.validate.ruler import Ruler
from gen2reco.validate.sections import Part, Section
from gen2reco.validate.uses import answers


@dataclass
class Held:
    """A sample as far as answers look at one."""

    name: str
    shards: dict = field(default_factory=lambda: {"hits": [], "objects": []})

    def number(self, record, most):
        return 200


def jets(*numbers, counts=(500, 400)):
    """A section of objects with headline numbers of jets: (name, value, error, floor or None, limit)."""
    ruler = Ruler("objects", ("reference", "learned"), Validation())
    metrics = [
        ruler.metric(f"jets/{name}", name, Measured(value, error, floor or math.nan, 0.0), 400, (limit, 3 * limit),
                     above_floor=floor is not None, headline=True)
        for name, value, error, floor, limit in numbers
    ]  # fmt: skip
    part = Part("jets", "Jets", list(counts), [], metrics)
    return Section("objects", "Objects", [part], ["reference", "learned"])


@pytest.mark.parametrize(
    ("numbers", "answer", "decides", "events"),
    [
        ([("auc", 0.52, 0.02, None, 0.6), ("shift_response", 0.009, 0.004, None, 0.01)], "yes", "shift_response", None),
        ([("auc", 0.52, 0.02, None, 0.6), ("shift_response", -0.03, 0.009, None, 0.01)], "no", "shift_response", None),
        ([("auc", 0.80, 0.02, None, 0.6), ("shift_response", -0.03, 0.009, None, 0.01)], "no", "auc", None),
        ([("w1", 0.30, 0.02, 0.1, 0.1)], "no", "w1", None),
        ([("w1", 0.19, 0.02, 0.1, 0.1)], "yes", "w1", None),
        # beyond within its error: until the error is half the distance, here 0.05
        ([("shift_resolution", 0.15, 0.10, None, 0.05)], "cannot tell", "shift_resolution", 800),
        # at its limit: a quarter of the limit is as fine as anybody asks
        ([("shift_resolution", 0.0501, 0.05, None, 0.05)], "cannot tell", "shift_resolution", 3200),
        # within, but not known as well as the limit asks
        ([("shift_resolution", 0.01, 0.20, None, 0.05)], "cannot tell", "shift_resolution", 3200),
        # of several the one that takes most; an area under a curve is one half where nothing differs
        ([("auc", 0.5, 0.2, None, 0.6), ("w1", 0.1, 0.3, 0.0, 0.1)], "cannot tell", "w1", 1800),
        ([("shift_response", 0.0, 5.0, None, 0.01)], "cannot tell", "shift_response", math.inf),
        ([("auc", math.nan, math.nan, None, 0.6)], "cannot tell", "auc", 20),
    ],
)
def test_the_answer_of_a_use(numbers, answer, decides, events):
    (found,) = answers([Held("reference"), Held("learned")], [jets(*numbers)], Validation())
    assert (found.use.name, found.answer, found.metric.title, found.events) == ("jets", answer, decides, events)
    stated = found.as_json()
    json.dumps(stated, allow_nan=False)
    assert stated["events_needed"] == (events if events and events < math.inf else None)
    assert ("needs" in found.text) == (answer == "cannot tell")


def test_a_number_within_its_error_of_the_limit_is_never_a_no():
    for value in (0.01, 0.011, 0.02, 0.05):
        (found,) = answers(
            [Held("reference"), Held("learned")],
            [jets(("shift_response", value, (value - 0.01) / 1.99 + 1e-9, None, 0.01))],
            Validation(),
        )
        assert found.answer != "no"


@pytest.mark.parametrize(
    ("candidate", "section", "answer", "why"),
    [
        (Held("learned", {"hits": []}), jets(), "no", "makes no objects"),
        (Held("raw"), jets(), "yes", "the same objects as reference"),
        (Held("learned"), jets(counts=(5, 4)), "cannot tell", "too few to measure: 4"),
    ],
)
def test_without_a_number(candidate, section, answer, why):
    (found,) = answers([Held("reference"), candidate], [section], Validation())
    assert (found.answer, found.why, found.metric) == (answer, why, None)
    assert found.events == (2000 if answer == "cannot tell" else None)


def test_what_the_samples_have_nothing_of_is_not_asked():
    assert answers([Held("reference"), Held("learned")], [jets(counts=(0, 0))], Validation()) == []
