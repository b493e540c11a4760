"""After a gap nothing from before it is told or shown as now: ring, tracks, labels, live and complete."""

import itertools
import threading

import numpy as np
import pytest
from stream_fakes import Clock, FakeDetector, FakeTracker, ListSource, fake_session

from detector.tracking import Tracker
from detector.types import Boxes, Frame
from stream.gaps import FROZEN, MAX_GAP_S, Repeats, is_gap
from stream.pipeline import Options, Pipeline
from stream.ring import Ring
from stream.sources import PushSource
from stream.watching import Watch

BOUND_S = 20
GREY = np.full((48, 64, 3), 90, np.uint8)
BLACK = np.zeros((48, 64, 3), np.uint8)


def frame_at(time_s, image=GREY, segment=0, index=0):
    return Frame(image, index, time_s, time_s, segment)


class SeesLight(FakeDetector):
    """One person in every picture that is not black."""

    def detect(self, image):
        found = super().detect(image)
        return found if image.max() > 40 else Boxes.empty()


@pytest.mark.parametrize(("time_s", "segment", "gap"), [
    (1.1, 0, False), (1 + MAX_GAP_S, 0, False), (1.01 + MAX_GAP_S, 0, True), (3601, 0, True), (1.1, 1, True),
])
def test_a_gap_is_a_long_time_or_a_broken_stamp(time_s, segment, gap):
    assert is_gap(frame_at(1.0), frame_at(time_s, segment=segment)) is gap


def test_a_frozen_camera_repeats_picture_and_stamp():
    repeats = Repeats()
    assert not repeats.frozen(GREY, 5.0, 100.0)
    assert not repeats.frozen(GREY.copy(), 5.0, 100.0 + MAX_GAP_S)
    assert repeats.frozen(GREY.copy(), 5.0, 100.1 + MAX_GAP_S)
    assert not repeats.frozen(GREY, 5.04, 103.0)


@pytest.mark.parametrize("change", ["picture", "stamp", "no stamp", "size"])
def test_a_camera_that_lives_is_not_frozen(change):
    repeats = Repeats()
    for i in range(100):
        image = GREY + i % 2 if change == "picture" else GREY[:48 - i % 2] if change == "size" else GREY
        stamp_s = {"stamp": i / 10, "no stamp": None}.get(change, 5.0)
        assert not repeats.frozen(image, stamp_s, i / 10)


# ---- ring ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("after_s", "segment"), [(24.0, 0), (MAX_GAP_S + 1.0, 0), (1.0, 1)])
def test_no_clip_spans_a_gap(after_s, segment):
    ring = Ring((9, 16), 10.0)
    for i in range(10):
        ring.write(frame_at(i / 10, np.full((36, 64, 3), 50, np.uint8)))
    old = ring.newest()
    for i in range(10):
        assert ring.write(frame_at(after_s + i / 10, np.full((36, 64, 3), 200, np.uint8), segment))
    clip = ring.clip(ring.nearest(after_s + 0.2), np.array([-5.0, -0.5, 0.0, 0.5, 2.0]), 2)
    assert clip.images.min() == 200
    # The key frame from before it has lost its pictures: it gets no clip rather than another moment's.
    assert ring.clip(old, np.array([-0.1, 0.0]), 1) is None
    assert len(ring) == 10


def test_a_blink_is_no_gap():
    ring = Ring((9, 16), 10.0)
    for time_s in (0.0, 0.1, 1.5, 1.6):
        ring.write(frame_at(time_s))
    assert len(ring) == 4


# ---- what is known of people -----------------------------------------------------------------------------------------


def watching(tracker=None, detector=None, source=None):
    session, _, _ = fake_session(detector=detector)
    clock = Clock()
    return session, clock, Watch(source or ListSource([], live=True), session, Options(), tracker or Tracker(), clock)


def look(watch, times_s, image=GREY, segment=0):
    for time_s in times_s:
        frame = frame_at(time_s, image, segment)
        watch.take(frame).write(frame)
        watch.detect(frame)


@pytest.mark.parametrize(("after_s", "segment"), [(26.0, 0), (MAX_GAP_S + 2.1, 0), (2.1, 1)])
def test_whoever_comes_after_a_gap_is_somebody_new(after_s, segment):
    session, _, watch = watching()
    with session:
        look(watch, np.arange(0, 2, 0.2))
        assert watch.people_at(1.9, (48, 64), predicted=True).track_id.tolist() == [1]
        look(watch, np.arange(after_s, after_s + 1, 0.2), segment=segment)
        assert watch.people_at(after_s + 0.9, (48, 64), predicted=True).track_id.tolist() == [2]
        assert len(watch.people_at(after_s - 0.1, (48, 64))) == 0
        if after_s < 10:
            # What was before is still known to whoever asks for that moment.
            assert watch.people_at(1.1, (48, 64), predicted=True).track_id.tolist() == [1]


