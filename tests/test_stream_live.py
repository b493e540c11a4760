"""Live sources: the newest wins, drops are counted, nothing ever waits for something slower."""

import threading
import time

import numpy as np
import pytest
from stream_fakes import Clock, FakeDetector, FakeEngine, FakeTracker, ListSource, fake_session, grey_frames

from detector.types import Boxes
from stream.handoff import Closed
from stream.live import LiveRun
from stream.pipeline import Options, Pipeline
from stream.sources import PushSource
from stream.watching import Watch, with_newcomers

BOUND_S = 20


def run(source, session, options=None, act=lambda update: None, stop=lambda update: False):
    """Iterate in this thread with a bound on the whole; gives the updates."""
    updates = []
    with Pipeline(source, session, options, tracker=FakeTracker()) as pipeline:
        alarm = threading.Timer(BOUND_S, pipeline.close)
        alarm.start()
        try:
            for update in pipeline:
                updates.append(update)
                act(update)
                if stop(update):
                    break
        finally:
            alarm.cancel()
        assert pipeline.close(timeout_s=BOUND_S)
    return updates


def feed(source: PushSource, gap_s: float, stop: threading.Event, fps: float = 10.0):
    """Push frames until told to stop; media time runs at `fps`, whatever the pace."""
    def push():
        index = 0
        while not stop.wait(gap_s):
            source.push(np.full((48, 64, 3), index % 256, np.uint8), index / fps)
            index += 1

    thread = threading.Thread(target=push, daemon=True)
    thread.start()
    return thread


def test_pushed_frames_come_back_with_boxes_and_labels():
    session, _, _engine = fake_session()
    source, stop = PushSource("visitor"), threading.Event()
    with session:
        pusher = feed(source, 0.005, stop)
        # The first answers may be about moments before anybody was found, and a label may come an update before its
        # answer does.
        answers = []

        def is_complete(update):
            answers.extend(r for r in update.results if len(r.detections.boxes))
            return answers and len(update.boxes) and not np.isnan(update.scores).any()

        updates = run(source, session, stop=is_complete)
        stop.set()
        pusher.join(BOUND_S)
    last = updates[-1]
    assert last.boxes.track_id.tolist() == [1]
    assert last.status.live
    result = answers[0]
    assert result.source == "visitor"
    assert result.captured_utc is not None
    first, key, newest = np.round(result.detections.action_scores[0] * 255)
    # The clip reaches one frame (0.1 s) past its key frame and two before it.
    assert newest == key + 1
    assert first == max(key - 2, 0)
    assert key == result.frame_index


def test_a_slow_engine_skips_key_frames_counts_them_and_never_falls_behind():
    entered, release, again = threading.Event(), threading.Event(), threading.Event()
    state = {"first": 0}

    def compute(call):
        (again if call else entered).set()
        if call == 0:
            assert release.wait(BOUND_S)

    def before(index):
        """Slowly until the engine has its first clip; then forty frames while it computes; then its next clip."""
        if not entered.is_set():
            entered.wait(0.02)
            state["first"] = index
        elif index == state["first"] + 40:
            release.set()
            assert again.wait(BOUND_S)
        elif index > state["first"] + 45:
            source.close()

    session, _, _ = fake_session(engine=FakeEngine(before=compute))
    frames = [f for i in range(4) for f in grey_frames(250)]
    frames = [type(f)(f.image, i, i / 10) for i, f in enumerate(frames)]
    source = ListSource(frames, live=True, before=before)
    with session:
        updates = run(source, session, Options(every_s=0.1))
    first, second = [r for u in updates for r in u.results][:2]
    # The clip after the slow one is a fresh one, not the second oldest; what lies between is counted.
    assert second.frame_index >= state["first"] + 36
    assert second.drops.clips == second.frame_index - first.frame_index - 1


def test_a_slow_consumer_loses_pictures_and_they_are_counted():
    session, _, _ = fake_session()
    slow = threading.Event()
    frames = grey_frames(100)
    done = threading.Event()

    def before(index):
        if index == 99:
            done.set()

    def act(update):
        if not slow.is_set():
            slow.set()
            assert done.wait(BOUND_S)

    with session:
        updates = run(ListSource(frames, live=True, before=before), session, act=act)
    shown = [u.frame.index for u in updates if u.frame is not None and u.time_s == u.frame.time_s]
    assert len(shown) < 20
    assert shown[-1] == 99
    assert updates[-1].status.drops.frames == 100 - len(shown)


