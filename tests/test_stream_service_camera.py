"""Cameras that share a model: answers come, one's harm is no other's, nothing from before a gap is told as now."""

import threading

import numpy as np
import pytest

pytest.importorskip("pydantic")

from stream_fakes import FakeDetector, FakeEngine, FakeTracker
from stream_service_fakes import House, settings, wait_until

from detector.errors import UserError
from detector.types import Boxes
from stream.service.camera import GAP_S, Renumbered
from stream.service.counts import reason_of
from stream.service.sharing import Sharing
from stream.sources import SourceStatus


def feed(house, *names, until, pictures=400, greys=None):
    """Show pictures to cameras until something holds."""
    for _ in range(pictures):
        for name in names:
            house.source(name, -1 if len(house.sources[name]) else 0).show(grey=(greys or {}).get(name, 100))
        try:
            wait_until_soon(until)
            return
        except AssertionError:
            continue
    raise AssertionError("did not come about")


def wait_until_soon(holds):
    import time

    give_up_s = time.monotonic() + 0.05
    while not holds():
        assert time.monotonic() < give_up_s
        time.sleep(0.002)


def test_cameras_share_one_detector_and_one_engine_and_each_has_its_answers():
    with House() as house:
        for name in ("a", "b", "c"):
            house.camera(name)
        feed(house, "a", "b", "c", until=lambda: all(len(house.answers_of(n)) >= 3 for n in ("a", "b", "c")))
        assert len(house.detector.threads) == len(house.engine.threads) == 1
    for name in ("a", "b", "c"):
        times = [result.time_s for result in house.answers_of(name)]
        assert times == sorted(set(times))
        assert {result.source for result in house.answers_of(name)} == {name}
    assert house.detector.closed == house.engine.closed == 1


def test_a_scene_without_anybody_costs_no_network_and_is_told_as_empty():
    class Nobody(FakeDetector):
        def detect(self, image):
            super().detect(image)
            return Boxes.empty()

    with House(detector=Nobody()) as house:
        house.camera("a")
        feed(house, "a", until=lambda: len(house.answers_of("a")) >= 2)
    assert house.engine.calls == 0
    assert all(len(result.detections) == 0 for result in house.answers_of("a"))
    assert house.answers_of("a")[0].detections.action_scores.shape == (0, 3)