def test_a_black_picture_after_an_outage_has_nobody_in_it_from_the_first_on():
    session, _, watch = watching(detector=SeesLight())
    with session:
        look(watch, np.arange(0, 2, 0.2))
        black = frame_at(26.0, BLACK)
        watch.take(black)
        assert len(watch.people_at(26.0, (48, 64), predicted=True)) == 0
        assert not watch.searched
        watch.detect(black)
        assert watch.searched
        assert len(watch.people_at(26.0, (48, 64))) == len(watch.people_at(26.1, (48, 64), predicted=True)) == 0


def test_a_search_that_a_gap_overtook_is_forgotten():
    session, _, watch = watching()
    with session:
        look(watch, np.arange(0, 2, 0.2))
        old, new = frame_at(2.0), frame_at(30.0, BLACK)
        watch.take(old)
        watch.take(new)  # while the old one is being searched
        found, _ = watch.detect(old)
        assert len(found) == 1
        assert len(watch.people_at(30.0, (48, 64), predicted=True)) == 0
        assert not watch.searched


def test_somebody_seen_once_before_a_gap_is_not_there_after_it():
    session, _, watch = watching()
    with session:
        look(watch, [0.0])
        assert watch.people_at(0.5, (48, 64), predicted=True).track_id.tolist() == [-1]
        watch.take(frame_at(0.6, BLACK, segment=1))
        assert len(watch.people_at(0.6, (48, 64), predicted=True)) == 0
        look(watch, [0.7], segment=1)
        # Nor does whoever is seen after it stand there before it.
        assert len(watch.people_at(0.7, (48, 64), predicted=True)) == 1
        assert len(watch.people_at(0.5, (48, 64), predicted=True)) == 0


def test_an_answer_whose_clip_is_gone_is_none():
    session, _, watch = watching()
    with session:
        look(watch, np.arange(0, 1, 0.1))
        key = watch.ring.newest()
        assert watch.answer(key, Boxes.empty(), 0.9, 0.0) is not None
        look(watch, [40.0])
        assert watch.answer(key, Boxes.empty(), 0.9, 0.0) is None


def test_a_camera_that_comes_back_larger_has_its_people_where_they_are():
    session, _, watch = watching()
    large = np.full((96, 128, 3), 90, np.uint8)
    with session:
        look(watch, np.arange(0, 2, 0.2))
        look(watch, np.arange(30, 31, 0.2), large)
        people = watch.people_at(30.9, (96, 128), predicted=True)
        np.testing.assert_allclose(people.xyxy, [[16, 8, 48, 80]], atol=0.5)
        assert people.track_id.tolist() == [2]


def test_labels_from_before_a_gap_are_not_shown_after_it():
    session, _, watch = watching()
    with session:
        look(watch, np.arange(0, 2, 0.1))
        key = watch.ring.at_or_before(1.5)
        watch.answer(key, watch.people_at(1.5, (48, 64)), 1.5, 0.0)
        shown = watch.update(frame_at(1.9), (), predicted=True)
        assert not np.isnan(shown.scores).any()
        look(watch, np.arange(5, 5.5, 0.1))
        after = watch.update(frame_at(5.4), (), predicted=True)
        assert len(after.boxes) == 1
        assert np.isnan(after.scores).all()


def test_the_last_picture_shown_again_loses_its_people_after_a_while():
    session, _, watch = watching()
    with session:
        look(watch, np.arange(0, 2, 0.2))
        last = frame_at(1.9)
        counts = [len(watch.update(last, (), predicted=True, time_s=1.9 + s).boxes) for s in (0.5, MAX_GAP_S, 2.1, 24)]
        assert counts == [1, 1, 0, 0]


# ---- whole pipelines -------------------------------------------------------------------------------------------------


def gapped(before, after, gap_s, after_grey=0):
    """Grey pictures, ten a second, then others `gap_s` later."""
    first = [frame_at(i / 10, GREY, index=i) for i in range(before)]
    start_s = (before - 1) / 10 + gap_s
    image = np.full((48, 64, 3), after_grey, np.uint8)
    return first, [frame_at(start_s + i / 10, image, index=before + i) for i in range(after)]


@pytest.mark.parametrize("gap_s", [24.0, 5.0, 90.0])
def test_live_a_camera_that_comes_back_black_gives_answers_with_nobody(gap_s):
    session, _, _ = fake_session(detector=SeesLight())
    first, second = gapped(40, 60, gap_s)
    seen = threading.Event()

    def before(index):
        if index < 40:
            threading.Event().wait(0.01)
        if index == 40:
            assert seen.wait(BOUND_S)
        elif index > 40:
            threading.Event().wait(0.02)

    results, pictures = [], []
    with session, Pipeline(
        ListSource(first + second, live=True, before=before), session, Options(every_s=0.1, detect_every_s=0.02),
        tracker=Tracker(),
    ) as pipeline:
        alarm = threading.Timer(BOUND_S, pipeline.close)
        alarm.start()
        for update in pipeline:
            results += update.results
            pictures.append(update)
            if any(len(r.detections) for r in results):
                seen.set()
        alarm.cancel()
    cut_s = second[0].time_s
    after = [r for r in results if r.time_s >= cut_s]
    assert [r for r in results if len(r.detections) and r.time_s < cut_s]
    assert after
    assert sum(len(r.detections) for r in after) == 0
    assert sum(len(u.boxes) for u in pictures if u.frame is not None and u.time_s >= cut_s) == 0