@pytest.mark.parametrize("part", ["source", "detector", "engine"])
def test_the_first_error_reaches_whoever_iterates_and_all_threads_end(part):
    def boom(call):
        if call == 2:
            raise OSError(f"{part} broke")

    session, _, _ = fake_session(
        detector=FakeDetector(boom) if part == "detector" else None,
        engine=FakeEngine(boom) if part == "engine" else None,
    )
    source, stop = PushSource(), threading.Event()
    if part == "source":
        source = ListSource(grey_frames(10), live=True, before=boom)
    with session:
        pusher = feed(source, 0.005, stop) if part != "source" else None
        with pytest.raises(OSError, match=f"{part} broke"):
            run(source, session, Options(every_s=0.1, detect_every_s=0.01))
        stop.set()
        if pusher:
            pusher.join(BOUND_S)
    assert not [t for t in threading.enumerate() if t.name.split()[0] in ("capture", "detect", "clips")]


def test_a_camera_that_stalls_does_not_hold_up_closing():
    session, _, _ = fake_session()
    source = PushSource()
    source.push(np.zeros((48, 64, 3), np.uint8))
    with session:
        updates = run(source, session, stop=lambda u: not u.status.online)
    # Its last picture is shown again with a word about it, and the time goes on.
    assert "no picture for" in updates[-1].status.message
    assert updates[-1].time_s > updates[-1].frame.time_s


def test_closing_from_another_thread_while_the_engine_computes():
    release, entered = threading.Event(), threading.Event()

    def before(call):
        entered.set()
        release.wait(BOUND_S)

    session, _, _ = fake_session(engine=FakeEngine(before=before))
    source, stop = PushSource(), threading.Event()
    pipeline = Pipeline(source, session, tracker=FakeTracker())
    consumer = threading.Thread(target=lambda: list(pipeline), daemon=True)
    pusher = feed(source, 0.005, stop)
    consumer.start()
    assert entered.wait(BOUND_S)
    assert pipeline.close(timeout_s=BOUND_S)
    consumer.join(BOUND_S)
    assert not consumer.is_alive()
    release.set()
    stop.set()
    pusher.join(BOUND_S)
    assert session.close()


@pytest.mark.parametrize("pictures", [True, False])
def test_the_source_that_ends_gives_its_last_answer(pictures):
    over, ended, entered = threading.Event(), threading.Event(), threading.Event()

    def compute(call):
        if call == 1:
            entered.set()
            # The source ends, and whoever shows pictures has taken the last one, while this is being computed.
            assert over.wait(BOUND_S)
            ended.wait(0.2)

    class Ends(ListSource):
        def __iter__(self):
            for i, frame in enumerate(self._frames):
                if i > 50 and entered.is_set():
                    break
                threading.Event().wait(0.01)
                yield frame
            over.set()

    session, _, engine = fake_session(engine=FakeEngine(before=compute))
    with session:
        session.prepare((48, 64)).result(BOUND_S)
        updates = run(Ends(grey_frames(250), live=True), session, Options(pictures=pictures))
    assert updates[-1].status.live
    answers = [r for u in updates for r in u.results]
    assert len(answers) == engine.calls >= 2
    assert updates[-1].results
    assert len({r.frame_index for r in answers}) == len(answers)


def test_it_is_said_what_is_being_started_and_no_longer_than_that():
    entered, release = threading.Event(), threading.Event()

    def compute(call):
        entered.set()
        assert release.wait(BOUND_S)

    session, _, _ = fake_session(engine=FakeEngine(before=compute))
    source, stop, messages = PushSource(), threading.Event(), []

    def act(update):
        messages.append((update.status.message, (bool(messages) and messages[-1][1]) or bool(update.results)))
        if len(messages) > 5 and entered.is_set():
            release.set()

    with session:
        pusher = feed(source, 0.005, stop)
        run(source, session, act=act, stop=lambda u: len([m for m in messages if m[1]]) > 3)
        stop.set()
        pusher.join(BOUND_S)
    assert {m for m, answered in messages if not answered} >= {"starting the action network"}
    assert {m for m, answered in messages if answered} == {""}


@pytest.mark.parametrize("live", [True, False])
def test_frames_that_the_source_dropped_count_as_dropped(live):
    session, _, _ = fake_session()
    frames = [f for f in grey_frames(40) if f.index not in (0, 1, 7, 20, 21, 22)]
    hold = threading.Event()
    source = ListSource(frames, live=live, before=lambda index: hold.wait(0.005))
    with session:
        updates = run(source, session, Options(pictures=True))
    shown = sum(u.frame is not None and u.time_s == u.frame.time_s for u in updates)
    assert updates[-1].status.drops.frames == 40 - shown
    if not live:
        assert shown == 34


