"""What a browser sends is checked; what a visitor chose decides what is shown."""

from __future__ import annotations

import numpy as np
import pytest
from demo_fakes import LABELS, MODEL

from demo.choices import Choices, read_choices
from detector.errors import UserError
from detector.types import Boxes
from stream.results import Status, Update

DEFAULT = Choices("a", 0.8)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Choices("a", 0.8)),
        ({"model": "b", "person": 1, "action": 0}, Choices("b", 1.0, 0.0)),
        ({"action": None, "actions": ["walk"], "display": "synced"}, Choices("a", 0.8, None, ("walk",), "synced")),
    ],
)
def test_what_is_not_given_is_the_default(given, expected):
    assert read_choices(given, ("a", "b"), DEFAULT) == expected


@pytest.mark.parametrize(
    "given",
    [
        {"model": "../etc/passwd"}, {"model": 3}, {"person": 1.01}, {"person": "0.5"}, {"person": True},
        {"person": float("nan")}, {"action": -0.1}, {"action": []}, {"actions": "walk"}, {"actions": [1]},
        {"actions": ["walk"] * 1001}, {"display": "mirror"}, {"display": None},
    ],
)
def test_what_is_out_of_range_is_refused_in_one_line(given):
    with pytest.raises(UserError) as error:
        read_choices(given, ("a", "b"), DEFAULT)
    assert "\n" not in str(error.value)


def test_thresholds_are_the_recommended_ones_or_one_for_all():
    # `stand` is not among the nine common actions, `walk` and `sit` are.
    np.testing.assert_allclose(Choices().thresholds(LABELS), [0.3, 0.7, 0.7])
    np.testing.assert_allclose(Choices(action_threshold=0.25).thresholds(LABELS), [0.25] * 3)


def test_actions_that_are_not_wanted_reach_no_threshold():
    limits = Choices(action_threshold=0.5, actions=("sit",)).thresholds(LABELS)
    assert np.isinf(limits[:2]).all()
    assert limits[2] == 0.5


def test_an_unknown_action_is_refused():
    with pytest.raises(UserError, match="fly"):
        Choices(actions=("fly",)).thresholds(LABELS)


def test_people_below_the_visitors_threshold_are_left_out():
    boxes = Boxes(np.arange(12).reshape(3, 4), np.array([0.9, 0.5, 0.7]), np.array([1, 2, 3]))
    update = Update(None, 0.0, boxes, np.arange(9, dtype=np.float32).reshape(3, 3), Status(), MODEL)
    kept = Choices(person_threshold=0.7).keep_people(update)
    assert kept.boxes.track_id.tolist() == [1, 3]
    assert kept.scores.tolist() == [[0, 1, 2], [6, 7, 8]]
    assert Choices(person_threshold=0.1).keep_people(update) is update