@pytest.mark.parametrize("gap_s", [24.0, 5.0, 90.0])
def test_complete_no_clip_and_no_id_spans_a_gap(gap_s):
    session, _, _engine = fake_session()
    first, second = gapped(25, 25, gap_s, after_grey=200)
    with session, Pipeline(ListSource(first + second), session, Options(every_s=0.5), tracker=Tracker()) as pipeline:
        updates = list(pipeline)
    results = [r for u in updates for r in u.results]
    cut_s = second[0].time_s
    # The fake engine's scores are the grey of the first, the key and the last picture of the clip.
    for result in results:
        greys = np.round(result.detections.action_scores * 255)
        assert (greys == (90 if result.time_s < cut_s else 200)).all()
    ids = [[i for r in results if (r.time_s < cut_s) is side for i in r.detections.boxes.track_id.tolist() if i >= 0]
           for side in (True, False)]
    assert ids[0]
    assert ids[1]
    assert not set(ids[0]) & set(ids[1])
    assert [u.frame.index for u in updates if u.frame is not None] == list(range(50))
    assert all(len(u.boxes) == 1 for u in updates if u.frame is not None)
    # Moments that fall into the gap are left out; those after it are told at their own time.
    assert all(abs(r.due_s - r.time_s) <= 0.1 for r in results if r.time_s > cut_s)


def test_time_lapse_is_told_picture_by_picture():
    session, _, _engine = fake_session()
    frames = [frame_at(90.0 * i, np.full((48, 64, 3), 40 * i, np.uint8), index=i) for i in range(5)]
    with session, Pipeline(ListSource(frames), session, Options(every_s=1.0), tracker=Tracker()) as pipeline:
        results = [r for u in pipeline for r in u.results]
    assert [r.time_s for r in results] == [0, 90, 180, 270, 360]
    assert [r.due_s for r in results] == [0, 90, 180, 270, 360]
    assert [np.round(r.detections.action_scores[0] * 255).tolist() for r in results] == [[40 * i] * 3 for i in range(5)]


def test_synced_pictures_are_not_held_back_longer_after_an_outage():
    session, _, _ = fake_session()
    source, answered = PushSource(capacity=1000), threading.Event()

    def push():
        for i in range(90):
            if i == 40:
                assert answered.wait(BOUND_S)
            source.push(GREY, i / 10 + (60.0 if i >= 40 else 0.0))
            threading.Event().wait(0.02)

    pusher = threading.Thread(target=push, daemon=True)
    with session, Pipeline(source, session, Options(every_s=0.1, display="synced"), tracker=FakeTracker()) as pipeline:
        alarm = threading.Timer(BOUND_S, pipeline.close)
        alarm.start()
        pusher.start()
        after = 0
        for update in pipeline:
            if update.results:
                answered.set()
            after += sum(r.time_s >= 60 for r in update.results)
            if after >= 2:
                break
        alarm.cancel()
        assert after
        # Half of the sixty seconds between two answers would be added if they were taken for their distance.
        assert pipeline._run._delay.seconds < 20
    pusher.join(BOUND_S)


# ---- pushed pictures -------------------------------------------------------------------------------------------------


def pushed(stamps, pictures=None, step_s=0.1):
    clock = Clock(50.0)
    source = PushSource(capacity=1000, clock=clock)
    for i, stamp in enumerate(stamps):
        source.push(pictures[i] if pictures else np.full((4, 4, 3), i % 250, np.uint8), stamp)
        clock.now_s += step_s
    source.end()
    return source, list(source)


def test_pushed_stamps_that_jump_ahead_are_a_gap():
    _, frames = pushed([0, 0.1, 0.2, 30.2, 30.3])
    assert [is_gap(a, b) for a, b in itertools.pairwise(frames)] == [False, False, True, False]


def test_pushed_stamps_that_begin_again_are_a_gap_and_time_goes_on():
    _, frames = pushed([100.0, 100.1, 100.2, 0.0, 0.1, 0.2, 0.3])
    assert [is_gap(a, b) for a, b in itertools.pairwise(frames)] == [False, False, True, False, False, False]
    np.testing.assert_allclose(np.diff([f.time_s for f in frames]), 0.1)


def test_a_pushed_picture_that_stands_still_is_not_given_for_ever():
    source, frames = pushed([0, 0.1] + [0.2] * 100 + [10.2, 10.3], [GREY, GREY] + [GREY] * 100 + [BLACK, BLACK])
    assert len(frames) <= 2 + 22 + 2
    assert is_gap(frames[-3], frames[-2])
    assert [(s.online, s.reason) for s in source.changes()] == [(False, FROZEN), (True, "")]
    assert source.changes() == []
