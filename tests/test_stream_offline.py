"""Files: every key frame, in order, the same each time; and what happens when something breaks."""

import threading

import numpy as np
import pytest
from stream_fakes import BOX, FakeDetector, FakeEngine, FakeTracker, ListSource, fake_session, grey_frames

from detector.types import Boxes
from detector.views import TubeView
from stream.offline import adopt_ids
from stream.pipeline import Options, Pipeline


def watch(frames, options=None, **changes):
    """Everything that a pipeline gives for these frames, and the fakes."""
    session, detector, engine = fake_session(**changes)
    with session, Pipeline(ListSource(frames), session, options, tracker=FakeTracker()) as pipeline:
        updates = list(pipeline)
    return updates, detector, engine


def threads_of(source_name="list"):
    return [t for t in threading.enumerate() if t.name.endswith(source_name)]


def test_every_frame_and_every_key_frame_comes_once_and_in_order():
    updates, _, engine = watch(grey_frames(50))
    assert [u.frame.index for u in updates if u.frame] == list(range(50))
    results = [r for u in updates for r in u.results]
    assert [r.frame_index for r in results] == [0, 10, 20, 30, 40]
    assert [r.due_s for r in results] == [0, 1, 2, 3, 4]
    assert engine.calls == 5


def test_a_clip_is_centred_on_its_key_frame_and_clamped_at_the_ends():
    # Offsets -0.2 .. 0.1 s at ten frames a second; the fake engine scores the first, the key and the last frame.
    updates, _, _ = watch(grey_frames(21))
    results = [r for u in updates for r in u.results]
    greys = [np.round(r.detections.action_scores[0] * 255).tolist() for r in results]
    assert greys == [[0, 0, 1], [8, 10, 11], [18, 20, 20]]


def test_people_are_looked_for_on_the_key_frame_itself():
    seen = []

    class Detector(FakeDetector):
        def detect(self, image):
            seen.append(int(image[0, 0, 0]))
            return super().detect(image)

    watch(grey_frames(31), Options(detect_every_s=0.25), detector=Detector())
    assert {0, 10, 20, 30} <= set(seen)
    assert max(np.diff(seen)) <= 3


def test_labels_on_a_picture_are_those_of_the_nearest_key_frame():
    updates, _, _ = watch(grey_frames(41), Options(smooth_s=0))
    for update in updates:
        if update.frame is None:
            continue
        nearest = min(round(update.time_s + 1e-6), 4) * 10
        if abs(update.time_s % 1 - 0.5) > 0.06:
            assert round(float(update.scores[0, 1]) * 255) == nearest, update.frame


@pytest.mark.parametrize("every_s", [0.1, 0.35, 2.0, 60.0])
def test_any_rate_of_key_frames_is_complete(every_s):
    updates, _, _ = watch(grey_frames(45), Options(every_s=every_s))
    results = [r for u in updates for r in u.results]
    wanted = list(np.arange(0, 4.45 - 1e-9, every_s))
    assert [r.due_s for r in results] == pytest.approx(wanted)
    assert all(abs(r.time_s - r.due_s) <= 0.05 + 1e-9 for r in results)
    assert sum(u.frame is not None for u in updates) == 45


def test_two_runs_give_the_same():
    runs = []
    for _ in range(2):
        updates, _, _ = watch(grey_frames(35))
        runs.append([
            (u.frame.index if u.frame else None, u.boxes.xyxy.tolist(), np.nan_to_num(u.scores, nan=-1).tolist(),
             [r.frame_index for r in u.results]) for u in updates
        ])
    assert runs[0] == runs[1]


def test_one_frame_is_enough():
    updates, _, _ = watch(grey_frames(1))
    assert [u.frame.index for u in updates if u.frame] == [0]
    assert len([r for u in updates for r in u.results]) == 1


def test_no_frames_give_nothing():
    assert watch([])[0] == []


def test_answers_alone_without_pictures():
    updates, _, _ = watch(grey_frames(25), Options(pictures=False))
    assert all(u.frame is None for u in updates)
    assert [r.frame_index for u in updates for r in u.results] == [0, 10, 20]


def test_nobody_there_is_an_ordinary_answer_and_costs_no_network():
    class Empty(FakeDetector):
        def detect(self, image):
            return Boxes.empty()

    updates, _, engine = watch(grey_frames(15), detector=Empty())
    results = [r for u in updates for r in u.results]
    assert [len(r.detections) for r in results] == [0, 0]
    assert results[0].detections.action_scores.shape == (0, 3)
    assert engine.calls == 0


def test_tubes_of_a_crowd_are_given_in_turns_and_keep_their_order():
    class Crowd(FakeDetector):
        def detect(self, image):
            xs = np.arange(11, dtype=np.float32) * 4
            return Boxes(np.stack([xs, xs * 0, xs + 10, xs * 0 + 30], axis=1), np.full(11, 0.9))

    updates, _, engine = watch(grey_frames(5), detector=Crowd(), view=TubeView(size_px=8, short_side_px=16))
    assert [shape[0] for shape in engine.shapes] == [8, 3]
    assert [rows[:, 0].tolist() for rows in engine.rois] == [list(range(8)), [0, 1, 2]]
    assert [r.detections.action_scores.shape for u in updates for r in u.results] == [(11, 3)]


