"""What a person sees of real video, counted by hand: no network, no videos."""

import math
from pathlib import Path

import numpy as np
import pytest

from detector.evaluation.shown_labels import judge, print_shown
from detector.evaluation.watched import KeyFrame, Watched, follow
from detector.labels import load_labels
from detector.types import Boxes

LABELS = load_labels("ava").subset(("stand", "walk", "fall down", "hand wave"), "four")
STAND, WALK, FALL, WAVE = range(4)
LARGE, SMALL = [0, 0, 40, 80], [50, 0, 60, 20]


def a_key(time_s, ids=(1,), boxes=(LARGE,), scores=None):
    found = Boxes(np.array(boxes).reshape(-1, 4), np.full(len(ids), 0.9), ids)
    return KeyFrame(time_s, found, np.zeros((len(ids), 4)) if scores is None else np.array(scores), 0.0)


def judged(keys, said, segments=(("a.mp4", "walk", 0.0, 9.0),)):
    told = iter(said)
    return judge([Watched(Path("a.mp4"), 60.0, keys)], segments, LABELS, lambda: lambda key: next(told))


def test_labels_are_right_wrong_or_missed_and_nobody_boxed_is_missed():
    keys = [a_key(0.0), a_key(0.2), a_key(0.4), a_key(0.6, ids=(), boxes=())]
    shown = judged(keys, [[(WALK,)], [(STAND, WALK)], [()], []])
    assert (shown.right["walk"], shown.wrong["stand"], shown.missed["walk"]) == (2, 1, 2)
    assert shown.precision == pytest.approx(2 / 3)
    assert shown.recall == pytest.approx(2 / 4)
    assert (shown.key_frames, shown.without_box) == (4, 1)


def test_a_segment_without_boxes_is_wrong():
    sure = [[0.1, 0.9, 0.0, 0.0]]
    assert judged([a_key(0.0, scores=sure)], [[()]]).segments_right == 1
    nobody = [a_key(0.0, scores=sure), *(a_key(0.2 * i, ids=(), boxes=()) for i in range(1, 4))]
    shown = judged(nobody, [[()], [], [], []])
    assert (shown.segments, shown.segments_right) == (1, 0)


def test_the_label_is_about_the_largest_person_and_his_group_of_actions():
    keys = [a_key(0.0, (1, 2), (SMALL, LARGE))]
    assert judged(keys, [[(STAND,), (WALK, WAVE)]]).wrong.total() == 0
    waving = judged(keys, [[(), (STAND, WAVE)]], [("a.mp4", "hand wave", 0.0, 9.0)])
    assert (waving.right["hand wave"], waving.wrong.total()) == (1, 0)


def test_changes_are_those_of_one_track_in_clips_of_one_action():
    keys = [a_key(0.2 * i, (1 if i < 4 else 2,)) for i in range(6)]
    said = [[(WALK,)], [(STAND,)], [(STAND,)], [(WALK,)], [(STAND,)], [(STAND,)]]
    shown = judged(keys, said)
    assert shown.changes == 2
    assert shown.steady_s == pytest.approx(0.8)
    assert shown.figures()["changes_a_minute"] == pytest.approx(150)
    first = judged(keys[:3], [[()], [(WALK,)], [()]])
    assert first.changes == 1
    two = (("a.mp4", "walk", 0.0, 0.5), ("a.mp4", "stand", 0.6, 9.0))
    assert judged(keys, said, two).changes == 0


def test_labels_that_begin_in_ordinary_life_are_counted_once_a_person():
    keys = [a_key(0.2 * i, (1, -1), (LARGE, SMALL)) for i in range(3)]
    shown = judged(keys, [[(FALL,), ()], [(FALL, WAVE), (FALL,)], [(), (FALL,)]], [])
    # Somebody without a track is somebody new each time.
    assert (shown.begun["fall down"], shown.begun["hand wave"]) == (3, 1)
    assert shown.begun_a_minute(("fall down",)) == pytest.approx(3)


@pytest.mark.parametrize(("said", "delay"), [([(), (FALL,), ()], 0.2), ([(), (), ()], None)])
def test_a_fall_is_told_after_so_long_or_never(said, delay):
    keys = [a_key(1.0 + 0.2 * i) for i in range(3)]
    assert judged(keys, [[s] for s in said], [("a.mp4", "fall down", 1.0, 2.0)]).delays_s == [delay]


def test_nothing_to_count_prints_and_has_no_precision(capsys):
    shown = judged([], [], [])
    assert math.isnan(shown.precision)
    print_shown("none", shown)
    assert "0 of 0" in capsys.readouterr().out


def test_people_are_followed_from_the_first_time_that_they_are_seen():
    found = [(0.2 * i, Boxes([[10 + i, 10, 50 + i, 90], [200, 10, 240, 90]], [0.9, 0.8])) for i in range(5)]
    ids = [boxes.track_id.tolist() for _, boxes in follow(found)]
    assert len(set(ids[-1])) == 2
    assert ids == [ids[-1]] * 5
