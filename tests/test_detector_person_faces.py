"""People found by their faces: the logic on drawn worlds, and the real network on a real video where both are here."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from detector.person import ssdlite_graph
from detector.person.faces import KNOWN_PICTURES, LOOKS, MAX_LOOKS, FaceFinder
from detector.person.posenet import LEFT_HIP, NUM_POINTS, RIGHT_HIP, PoseNet
from detector.person.ssdlite import SsdliteDetector
from detector.tracking import Tracker
from detector.types import Boxes
from detector.weights.cache import cached_package
from detector.weights.zoo import POSENET

MEDIA = Path(__file__).resolve().parents[2] / "shared" / "media"
SIZE_HW = (600, 800)
CELLS = 25


def picture() -> np.ndarray:
    """Each pixel says where it is, so that a network given a crop knows what it is looking at."""
    y, x = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    return np.stack([x // 4, y // 4, x % 4 * 4 + y % 4], -1).astype(np.uint8)


def place_of(pixel: np.ndarray) -> np.ndarray:
    x, y, rest = (int(v) for v in pixel)
    return np.array([4 * x + rest // 4, 4 * y + rest % 4], float)


class People:
    """A detector of whole people that gives what it is told."""

    name, notice, threshold = "whole", "people: whole", 0.5

    def __init__(self, *xyxy) -> None:
        self.boxes = Boxes(np.array(xyxy, np.float32).reshape(-1, 4), np.full(len(xyxy), 0.9))
        self.closed = 0

    def detect(self, image):
        return self.boxes

    def fork(self):
        other = People()
        other.boxes = self.boxes
        return other

    def close(self):
        self.closed += 1


class Person:
    """Somebody at a place: the nose, how tall, how sure face and ear and body are."""

    def __init__(self, x, y, tall=200.0, face=0.95, ear=0.2, body=0.1, hips=0.1) -> None:
        self.tall, self.face, self.ear = tall, face, ear
        side = np.array([0, -0.01, 0.01, -0.03, 0.03, -0.1, 0.1, -0.1, 0.1, -0.1, 0.1, -0.05, 0.05] + [0.0] * 4)
        down = np.array([0, -0.02, -0.02, -0.01, -0.01, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.42, 0.42, 0.6, 0.6, 0.8, 0.8])
        self.points = np.stack([x + side * tall, y + down * tall], 1)
        self.scores = np.array([face, face, face, ear, ear] + [body] * 6 + [hips] * 2 + [body] * 4)


class World:
    """A PoseNet that sees the people of a world, in whatever crop it is shown."""

    def __init__(self, *people: Person) -> None:
        self.people = people
        self.first_looks: list[np.ndarray] = []
        self.later_looks = 0

    def poses(self, crop):
        corner = place_of(crop[0, 0])
        self.first_looks.append(corner)
        seen = [
            np.concatenate([p.points - corner, p.scores[:, None]], 1) for p in self.people
            if np.all(p.points[0] >= corner) and np.all(p.points[0] < corner + crop.shape[1::-1])
        ]
        return np.array(seen, np.float32).reshape(-1, NUM_POINTS, 3)

    def heatmaps(self, crop):
        self.later_looks += 1
        score = np.zeros((NUM_POINTS, CELLS, CELLS), np.float32)
        first, last = place_of(crop[0, 0]), place_of(crop[-1, -1])
        for person in self.people:
            for k in range(5):
                cell = (person.points[k] - first) / (last - first) * (CELLS - 1)  # a mirrored crop runs backwards
                if np.all(cell > -0.5) and np.all(cell < CELLS - 0.5):
                    x, y = np.rint(cell).astype(int)
                    score[k, y, x] = max(score[k, y, x], person.scores[k])
        return (score,)


FRONT_BOX = (300, 180, 420, 400)
FRONT = {"tall": 220.0, "face": 0.97, "body": 0.9, "hips": 0.9}


def front() -> Person:
    return Person(360, 200, **FRONT)


def test_who_stands_behind_gets_a_box_after_the_others():
    world = World(front(), Person(310, 215, tall=200, face=0.95))
    boxes = FaceFinder(People(FRONT_BOX), world).detect(picture())
    assert len(boxes) == 2
    assert boxes.xyxy[0].tolist() == list(FRONT_BOX)
    x1, y1, x2, y2 = boxes.xyxy[1]
    assert x1 < 310 < x2
    assert y1 < 215 - 4 < 215 + 100 < y2
    assert boxes.score[1] == pytest.approx(0.95, abs=0.01)
    assert boxes.track_id.tolist() == [-1, -1]


def test_one_person_alone_stays_one_and_costs_one_look():
    world = World(front())
    assert len(FaceFinder(People(FRONT_BOX), world).detect(picture())) == 1
    assert (len(world.first_looks), world.later_looks) == (1, 0)


def test_nobody_costs_nothing():
    world = World(front())
    assert len(FaceFinder(People(), world).detect(picture())) == 0
    assert world.first_looks == []


@pytest.mark.parametrize(
    ("face", "ear", "found"),
    [(0.9, 0.0, True), (0.8, 0.55, False), (0.7, 0.7, True), (0.6, 0.9, False), (0.4, 0.9, False)],
)
def test_a_face_has_to_be_sure_or_to_have_an_ear(face, ear, found):
    world = World(front(), Person(310, 215, face=face, ear=ear))
    assert len(FaceFinder(People(FRONT_BOX), world).detect(picture())) == 1 + found


def test_what_no_further_look_confirms_is_dropped_after_few(monkeypatch):
    world = World(front(), Person(310, 215))
    monkeypatch.setattr(world, "heatmaps", lambda crop: (np.zeros((NUM_POINTS, CELLS, CELLS), np.float32),))
    assert len(FaceFinder(People(FRONT_BOX), world).detect(picture())) == 1


def test_no_look_is_taken_twice():
    world = World(front(), Person(310, 190))  # fits the box's head better: the owner has to stand up to it as well
    FaceFinder(People((250, 180, 420, 400)), world).detect(picture())
    assert world.later_looks == 2 * len(LOOKS)


def test_two_poses_on_one_face_are_one_person():
    world = World(front(), Person(360 + 12, 200 + 6))
    assert len(FaceFinder(People(FRONT_BOX), world).detect(picture())) == 1


def test_a_hand_that_took_the_box_does_not_make_its_owner_a_second_person():
    hand = Person(360, 290, **FRONT | {"face": 0.6})  # with the whole body's points, as poses share them
    face = Person(360, 200, face=0.97)
    assert len(FaceFinder(People(FRONT_BOX), World(hand, face)).detect(picture())) == 1
    # A face lower down than an unsure one is another person's all the same.
    world = World(Person(360, 290, **FRONT | {"face": 0.51}), Person(310, 310, face=0.97))
    assert len(FaceFinder(People(FRONT_BOX), world).detect(picture())) == 2


def test_a_face_found_lately_needs_less():
    sure, unsure = Person(310, 215, face=0.95), Person(318, 225, face=0.45)
    world = World(front(), sure)
    detector = FaceFinder(People(FRONT_BOX), world)
    image = picture()
    assert len(detector.detect(image)) == 2
    for _ in range(3):
        world.people = (front(), unsure)
        assert len(detector.detect(image)) == 2
    assert len(detector.fork().detect(image)) == 1
    for _ in range(KNOWN_PICTURES + 1):
        world.people = (front(),)
        assert len(detector.detect(image)) == 1
    world.people = (front(), unsure)
    assert len(detector.detect(image)) == 1


def test_looks_at_the_large_always_and_at_the_others_in_turn():
    boxes = [(20 + 90 * i, 100, 80 + 90 * i, 100 + 90 + (60 if i < 2 else i)) for i in range(8)] + [(20, 400, 60, 450)]
    world = World()
    detector = FaceFinder(People(*boxes), world)
    image = picture()
    for _ in range(3):
        detector.detect(image)
    per_picture = [world.first_looks[i : i + MAX_LOOKS] for i in range(0, len(world.first_looks), MAX_LOOKS)]
    assert len(world.first_looks) == 3 * MAX_LOOKS
    columns = [{round((x + 20) / 90) for x, _ in looks} for looks in per_picture]
    assert columns[0] & columns[1] & columns[2] >= {0, 1}
    assert columns[0] | columns[1] | columns[2] == set(range(8))
    assert all(y < 300 for _, y in world.first_looks)  # the low one is left alone


def test_own_hips_say_how_tall_and_the_front_persons_do_not():
    own = Person(320, 215, tall=120, face=0.95, hips=0.9)
    boxes = FaceFinder(People(FRONT_BOX), World(front(), own)).detect(picture())
    assert boxes.xyxy[1, 3] - boxes.xyxy[1, 1] == pytest.approx(120, abs=5)
    shared = Person(320, 215, tall=200, face=0.95, hips=0.9)
    shared.points[[LEFT_HIP, RIGHT_HIP]] = front().points[[LEFT_HIP, RIGHT_HIP]]
    boxes = FaceFinder(People(FRONT_BOX), World(front(), shared)).detect(picture())
    eye_and_ear = (np.hypot(2.0, 4.0) / 0.022 + np.hypot(4.0, 2.0) / 0.038) / 2
    assert boxes.xyxy[1, 3] - boxes.xyxy[1, 1] == pytest.approx(eye_and_ear, rel=0.05)


def test_boxes_stay_in_the_picture():
    world = World(Person(770, 500, **FRONT), Person(720, 520))
    boxes = FaceFinder(People((700, 480, 799, 599)), world).detect(picture())
    assert len(boxes) == 2
    assert boxes.xyxy.min() >= 0
    assert boxes.xyxy[:, 2].max() <= 800
    assert boxes.xyxy[:, 3].max() <= 600


def test_it_is_a_person_detector():
    people = People(FRONT_BOX)
    detector = FaceFinder(people, World())
    assert (detector.name, detector.notice, detector.threshold) == ("whole + faces", "people: whole", 0.5)
    detector.threshold = 0.7
    assert people.threshold == 0.7
    detector.close()
    detector.close()
    assert people.closed == 2
    other = People()
    other.name = "fast"
    detector.notice = "people: whole + faces; more"
    assert detector.around(other).notice == "people: fast + faces; more"
    assert detector.around(other).people is other


def test_half_of_the_looks_are_mirrored_and_half_off_the_middle():
    assert sum(mirrored for _, _, mirrored in LOOKS) == sum(off > 0 for _, off, _ in LOOKS) == len(LOOKS) / 2


@pytest.mark.slow
@pytest.mark.ci
def test_a_boy_hidden_behind_a_girl_is_found_on_real_video():
    """bedroom.mp4's middle frame: half his face and an arm show. Pictures every 0.2 s, as a file is looked at."""
    pytest.importorskip("openvino")
    video, paths = MEDIA / "bedroom.mp4", cached_package(POSENET)
    assert ssdlite_graph.graph_path() is not None, "the graph is part of every installation"
    if not video.is_file() or not paths:
        pytest.skip("needs bedroom.mp4 and posenet")
    detector, tracker = FaceFinder(SsdliteDetector(), PoseNet(*paths)), Tracker()
    capture = cv2.VideoCapture(str(video))
    for index in range(121):
        ok, image = capture.read()
        assert ok
        if index % 6 == 0:
            tracker.update(detector.detect(image), index / 30)
    capture.release()
    boxes = tracker.boxes_at(100 / 30).xyxy
    boy, girl = np.array([95, 138, 310, 390]), np.array([50, 92, 300, 503])  # what shows of each, by eye
    assert len(boxes) == 2
    assert max(iou(box, girl) for box in boxes) > 0.7
    assert max(iou(box, boy) for box in boxes if iou(box, girl) < 0.7) > 0.3


def iou(a: np.ndarray, b: np.ndarray) -> float:
    shared = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0).prod()
    return float(shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared))


def test_looking_again_is_the_other_detectors_and_a_search_where_it_has_none():
    class Looking(People):
        def look_again(self, image, people):
            return Boxes(people, np.full(len(people), 0.7))

    image, known = np.zeros((300, 400, 3), np.uint8), np.array([[10, 20, 50, 120]], np.float32)
    again = FaceFinder(Looking(), World()).look_again(image, known)
    assert (again.xyxy.tolist(), again.score.round(1).tolist()) == (known.tolist(), [np.float32(0.7).round(1)])
    plain = FaceFinder(People((1, 2, 30, 90)), World()).look_again(image, known)
    assert plain.xyxy.tolist() == [[1, 2, 30, 90]]