def test_the_label_of_somebody_without_a_track_is_nobody_elses():
    session, _, _ = fake_session()
    frames = [grey_frames(200)[100]] * 1
    with session:
        watch = Watch(ListSource(frames, live=True), session, Options(), Forgetful(), Clock())
        ring = watch.take(frames[0])
        ring.write(frames[0])
        found, _ = watch.detect(frames[0])
        assert found.track_id.tolist() == [-1]
        assert len(watch.answer(ring.newest(), found, 10.0, 0.0).detections) == 1
        update = watch.update(frames[0], (), predicted=True)
    assert update.boxes.track_id.tolist() == [-1]
    assert np.isnan(update.scores).all()


class Rests:
    """A stop event that notes how long somebody rested instead of resting, and ends after so many rests."""

    def __init__(self, clock, most=3):
        self.rests, self._clock, self._most = [], clock, most

    def wait(self, seconds):
        self.rests.append(round(seconds, 6))
        self._clock.now_s += seconds
        return len(self.rests) >= self._most

    def is_set(self):
        return False


@pytest.mark.parametrize(("every_s", "worked_s", "rest_s"), [
    # A quick detector keeps the beat, a slower one rests twice as long as it worked, a slow one not for ever.
    (None, 0.01, 0.09), (None, 0.1, 0.2), (None, 3.0, 0.5), (1.0, 0.1, 0.9), (0.05, 0.02, 0.04), (0.01, 0.0, 0.01),
])
def test_the_detector_leaves_most_of_a_small_machine_to_the_network(every_s, worked_s, rest_s):
    session, _, _ = fake_session()
    clock = Clock()
    with session:
        watch = Watch(ListSource([], live=True), session, Options(detect_every_s=every_s), FakeTracker(), clock)
        watch.stop = Rests(clock)
        live = LiveRun(watch, lambda error: None)
        frame = grey_frames(1)[0]
        watch.take(frame)

        def detect(newest, known=None):
            clock.now_s += worked_s
            live._newest.put(frame)
            return Boxes.empty(), worked_s

        watch.detect = detect
        live._newest.put(frame)
        live._detect()
    assert watch.stop.rests == [rest_s] * 3


def test_people_who_are_known_are_looked_at_again_and_all_is_searched_first():
    asked = []

    class Looking(FakeDetector):
        def detect(self, image):
            asked.append(None)
            return super().detect(image)

        def look_again(self, image, people):
            asked.append(people.round().tolist())
            return super().detect(image)

    session, _, _ = fake_session(detector=Looking())
    source, stop = PushSource("visitor"), threading.Event()
    with session:
        pusher = feed(source, 0.005, stop)
        run(source, session, stop=lambda update: len(asked) >= 4)
        stop.set()
        pusher.join(BOUND_S)
    # FakeTracker tells where people are from the first search on.
    assert asked[0] is None
    assert asked[1:4] == [[[8, 4, 24, 40]]] * 3


def test_the_last_picture_is_shown_again_while_the_camera_is_silent_and_time_goes_on():
    session, _, _ = fake_session()
    clock = Clock(100.0)
    with session:
        watch = Watch(ListSource([], live=True), session, Options(), FakeTracker(), clock)
        live = LiveRun(watch, lambda error: None)
        frame = grey_frames(100)[70]
        frame = type(frame)(frame.image, 70, 7.0, 100.0)
        watch.take(frame)
        live._outlet.put_frame(frame)
        updates = live.updates()
        assert next(updates).time_s == 7.0
        taken = live._outlet.take
        live._outlet.take = lambda idle_s: (setattr(clock, "now_s", clock.now_s + idle_s), (None, (), 0))[1]
        again = [next(updates) for _ in range(6)]
        assert [u.time_s for u in again] == [7.5, 8.0, 8.5, 9.0, 9.5, 10.0]
        assert all(u.frame is frame for u in again)
        assert [u.status.online for u in again] == [True] * 4 + [False] * 2
        assert [c.status for u in again for c in u.changes] == ["offline"]
        live._outlet.take = taken
        live.stop()
        assert list(updates) == []