def test_what_a_camera_masks_is_seen_by_nobody():
    seen = []

    class Watching(FakeDetector):
        def detect(self, image):
            seen.append(image.copy())
            return super().detect(image)

    with House(detector=Watching()) as house:
        camera = house.camera("a", settings(masks=[[[0, 0], [0.5, 0], [0.5, 1], [0, 1]]]))
        feed(house, "a", until=lambda: len(house.answers_of("a")) >= 1)
        picture = camera.look().frame.image
        clip = camera._watch.ring._pixels[camera._watch.ring._slots[-1]]
    for image in (*seen, picture, clip):
        width = image.shape[1]
        assert not image[:, : width // 2 - 1].any()
        assert image[:, width // 2 + 2 :].all()


def test_people_who_are_known_are_looked_at_again_and_the_whole_is_searched_first_and_every_second():
    looks = []

    class Looking(FakeDetector):
        def detect(self, image):
            looks.append("whole")
            return super().detect(image)

        def look_again(self, image, people):
            looks.append(people.shape)
            return super().detect(image)

    with House(detector=Looking()) as house:
        house.camera("a")
        feed(house, "a", until=lambda: "whole" in looks[2:] and len(looks) > 4)
    assert looks[0] == "whole"
    # Whoever was seen once is known, too.
    assert looks[1] == (1, 4)
    assert looks.count("whole") < len(looks)


@pytest.mark.parametrize("error", [RuntimeError("broken"), UserError("x: not there"), None])
def test_a_camera_that_dies_comes_back_and_harms_no_other(error):
    with House() as house:
        house.camera("a")
        bad = house.camera("bad")
        feed(house, "a", "bad", until=lambda: house.answers_of("a") and house.answers_of("bad"))
        house.source("bad").fail(error)
        before = len(house.answers_of("a"))
        feed(house, "a", until=lambda: len(house.answers_of("a")) > before + 2 and len(house.sources["bad"]) > 1)
        told = len(house.answers_of("bad"))
        feed(house, "bad", until=lambda: len(house.answers_of("bad")) > told)
        assert sum(bad.counts.numbers(0).reconnects.values()) == 1
        assert bad.state[0] == "online"


def test_a_detector_that_fails_on_one_camera_looks_for_the_others():
    class Picky(FakeDetector):
        def detect(self, image):
            if image[0, 0, 0] == 13:
                raise ValueError("unlucky")
            return super().detect(image)

    with House(detector=Picky()) as house:
        house.camera("a")
        bad = house.camera("bad")
        house.source("bad").show(grey=13)
        feed(house, "a", until=lambda: len(house.answers_of("a")) >= 3)
        wait_until(lambda: bad.counts.numbers(0).drops.get("search_failed", 0) >= 1)
        assert not house.answers_of("bad")


def test_an_engine_that_fails_on_one_clip_of_a_batch_answers_the_others():
    class Picky(FakeEngine):
        def run_trunk(self, frames):
            if (frames == 13).any():
                raise ValueError("unlucky")
            return super().run_trunk(frames)

    with House(engine=Picky()) as house:
        house.camera("a")
        bad = house.camera("bad")
        house.source("bad")
        wait_until(lambda: house.sharing._models)
        (shared,) = house.sharing._models.values()
        shared.answering.most_rows, shared.answering.deadline_s = 8, 0.2
        failed = lambda: bad.counts.numbers(0).drops.get("answer_failed", 0)  # noqa: E731
        feed(
            house, "a", "bad", greys={"bad": 13}, until=lambda: failed() >= 2 and len(house.answers_of("a")) >= 3
        )
        assert not house.answers_of("bad")


def test_clips_of_several_cameras_go_in_one_call_within_a_deadline():
    with House() as house:
        names = ("a", "b", "c", "d")
        for name in names:
            house.camera(name)
            house.source(name).show(12)
        wait_until(lambda: len(house.sharing._models) == 1)
        (shared,) = house.sharing._models.values()
        shared.answering.most_rows, shared.answering.deadline_s = 4, 0.3
        feed(house, *names, until=lambda: any(shape[0] >= 3 for shape in house.engine.shapes))
        # Who was in one call had different pictures, and got its own.
        assert all(len(result.detections) == 1 for _, result in list(house.answers))


def test_a_network_that_is_slow_gets_the_newest_clip_and_what_is_passed_over_is_counted():
    going = threading.Event()
    with House(engine=FakeEngine(before=lambda call: call and going.wait(20))) as house:
        camera = house.camera("a")
        feed(house, "a", until=lambda: house.engine.calls >= 1 and len(house.answers_of("a")) >= 1)
        house.source("a").show(30)
        wait_until(lambda: camera.counts.numbers(0).taken >= 30)
        going.set()
        feed(house, "a", until=lambda: len(house.answers_of("a")) >= 4)
        assert camera.counts.numbers(0).drops["answer_busy"] > 0
        answered = [result.time_s for result in house.answers_of("a")]
        assert max(np.diff(answered)) > 1.0  # it jumped over what had waited


def test_after_a_gap_nothing_from_before_is_told_as_now_and_no_id_is_used_twice():
    with House() as house:
        camera = house.camera("a")
        feed(house, "a", until=lambda: any(len(r.detections) for r in house.answers_of("a")))
        before = camera._watch
        ids = {int(i) for r in house.answers_of("a") for i in r.detections.boxes.track_id}
        house.source("a").time_s += GAP_S + 1
        house.source("a").show()
        wait_until(lambda: camera._watch is not before)
        assert camera.look().boxes.track_id.tolist() in ([], [max(ids) + 1])
        told = len(house.answers_of("a"))
        feed(house, "a", until=lambda: len(house.answers_of("a")) > told)
        later = {int(i) for r in house.answers_of("a")[told:] for i in r.detections.boxes.track_id}
        assert later
        assert not later & ids
        assert camera.counts.numbers(0).drops["gap"] == 1


def test_where_people_are_blurred_only_a_searched_picture_is_shown():
    with House() as house:
        camera = house.camera("a", settings(blur="people", every=3600))
        feed(house, "a", until=lambda: camera.look() is not None)
        searched = camera.look().frame.index
        house.source("a").show(5)
        wait_until(lambda: camera.counts.numbers(0).taken >= searched + 6)
        assert camera.look().frame.index == searched
        assert len(camera.look().boxes) == 1


def test_a_camera_without_pictures_keeps_numbers_only():
    with House() as house:
        camera = house.camera("a", settings(pictures="none"))
        feed(house, "a", until=lambda: len(house.answers_of("a")) >= 1)
        assert camera.look() is None
        assert camera._newest is None
        assert camera._seen is None


def test_each_camera_takes_people_of_its_own_threshold_from_the_shared_detector():
    with House() as house:
        house.camera("all", settings(person_threshold=0.1))
        house.camera("sure", settings(person_threshold=0.95))
        feed(house, "all", "sure", until=lambda: len(house.answers_of("all")) > 2 and len(house.answers_of("sure")) > 2)
        assert house.detector.threshold == pytest.approx(0.1)
    assert any(len(r.detections) for r in house.answers_of("all"))
    assert not any(len(r.detections) for r in house.answers_of("sure"))


def test_a_model_that_cannot_be_opened_is_said_and_tried_again():
    def refuse(model, detector):
        raise UserError("model x: not here")

    with House() as house:
        house.sharing = Sharing(open_model=refuse)
        camera = house.camera("a")
        wait_until(lambda: camera.state[0] == "failed")
        assert "model x: not here" in camera.state[1]


def test_an_engine_that_cannot_be_built_is_the_cameras_failure():
    def build(size_hw):
        raise UserError("engine: refused")

    with House() as house:
        house.session._build_engine = build
        camera = house.camera("a")
        house.source("a").show(3)
        # On a busy machine it may be offline before, for want of a picture.
        source = house.source("a")

        def refused():
            source.show()  # it shows with the next picture after the attempt to build
            return camera.state[0] == "offline" and "engine: refused" in camera.state[1]

        wait_until(refused)


def test_a_source_that_says_it_is_offline_is_counted_once_by_reason():
    with House() as house:
        camera = house.camera("a")
        source = house.source("a")
        source.status = SourceStatus(False, "camera offline: it fell silent; next attempt in 1 s")
        for _ in range(3):
            camera.tick()
        assert camera.counts.numbers(0).reconnects == {"silent": 1}
        source.status = SourceStatus()
        camera.tick()
        source.status = SourceStatus(False, "camera offline: it fell silent; next attempt in 1 s")
        camera.tick()
        assert camera.counts.numbers(0).reconnects == {"silent": 2}


@pytest.mark.parametrize(("message", "reason"), [
    ("camera offline: it fell silent; next attempt in 1 s", "silent"),
    ("cannot be opened (Server returned 401 Unauthorized (authorization failed)); is the camera on?", "refused"),
    ("no answer within 8 s; is the address right and reachable?", "no_answer"),
    ("cannot be opened (Connection refused); is the camera on and the address right?", "no_answer"),
    ("/x.mp4: no such file; expected a video file", "not_found"),
    ("the stream ended; next attempt in 0 s", "ended"),
    ("cannot be opened (Invalid data found when processing input)", "garbage"),
    ("something else", "lost"),
])
def test_why_a_camera_went_away_is_one_of_a_few_words(message, reason):
    assert reason_of(message) == reason


def test_ids_go_on_after_those_that_were_given_before():
    tracker = Renumbered(FakeTracker(), 7)
    tracker.update(Boxes([[0, 0, 1, 1], [2, 2, 3, 3]], [1, 1]), 0.0)
    assert tracker.predict(0.1).track_id.tolist() == [8, 9]
    assert tracker.boxes_at(0.0).track_id.tolist() == [8, 9]
