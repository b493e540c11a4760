"""Names, ids and columns of actions."""

from __future__ import annotations

import numpy as np
import pytest

from detector.errors import UserError
from detector.labels import COMMON_AVA_ACTIONS, load_labels, read_label_csv


def test_ava_has_eighty_actions_and_sixty_count():
    ava = load_labels("ava")
    assert len(ava) == 80
    assert sum(action.evaluated for action in ava) == 60
    assert [action.id for action in ava] == list(range(1, 81))
    assert ava[ava.column_of_id[12]].name == "stand"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("walk", "walk"),
        ("14", "walk"),
        ("run", "run/jog"),
        ("jog", "run/jog"),
        ("bend", "bend/bow (at the waist)"),
        ("TALK TO", "talk to (e.g., self, a person, a group)"),
        ("hand wave", "hand wave"),
        ("fall", "fall down"),
    ],
)
def test_an_action_is_found_by_what_people_type(text, name):
    ava = load_labels("ava")
    assert ava[ava.find(text)].name == name


@pytest.mark.parametrize(
    ("text", "says"), [("fly", "not one of the 80"), ("hand", "fits several"), ("", "fits several")]
)
def test_an_action_that_does_not_fit_is_explained(text, says):
    with pytest.raises(UserError, match=says):
        load_labels("ava").find(text)


def test_common_actions_need_a_higher_score():
    ava = load_labels("ava")
    thresholds = ava.default_thresholds()
    assert {a.name for a in ava} >= COMMON_AVA_ACTIONS
    assert thresholds[ava.find("walk")] == np.float32(0.7)
    assert thresholds[ava.find("jump")] == np.float32(0.3)
    assert (thresholds == np.float32(0.7)).sum() == 9


def test_a_subset_keeps_ids_and_changes_columns():
    few = load_labels("ava").subset(("walk", "fall down"), "two")
    assert [a.id for a in few] == [14, 5]
    assert few.column_of_id == {14: 0, 5: 1}


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "header"), ("name,id\n", "header"), ("id,name\nx,walk\n", "line 2"), ("id,name\n1,walk\n1,run\n", "line 3")],
)
def test_a_broken_label_file_is_named_with_its_line(text, says):
    with pytest.raises(UserError, match=says):
        read_label_csv(text, "mine.csv")


def test_unknown_label_sets_list_the_known_ones():
    with pytest.raises(UserError, match="ava"):
        load_labels("nothing")