@pytest.mark.parametrize(
    ("display", "pictures", "waiting"), [("now", True, 4), ("synced", True, 10), ("now", False, 0)]
)
def test_so_many_pictures_wait_to_be_drawn_and_no_more(display, pictures, waiting):
    session, _, _ = fake_session()
    with session:
        options = Options(display=display, pictures=pictures)
        watch = Watch(ListSource(grey_frames(10), live=True), session, options, FakeTracker(), Clock(1000.0))
        live = LiveRun(watch, lambda error: None)
        live._capture()
        taken = []
        while True:
            frame, _, dropped = live._outlet.take(0.0)
            if frame is None:
                break
            taken.append((frame.index, dropped))
    assert [index for index, _ in taken] == list(range(10))[10 - waiting:]
    assert sum(dropped for _, dropped in taken) == (10 - waiting if pictures else 0)


def test_nothing_is_offered_after_the_pipeline_was_stopped():
    session, _, _ = fake_session()
    with session:
        source = ListSource(grey_frames(5), live=True)
        watch = Watch(source, session, Options(), FakeTracker(), Clock())
        live = LiveRun(watch, lambda error: None)
        watch.stop.set()
        live._capture()
        assert watch.ring is None
        watch.stop.clear()
        live.stop()
        with pytest.raises(Closed):
            live._capture()


def test_synced_pictures_wait_for_their_labels():
    session, _, _ = fake_session()
    source, stop = PushSource(capacity=100), threading.Event()
    with session:
        pusher = feed(source, 0.02, stop, fps=50.0)
        updates = run(
            source, session, Options(display="synced", smooth_s=0, every_s=0.1),
            stop=lambda u: u.frame is not None and u.time_s > 2.0,
        )
        stop.set()
        pusher.join(BOUND_S)
    late = [u for u in updates if u.frame is not None and u.time_s > 1.5 and len(u.boxes)]
    # Grey is the frame's number: the label's key frame is within a key frame's distance of the picture.
    off = [abs(float(u.scores[0, 1]) * 255 - u.frame.index % 256) for u in late if not np.isnan(u.scores).any()]
    assert len(off) >= 10
    assert np.median(off) <= 5
    waited = [time.monotonic() - u.frame.captured_s for u in late]
    assert min(waited) >= 0.1


def test_no_pictures_only_answers():
    session, _, _ = fake_session()
    source, stop = PushSource(), threading.Event()
    with session:
        pusher = feed(source, 0.005, stop)
        updates = run(source, session, Options(pictures=False), stop=lambda u: bool(u.results))
        stop.set()
        pusher.join(BOUND_S)
    assert all(u.frame is None for u in updates)
    assert updates[-1].results


class Forgetful(FakeTracker):
    """A detector so slow that nobody ever gets a track."""

    def update(self, boxes, time_s):
        self.seen.append((time_s, boxes))
        return boxes

    def predict(self, time_s):
        return Boxes.empty()

    boxes_at = predict


def test_people_without_a_track_are_boxed_and_answered_all_the_same():
    session, _, _ = fake_session()
    source, stop = PushSource(), threading.Event()
    with session:
        pusher = feed(source, 0.01, stop, fps=50.0)
        with Pipeline(source, session, tracker=Forgetful()) as pipeline:
            alarm = threading.Timer(BOUND_S, pipeline.close)
            alarm.start()
            boxed = answered = 0
            for update in pipeline:
                boxed += len(update.boxes) == 1
                answered += any(len(r.detections) == 1 for r in update.results)
                if boxed and answered:
                    break
            alarm.cancel()
        stop.set()
        pusher.join(BOUND_S)
    assert boxed
    assert answered


def test_newcomers_join_those_who_have_tracks_but_nobody_twice():
    tracked = Boxes([[0, 0, 10, 10]], [0.9], [4])
    seen = Boxes([[0, 0, 10, 11], [50, 0, 60, 10], [80, 0, 90, 9]], [0.8, 0.7, 0.6], [-1, -1, 9])
    assert with_newcomers(tracked, seen).track_id.tolist() == [4, -1]


def test_a_detector_slower_than_a_second_loses_nobody_between_two_searches():
    session, _, _ = fake_session()
    frames = grey_frames(200)
    with session:
        watch = Watch(ListSource(frames), session, Options(), Forgetful(), Clock())
        watch.take(frames[0])
        watch.detect(frames[0])
        assert len(watch.people_at(1.1, (48, 64))) == 1
        assert len(watch.people_at(3.0, (48, 64))) == 0  # nothing says yet that the detector is slow
        watch.detect(frames[30])
        assert len(watch.people_at(6.0, (48, 64), predicted=True)) == len(watch.people_at(-2.0, (48, 64))) == 1
        assert len(watch.people_at(9.5, (48, 64))) == 0
        watch.detect(frames[32])
        assert len(watch.people_at(4.3, (48, 64))) == 1
        assert len(watch.people_at(6.0, (48, 64))) == 0
