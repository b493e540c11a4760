"""Labels that can be read: by the times that the test hands in; no scores of a network."""

from itertools import pairwise

import numpy as np
import pytest

from detector.labels import Action, LabelMap
from detector.steady import SteadyLabels, SteadyRules

LABELS = LabelMap("four", (Action(1, "sit", "pose"), Action(2, "stand", "pose"), Action(3, "fall", "pose"),
                           Action(4, "wave", "object")))
SIT, STAND, FALL, WAVE = range(4)
RULES = SteadyRules(smooth_s=0, on_s=0.2, off_share=0.5, off_s=1.0, least_s=0.6, lead=0.2)


def row(**scores):
    return np.array([scores.get(action.name, 0.0) for action in LABELS], np.float32)


def told(rows, every_s=0.2, rules=RULES, thresholds=0.5):
    """What is said at each of the answers about one person."""
    steady = SteadyLabels(LABELS, np.full(4, thresholds, np.float32), rules)
    return [steady.step(every_s * i, [7], scores[None])[0] for i, scores in enumerate(rows)]


def changes(said):
    return sum(a != b for a, b in pairwise(said))


def test_two_poses_that_take_turns_on_top_do_not_flicker():
    rows = [row(sit=0.62, stand=0.58) if i % 2 else row(sit=0.56, stand=0.64) for i in range(40)]
    assert changes(told(rows)) == 0
    assert set(told(rows)) == {(STAND,)}


def test_poses_exclude_one_another_and_hands_do_not():
    assert told([row(sit=0.9, stand=0.8, wave=0.7)] * 3)[-1] == (SIT, WAVE)


@pytest.mark.parametrize(("every_s", "told_after_s"), [(0.1, 0.1), (0.2, 0.0), (1.0, 0.0)])
def test_a_fall_is_told_at_once_when_answers_are_rare_and_a_moment_later_when_they_are_not(every_s, told_after_s):
    before = [row(stand=0.9)] * 20
    said = told([*before, *[row(fall=0.9)] * 10], every_s)
    first = next(i for i, columns in enumerate(said) if columns == (FALL,))
    assert (first - len(before)) * every_s == pytest.approx(told_after_s)


def test_one_answer_that_says_otherwise_changes_nothing_at_ten_a_second():
    rows = [row(stand=0.9)] * 10 + [row(fall=0.95)] + [row(stand=0.9)] * 10
    assert set(told(rows, 0.1)) == {(STAND,)}


def test_another_pose_has_to_lead_by_enough():
    assert told([row(stand=0.7)] * 5 + [row(stand=0.7, sit=0.85)] * 10)[-1] == (STAND,)
    assert told([row(stand=0.7)] * 5 + [row(stand=0.7, sit=0.95)] * 10)[-1] == (SIT,)


def test_a_pose_stays_for_the_least_duration():
    said = told([row(stand=0.9)] * 3 + [row(sit=0.9)] + [row(fall=0.9)] * 5, rules=RULES)
    times = {columns: [0.2 * i for i, c in enumerate(said) if c == columns] for columns in set(said)}
    assert times[(SIT,)] == pytest.approx([0.6, 0.8, 1.0])
    assert times[(FALL,)][0] == pytest.approx(1.2)


def test_a_label_between_its_limits_stays_and_under_the_lower_one_ends_in_time():
    assert told([row(stand=0.6)] + [row(stand=0.3)] * 30)[-1] == (STAND,)
    said = told([row(stand=0.6)] * 2 + [row(stand=0.2)] * 10)
    # Last over it at 0.2 s: gone a second later.
    assert [0.2 * i for i, columns in enumerate(said) if columns][-1] == pytest.approx(1.0)


def test_a_clip_filled_with_repeated_frames_neither_begins_nor_ends_anything():
    steady = SteadyLabels(LABELS, np.full(4, 0.5), RULES)
    assert steady.step(0.0, [7], row(fall=0.99)[None], filled=0.5) == [()]
    assert steady.step(0.2, [7], row(stand=0.9)[None]) == [(STAND,)]
    assert all(steady.step(0.2 * i, [7], row(fall=0.99)[None], filled=0.4) == [(STAND,)] for i in range(2, 12))


def test_people_are_apart_and_whoever_was_away_begins_anew():
    steady = SteadyLabels(LABELS, np.full(4, 0.5), RULES)
    both = np.stack([row(stand=0.9), row(sit=0.9)])
    assert steady.step(0.0, [1, 2], both) == [(STAND,), (SIT,)]
    assert steady.step(0.2, [2, 1], both[::-1]) == [(SIT,), (STAND,)]
    assert steady.step(9.0, [1], row(stand=0.3)[None]) == [()]


def test_somebody_without_a_track_is_judged_by_each_answer_alone_and_more_strictly():
    steady = SteadyLabels(LABELS, np.full(4, 0.5), RULES)
    rows = np.stack([row(stand=0.8, sit=0.9, wave=0.8), row(stand=0.7)])
    assert steady.step(0.0, [-1, -1], rows) == [(SIT, WAVE), ()]


def test_an_action_with_an_infinite_threshold_is_never_said_and_stands_in_nobodys_way():
    thresholds = np.array([np.inf, 0.5, 0.5, 0.5])
    steady = SteadyLabels(LABELS, thresholds, RULES)
    assert [steady.step(0.2 * i, [1], row(sit=0.99, stand=0.6)[None])[0] for i in range(3)] == [(STAND,)] * 3


def test_nobody_is_an_ordinary_case():
    assert SteadyLabels(LABELS, np.full(4, 0.5)).step(0.0, [], np.zeros((0, 4))) == []


def test_after_a_new_beginning_time_may_start_again():
    steady = SteadyLabels(LABELS, np.full(4, 0.5), RULES)
    steady.step(50.0, [1], row(stand=0.9)[None])
    steady.begin_anew()
    assert steady.step(0.0, [1], row(sit=0.9)[None]) == [(SIT,)]


def test_other_thresholds_end_at_once_what_is_under_them():
    steady = SteadyLabels(LABELS, np.full(4, 0.5), RULES)
    steady.step(0.0, [1, 2], np.stack([row(stand=0.9), row(sit=0.99)]))
    steady.thresholds = np.full(4, 0.95)
    assert steady.step(0.2, [1, 2], np.stack([row(stand=0.9), row(sit=0.99)])) == [(), (SIT,)]
