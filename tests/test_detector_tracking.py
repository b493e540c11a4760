"""Tracks of people whose true positions are ramps worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from detector.tracking import Tracker
from detector.types import Boxes


def walker(time_s: float, speed: float = 60.0, x: float = 0.0, y: float = 100.0) -> list[float]:
    """A 30x80 person who walks to the right at `speed` pixels a second."""
    return [x + speed * time_s, y, x + speed * time_s + 30, y + 80]


def seen(*people: list[float]) -> Boxes:
    return Boxes(np.array(people, np.float32).reshape(-1, 4), np.full(len(people), 0.9))


def irregular_times(count: int, seed: int = 0) -> np.ndarray:
    """Moments 100 to 500 ms apart."""
    return np.cumsum(np.random.default_rng(seed).uniform(0.1, 0.5, count))


def test_nobody_at_all():
    tracker = Tracker()
    assert len(tracker.predict(1.0)) == len(tracker.boxes_at(1.0)) == 0
    for t in (0.0, 0.3, 0.9):
        assert len(tracker.update(Boxes.empty(), t)) == 0
    assert len(tracker.predict(1.0)) == len(tracker.boxes_at(0.5)) == 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("speed", [0.0, 60.0, -120.0])
def test_ids_stay_at_irregular_intervals(seed, speed):
    tracker = Tracker()
    ids = [
        tracker.update(seen(walker(t, speed, 400), walker(t, 0, 400, 300)), t).track_id.tolist()
        for t in irregular_times(20, seed)
    ]
    assert ids[0] == [-1, -1]  # seen once: might be a mistake of the detector
    assert all(pair == ids[1] for pair in ids[1:])
    assert sorted(ids[1]) == [1, 2]


def test_the_order_of_people_is_the_callers():
    tracker = Tracker()
    here, there = walker(0, 0, 0), walker(0, 0, 500)
    tracker.update(seen(here, there), 0.0)
    first = tracker.update(seen(here, there), 0.2)
    turned = tracker.update(seen(there, here), 0.4)
    assert turned.track_id.tolist() == first.track_id.tolist()[::-1]
    np.testing.assert_array_equal(turned.xyxy, seen(there, here).xyxy)


def test_two_who_pass_each_other_keep_their_ids():
    tracker = Tracker()
    ids = []
    for t in np.arange(0, 4, 0.2):
        ids.append(tracker.update(seen(walker(t, 70, 0, 100), walker(t, -70, 280, 110)), t).track_id.tolist())
    assert all(pair == ids[1] for pair in ids[1:])


def test_someone_hidden_for_a_second_keeps_the_id_and_is_not_invented_for_ever():
    tracker = Tracker(lost_after_s=2.0)
    for t in np.arange(0, 2, 0.2):
        before = tracker.update(seen(walker(t)), t)
    for t in np.arange(2.0, 3.0, 0.2):
        tracker.update(Boxes.empty(), t)
    after = tracker.update(seen(walker(3.0)), 3.0)
    assert after.track_id.tolist() == before.track_id.tolist()
    for t in np.arange(3.2, 8.0, 0.2):
        tracker.update(Boxes.empty(), t)
    assert len(tracker.predict(8.0)) == 0
    tracker.update(seen(walker(8.0)), 8.0)
    assert tracker.update(seen(walker(8.2)), 8.2).track_id.tolist() != before.track_id.tolist()


def test_people_are_drawn_where_they_are_between_updates():
    tracker = Tracker()
    for t in np.arange(0, 2.1, 0.25):
        tracker.update(seen(walker(t)), t)
    for t in (2.0, 2.1, 2.24):
        np.testing.assert_allclose(tracker.predict(t).xyxy, [walker(t)], atol=0.1)
    assert tracker.predict(2.1).track_id.tolist() == [1]


def test_whom_the_last_update_did_not_see_is_coasting():
    tracker = Tracker()
    other = np.array([300, 50, 340, 150], np.float32)
    for t in (1.0, 1.1, 1.2):
        tracker.update(Boxes(np.stack([walker(t), other]), np.ones(2)), t)
    assert tracker.predict(1.25).coasting.tolist() == [False, False]
    tracker.update(Boxes(other[None], np.ones(1)), 1.3)
    assert sorted(tracker.predict(1.35).coasting.tolist()) == [False, True]
    assert tracker.predict(1.35)[[0, 1]].clip_to((400, 400)).coasting.sum() == 1


def test_a_prediction_does_not_run_away_when_updates_stop():
    tracker = Tracker()
    for t in np.arange(0, 2.1, 0.25):
        tracker.update(seen(walker(t)), t)
    assert tracker.predict(3.9).xyxy[0, 0] < walker(3.0)[0]


@pytest.mark.parametrize(("asked_s", "people"), [(2.0, 1), (3.9, 1), (4.1, 0), (60.0, 0), (3600.0, 0)])
def test_age_counts_from_the_moment_asked_for(asked_s, people):
    tracker = Tracker(lost_after_s=2.0)
    for t in np.arange(0, 2.1, 0.25):
        tracker.update(seen(walker(t)), t)
    assert len(tracker.predict(asked_s)) == len(tracker.boxes_at(asked_s)) == people


def test_a_slow_detector_keeps_its_people_until_the_next_search_but_not_for_ever():
    tracker = Tracker(lost_after_s=2.0)
    for t in np.arange(0, 18, 3.5):
        tracker.update(seen(walker(t, 5.0)), t)
    assert [len(tracker.predict(17.5 + age_s)) for age_s in (3.4, 8.0, 9.0)] == [1, 1, 0]


def test_beginning_anew_gives_new_ids_and_keeps_the_past_apart():
    tracker = Tracker()
    for t in np.arange(0, 2, 0.2):
        tracker.update(seen(walker(t, 0), walker(t, 0, 500)), t)
    tracker.begin_anew(3.0)
    assert len(tracker.predict(3.0)) == len(tracker.boxes_at(3.0)) == len(tracker.boxes_at(2.9)) == 0
    assert tracker.update(seen(walker(3, 0)), 3.0).track_id.tolist() == [-1]
    assert len(tracker.predict(3.1)) == 0
    assert tracker.update(seen(walker(3, 0)), 3.2).track_id.tolist() == [3]
    assert tracker.predict(3.3).track_id.tolist() == [3]
    assert tracker.boxes_at(3.1).track_id.tolist() == [3]
    # Before the cut stand those from before it, in it nobody.
    assert sorted(tracker.boxes_at(1.0).track_id.tolist()) == [1, 2]
    assert len(tracker.boxes_at(2.5)) == 0
    tracker.begin_anew(20.0)
    tracker.begin_anew(21.0)
    for t in (21.0, 21.2):
        last = tracker.update(seen(walker(3, 0)), t)
    assert last.track_id.tolist() == [4]
    assert len(tracker.boxes_at(1.0)) == 0  # forgotten by now


@pytest.mark.parametrize("asked_s", [0.05, 0.4, 1.0, 1.99])
def test_the_past_is_interpolated_with_the_same_ids(asked_s):
    tracker = Tracker()
    for t in [0.0, *irregular_times(12)]:
        now = tracker.update(seen(walker(t), walker(t, 0, 500)), t)
    past = tracker.boxes_at(asked_s)
    order = np.argsort(past.xyxy[:, 0])
    np.testing.assert_allclose(past.xyxy[order], [walker(asked_s), walker(asked_s, 0, 500)], atol=0.01)
    assert past.track_id[order].tolist() == now.track_id.tolist()


def test_the_past_includes_the_first_sighting_but_nothing_before_or_after():
    tracker = Tracker()
    for t in np.arange(0, 6, 0.5):
        tracker.update(seen(walker(t)) if 1.0 <= t <= 3.0 else Boxes.empty(), t)
    assert [len(tracker.boxes_at(t)) for t in (0.5, 1.0, 1.2, 2.0, 3.0, 3.4)] == [0, 1, 1, 1, 1, 0]


def test_memory_is_bounded():
    tracker = Tracker(history_s=2.0)
    for i in range(600):
        t = i * 0.1
        # Each second another person, far away from the last.
        tracker.update(seen(walker(0, 0, 1000.0 * (i // 10 % 7))), t)
    assert sum(len(path.seen) for path in tracker._paths.values()) < 60
    assert len(tracker._updates_s) < 30
    assert len(tracker.boxes_at(10.0)) == 0


def test_time_must_go_forward():
    tracker = Tracker()
    tracker.update(Boxes.empty(), 1.0)
    with pytest.raises(ValueError, match="expected later"):
        tracker.update(Boxes.empty(), 1.0)


def test_time_may_start_anywhere_and_pause():
    tracker = Tracker()
    for t in (1e6, 1e6 + 0.2, 1e6 + 0.4):
        first = tracker.update(seen(walker(0)), t)
    assert first.track_id.tolist() == [1]
    assert tracker.update(seen(walker(0)), 1e6 + 500).track_id.tolist() == [-1]


def test_a_slow_detector_gives_ids_too_but_nobody_comes_back_after_long():
    tracker = Tracker()
    ids = [tracker.update(seen(walker(t, 5.0)), t).track_id.tolist() for t in np.arange(0, 18, 3.5)]
    assert ids[0] == [-1]
    assert all(one == [1] for one in ids[1:])
    tracker.update(Boxes.empty(), 40.0)
    assert tracker.update(seen(walker(40.2, 5.0)), 40.2).track_id.tolist() == [-1]


def test_who_is_not_seen_is_not_drawn_over_whoever_stands_there():
    tracker = Tracker()
    there = [100.0, 100.0, 160.0, 300.0]
    for t in (0.0, 0.2):
        tracker.update(seen([90.0, 95.0, 170.0, 320.0], [400.0, 100.0, 460.0, 300.0]), t)
    # Of two boxes on one person the other one is told now; the person at the right is hidden for a moment.
    tracker.update(seen([90.0, 95.0, 170.0, 320.0], there, [400.0, 100.0, 460.0, 300.0]), 0.4)
    tracker.update(seen([90.0, 95.0, 170.0, 320.0], there, [400.0, 100.0, 460.0, 300.0]), 0.6)
    tracker.update(seen(there), 0.8)
    told = tracker.predict(0.8)
    assert len(told) == 2
    assert sorted(told.xyxy[:, 0].round().tolist()) == [100, 400]


def test_someone_unseen_is_told_for_little_more_than_half_a_second():
    tracker = Tracker()
    for t in np.arange(0, 1, 0.1):
        tracker.update(seen(walker(t, 0, 100), walker(t, 0, 400)), t)
    counts = []
    for t in np.arange(1, 2, 0.1):
        tracker.update(seen(walker(t, 0, 100)), t)
        counts.append(len(tracker.predict(t)))
    assert counts == [2] * 6 + [1] * 4 or counts == [2] * 5 + [1] * 5


def test_who_sways_is_not_carried_away_and_who_walks_is_carried_on():
    tracker = Tracker()
    for t in np.arange(0, 3, 0.1):
        sway = 20 * np.sin(2 * np.pi * t / 0.8)
        tracker.update(seen(walker(0, 0, 100 + sway), walker(t, 60, 300)), t)
    now, later = tracker.predict(2.9), tracker.predict(3.2)
    moved = later.xyxy[:, 0] - now.xyxy[:, 0]
    assert abs(moved[0]) < 3
    assert moved[1] == pytest.approx(18, abs=1)