def test_a_source_that_changes_its_size_goes_on_with_boxes_in_its_own_pixels():
    frames = grey_frames(20)
    frames[10:] = [
        type(f)(np.full((96, 128, 3), f.index, np.uint8), f.index, f.time_s) for f in frames[10:]
    ]
    updates, _, engine = watch(frames)
    results = [r for u in updates for r in u.results]
    assert [r.size_hw for r in results] == [(48, 64), (96, 128)]
    np.testing.assert_allclose(results[1].detections.boxes.xyxy, 2 * BOX, atol=1e-3)
    assert {shape[2:4] for shape in engine.shapes} == {(16, 21)}
    np.testing.assert_allclose(engine.rois[0], engine.rois[1], atol=0.1)


def test_a_source_that_is_turned_upright_goes_on():
    frames = grey_frames(20)
    frames[10:] = [type(f)(np.full((64, 48, 3), f.index, np.uint8), f.index, f.time_s) for f in frames[10:]]
    updates, _, _ = watch(frames)
    last = [u for u in updates if u.frame][-1]
    assert last.frame.size_hw == (64, 48)
    np.testing.assert_allclose(last.boxes.xyxy, BOX * [48 / 64, 64 / 48, 48 / 64, 64 / 48], atol=0.8)


def collect(pipeline, into):
    for update in pipeline:
        into.append(update)


def boom_at(call):
    def before(number):
        if number == call:
            raise OSError(f"boom at {number}")

    return before


def test_an_error_of_the_source_comes_after_all_that_was_read():
    session, _, _ = fake_session()
    given = []
    source = ListSource(grey_frames(30), before=boom_at(25))
    with pytest.raises(OSError, match="boom at 25"), session, Pipeline(source, session, tracker=FakeTracker()) as p:
        collect(p, given)
    assert [u.frame.index for u in given if u.frame] == list(range(25))
    assert [r.frame_index for u in given for r in u.results] == [0, 10, 20]
    assert not threads_of()


@pytest.mark.parametrize("part", ["detector", "engine"])
def test_an_error_of_a_network_reaches_whoever_iterates(part):
    fakes = {"detector": FakeDetector(boom_at(3))} if part == "detector" else {"engine": FakeEngine(boom_at(1))}
    session, _, _ = fake_session(**fakes)
    source = ListSource(grey_frames(60))
    with pytest.raises(OSError, match="boom"), session, Pipeline(source, session, tracker=FakeTracker()) as pipeline:
        list(pipeline)
    assert not threads_of()


def test_a_consumer_that_leaves_ends_every_thread():
    session, _, _ = fake_session()
    source = ListSource(grey_frames(200))
    with session, Pipeline(source, session, tracker=FakeTracker()) as pipeline:
        for update in pipeline:
            if update.frame is not None and update.frame.index == 5:
                break
        assert pipeline.close(timeout_s=10)
    assert source.closed.is_set()
    assert not threads_of()


def test_a_pipeline_is_iterated_once():
    session, _, _ = fake_session()
    with session, Pipeline(ListSource(grey_frames(3)), session, tracker=FakeTracker()) as pipeline:
        list(pipeline)
        with pytest.raises(RuntimeError, match="iterated twice"):
            list(pipeline)


def test_networks_run_in_one_thread_each_however_many_streams_share_them():
    session, detector, engine = fake_session()
    with session:
        def run():
            with Pipeline(ListSource(grey_frames(30)), session, tracker=FakeTracker()) as pipeline:
                list(pipeline)

        streams = [threading.Thread(target=run, daemon=True) for _ in range(3)]
        for stream in streams:
            stream.start()
        for stream in streams:
            stream.join(30)
        assert not any(stream.is_alive() for stream in streams)
    assert engine.calls == 9
    assert len(engine.threads) == len(detector.threads) == 1
    assert (engine.closed, detector.closed) == (1, 1)


@pytest.mark.parametrize(("first", "second", "expected"), [
    ([-1], [7], [7]), ([3], [7], [3]), ([-1], [-1], [-1]),
])
def test_a_person_seen_for_the_first_time_gets_the_id_of_a_moment_later(first, second, expected):
    boxes = Boxes(BOX, [0.9], first)
    later = Boxes(BOX + 1, [0.9], second)
    assert adopt_ids(boxes, later).track_id.tolist() == expected


def test_an_id_is_adopted_neither_from_afar_nor_twice():
    boxes = Boxes(np.repeat(BOX, 2, 0), [0.9, 0.8], [-1, -1])
    assert adopt_ids(boxes, Boxes(BOX + 100, [0.9], [4])).track_id.tolist() == [-1, -1]
    assert adopt_ids(boxes, Boxes(BOX, [0.9], [4])).track_id.tolist() == [4, -1]
